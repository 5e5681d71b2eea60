"""Combinations: the legs of a group closed by one order, its price and its bounds. Pure.

The combination is built so that its price is normally above zero: a group that was paid for is sold at what it brings,
one that brought a credit is bought back at what that costs. Its quote is calculated from those of its legs: each leg
must have a spread at which an order of its own would be sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from math import gcd

from position_manager.model import ZERO, Instrument, Position, Quote
from position_manager.orders.closing import Closing, LegLadder
from position_manager.orders.intents import Side
from position_manager.orders.ladder import Bound, CapReached, LadderPolicy, Rung, step_at, to_tick
from position_manager.rules.groups import Leg, Unit
from position_manager.rules.spread import spread_of

LADDER = 0
"""The ladder of a combination among those of a decision: no contract has this id."""
FEWEST, MOST = 2, 4
"""The maximum number of legs of one order."""


@dataclass(frozen=True)
class Combination:
    """What one order closes: ``quantity`` combinations of the legs, in lowest terms. ``side``: whether it is sold or
    bought; a leg's ratio is that of what is held."""

    legs: tuple[Leg, ...]
    side: Side
    quantity: Decimal

    @property
    def sold(self) -> frozenset[int]:
        """The legs that are sold when the combination is bought."""
        sign = -self.side.sign
        return frozenset(leg.instrument.con_id for leg in self.legs if leg.ratio * sign < 0)

    @property
    def instrument(self) -> Instrument:
        """Its ticks and its multiplier. Prices are on the coarsest tick among the legs, which no exchange refuses."""
        first = self.legs[0].instrument
        tick = max(leg.instrument.increment_at(leg.position.average_price) for leg in self.legs)
        return replace(first, con_id=LADDER, increments=((ZERO, tick),))


def objection(unit: Unit) -> str:
    """Why the legs of a unit form no combination that one order can close; empty if they do."""
    instruments = [leg.instrument for leg in unit.legs]
    if not FEWEST <= len(instruments) <= MOST:
        return f"it has {len(instruments)} legs, not {FEWEST} to {MOST}"
    if not all(instrument.is_option for instrument in instruments):
        return "not all of its legs are options"
    for what in ("symbol", "currency", "multiplier", "kind", "magnifier"):
        if len({getattr(instrument, what) for instrument in instruments}) > 1:
            return f"its legs differ in {what}"
    return ""


def combination_of(closing: Closing, positions: Iterable[Position]) -> Combination | str:
    """The combination that closes what a decision still has to close; why there is none, in words."""
    held = {position.instrument.con_id: position for position in positions}
    legs, counts = [], []
    for con_id, ratio in closing.combo.items():
        position = held.get(con_id)
        if position is None or position.quantity * ratio <= 0:
            return "a leg is not held any more"
        legs.append(Leg(position, ratio))
        counts.append(closing.surplus(position) / abs(ratio))
    if len(set(counts)) != 1 or counts[0] <= 0 or counts[0] % 1:
        return "its legs are no longer in their ratio"
    divisor = gcd(*(int(leg.ratio) for leg in legs))
    lowest = tuple(replace(leg, ratio=leg.ratio / divisor) for leg in legs)
    return Combination(lowest, Side.SELL if closing.direction > 0 else Side.BUY, counts[0] * divisor)


def quote_of(combination: Combination, quotes: Mapping[int, Quote]) -> Quote | None:
    """The quote of a combination from those of its legs; None if a side is missing."""
    far = near = ZERO
    for leg in combination.legs:
        quote = quotes.get(leg.instrument.con_id)
        if quote is None or quote.bid is None or quote.ask is None:
            return None
        far += leg.ratio * (quote.bid if leg.ratio > 0 else quote.ask)
        near += leg.ratio * (quote.ask if leg.ratio > 0 else quote.bid)
    oldest = min(quotes[leg.instrument.con_id].time for leg in combination.legs)
    bid, ask = (far, near) if combination.side is Side.SELL else (-near, -far)
    return Quote(oldest, bid, ask)


def wanted(
    combination: Combination,
    quotes: Mapping[int, Quote],
    ladder: LegLadder | None,
    now: datetime,
    policy: LadderPolicy,
) -> Rung | CapReached:
    """The price to rest at now, within the bounds."""
    quote = quote_of(combination, quotes)
    if quote is None or quote.bid is None or quote.ask is None or quote.mid is None or ladder is None:
        return CapReached(Bound.NO_PRICE)
    for leg in combination.legs:
        if not policy.spread.allows(leg.instrument, quotes[leg.instrument.con_id]):
            return CapReached(Bound.SPREAD, spread_of(quotes[leg.instrument.con_id]), policy.spread.fraction)
    side, instrument = combination.side, combination.instrument
    step = step_at(ladder.begun, now, policy)
    far = quote.bid if side is Side.SELL else quote.ask
    price = quote.mid + (far - quote.mid) * step / policy.steps
    if price <= 0:
        # What is worth nothing as a whole is closed leg by leg.
        return CapReached(Bound.NO_PRICE)
    price = to_tick(instrument, side, price)
    cap = policy.cap(instrument, side, ladder.reference)
    if (cap - price) * side.sign < 0:
        return CapReached(Bound.SLIPPAGE, price, cap)
    return Rung(step, price)


def contracts(combination: Combination, quantity: Decimal) -> dict[int, Decimal]:
    """How many contracts of each leg are closed by this many combinations."""
    return {leg.instrument.con_id: abs(leg.ratio) * quantity for leg in combination.legs}
