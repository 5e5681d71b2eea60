"""Holidays and early closes, derived from the sessions of a market. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from position_manager.model import Hours

DAY = timedelta(days=1)
FORTNIGHT = timedelta(days=14)
"""Over fewer days than these, the days of the week on which a market trades are taken to be Monday to Friday."""

LEAST = 3
"""Without so many days nobody knows when a market usually closes."""

WEEKEND = 5


@dataclass(frozen=True)
class SpecialDay:
    """A day without a session, or one that closes earlier than others: at `closes`."""

    day: date
    closes: datetime | None


def special_days(sessions: Iterable[Hours], today: date) -> Iterator[SpecialDay]:
    """From `today` to the last day that the sessions cover, ascending. Days are those of the sessions' own zone; a
    session that lasts over midnight belongs to the day on which it ends."""
    closes: dict[date, datetime] = {}
    for session in sessions:
        day = session.end.date()
        closes[day] = max(closes.get(day, session.end), session.end, key=lambda end: end.timestamp())
    if not closes:
        return
    first, last = min(closes), max(closes)
    usual = {day.weekday() for day in closes} | (set(range(WEEKEND)) if last - first < FORTNIGHT else set())
    ((hour, count),) = Counter(end.time() for end in closes.values()).most_common(1)
    day = max(first, today)
    while day <= last:
        end = closes.get(day)
        if end is None and day.weekday() in usual:
            yield SpecialDay(day, None)
        elif end is not None and end.time() < hour and count >= LEAST:
            yield SpecialDay(day, end)
        day += DAY
