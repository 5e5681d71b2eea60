"""A question to the broker whose one answer serves all who asked before it was sent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

_T = TypeVar("_T")
STEPS = 5
"""Turns of the loop in which those who got an answer act on it: from the question over its askers to the socket."""


class SharedQuestion(Generic[_T]):
    """One question at a time; callers that ask while one is pending wait for the next one.

    No caller receives the answer to a question that was sent before its own call: its actions and received events in
    the meantime may not be in it. ``ask`` sends the question when it is called, before it waits for anything, and
    returns its answer.
    """

    def __init__(self, ask: Callable[[], Awaitable[_T]]) -> None:
        self._ask = ask
        self._free = asyncio.Lock()
        self._next: asyncio.Task[_T] | None = None

    async def answer(self) -> _T:
        """The answer to a question that is not sent yet. What ``ask`` raises is raised to all who share it."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_task(self._send())
            # Those who asked may all have gone.
            self._next.add_done_callback(lambda task: task.cancelled() or task.exception())
        # A cancelled caller must not take the answer from the others.
        return await asyncio.shield(self._next)

    async def _send(self) -> _T:
        waited = self._free.locked()
        async with self._free:
            for _ in range(STEPS if waited else 0):
                # Whoever has just got an answer acts on it first: an order must not leave behind a question.
                await asyncio.sleep(0)
            self._next = None
            return await self._ask()
