"""A gateway's metrics without a gateway: an instance in a directory, and what its supervisor would report."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.scraping import Series, exported, value
from tests.unit.gateway_watch.instance_files import DOCUMENT

from gateway_watch.instance import Instance, parse
from gateway_watch.login import Change, LoginState
from gateway_watch.metrics.collecting import Source, collect
from gateway_watch.metrics.recorder import FILE, Recorder
from gateway_watch.signatures import load
from host_service.gateway_login import GatewayLogin, IbkrLink

NOON = datetime(2026, 11, 25, 17, tzinfo=UTC)
"""A Wednesday in New York, outside of every window."""

CAUSES = load("ibc").causes


class Gateway:
    """An instance in a directory, the recorder of its process, and what a scrape would read."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.directory = directory
        (directory / "secrets").mkdir(exist_ok=True)
        places = {"state_dir": str(directory), "secrets_dir": str(directory / "secrets")}
        self.instance: Instance = parse(DOCUMENT | places | settings, Path("instance.json"))
        self.now = NOON
        self.seconds = 100.0
        self.log: list[str] = []
        self.notified: dict[str, int] = {}
        self.recorder = self.next_process()

    def next_process(self) -> Recorder:
        """As after a restart of the service."""
        self.recorder = Recorder(
            self.directory / FILE, self.log.append, now=lambda: self.now, monotonic=lambda: self.seconds
        )
        return self.recorder

    @property
    def source(self) -> Source:
        return Source(
            self.instance,
            lambda: self.recorder.view,
            lambda: self.notified,
            lambda: self.now,
            backups=self.directory / "backup.json",
            backup_record=self.directory / "last.json",
        )

    def scrape(self) -> Series:
        return exported(collect(self.source))

    def value(self, name: str, **labels: str) -> float | None:
        return value(self.scrape(), name, **labels)

    def change(self, state: LoginState, cause: str = "", attempt: int = 1, mode: str = "paper", **more: Any) -> None:
        change = Change(self.now, mode, state, "text", CAUSES[cause] if cause else None)
        self.recorder.on_change(change, attempt, approvable=more.get("approvable", True))

    def publish(self, state: str, link: str = "unknown", *, person: bool = False) -> None:
        self.recorder.on_published(GatewayLogin(state, person, "text", IbkrLink(link, None, "text")))


def start(gateway: Gateway) -> None:
    """Until everything is reached, after 42 s."""
    gateway.recorder.on_start()
    gateway.publish("logging_in")
    gateway.seconds += 42
    gateway.recorder.on_ready(full=True)
    gateway.publish("ready", "connected")
    gateway.recorder.on_health(listening=True, ready=True)
    gateway.recorder.on_session(held=True)
    gateway.recorder.on_probe({"paper": 0.012}, 0)
