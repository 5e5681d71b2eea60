"""The service: requests come in from the server's threads, one thread decides, the outbox delivers."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Protocol

from alert_relay import alerts, heartbeat
from alert_relay.alerts import Alert, PayloadError
from alert_relay.heartbeat import Heartbeat
from notifications.dedupe import Verdict
from notifications.message import Message

ALERTS, HEARTBEAT = "/alerts", "/heartbeat"
STORE_SECONDS = 5.0
"""A request that is not stored by then is answered 503, and Alertmanager repeats it."""

_log = logging.getLogger(__name__)


class People(Protocol):
    """`notifications.service.Notifications`, for one thread."""

    def notify(self, message: Message) -> Verdict | None: ...


@dataclass
class _Job:
    """What a request asks for; ``alerts`` is None for a heartbeat."""

    alerts: tuple[Alert, ...] | None
    done: threading.Event = field(default_factory=threading.Event)
    stored: bool = False


@dataclass
class Relay:
    """``people`` is None when the host has no address: alerts are logged only. ``tick`` is called at least every
    ``tick_seconds``; ``forward`` for each heartbeat."""

    host: str
    people: People | None
    timeout: float
    forward: Callable[[], None] = lambda: None
    tick: Callable[[], None] = lambda: None
    tick_seconds: float = 20.0
    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def __post_init__(self) -> None:
        # Its put is reentrant: a signal handler calls it in the thread that waits.
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._heartbeat = Heartbeat(self.monotonic(), self.timeout)
        self._first = True

    def handle(self, path: str, body: bytes) -> HTTPStatus:
        """Handle a request; for any thread."""
        if path not in (ALERTS, HEARTBEAT):
            return HTTPStatus.NOT_FOUND
        try:
            found = alerts.parse(body)
        except PayloadError as error:
            _log.warning("a request is rejected: %s", error)
            return HTTPStatus.BAD_REQUEST
        firing = any(alert.ended is None for alert in found)
        if path == HEARTBEAT and not firing:
            return HTTPStatus.OK
        job = _Job(found if path == ALERTS else None)
        self._jobs.put(job)
        job.done.wait(STORE_SECONDS)
        return HTTPStatus.OK if job.stored else HTTPStatus.SERVICE_UNAVAILABLE

    def stop(self) -> None:
        """End `run`; for any thread, and for a signal handler."""
        self._jobs.put(None)

    def run(self) -> None:
        """Handle requests until `stop`."""
        while True:
            self.tick()
            self.check_heartbeat()
            try:
                job = self._jobs.get(timeout=self._wait())
            except queue.Empty:
                continue
            if job is None:
                return
            self._handle(job)

    def check_heartbeat(self) -> None:
        """Report its absence, once."""
        before, self._heartbeat = self._heartbeat, self._heartbeat.checked(self.monotonic())
        if self._heartbeat.lost and not before.lost:
            self._notify(heartbeat.lost(self.host, self.timeout, self.now()))

    def _wait(self) -> float:
        if self._heartbeat.lost:
            return self.tick_seconds
        return min(self.tick_seconds, max(0.0, self._heartbeat.due - self.monotonic()))

    def _handle(self, job: _Job) -> None:
        if job.alerts is None:
            job.stored = self._handle_heartbeat()
        else:
            stored = [self._notify(message) for message in alerts.messages(job.alerts)]
            job.stored = all(stored)
        job.done.set()

    def _handle_heartbeat(self) -> bool:
        # At the first one too: a former run of this service may have reported the absence, and the outbox knows.
        returns = self._first or self._heartbeat.lost
        self._first = False
        self._heartbeat = self._heartbeat.received(self.monotonic())
        self.forward()
        return not returns or self._notify(heartbeat.returned(self.host, self.now()))

    def _notify(self, message: Message) -> bool:
        """Whether it is stored, or needs not be."""
        verdict = self.people.notify(message) if self.people is not None else Verdict.SEND
        if verdict is not Verdict.UNREPORTED:
            _log.warning("%s", " ".join((f"{message.title}.", *message.lines)))
        return verdict is not None
