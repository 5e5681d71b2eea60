"""Values in the rows of a journal: how they are written, and what names a row that cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from position_manager.journal.errors import JournalError

_Value = TypeVar("_Value")

MOST_SHOWN = 60
"""Characters of a damaged value that are shown."""


@dataclass(frozen=True)
class Row:
    """A row that is read: what in it cannot be understood is named."""

    path: Path
    table: str
    which: str

    def read(self, column: str, value: Any, kind: Callable[[Any], _Value]) -> _Value:
        """Raises JournalError, naming table, row and column."""
        try:
            return kind(value)
        except (ValueError, ArithmeticError, TypeError) as error:
            shown = value if len(repr(value)) <= MOST_SHOWN else f"{str(value)[:MOST_SHOWN]}…"
            raise JournalError(
                f"journal {self.path}: a row is damaged: table {self.table}, {self.which}, column {column}: {shown!r}. "
                "Preserve the file, check open orders at the broker, then restore a copy or move it away."
            ) from error


def parse_number(text: str) -> Decimal:
    """Raises ValueError or ArithmeticError if it is no finite number."""
    number = Decimal(text)
    if not number.is_finite():
        raise ValueError(text)
    return number


def parse_time(text: str) -> datetime:
    """Raises ValueError if it is no time with a zone."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(text)
    return time


def time_text(time: datetime) -> str:
    """A time that sorts as text: UTC, always with microseconds."""
    if time.tzinfo is None:
        raise ValueError(f"{time} has no time zone")
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def plain_text(value: object) -> str:
    """What JSON has no form for, as text."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime):
        return time_text(value)
    raise TypeError(f"{type(value).__name__} cannot be written to the journal")
