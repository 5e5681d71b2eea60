"""What the parts of the engine share: the session, the journal, the names of things, pending notifications and waits.
It decides nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

from notifications.message import Message
from position_manager.brokers.broker import Broker
from position_manager.clock import Clock
from position_manager.config.schema import Config
from position_manager.connection_state import Connection
from position_manager.engine.guard import Guard, Key
from position_manager.engine.rivals import Rivals
from position_manager.halt import Halt, Halts
from position_manager.journal.errors import JournalError
from position_manager.journal.journal import Journal
from position_manager.journal.records import Lock
from position_manager.model import Instrument
from position_manager.orders.evidence import Snapshot
from position_manager.reports.messages import Author
from position_manager.sessions.hours import Calendar

_log = logging.getLogger(__name__)


class Desk:
    """The present state of one process. ``deliver`` must not block for long.

    ``connection`` is the state of the link, ``seen`` the last full sync, ``busy`` the holdings for which an order is on
    its way to the socket, ``fault`` why the journal cannot be written (None if it can).
    """

    def __init__(
        self,
        broker: Broker,
        guard: Guard,
        connection: Connection,
        *,
        clock: Clock,
        calendar: Calendar,
        halts: Halts,
        deliver: Callable[[Message], object],
    ) -> None:
        self.broker = broker
        self.guard = guard
        self.connection = connection
        self.clock = clock
        self.calendar = calendar
        self.halts = halts
        self.opened: Journal | None = None
        self.accounts: tuple[str, ...] = ()
        self.halted: tuple[Halt, ...] = ()
        self.rivals: Rivals | None = None
        """What was seen of other managers; None before the first session, and in a mode that sends nothing."""
        self.locks: dict[Key, Lock] = {}
        self.instruments: dict[int, Instrument] = {}
        self.seen = Snapshot(clock.now())
        self.busy: set[Key] = set()
        self.fault: str | None = None
        self.fatal: BaseException | None = None
        self.sync_at: datetime | None = None
        self.advance_at: datetime | None = None
        self.wake = asyncio.Event()
        self._deliver = deliver
        self._messages: list[Message] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def config(self) -> Config:
        return self.guard.config

    @property
    def ready(self) -> bool:
        """Whether the connection may send."""
        return self.connection.may_send

    def read_halts(self) -> tuple[Halt, ...]:
        """All that stops sending at this moment, another manager included."""
        rival = None if self.rivals is None else self.rivals.halt(self.clock.now())
        return (*self.halts.read(), *(() if rival is None else (rival,)))

    @property
    def journal(self) -> Journal:
        """Raises RuntimeError before the first session."""
        if self.opened is None:
            raise RuntimeError("there is no session yet")
        return self.opened

    # ----- what is due

    def sync_soon(self) -> None:
        """A full sync as soon as may be."""
        self.sync_at = self.clock.now()
        self.wake.set()

    def advance_by(self, at: datetime) -> None:
        """Check the decisions to close at ``at``, or before."""
        if self.advance_at is None or at < self.advance_at:
            self.advance_at = at
        self.wake.set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Work that waits for the broker. What it raises beside a failing journal ends the process."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, JournalError) and self.opened is not None:
            self.journal_failed(error)
        elif error is not None:
            self.fatal = error
        self.wake.set()

    async def end(self) -> None:
        """Cancel all work in progress."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ----- a journal that cannot be written

    def journal_failed(self, error: JournalError) -> None:
        """Nothing is sent while the journal fails."""
        if self.fault is None:
            self.fault = str(error)
            self.notify(self.author.journal_fault(self.fault))

    # ----- notifications

    @property
    def author(self) -> Author:
        return Author(self.config.mode.value, self.clock.now())

    def notify(self, message: Message) -> None:
        """Notify people, after urgent work is done."""
        _log.info("%s%s", message.title, "".join(f" | {line}" for line in message.lines))
        self._messages.append(message)
        self.wake.set()

    def flush(self) -> None:
        """Deliver the pending notifications. This writes to disk, so an order in progress goes first."""
        messages, self._messages = self._messages, []
        for message in messages:
            try:
                self._deliver(message)
            except Exception:  # of any kind: a failed notification must not end the guarding of positions
                _log.exception("a notification failed: %s", message.title)

    # ----- names

    def read_locks(self) -> None:
        self.locks = {(lock.account, lock.con_id): lock for lock in self.journal.locks()}

    def watch_held(self, *, resubscribe: bool = False) -> None:
        """Receive the quotes of what is held, and no others. ``resubscribe``: all subscriptions were lost."""
        held = [position.instrument for position in self.guard.positions.values()]
        self.broker.watch(held, resubscribe=resubscribe)

    def label(self, con_id: int) -> str:
        """The readable name of a contract."""
        instrument = self.instruments.get(con_id)
        return f"contract {con_id}" if instrument is None else instrument.label

    def names(self, key: Key, what: str) -> bool:
        """Whether a person means this contract by ``what``: its id, its label or its local symbol."""
        instrument = self.instruments.get(key[1])
        local = "" if instrument is None else " ".join(instrument.local_symbol.split())
        return " ".join(what.split()) in (str(key[1]), self.label(key[1]), local)
