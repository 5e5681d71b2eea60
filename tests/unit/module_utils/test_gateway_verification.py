"""The first connection, when a call ends for the operator, and where the next one goes on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.plugins import load

from gateway_watch import health
from gateway_watch.engine import NEVER, Container, HealthProbe, NoSuchContainerError
from gateway_watch.login_wait import LoginMemory

verification = load("module_utils/gateway_verification.py")

HEDGE = 0.02


def connections(*answers: bool | None) -> tuple[Callable[[], Awaitable[bool]], list[int]]:
    """Connections that are answered, refused (False) or silent (None), in this order; how many were opened."""
    opened: list[int] = []

    async def connect() -> bool:
        opened.append(len(opened) + 1)
        answer = answers[len(opened) - 1]
        if answer is None:
            await asyncio.Event().wait()
        return bool(answer)

    return connect, opened


@pytest.mark.parametrize(
    ("answers", "used"),
    [
        ((True,), 1),
        ((None, True), 2),
        ((None, None, True), 3),
        ((False,), 0),
        ((None, False), 0),
    ],
)
def test_another_connection_is_opened_beside_a_silent_one_only(answers: tuple[bool | None, ...], used: int) -> None:
    connect, opened = connections(*answers)
    found = asyncio.run(verification.first_connection(connect, connections=3, hedge=HEDGE))
    assert found == used
    assert len(opened) == len(answers)


def test_no_more_connections_are_opened_than_allowed() -> None:
    async def run() -> int:
        connect, opened = connections(None, None, True)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10 * HEDGE):
                await verification.first_connection(connect, connections=2, hedge=HEDGE)
        return len(opened)

    assert asyncio.run(run()) == 2


@pytest.mark.parametrize(
    ("phase", "end", "done"),
    [("login", 0.02, True), ("login", 0.2, False), ("port", 0.2, True), ("handshake", 5, False)],
)
def test_a_call_ends_a_moment_after_its_first_line(
    monkeypatch: pytest.MonkeyPatch, phase: str, end: float, done: bool
) -> None:
    """Not at the line itself: what follows at once is shown with it, and its process need not be started again. After
    the login the moment is longer, since the end is near."""
    monkeypatch.setattr(verification, "HOLD_SECONDS", 0.05)
    monkeypatch.setattr(verification, "LAST_HOLD_SECONDS", 1.0)

    async def run() -> bool:
        found = verification.Verification({}, verification.Memory(0.0, phase=phase))

        async def work() -> None:
            found.show("a line")
            await asyncio.sleep(end)

        task = asyncio.create_task(work())
        await verification._until_shown(task, found)
        ended = task.done()
        task.cancel()
        return ended

    assert asyncio.run(run()) is done


def test_a_call_goes_on_where_the_one_before_ended() -> None:
    memory = verification.Memory(12.5, phase="handshake", listening=20.0, attempts="{}", warnings=["old image"])
    assert verification.Memory.from_dict(json.loads(memory.to_text())) == memory


@pytest.mark.parametrize("text", ['{"started": 1, "phase": "elsewhere"}', "{}", "[]", '{"started": 1, "more": 2}'])
def test_a_cursor_of_something_else_is_rejected(text: str) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        verification.Memory.from_dict(json.loads(text))


STARTED = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)
CONTAINER = Container(
    id="c0ffee",
    name="gw",
    image="image:1",
    status="running",
    exit_code=0,
    error="",
    oom_killed=False,
    started_at=STARTED,
    finished_at=NEVER,
    restart_count=0,
    health="healthy",
    health_log=(HealthProbe(STARTED, 1, "no such file"),),
)
NOT_STARTED = replace(CONTAINER, id="another", status="created", health=None, started_at=NEVER)


class Engine:
    """An engine with one container, or none."""

    def __init__(self, container: Container | None) -> None:
        self.container = container

    async def time(self) -> datetime:
        return STARTED

    async def find(self, _name: str) -> Container | None:
        return self.container

    async def inspect(self, name: str) -> Container:
        if self.container is None:
            raise NoSuchContainerError(f"no {name}")
        return self.container

    async def run(self, *_arguments: str) -> str:
        return '1 {"Interval": 1000000000, "Timeout": 1000000000}'


def agreement(container: Container, *, listened_ago: float) -> Any:
    """What follows while the call's own wait for the health check has not reported anything yet."""
    params = {"name": "gw", "unit": None, "log_lines": 0, "apis": [{"native_port": 4002}]}

    async def run() -> Any:
        found = verification.Verification(params, verification.Memory(0.0, phase="handshake"))
        found._engine = Engine(container)
        found.memory.listening = found._monotonic() - listened_ago
        found._health = asyncio.create_task(asyncio.Event().wait())
        try:
            await found._await_agreement()
        finally:
            found._health.cancel()
        return found.memory

    return asyncio.run(run())


def test_a_call_that_is_too_young_for_a_report_asks_before_it_fails() -> None:
    """After a silent attempt and one with a client ID in use, the call in which the API is verified has just started,
    and the time in which the health check must agree is over."""
    memory = agreement(CONTAINER, listened_ago=60)
    assert (memory.phase, memory.results["port"]["status"]) == ("connection", "healthy")


def test_a_health_check_that_still_disagrees_then_is_an_error() -> None:
    with pytest.raises(
        verification.PhaseError, match=r"reports starting. Last check: no such file \(exit code 1\)"
    ) as raised:
        agreement(replace(CONTAINER, health="starting"), listened_ago=60)
    assert "'{{json .State.Health}}' gw` on the host" in raised.value.remedy


def test_a_container_that_ends_at_the_end_is_no_disagreement() -> None:
    with pytest.raises(verification.PhaseError) as raised:
        agreement(replace(CONTAINER, status="exited", exit_code=3), listened_ago=60)
    assert raised.value.cause == "exited"


def test_a_container_that_is_gone_is_left_to_the_wait_for_its_health() -> None:
    """It knows the exit code and what the unit reports."""
    found = verification.Verification({"name": "gw", "apis": []}, verification.Memory(0.0, phase="port"))
    found._engine = Engine(None)
    assert asyncio.run(found._observe_port()) is False


def test_a_later_call_shows_the_wait_for_the_health_check_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "LAST_HOLD_SECONDS", 0.01)
    params: dict[str, Any] = {"name": "gw", "unit": None, "log_lines": 0, "apis": []}

    async def run() -> list[str]:
        memory = verification.Memory(0.0, phase="handshake")
        lines: list[str] = []
        for _ in range(2):
            found = verification.Verification(params, memory)
            found._engine = Engine(CONTAINER)
            found._agrees_within = 0.1
            memory.listening = found._monotonic()
            found._health = asyncio.create_task(asyncio.Event().wait())
            await found._await_agreement()
            found._health.cancel()
            lines += found.lines
        return lines

    assert asyncio.run(run()) == ["waiting for the engine's health check, at most 0 s"]


def test_a_later_call_leaves_the_time_at_which_the_api_was_verified() -> None:
    memory = verification.Memory(0.0, phase="handshake", handshakes=[{"mode": "paper"}], times={"verified": "before"})
    found = verification.Verification({"apis": [{"mode": "paper"}]}, memory)
    asyncio.run(found._shake_hands())
    assert memory.times == {"verified": "before"}


def the_end(container: Container | None) -> Any:
    """The end of a verification whose container was healthy, and is now as given."""
    params = {"name": "gw", "unit": None, "log_lines": 0, "connected_within": None}
    memory = verification.Memory(0.0, phase="connection")
    memory.results["port"] = {"status": "healthy", "container_id": "c0ffee", "started_at": STARTED.isoformat()}
    found = verification.Verification(params, memory)
    found._engine = Engine(container)
    return asyncio.run(found.run())


def test_a_container_that_still_runs_in_the_end_is_verified() -> None:
    the_end(CONTAINER)
    # What its health check reports has been required before, and may miss once.
    the_end(replace(CONTAINER, health="unhealthy"))


@pytest.mark.parametrize(
    "container",
    [
        None,
        replace(CONTAINER, status="exited", exit_code=3),
        replace(CONTAINER, id="another"),
        replace(CONTAINER, started_at=STARTED + timedelta(seconds=1)),
        NOT_STARTED,
    ],
    ids=["gone", "ended", "replaced", "restarted", "replaced and not yet started"],
)
def test_a_container_that_has_ended_by_the_end_is_not_verified(container: Container | None) -> None:
    with pytest.raises(verification.PhaseError, match="ended") as raised:
        the_end(container)
    assert (raised.value.phase, raised.value.cause) == ("port", "exited")


def test_one_that_has_not_started_yet_is_in_place_of_the_one_that_ended() -> None:
    """Also before its health was known."""
    found = verification.Verification({"name": "gw", "unit": None, "log_lines": 0}, verification.Memory(0.0))
    found._engine = Engine(NOT_STARTED)
    with pytest.raises(verification.PhaseError, match="ended since its login") as raised:
        asyncio.run(found._check_container())
    assert raised.value.cause == "exited"


def test_the_wait_for_the_port_counts_what_happened_since_the_login() -> None:
    memory = verification.Memory(0.0)
    found = verification.Verification({}, memory)
    fresh = health.Memory(9.0, 50.0)
    assert found._since_login(fresh) == fresh
    memory.login = LoginMemory(health.Memory(1.0, 5.0, container_id="c0ffee", restarts_before=2)).to_dict()
    assert found._since_login(fresh) == health.Memory(9.0, 5.0, container_id="c0ffee", restarts_before=2)
