"""A position that is seen for the first time while somebody still buys it: positions are read before executions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from tests.unit.position_manager.engine_world import ACCOUNT, BEGIN, put

from position_manager.engine.reconcile import (
    Finding,
    HoldingMoved,
    HoldingSeen,
    HoldingUnexplained,
    Searches,
    Sync,
    reconcile,
)
from position_manager.journal.journal import Journal
from position_manager.journal.records import Stamp
from position_manager.model import Instrument, Kind
from position_manager.orders.evidence import Cause, Execution, Patience, Snapshot
from position_manager.orders.intents import Fill, Side

KEY = (ACCOUNT, 42)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    ids = iter(range(1000))
    made = Journal(
        tmp_path / "journal.db",
        Stamp("paper", frozenset({ACCOUNT})),
        clock=lambda: BEGIN,
        new_id=lambda: f"{next(ids)}",
    )
    made.recover()
    yield made
    made.close()


def bought(*sizes: int) -> tuple[Execution, ...]:
    return tuple(
        Execution(ACCOUNT, 42, Side.BUY, Fill(f"e{number}", Decimal(size), Decimal(1), BEGIN), 0)
        for number, size in enumerate(sizes)
    )


def sync(journal: Journal, searches: Searches, held: int, executions: tuple[Execution, ...], at: int) -> list[Finding]:
    positions = {KEY: Decimal(held)} if held else {}
    snapshot = Snapshot(BEGIN + timedelta(seconds=at), positions, (), (), executions)
    seen = Sync(snapshot, {42: put(42)}, frozenset({ACCOUNT}), Patience(), ZoneInfo("America/New_York"), 100)
    return list(reconcile(journal, seen, searches))


def test_a_position_that_is_still_being_bought_is_counted_whole_and_not_locked(journal: Journal) -> None:
    searches = Searches()
    assert sync(journal, searches, 600, bought(600, 400), 0) == []
    assert journal.holding(*KEY) is None, "the second execution is not in the position yet"
    assert searches.pending, "it is asked for again soon"
    (seen,) = sync(journal, searches, 1000, bought(600, 400), 1)
    assert isinstance(seen, HoldingSeen)
    assert not searches.pending
    for at in range(2, 200, 20):
        assert not [each for each in sync(journal, searches, 1000, bought(600, 400), at) if each]
    holding = journal.holding(*KEY)
    assert holding is not None
    assert holding.quantity == 1000
    assert journal.lock(*KEY) is None


def test_one_that_is_older_than_the_executions_is_counted_when_it_stays(journal: Journal) -> None:
    searches = Searches()
    assert sync(journal, searches, 1100, bought(600, 400), 0) == []
    assert sync(journal, searches, 1500, bought(600, 400), 1) == []
    (seen,) = sync(journal, searches, 1500, bought(600, 400), 2)
    assert isinstance(seen, HoldingSeen)
    assert not searches.pending
    assert not [
        each for each in sync(journal, searches, 1500, bought(600, 400), 99) if isinstance(each, HoldingUnexplained)
    ]


def test_one_that_is_gone_again_leaves_no_question_open(journal: Journal) -> None:
    searches = Searches()
    assert sync(journal, searches, 600, bought(600, 400), 0) == []
    assert sync(journal, searches, 0, bought(600, 400), 1) == []
    assert not searches.pending


def test_one_that_nobody_traded_today_is_counted_at_once(journal: Journal) -> None:
    (seen,) = sync(journal, Searches(), 600, (), 0)
    assert isinstance(seen, HoldingSeen)


def both(
    journal: Journal,
    searches: Searches,
    at: int,
    positions: dict[tuple[str, int], Decimal],
    executions: tuple[Execution, ...],
) -> list[Finding]:
    """A sync with a put and its underlying, contract 50."""
    snapshot = Snapshot(BEGIN + timedelta(seconds=at), positions, (), (), executions)
    known = {42: put(42), 50: Instrument(50, "SPY", Kind.STOCK, Decimal(1))}
    seen = Sync(snapshot, known, frozenset({ACCOUNT}), Patience(), ZoneInfo("America/New_York"), 100)
    return list(reconcile(journal, seen, searches))


def test_a_holding_that_is_delivered_at_its_second_sight_leaves_no_question(journal: Journal) -> None:
    """Shares that a short put delivers while somebody buys more of them: what explains them is the put that is gone."""
    searches, shares, short_put = Searches(), (ACCOUNT, 50), (ACCOUNT, 42)
    bought_more = Execution(ACCOUNT, 50, Side.BUY, Fill("s1", Decimal(5), Decimal(450), BEGIN), 0)
    both(journal, searches, 0, {short_put: Decimal(-1)}, ())
    assert both(journal, searches, 60, {short_put: Decimal(-1), shares: Decimal(100)}, (bought_more,)) == []
    found = both(journal, searches, 61, {shares: Decimal(105)}, (bought_more,))
    assert {each.cause for each in found if isinstance(each, HoldingMoved)} == {Cause.ASSIGNMENT}
    assert not searches.pending, "else it is asked for again for ever"


@pytest.mark.parametrize("ago", [600, 0], ids=["reported late", "reported at once"])
def test_a_holding_that_somebody_trades_all_the_time_is_counted_in_the_end(journal: Journal, ago: int) -> None:
    """Held since yesterday, and another execution in each sync: uncounted it could never be closed."""
    searches = Searches()
    executions = tuple(
        replace(each, fill=replace(each.fill, time=BEGIN + timedelta(seconds=10 * number - ago)))
        for number, each in enumerate(bought(*[1] * 12))
    )
    for number in range(12):
        sync(journal, searches, 600 + number, executions[: number + 1], 10 * number)
        counted = journal.holding(*KEY)
        assert (counted is None) is (10 * number < 60), "not before the executions had time to agree with it"
    assert counted is not None
    assert counted.quantity == 611
    assert journal.lock(*KEY) is None
    assert not searches.pending


def test_shares_that_are_sold_and_delivered_at_once_count_as_delivered(journal: Journal) -> None:
    """A hundred held, sold, and a hundred delivered: the size is as before, and all of it is explained in one sync."""
    searches, shares, short_put = Searches(), (ACCOUNT, 50), (ACCOUNT, 42)
    sold = Execution(ACCOUNT, 50, Side.SELL, Fill("s1", Decimal(100), Decimal(450), BEGIN), 0)
    before = {short_put: Decimal(-1), shares: Decimal(100)}
    both(journal, searches, 0, before, ())
    found = both(journal, searches, 60, {shares: Decimal(100)}, (sold,))
    assert {each.key: each.cause for each in found if isinstance(each, HoldingMoved)}.keys() == before.keys()
    assert not searches.pending
