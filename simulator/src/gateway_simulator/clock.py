"""The clocks the simulator reads and sleeps by, injected so that tests can drive them.

The login goes by the machine's clock. Everything behind the API goes by one :class:`ServerClock`, which may start
anywhere, run faster, or pause until it is advanced.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Protocol

MAX_TIMER_SECONDS = 60.0
"""Machine seconds after which a timer checks the clock again, so that a suspended machine costs no more."""


class Clock(Protocol):
    """Wall time and waiting."""

    def now(self) -> datetime:
        """Return the present as an aware datetime in the gateway's time zone."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for the given number of seconds."""
        ...


class SystemClock:
    """The machine's clock, shown in one time zone (a ``zoneinfo.ZoneInfo`` or UTC)."""

    def __init__(self, zone: tzinfo = UTC) -> None:
        self._zone = zone

    def now(self) -> datetime:
        """Return the present in this clock's zone."""
        return datetime.now(self._zone)

    async def sleep(self, seconds: float) -> None:
        """Wait for the given number of seconds of event loop time."""
        await asyncio.sleep(seconds)


class HeldClockError(Exception):
    """The requested operation needs a clock that is held."""


@dataclass(order=True)
class Alarm:
    """An action that a clock carries out when its moment has come, unless it is cancelled before."""

    moment: datetime
    number: int
    action: Callable[[], None] = field(compare=False)
    cancelled: bool = field(default=False, compare=False)
    timer: asyncio.TimerHandle | asyncio.Handle | None = field(default=None, compare=False)

    def cancel(self) -> None:
        """Cancel the alarm; does nothing once it has gone off."""
        self.cancelled = True
        if self.timer is not None:
            self.timer.cancel()


class ServerClock:
    """The time of the simulated servers, shown in one zone.

    ``start`` (aware) is the moment it shows when it is created; None: the present. ``speed`` is how many of its
    seconds pass in one of the machine's. ``held``: it is paused until :meth:`advance`, and then goes from alarm
    to alarm in the order of their moments.
    """

    def __init__(
        self, zone: tzinfo = UTC, *, start: datetime | None = None, speed: float = 1.0, held: bool = False
    ) -> None:
        if not 0 < speed < float("inf"):
            raise ValueError(f"speed is {speed}; it must be more than 0")
        self.zone = zone
        self.speed = speed
        self.held = held
        self._follows_machine = start is None and speed == 1 and not held
        self._moment = (start or datetime.now(UTC)).astimezone(UTC)
        self._started_at = time.monotonic()
        self._alarms: list[Alarm] = []
        self._number = 0

    def now(self) -> datetime:
        """Return the present of the servers."""
        return self.utc().astimezone(self.zone)

    def utc(self) -> datetime:
        """Return the present in UTC: for arithmetic, which in a zone with summer time is that of its clocks."""
        if self.held:
            return self._moment
        if self._follows_machine:
            return datetime.now(UTC)
        return self._moment + timedelta(seconds=(time.monotonic() - self._started_at) * self.speed)

    def call_at(self, moment: datetime, action: Callable[[], None]) -> Alarm:
        """Carry an action out at a moment (aware), or in the event loop's next turn if that has passed."""
        self._number += 1
        alarm = Alarm(moment.astimezone(UTC), self._number, action)
        if self.held and alarm.moment > self._moment:
            heapq.heappush(self._alarms, alarm)
        else:
            self._wait(alarm)
        return alarm

    def _wait(self, alarm: Alarm) -> None:
        loop = asyncio.get_running_loop()
        seconds = 0.0 if self.held else (alarm.moment - self.utc()).total_seconds() / self.speed
        if seconds <= 0:
            alarm.timer = loop.call_soon(alarm.action)
        else:
            alarm.timer = loop.call_later(min(seconds, MAX_TIMER_SECONDS), self._wait, alarm)

    def advance(self, seconds: float) -> datetime:
        """Move a held clock on and carry out what falls due on the way; return its new present.

        Raises HeldClockError if the clock runs by itself, ValueError for a time that is not more than 0.
        """
        if not self.held:
            raise HeldClockError("the clock runs by itself; only a held one (CLOCK=held) can be advanced")
        if not 0 < seconds < float("inf"):
            raise ValueError(f"cannot advance by {seconds:g} seconds; it must be more than 0")
        target = self._moment + timedelta(seconds=seconds)
        while self._alarms and self._alarms[0].moment <= target:
            alarm = heapq.heappop(self._alarms)
            if not alarm.cancelled:
                self._moment = alarm.moment
                alarm.action()
        self._moment = target
        return self.now()

    async def sleep(self, seconds: float) -> None:
        """Wait for a number of the servers' seconds."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        alarm = self.call_at(self.utc() + timedelta(seconds=seconds), wake)
        try:
            await woken
        finally:
            alarm.cancel()


def gateway_time(moment: datetime) -> str:
    """Format a moment as the gateway does: ``YYYYMMDD HH:MM:SS <zone>``.

    The zone is its IANA name where the time zone has one (``America/New_York``), so that a client
    can read it back; an unnamed zone is converted to UTC first.
    """
    key = getattr(moment.tzinfo, "key", None)
    if key is None:
        moment, key = moment.astimezone(UTC), "UTC"
    return f"{moment:%Y%m%d %H:%M:%S} {key}"
