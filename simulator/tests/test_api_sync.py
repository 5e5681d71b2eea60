"""A real ib_insync connects to the simulated API and reads everything of its first sync."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from ib_insync import ExecutionFilter, LimitOrder, Stock
from simulator.tests.api_client import NOW, SOON, HeldPace, held_clock, journaled, running_server
from simulator.tests.insync_client import Client

from gateway_simulator.api.behaviour import ApiBehaviour, ConnectMode
from gateway_simulator.trading.accounts import Account
from gateway_simulator.trading.brokerage import Brokerage
from gateway_simulator.trading.model import Execution, Order, OrderStatus
from gateway_simulator.trading.sample import sample_brokerage
from gateway_simulator.trading.trading_time import EPOCH
from gateway_simulator.trading.working import WorkingOrder

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("nothing_undecodable")]

FILLED_AT = datetime(2026, 11, 23, 14, 31, 7, tzinfo=UTC)
SHORT = 0.4
"""A connect timeout for clients that are meant to run into it, in seconds."""


def rest(brokerage: Brokerage, order: Order) -> None:
    """An order that is at work already, with ids of its own."""
    working = WorkingOrder(
        order,
        brokerage.catalog.known(order.contract.con_id),
        brokerage.numbers.next_sequence(),
        arrives=EPOCH,
        arrived=True,
    )
    brokerage._orders.working[order.client_id, order.order_id] = working
    brokerage._orders.use_id(order.client_id, order.order_id)


def traded_brokerage() -> Brokerage:
    """The sample with an order of each kind and a fill: all that an account can show."""
    brokerage = sample_brokerage(["DU1234567", "DU7654321"])
    apple, microsoft, spy = (brokerage.known_instrument(con_id).contract for con_id in (265598, 272093, 756733))
    working = [
        Order(
            order_id=11,
            client_id=5,
            perm_id=900011,
            account="DU1234567",
            contract=apple,
            action="SELL",
            quantity=Decimal(100),
            order_type="TRAIL",
            trail_stop_price=Decimal("170.5"),
            trailing_percent=Decimal("10"),
            time_in_force="GTC",
            order_ref="guard",
        ),
        Order(
            order_id=12,
            client_id=6,
            perm_id=900012,
            account="DU7654321",
            contract=microsoft,
            action="BUY",
            quantity=Decimal("10"),
            order_type="LMT",
            limit_price=Decimal("399.99"),
            status=OrderStatus.PRE_SUBMITTED,
            parent_id=10,
            filled=Decimal(4),
            average_fill_price=Decimal("399.98"),
        ),
    ]
    for order in working:
        rest(brokerage, order)
    brokerage.completed_orders = [
        Order(
            order_id=9,
            client_id=5,
            perm_id=900009,
            account="DU1234567",
            contract=spy,
            action="BUY",
            quantity=Decimal(3),
            order_type="MKT",
            status=OrderStatus.FILLED,
            filled=Decimal(3),
            completed_at=FILLED_AT,
            completed_reason="Filled Size: 3",
        )
    ]
    brokerage.executions = [
        Execution(
            exec_id="0000e0d5.69e05ee5.01.01",
            order_id=9,
            client_id=5,
            perm_id=900009,
            account="DU1234567",
            contract=spy,
            time=FILLED_AT,
            exchange="ARCA",
            side="BOT",
            shares=Decimal(3),
            price=Decimal("512.34"),
            cumulative_quantity=Decimal(3),
            average_price=Decimal("512.34"),
            commission=Decimal("1.02"),
            order_ref="entry",
        )
    ]
    return brokerage


@pytest.mark.parametrize("readonly", [False, True])
async def test_a_client_connects_and_knows_its_accounts(readonly: bool) -> None:
    async with running_server() as server, Client() as client:
        ib = await client.connect(server, readonly=readonly)
        assert ib.isConnected()
        assert ib.client.serverVersion() == 176
        assert ib.managedAccounts() == ["DU1234567"]
        assert client.codes == [2104, 2106, 2158]
        assert server.clients == [5]


async def test_positions_portfolio_and_values_agree_with_the_account() -> None:
    brokerage = sample_brokerage()
    brokerage.accounts["DU1234567"].cash = Decimal("1234.5")
    async with running_server(brokerage) as server, Client() as client:
        ib = await client.connect(server)
        assert [(p.account, p.contract.conId, p.contract.symbol, p.position, p.avgCost) for p in ib.positions()] == [
            ("DU1234567", 265598, "AAPL", 100.0, 185.5),
            ("DU1234567", 272093, "MSFT", 50.0, 410.2),
        ]
        apple = ib.portfolio()[0]
        assert (apple.contract.symbol, apple.contract.primaryExchange) == ("AAPL", "NASDAQ")
        quote = brokerage.market.quote(265598, NOW)
        assert quote.mark is not None
        assert apple.marketPrice == float(quote.mark)
        assert apple.marketValue == pytest.approx(float(quote.mark * 100))
        assert apple.unrealizedPNL == pytest.approx(float(quote.mark * 100 - 18550))
        values = {(v.tag, v.currency): v.value for v in ib.accountValues("DU1234567")}
        assert values["AccountReady", ""] == "true"
        assert values["TotalCashValue", "USD"] == "1234.50"
        market_value = sum(item.marketValue for item in ib.portfolio())
        assert float(values["NetLiquidation", "USD"]) == pytest.approx(1234.5 + market_value)
        assert values["CashBalance", "BASE"] == "1234.50"


async def test_account_summary_gives_the_tags_asked_for_and_no_others() -> None:
    async with running_server(sample_brokerage(["DU1", "DU2"])) as server, Client() as client:
        ib = await client.connect(server)
        await asyncio.wait_for(ib.reqAccountSummaryAsync(), SOON)
        summary = ib.wrapper.acctSummary.values()
        assert {v.account for v in summary} == {"DU1", "DU2"}
        tags = {v.tag for v in summary}
        assert {"AccountType", "NetLiquidation", "BuyingPower", "CashBalance"} <= tags
        assert "AccountReady" not in tags


async def test_open_orders_are_the_clients_own_and_all_open_orders_are_everyones() -> None:
    async with running_server(traded_brokerage()) as server, Client() as client:
        ib = await client.connect(server)
        (trade,) = ib.openTrades()
        order = trade.order
        assert (order.orderId, order.permId, order.clientId, order.account) == (11, 900011, 5, "DU1234567")
        assert (order.action, order.totalQuantity, order.orderType, order.tif) == ("SELL", 100.0, "TRAIL", "GTC")
        assert (order.trailStopPrice, order.trailingPercent, order.orderRef) == (170.5, 10.0, "guard")
        assert (trade.orderStatus.status, trade.orderStatus.remaining) == ("Submitted", 100.0)
        await asyncio.wait_for(ib.reqAllOpenOrdersAsync(), SOON)
        (other,) = [t for t in ib.openTrades() if t.order.clientId == 6]
        assert (other.contract.symbol, other.order.lmtPrice, other.order.parentId) == ("MSFT", 399.99, 10)
        assert (other.orderStatus.status, other.orderStatus.filled, other.orderStatus.avgFillPrice) == (
            "PreSubmitted",
            4.0,
            399.98,
        )
        assert ib.client.getReqId() >= 12


async def test_completed_orders_and_executions_of_the_day() -> None:
    async with running_server(traded_brokerage()) as server, Client() as client:
        ib = await client.connect(server)
        (done,) = [trade for trade in ib.trades() if trade.order.permId == 900009]
        assert (done.contract.symbol, done.order.orderType, done.orderStatus.status) == ("SPY", "MKT", "Filled")
        assert done.order.filledQuantity == 3.0
        (fill,) = ib.fills()
        assert (fill.contract.symbol, fill.execution.execId) == ("SPY", "0000e0d5.69e05ee5.01.01")
        assert (fill.execution.time, fill.execution.shares, fill.execution.price) == (FILLED_AT, 3.0, 512.34)
        assert (fill.commissionReport.commission, fill.commissionReport.realizedPNL) == (1.02, 0.0)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (ExecutionFilter(), 1),
        (ExecutionFilter(clientId=5, acctCode="DU1234567", symbol="SPY", secType="STK", side="BUY"), 1),
        (ExecutionFilter(time="20261123 14:31:07"), 1),
        (ExecutionFilter(time="20261123-14:31:08"), 0),
        (ExecutionFilter(time="20261123 09:31:08 America/New_York"), 0),
        (ExecutionFilter(clientId=6), 0),
        (ExecutionFilter(side="SELL"), 0),
        (ExecutionFilter(acctCode="DU7654321"), 0),
    ],
)
async def test_executions_are_filtered(wanted: ExecutionFilter, found: int) -> None:
    async with running_server(traded_brokerage()) as server, Client() as client:
        ib = await client.connect(server, readonly=True)
        assert len(await asyncio.wait_for(ib.reqExecutionsAsync(wanted), SOON)) == found


async def test_the_servers_time_is_the_gateways_clock() -> None:
    clock = held_clock()
    async with running_server(clock=clock) as server, Client() as client:
        ib = await client.connect(server)
        assert await asyncio.wait_for(ib.reqCurrentTimeAsync(), SOON) == clock.now()


async def test_a_known_contract_is_qualified_and_an_unknown_one_is_error_200() -> None:
    async with running_server() as server, Client() as client:
        ib = await client.connect(server)
        apple, unknown = Stock("AAPL", "SMART", "USD"), Stock("NOSUCH", "SMART", "USD")
        assert await asyncio.wait_for(ib.qualifyContractsAsync(apple, unknown), SOON) == [apple]
        assert (apple.conId, apple.primaryExchange) == (265598, "NASDAQ")
        assert [code for _, code, _ in client.errors if code == 200] == [200]


async def test_an_account_that_is_not_managed_is_refused() -> None:
    async with running_server() as server, Client() as client:
        ib = await client.connect(server)
        await asyncio.wait_for(ib.reqAccountUpdatesMultiAsync("U999"), SOON)
        assert [(code, text[-28:]) for _, code, text in client.errors if code == 321] == [
            (321, "Invalid account code 'U999'.")
        ]


async def test_a_request_not_served_is_an_error_of_that_request_not_silence() -> None:
    async with running_server() as server, Client() as client:
        ib = await client.connect(server)
        apple = Stock("AAPL", "SMART", "USD")
        histogram = await asyncio.wait_for(ib.reqHistogramDataAsync(apple, True, "1 week"), SOON)
        assert list(histogram) == []
        (error,) = [(code, text) for _, code, text in client.errors if code == 322]
        assert "reqHistogramData" in error[1]


async def test_an_order_is_rejected_as_201_and_becomes_inactive() -> None:
    async with running_server() as server, Client() as client:
        ib = await client.connect(server)
        trade = ib.placeOrder(Stock("AAPL", "SMART", "USD"), LimitOrder("BUY", 70_000, 1000))
        async with asyncio.timeout(SOON):
            while trade.orderStatus.status != "Inactive":
                await ib.updateEvent
        assert (trade.order.orderId, 201) in [(request_id, code) for request_id, code, _ in client.errors]
        assert trade.orderStatus.remaining == 70_000


async def test_read_only_answers_orders_with_321_and_the_client_connects_without_them() -> None:
    async with running_server(traded_brokerage(), behaviour=ApiBehaviour(read_only=True)) as server, Client() as client:
        ib = await client.connect(server, patience=SHORT)
        assert ib.isConnected()
        assert [text for _, code, text in client.errors if code == 321] == [
            "Error validating request.-'bN' : cause - The API interface is currently in Read-Only mode."
        ] * 2
        assert ib.openTrades() == []
        assert len(ib.fills()) == 1
        trade = ib.placeOrder(Stock("AAPL", "SMART", "USD"), LimitOrder("BUY", 1, 1))
        async with asyncio.timeout(SOON):
            while not trade.isDone():  # type: ignore[no-untyped-call]  # ib_insync's, untyped
                await ib.updateEvent
        assert client.errors[-1][:2] == (trade.order.orderId, 321)


async def test_read_only_has_no_error_for_a_client_that_asks_for_no_orders() -> None:
    async with running_server(behaviour=ApiBehaviour(read_only=True)) as server, Client() as client:
        await client.connect(server, readonly=True)
        assert 321 not in client.codes


@pytest.mark.parametrize("held_by_another", [False, True])
async def test_a_client_id_in_use_is_error_326(held_by_another: bool) -> None:
    async with running_server() as server, Client() as first, Client() as second:
        if held_by_another:
            server.behaviour.client_ids_in_use.add(5)
        else:
            await first.connect(server)
        with pytest.raises(TimeoutError):
            await second.connect(server, patience=SHORT)
        assert [error[:2] for error in second.errors] == [(-1, 326)]


async def test_two_clients_beside_each_other_and_an_id_is_free_again_after_its_client() -> None:
    async with running_server() as server, Client() as first, Client() as second, Client() as third:
        await first.connect(server, client_id=1)
        await second.connect(server, client_id=2)
        assert server.clients == [1, 2]
        assert first.ib.positions() == second.ib.positions() != []
        first.ib.disconnect()  # type: ignore[no-untyped-call]  # ib_insync's, untyped
        await journaled(server, "disconnected")
        await third.connect(server, client_id=1)
        assert server.clients == [1, 2]
        assert second.ib.isConnected()


@pytest.mark.parametrize(
    "connect", [ConnectMode.SILENT, ConnectMode.SILENT_AFTER_VERSION, ConnectMode.ACCEPT_AND_CLOSE, ConnectMode.STALLED]
)
async def test_a_client_of_a_gateway_that_does_not_serve_times_out(connect: ConnectMode) -> None:
    async with running_server(behaviour=ApiBehaviour(connect=connect)) as server, Client() as client:
        with pytest.raises(TimeoutError):
            await client.connect(server, patience=SHORT)
        assert client.errors == []


async def test_only_the_first_client_meets_the_first_silence() -> None:
    async with running_server(behaviour=ApiBehaviour(connect=ConnectMode.SILENT_ONCE)) as server, Client() as client:
        with pytest.raises(TimeoutError):
            await client.connect(server, patience=SHORT)
        await client.connect(server)


async def test_without_managed_accounts_a_client_never_becomes_ready() -> None:
    async with running_server(behaviour=ApiBehaviour(managed_accounts=False)) as server, Client() as client:
        with pytest.raises(TimeoutError):
            await client.connect(server, patience=SHORT)
        assert 2104 in client.codes


async def test_without_the_end_of_executions_a_connect_times_out() -> None:
    async with running_server(behaviour=ApiBehaviour(omit_executions_end=True)) as server, Client() as client:
        with pytest.raises(TimeoutError):
            await client.connect(server, patience=SHORT)
        await journaled(server, "started")


async def test_without_the_end_of_an_account_its_values_time_out(caplog: pytest.LogCaptureFixture) -> None:
    async with running_server(behaviour=ApiBehaviour(omit_account_download_end=True)) as server, Client() as client:
        await client.connect(server, patience=SHORT)
        assert "account updates request timed out" in caplog.messages


async def test_a_slow_sync_holds_every_answer_back_until_its_delay_is_over() -> None:
    pace = HeldPace()
    behaviour = ApiBehaviour(sync_delay=12.5)
    async with running_server(pace=pace, behaviour=behaviour) as server, Client() as client:
        connecting = asyncio.create_task(client.connect(server))
        await asyncio.wait_for(pace.sleeping.wait(), SOON)
        await asyncio.sleep(0.2)
        assert pace.slept == [12.5]
        assert client.ib.client.isReady()
        assert not connecting.done()
        assert client.ib.positions() == []
        pace.release()
        await connecting
        assert len(client.ib.positions()) == 2


async def test_farms_that_are_down_are_reported() -> None:
    async with running_server(behaviour=ApiBehaviour(farm_down=True)) as server, Client() as client:
        await client.connect(server)
        assert client.codes == [2103, 2105, 2157]


async def test_a_system_message_reaches_every_client() -> None:
    async with running_server() as server, Client() as first, Client() as second:
        await first.connect(server, client_id=1)
        await second.connect(server, client_id=2)
        server.broadcast_system(1100, "Connectivity between IBKR and Trader Workstation has been lost.")
        for client in (first, second):
            async with asyncio.timeout(SOON):
                while 1100 not in client.codes:
                    await client.ib.updateEvent


async def test_a_stop_drops_the_clients_and_the_same_server_starts_again() -> None:
    async with running_server() as server, Client() as client:
        ib = await client.connect(server)
        port = server.port
        gone = asyncio.ensure_future(ib.disconnectedEvent)
        await server.stop()
        await asyncio.wait_for(gone, SOON)
        assert server.port == 0
        with pytest.raises(ConnectionRefusedError):
            await ib.connectAsync("127.0.0.1", port, 5, SOON)
        await server.start("127.0.0.1", port)
        assert (await client.connect(server)).isConnected()


async def test_disconnecting_the_clients_leaves_the_port_open() -> None:
    async with running_server() as server, Client() as client:
        ib = await client.connect(server)
        gone = asyncio.ensure_future(ib.disconnectedEvent)
        assert await server.disconnect_clients() == 1
        await asyncio.wait_for(gone, SOON)
        assert (await client.connect(server)).isConnected()


async def test_an_account_uses_one_currency() -> None:
    account = Account("DU1", currency="EUR")
    position = sample_brokerage().accounts["DU1234567"].positions[265598]
    with pytest.raises(ValueError, match="kept in EUR"):
        account.hold(position)
