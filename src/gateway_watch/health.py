"""Whether the gateway's container is healthy, and waiting until it is.

`presence` and `judge` decide from what is known at one moment and touch nothing; `wait_healthy` does the
waiting, on the engine's event stream. An event only triggers an inspection: the decision always comes from
`docker inspect`, so a late or repeated event cannot mislead.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from gateway_watch import systemd_unit
from gateway_watch.engine import Container, Engine, Event
from gateway_watch.feed import Feed
from gateway_watch.systemd_unit import UnitState

LOOP_RESTARTS = 3
"""That many ends within one wait (or restarts by the engine) are a loop."""

REMEDIES = {
    "no_such_container": "Start the unit that creates it, or correct the name (docker ps --all lists them).",
    "no_health_check": "Create the container with --health-cmd: without one its readiness cannot be detected.",
    "exited": "Read its last lines: they and its exit code show why it ended.",
    "start_failed": "Fix what the engine reports (a port in use, a missing mount), then start the unit again.",
    "restarting_loop": "Stop it, and read its last lines: it ends soon after each start.",
    "unhealthy": "Check whether the gateway logged in: its port opens after the login only.",
    "timeout": "Check its state; if it only needs more time, raise the timeout.",
    "unit_failed": "Fix what the unit's status reports, then start the unit again (systemctl status shows it).",
}


@dataclass(frozen=True)
class Failure:
    """Why the wait is over without success: an id, one line, what to do."""

    kind: str
    text: str
    remedy: str


@dataclass(frozen=True)
class Limits:
    """How long to wait, in seconds.

    `timeout` bounds the whole wait. `appear` is how long a missing container may take to appear; 0 means it has
    to be there. `unhealthy` is how long it may be unhealthy before that counts.
    """

    timeout: float = 300.0
    appear: float = 0.0
    unhealthy: float = 30.0


@dataclass(frozen=True)
class Memory:
    """What a wait must remember, also from one process to the next (it is the modules' cursor).

    Times are seconds of CLOCK_MONOTONIC, which all processes of a host share; `events_since` is an epoch time
    of the engine's clock.
    """

    started: float
    events_since: float
    container_id: str | None = None
    leftover_id: str | None = None
    restarts_before: int = 0
    deaths: int = 0
    exit_code: int | None = None
    unhealthy_since: float | None = None
    last_reported: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values, for `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Memory:
        """The inverse of `to_dict`. Raises TypeError if the keys are not those of a memory."""
        return cls(**values)


@dataclass(frozen=True)
class Step:
    """One step of a wait: what to show the operator, and the state. `done` ends the wait."""

    memory: Memory
    status: str
    progress: tuple[str, ...] = ()
    container: Container | None = None
    failure: Failure | None = None
    done: bool = False


def fail(kind: str, text: str, remedy: str | None = None) -> Failure:
    """A failure of a known kind with the remedy that belongs to it."""
    return Failure(kind, text, remedy or REMEDIES[kind])


def notice(memory: Memory, container: Container | None, unit: UnitState | None, limits: Limits, now: float) -> Memory:
    """The memory after an inspection of the container (None: there is none).

    A left-over does not count as the container waited for: one that is being stopped by its unit, or, if the
    container may yet appear, one that had already ended when the wait started.
    """
    if container is None:
        return memory
    if unit is not None and unit.stopping:
        return replace(memory, container_id=None, leftover_id=container.id, unhealthy_since=None)
    if container.id != memory.container_id:
        first = memory.container_id is None and memory.leftover_id is None
        if (first and limits.appear > 0 and container.ended) or container.id == memory.leftover_id:
            return replace(memory, leftover_id=container.id)
        memory = replace(
            memory,
            container_id=container.id,
            restarts_before=container.restart_count,
            unhealthy_since=None,
        )
    if container.running and container.health == "unhealthy":
        return replace(memory, unhealthy_since=now if memory.unhealthy_since is None else memory.unhealthy_since)
    return replace(memory, unhealthy_since=None)


def presence(
    name: str, memory: Memory, container: Container | None, unit: UnitState | None, limits: Limits, now: float
) -> Failure | None:
    """Why no running container can be expected any more; None if there is one or may yet be.

    `memory` has already noticed `container`.
    """
    if unit is not None and unit.failed:
        reason = unit.reason or f"result {unit.result}, exit status {unit.exit_status}"
        return fail("unit_failed", f"The unit {unit.name} has failed: {reason}")
    stopping = unit is not None and unit.stopping
    if stopping or container is None or container.id == memory.leftover_id:
        if memory.deaths >= LOOP_RESTARTS:
            return fail("restarting_loop", f"The container {name} ended {memory.deaths} times while waited for.")
        if stopping:
            # The next event is more specific: either the unit fails with a status, or it starts a new container.
            return None
        if memory.exit_code is not None:
            reported = f" The unit reports: {unit.reason}" if unit is not None and unit.reason else ""
            text = f"The container {name} ended with exit code {memory.exit_code} and is gone.{reported}"
            return fail("exited", text)
        if now - memory.started >= limits.appear:
            if limits.appear == 0:
                return fail("no_such_container", f"There is no container {name}.")
            return fail("no_such_container", f"No container {name} appeared within {limits.appear:g} s.")
        return None
    restarts = max(container.restart_count - memory.restarts_before, memory.deaths)
    if restarts >= LOOP_RESTARTS or (container.status == "restarting" and container.restart_count >= LOOP_RESTARTS):
        count = max(container.restart_count, memory.deaths)
        return fail(
            "restarting_loop",
            f"The container {name} is restarted again and again ({count} times, last exit code {container.exit_code}).",
        )
    if container.ended:
        out_of_memory = ": out of memory" if container.oom_killed else ""
        return fail("exited", f"The container {name} ended with exit code {container.exit_code}{out_of_memory}.")
    if container.status == "created" and container.error:
        return fail("start_failed", f"The engine could not start the container {name}: {container.error}")
    return None


def judge(
    name: str, memory: Memory, container: Container | None, unit: UnitState | None, limits: Limits, now: float
) -> Step:
    """The state of the wait. `memory` has already noticed `container`; `now` is CLOCK_MONOTONIC."""
    waited = now - memory.started
    if failure := presence(name, memory, container, unit, limits, now):
        return Step(memory, failure.kind, container=container, failure=failure, done=True)
    if container is None or container.id == memory.leftover_id or (unit is not None and unit.stopping):
        status, line, container = "absent", f"waiting for the container {name} to appear", None
    elif container.health is None and container.has_started:
        failure = fail("no_health_check", f"The container {name} has no health check.")
        return Step(memory, "no_health_check", container=container, failure=failure, done=True)
    elif container.running and container.health == "healthy":
        line = f"listening (healthy) after {waited:.0f} s"
        return Step(memory, "healthy", (line,), container, done=True)
    elif not container.running:
        status, line = container.status, f"container {container.status}, not yet running"
    elif container.health == "unhealthy":
        since = memory.unhealthy_since if memory.unhealthy_since is not None else now
        if now - since >= limits.unhealthy or waited >= limits.timeout:
            last = f" Last probe: {container.health_log[-1].output}" if container.health_log else ""
            failure = fail(
                "unhealthy",
                f"The container {name} is unhealthy ({container.failing_streak} failed probes, seen so for "
                f"{now - since:.0f} s).{last}",
            )
            return Step(memory, "unhealthy", container=container, failure=failure, done=True)
        status, line = "unhealthy", f"unhealthy; {limits.unhealthy:g} s of grace"
    else:
        status, line = "starting", "container started"
    if waited >= limits.timeout:
        failure = fail("timeout", f"The container {name} is not healthy after {waited:.0f} s: it is {status}.")
        return Step(memory, status, container=container, failure=failure, done=True)
    current = f"{container.id if container else ''}:{status}"
    if current == memory.last_reported:
        return Step(memory, status, container=container)
    return Step(replace(memory, last_reported=current), status, (line,), container)


def wake_after(memory: Memory, limits: Limits, now: float) -> float:
    """Seconds until time alone can change the judgement."""
    moments = [memory.started + limits.timeout]
    if now - memory.started < limits.appear:
        moments.append(memory.started + limits.appear)
    if memory.unhealthy_since is not None:
        moments.append(memory.unhealthy_since + limits.unhealthy)
    return max(0.0, min(moments) - now)


def on_event(memory: Memory, event: Event) -> Memory:
    """The memory after an event of the engine."""
    memory = replace(memory, events_since=max(memory.events_since, event.time.timestamp()))
    if event.action == "die" and event.container_id == memory.container_id:
        return replace(memory, deaths=memory.deaths + 1, exit_code=event.exit_code)
    return memory


async def start(engine: Engine, monotonic: Callable[[], float] = time.monotonic) -> Memory:
    """The memory of a wait that starts now."""
    return Memory(started=monotonic(), events_since=(await engine.time()).timestamp())


async def wait_healthy(
    engine: Engine,
    name: str,
    limits: Limits,
    memory: Memory,
    *,
    unit: str | None = None,
    monotonic: Callable[[], float] = time.monotonic,
) -> AsyncGenerator[Step, None]:
    """Yield each step that has something to report; the last one is `done`.

    Raises `EngineError` and `UnitError`.
    """
    feed: Feed[Event | UnitState] = Feed()
    async with feed:
        seen_until = memory.events_since
        feed.add(engine.events(name, datetime.fromtimestamp(seen_until, UTC)))
        state = await systemd_unit.show(unit) if unit else None
        if unit:
            feed.add(systemd_unit.states(unit))
        while True:
            container = await engine.find(name)
            now = monotonic()
            memory = notice(memory, container, state, limits, now)
            step = judge(name, memory, container, state, limits, now)
            memory = step.memory
            if step.progress or step.done:
                yield step
            if step.done:
                return
            item = await feed.next(wake_after(memory, limits, now))
            if isinstance(item, UnitState):
                state = item
            elif item is not None and item.time.timestamp() > seen_until:
                memory = on_event(memory, item)
