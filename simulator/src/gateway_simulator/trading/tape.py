"""A recorded tape: what the market of some contracts was, read from a CSV file.

The first line names the columns: ``time`` and ``name``, and any of ``bid``, ``ask``, ``last``, ``bid_size``,
``ask_size``, ``last_size`` and ``halted``, in any order::

    time,name,bid,ask,last,bid_size,ask_size,last_size,halted
    0,AAPL,189.20,189.24,189.22,300,500,100,0
    1.5,AAPL,189.10,189.15,189.10,,,,
    2,AAPL 261204C00190000,3.40,3.55,,,,,
    3,AAPL,none,none,,,,,1

``time`` is in seconds from the simulator's start, or an ISO 8601 date and time with its zone
(``2026-11-23T14:30:00Z``), one kind in a file; it never goes back. ``name`` is a symbol, a local symbol or a contract
id. A row stands until the contract's next row. An empty cell keeps what the row before said; a price that no row has
said yet is derived from the others. ``none`` means that there is no such price. ``halted`` is 0, 1 (halted) or 2
(halted for its volatility). Lines that are empty or begin with # are left out.

Before its first row, a contract moves as without a tape; after its last row that row stands.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path

from gateway_simulator.trading.model import Halted

PRICES = ("bid", "ask", "last")
SIZES = ("bid_size", "ask_size", "last_size")
COLUMNS = ("time", "name", *PRICES, *SIZES, "halted")
NO_PRICE = "none"


class TapeError(ValueError):
    """A tape that cannot be replayed: file, line and column, what is wrong with it and what to do."""


@dataclass(frozen=True)
class TapeRow:
    """What stands for a contract from a moment on: the prices and sizes said so far (None: there is no such price)."""

    line: int
    time: timedelta | datetime
    name: str
    prices: Mapping[str, Decimal | None]
    sizes: Mapping[str, Decimal]
    halted: Halted


@dataclass(frozen=True)
class Tape:
    """A tape's rows in order of time; ``source`` names it in errors."""

    source: str
    rows: tuple[TapeRow, ...]

    @classmethod
    def load(cls, path: Path | str) -> Tape:
        """Read a tape from a file in UTF-8. Raises TapeError."""
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise TapeError(f"tape {path}: cannot be read: {error}") from error
        return cls.read(str(path), text.splitlines())

    @classmethod
    def read(cls, source: str, lines: Iterable[str]) -> Tape:
        """Read a tape from lines of text. Raises TapeError."""
        return cls(source, tuple(_Reader(source).rows(lines)))

    @property
    def is_relative(self) -> bool:
        """Tell whether times are counted from the simulator's start."""
        return bool(self.rows) and isinstance(self.rows[0].time, timedelta)


class _Reader:
    """Reads one tape, and keeps what each contract's rows have said so far."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._line = 0
        self._prices: dict[str, dict[str, Decimal | None]] = {}
        self._sizes: dict[str, dict[str, Decimal]] = {}
        self._halted: dict[str, Halted] = {}

    def rows(self, lines: Iterable[str]) -> list[TapeRow]:
        columns: list[str] = []
        rows: list[TapeRow] = []
        for self._line, text in enumerate(lines, start=1):
            if not text.strip() or text.lstrip().startswith("#"):
                continue
            cells = [each.strip() for each in next(csv.reader([text]))]
            if not columns:
                columns = self._header(cells)
                continue
            if len(cells) != len(columns):
                raise self._error("", f"has {len(cells)} cells; the header names {len(columns)} columns")
            row = self._row(dict(zip(columns, cells, strict=True)))
            self._check_order(rows[-1] if rows else None, row)
            rows.append(row)
        if not columns:
            raise TapeError(f"tape {self._source}: is empty; its first line must name the columns {', '.join(COLUMNS)}")
        return rows

    def _header(self, cells: list[str]) -> list[str]:
        columns = [each.lower() for each in cells]
        for each in columns:
            if each not in COLUMNS:
                raise self._error(each, f"no such column; there are {', '.join(COLUMNS)}")
            if columns.count(each) > 1:
                raise self._error(each, "is there twice; keep one")
        for each in ("time", "name"):
            if each not in columns:
                raise self._error(each, "is missing; the first line must name it")
        return columns

    def _row(self, cells: dict[str, str]) -> TapeRow:
        name = cells["name"].upper()
        if not name:
            raise self._error("name", "is empty; give a symbol, a local symbol or a contract id")
        prices = self._prices.setdefault(name, {})
        sizes = self._sizes.setdefault(name, {})
        for column in PRICES:
            if cells.get(column):
                none = cells[column].lower() == NO_PRICE
                prices[column] = None if none else self._number(column, cells[column], least_exclusive=True)
        for column in SIZES:
            if cells.get(column):
                sizes[column] = self._number(column, cells[column], least_exclusive=False)
        bid, ask = prices.get("bid"), prices.get("ask")
        if bid is not None and ask is not None and bid > ask:
            raise self._error("bid", f"{bid} is above the ask {ask}; swap them or mend one")
        halted = cells.get("halted", "")
        if halted:
            if halted not in ("0", "1", "2"):
                raise self._error("halted", f"{halted!r} must be 0, 1 or 2")
            self._halted[name] = Halted(int(halted))
        return TapeRow(
            self._line, self._time(cells["time"]), name, dict(prices), dict(sizes), self._halted.get(name, Halted.NO)
        )

    def _number(self, column: str, text: str, *, least_exclusive: bool) -> Decimal:
        try:
            number = Decimal(text)
        except InvalidOperation:
            number = Decimal("NaN")
        if not number.is_finite() or number < 0 or (least_exclusive and number == 0):
            wanted = f"a number above 0, or {NO_PRICE}" if least_exclusive else "a number of 0 or more"
            raise self._error(column, f"{text!r} must be {wanted}")
        return number

    def _time(self, text: str) -> timedelta | datetime:
        try:
            seconds = float(text)
        except ValueError:
            try:
                moment = datetime.fromisoformat(text)
            except ValueError:
                raise self._error(
                    "time", f"{text!r} must be seconds or a date and time like 2026-11-23T14:30:00Z"
                ) from None
            if moment.tzinfo is None:
                raise self._error("time", f"{text!r} has no zone; add Z or +HH:MM") from None
            return moment
        if not 0 <= seconds < 1e9:
            raise self._error("time", f"{text!r} must be 0 or more seconds")
        return timedelta(seconds=seconds)

    def _check_order(self, before: TapeRow | None, row: TapeRow) -> None:
        if before is None:
            return
        if isinstance(before.time, timedelta) != isinstance(row.time, timedelta):
            raise self._error(
                "time", f"is of another kind than in line {before.line}; write seconds or dates in all rows"
            )
        if _seconds(row.time) < _seconds(before.time):
            raise self._error("time", f"goes back before line {before.line}; sort the rows by time")

    def _error(self, column: str, text: str) -> TapeError:
        place = f", column {column}" if column else ""
        return TapeError(f"tape {self._source}, line {self._line}{place}: {text}")


def _seconds(moment: timedelta | datetime) -> float:
    return moment.total_seconds() if isinstance(moment, timedelta) else moment.timestamp()
