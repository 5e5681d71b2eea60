"""kill -9 of the manager while a stop is being carried out, over the real socket: each position is closed once.

KILLS sets how many positions are closed so (5 if it is not set). The moment of the kill walks through the time from
the quote to the fill.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import pytest
from ib_insync import IB, ExecutionFilter
from tests.integration.trading_gateway import TradingGateway, an_option, person, trade, trading_gateway

import position_manager
from position_manager.journal.reader import JournalReader
from position_manager.orders.intents import TERMINAL, State

pytestmark = pytest.mark.asyncio

KILLS = int(os.environ.get("KILLS", "5"))
SECONDS = 100.0
"""Until a position must be closed: an order that never arrived takes a minute to be proven lost."""
LATEST = 1.2
"""Seconds after the second quote at which the last of the kills comes: the ladder is at its end by then."""
CONFIG = """\
mode: paper
poll_seconds: 2
gateway: {port: %s}
positions:
  - {match: {symbol: SPY, kind: OPT}, stop: {price: 11}}
orders: {step_seconds: 0.2}
caps: {orders_per_minute: 1000, orders_per_day: 100000}
"""


class Manager:
    """The service in one pair of directories, started again and again."""

    def __init__(self, root: Path, port: int) -> None:
        self.root = root
        self.journal = root / "state" / "journal-paper.db"
        (root / "pm.yml").write_text(CONFIG % port)
        self.process: asyncio.subprocess.Process | None = None

    async def start(self, *program: str) -> None:
        """Start the service, or a ``program`` that is the service in another world."""
        paths = ("--config", self.root / "pm.yml", "--state", self.root / "state", "--runtime", self.root / "run")
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *(program or ("position_manager.cli",)), "run", *map(str, paths)),
            env={**os.environ, "PYTHONPATH": str(Path(position_manager.__file__).parents[1])},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def prints(self, text: str) -> None:
        """Until it has logged this."""
        assert self.process is not None
        assert self.process.stdout is not None
        async with asyncio.timeout(SECONDS):
            while text not in (line := (await self.process.stdout.readline()).decode()):
                assert line, "the manager ended"

    async def kill(self) -> str:
        """Kill it at once; return the output that was not read yet."""
        if self.process is None:
            return ""
        if self.process.returncode is None:
            self.process.kill()
        assert self.process.stdout is not None
        return (await self.process.stdout.read()).decode()


@asynccontextmanager
async def desk(directory: Path, *options: str) -> AsyncIterator[tuple[TradingGateway, IB, Manager]]:
    async with trading_gateway(directory, *options) as gateway, person(gateway) as by_hand:
        manager = Manager(directory, gateway.port)
        (directory / "state").mkdir()
        (directory / "run").mkdir()
        try:
            yield gateway, by_hand, manager
        finally:
            await manager.kill()


async def test_each_position_is_closed_once(tmp_path: Path) -> None:
    async with desk(tmp_path) as (gateway, by_hand, manager):
        option = await an_option(by_hand)
        for number in range(KILLS):
            await gateway.command("set-price", str(option.conId), "bid=9.90", "ask=10.00")
            await trade(by_hand, option, -1)
            await manager.start()
            await manager.prints("position manager running")
            # A small loss: the simulated account must be able to bear a hundred of them.
            for cents in (10, 20):
                await gateway.command("set-price", str(option.conId), f"bid=12.{cents}", f"ask=12.{cents + 10}")
            # Not to wait for something: the moment of the kill is what is tried.
            await asyncio.sleep(LATEST * number / max(1, KILLS - 1))
            over = "Closed: " in await manager.kill()
            await manager.start()
            await closed(by_hand, option.conId)
            if not over:
                await manager.prints("Closed: ")
            await manager.kill()
        bought = [
            fill.execution
            for fill in await by_hand.reqExecutionsAsync(ExecutionFilter())
            if fill.contract.conId == option.conId and fill.execution.side == "BOT"
        ]
        assert sum(execution.shares for execution in bought) == KILLS
        assert all(execution.orderRef.startswith("pm:") for execution in bought)
        with JournalReader(manager.journal) as journal:
            intents = journal.intents("DU1234567", option.conId)
            assert {intent.state for intent in intents} <= TERMINAL
            assert sum((intent.filled for intent in intents), Decimal(0)) == KILLS
            assert not journal.locks()


async def test_a_fill_that_overtakes_the_cancel_of_a_rung_counts_once(tmp_path: Path) -> None:
    # The person is the master client, which receives the events of the manager's orders.
    async with desk(tmp_path, "--cancel-seconds", "2", "--master-client-id", "7") as (gateway, by_hand, manager):
        option = await an_option(by_hand)
        await manager.start()
        await manager.prints("position manager running")
        # While the cancel is on its way; and when it has arrived, perhaps with the next rung on its way.
        for after in (0.0, 2.05):
            await gateway.command("set-price", str(option.conId), "bid=9.90", "ask=10.00")
            await trade(by_hand, option, -1)
            for cents in (10, 20):
                await gateway.command("set-price", str(option.conId), f"bid=30.{cents}", f"ask=30.{cents + 10}")
                await asyncio.sleep(0.3)
            async with asyncio.timeout(SECONDS):
                while not any(one.orderStatus.status == "PendingCancel" for one in by_hand.openTrades()):
                    await by_hand.updateEvent
            await asyncio.sleep(after)
            await gateway.command("set-price", str(option.conId), "bid=30.00", "ask=30.10")
            await closed(by_hand, option.conId)
            await manager.prints("Closed: ")
        with JournalReader(manager.journal) as journal:
            intents = journal.intents("DU1234567", option.conId)
            assert [intent.filled for intent in intents if intent.filled] == [1, 1]
            assert (intents[0].state, len(intents) > 1) == (State.FILLED, True)
            steps = [record.kind for record in journal.events(intent=intents[0].id)]
            assert steps.index("CancelSent") < steps.index("Executed"), "the first was filled after its cancel was sent"
            assert not journal.locks()


async def closed(by_hand: IB, con_id: int) -> None:
    """Until nothing of a contract is held any more."""
    async with asyncio.timeout(SECONDS):
        while any(held.contract.conId == con_id for held in by_hand.positions()):
            await by_hand.updateEvent
