"""Several asynchronous sources read as one, with a time limit."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Feed(Generic[Item]):
    """Reads sources side by side; `async with` ends them all, and their subprocesses with them."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Item | Exception] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Feed[Item]:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def add(self, source: AsyncGenerator[Item, None]) -> None:
        """Read `source` from now on."""
        self._tasks.append(asyncio.create_task(self._read(source)))

    async def next(self, seconds: float) -> Item | None:
        """The next item of any source, or None after `seconds`. Raises what a source raised."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                item = await self._queue.get()
        except TimeoutError:
            return None
        if isinstance(item, Exception):
            raise item
        return item

    async def _read(self, source: AsyncGenerator[Item, None]) -> None:
        try:
            async with contextlib.aclosing(source):
                async for item in source:
                    self._queue.put_nowait(item)
        except Exception as error:  # whatever it is, it belongs to the reader, who waits in another task
            self._queue.put_nowait(error)
