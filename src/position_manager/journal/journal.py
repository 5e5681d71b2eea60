"""The journal: what was decided, sent and proven, on disk before it takes effect.

SQLite with a write-ahead log and ``synchronous=FULL``: when a call returns, its change survives the loss of power.
One process writes (a lock file beside it); others may read while it does. A journal belongs to one mode and one set of
accounts, and refuses any other.

**Cannot write = do not send.** The only way to what the broker adapter needs to send an order is
`Journal.record_sending`, and it returns only after the order is on disk. Every failure is a `JournalError`, whose
message names the file, the cause and the remedy.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, Self, TypeVar

from ib_connection.accounts import masked, masked_list
from position_manager.journal.episodes import continued
from position_manager.model import ZERO
from position_manager.orders.evidence import Cause, Execution, Finding
from position_manager.orders.intents import (
    AT_BROKER,
    OPEN,
    REF_PREFIX,
    Acknowledged,
    Change,
    Dropped,
    Effect,
    Event,
    Executed,
    Fill,
    Intent,
    OutOfSight,
    Released,
    Sending,
    Side,
    State,
    apply,
)

SCHEMA_VERSION = 2
READABLE = frozenset({1, 2})
"""Versions that can be read; a writer brings an older one to the present version when it opens it."""
_Value = TypeVar("_Value")

APPLICATION_ID = 0x706D6A31  # "pmj1"

_OPEN_STATES = ", ".join(f"'{state.value}'" for state in sorted(OPEN))
_ALL_STATES = ", ".join(f"'{state.value}'" for state in State)
_SCHEMA = f"""
CREATE TABLE stamp (mode TEXT NOT NULL, accounts TEXT NOT NULL, created TEXT NOT NULL);
CREATE TABLE intents (
    id TEXT PRIMARY KEY, account TEXT NOT NULL, con_id INTEGER NOT NULL, side TEXT NOT NULL,
    quantity TEXT NOT NULL, position TEXT NOT NULL, rule TEXT NOT NULL, oca_group TEXT NOT NULL,
    created TEXT NOT NULL, state TEXT NOT NULL, proven_filled TEXT NOT NULL DEFAULT '0',
    refused INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE UNIQUE INDEX one_open_intent ON intents (account, con_id) WHERE state IN ({_OPEN_STATES});
CREATE TABLE orders (
    ref TEXT PRIMARY KEY, intent TEXT NOT NULL UNIQUE REFERENCES intents (id),
    client_id INTEGER NOT NULL CHECK (client_id > 0), order_id INTEGER NOT NULL CHECK (order_id > 0),
    perm_id INTEGER NOT NULL DEFAULT 0, quantity TEXT NOT NULL, limit_price TEXT NOT NULL,
    stop_price TEXT NOT NULL, sent TEXT NOT NULL, UNIQUE (client_id, order_id)
) STRICT;
CREATE INDEX orders_by_time ON orders (sent);
CREATE TABLE fills (
    exec_id TEXT PRIMARY KEY, ref TEXT NOT NULL REFERENCES orders (ref),
    quantity TEXT NOT NULL, price TEXT NOT NULL, time TEXT NOT NULL
) STRICT;
CREATE INDEX fills_by_order ON fills (ref);
CREATE TABLE events (
    number INTEGER PRIMARY KEY AUTOINCREMENT, time TEXT NOT NULL, kind TEXT NOT NULL,
    intent TEXT REFERENCES intents (id), account TEXT NOT NULL, con_id INTEGER NOT NULL, data TEXT NOT NULL
) STRICT;
CREATE INDEX events_by_instrument ON events (account, con_id);
CREATE INDEX events_by_intent ON events (intent);
CREATE TRIGGER events_stay BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER events_are_kept BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TABLE others (exec_id TEXT PRIMARY KEY) STRICT;
CREATE TABLE holdings (
    account TEXT NOT NULL, con_id INTEGER NOT NULL, quantity TEXT NOT NULL, oca_group TEXT NOT NULL,
    episode TEXT NOT NULL DEFAULT '', average TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (account, con_id)
) STRICT;
CREATE TABLE locks (
    account TEXT NOT NULL, con_id INTEGER NOT NULL, reason TEXT NOT NULL, since TEXT NOT NULL,
    PRIMARY KEY (account, con_id)
) STRICT;
CREATE TABLE rule_memory (
    account TEXT NOT NULL, con_id INTEGER NOT NULL, rule TEXT NOT NULL, data TEXT NOT NULL,
    PRIMARY KEY (account, con_id, rule)
) STRICT;
CREATE TABLE IF NOT EXISTS combinations (
    intent TEXT PRIMARY KEY REFERENCES intents (id), lead TEXT NOT NULL, per_unit TEXT NOT NULL
) STRICT;
CREATE TABLE counters (client_id INTEGER PRIMARY KEY, order_id INTEGER NOT NULL) STRICT;
"""

_COMBINATIONS = """
CREATE TABLE IF NOT EXISTS combinations (
    intent TEXT PRIMARY KEY REFERENCES intents (id), lead TEXT NOT NULL, per_unit TEXT NOT NULL
) STRICT;
"""
"""Beside the version: a release that knows none of it takes its orders for lost, and locks what they have traded."""
_FROM_1_TO_2 = """
ALTER TABLE holdings ADD COLUMN episode TEXT NOT NULL DEFAULT '';
ALTER TABLE holdings ADD COLUMN average TEXT NOT NULL DEFAULT '';
UPDATE holdings SET episode = oca_group WHERE CAST(quantity AS REAL) <> 0;
DELETE FROM rule_memory WHERE rule LIKE 'memory of %' AND NOT EXISTS (
    SELECT 1 FROM holdings h
    WHERE h.account = rule_memory.account AND h.con_id = rule_memory.con_id AND CAST(h.quantity AS REAL) <> 0
);
"""
"""What rules remember of a position that is gone must not act on the next one; of what is held it still counts."""

Key = tuple[str, int]
"""Account and contract id."""
Evidence = Mapping[str, Any]
"""What `explain` shows of a moment: anything that JSON can hold; Decimals and aware datetimes too, as text."""


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


@dataclass(frozen=True)
class Stamp:
    """Whom a journal belongs to: the mode (`paper`, `live`, …) and its accounts. A session may have more of them: those
    are new, and must be accepted (`Journal.accept`)."""

    mode: str
    accounts: frozenset[str]

    def __str__(self) -> str:
        return f"mode {self.mode}, accounts {masked_list(sorted(self.accounts))}"


@dataclass(frozen=True)
class OrderToSend:
    """An order that is on disk, with all that the broker adapter needs. Only `Journal.record_sending` creates one.

    ``stop`` is the trigger of a stop-limit, 0 for a plain limit. ``oca_group`` with ocaType 1 (cancel the rest, with
    overfill protection) holds every close of one episode of a position together at the broker.
    """

    account: str
    con_id: int
    side: Side
    quantity: Decimal
    limit: Decimal
    ref: str
    order_id: int
    client_id: int
    oca_group: str
    oca_type: int = 1
    stop: Decimal = ZERO


@dataclass(frozen=True)
class LegToSend:
    """A leg of a combination: what is closed of it. ``position`` is the one just read, ``per_unit`` how many contracts
    one combination has."""

    con_id: int
    side: Side
    position: Decimal
    quantity: Decimal
    per_unit: Decimal


@dataclass(frozen=True)
class ComboToSend:
    """A combination order that is on disk. Only `Journal.record_combo` creates one.

    ``side`` and ``limit`` are those of the combination, which consists of ``legs``: contract id and signed number of
    contracts in one combination (negative: sold when the combination is bought). ``quantity`` counts combinations.
    """

    account: str
    symbol: str
    currency: str
    side: Side
    quantity: Decimal
    limit: Decimal
    legs: tuple[tuple[int, Decimal], ...]
    ref: str
    order_id: int
    client_id: int


@dataclass(frozen=True)
class Lock:
    """An instrument on which nothing is sent until a person releases it."""

    account: str
    con_id: int
    reason: str
    since: datetime


@dataclass(frozen=True)
class Holding:
    """What a position is expected to be, all proven executions counted, and the OCA group of closes of that size.

    ``episode`` names one life of the position, from its opening until it is flat, split or assigned: what rules
    remember and what was decided belongs to one episode. Empty while it is flat. ``average``: the average price that
    the broker reported for this quantity, None if it has not yet.
    """

    quantity: Decimal
    oca_group: str
    episode: str = ""
    average: Decimal | None = None


@dataclass(frozen=True)
class Record:
    """One event as it was written."""

    number: int
    time: datetime
    kind: str
    intent: str | None
    account: str
    con_id: int
    data: Mapping[str, Any]


_DAMAGED = "Keep it, check open orders at the broker, then move it away."

_MENDS: Mapping[int, tuple[str, str]] = {
    sqlite3.SQLITE_BUSY: ("another process writes to it", "end whatever has it open; one position manager may write"),
    sqlite3.SQLITE_LOCKED: ("another process writes to it", "end whatever has it open; one position manager may write"),
    sqlite3.SQLITE_FULL: ("the disk is full", "make room on its file system; nothing is sent until then"),
    sqlite3.SQLITE_IOERR: ("reading or writing failed", "look at the disk (journalctl -k); nothing is sent until then"),
    sqlite3.SQLITE_READONLY: ("it is read-only", "give it to the user that runs the position manager"),
    sqlite3.SQLITE_CANTOPEN: ("it cannot be opened", "look at the directory, its owner and its rights"),
    sqlite3.SQLITE_CORRUPT: ("it is damaged", "keep it, check open orders at the broker, then move it away"),
    sqlite3.SQLITE_NOTADB: ("it is no journal", "keep it, check open orders at the broker, then move it away"),
}


def _failure(path: Path, error: sqlite3.Error) -> JournalError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    cause, mend = _MENDS.get(code, (str(error), "see the log"))
    passing = code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
    kind = JournalAwayError if passing else JournalError
    return kind(f"journal {path}: {cause} ({error}). {mend[0].upper()}{mend[1:]}.")


class JournalReader:
    """The journal for reading; may be open while a position manager writes. Close it after use."""

    def __init__(self, path: Path) -> None:
        """Raises JournalError if there is no journal that can be read."""
        self.path = path
        with self._failures():
            self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
            self._check()

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _failure(self.path, error) from error

    def _check(self) -> None:
        """Raise JournalError unless this is a whole journal of this version."""
        if self.path.stat().st_size == 0:
            raise JournalError(f"journal {self.path}: it is empty (0 bytes): what was in it is lost. {_DAMAGED}")
        if self._one("PRAGMA application_id")[0] != APPLICATION_ID:
            raise JournalError(f"journal {self.path}: it is another program's database. Name another file.")
        self._version = version = self._one("PRAGMA user_version")[0]
        if version not in READABLE:
            raise JournalError(
                f"journal {self.path}: it has version {version}, this release writes {SCHEMA_VERSION}. "
                "Run the release that wrote it."
            )
        found = self._one("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'combinations')")
        self._knows_combinations = bool(found[0])
        verdict = self._one("PRAGMA quick_check(1)")[0]
        if verdict != "ok":
            raise JournalError(f"journal {self.path}: it is damaged ({verdict}). {_DAMAGED}")

        # One whose state is not known would be open nowhere, and forgotten.
        unknown = self._one(f"SELECT id, state FROM intents WHERE state NOT IN ({_ALL_STATES}) LIMIT 1")  # noqa: S608 - constants
        if unknown is not None:
            _Row(self.path, "intents", f"id {unknown[0]}").read("state", unknown[1], State)

    def _one(self, query: str, *values: object) -> Any:
        with self._failures():
            return self._db.execute(query, values).fetchone()

    def _all(self, query: str, *values: object) -> list[Any]:
        with self._failures():
            return self._db.execute(query, values).fetchall()

    @property
    def stamp(self) -> Stamp:
        row = self._one("SELECT mode, accounts FROM stamp")
        if row is None:
            raise JournalError(f"journal {self.path}: its stamp is missing. {_DAMAGED}")
        return Stamp(row[0], frozenset(_Row(self.path, "stamp", "the only row").read("accounts", row[1], json.loads)))

    @property
    def created(self) -> datetime:
        return datetime.fromisoformat(self._one("SELECT created FROM stamp")[0])

    def intent(self, intent_id: str) -> Intent:
        """Raises KeyError for an id that is not in the journal."""
        found = self._intents("i.id = ?", intent_id)
        if not found:
            raise KeyError(intent_id)
        return found[0]

    def open_intent(self, account: str, con_id: int) -> Intent | None:
        """The intent that blocks an instrument, if any."""
        found = self._intents(f"i.account = ? AND i.con_id = ? AND i.state IN ({_OPEN_STATES})", account, con_id)
        return found[0] if found else None

    def open_intents(self) -> tuple[Intent, ...]:
        """All that are not over, oldest first."""
        return self._intents(f"i.state IN ({_OPEN_STATES})")

    def intents(self, account: str, con_id: int) -> tuple[Intent, ...]:
        """All of an instrument, oldest first."""
        return self._intents("i.account = ? AND i.con_id = ?", account, con_id)

    def intent_of_order(self, client_id: int, order_id: int) -> Intent | None:
        """Whose order it is that a message of this session names."""
        found = self._intents("o.client_id = ? AND o.order_id = ?", client_id, order_id)
        return found[0] if found else None

    def intent_of_ref(self, ref: str) -> Intent | None:
        """Whose order carries an orderRef."""
        found = self._intents("o.ref = ?", ref)
        return found[0] if found else None

    def legs_of(self, lead: str) -> tuple[Intent, ...]:
        """All intents of a combination, the one that it is named after first."""
        return self._intents("c.lead = ?", lead) if self._knows_combinations else ()

    def _intents(self, condition: str, *values: object) -> tuple[Intent, ...]:
        combined, join = "'', '1'", ""
        if self._knows_combinations:
            combined = "COALESCE(c.lead, ''), COALESCE(c.per_unit, '1')"
            join = " LEFT JOIN combinations c ON c.intent = i.id"
        # The conditions are constants of this module; what comes from outside is bound.
        rows = self._all(
            "SELECT i.id, i.account, i.con_id, i.side, COALESCE(o.quantity, i.quantity), i.position, i.rule,"  # noqa: S608
            " i.oca_group, i.created, i.state, COALESCE(o.order_id, 0), COALESCE(o.client_id, 0),"
            " COALESCE(o.limit_price, '0'), COALESCE(o.stop_price, '0'), o.sent, COALESCE(o.perm_id, 0),"
            f" i.proven_filled, i.refused, i.reason, {combined}"
            f" FROM intents i LEFT JOIN orders o ON o.intent = i.id{join} WHERE {condition} ORDER BY i.rowid",
            *values,
        )
        return tuple(self._intent(row) for row in rows)

    def _intent(self, row: Sequence[Any]) -> Intent:
        of = _Row(self.path, "intents", f"id {row[0]}")
        order = _Row(self.path, "orders", f"of intent {row[0]}")
        return Intent(
            id=row[0],
            account=row[1],
            con_id=row[2],
            side=of.read("side", row[3], Side),
            quantity=(order if row[10] else of).read("quantity", row[4], _number),
            position=of.read("position", row[5], _number),
            rule=row[6],
            oca_group=row[7],
            created=of.read("created", row[8], _time),
            state=of.read("state", row[9], State),
            order_id=row[10],
            client_id=row[11],
            limit=order.read("limit_price", row[12], _number),
            stop=order.read("stop_price", row[13], _number),
            sent=None if row[14] is None else order.read("sent", row[14], _time),
            perm_id=row[15],
            fills=self._fills(row[0]),
            proven_filled=of.read("proven_filled", row[16], _number),
            refused=bool(row[17]),
            reason=row[18],
            lead=row[19],
            per_unit=of.read("per_unit", row[20], _number),
        )

    def _fills(self, intent_id: str) -> tuple[Fill, ...]:
        rows = self._all(
            "SELECT f.exec_id, f.quantity, f.price, f.time FROM fills f JOIN orders o ON o.ref = f.ref"
            " WHERE o.intent = ? ORDER BY f.rowid",
            intent_id,
        )
        return tuple(self._fill(row) for row in rows)

    def _fill(self, row: Sequence[Any]) -> Fill:
        of = _Row(self.path, "fills", f"exec_id {row[0]}")
        quantity, price = of.read("quantity", row[1], _number), of.read("price", row[2], _number)
        return Fill(row[0], quantity, price, of.read("time", row[3], _time))

    def holding(self, account: str, con_id: int) -> Holding | None:
        """What the position is expected to be; None if it was never counted."""
        row = self._one(
            f"SELECT {self._holding_columns} FROM holdings WHERE account = ? AND con_id = ?",  # noqa: S608 - constants
            *(account, con_id),
        )
        return None if row is None else self._holding(account, con_id, row)

    def holdings(self) -> dict[Key, Holding]:
        """All that were ever counted, by account and contract id."""
        rows = self._all(f"SELECT account, con_id, {self._holding_columns} FROM holdings")  # noqa: S608 - constants
        return {(row[0], row[1]): self._holding(row[0], row[1], row[2:]) for row in rows}

    def _holding(self, account: str, con_id: int, row: Sequence[Any]) -> Holding:
        quantity, group, episode, average = row
        of = _Row(self.path, "holdings", f"of contract {con_id} in {masked(account)}")
        known = of.read("average", average, _number) if average else None
        return Holding(of.read("quantity", quantity, _number), group, episode, known)

    @property
    def _holding_columns(self) -> str:
        episode = "episode, average" if self._version >= 2 else "'', ''"
        return f"quantity, oca_group, {episode}"

    @property
    def empty(self) -> bool:
        """Whether nothing was ever written into it but its stamp."""
        return not self._one("SELECT EXISTS (SELECT 1 FROM events)")[0]

    def lock(self, account: str, con_id: int) -> Lock | None:
        row = self._one("SELECT reason, since FROM locks WHERE account = ? AND con_id = ?", account, con_id)
        return None if row is None else self._lock(account, con_id, *row)

    def locks(self) -> tuple[Lock, ...]:
        rows = self._all("SELECT account, con_id, reason, since FROM locks ORDER BY since")
        return tuple(self._lock(*row) for row in rows)

    def _lock(self, account: str, con_id: int, reason: str, since: str) -> Lock:
        of = _Row(self.path, "locks", f"of contract {con_id} in {masked(account)}")
        return Lock(account, con_id, reason, of.read("since", since, _time))

    def uncounted(self, account: str, con_id: int, executions: Iterable[Execution]) -> tuple[Execution, ...]:
        """Those of an instrument that are neither ours nor counted in its holding."""
        return tuple(
            execution
            for execution in executions
            if (execution.account, execution.con_id) == (account, con_id)
            and not self._one(
                "SELECT EXISTS (SELECT 1 FROM others WHERE exec_id = ?1) OR EXISTS (SELECT 1 FROM fills"
                " WHERE exec_id = ?1) OR EXISTS (SELECT 1 FROM orders WHERE ref = ?2)",
                *(execution.fill.exec_id, execution.ref),
            )[0]
        )

    def sent_since(self, time: datetime, *, closes_only: bool = False) -> int:
        """How many orders were recorded for sending at or after a time; ``closes_only``: without those that rest with a
        trigger. A combination is one order."""
        condition = " AND stop_price = '0'" if closes_only else ""
        if self._knows_combinations:
            condition += (
                " AND NOT EXISTS (SELECT 1 FROM combinations c WHERE c.intent = orders.intent AND c.lead <> c.intent)"
            )
        count: int = self._one(f"SELECT COUNT(*) FROM orders WHERE sent >= ?{condition}", _text(time))[0]  # noqa: S608 - constants
        return count

    def events(
        self, *, intent: str | None = None, instrument: tuple[str, int] | None = None, after: int = 0
    ) -> tuple[Record, ...]:
        """Events in the order they were written: of an intent, of an instrument (account, contract id), or all;
        ``after`` leaves out those up to a number."""
        condition = "number > ?"
        values: list[object] = [after]
        if intent is not None:
            condition += " AND intent = ?"
            values.append(intent)
        if instrument is not None:
            condition += " AND account = ? AND con_id = ?"
            values.extend(instrument)
        rows = self._all(
            f"SELECT number, time, kind, intent, account, con_id, data FROM events WHERE {condition} ORDER BY number",  # noqa: S608 - constants, values are bound
            *values,
        )
        return tuple(self._record(row) for row in rows)

    def _record(self, row: Sequence[Any]) -> Record:
        of = _Row(self.path, "events", f"number {row[0]}")
        number, time, kind, intent, account, con_id, data = row
        at, evidence = of.read("time", time, _time), of.read("data", data, json.loads)
        return Record(number, at, kind, intent, account, con_id, evidence)

    def memory(self) -> dict[tuple[str, int, str], Any]:
        """What rules remember, by account, contract id and rule."""
        rows = self._all("SELECT account, con_id, rule, data FROM rule_memory")
        return {
            tuple(row[:3]): _Row(self.path, "rule_memory", f"rule {row[2]}").read("data", row[3], json.loads)
            for row in rows
        }

    def remembered(self, prefix: str, read: Callable[[Any], _Value]) -> Iterator[tuple[str, int, str, _Value]]:
        """What is stored under rules with this prefix: account, contract id, the rest of the rule's name, the value.

        Raises JournalError that names the row if ``read`` cannot read one: without it a restart would forget a decision
        or a mark, and nobody would know.
        """
        for (account, con_id, rule), data in self.memory().items():
            if rule.startswith(prefix):
                try:
                    value = read(data)
                except (ValueError, TypeError, KeyError, ArithmeticError) as error:
                    name = rule.replace(account, masked(account)) if account else rule
                    first = str(error).partition("\n")[0]
                    raise JournalError(
                        f"journal {self.path}: a row is damaged: table rule_memory, rule {name}, column data: {first}. "
                        f"{_DAMAGED}"
                    ) from error
                yield account, con_id, rule.removeprefix(prefix), value


class _OpenIntents:
    """Intents that are not over, oldest first; of a contract there is one at most."""

    def __init__(self) -> None:
        self.by_id: dict[str, Intent] = {}
        self.by_key: dict[Key, Intent] = {}
        self.by_order: dict[tuple[int, int], Intent] = {}
        """By client id and order id, once there is an order."""

    def learn(self, intent: Intent) -> None:
        key, order = (intent.account, intent.con_id), (intent.client_id, intent.order_id)
        if intent.state in OPEN:
            self.by_id[intent.id] = self.by_key[key] = intent
            if intent.order_id:
                self.by_order[order] = intent
        elif self.by_id.pop(intent.id, None) is not None:
            del self.by_key[key]
            self.by_order.pop(order, None)


class Journal(JournalReader):
    """The journal for the one process that writes it. As there is no other writer, open intents and holdings are cached
    in memory, until a change of its own fails: a quote must not wait for a disk read for each of a thousand positions.
    """

    def __init__(
        self,
        path: Path,
        stamp: Stamp,
        *,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
        busy_timeout: float = 2.0,
    ) -> None:
        """Open or create it. ``clock`` gives aware times, ``new_id`` ULIDs; ``busy_timeout`` in seconds is how long
        a write waits for another one. Raises JournalError and its kinds.

        Call `recover` before anything else: what the last process left open is unknown now.
        """
        if not stamp.accounts:
            raise ValueError("a journal must be stamped with at least one account")
        self.path = path
        self._clock, self._new_id = clock, new_id
        self._depth = 0
        self._open: _OpenIntents | None = None
        self._held: dict[Key, Holding] | None = None
        self._lock_file = _hold(path)
        try:
            if not path.exists():
                self._create(stamp)
            with self._failures():
                self._db = sqlite3.connect(path, isolation_level=None, timeout=busy_timeout)
            try:
                self._prepare(stamp)
            except BaseException:
                self._db.close()
                raise
        except BaseException:
            self._lock_file.close()
            raise

    def close(self) -> None:
        super().close()
        self._lock_file.close()

    def _create(self, stamp: Stamp) -> None:
        """A new one appears whole under its name: one that is empty has lost what was in it, and is no new one."""
        new = self.path.with_name(self.path.name + ".new")
        with self._failures():
            new.unlink(missing_ok=True)
            database = sqlite3.connect(new, isolation_level=None)
            try:
                database.execute("PRAGMA synchronous = FULL")
                database.execute("BEGIN IMMEDIATE")
                for statement in _statements(_SCHEMA):
                    database.execute(statement)
                database.execute(
                    "INSERT INTO stamp VALUES (?, ?, ?)",
                    (stamp.mode, json.dumps(sorted(stamp.accounts)), _text(self._clock())),
                )
                database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                database.execute("COMMIT")
            finally:
                database.close()
            try:
                new.rename(self.path)
                directory = os.open(self.path.parent, os.O_RDONLY)
                try:
                    os.fsync(directory)
                finally:
                    os.close(directory)
            except OSError as error:
                raise JournalError(f"journal {self.path}: it cannot be created: {error.strerror}.") from error

    def _prepare(self, stamp: Stamp) -> None:
        if self.path.stat().st_size == 0:
            raise JournalError(f"journal {self.path}: it is empty (0 bytes): what was in it is lost. {_DAMAGED}")
        with self._failures():
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
        self._check()
        # Before the migration: a journal of another mode or of other accounts stays as it is.
        # An account that is new to it is not guarded before a person accepts it.
        if self.stamp.mode != stamp.mode or not self.stamp.accounts <= stamp.accounts:
            raise JournalMismatchError(
                f"journal {self.path}: it belongs to {self.stamp}; this is {stamp}. "
                "Name another file for this mode and these accounts; never share one."
            )
        if self._version < SCHEMA_VERSION:
            self._migrate()
        if not self._knows_combinations:
            with self.transaction(), self._failures():
                for statement in _statements(_COMBINATIONS):
                    self._db.execute(statement)
            self._knows_combinations = True

    def accept(self, accounts: Iterable[str], by: str) -> None:
        """The journal is for these accounts too from now on."""
        accepted = frozenset(accounts)
        with self.transaction():
            self._write("UPDATE stamp SET accounts = ?", json.dumps(sorted(self.stamp.accounts | accepted)))
            for account in sorted(accepted):
                self.append("account accepted", account, 0, {"by": by})

    def _migrate(self) -> None:
        """Bring a journal of an older release to the present version: all of it, or nothing."""
        with self.transaction(), self._failures():
            for statement in _statements(_FROM_1_TO_2):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._version = SCHEMA_VERSION

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Several changes that hold together or not at all, and cost one write to the disk. May be nested; an error
        must then leave the outermost block."""
        if self._depth:
            yield
            return
        with self._failures():
            self._db.execute("BEGIN IMMEDIATE")
        self._depth = 1
        try:
            yield
            with self._failures():
                self._db.execute("COMMIT")
        except BaseException:
            self._open = self._held = None
            if self._db.in_transaction:
                with self._failures():
                    self._db.execute("ROLLBACK")
            raise
        finally:
            self._depth = 0

    def intent(self, intent_id: str) -> Intent:
        return self._known_open().by_id.get(intent_id) or super().intent(intent_id)

    def intent_of_order(self, client_id: int, order_id: int) -> Intent | None:
        return self._known_open().by_order.get((client_id, order_id)) or super().intent_of_order(client_id, order_id)

    def intent_of_ref(self, ref: str) -> Intent | None:
        return self._known_open().by_id.get(ref.removeprefix(REF_PREFIX)) or super().intent_of_ref(ref)

    def open_intent(self, account: str, con_id: int) -> Intent | None:
        return self._known_open().by_key.get((account, con_id))

    def open_intents(self) -> tuple[Intent, ...]:
        return tuple(self._known_open().by_id.values())

    def _known_open(self) -> _OpenIntents:
        if self._open is None:
            self._open = _OpenIntents()
            for intent in super().open_intents():
                self._open.learn(intent)
        return self._open

    def holding(self, account: str, con_id: int) -> Holding | None:
        return self._known_held().get((account, con_id))

    def holdings(self) -> dict[Key, Holding]:
        return dict(self._known_held())

    def _known_held(self) -> dict[Key, Holding]:
        if self._held is None:
            self._held = super().holdings()
        return self._held

    def _write(self, statement: str, *values: object) -> int:
        """Returns how many rows it changed."""
        with self._failures():
            return self._db.execute(statement, values).rowcount

    def append(
        self, kind: str, account: str, con_id: int, evidence: Evidence, intent: str | None = None
    ) -> None:  # fmt: skip
        """Record something for `explain`."""
        self._write(
            "INSERT INTO events (time, kind, intent, account, con_id, data) VALUES (?, ?, ?, ?, ?, ?)",
            *(_text(self._clock()), kind, intent, account, con_id, json.dumps(evidence, default=_plain)),
        )

    def recover(self) -> tuple[Intent, ...]:
        """After a start: what was planned only is dropped, what may be at the broker is UNKNOWN. Returns the intents
        whose outcome must be asked for."""
        with self.transaction():
            for intent in self.open_intents():
                if intent.state is State.PLANNED:
                    self.record(intent.id, Dropped("restarted before it was sent"))
                elif intent.state in AT_BROKER:
                    self.record(intent.id, OutOfSight("restarted"))
            return tuple(intent for intent in self.open_intents() if intent.state in AT_BROKER)

    def begin_intent(
        self, account: str, con_id: int, side: Side, position: Decimal, quantity: Decimal, rule: str, evidence: Evidence
    ) -> Intent:  # fmt: skip
        """Decide to close. ``position`` signed, ``quantity`` above zero. Nothing may be sent yet.

        Raises OpenIntentError if the instrument has an open one, UnsettledError if the position is not the one that
        was counted last, JournalError if it cannot be written.
        """
        if quantity <= 0 or quantity > abs(position) or side.sign * position >= 0:
            raise ValueError(f"{side} {quantity} does not close a position of {position}")
        intent_id = self._new_id()
        with self.transaction():
            blocking = self.open_intent(account, con_id)
            if blocking is not None:
                raise OpenIntentError(
                    f"journal {self.path}: intent {blocking.id} of contract {con_id} is {blocking.state}. "
                    "It must be over before another one begins."
                )
            group = self._settled(account, con_id, position)
            self._write(
                "INSERT INTO intents (id, account, con_id, side, quantity, position, rule, oca_group, created, state)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                *(intent_id, account, con_id, side, str(quantity), str(position), rule, group),
                *(_text(self._clock()), State.PLANNED),
            )
            self.append("decided", account, con_id, evidence, intent_id)
            intent = super().intent(intent_id)
            self._known_open().learn(intent)
        return intent

    def record_sending(
        self, intent_id: str, *, client_id: int, next_valid_id: int, position: Decimal, quantity: Decimal,
        limit: Decimal, evidence: Evidence, stop: Decimal = ZERO,
    ) -> OrderToSend:  # fmt: skip
        """Record, in one transaction, the order that will be sent, and return it.

        ``position`` is the one just read, ``quantity`` what the gates allow. The order id is the greater of one above
        the last id that this journal gave out for the client, and ``next_valid_id``.

        Raises UnsettledError if the position is not the one that was counted last, JournalError if it cannot be
        written; then nothing may be sent.
        """
        if client_id <= 0:
            raise ValueError("client id 0 would take over orders made by hand; it must be 1 or more")
        now = self._clock()
        with self.transaction():
            intent = self.intent(intent_id)
            group = self._settled(intent.account, intent.con_id, position)
            row = self._one("SELECT order_id FROM counters WHERE client_id = ?", client_id)
            order_id = max(next_valid_id, 1, row[0] + 1 if row else 0)
            self._write(
                "INSERT INTO counters VALUES (?, ?) ON CONFLICT DO UPDATE SET order_id = excluded.order_id",
                *(client_id, order_id),
            )
            self._write(
                "INSERT INTO orders (ref, intent, client_id, order_id, quantity, limit_price, stop_price, sent)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                *(intent.own_ref, intent.id, client_id, order_id, str(quantity), str(limit), str(stop), _text(now)),
            )
            self._apply(intent, Sending(order_id, client_id, position, quantity, limit, group, now, stop), evidence)
        return OrderToSend(
            intent.account, intent.con_id, intent.side, quantity, limit, intent.ref, order_id, client_id,
            group, stop=stop,
        )  # fmt: skip

    def record_combo(
        self,
        account: str,
        legs: Sequence[LegToSend],
        rule: str,
        *,
        client_id: int,
        next_valid_id: int,
        side: Side,
        quantity: Decimal,
        limit: Decimal,
        symbol: str,
        currency: str,
        sold: frozenset[int],
        evidence: Evidence,
    ) -> ComboToSend:
        """Record, in one transaction, an intent for each leg and the one order that trades them all, and return it.
        ``sold``: the legs that are sold when the combination is bought. Each leg blocks its instrument, and is followed
        to an end of its own; the order carries the mark and the id of the first.

        Raises OpenIntentError, UnsettledError or JournalError as for a single order; then nothing may be sent.
        """
        with self.transaction():
            begun = [
                self.begin_intent(account, leg.con_id, leg.side, leg.position, leg.quantity, rule, evidence)
                for leg in legs
            ]
            lead = begun[0].id
            orders = []
            for intent, leg in zip(begun, legs, strict=True):
                self._write("INSERT INTO combinations VALUES (?, ?, ?)", intent.id, lead, str(leg.per_unit))
                self._known_open().learn(replace(intent, lead=lead, per_unit=leg.per_unit))
                orders.append(
                    self.record_sending(
                        intent.id,
                        client_id=client_id,
                        next_valid_id=next_valid_id,
                        position=leg.position,
                        quantity=leg.quantity,
                        limit=limit,
                        evidence={"combination": lead, "per_unit": leg.per_unit},
                    )
                )
        signed = tuple((leg.con_id, -leg.per_unit if leg.con_id in sold else leg.per_unit) for leg in legs)
        return ComboToSend(
            account, symbol, currency, side, quantity, limit, signed, orders[0].ref, orders[0].order_id, client_id
        )

    def record(self, intent_id: str, event: Event, evidence: Evidence | None = None) -> Change:
        """Record an event of an intent, and all that follows from it for fills, holding and locks, in one transaction.
        The same execution counts once. Returns the change; the caller must carry out its effects."""
        if isinstance(event, Sending):
            raise TypeError("an order is written down by record_sending")
        known = self.intent(intent_id)
        change = apply(known, event)
        if change.intent == known:
            # The broker repeats most reports many times: nothing must be written, and the disk need not be read.
            return change
        with self.transaction():
            return self._apply(known, event, evidence or {})

    def record_finding(self, intent_id: str, finding: Finding) -> Change:
        """Record everything that a sync reported about an intent, in one transaction."""
        events: list[Event] = [Executed(fill) for fill in finding.fills]
        if finding.perm_id:
            events.append(Acknowledged(finding.perm_id))
        if finding.proven is not None:
            events.append(finding.proven)
        effects: tuple[Effect, ...] = ()
        with self.transaction():
            for event in events:
                effects += self.record(intent_id, event).effects
            return Change(self.intent(intent_id), tuple(dict.fromkeys(effects)))

    def _apply(self, old: Intent, event: Event, evidence: Evidence) -> Change:
        change = apply(old, event)
        new = change.intent
        for fill in new.fills[len(old.fills) :]:
            self._write(
                "INSERT INTO fills (exec_id, ref, quantity, price, time) VALUES (?, ?, ?, ?, ?)",
                *(fill.exec_id, new.own_ref, str(fill.quantity), str(fill.price), _text(fill.time)),
            )
        if new.perm_id != old.perm_id:
            self._write("UPDATE orders SET perm_id = ? WHERE ref = ?", new.perm_id, new.own_ref)
        self._write(
            "UPDATE intents SET state = ?, position = ?, oca_group = ?, proven_filled = ?, refused = ?, reason = ?"
            " WHERE id = ?",
            *(new.state, str(new.position), new.oca_group, str(new.proven_filled), new.refused, new.reason, new.id),
        )
        self._known_open().learn(new)
        if new.filled != old.filled:
            holding = self.holding(new.account, new.con_id)
            before = new.position if holding is None else holding.quantity
            self._hold(new.account, new.con_id, before + new.side.sign * (new.filled - old.filled))
        if Effect.LOCK in change.effects:
            self.add_lock(new.account, new.con_id, f"{new.state}: {new.reason}", new.id)
        data = {"event": asdict(event), "state": new.state, "filled": str(new.filled), **evidence}
        self.append(type(event).__name__, new.account, new.con_id, data, new.id)
        return change

    def count_holding(
        self,
        account: str,
        con_id: int,
        quantity: Decimal,
        cause: str,
        others: Iterable[Execution] = (),
        *,
        average: Decimal | None = None,
        anew: bool = False,
    ) -> Holding:
        """Record what a position is, when it is first seen or its change is explained by something else than our fills.
        ``others``: executions by other clients that are in it; they will not be counted again. A change of size starts
        a new OCA group; a new episode starts when the position was flat or on the other side before, or with ``anew``;
        it continues the one before (`episodes`) unless the position was closed and opened again. ``average``: the
        average price that the broker reports for it."""
        with self.transaction():
            known = self.holding(account, con_id)
            if known is None or known.quantity != quantity or anew:
                self.append("holding", account, con_id, {"quantity": quantity, "cause": cause})
            for execution in others:
                self._write("INSERT INTO others VALUES (?) ON CONFLICT DO NOTHING", execution.fill.exec_id)
            reopened = cause == Cause.REOPENED
            return self._hold(account, con_id, quantity, average=average, anew=anew, reopened=reopened)

    def _settled(self, account: str, con_id: int, position: Decimal) -> str:
        """The OCA group of a holding that is as it is expected to be."""
        known = self.holding(account, con_id)
        if known is None or known.quantity != position:
            expected = "not counted yet" if known is None else f"expected to be {known.quantity}"
            raise UnsettledError(
                f"journal {self.path}: the position in contract {con_id} is {position} and {expected}. "
                "Wait for a full sync, or look at the position and release it."
            )
        return known.oca_group

    def _hold(
        self,
        account: str,
        con_id: int,
        quantity: Decimal,
        *,
        average: Decimal | None = None,
        anew: bool = False,
        reopened: bool = False,
    ) -> Holding:
        """Store a holding. As long as its size stays, closes share an OCA group, so that the broker lets only one of
        them trade; after an execution the broker would refuse further orders in the group."""
        known = self.holding(account, con_id)
        same = known is not None and known.quantity == quantity and not anew
        if known is not None and same and average in (None, known.average):
            return known
        goes_on = known is not None and known.episode != "" and known.quantity * quantity > 0 and not reopened
        if known is None or not goes_on:
            episode = self._new_id() if quantity else ""
        else:
            episode = continued(known.episode) if anew else known.episode
        group = known.oca_group if known is not None and same else f"pm-{self._new_id()}"
        holding = Holding(quantity, group, episode, average)
        self._write(
            "INSERT INTO holdings VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET quantity = excluded.quantity,"
            " oca_group = excluded.oca_group, episode = excluded.episode, average = excluded.average",
            *(account, con_id, str(quantity), holding.oca_group, holding.episode),
            "" if average is None else str(average),
        )
        self._known_held()[account, con_id] = holding
        return holding

    def add_lock(self, account: str, con_id: int, reason: str, intent: str | None = None) -> None:
        """Lock an instrument; the first reason is retained."""
        with self.transaction():
            if self._write(
                "INSERT INTO locks VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                *(account, con_id, reason, _text(self._clock())),
            ):
                self.append("locked", account, con_id, {"reason": reason}, intent)

    def release(self, account: str, con_id: int, position: Decimal, by: str, others: Iterable[Execution] = ()) -> bool:
        """A person has checked the position: the lock ends, a locked intent is over, and the position counts as it is,
        with the executions of ``others`` in it. If it is not what was expected (a split, an assignment), it is another
        episode. Returns whether there was a lock. An intent that may still be at the broker stays open."""
        with self.transaction():
            if not self._write("DELETE FROM locks WHERE account = ? AND con_id = ?", account, con_id):
                return False
            self.append("released", account, con_id, {"by": by})
            intent = self.open_intent(account, con_id)
            if intent is not None and intent.state is State.LOCKED:
                self.record(intent.id, Released(by))
            known = self.holding(account, con_id)
            anew = known is None or known.quantity != position
            self.count_holding(account, con_id, position, f"released by {by}", others, anew=anew)
            return True

    def remember(self, account: str, con_id: int, rule: str, data: Any) -> None:
        """Store what a rule must know after a restart (anything that JSON can hold)."""
        self._write(
            "INSERT INTO rule_memory VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET data = excluded.data",
            *(account, con_id, rule, json.dumps(data, default=_plain)),
        )

    def drop(self, account: str, con_id: int, rule: str) -> None:
        """Drop one thing that was remembered."""
        self._write("DELETE FROM rule_memory WHERE account = ? AND con_id = ? AND rule = ?", account, con_id, rule)

    def forget(self, account: str, con_id: int) -> None:
        """Drop what rules remember about a position that is gone."""
        self._write("DELETE FROM rule_memory WHERE account = ? AND con_id = ?", account, con_id)


@dataclass(frozen=True)
class _Row:
    """A row that is read: what in it cannot be understood is named."""

    path: Path
    table: str
    which: str

    def read(self, column: str, value: Any, kind: Callable[[Any], _Value]) -> _Value:
        """Raises JournalError, naming table, row and column."""
        try:
            return kind(value)
        except (ValueError, ArithmeticError, TypeError) as error:
            shown = value if len(repr(value)) <= MOST_SHOWN else f"{str(value)[:MOST_SHOWN]}…"
            raise JournalError(
                f"journal {self.path}: a row is damaged: table {self.table}, {self.which}, column {column}: {shown!r}. "
                "Keep the file, check open orders at the broker, then put back a copy or move it away."
            ) from error


MOST_SHOWN = 60
"""Characters of a damaged value that are shown."""


def _number(text: str) -> Decimal:
    number = Decimal(text)
    if not number.is_finite():
        raise ValueError(text)
    return number


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(text)
    return time


def _hold(path: Path) -> BinaryIO:
    """Lock the file beside the journal; the lock ends with the process, however it ends."""
    lock = path.with_name(path.name + ".lock")
    try:
        file = lock.open("a+b")
    except OSError as error:
        raise JournalError(f"journal {path}: {lock} cannot be opened: {error.strerror}. Look at its rights.") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        holder = file.read(20).decode(errors="replace").strip() or "unknown"
        file.close()
        raise JournalLockedError(
            f"journal {path}: another position manager (process {holder}) writes it. Stop that one first."
        ) from error
    file.truncate(0)
    file.write(f"{os.getpid()}\n".encode())
    file.flush()
    return file


def _statements(script: str) -> Iterator[str]:
    """The statements of a script one by one; sqlite3's own executescript would commit in between."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _text(time: datetime) -> str:
    """A time that sorts as text: UTC, always with microseconds."""
    if time.tzinfo is None:
        raise ValueError(f"{time} has no time zone")
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def _plain(value: object) -> str:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime):
        return _text(value)
    raise TypeError(f"{type(value).__name__} cannot be written to the journal")
