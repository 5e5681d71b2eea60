"""When a run has become ready, whether it still is, and whether it takes too long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from gateway_watch import decision, messages
from gateway_watch.decision import End, Progress
from gateway_watch.instance import Instance
from gateway_watch.login import Snapshot
from gateway_watch.run_files import RunFiles
from gateway_watch.unit_report import UnitReport
from notifications.message import Message

STABLE_SECONDS = 600.0
"""A start that lasted so long was a good one: the next failure is the first in a row."""


class Readiness:
    """Times are seconds of a monotonic clock; ``now`` is of the calendar."""

    def __init__(
        self,
        instance: Instance,
        unit: UnitReport,
        files: RunFiles,
        notify: Callable[[Message], object],
        now: Callable[[], datetime],
    ) -> None:
        self._instance = instance
        self._unit = unit
        self._files = files
        self._notify = notify
        self._now = now
        self._progress = Progress()
        self._since: float | None = None
        self._stable = False
        self._in_order = False

    @property
    def reached(self) -> bool:
        """Whether the gateway has been ready in this run."""
        return self._since is not None

    @property
    def due(self) -> float | None:
        """When `overdue` can next return something."""
        return decision.due(self._progress, self._instance.start_timeout)

    def start(self, time: float) -> None:
        """The container is started now."""
        self._progress = Progress(unsettled=time)

    def update(self, time: float, snapshot: Snapshot, health: str | None, *, news: bool) -> None:
        """Follow the login's progress; `news` if the gateway has logged something about its login."""
        self._progress = decision.progress(self._progress, snapshot, health, time, news=news)

    def report_ready(self, time: float, snapshot: Snapshot, health: str | None) -> bool:
        """Report to systemd that the gateway is ready; return whether that was now."""
        if self.reached or not decision.in_order(snapshot, health):
            return False
        self._since = time
        self._unit.report(f"ready: logged in ({self._instance.trading_mode}) and listening")
        self._unit.ready()
        return True

    def notify_ready(self, snapshot: Snapshot, health: str | None) -> None:
        """Notify people that the gateway is ready, each time it has become so."""
        in_order = decision.in_order(snapshot, health)
        if in_order and not self._in_order:
            self._notify(messages.ready(self._instance, self._now()))
        self._in_order = in_order

    def store_stable(self, time: float, restarts: int) -> None:
        """Store once that the start was a good one; ``restarts`` is how often systemd has restarted the unit."""
        if self._since is not None and not self._stable and time - self._since >= STABLE_SECONDS:
            self._stable = True
            self._files.store_session(replace(self._files.session, stable_restarts=restarts))

    def overdue(self, time: float, snapshot: Snapshot) -> End | None:
        """Whether the gateway has taken too long."""
        return decision.on_time(self._progress, snapshot, self._instance.start_timeout, time)
