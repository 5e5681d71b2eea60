"""SQLite files that survive a kill and the loss of power."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator


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
