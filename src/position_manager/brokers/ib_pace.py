"""Stays below IB's 50 messages a second: messages above the limit are rejected, and one of them may be an order."""

from __future__ import annotations

import asyncio
from collections import deque

QUESTIONS = 30
"""From this number of messages in a second on, a question waits: the rest is reserved for orders and cancels."""
ORDERS = 44
"""From this number on even an order waits, before its last check of the books."""


class Pace:
    """The messages of the last second. Every sender takes a turn first."""

    def __init__(self) -> None:
        self._sent: deque[float] = deque()

    async def turn(self) -> None:
        """For a question."""
        await self.room()
        self.count_request()

    async def room(self) -> None:
        """Until a question may leave; it counts when it does, as several may share one."""
        await self._room(QUESTIONS)

    async def order_turn(self) -> None:
        """For an order, before the check of the books that precedes it. The question of that check, which several
        orders may share, counts when it is sent."""
        await self._room(ORDERS - 1)
        self.count_request()

    def count_request(self) -> None:
        """A message leaves without waiting."""
        self._sent.append(asyncio.get_running_loop().time())

    async def _room(self, limit: int) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while self._sent and loop.time() - self._sent[0] >= 1:
                self._sent.popleft()
            if len(self._sent) < limit:
                return
            # Until enough of them are a second ago; others may have taken that room by then.
            await asyncio.sleep(max(0.0, self._sent[len(self._sent) - limit] + 1 - loop.time()))
