"""What is due soon: the next full sync and the next check of the decisions; and the end of the engine's waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from position_manager.clock import Clock


class Agenda:
    """Times at which the engine has work, beside its regular rule loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._woken = asyncio.Event()
        self._sync_at: datetime | None = None
        self._advance_at: datetime | None = None

    # ----- the loop

    def wake(self) -> None:
        """There is work now."""
        self._woken.set()

    async def wait(self, due: Callable[[], datetime]) -> None:
        """Wait until there is work, at the latest until what ``due`` returns; let others run in any case."""
        if not self._woken.is_set():
            await self._clock.wait(self._woken, due() - self._clock.now())
        else:
            await asyncio.sleep(0)
        self._woken.clear()

    # ----- the full sync

    @property
    def sync_at(self) -> datetime | None:
        """When the next full sync starts; None if none is planned."""
        return self._sync_at

    def sync_soon(self) -> None:
        """Schedule a full sync immediately."""
        self._sync_at = self._clock.now()
        self.wake()

    def plan_sync(self, at: datetime) -> None:
        """Schedule a full sync, in place of one that is planned."""
        self._sync_at = at

    def take_sync(self, now: datetime) -> bool:
        """Whether the full sync is due, which it then is no more."""
        if self._sync_at is None or now < self._sync_at:
            return False
        self._sync_at = None
        return True

    # ----- decisions to close

    @property
    def advance_at(self) -> datetime | None:
        """When the decisions to close are checked next."""
        return self._advance_at

    def advance_by(self, at: datetime) -> None:
        """Check the decisions to close at ``at``, or before."""
        if self._advance_at is None or at < self._advance_at:
            self._advance_at = at
        self.wake()

    def take_advance(self, now: datetime) -> bool:
        """Whether the check of the decisions is due, which it then is no more."""
        if self._advance_at is None or now < self._advance_at:
            return False
        self._advance_at = None
        return True

    def limit(self, far: datetime, now: datetime) -> None:
        """What was planned for soon is due now if a clock that was set back has moved it beyond ``far``."""
        if self._sync_at is not None and self._sync_at > far:
            self._sync_at = now
        if self._advance_at is not None and self._advance_at > far:
            self._advance_at = now
