"""What to do next about a position that is to be closed: send, cancel, wait, or report that a bound was reached. Pure.

A decision to close remains in effect until the position is gone or a person withdraws it, across restarts too: a price
that comes back for a moment does not cancel a close of which a part may be executed already.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from pydantic import TypeAdapter, ValidationError

from position_manager.model import ZERO, Position, Quote
from position_manager.orders.intents import Intent, Side, State, closing_side
from position_manager.orders.ladder import Bound, CapReached, LadderPolicy, Rung, rung, to_tick
from position_manager.rules.spread import spread_of

LADDER_STATES = frozenset({State.WORKING, State.PARTIAL})
"""States in which an order rests and may be cancelled for a better price."""


@dataclass(frozen=True)
class LegLadder:
    """Where the price ladder of one contract started; ``reference`` is the middle at that time."""

    begun: datetime
    reference: Decimal


@dataclass(frozen=True)
class Closing:
    """A decision to close a unit. ``legs``: contract ids with the signed position when it was decided.

    ``episodes``: those of the legs; the decision is void once a leg is in another one (`journal.Holding`).
    ``worthless``: by contract id, the price up to which a wing is left to expire.
    ``leaves``: by contract id, the signed quantity that is left, if only a part is closed; ``level``: the number of the
    partial target that it is for.
    ``combo``: by contract id, the signed ratios of a group that one combination order closes, in its ``direction``
    (`Unit.direction`), for ``combo_seconds`` at most; empty: its legs are closed one by one.
    ``prices``: by contract id, limit prices that a person has approved in place of the ladder's. ``by``: that person,
    or empty.
    """

    unit: str
    name: str
    account: str
    rule: str
    text: str
    decided: datetime
    legs: Mapping[int, Decimal]
    ladders: Mapping[int, LegLadder] = field(default_factory=dict)
    prices: Mapping[int, Decimal] = field(default_factory=dict)
    by: str = ""
    episodes: Mapping[int, str] = field(default_factory=dict)
    worthless: Mapping[int, Decimal] = field(default_factory=dict)
    leaves: Mapping[int, Decimal] = field(default_factory=dict)
    level: int = 0
    combo: Mapping[int, Decimal] = field(default_factory=dict)
    direction: int = 1
    combo_seconds: float = 0.0

    def surplus(self, position: Position) -> Decimal:
        """How much of a leg is still to be closed, above zero or 0. What somebody adds meanwhile is not."""
        con_id = position.instrument.con_id
        held = min(abs(position.quantity), abs(self.legs[con_id])) if self.leaves else abs(position.quantity)
        return max(ZERO, held - abs(self.leaves.get(con_id, ZERO)))

    def whole(self, rule: str, text: str, decided: datetime, by: str = "") -> Closing:
        """The same, but all of it is to be closed."""
        return replace(self, rule=rule, text=text, decided=decided, by=by, leaves={}, level=0, ladders={})

    def with_ladder(self, con_id: int, now: datetime, quote: Quote) -> Closing:
        """With a ladder for this contract that starts now, at the middle of a quote."""
        if quote.mid is None:
            return self
        return replace(self, ladders={**self.ladders, con_id: LegLadder(now, quote.mid)})

    def to_json(self) -> str:
        """For the journal."""
        return _CLOSING.dump_json(self).decode()

    @staticmethod
    def from_json(text: str) -> Closing:
        """Raises ValueError if the text is no decision."""
        try:
            return _CLOSING.validate_json(text)
        except ValidationError as error:
            raise ValueError(f"this is no decision to close: {error}") from error


_CLOSING = TypeAdapter(Closing)


@dataclass(frozen=True)
class Send:
    """Send an order at this limit price."""

    price: Decimal


@dataclass(frozen=True)
class Cancel:
    """Cancel the order that rests; once that is proven, a better price follows."""

    why: str


@dataclass(frozen=True)
class Wait:
    """Nothing to do before ``until``; None: before the next broker event."""

    until: datetime | None = None


Move = Send | Cancel | Wait | CapReached


def next_move(
    closing: Closing, leg: Position, quote: Quote | None, intent: Intent | None, now: datetime, policy: LadderPolicy
) -> Move:
    """What to do about one contract of the decision. ``intent`` is its open one, if any."""
    if intent is not None and intent.state not in LADDER_STATES:
        return Wait()
    side = closing_side(leg.quantity)
    wanted = _wanted(closing, leg, side, quote, now, policy)
    if intent is not None and intent.stop:
        # The disaster stop stays as long as there is no price to close at.
        return wanted if isinstance(wanted, CapReached) else Cancel("a rule closes in its place")
    if intent is None:
        return Send(wanted.price) if isinstance(wanted, Rung) else wanted
    # A clock that was set back does not hold an order where it is.
    sent = now if intent.sent is None or intent.sent > now else intent.sent
    due = sent + policy.interval
    if isinstance(wanted, CapReached):
        # What rests at an allowed price may stay there.
        return wanted
    if (wanted.price - intent.limit) * side.sign <= 0:
        return Wait(due if now < due else now + policy.interval)
    if now < due and leg.instrument.con_id not in closing.prices:
        return Wait(due)
    return Cancel(f"{wanted.price} instead of {intent.limit}")


def _wanted(
    closing: Closing, leg: Position, side: Side, quote: Quote | None, now: datetime, policy: LadderPolicy
) -> Rung | CapReached:
    approved = closing.prices.get(leg.instrument.con_id)
    if approved is not None:
        return Rung(0, to_tick(leg.instrument, side, approved))
    ladder = closing.ladders.get(leg.instrument.con_id)
    if quote is None:
        return CapReached(Bound.NO_PRICE)
    if not policy.spread.allows(leg.instrument, quote):
        return CapReached(Bound.SPREAD, spread_of(quote), policy.spread.fraction)
    if ladder is None:
        return CapReached(Bound.NO_PRICE)
    return rung(leg.instrument, side, quote, ladder.reference, ladder.begun, now, policy)
