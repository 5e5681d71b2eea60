"""What contradicts itself within one level of the rules, beside stop and target. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from position_manager.config.errors import Key
from position_manager.rules.rule_set import PartialTargets, RuleSet, Stop, StrikeStop, Target, TargetLevel


def within(key: Key, rules: RuleSet, side: str | None, short_options: bool) -> Iterator[tuple[Key, str]]:
    """The contradictions of partial targets, of the steps of a target and of a strike stop, as key and text. ``side``:
    the one that the level is for, None for both; ``short_options``: whether it can be for a short option."""
    if isinstance(rules.strike_stop, StrikeStop) and not short_options:
        yield (*key, "strike_stop"), "is for short options, and there is none here"
    stop = rules.stop if isinstance(rules.stop, Stop) else None
    target = rules.target if isinstance(rules.target, Target) else None
    for index, step in enumerate((target.steps if target else None) or ()):
        yield from _level((*key, "target", "steps", index), step, stop, side)
    parts = rules.partial_targets if isinstance(rules.partial_targets, PartialTargets) else None
    for index, level in enumerate(parts.levels if parts else ()):
        place = (*key, "partial_targets", "levels", index)
        yield from _level(place, level, stop, side)
        yield from _before_the_target(place, level, target, side)


def _level(place: Key, level: TargetLevel, stop: Stop | None, side: str | None) -> Iterator[tuple[Key, str]]:
    if side == "short" and level.percent_of_premium is not None and level.percent_of_premium >= 100:
        yield (*place, "percent_of_premium"), "must be less than 100 for a short position: no ask is 0"
    if stop is None or stop.price is None or level.price is None:
        return
    if stop.price == level.price:
        yield (*place, "price"), f"is the stop's price too ({stop.price})"
    elif side is not None and (level.price > stop.price) != (side == "long"):
        relation = "above" if side == "long" else "below"
        yield (*place, "price"), f"must be {relation} the stop's price ({stop.price}) for a {side} position"


def _before_the_target(
    place: Key, level: TargetLevel, target: Target | None, side: str | None
) -> Iterator[tuple[Key, str]]:
    """A level at or beyond the target is never reached: the target closes all of it."""
    if target is None:
        return
    for name in ("percent_of_premium", "profit_amount"):
        here, there = getattr(level, name), getattr(target, name)
        if here is not None and there is not None and here >= there:
            yield (*place, name), f"must be less than the target's ({there}), which closes all of it; it is {here}"
    if level.price is not None and target.price is not None and level.price == target.price:
        yield (*place, "price"), f"is the target's price too ({target.price})"
    elif level.price is not None and target.price is not None and side is not None:
        beyond = {"long": level.price > target.price, "short": level.price < target.price}
        if beyond[side]:
            relation = "below" if side == "long" else "above"
            yield (*place, "price"), f"must be {relation} the target's price ({target.price}), which closes all of it"
