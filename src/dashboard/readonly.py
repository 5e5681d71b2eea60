"""SQLite files of other services, opened so that nothing is created, locked for writing, or changed."""

from __future__ import annotations

import sqlite3
from pathlib import Path

BUSY_SECONDS = 0.5


def parameters(path: Path) -> str:
    """How to open a file: with a write-ahead log beside it, a service may write to it; without one, nobody does, and
    the file alone is read. Neither creates the log or its index, which opening for reading alone would."""
    there = path.with_name(path.name + "-wal").exists() and path.with_name(path.name + "-shm").exists()
    return "mode=ro&readonly_shm=1" if there else "mode=ro&immutable=1"


def connect(path: Path) -> sqlite3.Connection:
    """A connection that cannot write. Raises FileNotFoundError and sqlite3.Error."""
    if not path.exists():
        raise FileNotFoundError(path)
    address = f"{path.absolute().as_uri()}?{parameters(path)}"
    return sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS, isolation_level=None)


def stamp(path: Path) -> tuple[int, ...]:
    """Changes whenever the file or its log does; empty if there is no file."""
    found: list[int] = []
    for each in (path, path.with_name(path.name + "-wal")):
        try:
            status = each.stat()
        except OSError:
            continue
        found += [status.st_ino, status.st_size, status.st_mtime_ns]
    return tuple(found)
