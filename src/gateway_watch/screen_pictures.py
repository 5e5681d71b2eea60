"""Screenshots of a run, and the notifications that wait for one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from gateway_watch import screenshot
from gateway_watch.instance import Instance
from notifications.message import Message

SCREENSHOT_SECONDS = 5.0
"""A gateway that logs in again by itself must be stopped before it does; its window alone takes longer than this."""


@dataclass(frozen=True)
class Notified:
    """A message with a picture has been handed over."""


class ScreenPictures:
    """Takes pictures of one instance's screen. Without VNC, or if the screen cannot be read, there is none."""

    def __init__(
        self,
        instance: Instance,
        environment: Mapping[str, str],
        say: Callable[[str], None],
        notify: Callable[[Message], object],
        now: Callable[[], datetime],
    ) -> None:
        self._instance = instance
        self._environment = environment
        self._say = say
        self._notify = notify
        self._now = now
        self._pending: list[Message] = []

    @property
    def possible(self) -> bool:
        return self._instance.vnc is not None

    async def take(self, cause: str) -> Path | None:
        """Store a picture; its path."""
        if not self.possible:
            return None
        try:
            password = screenshot.password_file(self._instance, self._environment)
            taken = await screenshot.save(self._instance, password, cause, self._now(), SCREENSHOT_SECONDS)
        except screenshot.ScreenshotError as error:
            self._say(f"gateway-watch: no screenshot: {error}")
            return None
        self._say(f"gateway-watch: the screen at this moment is in {taken}")
        return taken

    def add(self, message: Message) -> None:
        """Send this message with a picture, if one can be taken: it shows more than a title."""
        self._pending.append(message)

    def deliveries(self) -> list[AsyncGenerator[Notified, None]]:
        """One delivery for each message that was added since the last call."""
        pending, self._pending = self._pending, []
        return [self._deliver(message) for message in pending]

    async def _deliver(self, message: Message) -> AsyncGenerator[Notified, None]:
        self._notify(replace(message, attachment=await self.take(message.kind)))
        yield Notified()
