"""What a full sync proves about an order and about a position."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from position_manager.orders.evidence import (
    Account,
    Cause,
    CompletedOrder,
    Execution,
    Finding,
    OpenOrder,
    Patience,
    Search,
    Snapshot,
    account_for,
    resolve,
    resting,
    strays,
)
from position_manager.orders.intents import Fill, Intent, Side, State

NOW = datetime(2026, 11, 23, 15, tzinfo=UTC)
LATER = NOW + timedelta(seconds=1)
KEY = ("DU1", 42)
UNKNOWN = Intent(
    *("01X", "DU1", 42, Side.SELL, Decimal(10), Decimal(10), "stop", "g", NOW, State.UNKNOWN),
    order_id=7,
    client_id=100,
    sent=NOW,
    perm_id=77,
)
PATIENCE = Patience()
FRESH = Search()


def executed(quantity: int, *, ref: str = "pm:01X", exec_id: str = "a", side: Side = Side.SELL) -> Execution:
    return Execution(*KEY, side, Fill(exec_id, Decimal(quantity), Decimal(1), LATER), 0, ref)


def opened(status: str = "Submitted", *, perm_id: int = 77, ref: str = "pm:01X", remaining: int = 10) -> OpenOrder:
    return OpenOrder(*KEY, Side.SELL, Decimal(remaining), perm_id, status, ref, 100, 7)


def shown(
    position: int = 10,
    *,
    open_orders: tuple[OpenOrder, ...] = (),
    completed: tuple[CompletedOrder, ...] = (),
    executions: tuple[Execution, ...] = (),
    time: datetime = LATER,
) -> Snapshot:
    return Snapshot(time, {KEY: Decimal(position)}, open_orders, completed, executions)


def over(filled: int | None, status: str = "Cancelled") -> CompletedOrder:
    return CompletedOrder(77, status, None if filled is None else Decimal(filled), "pm:01X")


def found(snapshot: Snapshot, intent: Intent = UNKNOWN, search: Search = FRESH) -> Finding:
    return resolve(intent, snapshot, search, PATIENCE)


def state(finding: Finding) -> State | None:
    return None if finding.proven is None else finding.proven.state


def passes(snapshot: Snapshot, intent: Intent = UNKNOWN, count: int = 3, apart: int = 30) -> Finding:
    """What several syncs of the same content find, the last of them."""
    search = Search()
    for number in range(count):
        finding = found(replace(snapshot, time=LATER + timedelta(seconds=apart * number)), intent, search)
        search = finding.search
    return finding


@pytest.mark.parametrize("status", ["Submitted", "PreSubmitted", "Inactive", "PendingSubmit"])
def test_shown_as_open_is_live(status: str) -> None:
    assert state(found(shown(open_orders=(opened(status),)))) is State.WORKING


def test_a_live_order_with_executions_is_partial() -> None:
    finding = found(shown(6, open_orders=(opened(remaining=6),), executions=(executed(4),)))
    assert state(finding) is State.PARTIAL
    assert [fill.exec_id for fill in finding.fills] == ["a"]


def test_an_order_being_cancelled_is_not_working_again() -> None:
    cancelling = replace(UNKNOWN, state=State.CANCELLING)
    assert state(found(shown(open_orders=(opened(),)), cancelling)) is State.CANCELLING
    assert state(found(shown(open_orders=(opened("PendingCancel"),)))) is State.CANCELLING


def test_executions_prove_a_fill_even_while_the_order_is_shown_open() -> None:
    finding = found(shown(open_orders=(opened(),), executions=(executed(10),)))
    assert state(finding) is State.FILLED


def test_known_executions_are_not_found_twice() -> None:
    known = replace(UNKNOWN, fills=(executed(4).fill,))
    assert found(shown(6, open_orders=(opened(),), executions=(executed(4),)), known).fills == ()


@pytest.mark.parametrize(
    ("position", "executions"),
    [(10, (executed(4),)), (6, ()), (6, (executed(4),))],
    ids=["position late", "executions late", "all agree"],
)
def test_a_completed_order_is_proven_by_executions_or_by_the_position(
    position: int, executions: tuple[Execution, ...]
) -> None:
    finding = found(shown(position, completed=(over(4),), executions=executions))
    assert finding.proven is not None
    assert (finding.proven.state, finding.proven.filled) == (State.CANCELLED, Decimal(4))


def test_lean_249_a_cancel_is_not_believed_before_its_fills_are_seen() -> None:
    late = shown(10, completed=(over(4),))
    assert found(late).proven is None
    assert state(passes(late)) is State.LOCKED
    assert found(shown(10, completed=(over(None),))).proven is None


def test_a_completed_order_that_does_not_show_its_fills_needs_patience() -> None:
    assert passes(shown(10, completed=(over(None),)), count=2).proven is None
    assert state(passes(shown(10, completed=(over(None),)))) is State.CANCELLED
    assert state(passes(shown(6, completed=(over(None),)))) is State.LOCKED


def test_filled_before_midnight_is_proven_by_the_position() -> None:
    assert state(found(shown(0, completed=(over(10, "Filled"),)))) is State.FILLED


def test_not_found_three_times_in_a_minute_is_lost() -> None:
    assert state(passes(shown())) is State.LOST
    assert passes(shown(), count=2).proven is None
    assert passes(shown(), count=2, apart=90).proven is None
    assert passes(shown(), count=10, apart=6).proven is None


def test_freqtrade_2799_not_found_with_another_position_locks() -> None:
    assert state(passes(shown(0))) is State.LOCKED
    assert state(passes(shown(6, executions=(executed(4),)))) is State.LOST  # the rest of it never traded


def test_executions_of_others_do_not_make_it_appear_executed() -> None:
    theirs = executed(3, ref="by hand", exec_id="b")
    assert state(passes(shown(7, executions=(theirs,)))) is State.LOST
    before = replace(theirs, fill=replace(theirs.fill, time=NOW - timedelta(seconds=1)))
    assert state(passes(shown(10, executions=(before,)))) is State.LOST


def test_an_order_that_vanished_while_working_is_unknown_first() -> None:
    assert state(found(shown(), replace(UNKNOWN, state=State.WORKING))) is State.UNKNOWN
    assert state(passes(shown(), replace(UNKNOWN, state=State.WORKING))) is State.UNKNOWN


def test_a_sync_from_before_the_order_reports_nothing() -> None:
    before = shown(time=NOW - timedelta(seconds=1))
    sending = replace(UNKNOWN, state=State.SENDING)
    assert found(before, sending) == Finding((), 77, None, Search())


def test_lean_242_an_order_is_found_by_its_ref_and_never_by_its_id() -> None:
    unseen = replace(UNKNOWN, perm_id=0)
    assert state(passes(shown(open_orders=(opened(ref="", perm_id=99),)), unseen)) is State.LOST
    assert found(shown(open_orders=(opened(perm_id=99),)), unseen).perm_id == 99


def test_nautilus_4564_two_live_orders_are_cancelled_and_locked() -> None:
    finding = found(shown(open_orders=(opened(), opened(perm_id=78))))
    assert (state(finding), finding.cancel) == (State.LOCKED, (77, 78))


def test_more_executed_than_ordered_locks() -> None:
    assert state(found(shown(-1, executions=(executed(11),)))) is State.LOCKED


@pytest.mark.parametrize("snapshot", [shown(), shown(open_orders=(opened("Inactive"),)), shown(completed=(over(0),))])
def test_a_refused_order_that_is_not_live_is_rejected(snapshot: Snapshot) -> None:
    refused = replace(UNKNOWN, refused=True)
    assert state(found(snapshot, refused)) is State.REJECTED
    assert state(found(shown(open_orders=(opened(),)), refused)) is State.WORKING


def test_strays_are_live_orders_of_ours_without_an_open_intent() -> None:
    foreign, ours, done = opened(ref="by hand"), opened(), opened("Cancelled", ref="pm:02X")
    assert strays(shown(open_orders=(foreign, ours, done)), {"pm:03X"}) == (ours,)
    assert strays(shown(open_orders=(ours,)), {"pm:01X"}) == ()


def test_resting_counts_live_orders_of_any_client_on_one_side() -> None:
    orders = (
        opened(remaining=3, ref=""),
        opened("Inactive", remaining=2),
        opened("Cancelled", remaining=4),
        replace(opened(remaining=5), side=Side.BUY),
        replace(opened(remaining=6), con_id=43),
        replace(opened(remaining=7), account="DU2"),
    )
    assert resting(orders, *KEY, Side.SELL) == 5


def accounted(
    expected: int,
    reported: int,
    *others: Execution,
    expired: bool = False,
    delivered: int | None = None,
    search: Search = FRESH,
    time: datetime = LATER,
) -> Account:
    return account_for(
        Decimal(expected),
        Decimal(reported),
        others,
        expired=expired,
        delivered=None if delivered is None else Decimal(delivered),
        per_unit=Decimal(100),
        search=search,
        snapshot=shown(time=time),
        patience=PATIENCE,
    )


def test_changes_in_position_are_explained() -> None:
    assert accounted(5, 5).cause is Cause.NONE
    assert accounted(5, 2, executed(3)).cause is Cause.USER
    assert accounted(5, 0, expired=True).cause is Cause.EXPIRY
    assert accounted(5, 2, expired=True).cause is None


def test_ib_async_93_an_assignment_at_night_is_explained_by_the_shares() -> None:
    assert accounted(-2, -1, delivered=-100).cause is Cause.ASSIGNMENT  # one short call: 100 shares sold
    assert accounted(5, 0, delivered=500).cause is Cause.ASSIGNMENT  # five long calls exercised
    assert accounted(-2, -1, delivered=100).cause is None
    assert accounted(-2, -3, delivered=100).cause is None
    assert accounted(-2, -1, delivered=None).cause is None


def test_an_unexplained_change_locks_after_some_patience() -> None:
    search = Search()
    for number, unexplained in enumerate((False, False, True)):
        account = accounted(5, 4, search=search, time=LATER + timedelta(seconds=30 * number))
        assert (account.cause, account.unexplained) == (None, unexplained)
        search = account.search
    assert accounted(5, 5, search=search).search == Search()


def test_executions_that_the_position_does_not_show_are_waited_for() -> None:
    """A sync reads positions before executions: counted with the older position, nothing would explain the next one."""
    search = Search()
    for number, cause in enumerate((None, None, Cause.NONE)):
        account = accounted(5, 5, executed(3), search=search, time=LATER + timedelta(seconds=30 * number))
        assert (account.cause, account.unexplained) == (cause, False)
        search = account.search
    assert search == Search()
    assert accounted(5, 5, executed(3), delivered=0).cause is Cause.NONE, "the delivery explains why it is not shown"
