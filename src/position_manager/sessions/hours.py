"""Regular trading sessions: from the broker's text, and whether a moment is within them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Protocol
from zoneinfo import ZoneInfo

from position_manager.model import Hours, Instrument

# The broker names some zones by abbreviations that the zone database lacks or takes for a fixed offset.
_BROKER_ZONES = {
    "EST": "America/New_York",
    "EDT": "America/New_York",
    "CST": "America/Chicago",
    "CDT": "America/Chicago",
    "MST": "America/Denver",
    "PST": "America/Los_Angeles",
    "GMT": "Europe/London",
    "BST": "Europe/London",
    "MET": "Europe/Berlin",
    "JST": "Asia/Tokyo",
}


def zone_of(name: str) -> ZoneInfo:
    """The time zone that the broker means by ``US/Eastern``, ``EST`` or ``EST (Eastern Standard Time)``.

    Raises ValueError for a name that is not known.
    """
    word = name.strip().partition(" ")[0]
    try:
        return ZoneInfo(_BROKER_ZONES.get(word, word))
    except (ValueError, OSError, LookupError) as error:
        raise ValueError(f"time zone {name!r} is not known") from error


def exchange_zone(instrument: Instrument) -> ZoneInfo | None:
    """The zone in which the broker has reported the hours of a contract; None if it has reported none."""
    sessions = instrument.liquid_hours or instrument.trading_hours
    zone = sessions[-1].end.tzinfo if sessions else None
    return zone if isinstance(zone, ZoneInfo) else None


def is_past_expiry(instrument: Instrument, now: datetime, zone: ZoneInfo) -> bool:
    """Whether a contract's last trading day is over: from the evening of that day on, where its hours are known.
    Days are those of its exchange; of ``zone`` where that is not known."""
    expiry = instrument.expiry
    if expiry is None:
        return False
    zone = exchange_zone(instrument) or zone
    today = now.astimezone(zone).date()
    if today != expiry:
        return today > expiry
    sessions = instrument.liquid_hours or instrument.trading_hours
    ends = [hours.end for hours in sessions if hours.end.astimezone(zone).date() == expiry]
    return bool(ends) and now >= max(ends)


ROUND_THE_CLOCK = timedelta(minutes=1)
"""Sessions with a gap of at most this length belong together: one that ends at 23:59 continues at midnight."""


@lru_cache(maxsize=256)
def parse_liquid_hours(text: str, zone: ZoneInfo) -> tuple[Hours, ...]:
    """The sessions in ``20261123:0930-20261123:1600;20261124:CLOSED``, ascending, in the zone; trading hours are
    written alike.

    The end may lack its day, may be on another day, and may be 2400; a day may have several sessions after commas.
    Raises ValueError with the piece that is not understood. Contracts of one kind share the same text, so the
    result is cached once for all of them.
    """
    sessions = {
        _session(day, piece, zone)
        for day, pieces in (_day(part) for part in text.split(";") if part.strip())
        for piece in pieces
    }
    ascending = sorted(sessions, key=lambda hours: hours.begin)
    following = [hours.begin for hours in ascending[1:]]
    return (
        tuple(
            Hours(hours.begin, begin if timedelta() < _span(hours.end, begin) <= ROUND_THE_CLOCK else hours.end)
            for hours, begin in zip(ascending, [*following, ascending[-1].end], strict=True)
        )
        if ascending
        else ()
    )


def _span(begin: datetime, end: datetime) -> timedelta:
    """The time that truly passes: subtraction within one zone ignores a change to or from summer time."""
    return timedelta(seconds=end.timestamp() - begin.timestamp())


def _day(part: str) -> tuple[str, list[str]]:
    day, colon, rest = part.strip().partition(":")
    if not colon or not rest:
        raise ValueError(f"trading hours {part!r}: must be YYYYMMDD:HHMM-YYYYMMDD:HHMM or YYYYMMDD:CLOSED")
    return day, [] if rest == "CLOSED" else rest.split(",")


def _session(day: str, piece: str, zone: ZoneInfo) -> Hours:
    begin, _, end = piece.partition("-")
    try:
        first = _moment(begin if ":" in begin else f"{day}:{begin}", zone)
        last = _moment(end if ":" in end else f"{day}:{end}", zone)
    except ValueError as error:
        raise ValueError(f"trading hours {day}:{piece}: must be YYYYMMDD:HHMM-YYYYMMDD:HHMM") from error
    if first >= last:
        raise ValueError(f"trading hours {day}:{piece}: the end is not after the start")
    return Hours(first, last)


def _moment(text: str, zone: ZoneInfo) -> datetime:
    if len(text) != len("20261123:0930"):
        raise ValueError(text)
    if text.endswith(":2400"):
        return _moment(f"{text[:8]}:0000", zone) + timedelta(days=1)
    return datetime.strptime(text, "%Y%m%d:%H%M").replace(tzinfo=zone)


class RegularCalendar(Protocol):
    """Who knows the regular sessions of an instrument around a moment: ascending, empty if it knows none."""

    def sessions(self, instrument: Instrument, now: datetime) -> tuple[Hours, ...]: ...


class Calendar(RegularCalendar, Protocol):
    """Who knows those outside the regular hours too."""

    def trading(self, instrument: Instrument, now: datetime) -> tuple[Hours, ...]:
        """All sessions in which an order may trade; the regular ones if no others are known."""
        ...


def open_hours(calendar: Calendar, instrument: Instrument, now: datetime, *, outside_rth: bool) -> tuple[Hours, ...]:
    """The sessions in which an order trades that may trade ``outside_rth``, or may not."""
    return calendar.trading(instrument, now) if outside_rth else calendar.sessions(instrument, now)


class BrokerCalendar:
    """The broker's sessions as long as they reach beyond the moment, then the fallback's, if there is one."""

    def __init__(self, fallback: RegularCalendar | None = None) -> None:
        self._fallback = fallback

    def sessions(self, instrument: Instrument, now: datetime) -> tuple[Hours, ...]:
        reported = instrument.liquid_hours
        if reported and now < reported[-1].end:
            return reported
        return () if self._fallback is None else self._fallback.sessions(instrument, now)

    def trading(self, instrument: Instrument, now: datetime) -> tuple[Hours, ...]:
        reported = instrument.trading_hours
        return reported if reported and now < reported[-1].end else self.sessions(instrument, now)


def session_at(sessions: Iterable[Hours], now: datetime) -> Hours | None:
    """The session that is open."""
    return next((hours for hours in sessions if hours.begin <= now < hours.end), None)


def is_open(sessions: Iterable[Hours], now: datetime) -> bool:
    """Whether one of the sessions is open."""
    return session_at(sessions, now) is not None


def next_open(sessions: Iterable[Hours], now: datetime) -> datetime | None:
    """When the next session starts."""
    return min((hours.begin for hours in sessions if hours.begin > now), default=None)


def day_close(sessions: Iterable[Hours], now: datetime) -> datetime | None:
    """The end of the day's last session, while one is open: a break at noon is no close. A day is that of the ends'
    own zone. None while closed."""
    sessions = tuple(sessions)
    current = session_at(sessions, now)
    if current is None:
        return None
    return max(hours.end for hours in sessions if hours.end.date() == current.end.date())


def common(sessions: Iterable[tuple[Hours, ...]]) -> tuple[Hours, ...]:
    """The stretches in which all of several instruments trade, ascending; empty if one of them is not known."""
    every = list(sessions)
    if len(every) == 1:
        return every[0]
    shared = every[0] if every else ()
    for other in every[1:]:
        shared = tuple(
            Hours(max(one.begin, two.begin), min(one.end, two.end))
            for one in shared
            for two in other
            if max(one.begin, two.begin) < min(one.end, two.end)
        )
    return tuple(sorted(shared, key=lambda hours: hours.begin))


EARLY_CLOSE = timedelta(minutes=15)
"""How long before an early close the rule fires, if the session ends before the time that the rule names."""
