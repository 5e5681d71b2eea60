"""Keeps below IB's 50 messages a second: what is over them is refused, and that may be an order."""

from __future__ import annotations

import asyncio
from collections import deque

QUESTIONS_PER_SECOND = 30
"""The rest is left for orders and cancels, which never wait, and for the first messages of a session."""


class Pace:
    """Whoever wants to ask takes a turn; in no second come more turns and messages that did not wait than this."""

    def __init__(self, per_second: int = QUESTIONS_PER_SECOND) -> None:
        self._sent: deque[float] = deque(maxlen=per_second)
        self._queue = asyncio.Lock()

    async def turn(self) -> None:
        async with self._queue:
            loop = asyncio.get_running_loop()
            # Messages that did not wait may have come meanwhile.
            while len(self._sent) == self._sent.maxlen and (left := self._sent[0] + 1 - loop.time()) > 0:  # noqa: ASYNC110 - it is time that is waited for
                await asyncio.sleep(left)
            self.note()

    def note(self) -> None:
        """A message leaves without waiting."""
        self._sent.append(asyncio.get_running_loop().time())
