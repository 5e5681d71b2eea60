"""Resting orders are cancelled only for an order that the gates would let pass, and shadow touches nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from tests.unit.position_manager.engine_world import BEGIN, CONFIG, Manager, ManualClock, World, put

DISASTER: Mapping[str, object] = {**CONFIG, "disaster_stop": {"percent_of_premium": 200}}


def world() -> World:
    at = World(ManualClock(BEGIN))
    at.hold(put(42), -2)
    at.quote(42, "2.45", "2.55")
    return at


async def breach(at: World, bid: str = "3.75", ask: str = "3.85", times: int = 2) -> None:
    for _ in range(times):
        at.quote(42, bid, ask)
        await at.clock.advance(1)


def test_under_a_halt_the_ladder_leaves_its_order_where_it_is(tmp_path: Path) -> None:
    async def story() -> None:
        at = world()
        manager = Manager(at, tmp_path)
        await manager.start()
        await breach(at)
        (order,) = at.ours(42)
        (tmp_path / "HALT").touch()
        await breach(at, times=30)
        assert not order.over
        assert len(at.received) == 1
        await manager.end()

    asyncio.run(story())


def test_the_disaster_stop_stays_while_the_spread_is_too_wide(tmp_path: Path) -> None:
    async def story() -> None:
        at = world()
        manager = Manager(at, tmp_path, DISASTER)
        await manager.start()
        await at.clock.advance(6)
        (resting,) = at.ours(42)
        await breach(at, "3.00", "5.00", times=2)
        await manager.engine.close("42", by="a test")
        await breach(at, "3.00", "5.00", times=20)
        assert not resting.over, "there is no price to close at"
        await breach(at)
        assert resting.over
        assert len(at.received) == 2
        await manager.end()

    asyncio.run(story())


def test_at_the_cap_of_orders_what_rests_stays(tmp_path: Path) -> None:
    async def story() -> None:
        at = world()
        at.hold(put(43, 440), 1)
        at.quote(43, "2.45", "2.55")
        manager = Manager(at, tmp_path, {**DISASTER, "caps": {"orders_per_day": 1}})
        await manager.start()
        await at.clock.advance(6)
        (resting,) = at.ours(42)
        # The one close of this day.
        await manager.engine.close("43", by="a test")
        await at.clock.advance(1)
        assert len(at.received) == 2
        await breach(at, times=20)
        assert not resting.over
        assert len(at.received) == 2
        await manager.end()

    asyncio.run(story())


def test_shadow_leaves_the_orders_of_the_paper_manager_alone(tmp_path: Path) -> None:
    async def story() -> None:
        at = world()
        manager = Manager(at, tmp_path, DISASTER)
        await manager.start()
        await at.clock.advance(6)
        (resting,) = at.ours(42)
        await manager.end()
        (tmp_path / "shadow").mkdir()
        shadow = Manager(at, tmp_path / "shadow", {**DISASTER, "mode": "shadow"})
        await shadow.start()
        await at.clock.advance(120)
        assert not resting.over
        assert not shadow.engine.shared.locks.present
        assert "stray_order" not in shadow.kinds
        await shadow.end()

    asyncio.run(story())


def test_a_live_order_of_ours_that_nobody_knows_is_cancelled_and_locks(tmp_path: Path) -> None:
    async def story() -> None:
        at = world()
        first = Manager(at, tmp_path, DISASTER)
        await first.start()
        await at.clock.advance(6)
        (resting,) = at.ours(42)
        await first.end()
        (tmp_path / "new").mkdir()
        other = Manager(at, tmp_path / "new")
        await other.start()
        await at.clock.advance(40)
        assert resting.over
        assert other.engine.shared.locks.present
        assert "stray_order" in other.kinds
        await other.end()

    asyncio.run(story())
