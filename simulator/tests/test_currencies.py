"""Orders in currency pairs: balances, positions, increments, odd lots, cash quantities."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from ib_insync import Forex, LimitOrder, MarketOrder
from simulator.tests.api_client import running_server
from simulator.tests.insync_client import Client
from simulator.tests.trading_desk import MONDAY_MORNING, Desk, accepted, order

from gateway_simulator.trading import events
from gateway_simulator.trading.commissions import CommissionSchedule
from gateway_simulator.trading.model import Contract
from gateway_simulator.trading.persistence import restore, to_document
from gateway_simulator.trading.sample import sample_brokerage
from gateway_simulator.trading.statelog import StateLog, load

EURO, YEN = 12087792, 15016059
EUR_USD = Contract(0, "EUR", "CASH", exchange="IDEALPRO", currency="USD")
USD_JPY = Contract(0, "USD", "CASH", exchange="IDEALPRO", currency="JPY")
D = Decimal


def dealer() -> Desk:
    """A desk at which a euro costs 1.10000 dollars to buy and brings 1.09990, and a dollar 150.000 to 150.010 yen."""
    desk = Desk()
    desk.price("1.09990", "1.10000", name="EUR.USD")
    desk.price("150.000", "150.010", name="USD.JPY")
    return desk


@pytest.mark.parametrize(
    ("pair", "con_id"),
    [
        *(("EUR.USD", EURO), ("GBP.USD", 12087797), ("AUD.USD", 14433401), ("NZD.USD", 39453441)),
        *(("USD.CAD", 15016062), ("USD.CHF", 12087820), ("USD.JPY", YEN)),
    ],
)
def test_the_major_pairs_have_the_ids_of_ib_and_trade(pair: str, con_id: int) -> None:
    desk = Desk()
    symbol, currency = pair.split(".")
    desk.place(order(1, quantity=35_000, contract=Contract(0, symbol, "CASH", exchange="IDEALPRO", currency=currency)))
    desk.wait()
    assert desk.held(con_id) == 35_000


def ledger(desk: Desk, currency: str) -> dict[str, str]:
    return {each.key: each.value for each in desk.account.values() if each.is_ledger and each.currency == currency}


def test_a_purchase_moves_two_balances_and_shows_a_position() -> None:
    desk = dealer()
    assert desk.place(order(1, quantity=20_000, contract=EUR_USD)) == accepted(1)
    assert "fill 1 20000@1.1" in desk.wait()
    assert (ledger(desk, "EUR")["CashBalance"], ledger(desk, "USD")["CashBalance"]) == ("20000.00", "77998.00")
    assert ledger(desk, "EUR")["ExchangeRate"] == "1.0999500"
    held = desk.account.positions[EURO]
    assert (held.quantity, held.average_cost) == (D(20_000), D("1.1001"))
    total = D(77_998) + 20_000 * D("1.09995")
    assert desk.account.total_cash == total
    assert ledger(desk, "BASE")["CashBalance"] == f"{total:.2f}"
    assert ledger(desk, "BASE")["UnrealizedPnL"] == f"{desk.account.profit().unrealized:.2f}"
    assert {each.key: each.value for each in desk.account.values()}["TotalCashValue"] == f"{total:.2f}"


def test_a_pair_quoted_in_yen_is_counted_in_dollars() -> None:
    desk = dealer()
    desk.place(order(1, "SELL", 30_000, contract=USD_JPY))
    desk.wait()
    assert desk.account.balances == {"JPY": D(4_500_000)}
    assert desk.account.cash == 100_000 - 30_000 - 2
    assert desk.account.total_cash == pytest.approx(D("99997"), abs=D(3))
    desk.price("140.000", "140.010", name="USD.JPY")
    desk.place(order(2, "BUY", 30_000, contract=USD_JPY))
    desk.wait()
    assert YEN not in desk.account.positions
    assert desk.account.balances["JPY"] == 4_500_000 - 30_000 * D("140.01")
    [closing] = [each for each in desk.brokerage.executions if each.order_id == 2]
    assert closing.commission_currency == "USD"
    assert closing.realized_pnl == pytest.approx(D(299_700) / D("140.005"), abs=D(5))


def test_a_pair_without_the_currency_of_the_account_is_counted_by_the_dollar() -> None:
    brokerage = sample_brokerage(now=MONDAY_MORNING, currency="GBP")
    for name, bid, ask in (("GBP.USD", "1.25000", "1.25010"), ("USD.JPY", "150.000", "150.010")):
        brokerage.market.set_price(name, MONDAY_MORNING, bid=D(bid), ask=D(ask), last=D(bid))
    brokerage.advance(MONDAY_MORNING)
    worth = brokerage.accounts["DU1234567"].net_liquidation
    brokerage.place(1, order(1, "SELL", 30_000, contract=USD_JPY), MONDAY_MORNING)
    brokerage.advance(MONDAY_MORNING + timedelta(seconds=1))
    account = brokerage.accounts["DU1234567"]
    assert account.balances == {"USD": D(-30_000), "JPY": D(4_500_000)}
    assert account.net_liquidation == pytest.approx(worth, abs=D(10))


@pytest.mark.parametrize(("price", "taken"), [("1.05005", True), ("1.050050", True), ("1.05001", False)])
def test_limits_lie_on_half_pips(price: str, taken: bool) -> None:
    reported = dealer().place(order(1, quantity=20_000, order_type="LMT", limit_price=price, contract=EUR_USD))
    assert (reported == ["error 1 110"]) is not taken


@pytest.mark.parametrize(("quantity", "warned"), [(19_999, True), (20_000, False)])
def test_an_order_below_the_minimum_is_an_odd_lot_and_trades(quantity: int, warned: bool) -> None:
    desk = dealer()
    reported = desk.brokerage.place(1, order(1, quantity=quantity, contract=EUR_USD), desk.now)
    texts = [each.text for each in reported if isinstance(each, events.OrderError) and each.code == 399]
    wanted = (
        "Order Message:\nBUY 19999 EUR.USD Forex\nWarning: Your order size is below the EUR 20000 IdealPro minimum and "
        "will be routed as an odd lot order."
    )
    assert texts == ([wanted] if warned else [])
    desk.wait()
    assert desk.held(EURO) == quantity


@pytest.mark.parametrize(
    ("terms", "quantity"),
    [({}, 45_454), ({"order_type": "LMT", "limit_price": "1.00000"}, 50_000), ({"action": "SELL"}, 45_458)],
)
def test_a_cash_quantity_buys_what_it_pays_for(terms: dict[str, Any], quantity: int) -> None:
    desk = dealer()
    desk.place(order(1, quantity=0, cash_quantity=D(50_000), contract=EUR_USD, **terms))
    placed = desk.brokerage.find_order(1, 1)
    assert placed is not None
    assert placed.quantity == quantity
    assert placed.cash_quantity == 50_000


def test_a_cash_quantity_of_shares_is_refused() -> None:
    assert dealer().place(order(1, quantity=0, cash_quantity=D(500))) == ["error 1 10244"]


@pytest.mark.parametrize("amount", ["-5", "1e60", "Infinity"])
def test_a_cash_quantity_that_no_account_has_is_refused(amount: str) -> None:
    assert dealer().place(order(1, quantity=0, cash_quantity=D(amount), contract=EUR_USD)) == ["error 1 321"]


def test_borrowed_currency_needs_margin_and_too_much_is_rejected() -> None:
    desk = dealer()
    desk.place(order(1, "SELL", 100_000, contract=EUR_USD))
    desk.wait()
    assert desk.account.balances == {"EUR": D(-100_000)}
    without = replace(desk.account, balances={}).margin().initial
    assert desk.account.margin().initial - without == D(100_000) * D("1.09995") * D("0.03")
    assert desk.place(order(2, "SELL", 90_000_000, contract=EUR_USD))[0] == "error 2 201"


@pytest.mark.parametrize(
    ("contract", "quantity", "price", "cost"),
    [(EUR_USD, 20_000, "1.1", "2"), (EUR_USD, 1_000_000, "1.1", "22"), (USD_JPY, 1_000_000, "150", "20")],
)
def test_commissions_are_a_share_of_the_dollars(contract: Contract, quantity: int, price: str, cost: str) -> None:
    assert CommissionSchedule().of_order(contract, D(quantity), D(price)) == D(cost)


def test_balances_outlive_a_restart(tmp_path: Any) -> None:
    desk = dealer()
    path = tmp_path / "state"
    log = StateLog(path, desk.brokerage)
    log.store()
    desk.place(order(1, quantity=20_000, contract=EUR_USD))
    desk.wait()
    log.store()
    logged = sample_brokerage(now=desk.now)
    load(path, logged)
    log.close()
    restored = sample_brokerage(now=desk.now)
    restore(restored, to_document(desk.brokerage))
    for again in (logged, restored):
        assert again.accounts[desk.account.account_id].balances == {"EUR": D(20_000)}


@pytest.mark.asyncio
async def test_ib_insync_trades_a_pair_and_finds_position_and_balance(nothing_undecodable: None) -> None:
    async with running_server() as server, Client() as client:
        ib = await client.connect(server)
        pair = Forex("EURUSD")
        [qualified] = await ib.qualifyContractsAsync(pair)
        assert qualified.conId == EURO
        trade = ib.placeOrder(pair, MarketOrder("BUY", 25_000))
        rests = ib.placeOrder(pair, LimitOrder("BUY", 1_000, 0.5))
        await client.until(lambda: rests.orderStatus.status == "Submitted")
        server.floor.move(1)
        await client.until(lambda: trade.orderStatus.status == "Filled" and trade.fills)
        await client.caught_up()
        assert client.codes.count(399) == 1
        assert trade.fills[0].execution.exchange == "IDEALPRO"
        assert (trade.fills[0].commissionReport.commission, trade.fills[0].commissionReport.currency) == (2.0, "USD")
        assert {each.contract.conId: each.position for each in ib.positions()}[EURO] == 25_000
        assert {each.contract.localSymbol: each.position for each in ib.portfolio()}["EUR.USD"] == 25_000
        values = {(each.tag, each.currency): each.value for each in ib.accountValues()}
        assert values["CashBalance", "EUR"] == "25000.00"
