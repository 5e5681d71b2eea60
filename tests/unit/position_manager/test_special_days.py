"""Holidays and early closes of what is held: from the broker's hours, then from the fallback calendar."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from tests.unit.position_manager import journal_samples
from tests.unit.position_manager.journal_samples import CALL, STOCK

import position_manager
from gateway_watch.calendar_events import parse_holidays
from position_manager import cli
from position_manager.journal import stored_instruments
from position_manager.journal.reader import JournalReader
from position_manager.model import Hours
from position_manager.reports import holidays
from position_manager.reports.holidays import Holiday, together
from position_manager.sessions.fallback_calendar import Answer
from position_manager.sessions.hours import parse_liquid_hours
from position_manager.sessions.special_days import SpecialDay, special_days

SOURCE = Path(position_manager.__file__).parents[1]
NEW_YORK = ZoneInfo("America/New_York")
TODAY = date(2026, 11, 23)
THANKSGIVING, FRIDAY = date(2026, 11, 26), date(2026, 11, 27)
EARLY = datetime(2026, 11, 27, 13, tzinfo=NEW_YORK)
WEEK = parse_liquid_hours(
    "20261123:0930-20261123:1600;20261124:0930-20261124:1600;20261125:0930-20261125:1600;20261126:CLOSED;"
    "20261127:0930-20261127:1300;20261128:CLOSED;20261129:CLOSED;20261130:0930-20261130:1600",
    NEW_YORK,
)


def weekdays(first: date, days: int, zone: ZoneInfo = NEW_YORK, weekend: tuple[int, ...] = (5, 6)) -> list[Hours]:
    found = [first + timedelta(days=number) for number in range(days)]
    return [
        Hours(
            datetime(day.year, day.month, day.day, 9, 30, tzinfo=zone),
            datetime(day.year, day.month, day.day, 16, tzinfo=zone),
        )
        for day in found
        if day.weekday() not in weekend
    ]


def test_the_broker_s_week_has_a_holiday_and_an_early_close() -> None:
    assert list(special_days(WEEK, TODAY)) == [SpecialDay(THANKSGIVING, None), SpecialDay(FRIDAY, EARLY)]
    assert list(special_days(WEEK, FRIDAY)) == [SpecialDay(FRIDAY, EARLY)]
    assert list(special_days((), TODAY)) == []


def test_a_weekend_is_no_holiday_and_neither_is_a_change_of_the_clock() -> None:
    assert list(special_days(weekdays(date(2026, 10, 1), 60), date(2026, 10, 1))) == []
    sunday_to_thursday = weekdays(date(2026, 10, 4), 30, ZoneInfo("Asia/Riyadh"), weekend=(4, 5))
    assert list(special_days(sunday_to_thursday, date(2026, 10, 4))) == []


def test_a_session_over_midnight_belongs_to_the_day_of_its_end_and_the_last_one_closes_the_day() -> None:
    nights = [Hours(hours.end + timedelta(hours=2), hours.end + timedelta(hours=16)) for hours in weekdays(TODAY, 4)]
    assert list(special_days(nights, TODAY)) == []
    noon = datetime(2026, 11, 24, 12, tzinfo=NEW_YORK)
    with_break = [*weekdays(TODAY, 1), Hours(noon - timedelta(hours=3), noon), *weekdays(date(2026, 11, 24), 3)]
    assert list(special_days(with_break, TODAY)) == []


def test_two_days_show_no_usual_close() -> None:
    assert list(special_days(WEEK[2:4], date(2026, 11, 27))) == []


def test_beyond_the_broker_s_days_the_fallback_calendar_counts() -> None:
    season = weekdays(TODAY, 60)
    calendar = Answer(
        tuple(hours for hours in season if hours.end.date() not in (THANKSGIVING, date(2026, 12, 25))), None
    )
    found = together({"SPY": WEEK, "AAPL": ()}, calendar, "XNYS", TODAY, date(2027, 1, 15))
    assert found == [
        Holiday(SpecialDay(THANKSGIVING, None), ("SPY",), "broker"),
        Holiday(SpecialDay(THANKSGIVING, None), ("AAPL",), "XNYS"),
        Holiday(SpecialDay(FRIDAY, EARLY), ("SPY",), "broker"),
        Holiday(SpecialDay(date(2026, 12, 25), None), ("AAPL", "SPY"), "XNYS"),
    ]
    assert together({"SPY": WEEK}, None, None, TODAY, THANKSGIVING) == found[:1]


SOLD = replace(STOCK, con_id=104, symbol="MSFT", local_symbol="MSFT")


def write_journal(path: Path, hours: tuple[Hours, ...]) -> None:
    """A call with these hours and a stock without any are held; another stock is held no more."""
    day = journal_samples.Day(path)
    for instrument, quantity in ((CALL, 1), (STOCK, 100), (SOLD, 0)):
        day.hold(instrument, quantity)
    # Of another day than today: good enough for people.
    stored_instruments.store_changes(day.journal, [replace(CALL, liquid_hours=hours)], {}, day.now - timedelta(days=3))
    day.journal.close()


def test_the_holidays_of_what_is_held_come_from_the_journal_and_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(SOURCE))
    write_journal(tmp_path / "journal.db", WEEK)
    with JournalReader(tmp_path / "journal.db") as reader:
        assert [each.line() for each in holidays.read(reader, "XNYS", TODAY, 40)] == [
            "Thu 2026-11-26 closed: SPY (broker)",
            "Thu 2026-11-26 closed: AAPL (XNYS)",
            "Fri 2026-11-27 closes at 13:00 (UTC-0500): SPY (broker)",
            "Fri 2026-11-27 closes at 13:00 (UTC-0500): AAPL (XNYS)",
            "Thu 2026-12-24 closes at 13:00 (UTC-0500): AAPL, SPY (XNYS)",
            "Fri 2026-12-25 closed: AAPL, SPY (XNYS)",
            "Fri 2027-01-01 closed: AAPL, SPY (XNYS)",
        ]
        # Without a calendar only the broker is asked, which has reported nothing for the stock.
        assert {each.symbols for each in holidays.read(reader, None, TODAY, 40)} == {("SPY",)}


def test_the_command_prints_what_the_calendar_of_a_gateway_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    today = datetime.now(UTC).date()
    days = weekdays(today, 15)
    missing = days.pop(5).end.date()
    write_journal(tmp_path / "journal-paper.db", tuple(days))
    options = ["--config", str(tmp_path / "none.yml"), "--state", str(tmp_path), "--runtime", str(tmp_path)]
    assert cli.main(["holidays", *options, "--json"]) == 0
    (holiday,) = parse_holidays(capsys.readouterr().out)
    assert (holiday.day, holiday.closes, holiday.symbols, holiday.source) == (missing, None, ("SPY",), "broker")
    assert cli.main(["holidays", *options]) == 0
    assert capsys.readouterr().out == f"{missing:%a %Y-%m-%d} closed: SPY (broker)\n"
    assert cli.main(["holidays", *options, "--state", str(tmp_path / "none")]) == 1
    assert "position-manager: " in capsys.readouterr().err
