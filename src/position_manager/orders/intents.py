"""The life of a closing intent: its state, and how the broker's evidence changes it.

An intent is one order: it is recorded before it is sent, and it blocks its instrument until the broker has proven its
outcome. A new price is a new intent after the old one is proven over; an order is never changed in place.
Pure: nothing here sends, stores or reads a clock.

Only the broker's reports count. A client library that calls an order cancelled is no evidence, so there is no event for
it: codes that suggest an end lead to UNKNOWN, and `position_manager.orders.evidence` proves the rest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType

from position_manager.model import ZERO

REF_PREFIX = "pm:"


class Side(StrEnum):
    """Which way an order trades, in IB's words."""

    BUY = "BUY"
    SELL = "SELL"

    @property
    def sign(self) -> int:
        """What one unit does to a position: +1 or -1."""
        return 1 if self is Side.BUY else -1


def closing_side(position: Decimal) -> Side:
    """The side that brings a position nearer to zero."""
    return Side.SELL if position > 0 else Side.BUY


class State(StrEnum):
    """The state of an intent."""

    PLANNED = "PLANNED"
    """Decided, nothing was sent."""
    SENDING = "SENDING"
    """Recorded; the order may or may not have been sent."""
    WORKING = "WORKING"
    """The broker has acknowledged it by a permId."""
    PARTIAL = "PARTIAL"
    """Acknowledged, and a part is executed."""
    CANCELLING = "CANCELLING"
    """We have asked to cancel it."""
    UNKNOWN = "UNKNOWN"
    """Only the broker knows: ask."""
    FILLED = "FILLED"
    CANCELLED = "CANCELLED"
    """Proven over; a part may have been executed."""
    REJECTED = "REJECTED"
    LOST = "LOST"
    """The broker never received it, and the position shows the same."""
    LOCKED = "LOCKED"
    """The evidence contradicts itself; a person must check it."""


TERMINAL = frozenset({State.FILLED, State.CANCELLED, State.REJECTED, State.LOST})
OPEN = frozenset(State) - TERMINAL
AT_BROKER = OPEN - {State.PLANNED, State.LOCKED}
"""States in which the order may be live and is followed up."""

_PROOFS = frozenset({State.FILLED, State.CANCELLED, State.REJECTED, State.LOCKED})
LEGAL: Mapping[State, frozenset[State]] = MappingProxyType(
    {
        State.PLANNED: frozenset({State.SENDING, State.CANCELLED}),
        State.SENDING: _PROOFS | {State.WORKING, State.PARTIAL, State.CANCELLING, State.UNKNOWN},
        State.WORKING: _PROOFS | {State.PARTIAL, State.CANCELLING, State.UNKNOWN},
        State.PARTIAL: _PROOFS | {State.CANCELLING, State.UNKNOWN},
        State.CANCELLING: _PROOFS | {State.UNKNOWN},
        State.UNKNOWN: _PROOFS | {State.WORKING, State.PARTIAL, State.CANCELLING, State.LOST},
        State.LOCKED: frozenset({State.FILLED, State.CANCELLED, State.REJECTED, State.LOST}),
        # An execution may arrive after the end; it is a fact, and it locks the instrument.
        State.CANCELLED: frozenset({State.FILLED}),
        State.REJECTED: frozenset({State.FILLED}),
        State.LOST: frozenset({State.FILLED}),
        State.FILLED: frozenset(),
    }
)
"""Every legal change of state."""


class Meaning(StrEnum):
    """What an error code means for the order that it names."""

    REJECTED = "rejected"
    LIVE = "the order is live"
    ASK = "the outcome is unknown"


MEANINGS: Mapping[int, Meaning] = MappingProxyType(
    {
        201: Meaning.REJECTED,
        321: Meaning.REJECTED,  # the request did not pass the gateway's own checks
        399: Meaning.LIVE,  # a warning about the order, e.g. that it waits for the opening
        10349: Meaning.LIVE,  # the time in force was set by a preset
        202: Meaning.ASK,  # cancelled, but executions may have been faster
        103: Meaning.ASK,  # duplicate order id
        104: Meaning.ASK,  # cannot change a filled order
        105: Meaning.ASK,  # the order being changed does not match
        110: Meaning.ASK,  # the price does not conform to the tick
        161: Meaning.ASK,  # cancel attempted when the order cannot be cancelled
        10147: Meaning.ASK,  # the order to cancel is not found
        10148: Meaning.ASK,  # the order cannot be cancelled, its state is in the text
    }
)
"""Codes by number. Any other code that names an order means ASK."""


@dataclass(frozen=True)
class Fill:
    """One execution. ``exec_id`` is unique; ``quantity`` is above zero, ``price`` per unit, ``time`` aware."""

    exec_id: str
    quantity: Decimal
    price: Decimal
    time: datetime


_REVISED = re.compile(r"([0-9a-f]+\.[0-9a-f]+\.[0-9a-f]+)\.(\d+)", re.IGNORECASE)


def total(fills: tuple[Fill, ...]) -> Decimal:
    """What was executed. IB corrects an execution by sending it again with a higher last number in its id
    (`0000e0d5.6570c1e7.01.02` replaces `….01`): the latest counts, and only it."""
    latest: dict[str, tuple[int, Decimal]] = {}
    for fill in fills:
        match = _REVISED.fullmatch(fill.exec_id)
        name, revision = (match[1], int(match[2])) if match else (fill.exec_id, 0)
        if name not in latest or latest[name][0] < revision:
            latest[name] = revision, fill.quantity
    return sum((quantity for _, quantity in latest.values()), ZERO)


@dataclass(frozen=True)
class Intent:
    """A decision to close, and what is proven about its order.

    ``quantity`` is that of the order (above zero), ``position`` the signed holding when it was decided.
    ``order_id``, ``client_id`` and ``limit`` are 0 and ``sent`` is None until it is sent, ``perm_id`` is 0 until the
    broker has acknowledged it.
    ``stop`` is the trigger of a stop-limit, 0 for a plain limit.
    ``lead``: of a leg of a combination, the id of the first leg's intent, under whose mark one order trades all legs;
    ``per_unit``: how many contracts of this leg one combination has. Order ids of the other legs were never sent.
    ``proven_filled`` is what a proof other than executions showed to be executed; ``refused`` is true after a 201.
    """

    id: str
    account: str
    con_id: int
    side: Side
    quantity: Decimal
    position: Decimal
    rule: str
    oca_group: str
    created: datetime
    state: State = State.PLANNED
    order_id: int = 0
    client_id: int = 0
    limit: Decimal = ZERO
    stop: Decimal = ZERO
    sent: datetime | None = None
    perm_id: int = 0
    fills: tuple[Fill, ...] = ()
    proven_filled: Decimal = ZERO
    refused: bool = False
    reason: str = ""
    lead: str = ""
    per_unit: Decimal = Decimal(1)

    @property
    def words(self) -> str:
        """The broker's objection to the order: after a refusal, or an error that is not expected; otherwise empty."""
        code, _, _ = self.reason.partition(" ")
        unexpected = self.state is State.UNKNOWN and code.isdecimal() and int(code) > 0 and int(code) not in MEANINGS
        return self.reason if self.refused or unexpected else ""

    @property
    def ref(self) -> str:
        """The orderRef that the order carries at the broker; that of a combination is its first leg's."""
        return REF_PREFIX + (self.lead or self.id)

    @property
    def own_ref(self) -> str:
        """The mark of this intent alone."""
        return REF_PREFIX + self.id

    @property
    def follows_a_lead(self) -> bool:
        """Whether another intent represents the order at the broker."""
        return bool(self.lead) and self.lead != self.id

    @property
    def filled(self) -> Decimal:
        """What is proven to be executed."""
        return max(total(self.fills), self.proven_filled)

    @property
    def remaining(self) -> Decimal:
        return self.quantity - self.filled

    @property
    def expected_position(self) -> Decimal:
        """The holding after what is proven to be executed."""
        return self.position + self.side.sign * self.filled


@dataclass(frozen=True)
class Sending:
    """The order is about to be passed to the socket. ``position`` was read again just before."""

    order_id: int
    client_id: int
    position: Decimal
    quantity: Decimal
    limit: Decimal
    oca_group: str
    time: datetime
    stop: Decimal = ZERO


@dataclass(frozen=True)
class Dropped:
    """The decision is withdrawn before anything was sent."""

    reason: str


@dataclass(frozen=True)
class Acknowledged:
    """The broker shows the order as its own: an openOrder or orderStatus with a permId."""

    perm_id: int


@dataclass(frozen=True)
class Executed:
    """An execution of this order."""

    fill: Fill


@dataclass(frozen=True)
class Said:
    """An error code that names this order."""

    code: int
    text: str = ""


@dataclass(frozen=True)
class CancelSent:
    """A cancel is about to be passed to the socket."""


@dataclass(frozen=True)
class OutOfSight:
    """The order can no longer be followed: a lost link (1100), a disconnect, a crash, an answer that is overdue."""

    reason: str


@dataclass(frozen=True)
class Proven:
    """What `position_manager.orders.evidence` found to be true. ``filled`` is what it showed to be executed."""

    state: State
    reason: str
    filled: Decimal = ZERO


@dataclass(frozen=True)
class Released:
    """A person has checked a locked intent, and answers for the position."""

    by: str


Event = Sending | Dropped | Acknowledged | Executed | Said | CancelSent | OutOfSight | Proven | Released


def is_known(intent: Intent, event: Acknowledged) -> bool:
    """Whether the acknowledgement brings nothing new to the intent."""
    return intent.state is not State.SENDING and intent.perm_id == event.perm_id


class Effect(StrEnum):
    """What must follow from an event, besides the new state."""

    ASK = "ask the broker: a full sync"
    LOCK = "lock the instrument until a person releases it"
    PAGE = "page a person"


class IllegalTransitionError(Exception):
    """An event that must not happen in this state; the message names both."""


@dataclass(frozen=True)
class Change:
    """The intent after an event, and what must follow."""

    intent: Intent
    effects: tuple[Effect, ...] = ()


_LOCK = (Effect.LOCK, Effect.PAGE)


def apply(intent: Intent, event: Event) -> Change:
    """The intent after an event. Evidence may come late, twice and in any order; an event that adds nothing new changes
    nothing. Raises IllegalTransitionError for a step of ours that the state forbids."""
    change = _after(intent, event)
    old, new = intent.state, change.intent.state
    if new is not old and new not in LEGAL[old]:
        raise IllegalTransitionError(f"intent {intent.id} is {old}, {type(event).__name__} would make it {new}")
    return change


def _after(intent: Intent, event: Event) -> Change:
    match event:
        case Sending():
            return _moved(
                replace(
                    intent,
                    order_id=event.order_id,
                    client_id=event.client_id,
                    position=event.position,
                    quantity=event.quantity,
                    limit=event.limit,
                    stop=event.stop,
                    oca_group=event.oca_group,
                    sent=event.time,
                ),
                State.SENDING,
                must_be=State.PLANNED,
            )
        case Dropped():
            return _moved(intent, State.CANCELLED, event.reason, must_be=State.PLANNED)
        case Acknowledged():
            if is_known(intent, event):
                return Change(intent)
            known = replace(intent, perm_id=event.perm_id)
            return _moved(known, _live(known)) if intent.state is State.SENDING else Change(known)
        case Executed():
            return _executed(intent, event.fill)
        case Said():
            return _on_code(intent, event)
        case CancelSent():
            if intent.state not in (State.WORKING, State.PARTIAL, State.CANCELLING):
                raise IllegalTransitionError(f"intent {intent.id} is {intent.state}, which cannot be cancelled")
            return _moved(intent, State.CANCELLING)
        case OutOfSight():
            return _unknown(intent, event.reason)
        case Proven():
            return _proven(intent, event)
        case Released():
            return _moved(intent, State.LOST, f"released by {event.by}", must_be=State.LOCKED)


def _moved(intent: Intent, state: State, reason: str = "", must_be: State | None = None) -> Change:
    if must_be is not None and intent.state is not must_be:
        raise IllegalTransitionError(f"intent {intent.id} is {intent.state}, {must_be} is needed to make it {state}")
    return Change(replace(intent, state=state, reason=reason))


def _live(intent: Intent) -> State:
    return State.PARTIAL if intent.filled else State.WORKING


def _unknown(intent: Intent, reason: str) -> Change:
    if intent.state not in AT_BROKER:
        return Change(intent)
    return Change(replace(intent, state=State.UNKNOWN, reason=reason), (Effect.ASK,))


def _executed(intent: Intent, fill: Fill) -> Change:
    if any(known.exec_id == fill.exec_id for known in intent.fills):
        return Change(intent)
    more = replace(intent, fills=(*intent.fills, fill))
    if more.filled > more.quantity:
        reason = f"executed {more.filled} of {more.quantity}"
        state = State.LOCKED if intent.state in OPEN else intent.state
        return Change(replace(more, state=state, reason=reason), _LOCK)
    surprise = intent.state in TERMINAL and more.filled != intent.filled
    effects = _LOCK if surprise else ()
    if more.filled == more.quantity:
        return Change(replace(more, state=State.FILLED, reason="executed in full"), effects)
    if surprise:
        return Change(replace(more, reason=f"executed after it was {intent.state}"), effects)
    return Change(replace(more, state=State.PARTIAL) if intent.state in (State.SENDING, State.WORKING) else more)


def _on_code(intent: Intent, event: Said) -> Change:
    meaning = MEANINGS.get(event.code, Meaning.ASK)
    reason = f"{event.code} {event.text}".rstrip()
    if meaning is Meaning.LIVE or intent.state not in AT_BROKER:
        return Change(intent)
    if meaning is Meaning.REJECTED:
        refused = replace(intent, refused=True, reason=reason)
        if intent.state is State.SENDING and not intent.filled and not intent.lead:
            # Never retried blindly: the same order would be refused again, or filled for another reason.
            return Change(replace(refused, state=State.REJECTED), _LOCK)
        return _unknown(refused, reason)
    return _unknown(intent, reason)


def _proven(intent: Intent, event: Proven) -> Change:
    if intent.state in TERMINAL:
        return Change(intent)
    if intent.state is State.LOCKED and event.state not in TERMINAL:
        return Change(intent)
    new = replace(intent, state=event.state, reason=event.reason, proven_filled=max(intent.proven_filled, event.filled))
    if event.state in (State.LOCKED, State.REJECTED):
        return Change(new, _LOCK)
    return Change(new)
