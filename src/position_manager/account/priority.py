"""In which order the units of an account are closed, and which must wait for another one. Pure.

Short units first, the largest obligation before the others, so that a cap on orders per minute delays the lesser ones.
A long unit waits until no short one of the same underlying is left: it may be what covers that one. It waits for a
short one that is not to be closed at all only if it can cover it.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from position_manager.model import Instrument, Right
from position_manager.rules.groups import Unit

ZERO = Decimal(0)


def obligation(unit: Unit) -> Decimal:
    """The maximum obligation of the short legs of a unit: strike or price, times quantity, times multiplier."""
    return sum(
        (
            abs(leg.position.quantity)
            * leg.instrument.multiplier
            * (leg.instrument.strike or leg.position.average_price)
            for leg in unit.legs
            if leg.position.quantity < 0
        ),
        ZERO,
    )


def _worth(unit: Unit) -> Decimal:
    return sum(
        (abs(leg.position.quantity) * leg.instrument.multiplier * leg.position.average_price for leg in unit.legs),
        ZERO,
    )


def in_order(units: Iterable[Unit]) -> list[Unit]:
    """All of them, the one to be closed first before the others."""
    return sorted(units, key=lambda unit: (-obligation(unit), -_worth(unit), unit.key))


def waits_for(unit: Unit, others: Iterable[Unit]) -> Unit | None:
    """The short unit among ``others`` that must be closed before this one; None if it need not wait."""
    if obligation(unit):
        return None
    symbols = {leg.instrument.symbol for leg in unit.legs}
    for other in others:
        shorts = {leg.instrument.symbol for leg in other.legs if leg.position.quantity < 0}
        if other is not unit and shorts & symbols:
            return other
    return None


def covers(unit: Unit, others: Iterable[Unit]) -> Unit | None:
    """The short unit among ``others`` that a long unit can cover; None if there is none."""
    if obligation(unit):
        return None
    for other in others:
        shorts = [leg.instrument for leg in other.legs if leg.position.quantity < 0]
        if other is not unit and any(_covers(leg.instrument, short) for leg in unit.legs for short in shorts):
            return other
    return None


def _covers(long: Instrument, short: Instrument) -> bool:
    if long.symbol != short.symbol:
        return False
    # A short put is covered by a long put alone; a short call or stock by a long call, stock or future.
    return (long.right is Right.PUT) is (short.right is Right.PUT)
