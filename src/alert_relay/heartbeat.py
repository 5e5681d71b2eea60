"""The dead man's switch: Prometheus's alert Watchdog always fires, and its absence is what is reported. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from notifications.message import Message, Severity

KEY = "heartbeat"


@dataclass(frozen=True)
class Heartbeat:
    """``last`` is the moment (monotonic seconds) of the last heartbeat, or of the start; ``lost`` whether its absence
    was reported."""

    last: float
    timeout: float
    lost: bool = False

    @property
    def due(self) -> float:
        """When its absence is to be reported."""
        return self.last + self.timeout

    def received(self, now: float) -> Heartbeat:
        return replace(self, last=now, lost=False)

    def checked(self, now: float) -> Heartbeat:
        return replace(self, lost=self.lost or now >= self.due)


def lost(host: str, timeout: float, now: datetime) -> Message:
    """The heartbeat has stopped."""
    return Message(
        "monitoring_silent",
        Severity.ALERT,
        f"{host}: the monitoring is silent",
        now,
        (
            f"No heartbeat of Prometheus and Alertmanager for {timedelta(seconds=round(timeout))}. "
            "Until it returns, no alert of the host is evaluated or sent.",
            "Check: systemctl status prometheus prometheus-alertmanager",
        ),
        dedupe_key=KEY,
    )


def returned(host: str, now: datetime) -> Message:
    """The end of `lost`; sent only if that was."""
    return Message("monitoring_returned", Severity.INFO, f"{host}: the monitoring works again", now, recovery_of=KEY)
