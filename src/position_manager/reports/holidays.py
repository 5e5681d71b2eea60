"""The next holidays and early closes of what is held, for a calendar. From the journal, without the service.

The broker's own hours of each contract come first, as far as they reach; after them the fallback calendar of the
configuration, if there is one, whose library is loaded in a process of its own.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from position_manager.journal import stored_instruments
from position_manager.journal.reader import JournalReader
from position_manager.model import Hours
from position_manager.sessions.fallback_calendar import Answer, ask
from position_manager.sessions.special_days import SpecialDay, special_days

BROKER = "broker"
MARGIN = timedelta(days=7)


@dataclass(frozen=True)
class Holiday:
    """A special day of some underlyings; `source` is ``broker``, or the name of the calendar."""

    special: SpecialDay
    symbols: tuple[str, ...]
    source: str

    def to_json(self) -> dict[str, Any]:
        closes = self.special.closes
        return {
            "day": f"{self.special.day}",
            "closes": None if closes is None else closes.isoformat(),
            "symbols": list(self.symbols),
            "source": self.source,
        }

    def line(self) -> str:
        closes = self.special.closes
        what = "closed" if closes is None else f"closes at {closes:%H:%M} (UTC{closes:%z})"
        return f"{self.special.day:%a %Y-%m-%d} {what}: {', '.join(self.symbols)} ({self.source})"


def read(reader: JournalReader, calendar: str | None, today: date, days: int) -> list[Holiday]:
    """The special days of the next `days`. Raises JournalError, and CalendarError for a calendar that is not there."""
    known, hours = stored_instruments.read(reader), stored_instruments.last_hours(reader)
    held = {con_id for (_, con_id), holding in reader.holdings().items() if holding.quantity}
    sessions: dict[str, tuple[Hours, ...]] = {}
    for con_id in sorted(held & known.keys()):
        symbol = known[con_id].symbol
        # Of several contracts on one underlying, the one whose hours reach furthest.
        sessions[symbol] = max(sessions.get(symbol, ()), hours.get(con_id, ()), key=_reach)
    last = today + timedelta(days=days)
    answer = None
    if calendar is not None and sessions:
        # More on both sides: the first and the last of the asked days can be a holiday.
        answer = asyncio.run(ask(calendar, today - MARGIN, last + MARGIN))
    return together(sessions, answer, calendar, today, last)


def together(
    sessions: Mapping[str, tuple[Hours, ...]], answer: Answer | None, calendar: str | None, today: date, last: date
) -> list[Holiday]:
    """Special days by underlying, those on the same day together, ascending. `answer`: the sessions of `calendar`."""
    symbols: dict[tuple[SpecialDay, str], list[str]] = defaultdict(list)
    beyond = list(special_days(answer.hours, today)) if answer is not None else []
    for symbol, hours in sessions.items():
        for special in special_days(hours, today):
            symbols[special, BROKER].append(symbol)
        until = max((session.end.date() for session in hours), default=today - timedelta(days=1))
        for special in beyond:
            if special.day > until:
                symbols[special, calendar or ""].append(symbol)
    found = [Holiday(special, tuple(sorted(names)), source) for (special, source), names in symbols.items()]
    return sorted(
        (holiday for holiday in found if holiday.special.day <= last),
        key=lambda holiday: (holiday.special.day, holiday.source != BROKER, holiday.symbols),
    )


def _reach(hours: tuple[Hours, ...]) -> float:
    return hours[-1].end.timestamp() if hours else 0.0
