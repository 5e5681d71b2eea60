"""When the gateway restarts and when its session ends: pure reckoning with time zones.

All times in and out are aware datetimes. Wall clock times that a change to summer time skips or repeats are
taken as the time zone database does: the skipped one after the gap, the repeated one the first time.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
SESSION_END = time(1, 0)
"""Sundays about this time in New York IBKR ends the week's session; the next login is a full one, with 2FA."""

SUNDAY = 6
FRIDAY = 4

NIGHTLY_RESET = (time(23, 45), timedelta(hours=1))
"""IBKR resets its servers each night about this time in New York; gateways lose their link and get it back."""

WEEKLY_MAINTENANCE = (time(23, 0), timedelta(hours=4))
"""On Fridays about this time in New York IBKR takes its servers down for maintenance, until Saturday 3:00 AM."""

BEFORE = timedelta(minutes=2)
AFTER = timedelta(minutes=15)
"""The gateway may be away from so long before a planned restart until so long after it (exclusive)."""


def next_daily_restart(now: datetime, at: time, zone: ZoneInfo) -> datetime:
    """The next restart that keeps the session."""
    return _next(now, at, zone, None)


def next_cold_restart(now: datetime, at: time, zone: ZoneInfo) -> datetime:
    """The next Sunday's restart with a full login."""
    return _next(now, at, zone, SUNDAY)


def next_session_end(now: datetime) -> datetime:
    """The next end of the week's session."""
    return _next(now, SESSION_END, NEW_YORK, SUNDAY)


def next_full_login(now: datetime, cold: time | None, zone: ZoneInfo) -> datetime:
    """The next full login of the week: at the planned restart, or without one when the week's session ends."""
    return next_session_end(now) if cold is None else next_cold_restart(now, cold, zone)


def in_restart_window(now: datetime, daily: time | None, cold: time | None, zone: ZoneInfo) -> bool:
    """Whether a planned restart or the week's end explains that nothing answers at `now`."""
    # The next event after AFTER ago is one whose window is not over; what remains is whether the window has started.
    now = now.astimezone(UTC)
    earliest = now - AFTER
    moments = [next_session_end(earliest)]
    if daily is not None:
        moments.append(next_daily_restart(earliest, daily, zone))
    if cold is not None:
        moments.append(next_cold_restart(earliest, cold, zone))
    return any(moment.astimezone(UTC) - BEFORE <= now for moment in moments)


def maintenance_end(now: datetime) -> datetime | None:
    """When IBKR's present maintenance or nightly reset is over; None outside of them."""
    now = now.astimezone(UTC)
    ends = []
    for (start, duration), weekday in ((NIGHTLY_RESET, None), (WEEKLY_MAINTENANCE, FRIDAY)):
        began = _next(now - duration, start, NEW_YORK, weekday)
        if began.astimezone(UTC) <= now:
            ends.append(began.astimezone(UTC) + duration)
    return max(ends, default=None)


def next_restart(now: datetime, daily: time | None, cold: time | None, zone: ZoneInfo) -> datetime | None:
    """The next planned restart of either kind; None if none is planned."""
    moments = []
    if daily is not None:
        moments.append(next_daily_restart(now, daily, zone))
    if cold is not None:
        moments.append(next_cold_restart(now, cold, zone))
    return min(moments, default=None)


def _next(now: datetime, at: time, zone: ZoneInfo, weekday: int | None) -> datetime:
    day = now.astimezone(zone).date()
    while True:
        moment = datetime.combine(day, at, tzinfo=zone).astimezone(UTC).astimezone(zone)
        # Compared in UTC: within one zone Python compares wall clocks, which a change of the clock leads astray.
        if (weekday is None or day.weekday() == weekday) and moment.astimezone(UTC) > now.astimezone(UTC):
            return moment
        day += timedelta(days=1)
