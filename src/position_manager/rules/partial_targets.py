"""Partial targets: which levels are left, and how much a level closes. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_FLOOR, Decimal

from position_manager.model import ZERO
from position_manager.rules.groups import Unit
from position_manager.rules.rule_set import PartialLevel, PartialTargets


def levels_left(rule: PartialTargets, done: tuple[int, ...]) -> Iterator[tuple[int, PartialLevel]]:
    """The levels that were not closed yet, with their numbers from 1."""
    return ((number, level) for number, level in enumerate(rule.levels, 1) if number not in done)


def part_of(level: PartialLevel, quantity: Decimal) -> Decimal:
    """How many of ``quantity`` units a level closes: whole ones, rounded down; 0 if that is less than one."""
    wanted = Decimal(level.close_quantity or 0)
    if level.close_percent is not None:
        wanted = quantity * level.close_percent / 100
    return max(ZERO, min(quantity, wanted)).to_integral_value(ROUND_FLOOR)


def left_of(unit: Unit, part: Decimal) -> dict[int, Decimal]:
    """What is left of each leg, signed and by contract id, once so many units of it are closed."""
    return {leg.instrument.con_id: leg.ratio * (unit.quantity - part) for leg in unit.legs}
