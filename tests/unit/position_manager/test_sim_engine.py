"""The real engine over the simulated broker: mode sim as it runs, also when it is killed."""

from __future__ import annotations

import asyncio
import random
import shutil
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.unit.position_manager.engine_world import ManualClock

from notifications.message import Message
from position_manager.brokers.sim_broker import SimBroker
from position_manager.config.schema import Config
from position_manager.config.sim import Sim
from position_manager.engine.engine import Engine
from position_manager.halt import HaltRecord, Halts, KillSwitch
from position_manager.journal.journal import Journal
from position_manager.journal.reader import JournalReader
from position_manager.journal.records import Stamp
from position_manager.orders.intents import State
from position_manager.sessions.hours import BrokerCalendar
from position_manager.ulid import ulid

BEGIN = datetime(2026, 11, 23, 15, tzinfo=UTC)
ACCOUNT, SHORT_PUT = "DU0000001", 1001
CONFIG = {
    "mode": "sim",
    "defaults": {"stop": {"percent_of_premium": 100}},
    "sim": {"positions": [{"symbol": "SPY", "kind": "OPT", "strike": 440, "right": "P", "quantity": -2}]},
}


COMBO: dict[str, Any] = {
    "mode": "sim",
    "groups": {
        "vertical": {
            "legs": [
                {"symbol": "SPY", "strike": 440, "right": "P", "ratio": -1},
                {"symbol": "SPY", "strike": 430, "right": "P", "ratio": 1},
            ],
            "stop": {"percent_of_premium": 100},
            "close": "combo",
        }
    },
    "sim": {
        "positions": [
            {"symbol": "SPY", "kind": "OPT", "strike": 440, "right": "P", "quantity": -2},
            {"symbol": "SPY", "kind": "OPT", "strike": 430, "right": "P", "quantity": 2},
        ]
    },
}


class Run:
    """One process of the manager in mode sim; what is not in the directory dies with it."""

    def __init__(self, directory: Path, clock: ManualClock, config: dict[str, object] | None = None) -> None:
        self.directory, self.clock = directory, clock
        self.config = Config.model_validate(config or CONFIG)
        self.broker = SimBroker(self.config.sim or Sim(), directory / "sim.json", clock=clock, client_id=100)
        self.reported: list[Message] = []
        self.stop = asyncio.Event()
        ids = random.Random(str(clock.now()))  # noqa: S311 - ids that can be repeated

        def open_journal(accounts: frozenset[str]) -> Journal:
            stamp = Stamp("sim", accounts)
            return Journal(
                directory / "journal.db", stamp, clock=clock.now, new_id=lambda: ulid(clock.now(), ids.randbytes)
            )

        self.engine = Engine(
            self.config,
            self.broker,
            open_journal=open_journal,
            deliver=self.reported.append,
            clock=clock,
            calendar=BrokerCalendar(),
            halts=Halts(KillSwitch(directory / "HALT"), HaltRecord(directory / "halt.json")),
            jitter=lambda: 1.0,
        )
        self.running = asyncio.create_task(self.engine.run(self.stop))

    async def kill(self) -> None:
        """kill -9: nothing more is written or logged; the kernel frees the journal's lock."""
        self.broker.listen(lambda _event: None)
        await self.broker.close()
        self.engine._stop = lambda: None  # type: ignore[method-assign]  # what a killed process does not do
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)
        if self.engine.shared.access.opened is not None:
            self.engine.shared.access.opened.close()

    async def end(self) -> None:
        self.stop.set()
        await self.running

    @property
    def quantity(self) -> Decimal:
        return self.broker.books.holdings[SHORT_PUT].quantity


@pytest.mark.asyncio
async def test_a_stop_closes_the_position_once(tmp_path: Path) -> None:
    clock = ManualClock(BEGIN)
    run = Run(tmp_path, clock)
    await clock.advance(10)
    assert run.engine.ready and run.quantity == -2
    run.broker.set_price("SPY", Decimal(425))
    await clock.advance(60)
    assert run.quantity == 0
    await run.end()
    with JournalReader(tmp_path / "journal.db") as journal:
        states = [intent.state for intent in journal.intents(ACCOUNT, SHORT_PUT)]
    assert states[-1] is State.FILLED and states.count(State.FILLED) == 1
    assert [message.kind for message in run.reported].count("rule_fired") == 1


@pytest.mark.asyncio
async def test_it_is_killed_at_every_tenth_of_a_second_of_the_close(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    begun.mkdir()
    clock = ManualClock(BEGIN)
    run = Run(begun, clock)
    await clock.advance(10)
    run.broker.set_price("SPY", Decimal(425))
    await run.kill()
    for tenths in range(1, 30):
        directory = tmp_path / f"killed{tenths}"
        shutil.copytree(begun, directory)
        again = ManualClock(BEGIN + timedelta(seconds=10))
        first = Run(directory, again)
        await again.advance(tenths * 0.1)
        await first.kill()
        second = Run(directory, again)
        await again.advance(120)
        assert second.quantity == 0, tenths
        assert sum(done.quantity for done in second.broker.books.executions) == 2
        await second.end()
        with JournalReader(directory / "journal.db") as journal:
            assert journal.open_intents() == () and journal.locks() == ()


@pytest.mark.asyncio
async def test_the_broker_goes_away_in_the_middle_of_a_close(tmp_path: Path) -> None:
    clock = ManualClock(BEGIN)
    run = Run(tmp_path, clock)
    await clock.advance(10)
    run.broker.set_price("SPY", Decimal(425))
    while not run.engine.shared.access.journal.open_intents():
        await clock.advance(0.01)
    run.broker.drop("drill", timedelta(seconds=20))
    assert not run.engine.ready
    await clock.advance(120)
    assert run.engine.ready and run.quantity == 0
    assert sum(done.quantity for done in run.broker.books.executions) == 2
    await run.end()


@pytest.mark.asyncio
async def test_a_group_is_closed_by_combinations(tmp_path: Path) -> None:
    clock = ManualClock(BEGIN)
    run = Run(tmp_path, clock, COMBO)
    await clock.advance(10)
    run.broker.set_price("SPY", Decimal(430))
    await clock.advance(60)
    assert not any(holding.quantity for holding in run.broker.books.holdings.values())
    of_combinations = [order for order in run.broker.books.orders if order.legs]
    assert sum(order.filled for order in of_combinations) == 2 and of_combinations == list(run.broker.books.orders)
    assert [message.kind for message in run.reported].count("position_closed") == 1
    await run.end()
    with JournalReader(tmp_path / "journal.db") as journal:
        assert journal.open_intents() == () and journal.locks() == ()


@pytest.mark.asyncio
async def test_a_combination_is_killed_at_every_third_of_a_second(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    begun.mkdir()
    clock = ManualClock(BEGIN)
    run = Run(begun, clock, COMBO)
    await clock.advance(10)
    run.broker.set_price("SPY", Decimal(430))
    await run.kill()
    for thirds in range(1, 13):
        directory = tmp_path / f"killed{thirds}"
        shutil.copytree(begun, directory)
        again = ManualClock(BEGIN + timedelta(seconds=10))
        first = Run(directory, again, COMBO)
        await again.advance(thirds * 0.37)
        await first.kill()
        second = Run(directory, again, COMBO)
        await again.advance(200)
        assert not any(holding.quantity for holding in second.broker.books.holdings.values()), thirds
        assert sum(done.quantity for done in second.broker.books.executions) == 4
        await second.end()
        with JournalReader(directory / "journal.db") as journal:
            assert journal.open_intents() == () and journal.locks() == ()


@pytest.mark.asyncio
async def test_a_combination_that_stays_unfilled_is_closed_leg_by_leg(tmp_path: Path) -> None:
    """The simulated books keep a combination that the market does not reach, and its cancel ends it for all legs."""
    groups = {"vertical": {**COMBO["groups"]["vertical"], "combo_seconds": 10}}
    orders = {"max_slippage_percent": 1, "max_slippage_ticks": 0, "steps": 50}
    clock = ManualClock(BEGIN)
    run = Run(tmp_path, clock, {**COMBO, "groups": groups, "orders": orders})
    await clock.advance(10)
    run.broker.set_price("SPY", Decimal(430))
    await clock.advance(20)
    assert "leg_by_leg" in [message.kind for message in run.reported]
    assert all(order.over for order in run.broker.books.orders if order.legs)
    await run.end()
