"""The locks of contracts as the journal has them, cached in memory."""

from __future__ import annotations

from collections.abc import Mapping

from position_manager.engine.guard import Key
from position_manager.engine.journal_access import JournalAccess
from position_manager.journal.records import Lock


class ContractLocks:
    """Nothing is sent for a locked contract before a person releases it."""

    def __init__(self, access: JournalAccess) -> None:
        self._access = access
        self._present: dict[Key, Lock] = {}

    @property
    def present(self) -> Mapping[Key, Lock]:
        return self._present

    def refresh(self) -> None:
        """Read them again, after the journal was written."""
        self._present = {(lock.account, lock.con_id): lock for lock in self._access.journal.locks()}
