"""Combinations: legs that fill together at prices that give the combination's, and what clients see of them."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from ib_insync import Bag, ComboLeg, Contract, LimitOrder, MarketOrder, Order, TagValue
from simulator.tests.api_client import SOON, RawClient, running_server
from simulator.tests.insync_client import Client
from simulator.tests.trading_desk import AAPL, MONDAY_MORNING, MSFT, Desk, accepted, order

from gateway_simulator.trading import events, model
from gateway_simulator.trading.persistence import restore, to_document
from gateway_simulator.trading.sample import sample_brokerage

Legs = tuple[tuple[int, int, str], ...]


class Combined(Desk):
    """The desk with two calls on AAPL whose prices are set: 3.00 to 3.10 and 1.00 to 1.20."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.near, self.far = self.option(strike=190).contract, self.option(strike=195).contract
        self.quote(self.near, "3.00", "3.10")
        self.quote(self.far, "1.00", "1.20")

    def quote(self, contract: model.Contract, bid: str, ask: str) -> None:
        self.price(bid, ask, name=str(contract.con_id))

    @property
    def vertical(self) -> model.Contract:
        return bag((self.near.con_id, 1, "BUY"), (self.far.con_id, 1, "SELL"))


def bag(*legs: tuple[int, int, str], exchange: str = "SMART", symbol: str = "AAPL") -> model.Contract:
    combo = tuple(model.ComboLeg(con_id, ratio, action, exchange) for con_id, ratio, action in legs)
    return model.Contract(0, symbol, "BAG", exchange=exchange, combo_legs=combo)


def test_a_combination_fills_leg_by_leg_at_prices_that_give_its_own() -> None:
    desk = Combined()
    assert desk.place(order(1, quantity=2, contract=desk.vertical)) == accepted(1)
    assert desk.wait() == [
        "fill 1 2@2.1",
        "fill 1 2@3.1",
        "fill 1 2@1",
        "opened 1 Filled",
        "status 1 Filled 2",
        "commission 1 1.3",
        "commission 1 1.3",
        "position AAPL 2",
        "position AAPL -2",
        "account",
    ]
    whole, near, far = desk.brokerage.executions
    assert (whole.contract.sec_type, whole.contract.con_id, whole.side) == ("BAG", 28812380, "BOT")
    assert (near.contract.con_id, near.side, far.contract.con_id, far.side) == (
        desk.near.con_id,
        "BOT",
        desk.far.con_id,
        "SLD",
    )
    assert len({each.exec_id for each in desk.brokerage.executions}) == 3
    assert {each.exec_id.rsplit(".", 2)[0] for each in (near, far)} == {whole.exec_id.rsplit(".", 2)[0]}
    assert [desk.held(each.con_id) for each in (desk.near, desk.far)] == [2, -2]
    assert desk.account.cash == 100_000 - 2 * 210 - Decimal("2.6")


def test_a_ratio_multiplies_a_leg_and_its_price() -> None:
    desk = Combined()
    desk.brokerage.accounts[desk.account.account_id].cash = Decimal(10**6)
    back = bag((desk.near.con_id, 1, "SELL"), (desk.far.con_id, 2, "BUY"))
    desk.place(order(1, quantity=3, contract=back))
    desk.wait()
    done = desk.brokerage.find_order(1, 1)
    assert done is not None
    assert [done.filled, done.average_fill_price] == [3, Decimal("-0.6")]
    assert [desk.held(each.con_id) for each in (desk.near, desk.far)] == [-3, 6]
    assert [each.cumulative_quantity for each in desk.brokerage.executions] == [3, 3, 6]


def test_shares_against_an_option_are_priced_for_each_share() -> None:
    desk = Combined()
    covered = bag((AAPL, 100, "BUY"), (desk.near.con_id, 1, "SELL"))
    desk.place(order(1, quantity=1, order_type="LMT", limit_price="186.10", contract=covered))
    desk.wait()
    done = desk.brokerage.find_order(1, 1)
    assert done is not None
    assert done.average_fill_price == Decimal("186.10")
    assert [desk.held(), desk.held(desk.near.con_id)] == [200, -1]


def test_a_limit_rests_until_the_legs_give_it_and_may_be_cancelled() -> None:
    desk = Combined()
    desk.place(order(1, quantity=1, order_type="LMT", limit_price="2.00", contract=desk.vertical))
    desk.place(order(2, quantity=1, order_type="LMT", limit_price="2.00", contract=desk.vertical))
    assert desk.wait() == []
    assert desk.cancel(2)[-2:] == ["status 2 Cancelled 0", "error 2 202"]
    desk.quote(desk.near, "2.90", "3.00")
    assert desk.wait()[:3] == ["fill 1 1@2", "fill 1 1@3", "fill 1 1@1"]


def test_a_combination_larger_than_its_legs_quotes_fills_in_parts_that_agree() -> None:
    desk = Combined()
    desk.account.cash = Decimal(10**7)
    desk.place(order(1, quantity=300, order_type="LMT", limit_price="2.10", contract=desk.vertical))
    desk.wait(0.25)
    placed = desk.brokerage.find_order(1, 1)
    assert placed is not None
    assert 0 < placed.filled < 300
    desk.quote(desk.near, "2.90", "3.00")
    desk.wait(30)
    done = desk.brokerage.find_order(1, 1)
    assert done is not None
    assert not done.remaining
    wholes = [each for each in desk.brokerage.executions if each.contract.sec_type == "BAG"]
    near = [each for each in desk.brokerage.executions if each.contract.con_id == desk.near.con_id]
    far = [each for each in desk.brokerage.executions if each.contract.con_id == desk.far.con_id]
    assert len(wholes) > 1
    for whole, bought, sold in zip(wholes, near, far, strict=True):
        assert whole.price == bought.price - sold.price
        assert whole.shares == bought.shares == sold.shares
        assert whole.cumulative_quantity == sold.cumulative_quantity
        assert whole.average_price == bought.average_price - sold.average_price
    spent = sum(each.shares * each.price for each in near)
    assert near[-1].average_price == pytest.approx(spent / near[-1].cumulative_quantity)


def test_the_impact_of_a_credit_spread_is_what_it_may_lose() -> None:
    desk = Combined()
    credit = bag((desk.near.con_id, 1, "SELL"), (desk.far.con_id, 1, "BUY"))
    reported = desk.brokerage.place(
        1, order(1, quantity=10, order_type="LMT", limit_price="-1.80", contract=credit, what_if=True), desk.now
    )
    [preview] = [each for each in reported if isinstance(each, events.OrderPreviewed)]
    # Five points for each but the one that the shares held cover, and not ten naked calls.
    assert preview.impact.initial_margin_change == 4500
    assert preview.impact.commission == 13
    assert preview.impact.equity_with_loan_change == 1800 - 13
    assert desk.brokerage.orders == []


def test_what_the_account_cannot_carry_is_rejected() -> None:
    desk = Combined()
    credit = bag((desk.near.con_id, 1, "SELL"), (desk.far.con_id, 1, "BUY"))
    assert desk.place(order(1, quantity=1000, order_type="LMT", limit_price="-1.80", contract=credit)) == [
        "error 1 201",
        "status 1 Inactive 0",
    ]


@pytest.mark.parametrize(
    ("legs", "terms", "code"),
    [
        ((), {}, 321),
        (((AAPL, 1, "BUY"),), {}, 312),
        (((AAPL, 1, "BUY"), (AAPL, 1, "SELL")), {}, 312),
        (((AAPL, 1, "BUY"), (999, 1, "SELL")), {}, 313),
        (((AAPL, 1, "BUY"), (MSFT, 0, "SELL")), {}, 313),
        (((AAPL, 1, "BUY"), (MSFT, 1, "HOLD")), {}, 313),
        (((AAPL, 1, "BUY"), (416904, 1, "SELL")), {}, 313),
        (((AAPL, 1, "BUY"), (MSFT, 1, "SELL")), {"exchange": "NASDAQ"}, 315),
        (((AAPL, 1, "BUY"), (MSFT, 1, "SELL")), {"order_type": "STP", "aux_price": "1"}, 387),
        (((AAPL, 1, "BUY"), (MSFT, 1, "SELL")), {"order_type": "LMT", "limit_price": "1.001"}, 110),
        (((AAPL, 1, "BUY"), (MSFT, 1, "SELL")), {"combo_params": (("NonGuaranteed", "maybe"),)}, 10043),
    ],
)
def test_legs_and_terms_that_make_no_combination_are_refused(legs: Legs, terms: dict[str, Any], code: int) -> None:
    desk = Desk()
    exchange = terms.pop("exchange", "SMART")
    assert desk.place(order(1, contract=bag(*legs, exchange=exchange), **terms)) == [f"error 1 {code}"]
    assert desk.brokerage.last_order_ids == {}


def test_another_combination_is_no_change_of_the_first() -> None:
    desk = Combined()
    desk.place(order(1, order_type="LMT", limit_price="1", contract=desk.vertical))
    other = bag((desk.near.con_id, 2, "BUY"), (desk.far.con_id, 1, "SELL"))
    assert desk.place(order(1, order_type="LMT", limit_price="1", contract=other)) == ["error 1 105"]
    changed = order(1, quantity=1, order_type="LMT", limit_price="2.10", contract=desk.vertical)
    desk.place(changed)
    assert desk.wait()[0] == "fill 1 1@2.1"


def test_a_combination_at_work_outlives_a_restart() -> None:
    desk = Combined()
    desk.place(order(1, quantity=1, order_type="LMT", limit_price="2.00", contract=desk.vertical))
    again = sample_brokerage(now=MONDAY_MORNING)
    restore(again, to_document(desk.brokerage))
    again.market.set_price(str(desk.near.con_id), desk.now, bid=Decimal("2.9"), ask=Decimal(3), last=Decimal(3))
    happened = again.advance(desk.now.replace(second=5))
    assert [each.execution.price for each in happened if isinstance(each, events.OrderFilled)] == [2, 3, 1]


async def vertical(client: Client) -> Contract:
    """A vertical of calls on AAPL as an ib_insync program creates it."""
    chain = await client.ib.reqContractDetailsAsync(Contract(secType="OPT", symbol="AAPL", right="C", exchange="SMART"))
    found = [each.contract for each in chain if each.contract is not None]
    ids = {each.strike: each.conId for each in found}
    legs = [
        ComboLeg(conId=ids[190.0], ratio=1, action="BUY", exchange="SMART"),
        ComboLeg(conId=ids[195.0], ratio=1, action="SELL", exchange="SMART"),
    ]
    return Bag(symbol="AAPL", exchange="SMART", currency="USD", comboLegs=legs)  # type: ignore[no-untyped-call]  # ib_insync's, untyped


@pytest.mark.asyncio
async def test_ib_insync_trades_a_combination_and_sees_its_parts(nothing_undecodable: None) -> None:
    async with running_server() as server, Client() as client:
        ib = await client.connect(server)
        spread = await vertical(client)
        ticker = ib.reqMktData(spread)
        await client.until(lambda: ticker.ask > 0)
        assert ticker.bid < ticker.ask
        state = await asyncio.wait_for(ib.whatIfOrderAsync(spread, LimitOrder("BUY", 1, 2)), SOON)
        assert float(state.commission) == 2.0
        wanted = MarketOrder("BUY", 1, smartComboRoutingParams=[TagValue("NonGuaranteed", "0")])
        trade = ib.placeOrder(spread, wanted)
        await client.until(lambda: trade.orderStatus.status == "Submitted")
        server.floor.move(1)
        await client.until(lambda: trade.orderStatus.status == "Filled")
        await client.caught_up()
        assert [each.contract.secType for each in trade.fills] == ["BAG", "OPT", "OPT"]
        whole, bought, sold = (each.execution.price for each in trade.fills)
        assert whole == pytest.approx(bought - sold)
        assert [each.commissionReport.commission for each in trade.fills] == [0, 1, 1]
        held = {each.contract.conId: each.position for each in ib.positions()}
        assert [held[each.conId] for each in spread.comboLegs] == [1, -1]
        assert client.codes == [code for code in client.codes if code in (2104, 2106, 2158)]
        async with Client() as other:
            await other.connect(server, 6)
            reports = {each.contract.secType: each.commissionReport.execId for each in other.ib.fills()}
            assert reports["OPT"]
            assert not reports["BAG"]
        [done] = await ib.reqCompletedOrdersAsync(False)
        assert done.contract.comboLegsDescrip == ",".join(
            f"{leg.conId}|{1 if leg.action == 'BUY' else -1}" for leg in spread.comboLegs
        )


@pytest.mark.asyncio
async def test_a_new_session_finds_a_combination_at_work_and_changes_it(nothing_undecodable: None) -> None:
    async with running_server() as server, Client() as client:
        ib = await client.connect(server)
        spread = await vertical(client)
        trade = ib.placeOrder(spread, LimitOrder("BUY", 1, 0.05))
        await client.until(lambda: trade.orderStatus.status == "Submitted")
        async with Client() as other:
            await other.connect(server, 6)
            [found] = await other.ib.reqAllOpenOrdersAsync()
            assert (found.contract.conId, found.contract.localSymbol) == (28812380, "28812380")
            assert found.contract.comboLegs == spread.comboLegs
        changed: Order = trade.order
        changed.lmtPrice = 4.99
        ib.placeOrder(trade.contract, changed)
        await client.caught_up()
        server.floor.move(1)
        await client.until(lambda: trade.orderStatus.status == "Filled")


@pytest.mark.asyncio
async def test_contract_details_of_a_combination_are_never_answered() -> None:
    async with running_server() as server:
        client = await RawClient.started(server.port)
        client.send(9, 8, 77, 0, "AAPL", "BAG", "", 0, "", "", "SMART", "", "USD", "", "", 0, "", "", "")
        client.send(49, 1)
        [answer] = await client.until("49")
        assert answer[0] == "49"
        client.close()
