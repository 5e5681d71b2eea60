"""The journal of the session, once there is one, and whether it can be written."""

from __future__ import annotations

from position_manager.engine.notices import Notices
from position_manager.journal.errors import JournalError
from position_manager.journal.journal import Journal


class JournalAccess:
    """Nothing is sent while the journal fails."""

    def __init__(self, notices: Notices) -> None:
        self._notices = notices
        self._opened: Journal | None = None
        self._fault: str | None = None

    @property
    def opened(self) -> Journal | None:
        """None before the first session."""
        return self._opened

    @property
    def journal(self) -> Journal:
        """Raises RuntimeError before the first session."""
        if self._opened is None:
            raise RuntimeError("there is no session yet")
        return self._opened

    def open(self, journal: Journal) -> None:
        """The first session has started, with this journal."""
        self._opened = journal

    @property
    def fault(self) -> str | None:
        """Why the journal cannot be written; None if it can."""
        return self._fault

    def on_failure(self, error: JournalError) -> None:
        """Report once that the journal cannot be written."""
        if self._fault is None:
            self._fault = str(error)
            self._notices.notify(self._notices.author.journal_fault(self._fault))

    def on_recovery(self) -> None:
        """The journal can be written again."""
        self._fault = None
