"""Keeps below IB's 50 messages a second, with room for orders, which never wait."""

from __future__ import annotations

import asyncio
from collections import deque

PER_SECOND = 40


class Pace:
    """Whoever wants to ask takes a turn; no more than `PER_SECOND` turns come in any second."""

    def __init__(self, per_second: int = PER_SECOND) -> None:
        self._turns: deque[float] = deque(maxlen=per_second)
        self._queue = asyncio.Lock()

    async def turn(self) -> None:
        async with self._queue:
            loop = asyncio.get_running_loop()
            if len(self._turns) == self._turns.maxlen and (left := self._turns[0] + 1 - loop.time()) > 0:
                await asyncio.sleep(left)
            self._turns.append(loop.time())
