"""SQLite files that survive a kill and the loss of power."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from types import MappingProxyType

FAILURES: Mapping[int, tuple[str, str]] = MappingProxyType(
    {
        sqlite3.SQLITE_BUSY: ("another process writes to it", "Stop the process that has it open."),
        sqlite3.SQLITE_LOCKED: ("another process writes to it", "Stop the process that has it open."),
        sqlite3.SQLITE_FULL: ("the disk is full", "Free space on its file system."),
        sqlite3.SQLITE_IOERR: ("reading or writing failed", "Check the disk (journalctl -k)."),
        sqlite3.SQLITE_READONLY: ("it is read-only", "Change its owner to the user of the service."),
        sqlite3.SQLITE_CANTOPEN: ("it cannot be opened", "Check its directory, owner and permissions."),
        sqlite3.SQLITE_CORRUPT: ("it is damaged", "Move it away."),
        sqlite3.SQLITE_NOTADB: ("it is not a database", "Move it away."),
    }
)
"""What an error means for a file, and the remedy, by the primary code."""


def set_durable(database: sqlite3.Connection) -> None:
    """Write ahead, and return from a commit only once it is on the disk. Raises sqlite3.Error."""
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("PRAGMA foreign_keys = ON")


def statements(script: str) -> Iterator[str]:
    """The statements of a script one by one; sqlite3's own executescript would commit in between."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def damage(database: sqlite3.Connection) -> str | None:
    """What SQLite's own check finds wrong first; None if the file is whole. Raises sqlite3.Error."""
    (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
    return None if verdict == "ok" else str(verdict)


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's primary result code, such as SQLITE_BUSY; 0 for an error that has none."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
