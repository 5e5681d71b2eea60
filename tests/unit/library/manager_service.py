"""A position manager for the module manager_wait: a real control socket, and a systemctl with a set answer."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.module_process import answer_of

from position_manager.reports.status import Status
from position_manager.service.control import Server

ROOT = Path(__file__).parents[3]

RUNNING = {"LoadState": "loaded", "ActiveState": "active", "SubState": "running", "Result": "success"}
STARTING = RUNNING | {"ActiveState": "activating", "SubState": "start"}
ENDED = {
    **RUNNING,
    "ActiveState": "failed",
    "SubState": "failed",
    "Result": "exit-code",
    "ExecMainStatus": "78",
    "StatusText": "journal is of another account",
}


@dataclass
class Manager:
    """What the socket returns, one status per poll, the last one for ever."""

    statuses: list[Status]

    def status(self) -> Status:
        return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]

    async def close(self, *_: Any, **__: Any) -> str:
        raise AssertionError("nobody asks for this")

    def release(self, *_: Any, **__: Any) -> str:
        raise AssertionError("nobody asks for this")

    def rearm(self, *_: Any, **__: Any) -> str:
        raise AssertionError("nobody asks for this")

    def accept_account(self, account: str, *, by: str) -> str:
        raise AssertionError(account)

    def reload(self) -> str:
        raise AssertionError("nobody asks for this")

    def move_price(self, *_: Any, **__: Any) -> str:
        raise AssertionError("nobody asks for this")


def call(
    directory: Path, unit: Mapping[str, str], *, log: tuple[str, ...] = ("a line", "the last line"), **arguments: Any
) -> dict[str, Any]:
    """Run the module on a host where systemctl returns this for the unit, and the journal has these lines."""
    programs = directory / "programs"
    programs.mkdir(exist_ok=True)
    said = "\n".join(f"{key}={value}" for key, value in unit.items())
    for name, text in (("systemctl", said), ("journalctl", "\n".join(log))):
        program = programs / name
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")
        program.chmod(0o755)
    given = {"unit": "position-manager.service", "socket": str(directory / "control.sock"), **arguments}
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PATH": f"{programs}:{os.environ['PATH']}"}
    return answer_of("manager_wait", given, environment)


def call_with(
    directory: Path, statuses: list[Status], unit: Mapping[str, str] = RUNNING, **arguments: Any
) -> dict[str, Any]:
    """Run the module beside a manager that runs and returns these."""

    async def answered() -> dict[str, Any]:
        async with Server(directory / "control.sock", Manager(statuses)):
            return await asyncio.to_thread(call, directory, unit, **arguments)

    return asyncio.run(answered())
