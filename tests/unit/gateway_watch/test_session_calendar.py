"""The calendar of a gateway, over changes of the clock too."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_watch.session_calendar import Kind, Recurrence, SessionCalendar, maintenance_end

NEW_YORK = ZoneInfo("America/New_York")
BERLIN = ZoneInfo("Europe/Berlin")
TWO = time(2, 0)
ONE_PM = time(13, 0)


def next_daily_restart(now: datetime, at: time, zone: ZoneInfo) -> datetime:
    found = SessionCalendar(at, None, zone).next(Kind.DAILY_RESTART, now)
    assert found is not None
    return found


def next_cold_restart(now: datetime, at: time, zone: ZoneInfo) -> datetime:
    found = SessionCalendar(None, at, zone).next(Kind.COLD_RESTART, now)
    assert found is not None
    return found


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
    calendar = SessionCalendar(TWO, ONE_PM, BERLIN)
    assert calendar.next_session_end(utc("2026-11-23T12:00:00")).astimezone(UTC) == utc("2026-11-29T06:00:00")
    assert calendar.next_session_end(utc("2026-07-01T12:00:00")).astimezone(UTC) == utc("2026-07-05T05:00:00")


@pytest.mark.parametrize(("minutes", "inside"), [(-3, False), (-2, True), (0, True), (14, True), (15, False)])
def test_the_window_around_each_event(minutes: int, inside: bool) -> None:
    shift = timedelta(minutes=minutes)
    for event, daily, cold in (
        ("2026-11-24T07:00:00", TWO, None),
        ("2026-11-29T18:00:00", None, ONE_PM),
        ("2026-11-29T06:00:00", None, None),
    ):
        assert SessionCalendar(daily, cold, NEW_YORK).in_restart_window(utc(event) + shift) is inside


def test_the_next_restart_is_the_earlier_one() -> None:
    now = utc("2026-11-29T08:00:00")
    restart = SessionCalendar(TWO, ONE_PM, NEW_YORK).next_restart(now)
    assert restart is not None
    assert (restart[0].astimezone(UTC), restart[1]) == (utc("2026-11-29T18:00:00"), Kind.COLD_RESTART)
    later = SessionCalendar(TWO, ONE_PM, NEW_YORK).next_restart(restart[0])
    assert later is not None
    assert (later[0].astimezone(UTC), later[1]) == (utc("2026-11-30T07:00:00"), Kind.DAILY_RESTART)
    assert SessionCalendar(None, None, NEW_YORK).next_restart(now) is None


@pytest.mark.parametrize(
    ("daily", "cold", "lost"),
    [
        (TWO, ONE_PM, ["Sun 02:00"]),
        (time(0, 30), ONE_PM, []),
        (time(14), ONE_PM, []),
        (time(23), None, ["Sun 23:00"]),
        (time(1), ONE_PM, ["Sun 01:00"]),
    ],
)
def test_the_first_restart_after_the_end_of_the_session_does_not_keep_it(
    daily: time, cold: time | None, lost: list[str]
) -> None:
    calendar = SessionCalendar(daily, cold, NEW_YORK)
    # Weeks with both changes of the clock, and one without.
    for monday in ("2026-03-02T05:00:00", "2026-10-26T04:00:00", "2026-11-23T05:00:00"):
        week = calendar.between(utc(monday), utc(monday) + timedelta(days=7, hours=6))
        restarts = [occurrence.begin for occurrence in week if occurrence.kind is Kind.DAILY_RESTART]
        assert [f"{moment:%a %H:%M}" for moment in restarts if not calendar.keeps_session(moment)] == [
            # On 8 March 2026 there is no 2:00.
            "Sun 03:00" if each == "Sun 02:00" and monday.startswith("2026-03") else each
            for each in lost
        ]


@pytest.mark.parametrize(
    ("now", "end"),
    [
        ("2026-11-28T03:59:59", None),
        ("2026-11-28T04:00:00", "2026-11-28T08:00:00"),  # Friday 23:00 to Saturday 03:00
        ("2026-11-28T07:59:59", "2026-11-28T08:00:00"),
        ("2026-11-28T08:00:00", None),
        ("2026-11-25T04:45:00", "2026-11-25T05:45:00"),  # any other night: 23:45 to 00:45
        ("2026-07-04T03:00:00", "2026-07-04T07:00:00"),  # in summer time
    ],
)
def test_the_maintenance_of_ibkr_and_its_nightly_reset(now: str, end: str | None) -> None:
    assert maintenance_end(utc(now)) == (None if end is None else utc(end))


def test_a_week_in_its_order() -> None:
    week = SessionCalendar(TWO, ONE_PM, NEW_YORK).between(utc("2026-11-27T12:00:00"), utc("2026-11-30T12:00:00"))
    assert [
        (occurrence.kind.value, f"{occurrence.begin:%a %H:%M}", f"{occurrence.end:%a %H:%M}") for occurrence in week
    ] == [
        ("maintenance", "Fri 23:00", "Sat 03:00"),
        ("nightly_reset", "Fri 23:45", "Sat 00:45"),
        ("daily_restart", "Sat 02:00", "Sat 02:00"),
        ("nightly_reset", "Sat 23:45", "Sun 00:45"),
        ("session_end", "Sun 01:00", "Sun 01:00"),
        ("daily_restart", "Sun 02:00", "Sun 02:00"),
        ("cold_restart", "Sun 13:00", "Sun 13:00"),
        ("nightly_reset", "Sun 23:45", "Mon 00:45"),
        ("daily_restart", "Mon 02:00", "Mon 02:00"),
    ]


UTC_ZONE = ZoneInfo("UTC")
# Nuuk skips the hour before midnight, Lord Howe half an hour, Santiago and Cairo the hour after midnight.
NAMES = ("Asia/Tokyo", "Australia/Lord_Howe", "America/Nuuk", "America/Santiago", "Africa/Cairo", "Pacific/Kiritimati")
ZONES = [NEW_YORK, BERLIN, UTC_ZONE, *map(ZoneInfo, NAMES)]
THREE_YEARS = st.datetimes(datetime(2026, 1, 1), datetime(2029, 1, 1), timezones=st.just(UTC))
# The changes of the clock in New York and in Berlin, three years of them: half of all moments are near one.
CHANGES = [
    datetime(*day, 6, tzinfo=UTC)
    for day in (
        *((2026, 3, 8), (2026, 3, 29), (2026, 10, 25), (2026, 11, 1), (2027, 3, 14), (2027, 3, 28)),
        *((2027, 10, 31), (2027, 11, 7), (2028, 3, 12), (2028, 3, 26), (2028, 10, 29), (2028, 11, 5)),
    )
]
NEAR_A_CHANGE = st.builds(
    lambda change, minutes: change + timedelta(minutes=minutes), st.sampled_from(CHANGES), st.integers(-2880, 2880)
)
MOMENTS = st.one_of(THREE_YEARS, NEAR_A_CHANGE)
WALL_CLOCK = st.one_of(
    st.times().map(lambda at: at.replace(second=0, microsecond=0)), st.sampled_from([time(1, 30), TWO, time(2, 30)])
)
WEEKDAYS = st.one_of(st.none(), st.integers(0, 6))


def brute_force(recurrence: Recurrence, now: datetime) -> datetime:
    """The first of all moments around `now` that is later."""
    day = now.date()
    moments = [recurrence.on(day + timedelta(days=days)) for days in range(-3, 11)]
    return min(moment.astimezone(UTC) for moment in moments if moment is not None and moment.astimezone(UTC) > now)


def test_a_time_in_a_skipped_hour_before_midnight_comes_on_the_next_day() -> None:
    # In Nuuk the clock jumps from Saturday 23:00 to Sunday 0:00.
    saturday = Recurrence(time(23, 30), ZoneInfo("America/Nuuk"), 5)
    moment = utc("2027-03-28T01:30:00")
    assert saturday.next(moment - timedelta(days=1)).astimezone(UTC) == moment
    # Asked on that Sunday already, it is still to come.
    assert saturday.next(moment - timedelta(minutes=1)).astimezone(UTC) == moment
    assert saturday.next(moment).strftime("%A %H:%M") == "Saturday 23:30"


@given(MOMENTS, WALL_CLOCK, st.sampled_from(ZONES), WEEKDAYS)
def test_the_next_moment_leaves_none_out(now: datetime, at: time, zone: ZoneInfo, weekday: int | None) -> None:
    recurrence = Recurrence(at, zone, weekday)
    assert recurrence.next(now).astimezone(UTC) == brute_force(recurrence, now)


@given(st.dates(date(2026, 1, 1), date(2029, 1, 1)), WALL_CLOCK, st.sampled_from(ZONES))
def test_a_moment_shows_its_wall_clock_or_comes_after_the_gap(day: date, at: time, zone: ZoneInfo) -> None:
    moment = Recurrence(at, zone).on(day)
    assert moment is not None
    shown = moment.astimezone(zone)
    if (shown.date(), shown.time()) == (day, at):
        # The first, if there are two.
        assert shown.fold == 0
        return
    # Skipped: just before the gap the clock shows less, and from there on more.
    skipped = datetime.combine(day, at)
    gap = shown.replace(tzinfo=None) - skipped
    assert timedelta() < gap <= timedelta(hours=1)
    before = (moment.astimezone(UTC) - gap).astimezone(zone).replace(tzinfo=None)
    assert before < skipped


@given(MOMENTS, WALL_CLOCK, st.sampled_from(ZONES))
def test_the_next_full_login_is_the_first_sunday_at_its_hour(now: datetime, cold: time, zone: ZoneInfo) -> None:
    calendar = SessionCalendar(TWO, cold, zone)
    due = calendar.next_full_login(now)
    # A week may have a change of the clock in it.
    assert now < due.astimezone(UTC) <= now + timedelta(days=7, hours=1)
    local = due.astimezone(zone)
    sunday = (local - timedelta(hours=1)).date() if local.weekday() == 0 else local.date()
    assert sunday.weekday() == 6
    assert local.time() == cold or Recurrence(cold, zone).on(sunday) == due
    just_before = due.astimezone(UTC) - timedelta(microseconds=1)
    assert calendar.next_full_login(max(now, just_before)) == due


def test_events_between_two_moments_include_the_first_and_not_the_last() -> None:
    calendar = SessionCalendar(TWO, None, NEW_YORK)
    tuesday = datetime(2026, 11, 24, 2, tzinfo=NEW_YORK)
    found = calendar.between(tuesday, tuesday + timedelta(days=1))
    assert [each.begin for each in found if each.kind is Kind.DAILY_RESTART] == [tuesday]


@pytest.mark.parametrize("zone", ZONES, ids=lambda zone: zone.key)
def test_three_years_have_one_full_login_on_each_sunday(zone: ZoneInfo) -> None:
    first, last = datetime(2026, 1, 1, tzinfo=zone), datetime(2029, 1, 1, tzinfo=zone)
    occurrences = SessionCalendar(TWO, ONE_PM, zone).between(first, last)
    logins = [occurrence.begin for occurrence in occurrences if occurrence.kind is Kind.COLD_RESTART]
    sundays = [day for days in range(1096) if (day := date(2026, 1, 1) + timedelta(days=days)).weekday() == 6]
    assert [moment.date() for moment in logins] == sundays
    # 13:00 exists on every Sunday, whatever the clock has done in the night.
    assert {moment.time() for moment in logins} == {ONE_PM}
    ends = [occurrence.begin for occurrence in occurrences if occurrence.kind is Kind.SESSION_END]
    assert {(moment.weekday(), moment.time(), str(moment.tzinfo)) for moment in ends} == {
        (6, time(1), "America/New_York")
    }
    restarts = [occurrence.begin.date() for occurrence in occurrences if occurrence.kind is Kind.DAILY_RESTART]
    assert restarts == [date(2026, 1, 1) + timedelta(days=days) for days in range(1096)]
    windows = [occurrence for occurrence in occurrences if occurrence.kind is Kind.MAINTENANCE]
    assert {(f"{window.begin:%a %H:%M}", f"{window.end:%a %H:%M}") for window in windows} == {
        ("Fri 23:00", "Sat 03:00")
    }


@given(MOMENTS, MOMENTS, MOMENTS, WALL_CLOCK, st.sampled_from(ZONES))
def test_parts_of_a_calendar_are_the_whole(
    one: datetime, two: datetime, three: datetime, at: time, zone: ZoneInfo
) -> None:
    calendar = SessionCalendar(at, at, zone)
    first, middle, last = sorted([one, min(two, one + timedelta(days=20)), min(three, one + timedelta(days=20))])
    first, middle = max(first, last - timedelta(days=40)), max(middle, last - timedelta(days=40))
    parts = calendar.between(first, middle) + calendar.between(middle, last)
    assert parts == calendar.between(first, last)
    begins = [occurrence.begin.astimezone(UTC) for occurrence in parts]
    assert begins == sorted(begins)
    assert all(first <= begin < last for begin in begins)


@given(MOMENTS)
def test_without_an_hour_the_weeks_session_ends_at_one_in_new_york(now: datetime) -> None:
    local = SessionCalendar(TWO, None, BERLIN).next_full_login(now).astimezone(NEW_YORK)
    assert (local.weekday(), local.time()) == (6, time(1, 0))
