"""Instruments in the journal: what has expired or was closed is no longer shown by the broker, and still has a name;
details of what is held need not be requested again after a restart before anything can be done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, TypeAdapter, ValidationError

from position_manager.journal.journal import Journal
from position_manager.journal.reader import JournalReader
from position_manager.model import Hours, Instrument

_T = TypeVar("_T")
_NAME = "instrument"
_HOURS = "hours"


@dataclass(frozen=True)
class _ReportedHours:
    """Regular sessions, all in which orders trade, and when the broker reported them."""

    told: datetime
    hours: tuple[Hours, ...]
    trading: tuple[Hours, ...] = ()


@dataclass(frozen=True)
class _Stored:
    """An instrument, and whether its magnifier was stored with it."""

    instrument: Instrument
    knows_magnifier: bool

    @classmethod
    def of_json(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError("must be an object")
        return {"instrument": value, "knows_magnifier": "magnifier" in value}


_INSTRUMENTS = TypeAdapter(Instrument)
_STORED: TypeAdapter[_Stored] = TypeAdapter(Annotated[_Stored, BeforeValidator(_Stored.of_json)])
_REPORTED_HOURS = TypeAdapter(_ReportedHours)


def store(journal: Journal, instrument: Instrument) -> None:
    """Without its hours, which are of a day. Raises JournalError."""
    stored = _INSTRUMENTS.dump_json(replace(instrument, liquid_hours=(), trading_hours=())).decode()
    journal.remember("", instrument.con_id, _NAME, stored)


def store_changes(
    journal: Journal, instruments: Iterable[Instrument], known: Mapping[int, Instrument], now: datetime
) -> None:
    """What is new or other than what is ``known``, hours included: all of it or nothing. Raises JournalError."""
    changed = [each for each in instruments if known.get(each.con_id) != each]
    if not changed:
        return
    with journal.transaction():
        for instrument in changed:
            before = known.get(instrument.con_id)
            hours = instrument.liquid_hours, instrument.trading_hours
            if before is None or replace(before, liquid_hours=hours[0], trading_hours=hours[1]) != instrument:
                store(journal, instrument)
            if hours[0] and (before is None or (before.liquid_hours, before.trading_hours) != hours):
                reported = _REPORTED_HOURS.dump_json(_ReportedHours(now, *hours)).decode()
                journal.remember("", instrument.con_id, _HOURS, reported)


def read(journal: JournalReader) -> dict[int, Instrument]:
    """All, by contract id, without hours. Raises JournalError."""
    return _instruments(journal.memory())


def _instruments(memory: Mapping[tuple[str, int, str], str]) -> dict[int, Instrument]:
    """A release that did not know of the magnifier has written none: then it is unknown, and IB must be asked."""
    return {
        con_id: stored.instrument if stored.knows_magnifier else replace(stored.instrument, magnifier=0)
        for con_id, stored in _read(memory, _NAME, _STORED).items()
    }


def recall(journal: JournalReader, now: datetime) -> dict[int, Instrument]:
    """All, by contract id, with the hours that the broker reported on this very day: those of another day may have
    changed, and a market must not be taken for open. Raises JournalError."""
    memory = journal.memory()
    found = _instruments(memory)
    # Most contracts have the same hours; for a thousand contracts they are stored once.
    shared: dict[tuple[Hours, ...], tuple[Hours, ...]] = {}
    for con_id, stored in _read(memory, _HOURS, _REPORTED_HOURS).items():
        zone = stored.hours[0].begin.tzinfo if stored.hours else None
        if con_id in found and stored.told.astimezone(zone).date() == now.astimezone(zone).date():
            hours, trading = (shared.setdefault(each, each) for each in (stored.hours, stored.trading))
            found[con_id] = replace(found[con_id], liquid_hours=hours, trading_hours=trading)
    return found


def last_hours(journal: JournalReader) -> dict[int, tuple[Hours, ...]]:
    """The regular sessions that the broker reported last, by contract id, on whatever day. For people only: they may
    have changed. Raises JournalError."""
    return {con_id: stored.hours for con_id, stored in _read(journal.memory(), _HOURS, _REPORTED_HOURS).items()}


def _read(memory: Mapping[tuple[str, int, str], str], wanted: str, kind: TypeAdapter[_T]) -> dict[int, _T]:
    found = {}
    for (_, con_id, name), data in memory.items():
        if name == wanted:
            try:
                found[con_id] = kind.validate_json(data)
            except ValidationError:
                # It was written by another release; the contract then goes by its number.
                continue
    return found
