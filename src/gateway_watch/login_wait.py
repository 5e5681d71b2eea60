"""Waiting until the gateway has logged in, and reporting each step.

The I/O around `gateway_watch.login`: finds the running container, reads its log since its start, follows it,
and ends the wait when the login is ready, when it cannot become so any more, or when the time is over.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from gateway_watch import systemd_unit
from gateway_watch.engine import Container, Engine, Event, LogLine, NoSuchContainerError
from gateway_watch.feed import Feed
from gateway_watch.health import Failure, Limits, Memory, fail, notice, on_event, presence, wake_after
from gateway_watch.login import MODES, Change, LoginState, LoginTracker, Snapshot, modes_of
from gateway_watch.signatures import SignatureSet, load
from gateway_watch.systemd_unit import UnitState

DEATH_SECONDS = 2.0
"""How long the event of a container's end may lag behind the end of its log."""

COUNTDOWN_SECONDS = 10
"""How often the remaining time of the 2FA dialog is shown."""


class LogEnd:
    """The log has ended, because the container has."""


@dataclass(frozen=True)
class LoginOptions:
    """What to wait for. `trading_mode` None takes the container's own; times are seconds; `totp`: the watch enters a
    code, so that nobody is asked for an approval."""

    trading_mode: str | None = None
    twofa_timeout: float = 180.0
    log_lines: int = 15
    controller: str = "ibc"
    totp: bool = False


@dataclass(frozen=True)
class LoginMemory:
    """What must outlive one process of a wait: the state of the container and what the operator has seen.

    The log itself is read again each time, so the tracker need not be stored. `reported` counts the changes that were
    shown of the run of the container that `run` names, `countdown` is the number of seconds shown last,
    `extended` whether the deadline has been extended for a 2FA dialog.
    """

    container: Memory
    run: str = ""
    reported: int = 0
    countdown: int | None = None
    extended: bool = False
    waiting_reported: bool = False
    unit_text: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values, for `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> LoginMemory:
        """The inverse of `to_dict`. Raises KeyError or TypeError if the keys are others."""
        return cls(**{**values, "container": Memory.from_dict(values["container"])})


@dataclass(frozen=True)
class LoginStep:
    """One step of the wait.

    `time` is when it was taken (UTC), `changes` are all of this run of the container so far, `lines` the last
    lines of the log that mean something, `failure.kind` is a login cause or a kind of `gateway_watch.health`.
    """

    memory: LoginMemory
    time: datetime
    snapshot: Snapshot
    progress: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    lines: tuple[str, ...] = ()
    container: Container | None = None
    failure: Failure | None = None
    done: bool = False


def describe(change: Change, several: bool) -> str:
    """A change as a line for the operator; with `several` logins it names whose it is."""
    return f"{change.mode}: {change.text}" if several else change.text


def countdown_line(seconds: int, *, totp: bool = False) -> str:
    """What the operator must do now, and how long it can still be done."""
    if totp:
        return f"The code of the authenticator app is entered by gateway-watch ({seconds} s left)"
    return f"Approve the login in IBKR Mobile ({seconds} s left)"


def verdict(snapshot: Snapshot) -> Failure | None:
    """The failure that more waiting cannot resolve, if there is one."""
    cause = snapshot.cause
    if cause is None or not cause.final:
        return None
    return Failure(cause.id, cause.text, cause.remedy)


def too_late(snapshot: Snapshot, waited: float, causes: SignatureSet) -> Failure:
    """The failure of a login that is not ready when the time is over."""
    cause = snapshot.cause
    if cause is None and snapshot.state is LoginState.AWAITING_2FA:
        cause = causes.causes.get("twofa_missed")
    state = f"The login is not ready after {waited:.0f} s; its state is {snapshot.state}: {snapshot.text}."
    if cause is None:
        return fail("timeout", state)
    return Failure(cause.id, f"{cause.text} {state}", cause.remedy)


def ended(snapshot: Snapshot, container: Container | None, name: str, exit_code: int | None) -> Failure:
    """The failure of a container that ended before its login was ready."""
    code = container.exit_code if container is not None and container.ended else exit_code
    text = f"The container {name} ended with exit code {'unknown' if code is None else code}."
    if snapshot.cause is None:
        return fail("exited", f"{text} Its login state was {snapshot.state}: {snapshot.text}.")
    return Failure(snapshot.cause.id, f"{snapshot.cause.text} {text}", snapshot.cause.remedy)


class LoginWait:
    """One wait for one container. `steps` does it; the rest is its state."""

    def __init__(
        self,
        engine: Engine,
        name: str,
        limits: Limits,
        options: LoginOptions,
        memory: LoginMemory,
        *,
        unit: str | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._engine = engine
        self._name = name
        self._limits = limits
        self._options = options
        self._memory = memory
        self._unit = unit
        self._monotonic = monotonic
        self._now = now
        self._signatures = load(options.controller)
        self._tracker = LoginTracker(("paper",), options.twofa_timeout, self._signatures)
        self._changes: list[Change] = []
        self._lines: deque[str] = deque(maxlen=max(1, options.log_lines))
        self._container: Container | None = None
        self._unit_state: UnitState | None = None
        self._deaths_before = 0

    async def inspect(self) -> LoginStep:
        """The present state of the login, without waiting. Raises `EngineError`."""
        self._container = await self._engine.find(self._name)
        if self._container is not None:
            await self._read_history()
        return self._step(failure=verdict(self._snapshot()), done=True)

    async def steps(self) -> AsyncGenerator[LoginStep, None]:
        """Yield each step that has something to report; the last one is `done`.

        Raises `EngineError` and `UnitError`.
        """
        feed: Feed[Event | UnitState | LogLine | LogEnd] = Feed()
        async with feed:
            seen_until = self._memory.container.events_since
            feed.add(self._engine.events(self._name, datetime.fromtimestamp(seen_until, UTC)))
            if self._unit:
                self._unit_state = await systemd_unit.show(self._unit)
                feed.add(systemd_unit.states(self._unit))
            following = False
            while True:
                news: tuple[str, ...] = ()
                failure: Failure | None = None
                if not following:
                    failure = await self._find()
                    if failure is not None and self._container is not None and self._container.has_started:
                        # Its log is more specific than its exit code.
                        await self._read_history()
                        failure = self._with_cause(failure)
                    elif failure is None and self._container is not None and self._container.running:
                        following = True
                        news = await self._attach(feed)
                elif self._unit_state is not None and self._unit_state.failed:
                    failure = await self._find()
                self._changes += self._tracker.after(self._now())
                if following:
                    news += (*self._news(), *self._countdown())
                    failure = verdict(self._snapshot()) or failure
                elif failure is None:
                    news = self._not_started()
                ready = following and self._snapshot().state is LoginState.READY
                if failure is None and not ready and self._waited() >= self._timeout():
                    failure = self._too_late(following)
                if news or failure or ready:
                    yield self._step(news, failure, done=ready or failure is not None)
                if failure or ready:
                    return
                item = await feed.next(self._seconds_to_wake(following))
                if isinstance(item, LogLine):
                    self._on_line(item)
                elif isinstance(item, UnitState):
                    self._unit_state = item
                elif isinstance(item, LogEnd):
                    following = False
                    self._memory = replace(self._memory, container=await self._await_death(feed, seen_until))
                    if failure := await self._run_over():
                        yield self._step(self._news(), failure, done=True)
                        return
                elif item is not None and item.time.timestamp() > seen_until:
                    self._memory = replace(self._memory, container=on_event(self._memory.container, item))

    def _not_started(self) -> tuple[str, ...]:
        """That the container does not run, once, and each reason that its unit gives for it."""
        reason = self._unit_state.reason if self._unit_state is not None else ""
        lines = () if self._memory.waiting_reported else (f"waiting for the container {self._name} to start",)
        if reason and reason != self._memory.unit_text:
            lines = (*lines, reason)
        self._memory = replace(self._memory, waiting_reported=True, unit_text=reason)
        return lines

    async def _find(self) -> Failure | None:
        """Find the container; return the failure if it is useless to wait for one."""
        container = await self._engine.find(self._name)
        now = self._monotonic()
        memory = notice(self._memory.container, container, self._unit_state, self._limits, now)
        self._memory = replace(self._memory, container=memory)
        left_over = container is not None and container.id == memory.leftover_id
        self._container = None if left_over else container
        return presence(self._name, memory, container, self._unit_state, self._limits, now)

    async def _attach(self, feed: Feed[Event | UnitState | LogLine | LogEnd]) -> tuple[str, ...]:
        """Read the log of this run and start to follow it; the new lines."""
        known = await self._read_history()
        container = self._the_container()
        feed.add(self._new_lines(container, known))
        self._deaths_before = self._memory.container.deaths
        run = f"{container.id} {container.started_at.isoformat()}"
        if self._memory.run == run:
            return ()
        # Earlier changes are shown as one line, not as a list.
        self._memory = replace(self._memory, run=run, reported=len(self._changes), countdown=None)
        age = max(0.0, (self._now() - container.started_at).total_seconds())
        lines = [f"container started {age:.0f} s ago"]
        if self._changes and self._snapshot().state is not LoginState.AWAITING_2FA:
            lines.append(describe(self._changes[-1], self._several))
        return tuple(lines)

    async def _read_history(self) -> int:
        """Read the whole log of this run; the number of lines."""
        container = self._the_container()
        mode = self._options.trading_mode or container.trading_mode or "paper"
        # A mode that is none is the container's own fault, which its log names.
        modes = modes_of(mode) if mode in MODES else ("paper",)
        self._tracker = LoginTracker(modes, self._options.twofa_timeout, self._signatures)
        self._changes = []
        self._lines.clear()
        count = 0
        async with aclosing(self._engine.logs(self._name, container.log_since)) as lines:
            async for line in lines:
                self._on_line(line)
                count += 1
        self._changes += self._tracker.after(self._now())
        return count

    async def _new_lines(self, container: Container, known: int) -> AsyncGenerator[LogLine | LogEnd, None]:
        """The lines after the first `known` ones of this run, and at the end of the run a `LogEnd`."""
        count = 0
        try:
            async with aclosing(self._engine.logs(container.id, container.log_since, follow=True)) as lines:
                async for line in lines:
                    count += 1
                    if count > known:
                        yield line
        except NoSuchContainerError:
            pass  # it was removed after its end: the same end
        yield LogEnd()

    async def _await_death(self, feed: Feed[Event | UnitState | LogLine | LogEnd], seen_until: float) -> Memory:
        """The memory with the container's exit code, which comes by an event just before or after the log's end."""
        memory = self._memory.container
        while memory.deaths == self._deaths_before:
            item = await feed.next(DEATH_SECONDS)
            if item is None:
                break
            if isinstance(item, Event) and item.time.timestamp() > seen_until:
                memory = on_event(memory, item)
            elif isinstance(item, UnitState):
                self._unit_state = item
        return memory

    async def _run_over(self) -> Failure | None:
        """The run that was followed has ended: the failure, or None if another run may follow at once."""
        if self._unit:
            self._unit_state = await systemd_unit.show(self._unit)
            if self._unit_state.stopping and self._snapshot().cause is None:
                return None
        failure = await self._find()
        container = self._container
        if container is not None and not container.ended:
            return failure
        return ended(self._snapshot(), container, self._name, self._memory.container.exit_code)

    def _with_cause(self, failure: Failure) -> Failure:
        """The failure of the container, as a failure of the login where the log names one."""
        cause = self._snapshot().cause
        return failure if cause is None else Failure(cause.id, f"{cause.text} {failure.text}", cause.remedy)

    def _on_line(self, line: LogLine) -> None:
        self._tracker.mask = self._the_container().mask
        changes = self._tracker.feed(line.time, line.text)
        self._changes += changes
        if self._signatures.match(line.text):
            self._lines.append(self._the_container().mask(line.text))

    def _the_container(self) -> Container:
        if self._container is None:
            raise NoSuchContainerError(f"There is no container {self._name}.")
        return self._container

    @property
    def _several(self) -> bool:
        return len(self._tracker.modes) > 1

    def _snapshot(self) -> Snapshot:
        return self._tracker.snapshot(self._now())

    def _news(self) -> tuple[str, ...]:
        """Changes not yet shown. A 2FA dialog is shown by its countdown."""
        fresh = self._changes[self._memory.reported :]
        self._memory = replace(self._memory, reported=len(self._changes))
        return tuple(describe(change, self._several) for change in fresh if change.state is not LoginState.AWAITING_2FA)

    def _countdown(self) -> tuple[str, ...]:
        left = self._snapshot().twofa_seconds_left
        last = self._memory.countdown
        if left is None:
            self._memory = replace(self._memory, countdown=None)
            return ()
        if last is not None and last - COUNTDOWN_SECONDS < left <= last:
            return ()
        self._memory = replace(self._memory, countdown=left, extended=True)
        line = countdown_line(left, totp=self._options.totp)
        return (f"{self._snapshot().mode}: {line}" if self._several else line,)

    def _waited(self) -> float:
        return self._monotonic() - self._memory.container.started

    def _timeout(self) -> float:
        # An inspection without waiting (0) does not wait.
        extended = self._memory.extended and self._limits.timeout > 0
        return self._limits.timeout + (self._options.twofa_timeout if extended else 0.0)

    def _seconds_to_wake(self, following: bool) -> float:
        """Until when nothing can change without an item of the feed."""
        if not following:
            return min(
                wake_after(self._memory.container, self._limits, self._monotonic()),
                max(0.0, self._timeout() - self._waited()),
            )
        moments = [self._timeout() - self._waited()]
        if due := self._tracker.deadline():
            moments.append((due - self._now()).total_seconds())
        if (left := self._snapshot().twofa_seconds_left) is not None and left > 0:
            moments.append(float(min(left, COUNTDOWN_SECONDS)))
        return max(0.0, min(moments))

    def _too_late(self, following: bool) -> Failure:
        if following:
            return too_late(self._snapshot(), self._waited(), self._signatures)
        reason = f" {self._unit_state.reason}" if self._unit_state and self._unit_state.reason else ""
        return fail("timeout", f"The container {self._name} does not run after {self._waited():.0f} s.{reason}")

    def _step(self, progress: tuple[str, ...] = (), failure: Failure | None = None, *, done: bool = False) -> LoginStep:
        return LoginStep(
            memory=self._memory,
            time=self._now(),
            snapshot=self._snapshot(),
            progress=progress,
            changes=tuple(self._changes),
            lines=tuple(self._lines)[-self._options.log_lines :] if self._options.log_lines else (),
            container=self._container,
            failure=failure,
            done=done,
        )
