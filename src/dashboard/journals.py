"""Orders and their explanation, from the journal of a position manager. Reads only."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from dashboard import managers, readonly
from dashboard.document import Document
from dashboard.outboxes import UnreadableError, reason
from position_manager.journal import stored_instruments
from position_manager.journal.errors import JournalError
from position_manager.journal.reader import JournalReader
from position_manager.model import Instrument
from position_manager.orders.intents import Intent
from position_manager.reports.explain import NotFoundError, explain, label_of

_Value = TypeVar("_Value")

SHOWN = 30
PAGE = 50


class JournalFile:
    """The journal at a path. Close it after each use: while it is open, a position manager that ends cannot write its
    log back into the file, and the file alone would be an old journal. Until then it stays open, as long as the file
    and the way to read it are the same: opening it checks the whole file. Belongs to one thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reader: JournalReader | None = None
        self._opened: tuple[object, ...] = ()
        self._instruments: dict[int, Instrument] = {}

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def newest(self) -> tuple[Intent, ...]:
        """The newest orders, oldest first; none without a journal. Raises UnreadableError."""
        return self._read(lambda reader: reader.newest_intents(SHOWN)) or ()

    def orders(self, before: str | None) -> tuple[list[Document], bool]:
        """A page of orders, newest first, and whether there are older ones. Raises UnreadableError."""
        found = self._read(lambda reader: reader.newest_intents(PAGE + 1, before)) or ()
        return [self.order(intent) for intent in reversed(found[-PAGE:])], len(found) > PAGE

    def order(self, intent: Intent) -> Document:
        return managers.order(intent, self._label(intent.con_id))

    def explained(self, what: str) -> str:
        """The story of an order or a position. Raises NotFoundError and UnreadableError."""
        text = self._read(lambda reader: explain(reader, what))
        if text is None:
            raise NotFoundError("There is no journal yet.")
        return text

    def _label(self, con_id: int) -> str:
        if con_id not in self._instruments:
            self._instruments = self._read(stored_instruments.read) or {}
        return label_of(self._instruments, con_id)

    def _read(self, read: Callable[[JournalReader], _Value]) -> _Value | None:
        """What can be read; None without a journal. A reader whose file was replaced under it is opened again."""
        for attempt in (1, 2):
            try:
                reader = self._open()
                return None if reader is None else read(reader)
            except (JournalError, sqlite3.Error, OSError) as error:
                self.close()
                if attempt == 2:
                    text = str(error) if isinstance(error, JournalError) else reason(self.path, error)
                    raise UnreadableError(text) from error
        return None

    def _open(self) -> JournalReader | None:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            self.close()
            return None
        parameters = readonly.parameters(self.path)
        # What is read as one that nobody writes does not show what is written later.
        changes = status.st_mtime_ns if "immutable" in parameters else 0
        opened = (status.st_ino, parameters, changes)
        if self._reader is None or opened != self._opened:
            self.close()
            self._reader = JournalReader(self.path, parameters)
            self._opened = opened
        return self._reader
