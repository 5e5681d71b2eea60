"""The profit through the day and of the last days, from the manager's day book."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from math import isfinite
from pathlib import Path
from typing import Any

from dashboard.document import Document

DAYS = 30
MOST_BYTES = 4 << 20
"""Of one day: a larger file is no day book of this program."""

Point = tuple[int, dict[str, float], dict[str, float] | None]
"""Seconds since 1970, the day's realised and open profit by currency, and what of it is realised, if that is known."""


def files(directory: Path) -> list[Path]:
    """One for each day, ascending. Raises OSError."""
    return sorted(directory.glob("????-??-??.jsonl"))[-DAYS:]


def revision(directory: Path) -> int:
    """A number that grows when a sample is added; 0 without any."""
    try:
        found = files(directory)
        return int(found[-1].stat().st_mtime) if found else 0
    except OSError:
        return 0


def curves(directory: Path) -> Document:
    """The latest day by minute, and the end of each day. What is damaged is left out. Raises OSError."""
    by_day = [(date.fromisoformat(file.stem), points(file)) for file in files(directory) if _is_day(file.stem)]
    by_day = [(day, found) for day, found in by_day if found]
    if not by_day:
        return {"days": {}}
    last_day, last = by_day[-1]
    return {
        "day": {"date": last_day.isoformat(), "currencies": _by_currency(last)},
        "days": _daily((day, *found[-1][1:]) for day, found in by_day),
    }


def points(file: Path) -> list[Point]:
    """The samples of a day in the order of time. Raises OSError."""
    with file.open("rb") as stream:
        return list(_parsed(stream.read(MOST_BYTES).splitlines()))


def _parsed(lines: Iterable[bytes]) -> Iterator[Point]:
    for line in filter(None, lines):
        try:
            sample: Any = json.loads(line)
            moment = datetime.fromisoformat(sample["time"])
            profit = _amounts(sample["profit"])
            realized = None if sample.get("realized") is None else _amounts(sample["realized"])
        except (ValueError, KeyError, TypeError, AttributeError):
            # A power cut has torn it.
            continue
        yield int(moment.timestamp()), profit, realized


def _amounts(found: Any) -> dict[str, float]:
    amounts = {str(currency): float(amount) for currency, amount in found.items()}
    if not all(map(isfinite, amounts.values())):
        raise ValueError("no amount of money")
    return amounts


def _by_currency(found: list[Point]) -> Document:
    currencies = sorted({currency for _, profit, _ in found for currency in profit})
    return {
        currency: [[at, round(profit[currency], 2)] for at, profit, _ in found if currency in profit]
        for currency in currencies
    }


def _daily(ends: Iterable[tuple[date, dict[str, float], dict[str, float] | None]]) -> Document:
    """The profit since the first day at the end of each one: realised on all days, and open on this one. An open profit
    is in the samples of each day that it lasts, so the samples themselves must not be added up."""
    found: Document = {}
    realized_before: dict[str, float] = {}
    for day, profit, realized in ends:
        if realized is None:
            continue
        for currency, amount in profit.items():
            rows = found.setdefault(currency, [])
            total = realized_before.get(currency, 0.0) + amount
            rows.append([day.isoformat(), round(total - (rows[-1][2] if rows else 0.0), 2), round(total, 2)])
        for currency, amount in realized.items():
            realized_before[currency] = realized_before.get(currency, 0.0) + amount
    return found


def _is_day(stem: str) -> bool:
    try:
        date.fromisoformat(stem)
    except ValueError:
        return False
    return True
