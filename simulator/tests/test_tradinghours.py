"""When markets open and close, against what the exchanges published."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from gateway_simulator.trading import holidays
from gateway_simulator.trading.catalog import Catalog, sample_catalog
from gateway_simulator.trading.holidays import DayKind
from gateway_simulator.trading.model import ContractQuery, Instrument
from gateway_simulator.trading.tradinghours import TradingHours

NEW_YORK = ZoneInfo("America/New_York")
MONDAY = date(2026, 11, 23)


@pytest.fixture
def catalog() -> Catalog:
    return sample_catalog(MONDAY)


@pytest.fixture
def hours() -> TradingHours:
    return TradingHours("exchange")


def at(text: str, zone: ZoneInfo = NEW_YORK) -> datetime:
    return datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=zone)


def get(catalog: Catalog, con_id: int) -> Instrument:
    found = catalog.get(con_id)
    assert found is not None
    return found


def option(catalog: Catalog, symbol: str, expiry: str, trading_class: str = "") -> Instrument:
    return catalog.find(ContractQuery(symbol=symbol, expiry=expiry, right="C", trading_class=trading_class))[0]


# The closings that the exchange announced for these years.
CLOSED = {
    2021: "01-01 01-18 02-15 04-02 05-31 07-05 09-06 11-25 12-24",
    2022: "01-17 02-21 04-15 05-30 06-20 07-04 09-05 11-24 12-26",
    2023: "01-02 01-16 02-20 04-07 05-29 06-19 07-04 09-04 11-23 12-25",
    2024: "01-01 01-15 02-19 03-29 05-27 06-19 07-04 09-02 11-28 12-25",
    2026: "01-01 01-19 02-16 04-03 05-25 06-19 07-03 09-07 11-26 12-25",
    2027: "01-01 01-18 02-15 03-26 05-31 06-18 07-05 09-06 11-25 12-24",
}
EARLY = {
    2021: "11-26",
    2022: "11-25",
    2023: "07-03 11-24",
    2024: "07-03 11-29 12-24",
    2026: "11-27 12-24",
    2027: "11-26",
}


@pytest.mark.parametrize("year", CLOSED)
def test_new_york_closes_on_the_announced_days(year: int) -> None:
    days = [date(year, 1, 1) + timedelta(days=number) for number in range(365)]
    working = [each for each in days if each.weekday() < 5]
    closed = [f"{each:%m-%d}" for each in working if holidays.new_york(each) is DayKind.CLOSED]
    early = [f"{each:%m-%d}" for each in working if holidays.new_york(each) is DayKind.HALF]
    assert (" ".join(closed), " ".join(early)) == (CLOSED[year], EARLY[year])


def test_stock_trades_longer_only_for_orders_that_may(catalog: Catalog, hours: TradingHours) -> None:
    apple = get(catalog, 265598)
    seen = {
        text: [hours.is_open(apple, at(f"2026-11-23 {text}"), outside_rth=outside) for outside in (False, True)]
        for text in ("03:59", "04:00", "09:29", "09:30", "15:59", "16:00", "19:59", "20:00")
    }
    assert seen == {
        "03:59": [False, False],
        "04:00": [False, True],
        "09:29": [False, True],
        "09:30": [True, True],
        "15:59": [True, True],
        "16:00": [False, True],
        "19:59": [False, True],
        "20:00": [False, False],
    }


def test_half_day_ends_at_one(catalog: Catalog, hours: TradingHours) -> None:
    apple = get(catalog, 265598)
    assert hours.day_end(apple, at("2026-11-27 10:00")) == at("2026-11-27 13:00")
    assert hours.day_end(apple, at("2026-11-27 10:00"), outside_rth=True) == at("2026-11-27 17:00")


def test_order_given_after_the_close_belongs_to_the_next_trading_day(catalog: Catalog, hours: TradingHours) -> None:
    apple = get(catalog, 265598)
    evening = at("2026-11-25 21:00")  # before Thanksgiving
    assert hours.day_end(apple, evening) == at("2026-11-27 13:00")
    assert hours.next_change(apple, evening) == at("2026-11-27 04:00")


def test_changes_come_one_after_the_other(catalog: Catalog, hours: TradingHours) -> None:
    apple, now, seen = get(catalog, 265598), at("2026-11-20 12:00"), []
    for _ in range(5):
        now = hours.next_change(apple, now)
        seen.append(now.astimezone(NEW_YORK).strftime("%d %H:%M"))
    assert seen == ["20 16:00", "20 20:00", "23 04:00", "23 09:30", "23 16:00"]


def test_future_pauses_for_an_hour_and_over_the_weekend(catalog: Catalog, hours: TradingHours) -> None:
    future = catalog.find(ContractQuery(local_symbol="ESZ6"))[0]
    open_at = {
        text: hours.is_open(future, at(text), outside_rth=False)
        for text in ("2026-11-23 17:30", "2026-11-23 18:00", "2026-11-24 03:00", "2026-11-21 12:00", "2026-11-22 18:30")
    }
    assert list(open_at.values()) == [False, True, True, False, True]


@pytest.mark.parametrize(
    ("text", "is_open"),
    [
        ("2026-11-26 12:59", True),  # Thanksgiving
        ("2026-11-26 13:00", False),
        ("2026-11-26 18:00", True),
        ("2026-12-25 10:00", False),
        ("2027-01-01 10:00", False),
        ("2027-03-26 10:00", False),  # Good Friday
        ("2027-01-18 10:00", True),
    ],
)
def test_future_trades_until_one_on_most_holidays(
    catalog: Catalog, hours: TradingHours, text: str, is_open: bool
) -> None:
    future = catalog.find(ContractQuery(local_symbol="ESM7"))[0]
    assert hours.is_open(future, at(text), outside_rth=True) is is_open


def test_currency_trades_from_sunday_evening_to_friday(catalog: Catalog, hours: TradingHours) -> None:
    euro = get(catalog, 12087792)
    assert not hours.is_open(euro, at("2026-11-22 17:14"), outside_rth=True)
    assert hours.is_open(euro, at("2026-11-22 17:15"), outside_rth=True)
    assert not hours.is_open(euro, at("2026-11-27 17:00"), outside_rth=True)


def test_option_ends_with_its_expiry(catalog: Catalog, hours: TradingHours) -> None:
    weekly = option(catalog, "AAPL", "20261127")
    assert hours.expiry_moment(weekly) == at("2026-11-27 13:00")
    spy = option(catalog, "SPY", "20261204")
    assert hours.is_open(spy, at("2026-12-03 16:10"), outside_rth=False)
    assert not hours.is_open(spy, at("2026-12-04 16:10"), outside_rth=False)
    assert not hours.is_open(spy, at("2026-12-07 10:00"), outside_rth=True)


def test_index_option_of_the_monthly_class_ends_before_its_friday_opens(catalog: Catalog, hours: TradingHours) -> None:
    monthly = option(catalog, "SPX", "20261218", "SPX")
    assert hours.expiry_moment(monthly) == at("2026-12-18 09:30")
    assert hours.is_open(monthly, at("2026-12-17 16:00"), outside_rth=False)
    assert not hours.is_open(monthly, at("2026-12-18 09:31"), outside_rth=False)
    assert hours.next_change(monthly, at("2026-12-17 17:00")) == at("2026-12-18 09:30")


def test_after_an_expiry_days_go_on(catalog: Catalog, hours: TradingHours) -> None:
    weekly = option(catalog, "AAPL", "20261127")
    after = at("2026-11-27 13:00")
    assert (
        hours.next_change(weekly, after) == hours.next_change(weekly, at("2026-11-28 12:00")) == at("2026-11-30 09:30")
    )
    assert hours.day_end(weekly, after) == at("2026-11-30 16:00")
    assert hours.trading_hours(weekly, after).count("CLOSED") == 6


def test_always_is_open_on_a_holiday_and_ends_its_days_at_midnight(catalog: Catalog) -> None:
    hours, apple = TradingHours("always"), get(catalog, 265598)
    night = at("2026-11-26 03:00")
    assert hours.is_open(apple, night, outside_rth=False)
    assert hours.day_end(apple, night) == at("2026-11-27 00:00")
    assert hours.next_change(apple, night) == at("2026-11-27 00:00")
    assert not hours.is_open(option(catalog, "AAPL", "20261127"), at("2026-11-27 13:00"), outside_rth=False)


def test_hours_are_written_as_ib_does(catalog: Catalog, hours: TradingHours) -> None:
    apple, now = get(catalog, 265598), at("2026-11-25 12:00")
    assert hours.liquid_hours(apple, now).split(";")[:4] == [
        "20261125:0930-20261125:1600",
        "20261126:CLOSED",
        "20261127:0930-20261127:1300",
        "20261128:CLOSED",
    ]
    assert hours.trading_hours(apple, now).startswith("20261125:0400-20261125:2000;")
    future = catalog.find(ContractQuery(local_symbol="ESZ6"))[0]
    assert hours.trading_hours(future, now).startswith("20261124:1700-20261125:1600;")  # Chicago's time
    assert hours.liquid_hours(future, now).startswith("20261125:0830-20261125:1600;")


def test_grains_pause_in_the_morning(catalog: Catalog, hours: TradingHours) -> None:
    corn = catalog.find(ContractQuery(local_symbol="ZCZ6"))[0]
    now = at("2026-11-24 12:00")
    assert hours.trading_hours(corn, now).split(";")[:2] == [
        "20261123:1900-20261124:0745",
        "20261124:0830-20261124:1320",
    ]
    assert hours.liquid_hours(corn, now).startswith("20261124:0830-20261124:1320;")
    seen = {
        text: hours.is_open(corn, at(f"2026-11-24 {text}"), outside_rth=True)
        for text in ("08:44", "08:45", "09:29", "09:30", "14:19", "14:20", "20:00")
    }
    assert list(seen.values()) == [True, False, False, True, True, False, True]
    assert hours.next_change(corn, at("2026-11-24 08:44")) == at("2026-11-24 08:45")


def test_london_has_its_own_hours_and_holidays(catalog: Catalog, hours: TradingHours) -> None:
    london = ZoneInfo("Europe/London")
    vodafone = catalog.find(ContractQuery(symbol="VOD", currency="GBP"))[0]
    assert hours.liquid_hours(vodafone, at("2026-12-23 12:00")).split(";")[:4] == [
        "20261223:0800-20261223:1630",
        "20261224:0800-20261224:1230",
        "20261225:CLOSED",
        "20261226:CLOSED",
    ]
    assert not hours.is_open(vodafone, at("2026-12-28 10:00", london), outside_rth=False)  # for Boxing Day
    assert hours.is_open(vodafone, at("2026-07-01 08:00", london), outside_rth=False)


# The bank holidays that the government announced for these years.
BANK_HOLIDAYS = {
    2024: "01-01 03-29 04-01 05-06 05-27 08-26 12-25 12-26",
    2025: "01-01 04-18 04-21 05-05 05-26 08-25 12-25 12-26",
    2026: "01-01 04-03 04-06 05-04 05-25 08-31 12-25 12-28",
    2027: "01-01 03-26 03-29 05-03 05-31 08-30 12-27 12-28",
}


@pytest.mark.parametrize("year", BANK_HOLIDAYS)
def test_london_closes_on_the_announced_days(year: int) -> None:
    days = [date(year, 1, 1) + timedelta(days=number) for number in range(365)]
    closed = [f"{each:%m-%d}" for each in days if each.weekday() < 5 and holidays.london(each) is DayKind.CLOSED]
    assert " ".join(closed) == BANK_HOLIDAYS[year]


def test_session_follows_daylight_saving_time(catalog: Catalog, hours: TradingHours) -> None:
    apple = get(catalog, 265598)
    summer, winter = hours.session(apple, at("2026-10-30 12:00")), hours.session(apple, at("2026-11-02 12:00"))
    assert summer is not None and winter is not None
    assert summer.regular_start == datetime(2026, 10, 30, 13, 30, tzinfo=UTC)
    assert winter.regular_start == datetime(2026, 11, 2, 14, 30, tzinfo=UTC)


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="'sometimes'; they must be one of always, exchange"):
        TradingHours("sometimes")
