"""SQLite files: a copy while another process writes, its check, and what identifies a journal."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from host_backup.errors import BackupError
from host_backup.manifest import JournalFacts
from position_manager.journal.schema import APPLICATION_ID, READABLE
from position_manager.orders.intents import OPEN

BUSY_SECONDS = 30.0
ATTEMPTS = 5
_HEAD = b"SQLite format 3\0"
_DAMAGED = "Do not delete it: check open orders at the broker, then restore an earlier backup."


def is_database(path: Path) -> bool:
    """Whether a file is an SQLite database, by its content. Raises OSError."""
    with path.open("rb") as file:
        return file.read(len(_HEAD)) == _HEAD


def copy(source: Path, target: Path) -> None:
    """A consistent copy by SQLite's backup, also while the source is written, then checked completely. The source is
    only read. Raises BackupError."""
    for attempt in range(ATTEMPTS):
        target.unlink(missing_ok=True)
        before = _seen(source)
        try:
            with closing(_open(source)) as database, closing(sqlite3.connect(target)) as copied:
                database.backup(copied)
        except sqlite3.Error as error:
            if _seen(source) == before or attempt == ATTEMPTS - 1:
                raise BackupError(f"{source} could not be copied: {error}.", _DAMAGED) from error
            continue
        # One that nobody had open was read without a lock.
        if before[0] or _seen(source) == before:
            break
    else:
        raise BackupError(f"{source} changes all the time without a lock.", "Find out which program writes it.")
    try:
        with closing(sqlite3.connect(target)) as database:
            # A copy of one file, without the write-ahead log that a reader would need beside it.
            database.execute("PRAGMA journal_mode = DELETE")
            verdict = database.execute("PRAGMA integrity_check(1)").fetchone()[0]
            orphan = database.execute("PRAGMA foreign_key_check").fetchone()
    except sqlite3.Error as error:
        raise BackupError(f"{source} is damaged ({error}).", _DAMAGED) from error
    if verdict != "ok" or orphan is not None:
        raise BackupError(f"{source} is damaged ({verdict if verdict != 'ok' else 'a reference is broken'}).", _DAMAGED)


def _seen(path: Path) -> tuple[bool, int, int]:
    """Whether a database is in use, or was when its program was killed; and what changes when it is written."""
    in_use = any(path.with_name(path.name + suffix).exists() for suffix in ("-wal", "-journal"))
    seen = path.stat()
    return in_use, seen.st_mtime_ns, seen.st_size


def _open(path: Path) -> sqlite3.Connection:
    """For reading. SQLite would create files beside a database that nobody has open, and could not do without; so such
    a one is read as it is."""
    mode = "mode=ro" if _seen(path)[0] else "mode=ro&immutable=1"
    return sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, timeout=BUSY_SECONDS)


def is_journal(path: Path) -> bool:
    """Whether a database is a journal of the position manager. Raises BackupError."""
    with _reading(path) as database:
        return _number(database, "PRAGMA application_id") == APPLICATION_ID


def journal_facts(path: Path, name: str) -> JournalFacts:
    """Of a journal; ``name`` is its path on the host. Raises BackupError for another version or a damaged one."""
    with _reading(path) as database:
        version = _number(database, "PRAGMA user_version")
        if version not in READABLE:
            raise BackupError(
                f"{name} has version {version}; this release reads {', '.join(map(str, sorted(READABLE)))}.",
                "Use the release that wrote it, or a newer one.",
            )
        stamp = database.execute("SELECT mode, accounts, created FROM stamp").fetchone()
        if stamp is None:
            raise BackupError(f"{name} has no stamp.", _DAMAGED)
        try:
            accounts = tuple(json.loads(stamp[1]))
        except (ValueError, TypeError) as error:
            raise BackupError(f"{name} has a damaged stamp.", _DAMAGED) from error
        last = database.execute("SELECT number, time FROM events ORDER BY number DESC LIMIT 1").fetchone() or (0, "")
        states = ", ".join(f"'{state.value}'" for state in sorted(OPEN))
        episodes = 0
        if version >= 2:
            episodes = _number(database, "SELECT COUNT(DISTINCT episode) FROM holdings WHERE episode <> ''")
        return JournalFacts(
            path=name,
            mode=stamp[0],
            accounts=accounts,
            schema=version,
            created=stamp[2],
            last_event=last[0],
            last_time=last[1],
            intents=_number(database, "SELECT COUNT(*) FROM intents"),
            open_intents=_number(database, f"SELECT COUNT(*) FROM intents WHERE state IN ({states})"),  # noqa: S608 - constants
            episodes=episodes,
            events_digest=_events(database, last[0]),
            content_digest=_content(database),
        )


def events_digest(path: Path, last: int) -> str:
    """Digest of the events of a journal up to a number. Raises BackupError."""
    with _reading(path) as database:
        return _events(database, last)


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(_open(path)) as database:
            database.execute("BEGIN")
            yield database
    except FileNotFoundError as error:
        raise BackupError(f"{path} does not exist.", "Restore it from a backup.") from error
    except sqlite3.Error as error:
        raise BackupError(f"{path} cannot be read: {error}.", _DAMAGED) from error


def _number(database: sqlite3.Connection, query: str) -> int:
    found: int = database.execute(query).fetchone()[0]
    return found


def _events(database: sqlite3.Connection, last: int) -> str:
    digest = hashlib.sha256()
    for row in database.execute("SELECT * FROM events WHERE number <= ? ORDER BY number", (last,)):
        digest.update(repr(row).encode())
    return digest.hexdigest()


def _content(database: sqlite3.Connection) -> str:
    digest = hashlib.sha256()
    tables = database.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'events'"
    )
    for (table,) in sorted(tables.fetchall()):
        digest.update(table.encode())
        rows = (repr(row) for row in database.execute(f'SELECT * FROM "{table}"'))  # noqa: S608 - a name of its schema
        for row in sorted(rows):
            digest.update(row.encode())
    return digest.hexdigest()
