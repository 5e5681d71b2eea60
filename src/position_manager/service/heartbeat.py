"""The dead man's switch: an address that is requested as long as all is well, so that its owner is notified when it is
not.

The address is a secret. It is in no log and no error, only the kind of a failure is.
"""

from __future__ import annotations

import asyncio
import logging
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import requests

from position_manager.clock import Clock

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 10.0
GIVE_UP_SECONDS = 20.0
"""An answer that trickles in for longer is none."""

_log = logging.getLogger(__name__)


class HeartbeatError(ValueError):
    """The address cannot be used; the message never shows it."""


def read_url(path: Path) -> str:
    """The address in a file. Raises HeartbeatError if it cannot be read, others may read it, or it is none."""
    try:
        rights = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise HeartbeatError(f"{path}: the heartbeat's address cannot be read: {reason}.") from error
    # systemd gives its credentials to the owner's group too, by an access list.
    if rights & 0o037:
        raise HeartbeatError(f"{path}: others may read or change the heartbeat's address. chmod 600 {path}")
    if not text.startswith(("http://", "https://")) or len(text.split()) != 1:
        raise HeartbeatError(f"{path}: must hold one address that begins with https:// or http://")
    return text


def beat(url: str) -> str | None:
    """Ask the address once. Why it did not answer as it should; None if it did."""
    timeout = (CONNECT_SECONDS, ANSWER_SECONDS)
    try:
        with requests.get(url, timeout=timeout, allow_redirects=False, stream=True) as answer:
            return None if 200 <= answer.status_code < 300 else f"HTTP status {answer.status_code}"
    except (requests.RequestException, OSError, ValueError) as error:
        # The error's own text holds the address.
        return f"no answer ({type(error).__name__})"


class Heartbeat:
    """Asks the address while ``well()`` is true, at once and then every ``every``."""

    def __init__(self, url: str, every: timedelta, well: Callable[[], bool], clock: Clock) -> None:
        self._url = url
        self._every = every
        self._well = well
        self._clock = clock
        self._failing = False

    async def send_until(self, stop: asyncio.Event) -> None:
        """Send heartbeats until ``stop`` is set. A failure is logged when it starts and when it ends."""
        while not stop.is_set():
            if self._well():
                self._record(await self._beat())
            await self._clock.wait(stop, self._every)

    async def _beat(self) -> str | None:
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[str | None] = loop.create_future()

        def record(fault: str | None) -> None:
            if not answered.done():
                answered.set_result(fault)

        def ask() -> None:
            fault = beat(self._url)
            # The loop is over if the service has ended meanwhile.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(record, fault)

        # A daemon: the end of the service does not wait for a slow answer.
        threading.Thread(target=ask, name="heartbeat", daemon=True).start()
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                return await answered
        except TimeoutError:
            return f"no answer in {GIVE_UP_SECONDS:g} s"

    def _record(self, fault: str | None) -> None:
        if fault is not None and not self._failing:
            _log.warning("the heartbeat's address does not answer as it should: %s", fault)
        elif fault is None and self._failing:
            _log.info("the heartbeat's address answers again")
        self._failing = fault is not None
