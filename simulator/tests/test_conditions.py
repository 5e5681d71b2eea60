"""Conditions of orders: what lets an order trade, and what cancels one."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from ib_insync import LimitOrder, MarketOrder, PriceCondition, Stock, TimeCondition
from simulator.tests.api_client import running_server
from simulator.tests.insync_client import Client
from simulator.tests.trading_desk import AAPL, MONDAY_MORNING, MSFT, Desk, accepted, order, waiting

from gateway_simulator.trading.conditions import EXECUTION, MARGIN, PERCENT, PRICE, TIME, VOLUME, Present, are_met
from gateway_simulator.trading.matching import BID_ASK, LAST_OR_BID_ASK, MIDPOINT
from gateway_simulator.trading.model import Condition, Execution
from gateway_simulator.trading.persistence import restore, to_document
from gateway_simulator.trading.sample import sample_brokerage

D = Decimal


def price(value: str, *, more: bool = True, con_id: int = MSFT, **terms: Any) -> Condition:
    return Condition(PRICE, is_more=more, value=D(value), con_id=con_id, exchange="SMART", **terms)


def at(moment: str, *, more: bool = True) -> Condition:
    return Condition(TIME, is_more=more, time=moment)


def conditional(desk: Desk, *conditions: Condition, **terms: Any) -> list[str]:
    return desk.place(order(1, conditions=conditions, **terms))


def test_an_order_rests_until_a_price_is_reached_and_then_stays_at_work() -> None:
    desk = Desk()
    desk.price("400", "400.10", name="MSFT")
    assert conditional(desk, price("410"), order_type="LMT", limit_price="180") == waiting(1)
    assert desk.wait(5) == []
    desk.price("410", "410.10", name="MSFT")
    assert desk.wait() == ["opened 1 Submitted", "status 1 Submitted 0"]
    desk.price("400", "400.10", name="MSFT")
    assert desk.wait() == []
    desk.price("179", "180")
    assert desk.wait()[0] == "fill 1 10@180"


def test_a_market_order_fills_when_its_time_comes_and_not_before() -> None:
    desk = Desk()
    assert conditional(desk, at("20261123 10:00:30 US/Eastern")) == waiting(1)
    assert desk.wait(29) == []
    assert desk.wait(1)[:3] == ["opened 1 Submitted", "status 1 Submitted 0", "fill 1 10@189.1"]


def test_conditions_that_cancel_let_the_order_work_until_they_are_met() -> None:
    desk = Desk()
    desk.price("400", "400.10", name="MSFT")
    reported = conditional(desk, price("390", more=False), conditions_cancel=True, order_type="LMT", limit_price="180")
    assert reported == accepted(1)
    desk.price("390", "390.10", name="MSFT")
    assert desk.wait() == ["status 1 Cancelled 0", "error 1 202"]


def test_an_order_whose_conditions_are_met_at_once_trades_at_once() -> None:
    desk = Desk()
    desk.price("400", "400.10", name="MSFT")
    conditional(desk, price("400"))
    assert "fill 1 10@189.1" in desk.wait()


def test_other_conditions_start_again() -> None:
    desk = Desk()
    desk.price("400", "400.10", name="MSFT")
    conditional(desk, price("400"), order_type="LMT", limit_price="180")
    desk.wait()
    assert conditional(desk, price("500"), order_type="LMT", limit_price="180") == waiting(1)
    assert desk.cancel(1)[-1] == "error 1 202"


def test_an_order_waits_for_the_opening_and_its_condition() -> None:
    desk = Desk(hours="exchange", now=MONDAY_MORNING - timedelta(minutes=31))
    conditional(desk, at("20261123 09:30:30 US/Eastern"))
    assert desk.until(MONDAY_MORNING - timedelta(minutes=29, seconds=31)) == []
    assert desk.until(MONDAY_MORNING - timedelta(minutes=29, seconds=30))[0] == "opened 1 Submitted"


@pytest.mark.parametrize("met", [False, True])
def test_what_was_met_outlives_a_restart(met: bool) -> None:
    desk = Desk()
    desk.price("400", "400.10", name="MSFT")
    conditional(desk, price("400" if met else "500"), order_type="LMT", limit_price="180")
    desk.wait()
    desk.price("300", "300.10", name="MSFT")
    again = sample_brokerage(now=MONDAY_MORNING)
    restore(again, to_document(desk.brokerage))
    assert [each.order.status.value for each in again.working.values()] == ["Submitted" if met else "PreSubmitted"]
    again.market.set_price("AAPL", desk.now, bid=D(179), ask=D(180), last=D(180))
    again.advance(desk.now + timedelta(seconds=2))
    assert bool(again.executions) is met


def holds(*conditions: Condition, ignore: bool = False, open_now: bool = True, **terms: Any) -> bool:
    """Whether conditions hold at a desk whose Microsoft is quoted 400.00 to 400.10 and traded at 400.05."""
    desk = Desk()
    desk.price("400", "400.10", "400.05", name="MSFT")
    quote = replace(desk.brokerage.market.quote(MSFT, desk.now), close=D(390), volume=D(1000), open=open_now)
    placed = replace(
        order(1, conditions=conditions, conditions_ignore_rth=ignore, account="DU1234567"), submitted_at=desk.now
    )
    given: dict[str, Any] = {
        "cushion": lambda: D(50),
        "executions": [],
        "quote_of": lambda con_id: ("STK", quote),
        "moment_of": lambda _: desk.now,
        **terms,
    }
    return are_met(placed, Present(desk.now, **given))


@pytest.mark.parametrize(
    ("condition", "met"),
    [
        (price("400.05"), True),
        (price("400.06"), False),
        (price("400.05", more=False), True),
        (price("400.02", trigger_method=BID_ASK), False),
        (price("400.10", trigger_method=BID_ASK, more=False), True),
        (price("400.05", trigger_method=LAST_OR_BID_ASK), True),
        (price("400.05", trigger_method=MIDPOINT), True),
        (at("now"), True),
        (at("now", more=False), True),
        (Condition(MARGIN, is_more=True, value=D(50)), True),
        (Condition(MARGIN, is_more=False, value=D(30)), False),
        (Condition(VOLUME, is_more=True, value=D(1000), con_id=MSFT), True),
        (Condition(VOLUME, is_more=True, value=D(1001), con_id=MSFT), False),
        (Condition(PERCENT, is_more=True, value=D("2.5"), con_id=MSFT), True),
        (Condition(PERCENT, is_more=True, value=D("2.6"), con_id=MSFT), False),
        (Condition(EXECUTION, symbol="AAPL", sec_type="STK", exchange="SMART"), False),
    ],
)
def test_each_kind_of_condition(condition: Condition, met: bool) -> None:
    assert holds(condition) is met


def test_an_execution_counts_from_the_order_on_and_for_its_account() -> None:
    desk = Desk()
    desk.place(order(5, quantity=1))
    desk.wait()
    [execution] = desk.brokerage.executions
    wanted = Condition(EXECUTION, symbol="AAPL", sec_type="STK", exchange="SMART")

    def met(condition: Condition, each: Execution) -> bool:
        return holds(condition, executions=[each])

    assert met(wanted, execution)
    assert met(replace(wanted, exchange=execution.exchange), execution)
    assert not met(replace(wanted, exchange="ELSEWHERE"), execution)
    assert not met(replace(wanted, symbol="MSFT"), execution)
    assert not met(wanted, replace(execution, account="DU9"))
    assert not met(wanted, replace(execution, time=MONDAY_MORNING - timedelta(seconds=1)))


def test_and_binds_before_or() -> None:
    true, false = price("1"), price("9999")
    assert holds(replace(true, conjunction="o"), false, false)
    assert holds(false, replace(true, conjunction="o"), true)
    assert not holds(true, replace(false, conjunction="o"), false)
    assert not holds(true, false)


def test_prices_outside_regular_hours_count_if_the_order_asks_for_it() -> None:
    assert not holds(price("1"), open_now=False)
    assert holds(price("1"), open_now=False, ignore=True)


@pytest.mark.parametrize(
    ("condition", "code"),
    [
        (price("1", con_id=999), 321),
        (price("1", trigger_method=5), 321),
        (replace(price("1"), conjunction="x"), 321),
        (at("tomorrow"), 337),
    ],
)
def test_conditions_that_make_no_sense_are_refused(condition: Condition, code: int) -> None:
    assert conditional(Desk(), condition) == [f"error 1 {code}"]


@pytest.mark.asyncio
async def test_ib_insync_places_and_finds_conditional_orders(nothing_undecodable: None) -> None:
    async with running_server() as server, Client() as client:
        ib = await client.connect(server)
        stock = Stock("AAPL", "SMART", "USD")
        rests = MarketOrder("BUY", 1)
        rests.conditions = [
            PriceCondition(price=9999, conId=AAPL, exch="SMART", conjunction="o"),
            TimeCondition(time="20351231 10:00:00 US/Eastern"),
        ]
        trade = ib.placeOrder(stock, rests)
        ends = LimitOrder("BUY", 1, 1.5, conditionsCancelOrder=True, conditionsIgnoreRth=True)
        ends.conditions = [PriceCondition(price=1, conId=AAPL, exch="SMART")]
        ended = ib.placeOrder(stock, ends)
        await client.caught_up()
        server.floor.move(5)
        await client.until(lambda: ended.orderStatus.status == "Cancelled")
        assert trade.orderStatus.status == "PreSubmitted"
        async with Client() as other:
            await other.connect(server, 6)
            [found] = await other.ib.reqAllOpenOrdersAsync()
            assert found.order.conditions == rests.conditions
        [done] = await ib.reqCompletedOrdersAsync(False)
        assert (done.order.conditionsIgnoreRth, done.order.conditionsCancelOrder) == (True, True)
