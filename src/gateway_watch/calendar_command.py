"""`gateway-watch calendar`: collects what the calendar of a gateway depends on, and writes it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TextIO

from gateway_watch import moments
from gateway_watch.calendar_events import Entry, HolidaysError, entries, parse_holidays
from gateway_watch.instance import Instance
from gateway_watch.run_files import remembered_session

__all__ = ["HolidaysError", "run"]

DAY = timedelta(days=1)


def run(
    instance: Instance, now: datetime, *, weeks: int, nightly: bool, holidays: TextIO | None, host: str | None
) -> bytes:
    """The calendar from `now` on as a list, or for a `host` as an iCalendar file from the start of this week on, so
    that the file of a week is the same on each of its days. Raises HolidaysError."""
    twofa = remembered_session(instance).twofa
    begin = now if host is None else _monday(now, instance)
    found = entries(
        instance.calendar,
        begin,
        begin + 7 * DAY * weeks,
        # Before the first login nobody knows; one alarm too many is better than one too few.
        approvals=twofa is True or (twofa is None and not instance.totp),
        quiet=instance.reminder_quiet_hours,
        nightly=nightly,
        holidays=parse_holidays(holidays.read()) if holidays is not None else (),
    )
    if host is None:
        return (to_text(instance.name, found, now) + "\n").encode()
    # Imported here: only the file needs its library.
    from gateway_watch import calendar_file

    return calendar_file.to_ical(instance.name, host, found, now)


def _monday(now: datetime, instance: Instance) -> datetime:
    local = now.astimezone(instance.timezone)
    monday = local.date() - local.weekday() * DAY
    return datetime.combine(monday, datetime.min.time(), instance.timezone).astimezone(UTC)


def to_text(name: str, entries: Sequence[Entry], now: datetime) -> str:
    """One event a line."""
    lines = [f"{name}: the next events, in their own time zones"]
    for entry in entries:
        if entry.day is not None:
            when = f"{entry.day:%a %Y-%m-%d}"
        else:
            left = (entry.begin - now).total_seconds()
            when = f"{entry.begin:%a %Y-%m-%d %H:%M %Z}" + (f", in {moments.span(left)}" if left > 0 else ", now")
        lines.append(f"{when:<39} {entry.title}")
    return "\n".join(lines)
