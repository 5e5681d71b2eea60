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


def test_a_call_ends_a_moment_after_its_first_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at the line itself: what follows at once is shown with it, and its process need not be started again."""
    monkeypatch.setattr(verification, "HOLD_SECONDS", 0.05)

    async def run(first_line: float, end: float) -> bool:
        news = asyncio.Event()

        async def work() -> None:
            await asyncio.sleep(first_line)
            news.set()
            await asyncio.sleep(end - first_line)

        task = asyncio.create_task(work())
        await verification._until_shown(task, news)
        done = task.done()
        task.cancel()
        return done

    assert asyncio.run(run(0.01, 0.02)) is True
    assert asyncio.run(run(0.01, 5)) is False


def test_a_call_goes_on_where_the_one_before_ended() -> None:
    memory = verification.Memory(12.5, phase="handshake", listening=20.0, attempts="{}", warnings=["old image"])
    assert verification.Memory.from_dict(json.loads(memory.to_text())) == memory


@pytest.mark.parametrize("text", ['{"started": 1, "phase": "elsewhere"}', "{}", "[]", '{"started": 1, "more": 2}'])
def test_a_cursor_of_something_else_is_rejected(text: str) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        verification.Memory.from_dict(json.loads(text))
