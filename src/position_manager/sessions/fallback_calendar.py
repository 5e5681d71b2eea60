"""The regular sessions of an exchange's calendar, for instruments without hours from the broker.

The calendars come from a process of its own (`position_manager.sessions.calendar_sessions`), because their library
would cost the service more memory than all the rest of it. Its answer is cached for some weeks, so queries are cheap.
"""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from position_manager.clock import Clock
from position_manager.model import Hours, Instrument

PATIENCE_SECONDS = 30.0
BEHIND = timedelta(days=7)
AHEAD = timedelta(days=42)
LEFT = timedelta(days=28)
"""With fewer days than these ahead, `load` asks again."""
NOTICE = timedelta(days=30)
"""How long before the end of the known calendar it is reported."""
DAY = timedelta(days=1)
AGAIN = timedelta(minutes=1)
MOST_RETURNED = 10
"""The maximum number of stretches that are returned at once, those of the last day first."""

_MODULE = "position_manager.sessions.calendar_sessions"
_log = logging.getLogger(__name__)


class CalendarError(Exception):
    """The calendar is not available; the message names it and the reason."""


class KnownHours:
    """Sessions that are the same for every instrument; implements
    `position_manager.sessions.hours.Calendar`."""

    def __init__(self, hours: tuple[Hours, ...]) -> None:
        """``hours``: ascending."""
        self._hours = hours
        self._ends = [stretch.end for stretch in hours]

    def sessions(self, instrument: Instrument, now: datetime) -> tuple[Hours, ...]:
        first = bisect_right(self._ends, now - timedelta(days=1))
        return self._hours[first : first + MOST_RETURNED]

    def trading(self, instrument: Instrument, now: datetime) -> tuple[Hours, ...]:
        """The regular ones: no others are known."""
        return self.sessions(instrument, now)


class FallbackCalendar:
    """The sessions of an exchange around the present, once they are loaded; implements
    `position_manager.sessions.hours.Calendar`. Every instrument is taken to trade on this exchange."""

    def __init__(self, name: str) -> None:
        """``name``: one of exchange_calendars, such as XNYS."""
        self.name = name
        self._hours = KnownHours(())
        self._known: Hours | None = None
        self.known_until: date | None = None
        """The last day that the library has holidays for, once loaded; None for a calendar without an end."""

    def sessions(self, instrument: Instrument, now: datetime) -> tuple[Hours, ...]:
        return self._hours.sessions(instrument, now)

    async def load(self, now: datetime) -> None:
        """Load the sessions of the next weeks. What is known stays if it raises CalendarError."""
        if self._known is not None and self._known.begin <= now <= self._known.end - LEFT:
            return
        answer = await ask(self.name, (now - BEHIND).date(), (now + AHEAD).date())
        self._hours, self.known_until = KnownHours(answer.hours), answer.known_until
        self._known = Hours(now - BEHIND, now + AHEAD)

    async def load_regularly(
        self, clock: Clock, stop: asyncio.Event, on_end_near: Callable[[str], object] = lambda text: None
    ) -> None:
        """Load now and once a day until ``stop`` is set; what fails is logged and tried again after a minute. Once a
        day ``on_end_near`` gets a sentence when the calendar is known for less than `NOTICE`."""
        pause = timedelta()
        while not await clock.wait(stop, pause):
            try:
                await self.load(clock.now())
                pause = DAY
                if (text := ending(self.name, self.known_until, clock.now())) is not None:
                    _log.warning("%s", text)
                    on_end_near(text)
            except CalendarError as error:
                _log.error("%s", error)
                pause = AGAIN


@dataclass(frozen=True)
class Answer:
    """The sessions of a calendar, and the last day that it is known for; None for a calendar without an end."""

    hours: tuple[Hours, ...]
    known_until: date | None


def ending(name: str, known_until: date | None, now: datetime) -> str | None:
    """What to report of a calendar that is known for less than `NOTICE` from now on."""
    if known_until is None or known_until - now.date() >= NOTICE:
        return None
    return (
        f"The fallback calendar {name} is known until {known_until} only. After that day no session is known where the "
        "broker reports none, and rules wait: deploy a newer release, or set another hours.fallback_calendar."
    )


async def ask(name: str, first: date, last: date) -> Answer:
    """The sessions of a calendar from one day to another. Raises CalendarError."""
    process = await asyncio.create_subprocess_exec(
        *_command(name, f"{first}", f"{last}"), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            output, errors = await process.communicate()
    except TimeoutError as error:
        raise CalendarError(f"calendar {name} took longer than {PATIENCE_SECONDS:g} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise CalendarError(_last_line(name, process.returncode, errors))
    return _parsed(output)


def check_name(name: str, today: date) -> date | None:
    """The last day that a calendar is known for; None for one without an end. A process of its own finds it out.

    Raises CalendarError unless there is such a calendar and its sessions of the next weeks can be computed.
    """
    command = _command(name, f"{today}", f"{today + AHEAD}")
    try:
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE_SECONDS, check=False)  # noqa: S603 - our own module
    except subprocess.TimeoutExpired as error:
        raise CalendarError(f"calendar {name} took longer than {PATIENCE_SECONDS:g} s") from error
    if done.returncode:
        raise CalendarError(_last_line(name, done.returncode, done.stderr))
    return _parsed(done.stdout).known_until


def _command(*arguments: str) -> tuple[str, ...]:
    return sys.executable, "-m", _MODULE, *arguments


def _last_line(name: str, code: int, errors: bytes) -> str:
    """The error of a failed process: its own sentence, or the last line of its traceback."""
    lines = errors.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"calendar {name}: exit status {code}"


def _parsed(output: bytes) -> Answer:
    document = json.loads(output)
    zone, known_until = ZoneInfo(document["zone"]), document["known_until"]
    hours = tuple(
        Hours(datetime.fromisoformat(begin).astimezone(zone), datetime.fromisoformat(end).astimezone(zone))
        for begin, end in document["sessions"]
    )
    return Answer(hours, None if known_until is None else date.fromisoformat(known_until))
