"""Events at the broker by command: manual trades, splits, hours, data that stop, cancels that never arrive."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from ib_insync import IB, Future, LimitOrder, Option, Position, Stock, Ticker
from simulator.tests.insync_client import Client
from simulator.tests.test_trading_stored import gateway

from gateway_simulator.control import ControlServer
from gateway_simulator.login.lifecycle import Gateway

pytestmark = pytest.mark.asyncio

APPLE = Stock("AAPL", "SMART", "USD")
MORNING = "2026-11-23T15:00:00"


class Desk:
    """A gateway with a held clock, its control interface, and a client."""

    def __init__(self, made: Gateway, client: Client) -> None:
        self.gateway = made
        self.client = client
        self._control = ControlServer([made])

    @property
    def ib(self) -> IB:
        return self.client.ib

    async def do(self, *words: str) -> Any:
        """Carry out a command that must work."""
        answer = await self._ask(*words)
        assert answer["ok"], answer
        return answer["result"]["paper"]

    async def refusal(self, *words: str) -> str:
        answer = await self._ask(*words)
        assert not answer["ok"], answer
        return str(answer["error"])

    async def _ask(self, *words: str) -> dict[str, Any]:
        line = json.dumps({"command": words[0], "arguments": list(words[1:])}).encode()
        return await self._control.answer(line)

    async def ticker(self, contract: Any) -> Ticker:
        await self.ib.qualifyContractsAsync(contract)
        made = self.ib.reqMktData(contract)
        await self.client.until(lambda: made.bid == made.bid and made.ask == made.ask)
        return made

    async def held(self, symbol: str) -> list[Position]:
        await self.client.caught_up()
        return [each for each in self.ib.positions() if each.contract.symbol == symbol]


@asynccontextmanager
async def desk(path: Path, **changes: str) -> AsyncIterator[Desk]:
    async with gateway(path, **changes) as (made, _, _), Client() as client:
        await client.connect(made.api)
        yield Desk(made, client)


async def test_a_person_trades_at_the_gateway_itself(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        assert await it.do("trade", "AAPL", "-40") == "order 1 of client 0: SELL 40 AAPL Submitted"
        await it.do("advance", "1")
        await it.client.until(lambda: it.ib.positions()[0].position == 60)
        (fill,) = await it.ib.reqExecutionsAsync()
        assert (fill.execution.clientId, fill.execution.side, fill.execution.shares) == (0, "SLD", 40)
        assert "201" in await it.refusal("trade", "AAPL", "1000000")
        assert "no quantity" in await it.refusal("trade", "AAPL", "much")


async def test_a_split_changes_stock_options_orders_and_quotes(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        option = Option("AAPL", "20261218", 190, "C", "SMART")
        await it.ib.qualifyContractsAsync(option)
        await it.do("set-price", "AAPL", "bid=199.90", "ask=200.10", "last=200")
        await it.do("trade", option.localSymbol, "2")
        await it.do("advance", "1")
        resting = it.ib.placeOrder(option, LimitOrder("SELL", 2, 90, tif="GTC"))
        await it.client.until(lambda: resting.orderStatus.status == "Submitted")
        before = await it.ticker(APPLE)
        assert before.bid == 199.9
        (paid,) = (each.avgCost for each in await it.held("AAPL") if each.contract.secType == "OPT")
        assert await it.do("split", "AAPL", "4:1") == "AAPL is split: 4 new for 1 old"
        await it.client.until(lambda: resting.orderStatus.status == "Cancelled")
        found = await it.held("AAPL")
        assert len(found) == 2, found
        stock, adjusted = sorted(found, key=lambda each: each.contract.secType, reverse=True)
        assert (stock.position, stock.avgCost) == (400, 46.375)
        assert adjusted.position == 8
        assert adjusted.avgCost == pytest.approx(paid / 4)
        assert (adjusted.contract.conId, adjusted.contract.strike, adjusted.contract.multiplier) == (
            option.conId,
            47.5,
            "100",
        )
        await it.client.until(lambda: before.bid == 49.97 or before.bid == 49.98)
        (details,) = await it.ib.reqContractDetailsAsync(Option("AAPL", "20261218", 47.5, "C", "SMART"))
        assert details.contract is not None
        assert details.contract.conId == option.conId
        await it.do("release", "AAPL")
        await it.do("advance", "1")
        await it.client.until(lambda: 40 < before.last < 55)


async def test_a_split_that_is_not_whole_keeps_the_worth_of_options_and_pays_the_rest_in_cash(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        option = Option("AAPL", "20261218", 190, "P", "SMART")
        await it.ib.qualifyContractsAsync(option)
        await it.do("trade", option.localSymbol, "1")
        await it.do("advance", "1")
        account = it.gateway.api.brokerage.accounts["DU1234567"]
        worth = account.net_liquidation
        await it.do("split", "AAPL", "1:3")
        stock, adjusted = sorted(await it.held("AAPL"), key=lambda each: each.contract.secType, reverse=True)
        assert (stock.position, stock.avgCost) == (33, 556.5)
        assert (adjusted.position, adjusted.contract.strike) == (1, 570)
        assert float(adjusted.contract.multiplier) == pytest.approx(100 / 3)
        after = it.gateway.api.brokerage.accounts["DU1234567"]
        assert abs(after.net_liquidation - worth) < worth / 100
        assert "no stock" in await it.refusal("split", "ESZ6", "2:1")
        for ratio in ("2", "1:1", "0:1", "1:0", "a:b", "1.5:1"):
            assert "no ratio" in await it.refusal("split", "AAPL", ratio)


async def test_a_split_outlives_the_program(tmp_path: Path) -> None:
    file = str(tmp_path / "state.json")
    option = Option("AAPL", "20261218", 190, "C", "SMART")
    async with desk(tmp_path, STATE_FILE=file) as it:
        await it.ib.qualifyContractsAsync(option)
        await it.do("trade", option.localSymbol, "2")
        await it.do("advance", "1")
        await it.do("split", "AAPL", "4:1")
        await it.do("split", "AAPL", "1:2")
        known = [(each.position, each.avgCost, each.contract.strike) for each in await it.held("AAPL")]
        price = (await it.ticker(APPLE)).last
        assert 85 < price < 105
    for _ in range(2):  # from the log of changes, and from the snapshot
        async with desk(tmp_path, STATE_FILE=file) as it:
            assert [(each.position, each.avgCost, each.contract.strike) for each in await it.held("AAPL")] == known
            assert (await it.ticker(APPLE)).last == price


@pytest.mark.parametrize(
    ("kind", "trades", "liquid"),
    [("night", True, False), ("regular", True, True), ("closed", False, False)],
)
async def test_a_contract_is_at_night_or_closed_as_it_is_set(
    kind: str, trades: bool, liquid: bool, tmp_path: Path
) -> None:
    file = str(tmp_path / "state.json")
    async with desk(tmp_path, STATE_FILE=file) as it:
        spans = {
            "night": ("20261123:0800-20261124:0700", "20261123:2330-20261124:0700"),
            "regular": ("20261122:1700-20261123:1600", "20261123:0830-20261123:1600"),
            "closed": ("20261123:2200-20261124:0630", "20261123:2200-20261124:0630"),
        }
        text = "ESZ6: trading hours {}, liquid hours {} US/Central"
        assert await it.do("hours", "ESZ6", kind) == text.format(*spans[kind])
    async with desk(tmp_path, STATE_FILE=file) as it:
        (details,) = await it.ib.reqContractDetailsAsync(Future("ES", "202612", "CME"))
        now = "20261123:0900"  # Chicago's
        assert _open_at(details.tradingHours, now) is trades
        assert _open_at(details.liquidHours, now) is liquid
        await it.do("trade", "ESZ6", "1")
        await it.do("advance", "2")
        assert [each.position for each in await it.held("ES")] == ([1] if trades else [])
        assert [code for code in it.client.codes if code == 399] == []  # an order of another client
        await it.do("hours", "ESZ6", "usual")
        await it.do("advance", "2")
        assert [each.position for each in await it.held("ES")] == [1]
        assert "are not set" in await it.refusal("hours", "ESZ6", "usual")
        assert "no kind of hours" in await it.refusal("hours", "ESZ6", "noon")


def _open_at(text: str, moment: str) -> bool:
    spans = [part.split("-") for part in text.split(";") if not part.endswith("CLOSED")]
    return any(start <= moment < end for start, end in spans)


@pytest.mark.parametrize("start", range(0, 24, 5))
async def test_set_hours_fit_whatever_time_it_is(start: int, tmp_path: Path) -> None:
    async with desk(tmp_path, CLOCK_START=f"2026-11-25T{start:02d}:59:59") as it:
        hours = it.gateway.api.brokerage.hours
        future = it.gateway.api.brokerage.market.named("ESZ6")
        now = it.gateway.api.clock.utc()
        for kind, outside, inside in (("night", True, False), ("regular", True, True), ("closed", False, False)):
            await it.do("hours", "ESZ6", kind)
            assert hours.is_open(future, now, outside_rth=True) is outside
            assert hours.is_regular(future, now) is inside


@pytest.mark.parametrize("code", [354, 10089, 10168, 10197])
async def test_data_of_one_contract_end_with_an_error_and_come_again(code: int, tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        apple, microsoft = await it.ticker(APPLE), await it.ticker(Stock("MSFT", "SMART", "USD"))
        before = (apple.bid, apple.ask)
        await it.do("feed", "AAPL", "stale", str(code))
        await it.client.until(lambda: code in it.client.codes)
        await it.do("set-price", "AAPL", "100")
        await it.do("set-price", "MSFT", "300")
        await it.client.until(lambda: microsoft.bid == 299.99)
        assert (apple.bid, apple.ask) == before
        assert it.client.codes.count(code) == 1
        it.ib.reqMktData(Stock("AAPL", "NASDAQ", "USD", conId=265598))
        await it.client.until(lambda: it.client.codes.count(code) == 2)
        await it.do("feed", "AAPL", "live")
        await it.client.until(lambda: apple.bid == 99.99)


async def test_data_can_stop_without_a_word_and_stay_so_over_a_restart(tmp_path: Path) -> None:
    file = str(tmp_path / "state.json")
    async with desk(tmp_path, STATE_FILE=file) as it:
        apple = await it.ticker(APPLE)
        before = (apple.bid, apple.ask)
        await it.do("feed", "all", "stale")
        await it.do("advance", "1")
        await it.do("set-price", "AAPL", "100")
        await it.do("advance", "5")
        await it.client.caught_up()
        assert (apple.bid, apple.ask) == before
        assert not {354, 10089, 10168, 10197} & set(it.client.codes)
    async with desk(tmp_path, STATE_FILE=file) as it:
        apple = await it.ticker(APPLE)
        assert (apple.bid, apple.ask) == before, "a new subscription gets what was the last"
        await it.do("feed", "all", "live")
        await it.client.until(lambda: apple.bid == 99.99)
        for words, reason in (
            (("feed", "AAPL", "live"), "not interrupted"),
            (("feed", "AAPL", "stale", "200"), "stale and one of 354, 10089, 10168, 10197, silent"),
            (("feed", "AAPL", "slow"), "write live, or stale"),
        ):
            assert reason in await it.refusal(*words)


async def test_a_cancel_stays_pending_for_ever_and_the_order_may_still_fill(tmp_path: Path) -> None:
    file = str(tmp_path / "state.json")
    async with desk(tmp_path, STATE_FILE=file) as it:
        await it.do("pending-cancel", "on")
        await it.ib.qualifyContractsAsync(APPLE)
        released = it.ib.placeOrder(APPLE, LimitOrder("SELL", 5, 700))
        await it.client.until(lambda: released.orderStatus.status == "Submitted")
        it.ib.cancelOrder(released.order)
        await it.client.until(lambda: released.orderStatus.status == "PendingCancel")
        await it.do("pending-cancel", "off")
        await it.client.until(lambda: released.orderStatus.status == "Cancelled")
        await it.do("pending-cancel", "on")
        stuck, filled = (it.ib.placeOrder(APPLE, LimitOrder("SELL", 5, limit)) for limit in (900, 800))
        await it.client.until(lambda: {stuck.orderStatus.status, filled.orderStatus.status} == {"Submitted"})
        await it.do("advance", "1")
        for trade in (stuck, filled):
            it.ib.cancelOrder(trade.order)
        await it.client.until(lambda: {stuck.orderStatus.status, filled.orderStatus.status} == {"PendingCancel"})
        await it.do("advance", "4000")
        assert stuck.orderStatus.status == "PendingCancel"
        await it.do("set-price", "AAPL", "bid=850", "ask=851")
        await it.do("advance", "1")
        await it.client.until(lambda: filled.orderStatus.status == "Filled")
    async with desk(tmp_path, STATE_FILE=file) as it:
        await it.do("advance", "60")
        orders = await it.do("orders")
        assert [each.split(" ")[-5] for each in orders] == ["PendingCancel", "Cancelled", "Filled"]
        await it.do("pending-cancel", "off")
        orders = await it.do("orders")
        assert [each.split(" ")[-5] for each in orders] == ["Cancelled", "Filled", "Cancelled"]
        assert "neither on nor off" in await it.refusal("pending-cancel", "perhaps")


async def test_london_is_quoted_in_pence_and_held_in_pounds(tmp_path: Path) -> None:
    async with desk(tmp_path, ACCOUNT_CURRENCY="GBP") as it:
        (held,) = await it.held("VOD")
        assert (held.position, held.avgCost, held.contract.currency) == (1000, 0.7125, "GBP")
        (details,) = await it.ib.reqContractDetailsAsync(Stock("VOD", "SMART", "GBP"))
        assert (details.priceMagnifier, details.minTick) == (100, 0.0002)
        await it.do("set-price", "VOD", "bid=74.00", "ask=74.10", "last=74.04")
        ticker = await it.ticker(Stock("VOD", "SMART", "GBP"))
        assert (ticker.bid, ticker.ask) == (74, 74.1)
        assert details.contract is not None
        trade = it.ib.placeOrder(details.contract, LimitOrder("BUY", 1000, 74.1))
        await it.client.until(lambda: trade.orderStatus.status == "Submitted")
        await it.do("advance", "1")
        await it.client.until(lambda: trade.orderStatus.status == "Filled")
        (held,) = await it.held("VOD")
        assert {each.commissionReport.currency for each in trade.fills} == {"GBP"}
        commission = sum(each.commissionReport.commission for each in trade.fills)
        assert held.avgCost == pytest.approx((712.5 + 741 + commission) / 2000)
        cash = it.gateway.api.brokerage.accounts["DU1234567"].cash
        assert float(cash) == pytest.approx(100_000 - 741 - commission)
        (item,) = it.ib.portfolio()
        assert item.marketValue == pytest.approx(2000 * 0.741)


async def test_a_state_of_an_account_in_another_currency_is_left_behind_and_its_numbers_are_not_used_again(
    tmp_path: Path,
) -> None:
    async with desk(tmp_path) as it:
        await it.do("trade", "AAPL", "1")
        await it.do("advance", "1")
        (first,) = await it.ib.reqExecutionsAsync()
    async with gateway(tmp_path, ACCOUNT_CURRENCY="GBP") as (made, _, lines), Client() as client:
        assert any("is the state of accounts in USD, and ACCOUNT_CURRENCY is GBP" in line for line in lines)
        await client.connect(made.api)
        it = Desk(made, client)
        assert [each.contract.symbol for each in it.ib.positions()] == ["VOD"]
        assert "order 2 of client 0" in await it.do("trade", "VOD", "1")
        await it.do("advance", "1")
        (second,) = await it.ib.reqExecutionsAsync()
        assert second.execution.execId != first.execution.execId
        assert second.execution.permId != first.execution.permId
