"""Whether a start is allowed, and the waits before it: a closed login gate, failed starts, IBKR's maintenance."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gateway_watch import gatekeeper, messages
from gateway_watch.backoff import failures_since_stable, pause
from gateway_watch.breaker import BreakerFileError
from gateway_watch.gatekeeper import Gatekeeper
from gateway_watch.instance import Instance
from gateway_watch.login_gate import SESSION_YIELDED, Hold
from gateway_watch.run_files import RunFiles
from gateway_watch.session_calendar import maintenance_end
from gateway_watch.signatures import SignatureSet
from gateway_watch.unit_report import UnitReport
from host_service.gateway_login import GatewayLogin
from notifications.message import Message

MAINTENANCE_MARGIN_SECONDS = 120.0
"""After the end of IBKR's maintenance the next login comes so much later."""

StopWithin = Callable[[float], Awaitable[bool]]
"""Waits at most so many seconds; whether a stop was requested."""


@dataclass
class StartWait:
    """``restarts`` is how often systemd has restarted the unit, known after `back_off`."""

    instance: Instance
    files: RunFiles
    unit: UnitReport
    gate: Gatekeeper
    signatures: SignatureSet
    notify: Callable[[Message], object]
    monotonic: Callable[[], float]
    now: Callable[[], datetime]
    restarts: int = 0

    def allowed(self) -> bool:
        """Whether the breaker allows a start; reports why not."""
        try:
            self.files.load_breaker()
        except BreakerFileError as error:
            self.unit.report(str(error))
            return False
        opening = self.files.breaker.opening
        if opening is None:
            return True
        text = (
            f"Not started, because of {opening.cause} at {opening.at:%Y-%m-%d %H:%M:%S} UTC: {opening.text} "
            f"{opening.remedy} A changed password starts it again; without a change: "
            f"gateway-watch reset --instance {self.instance.name}"
        )
        self.unit.report(text)
        self.notify(messages.not_started(self.instance, opening.cause, text, self.now()))
        return False

    async def await_turn(self, stop_within: StopWithin) -> bool:
        """Wait without a login while the login gate is closed; return whether to continue."""
        hold, new = self.gate.at_start(self.files.session)
        if hold is None:
            if self.files.session.last_cause == SESSION_YIELDED:
                self.files.store_session(replace(self.files.session, last_cause=None))
            return True
        if new:
            self.notify(gatekeeper.message(hold, self.instance))
        self._publish_waiting(hold)
        while (why := self.gate.over()) is None:
            self.unit.beat(extend=True)
            if await stop_within(min(gatekeeper.POLL_SECONDS, self.unit.beat_period)):
                self.unit.report("stopped while no login was tried")
                return False
        # Waiting is no failure: the next start comes without a pause.
        restarts = await self.unit.restarts()
        self.files.store_session(replace(self.files.session, last_cause=None, stable_restarts=restarts))
        self.unit.report(f"the login is tried again: {why}")
        return True

    def _publish_waiting(self, hold: Hold) -> None:
        text = gatekeeper.describe(hold, self.instance)
        self.files.publish(GatewayLogin("waiting", True, text))
        self.unit.report(text)

    async def back_off(self, stop_within: StopWithin) -> bool:
        """Wait after failed starts; return whether to continue."""
        last_cause = self.files.session.last_cause
        self.restarts = await self.unit.restarts()
        failures = failures_since_stable(self.restarts, self.files.session.stable_restarts)
        seconds = pause(failures, last_cause)
        why = f" (last: {last_cause})" if last_cause else ""
        text = f"{failures} starts in a row failed{why}; the next one comes in {seconds:.0f} s"
        if (maintenance := self._maintenance_seconds()) > seconds:
            seconds = maintenance
            at = (self.now() + timedelta(seconds=seconds)).astimezone(self.instance.timezone)
            text = (
                f"The last login failed{why} during IBKR's maintenance; "
                f"the next one comes after it, at {at:%H:%M} ({self.instance.timezone.key})"
            )
            self.notify(messages.maintenance_wait(self.instance, last_cause or "", at, self.now()))
        if seconds == 0:
            return True
        self.unit.report(text)
        until = self.monotonic() + seconds
        while (left := until - self.monotonic()) > 0:
            self.unit.beat(extend=True)
            if await stop_within(min(left, self.unit.beat_period)):
                self.unit.report("stopped while waiting for the next start")
                return False
        return True

    def _maintenance_seconds(self) -> float:
        """How long the next login must wait because the last one failed in IBKR's maintenance; 0 if it need not."""
        cause = self.signatures.causes.get(self.files.session.last_cause or "")
        end = maintenance_end(self.now())
        if cause is None or not cause.maintenance or end is None or not self.files.credentials_proven():
            return 0.0
        return (end - self.now()).total_seconds() + MAINTENANCE_MARGIN_SECONDS
