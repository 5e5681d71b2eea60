"""The first connection, when a call ends for the operator, and where the next one goes on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from tests.plugins import load

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
