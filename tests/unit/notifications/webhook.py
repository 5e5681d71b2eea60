"""A real HTTP server on 127.0.0.1 in place of a webhook, which answers as a test configures it."""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

SECRET = "s3cretWebhookTokenThatNobodyMaySee"


@dataclass(frozen=True)
class Answer:
    """``delay`` is in seconds. A ``reset`` closes the connection instead of answering; ``stored`` is whether the
    server has taken the message even so."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    reset: bool = False
    stored: bool = False


@dataclass(frozen=True)
class Post:
    path: str
    body: bytes
    content_type: str
    at: float

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def form(self) -> tuple[dict[str, Any], bytes]:
        """The payload and the file of a multipart post."""
        boundary = re.search("boundary=(.+)", self.content_type)
        assert boundary is not None
        parts = self.body.split(b"--" + boundary[1].encode())[1:-1]
        heads = [part.partition(b"\r\n\r\n") for part in parts]
        bodies = {head: rest.removesuffix(b"\r\n") for head, _, rest in heads}
        payload = next(body for head, body in bodies.items() if b'name="payload_json"' in head)
        file = next(body for head, body in bodies.items() if b'name="files[0]"' in head)
        return json.loads(payload), file


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False


class Webhook:
    """``answers`` are given one after the other, then 200 for ever. ``tries`` are all posts, ``taken`` those that the
    server stored."""

    def __init__(self, answers: Iterable[Answer] = (), port: int = 0) -> None:
        self.answers = list(answers)
        self.tries: list[Post] = []
        self.taken: list[Post] = []
        self._changed = threading.Condition()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                post = Post(self.path, body, self.headers["Content-Type"], time.monotonic())
                answer = outer._note(post)
                if answer.delay:
                    outer._stopped.wait(answer.delay)
                if answer.reset:
                    # With this the kernel sends a reset instead of an orderly end.
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()
                    return
                try:
                    self.send_response(answer.status)
                    for name, value in answer.headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", "2")
                    self.end_headers()
                    self.wfile.write(b"{}")
                except OSError:
                    # A client that did not wait for a slow answer.
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                """Log nothing."""

        self._stopped = threading.Event()
        self._server = _Server(("127.0.0.1", port), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/webhooks"

    def wait(self, condition: Callable[[], bool], seconds: float = 10.0) -> None:
        """Until a condition about the posts holds."""
        with self._changed:
            assert self._changed.wait_for(condition, seconds), f"{len(self.tries)} tries, {len(self.taken)} taken"

    def _note(self, post: Post) -> Answer:
        with self._changed:
            answer = self.answers.pop(0) if self.answers else Answer()
            self.tries.append(post)
            if answer.stored or (200 <= answer.status < 300 and not answer.reset):
                self.taken.append(post)
            self._changed.notify_all()
        return answer

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()
