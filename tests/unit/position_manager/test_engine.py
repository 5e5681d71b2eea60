"""The engine from the first connection to the proven close, over a broker in memory and a clock of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.unit.position_manager.engine_world import ACCOUNT, BEGIN, Manager, ManualClock, World, put, settle

from position_manager.connection_state import Phase
from position_manager.intents import Side, State

SHORT = put(42)


def world(quantity: int = -2) -> World:
    made = World(ManualClock(BEGIN))
    made.hold(SHORT, quantity)
    made.quote(42, "2.45", "2.55")
    return made


def drive(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story())


def test_a_stop_is_carried_out_once_and_told(tmp_path: Path) -> None:
    async def story() -> None:
        at = world()
        manager = Manager(at, tmp_path)
        await manager.start()
        assert manager.engine.desk.connection.phase is Phase.READY
        assert manager.broker.watched == {42}
        at.quote(42, "3.70", "3.80")
        await settle()
        assert not at.received, "one quote is no trigger"
        await at.clock.advance(1)
        at.quote(42, "3.71", "3.81")
        await settle()
        (sent,) = at.received
        assert (sent.side, sent.quantity, sent.con_id, sent.client_id) == (Side.BUY, Decimal(2), 42, 100)
        assert sent.limit == Decimal("3.76")
        assert sent.ref.startswith("pm:")
        (order,) = at.ours(42)
        at.fill(order, 2)
        await settle()
        assert at.positions[42] == 0
        await at.clock.advance(120)
        assert len(at.received) == 1
        assert not manager.engine.closer.closings
        await manager.end()
        wanted = ["connected", "rule_fired", "order_working", "order_filled", "position_closed", "stopped"]
        assert [kind for kind in manager.kinds if kind in wanted] == wanted

    drive(story)


def test_the_ladder_steps_to_the_far_side_by_new_orders(tmp_path: Path) -> None:
    async def story() -> None:
        at = world()
        manager = Manager(at, tmp_path)
        await manager.start()
        for _ in range(2):
            at.quote(42, "3.70", "3.80")
            await at.clock.advance(1)
        for _ in range(30):
            await at.clock.advance(1)
            at.quote(42, "3.70", "3.80")
        limits = [order.limit for order in at.received]
        assert limits == [Decimal("3.75"), Decimal("3.76"), Decimal("3.77"), Decimal("3.78"), Decimal("3.80")]
        assert len({order.ref for order in at.received}) == 5
        assert len({order.oca_group for order in at.received}) == 1
        at.fill(at.ours(42)[-1], 1)
        await at.clock.advance(1)
        at.fill(at.ours(42)[-1], 1)
        await at.clock.advance(60)
        assert at.positions[42] == 0
        assert len(at.received) == 5
        await manager.end()

    drive(story)


def test_what_is_left_after_a_part_goes_into_the_next_order(tmp_path: Path) -> None:
    async def story() -> None:
        at = world(-3)
        manager = Manager(at, tmp_path)
        await manager.start()
        for _ in range(2):
            at.quote(42, "3.70", "3.80")
            await at.clock.advance(1)
        at.fill(at.ours(42)[0], 1)
        for _ in range(8):
            await at.clock.advance(1)
            at.quote(42, "3.70", "3.80")
        assert [order.quantity for order in at.received] == [3, 2]
        first = manager.engine.desk.journal.intents(ACCOUNT, 42)[0]
        assert first.state is State.CANCELLED
        assert first.filled == 1
        await manager.end()

    drive(story)


@pytest.mark.parametrize("moment", ["before send", "after send"])
def test_killed_around_the_send_it_closes_once(tmp_path: Path, moment: str) -> None:
    class Killed(BaseException):
        pass

    async def story() -> None:
        at = world()
        manager = Manager(at, tmp_path)

        def die(now: str) -> None:
            if now == moment:
                at.on_send = lambda _moment: None
                raise Killed

        at.on_send = die
        await manager.start()
        for _ in range(2):
            at.quote(42, "3.70", "3.80")
            await at.clock.advance(1)
        await manager.kill()
        again = Manager(at, tmp_path, seed=1)
        await again.start()
        for _ in range(100):
            await at.clock.advance(1)
            at.quote(42, "3.70", "3.80")
            for order in at.live(42):
                at.fill(order, int(order.remaining))
        assert at.positions[42] == 0
        assert sum(order.filled for order in at.orders) == 2
        await again.end()

    drive(story)
