"""Targets that change with the days: which step holds now. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, time, timedelta, tzinfo

from position_manager.episodes import opened_at
from position_manager.model import Hours
from position_manager.rules.groups import Unit
from position_manager.rules.rule_set import LEVEL_FIELDS, RuleSet, Target, TargetStep


def sessions_zone(sessions: Iterable[Hours], fallback: tzinfo) -> tzinfo:
    """The zone of the exchange, in which the broker reports the sessions; the rules' own if none is known."""
    first = next(iter(sessions), None)
    return fallback if first is None or first.begin.tzinfo is None else first.begin.tzinfo


def next_midnight(now: datetime, zone: tzinfo) -> datetime:
    """When the next day starts in a zone."""
    return datetime.combine(now.astimezone(zone).date() + timedelta(days=1), time(), zone)


def has_steps(rules: RuleSet) -> bool:
    return isinstance(rules.target, Target) and rules.target.steps is not None


def in_force(rules: RuleSet, unit: Unit, today: date, opened: date | None) -> RuleSet:
    """The rules with the target that holds today in place of its steps. ``today`` and ``opened``, the day on which the
    position was first counted (None: not known, it counts as today), are days of the exchange."""
    target = rules.target
    if not isinstance(target, Target) or target.steps is None:
        return rules
    step = step_of(target.steps, unit, today, opened or today)
    others = {name: rule for name, rule in rules.own_rules.items() if name != "target"}
    if step is None:
        return RuleSet().model_copy(update=others)
    level = Target(**{name: getattr(step, name) for name in LEVEL_FIELDS})
    return RuleSet().model_copy(update={**others, "target": level})


def step_of(steps: Iterable[TargetStep], unit: Unit, today: date, opened: date) -> TargetStep | None:
    """The last step that has started; None before the first, and for days to an expiry that there is not."""
    found = None
    for step in steps:
        if step.from_dte is not None:
            in_effect = unit.first_expiry is not None and (unit.first_expiry - today).days <= step.from_dte
        else:
            in_effect = (today - opened).days >= (step.from_days_held or 0)
        found = step if in_effect else found
    return found


def opened_on(episode: str, zone: tzinfo) -> date | None:
    """The day on which an episode's position was first counted."""
    opened = opened_at(episode)
    return None if opened is None else opened.astimezone(zone).date()
