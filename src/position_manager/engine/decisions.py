"""The decisions to close that are in effect, in memory and in the journal. It decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from position_manager.engine.guard import Guard, Key
from position_manager.engine.in_flight import InFlight
from position_manager.engine.journal_access import JournalAccess
from position_manager.engine.known_instruments import KnownInstruments
from position_manager.journal.journal import Journal
from position_manager.orders.closing import Closing
from position_manager.rules.groups import Unit

WRITE_WITHIN = timedelta(seconds=0.1)
"""A decision waits no longer for the order that it shares a write to the disk with."""
_CLOSING = "closing "


class Decisions:
    """By unit. They are in the journal, so that a restart continues with them."""

    def __init__(
        self,
        *,
        access: JournalAccess,
        guard: Guard,
        in_flight: InFlight,
        instruments: KnownInstruments,
    ) -> None:
        self._access = access
        self._guard = guard
        self._in_flight = in_flight
        self._instruments = instruments
        self.closings: dict[str, Closing] = {}
        self._unit_of: dict[Key, str] = {}
        """Which decision a contract is in."""
        self._unwritten: list[tuple[Closing, Mapping[str, object]]] = []
        """Decisions that are not on disk yet, and the data that they are based on."""

    def restore(self, journal: Journal) -> None:
        """Decisions of former runs. Raises JournalError."""
        for *_, closing in journal.remembered(_CLOSING, Closing.from_json):
            self.add(closing)

    def of(self, unit: Unit) -> Closing | None:
        """The decision that a contract of the unit is in."""
        found = (self._unit_of.get((unit.account, leg.instrument.con_id)) for leg in unit.legs)
        name = next((name for name in found if name is not None), None)
        return None if name is None else self.closings[name]

    def add(self, closing: Closing) -> None:
        """In memory only: it is to be written too."""
        self.closings[closing.unit] = closing
        if closing.leaves:
            self._guard.closing_in_part.add(closing.unit)
        else:
            self._guard.closing_in_part.discard(closing.unit)
        for con_id in closing.legs:
            self._unit_of.setdefault((closing.account, con_id), closing.unit)

    def add_unwritten(self, closing: Closing, seen: Mapping[str, object]) -> None:
        """One that is written later, with the data that it is based on."""
        self._unwritten.append((closing, seen))
        self.add(closing)

    def write(self, closing: Closing) -> None:
        """To disk only. Raises JournalError."""
        self._access.journal.remember(closing.account, 0, _CLOSING + closing.unit, closing.to_json())

    def store(self, closing: Closing) -> None:
        """On disk and in memory. Raises JournalError."""
        self.write(closing)
        self.add(closing)

    def erase(self, closing: Closing) -> None:
        """From disk only. Raises JournalError."""
        self._access.journal.drop(closing.account, 0, _CLOSING + closing.unit)

    def drop(self, closing: Closing) -> None:
        """From memory only: it is to be erased too."""
        self.closings.pop(closing.unit, None)
        self._guard.closing_in_part.discard(closing.unit)
        self._unit_of.clear()
        for other in self.closings.values():
            self.add(other)

    def includes(self, key: Key) -> bool:
        """Whether a contract is in a decision."""
        return key in self._unit_of

    def is_wanted(self, closing: Closing) -> bool:
        """Whether what a decision wanted is still wanted: it may have been withdrawn since, or become one to close all;
        of another decision about a part it means nothing."""
        now = self.closings.get(closing.unit)
        return now is not None and (now.decided == closing.decided or not now.leaves)

    def means(self, closing: Closing, what: str) -> bool:
        """Whether a person means this decision by ``what``."""
        named = what in (closing.name, closing.unit)
        return named or any(self._instruments.matches((closing.account, con_id), what) for con_id in closing.legs)

    def write_pending(self) -> None:
        """Store the decisions that are not on disk yet. Raises JournalError; then they must still be written."""
        if self._unwritten:
            with self._access.journal.transaction():
                self.write_unwritten()
            self.on_written()

    def write_in_time(self, now: datetime) -> None:
        """The same, but leave it to the order in progress for a moment: they share one write to the disk."""
        due = self.write_due
        if due is not None and (now >= due or due - now > WRITE_WITHIN or not self._in_flight):
            self.write_pending()

    @property
    def write_due(self) -> datetime | None:
        """When decisions must be on disk, if some are not."""
        return self._unwritten[0][0].decided + WRITE_WITHIN if self._unwritten else None

    def write_unwritten(self) -> None:
        """Within a transaction, after whose end `on_written` is to be called."""
        for closing, seen in self._unwritten:
            for con_id in closing.legs:
                self._access.journal.append("rule fired", closing.account, con_id, seen)
            present = self.closings.get(closing.unit)
            if present is not None:
                self.store(present)

    def on_written(self) -> None:
        """The transaction of `write_unwritten` has ended."""
        self._unwritten.clear()
