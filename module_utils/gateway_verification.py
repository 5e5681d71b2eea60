"""One wait from the login of a gateway to a verified API, in one process: login, port, handshake, connection to IBKR.

`Verification.run` does the work, phase after phase, and notes after each step where another process can go on.
`follow` runs it to its end, or to the next moment at which the operator must be shown what has happened.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ansible.module_utils import handshake_phase, login_phase, port_phase, waiting_module
from ansible.module_utils.listening_port import HEALTH_DISAGREES, WATCHED_FORMAT, Watched, observe, watched
from ansible.module_utils.waiting_module import Outcome

try:
    from gateway_watch import health, instance, tiers
    from gateway_watch.engine import Engine, EngineError
    from gateway_watch.health import Limits
    from gateway_watch.login_wait import LoginMemory
    from gateway_watch.systemd_unit import UnitError
    from ib_connection.probe import probe
except ImportError:
    IMPORT_ERROR: str | None = traceback.format_exc()
else:
    IMPORT_ERROR = handshake_phase.IMPORT_ERROR

if TYPE_CHECKING:
    from gateway_watch.engine import Container
    from gateway_watch.health import Failure, Step
    from gateway_watch.login_wait import LoginStep

LOGIN, PORT, HANDSHAKE, CONNECTION = "login", "port", "handshake", "connection"
PHASES = (LOGIN, PORT, HANDSHAKE, CONNECTION)

HOLD_SECONDS = 0.5
"""How long a line for the operator may wait for the next one: the way there and back and the start of the next call
take the rest of two seconds."""

LAST_HOLD_SECONDS = 1.0
"""The same once the login is ready: what follows then needs no more, and would only be delayed by another call."""

OBSERVE_SECONDS = 0.05
"""Pause between two readings of the container's sockets; one takes less than a millisecond."""

HEDGE_SECONDS = 0.25
"""Silence after which a second first connection is opened beside the first. An API answers within milliseconds, and a
gateway that has just started can leave its very first connection without an answer."""

FIRST_CONNECTIONS = 3
PROBE_SECONDS = 1.5


@dataclass
class Memory:
    """What must outlive one process.

    `login` and `port` are the cursors of these phases, `handshakes` the results of the APIs that are verified,
    `attempts` the cursor of the one in progress, `woken` whether its first connection is behind. `listening` is when
    the port was seen, in seconds of CLOCK_MONOTONIC, `agreement_shown` whether the operator knows that the engine's
    health check is awaited; `results` and `warnings` are what is returned in the end.
    """

    started: float
    phase: str = LOGIN
    login: dict[str, Any] = field(default_factory=dict)
    port: dict[str, Any] = field(default_factory=dict)
    listening: float | None = None
    handshakes: list[dict[str, Any]] = field(default_factory=list)
    attempts: str | None = None
    woken: bool = False
    agreement_shown: bool = False
    results: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    times: dict[str, str] = field(default_factory=dict)

    def to_text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_dict(cls, values: Any) -> Memory:
        """The inverse of `to_text`, after JSON. Raises KeyError, TypeError or ValueError."""
        if set(values) != {part.name for part in fields(cls)} or values["phase"] not in PHASES:
            raise ValueError("no state of a verification")
        return cls(**values)


class PhaseError(Exception):
    """A phase has failed: its cause, its remedy, and the task's message; the last lines of the log that matter."""

    def __init__(self, phase: str, cause: str, remedy: str, message: str, log_lines: list[str] | None = None) -> None:
        super().__init__(message)
        self.phase = phase
        self.cause = cause
        self.remedy = remedy
        self.log_lines = log_lines or []


def failed_phase(phase: str, failure: Any, log_lines: list[str] | None = None) -> PhaseError:
    """The error of a phase, for a failure or an error of the release's packages that has a kind and a remedy."""
    text = getattr(failure, "text", None) or str(failure)
    message = waiting_module.failure_message(text, failure)
    return PhaseError(phase, failure.kind, failure.remedy, message, log_lines)


def disagreement(name: str, ports: list[int], seconds: float, present: Step) -> PhaseError:
    """The error of a health check that does not report what was observed."""
    log = present.container.health_log if present.container is not None else ()
    shown = f" Last check: {log[-1].output or 'no output'} (exit code {log[-1].exit_code})." if log else ""
    listed = ", ".join(str(port) for port in ports)
    remedy = HEALTH_DISAGREES.remedy_for(name)
    message = (
        f"The container {name} listens on {listed} and its API is verified, but after {seconds:.0f} s the engine's "
        f"health check reports {present.status}.{shown} [{HEALTH_DISAGREES.kind}] Remedy: {remedy}"
    )
    return PhaseError(PORT, HEALTH_DISAGREES.kind, remedy, message)


async def first_connection(
    answered: Callable[[], Awaitable[bool]],
    *,
    connections: int = FIRST_CONNECTIONS,
    hedge: float = HEDGE_SECONDS,
) -> int:
    """Connect until one connection is answered; another is opened beside those that are silent after `hedge` seconds.

    Returns how many were opened, 0 if none of them was answered.
    """
    tasks: list[asyncio.Task[bool]] = []
    try:
        while True:
            if len(tasks) < connections:
                tasks.append(asyncio.ensure_future(answered()))
            waiting = {task for task in tasks if not task.done()}
            if not waiting:
                return 0
            limit = hedge if len(tasks) < connections else None
            done, _ = await asyncio.wait(waiting, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if any(task.result() for task in done):
                return len(tasks)
            if done:
                # Refused, closed or no gateway: no silence, so another connection at once would meet the same.
                return 0
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def planned(params: dict[str, Any], api: dict[str, Any], *, container_port: int | None, cursor: str | None) -> Any:
    """The attempts at one API. Raises InvalidArgumentError."""
    arguments = {
        "host": api["host"],
        "port": int(api["port"]),
        "trading_mode": api["mode"],
        "container_healthy": False,
        "container_port": container_port,
        "timeout": params["handshake_timeout"],
        "until": "change",
        "cursor": cursor,
    }
    return handshake_phase.planned(arguments | {name: params[name] for name in handshake_phase.ARGUMENTS})


class Verification:
    """One verification of one gateway; `memory` is where it is. `lines` are the operator's, `news` is set with each."""

    def __init__(self, params: dict[str, Any], memory: Memory, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.params = params
        self.memory = memory
        self.lines: list[str] = []
        self.news = asyncio.Event()
        self._monotonic = monotonic
        self._engine = Engine()
        self._container: Container | None = None
        self._health: asyncio.Task[Step] | None = None
        self._agrees_within = 0.0

    async def run(self) -> None:
        """Do what is left, and return once all is verified. Raises PhaseError."""
        with self._errors_of_phase():
            if self.memory.phase == LOGIN:
                await self._follow_login()
            if self.memory.phase in (PORT, HANDSHAKE):
                await self._verify_api()
            if self.params["connected_within"] is not None:
                await self._check_connection()
            await self._check_container()

    async def inspect(self) -> None:
        """Report the present login and container, and verify the API, which changes nothing. Raises PhaseError."""
        with self._errors_of_phase():
            memory, params = self.memory, self.params
            seen = LoginMemory(await health.start(self._engine))
            login = login_phase.login_wait(self._engine, params, Limits(params["login_timeout"]), seen)
            memory.results[LOGIN] = login_phase.as_result(await login.inspect(), [])
            memory.phase = PORT
            step = await port_phase.present_state(self._engine, params)
            memory.results[PORT] = port_phase.as_result(step, [], step.memory.started)
            memory.phase = HANDSHAKE
            for api in params["apis"]:
                await self._verify_one(api)

    @contextlib.contextmanager
    def _errors_of_phase(self) -> Iterator[None]:
        """What the engine or systemd cannot answer fails the present phase."""
        try:
            yield
        except (EngineError, UnitError) as error:
            if self.memory.phase == LOGIN:
                self.memory.results[LOGIN] = login_phase.error_result(error)
            elif self.memory.phase == PORT:
                self.memory.results[PORT] = port_phase.error_result(error)
            raise failed_phase(self.memory.phase, error) from error

    def show(self, *lines: str) -> None:
        """Show the operator these lines, in this call or with its end."""
        if lines:
            self.lines += lines
            self.news.set()

    @property
    def _waits(self) -> bool:
        """Whether a start may be in progress; without a start there is nothing to wait for."""
        return bool(self.params["start_timeout"] > 0)

    async def _follow_login(self) -> None:
        params = self.params
        limits = Limits(params["login_timeout"], params["appear_timeout"])
        if self.memory.login:
            memory = LoginMemory.from_dict(self.memory.login)
        else:
            memory = LoginMemory(await health.start(self._engine))
        login = login_phase.login_wait(self._engine, params, limits, memory)
        async with contextlib.aclosing(login.steps()) as steps:
            async for step in steps:
                self.memory.login = step.memory.to_dict()
                self.show(*step.progress)
                if step.done:
                    self._end_login(step)

    def _end_login(self, step: LoginStep) -> None:
        self._container = step.container
        self.memory.results[LOGIN] = login_phase.as_result(step, [])
        self.memory.warnings += login_phase.warnings_of(step)
        if step.failure is not None:
            raise failed_phase(LOGIN, step.failure, list(step.lines))
        if step.changes:
            self.memory.times["ready"] = step.changes[-1].time.isoformat()
        self.memory.phase = PORT

    async def _verify_api(self) -> None:
        """Port and handshake, beside the engine's health check, which reports its result when it is due."""
        self._health = asyncio.create_task(self._follow_health())
        try:
            if self.memory.phase == PORT:
                await self._await_port()
            await self._shake_hands()
            await self._await_agreement()
        finally:
            self._health.cancel()
            await asyncio.gather(self._health, return_exceptions=True)

    async def _follow_health(self) -> Step:
        params = self.params
        limits = Limits(params["start_timeout"], params["appear_timeout"], params["unhealthy_grace"])
        if self.memory.port:
            memory = health.Memory.from_dict(self.memory.port)
        else:
            memory = self._since_login(await health.start(self._engine))
        steps = health.wait_healthy(self._engine, params["name"], limits, memory, unit=params["unit"])
        async with contextlib.aclosing(steps):
            async for step in steps:
                self.memory.port = step.memory.to_dict()
                if self.memory.listening is None and not step.done:
                    self.show(*step.progress)
                if step.done:
                    break
        self.memory.results[PORT] = port_phase.as_result(step, [], self._monotonic())
        return step

    def _since_login(self, memory: health.Memory) -> health.Memory:
        """With what has happened to the container since its login: it may have ended before this wait sees it."""
        if not self.memory.login:
            return memory
        seen = LoginMemory.from_dict(self.memory.login).container
        return replace(
            memory,
            container_id=seen.container_id,
            restarts_before=seen.restarts_before,
            events_since=seen.events_since,
        )

    async def _await_port(self) -> None:
        """Wait until the gateway listens: as it is observed, or as the engine reports it, whichever comes first."""
        waiting: set[asyncio.Task[Any]] = {self._the_health}
        watch = asyncio.create_task(self._observe_port()) if self._waits else None
        if watch is not None:
            waiting.add(watch)
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if watch is not None and watch.done() and not watch.result():
                await asyncio.wait({self._the_health})
            if self._the_health.done():
                await self._check_health()
                self.show(*self._the_health.result().progress)
            self.memory.listening = self._monotonic()
            self.memory.phase = HANDSHAKE
            if not self._the_health.done():
                ports = ", ".join(map(str, self._native_ports))
                self.show(f"listening on {ports} in the container")
        finally:
            if watch is not None:
                watch.cancel()
                await asyncio.gather(watch, return_exceptions=True)

    @property
    def _the_health(self) -> asyncio.Task[Step]:
        assert self._health is not None  # noqa: S101 - set for as long as the API is verified
        return self._health

    async def _find_container(self) -> Container:
        if self._container is None:
            self._container = await self._engine.inspect(self.params["name"])
        return self._container

    async def _read_watched(self, container: Container) -> Watched:
        """What the observation needs of the container; also sets how soon its health check must agree."""
        facts = watched(await self._engine.run("container", "inspect", "--format", WATCHED_FORMAT, container.id))
        self._agrees_within = facts.agrees_within
        return facts

    @property
    def _native_ports(self) -> list[int]:
        return [int(api["native_port"]) for api in self.params["apis"]]

    async def _observe_port(self) -> bool:
        """Whether the port was seen to listen; False if it cannot be observed from here."""
        try:
            container = await self._find_container()
            facts = await self._read_watched(container)
        except EngineError:
            # Of a container that has ended, the wait for its health knows more.
            return False
        while True:
            listens = observe(facts.pid, container.id, self._native_ports)
            if listens is not False:
                return bool(listens)
            await asyncio.sleep(OBSERVE_SECONDS)

    async def _check_health(self) -> None:
        """Raise PhaseError for what the engine or systemd reports of the container."""
        step = self._the_health.result()
        if step.failure is not None:
            raise await self._port_error(step, step.failure)

    async def _port_error(self, step: Step, failure: Failure) -> PhaseError:
        lines = await port_phase.last_lines(self._engine, step, self.params["log_lines"])
        return failed_phase(PORT, failure, lines)

    async def _shake_hands(self) -> None:
        """Verify each API; the end of the container ends the attempts."""
        for api in self.params["apis"][len(self.memory.handshakes) :]:
            attempts = asyncio.create_task(self._verify_one(api))
            try:
                await asyncio.wait({attempts, self._the_health}, return_when=asyncio.FIRST_COMPLETED)
                if not attempts.done():
                    failure = self._the_health.result().failure
                    if failure is not None and failure.kind not in ("unhealthy", "timeout"):
                        await self._check_health()
                    await asyncio.wait({attempts})
                attempts.result()
            except PhaseError:
                # An API that nobody serves any more is refused: the end of the container is the cause.
                await self._check_container()
                raise
            finally:
                attempts.cancel()
                await asyncio.gather(attempts, return_exceptions=True)
        # A later call finds them verified already.
        self.memory.times.setdefault("verified", datetime.now(UTC).isoformat())

    async def _verify_one(self, api: dict[str, Any]) -> None:
        container = self._container or await self._engine.find(self.params["name"])
        # The actual target of the port: a published native port and a dead API are both silent.
        target = container.published.get(int(api["port"])) if container is not None else None
        plan = planned(self.params, api, container_port=target, cursor=self.memory.attempts)
        several = len(self.params["apis"]) > 1
        if not self.memory.woken and not plan.reports and self._waits:
            await self._wake(api)
        async with contextlib.aclosing(handshake_phase.attempts_of(plan)) as attempts:
            async for attempt, lines in attempts:
                self.show(*(f"{api['mode']}: {line}" if several else line for line in lines))
                if attempt.next is not None:
                    self.memory.attempts = plan.cursor(attempt.next)
                    continue
                self.memory.attempts, self.memory.woken = None, False
                result = handshake_phase.as_result(plan, attempt, [])
                self.memory.handshakes.append({"mode": api["mode"], "port": int(api["port"]), **result})
                if (cause := attempt.result.cause) is not None:
                    message = handshake_phase.failure_message(plan, attempt, result["elapsed"])
                    raise PhaseError(HANDSHAKE, cause.id, cause.remedy, message)

    async def _wake(self, api: dict[str, Any]) -> None:
        """Bring the very first connection behind, without an attempt that it would cost."""

        async def answered() -> bool:
            return bool((await probe(api["host"], int(api["port"]), timeout=PROBE_SECONDS)).answered)

        opened = await first_connection(answered)
        self.memory.woken = True
        if opened > 1:
            self.show(f"the first connection got no answer, connection {opened} did")

    async def _await_agreement(self) -> None:
        """Wait until the engine's health check reports what was observed. Raises PhaseError if it does not in time."""
        if not self._the_health.done():
            if not self._agrees_within:
                await self._read_watched(await self._find_container())
            left = (self.memory.listening or 0.0) + self._agrees_within - self._monotonic()
            await asyncio.wait({self._the_health}, timeout=max(0.0, min(left, LAST_HOLD_SECONDS)))
            if not self._the_health.done() and left > LAST_HOLD_SECONDS:
                if not self.memory.agreement_shown:
                    self.memory.agreement_shown = True
                    self.show(f"waiting for the engine's health check, at most {left:.0f} s")
                await asyncio.wait({self._the_health}, timeout=left - LAST_HOLD_SECONDS)
        step = self._the_health.result() if self._the_health.done() else None
        if step is None or (step.failure is not None and step.failure.kind in ("unhealthy", "timeout")):
            await self._check_present_health()
        else:
            await self._check_health()
        self.memory.phase = CONNECTION

    async def _check_present_health(self) -> None:
        """The last word on the agreement: this call may be too young for a report, or a limit has ended the wait for
        it. Raises PhaseError."""
        present = await port_phase.present_state(self._engine, self.params)
        if present.failure is not None:
            raise await self._port_error(present, present.failure)
        if present.status != "healthy":
            seconds = self._monotonic() - (self.memory.listening or 0.0)
            raise disagreement(self.params["name"], self._native_ports, seconds, present)
        self.memory.results[PORT] = port_phase.as_result(present, [], self._monotonic())

    async def _check_container(self) -> None:
        """Raise PhaseError if the container that became healthy has ended since, or was replaced by another one."""
        params, known = self.params, self.memory.results.get(PORT, {})
        present = await port_phase.present_state(self._engine, params)
        failure = present.failure
        if failure is None and known.get("status") == "healthy":
            now = port_phase.as_result(present, [], self._monotonic())
            if any(now[key] != known[key] for key in ("container_id", "started_at")):
                failure = health.fail("exited", f"The container {params['name']} has ended since it was healthy.")
        elif failure is None and present.container is not None and not present.container.has_started:
            # One in place of the one that has logged in.
            failure = health.fail("exited", f"The container {params['name']} has ended since its login.")
        elif failure is not None and failure.kind == "no_such_container":
            failure = health.fail("exited", f"The container {params['name']} has ended since its login, and is gone.")
        if failure is not None:
            raise await self._port_error(present, failure)

    async def _check_connection(self) -> None:
        self.memory.phase = CONNECTION
        try:
            known = instance.load(self.params["name"], instance.CONFIG_ROOT)
        except instance.InstanceError as error:
            raise PhaseError(CONNECTION, "instance_invalid", instance.REMEDY, str(error)) from error
        tier = await tiers.await_connected(known, self.params["connected_within"])
        if not tier.ok:
            await self._check_container()
            cause, remedy = tier.cause or tier.name, tier.remedy or ""
            message = f"{tier.text} [{cause}]" + (f" Remedy: {remedy}" if remedy else "")
            raise PhaseError(CONNECTION, cause, remedy, message)
        self.show(tier.text)


def as_result(memory: Memory, progress: list[str], *, done: bool) -> dict[str, Any]:
    """Where a verification is, in the form that is returned."""
    result: dict[str, Any] = {
        "changed": False,
        "done": done,
        "verified": False,
        "phase": memory.phase,
        "cause": "",
        "remedy": "",
        "log_lines": [],
        "waited": round(time.monotonic() - memory.started, 1),
        "login": memory.results.get(LOGIN, {}),
        "port": memory.results.get(PORT, {}),
        "handshakes": memory.handshakes,
        "progress": progress,
    }
    return result | {f"{name}_at": moment for name, moment in memory.times.items()}


async def present(params: dict[str, Any]) -> Outcome:
    """Check mode: the present state, without a wait for a start."""
    verification = Verification(params, Memory(time.monotonic()))
    try:
        await verification.inspect()
    except PhaseError as error:
        return ended_with(error, verification)
    return Outcome(as_result(verification.memory, verification.lines, done=True) | {"verified": True})


def ended_with(error: PhaseError, verification: Verification) -> Outcome:
    """The outcome of a verification that failed."""
    memory = verification.memory
    result = as_result(memory, verification.lines, done=True) | {
        "phase": error.phase,
        "cause": error.cause,
        "remedy": error.remedy,
        "log_lines": error.log_lines,
    }
    return Outcome(result, str(error), tuple(memory.warnings))


async def follow(params: dict[str, Any], monotonic: Callable[[], float] = time.monotonic) -> Outcome:
    """Verify the gateway; with until=change until a line for the operator is as old as it may become."""
    cursor = params["cursor"]
    memory = waiting_module.read_cursor(cursor, Memory.from_dict) if cursor else Memory(monotonic())
    verification = Verification(params, memory)
    work = asyncio.create_task(verification.run())
    try:
        if params["until"] == "change":
            await _until_shown(work, verification)
        else:
            await asyncio.wait({work})
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
    if work.cancelled():
        return Outcome(as_result(memory, verification.lines, done=False) | {"cursor": memory.to_text()})
    error = work.exception()
    if isinstance(error, PhaseError):
        return ended_with(error, verification)
    if error is not None:
        raise error
    result = as_result(memory, verification.lines, done=True) | {"verified": True}
    return Outcome(result, None, tuple(memory.warnings))


async def _until_shown(work: asyncio.Task[None], verification: Verification) -> None:
    """Wait until the work has ended, or until its first line must be shown."""
    shown = asyncio.create_task(verification.news.wait())
    try:
        await asyncio.wait({work, shown}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({work}, timeout=HOLD_SECONDS)
        if verification.memory.phase != LOGIN:
            await asyncio.wait({work}, timeout=LAST_HOLD_SECONDS - HOLD_SECONDS)
    finally:
        shown.cancel()
