"""The dead man's switch, against a real HTTP server."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from position_manager.service import heartbeat
from position_manager.service.heartbeat import Heartbeat, HeartbeatError, beat, read_url

SECRET = "0a1b2c3d-secret"


class Listener:
    """Answers with the statuses in turn, then with 200. ``slow``: it waits until it is ended."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.paths: list[str] = []
        self.slow = False
        self.ended = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.paths.append(self.path)
                if outer.slow:
                    outer.ended.wait(10)
                self.send_response(outer.statuses.pop(0) if outer.statuses else 200)
                self.send_header("Location", f"http://127.0.0.1:{outer.server.server_address[1]}/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Log nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/ping/{SECRET}"


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield made
    made.ended.set()
    made.server.shutdown()
    made.server.server_close()


class Turns:
    """A clock that lets so many waits pass, and then sets the event."""

    def __init__(self, turns: int) -> None:
        self.spans: list[timedelta] = []
        self._turns = turns

    def now(self) -> datetime:
        return datetime(2026, 11, 23, tzinfo=UTC)

    async def wait(self, event: asyncio.Event, span: timedelta) -> bool:
        self.spans.append(span)
        if len(self.spans) == self._turns:
            event.set()
        return event.is_set()


def run(url: str, well: list[bool]) -> Turns:
    """One turn for each state of health."""
    clock = Turns(len(well))
    states = iter(well)
    asyncio.run(Heartbeat(url, timedelta(seconds=60), lambda: next(states), clock).send_until(asyncio.Event()))
    return clock


def test_the_address_is_asked_while_all_is_well(listener: Listener) -> None:
    clock = run(listener.url, [True, False, False, True])
    assert listener.paths == [f"/ping/{SECRET}"] * 2
    assert clock.spans == [timedelta(seconds=60)] * 4


def test_a_failure_is_reported_once_and_its_end_too(listener: Listener, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    listener.statuses = [200, 302, 404, 500, 200, 200]
    run(listener.url, [True] * 6)
    reported = [(record.levelname, record.message) for record in caplog.records if record.name == heartbeat.__name__]
    assert reported == [
        ("WARNING", "the heartbeat's address does not answer as it should: HTTP status 302"),
        ("INFO", "the heartbeat's address answers again"),
    ]
    assert all(path.startswith("/ping") for path in listener.paths), "no other address was followed"


@pytest.mark.parametrize(
    "url", [f"http://127.0.0.1:1/{SECRET}", f"http://[bad/{SECRET}", f"https://127.0.0.1:1/{SECRET}"]
)
def test_no_failure_shows_the_address(url: str, caplog: pytest.LogCaptureFixture) -> None:
    run(url, [True])
    assert "no answer" in caplog.text
    assert SECRET not in caplog.text


def test_no_log_of_a_library_shows_the_address(listener: Listener, caplog: pytest.LogCaptureFixture) -> None:
    from position_manager.service.logs import QUIET

    caplog.set_level(logging.INFO)
    for name in QUIET:
        caplog.set_level(logging.WARNING, name)
    assert beat(listener.url) is None
    assert SECRET not in caplog.text


def test_a_slow_answer_holds_nothing_up(
    listener: Listener, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(heartbeat, "GIVE_UP_SECONDS", 0.1)
    listener.slow = True
    run(listener.url, [True])
    assert "no answer in 0.1 s" in caplog.text
    assert not listener.ended.is_set()


def file(path: Path, text: str, mode: int = 0o600) -> Path:
    made = path / "url"
    made.write_text(text)
    made.chmod(mode)
    return made


def test_the_address_is_read_from_a_file(tmp_path: Path) -> None:
    assert read_url(file(tmp_path, "https://hc.example/abc\n")) == "https://hc.example/abc"
    assert read_url(file(tmp_path, "https://hc.example/abc\n", 0o440)) == "https://hc.example/abc"


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        (f"https://hc.example/{SECRET}", 0o644, "others may read or change the heartbeat's address. chmod 600"),
        (f"hc.example/{SECRET}", 0o600, "must hold one address that begins with https:// or http://"),
        (f"https://hc.example/{SECRET}\nhttps://other", 0o600, "must hold one address"),
        ("", 0o600, "must hold one address"),
    ],
)
def test_a_file_that_holds_none_is_refused(tmp_path: Path, text: str, mode: int, why: str) -> None:
    with pytest.raises(HeartbeatError) as caught:
        read_url(file(tmp_path, text, mode))
    assert why in str(caught.value) and SECRET not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(HeartbeatError, match="cannot be read: No such file or directory"):
        read_url(tmp_path / "url")
