"""The alerts that fire, from an Alertmanager that answers, answers nonsense, lacks the heartbeat, or is gone."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from host_service import firing_alerts
from host_service.firing_alerts import FiringAlerts


def alert(name: str, severity: str) -> dict[str, Any]:
    return {"labels": {"alertname": name, "severity": severity}, "fingerprint": "1"}


WATCHDOG = alert("Watchdog", "none")


@contextmanager
def alertmanager(body: bytes, tmp_path: Path) -> Iterator[Path]:
    """Gives the host's configuration that names its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path.startswith("/api/v2/alerts?active=true")
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        config = tmp_path / "monitoring.json"
        config.write_text(json.dumps({"alertmanager_port": server.server_port}))
        yield config
        server.shutdown()


def test_a_host_without_monitoring_has_none(tmp_path: Path) -> None:
    assert firing_alerts.read(tmp_path / "missing.json") is None


def test_each_name_is_shown_once_and_critical_ones_first(tmp_path: Path) -> None:
    found = [alert("Slow", "warning"), alert("Down", "critical"), alert("Down", "critical"), WATCHDOG]
    with alertmanager(json.dumps(found).encode(), tmp_path) as config:
        read = firing_alerts.read(config)
    assert read == FiringAlerts((("Down", "critical"), ("Slow", "warning")))
    assert read.text == "2 firing: Down (critical), Slow (warning)"


def test_without_the_heartbeat_none_is_no_good_news(tmp_path: Path) -> None:
    with alertmanager(b"[]", tmp_path) as config:
        read = firing_alerts.read(config)
    assert read is not None
    assert read.text == "UNKNOWN: Prometheus sends no heartbeat"
    with alertmanager(json.dumps([WATCHDOG]).encode(), tmp_path) as config:
        assert firing_alerts.read(config) == FiringAlerts(())


def test_an_alertmanager_that_is_gone_or_answers_nonsense_is_reported(tmp_path: Path) -> None:
    with alertmanager(b"<html>", tmp_path) as config:
        answers = [firing_alerts.read(config)]
    answers.append(firing_alerts.read(config))
    config.write_text("{}")
    answers.append(firing_alerts.read(config))
    assert [read.text.partition(" (")[0] for read in answers if read] == [
        "UNKNOWN: Alertmanager does not answer",
        "UNKNOWN: Alertmanager does not answer",
        f"UNKNOWN: {config} cannot be read",
    ]


def test_something_else_on_the_port_of_alertmanager_is_reported(tmp_path: Path) -> None:
    config = tmp_path / "monitoring.json"
    with socket.create_server(("127.0.0.1", 0)) as server:
        config.write_text(json.dumps({"alertmanager_port": server.getsockname()[1]}))

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"220 mail ready\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        read = firing_alerts.read(config)
        thread.join()
    assert read == FiringAlerts((), "Alertmanager does not answer (BadStatusLine)")
