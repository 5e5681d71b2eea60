"""An old journal is restored, and the broker has executed more since: nothing is sent twice, and it is reported."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from tests.unit.position_manager.engine_world import ACCOUNT, PARTS, Manager, World, breach, short_puts

from host_backup import databases
from position_manager.orders.evidence import Execution
from position_manager.orders.intents import Fill, Side

Change = Callable[[World], Awaitable[None]]


async def closed_today(at: World) -> None:
    """The stop fired and was filled; the broker still reports the executions."""
    (order,) = at.live(42)
    at.fill(order, 2)
    await at.clock.advance(2)


async def closed_yesterday(at: World) -> None:
    """The same, and IB reports executions since midnight only."""
    await closed_today(at)
    at.executions.clear()
    at.orders.clear()


async def closed_in_part(at: World) -> None:
    """One contract is filled, and the rest of the order still rests at the broker."""
    (order,) = at.live(42)
    at.fill(order, 1)
    await at.clock.advance(2)


async def not_filled(at: World) -> None:
    """The order rests at the broker."""


def put_back(tmp_path: Path) -> None:
    for file in tmp_path.glob("journal.db*"):
        file.unlink()
    shutil.copy(tmp_path / "backup.db", tmp_path / "journal.db")


async def traded(tmp_path: Path, change: Change, manager: Manager, at: World) -> None:
    """Back up, let the stop fire, and put the backup back in place of the journal."""
    await manager.start()
    await at.clock.advance(5)
    databases.copy(tmp_path / "journal.db", tmp_path / "backup.db")
    await breach(at)
    assert len(at.received) == 1
    await change(at)
    await manager.kill()
    put_back(tmp_path)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (closed_today, "position_closed"),
        (closed_yesterday, "position_unexplained"),
        (closed_in_part, "stray_order"),
        (not_filled, "stray_order"),
    ],
)
def test_what_the_broker_has_executed_since_is_reported_and_not_sent_again(
    change: Change, kind: str, tmp_path: Path
) -> None:
    async def whole() -> None:
        at = short_puts()
        await traded(tmp_path, change, Manager(at, tmp_path), at)
        if change is closed_yesterday:
            at.clock.jump(timedelta(hours=20))
        again = Manager(at, tmp_path, seed=1)
        await again.start()
        for _ in range(60):
            at.quote(42, "3.75", "3.85")
            await at.clock.advance(2)
        assert len(at.received) == 1, "the close of before the restore is the only order"
        assert at.shown_position(42) <= Decimal(0), "a short position is bought back, and no more"
        assert not at.live(42), "an order that the journal does not know does not stay"
        assert kind in again.kinds, again.kinds
        await again.end()

    asyncio.run(whole())


@pytest.mark.parametrize(("day", "kind"), [("the same", "locked"), ("another", "position_unexplained")])
def test_a_partial_target_that_the_journal_has_forgotten_is_not_closed_again(
    day: str, kind: str, tmp_path: Path
) -> None:
    """The level applies to what is left too: without a lock half of the rest would be bought back."""

    async def whole() -> None:
        at = short_puts(-4)
        first = Manager(at, tmp_path, PARTS)
        await first.start()
        await at.clock.advance(5)
        databases.copy(tmp_path / "journal.db", tmp_path / "backup.db")
        await breach(at, "1.40", "1.50")
        (order,) = at.live(42)
        at.fill(order, 2)
        await at.clock.advance(2)
        await first.kill()
        put_back(tmp_path)
        sent = len(at.received)
        if day == "another":
            at.executions.clear()
            at.orders.clear()
            at.clock.jump(timedelta(hours=20))
        again = Manager(at, tmp_path, PARTS, seed=1)
        await again.start()
        for _ in range(150):
            at.quote(42, "1.40", "1.50")
            await at.clock.advance(2)
        assert len(at.received) == sent == 1, "the level was taken before the restore"
        assert kind in again.kinds, again.kinds
        await again.end()

    asyncio.run(whole())


OURS = "pm:01JDM3S0000000000000000000"


@pytest.mark.parametrize(
    ("ref", "client_id", "age", "filled", "left", "locked"),
    [
        pytest.param(OURS, 100, 1, 1, -1, True, id="an order of this manager"),
        pytest.param(OURS, 100, 1, 1, -2, True, id="before the position shows it"),
        pytest.param("pm:drill-01JDM3S000000000000000", 100, 1, 1, -1, False, id="of the drill"),
        pytest.param(OURS, 101, 1, 1, -1, False, id="of another client"),
        pytest.param("by hand", 100, 1, 1, -1, False, id="without the mark"),
        pytest.param(OURS, 100, 3600, 1, -1, False, id="from before the journal, whose predecessor was moved away"),
        pytest.param(OURS, 100, 1, 2, 0, False, id="nothing is left that could be closed again"),
    ],
)
def test_only_an_execution_that_the_journal_should_know_locks(
    ref: str, client_id: int, age: int, filled: int, left: int, locked: bool, tmp_path: Path
) -> None:
    async def whole() -> None:
        at = short_puts()
        manager = Manager(at, tmp_path)
        await manager.start()
        await at.clock.advance(5)
        fill = Fill("0000.ff.01", Decimal(filled), Decimal("2.50"), at.clock.now() - timedelta(seconds=age))
        at.positions[42] = Decimal(left)
        at.executions.append(Execution(ACCOUNT, 42, Side.BUY, fill, at.new_perm_id(), ref, client_id))
        await at.clock.advance(60)
        assert bool(manager.engine.shared.locks.present) == ("locked" in manager.kinds) == locked
        if locked:
            assert manager.engine.shared.access.journal.lock(ACCOUNT, 42) is not None
            manager.engine.release("42", by="ann")
            await at.clock.advance(60)
            assert not manager.engine.shared.locks.present, "what a person has checked does not lock again"
            assert manager.kinds.count("locked") == 1
        await manager.end()

    asyncio.run(whole())
