"""One unit that failed: report why, start it again after a pause that grows, report when it runs again.

The decisions need no systemd: what is done on the host comes in as functions.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from unit_recovery.causes import LastStart, StartCause

FIRST = 15.0
LONGEST = 300.0
CHECK = 15.0
"""So often a pause checks whether what was missing is there again."""

FORGOTTEN = 3600.0
"""A failure so long after the one before is the first of a new incident."""

ALERT, INFO = 2, 0
"""The weights of `notifications.message.Severity`."""


@dataclass(frozen=True)
class Memory:
    """How often the unit failed in a row, and when last (seconds since 1970)."""

    failures: int = 0
    at: float = 0.0

    def after_failure(self, now: float) -> Memory:
        recent = 0 <= now - self.at < FORGOTTEN
        return Memory(self.failures + 1 if recent else 1, now)

    @property
    def pause(self) -> float:
        """Seconds until the next start: 15, 30, 60 … 300."""
        return min(LONGEST, FIRST * 2.0 ** min(max(self.failures - 1, 0), 10))


class MemoryFile:
    """The memory on disk. What cannot be read or written costs a growing pause and nothing else."""

    def __init__(self, path: Path, log: Callable[[str], None]) -> None:
        self._path = path
        self._log = log

    def read(self) -> Memory:
        try:
            document = json.loads(self._path.read_bytes())
            return Memory(int(document["failures"]), float(document["at"]))
        except FileNotFoundError:
            return Memory()
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._log(f"{self._path} cannot be read, the pauses start again: {error}")
            return Memory()

    def write(self, memory: Memory) -> None:
        try:
            self._path.write_text(json.dumps(asdict(memory)), encoding="ascii")
        except OSError as error:
            self._log(f"{self._path} cannot be written, the pauses do not grow: {error}")


Report = Callable[[dict[str, object]], bool]
"""Delivers a message, in the form of `notifications.message.Message.to_json`; False if a later call must deliver it."""

DELIVERIES = 12
"""So often a message about a unit that is not started again is tried, `LONGEST` apart."""


@dataclass(frozen=True)
class Actions:
    """What is done on the host. ``start`` waits until the unit is ready or its start has failed."""

    show: Callable[[], LastStart]
    cause: Callable[[], StartCause | None]
    start: Callable[[], bool]
    report: Report
    clock: Callable[[], float]
    sleep: Callable[[float], None]


def recover(unit: str, actions: Actions, memory_file: MemoryFile) -> None:
    """Until the unit runs, systemd starts it by itself, or somebody has stopped it."""
    while True:
        state, memory = actions.show(), memory_file.read()
        if state.needs_a_person or state.waits or state.active in ("inactive", "deactivating"):
            return
        if state.failed and not state.restarts:
            _report_only(unit, actions)
            return
        if state.failed:
            memory = memory.after_failure(actions.clock())
            memory_file.write(memory)
            now = datetime.fromtimestamp(actions.clock(), UTC)
            cause = actions.cause()
            actions.report(failed(unit, cause, now, memory.pause))
            _pause(actions, cause, memory.pause)
            if not actions.show().failed:
                continue
        elif not memory.failures:
            return
        if state.active == "active" or actions.start():
            memory_file.write(Memory())
            actions.report(recovered(unit, datetime.fromtimestamp(actions.clock(), UTC)))
            return


def _pause(actions: Actions, cause: StartCause | None, seconds: float) -> None:
    """Wait; not longer than until what was missing is there again."""
    left = seconds
    while left > 0:
        actions.sleep(min(CHECK, left))
        left -= CHECK
        if cause is not None and cause.missing and actions.cause() != cause:
            return


def _report_only(unit: str, actions: Actions) -> None:
    """A unit that runs once, such as a reboot in its window, must not run at another time."""
    message = failed(unit, actions.cause(), datetime.fromtimestamp(actions.clock(), UTC), None)
    for _ in range(DELIVERIES):
        if actions.report(message):
            return
        actions.sleep(LONGEST)


def failed(unit: str, cause: StartCause | None, now: datetime, pause: float | None) -> dict[str, object]:
    """The message about a unit that cannot start; ``pause`` until its next start, None for no start."""
    text = cause.text if cause else "no cause was found"
    remedy = cause.remedy if cause else f"Read its last lines: journalctl -u {unit} -n 30."
    retried = "It is not started again by itself."
    if pause is not None:
        next_start = now + timedelta(seconds=pause)
        sooner = " or once that is there again" if cause and cause.missing else ""
        retried = (
            f"It is started again at {next_start:%H:%M:%S} UTC{sooner}, then at most every {LONGEST / 60:.0f} minutes."
        )
    kind = cause.id if cause else "not_started"
    return _message(kind, ALERT, f"{unit} cannot start: {text}", now, (remedy, retried), f"unit/{unit}/{kind}")


def recovered(unit: str, now: datetime) -> dict[str, object]:
    """The end of `failed`; sent only if that was."""
    return _message("unit_recovered", INFO, f"{unit} runs again", now, (), recovery_of=f"unit/{unit}")


def log_line(message: dict[str, object]) -> str:
    """A message as one line of the journal."""
    lines = message["lines"]
    return " ".join((f"{message['title']}.", *(lines if isinstance(lines, tuple) else ())))


def _message(
    kind: str,
    severity: int,
    title: str,
    now: datetime,
    lines: tuple[str, ...],
    dedupe_key: str = "",
    recovery_of: str = "",
) -> dict[str, object]:
    return {
        "kind": kind,
        "severity": severity,
        "title": title,
        "time": now.isoformat(),
        "lines": lines,
        "fields": (),
        "dedupe_key": dedupe_key,
        "recovery_of": recovery_of,
        "attachment": None,
    }
