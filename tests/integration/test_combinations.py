"""Combinations (BAG) over the real socket: what a gateway reports of them, and a group that is closed by one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ib_insync import ComboLeg, Contract
from tests.integration.trading_gateway import (
    ACCOUNT,
    DEADLINE,
    Ears,
    TradingGateway,
    an_option,
    person,
    resting,
    trade,
    trading_gateway,
)

from notifications.message import Message
from position_manager.brokers.broker import (
    BrokerEvent,
    CodeReceived,
    ExecutionReceived,
    OrderReceived,
    PositionReceived,
)
from position_manager.brokers.ib_broker import IbBroker
from position_manager.clock import SystemClock
from position_manager.config.schema import Config
from position_manager.engine.engine import Engine
from position_manager.halt import HaltRecord, Halts, KillSwitch
from position_manager.journal.journal import Journal
from position_manager.journal.reader import JournalReader
from position_manager.journal.records import ComboToSend, Stamp
from position_manager.model import Instrument
from position_manager.orders.evidence import Execution
from position_manager.orders.intents import Side, State
from position_manager.sessions.hours import BrokerCalendar
from position_manager.ulid import ulid

pytestmark = pytest.mark.asyncio


@dataclass
class Vertical:
    """An account that is short two puts and long two of the next lower strike, at prices that do not move."""

    gateway: TradingGateway
    short: int
    long: int

    def config(self, **more: Any) -> Config:
        legs = [{"con_id": self.short, "ratio": -1}, {"con_id": self.long, "ratio": 1}]
        group = {"legs": legs, "stop": {"loss_amount": 100_000}, "close": "combo"}
        orders = {"step_seconds": 1, "max_slippage_percent": 50}
        gateway = {"port": self.gateway.port}
        return Config.model_validate(
            {"mode": "paper", "gateway": gateway, "groups": {"vertical": group}, "orders": orders, **more}
        )


@asynccontextmanager
async def vertical(directory: Path) -> AsyncIterator[Vertical]:
    async with trading_gateway(directory) as gateway:
        async with person(gateway) as by_hand:
            short = await an_option(by_hand)
            terms = {"lastTradeDateOrContractMonth": short.lastTradeDateOrContractMonth, "right": "P"}
            wanted = Contract(secType="OPT", symbol="SPY", exchange="SMART", currency="USD", **terms)
            found = await by_hand.reqContractDetailsAsync(wanted)
            lower = [each.contract for each in found if each.contract and each.contract.strike < short.strike]
            long = max(lower, key=lambda contract: contract.strike)
            await trade(by_hand, long, 2)
            await trade(by_hand, short, -2)
        at = Vertical(gateway, short.conId, long.conId)
        await gateway.command("set-price", str(at.short), "bid=3.00", "ask=3.10")
        await gateway.command("set-price", str(at.long), "bid=1.00", "ask=1.10")
        yield at


@asynccontextmanager
async def connected(at: Vertical) -> AsyncIterator[tuple[IbBroker, Ears, dict[int, Instrument]]]:
    made, ears = IbBroker(at.config(), SystemClock(), answer_within=DEADLINE), Ears()
    made.listen(ears)
    await made.connect()
    held = {position.instrument.con_id: position.instrument for position in await made.positions()}
    try:
        yield made, ears, {con_id: held[con_id] for con_id in (at.short, at.long)}
    finally:
        await made.close()


def combination(at: Vertical, order_id: int, limit: str, quantity: int = 2) -> ComboToSend:
    """What buys the vertical back, as the journal gives it out."""
    legs = ((at.short, Decimal(1)), (at.long, Decimal(-1)))
    terms = (Side.BUY, Decimal(quantity), Decimal(limit), legs)
    return ComboToSend(ACCOUNT, "SPY", "USD", *terms, "pm:TEST", order_id, 100)


async def test_it_rests_for_each_of_its_legs_and_its_cancel_ends_it(tmp_path: Path) -> None:
    async with vertical(tmp_path) as at, connected(at) as (made, ears, held):
        order_id = made.next_order_id()
        made.send_combo(combination(at, order_id, "1.90"), held, tif="DAY", outside_rth=False)
        await ears.until(lambda event: isinstance(event, OrderReceived) and event.ref == "pm:TEST")
        shown = {order.con_id: order for order in await made.open_orders()}
        assert {con_id: (order.side, order.remaining) for con_id, order in shown.items()} == {
            at.short: (Side.BUY, Decimal(2)),
            at.long: (Side.SELL, Decimal(2)),
        }
        assert len({order.perm_id for order in shown.values()}) == 1
        assert {(order.ref, order.order_id) for order in shown.values()} == {("pm:TEST", order_id)}
        again = await made.read_legs_again(ACCOUNT, [at.short, at.long])
        assert {con_id: read.quantity for con_id, read in again.items()} == {at.short: -2, at.long: 2}
        assert len(again[at.long].open_orders) == 2
        made.cancel(order_id)
        await ears.until(lambda event: isinstance(event, CodeReceived) and event.code == 202)
        assert await made.open_orders() == ()
        (over,) = [order for order in await made.completed_orders() if order.ref == "pm:TEST"]
        assert over.filled == 0


def is_gone(con_id: int, event: BrokerEvent) -> bool:
    return isinstance(event, PositionReceived) and (event.con_id, event.quantity) == (con_id, Decimal(0))


async def test_its_executions_are_those_of_the_legs(tmp_path: Path) -> None:
    async with vertical(tmp_path) as at, connected(at) as (made, ears, held):
        order_id = made.next_order_id()
        made.send_combo(combination(at, order_id, "2.10"), held, tif="DAY", outside_rth=False)
        for con_id in (at.short, at.long):
            await ears.until(partial(is_gone, con_id))
        reported = [event for event in ears.all(ExecutionReceived) if event.execution.ref == "pm:TEST"]
        assert {event.order_id for event in reported} == {order_id}
        listed = [execution for execution in await made.executions() if execution.ref == "pm:TEST"]
        for executions in ([event.execution for event in reported], listed):
            assert _sums(executions) == {(at.short, Side.BUY): 2, (at.long, Side.SELL): 2}
            assert len({execution.fill.exec_id for execution in executions}) == len(executions)
        (over,) = [order for order in await made.completed_orders() if order.ref == "pm:TEST"]
        assert over.filled == 2, "it counts combinations"


def _sums(executions: list[Execution]) -> dict[tuple[int, Side], Decimal]:
    sums: dict[tuple[int, Side], Decimal] = {}
    for each in executions:
        key = each.con_id, each.side
        sums[key] = sums.get(key, Decimal(0)) + each.fill.quantity
    return sums


async def test_a_combination_of_a_person_counts_for_each_leg(tmp_path: Path) -> None:
    async with vertical(tmp_path) as at, connected(at) as (made, _, _held), person(at.gateway, 8) as by_hand:
        legs = [
            ComboLeg(conId=at.short, ratio=1, action="SELL", exchange="SMART"),
            ComboLeg(conId=at.long, ratio=1, action="BUY", exchange="SMART"),
        ]
        bag = Contract(secType="BAG", symbol="SPY", currency="USD", exchange="SMART", comboLegs=legs)
        await resting(by_hand, bag, "SELL", 1, 1.80)
        read = await made.read_legs_again(ACCOUNT, [at.short])
        assert {(o.con_id, o.side, o.remaining, o.ref) for o in read[at.short].open_orders} == {
            (at.short, Side.BUY, Decimal(1), ""),
            (at.long, Side.SELL, Decimal(1), ""),
        }


def _now() -> datetime:
    return datetime.now(UTC)


class Process:
    """The engine over the gateway; what is not in the directory dies with it."""

    def __init__(self, directory: Path, config: Config) -> None:
        self.reported: list[Message] = []
        self.broker = IbBroker(config, SystemClock(), answer_within=DEADLINE)
        self.stop = asyncio.Event()

        def open_journal(accounts: frozenset[str]) -> Journal:
            stamp = Stamp("paper", accounts)
            return Journal(directory / "journal.db", stamp, clock=_now, new_id=lambda: ulid(_now(), os.urandom))

        self.engine = Engine(
            config,
            self.broker,
            open_journal=open_journal,
            deliver=self.reported.append,
            clock=SystemClock(),
            calendar=BrokerCalendar(),
            halts=Halts(KillSwitch(directory / "HALT"), HaltRecord(directory / "halt.json")),
            jitter=lambda: 1.0,
        )
        self.running = asyncio.create_task(self.engine.run(self.stop))

    async def until(self, word: str, seconds: float = 40) -> None:
        """Wait until a message of this kind was sent."""
        async with asyncio.timeout(seconds):
            while not any(message.kind == word for message in self.reported):
                assert not self.running.done(), self.running
                await asyncio.sleep(0.05)

    async def kill(self) -> None:
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


async def test_a_group_is_closed_once_by_a_process_that_is_killed_in_the_middle(tmp_path: Path) -> None:
    async with vertical(tmp_path) as at:
        first = Process(tmp_path, at.config())
        await first.until("connected")
        await first.engine.close("vertical", by="a test")
        await first.until("order_working")
        await first.kill()
        second = Process(tmp_path, at.config())
        await second.until("position_closed")
        executions = [e for e in await second.broker.executions() if e.ref.startswith("pm:")]
        assert _sums(executions) == {(at.short, Side.BUY): 2, (at.long, Side.SELL): 2}
        await second.end()
        with JournalReader(tmp_path / "journal.db") as journal:
            assert journal.open_intents() == () and journal.locks() == ()
            for con_id in (at.short, at.long):
                states = [intent.state for intent in journal.intents(ACCOUNT, con_id)]
                assert states[-1] is State.FILLED and states.count(State.FILLED) == 1
                assert all(intent.lead for intent in journal.intents(ACCOUNT, con_id))
