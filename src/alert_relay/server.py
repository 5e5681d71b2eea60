"""The HTTP server on 127.0.0.1 that Alertmanager posts to."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ADDRESS = "127.0.0.1"
LONGEST_BODY = 1 << 20
CLIENT_SECONDS = 10.0
"""A client that sends nothing for so long is disconnected."""

_log = logging.getLogger(__name__)

Handle = Callable[[str, bytes], HTTPStatus]
"""Handles the body of a POST to a path, in the thread of the request."""


class ListenError(Exception):
    """The port cannot be used; the message states why."""


@contextmanager
def served(port: int, handle: Handle) -> Iterator[int]:
    """Serve while the context lasts; gives the port (0: any free one). Raises ListenError."""
    try:
        server = _Server((ADDRESS, port), _handler(handle))
    except OSError as error:
        raise ListenError(f"alerts cannot be received on {ADDRESS}:{port}: {error.strerror}") from error
    thread = threading.Thread(target=server.serve_forever, name="alerts", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False


def _handler(handle: Handle) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = CLIENT_SECONDS

        def do_POST(self) -> None:
            status = self._refusal()
            if status is None:
                status = handle(self.path, self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _refusal(self) -> HTTPStatus | None:
            """Why the request is rejected before its body is read. A page in a browser on the host can send neither
            this type of content without a preflight request, nor this Host after DNS rebinding."""
            port = self.connection.getsockname()[1]
            if self.headers.get("Host") not in (f"{ADDRESS}:{port}", f"localhost:{port}"):
                return HTTPStatus.MISDIRECTED_REQUEST
            if self.headers.get_content_type() != "application/json":
                return HTTPStatus.UNSUPPORTED_MEDIA_TYPE
            length = self.headers.get("Content-Length", "")
            if not length.isdecimal():
                return HTTPStatus.LENGTH_REQUIRED
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE if int(length) > LONGEST_BODY else None

        def log_message(self, format: str, *arguments: Any) -> None:
            _log.debug(format, *arguments)

    return Handler
