"""Recorded quotes to try rules on: a CSV file of quotes, and a YAML file of the positions they are for."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from position_manager.config.errors import ConfigError, Fault, fault_of, read_document
from position_manager.config.sim import SimPosition
from position_manager.model import ZERO, Instrument, Kind, Position, Quote
from position_manager.rules.rule_set import Positive, Section

COLUMNS = ("time", "contract", "bid", "ask", "last", "delta", "underlying")
ACCOUNT = "DU0000000"
"""The account that the positions of a tape are in; no broker is asked about it."""


class TapePosition(SimPosition):
    """A position as in the simulated account, with the ``name`` that the tape calls its contract by."""

    name: Annotated[str, Field(min_length=1, max_length=60)]
    average_price: Positive


class TapePositions(Section):
    """The file of positions."""

    positions: Annotated[tuple[TapePosition, ...], Field(min_length=1)]


@dataclass(frozen=True)
class Tick:
    """One line of a tape."""

    contract: str
    quote: Quote


def read_positions(path: Path) -> dict[str, Position]:
    """The positions by the names that the tape uses. Raises ConfigError with every fault."""
    document = read_document(path)
    if document.faults:
        raise ConfigError(path, document.faults)
    try:
        listed = TapePositions.model_validate(document.values).positions
    except ValidationError as error:
        raise ConfigError(path, [fault_of(e, document, TapePositions) for e in error.errors()]) from error
    found: dict[str, Position] = {}
    for index, one in enumerate(listed):
        if one.name in found:
            raise ConfigError(path, [document.fault(("positions", index, "name"), f"{one.name!r} is given twice")])
        if one.kind is not Kind.STOCK and one.expiry is None:
            raise ConfigError(path, [document.fault(("positions", index), "must have an expiry")])
        instrument = Instrument(
            index + 1, one.symbol, one.kind, one.size, expiry=one.expiry, strike=one.strike or ZERO, right=one.right
        )
        found[one.name] = Position(ACCOUNT, instrument, Decimal(one.quantity), one.average_price)
    return found


def read_tape(path: Path, contracts: Mapping[str, object]) -> tuple[Tick, ...]:
    """The quotes in their order. ``contracts``: the names that are known. Raises ConfigError for the first bad line."""
    try:
        rows = csv.reader(path.read_text(encoding="utf-8").splitlines())
        if tuple(cell.strip() for cell in next(rows, [])) != COLUMNS:
            raise _bad(path, 1, "header", f"must be {','.join(COLUMNS)}")
        ticks: list[Tick] = []
        for row in rows:
            if row:
                tick = _tick(path, rows.line_num, row, contracts)
                if ticks and tick.quote.time < ticks[-1].quote.time:
                    raise _bad(path, rows.line_num, "time", "is before that of the line above; sort by time")
                ticks.append(tick)
    except OSError as error:
        raise _bad(path, 1, "the whole file", f"cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise _bad(path, 1, "the whole file", "is no CSV file in UTF-8") from error
    if not ticks:
        raise _bad(path, 1, "the whole file", "has no quotes: one a line below the header")
    return tuple(ticks)


def _bad(path: Path, line: int, column: str, text: str) -> ConfigError:
    return ConfigError(path, [Fault(line, column, text)])


def _tick(path: Path, line: int, row: list[str], contracts: Mapping[str, object]) -> Tick:
    if len(row) != len(COLUMNS):
        raise _bad(path, line, "the line", f"has {len(row)} cells, must have {len(COLUMNS)}: {','.join(COLUMNS)}")
    cells = dict(zip(COLUMNS, (cell.strip() for cell in row), strict=True))
    time = _time(path, line, cells["time"])
    if cells["contract"] not in contracts:
        known = ", ".join(contracts)
        raise _bad(path, line, "contract", f"{cells['contract']!r} is not among the positions: {known}")
    numbers = {name: _number(path, line, name, cells[name]) for name in COLUMNS[2:]}
    delta = numbers["delta"]
    quote = Quote(
        time,
        numbers["bid"],
        numbers["ask"],
        numbers["last"],
        delta=None if delta is None else float(delta),
        underlying=numbers["underlying"],
    )
    return Tick(cells["contract"], quote)


def _time(path: Path, line: int, text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = datetime.min
    if time.tzinfo is None:
        raise _bad(path, line, "time", f"must be like 2026-11-23T10:00:00-05:00, with the zone; it is {text!r}")
    return time


def _number(path: Path, line: int, name: str, text: str) -> Decimal | None:
    if not text:
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if name == "delta":
        if not (number.is_finite() and -1 <= number <= 1):
            raise _bad(path, line, name, f"must be a number from -1 to 1, or empty; it is {text!r}")
    elif not number.is_finite() or number < 0:
        raise _bad(path, line, name, f"must be a number from 0 on, or empty; it is {text!r}")
    return number
