"""Alerts that need no disk: what the outbox cannot take, as its disk is full, goes to the targets directly.

Direct delivery is one attempt after another from a thread with a bounded queue; nothing of it outlasts the process.
Once the outbox takes messages again, the alerts that it missed are passed to it, so that they arrive for certain.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from notifications.dedupe import Verdict
from notifications.message import Message, Severity
from notifications.target import Result, Target

MOST = 50
"""The maximum number of alerts that wait for direct delivery, and are remembered for the outbox: the first ones, which
name the cause."""
ATTEMPTS = 5

_log = logging.getLogger(__name__)


class People(Protocol):
    """The recipients of notifications."""

    def notify(self, message: Message) -> Verdict | None: ...

    def counts(self) -> dict[str, int]: ...


class LastResort:
    """Notifies people through an outbox, and sends alerts without it if it cannot be used. For one thread."""

    def __init__(self, people: People, targets: Sequence[Target], pause: Callable[[float], None] = time.sleep) -> None:
        """``targets`` are for this object alone. ``pause`` waits between two attempts, in seconds."""
        self._people = people
        self._targets = tuple(targets)
        self._pause = pause
        self._missed: dict[str, Message] = {}
        self._queue: queue.Queue[Message] = queue.Queue(MOST)
        self._thread: threading.Thread | None = None

    def counts(self) -> dict[str, int]:
        return self._people.counts()

    def notify(self, message: Message) -> Verdict | None:
        verdict = self._people.notify(message)
        if not self._targets:
            return verdict
        if verdict is not None:
            self._repeat()
        elif message.severity is Severity.ALERT:
            self._directly(message)
        return verdict

    def _directly(self, message: Message) -> None:
        # The outbox would have sent each condition once.
        name = message.dedupe_key or f"{message.kind} {message.title}"
        if name in self._missed or len(self._missed) >= MOST:
            return
        self._missed[name] = message
        try:
            self._queue.put_nowait(message)
        except queue.Full:
            _log.error("too many alerts wait for direct delivery: %s", message.title)
            return
        if self._thread is None:
            # A daemon: a target that hangs must not hold the end of the service.
            self._thread = threading.Thread(target=self._deliver, name="notify-directly", daemon=True)
            self._thread.start()

    def _repeat(self) -> None:
        """Pass the missed alerts to the outbox, which works again."""
        missed, self._missed = self._missed, {}
        for name, message in missed.items():
            if self._people.notify(message) is None:
                # It has stopped working once more; the rest waits for the next time.
                self._missed[name] = message

    def _deliver(self) -> None:
        while True:
            message = self._queue.get()
            for target in self._targets:
                for part in range(target.parts(message)):
                    self._send(target, message, part)

    def _send(self, target: Target, message: Message, part: int) -> None:
        for attempt in range(ATTEMPTS):
            outcome = target.send(message, part)
            if outcome.result is not Result.RETRY:
                if outcome.result is not Result.SENT:
                    _log.error("the alert %s is not taken by %s: %s", message.kind, target.name, outcome.detail)
                return
            self._pause(outcome.pause or 2.0**attempt)
        _log.error("the alert %s could not be delivered to %s without the outbox", message.kind, target.name)
