"""Orders through the API: who is notified of them, how a lost connection affects them, and what outlives one."""

from __future__ import annotations

import asyncio
import re

import pytest
from ib_insync import IB, LimitOrder, MarketOrder, Option, Order, Stock, TagValue, Trade
from simulator.tests.api_client import NOW, SOON, HeldPace, RawClient, events, held_clock, journaled, running_server
from simulator.tests.insync_client import Client

from gateway_simulator.api.behaviour import ApiBehaviour
from gateway_simulator.api.faults import parse_rule
from gateway_simulator.api.requests import REQUEST_NAMES
from gateway_simulator.api.server import ApiServer
from gateway_simulator.trading.sample import sample_brokerage

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("nothing_undecodable")]

APPLE = Stock("AAPL", "SMART", "USD", conId=265598)


def far_below(quantity: float = 3) -> Order:
    """An order that rests."""
    return LimitOrder("BUY", quantity, 1.5)


async def placed(client: Client, order: Order) -> Trade:
    """Place an order and wait until it rests."""
    trade = client.ib.placeOrder(APPLE, order)
    await client.until(lambda: trade.orderStatus.status in ("Submitted", "PreSubmitted"))
    return trade


async def test_a_market_order_is_filled_when_the_clock_gets_there() -> None:
    async with running_server() as server, Client() as client:
        ib = await client.connect(server)
        trade = ib.placeOrder(APPLE, MarketOrder("BUY", 10))
        await client.until(lambda: trade.orderStatus.status == "Submitted")
        assert trade.fills == []
        server.floor.move(1)
        await client.until(lambda: trade.orderStatus.status == "Filled" and trade.fills)
        await client.caught_up()
        ask = server.brokerage.market.quote(265598, NOW).ask
        assert ask is not None
        assert trade.fills[0].execution.price == pytest.approx(float(ask), rel=0.001)
        assert trade.fills[0].commissionReport.commission == 1.0
        assert {p.contract.conId: p.position for p in ib.positions()}[265598] == 110
        assert {p.contract.conId: p.position for p in ib.portfolio()}[265598] == 110
        spent = 10 * trade.fills[0].execution.price + 1
        cash = {v.tag: v.value for v in ib.accountValues() if v.currency == "USD"}["TotalCashValue"]
        assert float(cash) == pytest.approx(100_000 - spent)


async def test_only_its_client_and_the_master_receive_an_order() -> None:
    behaviour = ApiBehaviour(master_client_id=9)
    async with (
        running_server(behaviour=behaviour) as server,
        Client() as own,
        Client() as other,
        Client() as master,
        Client() as zero,
    ):
        for client, client_id in ((own, 5), (other, 6), (master, 9), (zero, 0)):
            await client.connect(server, client_id)
        received: dict[int, list[str]] = {6: [], 9: [], 0: []}
        for client, client_id in ((other, 6), (master, 9), (zero, 0)):
            client.ib.openOrderEvent += lambda trade, receives=received[client_id]: receives.append(trade.order.action)
            client.ib.execDetailsEvent += lambda trade, fill, receives=received[client_id]: receives.append(
                fill.execution.side
            )
        trade = own.ib.placeOrder(APPLE, MarketOrder("BUY", 10))
        await own.until(lambda: trade.orderStatus.status == "Submitted")
        server.floor.move(1)
        await own.until(lambda: trade.fills)
        for client in (other, master, zero):
            await client.caught_up()
        assert set(received[9]) == {"BUY", "BOT"}
        assert received[6] == received[0] == []


async def test_another_clients_order_cannot_be_cancelled_but_by_the_global_cancel() -> None:
    async with running_server() as server, Client() as own, Client() as other:
        await own.connect(server, 5)
        await other.connect(server, 6)
        trade = await placed(own, far_below())
        other.ib.client.cancelOrder(trade.order.orderId, "")  # type: ignore[no-untyped-call]  # ib_insync's, untyped
        await other.until(lambda: 10147 in other.codes)
        assert trade.orderStatus.status == "Submitted"
        other.ib.reqGlobalCancel()  # type: ignore[no-untyped-call]  # ib_insync's, untyped
        await own.until(lambda: trade.orderStatus.status == "Cancelled")
        assert server.brokerage.orders == []


async def test_open_orders_and_fills_are_there_after_a_reconnect() -> None:
    async with running_server() as server:
        async with Client() as client:
            ib = await client.connect(server)
            await placed(client, far_below())
            trade = ib.placeOrder(APPLE, MarketOrder("SELL", 4))
            await client.until(lambda: trade.orderStatus.status == "Submitted")
        await journaled(server, "disconnected")
        server.floor.move(1)  # filled while no client is connected
        async with Client() as again:
            ib = await again.connect(server)
            assert [(t.order.totalQuantity, t.orderStatus.status) for t in ib.openTrades()] == [(3, "Submitted")]
            assert [(f.execution.side, f.execution.shares) for f in ib.fills()] == [("SLD", 4)]
            assert ib.client.getReqId() > trade.order.orderId


async def test_a_what_if_order_reports_its_impact_and_is_not_placed() -> None:
    async with running_server() as server, Client() as client:
        ib = await client.connect(server)
        state = await asyncio.wait_for(ib.whatIfOrderAsync(APPLE, MarketOrder("BUY", 10)), SOON)
        assert float(state.initMarginChange) > 0
        assert float(state.initMarginAfter) == pytest.approx(
            float(state.initMarginBefore) + float(state.initMarginChange)
        )
        assert server.brokerage.working == {}


async def test_what_the_simulator_does_not_play_is_rejected_by_name() -> None:
    async with running_server() as server, Client() as client:
        ib = await client.connect(server)
        trade = ib.placeOrder(APPLE, LimitOrder("BUY", 1, 1.5, algoStrategy="ArrivalPx"))
        await client.until(lambda: trade.orderStatus.status == "Inactive")
        (text,) = [text for _, code, text in client.errors if code == 201]
        assert "ArrivalPx" in text


@pytest.mark.parametrize("strategy", ["Adaptive", "Twap", "Vwap"])
async def test_an_algorithm_is_played_as_its_plain_order_and_echoed(strategy: str) -> None:
    async with running_server() as server, Client() as client:
        ib = await client.connect(server)
        parameters = [TagValue("adaptivePriority", "Patient"), TagValue("allowPastEndTime", "1")]
        terms = {"algoStrategy": strategy, "algoParams": parameters}
        resting = ib.placeOrder(APPLE, LimitOrder("BUY", 1, 1.5, **terms))
        filled = ib.placeOrder(APPLE, LimitOrder("BUY", 1, 1000, **terms))
        await client.until(lambda: resting.orderStatus.status == "Submitted")
        server.floor.move(1)
        await client.until(lambda: filled.orderStatus.status == "Filled")
        async with Client() as second:
            other = await second.connect(server, 9)
            [seen] = await asyncio.wait_for(other.reqAllOpenOrdersAsync(), SOON)
            assert (seen.order.algoStrategy, seen.order.algoParams) == (strategy, parameters)
            [done] = await asyncio.wait_for(other.reqCompletedOrdersAsync(False), SOON)
            assert (done.order.algoStrategy, done.order.algoParams) == (strategy, parameters)


async def test_an_order_for_the_contract_of_a_position_is_taken() -> None:
    async with running_server() as server, Client() as client:
        ib = await client.connect(server)
        held = {each.contract.symbol: each.contract for each in ib.positions()}
        assert (held["AAPL"].exchange, held["MSFT"].exchange) == ("NASDAQ", "NASDAQ")
        trade = ib.placeOrder(held["AAPL"], MarketOrder("SELL", 100))
        await client.until(lambda: trade.orderStatus.status == "Submitted")
        server.floor.move(1)
        await client.until(lambda: trade.orderStatus.status == "Filled")


async def test_orders_in_cents_are_taken_in_a_penny_class_on_smart() -> None:
    async with running_server() as server, Client() as client:
        ib = await client.connect(server)
        option = Option("AAPL", "20261218", 190, "C", "SMART")
        trade = ib.placeOrder(option, LimitOrder("SELL", 1, 3.38))
        await client.until(lambda: trade.orderStatus.status == "Submitted")
        ib.placeOrder(Option("AAPL", "20261218", 190, "C", "CBOE"), LimitOrder("SELL", 1, 3.38))
        await client.until(lambda: 110 in client.codes)


async def test_orders_wait_while_the_connection_to_the_servers_is_lost() -> None:
    async with running_server() as server, Client() as client:
        ib = await client.connect(server)
        resting = await placed(client, far_below())
        server.lose_connection()
        dropped = ib.placeOrder(APPLE, far_below(2))
        sent = ib.placeOrder(APPLE, MarketOrder("BUY", 1))
        await client.caught_up()
        assert client.codes.count(1100) == 1
        assert [each.orderStatus.status for each in (dropped, sent)] == ["PendingSubmit"] * 2
        assert len(await asyncio.wait_for(ib.reqOpenOrdersAsync(), SOON)) == 3
        ib.cancelOrder(dropped.order)
        await client.until(lambda: dropped.orderStatus.status == "Cancelled")
        ib.cancelOrder(resting.order)
        server.floor.move(5)
        await client.caught_up()
        assert [each.order_id for each in server.brokerage.orders] == [resting.order.orderId]
        server.restore_connection(data_lost=False)
        await client.until(lambda: resting.orderStatus.status == "Cancelled")
        await client.until(lambda: sent.orderStatus.status == "Submitted")
        server.floor.move(1)
        await client.until(lambda: sent.orderStatus.status == "Filled")
        assert client.codes.count(1102) == 1
        assert dropped.order.orderId not in [each.order_id for each in server.brokerage.completed_orders]


async def test_a_client_that_connects_during_an_outage_is_informed_of_it() -> None:
    async with running_server() as server, Client() as client, Client() as late:
        await client.connect(server)
        server.lose_connection()
        await late.connect(server, 6)
        assert late.codes == [1100, 2103, 2105, 2157]
        server.restore_connection(data_lost=False)
        await late.until(lambda: late.codes[4:] == [1102, 2104, 2106, 2158])


async def test_fills_during_a_lost_connection_are_received_when_it_is_back() -> None:
    async with running_server() as server, Client() as client:
        ib = await client.connect(server)
        trade = ib.placeOrder(APPLE, MarketOrder("BUY", 1))
        await client.until(lambda: trade.orderStatus.status == "Submitted")
        server.lose_connection()
        server.floor.move(5)
        await client.caught_up()
        assert trade.orderStatus.status == "Submitted"
        assert len(server.brokerage.executions) == 1
        server.restore_connection(data_lost=True)
        await client.until(lambda: trade.orderStatus.status == "Filled")
        assert 1101 in client.codes


async def fault(server: ApiServer, rule: str) -> None:
    server.faults.add(parse_rule(rule.split(), REQUEST_NAMES))


async def lost(ib: IB) -> None:
    """Wait until the client sees that its connection is gone."""
    if ib.isConnected():
        await asyncio.wait_for(ib.disconnectedEvent, SOON)


@pytest.mark.parametrize(
    ("rule", "taken", "last_status"),
    [
        ("disconnect before in:placeOrder", False, "PendingSubmit"),
        ("disconnect after in:placeOrder", True, "PendingSubmit"),
        ("disconnect before out:openOrder", True, "PendingSubmit"),
        ("disconnect middle out:openOrder", True, "PendingSubmit"),
        ("disconnect after out:orderStatus:Submitted", True, "Submitted"),
    ],
)
async def test_a_disconnect_at_a_chosen_message(rule: str, taken: bool, last_status: str) -> None:
    async with running_server() as server, Client() as client, Client() as bystander:
        ib = await client.connect(server)
        await bystander.connect(server, 6)
        await fault(server, f"{rule} client=5")
        trade = ib.placeOrder(APPLE, MarketOrder("BUY", 10))
        await lost(ib)
        assert trade.orderStatus.status == last_status
        assert len(server.brokerage.orders) == taken
        server.floor.move(1)
        assert len(server.brokerage.executions) == taken
        assert trade.fills == []
        assert events(server, "fault") == [f"{rule} client=5"]
        await bystander.caught_up()
        async with Client() as again:
            ib = await again.connect(server)
            assert len(ib.fills()) == taken


async def test_a_delay_holds_answers_back_and_a_stall_the_requests_too() -> None:
    pace = HeldPace()
    async with running_server(pace=pace) as server, Client() as client:
        ib = await client.connect(server)
        await fault(server, "delay 3 out:openOrder")
        trade = ib.placeOrder(APPLE, far_below())
        await asyncio.wait_for(pace.sleeping.wait(), SOON)
        await asyncio.sleep(0.05)
        assert pace.slept == [3]
        assert trade.orderStatus.status == "PendingSubmit"
        assert len(server.brokerage.orders) == 1
        pace.release()
        await client.until(lambda: trade.orderStatus.status == "Submitted")


async def test_a_stalled_server_goes_on_where_it_stopped() -> None:
    pace = HeldPace()
    async with running_server(pace=pace) as server, Client() as client:
        ib = await client.connect(server)
        assert server.stall(30) == 1
        trade = ib.placeOrder(APPLE, far_below())
        await asyncio.sleep(0.05)
        trade_again = ib.placeOrder(APPLE, far_below())
        await asyncio.sleep(0.05)
        assert len(server.brokerage.orders) <= 1
        pace.release()
        await client.until(lambda: trade_again.orderStatus.status == trade.orderStatus.status == "Submitted")


async def test_too_many_messages_are_refused_and_then_end_the_session() -> None:
    behaviour = ApiBehaviour(messages_per_second=4)
    async with running_server(behaviour=behaviour) as server:
        client = await RawClient.started(server.port)
        for breach in (1, 2, 3):
            for _ in range(60):
                client.send(49, 1)
            [code, text] = (await client.until("4", "2"))[-1][3:5]
            counted = re.fullmatch(
                rf"Max rate of messages per second has been exceeded:max=4 rec=(\d+) \({breach}\)", text
            )
            assert (code, counted is not None) == ("100", True)
            assert counted is not None and int(counted[1]) > 4
            await asyncio.sleep(1.05)  # the second over which messages are counted is the machine's
        assert await client.closed() == b""
        client.close()


async def test_two_runs_with_one_seed_and_the_same_requests_are_alike() -> None:
    journals = []
    for _ in range(2):
        async with running_server(sample_brokerage(seed=7, now=NOW), held_clock()) as server, Client() as client:
            ib = await client.connect(server)
            trades = []
            for order in (MarketOrder("BUY", 10), far_below(), LimitOrder("SELL", 5, 150)):
                trades.append(ib.placeOrder(APPLE, order))
                await client.caught_up()
                server.floor.move(2)
            ib.cancelOrder(trades[1].order)
            await client.until(lambda: trades[1].orderStatus.status == "Cancelled")  # noqa: B023 - called at once
            journals.append(list(server.brokerage.journal))
    assert journals[0] == journals[1]
    assert sum('"OrderFilled"' in line for line in journals[0]) >= 2
