"""The gateway's messages but for orders, as ib_insync's own decoder reads them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast
from zoneinfo import ZoneInfo

import ib_insync
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulator.tests.insync_ends import read_by_insync

from gateway_simulator.api import messages
from gateway_simulator.api.wire import decode_fields, encode_frame
from gateway_simulator.trading.catalog import OptionChain, SymbolMatch
from gateway_simulator.trading.model import Bar, Contract, Execution, Instrument, OptionComputation

NOW = datetime(2026, 11, 23, 15, 4, 5, tzinfo=UTC)
EPOCH = 1795446245
NEW_YORK = ZoneInfo("America/New_York")
UNSET = ib_insync.util.UNSET_DOUBLE


def only_call(frame: bytes) -> tuple[str, tuple[Any, ...]]:
    (call,) = read_by_insync(frame)
    return call


@pytest.mark.parametrize(
    ("frame", "call", "arguments"),
    [
        (messages.tick_price(7, 1, Decimal("12.34"), Decimal(300), 1), "priceSizeTick", (7, 1, 12.34, 300.0)),
        (messages.tick_price(7, 9, Decimal("12.34")), "priceSizeTick", (7, 9, 12.34, 0.0)),
        (messages.tick_price(7, 2, None, Decimal(300)), "priceSizeTick", (7, 2, -1.0, 0.0)),
        (messages.tick_size(7, 8, Decimal("1234.5")), "tickSize", (7, 8, 1234.5)),
        (messages.tick_generic(7, 49, Decimal(1)), "tickGeneric", (7, 49, 1.0)),
        (messages.tick_generic(7, 24, 0.2875), "tickGeneric", (7, 24, 0.2875)),
        (messages.tick_string(7, 45, "1795446245"), "tickString", (7, 45, "1795446245")),
        (messages.tick_request_params(7, Decimal("0.01"), "9c0001", 3), "tickReqParams", (7, 0.01, "9c0001", 3)),
        (messages.market_data_type(7, 3), "marketDataType", (7, 3)),
        (messages.tick_snapshot_end(7), "tickSnapshotEnd", (7,)),
        (messages.option_parameters_end(7), "securityDefinitionOptionParameterEnd", (7,)),
        (messages.pnl(7, Decimal("-12.5"), Decimal("3.25"), None), "pnl", (7, -12.5, 3.25, UNSET)),
        (
            messages.pnl_single(7, Decimal(-5), Decimal("1.5"), None, Decimal(0), Decimal("-900.25")),
            "pnlSingle",
            (7, -5.0, 1.5, UNSET, 0.0, -900.25),
        ),
        (messages.head_timestamp(7, NOW.astimezone(NEW_YORK), 1), "headTimestamp", (7, "20261123-15:04:05")),
        (messages.head_timestamp(7, NOW.astimezone(NEW_YORK), 2), "headTimestamp", (7, str(EPOCH))),
        (
            messages.tick_by_tick_last(7, NOW, Decimal("1.5"), Decimal(3), "ARCA", attributes=2, conditions="T"),
            "tickByTickAllLast",
            (7, 1, EPOCH, 1.5, 3.0, ib_insync.TickAttribLast(False, True), "ARCA", "T"),
        ),
        (
            messages.tick_by_tick_last(7, NOW, Decimal("1.5"), Decimal(3), "ARCA", all_last=True),
            "tickByTickAllLast",
            (7, 2, EPOCH, 1.5, 3.0, ib_insync.TickAttribLast(), "ARCA", ""),
        ),
        (
            messages.tick_by_tick_bid_ask(7, NOW, Decimal("1.5"), Decimal("1.6"), Decimal(3), Decimal(4), 2),
            "tickByTickBidAsk",
            (7, EPOCH, 1.5, 1.6, 3.0, 4.0, ib_insync.TickAttribBidAsk(False, True)),
        ),
        (messages.tick_by_tick_midpoint(7, NOW, Decimal("1.55")), "tickByTickMidPoint", (7, EPOCH, 1.55)),
        (messages.soft_dollar_tiers(7), "softDollarTiers", (7, [])),
    ],
)
def test_what_ib_insync_receives(frame: bytes, call: str, arguments: tuple[Any, ...]) -> None:
    assert only_call(frame) == (call, arguments)


def test_an_option_computation_keeps_its_order_and_its_digits() -> None:
    greeks = OptionComputation(0.31234567, 0.51, 12.25, 0.07, 0.0123, 0.22, -0.00001234, 187.5)
    name, (request_id, tick_type, attributes, *values) = only_call(messages.tick_option_computation(7, 13, greeks))
    assert (name, request_id, tick_type, attributes) == ("tickOptionComputation", 7, 13, 1)
    assert values == [0.31234567, 0.51, 12.25, 0.07, 0.0123, 0.22, -0.00001234, 187.5]
    # ib_insync, as the other clients, takes these for "not computed".
    assert only_call(messages.tick_option_computation(7, 13, None))[1][3:] == (-1, -2, -1, -1, -2, -2, -2, -1)


BAR = Bar(
    time=datetime(2026, 11, 23, 9, 30, tzinfo=NEW_YORK),
    open=Decimal("10.01"),
    high=Decimal("10.44"),
    low=Decimal("9.92"),
    close=Decimal("10.33"),
    volume=Decimal("1234.5"),
    average=Decimal("10.2"),
    count=17,
)


@pytest.mark.parametrize(
    ("format_date", "daily", "written", "read"),
    [
        (1, False, "20261123 09:30:00 America/New_York", BAR.time),
        (2, False, "1795444200", BAR.time),
        (1, True, "20261123", BAR.time.date()),
        (2, True, "20261123", BAR.time.date()),
    ],
)
def test_bars_are_dated_as_asked_for(format_date: int, daily: bool, written: str, read: object) -> None:
    bars = [BAR, replace(BAR, close=Decimal("10.11"))]
    frame = messages.historical_data(7, BAR.time, NOW, bars, format_date=format_date, daily=daily)
    *reported, (end, (request_id, first, last)) = read_by_insync(frame)
    expected = ib_insync.BarData(cast(Any, written), 10.01, 10.44, 9.92, 10.33, 1234.5, 10.2, 17)
    assert reported == [
        ("historicalData", (7, expected)),
        ("historicalData", (7, replace(expected, close=10.11))),
    ]
    assert ib_insync.util.parseIBDatetime(written) == read
    assert (end, request_id) == ("historicalDataEnd", 7)
    assert (first, last) == ("20261123 09:30:00 America/New_York", "20261123 15:04:05 UTC")
    update = only_call(messages.historical_data_update(7, BAR, format_date, daily))
    assert update == ("historicalDataUpdate", (7, expected))


def test_no_bars_are_an_answer_too() -> None:
    frame = messages.historical_data(7, NOW, NOW, [], format_date=1, daily=False)
    assert [name for name, _ in read_by_insync(frame)] == ["historicalDataEnd"]


def test_a_real_time_bar() -> None:
    name, arguments = only_call(messages.real_time_bar(7, replace(BAR, time=NOW)))
    assert (name, arguments) == ("realtimeBar", (7, EPOCH, 10.01, 10.44, 9.92, 10.33, 1234.5, 10.2, 17))


def test_ticks_of_the_past() -> None:
    one, two = Decimal("1.5"), Decimal("1.6")
    name, (request_id, ticks, done) = only_call(
        messages.historical_ticks_midpoint(7, [messages.PastMidpoint(NOW, one), messages.PastMidpoint(NOW, two)])
    )
    assert (name, request_id, done) == ("historicalTicks", 7, True)
    assert ticks == [ib_insync.HistoricalTick(NOW, 1.5, 0.0), ib_insync.HistoricalTick(NOW, 1.6, 0.0)]
    quotes = [messages.PastBidAsk(NOW, one, two, Decimal(3), Decimal(4))] * 2
    name, (request_id, ticks, done) = only_call(messages.historical_ticks_bid_ask(7, quotes, done=False))
    assert (name, request_id, done) == ("historicalTicksBidAsk", 7, False)
    assert ticks == [ib_insync.HistoricalTickBidAsk(NOW, ib_insync.TickAttribBidAsk(), 1.5, 1.6, 3.0, 4.0)] * 2
    trades = [messages.PastTrade(NOW, one, Decimal(3), "ARCA", "T"), messages.PastTrade(NOW, two, Decimal(4))]
    name, (request_id, ticks, done) = only_call(messages.historical_ticks_last(7, trades))
    assert (name, request_id, done) == ("historicalTicksLast", 7, True)
    assert ticks == [
        ib_insync.HistoricalTickLast(NOW, ib_insync.TickAttribLast(), 1.5, 3.0, "ARCA", "T"),
        ib_insync.HistoricalTickLast(NOW, ib_insync.TickAttribLast(), 1.6, 4.0, "", ""),
    ]


OPTION = Instrument(
    Contract(
        4711,
        "AAPL",
        "OPT",
        expiry="20261218",
        strike=Decimal("187.5"),
        right="C",
        multiplier="100",
        local_symbol="AAPL  261218C00187500",
        trading_class="AAPL",
    ),
    long_name="Börse \\ Füße €",
    market_name="AAPL",
    min_tick=Decimal("0.05"),
    valid_exchanges="SMART,CBOE,ISE",
    time_zone="US/Eastern",
    trading_hours="20261123:0930-20261123:1600;20261124:CLOSED",
    liquid_hours="20261123:0930-20261123:1600",
    underlying=Contract(265598, "AAPL"),
    last_trade_time="16:00",
    market_rule_id=32,
    direct_rule_id=109,
    min_size=Decimal(1),
    size_increment=Decimal("0.5"),
    suggested_size_increment=Decimal(10),
)


def test_the_details_of_an_option() -> None:
    name, (request_id, details) = only_call(messages.contract_details(7, OPTION))
    assert (name, request_id) == ("contractDetails", 7)
    own = details.contract
    assert (own.conId, own.symbol, own.secType, own.strike, own.right) == (4711, "AAPL", "OPT", 187.5, "C")
    assert (own.lastTradeDateOrContractMonth, own.multiplier, own.localSymbol) == (
        "20261218",
        "100",
        "AAPL  261218C00187500",
    )
    assert (details.lastTradeTime, details.timeZoneId, details.realExpirationDate) == (
        "16:00",
        "US/Eastern",
        "20261218",
    )
    assert (details.underConId, details.underSymbol, details.underSecType) == (265598, "AAPL", "STK")
    assert (details.contractMonth, details.minTick, details.longName) == ("202612", 0.05, "Börse \\ Füße €")
    assert (details.validExchanges, details.marketRuleIds) == ("SMART,CBOE,ISE", "32,109,109")
    assert (details.minSize, details.sizeIncrement, details.suggestedSizeIncrement) == (1.0, 0.5, 10.0)
    (first, second) = details.tradingSessions()[0]
    assert (first.hour, first.minute, second.hour) == (9, 30, 16)
    assert details.tradingHours == OPTION.trading_hours


def test_the_details_of_a_stock_name_no_underlying_and_no_expiry() -> None:
    stock = Instrument(Contract(265598, "AAPL", primary_exchange="NASDAQ"), long_name="APPLE INC", stock_type="COMMON")
    stock = replace(stock, isin="US0378331005")
    _, (_, details) = only_call(messages.contract_details(7, stock))
    assert (details.underConId, details.underSymbol, details.realExpirationDate) == (0, "", "")
    assert (details.contract.lastTradeDateOrContractMonth, details.lastTradeTime) == ("", "")
    assert (details.contract.primaryExchange, details.stockType, details.marketRuleIds) == ("NASDAQ", "COMMON", "26")
    assert [(each.tag, each.value) for each in details.secIdList] == [("ISIN", "US0378331005")]
    assert not only_call(messages.contract_details(7, OPTION))[1][1].secIdList


def test_an_option_chain() -> None:
    chain = OptionChain("SMART", 265598, "AAPL", "100", ("20261218", "20270115"), (Decimal("187.5"), Decimal(190)))
    name, arguments = only_call(messages.option_parameters(7, chain))
    assert name == "securityDefinitionOptionParameter"
    assert arguments == (7, "SMART", "265598", "AAPL", "100", ["20261218", "20270115"], [187.5, 190.0])


def test_symbols_that_match() -> None:
    matches = [
        SymbolMatch(Contract(265598, "AAPL", primary_exchange="NASDAQ"), ("CFD", "OPT"), "APPLE INC"),
        SymbolMatch(Contract(1, "AAP", primary_exchange="NYSE"), (), "ADVANCE AUTO PARTS"),
    ]
    name, (request_id, found) = only_call(messages.symbol_samples(7, matches))
    assert (name, request_id) == ("symbolSamples", 7)
    assert [(each.contract.conId, each.contract.primaryExchange, each.derivativeSecTypes) for each in found] == [
        (265598, "NASDAQ", ["CFD", "OPT"]),
        (1, "NYSE", []),
    ]
    assert [each.contract.description for each in found] == ["APPLE INC", "ADVANCE AUTO PARTS"]


def test_a_market_rule() -> None:
    increments = [(Decimal(0), Decimal("0.01")), (Decimal(3), Decimal("0.05"))]
    name, (rule_id, read) = only_call(messages.market_rule(32, increments))
    assert (name, rule_id) == ("marketRule", 32)
    assert read == [ib_insync.PriceIncrement(0.0, 0.01), ib_insync.PriceIncrement(3.0, 0.05)]


def test_what_the_gateway_reports_of_exchanges_and_news() -> None:
    _, (request_id, components) = only_call(messages.smart_components(7))
    assert request_id == 7
    assert [each.bitNumber for each in components] == list(range(len(components)))
    assert len({each.exchangeLetter for each in components}) == len(components) > 5
    _, (exchanges,) = only_call(messages.market_depth_exchanges())
    assert ("NASDAQ", "STK", 1) in {(each.exchange, each.secType, each.aggGroup) for each in exchanges}
    _, (providers,) = only_call(messages.news_providers())
    assert "BRFG" in {each.code for each in providers}


@given(text=st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20))
def test_an_errors_text_survives_clients_that_undo_escapes_in_it(text: str) -> None:
    fields = decode_fields(messages.error(7, 321, text)[4:])
    assert fields[4].isascii()
    assert fields[4].encode().decode("unicode-escape") == text


def test_an_execution_at_178_ends_with_its_flag() -> None:
    fill = Execution(
        exec_id="e1",
        order_id=5,
        client_id=1,
        perm_id=9,
        account="DU1",
        contract=Contract(265598, "AAPL"),
        time=NOW,
        exchange="ARCA",
        side="BOT",
        shares=Decimal(3),
        price=Decimal("1.5"),
        cumulative_quantity=Decimal(3),
        average_price=Decimal("1.5"),
        commission=Decimal("1.05"),
    )
    ((name, (request_id, contract, read)),) = read_by_insync(messages.execution(-1, fill, 177))
    assert (name, request_id, contract.conId) == ("execDetails", -1, 265598)
    assert (read.execId, read.orderId, read.permId, read.shares, read.time) == ("e1", 5, 9, 3.0, NOW)
    old, new = (decode_fields(messages.execution(-1, fill, version)[4:]) for version in (177, 178))
    assert new == [*old, "0"]
    ((name, (report,)),) = read_by_insync(messages.commission(fill))
    assert (name, report.commission, report.currency, report.realizedPNL) == ("commissionReport", 1.05, "USD", UNSET)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), Decimal("NaN"), Decimal("-Infinity")])
def test_what_is_no_number_is_never_written(value: float | Decimal) -> None:
    with pytest.raises(ValueError, match="a field cannot be the number"):
        encode_frame([value])
