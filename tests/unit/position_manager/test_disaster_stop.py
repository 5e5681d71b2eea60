"""The disaster stop: one rests for each position, gives way to a rule, and follows what is held."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

from tests.unit.position_manager.engine_world import BEGIN, CONFIG, Manager, ManualClock, World, put

from position_manager.orders.intents import Side

CONFIGURED = {**CONFIG, "disaster_stop": {"percent_of_premium": 200, "limit_percent": 20}}


def test_it_rests_and_gives_way_to_the_rule_that_fires(tmp_path: Path) -> None:
    async def story() -> None:
        at = World(ManualClock(BEGIN))
        at.hold(put(42), -2)
        at.quote(42, "2.45", "2.55")
        manager = Manager(at, tmp_path, CONFIGURED)
        await manager.start()
        await at.clock.advance(6)
        (resting,) = at.live(42)
        assert (resting.sent.side, resting.sent.stop, resting.sent.limit) == (Side.BUY, Decimal("7.5"), Decimal("9.0"))
        assert resting.sent.quantity == 2
        await at.clock.advance(30)
        assert len(at.received) == 1, "what rests as it should stays"
        for _ in range(3):
            at.quote(42, "3.70", "3.80")
            await at.clock.advance(1)
        assert resting.over == "Cancelled"
        (closing,) = at.live(42)
        assert closing.sent.stop == 0
        assert closing.sent.oca_group == resting.sent.oca_group
        at.fill(closing, 2)
        await at.clock.advance(60)
        assert len(at.received) == 2
        await manager.end()

    asyncio.run(story())


def test_it_is_replaced_when_a_user_adds(tmp_path: Path) -> None:
    async def story() -> None:
        at = World(ManualClock(BEGIN))
        at.hold(put(42), -2)
        at.quote(42, "2.45", "2.55")
        manager = Manager(at, tmp_path, CONFIGURED)
        await manager.start()
        await at.clock.advance(6)
        at.fill(at.foreign(42, Side.SELL, 1), 1)
        await at.clock.advance(30)
        (resting,) = at.live(42)
        assert resting.sent.quantity == 3
        assert len(at.received) == 2
        await manager.end()

    asyncio.run(story())


def test_while_nobody_watches_it_closes_and_is_found_to_have_done_so(tmp_path: Path) -> None:
    async def story() -> None:
        at = World(ManualClock(BEGIN))
        at.hold(put(42), -2)
        at.quote(42, "2.45", "2.55")
        manager = Manager(at, tmp_path, CONFIGURED)
        await manager.start()
        await at.clock.advance(6)
        await manager.kill()
        at.fill(at.live(42)[0], 2, "7.60")
        again = Manager(at, tmp_path, CONFIGURED, seed=1)
        await again.start()
        await at.clock.advance(60)
        assert len(at.received) == 1
        assert "order_filled" in again.kinds
        assert not again.engine.shared.locks.present
        await again.end()

    asyncio.run(story())


def test_a_long_option_that_cannot_lose_so_much_has_none(tmp_path: Path) -> None:
    async def story() -> None:
        at = World(ManualClock(BEGIN))
        at.hold(put(42), 2)
        at.quote(42, "2.45", "2.55")
        manager = Manager(at, tmp_path, CONFIGURED)
        await manager.start()
        await at.clock.advance(20)
        assert not at.received
        await manager.end()

    asyncio.run(story())
