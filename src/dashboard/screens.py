"""A gateway's screen, masked: asked from the program that has the password of its VNC server, over a unix socket.

The answer is one line of JSON (when the picture was taken, and whether it is of this moment), then a PNG file; or one
line with the error.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ANSWER_SECONDS = 28.0
"""A page waits for 30 s; the program that answers takes at most 15 s for a picture of this moment."""
SAME_SECONDS = 3.0
"""Requests within this time get the same picture."""
MOST_BYTES = 16 << 20
PNG = b"\x89PNG\r\n\x1a\n"


class ScreenError(Exception):
    """There is no picture; the message states why and what to do."""


@dataclass(frozen=True)
class Picture:
    """A masked picture, when it was taken (ISO time), and whether it is of this moment."""

    taken_at: str
    fresh: bool
    png: bytes


class Screens:
    """The screens of the gateways; one request at a time for each."""

    def __init__(
        self, directory: Path, monotonic: Callable[[], float] = time.monotonic, seconds: float = ANSWER_SECONDS
    ) -> None:
        """``directory`` has a socket for each gateway, by name."""
        self._directory = directory
        self._seconds = seconds
        self._monotonic = monotonic
        self._locks: dict[str, asyncio.Lock] = {}
        self._last: dict[str, tuple[float, Picture]] = {}

    def has(self, name: str) -> bool:
        return self._socket(name).exists()

    async def take(self, name: str) -> Picture:
        """Within `ANSWER_SECONDS`, also if others wait for a picture. Raises ScreenError. ``name`` is that of a known
        gateway."""
        try:
            async with asyncio.timeout(self._seconds), self._locks.setdefault(name, asyncio.Lock()):
                at, picture = self._last.get(name, (0.0, None))
                if picture is not None and self._monotonic() - at < SAME_SECONDS:
                    return picture
                picture = parsed(await self._asked(name))
                self._last[name] = (self._monotonic(), picture)
                return picture
        except TimeoutError as error:
            raise ScreenError(
                f"The screen of {name} did not come within {self._seconds:g} s. On a busy host, take it again later."
            ) from error

    async def _asked(self, name: str) -> bytes:
        try:
            reader, writer = await asyncio.open_unix_connection(str(self._socket(name)))
            try:
                answer = await reader.read(MOST_BYTES)
                while part := await reader.read(MOST_BYTES):
                    answer += part
                    if len(answer) > MOST_BYTES:
                        raise ScreenError(f"The screen of {name} was answered with too much.")
                return answer
            finally:
                writer.close()
        except OSError as error:
            raise ScreenError(
                f"The screen of {name} is not available here ({error.strerror or error}). Use screenshot.yml."
            ) from error

    def _socket(self, name: str) -> Path:
        return self._directory / f"{name}.sock"


def parsed(answer: bytes) -> Picture:
    """Raises ScreenError."""
    line, _, png = answer.partition(b"\n")
    try:
        head = json.loads(line)
        if "error" in head:
            raise ScreenError(str(head["error"]))
        taken_at, fresh = str(head["taken_at"]), head["fresh"] is True
    except (ValueError, KeyError, TypeError) as error:
        raise ScreenError("The screen was not answered as expected. See: journalctl -u '*-screen@*'") from error
    if not png.startswith(PNG):
        raise ScreenError("The answer is not a picture. See: journalctl -u '*-screen@*'")
    return Picture(taken_at, fresh, png)
