"""Restarts and the week's end, over changes of the clock too."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_watch.session_calendar import (
    in_restart_window,
    next_cold_restart,
    next_daily_restart,
    next_full_login,
    next_restart,
    next_session_end,
)

NEW_YORK = ZoneInfo("America/New_York")
BERLIN = ZoneInfo("Europe/Berlin")
TWO = time(2, 0)
ONE_PM = time(13, 0)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-11-23T06:59:59", "2026-11-23T07:00:00"),
        ("2026-11-23T07:00:00", "2026-11-24T07:00:00"),
        # 2:00 does not exist on 14 March 2027: the clock jumps to 3:00, which is the same instant.
        ("2027-03-14T06:30:00", "2027-03-14T07:00:00"),
        ("2027-03-14T07:00:00", "2027-03-15T06:00:00"),
        # 7 November 2027, 1:59 EDT is followed by 1:00 EST: 2:00 comes once, at 7:00 UTC.
        ("2027-11-07T05:30:00", "2027-11-07T07:00:00"),
    ],
)
def test_the_daily_restart(now: str, expected: str) -> None:
    assert next_daily_restart(utc(now), TWO, NEW_YORK).astimezone(UTC) == utc(expected)


def test_a_time_that_comes_twice_is_the_first_one() -> None:
    assert next_daily_restart(utc("2027-11-07T05:00:00"), time(1, 30), NEW_YORK).astimezone(UTC) == utc(
        "2027-11-07T05:30:00"
    )
    after = next_daily_restart(utc("2027-11-07T05:30:00"), time(1, 30), NEW_YORK)
    assert after.astimezone(UTC) == utc("2027-11-08T06:30:00")


def test_a_skipped_time_is_shown_as_the_clock_shows_it() -> None:
    assert next_daily_restart(utc("2027-03-14T06:30:00"), TWO, NEW_YORK).strftime("%H:%M %Z") == "03:00 EDT"


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-11-28T23:00:00", "2026-11-29T12:00:00"),
        ("2026-11-29T12:00:00", "2026-12-06T12:00:00"),
        # Already Sunday in Berlin while it is Saturday in UTC.
        ("2026-11-28T23:30:00", "2026-11-29T12:00:00"),
    ],
)
def test_the_cold_restart_is_on_sunday_in_its_own_zone(now: str, expected: str) -> None:
    found = next_cold_restart(utc(now), ONE_PM, BERLIN)
    assert found.astimezone(UTC) == utc(expected)
    assert found.strftime("%A") == "Sunday"


def test_the_weeks_session_ends_on_sunday_in_new_york() -> None:
    assert next_session_end(utc("2026-11-23T12:00:00")).astimezone(UTC) == utc("2026-11-29T06:00:00")
    assert next_session_end(utc("2026-07-01T12:00:00")).astimezone(UTC) == utc("2026-07-05T05:00:00")


@pytest.mark.parametrize(("minutes", "inside"), [(-3, False), (-2, True), (0, True), (14, True), (15, False)])
def test_the_window_around_each_event(minutes: int, inside: bool) -> None:
    shift = timedelta(minutes=minutes)
    for event, daily, cold in (
        ("2026-11-24T07:00:00", TWO, None),
        ("2026-11-29T18:00:00", None, ONE_PM),
        ("2026-11-29T06:00:00", None, None),
    ):
        assert in_restart_window(utc(event) + shift, daily, cold, NEW_YORK) is inside


def test_the_next_restart_is_the_earlier_one() -> None:
    now = utc("2026-11-29T08:00:00")
    restart = next_restart(now, TWO, ONE_PM, NEW_YORK)
    assert restart is not None
    assert restart.astimezone(UTC) == utc("2026-11-29T18:00:00")
    assert next_restart(now, None, None, NEW_YORK) is None


UTC_ZONE = ZoneInfo("UTC")
ZONES = [NEW_YORK, BERLIN, ZoneInfo("Asia/Tokyo"), ZoneInfo("Australia/Lord_Howe"), UTC_ZONE]
THREE_YEARS = st.datetimes(datetime(2026, 1, 1), datetime(2029, 1, 1), timezones=st.just(UTC))
WALL_CLOCK = st.times().map(lambda at: at.replace(second=0, microsecond=0))


@given(THREE_YEARS, WALL_CLOCK, st.sampled_from(ZONES))
def test_the_next_full_login_is_the_first_sunday_at_its_hour(now: datetime, cold: time, zone: ZoneInfo) -> None:
    due = next_full_login(now, cold, zone)
    # A week may have a change of the clock in it.
    assert now < due.astimezone(UTC) <= now + timedelta(days=7, hours=1)
    local = due.astimezone(zone)
    exists = datetime.combine(local.date(), cold, tzinfo=zone).astimezone(UTC).astimezone(zone).time() == cold
    assert local.weekday() == 6
    assert local.time() == cold or not exists
    just_before = due.astimezone(UTC) - timedelta(microseconds=1)
    assert next_full_login(max(now, just_before), cold, zone) == due


@given(THREE_YEARS)
def test_without_an_hour_the_weeks_session_ends_at_one_in_new_york(now: datetime) -> None:
    local = next_full_login(now, None, BERLIN).astimezone(NEW_YORK)
    assert (local.weekday(), local.time()) == (6, time(1, 0))
