"""A full sync, brought into the journal: the outcome of our orders, and what explains each change in position.

Only a complete sync that ran while the session lived is passed in here. Its results are recorded at once; notifications
and cancels that follow from it are returned as findings.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import combinations
from zoneinfo import ZoneInfo

from position_manager.engine.rivals import DRILL_MARK
from position_manager.journal.journal import Journal
from position_manager.journal.records import Holding
from position_manager.model import ZERO, Instrument, Kind, Position, Right
from position_manager.orders.evidence import (
    Account,
    Cause,
    Execution,
    Patience,
    Search,
    Snapshot,
    account_for,
    net,
    resolve,
    strays,
)
from position_manager.orders.intents import AT_BROKER, REF_PREFIX, Change, Intent
from position_manager.sessions.hours import is_past_expiry

Key = tuple[str, int]


@dataclass(frozen=True)
class Expired:
    """An option that counted as expired: how many were held, and when that was."""

    quantity: Decimal
    at: datetime


DELIVERED_WITHIN = timedelta(days=5)
"""How long after an option has expired a change of its underlying may be its delivery: over a long weekend."""
_EXPIRED = "expired option"
MOST_COMBINED = 12


def restore_expired(journal: Journal) -> dict[Key, Expired]:
    """Those of former runs. Raises JournalError."""
    return {(account, con_id): expired for account, con_id, _, expired in journal.remembered(_EXPIRED, _expired)}


def _expired(data: Mapping[str, str]) -> Expired:
    return Expired(Decimal(data["quantity"]), datetime.fromisoformat(data["at"]))


@dataclass
class Searches:
    """How often in a row syncs did not settle a question: by intent id, and by holding. A lost link ends them all."""

    intents: dict[str, Search] = field(default_factory=dict)
    holdings: dict[Key, Search] = field(default_factory=dict)
    sights: dict[Key, tuple[Decimal, frozenset[str]]] = field(default_factory=dict)
    """Holdings that were not counted yet, with the quantity and the executions of the sync before."""
    expired: dict[Key, Expired] = field(default_factory=dict)
    """Options that counted as expired lately: what they deliver, if anything, comes in the night after."""

    def clear(self) -> None:
        self.intents.clear()
        self.holdings.clear()
        self.sights.clear()

    def seen_twice(self, key: Key, quantity: Decimal, executions: Collection[Execution]) -> bool:
        """Whether two syncs in a row showed a holding that is not counted with the same executions."""
        sight = quantity, frozenset(execution.fill.exec_id for execution in executions)
        before, self.sights[key] = self.sights.get(key), sight
        return before == sight

    @property
    def pending(self) -> bool:
        """Whether a question is still open."""
        return bool(self.sights) or any(search.passes for search in (*self.intents.values(), *self.holdings.values()))


@dataclass(frozen=True)
class IntentMoved:
    """A sync reported something new about an order of ours."""

    before: Intent
    change: Change


@dataclass(frozen=True)
class HoldingSeen:
    """A position that was never counted before. ``first``: the journal had counted nothing at all yet."""

    key: Key
    quantity: Decimal
    first: bool


@dataclass(frozen=True)
class HoldingMoved:
    """A change in position that something else than our orders explains."""

    key: Key
    before: Decimal
    quantity: Decimal
    cause: Cause
    crossed: bool = False
    """Whether it went through zero because somebody else closed it while our close was being filled."""


@dataclass(frozen=True)
class HoldingUnexplained:
    """A change in position that nothing explains; the instrument is locked now."""

    key: Key
    expected: Decimal
    reported: Decimal


@dataclass(frozen=True)
class Stray:
    """A live order of this client with our mark that no open intent knows, or a second one of an intent: to be
    cancelled. The instrument is locked."""

    key: Key
    order_id: int
    ref: str


@dataclass(frozen=True)
class HoldingForgotten:
    """An order of ours that the journal does not know was executed: it is an older journal, which was restored. What
    the order was for may be decided a second time, so the instrument is locked now."""

    key: Key
    reason: str


Finding = IntentMoved | HoldingSeen | HoldingMoved | HoldingUnexplained | HoldingForgotten | Stray


@dataclass(frozen=True)
class Sync:
    """What one full sync showed, and the data it is evaluated with. ``accounts``: the guarded ones; ``zone``: of days,
    for contracts whose exchange's is not known; ``instruments``: also of what is gone. ``client_id``: ours, whose
    orders must all be known; None if this mode sends none."""

    snapshot: Snapshot
    instruments: Mapping[int, Instrument]
    accounts: frozenset[str]
    patience: Patience
    zone: ZoneInfo
    client_id: int | None
    unbroken: bool = False
    """Whether every execution since the last sync is in this one: IB reports them since midnight only."""
    averages: Mapping[Key, Decimal] = field(default_factory=dict)
    """The average prices that the positions were reported with."""
    flat: set[Key] = field(default_factory=set)
    """Holdings that were reported to be flat, or on the other side, at some time since they were last counted; those
    that are counted now are taken out."""


def reconcile(journal: Journal, sync: Sync, searches: Searches) -> tuple[Finding, ...]:
    """Record what a sync shows about the guarded accounts.

    Raises JournalError; then the same sync may be brought in once more, nothing counts twice.
    """
    with journal.transaction():
        first = journal.empty
        return (
            *_intents(journal, sync, searches),
            *_strays(journal, sync),
            *_holdings(journal, sync, searches, first=first),
        )


def _intents(journal: Journal, sync: Sync, searches: Searches) -> Iterator[Finding]:
    open_ids = set()
    for before in journal.open_intents():
        open_ids.add(before.id)
        if before.state not in AT_BROKER:
            continue
        search = searches.intents.get(before.id, Search())
        finding = resolve(before, sync.snapshot, search, sync.patience)
        searches.intents[before.id] = finding.search
        change = journal.record_finding(before.id, finding)
        if change.intent != before or change.effects:
            yield IntentMoved(before, change)
        for order in sync.snapshot.shown_open(before) if finding.cancel else ():
            if order.perm_id in finding.cancel:
                yield Stray((before.account, before.con_id), order.order_id, order.ref)
    for gone in set(searches.intents) - open_ids:
        del searches.intents[gone]


def _strays(journal: Journal, sync: Sync) -> Iterator[Finding]:
    """Those of other clients are other managers' and drills': they count as what rests, and are left alone."""
    for order in strays(sync.snapshot, {intent.ref for intent in journal.open_intents()}):
        if order.client_id != sync.client_id:
            continue
        ended = journal.intent_of_ref(order.ref)
        if ended is not None and journal.events(intent=ended.id)[-1].time >= sync.snapshot.time:
            # It was executed while the sync was in progress: the next one shows whether it is over.
            continue
        journal.add_lock(order.account, order.con_id, f"order {order.ref} is live, but no open intent knows it")
        yield Stray((order.account, order.con_id), order.order_id, order.ref)


def _holdings(journal: Journal, sync: Sync, searches: Searches, *, first: bool) -> Iterator[Finding]:
    counted = {key: holding for key, holding in journal.holdings().items() if key[0] in sync.accounts}
    expected = {key: holding.quantity for key, holding in counted.items()}
    reported = {key: quantity for key, quantity in sync.snapshot.positions.items() if key[0] in sync.accounts}
    # While an order is in progress its executions and the position may be reported in any order.
    busy = {(intent.account, intent.con_id) for intent in journal.open_intents() if intent.state in AT_BROKER}
    keys = sorted((expected.keys() | reported.keys()) - busy)
    others = {key: journal.uncounted(*key, sync.snapshot.executions_of(*key)) for key in keys}
    changes = {key: reported.get(key, ZERO) - expected.get(key, ZERO) - net(others[key]) for key in keys}
    delivered = _delivered(changes, sync.instruments, expected.keys())
    for key in searches.sights.keys() - reported.keys():
        del searches.sights[key]
        searches.holdings.pop(key, None)
    delivered |= _delivered_late(journal, changes, delivered, sync, searches)
    for key in keys:
        yield from _forgotten(journal, key, others[key], sync)
    for key in keys:
        now, before = reported.get(key, ZERO), expected.get(key)
        if before is None and key not in delivered:
            # Positions are read before executions: one that was executed in between is not in the quantity yet.
            explained = not others[key] or net(others[key]) == now
            if not explained and not searches.seen_twice(key, now, others[key]):
                # Somebody who trades it all the time must not keep it uncounted: then it could not be closed.
                search = searches.holdings[key] = searches.holdings.get(key, Search()).again(sync.snapshot)
                if not search.exhausted(sync.snapshot.time, sync.patience):
                    continue
            searches.sights.pop(key, None)
            searches.holdings.pop(key, None)
            journal.count_holding(*key, now, "first seen", others[key], average=sync.averages.get(key))
            yield HoldingSeen(key, now, first)
            continue
        searches.sights.pop(key, None)
        account = _account(key, before or ZERO, now, others[key], delivered, sync, searches)
        searches.holdings[key] = account.search
        if account.cause is not None:
            del searches.holdings[key]
            cause, average = account.cause, sync.averages.get(key)
            holding = counted.get(key)
            if _is_another(holding, now, average, others[key], unbroken=sync.unbroken) or key in sync.flat:
                cause = Cause.REOPENED if now and before else cause
            sync.flat.discard(key)
            new_episode = cause in (Cause.REOPENED, Cause.ASSIGNMENT)
            if now != before or others[key] or new_episode or average != _average(counted.get(key)):
                journal.count_holding(*key, now, cause, others[key], average=average, new_episode=new_episode)
            if cause is Cause.EXPIRY and before and sync.instruments[key[1]].is_option:
                _remember_expired(journal, key, before, sync, searches)
            if cause is not Cause.NONE:
                past = journal.intents(*key)[-1:]
                crossed = bool(past) and crosses(past[0], now, others[key])
                if crossed:
                    journal.append(
                        "crossed zero", *key, {"quantity": now, "ours": past[0].filled, "intent": past[0].id}
                    )
                yield HoldingMoved(key, before or ZERO, now, cause, crossed)
        elif account.unexplained and journal.lock(*key) is None:
            split = _split(counted.get(key), now, sync.averages.get(key))
            why = f"{split}; check the prices in its rules" if split else "nothing explains it"
            journal.add_lock(*key, f"position {now}, expected {before}: {why}")
            yield HoldingUnexplained(key, before or ZERO, now)


def _forgotten(journal: Journal, key: Key, executions: Collection[Execution], sync: Sync) -> Iterator[HoldingForgotten]:
    """``executions``: those of no order in the journal. One of before it was created belongs to a journal that was
    moved away on purpose."""
    refs = sorted(
        {
            execution.ref
            for execution in executions
            if sync.client_id is not None
            and execution.client_id == sync.client_id
            and execution.ref.startswith(REF_PREFIX)
            and not execution.ref.startswith(REF_PREFIX + DRILL_MARK)
            and execution.fill.time >= journal.created
        }
    )
    if refs and sync.snapshot.positions.get(key) and journal.lock(*key) is None:
        reason = (
            f"order {refs[0]} of this manager was executed, but the journal does not know it: it is an older one, or "
            "another manager has this client id"
        )
        journal.add_lock(*key, reason)
        yield HoldingForgotten(key, reason)


BESIDE = timedelta(seconds=5)
"""An execution of somebody else this close to an order of ours was meant for the same position."""


def crosses(ours: Intent, now: Decimal, others: Iterable[Execution]) -> bool:
    """Whether a position is on the other side of zero because two have closed it at the same time: neither our order
    nor what others executed beside it would have led there alone."""
    sign = ours.side.sign
    if not ours.fills or ours.sent is None or now * sign <= 0 or now * sign > ours.filled:
        return False
    begin, end = ours.sent - BESIDE, max(fill.time for fill in ours.fills) + BESIDE
    return any(execution.side is ours.side and begin <= execution.fill.time <= end for execution in others)


ROUNDING = Decimal("0.000001")
"""Averages that differ by less than this part are the same."""
SPLIT_WITHIN = Decimal("0.02")
"""A split leaves what the holding cost as it was, but for fractions that are paid out."""


def _average(holding: Holding | None) -> Decimal | None:
    return None if holding is None else holding.average


def _is_another(
    holding: Holding | None, now: Decimal, average: Decimal | None, others: Collection[Execution], *, unbroken: bool
) -> bool:
    """Whether a holding is no longer the one that was counted, although its size may be the same: its executions lead
    through zero, or without any it has another average price, as those of another day are not reported any more. If
    none can be missing (``unbroken``), the broker has merely corrected the price."""
    if holding is None or not holding.quantity:
        return False
    held = holding.quantity
    for execution in sorted(others, key=lambda each: each.fill.time):
        held += execution.side.sign * execution.fill.quantity
        if held * holding.quantity <= 0:
            return True
    if unbroken or others or now != holding.quantity or holding.average is None or average is None:
        return False
    return abs(average - holding.average) > abs(holding.average) * ROUNDING


def _split(holding: Holding | None, now: Decimal, average: Decimal | None) -> str:
    """The split that would explain a change of size; empty if there is none."""
    if holding is None or holding.average is None or average is None or holding.quantity * now <= 0:
        return ""
    before, after = holding.quantity * holding.average, now * average
    if not before or abs(after - before) > abs(before) * SPLIT_WITHIN:
        return ""
    return f"it looks like a split, {now / holding.quantity:.4g} for 1"


def _account(
    key: Key,
    expected: Decimal,
    reported: Decimal,
    others: tuple[Execution, ...],
    delivered: frozenset[Key],
    sync: Sync,
    searches: Searches,
) -> Account:
    instrument = sync.instruments.get(key[1])
    if key in delivered and (instrument is None or not instrument.is_option):
        return Account(Cause.ASSIGNMENT, Search())
    per_unit = ZERO if instrument is None else _per_unit(instrument)
    return account_for(
        expected,
        reported,
        others,
        expired=instrument is not None and is_past_expiry(instrument, sync.snapshot.time, sync.zone),
        delivered=(expected - reported) * per_unit if key in delivered else None,
        per_unit=per_unit,
        search=searches.holdings.get(key, Search()),
        snapshot=sync.snapshot,
        patience=sync.patience,
    )


def _delivered(
    changes: Mapping[Key, Decimal], instruments: Mapping[int, Instrument], counted: Collection[Key]
) -> frozenset[Key]:
    """The options that were assigned or exercised, and the holdings that they were settled in: where, of one account
    and symbol, what the options that went would deliver is just the unexplained change of the underlying."""
    options: dict[tuple[str, str], list[Key]] = defaultdict(list)
    underlyings: dict[tuple[str, str], list[Key]] = defaultdict(list)
    for key, change in changes.items():
        instrument = instruments.get(key[1])
        if instrument is None or not change:
            continue
        if not instrument.is_option:
            underlyings[key[0], instrument.symbol].append(key)
        elif key in counted:
            options[key[0], instrument.symbol].append(key)
    settled: set[Key] = set()
    for where, keys in options.items():
        deliveries = sum((-changes[key] * _per_unit(instruments[key[1]]) for key in keys), ZERO)
        held = underlyings[where]
        if len(held) == 1 and deliveries and deliveries == changes[held[0]]:
            settled.update(keys, held)
    return frozenset(settled)


def _remember_expired(journal: Journal, key: Key, quantity: Decimal, sync: Sync, searches: Searches) -> None:
    searches.expired[key] = Expired(quantity, sync.snapshot.time)
    journal.remember(*key, _EXPIRED, {"quantity": quantity, "at": sync.snapshot.time})


def _delivered_late(
    journal: Journal, changes: Mapping[Key, Decimal], settled: frozenset[Key], sync: Sync, searches: Searches
) -> frozenset[Key]:
    """The underlyings whose unexplained change is just what some options deliver that counted as expired lately."""
    for key, expired in list(searches.expired.items()):
        if abs(sync.snapshot.time - expired.at) > DELIVERED_WITHIN:
            _forget_expired(journal, key, searches)
    found: set[Key] = set()
    for key, change in changes.items() if searches.expired else ():
        instrument = sync.instruments.get(key[1])
        if instrument is None or instrument.is_option or not change or key in settled:
            continue
        options = [
            (option, expired.quantity * _per_unit(sync.instruments[option[1]]))
            for option, expired in searches.expired.items()
            if option[0] == key[0] and option[1] in sync.instruments
            if sync.instruments[option[1]].symbol == instrument.symbol
        ][:MOST_COMBINED]
        for count in range(1, len(options) + 1):
            fits = next((c for c in combinations(options, count) if sum(shares for _, shares in c) == change), None)
            if fits is not None:
                found.add(key)
                for option, _ in fits:
                    _forget_expired(journal, option, searches)
                break
    return frozenset(found)


def _forget_expired(journal: Journal, key: Key, searches: Searches) -> None:
    del searches.expired[key]
    journal.drop(*key, _EXPIRED)


def _per_unit(instrument: Instrument) -> Decimal:
    """What one contract delivers when it is exercised: plus for a call, minus for a put."""
    if instrument.right is None:
        return ZERO
    # A future's option delivers one future, a stock's option as many shares as its multiplier.
    size = Decimal(1) if instrument.kind is Kind.FUTURE_OPTION else instrument.multiplier
    return size if instrument.right is Right.CALL else -size


def quantities(positions: Iterable[Position]) -> dict[Key, Decimal]:
    """Positions as a snapshot holds them."""
    return {position.key: position.quantity for position in positions}
