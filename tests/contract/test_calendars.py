"""Two libraries of exchange calendars, compared over two years; docs/libraries.md shows where they differ.

Both share parts of their history, so agreement proves little: only the broker's own hours are used where it has any.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import exchange_calendars  # type: ignore[import-untyped]  # it carries no types
import pandas_market_calendars  # type: ignore[import-untyped]  # nor does this
import pytest

FIRST, LAST = "2026-01-01", "2027-12-31"
EVE = "2026-12-24"
PAGE = Path(__file__).parents[2] / "docs/libraries.md"
# The exchanges of the simulator's catalogue: where its instruments trade, and the two libraries' names.
EXCHANGES = {
    "NYSE, NASDAQ, ARCA (stocks and their options)": ("XNYS", "NYSE"),
    "CBOE (index options)": ("XCBF", "CBOE_Index_Options"),
    "CME (ES)": ("CMES", "CME_Equity"),
    "IBIS (Xetra)": ("XETR", "EUREX"),
}
SHOWN = 4
"""So many days are named; of more, the number."""


def hours(schedule: Any, opens: str, closes: str) -> dict[date, tuple[Any, Any]]:
    return {day.date(): (row[opens], row[closes]) for day, row in schedule.iterrows()}


def first_library(name: str) -> dict[date, tuple[Any, Any]]:
    return hours(exchange_calendars.get_calendar(name, start=FIRST, end=LAST).schedule, "open", "close")


def second_library(name: str) -> dict[date, tuple[Any, Any]]:
    return hours(pandas_market_calendars.get_calendar(name).schedule(FIRST, LAST), "market_open", "market_close")


def named(days: list[date]) -> str:
    if not days:
        return "none"
    return ", ".join(map(str, days)) if len(days) <= SHOWN else f"{len(days)} days"


def differences() -> Iterator[str]:
    for exchange, (one, two) in EXCHANGES.items():
        ours, theirs = first_library(one), second_library(two)
        other = sorted(day for day in ours.keys() & theirs.keys() if ours[day] != theirs[day])
        only = sorted(ours.keys() - theirs.keys()), sorted(theirs.keys() - ours.keys())
        yield f"| {exchange} | `{one}` | `{two}` | {named(only[0])} | {named(only[1])} | {named(other)} |"


def christmas_eve() -> Iterator[str]:
    for exchange, (one, two) in EXCHANGES.items():
        zone = exchange_calendars.get_calendar(one, start=FIRST, end=LAST).tz
        closes = [
            library.get(date.fromisoformat(EVE), (None, None))[1]
            for library in (first_library(one), second_library(two))
        ]
        reported = ["closed" if moment is None else f"{moment.tz_convert(zone):%H:%M}" for moment in closes]
        yield f"| {exchange} | `{one}` | {reported[0]} | `{two}` | {reported[1]} | {zone.key} |"


@pytest.mark.parametrize("rows", [differences, christmas_eve], ids=lambda rows: str(rows.__name__))
def test_the_page_shows_what_the_libraries_state(rows: Any) -> None:
    text = PAGE.read_text()
    assert [row for row in rows() if row not in text] == []
