"""A stand-in for the dashboard's server: the built page, and a document that a test sets and changes."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.merge_patch import applied

import dashboard

STATIC = Path(dashboard.__file__).parent / "static"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@dataclass
class ScriptedDashboard:
    """What is answered. `answers`: by the part of the path after /api/, its JSON, a picture, or an event to wait for.

    What has no answer fails with status 404.
    """

    document: dict[str, Any]
    answers: dict[str, Any] = field(default_factory=dict)
    address: str = ""
    asked: list[str] = field(default_factory=list)
    refuse_streams: bool = False
    _listeners: list[queue.SimpleQueue[str | None]] = field(default_factory=list)

    def change(self, patch: dict[str, Any]) -> None:
        """Send a merge patch to every page."""
        self.document["revision"] += 1
        self.document = applied(self.document, patch)
        sent = {"revision": self.document["revision"], "at": datetime.now(UTC).isoformat()} | patch
        for listener in self._listeners:
            listener.put(f"event: change\ndata: {json.dumps(sent)}\n\n")

    def cut(self) -> None:
        """End every stream, and refuse new ones."""
        self.refuse_streams = True
        for listener in self._listeners:
            listener.put(None)
        self._listeners.clear()

    def listen(self) -> queue.SimpleQueue[str | None]:
        listener: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        document = self.document | {"at": datetime.now(UTC).isoformat()}
        listener.put(f"retry: 200\nevent: snapshot\ndata: {json.dumps(document)}\n\n")
        self._listeners.append(listener)
        return listener


@contextmanager
def scripted_dashboard(document: dict[str, Any]) -> Iterator[ScriptedDashboard]:
    script = ScriptedDashboard(deepcopy(document))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle(self) -> None:
            # A page that is closed does not wait for its answers.
            with suppress(ConnectionError):
                super().handle()

        def do_GET(self) -> None:
            address = urlsplit(self.path)
            script.asked.append(self.path)
            if address.path == "/api/events":
                self._stream()
            elif address.path.startswith("/api/"):
                self._answer(address.path.removeprefix("/api/"), parse_qs(address.query))
            else:
                self._file(address.path.removeprefix("/") or "index.html")

        def _stream(self) -> None:
            if script.refuse_streams:
                self._body(HTTPStatus.SERVICE_UNAVAILABLE, "application/json", b'{"error": "away"}')
                return
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            listener = script.listen()
            while (event := listener.get()) is not None:
                try:
                    self.wfile.write(event.encode())
                except OSError:
                    break
            self.close_connection = True

        def _answer(self, name: str, parameters: dict[str, list[str]]) -> None:
            answer = script.answers.get(name)
            if answer is None:
                error = {"error": f"There is no {name} for {parameters}."}
                self._body(HTTPStatus.NOT_FOUND, "application/json", json.dumps(error).encode())
            elif isinstance(answer, threading.Event):
                # The request is answered once it is set, with nothing.
                answer.wait()
                self._body(HTTPStatus.NOT_FOUND, "application/json", b"{}")
            elif isinstance(answer, bytes):
                self._body(HTTPStatus.OK, "image/png", answer)
            else:
                self._body(HTTPStatus.OK, "application/json", json.dumps(answer).encode())

        def _file(self, name: str) -> None:
            file = STATIC / name
            if not file.is_file():
                self._body(HTTPStatus.NOT_FOUND, "text/plain", b"not found")
                return
            self._body(HTTPStatus.OK, TYPES[file.suffix], file.read_bytes())

        def _body(self, status: HTTPStatus, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Security-Policy", POLICY)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Nothing: the tests report what went wrong."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    script.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield script
    finally:
        script.cut()
        server.shutdown()
        server.server_close()
        thread.join()
