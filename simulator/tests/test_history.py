"""Bars of the past agree with each other, with the quotes of their time, and with what IB accepts."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from math import log, sqrt
from statistics import stdev
from time import process_time
from zoneinfo import ZoneInfo

import pytest

from gateway_simulator.trading.catalog import sample_catalog
from gateway_simulator.trading.history import BAR_SIZES, History, HistoryError, QuoteTick, TradeTick
from gateway_simulator.trading.market import STEP, Market, UnknownContractError
from gateway_simulator.trading.model import Bar
from gateway_simulator.trading.tradinghours import TradingHours

NOW = datetime(2026, 11, 23, 20, 0, tzinfo=UTC)  # Monday, 15:00 in New York
AAPL, SPX, EUR = 265598, 416904, 12087792
NEW_YORK = ZoneInfo("America/New_York")


class World:
    """A market and its history under one kind of trading hours."""

    def __init__(self, kind: str) -> None:
        catalog, hours = sample_catalog(NOW.date()), TradingHours(kind)
        self.market = Market(catalog, hours, 1)
        self.history = History(catalog, self.market, hours)

    def bars(
        self,
        duration: str,
        size: str,
        what: str = "TRADES",
        *,
        con_id: int = AAPL,
        end: datetime | None = None,
        rth: bool = True,
        now: datetime = NOW,
    ) -> list[Bar]:
        return self.history.bars(con_id, end, duration, size, what, rth, now)

    def refusal(self, duration: str, size: str, what: str = "TRADES", **terms: object) -> tuple[int, str]:
        con_id, end = terms.get("con_id", AAPL), terms.get("end")
        assert isinstance(con_id, int) and (end is None or isinstance(end, datetime))
        with pytest.raises(HistoryError) as caught:
            self.bars(duration, size, what, con_id=con_id, end=end)
        return caught.value.code, caught.value.text


@pytest.fixture
def exchange() -> World:
    return World("exchange")


@pytest.fixture
def always() -> World:
    return World("always")


def shape(bars: list[Bar]) -> tuple[Decimal, Decimal, Decimal, Decimal, Decimal]:
    return (
        bars[0].open,
        max(each.high for each in bars),
        min(each.low for each in bars),
        bars[-1].close,
        sum((each.volume for each in bars), Decimal(0)),
    )


@pytest.mark.parametrize("rth", [True, False])
@pytest.mark.parametrize("what", ["TRADES", "MIDPOINT", "BID", "ASK"])
def test_day_bar_is_the_sum_of_its_smaller_bars(exchange: World, what: str, rth: bool) -> None:
    (day,) = exchange.bars("1 D", "1 day", what, rth=rth)
    for size in ("1 min", "15 mins", "1 hour"):
        smaller = exchange.bars("1 D", size, what, rth=rth)
        assert shape(smaller)[:4] == (day.open, day.high, day.low, day.close)
        assert what != "TRADES" or shape(smaller)[4] == day.volume


def test_bar_holds_every_quote_of_its_time(exchange: World) -> None:
    (bar,) = exchange.bars("60 S", "1 min", end=NOW)
    lasts = [exchange.market.quote(AAPL, bar.time + number * STEP).last for number in range(240)]
    seen = [each for each in lasts if each is not None]
    assert bar.time == NOW - timedelta(minutes=1)
    assert (bar.open, bar.high, bar.low, bar.close) == (seen[0], max(seen), min(seen), seen[-1])


def test_live_day_values_and_volume_agree_with_the_day_bar(exchange: World) -> None:
    quote = exchange.market.quote(AAPL, NOW)
    (day,) = exchange.bars("1 D", "1 day", rth=False)
    assert (quote.day_open, quote.day_high, quote.day_low, quote.last) == (day.open, day.high, day.low, day.close)
    assert 0 <= day.volume - quote.volume < day.volume / 1000  # the bar holds the step that runs


@pytest.mark.parametrize("size", [each for each in BAR_SIZES if "sec" not in each])
def test_every_bar_size_is_answered(exchange: World, size: str) -> None:
    bars = exchange.bars("2 D", size)
    times = [each.time for each in bars]
    assert bars and times == sorted(set(times))
    assert all(each.low <= min(each.open, each.close) <= max(each.open, each.close) <= each.high for each in bars)


@pytest.mark.parametrize("size", ["1 secs", "5 secs", "10 secs", "15 secs", "30 secs"])
def test_small_bars_are_aligned_and_contiguous(exchange: World, size: str) -> None:
    seconds = int(size.split()[0])
    bars = exchange.bars("300 S", size, end=NOW)
    assert [each.time for each in bars] == [
        NOW - timedelta(seconds=300 - seconds * number) for number in range(300 // seconds)
    ]


def test_first_bar_of_a_duration_in_seconds_is_whole(exchange: World) -> None:
    bars = exchange.bars("60 S", "30 secs", end=NOW + timedelta(seconds=-7))
    assert [each.time for each in bars] == [NOW - timedelta(seconds=seconds) for seconds in (90, 60, 30)]


def test_bid_and_ask_bars_end_with_the_quote(exchange: World) -> None:
    quote = exchange.market.quote(AAPL, NOW)
    bid, ask, both = (exchange.bars("1 D", "1 min", what)[-1] for what in ("BID", "ASK", "BID_ASK"))
    assert (bid.close, ask.close) == (quote.bid, quote.ask)
    assert (both.low, both.high) == (bid.low, ask.high)


def test_bar_of_an_option_shows_a_set_price_of_its_underlying(exchange: World) -> None:
    option = exchange.market.named("AAPL 261218C00180000").contract.con_id
    start = NOW - timedelta(minutes=3)
    exchange.market.set_price("AAPL", start + timedelta(seconds=80), last=Decimal(230))
    exchange.market.release("AAPL", start + timedelta(seconds=80.25))
    before, spike, after = exchange.bars("180 S", "1 min", con_id=option, end=NOW)
    assert spike.high > 49 > max(before.high, after.high) and spike.close < 49


def test_probe_of_the_watchdog_is_answered_at_any_hour() -> None:
    for kind in ("always", "exchange"):
        world = World(kind)
        for hours in range(0, 7 * 24, 5):
            now = NOW + timedelta(hours=hours, milliseconds=1370)
            bars = world.bars("30 S", "5 secs", "MIDPOINT", con_id=EUR, rth=False, now=now)
            assert len(bars) in (6, 7)
            assert bars[0].volume == bars[0].average == bars[0].count == -1


def test_days_are_trading_days_with_half_days_and_holidays(exchange: World) -> None:
    now = datetime(2026, 11, 30, 15, 0, tzinfo=UTC)
    days = exchange.bars("4 D", "1 day", now=now)
    assert [each.time for each in days] == [datetime(2026, 11, day, tzinfo=NEW_YORK) for day in (24, 25, 27, 30)]
    friday = exchange.bars("1 D", "30 mins", end=datetime(2026, 11, 28, tzinfo=UTC), now=now)
    assert len(friday) == 7 and friday[0].time.astimezone(NEW_YORK).hour == 9


def test_hours_lie_on_the_clock_and_the_first_is_cut_off(exchange: World) -> None:
    bars = exchange.bars("1 D", "1 hour", end=datetime(2026, 11, 21, tzinfo=UTC))
    assert [f"{each.time.astimezone(NEW_YORK):%d %H:%M}" for each in bars] == [
        f"20 {text}" for text in ("09:30", "10:00", "11:00", "12:00", "13:00", "14:00", "15:00")
    ]


def test_extended_hours_are_shown_when_asked_for(exchange: World) -> None:
    regular, whole = exchange.bars("1 D", "1 hour"), exchange.bars("1 D", "1 hour", rth=False)
    assert (len(regular), len(whole)) == (7, 12)  # 09:30 and 04:00 until 15:00, and the step that runs
    assert whole[-1] == regular[-1]


def test_weeks_and_months_are_made_of_their_days(exchange: World) -> None:
    days = exchange.bars("3 M", "1 day")
    weeks, months = exchange.bars("3 M", "1 week"), exchange.bars("3 M", "1 month")
    assert shape(days) == shape(weeks) == shape(months)
    assert [each.time.date() for each in months][1:] == [date(2026, 9, 30), date(2026, 10, 30), date(2026, 11, 23)]
    assert [each.time.weekday() for each in weeks][:-1] == [4] * (len(weeks) - 1)


def test_set_prices_show_from_when_they_were_set(exchange: World) -> None:
    start = NOW - timedelta(minutes=10)
    before = exchange.bars("1 D", "1 min", now=start)
    exchange.market.set_price("AAPL", start, last=Decimal(100))
    exchange.market.set_price("AAPL", start + timedelta(seconds=90), last=Decimal(90))
    exchange.market.release("AAPL", start + timedelta(seconds=150))
    bars = exchange.bars("1 D", "1 min")
    assert bars[: len(before) - 1] == before[:-1]
    first, second, third = bars[len(before) - 1 : len(before) + 2]
    assert first.open == first.high == first.low == first.close == 100
    assert second.open == second.high == 100 and second.low == second.close == 90
    assert third.open == 90 and third.close > 150
    (day,) = exchange.bars("1 D", "1 day")
    assert day.low == 90


def test_options_have_bars_that_agree_with_their_quotes(exchange: World) -> None:
    option = exchange.market.named("AAPL 261218C00180000").contract.con_id
    bars = exchange.bars("1 D", "5 mins", "MIDPOINT", con_id=option)
    quote = exchange.market.quote(option, NOW)
    assert quote.bid is not None and quote.ask is not None
    assert bars[-1].close == (quote.bid + quote.ask) / 2
    assert len(bars) == 67


def test_year_of_days_and_day_of_minutes_come_quickly(always: World) -> None:
    start = process_time()
    assert len(always.bars("1 Y", "1 day")) == 365
    middle = process_time()
    assert len(always.bars("1 D", "1 min", now=datetime(2026, 11, 24, 4, 59, 59, tzinfo=UTC))) == 1440
    assert middle - start < 3.0 and process_time() - middle < 1.5  # a busy machine; 0.5 s and 0.3 s alone


@pytest.mark.parametrize(
    ("duration", "size", "code", "text"),
    [
        ("1 D", "1 fortnight", 321, "Historical data bar size setting is invalid. Legal ones are: 1 secs, 5 secs"),
        ("one day", "1 min", 321, "Historical data requested duration is invalid."),
        ("0 D", "1 min", 321, "Historical data requested duration is invalid."),
        ("5 H", "1 min", 321, "Historical data requested duration is invalid."),
        ("", "1 min", 321, "Historical data requested duration is invalid."),
        ("366 D", "1 day", 321, "longer than 365 days must be made in years."),
        ("90000 S", "1 min", 321, "greater than 86400 seconds rejected."),
        ("1 D", "1 secs", 162, "Time length exceed max."),
        ("1 M", "1 min", 162, "Time length exceed max."),
    ],
)
def test_request_beyond_the_limits_is_refused(always: World, duration: str, size: str, code: int, text: str) -> None:
    refused, message = always.refusal(duration, size)
    assert refused == code and text in message


@pytest.mark.parametrize(
    ("con_id", "what", "code", "text"),
    [
        (EUR, "TRADES", 162, "No historical market data for EUR/CASH@IDEALPRO Trades"),
        (SPX, "BID", 162, "No historical market data for SPX/IND@CBOE Bid"),
        (AAPL, "FEE_RATE", 162, "No historical market data for AAPL/STK@SMART"),
        (AAPL, "GOSSIP", 321, "what to show is not known"),
    ],
)
def test_data_that_there_is_not_is_refused(exchange: World, con_id: int, what: str, code: int, text: str) -> None:
    refused, message = exchange.refusal("1 D", "1 min", what, con_id=con_id)
    assert refused == code and text in message


def test_adjusted_prices_have_no_end_and_the_past_no_data(exchange: World) -> None:
    assert exchange.bars("1 D", "1 hour", "ADJUSTED_LAST") == exchange.bars("1 D", "1 hour")
    assert exchange.refusal("1 D", "1 hour", "ADJUSTED_LAST", end=NOW)[0] == 321
    code, text = exchange.refusal("1 D", "1 hour", end=datetime(2001, 1, 1, tzinfo=UTC))
    assert code == 162 and "HMDS query returned no data: AAPL@SMART Trades" in text


def test_future_end_means_now(exchange: World) -> None:
    assert exchange.bars("1 D", "1 min", end=NOW + timedelta(days=9)) == exchange.bars("1 D", "1 min")


def test_history_starts_at_the_first_session_of_the_fifth_year(exchange: World) -> None:
    assert exchange.history.head(AAPL, "TRADES", True) == datetime(2021, 1, 4, 14, 30, tzinfo=UTC)
    assert exchange.history.head(AAPL, "TRADES", False) == datetime(2021, 1, 4, 9, 0, tzinfo=UTC)
    with pytest.raises(HistoryError, match="No historical market data"):
        exchange.history.head(EUR, "TRADES", True)


def test_real_time_bar_is_the_five_seconds_before(exchange: World) -> None:
    bar = exchange.history.real_time_bar(AAPL, "TRADES", True, NOW)
    assert bar == exchange.bars("5 S", "5 secs", end=NOW)[0]
    night = NOW + timedelta(hours=12)
    assert exchange.history.real_time_bar(AAPL, "TRADES", False, night) is None
    evening = NOW + timedelta(hours=2)
    assert exchange.history.real_time_bar(AAPL, "TRADES", True, evening) is None
    assert exchange.history.real_time_bar(AAPL, "MIDPOINT", False, evening) is not None


def test_ticks_come_once_a_second_forwards_or_backwards(exchange: World) -> None:
    start = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)
    forwards = exchange.history.ticks(AAPL, start, None, 100, "TRADES", True, NOW)
    assert [each.time for each in forwards] == [start + timedelta(seconds=number) for number in range(100)]
    assert all(isinstance(each, TradeTick) and each.size >= 100 for each in forwards)
    backwards = exchange.history.ticks(
        AAPL, None, start + timedelta(seconds=99, milliseconds=1), 50, "BID_ASK", False, NOW
    )
    assert len(backwards) == 50 and backwards[-1].time <= start + timedelta(seconds=99)
    assert all(isinstance(each, QuoteTick) and 0 < each.bid < each.ask for each in backwards)
    over_the_close = exchange.history.ticks(AAPL, NOW - timedelta(days=3), None, 1000, "MIDPOINT", True, NOW)
    assert len(over_the_close) == 1000


@pytest.mark.parametrize(
    ("start", "end", "number", "what", "text"),
    [
        (None, None, 10, "TRADES", "either start date/time or end date/time"),
        (NOW, NOW, 10, "TRADES", "either start date/time or end date/time"),
        (NOW, None, 0, "TRADES", "between 1 and 1000"),
        (NOW, None, 1001, "TRADES", "between 1 and 1000"),
        (NOW, None, 10, "BID", "must be TRADES, MIDPOINT or BID_ASK"),
    ],
)
def test_bad_request_for_ticks_is_refused(
    exchange: World, start: datetime | None, end: datetime | None, number: int, what: str, text: str
) -> None:
    with pytest.raises(HistoryError, match=text):
        exchange.history.ticks(AAPL, start, end, number, what, True, NOW)


def test_historical_volatility_is_that_of_the_last_thirty_closes(exchange: World) -> None:
    days = exchange.bars("40 D", "1 day")
    [*_, last] = exchange.bars("5 D", "1 day", "HISTORICAL_VOLATILITY")
    returns = [log(after.close / before.close) for before, after in pairwise(days[-30:])]
    assert float(last.close) == pytest.approx(stdev(returns) * sqrt(252), abs=1e-6)
    assert (last.time, last.count) == (days[-1].time, -1)
    small = exchange.bars("2 D", "1 hour", "HISTORICAL_VOLATILITY")
    assert {each.close for each in small if each.time.date() == last.time.date()} == {last.close}


def test_implied_volatility_is_that_of_options_at_the_money(exchange: World) -> None:
    bars = exchange.bars("1 M", "1W", "OPTION_IMPLIED_VOLATILITY")
    assert {each.close for each in bars} == {Decimal("0.26")}
    at_the_money = exchange.market.quote(exchange.market.named("AAPL 261224C00190000").contract.con_id, NOW)
    assert at_the_money.model_computation is not None
    assert at_the_money.model_computation.implied_volatility == pytest.approx(0.26, abs=0.02)
    assert exchange.refusal("1 D", "1 hour", "HISTORICAL_VOLATILITY", con_id=EUR)[0] == 162


@pytest.mark.parametrize("rth", [True, False])
def test_schedule_has_the_sessions_with_half_days_and_holidays(exchange: World, rth: bool) -> None:
    now = NOW + timedelta(days=7)
    sessions = exchange.history.schedule(AAPL, None, "1 W", "1 day", rth, now)
    assert [each.day.day for each in sessions] == [24, 25, 27, 30]  # the 26th is Thanksgiving
    assert sessions[2].regular_end.astimezone(NEW_YORK).hour == 13
    with pytest.raises(HistoryError, match="1 day"):
        exchange.history.schedule(AAPL, None, "1 W", "1 hour", rth, now)


def test_unknown_contract_is_refused(exchange: World) -> None:
    with pytest.raises(UnknownContractError):
        exchange.bars("1 D", "1 min", con_id=7)
