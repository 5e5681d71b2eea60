"""Disaster stops of groups: one for each short leg, and what follows when one trades while nobody watches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.unit.position_manager.engine_world import (
    BEGIN,
    CONFIG,
    GROUP_DISASTER,
    Manager,
    ManualClock,
    World,
    put,
    vertical,
)

from position_manager.orders.intents import Side

Story = Callable[[World, Manager], Coroutine[Any, Any, Manager | None]]


def play(directory: Path, story: Story, at: World, config: Any = GROUP_DISASTER) -> None:
    async def whole() -> None:
        manager = Manager(at, directory, config)
        await manager.start()
        await at.clock.advance(12)
        await (await story(at, manager) or manager).end()

    asyncio.run(whole())


def test_it_rests_for_the_short_leg_alone(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        (order,) = at.live(42)
        sent = order.sent
        assert (sent.side, sent.stop, sent.limit) == (Side.BUY, Decimal(10), Decimal(12)) and sent.quantity == 2
        assert not at.live(43)
        await at.clock.advance(60)
        assert len(at.received) == 1

    play(tmp_path, story, vertical(2))


def test_without_the_percent_the_legs_have_none(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        assert not at.received

    play(tmp_path, story, vertical(), {**GROUP_DISASTER, "disaster_stop": {"percent_of_premium": 200}})


def test_a_long_leg_has_none_even_where_it_could_lose_so_much(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        assert at.live(42)[0].sent.stop == Decimal("4.5") and not at.live(43)

    policy = {"percent_of_premium": 200, "short_legs_percent": 80}
    play(tmp_path, story, vertical(), {**GROUP_DISASTER, "disaster_stop": policy})


def test_it_gives_way_to_the_group_s_own_stop(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        (resting,) = at.live(42)
        for _ in range(3):
            at.quote(42, "3.15", "3.20")
            at.quote(43, "1.75", "1.80")
            await at.clock.advance(1)
        assert resting.over == "Cancelled"
        (order,) = at.live(42)
        assert not order.sent.stop and not at.live(43)
        at.fill(order, 1, "3.20")
        at.quote(43, "1.75", "1.80")
        await at.clock.advance(2)
        at.fill(at.live(43)[0], 1, "1.75")
        await at.clock.advance(30)
        assert not any(at.positions.values()) and len(at.received) == 3

    play(tmp_path, story, vertical())


@pytest.mark.parametrize("filled", [1, 2])
def test_when_it_has_traded_while_nobody_watched_the_rest_has_the_rules_of_single_positions(
    tmp_path: Path, filled: int
) -> None:
    async def story(at: World, manager: Manager) -> Manager:
        await manager.kill()
        (order,) = at.live(42)
        at.fill(order, filled, "10.00")
        again = Manager(at, tmp_path, GROUP_DISASTER, seed=1)
        await again.start()
        for _ in range(10):
            at.quote(42, "10.00", "10.20") if filled == 1 else None
            at.quote(43, "8.00", "8.10")
            await at.clock.advance(3)
        shared = again.engine.shared
        assert not shared.locks.present
        units = {unit.legs[0].instrument.con_id: unit for unit in shared.guard.units}
        if filled == 1:
            assert units[43].problem is not None, "the long leg is not sold alone"
            assert {sent.con_id for sent in at.received} == {42}, "the short leg has a stop of its own"
            assert not at.received[-1].stop
        else:
            # 8.00 is beyond the target of a single put at 1.50.
            assert units.keys() == {43}
            assert (at.received[1].con_id, at.received[1].side) == (43, Side.SELL)
        return again

    play(tmp_path, story, vertical(2))


def test_other_short_legs_get_the_disaster_stop_of_single_positions(tmp_path: Path) -> None:
    at = World(ManualClock(BEGIN))
    for con_id, quantity in ((42, -1), (43, 1), (44, -1)):
        at.hold(put(con_id, 400 + con_id), quantity)
        at.quote(con_id, "2.45", "2.55")
    legs = [{"con_id": 42, "ratio": -1}, {"con_id": 43, "ratio": 1}, {"con_id": 44, "ratio": -1}]
    policy = {"percent_of_premium": 200, "short_legs_percent": 300}
    config = {**CONFIG, "groups": {"three": {"legs": legs, "stop": {"loss_amount": 500}}}, "disaster_stop": policy}

    async def story(at: World, manager: Manager) -> None:
        assert {order.sent.stop for con_id in (42, 44) for order in at.live(con_id)} == {Decimal(10)}
        at.fill(at.live(42)[0], 1, "10.00")
        for _ in range(10):
            at.quote(44, "2.45", "2.55")
            await at.clock.advance(3)
        (order,) = at.live(44)
        assert order.sent.stop == Decimal("7.5") and not at.live(43)

    play(tmp_path, story, at, config)


def test_it_is_never_for_more_than_is_held(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        at.fill(at.foreign(42, Side.BUY, 1), 1)
        at.fill(at.foreign(43, Side.SELL, 1), 1)
        await at.clock.advance(30)
        (order,) = at.live(42)
        assert order.remaining == 1 and order.sent.stop == Decimal(10)

    play(tmp_path, story, vertical(2))
