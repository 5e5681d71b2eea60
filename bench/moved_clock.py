"""The position manager at another moment: ``python -m bench.moved_clock SECONDS run …``.

Its clock is moved by so many seconds, to the hour of the simulated market: at night and on weekends, too, what is
measured is a day of trading.
"""

from __future__ import annotations

import os
import sys
from datetime import datetime, timedelta

from bench import lifted_pace
from position_manager import cli
from position_manager.clock import SystemClock
from position_manager.service import service


class MovedClock(SystemClock):
    """The host's clock, moved."""

    def __init__(self, by: timedelta) -> None:
        self._by = by

    def now(self) -> datetime:
        return super().now() + self._by


def main() -> None:
    by = timedelta(seconds=float(sys.argv.pop(1)))
    if os.environ.get("BENCH_LIFTED_PACE"):
        lifted_pace.lift()
    # The only place at which the service creates a clock.
    vars(service).update(SystemClock=lambda: MovedClock(by))
    cli.main()


if __name__ == "__main__":
    main()
