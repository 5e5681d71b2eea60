"""Targets that change with the days, counted in the zone of the exchange."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tests.unit.position_manager.engine_world import ALWAYS, BEGIN, CONFIG, Manager, ManualClock, World, put
from tests.unit.position_manager.rule_fixtures import NOW, assess, held, option, quote, rules, run

from position_manager.config.schema import Config
from position_manager.engine.engine_status import status_of
from position_manager.episodes import continued, opened_at
from position_manager.model import Hours, Instrument
from position_manager.replay.replay import replay
from position_manager.replay.tape import Tick
from position_manager.rules.evaluation import Close, Hold, Memory, Rule
from position_manager.ulid import ulid

STEPS = [{"from_dte": 45, "percent_of_premium": 50}, {"from_dte": 21, "percent_of_premium": 25}]
BY_DTE = rules(target={"steps": STEPS}, stop={"percent_of_premium": 90})


def level_with(expiry: date, **more: Any) -> Decimal | None:
    """The level of the target of a long option at 2.50 that expires then."""
    verdict, _ = assess(held(1, instrument=option(expiry=expiry, **more)), BY_DTE, quote("2.50", "2.50"))
    assert isinstance(verdict, Hold)
    return None if verdict.target is None else verdict.target.level


@pytest.mark.parametrize(("dte", "level"), [(46, None), (45, "3.75"), (22, "3.75"), (21, "3.125"), (0, "3.125")])
def test_a_step_holds_from_its_day_to_the_next_step(dte: int, level: str | None) -> None:
    assert level_with(NOW.date() + timedelta(days=dte)) == (None if level is None else Decimal(level))


@pytest.mark.parametrize(("zone", "level"), [("Asia/Tokyo", "3.125"), ("America/New_York", "3.75")])
def test_a_day_is_that_of_the_exchange(zone: str, level: str) -> None:
    """At 15:00 UTC it is the 24th in Tokyo and the 23rd in New York: 21 or 22 days to an expiry on December 15."""
    there = ZoneInfo(zone)
    hours = (Hours((NOW - timedelta(hours=1)).astimezone(there), (NOW + timedelta(hours=5)).astimezone(there)),)
    assert level_with(date(2026, 12, 15), liquid_hours=hours) == Decimal(level)


def test_days_held_count_from_the_first_sight_of_the_position() -> None:
    steps = [{"from_days_held": 0, "percent_of_premium": 50}, {"from_days_held": 10, "percent_of_premium": 25}]
    rule_set = rules(target={"steps": steps})
    for days, level in ((9, "3.75"), (10, "3.125")):
        episode = continued(ulid(NOW - timedelta(days=days), bytes))
        verdict, _ = assess(held(1), rule_set, quote("2.50", "2.50"), memory=Memory(direction=1, episode=episode))
        assert isinstance(verdict, Hold) and verdict.target is not None
        assert verdict.target.level == Decimal(level)


def test_a_group_is_held_since_its_youngest_leg() -> None:
    old, young = ulid(NOW - timedelta(days=9), bytes), ulid(NOW - timedelta(days=2), bytes)
    assert opened_at(f"{old}.3|pm-{young}") == NOW - timedelta(days=2)
    assert opened_at(f"{old}|something") is None


def test_a_step_fires_like_a_target() -> None:
    verdict, _ = run(held(1, instrument=option(expiry=NOW.date() + timedelta(days=21))), BY_DTE, ["3.13", "3.13"])[-1]
    assert isinstance(verdict, Close) and verdict.rule is Rule.TARGET and "25 %" in verdict.text


def test_the_step_changes_at_midnight_although_the_price_does_not(tmp_path: Path) -> None:
    """A market around the clock at a price that does not move: only the day shows that the target is another."""

    async def story() -> None:
        at = World(ManualClock(datetime(2026, 11, 23, 23, 59, 0, tzinfo=UTC)))
        instrument: Instrument = replace(put(42, always=True), expiry=date(2026, 12, 15), liquid_hours=ALWAYS)
        at.hold(instrument, 2)
        at.quote(42, "3.20", "3.24")
        manager = Manager(at, tmp_path, {**CONFIG, "defaults": {"target": {"steps": STEPS}}})
        await manager.start()
        for _ in range(10):
            at.quote(42, "3.20", "3.24")
            await at.clock.advance(5)
        assert not at.received
        (unit,) = status_of(manager.engine, "").units
        assert unit.rules == (
            "target: steps percent_of_premium 50, from_dte 45; percent_of_premium 25, from_dte 21 (defaults.target)",
        )
        for _ in range(5):
            at.quote(42, "3.20", "3.24")
            await at.clock.advance(5)
        (order,) = at.live(42)
        assert order.sent.quantity == 2
        await manager.end()

    asyncio.run(story())


def test_replay_counts_days_from_its_first_line() -> None:
    steps = [{"from_days_held": 0, "percent_of_premium": 90}, {"from_days_held": 1, "percent_of_premium": 20}]
    config = Config.model_validate({"mode": "sim", "defaults": {"target": {"steps": steps}}})
    position = held(1, instrument=option(1, liquid_hours=()))
    times = [BEGIN, BEGIN + timedelta(seconds=1), BEGIN + timedelta(days=1), BEGIN + timedelta(days=1, seconds=1)]
    (outcome,) = replay({"a": position}, [Tick("a", quote("3.10", "3.10", time)) for time in times], config)
    assert outcome.closed is not None and outcome.closed_at == times[-1]
