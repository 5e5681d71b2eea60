"""Notifications of the engine: collected while an order may be in progress, delivered afterwards."""

from __future__ import annotations

import logging
from collections.abc import Callable

from notifications.message import Message
from position_manager.clock import Clock
from position_manager.config.schema import Config
from position_manager.reports.messages import Author

_log = logging.getLogger(__name__)


class Notices:
    """Pending notifications. ``deliver`` must not block for long; ``wake`` has them delivered soon."""

    def __init__(
        self,
        config: Callable[[], Config],
        clock: Clock,
        deliver: Callable[[Message], object],
        wake: Callable[[], None],
    ) -> None:
        self._config = config
        self._clock = clock
        self._deliver = deliver
        self._wake = wake
        self._pending: list[Message] = []

    @property
    def author(self) -> Author:
        return Author(self._config().mode.value, self._clock.now())

    def notify(self, message: Message) -> None:
        """Notify people, after urgent work is done."""
        _log.info("%s%s", message.title, "".join(f" | {line}" for line in message.lines))
        self._add(message)

    def end_former_incident(self, recovery: Message) -> None:
        """The end of what a former run may have reported, so that the next incident is no repetition of it. The outbox
        sends it only if that was reported; this run has seen nothing end, so nothing is logged."""
        self._add(recovery)

    def _add(self, message: Message) -> None:
        self._pending.append(message)
        self._wake()

    def flush(self) -> None:
        """Deliver the pending notifications. This writes to disk, so an order in progress goes first."""
        messages, self._pending = self._pending, []
        for message in messages:
            try:
                self._deliver(message)
            except Exception:  # of any kind: a failed notification must not end the guarding of positions
                _log.exception("a notification failed: %s", message.title)
