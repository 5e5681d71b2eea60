"""The gateway as the broker, over the real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from ib_insync import Contract, Future, Stock
from tests.integration.trading_gateway import (
    ACCOUNT,
    DEADLINE,
    Ears,
    TradingGateway,
    an_option,
    filled,
    free_port,
    order,
    person,
    resting,
    trade,
    trading_gateway,
)

from position_manager.account.assignment import Dividend
from position_manager.brokers.broker import (
    BrokerError,
    CodeReceived,
    CommissionReceived,
    ConnectError,
    DetailsReceived,
    Disconnected,
    ExecutionReceived,
    OrderReceived,
    PositionReceived,
    QuoteReceived,
)
from position_manager.brokers.ib_broker import IbBroker
from position_manager.clock import SystemClock
from position_manager.config.schema import Config
from position_manager.model import Kind, Position
from position_manager.orders.intents import Side
from position_manager.orders.ladder import to_tick

pytestmark = pytest.mark.asyncio


def broker(gateway: TradingGateway, **more: Any) -> tuple[IbBroker, Ears]:
    config = Config.model_validate({"mode": "paper", "gateway": {"port": gateway.port}, **more})
    made, ears = IbBroker(config, SystemClock(), answer_within=DEADLINE), Ears()
    made.listen(ears)
    return made, ears


@asynccontextmanager
async def session(
    directory: Path, *options: str, held: int = -2
) -> AsyncIterator[tuple[TradingGateway, IbBroker, Ears, Position]]:
    """A gateway whose account holds an option, and a broker that is connected to it."""
    async with trading_gateway(directory, *options) as gateway:
        async with person(gateway) as by_hand:
            await trade(by_hand, await an_option(by_hand), held)
        made, ears = broker(gateway)
        await made.connect()
        position = next(p for p in await made.positions() if p.quantity == held and p.instrument.is_option)
        try:
            yield gateway, made, ears, position
        finally:
            await made.close()


async def test_positions_come_as_instruments_with_prices_per_unit(tmp_path: Path) -> None:
    async with session(tmp_path) as (_, made, _, option):
        assert (option.account, option.quantity) == (ACCOUNT, Decimal(-2))
        assert option.instrument.kind is Kind.OPTION
        assert option.instrument.multiplier == 100
        assert Decimal("0.1") < option.average_price < 100, "per unit, not per contract"
        assert option.instrument.expiry is not None
        assert option.instrument.liquid_hours
        assert option.instrument.increments[0][0] == 0
        assert made.name.startswith("IB at 127.0.0.1:")


async def test_what_was_known_before_is_held_at_once_and_asked_for_again_beside(tmp_path: Path) -> None:
    async with session(tmp_path) as (gateway, made, _, option):
        known = [position.instrument for position in await made.positions()]
        await made.close()
        # Whoever asks for details now loses the connection.
        await gateway.command("fault", "disconnect", "before", "in:reqContractDetails")
        again, ears = broker(gateway)
        again.know(known)
        await again.connect()
        assert option in await again.positions()
        again.watch([option.instrument])
        await ears.until(lambda event: isinstance(event, QuoteReceived) and event.quote.bid is not None)
        await again.ping()
        await again.close()
        await gateway.command("fault-clear")

        without_hours = [replace(instrument, liquid_hours=()) for instrument in known]
        later, ears = broker(gateway)
        later.know(without_hours)
        await later.connect()
        assert {position.instrument.con_id: position.instrument for position in await later.positions()} == {
            instrument.con_id: instrument for instrument in without_hours
        }
        await ears.until(lambda event: isinstance(event, DetailsReceived))
        assert option in await later.positions()
        await later.close()


async def test_a_contract_that_was_adjusted_is_looked_up(tmp_path: Path) -> None:
    async with session(tmp_path) as (gateway, made, _, option):
        await made.close()
        again, _ears = broker(gateway)
        again.know([replace(option.instrument, multiplier=Decimal(10))])
        await again.connect()
        assert option in await again.positions()
        await again.close()


async def test_an_order_is_reported_from_the_socket_to_its_executions(tmp_path: Path) -> None:
    async with session(tmp_path) as (gateway, made, ears, option):
        con_id = option.instrument.con_id
        await gateway.command("set-price", str(con_id), "bid=3.00", "ask=3.10")
        made.send(
            order(con_id, Side.BUY, 2, "3.20", made.next_order_id()), option.instrument, tif="DAY", outside_rth=False
        )
        heard = await ears.until(lambda event: isinstance(event, OrderReceived) and event.ref == "pm:TEST")
        assert isinstance(heard, OrderReceived)
        assert heard.perm_id > 0
        await ears.until(lambda event: isinstance(event, PositionReceived) and event.quantity == 0)
        await ears.until(lambda event: isinstance(event, CommissionReceived) and event.realized is not None)
        executions = [event.execution for event in ears.all(ExecutionReceived)]
        assert filled(tuple(executions), "pm:TEST") == 2
        assert {event.order_id for event in ears.all(ExecutionReceived)} == {heard.order_id}
        assert filled(await made.executions(), "pm:TEST") == 2
        assert [o.filled for o in await made.completed_orders() if o.ref == "pm:TEST"] == [2]
        assert con_id not in {held.instrument.con_id for held in await made.positions()}


async def test_a_cancel_is_proven_by_the_completed_orders(tmp_path: Path) -> None:
    async with session(tmp_path) as (_, made, ears, option):
        con_id, order_id = option.instrument.con_id, made.next_order_id()
        made.send(order(con_id, Side.BUY, 2, "0.05", order_id), option.instrument, tif="DAY", outside_rth=False)
        await ears.until(lambda event: isinstance(event, OrderReceived) and event.status == "Submitted")
        (shown,) = await made.open_orders()
        assert (shown.ref, shown.remaining, shown.side, shown.order_id) == ("pm:TEST", Decimal(2), Side.BUY, order_id)
        made.cancel(order_id)
        said = await ears.until(lambda event: isinstance(event, CodeReceived) and event.code == 202)
        assert isinstance(said, CodeReceived)
        assert said.order_id == order_id
        assert await made.open_orders() == ()
        (over,) = [o for o in await made.completed_orders() if o.ref == "pm:TEST"]
        assert over.filled == 0
        assert "Cancelled" in over.status


async def test_a_disaster_stop_rests_as_a_stop_limit(tmp_path: Path) -> None:
    async with session(tmp_path) as (gateway, made, ears, option):
        con_id = option.instrument.con_id
        await gateway.command("set-price", str(con_id), "bid=3.00", "ask=3.10")
        sent = order(con_id, Side.BUY, 2, "9.00", made.next_order_id(), stop=Decimal("7.50"))
        made.send(sent, option.instrument, tif="GTC", outside_rth=False)
        await ears.until(lambda event: isinstance(event, OrderReceived) and event.ref == "pm:TEST")
        (shown,) = await made.open_orders()
        assert shown.status == "PreSubmitted"
        await gateway.command("set-price", str(con_id), "bid=7.60", "ask=7.70")
        await ears.until(lambda event: isinstance(event, PositionReceived) and event.quantity == 0)


async def test_orders_of_other_clients_are_seen_and_count(tmp_path: Path) -> None:
    async with session(tmp_path) as (gateway, made, _, option):
        async with person(gateway, 8) as by_hand:
            contract = await an_option(by_hand)
            await resting(by_hand, contract, "BUY", 1, 0.05)
            read = await made.read_again(ACCOUNT, option.instrument.con_id)
        assert read.quantity == -2
        (foreign,) = read.open_orders
        assert (foreign.client_id, foreign.remaining, foreign.ref) == (8, Decimal(1), "")


async def test_each_answer_shows_the_orders_and_positions_as_they_are_then(tmp_path: Path) -> None:
    """Most of an answer repeats the one before; what has changed and what is gone must not."""
    async with session(tmp_path) as (gateway, made, _, option):
        con_id = option.instrument.con_id
        async with person(gateway) as by_hand:
            (stock,) = await by_hand.qualifyContractsAsync(Stock("AAPL", "SMART", "USD"))
            trades = [await resting(by_hand, stock, "BUY", quantity, 1.0) for quantity in (1, 2, 3)]
            first, second = await made.open_orders(), await made.open_orders()
            assert first == second
            assert sorted(order.remaining for order in first) == [1, 2, 3]
            assert await made.positions() == await made.positions()
            assert await made.completed_orders() == await made.completed_orders()

            trades[0].order.totalQuantity = 5
            by_hand.placeOrder(stock, trades[0].order)
            by_hand.cancelOrder(trades[1].order)
            async with asyncio.timeout(DEADLINE):
                while trades[1].orderStatus.status != "Cancelled" or trades[0].orderStatus.remaining != 5:
                    await by_hand.updateEvent
            assert sorted(order.remaining for order in await made.open_orders()) == [3, 5]
            trades[0].order.totalQuantity = 1
            by_hand.placeOrder(stock, trades[0].order)
            async with asyncio.timeout(DEADLINE):
                while trades[0].orderStatus.remaining != 1:
                    await by_hand.updateEvent
            assert sorted(order.remaining for order in await made.open_orders()) == [1, 3]
            assert trades[1].order.permId in {order.perm_id for order in await made.completed_orders()}

            (details,) = await by_hand.qualifyContractsAsync(Contract(conId=con_id))
            await trade(by_hand, details, 1)
            assert [p.quantity for p in await made.positions() if p.instrument.con_id == con_id] == [-1]
            await trade(by_hand, details, -1)
            assert [p.quantity for p in await made.positions() if p.instrument.con_id == con_id] == [-2]
            assert (await made.read_again(ACCOUNT, con_id)).quantity == -2


async def test_what_is_left_of_an_order_is_what_the_last_message_about_it_shows(tmp_path: Path) -> None:
    async with session(tmp_path) as (gateway, made, _, _option):
        connection = made._session().client.conn
        seen = recorded(connection)
        async with person(gateway) as by_hand:
            (stock,) = await by_hand.qualifyContractsAsync(Stock("AAPL", "SMART", "USD"))
            await resting(by_hand, stock, "BUY", 3, 1.0)
            (shown,) = await made.open_orders()
        opened, status = (payload for payload in payloads(bytes(seen)) if payload.startswith((b"5\0", b"3\0")))
        fields = status.split(b"\0")
        fields[3], fields[4] = b"1", b"2"
        for _ in range(3):
            made._shown = {}
            connection.hasData.emit(frame(opened) + frame(b"\0".join(fields)))
            assert made._shown == {shown.perm_id: replace(shown, remaining=Decimal(2))}
        made._shown = {}
        connection.hasData.emit(frame(opened) + frame(status))
        assert made._shown == {shown.perm_id: shown}
        made._shown = None


def recorded(connection: Any) -> bytearray:
    """What arrives from now on."""
    read, seen = connection.data_received, bytearray()

    def reads(data: bytes) -> None:
        seen.extend(data)
        read(data)

    vars(connection).update(data_received=reads)
    return seen


def frame(payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "big") + payload


def payloads(data: bytes) -> Iterator[bytes]:
    while data:
        end = 4 + int.from_bytes(data[:4], "big")
        yield data[4:end]
        data = data[end:]


async def test_checks_share_an_answer_but_not_one_that_was_under_way(tmp_path: Path) -> None:
    async with session(tmp_path) as (_, made, _, option):
        con_id = option.instrument.con_id
        asked: list[bytes] = []
        left = asyncio.Event()
        connection = made._session().client.conn
        write = connection.sendMsg

        def sends(message: bytes) -> None:
            write(message)  # type: ignore[no-untyped-call]  # ib_insync's, untyped
            if message[4:].startswith(b"16\0"):
                asked.append(message)
                left.set()

        vars(connection).update(sendMsg=sends)
        by_the_way = asyncio.create_task(made.open_orders())
        rereads = await asyncio.gather(*(made.read_again(ACCOUNT, con_id) for _ in range(15)))
        assert await by_the_way == rereads[0].open_orders
        assert len(asked) == 1
        assert len({id(reread.open_orders) for reread in rereads}) == 1

        left.clear()
        under_way = asyncio.create_task(made.read_again(ACCOUNT, con_id))
        async with asyncio.timeout(DEADLINE):
            await left.wait()
        made.send(
            order(con_id, Side.BUY, 1, "0.01", made.next_order_id()), option.instrument, tif="DAY", outside_rth=False
        )
        later = await made.read_again(ACCOUNT, con_id)
        assert [shown.ref for shown in later.open_orders] == ["pm:TEST"]
        assert len(asked) == 3
        await under_way


async def test_a_trade_of_somebody_else_moves_the_position(tmp_path: Path) -> None:
    async with session(tmp_path) as (gateway, made, ears, option):
        async with person(gateway, 8) as by_hand:
            await trade(by_hand, await an_option(by_hand), 1)
            moved = await ears.until(lambda event: isinstance(event, PositionReceived))
            assert moved == PositionReceived(ACCOUNT, option.instrument.con_id, Decimal(-1))
        assert (await made.read_again(ACCOUNT, option.instrument.con_id)).quantity == -1


async def test_quotes_of_an_option_have_both_sides_its_delta_and_the_underlying(tmp_path: Path) -> None:
    async with session(tmp_path) as (gateway, made, ears, option):
        con_id = option.instrument.con_id
        made.watch([option.instrument])
        await gateway.command("set-price", str(con_id), "bid=3.00", "ask=3.10")
        # Bid, ask and the model's numbers come as ticks of their own.
        heard = await ears.until(
            lambda event: (
                isinstance(event, QuoteReceived)
                and (event.quote.bid, event.quote.ask) == (Decimal(3), Decimal("3.1"))
                and event.quote.delta is not None
            )
        )
        assert isinstance(heard, QuoteReceived)
        assert (heard.con_id, heard.quote.live) == (con_id, True)
        assert heard.quote.underlying is not None
        await gateway.command("halt", str(con_id))
        await ears.until(lambda event: isinstance(event, QuoteReceived) and event.quote.halted)
        made.watch([])
        await made.ping()
        ears.heard.clear()
        await gateway.command("set-price", str(con_id), "bid=4.00", "ask=4.10")
        await made.ping()
        assert not ears.all(QuoteReceived)


async def test_no_live_quote_is_a_code_about_the_contract(tmp_path: Path) -> None:
    async with session(tmp_path, "--market-data", "none") as (_, made, ears, option):
        made.watch([option.instrument])
        said = await ears.until(lambda event: isinstance(event, CodeReceived) and event.code == 354)
        assert isinstance(said, CodeReceived)
        assert said.con_id == option.instrument.con_id


async def test_after_a_competing_session_only_a_new_subscription_gives_live_quotes(tmp_path: Path) -> None:
    async with session(tmp_path) as (gateway, made, ears, option):
        con_id = option.instrument.con_id
        made.watch([option.instrument])
        await ears.until(lambda event: isinstance(event, QuoteReceived) and event.quote.ask is not None)
        await gateway.command("competing-session", "on")
        said = await ears.until(lambda event: isinstance(event, CodeReceived) and event.code == 10197)
        assert isinstance(said, CodeReceived)
        assert said.con_id == con_id
        ears.heard.clear()
        await gateway.command("set-price", str(con_id), "bid=9.00", "ask=9.10")
        made.watch([option.instrument])
        await made.ping()
        assert not ears.heard, "neither a tick of the old subscription nor a new one by itself"
        made.renew([con_id])
        again = await ears.until(lambda event: isinstance(event, CodeReceived) and event.code == 10197)
        assert isinstance(again, CodeReceived)
        assert again.con_id == con_id, "the request was refused"
        await gateway.command("competing-session", "off")
        made.renew([con_id])
        heard = await ears.until(lambda event: isinstance(event, QuoteReceived))
        assert isinstance(heard, QuoteReceived)
        assert (heard.quote.bid, heard.quote.ask, heard.quote.live) == (Decimal("9.00"), Decimal("9.10"), True)


async def test_a_renewed_subscription_reports_both_sides_or_nothing_and_leaves_nothing_behind(tmp_path: Path) -> None:
    async with session(tmp_path) as (_, made, ears, option):
        con_id = option.instrument.con_id
        made.watch([option.instrument])
        await ears.until(lambda event: isinstance(event, QuoteReceived) and event.quote.ask is not None)
        for _ in range(5):
            ears.heard.clear()
            made.renew([con_id])
            heard = await ears.until(lambda event: isinstance(event, QuoteReceived))
            assert isinstance(heard, QuoteReceived)
            assert heard.quote.bid is not None
            assert heard.quote.ask is not None
        assert made._ib is not None
        assert len(made._ib.wrapper.tickers) == 1


async def test_a_future_that_is_quoted_in_cents_has_all_its_prices_in_dollars(tmp_path: Path) -> None:
    async with trading_gateway(tmp_path) as gateway, person(gateway) as by_hand:
        found = await by_hand.reqContractDetailsAsync(Future("ZC", exchange="CBOT"))
        corn = min(
            (each.contract for each in found if each.contract is not None),
            key=lambda each: each.lastTradeDateOrContractMonth,
        )
        await trade(by_hand, corn, 1)
        made, ears = broker(gateway)
        await made.connect()
        (position,) = [p for p in await made.positions() if p.instrument.kind is Kind.FUTURE]
        assert Decimal(3) < position.average_price < Decimal(6)
        assert position.instrument.increments == ((Decimal(0), Decimal("0.0025")),)
        made.watch([position.instrument])
        heard = await ears.until(lambda event: isinstance(event, QuoteReceived) and event.quote.ask is not None)
        assert isinstance(heard, QuoteReceived)
        assert heard.quote.bid is not None
        assert abs(heard.quote.bid / position.average_price - 1) < Decimal("0.05"), "neither profit nor loss"
        con_id, far = position.instrument.con_id, to_tick(position.instrument, Side.SELL, heard.quote.bid * 2)
        made.send(
            order(con_id, Side.SELL, 1, str(far), made.next_order_id()), position.instrument, tif="DAY",
            outside_rth=True,
        )  # fmt: skip
        await ears.until(lambda event: isinstance(event, OrderReceived))
        (shown,) = await by_hand.reqAllOpenOrdersAsync()
        assert shown.order.lmtPrice == float(far * 100), "the order is in cents"
        made.cancel(made.next_order_id() - 1)
        near = to_tick(position.instrument, Side.SELL, heard.quote.bid * Decimal("0.9"))
        made.send(
            order(con_id, Side.SELL, 1, str(near), made.next_order_id(), ref="pm:SOLD"), position.instrument,
            tif="DAY", outside_rth=True,
        )  # fmt: skip
        executed = await ears.until(
            lambda event: isinstance(event, ExecutionReceived) and event.execution.ref == "pm:SOLD"
        )
        assert isinstance(executed, ExecutionReceived)
        assert abs(executed.execution.fill.price / position.average_price - 1) < Decimal("0.05")
        (reported,) = [done for done in await made.executions() if done.ref == "pm:SOLD"]
        assert reported.fill == executed.execution.fill
        await made.close()


async def test_what_is_reported_about_a_question_is_no_word_about_an_order(tmp_path: Path) -> None:
    async with session(tmp_path) as (gateway, made, ears, option):
        con_id, first = option.instrument.con_id, made.next_order_id()
        made.watch([option.instrument])
        await ears.until(lambda event: isinstance(event, QuoteReceived))
        for order_id in range(first, first + 12):
            # One of these numbers could be that of the question for quotes.
            sent = order(con_id, Side.BUY, 1, "0.05", order_id, ref=f"pm:{order_id}")
            made.send(sent, option.instrument, tif="DAY", outside_rth=False)
        await gateway.command("competing-session", "on")
        said = await ears.until(lambda event: isinstance(event, CodeReceived) and event.code == 10197)
        assert isinstance(said, CodeReceived)
        assert (said.order_id, said.con_id) == (0, con_id)


async def test_a_lost_link_and_its_return_are_reported_and_quotes_come_again(tmp_path: Path) -> None:
    async with session(tmp_path) as (gateway, made, ears, option):
        made.watch([option.instrument])
        await ears.until(lambda event: isinstance(event, QuoteReceived))
        await gateway.command("lose-connection")
        await ears.until(lambda event: isinstance(event, CodeReceived) and event.code == 1100)
        await gateway.command("restore-connection", "--data-lost")
        await ears.until(lambda event: isinstance(event, CodeReceived) and event.code == 1101)
        ears.heard.clear()
        made.watch([option.instrument], resubscribe=True)
        await ears.until(lambda event: isinstance(event, QuoteReceived))


async def test_a_connection_that_ends_is_reported_once_and_nothing_can_be_sent(tmp_path: Path) -> None:
    async with session(tmp_path) as (gateway, made, ears, option):
        await gateway.command("disconnect-clients")
        await ears.until(lambda event: isinstance(event, Disconnected))
        with pytest.raises(BrokerError):
            made.send(
                order(option.instrument.con_id, Side.BUY, 2, "3.20", 9), option.instrument, tif="DAY", outside_rth=False
            )
        with pytest.raises(BrokerError):
            await made.positions()
        session_again = await made.connect()
        assert session_again.accounts == (ACCOUNT,)
        assert option.key in {p.key for p in await made.positions()}
        assert len(ears.all(Disconnected)) == 1


async def test_after_it_is_closed_nothing_is_received(tmp_path: Path) -> None:
    async with session(tmp_path) as (gateway, made, ears, option):
        made.watch([option.instrument])
        await ears.until(lambda event: isinstance(event, QuoteReceived))
        await made.close()
        ears.heard.clear()
        await gateway.command("set-price", str(option.instrument.con_id), "bid=4.00", "ask=4.10")
        async with person(gateway, 8) as by_hand:
            await trade(by_hand, Stock("AAPL", "SMART", "USD"), 1)
        assert ears.heard == []


async def test_a_question_without_an_answer_ends_the_session(tmp_path: Path) -> None:
    async with session(tmp_path) as (gateway, made, ears, _):
        made._answer_within = 0.5
        await gateway.command("stall", "5")
        with pytest.raises(BrokerError, match=r"positions: not answered within 0\.5 s"):
            await made.positions()
        assert len(ears.all(Disconnected)) == 1
        with pytest.raises(BrokerError, match="no session"):
            await made.open_orders()


async def test_nobody_listens(tmp_path: Path) -> None:
    made, _ = broker(TradingGateway(free_port(), 0, None))  # type: ignore[arg-type]  # there is none
    with pytest.raises(ConnectError) as refused:
        await made.connect()
    assert refused.value.cause.id == "refused"


async def test_an_account_of_the_wrong_kind_is_refused(tmp_path: Path) -> None:
    async with trading_gateway(tmp_path, "--accounts", "U1234567") as gateway:
        made, _ = broker(gateway)
        with pytest.raises(ConnectError) as refused:
            await made.connect()
        assert refused.value.cause.id == "wrong_account_kind"
        shadow, _ = broker(gateway, mode="shadow")
        assert (await shadow.connect()).accounts == ("U1234567",)
        await shadow.close()


async def test_the_client_id_is_kept_when_it_is_in_use(tmp_path: Path) -> None:
    async with trading_gateway(tmp_path) as gateway:
        async with person(gateway, 100):
            made, _ = broker(gateway)
            with pytest.raises(ConnectError) as refused:
                await made.connect()
        assert refused.value.cause.id == "client_id_in_use"
        async with asyncio.timeout(DEADLINE):
            assert (await made.connect()).accounts == (ACCOUNT,)
        await made.close()


async def test_account_values_are_whole_and_end_no_session_when_they_stay_away(tmp_path: Path) -> None:
    async with session(tmp_path) as (gateway, made, ears, option):
        # More often than IB allows subscriptions at a time: each is cancelled once it is answered.
        for _ in range(4):
            (values,) = await made.account_values()
        assert (values.account, values.currency) == (ACCOUNT, "USD")
        assert values.net_liquidation > 0
        assert values.cash is not None
        assert values.cushion_percent is not None
        assert 0 < values.cushion_percent <= 100
        before = values.net_liquidation
        await gateway.command("set-price", str(option.instrument.con_id), "bid=90", "ask=91")
        (values,) = await made.account_values()
        assert values.net_liquidation < before - 10_000, "short two of a hundred"
        await gateway.command("fault", "delay", "1", "out:accountSummaryEnd")
        made._answer_within = 0.5
        with pytest.raises(BrokerError, match="account values: not answered"):
            await made.account_values()
        made._answer_within = DEADLINE
        await made.ping()
        assert not ears.all(Disconnected)
        (values,) = await made.account_values()
        assert values.net_liquidation < before


async def test_the_next_dividend_has_a_subscription_of_its_own(tmp_path: Path) -> None:
    async with session(tmp_path) as (_, made, ears, option):
        made.watch([option.instrument])
        await ears.until(lambda event: isinstance(event, QuoteReceived))
        ib = made._ib
        assert ib is not None
        before = len(ib.wrapper.reqId2Ticker)
        asking = asyncio.create_task(made.dividend(option.instrument.con_id))
        async with asyncio.timeout(DEADLINE):
            while len(ib.wrapper.reqId2Ticker) == before:
                await ib.updateEvent
        request, ticker = list(ib.wrapper.reqId2Ticker.items())[-1]
        assert ticker.contract is not None
        assert ticker.contract.conId != option.instrument.con_id
        # The simulated gateway pays no dividends: this is what IB would send.
        ib.wrapper.tickString(request, 59, "6.83,7.10,20261218,1.85")
        ticker.updateEvent.emit(ticker)
        assert await asking == Dividend(date(2026, 12, 18), Decimal("1.85"), "IB's next dividend date")
        assert not [event for event in ears.all(QuoteReceived) if event.con_id != option.instrument.con_id]
        made._answer_within = 0.3
        with pytest.raises(BrokerError, match="not reported within"):
            await made.dividend(option.instrument.con_id)
        made._answer_within = DEADLINE
        await made.ping()
        assert not ears.all(Disconnected)


@pytest.mark.parametrize("client_id", [0, 7])
async def test_an_order_of_another_client_is_cancelled_as_that_client(tmp_path: Path, client_id: int) -> None:
    """By hand (client 0), or of a program that is not connected now; not of one that is."""
    async with session(tmp_path) as (gateway, made, _, option):
        contract = Contract(conId=option.instrument.con_id, exchange="SMART")
        async with person(gateway, client_id) as by_hand:
            await by_hand.qualifyContractsAsync(contract)
            await resting(by_hand, contract, "BUY", 2, 0.05)
            (theirs,) = await made.open_orders()
            assert theirs.client_id == client_id
            with pytest.raises(BrokerError, match=f"no session as client {client_id}: .*in use"):
                await made.cancel_of_other(theirs)
        assert [order.perm_id for order in await made.open_orders()] == [theirs.perm_id]
        await made.cancel_of_other(theirs)
        assert await made.open_orders() == ()
        over = next(order for order in await made.completed_orders() if order.perm_id == theirs.perm_id)
        assert over.status == "Cancelled"
        with pytest.raises(BrokerError, match="shows client"):
            await made.cancel_of_other(theirs)
        await made.ping()


async def test_the_value_of_each_holding_is_not_stored(tmp_path: Path) -> None:
    async with session(tmp_path) as (gateway, made, ears, option):
        assert not made._session().wrapper.portfolio
        async with person(gateway) as by_hand:
            await trade(by_hand, await an_option(by_hand), 1)
        await ears.until(lambda event: isinstance(event, PositionReceived) and event.quantity == -1)
        await made.ping()
        assert not made._session().wrapper.portfolio
        assert [p.quantity for p in await made.positions() if p.key == option.key] == [Decimal(-1)]


async def test_an_answer_reports_each_order_once_and_a_changed_status_too(tmp_path: Path) -> None:
    async with session(tmp_path) as (_, made, ears, option):
        connection = made._session().client.conn
        seen = recorded(connection)
        con_id, order_id = option.instrument.con_id, made.next_order_id()
        made.send(order(con_id, Side.BUY, 2, "0.05", order_id), option.instrument, tif="DAY", outside_rth=False)
        await ears.until(lambda event: isinstance(event, OrderReceived) and event.status == "Submitted")
        for _ in range(3):
            ears.heard.clear()
            seen.clear()
            await made.open_orders()
            (event,) = ears.all(OrderReceived)
            assert (event.order_id, event.status, event.ref) == (order_id, "Submitted", "pm:TEST")
        opened, status = (payload for payload in payloads(bytes(seen)) if payload.startswith((b"5\0", b"3\0")))
        ears.heard.clear()
        made._shown = {}
        connection.hasData.emit(frame(opened) + frame(status.replace(b"Submitted", b"Inactive")))
        made._shown = None
        connection.hasData.emit(frame(status))
        assert [event.status for event in ears.all(OrderReceived)] == ["Submitted", "Inactive", "Submitted"]
