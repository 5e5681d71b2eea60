"""Which rule holds for a guarded unit: positions over groups over underlyings over defaults, rule by rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from position_manager.config.errors import key_text
from position_manager.config.schema import Config
from position_manager.rules.groups import Unit
from position_manager.rules.rule_set import RuleSet
from position_manager.rules.selectors import PositionRules


@dataclass(frozen=True)
class Resolved:
    """The rules of one unit. ``origins``: for each rule that holds, or that is switched off, the key in the file that
    sets it. ``ignored``: keys of entries for single contracts that do not count, as the contract is a leg of a group of
    several."""

    rules: RuleSet
    origins: Mapping[str, str]
    ignored: tuple[str, ...] = ()


def resolve(unit: Unit, config: Config) -> Resolved:
    """The rules that guard a unit."""
    merged: dict[str, object] = {}
    origins: dict[str, str] = {}
    for key, level in _levels(unit, config):
        for name, rule in level.own_rules.items():
            if name not in origins:
                origins[name] = f"{key}.{name}"
                if rule != "off":
                    merged[name] = rule
    # Every rule was validated where it was read.
    rules = RuleSet().model_copy(update=merged)
    ignored = () if len(unit.legs) == 1 else tuple(_entries(unit, config))
    return Resolved(rules, origins, ignored)


def _levels(unit: Unit, config: Config) -> Iterator[tuple[str, RuleSet]]:
    if len(unit.legs) == 1:
        entries = _entries(unit, config)
        # The sort is stable: of equally precise entries the first in the file stays first.
        best = sorted(entries.items(), key=lambda item: item[1].match.precision, reverse=True)[:1]
        yield from best
    if unit.group is not None:
        yield key_text(("groups", unit.group)), config.groups[unit.group]
    if unit.symbol is not None and unit.symbol in config.underlyings:
        yield key_text(("underlyings", unit.symbol)), config.underlyings[unit.symbol]
    yield "defaults", config.defaults


def _entries(unit: Unit, config: Config) -> dict[str, PositionRules]:
    return {
        key_text(("positions", index)): entry
        for index, entry in enumerate(config.positions)
        if any(entry.match.matches(leg.position) for leg in unit.legs)
    }
