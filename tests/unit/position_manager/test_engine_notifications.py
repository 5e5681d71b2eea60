"""What is reported of a close, and what it is reported to have earned."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

from tests.unit.position_manager.engine_world import BEGIN, Manager, ManualClock, World, put, settle

from notifications.dedupe import Verdict, decide
from position_manager.brokers.broker import CommissionReceived
from position_manager.engine.engine_status import realized_since

SHORT = put(42)


async def closed(directory: Path) -> Manager:
    """A manager that has closed a short put at its stop."""
    at = World(ManualClock(BEGIN))
    at.hold(SHORT, -2)
    manager = Manager(at, directory)
    await manager.start()
    for ask in ("3.80", "3.81"):
        at.quote(42, "3.70", ask)
        await at.clock.advance(1)
    at.fill(at.ours(42)[0], 2)
    await settle()
    return manager


def test_a_close_without_any_incident_is_reported(tmp_path: Path) -> None:
    async def story() -> None:
        manager = await closed(tmp_path)
        (message,) = [message for message in manager.reported if message.kind == "position_closed"]
        assert decide(message, None, 0, 3600).verdict is Verdict.SEND
        await manager.end()

    asyncio.run(story())


def test_a_profit_counts_once_however_often_the_broker_reports_it(tmp_path: Path) -> None:
    async def story() -> None:
        manager = await closed(tmp_path)
        for exec_id, profit in (("1", "-260"), ("2", "-10"), ("1", "-260"), ("2", "-10"), ("3", None)):
            realized = None if profit is None else Decimal(profit)
            manager.broker.emit(CommissionReceived(exec_id, Decimal(1), realized, "USD"))
        await settle()
        assert realized_since(manager.engine, BEGIN) == {"USD": Decimal(-270)}
        await manager.end()

    asyncio.run(story())
