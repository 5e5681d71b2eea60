"""The receiver of Alertmanager: what becomes of a request, of a heartbeat that stops, and of bad input."""

from __future__ import annotations

import http.client
import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.unit.notifications.webhook import SECRET, Webhook

from alert_relay import server, settings
from alert_relay.forward import Forwarder
from alert_relay.service import Relay
from notifications.dedupe import Verdict
from notifications.delivery import targets_of
from notifications.message import Message, Severity
from notifications.service import Notifications

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
FIRING: dict[str, Any] = {
    "status": "firing",
    "labels": {"alertname": "PositionManagerStopped", "severity": "critical", "host": "gateway-1"},
    "annotations": {"summary": "position-manager is stopped", "description": "Start it."},
    "startsAt": "2026-11-30T11:58:00.123Z",
    "endsAt": "0001-01-01T00:00:00Z",
    "fingerprint": "b6a4e8f1c2d3e4f5",
}
RESOLVED = FIRING | {"status": "resolved", "endsAt": "2026-11-30T12:03:00Z"}
WATCHDOG = FIRING | {"labels": {"alertname": "Watchdog", "severity": "none", "host": "gateway-1"}}


def body(*alerts: dict[str, Any]) -> bytes:
    return json.dumps({"version": "4", "alerts": alerts}).encode()


class Recorder:
    """Stores the messages; ``verdict`` is the answer to each."""

    def __init__(self, verdict: Verdict | None = Verdict.SEND) -> None:
        self.messages: list[Message] = []
        self.verdict = verdict

    def notify(self, message: Message) -> Verdict | None:
        self.messages.append(message)
        return self.verdict


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def running(relay: Relay) -> Iterator[Relay]:
    thread = threading.Thread(target=relay.run)
    thread.start()
    try:
        yield relay
    finally:
        relay.stop()
        thread.join(10)
        assert not thread.is_alive()


def relay_of(people: Recorder | Notifications | None, clock: Clock | None = None, **changes: Any) -> Relay:
    return Relay("gateway-1", people, 300.0, monotonic=clock or Clock(), now=lambda: NOW, **changes)


def test_an_alert_and_its_end_become_messages_with_one_key() -> None:
    people = Recorder()
    with running(relay_of(people)) as relay:
        assert relay.handle("/alerts", body(FIRING)) == HTTPStatus.OK
        assert relay.handle("/alerts", body(RESOLVED)) == HTTPStatus.OK
    firing, resolved = people.messages
    assert (firing.title, firing.severity) == ("gateway-1: position-manager is stopped", Severity.ALERT)
    assert firing.lines == ("Start it.",)
    assert firing.time == datetime(2026, 11, 30, 11, 58, 0, 123000, tzinfo=UTC)
    assert resolved.recovery_of == firing.dedupe_key == "alert/b6a4e8f1c2d3e4f5"
    assert resolved.time == datetime(2026, 11, 30, 12, 3, tzinfo=UTC)


def test_a_repeated_alert_arrives_once_and_its_end_only_after_it(tmp_path: Path) -> None:
    with Webhook() as webhook:
        people = Notifications(tmp_path / "outbox", targets_of([f"json://127.0.0.1:{webhook.port}/"]))
        relay = relay_of(people)

        def run() -> None:
            people.start()
            relay.run()
            people.stop(5)

        thread = threading.Thread(target=run)
        thread.start()
        other = RESOLVED | {"fingerprint": "0000000000000001"}
        for alert in (FIRING, FIRING, other, RESOLVED):
            assert relay.handle("/alerts", body(alert)) == HTTPStatus.OK
        relay.stop()
        thread.join(10)
        titles = [post.json["title"] for post in webhook.taken]
    assert [title.removeprefix("gateway-1: ") for title in titles] == [
        "position-manager is stopped",
        "resolved: position-manager is stopped",
    ]


def test_what_cannot_be_stored_is_answered_so_that_alertmanager_repeats_it() -> None:
    with running(relay_of(Recorder(verdict=None))) as relay:
        assert relay.handle("/alerts", body(FIRING)) == HTTPStatus.SERVICE_UNAVAILABLE


def test_without_an_address_an_alert_is_logged_and_accepted(caplog: pytest.LogCaptureFixture) -> None:
    with running(relay_of(None)) as relay:
        assert relay.handle("/alerts", body(FIRING)) == HTTPStatus.OK
    assert "position-manager is stopped" in caplog.text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"alerts": {}}',
        b'{"alerts": [{}]}',
        body(FIRING | {"startsAt": "yesterday"}),
        body(FIRING | {"startsAt": "2026-11-30T11:58:00"}),
        body(FIRING | {"fingerprint": ""}),
        json.dumps({"alerts": [FIRING] * 201}).encode(),
    ],
)
def test_what_is_no_payload_is_rejected(content: bytes) -> None:
    people = Recorder()
    with running(relay_of(people)) as relay:
        assert relay.handle("/alerts", content) == HTTPStatus.BAD_REQUEST
    assert people.messages == []


def test_the_absence_of_the_heartbeat_is_reported_once_and_its_return() -> None:
    people, clock = Recorder(), Clock()
    relay = relay_of(people, clock)

    def heartbeat() -> None:
        with running(relay):
            assert relay.handle("/heartbeat", body(WATCHDOG)) == HTTPStatus.OK

    heartbeat()
    # The first one ends what a former run may have reported; the outbox sends it only then.
    assert [message.kind for message in people.messages] == ["monitoring_returned"]
    clock.now += 299
    relay.check_heartbeat()
    assert len(people.messages) == 1
    clock.now += 1
    relay.check_heartbeat()
    relay.check_heartbeat()
    assert [message.kind for message in people.messages[1:]] == ["monitoring_silent"]
    assert people.messages[1].severity is Severity.ALERT
    heartbeat()
    assert people.messages[2].recovery_of == people.messages[1].dedupe_key
    heartbeat()
    assert len(people.messages) == 3


def test_a_heartbeat_that_never_came_is_reported_too() -> None:
    people, clock = Recorder(), Clock()
    relay = relay_of(people, clock)
    clock.now += 300
    relay.check_heartbeat()
    assert [message.kind for message in people.messages] == ["monitoring_silent"]


def test_a_resolved_watchdog_is_no_heartbeat() -> None:
    people, clock = Recorder(), Clock()
    with running(relay_of(people, clock)) as relay:
        assert relay.handle("/heartbeat", body(WATCHDOG | {"status": "resolved"})) == HTTPStatus.OK
    clock.now += 300
    relay.check_heartbeat()
    assert [message.kind for message in people.messages] == ["monitoring_silent"]


def test_each_heartbeat_is_passed_on_and_the_address_is_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    requested: queue.SimpleQueue[str] = queue.SimpleQueue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requested.put(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as external:
        threading.Thread(target=external.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{external.server_port}/{SECRET}"
        forwarder = Forwarder(url)
        forwarder.start()
        with running(relay_of(Recorder(), forward=forwarder.send)) as relay:
            relay.handle("/heartbeat", body(WATCHDOG))
            assert requested.get(timeout=5) == f"/{SECRET}"
        external.shutdown()
    # Nobody answers any more.
    with running(relay_of(Recorder(), forward=forwarder.send)) as relay:
        relay.handle("/heartbeat", body(WATCHDOG))
    forwarder.stop(15)
    assert "does not arrive" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "attacker.example"}, 421),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Length": ""}, 411),
        ({"Content-Length": "x"}, 411),
        ({"Content-Length": str((1 << 20) + 1)}, 413),
    ],
)
def test_the_server_takes_only_what_a_local_alertmanager_sends(headers: dict[str, str], status: int) -> None:
    received: list[bytes] = []

    def handle(path: str, content: bytes) -> HTTPStatus:
        received.append(content)
        return HTTPStatus.OK

    with server.served(0, handle) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.putrequest("POST", "/alerts", skip_host=True)
        sent = {"Host": f"127.0.0.1:{port}", "Content-Type": "application/json", "Content-Length": "2"} | headers
        for name, value in sent.items():
            connection.putheader(name, value)
        connection.endheaders(b"{}")
        assert connection.getresponse().status == status
        connection.close()
    assert received == ([b"{}"] if status == 200 else [])


def test_a_port_that_is_in_use_is_named() -> None:
    with server.served(0, lambda *_: HTTPStatus.OK) as port, pytest.raises(server.ListenError, match=f":{port}: "):  # noqa: SIM117
        with server.served(port, lambda *_: HTTPStatus.OK):
            pass


def test_the_settings_name_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "alert-relay.json"
    with pytest.raises(settings.SettingsError, match="cannot be read"):
        settings.read(path)
    path.write_text('{"host": "a", "port": 9095}')
    with pytest.raises(settings.SettingsError, match="heartbeat_timeout"):
        settings.read(path)
    path.write_text('{"host": "a", "port": 9095, "heartbeat_timeout": 300}')
    assert settings.read(path) == settings.Settings("a", 9095, 300.0)


def test_the_addresses_of_all_services_are_used_once_and_a_wrong_one_silences_no_other(tmp_path: Path) -> None:
    for name, lines in (("gateway-a", "json://127.0.0.1/one\n"), ("manager-a", "json://127.0.0.1/one\nnonsense\n")):
        file = tmp_path / f"addresses-{name}"
        file.write_text(lines)
        file.chmod(0o400)
    assert len(settings.targets(tmp_path)) == 1


def test_the_external_address_must_be_encrypted(tmp_path: Path) -> None:
    assert settings.heartbeat_url(tmp_path) is None
    (tmp_path / "heartbeat_url").write_text("https://heartbeat.example/abc\n")
    assert settings.heartbeat_url(tmp_path) == "https://heartbeat.example/abc"
    (tmp_path / "heartbeat_url").write_text("http://heartbeat.example/abc\n")
    with pytest.raises(settings.SettingsError, match="https") as raised:
        settings.heartbeat_url(tmp_path)
    assert "abc" not in str(raised.value)
