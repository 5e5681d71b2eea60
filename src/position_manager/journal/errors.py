"""Why a journal cannot be used: each error states the file, the cause and the remedy."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path

from host_service import sqlite_file


class JournalError(Exception):
    """The journal cannot be used; the message states which, why, and the remedy. Nothing may be sent."""


class JournalAwayError(JournalError):
    """It cannot be used at present: its disk is full, or another program holds it. This may pass by itself."""


class JournalMismatchError(JournalError):
    """The journal belongs to another mode or to other accounts."""


class JournalLockedError(JournalError):
    """Another process holds the journal."""


class OpenIntentError(JournalError):
    """The instrument has an open intent already."""


class UnsettledError(JournalError):
    """The position does not match the proven executions."""


DAMAGED = "Preserve it, check open orders at the broker, then move it away."
"""The remedy for a journal, or a row of it, that cannot be read."""

_FAILURES: Mapping[int, tuple[str, str]] = {
    **sqlite_file.FAILURES,
    sqlite3.SQLITE_FULL: ("the disk is full", "Free space on its file system; nothing is sent until then."),
    sqlite3.SQLITE_IOERR: (
        "reading or writing failed",
        "Check the disk (journalctl -k); nothing is sent while this lasts.",
    ),
    sqlite3.SQLITE_READONLY: ("it is read-only", "Change its owner to the user of the position manager."),
    sqlite3.SQLITE_CORRUPT: ("it is damaged", DAMAGED),
    sqlite3.SQLITE_NOTADB: ("it is not a journal", DAMAGED),
}


def failure(path: Path, error: sqlite3.Error) -> JournalError:
    """What an error of SQLite means for the journal."""
    code = sqlite_file.primary_code(error)
    cause, remedy = _FAILURES.get(code, ("it cannot be used", "Check the log."))
    passing = code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
    kind = JournalAwayError if passing else JournalError
    return kind(f"journal {path}: {cause} ({error}). {remedy}")
