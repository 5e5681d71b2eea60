"""Units that have been unprotected for long while their market is open: reported, and the end of that state."""

from __future__ import annotations

from datetime import datetime, timedelta

from position_manager.engine.guard import Guard
from position_manager.engine.left_out import LeftOuts
from position_manager.engine.notices import Notices
from position_manager.rules.evaluation import Blind, Cause

ALERT_AFTER = timedelta(seconds=60)
"""How long a unit may be unprotected in trading hours before a person is notified."""
QUIET_CAUSES = frozenset({Cause.MARKET_CLOSED, Cause.OPENING, Cause.NOT_READY, Cause.HALTED, Cause.LOCKED})
"""Causes of being unprotected that are reported elsewhere, or that are in the nature of markets."""


class UnprotectedWatch:
    """All guarded units, and the holdings of kinds that cannot be guarded."""

    def __init__(
        self,
        left_out: LeftOuts,
        *,
        guard: Guard,
        notices: Notices,
    ) -> None:
        self._guard = guard
        self._notices = notices
        self._left_out = left_out
        self._since: dict[str, datetime] = {}
        self._reported: dict[str, set[str]] = {}
        """By unit, the causes that were reported."""

    def check(self, now: datetime) -> None:
        """Report what has changed."""
        before = self._since
        self._left_out.count(now)
        self._since = {}
        for unit in self._guard.units:
            verdict = self._guard.verdicts.get(unit.key)
            if isinstance(verdict, Blind):
                if verdict.cause in QUIET_CAUSES:
                    continue
                since = min(now, before.get(unit.key, now))
                self._since[unit.key] = since
                reported = self._reported.get(unit.key, set())
                if verdict.cause.value not in reported and now - since >= ALERT_AFTER:
                    self._reported[unit.key] = reported | {verdict.cause.value}
                    seconds, cause = (now - since).total_seconds(), verdict.cause.value
                    self._notices.notify(
                        self._notices.author.unprotected(unit.name, unit.key, cause, verdict.text, seconds)
                    )
            elif unit.key in self._reported:
                del self._reported[unit.key]
                self._notices.notify(
                    self._notices.author.protected(unit.name, unit.key, self._guard.counts[unit.key].in_session)
                )
        held = {unit.key for unit in self._guard.units}
        self._reported = {key: reported for key, reported in self._reported.items() if key in held}
