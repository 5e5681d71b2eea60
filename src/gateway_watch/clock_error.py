"""How far this host's clock is from the true time, as chrony knows it. The code of another moment is a wrong one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

LIMIT_SECONDS = 5.0
"""IBKR accepts a code for about its 30 seconds; beyond this error, a code can be wrong when it is typed. Session times
and TLS suffer as well."""

COMMAND = ("chronyc", "-h", "127.0.0.1", "-c", "tracking")
"""Over the loopback: the unit has no access to chrony's own socket."""

_FIELDS = 14
_OWN_CLOCK = ("7F7F0101", "7F7F0100")
_QUERY_SECONDS = 5.0


@dataclass(frozen=True)
class ClockError:
    """The clock's error: `offset` in seconds, positive if the clock is ahead, None if it is not known. `reason` is why
    it is not known, or not reliable; `synchronised` None if chrony did not state it."""

    offset: float | None
    reason: str = ""
    synchronised: bool | None = None

    @property
    def seconds(self) -> float | None:
        """The amount of the error."""
        return None if self.offset is None else abs(self.offset)

    @property
    def too_large(self) -> bool:
        return self.seconds is not None and self.seconds > LIMIT_SECONDS


def parse_tracking(output: str) -> ClockError:
    """The clock's error from the output of `chronyc -c tracking`.

    The field "System time" is the part of the error that chrony still has to correct, positive if the clock is slow;
    "Last offset" is what the last measurement found. Before the first synchronisation both are 0 and have no meaning;
    a correction that is left after synchronisation was lost is one.
    """
    lines = output.strip().splitlines()
    text = lines[-1].strip() if lines else ""
    fields = text.split(",")
    if len(fields) != _FIELDS:
        return ClockError(None, f"chronyc printed no tracking data: {text or 'nothing'}")
    if fields[0] in _OWN_CLOCK:
        return ClockError(None, "chrony follows this host's own clock, which it cannot measure", synchronised=False)
    try:
        offset = -float(fields[4])
    except ValueError:
        return ClockError(None, f"chronyc printed {fields[4]!r} as the offset")
    if fields[13] == "Not synchronised" or fields[0] in ("00000000", ""):
        return ClockError(offset or None, "chrony is not synchronised with any server", synchronised=False)
    return ClockError(offset, synchronised=True)


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
