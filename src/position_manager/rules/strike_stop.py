"""Where the underlying closes a short option: the levels of a strike stop. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from position_manager.model import ZERO, Instrument, Right
from position_manager.rules.groups import Leg, Unit
from position_manager.rules.rule_set import StrikeStop


class StrikeLevel(NamedTuple):
    """At which price of its underlying a short option closes; ``below``: at or below it."""

    leg: Leg
    level: Decimal
    below: bool


def short_options(unit: Unit) -> tuple[Leg, ...]:
    """The legs that a strike stop counts for."""
    return tuple(leg for leg in unit.legs if leg.ratio < 0 and leg.instrument.right is not None)


def levels(unit: Unit, rule: StrikeStop) -> tuple[StrikeLevel, ...]:
    """The levels of all short options of a unit."""
    found = []
    for leg in short_options(unit):
        below = leg.instrument.right is Right.PUT
        room = out_of_the_money(rule, leg.instrument)
        found.append(StrikeLevel(leg, leg.instrument.strike + (room if below else -room), below))
    return tuple(found)


def out_of_the_money(rule: StrikeStop, instrument: Instrument) -> Decimal:
    """How far the underlying still is from the strike at the level; negative beyond it."""
    strike = instrument.strike
    if rule.out_of_the_money_amount is not None:
        return rule.out_of_the_money_amount
    if rule.out_of_the_money_percent is not None:
        return strike * rule.out_of_the_money_percent / 100
    if rule.in_the_money_amount is not None:
        return -rule.in_the_money_amount
    if rule.in_the_money_percent is not None:
        return -strike * rule.in_the_money_percent / 100
    return ZERO


def words(rule: StrikeStop) -> str:
    """The rule in words, after the strike."""
    if rule.touched:
        return "touched"
    for name in ("out_of_the_money", "in_the_money"):
        for kind, mark in (("amount", ""), ("percent", " %")):
            value = getattr(rule, f"{name}_{kind}")
            if value is not None:
                return f"{value}{mark} {name.replace('_', ' ')}"
    raise ValueError("a strike stop without a distance")
