"""The gateway simulator as a process of its own, a person who trades by hand, and ears for a broker's events."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from ib_insync import IB, LimitOrder, MarketOrder, Option, Stock, Trade

import gateway_simulator
from gateway_simulator import ctl
from position_manager.brokers.broker import BrokerEvent
from position_manager.journal.records import OrderToSend
from position_manager.orders.evidence import Execution
from position_manager.orders.intents import Side

DEADLINE = 20.0
"""Seconds after which what does not come is an error."""
ACCOUNT = "DU1234567"
_T = TypeVar("_T")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class TradingGateway:
    """A running simulator: the API's port, that of its control interface, and its state file."""

    port: int
    control: int
    process: asyncio.subprocess.Process

    async def command(self, *words: str) -> dict[str, Any]:
        """A command of its control interface, which must succeed; its answer."""
        answer: dict[str, Any] = await asyncio.to_thread(ctl.request, self.control, words[0], list(words[1:]))
        assert answer["ok"], answer
        return answer


@asynccontextmanager
async def trading_gateway(directory: Path, *options: str, port: int = 0) -> AsyncIterator[TradingGateway]:
    """A simulator whose market is open day and night; state and journal are kept in ``directory``."""
    port, control = port or free_port(), free_port()
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("GATEWAY_SIMULATOR_", "TWS_"))}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "gateway_simulator.main", "--port", str(port), "--control-port", str(control), "--no-display"),
        *("--state-file", str(directory / "state.json"), "--journal-file", str(directory / "brokerage.jsonl")),
        *options,
        env=kept | {"PYTHONPATH": str(Path(gateway_simulator.__file__).parents[1])},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(DEADLINE):
            while b"Configuration tasks completed" not in (line := await process.stdout.readline()):
                assert line, "the simulator ended"
        reading = asyncio.create_task(process.stdout.read())
        yield TradingGateway(port, control, process)
        reading.cancel()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def person(gateway: TradingGateway, client_id: int = 7) -> AsyncIterator[IB]:
    """Somebody who trades in the same account with another client id."""
    ib = IB()  # type: ignore[no-untyped-call]  # ib_insync's, untyped
    await ib.connectAsync("127.0.0.1", gateway.port, clientId=client_id, timeout=DEADLINE)
    try:
        yield ib
    finally:
        ib.disconnect()  # type: ignore[no-untyped-call]  # ib_insync's, untyped


async def trade(ib: IB, contract: Any, quantity: int) -> Trade:
    """Buy (or, with a negative quantity, sell) at the market, until it is filled."""
    (details,) = await ib.qualifyContractsAsync(contract)
    made = ib.placeOrder(details, MarketOrder("BUY" if quantity > 0 else "SELL", abs(quantity)))
    async with asyncio.timeout(DEADLINE):
        while made.orderStatus.status != "Filled":
            await ib.updateEvent
    return made


async def an_option(ib: IB, symbol: str = "SPY", right: str = "P") -> Any:
    """An option of the second expiry, at the strike nearest to the price."""
    (stock,) = await ib.qualifyContractsAsync(Stock(symbol, "SMART", "USD"))
    chain = (await ib.reqSecDefOptParamsAsync(symbol, "", "STK", stock.conId))[0]
    expiry, strike = sorted(chain.expirations)[1], sorted(chain.strikes)[len(chain.strikes) // 2]
    (option,) = await ib.qualifyContractsAsync(Option(symbol, expiry, strike, right, "SMART"))
    return option


async def resting(ib: IB, contract: Any, side: str, quantity: int, limit: float) -> Trade:
    """A limit order that the broker has taken."""
    made = ib.placeOrder(contract, LimitOrder(side, quantity, limit))
    async with asyncio.timeout(DEADLINE):
        while made.orderStatus.status != "Submitted":
            await ib.updateEvent
    return made


@dataclass
class Ears:
    """All events of a broker, in order, and a way to wait for more."""

    heard: list[BrokerEvent] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, event: BrokerEvent) -> None:
        self.heard.append(event)
        self._news.set()

    async def until(self, found: Callable[[BrokerEvent], bool]) -> BrokerEvent:
        """Return the first event that fits, of those received and those to come."""
        async with asyncio.timeout(DEADLINE):
            seen = 0
            while True:
                for event in self.heard[seen:]:
                    if found(event):
                        return event
                seen = len(self.heard)
                self._news.clear()
                await self._news.wait()

    def all(self, kind: type[_T]) -> list[_T]:
        return [event for event in self.heard if isinstance(event, kind)]


def order(
    con_id: int, side: Side, quantity: int, limit: str, order_id: int, ref: str = "pm:TEST", **more: Any
) -> OrderToSend:
    """An order as the journal gives it out."""
    return OrderToSend(ACCOUNT, con_id, side, Decimal(quantity), Decimal(limit), ref, order_id, 100, "pm-group", **more)


def filled(executions: tuple[Execution, ...], ref: str) -> Decimal:
    """How much of an order was executed."""
    return sum((execution.fill.quantity for execution in executions if execution.ref == ref), Decimal(0))
