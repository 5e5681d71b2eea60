"""What systemd knows of a run: its status text, that it is ready, that it is alive; and what systemd knows itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from gateway_watch import systemd_unit
from host_service.notify import Notifier

BEAT_SECONDS = 5.0
EXTENSION_SECONDS = 60.0
"""systemd waits so much longer after each beat: long enough for a host that hangs a while."""


class UnitReport:
    """Reports to systemd. What fails is logged: a gateway that trades is not ended because systemd was not notified."""

    def __init__(
        self,
        unit: str,
        environment: Mapping[str, str],
        say: Callable[[str], None],
        monotonic: Callable[[], float],
    ) -> None:
        self._unit = unit
        self._say = say
        self._monotonic = monotonic
        self._notifier = Notifier.from_environment(environment)
        self._under_systemd = "INVOCATION_ID" in environment
        watchdog = environment.get("WATCHDOG_USEC")
        self._watched = watchdog is not None
        self._status = ""
        self.beat_period = min(BEAT_SECONDS, int(watchdog) / 2e6) if watchdog else BEAT_SECONDS
        self.next_beat = monotonic()

    def report(self, text: str) -> None:
        """To the journal and to `systemctl status`."""
        self._say(f"gateway-watch: {text}")
        self.show(text)

    def show(self, text: str) -> None:
        """To `systemctl status` only."""
        if text != self._status:
            self._status = text
            self._send(lambda: self._notifier.status(text))

    def ready(self) -> None:
        self._send(self._notifier.ready)

    def stopping(self) -> None:
        self._send(self._notifier.stopping)

    def beat(self, *, extend: bool) -> bool:
        """Notify systemd that the unit is healthy, at most once in a period; return whether it was due.

        With `extend` its start or stop may take longer.
        """
        if self._monotonic() < self.next_beat:
            return False
        self.next_beat = self._monotonic() + self.beat_period
        if self._watched:
            self._send(self._notifier.watchdog)
        if extend:
            self._send(lambda: self._notifier.extend_timeout(EXTENSION_SECONDS))
        return True

    async def restarts(self) -> int:
        """How often systemd has restarted the unit; 0 without systemd."""
        if not self._under_systemd:
            return 0
        process = await asyncio.create_subprocess_exec(
            *("systemctl", "show", "--property=NRestarts", "--value", "--", self._unit),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        if not output.strip().isdigit():
            self._say(
                f"gateway-watch: systemd did not report how often it restarted the unit: {errors.decode().strip()}"
            )
            return 0
        return int(output)

    async def unit_stops(self) -> bool:
        """Whether systemd is stopping the unit, whose ExecStop then ended the container."""
        if not self._under_systemd:
            return False
        try:
            return (await systemd_unit.show(self._unit)).stopping
        except systemd_unit.UnitError as error:
            self._say(f"gateway-watch: {error} {error.remedy}")
            return False

    def _send(self, send: Callable[[], None]) -> None:
        try:
            send()
        except OSError as error:
            self._say(f"gateway-watch: systemd could not be notified: {error}")
