"""Instruments in the journal: what has expired or was closed is no longer shown by the broker, and still has a name."""

from __future__ import annotations

from dataclasses import replace

from pydantic import TypeAdapter, ValidationError

from position_manager.journal import Journal, JournalReader
from position_manager.model import Instrument

_NAME = "instrument"
_INSTRUMENTS = TypeAdapter(Instrument)


def keep(journal: Journal, instrument: Instrument) -> None:
    """Without its hours, which are of a day. Raises JournalError."""
    kept = _INSTRUMENTS.dump_json(replace(instrument, liquid_hours=())).decode()
    journal.remember("", instrument.con_id, _NAME, kept)


def read(journal: JournalReader) -> dict[int, Instrument]:
    """All, by contract id. Raises JournalError."""
    found = {}
    for (_, con_id, name), data in journal.memory().items():
        if name == _NAME:
            try:
                found[con_id] = _INSTRUMENTS.validate_json(data)
            except ValidationError:
                # It was written by another release; the contract then goes by its number.
                continue
    return found
