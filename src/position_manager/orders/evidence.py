"""The outcome of an order, and the state of a position, as far as the broker shows it.

One full sync gives a `Snapshot`: positions, open orders, completed orders and executions, read one after the other.
Each part may be a little behind the others, so nothing is concluded from a single absence. Orders are found by their
orderRef or permId, never by order id: a gateway that lost the last orders before a restart assigns their ids again.
Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from typing import TypeVar

from position_manager.model import ZERO
from position_manager.orders.intents import AT_BROKER, REF_PREFIX, Fill, Intent, Proven, Side, State

FILLED = "Filled"
LONGEST_SYNC = timedelta(minutes=5)
"""No full sync takes longer than that."""
LIVE_STATUSES = frozenset({"ApiPending", "PendingSubmit", "PreSubmitted", "Submitted", "PendingCancel", "Inactive"})
"""Statuses of an order that may trade now or later. Inactive too: the broker may wake it."""


@dataclass(frozen=True)
class OpenOrder:
    """An order that the broker shows as open, of any client. ``remaining`` is above zero. A combination is shown as one
    for each leg, with the leg's own side and quantity, all with the same permId and mark."""

    account: str
    con_id: int
    side: Side
    remaining: Decimal
    perm_id: int
    status: str
    ref: str = ""
    client_id: int = 0
    order_id: int = 0


@dataclass(frozen=True)
class CompletedOrder:
    """An order that the broker shows as over. ``filled`` is None if the broker does not report it; of a combination it
    counts combinations."""

    perm_id: int
    status: str
    filled: Decimal | None
    ref: str = ""


@dataclass(frozen=True)
class Execution:
    """An execution that the broker shows, of any client."""

    account: str
    con_id: int
    side: Side
    fill: Fill
    perm_id: int
    ref: str = ""
    client_id: int = 0


@dataclass(frozen=True)
class Snapshot:
    """What one full sync showed; ``time`` is when it started."""

    time: datetime
    positions: Mapping[tuple[str, int], Decimal] = field(default_factory=dict)
    open_orders: tuple[OpenOrder, ...] = ()
    completed: tuple[CompletedOrder, ...] = ()
    executions: tuple[Execution, ...] = ()

    def position(self, account: str, con_id: int) -> Decimal:
        return self.positions.get((account, con_id), ZERO)

    def shown_open(self, intent: Intent) -> list[OpenOrder]:
        """The open orders that are the intent's."""
        return _of(intent, self._open_by_mark)

    def shown_over(self, intent: Intent) -> list[CompletedOrder]:
        """The completed orders that are the intent's."""
        return _of(intent, self._completed_by_mark)

    def executions_of(self, account: str, con_id: int) -> list[Execution]:
        """The executions in an instrument, of any client."""
        return self._executions_by_key.get((account, con_id), [])

    @cached_property
    def _open_by_mark(self) -> Mapping[str | int, list[OpenOrder]]:
        return _by_mark(self.open_orders)

    @cached_property
    def _completed_by_mark(self) -> Mapping[str | int, list[CompletedOrder]]:
        return _by_mark(self.completed)

    @cached_property
    def _executions_by_key(self) -> Mapping[tuple[str, int], list[Execution]]:
        found = defaultdict(list)
        for execution in self.executions:
            found[execution.account, execution.con_id].append(execution)
        return dict(found)


_Order = TypeVar("_Order", OpenOrder, CompletedOrder)


def _by_mark(orders: Iterable[_Order]) -> dict[str | int, list[_Order]]:
    """Orders by orderRef and by permId, for a sync may show hundreds of them."""
    found: dict[str | int, list[_Order]] = defaultdict(list)
    for order in orders:
        for mark in (order.ref, order.perm_id):
            if mark:
                found[mark].append(order)
    return dict(found)


def _of(intent: Intent, by_mark: Mapping[str | int, list[_Order]]) -> list[_Order]:
    by_ref = by_mark.get(intent.ref, [])
    by_perm = by_mark.get(intent.perm_id, []) if intent.perm_id else []
    return by_ref + [order for order in by_perm if order.ref != intent.ref]


@dataclass(frozen=True)
class Patience:
    """How long an absence must last before something is concluded from it."""

    passes: int = 3
    span: timedelta = timedelta(seconds=60)


@dataclass(frozen=True)
class Search:
    """How often in a row the syncs did not settle a question, and since when.

    A lost link ends it: the caller creates a new one, since only passes while READY count.
    """

    passes: int = 0
    since: datetime | None = None

    def again(self, snapshot: Snapshot) -> Search:
        """After one more sync that did not settle it. A clock that was set back restarts the count."""
        if self.since is None or snapshot.time < self.since:
            return Search(1, snapshot.time)
        return Search(self.passes + 1, self.since)

    def exhausted(self, now: datetime, patience: Patience) -> bool:
        return self.since is not None and self.passes >= patience.passes and now - self.since >= patience.span


@dataclass(frozen=True)
class Finding:
    """What a sync shows about an intent.

    ``fills`` to record first, then ``proven`` if it is not None. ``cancel``: permIds of orders of ours that must be
    cancelled (one orderRef is live more than once). ``search`` must be passed back with the next sync.
    """

    fills: tuple[Fill, ...]
    perm_id: int
    proven: Proven | None
    search: Search
    cancel: tuple[int, ...] = ()


def resolve(intent: Intent, snapshot: Snapshot, search: Search, patience: Patience) -> Finding:
    """What a full sync, run while READY, shows about an intent that may be at the broker.

    Live if the broker shows it open; over if it shows it completed and the executions or the position agree with the
    filled quantity it reports; LOST if it is nowhere, pass after pass, and the position is what the known executions
    explain; LOCKED if it is nowhere and the position contradicts that, or if the accounts of it never come to agree.
    What is absent from a sync that started before the order was sent proves nothing.
    """
    seen, over = snapshot.shown_open(intent), snapshot.shown_over(intent)
    known = {fill.exec_id for fill in intent.fills}
    fills = tuple(
        execution.fill
        for execution in snapshot.executions_of(intent.account, intent.con_id)
        if _is(intent, execution.ref, execution.perm_id) and execution.fill.exec_id not in known
    )
    perm_id = max([intent.perm_id, *(order.perm_id for order in seen), *(order.perm_id for order in over)])
    after = replace(intent, fills=intent.fills + fills)
    live = tuple(dict.fromkeys(order.perm_id for order in seen if order.status in LIVE_STATUSES))
    refused = after.refused and all(order.status == "Inactive" for order in seen)

    def finding(proven: Proven | None, search: Search = Search(), cancel: tuple[int, ...] = ()) -> Finding:
        return Finding(fills, perm_id, proven, search, cancel)

    if after.filled > after.quantity or len(live) > 1:
        reason = f"{len(live)} live orders, {after.filled} of {after.quantity} executed"
        return finding(Proven(State.LOCKED, reason), cancel=live)
    if after.filled == after.quantity:
        return finding(Proven(State.FILLED, "executed in full", after.filled))
    if live and not refused:
        return finding(_shown_live(after, seen[0].status))
    # If the order was sent much later than the sync started, the clock was set back in between.
    if after.sent is None or timedelta() < after.sent - snapshot.time < LONGEST_SYNC:
        return finding(None, search)

    moved = _moved(after, snapshot)
    for order in over:
        proven = _shown_over(after, order, moved)
        if proven is not None:
            return finding(proven)
    if refused and moved == after.filled:
        # What one order of several legs is refused, orders of the single legs may do.
        state = State.CANCELLED if after.lead else State.REJECTED
        return finding(Proven(state, after.reason, after.filled))

    search = search.again(snapshot)
    if not search.exhausted(snapshot.time, patience):
        return finding(None if intent.state is State.UNKNOWN else _doubt(after), search)
    passes = f"{search.passes} passes since {search.since:%H:%M:%S}"
    reported = [order.filled * after.per_unit for order in over if order.filled is not None]
    if moved != after.filled or reported:
        reason = (
            f"{passes}: {after.filled} executed, the position shows {moved}, completed orders {reported or 'nothing'}"
        )
        return finding(Proven(State.LOCKED, reason), search)
    if over:
        return finding(Proven(State.CANCELLED, f"completed, {passes} agree on {after.filled}", after.filled), search)
    if intent.state is not State.UNKNOWN:
        return finding(_doubt(after), search)
    words = f": {after.words}" if after.words else ""
    return finding(Proven(State.LOST, f"not found in {passes}, position unchanged{words}", after.filled), search)


def _is(intent: Intent, ref: str, perm_id: int) -> bool:
    return ref == intent.ref or (perm_id != 0 and perm_id == intent.perm_id)


def _shown_live(intent: Intent, status: str) -> Proven | None:
    if status == "PendingCancel" or intent.state is State.CANCELLING:
        return Proven(State.CANCELLING, f"the broker shows it as {status}")
    state = State.PARTIAL if intent.filled else State.WORKING
    return Proven(state, f"the broker shows it as {status}")


def _shown_over(intent: Intent, order: CompletedOrder, moved: Decimal) -> Proven | None:
    """The proof in a completed order; None as long as neither executions nor position agree with it."""
    if order.filled is None:
        return None
    filled = order.filled * intent.per_unit
    if filled not in (intent.filled, moved) or filled < intent.filled:
        return None
    if filled == intent.quantity:
        return Proven(State.FILLED, f"completed as {order.status}", filled)
    if order.status == FILLED:
        return None
    # Its end was not requested: the same order again would end in the same way.
    refused = (intent.refused or intent.words) and not filled and not intent.lead
    state = State.REJECTED if refused else State.CANCELLED
    words = f": {intent.words}" if intent.words else ""
    return Proven(state, f"completed as {order.status}, {filled} executed{words}", filled)


def _doubt(intent: Intent) -> Proven | None:
    """An order that should be at the broker and is not shown: its outcome is unknown."""
    return Proven(State.UNKNOWN, "not shown by the broker") if intent.state in AT_BROKER else None


def _moved(intent: Intent, snapshot: Snapshot) -> Decimal:
    """How much of the order the change in position shows to be executed, others' executions since put aside."""
    others = net(
        execution
        for execution in snapshot.executions_of(intent.account, intent.con_id)
        if not _is(intent, execution.ref, execution.perm_id)
        and intent.sent is not None
        and execution.fill.time >= intent.sent
    )
    return intent.side.sign * (snapshot.position(intent.account, intent.con_id) - intent.position - others)


def net(executions: Iterable[Execution]) -> Decimal:
    """By how much executions change a position."""
    return sum((execution.side.sign * execution.fill.quantity for execution in executions), ZERO)


def strays(snapshot: Snapshot, open_refs: Collection[str]) -> tuple[OpenOrder, ...]:
    """Live orders that carry our mark without an open intent (one given up as LOST that shows up late): cancel them,
    lock the instrument. Orders of others are never touched."""
    return tuple(
        order
        for order in snapshot.open_orders
        if order.ref.startswith(REF_PREFIX) and order.ref not in open_refs and order.status in LIVE_STATUSES
    )


def resting(orders: Iterable[OpenOrder], account: str, con_id: int, side: Side) -> Decimal:
    """What the live orders of ANY client may still trade on one side of an instrument."""
    return sum(
        (
            order.remaining
            for order in orders
            if (order.account, order.con_id, order.side) == (account, con_id, side) and order.status in LIVE_STATUSES
        ),
        ZERO,
    )


class Cause(StrEnum):
    """What explains a change in position."""

    NONE = "no change"
    USER = "executions of another client"
    EXPIRY = "expired"
    ASSIGNMENT = "assigned or exercised"
    REOPENED = "closed and opened again"


@dataclass(frozen=True)
class Account:
    """The account of a holding after a sync: its ``cause``, or None if the change is not explained.

    The positions of a sync may be older than its executions, and at the broker younger: what does not agree yet is
    searched for. A change that stays unexplained locks the instrument only when the search is exhausted
    (``unexplained``); executions that the position does not show by then count as part of it.
    """

    cause: Cause | None
    search: Search
    unexplained: bool = False


def account_for(
    expected: Decimal,
    reported: Decimal,
    others: Iterable[Execution],
    *,
    expired: bool,
    delivered: Decimal | None,
    per_unit: Decimal,
    search: Search,
    snapshot: Snapshot,
    patience: Patience,
) -> Account:
    """What explains that a holding is ``reported`` and not ``expected`` (which includes all fills of ours).

    ``others``: executions by other clients in this instrument that were not counted yet. ``expired``: whether the
    instrument's last trading day is over. ``delivered``: by how much the holding of the underlying changed without
    executions, in shares (None if that is not known or the instrument is no option); ``per_unit`` shares one contract
    delivers: plus for a call, minus for a put. Assignments come at night and without any event.
    """
    traded = net(others)
    if expected == reported:
        search = search.again(snapshot)
        if traded and delivered is None and not search.exhausted(snapshot.time, patience):
            # A sync reads positions before executions: these may be younger, and part of the next position only.
            return Account(None, search)
        return Account(Cause.NONE, Search())
    if expected + traded == reported:
        return Account(Cause.USER, Search())
    gone = expected - reported
    towards_zero = abs(reported) < abs(expected) and reported * expected >= 0
    if towards_zero and delivered is not None and delivered != 0 and delivered == gone * per_unit:
        return Account(Cause.ASSIGNMENT, Search())
    if expired and reported == 0:
        return Account(Cause.EXPIRY, Search())
    search = search.again(snapshot)
    return Account(None, search, unexplained=search.exhausted(snapshot.time, patience))
