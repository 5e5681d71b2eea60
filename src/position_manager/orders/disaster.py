"""The disaster stop: a stop-limit that rests at the broker while the manager is away. Pure.

It is an intent like any other, so there is never more than one live order of ours for a contract: when a rule fires,
the disaster stop is cancelled, that is proven, and then the close is sent. Both belong to the OCA group of the
position's episode, so that the broker lets only one of them trade if they should ever meet.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from position_manager.model import Position
from position_manager.orders.disaster_settings import DisasterStop
from position_manager.orders.intents import Intent, State, closing_side
from position_manager.orders.ladder import to_tick
from position_manager.rules.groups import Leg, Unit

RULE = "disaster stop"


@dataclass(frozen=True)
class StopOrder:
    """Where it triggers, and the worst price that it then takes; per unit, on the instrument's ticks."""

    trigger: Decimal
    limit: Decimal


def wanted(unit: Unit, leg: Leg, policy: DisasterStop) -> StopOrder | None:
    """The disaster stop of a leg. None for a long position that cannot lose so much, and for the legs of a group but
    for short ones, if the policy has a percent for them: a stop of the broker knows one contract, not the price of the
    group. To buy a short leg back never adds risk; to sell a long one could leave the short one uncovered."""
    if unit.problem is not None:
        return None
    percent = policy.percent_of_premium
    if len(unit.legs) != 1:
        if leg.ratio > 0 or policy.short_legs_percent is None:
            return None
        percent = policy.short_legs_percent
    position, entry = leg.position, leg.position.average_price
    side = closing_side(position.quantity)
    loss = entry * percent / 100
    trigger = entry + side.sign * loss
    if trigger <= 0 or entry <= 0:
        return None
    trigger = to_tick(position.instrument, side, trigger)
    limit = to_tick(position.instrument, side, trigger * (1 + side.sign * policy.limit_percent / 100))
    return StopOrder(trigger, limit)


def outdated(intent: Intent, position: Position, order: StopOrder | None, room: Decimal) -> str | None:
    """Why a resting disaster stop no longer fits; None if it does. ``room``: how much of the position no order of
    others would close."""
    if not intent.stop or intent.state not in (State.WORKING, State.PARTIAL):
        return None
    if order is None:
        return "no disaster stop is wanted"
    if not room <= intent.remaining <= abs(position.quantity):
        return f"it is for {intent.remaining}, {position.quantity} are held"
    if (intent.stop, intent.limit) != (order.trigger, order.limit):
        return f"{order.trigger} is wanted, it is at {intent.stop}"
    return None
