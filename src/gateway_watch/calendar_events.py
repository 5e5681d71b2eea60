"""The calendar of one gateway for people: its events with what they mean for a person, from all sources. Pure."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from gateway_watch.login_gate import QuietHours
from gateway_watch.reminders import plan
from gateway_watch.session_calendar import AFTER, Kind, Occurrence, SessionCalendar

FULL_LOGIN = "full_login"
HOLIDAY = "holiday"
NIGHTLY = frozenset({Kind.NIGHTLY_RESET, Kind.DAILY_RESTART})

_TITLES = {
    Kind.NIGHTLY_RESET: "nightly reset of IBKR's servers",
    Kind.DAILY_RESTART: "daily restart, keeps the session",
    Kind.SESSION_END: "the week's session ends",
    Kind.COLD_RESTART: "the week's restart, with a full login",
    Kind.MAINTENANCE: "IBKR's weekly maintenance",
}
_NOTES = {
    Kind.NIGHTLY_RESET: "The gateway loses its connection for a while and reconnects by itself.",
    Kind.DAILY_RESTART: "No approval is needed.",
    Kind.SESSION_END: "The next login is a full one.",
    Kind.COLD_RESTART: "No approval is needed.",
    Kind.MAINTENANCE: "Logins can fail; the gateway tries again afterwards.",
}


_ENDED = "IBKR has ended the week's session before; whether it still continues it then, only a real account shows."


class HolidaysError(ValueError):
    """The list of holidays is not what `position-manager holidays --json` prints."""


@dataclass(frozen=True)
class Entry:
    """One event. `key` names it for ever within the gateway's calendar: a changed hour is the same event.

    `day`: an event of a whole day, then `begin` and `end` do not matter. `alarms`: when a phone reminds of it.
    """

    key: str
    title: str
    note: str
    begin: datetime
    end: datetime
    alarms: tuple[datetime, ...] = ()
    day: date | None = None


@dataclass(frozen=True)
class Holiday:
    """A day on which what is held does not trade, or closes early at `closes`."""

    day: date
    closes: datetime | None
    symbols: tuple[str, ...]
    source: str


def entries(
    calendar: SessionCalendar,
    begin: datetime,
    end: datetime,
    *,
    approvals: bool,
    quiet: QuietHours | None = None,
    nightly: bool = True,
    holidays: tuple[Holiday, ...] = (),
) -> list[Entry]:
    """All events from `begin` on and before `end`, ascending. `approvals`: the week's login needs a person's approval.
    Without `nightly` those of each night are left out."""
    found = [
        _entry(calendar, occurrence, quiet, approvals=approvals)
        for occurrence in calendar.between(begin, end)
        if nightly or occurrence.kind not in NIGHTLY
    ]
    first, last = begin.astimezone(calendar.zone).date(), end.astimezone(calendar.zone).date()
    found += _holidays([holiday for holiday in holidays if first <= holiday.day <= last], calendar.zone)
    return sorted(found, key=lambda entry: (entry.begin.astimezone(UTC), entry.key))


def parse_holidays(text: str) -> tuple[Holiday, ...]:
    """What `position-manager holidays --json` printed, or a list of several such outputs. Raises HolidaysError."""
    try:
        return tuple(_parsed(json.loads(text)))
    except (ValueError, TypeError, KeyError) as error:
        raise HolidaysError(f"not a list of position-manager holidays --json: {error!r}") from error


def _parsed(document: Any) -> Iterator[Holiday]:
    for value in document:
        if isinstance(value, list):
            yield from _parsed(value)
            continue
        closes = value["closes"]
        yield Holiday(
            date.fromisoformat(value["day"]),
            None if closes is None else datetime.fromisoformat(closes).astimezone(UTC),
            tuple(str(symbol) for symbol in value["symbols"]),
            str(value["source"]),
        )


def _entry(calendar: SessionCalendar, occurrence: Occurrence, quiet: QuietHours | None, *, approvals: bool) -> Entry:
    kind, begin = occurrence.kind, occurrence.begin
    full = kind is calendar.full_login
    key = f"{FULL_LOGIN if full else kind.value}-{occurrence.day:%Y%m%d}"
    end = occurrence.end if occurrence.end != begin else (begin.astimezone(UTC) + AFTER).astimezone(begin.tzinfo)
    if approvals and kind is Kind.DAILY_RESTART and not calendar.keeps_session(begin):
        return Entry(key, "daily restart, can need an approval", _ENDED, begin, end)
    if not (full and approvals):
        return Entry(key, _TITLES[kind], _NOTES[kind], begin, end)
    return Entry(
        key,
        "approve the login in IBKR Mobile",
        f"{_TITLES[kind].capitalize()}. If no request is on the phone: ansible-playbook approve-now.yml",
        begin,
        end,
        tuple(reminder.at for reminder in plan(begin, quiet)),
    )


def _holidays(holidays: Iterable[Holiday], zone: ZoneInfo) -> Iterator[Entry]:
    """One event for all that is closed on a day, and for all that closes early at the same time: what is held can
    change, and the event remains the same."""
    together: dict[tuple[date, datetime | None], list[Holiday]] = defaultdict(list)
    for holiday in holidays:
        together[holiday.day, holiday.closes].append(holiday)
    for (day, closes), found in together.items():
        names = ", ".join(sorted({symbol for holiday in found for symbol in holiday.symbols}))
        note = f"Known from: {', '.join(sorted({holiday.source for holiday in found}))}."
        key = f"{HOLIDAY}-{day:%Y%m%d}"
        if closes is None:
            midnight = datetime.combine(day, datetime.min.time(), UTC)
            yield Entry(key, f"exchange holiday: {names}", note, midnight, midnight + timedelta(days=1), day=day)
        else:
            close = closes.astimezone(zone)
            yield Entry(f"{key}-{closes:%H%M}", f"early close: {names}", note, close, close + AFTER)
