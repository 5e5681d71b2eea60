"""The market through the API: ticks, snapshots, bars, history, and what happens when the data does not flow."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Iterable
from datetime import timedelta

import pytest
from ib_insync import Contract, Option, Stock, Ticker
from simulator.tests.api_client import NOW, SOON, RawClient, events, frame, running_server
from simulator.tests.insync_client import Client

from gateway_simulator.api.behaviour import ApiBehaviour, MarketDataAccess
from gateway_simulator.api.server import WRITE_LIMIT, ApiServer
from gateway_simulator.trading.model import ContractQuery
from gateway_simulator.trading.sample import sample_brokerage

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("nothing_undecodable")]

APPLE = Stock("AAPL", "SMART", "USD", conId=265598)
TICKERS = 100


def ticks(frames: Iterable[list[str]]) -> dict[int, str]:
    """The last value of each kind of tick among frames of prices, sizes, numbers and texts."""
    return {int(each[3]): each[4] for each in frames if each[0] in ("1", "2", "45", "46")}


async def ticker_of(client: Client, contract: Contract, generic: str = "") -> Ticker:
    ticker = client.ib.reqMktData(contract, generic)
    await client.until(lambda: not math.isnan(ticker.bid) or client.codes[-1] not in (2104, 2106, 2158))
    return ticker


async def test_a_ticker_starts_with_the_quote_and_follows_it() -> None:
    async with running_server() as server, Client() as client:
        await client.connect(server)
        ticker = await ticker_of(client, APPLE, "221,233")
        await client.caught_up()
        quote = server.brokerage.market.quote(265598, NOW)
        assert (ticker.bid, ticker.ask, ticker.last) == tuple(map(float, (quote.bid, quote.ask, quote.last)))  # type: ignore[arg-type]
        assert (ticker.bidSize, ticker.askSize, ticker.volume) == tuple(
            map(float, (quote.bid_size, quote.ask_size, quote.volume))
        )
        assert (ticker.close, ticker.high, ticker.low) == tuple(
            map(float, (quote.close, quote.day_high, quote.day_low))  # type: ignore[arg-type]
        )
        assert (ticker.markPrice, ticker.halted, ticker.marketDataType) == (float(quote.mark), 0, 1)  # type: ignore[arg-type]
        assert quote.bid is not None and quote.ask is not None
        server.brokerage.market.set_price("AAPL", NOW, bid=quote.bid + 5, ask=quote.ask + 5)
        server.floor.tick()
        await client.until(lambda: ticker.bid == float(quote.bid + 5))  # type: ignore[operator]


async def test_only_what_has_changed_is_sent_again() -> None:
    async with running_server() as server:
        client = await RawClient.started(server.port)
        client.send(1, 11, 7, 265598, "", "", "", "0", "", "", "SMART", "", "USD", "", "", 0, "", 0, 0, "")
        first = await client.until("45", "6", "7", "49")
        assert [each[0] for each in first[:2]] == ["81", "58"]
        assert {0, 3, 5, 8} & ticks(first).keys() == {8}
        assert {1, 2, 4, 6, 7, 8, 9, 14, 45, 49} <= ticks(first).keys()
        server.floor.move(1)
        client.send(49, 1)
        later = await client.until("49")
        assert {8, 45} <= ticks(later).keys() <= {0, 1, 2, 3, 4, 5, 6, 7, 8, 45}
        server.floor.tick()
        client.send(49, 1)
        assert ticks(await client.until("49")) == {}
        client.send(2, 2, 7)
        client.send(2, 2, 7)
        assert (await client.receive())[2:4] == ["7", "300"]
        server.floor.move(5)
        client.send(49, 1)
        assert len(await client.until("49")) == 1
        client.close()


async def test_a_snapshot_ends_and_leaves_nothing_behind() -> None:
    async with running_server() as server, Client() as client:
        ib = await client.connect(server)
        (ticker,) = await asyncio.wait_for(ib.reqTickersAsync(APPLE), SOON)
        assert ticker.bid == float(server.brokerage.market.quote(265598, NOW).bid)  # type: ignore[arg-type]
        assert not any(each.streams for each in server.floor._listeners)


async def answer_to(client: RawClient, contract: Contract, generic: str) -> list[list[str]]:
    """What comes on a subscription to generic ticks, up to the answer to a later request."""
    terms = (contract.conId, "", contract.secType, "", "0", "", "", contract.exchange, "", "USD", "", "")
    client.send(1, 11, 7, *terms, 0, generic, 0, 0, "")
    client.send(49, 1)
    return await client.until("49")


async def test_mdoff_leaves_only_the_generic_ticks() -> None:
    async with running_server() as server:
        client = await RawClient.started(server.port)
        first = ticks(await answer_to(client, APPLE, "mdoff, 233,236"))
        assert first.keys() == {46, 48, 89}
        server.floor.move(1)
        client.send(49, 1)
        assert ticks(await client.until("49")).keys() == {48}
        client.close()


ASKED_FOR = (
    "100,101,104,105,106,165,221,220,225,232,233,236,258,292,293,294,295,318,375,411,456,460,577,586,587,588,595,614,"
    "619,623"
)
"""What clients ask for at once, of every type of contract."""


@pytest.mark.parametrize(
    ("symbol", "sec_type", "generic", "codes"),
    [
        ("AAPL", "STK", ASKED_FOR + ",576,578", []),
        ("AAPL", "OPT", ASKED_FOR, []),
        ("ES", "FUT", ASKED_FOR, []),
        ("AAPL", "OPT", "100,576", ["321"]),
        ("AAPL", "STK", "100,999", ["321"]),
        ("AAPL", "STK", "mdoff,292:BZ", ["10276"]),
        ("AAPL", "STK", "292:BZ+FLY,233", ["10276"]),
    ],
)
async def test_generic_ticks_are_those_of_the_type_of_contract(
    symbol: str, sec_type: str, generic: str, codes: list[str]
) -> None:
    async with running_server() as server:
        instrument = server.brokerage.catalog.find(ContractQuery(symbol=symbol, sec_type=sec_type))[-1]
        contract = Contract(sec_type, conId=instrument.contract.con_id, exchange=instrument.contract.exchange)
        client = await RawClient.started(server.port)
        frames = await answer_to(client, contract, generic)
        errors = [each for each in frames if each[0] == "4"]
        assert [each[3] for each in errors] == codes
        assert bool(ticks(frames)) is not bool(codes)
        if codes == ["321"]:
            assert (
                f"Incorrect generic tick list of {generic}.  Legal ones for ({sec_type}) are: 100(Opt" in errors[0][4]
            )
        client.close()


async def test_an_option_has_greeks() -> None:
    async with running_server() as server, Client() as client:
        ib = await client.connect(server)
        (chain, *_) = await asyncio.wait_for(ib.reqSecDefOptParamsAsync("AAPL", "", "STK", 265598), SOON)
        strike = min(chain.strikes, key=lambda each: abs(each - 185))
        option = Option("AAPL", chain.expirations[2], strike, "C", "SMART")
        await asyncio.wait_for(ib.qualifyContractsAsync(option), SOON)
        ticker = await ticker_of(client, option, "100,101,106")
        await client.caught_up()
        greeks = ticker.modelGreeks
        assert greeks is not None and greeks.delta is not None and 0 < greeks.delta < 1
        assert greeks.optPrice is not None and greeks.undPrice is not None
        assert ticker.bidGreeks is not None and ticker.askGreeks is not None
        assert ticker.bidGreeks.optPrice == pytest.approx(ticker.bid)
        assert ticker.bid < ticker.ask
        assert not math.isnan(ticker.callOpenInterest)
        volatility = await asyncio.wait_for(
            ib.calculateImpliedVolatilityAsync(option, greeks.optPrice, greeks.undPrice), SOON
        )
        assert volatility is not None
        assert volatility.impliedVol == pytest.approx(greeks.impliedVol, rel=1e-3)


@pytest.mark.parametrize(
    ("access", "kind", "code", "flows"),
    [
        (MarketDataAccess.NONE, 1, 354, False),
        (MarketDataAccess.NONE, 3, 354, False),
        (MarketDataAccess.COMPETING, 1, 10197, False),
        (MarketDataAccess.DELAYED, 1, 10168, False),
        (MarketDataAccess.DELAYED, 3, 10167, True),
        (MarketDataAccess.FROZEN, 1, None, True),
        (MarketDataAccess.LIVE, 3, None, True),
    ],
)
async def test_what_the_user_has_decides_what_comes(
    access: MarketDataAccess, kind: int, code: int | None, flows: bool
) -> None:
    async with running_server(behaviour=ApiBehaviour(market_data=access)) as server, Client() as client:
        ib = await client.connect(server)
        ib.reqMarketDataType(kind)
        ticker = ib.reqMktData(APPLE)
        await client.caught_up()
        assert [each for each in client.codes if each not in (2104, 2106, 2158)] == ([code] if code else [])
        assert math.isnan(ticker.last) is not flows
        if access is MarketDataAccess.DELAYED and flows:
            assert ticker.marketDataType == 3
            before = server.brokerage.market.quote(265598, NOW - timedelta(minutes=15))
            assert ticker.last == float(before.last)  # type: ignore[arg-type]
        if access is MarketDataAccess.FROZEN:
            last = ticker.last
            server.floor.move(60)
            await client.caught_up()
            assert (ticker.last, ticker.marketDataType) == (last, 2)


async def test_a_competing_session_takes_the_data_and_gives_it_back() -> None:
    async with running_server() as server, Client() as client:
        await client.connect(server)
        ticker = await ticker_of(client, APPLE)
        server.set_market_data(MarketDataAccess.COMPETING)
        await client.until(lambda: 10197 in client.codes)
        before = ticker.volume
        server.floor.move(5)
        await client.caught_up()
        assert ticker.volume == before
        server.set_market_data(MarketDataAccess.LIVE)
        await client.until(lambda: ticker.volume > before)


@pytest.mark.parametrize("data_lost", [True, False])
async def test_subscriptions_outlive_a_lost_connection_unless_the_data_is_lost(data_lost: bool) -> None:
    async with running_server() as server, Client() as client:
        await client.connect(server)
        ticker = await ticker_of(client, APPLE)
        server.lose_connection()
        server.floor.move(5)
        await client.caught_up()
        before = ticker.volume
        server.restore_connection(data_lost=data_lost)
        server.floor.move(1)
        await client.caught_up()
        assert (ticker.volume == before) is data_lost


async def test_farms_that_are_down_bring_neither_ticks_nor_history() -> None:
    async with running_server() as server, Client() as client:
        ib = await client.connect(server)
        ticker = await ticker_of(client, APPLE)
        server.set_farms(down=True)
        before = ticker.volume
        server.floor.move(5)
        past = await asyncio.wait_for(ib.reqHistoricalDataAsync(APPLE, "", "1 D", "1 hour", "TRADES", True), SOON)
        assert len(past) == 0
        assert ticker.volume == before
        assert {2103, 2105, 162} <= set(client.codes)
        server.set_farms(down=False)
        await client.until(lambda: ticker.volume > before)


@pytest.mark.parametrize(
    ("contract", "code"),
    [
        (Stock("NOSUCH", "SMART", "USD"), 200),
        (Option("AAPL", "", 0, "C", "SMART"), 200),
    ],
)
async def test_a_contract_must_be_one(contract: Contract, code: int) -> None:
    async with running_server() as server, Client() as client:
        ib = await client.connect(server)
        ib.reqMktData(contract)
        await client.until(lambda: code in client.codes)


async def test_there_are_so_many_tickers_and_no_more() -> None:
    behaviour = ApiBehaviour()
    assert behaviour.market_data_lines == 100
    behaviour.market_data_lines = 3
    async with running_server(behaviour=behaviour) as server:
        client = await RawClient.started(server.port)
        for number in range(4):
            client.send(1, 11, number, 265598, *[""] * 3, "0", "", "", "SMART", "", "USD", "", "", 0, "", 0, 0, "")
        (*_, refused) = await client.until("4", "2", "3")
        assert refused[3] == "101"
        client.close()


async def test_bars_of_five_seconds_come_every_five_seconds() -> None:
    async with running_server() as server, Client() as client:
        ib = await client.connect(server)
        bars = ib.reqRealTimeBars(APPLE, 5, "TRADES", False)
        await client.caught_up()
        server.floor.move(14)  # from 15:04:05 to 15:04:19
        await client.until(lambda: len(bars) == 2)
        assert [bar.time for bar in bars] == [NOW, NOW + timedelta(seconds=5)]
        ib.cancelRealTimeBars(bars)
        await client.caught_up()
        server.floor.move(60)
        await client.caught_up()
        assert len(bars) == 2


async def test_the_schedule_of_a_week_is_answered() -> None:
    brokerage = sample_brokerage(now=NOW, hours="exchange")
    async with running_server(brokerage) as server, Client() as client:
        ib = await client.connect(server)
        schedule = await asyncio.wait_for(ib.reqHistoricalScheduleAsync(APPLE, 3), SOON)
        assert (schedule.startDateTime, schedule.endDateTime) == ("20261119-09:30:00", "20261123-16:00:00")
        assert schedule.timeZone == "US/Eastern"
        assert [each.refDate for each in schedule.sessions] == ["20261119", "20261120", "20261123"]


async def test_history_goes_on_when_it_is_updated() -> None:
    async with running_server() as server, Client() as client:
        ib = await client.connect(server)
        bars = await asyncio.wait_for(
            ib.reqHistoricalDataAsync(APPLE, "", "1800 S", "1 min", "TRADES", False, 2, True), SOON
        )
        count, last = len(bars), bars[-1]
        assert last.date == NOW.replace(second=0)
        server.floor.move(60)
        await client.until(lambda: len(bars) == count + 1)
        assert bars[-1].date == NOW.replace(second=0) + timedelta(minutes=1)
        assert bars[-2].volume > last.volume
        past = await asyncio.wait_for(ib.reqHistoricalDataAsync(APPLE, "", "120 S", "1 min", "TRADES", False, 2), SOON)
        assert (past[-2].open, past[-2].high, past[-2].close) == (bars[-2].open, bars[-2].high, bars[-2].close)


async def test_history_that_is_asked_for_too_often_is_162() -> None:
    behaviour = ApiBehaviour(historical_pacing=True)
    async with running_server(behaviour=behaviour) as server, Client() as client:
        ib = await client.connect(server)
        for expected in (False, True):
            bars = await asyncio.wait_for(ib.reqHistoricalDataAsync(APPLE, "", "1 D", "1 hour", "TRADES", True), SOON)
            assert (len(bars) == 0) is expected
        assert "pacing violation" in next(text for _, code, text in client.errors if code == 162)


async def test_every_tick_of_a_kind() -> None:
    async with running_server() as server, Client() as client:
        ib = await client.connect(server)
        ticker = ib.reqTickByTickData(APPLE, "Last")
        midpoints = ib.reqTickByTickData(Stock("MSFT", "SMART", "USD"), "MidPoint")
        await client.caught_up()
        seen: list[object] = []
        ticker.updateEvent += lambda each: seen.extend(each.tickByTicks)
        server.floor.move(3)
        await client.caught_up()
        assert len(seen) >= 3
        assert midpoints.tickByTicks or midpoints.bid != midpoints.bid


async def test_profit_streams_and_follows_the_market() -> None:
    async with running_server() as server, Client() as client:
        ib = await client.connect(server)
        profit = ib.reqPnL("DU1234567")
        single = ib.reqPnLSingle("DU1234567", "", 265598)
        await client.until(lambda: not math.isnan(profit.dailyPnL) and not math.isnan(single.value))
        before = profit.unrealizedPnL
        assert single.position == 100
        quote = server.brokerage.market.quote(265598, NOW)
        assert quote.bid is not None
        server.brokerage.market.set_price("AAPL", NOW, bid=quote.bid + 10, ask=quote.bid + 11, last=quote.bid + 10)
        server.floor.move(1)
        await client.until(lambda: profit.unrealizedPnL > before + 900)
        assert single.value == pytest.approx(float(quote.bid + 10) * 100)


async def test_a_slow_reader_of_ticks_is_served_less_and_others_are_not_disturbed() -> None:
    async with running_server(behaviour=ApiBehaviour(messages_per_second=0)) as server:
        slow, good = await RawClient.started(server.port, 1), await RawClient.started(server.port, 2)
        for client in (slow, good):
            for number in range(TICKERS):
                client.send(1, 11, number, 265598, *[""] * 3, "0", "", "", "SMART", "", "USD", "", "", 0, "", 0, 0, "")
            client.send(49, 1)
            await client.until("49")
        slow.writer.transport.pause_reading()  # type: ignore[attr-defined]
        slow.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        (connection,) = [each for each in server._connections if each.session.client_id == 1]
        connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        async with asyncio.timeout(SOON):
            while not events(server, "output_full"):
                await one_second(server, good)
        unread = connection.transport.get_write_buffer_size()
        for _ in range(10):
            await one_second(server, good)
        assert connection.transport.get_write_buffer_size() == unread < WRITE_LIMIT
        assert events(server, "slow_reader") == []
        slow.writer.transport.resume_reading()  # type: ignore[attr-defined]
        slow.writer.write(frame(b"49\x001\x00"))
        await slow.until("49")
        server.floor.move(0.25)
        slow.send(49, 1)
        assert 8 in ticks(await slow.until("49"))
        for client in (slow, good):
            client.close()


async def test_a_long_advance_drowns_no_client() -> None:
    async with running_server() as server, Client() as client:
        ib = await client.connect(server)
        profit = ib.reqPnL("DU1234567")
        bars = await asyncio.wait_for(
            ib.reqHistoricalDataAsync(APPLE, "", "1800 S", "1 min", "TRADES", False, 2, True), SOON
        )
        ib.reqMktData(APPLE)
        await client.caught_up()
        server.floor.move(2 * 3600)
        await client.caught_up()
        server.floor.move(5)
        await client.caught_up()
        assert events(server, "slow_reader") == []
        assert bars[-1].date == NOW.replace(second=0) + timedelta(hours=2)
        daily, *_ = server.brokerage.pnl("DU1234567", server.clock.utc())
        assert profit.dailyPnL == float(daily)


async def test_an_advance_in_one_step_shows_the_market_at_its_end_only() -> None:
    async with running_server() as server, Client() as client:
        ib = await client.connect(server)
        ticker = ib.reqMktData(APPLE)
        await client.caught_up()
        seen: list[object] = []
        ticker.updateEvent += lambda shown: seen.extend(tick for tick in shown.ticks if tick.tickType == 1)
        server.floor.move(600, 1)
        await client.caught_up()
        few = len(seen)
        server.floor.move(600)
        await client.caught_up()
        assert 1 <= few <= 2 < len(seen) - few


async def one_second(server: ApiServer, good: RawClient) -> None:
    """Advance by a second; the client that reads gets it all."""
    server.floor.move(1)
    good.send(49, 1)
    assert len(await good.until("49")) > TICKERS
