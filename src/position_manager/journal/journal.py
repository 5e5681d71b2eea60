"""The journal: what was decided, sent and proven, on disk before it takes effect.

SQLite with a write-ahead log and ``synchronous=FULL``: when a call returns, its change survives the loss of power.
One process writes (a lock file beside it); others may read while it does. A journal belongs to one mode and one set of
accounts, and refuses any other.

**Cannot write = do not send.** The only way to what the broker adapter needs to send an order is
`Journal.record_sending`, and it returns only after the order is on disk. Every failure is a `JournalError`, whose
message names the file, the cause and the remedy.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from host_service import sqlite_file
from host_service.statefile import sync_directory
from position_manager.episodes import continued
from position_manager.journal.errors import DAMAGED, JournalError, JournalMismatchError, OpenIntentError, UnsettledError
from position_manager.journal.lock_file import hold_lock
from position_manager.journal.observer import JournalObserver, Unobserved
from position_manager.journal.open_intents import OpenIntents
from position_manager.journal.reader import JournalReader
from position_manager.journal.records import ComboToSend, Evidence, Holding, Key, LegToSend, OrderToSend, Stamp
from position_manager.journal.rows import plain_text, time_text
from position_manager.journal.schema import (
    APPLICATION_ID,
    COMBINATIONS,
    FROM_1_TO_2,
    SCHEMA,
    SCHEMA_VERSION,
)
from position_manager.model import ZERO
from position_manager.orders.evidence import Cause, Execution, Finding
from position_manager.orders.intents import (
    AT_BROKER,
    REF_PREFIX,
    Acknowledged,
    Change,
    Dropped,
    Effect,
    Event,
    Executed,
    Intent,
    OutOfSight,
    Released,
    Sending,
    Side,
    State,
    apply,
)

_log = logging.getLogger(__name__)

CHECKPOINT_AFTER = 32
"""Commits after which `Journal.checkpoint` has something to do: some hundred pages of the write-ahead log."""
MOST_PAGES = 4000
"""Pages of the write-ahead log from which on SQLite itself copies them into the database, within a commit."""

DECISIONS = frozenset({"rule fired", "would close"})
"""Kinds of events that record a decision to close, in shadow the one that would have been taken."""


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
        observer: JournalObserver | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open or create it. ``clock`` gives aware times, ``new_id`` ULIDs; ``busy_timeout`` in seconds is how long
        a write waits for another one. ``observer`` is notified of what is on disk. Raises JournalError and its kinds.

        Call `recover` before anything else: what the last process left open is unknown now.
        """
        if not stamp.accounts:
            raise ValueError("a journal must be stamped with at least one account")
        self.path = path
        self._clock, self._new_id = clock, new_id
        self._observer: JournalObserver = observer or Unobserved()
        self._monotonic = monotonic
        self._unobserved: list[Callable[[], None]] = []
        self._observer_failed = False
        self._decided: set[tuple[object, ...]] = set()
        self._depth = 0
        self._commits = 0
        """Since the last checkpoint."""
        self._open: OpenIntents | None = None
        self._held: dict[Key, Holding] | None = None
        self._lock_file = hold_lock(path)
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
                for statement in sqlite_file.statements(SCHEMA):
                    database.execute(statement)
                database.execute(
                    "INSERT INTO stamp VALUES (?, ?, ?)",
                    (stamp.mode, json.dumps(sorted(stamp.accounts)), time_text(self._clock())),
                )
                database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                database.execute("COMMIT")
            finally:
                database.close()
            try:
                new.rename(self.path)
                sync_directory(self.path.parent)
            except OSError as error:
                raise JournalError(f"journal {self.path}: it cannot be created: {error.strerror}.") from error

    def _prepare(self, stamp: Stamp) -> None:
        if self.path.stat().st_size == 0:
            raise JournalError(f"journal {self.path}: it is empty (0 bytes): what was in it is lost. {DAMAGED}")
        with self._failures():
            sqlite_file.set_durable(self._db)
            self._db.execute(f"PRAGMA wal_autocheckpoint = {MOST_PAGES}")
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
                for statement in sqlite_file.statements(COMBINATIONS):
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
            for statement in sqlite_file.statements(FROM_1_TO_2):
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
        started = self._monotonic()
        with self._failures():
            self._db.execute("BEGIN IMMEDIATE")
        self._depth = 1
        self._unobserved.clear()
        self._decided.clear()
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
        self._commits += 1
        self._unobserved.append(partial(self._observer.on_committed, self._monotonic() - started))
        for report in self._unobserved:
            self._observe(report)

    def checkpoint(self) -> None:
        """Copy what was committed since from the write-ahead log into the database, if it is much. To be called while
        nothing is urgent: it syncs both files, which an order would wait for if SQLite did it within a commit. What it
        cannot copy stays in the log, on disk as before, and is copied later."""
        if self._depth or self._commits < CHECKPOINT_AFTER:
            return
        self._commits = 0
        try:
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.Error as error:
            _log.warning("journal %s: its write-ahead log could not be copied into it: %s", self.path, error)

    def _observe(self, report: Callable[[], None]) -> None:
        try:
            report()
        except Exception:  # of any kind: what is on disk must take effect, whether it is counted or not
            if not self._observer_failed:
                self._observer_failed = True
                _log.exception("what the journal records is not counted completely from now on")

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

    def _known_open(self) -> OpenIntents:
        if self._open is None:
            self._open = OpenIntents()
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
        self._commits += not self._depth
        with self._failures():
            return self._db.execute(statement, values).rowcount

    def append(
        self, kind: str, account: str, con_id: int, evidence: Evidence, intent: str | None = None
    ) -> None:  # fmt: skip
        """Record something for `explain`."""
        self._write(
            "INSERT INTO events (time, kind, intent, account, con_id, data) VALUES (?, ?, ?, ?, ?, ?)",
            *(time_text(self._clock()), kind, intent, account, con_id, json.dumps(evidence, default=plain_text)),
        )
        self._note_decision(kind, account, evidence)

    def _note_decision(self, kind: str, account: str, evidence: Evidence) -> None:
        """For the observer: a decision is recorded for each leg of its unit."""
        if kind not in DECISIONS:
            return
        rule = str(evidence.get("rule", ""))
        decision = (account, evidence.get("unit"), rule)
        if not self._depth:
            self._observe(partial(self._observer.on_decided, rule))
        elif decision not in self._decided:
            self._decided.add(decision)
            self._unobserved.append(partial(self._observer.on_decided, rule))

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

    def create_intent(
        self, account: str, con_id: int, side: Side, position: Decimal, quantity: Decimal, rule: str, evidence: Evidence
    ) -> Intent:  # fmt: skip
        """Decide to close. ``position`` signed, ``quantity`` above zero. Nothing may be sent yet.

        Raises OpenIntentError if the instrument has an open one, UnsettledError if the position is not the one that
        was counted last, JournalError if it cannot be written.
        """
        if quantity <= 0 or quantity > abs(position) or side.sign * position >= 0:
            raise ValueError(f"{side} {quantity} does not close a position of {position}")
        intent_id, created = self._new_id(), self._clock().astimezone(UTC)
        with self.transaction():
            blocking = self.open_intent(account, con_id)
            if blocking is not None:
                raise OpenIntentError(
                    f"journal {self.path}: intent {blocking.id} of contract {con_id} is {blocking.state}. "
                    "It must be over before another one starts."
                )
            group = self._settled(account, con_id, position)
            self._write(
                "INSERT INTO intents (id, account, con_id, side, quantity, position, rule, oca_group, created, state)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                *(intent_id, account, con_id, side, str(quantity), str(position), rule, group),
                *(time_text(created), State.PLANNED),
            )
            self.append("decided", account, con_id, evidence, intent_id)
            # As it would be read.
            intent = Intent(intent_id, account, con_id, side, quantity, position, rule, group, created)
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
                *(intent.own_ref, intent.id, client_id, order_id, str(quantity), str(limit), str(stop), time_text(now)),
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
            opened = [
                self.create_intent(account, leg.con_id, leg.side, leg.position, leg.quantity, rule, evidence)
                for leg in legs
            ]
            lead = opened[0].id
            orders = []
            for intent, leg in zip(opened, legs, strict=True):
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
        if change.intent is known or change.intent == known:
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
                *(fill.exec_id, new.own_ref, str(fill.quantity), str(fill.price), time_text(fill.time)),
            )
        if new.perm_id != old.perm_id:
            self._write("UPDATE orders SET perm_id = ? WHERE ref = ?", new.perm_id, new.own_ref)
        self._write(
            "UPDATE intents SET state = ?, position = ?, oca_group = ?, proven_filled = ?, refused = ?, reason = ?"
            " WHERE id = ?",
            *(new.state, str(new.position), new.oca_group, str(new.proven_filled), new.refused, new.reason, new.id),
        )
        self._known_open().learn(new)
        self._unobserved.append(partial(self._observer.on_changed, old, new))
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
        new_episode: bool = False,
    ) -> Holding:
        """Record what a position is, when it is first seen or its change is explained by something else than our fills.
        ``others``: executions by other clients that are in it; they will not be counted again. A change of size starts
        a new OCA group; an episode starts when it was flat or on the other side before, or by ``new_episode``;
        it continues the one before (`episodes`) unless the position was closed and opened again. ``average``: the
        average price that the broker reports for it."""
        with self.transaction():
            known = self.holding(account, con_id)
            if known is None or known.quantity != quantity or new_episode:
                self.append("holding", account, con_id, {"quantity": quantity, "cause": cause})
            for execution in others:
                self._write("INSERT INTO others VALUES (?) ON CONFLICT DO NOTHING", execution.fill.exec_id)
            reopened = cause == Cause.REOPENED
            return self._hold(account, con_id, quantity, average=average, new_episode=new_episode, reopened=reopened)

    def _settled(self, account: str, con_id: int, position: Decimal) -> str:
        """The OCA group of a holding that is as it is expected to be."""
        known = self.holding(account, con_id)
        if known is None or known.quantity != position:
            expected = "not counted yet" if known is None else f"expected to be {known.quantity}"
            raise UnsettledError(
                f"journal {self.path}: the position in contract {con_id} is {position} and {expected}. "
                "Wait for a full sync, or check the position and release it."
            )
        return known.oca_group

    def _hold(
        self,
        account: str,
        con_id: int,
        quantity: Decimal,
        *,
        average: Decimal | None = None,
        new_episode: bool = False,
        reopened: bool = False,
    ) -> Holding:
        """Store a holding. As long as its size stays, closes share an OCA group, so that the broker lets only one of
        them trade; after an execution the broker would refuse further orders in the group."""
        known = self.holding(account, con_id)
        same = known is not None and known.quantity == quantity and not new_episode
        if known is not None and same and average in (None, known.average):
            return known
        goes_on = known is not None and known.episode != "" and known.quantity * quantity > 0 and not reopened
        if known is None or not goes_on:
            episode = self._new_id() if quantity else ""
        else:
            episode = continued(known.episode) if new_episode else known.episode
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
                *(account, con_id, reason, time_text(self._clock())),
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
            new_episode = known is None or known.quantity != position
            self.count_holding(account, con_id, position, f"released by {by}", others, new_episode=new_episode)
            return True

    def remember(self, account: str, con_id: int, rule: str, data: Any) -> None:
        """Store what a rule must know after a restart (anything that JSON can hold)."""
        self._write(
            "INSERT INTO rule_memory VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET data = excluded.data",
            *(account, con_id, rule, json.dumps(data, default=plain_text)),
        )

    def drop(self, account: str, con_id: int, rule: str) -> None:
        """Drop one thing that was remembered."""
        self._write("DELETE FROM rule_memory WHERE account = ? AND con_id = ? AND rule = ?", account, con_id, rule)

    def forget(self, account: str, con_id: int) -> None:
        """Drop what rules remember about a position that is gone."""
        self._write("DELETE FROM rule_memory WHERE account = ? AND con_id = ?", account, con_id)
