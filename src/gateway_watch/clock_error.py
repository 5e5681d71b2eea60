"""How far this host's clock is from the true time, as chrony knows it. The code of another moment is a wrong one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

LIMIT_SECONDS = 5.0
"""IBKR accepts a code for about its 30 seconds; beyond this error, a code can be wrong when it is typed."""

COMMAND = ("chronyc", "-h", "127.0.0.1", "-c", "tracking")
"""Over the loopback: the unit has no access to chrony's own socket."""

_FIELDS = 14
_OWN_CLOCK = ("7F7F0101", "7F7F0100")
_QUERY_SECONDS = 5.0


@dataclass(frozen=True)
class ClockError:
    """The clock's error: `seconds`, None if it is not known, and the reason."""

    seconds: float | None
    reason: str = ""

    @property
    def too_large(self) -> bool:
        return self.seconds is not None and self.seconds > LIMIT_SECONDS


def parse_tracking(output: str) -> ClockError:
    """The clock's error from the output of `chronyc -c tracking`.

    The field "System time" is the part of the error that chrony still has to correct; "Last offset" is what the last
    measurement found. Neither has a meaning before the first synchronisation.
    """
    lines = output.strip().splitlines()
    text = lines[-1].strip() if lines else ""
    fields = text.split(",")
    if len(fields) != _FIELDS:
        return ClockError(None, f"chronyc printed no tracking data: {text or 'nothing'}")
    if fields[0] in _OWN_CLOCK:
        return ClockError(None, "chrony follows this host's own clock, which it cannot measure")
    if fields[13] == "Not synchronised" or fields[0] in ("00000000", ""):
        return ClockError(None, "chrony is not synchronised with any server")
    try:
        return ClockError(abs(float(fields[4])))
    except ValueError:
        return ClockError(None, f"chronyc printed {fields[4]!r} as the offset")


async def read_clock_error() -> ClockError:
    """Query chrony."""
    try:
        process = await asyncio.create_subprocess_exec(
            *COMMAND, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
    except OSError as error:
        return ClockError(None, f"chronyc cannot be run: {error.strerror}")
    try:
        async with asyncio.timeout(_QUERY_SECONDS):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return ClockError(None, f"chronyc did not answer in {_QUERY_SECONDS:g} s")
    return parse_tracking(output.decode(errors="replace"))
