"""An API that is read-only against its setting: restarted once; if that does not help, people are notified."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from gateway_watch import decision, messages
from gateway_watch.decision import End
from gateway_watch.instance import Instance
from gateway_watch.run_files import RunFiles
from gateway_watch.unit_report import UnitReport
from notifications.message import Message


class OrdersWatch:
    """``seconds``: after a login the settings are applied only a moment later."""

    def __init__(
        self,
        instance: Instance,
        seconds: float,
        files: RunFiles,
        unit: UnitReport,
        say: Callable[[str], None],
        notify: Callable[[Message], object],
        now: Callable[[], datetime],
    ) -> None:
        self._instance = instance
        self._seconds = seconds
        self._files = files
        self._unit = unit
        self._say = say
        self._notify = notify
        self._now = now
        self._refused_since: float | None = None
        self._reported = False

    def evaluate(self, now: float, *, refused: bool | None, ready: bool) -> End | None:
        """What follows from the API's answers: the end of the run if a restart is the way out.

        ``now`` is of a monotonic clock, ``ready`` whether the login is done, ``refused`` is None while no answer is in.
        """
        if refused is None:
            return None
        if not refused or not ready:
            self._refused_since = None
        if refused:
            self._refused_since = now if self._refused_since is None else self._refused_since
            if not ready or now - self._refused_since < self._seconds:
                return None
        restarted = self._files.session.read_only_restarted
        if not refused:
            if restarted:
                self._on_accepted()
            return None
        if not restarted:
            self._files.store_session(replace(self._files.session, read_only_restarted=True))
            return End(decision.RETRY, decision.orders_refused(restarted=False))
        self._report_refused()
        return None

    def _on_accepted(self) -> None:
        self._files.store_session(replace(self._files.session, read_only_restarted=False))
        self._say("gateway-watch: the API accepts orders again")
        self._notify(messages.orders_accepted(self._instance, decision.ORDERS_REFUSED, self._now()))

    def _report_refused(self) -> None:
        if self._reported:
            return
        self._reported = True
        reason = decision.orders_refused(restarted=True)
        self._unit.report(f"{reason.cause}: {reason.line}")
        self._notify(messages.orders_refused(self._instance, reason, self._now()))
