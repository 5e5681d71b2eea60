"""The engine: what the broker says and what the clock shows becomes rules looked at, orders sent, and people told.

One loop, one thread. Events of the broker are handled at once, in the order in which they come; what needs an answer
of the broker (a session, a full sync, the look just before sending) runs as a task beside. All that must outlast the
process is in the journal before it takes effect.

The same engine runs in every mode; only the broker behind it and the gate for the mode differ.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from pydantic import TypeAdapter

from ib_connection.accounts import masked
from ib_connection.causes import CLIENT_ID_IN_USE
from notifications.message import Message
from position_manager import connection_state as link
from position_manager import evidence
from position_manager.broker import (
    Broker,
    BrokerError,
    BrokerEvent,
    CodeSaid,
    CommissionHeard,
    ConnectError,
    Disconnected,
    ExecutionHeard,
    OrderHeard,
    PositionHeard,
    QuoteHeard,
)
from position_manager.clock import Clock
from position_manager.closing import Cancel, Closing, Send, next_move
from position_manager.config import Config, Mode
from position_manager.evidence import Snapshot
from position_manager.groups import Unit
from position_manager.guard import Guard, Key
from position_manager.halt import Halt, HaltRecord, KillSwitch
from position_manager.hours import Calendar
from position_manager.intents import (
    AT_BROKER,
    OPEN,
    CancelSent,
    Change,
    Effect,
    Executed,
    Intent,
    OutOfSight,
    Said,
    State,
)
from position_manager.intents import Acknowledged as OrderAcknowledged
from position_manager.intents import Event as IntentEvent
from position_manager.journal import Journal, JournalError, Lock, UnsettledError
from position_manager.ladder import CapReached, legs_to_send
from position_manager.messages import Author
from position_manager.model import Instrument, Position, Quote
from position_manager.reconcile import (
    HoldingMoved,
    HoldingSeen,
    HoldingUnexplained,
    IntentMoved,
    Searches,
    Stray,
    Sync,
    quantities,
    reconcile,
)
from position_manager.refused import RefusedError
from position_manager.rules import Blind, Hold
from position_manager.rules import Cause as BlindCause
from position_manager.sending import NotSentError, clear_and_send, quote_evidence

_log = logging.getLogger(__name__)

ATTEMPTS = 5
ATTEMPT_DELAY = timedelta(seconds=5)
LONGEST_DELAY = timedelta(seconds=60)
ACKNOWLEDGE_WITHIN = timedelta(seconds=5)
"""An order that is not acknowledged in this time has an unknown outcome."""
TRY_AGAIN = timedelta(seconds=5)
"""After a refusal by the gates, or a bound that was reached."""
ALERT_AFTER = timedelta(seconds=60)
"""So long a unit may be unprotected in trading hours before a person is told."""
RESTING_STATUSES = (evidence.LIVE_STATUSES | {evidence.FILLED}) - {"Inactive", "PendingCancel"}
PATIENCE = evidence.Patience()
LINK_PATIENCE = link.Patience()
CLOSING = "closing "
INSTRUMENT = "instrument"

_INSTRUMENTS = TypeAdapter(Instrument)


@dataclass(frozen=True)
class Halts:
    """What stops all sending: the kill switch and the sticky halt."""

    switch: KillSwitch
    record: HaltRecord

    def read(self) -> tuple[Halt, ...]:
        return tuple(halt for halt in (self.switch.read(), self.record.read()) if halt is not None)


class Engine:
    """Guards the positions of one session's accounts until it is told to stop."""

    def __init__(
        self,
        config: Config,
        broker: Broker,
        *,
        open_journal: Callable[[frozenset[str]], Journal],
        tell: Callable[[Message], object],
        clock: Clock,
        calendar: Calendar,
        halts: Halts,
        jitter: Callable[[], float],
        on_loop: Callable[[], None] = lambda: None,
        patience: evidence.Patience = PATIENCE,
        link_patience: link.Patience = LINK_PATIENCE,
    ) -> None:
        """``open_journal`` is called with the accounts of the first session. ``tell`` must not block for long.
        ``jitter`` gives a random factor around 1 for back-off. ``on_loop`` is called after each whole rule loop."""
        self.broker = broker
        self.journal: Journal | None = None
        self.halts: tuple[Halt, ...] = ()
        self.started = clock.now()
        self.since = clock.now()
        self.why = "starting"
        self.last_sync: datetime | None = None
        self.losses = 0
        self.realized: list[tuple[datetime, str, Decimal]] = []
        self.closings: dict[str, Closing] = {}
        self.accounts: tuple[str, ...] = ()
        self.locks: dict[Key, Lock] = {}
        self._open_journal = open_journal
        self._tell = tell
        self._clock = clock
        self._calendar = calendar
        self._halts = halts
        self._jitter = jitter
        self._on_loop = on_loop
        self._patience = patience
        self._link_patience = link_patience
        self._period = min(timedelta(seconds=5), config.quotes.max_age / 2)
        self.guard = Guard(config, calendar, patience=2 * self._period + timedelta(seconds=5))
        halted = halts.record.read()
        self.connection = link.begun(clock.now(), link_patience, None if halted is None else halted.reason)
        self._searches = Searches()
        self._instruments: dict[int, Instrument] = {}
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy: set[Key] = set()
        self._syncing = False
        self._sync_at: datetime | None = None
        self._sync_pause = timedelta(seconds=1)
        self._advance_at: datetime | None = None
        self._connect_at: datetime | None = clock.now()
        self._delay = timedelta(seconds=1)
        self._poll_at = clock.now()
        self._cycle_at = clock.now()
        self._fault: str | None = None
        self._fatal: BaseException | None = None
        self._messages: list[Message] = []
        self._unprotected_told: set[str] = set()
        self._told_about: dict[tuple[str, str], str] = {}
        self._greeted = False
        self._connected_told = False
        self._seen = Snapshot(clock.now())
        broker.listen(self.hear)

    # ----- what others ask

    @property
    def config(self) -> Config:
        return self.guard.config

    @property
    def ready(self) -> bool:
        """Whether the connection may send: the first full sync is done, and nothing has been lost since."""
        return self.connection.may_send

    @property
    def synced(self) -> bool:
        """Whether a full sync has ever ended well."""
        return self.last_sync is not None

    @property
    def quotes_fresh(self) -> bool:
        """Whether every position of an open market has a quote that rules may act on; true if there is none."""
        causes = (verdict.cause for verdict in self.guard.verdicts.values() if isinstance(verdict, Blind))
        return all(cause in (BlindCause.MARKET_CLOSED, BlindCause.NO_RULES, BlindCause.LOCKED) for cause in causes)

    def reload(self, config: Config) -> None:
        """New rules, already checked and fit for this process (`config.reload`)."""
        self.guard.config = config
        self._say(self._author.reloaded())
        self._wake.set()

    async def close(self, what: str, *, by: str, limit: Decimal | None = None) -> str:
        """A person closes a unit, at the ladder's prices or at a ``limit`` approved by that person. Returns what will
        happen. Raises RefusedError."""
        if not self.ready:
            raise RefusedError(f"The connection is {self.connection.phase}: nothing can be sent. {self.why}")
        if not self.config.mode.sends:
            raise RefusedError(f"Mode {self.config.mode} sends nothing.")
        if halts := self._halts.read():
            raise RefusedError("; ".join(f"Halted: {halt.reason}. To end it: {halt.remedy}" for halt in halts))
        under_way = [closing for closing in self.closings.values() if self._means(closing, what)]
        if len(under_way) == 1:
            closing = replace(under_way[0], approved=limit, by=by) if limit is not None else under_way[0]
            self._keep_closing(closing)
            self._advance(closing)
            price = f" at {limit}" if limit is not None else ", as before"
            return f"{closing.name} is being closed{price}."
        unit = self._unit(what)
        locked = [leg.instrument.label for leg in unit.legs if (unit.account, leg.instrument.con_id) in self.locks]
        if locked:
            raise RefusedError(
                f"{', '.join(locked)} is locked. Look at it, then: position-manager release '{locked[0]}'"
            )
        if limit is not None and len(unit.legs) > 1:
            raise RefusedError(f"{unit.name} has {len(unit.legs)} legs: approve a price for each of them by itself.")
        rule = "by hand" if limit is None else "by hand, price approved"
        self._decide(unit, rule, f"asked for by {by}", by=by, approved=limit)
        return f"{unit.name} is being closed; follow it with: position-manager status"

    def release(self, what: str, *, by: str) -> str:
        """A person has looked: locks of a contract end, and a decision to close it is withdrawn. The position counts
        as it is shown now. Raises RefusedError."""
        if self.journal is None or not self.ready:
            raise RefusedError(f"The connection is {self.connection.phase}: the position cannot be read. {self.why}")
        said = []
        for closing in [closing for closing in self.closings.values() if self._means(closing, what)]:
            self._withdraw(closing, f"by {by}")
            said.append(f"{closing.name} is no longer being closed; its rules hold again.")
        for key in [key for key in self.locks if self._is(key, what)]:
            held = self.guard.positions.get(key)
            quantity = Decimal(0) if held is None else held.quantity
            others = self.journal.uncounted(*key, self._seen.executions)
            if self.journal.release(*key, quantity, by, others):
                self._searches.clear()
                self._say(self._author.released(self._label(key[1]), key[0], by))
                said.append(f"{self._label(key[1])} is released; {quantity} are held.")
        if not said:
            raise RefusedError(f"Nothing that is called {what!r} is locked or being closed.")
        self._read_locks()
        self._sync_soon()
        return " ".join(said)

    # ----- the loop

    async def run(self, stop: asyncio.Event) -> None:
        """Guard until ``stop`` is set. Raises JournalError if the journal is not for this session."""
        watching = asyncio.create_task(self._forward(stop))
        try:
            while not stop.is_set() and self._fatal is None:
                self._turn()
                if not self._busy:
                    self._flush()
                self._wake.clear()
                await self._clock.wait(self._wake, self._next_due() - self._clock.now())
        finally:
            watching.cancel()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(watching, *self._tasks, return_exceptions=True)
            await self.broker.close()
            self._stop()
        if self._fatal is not None:
            raise self._fatal

    async def _forward(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wake.set()

    def _stop(self) -> None:
        left = 0
        if self.journal is not None:
            try:
                left = len(self.journal.open_intents())
                self.guard.keep(self.journal)
            except JournalError as error:
                _log.error("the journal could not be brought up to date: %s", error)
            self.journal.close()
        self._say(self._author.stopped(left))
        self._flush()

    def _next_due(self) -> datetime:
        times = [self._cycle_at, *(t for t in (self._sync_at, self._connect_at, self._advance_at) if t is not None)]
        return min(times)

    def _turn(self) -> None:
        """All that is due now."""
        now = self._clock.now()
        try:
            if self._connect_at is not None and now >= self._connect_at:
                self._connect_at = None
                self._spawn(self._connect())
            if self._sync_at is not None and now >= self._sync_at and not self._syncing:
                self._sync_at = None
                self._hear(link.SyncDue())
            if self._advance_at is not None and now >= self._advance_at:
                self._advance_at = None
                self._advance_all()
            # A clock that was set back must not stop the loop.
            if now >= self._cycle_at or self._cycle_at - now > self._period:
                self._cycle(now)
                self._cycle_at = self._clock.now() + self._period
        except JournalError as error:
            self._journal_failed(error)
            self._cycle_at = self._clock.now() + self._period

    def _cycle(self, now: datetime) -> None:
        self._read_halts()
        self._hear(link.Tick())
        self._mend_journal()
        if self.journal is not None:
            self._overdue(now)
            if now >= self._poll_at or self._poll_at - now > timedelta(seconds=float(self.config.poll_seconds)):
                self._poll_at = now + timedelta(seconds=float(self.config.poll_seconds))
                self._sync_soon()
                self.guard.keep(self.journal)
            self._ask_for_life(now)
            for unit in self.guard.units:
                self._look(unit, now)
            self._advance_all()
            self._watch_the_unprotected(now)
        self._on_loop()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, JournalError) and self.journal is not None:
            self._journal_failed(error)
        elif error is not None:
            self._fatal = error
        self._wake.set()

    # ----- messages

    @property
    def _author(self) -> Author:
        return Author(self.config.mode.value, self._clock.now())

    def _say(self, message: Message) -> None:
        _log.info("%s%s", message.title, "".join(f" | {line}" for line in message.lines))
        self._messages.append(message)
        self._wake.set()

    def _flush(self) -> None:
        """Hand over what is to be told. It costs writes to a disk, so an order under way goes first."""
        messages, self._messages = self._messages, []
        for message in messages:
            self._tell(message)

    # ----- the connection

    def _hear(self, event: link.Event) -> None:
        before = self.connection.phase
        self.connection, actions = link.after(self.connection, event, self._clock.now(), self._link_patience)
        if self.connection.phase is not before:
            self.since = self._clock.now()
            _log.info("connection: %s", self.connection.phase)
        for action in actions:
            self._act(action)

    def _act(self, action: link.Action) -> None:
        now = self._clock.now()
        match action:
            case link.FullSync():
                self._spawn(self._sync(action.sync))
            case link.Resubscribe():
                self.broker.watch(self._watched(), anew=True)
            case link.OrdersOutOfSight():
                self._out_of_sight(action.why)
            case link.SyncLater():
                self.why = action.why
                self._sync_at = now + TRY_AGAIN
            case link.ConnectLater():
                pause = ATTEMPT_DELAY if action.same_id_soon else self._delay
                self._delay = min(LONGEST_DELAY, 2 * self._delay)
                self._connect_at = now + pause * self._jitter()
            case link.SuspendPrices():
                _log.warning("no live quote for %s: %s", self._label(int(action.subject)), action.why)
            case link.Alert():
                self.why = action.text
                self.losses += 1
                self._say(self._author.lost(action.text))
            case link.Recovered():
                if self.ready:
                    self._say(self._author.back(action.text))
                else:
                    self._say(self._author.notice_over(action.text))
            case link.Page():
                self._say(self._author.page(action.text))
            case link.HaltAll():
                self._halt(action.reason)
        self._wake.set()

    def _halt(self, reason: str) -> None:
        try:
            self._halts.record.write(reason, self._clock.now())
        except OSError as error:
            # The connection stays halted in this process; the next one would not know of it.
            _log.critical("the halt could not be written down: %s", error)
        self._read_halts()

    def _read_halts(self) -> None:
        halts = self._halts.read()
        if halts and not self.halts:
            self._say(self._author.halted(halts[0].reason, halts[0].remedy))
        elif self.halts and not halts:
            self._say(self._author.resumed())
        self.halts = halts
        if self.connection.halted is not None and self._halts.record.read() is None:
            self._hear(link.Resumed())

    async def _connect(self) -> None:
        """Attempts until one succeeds; what comes after the last one is the connection's to say."""
        if not self._greeted:
            self._greeted = True
            _log.info("PositionManager starting (poll every %ss)", self.config.poll_seconds)
            if self.config.mode is not Mode.SIM:
                _log.info("Connecting to IB Gateway (may take 30-60s on fresh starts)...")
        await self.broker.close()
        for attempt in range(1, ATTEMPTS + 1):
            _log.info(
                "Connecting to %s (client_id=%s, attempt %s/%s)",
                *(self.broker.name, self.broker.client_id, attempt, ATTEMPTS),
            )
            try:
                session = await self.broker.connect()
            except ConnectError as error:
                self.why = f"{error.cause.id}: {error}"
                _log.warning("attempt %s/%s failed: %s. %s", attempt, ATTEMPTS, self.why, error.cause.remedy)
                if error.cause is CLIENT_ID_IN_USE:
                    self._hear(link.CodeHeard(326, str(error)))
                if attempt < ATTEMPTS:
                    await self._clock.wait(asyncio.Event(), ATTEMPT_DELAY)
                continue
            _log.info("Successfully connected to %s (client_id=%s)", self.broker.name, self.broker.client_id)
            self._begin_session(session.accounts)
            return
        self._hear(link.SocketDown(self.why))

    def _begin_session(self, accounts: tuple[str, ...]) -> None:
        self.accounts = tuple(a for a in accounts if not self.config.accounts or a in self.config.accounts)
        if self.journal is None:
            self.journal = self._open_journal(frozenset(self.accounts))
            self.journal.recover()
            self.guard.restore(self.journal)
            self._restore()
        elif self.journal.stamp.accounts != frozenset(self.accounts):
            raise RefusedError("The session has other accounts than the one before it; restart the position manager.")
        self._delay = timedelta(seconds=1)
        self._hear(link.SocketUp())
        self._hear(link.SessionVerified())

    def _restore(self) -> None:
        """Decisions to close, locks and instruments of former runs."""
        journal = self._journal
        for (_, con_id, rule), data in journal.memory().items():
            if rule.startswith(CLOSING):
                closing = Closing.from_json(data)
                self.closings[closing.unit] = closing
            elif rule == INSTRUMENT:
                self._instruments[con_id] = _INSTRUMENTS.validate_json(data)
        self._read_locks()

    @property
    def _journal(self) -> Journal:
        if self.journal is None:
            raise RuntimeError("there is no session yet")
        return self.journal

    # ----- a full sync

    def _sync_soon(self) -> None:
        self._sync_at = self._clock.now()
        self._wake.set()

    async def _sync(self, number: int) -> None:
        """All parts one after the other; nothing is concluded from a part of them, or after the session has changed."""
        self._syncing = True
        began, step = self._clock.now(), link.Step.POSITIONS
        try:
            positions = await self.broker.positions()
            self._hear(link.SyncDone(number, step))
            step = link.Step.OPEN_ORDERS
            open_orders = await self.broker.open_orders()
            self._hear(link.SyncDone(number, step))
            step = link.Step.COMPLETED_ORDERS
            completed = await self.broker.completed_orders()
            self._hear(link.SyncDone(number, step))
            step = link.Step.EXECUTIONS
            executions = await self.broker.executions()
        except BrokerError as error:
            self._hear(link.SyncFailed(number, step, str(error)))
            return
        finally:
            self._syncing = False
        if self.connection.sync != number or self.connection.pending != (step,):
            return
        self._seen = Snapshot(began, quantities(positions), open_orders, completed, executions)
        self._bring_in(positions)
        self._hear(link.SyncDone(number, step))
        self.last_sync = self._clock.now()
        self._poll_at = self.last_sync + timedelta(seconds=float(self.config.poll_seconds))
        self._ask_again()
        if not self._connected_told:
            self._connected_told = True
            self._say(self._author.connected(self.broker.name, self.accounts, len(self.guard.positions)))
            if self.config.mode is not Mode.SIM:
                _log.info("Successfully connected to IB Gateway — position manager running")
        now = self._clock.now()
        for unit in self.guard.units:
            self._look(unit, now)
        self._advance_all()

    def _bring_in(self, positions: tuple[Position, ...]) -> None:
        journal = self._journal
        guarded = frozenset(self.accounts)
        for position in positions:
            known = self._instruments.get(position.instrument.con_id)
            if known is None or replace(known, liquid_hours=()) != replace(position.instrument, liquid_hours=()):
                kept = _INSTRUMENTS.dump_json(replace(position.instrument, liquid_hours=())).decode()
                journal.remember("", position.instrument.con_id, INSTRUMENT, kept)
            self._instruments[position.instrument.con_id] = position.instrument
        today = self._clock.now().astimezone(self.config.hours.zone).date()
        sync = Sync(self._seen, self._instruments, guarded, self._patience, today)
        found = reconcile(journal, sync, self._searches)
        self.guard.hold(position for position in positions if position.account in guarded)
        self.broker.watch(self._watched())
        for finding in found:
            self._tell_finding(finding)
        self._read_locks()

    def _ask_again(self) -> None:
        """As long as a question is open, ask sooner than at the next poll, with growing pauses."""
        waiting = any(intent.state in (State.UNKNOWN, State.CANCELLING) for intent in self._journal.open_intents())
        if not waiting and not self._searches.pending:
            self._sync_pause = timedelta(seconds=1)
            return
        if self._sync_at is None:
            self._sync_at = self._clock.now() + self._sync_pause
            self._sync_pause = min(timedelta(seconds=20), 2 * self._sync_pause)

    def _tell_finding(self, finding: object) -> None:
        author = self._author
        match finding:
            case IntentMoved(before, change):
                self._after_change(before, change)
            case HoldingSeen((account, con_id), quantity, first):
                if not first and quantity:
                    self._say(author.seen(self._label(con_id), account, quantity))
            case HoldingMoved((account, con_id), before, quantity, cause):
                self._say(author.moved(self._label(con_id), account, before, quantity, cause))
                for closing in list(self.closings.values()):
                    if closing.account == account and con_id in closing.legs and quantity:
                        self._withdraw(closing, f"the position changed to {quantity}: {cause}")
            case HoldingUnexplained((account, con_id), expected, reported):
                self._say(author.unexplained(self._label(con_id), account, expected, reported))
            case Stray((_, con_id), order_id, client_id, ref):
                self._say(author.stray(self._label(con_id), ref))
                if client_id == self.broker.client_id and self.ready:
                    self.broker.cancel(order_id)

    # ----- what the broker says

    def hear(self, event: BrokerEvent) -> None:
        """An event of the broker. A failing journal is noted: what it could not take is asked for again later."""
        try:
            self._heard(event)
        except JournalError as error:
            self._journal_failed(error)

    def _heard(self, event: BrokerEvent) -> None:
        now = self._clock.now()
        if not isinstance(event, (CodeSaid, Disconnected)) and not self.connection.data_degraded:
            self.guard.alive_at = now
        match event:
            case QuoteHeard(con_id, quote):
                self._quoted(con_id, quote, now)
            case PositionHeard(account, con_id, quantity):
                if account in self.accounts and self.guard.push(account, con_id, quantity):
                    self.broker.watch(self._watched())
                    self._sync_soon()
            case OrderHeard():
                self._order_shown(event)
            case ExecutionHeard(execution, order_id):
                intent = self._intent_of(order_id, execution.ref)
                if intent is None:
                    # Another client's trade moves a position: see what it did.
                    self._sync_soon()
                else:
                    self._record(intent, Executed(execution.fill))
            case CommissionHeard(_, _, realized, currency):
                if realized is not None:
                    self.realized.append((now, currency, realized))
            case CodeSaid():
                self._code_said(event)
            case Disconnected(why):
                self.guard.alive_at = None
                self._hear(link.SocketDown(why))

    def _quoted(self, con_id: int, quote: Quote, now: datetime) -> None:
        self.guard.quotes[con_id] = quote
        if quote.live and str(con_id) in self.connection.suspended:
            self._hear(link.LiveAgain(str(con_id)))
        for unit in self.guard.units_of(con_id):
            self._look(unit, now)
        for closing in list(self.closings.values()):
            if con_id in closing.legs and con_id not in closing.ladders:
                # A ladder waits for its first price.
                self._advance(closing)

    def _order_shown(self, event: OrderHeard) -> None:
        intent = self._intent_of(event.order_id, event.ref)
        if intent is None:
            return
        self._record(intent, OrderAcknowledged(event.perm_id))
        if (
            event.status not in evidence.LIVE_STATUSES - {"Inactive", "PendingCancel"}
            and event.status != evidence.FILLED
        ):
            # No proof, but a reason to ask for one. A fill proves itself by its executions.
            self._sync_soon()

    def _code_said(self, event: CodeSaid) -> None:
        intent = self._intent_of(event.order_id, "") if event.order_id else None
        if intent is not None:
            self._record(intent, Said(event.code, event.text))
        if intent is None or event.code in link.REACTIONS:
            subject = str(event.con_id) if event.con_id else ""
            reaction = link.REACTIONS.get(event.code, link.Reaction.NONE)
            if reaction is link.Reaction.NO_LIVE_QUOTE and not subject:
                return
            self._hear(link.CodeHeard(event.code, event.text, subject))

    def _intent_of(self, order_id: int, ref: str) -> Intent | None:
        """Whose order it is. After a restart of the gateway the same id may come again: the mark must agree."""
        if self.journal is None:
            return None
        found = self.journal.intent_of_ref(ref) if ref else None
        if found is None and order_id:
            found = self.journal.intent_of_order(self.broker.client_id, order_id)
            if found is not None and ref and found.ref != ref:
                return None
        return found

    def _record(self, intent: Intent, event: IntentEvent) -> None:
        self._after_change(intent, self._journal.record(intent.id, event))

    def _after_change(self, before: Intent, change: Change) -> None:
        """Tell what is new about an order, and do what must follow."""
        intent, author = change.intent, self._author
        label = self._label(intent.con_id)
        if intent.filled != before.filled:
            self._say(author.executed(intent, label))
        elif intent.state is not before.state:
            match intent.state:
                case State.WORKING:
                    self._say(author.sent(intent, label))
                case State.REJECTED:
                    self._say(author.rejected(intent, label))
                case State.UNKNOWN if before.state is not State.CANCELLING:
                    self._say(author.unknown(intent, label))
                case State.LOST:
                    self._say(author.lost_order(intent, label))
        if Effect.LOCK in change.effects:
            self._read_locks()
            self._say(author.locked(label, intent.account, intent.reason))
        if Effect.ASK in change.effects:
            self._sync_soon()
        if intent.state not in OPEN and before.state in OPEN:
            self._advance_soon(self._clock.now())

    def _out_of_sight(self, why: str) -> None:
        """No pass counts across a lost link, and what was at the broker may be anything now."""
        self._searches.clear()
        if self.journal is None:
            return
        for intent in self.journal.open_intents():
            if intent.state in AT_BROKER:
                self._record(intent, OutOfSight(why))

    def _overdue(self, now: datetime) -> None:
        for intent in self._journal.open_intents():
            if intent.state is State.SENDING and intent.sent is not None and now - intent.sent > ACKNOWLEDGE_WITHIN:
                self._record(intent, OutOfSight(f"not acknowledged within {ACKNOWLEDGE_WITHIN.total_seconds():g} s"))

    def _ask_for_life(self, now: datetime) -> None:
        """A market in which nothing moves is told from a dead feed by a question that any living session answers."""
        alive = self.guard.alive_at
        if self.ready and self.guard.units and (alive is None or now - alive >= self._period):
            self._spawn(self._ping())

    async def _ping(self) -> None:
        try:
            await self.broker.ping()
        except BrokerError as error:
            _log.warning("the gateway does not answer: %s", error)
            return
        if not self.connection.data_degraded:
            self.guard.alive_at = self._clock.now()

    # ----- rules

    def _look(self, unit: Unit, now: datetime) -> None:
        if self._under_way(unit):
            return
        fired = self.guard.look(unit, now, self._blind)
        if fired is not None:
            self._decide(unit, str(fired.rule), fired.text)

    def _under_way(self, unit: Unit) -> bool:
        """Whether a contract of it is being closed. What keeps that from going on counts as unprotected."""
        closing = next(
            (
                closing
                for closing in self.closings.values()
                if closing.account == unit.account and any(leg.instrument.con_id in closing.legs for leg in unit.legs)
            ),
            None,
        )
        if closing is None:
            return False
        told = [text for (key, _), text in self._told_about.items() if key == closing.unit and text]
        blind = self._blind(unit) or (Blind(BlindCause.CANNOT_CLOSE, told[0]) if told else None)
        self.guard.note(unit, blind or Hold(pending=(closing.text,)), self._clock.now())
        return True

    def _blind(self, unit: Unit) -> Blind | None:
        """Why nothing could be sent for a unit, whatever its rules say."""
        if not self.ready:
            return Blind(BlindCause.NOT_READY, f"the connection is {self.connection.phase}")
        if self.halts:
            return Blind(BlindCause.HALTED, f"{self.halts[0].reason}; to end it: {self.halts[0].remedy}")
        for leg in unit.legs:
            lock = self.locks.get((unit.account, leg.instrument.con_id))
            if lock is not None:
                return Blind(BlindCause.LOCKED, f"{leg.instrument.label} is locked: {lock.reason}")
        if self._fault is not None:
            return Blind(BlindCause.HALTED, self._fault)
        return None

    def _watch_the_unprotected(self, now: datetime) -> None:
        """Tell of units that have been unprotected for long while their market is open, and of the end of it."""
        quiet = (BlindCause.MARKET_CLOSED, BlindCause.NOT_READY, BlindCause.HALTED, BlindCause.LOCKED)
        keys = set()
        for unit in self.guard.units:
            count, verdict = self.guard.counts.get(unit.key), self.guard.verdicts.get(unit.key)
            if count is None or count.since is None or not isinstance(verdict, Blind) or verdict.cause in quiet:
                continue
            keys.add(unit.key)
            if unit.key not in self._unprotected_told and now - count.since >= ALERT_AFTER:
                self._unprotected_told.add(unit.key)
                seconds = (now - count.since).total_seconds()
                self._say(self._author.unprotected(unit.name, unit.key, verdict.text, seconds))
        for key in self._unprotected_told - keys:
            name = next((unit.name for unit in self.guard.units if unit.key == key), None)
            if name is not None:
                self._say(self._author.protected(name, key, self.guard.counts[key].in_session))
        self._unprotected_told &= keys

    # ----- closing

    def _decide(self, unit: Unit, rule: str, text: str, *, by: str = "", approved: Decimal | None = None) -> None:
        """A unit is to be closed. The decision is on disk before anything follows from it."""
        now = self._clock.now()
        market = self.guard.market(unit, now)
        legs = {leg.instrument.con_id: leg.position.quantity for leg in unit.legs}
        closing = Closing(unit.key, unit.name, unit.account, rule, text, now, legs, approved=approved, by=by)
        quotes = {self._label(con_id): quote for con_id, quote in market.quotes.items()}
        seen = {
            "unit": unit.name,
            "rule": rule,
            "text": text,
            "quotes": {label: quote_evidence(quote) for label, quote in quotes.items()},
        }
        kind = "rule fired" if self.config.mode.sends else "would close"
        known = self._told_about.get((unit.key, kind))
        if not self.config.mode.sends:
            # In shadow a rule that goes on holding is told once.
            if known == rule:
                return
            self._told_about[unit.key, kind] = rule
            self._journal.append(kind, unit.account, unit.legs[0].instrument.con_id, seen)
            self._say(self._author.shadowed(closing, quotes))
            return
        with self._journal.transaction():
            for con_id in legs:
                self._journal.append(kind, unit.account, con_id, seen)
            self._keep_closing(closing)
        self._say(self._author.fired(closing, quotes))
        self._advance(closing)

    def _keep_closing(self, closing: Closing) -> None:
        self._journal.remember(closing.account, 0, CLOSING + closing.unit, closing.to_json())
        self.closings[closing.unit] = closing

    def _withdraw(self, closing: Closing, why: str) -> None:
        self._journal.drop(closing.account, 0, CLOSING + closing.unit)
        self.closings.pop(closing.unit, None)
        self._forget_told(closing)
        for con_id in closing.legs:
            self._journal.append("closing withdrawn", closing.account, con_id, {"why": why})
        self._say(self._author.withdrawn(closing, why))
        self._cancel_resting(closing, why)

    def _cancel_resting(self, closing: Closing, why: str) -> None:
        for con_id in closing.legs:
            intent = self._journal.open_intent(closing.account, con_id)
            if intent is not None and intent.state in (State.WORKING, State.PARTIAL):
                self._cancel(intent, why)

    def _forget_told(self, closing: Closing) -> None:
        for key in [key for key in self._told_about if key[0] == closing.unit]:
            del self._told_about[key]

    def _advance_soon(self, at: datetime) -> None:
        if self._advance_at is None or at < self._advance_at:
            self._advance_at = at
        self._wake.set()

    def _advance_all(self) -> None:
        for closing in list(self.closings.values()):
            self._advance(closing)

    def _advance(self, closing: Closing) -> None:
        """The next step of a decision, for each contract whose turn it is."""
        if not self.ready or self._fault is not None:
            return
        journal = self._journal
        legs = [
            position
            for con_id in closing.legs
            if (position := self.guard.positions.get((closing.account, con_id))) is not None
        ]
        open_intents = {con_id: journal.open_intent(closing.account, con_id) for con_id in closing.legs}
        if not legs and not any(open_intents.values()):
            self._closed(closing)
            return
        now = self._clock.now()
        for leg in legs_to_send(legs):
            con_id = leg.instrument.con_id
            if leg.key in self._busy or leg.key in self.locks:
                continue
            quote = self._usable(con_id, now)
            if quote is not None and con_id not in closing.ladders:
                closing = closing.begun(con_id, now, quote)
                self._keep_closing(closing)
            move = next_move(closing, leg, quote, open_intents[con_id], now, self.config.orders.ladder())
            match move:
                case Send(price):
                    self._busy.add(leg.key)
                    self._spawn(self._send(closing, leg, price))
                case Cancel(why):
                    intent = open_intents[con_id]
                    if intent is not None:
                        self._cancel(intent, why)
                case CapReached():
                    self._capped(closing, leg, move)
                case _:
                    if move.until is not None:
                        self._advance_soon(move.until)

    def _usable(self, con_id: int, now: datetime) -> Quote | None:
        quote = self.guard.quote(con_id)
        if quote is None or quote.problem(now, self.config.quotes.max_age) is not None:
            return None
        return quote

    def _closed(self, closing: Closing) -> None:
        self._journal.drop(closing.account, 0, CLOSING + closing.unit)
        del self.closings[closing.unit]
        self._forget_told(closing)
        for con_id in closing.legs:
            self._journal.append("closed", closing.account, con_id, {"unit": closing.name, "rule": closing.rule})
            self._journal.forget(closing.account, con_id)
        self._say(self._author.closed(closing))

    def _capped(self, closing: Closing, leg: Position, cap: CapReached) -> None:
        self._advance_soon(self._clock.now() + TRY_AGAIN)
        label = leg.instrument.label
        if self._told_about.get((closing.unit, label)) != cap.bound:
            self._told_about[closing.unit, label] = cap.bound
            self._journal.append("bound reached", *leg.key, {"bound": str(cap)})
            self._say(self._author.capped(closing, label, cap))

    async def _send(self, closing: Closing, leg: Position, price: Decimal) -> None:
        label = leg.instrument.label
        try:
            intent = await clear_and_send(
                closing,
                leg,
                price,
                config=self.config,
                broker=self.broker,
                journal=self._journal,
                calendar=self._calendar,
                clock=self._clock.now,
                connection=lambda: self.connection,
                halts=self._halts.read,
                quote=self.guard.quote,
            )
        except NotSentError as error:
            gates = ", ".join(check.gate for check in error.clearance.refusals)
            if self._told_about.get((closing.unit, label)) != gates:
                self._told_about[closing.unit, label] = gates
                self._journal.append("refused", *leg.key, error.clearance.evidence())
                self._say(self._author.refused(closing, label, str(error)))
            self._sync_soon()
            self._advance_soon(self._clock.now() + TRY_AGAIN)
        except UnsettledError as error:
            _log.warning("%s", error)
            self._sync_soon()
            self._advance_soon(self._clock.now() + TRY_AGAIN)
        except BrokerError as error:
            _log.warning("%s was not sent: %s", label, error)
            self._advance_soon(self._clock.now() + TRY_AGAIN)
        else:
            self._told_about.pop((closing.unit, label), None)
            _log.info("sent: %s %s %s at %s (order %s)", intent.side, intent.quantity, label, price, intent.order_id)
        finally:
            self._busy.discard(leg.key)
            self._wake.set()

    def _cancel(self, intent: Intent, why: str) -> None:
        if not self.ready:
            return
        self._journal.record(intent.id, CancelSent(), {"why": why})
        try:
            self.broker.cancel(intent.order_id)
        except BrokerError as error:
            self._record(intent, OutOfSight(str(error)))
        self._ask_again()

    # ----- a journal that cannot be written

    def _journal_failed(self, error: JournalError) -> None:
        """Nothing is sent while the journal fails. What it missed is asked of the broker again once it works."""
        if self._fault is None:
            self._fault = str(error)
            self._say(self._author.journal_fault(self._fault))

    def _mend_journal(self) -> None:
        if self._fault is None or self.journal is None:
            return
        self.journal.append("journal works again", "", 0, {"fault": self._fault})
        self._fault = None
        self._out_of_sight("the journal could not be written")
        self._say(self._author.journal_works())
        self._sync_soon()

    # ----- names

    def _watched(self) -> list[Instrument]:
        return [position.instrument for position in self.guard.positions.values()]

    def _read_locks(self) -> None:
        self.locks = {(lock.account, lock.con_id): lock for lock in self._journal.locks()}

    def _label(self, con_id: int) -> str:
        instrument = self._instruments.get(con_id)
        return f"contract {con_id}" if instrument is None else instrument.label

    def label(self, con_id: int) -> str:
        """A contract as people say it."""
        return self._label(con_id)

    def _is(self, key: Key, what: str) -> bool:
        instrument = self._instruments.get(key[1])
        local = "" if instrument is None else " ".join(instrument.local_symbol.split())
        return what.strip() in (str(key[1]), self._label(key[1]), local)

    def _means(self, closing: Closing, what: str) -> bool:
        if what in (closing.name, closing.unit):
            return True
        return any(self._is((closing.account, con_id), what) for con_id in closing.legs)

    def _unit(self, what: str) -> Unit:
        found = [
            unit
            for unit in self.guard.units
            if what in (unit.name, unit.key)
            or any(self._is((unit.account, leg.instrument.con_id), what) for leg in unit.legs)
        ]
        if len(found) == 1:
            return found[0]
        names = ", ".join(f"{unit.name} ({masked(unit.account)})" for unit in found or self.guard.units)
        if not found:
            raise RefusedError(f"No position is called {what!r}. There are: {names or 'none'}")
        raise RefusedError(f"{what!r} means several positions: {names}. Name one by its key, see: status --json")
