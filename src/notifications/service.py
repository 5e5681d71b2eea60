"""Notifications for a service: `Notifications.notify` never blocks or fails its work."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from notifications.dedupe import Verdict
from notifications.message import Message
from notifications.outbox import Outbox, OutboxError
from notifications.target import Target
from notifications.worker import Worker

_log = logging.getLogger(__name__)


class Notifications:
    """Messages of one service to its targets; with no targets, nothing is written or sent.

    All but the delivery itself is for one thread. An outbox that cannot be used never stops the service: the message is
    lost, counted and logged, and the next one tries again.
    """

    def __init__(
        self,
        path: Path,
        targets: Sequence[Target],
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``path`` is the outbox, in the service's own state directory."""
        self._path = path
        self._clock = clock
        self._monotonic = monotonic
        self._names = [target.name for target in targets]
        self._workers = [Worker(path, target, clock, monotonic) for target in targets]
        self._outbox: Outbox | None = None
        self._lost = 0

    def start(self) -> None:
        """Start delivery, including what a former run has left."""
        try:
            if self._workers and (given_up := self._open().fail_other_targets(self._names)):
                _log.warning("%d notifications are discarded: their targets are not configured any more", given_up)
        except OutboxError as error:
            _log.error("notifications wait for their outbox: %s", error)
        for worker in self._workers:
            worker.start()

    def notify(self, message: Message) -> Verdict | None:
        """Accept a message, at most a moment later (see `outbox.LOCK_SECONDS`); None if it is lost or there is
        no target."""
        if not self._workers:
            return None
        try:
            verdict = self._open().put(message, self._names)
        except OutboxError as error:
            self._lost += 1
            _log.error("the notification %s (%s) is lost: %s", message.kind, message.title, error)
            self._close()
            return None
        for worker in self._workers:
            worker.wake()
        return verdict

    def stop(self, seconds: float) -> bool:
        """Deliver what can be delivered within so many seconds; whether all threads have ended by then."""
        for worker in self._workers:
            worker.request_stop(seconds)
        until = self._monotonic() + seconds
        ended = [worker.join(max(0.0, until - self._monotonic())) for worker in self._workers]
        self._close()
        return all(ended)

    def counts(self) -> dict[str, int]:
        """What happened since the start, over all targets: sent, retried, failed (for good), lost (no outbox)."""
        counts = [worker.counts for worker in self._workers]
        return {
            "sent": sum(count.sent for count in counts),
            "retried": sum(count.retried for count in counts),
            "failed": sum(count.failed for count in counts),
            "lost": self._lost,
        }

    def _open(self) -> Outbox:
        if self._outbox is None:
            self._outbox = Outbox(self._path, self._clock)
        return self._outbox

    def _close(self) -> None:
        if self._outbox is not None:
            self._outbox.close()
            self._outbox = None
