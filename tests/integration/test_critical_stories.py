"""The markets in which a manager would lose money, played by the simulator's commands: both are real processes.

Stale quotes, prices in pence, a position that is not the one before, a future at night, and a bad print.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from ib_insync import Future
from tests.integration.test_killed_in_the_middle import Manager
from tests.integration.trading_gateway import TradingGateway, person, trading_gateway

from position_manager.refused import RefusedError
from position_manager.reports.status import Status, UnitStatus
from position_manager.service import control
from position_manager.service.control import Answer, AskClose, AskRelease, AskReload, AskStatus, Request

pytestmark = pytest.mark.asyncio

SECONDS = 30.0
A_WHILE = 1.2
"""Seconds in which a manager that was deceived would have sold: a trigger needs a third of one here."""
CONFIG = """\
mode: paper
poll_seconds: 1
gateway: {port: %s}
quotes: {confirm_seconds: 0.3, opening_grace_seconds: 0}
orders: {step_seconds: 0.2, outside_rth: %s}
caps: {orders_per_minute: 1000, quantity: 10000, notional: 1000000}
%s
"""


@dataclass
class Scene:
    """A simulator, and a manager that guards what is held there."""

    gateway: TradingGateway
    manager: Manager
    root: Path

    async def do(self, *words: str) -> None:
        await self.gateway.command(*words)

    def configure(self, rules: str, *, outside_rth: bool = False) -> None:
        text = CONFIG % (self.gateway.port, str(outside_rth).lower(), rules)
        (self.root / "pm.yml").write_text(text)

    async def start(self, rules: str, *program: str, outside_rth: bool = False) -> None:
        self.configure(rules, outside_rth=outside_rth)
        await self.manager.start(*program)
        await self.manager.prints("position manager running")
        await self.until(lambda status: status.phase == "READY")

    async def ask(self, request: Request) -> Answer:
        return await asyncio.to_thread(control.ask, self.root / "run" / "control.sock", request)

    async def status(self) -> Status:
        status = (await self.ask(AskStatus())).status
        assert status is not None
        return status

    async def until(self, condition: Callable[[Status], object]) -> Status:
        async with asyncio.timeout(SECONDS):
            while True:
                status = await self.status()
                if condition(status):
                    return status
                await asyncio.sleep(0.05)

    async def shown(self, name: str, verdict: str) -> UnitStatus:
        status = await self.until(lambda status: [u for u in status.units if (u.name, u.verdict) == (name, verdict)])
        return next(unit for unit in status.units if unit.name == name)

    async def trailing(self, name: str) -> None:
        """Until a trailing stop is active."""
        await self.until(lambda status: any(unit.name == name and unit.stop for unit in status.units))

    async def held(self, name: str) -> None:
        """Until the broker's books have a position."""
        async with asyncio.timeout(SECONDS):
            while True:
                positions = (await self.gateway.command("positions"))["result"]["paper"]
                if any(f" {name} " in each for each in positions):
                    return
                await asyncio.sleep(0.05)

    async def gone(self, name: str) -> None:
        await self.until(lambda status: name not in {unit.name for unit in status.units} and not status.intents)

    async def nothing_is_sent(self) -> None:
        orders = (await self.status()).orders_today
        await asyncio.sleep(A_WHILE)
        status = await self.status()
        assert status.orders_today == orders
        assert not [unit.name for unit in status.units if unit.verdict == "closing"]


@asynccontextmanager
async def scene(root: Path, *options: str) -> AsyncIterator[Scene]:
    async with trading_gateway(root, *options) as gateway:
        manager = Manager(root, gateway.port)
        (root / "state").mkdir()
        (root / "run").mkdir()
        try:
            yield Scene(gateway, manager, root)
        finally:
            await manager.kill()


def aapl(**rules: Any) -> str:
    return f"underlyings: {{AAPL: {rules}}}".replace("'", "")


async def test_quotes_of_before_a_competing_session_guard_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        await it.do("set-price", "AAPL", "190")
        await it.start(aapl(stop="{price: 180}"))
        await it.shown("AAPL", "guarded")
        await it.do("competing-session", "on")
        await it.do("set-price", "AAPL", "100")
        unit = await it.shown("AAPL", "unprotected")
        assert "not live data" in unit.text
        await it.nothing_is_sent()
        await it.shown("AAPL", "unprotected")
        await it.do("competing-session", "off")
        await it.do("disconnect-clients")
        await it.gone("AAPL")


async def test_shares_in_pence_are_sold_at_their_target_and_not_before(tmp_path: Path) -> None:
    async with scene(tmp_path, "--account-currency", "GBP") as it:
        await it.do("set-price", "VOD", "bid=74.00", "ask=74.02")
        await it.start("underlyings: {VOD: {target: {percent_of_premium: 20}, stop: {percent_of_premium: 20}}}")
        unit = await it.shown("VOD", "guarded")
        assert (unit.entry, unit.price, unit.profit) == (Decimal("0.7125"), Decimal("0.74"), Decimal("27.5"))
        await it.nothing_is_sent()
        await it.do("set-price", "VOD", "bid=86.00", "ask=86.02")
        await it.gone("VOD")
        async with person(it.gateway) as by_hand:
            fills = await by_hand.reqExecutionsAsync()
        assert sum(fill.execution.shares for fill in fills) == 1000
        assert {fill.execution.price for fill in fills} == {86}


async def test_the_best_price_of_a_position_that_was_closed_sells_no_new_one(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        await it.do("set-price", "AAPL", "220")
        await it.start(aapl(trailing="{activate_percent: 8, distance_percent: 4}"))
        await it.trailing("AAPL")
        await it.do("trade", "AAPL", "-100")
        await it.gone("AAPL")
        await it.do("set-price", "AAPL", "190")
        await it.do("trade", "AAPL", "100")
        await it.shown("AAPL", "guarded")
        await it.nothing_is_sent()
        await it.manager.kill()
        await it.start(aapl(trailing="{activate_percent: 8, distance_percent: 4}"))
        await it.shown("AAPL", "guarded")
        await it.nothing_is_sent()
        await it.do("set-price", "AAPL", "215")
        await it.trailing("AAPL")
        await it.do("set-price", "AAPL", "200")
        await it.gone("AAPL")


async def test_after_a_split_a_release_sells_nothing_on_the_old_level(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        await it.do("set-price", "AAPL", "190")
        # What nothing explains is believed after a minute.
        await it.start(aapl(stop="{price: 150}"), "bench.fast_clock", "20")
        await it.shown("AAPL", "guarded")
        await it.do("split", "AAPL", "10:1")
        (lock,) = (await it.until(lambda status: status.locks)).locks
        assert "split, 10 for 1" in lock.reason
        await it.nothing_is_sent()
        with pytest.raises(RefusedError, match="would be closed at once by its stop"):
            await it.ask(AskRelease(what="AAPL", by="a test"))
        it.configure(aapl(stop="{price: 15}"))
        assert (await it.ask(AskReload())).done
        assert (await it.ask(AskRelease(what="AAPL", by="a test"))).done
        unit = await it.shown("AAPL", "guarded")
        assert (unit.quantity, unit.entry) == (Decimal(1000), Decimal("18.55"))
        await it.nothing_is_sent()
        await it.do("set-price", "AAPL", "14")
        await it.gone("AAPL")


async def front_future(gateway: TradingGateway) -> str:
    async with person(gateway) as by_hand:
        found = await by_hand.reqContractDetailsAsync(Future("ES", exchange="CME"))
    contracts = [each.contract for each in found if each.contract is not None]
    # The next but one: the nearest may expire today.
    return sorted(contracts, key=lambda each: each.lastTradeDateOrContractMonth)[1].localSymbol


@pytest.mark.parametrize("outside_rth", [True, False])
async def test_a_future_at_night_is_closed_by_its_stop_or_by_a_person(outside_rth: bool, tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        name = await front_future(it.gateway)
        await it.do("hours", name, "night")
        await it.do("set-price", name, "bid=6000.00", "ask=6000.25")
        await it.do("trade", name, "1")
        await it.start("underlyings: {ES: {stop: {price: 5900}}}", outside_rth=outside_rth)
        status = await it.until(lambda status: any(unit.name == name for unit in status.units))
        if outside_rth:
            await it.shown(name, "guarded")
            await it.do("set-price", name, "bid=5890.00", "ask=5890.25")
        else:
            (unit,) = (unit for unit in status.units if unit.name == name)
            assert unit.unprotected_seconds == 0
            await it.do("set-price", name, "bid=5890.00", "ask=5890.25")
            await it.nothing_is_sent()
            answer = await it.ask(AskClose(what=name, by="a test", limit=Decimal("5889.00")))
            assert answer.done, answer.text
        await it.gone(name)


async def test_a_future_in_a_closed_market_is_not_closed_by_a_person_either(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        name = await front_future(it.gateway)
        await it.do("trade", name, "1")
        await it.held(name)
        await it.do("hours", name, "closed")
        await it.start("underlyings: {ES: {stop: {price: 1}}}", outside_rth=True)
        await it.until(lambda status: any(unit.name == name for unit in status.units))
        answer = await it.ask(AskClose(what=name, by="a test", limit=Decimal("5889.00")))
        assert "nothing can be sent now: the market is closed" in answer.text
        assert (await it.status()).orders_today == 0


async def test_one_bad_print_closes_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        await it.do("set-price", "AAPL", "190")
        await it.start(aapl(stop="{price: 150}"))
        await it.shown("AAPL", "guarded")
        for spread in (("bid=100", "ask=190.01"), ("bid=100", "ask=100.02")):
            await it.do("set-price", "AAPL", *spread)
            await asyncio.sleep(0.15)
            await it.do("set-price", "AAPL", "190")
            await it.nothing_is_sent()
        await it.shown("AAPL", "guarded")
        await it.do("set-price", "AAPL", "bid=140", "ask=140.02")
        await it.gone("AAPL")
