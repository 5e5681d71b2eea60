"""Sessions from an exchange's calendar, asked of a process of its own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from tests.unit.position_manager.engine_world import ManualClock

import position_manager
from position_manager.model import Hours, Instrument, Kind
from position_manager.sessions import fallback_calendar
from position_manager.sessions.fallback_calendar import Answer, CalendarError, FallbackCalendar, check_name
from position_manager.sessions.hours import BrokerCalendar, common, day_close, is_open, next_open

NEW_YORK, HONG_KONG = ZoneInfo("America/New_York"), ZoneInfo("Asia/Hong_Kong")
NOW = datetime(2026, 11, 23, 10, tzinfo=NEW_YORK)
SHARE = Instrument(1, "SPY", Kind.STOCK)


@pytest.fixture(autouse=True)
def sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child finds the package as this process does."""
    monkeypatch.setenv("PYTHONPATH", str(Path(position_manager.__file__).parent.parent))


async def loaded(name: str, now: datetime) -> FallbackCalendar:
    calendar = FallbackCalendar(name)
    await calendar.load(now)
    return calendar


@pytest.mark.asyncio
async def test_holidays_weekends_and_an_early_close() -> None:
    calendar = await loaded("XNYS", NOW)
    sessions = calendar.sessions(SHARE, NOW)
    assert is_open(sessions, NOW)
    assert day_close(sessions, NOW) == datetime(2026, 11, 23, 16, tzinfo=NEW_YORK)
    wednesday = datetime(2026, 11, 25, 17, tzinfo=NEW_YORK)
    friday = datetime(2026, 11, 27, 9, 30, tzinfo=NEW_YORK)
    # Thanksgiving is left out; the day after ends at 13:00.
    assert next_open(calendar.sessions(SHARE, wednesday), wednesday) == friday
    assert day_close(calendar.sessions(SHARE, friday), friday) == datetime(2026, 11, 27, 13, tzinfo=NEW_YORK)
    weekend = datetime(2026, 11, 28, 12, tzinfo=NEW_YORK)
    assert next_open(calendar.sessions(SHARE, weekend), weekend) == datetime(2026, 11, 30, 9, 30, tzinfo=NEW_YORK)
    assert common([sessions, sessions]) == sessions


@pytest.mark.asyncio
async def test_a_break_at_noon_and_a_change_of_the_clocks() -> None:
    calendar = await loaded("XHKG", NOW)
    noon = datetime(2026, 11, 24, 12, 30, tzinfo=HONG_KONG)
    sessions = calendar.sessions(SHARE, noon)
    assert not is_open(sessions, noon)
    assert next_open(sessions, noon) == datetime(2026, 11, 24, 13, tzinfo=HONG_KONG)
    spring = datetime(2027, 3, 12, 12, tzinfo=NEW_YORK)
    begins = [hours.begin for hours in (await loaded("XNYS", spring)).sessions(SHARE, spring)]
    assert {(begin.hour, begin.minute) for begin in begins} == {(9, 30)}
    assert {begin.utcoffset() for begin in begins} == {timedelta(hours=-5), timedelta(hours=-4)}


@pytest.mark.asyncio
async def test_it_is_asked_again_only_when_it_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    calendar = await loaded("XNYS", NOW)
    asked: list[tuple[str, ...]] = []
    command = fallback_calendar._command

    def counted(*arguments: str) -> tuple[str, ...]:
        asked.append(arguments)
        return command(*arguments)

    monkeypatch.setattr(fallback_calendar, "_command", counted)
    await calendar.load(NOW + timedelta(days=13))
    assert asked == []
    late = NOW + timedelta(days=40)
    assert calendar.sessions(SHARE, late)
    assert calendar.sessions(SHARE, NOW + timedelta(days=60)) == ()
    await calendar.load(late)
    assert len(asked) == 1
    assert is_open(calendar.sessions(SHARE, NOW + timedelta(days=63)), NOW + timedelta(days=63))
    # A clock that was set back asks too.
    await calendar.load(NOW - timedelta(days=30))
    assert len(asked) == 2 and calendar.sessions(SHARE, NOW - timedelta(days=30))


@pytest.mark.asyncio
async def test_the_broker_is_believed_first() -> None:
    fallback = await loaded("XNYS", NOW)
    reported = Hours(NOW - timedelta(hours=9), NOW + timedelta(hours=9))
    share = Instrument(1, "SPY", Kind.STOCK, liquid_hours=(reported,))
    calendar = BrokerCalendar(fallback)
    assert calendar.sessions(share, NOW) == (reported,)
    tomorrow = NOW + timedelta(days=1)
    assert calendar.sessions(share, tomorrow) == fallback.sessions(share, tomorrow) != ()


@pytest.mark.asyncio
async def test_a_name_that_is_no_calendar() -> None:
    expected = "XNYSE is no calendar of exchange_calendars; did you mean XNYS, NYSE, XTSE?"
    with pytest.raises(CalendarError) as caught:
        await FallbackCalendar("XNYSE").load(NOW)
    assert str(caught.value) == expected
    with pytest.raises(CalendarError) as checked:
        check_name("XNYSE", NOW.date())
    assert str(checked.value) == expected
    assert check_name("XNYS", NOW.date()) is None


@pytest.mark.asyncio
async def test_what_is_known_stays_if_it_cannot_be_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calendar = await loaded("XNYS", NOW)
    before = calendar.sessions(SHARE, NOW)
    with pytest.raises(CalendarError):
        await calendar.load(datetime(9998, 1, 1, tzinfo=NEW_YORK))
    assert calendar.sessions(SHARE, NOW) == before
    monkeypatch.setattr(fallback_calendar, "PATIENCE_SECONDS", 0.01)
    with pytest.raises(CalendarError, match=r"took longer than 0\.01 s"):
        await calendar.load(NOW + timedelta(days=40))
    with pytest.raises(CalendarError, match="took longer"):
        check_name("XNYS", NOW.date())
    assert calendar.sessions(SHARE, NOW) == before


@pytest.mark.asyncio
async def test_it_remains_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    calendar, clock, stop = FallbackCalendar("XNYS"), ManualClock(NOW), asyncio.Event()
    loads: list[datetime] = []

    async def ask(name: str, first: date, last: date) -> Answer:
        loads.append(clock.now())
        if len(loads) == 1:
            raise CalendarError("it took too long")
        return Answer((Hours(NOW - timedelta(hours=1), NOW + timedelta(hours=1)),), None)

    monkeypatch.setattr(fallback_calendar, "ask", ask)
    keeping = asyncio.create_task(calendar.load_regularly(clock, stop))
    await clock.advance(59)
    assert len(loads) == 1 and calendar.sessions(SHARE, NOW) == ()
    await clock.advance(2)
    assert len(loads) == 2 and is_open(calendar.sessions(SHARE, NOW), NOW)
    await clock.advance(20 * 86_400)
    assert len(loads) == 3
    stop.set()
    await clock.advance(0)
    assert keeping.done()


def test_the_service_does_not_load_the_library() -> None:
    module = "position_manager.sessions.fallback_calendar"
    code = f"import sys, {module}; print('pandas' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["XSES", "XSHG", "XBOM"])
async def test_a_calendar_that_ends_within_the_weeks_ahead_is_used_until_its_end(name: str) -> None:
    now = datetime(2026, 12, 10, 3, tzinfo=ZoneInfo("UTC"))
    calendar = await loaded(name, now)
    assert calendar.known_until == date(2026, 12, 31)
    assert check_name(name, now.date()) == date(2026, 12, 31)
    late = datetime(2026, 12, 29, 1, tzinfo=ZoneInfo("UTC"))
    assert calendar.sessions(SHARE, now)
    last = calendar.sessions(SHARE, late)[-1]
    assert last.end.date() == date(2026, 12, 31)


@pytest.mark.asyncio
async def test_the_end_of_a_calendar_is_reported_each_day_before_it_comes() -> None:
    reports: list[str] = []
    start = datetime(2026, 11, 30, 12, tzinfo=ZoneInfo("UTC"))
    calendar, clock, stop = FallbackCalendar("XSES"), ManualClock(start), asyncio.Event()
    calendar_of_rules, silent = FallbackCalendar("XNYS"), list[str]()
    # Loaded before, so that the tasks wait for nothing but the clock.
    await calendar.load(start)
    await calendar_of_rules.load(start)
    loading = [
        asyncio.create_task(calendar.load_regularly(clock, stop, reports.append)),
        asyncio.create_task(calendar_of_rules.load_regularly(clock, stop, silent.append)),
    ]
    await clock.advance(0)
    assert reports == []
    await clock.advance(3 * 86_400 + 1)
    stop.set()
    await clock.advance(0)
    await asyncio.gather(*loading)
    assert reports
    assert "XSES is known until 2026-12-31 only" in reports[0]
    assert "hours.fallback_calendar" in reports[0]
    assert silent == []


@pytest.mark.parametrize("name", ["ASEX", "XBEL", "XBSE", "XCYS"])
def test_a_calendar_that_the_library_cannot_compute_is_refused_by_name(name: str) -> None:
    with pytest.raises(CalendarError, match=f"calendar {name} cannot be computed"):
        check_name(name, NOW.date())


def test_a_calendar_that_has_ended_is_refused() -> None:
    with pytest.raises(CalendarError, match=r"XSES.*2026"):
        check_name("XSES", date(2027, 1, 4))


def test_the_hint_names_a_calendar_that_closes_early_on_christmas_eve() -> None:
    with pytest.raises(CalendarError) as caught:
        check_name("qqqqq", NOW.date())
    assert str(caught.value).endswith("such as XNYS (New York)")


@pytest.mark.asyncio
async def test_christmas_eve_of_2026() -> None:
    eve = datetime(2026, 12, 24, 12, tzinfo=NEW_YORK)
    assert day_close((await loaded("XNYS", eve)).sessions(SHARE, eve), eve) == eve.replace(hour=13)
