"""The server of the metrics, over real sockets: what it answers, and that no scraper takes more than its share."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence

import pytest
import requests
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from tests.scraping import OPENMETRICS, parsed, read

from host_service import metrics_server
from host_service.metrics_server import MetricsError, served


class Service:
    """Counts how often its metrics are collected."""

    def __init__(self) -> None:
        self.collected = 0
        self.error: Exception | None = None

    def __call__(self) -> Sequence[Metric]:
        self.collected += 1
        if self.error is not None:
            raise self.error
        return [GaugeMetricFamily("app_ready", "1 if it is ready.", value=self.collected)]


def get(port: int | None, path: str = "/metrics", **headers: str) -> requests.Response:
    return requests.get(f"http://127.0.0.1:{port}{path}", headers=headers, timeout=5)


def test_both_formats_are_served_by_what_the_scraper_accepts() -> None:
    with served(0, Service()) as port:
        plain, modern = get(port), get(port, Accept=OPENMETRICS)
    assert plain.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert modern.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert parsed(modern.text) == read(text_string_to_metric_families(plain.text)) == {("app_ready", frozenset()): 1}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 200), ("GET", "/metrics?name=x", 200), ("GET", "/etc/passwd", 404), ("POST", "/metrics", 405)],
)
def test_only_the_metrics_are_served(method: str, path: str, status: int) -> None:
    with served(0, Service()) as port:
        answer = requests.request(method, f"http://127.0.0.1:{port}{path}", timeout=5)
    assert answer.status_code == status


def test_a_head_request_has_no_body() -> None:
    with served(0, Service()) as port:
        answer = requests.head(f"http://127.0.0.1:{port}/metrics", timeout=5)
    assert (answer.status_code, answer.content) == (200, b"") and int(answer.headers["Content-Length"]) > 0


@pytest.mark.parametrize("request_", [b"\x16\x03\x01\r\n\r\n", b"GET /\r\n\r\n", b"x" * 8192, b"GET / FTP/1\r\n\r\n"])
def test_what_is_no_request_is_refused(request_: bytes) -> None:
    with served(0, Service()) as port:
        with socket.create_connection(("127.0.0.1", port or 0), 5) as client:
            client.sendall(request_)
            assert client.recv(100).startswith(b"HTTP/1.1 400 ")
        assert get(port).status_code == 200


def test_a_service_is_collected_once_however_often_it_is_scraped() -> None:
    service = Service()
    with served(0, service) as port:
        texts = {get(port).text for _ in range(20)}
    assert len(texts) <= 2 and service.collected <= 2


def test_a_collection_that_fails_is_reported_once_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(metrics_server, "FRESH_SECONDS", 0.0)
    service = Service()
    service.error = RuntimeError("no answer")
    with served(0, service) as port:
        assert [get(port).status_code for _ in range(3)] == [503, 503, 503]
        service.error = None
        assert get(port).status_code == 200
    assert [record.getMessage() for record in caplog.records] == ["the metrics could not be collected: no answer"]


def test_a_failed_collection_without_a_message_is_reported_by_its_type(caplog: pytest.LogCaptureFixture) -> None:
    service = Service()
    service.error = TimeoutError()
    with served(0, service) as port:
        assert get(port).status_code == 503
    assert [record.getMessage() for record in caplog.records] == ["the metrics could not be collected: TimeoutError"]


def test_a_failed_collection_is_not_repeated_at_once() -> None:
    service = Service()
    service.error = RuntimeError("no answer")
    with served(0, service) as port:
        assert {get(port).status_code for _ in range(10)} == {503}
    assert service.collected <= 2


def test_scrapers_that_send_nothing_do_not_block_others() -> None:
    with served(0, Service()) as port:
        silent = [socket.create_connection(("127.0.0.1", port or 0), 5) for _ in range(40)]
        for client in silent[::2]:
            client.sendall(b"GET /metrics HTTP/1.1\r\nAccept: ")
        assert get(port).status_code == 200
        for client in silent:
            client.close()


def test_of_too_many_connections_the_oldest_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "REQUEST_SECONDS", 60.0)
    with served(0, Service()) as port:
        silent = [socket.create_connection(("127.0.0.1", port or 0), 5) for _ in range(metrics_server.MOST_CONNECTIONS)]
        assert get(port).status_code == 200
        silent[0].settimeout(5)
        assert silent[0].recv(1) == b""
        silent[-1].settimeout(0.1)
        with pytest.raises(TimeoutError):
            silent[-1].recv(1)
        for client in silent:
            client.close()


def test_a_scraper_that_sends_nothing_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "REQUEST_SECONDS", 0.2)
    with served(0, Service()) as port, socket.create_connection(("127.0.0.1", port or 0), 5) as client:
        assert client.recv(1) == b""


def test_a_request_that_trickles_in_has_a_deadline_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "REQUEST_SECONDS", 0.3)
    with served(0, Service()) as port, socket.create_connection(("127.0.0.1", port or 0), 5) as client:
        client.settimeout(0.05)
        until = time.monotonic() + 5
        ended = False
        while not ended and time.monotonic() < until:
            try:
                client.sendall(b"G")
                ended = client.recv(1) == b""
            except TimeoutError:
                continue
            except OSError:
                ended = True
        assert ended


def test_a_scraper_that_does_not_read_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "RESPONSE_SECONDS", 0.3)

    def large() -> Sequence[Metric]:
        return [GaugeMetricFamily(f"app_{number}", "x" * 10000, value=1) for number in range(2000)]

    with served(0, large) as port, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(10)
        client.connect(("127.0.0.1", port or 0))
        client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        # Another one is served meanwhile.
        assert get(port).status_code == 200
        time.sleep(0.5)
        received = 0
        try:
            while chunk := client.recv(1 << 20):
                received += len(chunk)
        except OSError:
            pass
        assert received < 20_000_000


def test_a_flood_of_connections_takes_no_more_than_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "MOST_ACCEPTED", 5)
    service, stop = Service(), threading.Event()
    answered: list[int] = []

    def flood(port: int) -> None:
        while not stop.is_set():
            try:
                answered.append(get(port).status_code)
            except requests.RequestException:
                continue

    with served(0, service) as port:
        threads = [threading.Thread(target=flood, args=(port,), daemon=True) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(1.5)
        stop.set()
        for thread in threads:
            thread.join(10)
    assert 5 <= len(answered) <= 5 * 5


def test_only_this_host_can_read_them() -> None:
    with served(0, Service()) as port, socket.socket() as other, pytest.raises(ConnectionRefusedError):
        # Another address of this host: served on all of them it would answer.
        other.connect(("127.0.0.2", port or 0))


def test_a_port_that_is_taken_is_reported() -> None:
    with served(0, Service()) as port:
        text = f"metrics cannot be served on 127.0.0.1:{port}: Address already in use"
        with pytest.raises(MetricsError, match=text), served(port, Service()):
            pass


def test_without_a_port_there_are_none_and_the_end_frees_it() -> None:
    with served(None, Service()) as port:
        assert port is None
    threads = threading.active_count()
    with served(0, Service()) as port:
        assert get(port).status_code == 200
    with served(port, Service()) as again:
        assert again == port
    assert threading.active_count() == threads


def test_a_thread_that_cannot_be_started_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(MetricsError, match="can't start new thread"), served(0, Service()):
        pass
