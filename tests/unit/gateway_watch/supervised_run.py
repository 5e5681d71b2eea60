"""The parts of a supervised run around an instance in a directory: a clock, systemd's socket, and a systemctl."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.unit.gateway_watch.instance_files import DOCUMENT

from gateway_watch.gatekeeper import Gatekeeper
from gateway_watch.instance import Instance, parse
from gateway_watch.run_files import RunFiles
from gateway_watch.signatures import load
from gateway_watch.start_wait import StartWait
from gateway_watch.unit_report import UnitReport
from notifications.message import Message

NOON = datetime(2026, 11, 25, 17, tzinfo=UTC)
"""A Wednesday in New York."""


class Systemd:
    """The receiving end of NOTIFY_SOCKET."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.setblocking(False)

    def received(self) -> list[str]:
        found = []
        while True:
            try:
                found.append(self._socket.recv(8192).decode())
            except BlockingIOError:
                return found

    def close(self) -> None:
        self._socket.close()


@dataclass
class Run:
    """`seconds` is the monotonic clock; the time of day follows it."""

    directory: Path
    systemd: Systemd
    start: datetime = NOON
    seconds: float = 100.0
    log: list[str] = field(default_factory=list)
    notified: list[Message] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.environment |= {"NOTIFY_SOCKET": self.systemd.address}
        secrets = self.directory / "secrets"
        secrets.mkdir(exist_ok=True)
        for name in ("login.env", "tws_password"):
            (secrets / name).write_text("")
            self.change_credentials(self.start - timedelta(days=30), name)

    def change_credentials(self, when: datetime, name: str = "tws_password") -> None:
        os.utime(self.directory / "secrets" / name, (when.timestamp(), when.timestamp()))

    @property
    def instance(self) -> Instance:
        places = {"state_dir": str(self.directory), "secrets_dir": str(self.directory / "secrets")}
        return parse(DOCUMENT | places, Path("instance.json"))

    def now(self) -> datetime:
        return self.start + timedelta(seconds=self.seconds - 100.0)

    def monotonic(self) -> float:
        return self.seconds

    def unit(self) -> UnitReport:
        return UnitReport(self.instance.unit, self.environment, self.log.append, self.monotonic)

    def files(self) -> RunFiles:
        return RunFiles(self.instance, self.directory, self.log.append)

    def waiting(self, files: RunFiles) -> StartWait:
        return StartWait(
            instance=self.instance,
            files=files,
            unit=self.unit(),
            gate=Gatekeeper(self.instance, self.now, self.log.append),
            signatures=load("ibc"),
            notify=self.notified.append,
            monotonic=self.monotonic,
            now=self.now,
        )

    async def pass_time(self, seconds: float) -> bool:
        """Nobody requests a stop."""
        self.seconds += seconds
        # Its queue is short, and a full one would block the sender.
        self.systemd.received()
        return False

    def restarts(self, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
        """From now on systemctl prints this, and the run is one of systemd's."""
        programs = self.directory / "programs"
        programs.mkdir(exist_ok=True)
        (programs / "systemctl").write_text(f"#!/bin/sh\necho '{answer}'\n")
        (programs / "systemctl").chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
        self.environment["INVOCATION_ID"] = "1"
