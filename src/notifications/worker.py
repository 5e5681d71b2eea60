"""The thread that brings the outbox's messages to one target."""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from notifications.outbox import LONGEST_PAUSE, Delivery, Outbox, OutboxError
from notifications.target import Outcome, Result, Target

FIRST_PAUSE = 1.0
LONGEST_OWN_PAUSE = 300.0
GIVE_UP_SECONDS = 3 * 24 * 3600.0
"""A message that could not be delivered for so long is stale."""

_log = logging.getLogger(__name__)


def pause(failures: int, random: Random, first: float = FIRST_PAUSE) -> float:
    """Seconds to wait after so many failures in a row (1 or more): doubled each time, up to a quarter off, so that
    several senders do not come at once."""
    longest = min(LONGEST_OWN_PAUSE, first * 2.0 ** min(failures - 1, 30))
    return longest * (1 - random.random() / 4)


@dataclass
class Counts:
    """What a worker did since it was created; the counts only increase."""

    sent: int = 0
    retried: int = 0
    failed: int = 0
    outbox_errors: int = 0


@dataclass
class Worker:
    """Delivers to ``target`` from the outbox at ``path``, in the order the messages came.

    `start` and `stop` are for one thread, `wake` for any. ``clock`` gives seconds since 1970, ``monotonic`` seconds
    that nobody sets.
    """

    path: Path
    target: Target
    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    random: Random = field(default_factory=Random)
    first_pause: float = FIRST_PAUSE
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        self._owner = f"{os.getpid()}-{uuid.uuid4().hex}"
        self._wake = threading.Event()
        self._stop_by: float | None = None
        self._failures = 0
        self._paused_until = 0.0
        self._gone_reported = False
        # A daemon, so that a hanging target cannot hold the service's own end.
        self._thread = threading.Thread(target=self._run, name=f"notify-{self.target.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """There is something new in the outbox."""
        self._wake.set()

    def request_stop(self, seconds: float) -> None:
        """End when nothing more can be delivered within so many seconds."""
        self._stop_by = self.monotonic() + seconds
        self._wake.set()

    def join(self, seconds: float) -> bool:
        """Wait for the end after `request_stop`; whether it came. What was not sent is in the outbox for next time."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        failures = 0
        while True:
            try:
                with Outbox(self.path, self.clock) as outbox:
                    failures = 0
                    self._deliver_all(outbox)
                    return
            except OutboxError as error:
                failures += 1
                self.counts.outbox_errors += 1
                _log.warning("notifications to %s wait: %s", self.target.name, error)
            self._wake.clear()
            if self._stop_by is not None:
                return
            self._wake.wait(pause(failures, self.random, self.first_pause))

    def _deliver_all(self, outbox: Outbox) -> None:
        while True:
            # Cleared before the check, so that a later message wakes it.
            self._wake.clear()
            now = self.monotonic()
            if self._stop_by is not None and now >= self._stop_by:
                return
            wait: float | None = self._paused_until - now
            if self._paused_until <= now:
                if delivery := outbox.claim(self.target.name, self._owner):
                    self._deliver(outbox, delivery)
                    continue
                wait = outbox.seconds_to_next(self.target.name)
            if self._stop_by is not None and (wait is None or now + wait >= self._stop_by):
                return
            self._wake.wait(wait)

    def _deliver(self, outbox: Outbox, delivery: Delivery) -> None:
        parts = self.target.parts(delivery.message)
        for part in range(delivery.parts, parts):
            outcome = self.target.send(delivery.message, part)
            if outcome.result is not Result.SENT:
                self._not_sent(outbox, delivery, outcome)
                return
            if not outbox.part_sent(delivery, self._owner, part + 1):
                # The claim ran out, and another worker has the message.
                return
            if outcome.pause:
                self._pause_sending(outcome.pause)
                if part + 1 < parts:
                    outbox.retry(delivery, self._owner, outcome.pause, "the target asked for a pause")
                    return
        outbox.sent(delivery, self._owner)
        self.counts.sent += 1
        if self._failures:
            _log.info("notifications to %s arrive again", self.target.name)
            self._failures = 0
            outbox.all_due(self.target.name)

    def _not_sent(self, outbox: Outbox, delivery: Delivery, outcome: Outcome) -> None:
        age = self.clock() - delivery.put
        if outcome.result is Result.RETRY and age < GIVE_UP_SECONDS:
            self._failures += 1
            self.counts.retried += 1
            seconds = max(outcome.pause or 0.0, pause(self._failures, self.random, self.first_pause))
            self._pause_sending(seconds)
            outbox.retry(delivery, self._owner, seconds, outcome.detail)
            if self._failures == 1:
                _log.warning("notifications to %s do not arrive (%s); they wait", self.target.name, outcome.detail)
            return
        outbox.failed(delivery, self._owner, outcome.detail)
        self.counts.failed += 1
        if outcome.result is Result.GONE:
            if not self._gone_reported:
                _log.error(
                    "notifications to %s fail for good (%s): the target is gone or its credentials are wrong. "
                    "Correct its address.",
                    *(self.target.name, outcome.detail),
                )
            self._gone_reported = True
            return
        _log.error("notification %s to %s is given up (%s)", delivery.message.kind, self.target.name, outcome.detail)

    def _pause_sending(self, seconds: float) -> None:
        self._paused_until = self.monotonic() + min(seconds, LONGEST_PAUSE)
