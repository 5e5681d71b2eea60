"""The state of the unit that owns a container, from systemd."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from unit_recovery import causes, host
from unit_recovery.causes import StartCause

POLL_SECONDS = 0.5
"""Pause between two queries: systemd's command line offers no stream of a unit's changes."""

_PROPERTIES = (*causes.PROPERTIES, "StatusText")


class UnitError(Exception):
    """The unit's state is not available; the message gives the reason, `remedy` what to do."""

    kind = "unit_unknown"

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


@dataclass(frozen=True)
class UnitState:
    """A unit's state in systemd's own words; `exit_status` is that of its main process, `cause` why it could not be
    started before its program ran."""

    name: str
    active: str
    sub: str
    result: str
    status_text: str
    exit_status: int
    cause: StartCause | None = None

    @property
    def reason(self) -> str:
        """Why it ended, in one line: the cause, or the last words of its program; empty if it gave none."""
        return self.cause.line if self.cause else self.status_text

    @property
    def failed(self) -> bool:
        return self.active == "failed"

    @property
    def stopping(self) -> bool:
        return self.active == "deactivating"


def parse_unit(name: str, output: str) -> UnitState:
    """`systemctl show` output (lines `Key=value`) as a state. Raises `UnitError` for a unit that is not there."""
    values = dict(line.partition("=")[::2] for line in output.splitlines())
    if values.get("LoadState") in (None, "not-found"):
        raise UnitError(f"systemd knows no unit {name!r}.", "Correct the name, or deploy the unit first.")
    return UnitState(
        name=name,
        active=values["ActiveState"],
        sub=values["SubState"],
        result=values["Result"],
        status_text=values.get("StatusText", ""),
        exit_status=int(values.get("ExecMainStatus") or 0),
    )


async def show(name: str, systemctl: str = "systemctl") -> UnitState:
    """The unit's present state. Raises `UnitError`."""
    output = await _answer(systemctl, "show", f"--property={','.join(_PROPERTIES)}", "--", name)
    state = parse_unit(name, output)
    start = causes.last_start(output)
    if not (start.failed or start.waits) or start.needs_a_person:
        return state
    text = await _answer(systemctl, "cat", "--", name)
    cause = await asyncio.to_thread(causes.find, name, text, start, host.HOST)
    # What its program reported is more precise than its exit status.
    return (
        state if cause is None or (cause.id == "program_failed" and state.status_text) else replace(state, cause=cause)
    )


async def started_at(name: str, systemctl: str = "systemctl") -> datetime | None:
    """When the unit's present main process was started, to the second; None if that is unknown."""
    try:
        output = await _answer(
            systemctl, "show", "--property=ExecMainStartTimestamp", "--value", "--timestamp=unix", "--", name
        )
    except UnitError:
        return None
    seconds = output.strip().removeprefix("@")
    return datetime.fromtimestamp(int(seconds), UTC) if seconds.isdecimal() and int(seconds) else None


async def _answer(*command: str) -> str:
    systemctl = command[0]
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
    except FileNotFoundError as error:
        raise UnitError(f"There is no program `{systemctl}` here.", "Leave `unit` out on this host.") from error
    output, errors = await process.communicate()
    if process.returncode != 0:
        reason = " ".join(errors.decode(errors="replace").split())
        raise UnitError(f"systemd does not answer: {reason}", "Leave `unit` out on a host without systemd.")
    return output.decode(errors="replace")


async def states(
    name: str, systemctl: str = "systemctl", sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> AsyncGenerator[UnitState, None]:
    """The unit's present state and then each new one, seen at the latest `POLL_SECONDS` after it came."""
    last: UnitState | None = None
    while True:
        state = await show(name, systemctl)
        if state != last:
            last = state
            yield state
        await sleep(POLL_SECONDS)
