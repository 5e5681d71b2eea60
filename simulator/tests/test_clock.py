"""The servers' clock: real, faster, or held and advanced."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from gateway_simulator.clock import HeldClockError, ServerClock

START = datetime(2026, 11, 23, 14, 30, tzinfo=UTC)

pytestmark = pytest.mark.asyncio


async def test_a_held_clock_moves_only_when_advanced_and_rings_in_the_order_of_moments() -> None:
    clock = ServerClock(start=START, held=True)
    rung: list[tuple[str, datetime]] = []

    def ring(name: str) -> None:
        rung.append((name, clock.now()))

    def ring_again() -> None:
        ring("first")
        clock.call_at(START + timedelta(seconds=2), lambda: ring("second"))

    clock.call_at(START + timedelta(seconds=3), lambda: ring("third"))
    clock.call_at(START + timedelta(seconds=1), ring_again)
    clock.call_at(START + timedelta(seconds=1.5), lambda: ring("never")).cancel()
    clock.call_at(START + timedelta(seconds=9), lambda: ring("later"))
    await asyncio.sleep(0.01)
    assert clock.now() == START
    assert rung == []
    assert clock.advance(5) == START + timedelta(seconds=5) == clock.now()
    assert rung == [
        ("first", START + timedelta(seconds=1)),
        ("second", START + timedelta(seconds=2)),
        ("third", START + timedelta(seconds=3)),
    ]


async def test_sleepers_of_a_held_clock_wake_when_it_gets_there() -> None:
    clock = ServerClock(start=START, held=True)
    woken: list[str] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(name)

    tasks = [asyncio.create_task(sleeper(name, seconds)) for name, seconds in (("b", 2), ("a", 1), ("c", 3))]
    await asyncio.sleep(0)
    clock.advance(2.5)
    await asyncio.wait(tasks, timeout=0.01)
    assert woken == ["a", "b"]
    clock.advance(1)
    await asyncio.gather(*tasks)
    assert woken == ["a", "b", "c"]


async def test_a_moment_that_has_passed_rings_in_the_next_turn() -> None:
    for clock in (ServerClock(start=START, held=True), ServerClock()):
        rung = asyncio.Event()
        clock.call_at(clock.now() - timedelta(hours=1), rung.set)
        assert not rung.is_set()
        async with asyncio.timeout(1):
            await rung.wait()


async def test_a_fast_clock_starts_where_configured_and_runs_ahead() -> None:
    clock = ServerClock(start=START, speed=10_000)
    started = asyncio.get_running_loop().time()
    async with asyncio.timeout(5):
        await clock.sleep(600)
    took = asyncio.get_running_loop().time() - started
    assert clock.now() >= START + timedelta(seconds=600)
    assert 0.05 < took < 2


async def test_the_zone_is_shown_and_changes_nothing() -> None:
    # On 2026-11-01 New York sets its clocks back at 06:00 UTC.
    before = datetime(2026, 11, 1, 5, 59, tzinfo=UTC)
    clock = ServerClock(ZoneInfo("America/New_York"), start=before, held=True)
    assert f"{clock.now():%H:%M %Z}" == "01:59 EDT"
    clock.advance(120)
    assert f"{clock.now():%H:%M %Z}" == "01:01 EST"
    assert clock.utc() == before + timedelta(seconds=120)
    assert clock.now().astimezone(UTC) == clock.utc()


async def test_a_clock_that_runs_cannot_be_advanced_and_none_goes_back() -> None:
    with pytest.raises(HeldClockError, match="CLOCK=held"):
        ServerClock().advance(1)
    with pytest.raises(ValueError, match="more than 0"):
        ServerClock(held=True).advance(-1)
    with pytest.raises(ValueError, match="speed is 0"):
        ServerClock(speed=0)
