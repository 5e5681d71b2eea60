"""Trailing stops that have moved: stored soon, and several of a moment with one write to the disk."""

from __future__ import annotations

from datetime import datetime, timedelta

from position_manager.engine.guard import Guard
from position_manager.engine.in_flight import InFlight
from position_manager.engine.journal_access import JournalAccess

STORE_WITHIN = timedelta(seconds=0.2)
"""A trailing stop that has moved is stored within this time."""


class MovedStops:
    """A trailing stop that has moved is on disk before a rule can fire on it: that takes the time in which quotes
    confirm it."""

    def __init__(self, *, access: JournalAccess, guard: Guard, in_flight: InFlight) -> None:
        self._access = access
        self._guard = guard
        self._in_flight = in_flight
        self._store_at: datetime | None = None

    @property
    def due(self) -> datetime | None:
        """When they are stored. While an order is being sent nothing is; its end wakes the loop."""
        return None if self._in_flight else self._store_at

    @property
    def unplanned(self) -> bool:
        """Whether one has moved and no time is set at which it is stored."""
        return bool(self._guard.moved) and self._store_at is None

    def store(self, now: datetime) -> None:
        """Store them if it is time. Raises JournalError."""
        if not self._guard.moved or self._access.opened is None or self._access.fault is not None:
            self._store_at = None
            return
        if self._store_at is None or self._store_at - now > STORE_WITHIN:
            self._store_at = now + STORE_WITHIN
        elif now >= self._store_at and not self._in_flight:
            self._guard.store_moved(self._access.journal)
            self._store_at = now if self._guard.moved else None
