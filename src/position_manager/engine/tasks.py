"""Work that waits for the broker, beside the engine's loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from position_manager.engine.journal_access import JournalAccess
from position_manager.journal.errors import JournalError


class Tasks:
    """Concurrent tasks. What they raise beside a failing journal ends the process; ``wake`` is called at their end."""

    def __init__(self, access: JournalAccess, wake: Callable[[], None]) -> None:
        self._access = access
        self._wake = wake
        self._running: set[asyncio.Task[None]] = set()
        self._fatal: BaseException | None = None

    @property
    def fatal(self) -> BaseException | None:
        """Why the process must end; None if it need not."""
        return self._fatal

    def fail(self, error: BaseException) -> None:
        """End the process for this error."""
        self._fatal = error
        self._wake()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run the work from now on."""
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._on_end)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, JournalError) and self._access.opened is not None:
            self._access.on_failure(error)
        elif error is not None:
            self._fatal = error
        self._wake()

    def cancel(self) -> None:
        """Cancel all work in progress, without waiting for its end."""
        for task in list(self._running):
            task.cancel()

    async def end(self) -> None:
        """Cancel all work in progress, and wait for its end."""
        self.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
