"""The calendar for people: what it lists, and the file for a phone, read back by the library and by its own rules."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from icalendar import Calendar, Event
from tests.unit.gateway_watch.instance_files import DOCUMENT

from gateway_watch import calendar_file, session
from gateway_watch.calendar_events import Entry, Holiday, HolidaysError, entries, parse_holidays
from gateway_watch.cli import main
from gateway_watch.login_gate import QuietHours
from gateway_watch.reminders import plan
from gateway_watch.session import Session
from gateway_watch.session_calendar import SessionCalendar

SOURCE = Path(__file__).parents[3] / "src"
NEW_YORK = ZoneInfo("America/New_York")
CALENDAR = SessionCalendar(time(2), time(13), NEW_YORK)
MONDAY = datetime(2026, 10, 26, tzinfo=NEW_YORK).astimezone(UTC)
"""Of the week that ends with the change to winter time."""
WEEK = timedelta(days=7)
CHRISTMAS = Holiday(date(2026, 12, 25), None, ("AAPL", "SPY"), "broker")
EVE = Holiday(date(2026, 12, 24), datetime(2026, 12, 24, 18, tzinfo=UTC), ("SPY",), "XNYS")


def value(component: Any, name: str) -> Any:
    """A property; the library's type for it is a union of thirty."""
    return component[name]


def events(found: list[Entry], now: datetime = MONDAY) -> list[Event]:
    """The events of the file, read back."""
    text = calendar_file.to_ical("ib-gateway", "host.example", found, now)
    calendar = Calendar.from_ical(text)
    assert calendar.errors == []
    assert (value(calendar, "version"), value(calendar, "method")) == ("2.0", "PUBLISH")
    read = [event for event in calendar.walk("VEVENT") if isinstance(event, Event)]
    assert all(event.errors == [] for event in read)
    return read


def test_a_week_lists_every_event_with_its_title() -> None:
    week = entries(CALENDAR, MONDAY + timedelta(days=4), MONDAY + WEEK + timedelta(hours=1), approvals=True)
    assert [(f"{entry.begin:%a %H:%M}", entry.title) for entry in week] == [
        ("Fri 02:00", "daily restart, keeps the session"),
        ("Fri 23:00", "IBKR's weekly maintenance"),
        ("Fri 23:45", "nightly reset of IBKR's servers"),
        ("Sat 02:00", "daily restart, keeps the session"),
        ("Sat 23:45", "nightly reset of IBKR's servers"),
        ("Sun 01:00", "the week's session ends"),
        # An hour after the end of the session.
        ("Sun 02:00", "daily restart, can need an approval"),
        ("Sun 13:00", "approve the login in IBKR Mobile"),
        ("Sun 23:45", "nightly reset of IBKR's servers"),
    ]


def test_without_the_events_of_each_night_the_list_is_short() -> None:
    week = entries(CALENDAR, MONDAY, MONDAY + WEEK, approvals=True, nightly=False)
    assert [entry.key for entry in week] == ["maintenance-20261030", "session_end-20261101", "full_login-20261101"]


def test_a_login_that_needs_nobody_has_no_alarm_and_is_the_same_event() -> None:
    with_person, without = (
        entries(CALENDAR, MONDAY, MONDAY + WEEK, approvals=approvals, nightly=False)[-1] for approvals in (True, False)
    )
    assert with_person.key == without.key
    assert (len(with_person.alarms), without.alarms) == (3, ())
    assert without.title == "the week's restart, with a full login"


def test_without_approvals_no_restart_can_need_one() -> None:
    week = entries(CALENDAR, MONDAY, MONDAY + WEEK, approvals=False)
    assert [entry.title for entry in week if "approv" in entry.title] == []


def test_a_moment_lasts_a_quarter_of_an_hour_and_a_window_until_its_end() -> None:
    read = events(entries(CALENDAR, MONDAY, MONDAY + WEEK, approvals=True))
    lasts = {
        str(value(event, "uid")).partition("-2026")[0]: value(event, "dtend").dt - value(event, "dtstart").dt
        for event in read
    }
    quarter = timedelta(minutes=15)
    assert lasts == {
        "nightly-reset": timedelta(hours=1),
        "daily-restart": quarter,
        "maintenance": timedelta(hours=4),
        "session-end": quarter,
        "full-login": quarter,
    }


def test_a_changed_hour_is_the_same_event() -> None:
    keys = {
        entry.key
        for cold in (time(0, 30), time(13), time(23, 59), None)
        for entry in entries(SessionCalendar(time(2), cold, NEW_YORK), MONDAY, MONDAY + WEEK, approvals=True)
        if "approve" in entry.title
    }
    assert keys == {"full_login-20261101"}


def test_a_time_that_comes_on_the_next_day_is_an_event_of_its_own() -> None:
    # In Nuuk the clock jumps from Saturday 23:00 to Sunday 0:00.
    calendar = SessionCalendar(time(23, 30), time(13), ZoneInfo("America/Nuuk"))
    begin = datetime(2027, 3, 27, 12, tzinfo=UTC)
    found = entries(calendar, begin, begin + timedelta(days=2), approvals=True)
    restarts = {entry.key: f"{entry.begin:%a %H:%M}" for entry in found if entry.key.startswith("daily")}
    assert restarts == {"daily_restart-20270327": "Sun 00:30", "daily_restart-20270328": "Sun 23:30"}


def test_holidays_of_what_is_held_are_one_event_a_day() -> None:
    berlin = Holiday(date(2026, 12, 25), None, ("DTE",), "broker")
    found = entries(
        CALENDAR,
        datetime(2026, 12, 21, tzinfo=UTC),
        datetime(2026, 12, 28, tzinfo=UTC),
        approvals=True,
        nightly=False,
        holidays=(CHRISTMAS, EVE, berlin),
    )
    listed = [(entry.title, entry.day or f"{entry.begin:%a %H:%M}") for entry in found if "holiday" in entry.key]
    assert listed == [("early close: SPY", "Thu 13:00"), ("exchange holiday: AAPL, DTE, SPY", date(2026, 12, 25))]
    closed, early = (
        next(event for event in events(found) if word in value(event, "summary")) for word in ("holiday", "early")
    )
    assert (value(closed, "dtstart").dt, value(closed, "dtend").dt) == (date(2026, 12, 25), date(2026, 12, 26))
    assert value(early, "dtstart").dt == datetime(2026, 12, 24, 18, tzinfo=UTC)
    assert value(early, "dtend").dt == datetime(2026, 12, 24, 18, 15, tzinfo=UTC)


def test_the_file_is_valid_and_every_moment_is_in_utc() -> None:
    found = entries(CALENDAR, MONDAY, MONDAY + 26 * WEEK, approvals=True, holidays=(CHRISTMAS, EVE))
    text = calendar_file.to_ical("ib-gateway", "a host, with; signs", found, MONDAY)
    lines = text.split(b"\r\n")
    assert b"\n" not in text.replace(b"\r\n", b"")
    assert max(map(len, lines)) <= 75
    read = events(found)
    assert len(read) == len(found)
    for event in read:
        assert all(
            event.get(name) is not None for name in ("uid", "dtstamp", "dtstart", "dtend", "summary", "sequence")
        )
    uids = [str(value(event, "uid")) for event in read]
    assert len(set(uids)) == len(uids)
    assert b"TZID" not in text
    moments = [value(event, "dtstart").dt for event in read if isinstance(value(event, "dtstart").dt, datetime)]
    assert {moment.utcoffset() for moment in moments} == {timedelta()}
    assert b"UID:full-login-20261101.ib-gateway@a-host-with-signs" in lines


ZONES = [NEW_YORK, *map(ZoneInfo, ("Europe/Berlin", "Australia/Lord_Howe", "America/Nuuk", "UTC"))]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 152), st.times(), st.sampled_from(ZONES))
def test_over_three_years_each_week_has_its_approval_at_its_moment(week: int, cold: time, zone: ZoneInfo) -> None:
    calendar = SessionCalendar(time(2), cold.replace(second=0, microsecond=0), zone)
    begin = datetime(2026, 1, 5, tzinfo=zone).astimezone(UTC) + week * WEEK
    found = entries(calendar, begin, begin + 4 * WEEK, approvals=True)
    read = events(found)
    logins = [value(event, "dtstart").dt for event in read if str(value(event, "uid")).startswith("full-login")]
    expected, moment = [], calendar.next_full_login(begin - timedelta(microseconds=1))
    while moment.astimezone(UTC) < begin + 4 * WEEK:
        expected.append(moment.astimezone(UTC))
        moment = calendar.next_full_login(moment)
    assert logins == expected
    assert len({str(value(event, "uid")) for event in read}) == len(read) == len(found)


def test_the_alarms_come_when_the_reminders_do() -> None:
    quiet = QuietHours(time(11, 30), time(14, 30), NEW_YORK)
    found = entries(CALENDAR, MONDAY, MONDAY + WEEK, approvals=True, quiet=quiet, nightly=False)
    (login,) = [event for event in events(found) if event.walk("VALARM")]
    due = value(login, "dtstart").dt
    triggers = [due + value(alarm, "trigger").dt for alarm in login.walk("VALARM")]
    assert triggers == [reminder.at for reminder in plan(due, quiet)]
    assert {str(value(alarm, "action")) for alarm in login.walk("VALARM")} == {"DISPLAY"}


def test_a_later_file_replaces_the_events_of_an_earlier_one() -> None:
    """What a phone does with two imports: by UID, the higher sequence wins."""
    before, after = (
        events(entries(SessionCalendar(time(2), cold, NEW_YORK), MONDAY, MONDAY + WEEK, approvals=True), now)
        for cold, now in ((time(13), MONDAY), (time(18), MONDAY + timedelta(days=1)))
    )
    phone: dict[str, Event] = {}
    for event in (*before, *after):
        known = phone.get(str(value(event, "uid")))
        assert known is None or (
            value(event, "sequence") > value(known, "sequence")
            and value(event, "dtstamp").dt > value(known, "dtstamp").dt
        )
        phone[str(value(event, "uid"))] = event
    assert len(phone) == len(before) == len(after)
    logins = [value(event, "dtstart").dt for uid, event in phone.items() if uid.startswith("full-login")]
    assert logins == [datetime(2026, 11, 1, 18, tzinfo=NEW_YORK).astimezone(UTC)]


@pytest.mark.parametrize("text", ["", "{", "[1]", '[{"day": "x"}]', '{"day": 1}', "null"])
def test_what_is_no_list_of_holidays_is_reported(text: str) -> None:
    with pytest.raises(HolidaysError, match="position-manager holidays --json"):
        parse_holidays(text)


def test_the_holidays_of_several_managers_are_read_from_one_list() -> None:
    one = {"day": "2026-12-24", "closes": "2026-12-24T13:00:00-05:00", "symbols": ["SPY"], "source": "XNYS"}
    two = {"day": "2026-12-25", "closes": None, "symbols": ["AAPL", "SPY"], "source": "broker"}
    assert parse_holidays(json.dumps([[one], [], [two]])) == (EVE, CHRISTMAS)


@pytest.fixture
def config_root(tmp_path: Path) -> Path:
    directory = tmp_path / "etc" / "ib-gateway"
    directory.mkdir(parents=True)
    (directory / "instance.json").write_text(json.dumps(DOCUMENT | {"state_dir": str(tmp_path)}))
    return directory.parent


@pytest.mark.parametrize(("twofa", "alarms"), [(True, 26), (False, 0), (None, 26)])
def test_the_command_writes_alarms_only_if_the_login_needs_a_person(
    config_root: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], twofa: bool | None, alarms: int
) -> None:
    session.write(tmp_path / "session.json", Session(twofa=twofa))
    options = ["--config-root", str(config_root), "--weeks", "26", "--no-nightly", "--ical", "--host", "h"]
    assert main(["calendar", *options]) == 0
    logins = [
        event for event in Calendar.from_ical(capfdbinary.readouterr().out).walk("VEVENT") if event.walk("VALARM")
    ]
    assert len(logins) == alarms


def test_the_command_reports_holidays_that_are_none(
    config_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "holidays").write_text("none")
    options = ["--config-root", str(config_root), "--holidays", str(tmp_path / "holidays")]
    assert main(["calendar", *options]) == 1
    assert "position-manager holidays --json" in capsys.readouterr().err


def test_the_supervisor_does_not_load_the_library_of_the_file() -> None:
    code = "import sys, gateway_watch.cli, gateway_watch.calendar_command; sys.exit('icalendar' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(SOURCE)}, check=False).returncode == 0
