"""Bounded limit prices for closing: from the middle to the far side, never past a cap.

Each rung is its own order: the one before is cancelled and proven over first. A market order is never created: what the
bounds forbid is reported as `CapReached`, and a person may approve an emergency order. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from enum import StrEnum

from position_manager.model import Instrument, Position, Quote
from position_manager.orders.intents import Side
from position_manager.rules.spread import SpreadBound, spread_of


@dataclass(frozen=True)
class LadderPolicy:
    """How a price is walked.

    ``steps`` rungs above the first: rung 0 is the middle, rung ``steps`` the far side. ``interval`` is how long a rung
    rests. No order is sent while the spread is wider than ``spread``, and no price is further from the middle at the
    start than ``max_slippage`` (a fraction of it: 0.10 is 10 %) or ``slippage_ticks``, whichever is more.

    Raises ValueError, naming the field, for values that define no valid ladder.
    """

    steps: int = 4
    interval: timedelta = timedelta(seconds=5)
    spread: SpreadBound = field(default_factory=SpreadBound)
    max_slippage: Decimal = Decimal("0.10")
    slippage_ticks: int = 2

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}; it must be 1 or more")
        if self.interval <= timedelta():
            raise ValueError(f"interval is {self.interval.total_seconds():g} s; it must be more than 0")
        if not 0 < self.max_slippage < 1:
            raise ValueError(f"max_slippage is {self.max_slippage}; it must be a fraction between 0 and 1")
        if self.slippage_ticks < 0:
            raise ValueError(f"max_slippage_ticks is {self.slippage_ticks}; it must be 0 or more")

    def cap(self, instrument: Instrument, side: Side, reference: Decimal) -> Decimal:
        """The worst price allowed, when the middle was ``reference`` at the start."""
        slip = max(abs(reference) * self.max_slippage, self.slippage_ticks * instrument.increment_at(reference))
        return reference + side.sign * slip


class Bound(StrEnum):
    """Which bound stopped the ladder."""

    SPREAD = "spread"
    SLIPPAGE = "slippage"
    NO_PRICE = "no two-sided quote"


@dataclass(frozen=True)
class Rung:
    """A limit price to send."""

    step: int
    price: Decimal


@dataclass(frozen=True)
class CapReached:
    """The price that the ladder wants is past a bound. ``wanted`` and ``cap`` are prices per unit for SLIPPAGE and
    fractions for SPREAD; None where there is none. An order that rests at the cap may stay there."""

    bound: Bound
    wanted: Decimal | None = None
    cap: Decimal | None = None

    def __str__(self) -> str:
        if self.wanted is None or self.cap is None:
            return f"{self.bound.value}: no price to send"
        return f"{self.bound.value} bound: {self.wanted:.4f} is wanted, {self.cap:.4f} is allowed"


def step_at(started: datetime, now: datetime, policy: LadderPolicy) -> int:
    """The rung that is due; a clock that went back starts at 0, the last rung stays."""
    return max(0, min(policy.steps, (now - started) // policy.interval))


def rung(
    instrument: Instrument, side: Side, quote: Quote, reference: Decimal, started: datetime, now: datetime,
    policy: LadderPolicy,
) -> Rung | CapReached:  # fmt: skip
    """The price to rest at now. ``reference`` is the middle when the ladder started, at ``started``.

    The price follows the quote and is rounded away from the cap: up for a sale, down for a purchase, so the far side,
    which is on a tick, is reached exactly.
    """
    spread, mid = spread_of(quote), quote.mid
    if spread is None or mid is None or quote.bid is None or quote.ask is None:
        return CapReached(Bound.NO_PRICE)
    if not policy.spread.allows(instrument, quote):
        return CapReached(Bound.SPREAD, spread, policy.spread.fraction)
    step = step_at(started, now, policy)
    far = quote.bid if side is Side.SELL else quote.ask
    price = to_tick(instrument, side, mid + (far - mid) * step / policy.steps)
    cap = policy.cap(instrument, side, reference)
    if (cap - price) * side.sign < 0:
        return CapReached(Bound.SLIPPAGE, price, cap)
    return Rung(step, price)


def to_tick(instrument: Instrument, side: Side, price: Decimal) -> Decimal:
    """A price on the instrument's ticks, rounded in our favour; at least one tick, except for a future."""
    tick = instrument.increment_at(price)
    rounding = ROUND_CEILING if side is Side.SELL else ROUND_FLOOR
    on_tick = (price / tick).to_integral_value(rounding) * tick
    return on_tick if instrument.may_be_negative else max(tick, on_tick)


def legs_to_send(legs: Iterable[Position]) -> tuple[Position, ...]:
    """Which legs of a group may be closed now: the short ones, and the long ones only when no short one is left.

    Legs are closed by orders of their own and not by one combination order: the rules about sizes, about one open
    intent for each instrument and about evidence then hold for each leg as for any position. Short legs go first, so
    that a short option is never left without the long one that covers it; in return the group may be long, and only
    long, for a moment, which can lose no more than that leg is worth.
    """
    held = tuple(leg for leg in legs if leg.quantity)
    return tuple(leg for leg in held if leg.quantity < 0) or held
