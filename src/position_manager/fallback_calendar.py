"""The regular sessions of an exchange's calendar, for instruments of which the broker tells no hours.

The calendars come from a process of its own (`position_manager.calendar_sessions`), because their library would cost
the service more memory than all the rest of it. What it told is kept for some weeks, so asking is cheap.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from bisect import bisect_right
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from position_manager.model import Hours, Instrument

PATIENCE_SECONDS = 30.0
BEHIND = timedelta(days=7)
AHEAD = timedelta(days=42)
LEFT = timedelta(days=28)
"""With fewer days than these ahead, `load` asks again."""
TOLD = 10
"""So many stretches are told at once, those of the last day first."""

_MODULE = "position_manager.calendar_sessions"


class CalendarError(Exception):
    """The calendar cannot be had; the message says which and why."""


class FallbackCalendar:
    """Keeps the contract of `position_manager.hours.Calendar`, once it is loaded. Every instrument is taken to trade
    on this exchange."""

    def __init__(self, name: str) -> None:
        """``name``: one of exchange_calendars, such as XNYS."""
        self.name = name
        self._hours: tuple[Hours, ...] = ()
        self._ends: list[datetime] = []
        self._known: Hours | None = None

    async def load(self, now: datetime) -> None:
        """Have the sessions of the next weeks at hand; to be called at the start and once a day. What is known stays
        if it raises CalendarError."""
        if self._known is not None and self._known.begin <= now <= self._known.end - LEFT:
            return
        process = await asyncio.create_subprocess_exec(
            *_command(self.name, f"{now - BEHIND:%Y-%m-%d}", f"{now + AHEAD:%Y-%m-%d}"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                output, errors = await process.communicate()
        except TimeoutError as error:
            raise CalendarError(f"calendar {self.name} took longer than {PATIENCE_SECONDS:g} s") from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise CalendarError(_last_line(self.name, process.returncode, errors))
        self._hours = _parsed(output)
        self._ends = [hours.end for hours in self._hours]
        self._known = Hours(now - BEHIND, now + AHEAD)

    def sessions(self, instrument: Instrument, now: datetime) -> tuple[Hours, ...]:
        first = bisect_right(self._ends, now - timedelta(days=1))
        return self._hours[first : first + TOLD]


def check_name(name: str) -> None:
    """Raises CalendarError unless there is such a calendar. It takes a second: a process of its own looks."""
    try:
        done = subprocess.run(_command(name), capture_output=True, timeout=PATIENCE_SECONDS, check=False)  # noqa: S603 - our own module
    except subprocess.TimeoutExpired as error:
        raise CalendarError(f"calendar {name} took longer than {PATIENCE_SECONDS:g} s") from error
    if done.returncode:
        raise CalendarError(_last_line(name, done.returncode, done.stderr))


def _command(*arguments: str) -> tuple[str, ...]:
    return sys.executable, "-m", _MODULE, *arguments


def _last_line(name: str, code: int, errors: bytes) -> str:
    """What a process that ended badly said: its own sentence, or the last line of what went wrong."""
    said = errors.decode(errors="replace").strip().splitlines()
    return said[-1] if said else f"calendar {name}: exit status {code}"


def _parsed(output: bytes) -> tuple[Hours, ...]:
    document = json.loads(output)
    zone = ZoneInfo(document["zone"])
    return tuple(
        Hours(datetime.fromisoformat(begin).astimezone(zone), datetime.fromisoformat(end).astimezone(zone))
        for begin, end in document["sessions"]
    )
