"""systemd's units, through systemctl: their state, and the commands that change it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

Run = Callable[[Sequence[str]], tuple[int, str, str]]
"""Runs a program: its exit status, standard output and standard error."""

UNIT_FILES = "/etc/systemd/system"
PROPERTIES = (
    "LoadState",
    "ActiveState",
    "NeedDaemonReload",
    "ActiveEnterTimestamp",
    "ExecMainStartTimestamp",
    "MainPID",
)
RUNNING = ("active", "activating", "reloading")
STARTED_AT_BOOT = ("enabled", "static", "alias", "indirect", "generated")


class SystemdError(RuntimeError):
    """systemctl failed; the message is for the operator."""


@dataclass(frozen=True)
class Unit:
    """The state of a unit."""

    exists: bool
    masked: bool
    running: bool
    enabled: bool
    needs_reload: bool
    since: float | None
    """When its process, or a unit without one, was started, in seconds since the epoch; None while it does not run."""
    process: int
    """The ID of its main process; 0 without one."""


def read_units(run: Run, names: Sequence[str]) -> dict[str, Unit]:
    """The state of each unit. Raises SystemdError."""
    if not names:
        return {}
    shown = _checked(run, ["show", f"--property={','.join(PROPERTIES)}", "--timestamp=us+utc", "--", *names])
    blocks = [dict(line.split("=", 1) for line in block.splitlines()) for block in shown.split("\n\n") if block.strip()]
    if len(blocks) != len(names):
        raise SystemdError(f"systemctl show described {len(blocks)} units instead of {len(names)}.")
    known = [
        name for name, block in zip(names, blocks, strict=True) if block["LoadState"] not in ("not-found", "masked")
    ]
    states = _enabled_states(run, known)
    return {name: _unit(block, states.get(name, "")) for name, block in zip(names, blocks, strict=True)}


def _enabled_states(run: Run, names: Sequence[str]) -> dict[str, str]:
    """What systemctl is-enabled prints for each unit, as it reads the disk; empty for one that has no unit file."""
    if not names:
        return {}
    # Exit status 1: one of them is not enabled.
    _, output, _ = run(["systemctl", "is-enabled", "--", *names])
    states = output.split()
    if len(states) == len(names):
        return dict(zip(names, states, strict=True))
    if len(names) == 1:
        return {names[0]: ""}
    # One without a unit file has no line.
    return {name: state for each in names for name, state in _enabled_states(run, [each]).items()}


def _unit(block: dict[str, str], state: str) -> Unit:
    running = block["ActiveState"] in RUNNING
    # Between two starts a service is activating and has no process: its next start reads what is there then.
    started = running and block.get("MainPID", "") != "0"
    return Unit(
        exists=block["LoadState"] != "not-found",
        masked=block["LoadState"] == "masked",
        running=running,
        enabled=state in STARTED_AT_BOOT,
        needs_reload=block["NeedDaemonReload"] == "yes",
        since=_time(block.get("ExecMainStartTimestamp") or block["ActiveEnterTimestamp"]) if started else None,
        process=int(block.get("MainPID", "0")),
    )


def _time(text: str) -> float | None:
    """The time of "Mon 2026-11-30 06:41:15.123456 UTC"; None for a unit that was never started."""
    if not text.strip() or text.strip() == "n/a":
        return None
    date, clock = text.split()[1:3]
    return datetime.strptime(f"{date} {clock}", "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC).timestamp()


def reload_manager(run: Run) -> None:
    """Let systemd read the unit files again. Raises SystemdError."""
    _checked(run, ["daemon-reload"])


def change(run: Run, verb: str, unit: str, *, block: bool = True) -> None:
    """Start, stop, restart, enable or disable a unit. Raises SystemdError."""
    options: Iterable[str] = () if block or verb in ("enable", "disable") else ("--no-block",)
    _checked(run, [verb, *options, "--", unit])


def _checked(run: Run, arguments: Sequence[str]) -> str:
    status, output, errors = run(["systemctl", *arguments])
    if status != 0:
        raise SystemdError(f"systemctl {' '.join(arguments)} failed: {(errors or output).strip()}")
    return output
