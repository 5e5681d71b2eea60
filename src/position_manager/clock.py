"""Time, as an injected dependency."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Returns the time and waits."""

    def now(self) -> datetime:
        """The time, with a zone."""

    async def wait(self, event: asyncio.Event, span: timedelta) -> bool:
        """Wait until the event is set, but no longer than ``span``; whether it is set."""


class SystemClock:
    """The host's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def wait(self, event: asyncio.Event, span: timedelta) -> bool:
        # Not wait_for: in Python 3.11 it may lose a cancellation that comes just as the event is set.
        try:
            async with asyncio.timeout(max(0.0, span.total_seconds())):
                await event.wait()
        except TimeoutError:
            return False
        return True
