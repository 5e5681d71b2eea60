"""The position manager with a clock that runs faster: ``python -m bench.fast_clock FACTOR run …``.

What it waits for by its own clock comes sooner; the gateway and the socket are as fast as they are.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime, timedelta

from position_manager import cli
from position_manager.clock import SystemClock
from position_manager.service import service


class FastClock(SystemClock):
    """The host's clock, faster from now on."""

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self._begin = super().now()

    def now(self) -> datetime:
        return self._begin + (super().now() - self._begin) * self._factor

    async def wait(self, event: asyncio.Event, span: timedelta) -> bool:
        return await super().wait(event, span / self._factor)


def main() -> None:
    factor = float(sys.argv.pop(1))
    # The only place at which the service creates a clock.
    vars(service).update(SystemClock=lambda: FastClock(factor))
    cli.main()


if __name__ == "__main__":
    main()
