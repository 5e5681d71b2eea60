"""The calendar of a gateway as an iCalendar file (RFC 5545) for a phone.

All moments are written in UTC, so that no program has to know a time zone or its changes of the clock; a phone shows
them in its own zone. Each event has the same UID whenever it is written: an import again updates it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from icalendar import Alarm, Calendar, Event

from gateway_watch.calendar_events import Entry

PRODUCT = "-//ib-gateway-ansible//gateway-watch//EN"
_NO_WORD = re.compile(r"[^A-Za-z0-9.-]+")
_MINUTE = timedelta(minutes=1)


def to_ical(name: str, host: str, entries: Sequence[Entry], now: datetime) -> bytes:
    """The file of the gateway `name` on `host`."""
    calendar = Calendar()
    calendar.add("prodid", PRODUCT)
    calendar.add("version", "2.0")
    calendar.add("method", "PUBLISH")
    calendar.add("x-wr-calname", f"{name} ({host})")
    for entry in entries:
        calendar.add_component(_event(name, host, entry, now))
    return bytes(calendar.to_ical())


def _event(name: str, host: str, entry: Entry, now: datetime) -> Event:
    event = Event()
    event.add("uid", _NO_WORD.sub("-", f"{entry.key}.{name}") + "@" + _NO_WORD.sub("-", host))
    event.add("dtstamp", now.astimezone(UTC).replace(microsecond=0))
    # A later file replaces an earlier one, whatever has changed.
    event.add("sequence", int(now.timestamp() / _MINUTE.total_seconds()))
    event.add("summary", f"{name}: {entry.title}")
    event.add("description", entry.note)
    # None of it makes a person busy.
    event.add("transp", "TRANSPARENT")
    if entry.day is not None:
        event.add("dtstart", entry.day)
        event.add("dtend", entry.day + timedelta(days=1))
        return event
    event.add("dtstart", entry.begin.astimezone(UTC))
    event.add("dtend", entry.end.astimezone(UTC))
    for alarm in entry.alarms:
        event.add_component(_alarm(name, entry, alarm - entry.begin.astimezone(UTC)))
    return event


def _alarm(name: str, entry: Entry, trigger: timedelta) -> Alarm:
    alarm = Alarm()
    alarm.add("action", "DISPLAY")
    alarm.add("description", f"{name}: {entry.title}")
    alarm.add("trigger", trigger)
    return alarm
