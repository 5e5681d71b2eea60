"""The status page as it runs: a real server process over HTTP, with a real position manager in mode sim."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import pytest
from tests.integration.test_position_manager_service import SOURCE, Manager, until
from tests.merge_patch import applied

MARKET = """\
mode: sim
poll_seconds: 1
sim:
  tick_seconds: 0.1
  latency_ms: 10
  underlyings: {AAPL: {price: 190, volatility_percent: 0}}
  positions: [{symbol: AAPL, quantity: 100, average_price: 190}]
orders: {step_seconds: 0.2}
quotes: {max_age_seconds: 1, opening_grace_seconds: 0, confirm_seconds: 0.1}
defaults: {stop: {percent_of_premium: 5}, target: {percent_of_premium: 50}}
"""


class Page:
    """A served page."""

    def __init__(self, port: int, process: subprocess.Popen[str]) -> None:
        self.port = port
        self.process = process

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.msg, answer.read()
        finally:
            connection.close()

    def json(self, path: str) -> Any:
        status, _, body = self.get(path)
        assert status == 200, body
        return json.loads(body)

    @contextmanager
    def followed(self) -> Iterator[Queue[tuple[str, Any]]]:
        """The events of the page, as they come."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", "/api/events")
        answer = connection.getresponse()
        assert answer.getheader("content-type", "").startswith("text/event-stream")
        events: Queue[tuple[str, Any]] = Queue()

        def read() -> None:
            kind = ""
            while line := answer.readline():
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    events.put((kind, json.loads(value)))

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        try:
            yield events
        finally:
            if connection.sock is not None:
                connection.sock.shutdown(socket.SHUT_RDWR)
            thread.join()
            connection.close()


@contextmanager
def served(*arguments: str) -> Iterator[Page]:
    process = subprocess.Popen(
        [sys.executable, *arguments], env={**os.environ, "PYTHONPATH": str(SOURCE)}, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), address
        yield Page(int(address.rstrip("/").rpartition(":")[2]), process)
    finally:
        process.terminate()
        try:
            assert process.wait(10) in (0, -signal.SIGTERM)
        finally:
            process.kill()
            process.stdout.close()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A page without any manager."""
    root = tmp_path_factory.mktemp("alone")
    with served("-m", "dashboard", "--port", "0", "--state", str(root), "--runtime", str(root)) as page:
        yield page


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    found = Manager(tmp_path)
    found.write(MARKET)
    found.ready()
    yield found
    found.end()


def test_it_listens_on_the_loopback_only(alone: Page) -> None:
    found = subprocess.run(["ss", "-Hltn", f"sport = :{alone.port}"], capture_output=True, text=True, check=True)
    assert [line.split()[3] for line in found.stdout.splitlines()] == [f"127.0.0.1:{alone.port}"]


@pytest.mark.parametrize("path", ["/", "/api/snapshot", "/api/health", "/nothing", "/api/orders"])
def test_every_answer_carries_the_policy_and_sets_no_cookie(alone: Page, path: str) -> None:
    _, headers, _ = alone.get(path)
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';") and "unsafe" not in policy
    assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
    assert "set-cookie" not in headers and not any(name.startswith("access-control") for name in headers)
    assert "server" not in headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example:80"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Host": "localhost:9999"}, 200),
    ],
)
@pytest.mark.parametrize("path", ["/api/snapshot", "/api/events"])
def test_other_names_and_other_pages_are_refused(alone: Page, path: str, headers: dict[str, str], status: int) -> None:
    if status == 200:
        path = "/api/snapshot"
    found, _, body = alone.get(path, **headers)
    assert found == status
    assert status == 200 or set(json.loads(body)) == {"error"}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_nothing_can_be_done(alone: Page, method: str) -> None:
    status, headers, _ = alone.get("/api/snapshot", method)
    assert (status, headers["allow"]) == (405, "GET, HEAD")


def test_head_has_no_body_and_ends(alone: Page) -> None:
    for path in ("/api/snapshot", "/api/events"):
        status, _, body = alone.get(path, "HEAD")
        assert (status, body) == (200, b"")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/../etc/passwd", 404),
        ("/%2e%2e/%2e%2e/etc/passwd", 404),
        ("//etc/passwd", 404),
        ("/api/logs?source=ssh.service", 404),
        ("/api/logs?source=-b", 400),
        ("/api/screen?gateway=..%2f..", 400),
        ("/api/screen?gateway=other", 404),
        ("/api/profit?manager=other", 404),
        ("/api/orders?manager=position-manager&before=%27%20OR%201", 400),
        ("/api/explain?manager=position-manager", 400),
        ("/api/explain?manager=position-manager&order=1&contract=2", 400),
        ("/api/explain?manager=position-manager&order=01ABC", 404),
        ("/api/snapshot?" + "a" * 3000, 414),
    ],
)
def test_a_strange_request_is_an_error_in_words(alone: Page, path: str, status: int) -> None:
    found, _, body = alone.get(path)
    assert found == status, body
    assert json.loads(body)["error"]


def test_rubbish_on_the_connection_does_not_end_the_server(alone: Page) -> None:
    for rubbish in (
        b"\x00\xff\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /" + b"a" * 100_000,
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", alone.port), timeout=5) as channel:
            channel.sendall(rubbish)
            channel.shutdown(socket.SHUT_WR)
            assert b" 200 " not in channel.recv(200)
    assert alone.json("/api/health") == {"ok": True}


def test_a_stop_is_seen_live_from_the_price_to_the_explanation(manager: Manager) -> None:
    where = [part for name in ("config", "state", "runtime") for part in (f"--{name}", str(getattr(manager, name)))]
    with served("-m", "position_manager.cli", "dashboard", "--port", "0", *where) as page, page.followed() as events:
        kind, document = events.get(timeout=10)
        assert kind == "snapshot"
        pm = document["managers"]["position-manager"]
        (position,) = pm["positions"].values()
        assert (position["name"], position["verdict"], position["bars"]["price"]["marks"]["stop"]["level"]) == (
            "AAPL",
            "guarded",
            180.5,
        )
        assert manager.ask("price", "AAPL", "175").returncode == 0
        end = time.monotonic() + 20
        while time.monotonic() < end and document["managers"]["position-manager"]["positions"]:
            try:
                kind, change = events.get(timeout=5)
            except Empty:
                continue
            if kind == "change":
                assert not change.keys() & {"schema", "host", "release", "logs"}, "what did not change is sent again"
                document = applied(document, change)
        assert document["managers"]["position-manager"]["positions"] == {}
        assert document["managers"]["position-manager"]["intents"] == {}
        # After the last change the document is the one that another page gets.
        now = page.json("/api/snapshot")
        assert set(now["managers"]["position-manager"]["orders"]) == set(
            document["managers"]["position-manager"]["orders"]
        )
        (order, *_) = page.json("/api/orders?manager=position-manager")["orders"]
        assert (order["side"], order["state"], order["rule"], order["done"]) == ("SELL", "FILLED", "stop", True)
        explained = page.json(f"/api/explain?manager=position-manager&order={order['id']}")["text"]
        assert "Rule fired: stop (AAPL)" in explained
        assert page.json(f"/api/explain?manager=position-manager&contract={order['con_id']}")["text"]
        assert page.json("/api/profit?manager=position-manager")["manager"] == "position-manager"


def test_a_manager_that_ends_and_returns_is_shown_so(tmp_path: Path) -> None:
    manager = Manager(tmp_path)
    manager.write(MARKET)
    process = manager.ready()
    where = [part for name in ("state", "runtime") for part in (f"--{name}", str(getattr(manager, name)))]
    with served("-m", "dashboard", "--port", "0", *where) as page:

        def running() -> bool:
            return bool(page.json("/api/snapshot")["managers"]["position-manager"]["running"])

        assert running()
        until(lambda: page.json("/api/snapshot")["managers"]["position-manager"]["positions"])
        process.terminate()
        until(lambda: not running())
        document = page.json("/api/snapshot")
        assert document["notes"]["manager:position-manager"]["text"].endswith("it does not run.")
        manager.ready()
        until(running)
    manager.end()


def test_it_needs_little_memory_and_no_time_without_a_viewer(manager: Manager) -> None:
    where = [part for name in ("state", "runtime") for part in (f"--{name}", str(getattr(manager, name)))]
    with served("-m", "dashboard", "--port", "0", *where) as page:
        page.json("/api/snapshot")
        page.json("/api/orders?manager=position-manager")
        status = Path(f"/proc/{page.process.pid}/status").read_text()
        peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
        assert peak < 60_000, f"{peak} kB"

        def used() -> int:
            fields = Path(f"/proc/{page.process.pid}/stat").read_text().rpartition(") ")[2].split()
            return int(fields[11]) + int(fields[12])

        before = used()
        time.sleep(4)
        # 0.5 % of a core would be 2 ticks of 10 ms in these 4 s; each collection in vain would be one more.
        assert used() - before <= 2


def test_the_port_is_reported_if_it_is_taken(alone: Page) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dashboard", "--port", str(alone.port)],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"ib-dashboard: port {alone.port} of 127.0.0.1 cannot be used: Address already in use."
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_once_with_a_page_open(tmp_path: Path, number: signal.Signals) -> None:
    arguments = ("-m", "dashboard", "--port", "0", "--state", str(tmp_path), "--runtime", str(tmp_path))
    with served(*arguments) as page, page.followed() as events:
        assert events.get(timeout=10)[0] == "snapshot"
        page.process.send_signal(number)
        assert page.process.wait(10) in (0, -signal.SIGTERM)


def test_more_pages_than_allowed_are_refused_and_the_others_go_on(alone: Page) -> None:
    with ExitStack() as stack:
        streams = [stack.enter_context(alone.followed()) for _ in range(16)]
        assert all(events.get(timeout=10)[0] == "snapshot" for events in streams)
        assert alone.get("/api/events")[0] == 503
    until(lambda: alone.get("/api/events", "HEAD")[0] == 200)
