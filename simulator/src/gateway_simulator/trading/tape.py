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
id. A row is valid until the contract's next row. An empty cell repeats the row before; a price that no row has
given yet is derived from the others. ``none`` means that there is no such price. ``halted`` is 0, 1 (halted) or 2
(halted for its volatility). Lines that are empty or start with # are skipped.

A recorded option chain has ``symbol``, ``expiry``, ``strike`` and ``right`` in place of ``name``, and ``class`` where a
symbol has options of several (the last ones are left empty for the underlying itself)::

    time,symbol,expiry,strike,right,bid,ask,last
    2026-11-23T15:00:00Z,AAPL,,,,189.20,189.24,189.22
    2026-11-23T15:00:00Z,AAPL,20261204,187.5,C,4.10,4.25,4.15
    2026-11-23T15:00:00Z,AAPL,2026-12-04,150,P,0,0.01,

``expiry`` is YYYYMMDD or YYYY-MM-DD, ``right`` C, P, CALL or PUT; a bid of 0 means that there is none. An expiry or a
strike that the catalog does not list is listed with the first row that has it.

Before its first row, a contract moves as without a tape; after its last row that row remains valid.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path

from gateway_simulator.trading.model import Halted

PRICES = ("bid", "ask", "last")
SIZES = ("bid_size", "ask_size", "last_size")
OPTION = ("expiry", "strike", "right")
COLUMNS = ("time", "name", *PRICES, *SIZES, "halted", "symbol", *OPTION, "class")
RIGHTS = {"C": "C", "CALL": "C", "P": "P", "PUT": "P"}
NO_PRICE = "none"
DATE = re.compile(r"\d{8}|\d{4}-\d\d-\d\d", re.ASCII)
ZERO_PRICE = re.compile(r"0+(\.0*)?|\.0+")


class TapeError(ValueError):
    """A tape that cannot be replayed: file, line and column, what is wrong with it and what to do."""


@dataclass(frozen=True)
class TapedOption:
    """An option as a row of a recorded chain names it; ``trading_class`` is empty where the row has none."""

    symbol: str
    expiry: date
    strike: Decimal
    right: str
    trading_class: str = ""

    def __str__(self) -> str:
        own = f"{self.symbol} {self.expiry:%Y%m%d} {self.strike.normalize():f} {self.right}"
        return f"{own} {self.trading_class}".rstrip()


@dataclass(frozen=True)
class TapeRow:
    """What is valid for a contract from a moment on: prices and sizes given so far (None: there is no such price)."""

    line: int
    time: timedelta | datetime
    name: str
    prices: Mapping[str, Decimal | None]
    sizes: Mapping[str, Decimal]
    halted: Halted
    option: TapedOption | None = None


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
        """Return whether times are counted from the simulator's start."""
        return bool(self.rows) and isinstance(self.rows[0].time, timedelta)


class _Reader:
    """Reads one tape, and stores what each contract's rows have given so far."""

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
                raise self._error(each, "is there twice; remove one")
        if "time" not in columns:
            raise self._error("time", "is missing; the first line must name it")
        if "name" not in columns and "symbol" not in columns:
            raise self._error("name", "is missing; the first line must name it, or the column symbol")
        missing = [each for each in OPTION if each not in columns]
        if 0 < len(missing) < len(OPTION) or ("symbol" not in columns and len(missing) < len(OPTION)):
            raise self._error(
                (missing or ["symbol"])[0], "is missing; an option has the columns symbol, expiry, strike and right"
            )
        return columns

    def _row(self, cells: dict[str, str]) -> TapeRow:
        option = self._option(cells)
        name = str(option) if option is not None else self._name(cells)
        prices = self._prices.setdefault(name, {})
        sizes = self._sizes.setdefault(name, {})
        for column in PRICES:
            if cells.get(column):
                none = cells[column].lower() == NO_PRICE or (
                    option is not None and column == "bid" and ZERO_PRICE.fullmatch(cells[column]) is not None
                )
                prices[column] = None if none else self._number(column, cells[column], least_exclusive=True)
        for column in SIZES:
            if cells.get(column):
                sizes[column] = self._number(column, cells[column], least_exclusive=False)
        bid, ask = prices.get("bid"), prices.get("ask")
        if bid is not None and ask is not None and bid > ask:
            raise self._error("bid", f"{bid} is above the ask {ask}; swap them or correct one")
        halted = cells.get("halted", "")
        if halted:
            if halted not in ("0", "1", "2"):
                raise self._error("halted", f"{halted!r} must be 0, 1 or 2")
            self._halted[name] = Halted(int(halted))
        return TapeRow(
            self._line,
            self._time(cells["time"]),
            name,
            dict(prices),
            dict(sizes),
            self._halted.get(name, Halted.NO),
            option,
        )

    def _name(self, cells: dict[str, str]) -> str:
        name, symbol = cells.get("name", "").upper(), cells.get("symbol", "").upper()
        if name and symbol:
            raise self._error("symbol", "is given beside a name; leave one of them empty")
        if not name and not symbol:
            column = "name" if "name" in cells else "symbol"
            raise self._error(column, "is empty; give a symbol, a local symbol or a contract id")
        return name or symbol

    def _option(self, cells: dict[str, str]) -> TapedOption | None:
        """The option that a row of a chain is about; None for a row of anything else."""
        given = [column for column in OPTION if cells.get(column)]
        if not given:
            return None
        for column in ("symbol", *OPTION):
            if not cells.get(column):
                raise self._error(column, "is empty; an option has a symbol, an expiry, a strike and a right")
        if cells.get("name"):
            raise self._error("name", "is given beside an option's symbol; leave one of them empty")
        expiry = _date(cells["expiry"])
        if expiry is None:
            raise self._error("expiry", f"{cells['expiry']!r} must be a date like 20261204 or 2026-12-04")
        right = RIGHTS.get(cells["right"].upper())
        if right is None:
            raise self._error("right", f"{cells['right']!r} must be C, P, CALL or PUT")
        strike = self._number("strike", cells["strike"], least_exclusive=True)
        return TapedOption(cells["symbol"].upper(), expiry, strike, right, cells.get("class", "").upper())

    def _number(self, column: str, text: str, *, least_exclusive: bool) -> Decimal:
        try:
            number = Decimal(text)
        except InvalidOperation:
            number = Decimal("NaN")
        if not number.is_finite() or number < 0 or (least_exclusive and number == 0):
            above = "a number above 0" if column == "strike" else f"a number above 0, or {NO_PRICE}"
            wanted = above if least_exclusive else "a number of 0 or more"
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


def _date(text: str) -> date | None:
    """Read a date; None for anything else, a date with fewer digits included: it could be another one."""
    if not DATE.fullmatch(text):
        return None
    try:
        return datetime.strptime(text.replace("-", ""), "%Y%m%d").date()
    except ValueError:
        return None
