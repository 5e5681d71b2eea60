"""The outbox: messages on disk until every target has them.

SQLite with a write-ahead log and ``synchronous=FULL``: what `Outbox.put` has accepted survives a kill and the loss of
power. Each message has one delivery for each target. A worker claims a delivery in a transaction and holds it for a
limited time, so two processes do not send the same, and what a killed one held comes free again.

An `Outbox` belongs to the thread that opened it; several may be open on one file. Every failure is an `OutboxError`.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from host_service import sqlite_file
from notifications.dedupe import Reported, Verdict, decide, key_of
from notifications.message import Message, Severity

SCHEMA_VERSION = 1
APPLICATION_ID = 0x6E6F7431  # "not1"

LOCK_SECONDS = 0.5
"""`put` waits no longer for another process that writes."""

CLAIM_SECONDS = 120.0
"""Longer than any delivery takes. A claim that is older belongs to a worker that died."""

LONGEST_PAUSE = 3600.0
"""No delivery waits longer for its next attempt; a later one comes of a clock that was set back."""

_SCHEMA = """
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, severity INTEGER NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL,
    put REAL NOT NULL
) STRICT;
CREATE TABLE deliveries (
    message INTEGER NOT NULL REFERENCES messages (id) ON DELETE CASCADE, target TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'sending', 'sent', 'failed')),
    attempts INTEGER NOT NULL DEFAULT 0, parts INTEGER NOT NULL DEFAULT 0, next_attempt REAL NOT NULL DEFAULT 0,
    claimed_at REAL NOT NULL DEFAULT 0, claimed_by TEXT NOT NULL DEFAULT '', detail TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (message, target)
) STRICT;
CREATE INDEX deliveries_by_target ON deliveries (target, state, message);
CREATE TABLE told (key TEXT PRIMARY KEY, at REAL NOT NULL, repeats INTEGER NOT NULL) STRICT;
CREATE TABLE counters (name TEXT PRIMARY KEY, count INTEGER NOT NULL) STRICT;
"""

_KEY_OR_BELOW = "(key = ?1 OR substr(key, 1, length(?1) + 1) = ?1 || '/')"

_LOST = "Move it away; messages that were not sent yet are lost."
_FAILURES = {
    **sqlite_file.FAILURES,
    sqlite3.SQLITE_CORRUPT: ("it is damaged", _LOST),
    sqlite3.SQLITE_NOTADB: ("it is not a database", _LOST),
}
_UNREADABLE = Message("unreadable", Severity.INFO, "A message that cannot be read", datetime.fromtimestamp(0, UTC))


def pending(path: Path) -> int:
    """How many deliveries wait in an outbox of this or another process, read without changing it; 0 if there is no such
    file. Raises sqlite3.Error."""
    if not path.exists():
        return 0
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=LOCK_SECONDS)) as database:
        statement = "SELECT count(*) FROM deliveries WHERE state IN ('queued', 'sending')"
        return int(database.execute(statement).fetchone()[0])


class OutboxError(Exception):
    """The outbox cannot be used: the message names the file, the cause and the remedy."""


@dataclass(frozen=True)
class Delivery:
    """A claimed delivery: ``attempts`` counts this one, ``parts`` are already sent, ``put`` is seconds since 1970."""

    message_id: int
    message: Message
    target: str
    attempts: int
    parts: int
    put: float


class Outbox:
    """One open outbox. ``clock`` gives seconds since 1970; ``bound`` is how many messages may wait; ``retained``
    how many delivered ones remain for inspection; ``window`` the seconds in which the same incident is sent once."""

    def __init__(
        self,
        path: Path,
        clock: Callable[[], float],
        *,
        bound: int = 1000,
        retained: int = 200,
        window: float = 3600.0,
    ) -> None:
        """Opens the file, or creates it with mode 0600. Raises OutboxError."""
        self.path = path
        self._clock = clock
        self._bound = bound
        self._retained = retained
        self._window = window
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise OutboxError(
                f"outbox {path}: it cannot be opened ({error.strerror}). Check its directory, owner and permissions."
            ) from error
        with self._failures():
            self._db = sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None)
        try:
            self._prepare()
        except OutboxError:
            self._db.close()
            raise

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def put(self, message: Message, targets: Collection[str]) -> Verdict:
        """Accept a message for every target. When it returns SEND, the message is on disk; if there was no room for
        it even so, the counter ``dropped`` has gone up."""
        now = self._clock()
        key = key_of(message)
        with self._transaction():
            at, repeats = self._one(
                f"SELECT min(at), sum(repeats) FROM told WHERE {_KEY_OR_BELOW if message.recovery_of else 'key = ?1'}",  # noqa: S608 - constants
                key,
            )
            decision = decide(message, None if at is None else Reported(at, repeats), now, self._window)
            self._remember(key, decision.reported)
            if message.recovery_of:
                self._write(f"DELETE FROM told WHERE {_KEY_OR_BELOW}", key)  # noqa: S608 - a constant
            self._count(decision.verdict.value)
            if decision.verdict is Verdict.SEND and self._free_space(message.severity):
                self._insert(decision.message, targets, now)
            elif decision.verdict is Verdict.SEND:
                self._remember(key, None)
        return decision.verdict

    def claim(self, target: str, owner: str) -> Delivery | None:
        """Take the oldest delivery to a target that is due; None if there is none. ``owner`` names one worker of one
        process, and no other."""
        now = self._clock()
        with self._transaction():
            row = self._one(
                "SELECT d.message, m.body, d.attempts, d.parts, m.put FROM deliveries d JOIN messages m"
                " ON m.id = d.message WHERE d.target = ? AND"
                " (d.state = 'queued' AND (d.next_attempt <= ? OR d.next_attempt > ?)"
                "  OR d.state = 'sending' AND (d.claimed_at <= ? OR d.claimed_at > ?))"
                " ORDER BY d.message LIMIT 1",
                *(target, now, now + LONGEST_PAUSE, now - CLAIM_SECONDS, now),
            )
            if row is None:
                return None
            self._write(
                "UPDATE deliveries SET state = 'sending', attempts = attempts + 1, claimed_at = ?, claimed_by = ?"
                " WHERE message = ? AND target = ?",
                *(now, owner, row[0], target),
            )
        try:
            message = Message.from_json(row[1])
        except (ValueError, KeyError, TypeError):
            unreadable = Delivery(row[0], _UNREADABLE, target, row[2] + 1, row[3], row[4])
            self.failed(unreadable, owner, "another version of this program wrote it")
            return self.claim(target, owner)
        return Delivery(row[0], message, target, row[2] + 1, row[3], row[4])

    def seconds_to_next(self, target: str) -> float | None:
        """How long until something of a target is due (0 or more); None if nothing waits."""
        now = self._clock()
        row = self._one(
            "SELECT min(CASE state WHEN 'queued' THEN next_attempt ELSE claimed_at + ? END) FROM deliveries"
            " WHERE target = ? AND state IN ('queued', 'sending')",
            *(CLAIM_SECONDS, target),
        )
        return None if row[0] is None else min(max(0.0, row[0] - now), LONGEST_PAUSE)

    def part_sent(self, delivery: Delivery, owner: str, parts: int) -> bool:
        """So many parts of a message have arrived; whether the claim still holds, which this renews."""
        return self._settle(delivery, owner, "parts = ?, claimed_at = ?", parts, self._clock())

    def sent(self, delivery: Delivery, owner: str) -> bool:
        """The whole message has arrived. Prunes what was done long ago."""
        with self._transaction():
            held = self._settle(delivery, owner, "state = 'sent', detail = ''")
            self._prune()
        return held

    def retry(self, delivery: Delivery, owner: str, seconds: float, detail: str) -> bool:
        """Try again after so many seconds."""
        due = self._clock() + min(seconds, LONGEST_PAUSE)
        return self._settle(delivery, owner, "state = 'queued', next_attempt = ?, detail = ?", due, detail)

    def failed(self, delivery: Delivery, owner: str, detail: str) -> bool:
        """It will never arrive."""
        with self._transaction():
            held = self._settle(delivery, owner, "state = 'failed', detail = ?", detail)
            self._prune()
        return held

    def all_due(self, target: str) -> None:
        """What waits for a target need not wait any longer: it answers again."""
        with self._failures():
            self._write("UPDATE deliveries SET next_attempt = 0 WHERE target = ? AND state = 'queued'", target)

    def fail_other_targets(self, targets: Collection[str]) -> int:
        """Give up what waits for targets that are not configured any more; how many deliveries that were."""
        marks = ", ".join("?" * len(targets))
        with self._failures():
            return self._write(
                "UPDATE deliveries SET state = 'failed', detail = 'this target is not configured any more'"  # noqa: S608 - only question marks
                f" WHERE state IN ('queued', 'sending') AND target NOT IN ({marks})",
                *targets,
            )

    def states(self) -> dict[str, int]:
        """How many deliveries are in each state."""
        with self._failures():
            return dict(self._db.execute("SELECT state, count(*) FROM deliveries GROUP BY state"))

    def counters(self) -> dict[str, int]:
        """What `put` did since the file was created: accepted, repeated, recovery_untold, dropped."""
        names = (*(verdict.value for verdict in Verdict), "dropped")
        with self._failures():
            return dict.fromkeys(names, 0) | dict(self._db.execute("SELECT name, count FROM counters"))

    def _prepare(self) -> None:
        with self._failures():
            sqlite_file.set_durable(self._db)
        with self._transaction():
            version, application = self._one("PRAGMA user_version")[0], self._one("PRAGMA application_id")[0]
            if version == application == 0 and self._one("SELECT count(*) FROM sqlite_schema")[0] == 0:
                for statement in sqlite_file.statements(_SCHEMA):
                    self._write(statement)
                self._write(f"PRAGMA application_id = {APPLICATION_ID}")
                self._write(f"PRAGMA user_version = {SCHEMA_VERSION}")
                return
        if application != APPLICATION_ID or version != SCHEMA_VERSION:
            raise OutboxError(
                f"outbox {self.path}: it is another program's database, or of another version ({version}; this one is "
                f"{SCHEMA_VERSION}). {_LOST}"
            )
        with self._failures():
            damage = sqlite_file.damage(self._db)
        if damage is not None:
            raise OutboxError(f"outbox {self.path}: it is damaged ({damage}). {_LOST}")

    def _free_space(self, severity: Severity) -> bool:
        """Whether a message of a severity may come in; drops the oldest one of the least severity for it."""
        waiting = "EXISTS (SELECT 1 FROM deliveries d WHERE d.message = m.id AND d.state IN ('queued', 'sending'))"
        if self._one(f"SELECT count(*) FROM messages m WHERE {waiting}")[0] < self._bound:  # noqa: S608 - a constant
            return True
        # One that is being sent is not taken away under the worker.
        row = self._one(
            f"SELECT m.id, m.severity, m.key FROM messages m WHERE {waiting} AND m.severity < ?"  # noqa: S608 - a constant
            " AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.message = m.id AND d.state = 'sending')"
            " ORDER BY m.severity, m.id LIMIT 1",
            Severity.ALERT,
        )
        if row is None or row[1] > severity:
            if severity is Severity.ALERT:
                return True
            self._count("dropped")
            return False
        self._write("DELETE FROM messages WHERE id = ?", row[0])
        # It was never reported, so its end is not reported either, and its return is.
        self._remember(row[2], None)
        self._count("dropped")
        return True

    def _insert(self, message: Message, targets: Collection[str], now: float) -> None:
        self._write(
            "INSERT INTO messages (severity, key, body, put) VALUES (?, ?, ?, ?)",
            *(int(message.severity), message.dedupe_key, message.to_json(), now),
        )
        number = self._one("SELECT last_insert_rowid()")[0]
        for target in targets:
            self._write("INSERT INTO deliveries (message, target) VALUES (?, ?)", number, target)

    def _remember(self, key: str, reported: Reported | None) -> None:
        if reported is None:
            self._write("DELETE FROM told WHERE key = ?", key)
        else:
            self._write("INSERT OR REPLACE INTO told VALUES (?, ?, ?)", key, reported.at, reported.repeats)

    def _settle(self, delivery: Delivery, owner: str, change: str, *values: object) -> bool:
        with self._failures():
            changed = self._write(
                f"UPDATE deliveries SET {change} WHERE message = ? AND target = ? AND state = 'sending'"  # noqa: S608 - constants
                " AND claimed_by = ?",
                *(*values, delivery.message_id, delivery.target, owner),
            )
        return changed == 1

    def _prune(self) -> None:
        self._write(
            "DELETE FROM messages WHERE id IN (SELECT m.id FROM messages m WHERE NOT EXISTS (SELECT 1 FROM deliveries d"
            " WHERE d.message = m.id AND d.state IN ('queued', 'sending')) ORDER BY m.id DESC LIMIT -1 OFFSET ?)",
            self._retained,
        )

    def _count(self, name: str) -> None:
        self._write("INSERT INTO counters VALUES (?, 1) ON CONFLICT DO UPDATE SET count = count + 1", name)

    def _write(self, statement: str, *values: object) -> int:
        return self._db.execute(statement, values).rowcount

    def _one(self, query: str, *values: object) -> Any:
        with self._failures():
            return self._db.execute(query, values).fetchone()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._failures():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            finally:
                # SQLite has already rolled back after some errors, such as a full disk.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            cause, remedy = _FAILURES.get(
                sqlite_file.primary_code(error), ("it cannot be used", "Move it away if this repeats.")
            )
            raise OutboxError(f"outbox {self.path}: {cause} ({error}). {remedy}") from error
