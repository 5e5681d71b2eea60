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


DAMAGED = "Keep it, check open orders at the broker, then move it away."
"""The remedy for a journal, or a row of it, that cannot be read."""

_REMEDIES: Mapping[int, tuple[str, str]] = {
    sqlite3.SQLITE_BUSY: ("another process writes to it", "end whatever has it open; one position manager may write"),
    sqlite3.SQLITE_LOCKED: ("another process writes to it", "end whatever has it open; one position manager may write"),
    sqlite3.SQLITE_FULL: ("the disk is full", "make room on its file system; nothing is sent until then"),
    sqlite3.SQLITE_IOERR: ("reading or writing failed", "look at the disk (journalctl -k); nothing is sent until then"),
    sqlite3.SQLITE_READONLY: ("it is read-only", "give it to the user that runs the position manager"),
    sqlite3.SQLITE_CANTOPEN: ("it cannot be opened", "look at the directory, its owner and its rights"),
    sqlite3.SQLITE_CORRUPT: ("it is damaged", "keep it, check open orders at the broker, then move it away"),
    sqlite3.SQLITE_NOTADB: ("it is no journal", "keep it, check open orders at the broker, then move it away"),
}


def failure(path: Path, error: sqlite3.Error) -> JournalError:
    """What an error of SQLite means for the journal."""
    code = sqlite_file.primary_code(error)
    cause, remedy = _REMEDIES.get(code, (str(error), "see the log"))
    passing = code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
    kind = JournalAwayError if passing else JournalError
    return kind(f"journal {path}: {cause} ({error}). {remedy[0].upper()}{remedy[1:]}.")
