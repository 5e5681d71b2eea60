"""A drill: a real engine closes one unit, and loses its connection or its life on the way; was it closed once?

Each case has an engine with a journal of its own, in a directory that only the drill uses. The engine has no rules; it
is asked to close what was bought, loses its broker at the chosen moment, comes back, and has to prove the outcome of
its order. The verdict is not the engine's: the broker is asked independently.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from notifications.message import Message
from position_manager.clock import Clock
from position_manager.connection_state import Phase
from position_manager.drill.bench import Bench, Bought, DrillError, Truth
from position_manager.drill.cases import Case, Tripwire
from position_manager.drill.fence import Fence
from position_manager.engine.engine import Engine
from position_manager.engine.rivals import DRILL_MARK
from position_manager.halt import HaltRecord, Halts, KillSwitch
from position_manager.journal.errors import JournalError
from position_manager.journal.journal import Journal
from position_manager.journal.reader import JournalReader
from position_manager.journal.records import Lock, Stamp
from position_manager.model import ZERO
from position_manager.orders import evidence
from position_manager.orders.intents import TERMINAL, Intent, Side, State
from position_manager.sessions.hours import BrokerCalendar
from position_manager.ulid import ulid

_log = logging.getLogger(__name__)

CLOSE_WITHIN = timedelta(seconds=120)
"""How long a case may take beyond the time after which a missing order is proven lost."""
CHECK_EVERY = timedelta(seconds=1)
"""How often progress is reported; events are evaluated when they happen."""

Progress = Callable[[Case, str, float], None]
"""Called about a case: its state, and the seconds since its start."""


@dataclass(frozen=True)
class Outcome:
    """How a case ended. ``seen``: for each order its states in turn; ``faults``: empty if it was closed once, and all
    of that is proven."""

    case: Case
    label: str
    bought: Decimal
    closed: Decimal
    seen: tuple[str, ...]
    seconds: float
    faults: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.faults


@dataclass(frozen=True)
class Record:
    """What the journal of a case holds at its end."""

    intents: tuple[Intent, ...]
    locks: tuple[Lock, ...]
    seen: tuple[str, ...]


@dataclass(frozen=True)
class Conditions:
    """What holds for every case. ``kill_switch`` is the instance's: it stops a drill too."""

    clock: Clock
    kill_switch: Path
    patience: evidence.Patience = field(default_factory=evidence.Patience)
    close_within: timedelta = CLOSE_WITHIN

    @property
    def limit(self) -> timedelta:
        return self.patience.span + self.close_within


def faults(bought: Bought, truth: Truth, record: Record, *, sprung: bool) -> tuple[str, ...]:
    """All that is wrong at the end of a case. Pure."""
    sold = [one for one in truth.executions if one.side is Side.SELL]
    others = [one for one in truth.executions if one.side is Side.BUY]
    known = {intent.ref: intent for intent in record.intents}
    found = []
    if not sprung:
        found.append("the moment never came: nothing was tried")
    if not record.intents:
        found.append("no order was written down")
    if (closed := _quantity(sold)) != bought.field.quantity:
        found.append(f"{closed:f} closed, {bought.field.quantity:f} bought")
    if others:
        found.append(f"{_quantity(others):f} more bought meanwhile")
    if truth.position:
        found.append(f"the position is {truth.position:f}, not 0")
    found += [f"an order is still open: {o.side} {o.remaining:f} ({o.ref or 'by hand'})" for o in truth.open_orders]
    found += [f"executed without an intent: {one.ref or 'by hand'}" for one in sold if one.ref not in known]
    for intent in record.intents:
        executed = _quantity(one for one in sold if one.ref == intent.ref)
        if intent.state not in TERMINAL:
            found.append(f"an order is {intent.state}, which proves nothing")
        if executed != intent.filled:
            found.append(f"the journal has {intent.filled:f} executed of an order, the broker {executed:f}")
    found += [f"locked: {lock.reason}" for lock in record.locks]
    return tuple(found)


def _quantity(executions: Iterable[evidence.Execution]) -> Decimal:
    return sum((one.fill.quantity for one in executions), ZERO)


class _Life:
    """One life of an engine, from its start to its end or its death."""

    def __init__(
        self, bench: Bench, bought: Bought, directory: Path, sent: set[int], tripwire: Tripwire, on: Conditions
    ) -> None:
        self.news = asyncio.Event()
        self._stop = asyncio.Event()
        self._fence = Fence(bench.broker(tripwire), bought.field, sent, tripwire)
        self._key = (bought.field.account, bought.field.con_id)
        clock = on.clock

        def open_journal(accounts: frozenset[str]) -> Journal:
            stamp = Stamp(bench.config.mode.value, accounts)
            path = directory / "journal.db"
            return Journal(path, stamp, clock=clock.now, new_id=lambda: DRILL_MARK + ulid(clock.now(), os.urandom))

        self.engine = Engine(
            bench.config,
            self._fence,
            open_journal=open_journal,
            deliver=self._discard,
            clock=clock,
            calendar=BrokerCalendar(),
            halts=Halts(KillSwitch(on.kill_switch), HaltRecord(directory / "halt.json")),
            jitter=lambda: 1.0,
            on_loop=self.news.set,
            patience=on.patience,
        )
        self.task = asyncio.create_task(self.engine.run(self._stop))
        self.task.add_done_callback(lambda _task: self.news.set())

    def _discard(self, _message: Message) -> None:
        self.news.set()

    @property
    def holds(self) -> bool:
        """Whether it is READY, and holds what was bought."""
        return self.engine.ready and self._key in self.engine.shared.guard.positions

    @property
    def over(self) -> bool:
        """Whether it takes the position for closed, and every order for proven."""
        engine = self.engine
        if not engine.ready or engine.closer.closings or self._key in engine.shared.guard.positions:
            return False
        return not engine.shared.access.journal.open_intents()

    @property
    def state(self) -> str:
        """The state in a few words."""
        shared = self.engine.shared
        phase = shared.connection.state.phase
        if shared.access.opened is None:
            return f"{phase}"
        try:
            states = [intent.state for intent in shared.access.journal.open_intents()]
        except JournalError:
            return "killed"
        words = f"{phase}{''.join(f', the order is {state}' for state in states)}"
        unproven = State.UNKNOWN in states and phase is Phase.READY
        return words + (": not found so far, which has to last to be a proof" if unproven else "")

    def kill(self) -> None:
        """What a killed process does from this instant on: nothing. Its journal stays as it is."""
        self._fence.kill()
        if self.engine.shared.access.opened is not None:
            self.engine.shared.access.opened.close()
        self.news.set()

    async def bury(self) -> None:
        """Free what the process would have freed. A killed engine can neither write nor report anything while it
        ends."""
        self._stop.set()
        await asyncio.gather(self.task, return_exceptions=True)

    async def end(self) -> None:
        """An orderly stop."""
        self._stop.set()
        await self.task


class CaseRun:
    """One case from the purchase to the verdict. ``directory`` is its own."""

    def __init__(self, case: Case, bench: Bench, directory: Path, on: Conditions, progress: Progress) -> None:
        self._case = case
        self._bench = bench
        self._directory = directory
        self._on = on
        self._progress = progress
        self._tripwire = Tripwire(case.moment, self._at_the_moment)
        self._sent: set[int] = set()
        self._life: _Life | None = None
        self._started = on.clock.now()

    @property
    def _seconds(self) -> float:
        return (self._on.clock.now() - self._started).total_seconds()

    async def run(self) -> Outcome:
        """Raises any error that prevented it from being tried or judged."""
        case = self._case
        self._progress(case, "buying", 0)
        bought = await self._bench.buy()
        trouble: tuple[str, ...] = ()
        try:
            async with asyncio.timeout(self._on.limit.total_seconds()):
                await self._close(bought)
        except TimeoutError:
            trouble = (f"not over within {self._on.limit.total_seconds():g} s: {self._life and self._life.state}",)
        except Exception as error:  # a failing engine, however, is what a drill is meant to find
            _log.exception("the case has failed")
            trouble = (f"{type(error).__name__}: {error}",)
        finally:
            if self._life is not None:
                await self._life.bury()
        truth = await self._bench.truth(bought)
        record = _read(self._directory / "journal.db", bought)
        return Outcome(
            case,
            bought.label,
            bought.field.quantity,
            _quantity(one for one in truth.executions if one.side is Side.SELL),
            record.seen,
            self._seconds,
            trouble + faults(bought, truth, record, sprung=self._tripwire.sprung),
        )

    async def _close(self, bought: Bought) -> None:
        life = self._start(bought)
        await self._until(life, lambda: life.holds)
        await life.engine.close(str(bought.field.con_id), by="the drill", limit=bought.limit)
        if self._case.kill:
            await self._until(life, lambda: self._tripwire.sprung or life.over)
            if self._tripwire.sprung:
                await life.bury()
                life = self._start(bought)
        await self._until(life, lambda: life.over)
        await life.end()

    def _start(self, bought: Bought) -> _Life:
        self._life = _Life(self._bench, bought, self._directory, self._sent, self._tripwire, self._on)
        return self._life

    def _at_the_moment(self) -> None:
        if self._case.kill and self._life is not None:
            self._life.kill()
            self._bench.sever()

    async def _until(self, life: _Life, condition: Callable[[], bool]) -> None:
        while not condition():
            if life.task.done():
                life.task.result()
                raise DrillError("the engine has ended by itself")
            await self._on.clock.wait(life.news, CHECK_EVERY)
            life.news.clear()
            self._progress(self._case, life.state, self._seconds)


def _read(path: Path, bought: Bought) -> Record:
    if not path.exists():
        # The engine never had a session.
        return Record((), (), ())
    with JournalReader(path) as journal:
        intents = journal.intents(bought.field.account, bought.field.con_id)
        return Record(intents, journal.locks(), tuple(_states(journal, intent) for intent in intents))


def _states(journal: JournalReader, intent: Intent) -> str:
    """The states that an order has passed."""
    passed = ["PLANNED"]
    for event in journal.events(intent=intent.id):
        state = event.data.get("state", passed[-1])
        if state != passed[-1]:
            passed.append(str(state))
    return " → ".join(passed)


@dataclass(frozen=True)
class Report:
    """A whole drill. ``stopped``: why not every case was tried, or why what is left is not known; ``left``: what the
    drill has bought and not closed, and what to do about it."""

    where: str
    outcomes: tuple[Outcome, ...]
    stopped: str | None = None
    left: str | None = None

    @property
    def passed(self) -> bool:
        return not self.stopped and not self.left and all(outcome.passed for outcome in self.outcomes)


async def side_by_side(cases: Iterable[tuple[Case, Bench, Path]], on: Conditions, progress: Progress) -> Report:
    """Cases that share nothing, each with its bench and its directory, which is there already."""
    runs = [CaseRun(case, bench, directory, on, progress) for case, bench, directory in cases]
    ended = await asyncio.gather(*(run.run() for run in runs), return_exceptions=True)
    errors = [one for one in ended if isinstance(one, BaseException)]
    for error in errors:
        _log.error("a case could not be tried or judged", exc_info=error)
    outcomes = tuple(one for one in ended if isinstance(one, Outcome))
    return Report("the simulated broker", outcomes, "; ".join(f"{type(e).__name__}: {e}" for e in errors) or None)


async def one_by_one(
    cases: Iterable[Case], bench: Bench, directory: Path, on: Conditions, progress: Progress
) -> Report:
    """Cases that share an account. Nothing more is bought once one of them has failed."""
    outcomes: list[Outcome] = []
    stopped: str | None = None
    for case in cases:
        own = directory / case.name
        own.mkdir(mode=0o700)
        try:
            outcomes.append(await CaseRun(case, bench, own, on, progress).run())
        except Exception as error:  # whatever it is, what is held must still be reported
            _log.exception("the case could not be tried or judged")
            stopped = f"{case.name} could not be tried or judged: {error}"
            break
        except asyncio.CancelledError:
            # What is held must still be reported, with waits of its own that must be able to end.
            task = asyncio.current_task()
            while task is not None and task.uncancel():
                pass
            stopped = f"interrupted in {case.name}"
            break
        if not outcomes[-1].passed:
            break
    return Report(bench.name, tuple(outcomes), stopped, await bench.left())
