"""Types a code into the gateway's screen over VNC, as `gateway_watch.code_entry` decides."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from re import Pattern
from typing import Any

import numpy as np

from gateway_watch import code_ledger, vnc_screen
from gateway_watch.code_entry import Click, CodeEntry, Confirm, Dialog, End, Erase, Outcome, Store, Type, Wait
from gateway_watch.code_field import Place, inspect
from gateway_watch.code_ledger import Ledger
from gateway_watch.instance import Vnc
from gateway_watch.screenshot import ScreenshotError, read_password
from gateway_watch.totp import DIGITS, Totp
from gateway_watch.x_windows import OpenStream, XError, XServer

STEP_SECONDS = 15.0
"""A picture or a click takes less."""
RETRY_SECONDS = 2.0
MOST_FAILURES = 5
"""So often in a row the screen may be unreachable."""

_BESIDE = 6
"""The pointer rests so far below the field, where it hides nothing of it."""

NOWHERE = Place(0, 0, 0, 0)


@dataclass(frozen=True)
class Typist:
    """Handles one dialog. `dialog` is its current state in the log, `title` that of its window, `x_stream` the way
    to the X server."""

    vnc: Vnc
    password: Path
    totp: Totp
    ledger_file: Path
    dialog: Callable[[], Dialog]
    title: Pattern[str]
    x_stream: OpenStream
    now: Callable[[], datetime]
    log: Callable[[str], None]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def answer(self, entry: CodeEntry) -> Outcome:
        """Handle the dialog; return how it ended."""
        failures = 0
        while self.dialog().open:
            try:
                async with self._connect() as client, self.x_stream() as (reader, writer):
                    return await self._answer(entry, client, await XServer.connect(reader, writer))
            except (*vnc_screen.ERRORS, ScreenshotError, XError) as error:
                failures += 1
                self.log(f"gateway-watch: the gateway's screen cannot be read: {error or type(error).__name__}")
                if failures >= MOST_FAILURES:
                    return Outcome.NO_SCREEN
                await self.sleep(RETRY_SECONDS)
        return Outcome.CLOSED

    def _connect(self) -> AbstractAsyncContextManager[Any]:
        return vnc_screen.connect(self.vnc.host, self.vnc.port, read_password(self.password), STEP_SECONDS)

    async def _answer(self, entry: CodeEntry, client: Any, server: XServer) -> Outcome:
        client.mouse.move(client.video.width - 1, client.video.height - 1)
        while True:
            window = await server.find(self.title)
            if window is not None:
                await server.raise_window(window)
            within = Place(window.x, window.y, window.width, window.height) if window else NOWHERE
            async with asyncio.timeout(STEP_SECONDS):
                pixels = await vnc_screen.picture(client)
            code = "" if entry.step is None else self.totp.code(entry.step)
            sight = inspect(np.ascontiguousarray(pixels[:, :, :3]), entry.target, code, within)
            # The log's word must be newer than the picture.
            match entry.next(sight, self.dialog(), self.now()):
                case Wait(seconds):
                    await self.sleep(seconds)
                case Click(place):
                    _click(client, place)
                case Type(step, ledger):
                    if not self._store(ledger):
                        return Outcome.NO_LEDGER
                    client.keyboard.write(self.totp.code(step))
                    self.log("gateway-watch: a code of the authenticator app is typed")
                case Confirm():
                    client.keyboard.press("Return")
                    self.log("gateway-watch: the code is confirmed")
                case Erase():
                    self.log("gateway-watch: what was typed does not show as the code, and is removed")
                    for _ in range(DIGITS):
                        client.keyboard.press("BackSpace")
                case Store(ledger):
                    refused = bool(ledger.typed) and ledger.typed[-1].refused
                    self.log(f"gateway-watch: the code {'was not accepted' if refused else 'does not show'}")
                    if not self._store(ledger):
                        return Outcome.NO_LEDGER
                case End(outcome):
                    return outcome
            async with asyncio.timeout(STEP_SECONDS):
                await client.drain()

    def _store(self, ledger: Ledger) -> bool:
        try:
            code_ledger.write(self.ledger_file, ledger)
        except OSError as error:
            self.log(f"gateway-watch: the typed codes cannot be recorded, so none is typed: {error}")
            return False
        return True


def _click(client: Any, place: Place) -> None:
    client.mouse.move(place.x + place.width // 2, place.y + place.height // 2)
    client.mouse.click()
    client.mouse.move(place.x + place.width // 2, place.y + place.height + _BESIDE)
