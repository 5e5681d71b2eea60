"""A host's directories for the page: a gateway and a position manager, with files as the services write them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.unit.gateway_watch.instance_files import DOCUMENT
from tests.unit.position_manager import journal_samples

from dashboard.collector import Collector
from dashboard.gateways import Unit
from dashboard.places import Host
from gateway_watch import session
from gateway_watch.breaker import Breaker, BreakerFile
from gateway_watch.session import Session
from host_service import gateway_login
from host_service.gateway_login import GatewayLogin, IbkrLink
from notifications.message import Message, Severity
from notifications.outbox import Outbox

NOW = datetime(2026, 11, 30, 15, 0, tzinfo=UTC)
RUNNING = Unit("active", "running", "success", "ready")


class TestHost:
    """A host in a directory; `now` and `unit` are what the clock and systemd give."""

    __test__ = False

    def __init__(self, root: Path) -> None:
        self.now = NOW
        self.unit: Unit | None = RUNNING
        self.asked = 0
        self.state = root / "gateway-state"
        self.login_dir = root / "run" / "ib-gateway"
        self.manager = root / "managers" / "position-manager"
        self.history = root / "history.json"
        for directory in (root / "etc" / "ib-gateway", self.state, self.login_dir, self.manager):
            directory.mkdir(parents=True)
        self.instance_file = root / "etc" / "ib-gateway" / "instance.json"
        self.instance_file.write_text(json.dumps(DOCUMENT | {"state_dir": str(self.state)}))
        self.host = Host(root / "etc", root / "run", root / "managers", root / "manager-run")
        self.publish("ready", link="connected")
        BreakerFile(self.state / "breaker.json", "ib-gateway").write(Breaker())
        session.write(self.state / "session.json", Session(since=NOW - timedelta(days=1), twofa=True))

    def publish(self, state: str, *, person: bool = False, link: str = "unknown") -> None:
        gateway_login.write(self.login_dir, GatewayLogin(state, person, state, IbkrLink(link, NOW, link)))

    def write_journal(self) -> None:
        journal_samples.write(self.manager / "journal-paper.db")

    def write_outbox(self, path: Path) -> None:
        with Outbox(path, NOW.timestamp) as outbox:
            outbox.put(Message("fired", Severity.ALERT, "MSFT: stop fired", NOW, ("in DU1234567",)), ["discord"])

    def collector(self) -> Collector:
        return Collector(
            self.host,
            now=lambda: self.now,
            monotonic=self._monotonic,
            history_file=self.history,
            has_screen=lambda _name: True,
            unit_of=self._unit,
        )

    def _unit(self, _name: str) -> Unit | None:
        self.asked += 1
        return self.unit

    def _monotonic(self) -> float:
        return self.now.timestamp()
