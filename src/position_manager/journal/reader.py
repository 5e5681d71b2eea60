"""The journal for reading: intents, holdings, locks, events and what rules remember."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Self, TypeVar

from host_service import sqlite_file
from ib_connection.accounts import masked
from position_manager.journal.errors import DAMAGED, JournalError, failure
from position_manager.journal.records import Holding, Key, Lock, Record, Stamp
from position_manager.journal.rows import Row, parse_number, parse_time, time_text
from position_manager.journal.schema import ALL_STATES, APPLICATION_ID, OPEN_STATES, READABLE, SCHEMA_VERSION
from position_manager.orders.evidence import Execution
from position_manager.orders.intents import Fill, Intent, Side, State

_Value = TypeVar("_Value")


class JournalReader:
    """The journal for reading; may be open while a position manager writes. Close it after use."""

    def __init__(self, path: Path, parameters: str = "mode=ro") -> None:
        """``parameters`` of SQLite's address. Raises JournalError if there is no journal that can be read."""
        self.path = path
        with self._failures():
            self._db = sqlite3.connect(f"{path.absolute().as_uri()}?{parameters}", uri=True, isolation_level=None)
        try:
            self._check()
        except BaseException:
            self._db.close()
            raise

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
            raise failure(self.path, error) from error

    def _check(self) -> None:
        """Raise JournalError unless this is a whole journal of this version."""
        if self.path.stat().st_size == 0:
            raise JournalError(f"journal {self.path}: it is empty (0 bytes): what was in it is lost. {DAMAGED}")
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
        with self._failures():
            damage = sqlite_file.damage(self._db)
        if damage is not None:
            raise JournalError(f"journal {self.path}: it is damaged ({damage}). {DAMAGED}")

        # One whose state is not known would be open nowhere, and forgotten.
        unknown = self._one(f"SELECT id, state FROM intents WHERE state NOT IN ({ALL_STATES}) LIMIT 1")  # noqa: S608 - constants
        if unknown is not None:
            Row(self.path, "intents", f"id {unknown[0]}").read("state", unknown[1], State)

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
            raise JournalError(f"journal {self.path}: its stamp is missing. {DAMAGED}")
        return Stamp(row[0], frozenset(Row(self.path, "stamp", "the only row").read("accounts", row[1], json.loads)))

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
        found = self._intents(f"i.account = ? AND i.con_id = ? AND i.state IN ({OPEN_STATES})", account, con_id)
        return found[0] if found else None

    def open_intents(self) -> tuple[Intent, ...]:
        """All that are not over, oldest first."""
        return self._intents(f"i.state IN ({OPEN_STATES})")

    def intents(self, account: str, con_id: int) -> tuple[Intent, ...]:
        """All of an instrument, oldest first."""
        return self._intents("i.account = ? AND i.con_id = ?", account, con_id)

    def newest_intents(self, most: int, before: str | None = None) -> tuple[Intent, ...]:
        """The newest ones, oldest first; ``before``: only those that are older than this intent."""
        older = "" if before is None else " WHERE rowid < (SELECT rowid FROM intents WHERE id = ?)"
        newest = f"SELECT rowid FROM intents{older} ORDER BY rowid DESC LIMIT ?"  # noqa: S608 - constants, values are bound
        return self._intents(f"i.rowid IN ({newest})", *(() if before is None else (before,)), most)

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
        rows = self._all(
            "SELECT i.id, i.account, i.con_id, i.side, COALESCE(o.quantity, i.quantity), i.position, i.rule,"  # noqa: S608 - constants, values are bound
            " i.oca_group, i.created, i.state, COALESCE(o.order_id, 0), COALESCE(o.client_id, 0),"
            " COALESCE(o.limit_price, '0'), COALESCE(o.stop_price, '0'), o.sent, COALESCE(o.perm_id, 0),"
            f" i.proven_filled, i.refused, i.reason, {combined}"
            f" FROM intents i LEFT JOIN orders o ON o.intent = i.id{join} WHERE {condition} ORDER BY i.rowid",
            *values,
        )
        return tuple(self._intent(row) for row in rows)

    def _intent(self, row: Sequence[Any]) -> Intent:
        of = Row(self.path, "intents", f"id {row[0]}")
        order = Row(self.path, "orders", f"of intent {row[0]}")
        return Intent(
            id=row[0],
            account=row[1],
            con_id=row[2],
            side=of.read("side", row[3], Side),
            quantity=(order if row[10] else of).read("quantity", row[4], parse_number),
            position=of.read("position", row[5], parse_number),
            rule=row[6],
            oca_group=row[7],
            created=of.read("created", row[8], parse_time),
            state=of.read("state", row[9], State),
            order_id=row[10],
            client_id=row[11],
            limit=order.read("limit_price", row[12], parse_number),
            stop=order.read("stop_price", row[13], parse_number),
            sent=None if row[14] is None else order.read("sent", row[14], parse_time),
            perm_id=row[15],
            fills=self._fills(row[0]),
            proven_filled=of.read("proven_filled", row[16], parse_number),
            refused=bool(row[17]),
            reason=row[18],
            lead=row[19],
            per_unit=of.read("per_unit", row[20], parse_number),
        )

    def _fills(self, intent_id: str) -> tuple[Fill, ...]:
        rows = self._all(
            "SELECT f.exec_id, f.quantity, f.price, f.time FROM fills f JOIN orders o ON o.ref = f.ref"
            " WHERE o.intent = ? ORDER BY f.rowid",
            intent_id,
        )
        return tuple(self._fill(row) for row in rows)

    def _fill(self, row: Sequence[Any]) -> Fill:
        of = Row(self.path, "fills", f"exec_id {row[0]}")
        quantity, price = of.read("quantity", row[1], parse_number), of.read("price", row[2], parse_number)
        return Fill(row[0], quantity, price, of.read("time", row[3], parse_time))

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
        of = Row(self.path, "holdings", f"of contract {con_id} in {masked(account)}")
        known = of.read("average", average, parse_number) if average else None
        return Holding(of.read("quantity", quantity, parse_number), group, episode, known)

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
        of = Row(self.path, "locks", f"of contract {con_id} in {masked(account)}")
        return Lock(account, con_id, reason, of.read("since", since, parse_time))

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
        count: int = self._one(f"SELECT COUNT(*) FROM orders WHERE sent >= ?{condition}", time_text(time))[0]  # noqa: S608 - constants
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
        of = Row(self.path, "events", f"number {row[0]}")
        number, time, kind, intent, account, con_id, data = row
        at, evidence = of.read("time", time, parse_time), of.read("data", data, json.loads)
        return Record(number, at, kind, intent, account, con_id, evidence)

    def memory(self) -> dict[tuple[str, int, str], Any]:
        """What rules remember, by account, contract id and rule."""
        rows = self._all("SELECT account, con_id, rule, data FROM rule_memory")
        return {
            tuple(row[:3]): Row(self.path, "rule_memory", f"rule {row[2]}").read("data", row[3], json.loads)
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
                        f"{DAMAGED}"
                    ) from error
                yield account, con_id, rule.removeprefix(prefix), value
