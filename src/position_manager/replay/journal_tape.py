"""The quotes that a journal holds, as a tape: what rules and gates evaluated for the closed units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from position_manager.journal import stored_instruments
from position_manager.journal.reader import JournalReader
from position_manager.journal.records import Record
from position_manager.model import Instrument, Position, Quote
from position_manager.refused import RefusedError
from position_manager.replay.tape import Tick

SQLITE = b"SQLite format 3\0"


def is_journal(path: Path) -> bool:
    """Whether a file is a database. An unreadable file is none; reading it as a tape reports the error."""
    try:
        with path.open("rb") as file:
            return file.read(len(SQLITE)) == SQLITE
    except OSError:
        return False


def read_journal(path: Path) -> tuple[dict[str, Position], tuple[Tick, ...]]:
    """The positions at the first decision about each, by label, and the quotes in their order.

    Raises JournalError if it cannot be read, RefusedError if no rule has ever fired in it.
    """
    with JournalReader(path) as journal:
        instruments = stored_instruments.read(journal)
        events = journal.events()
    positions: dict[str, Position] = {}
    ticks: dict[tuple[str, datetime], Tick] = {}
    for event in events:
        for position in _held(event, instruments):
            positions.setdefault(position.instrument.label, position)
        for label, quote in _quotes(event, instruments):
            ticks[label, quote.time] = Tick(label, quote)
    if not positions:
        raise RefusedError(f"{path}: no rule has fired in this journal, so it holds no quotes to replay.")
    known = (tick for tick in ticks.values() if tick.contract in positions)
    return positions, tuple(sorted(known, key=lambda tick: tick.quote.time))


def _held(event: Record, instruments: Mapping[int, Instrument]) -> Iterator[Position]:
    for leg in event.data.get("held", ()):
        instrument = instruments.get(leg["con_id"])
        if instrument is not None:
            quantity, average = Decimal(leg["quantity"]), Decimal(leg["average_price"])
            yield Position(event.account, instrument, quantity, average)


def _quotes(event: Record, instruments: Mapping[int, Instrument]) -> Iterator[tuple[str, Quote]]:
    for label, evidence in event.data.get("quotes", {}).items():
        yield label, _quote(evidence)
    instrument = instruments.get(event.con_id)
    if instrument is not None and event.data.get("quote"):
        yield instrument.label, _quote(event.data["quote"])


def _quote(evidence: Mapping[str, Any]) -> Quote:
    def number(name: str) -> Decimal | None:
        return None if evidence[name] is None else Decimal(evidence[name])

    return Quote(
        datetime.fromisoformat(evidence["time"]),
        number("bid"),
        number("ask"),
        number("last"),
        live=evidence["live"],
        delta=evidence["delta"],
        underlying=number("underlying"),
    )
