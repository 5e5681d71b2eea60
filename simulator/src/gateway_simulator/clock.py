"""The clock the simulator reads and sleeps by, injected so that tests can drive it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, tzinfo
from typing import Protocol


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


def gateway_time(moment: datetime) -> str:
    """Write a moment as the gateway does: ``YYYYMMDD HH:MM:SS <zone>``.

    The zone is its IANA name where the time zone has one (``America/New_York``), so that a client
    can read it back; an unnamed zone is converted to UTC first.
    """
    key = getattr(moment.tzinfo, "key", None)
    if key is None:
        moment, key = moment.astimezone(UTC), "UTC"
    return f"{moment:%Y%m%d %H:%M:%S} {key}"
