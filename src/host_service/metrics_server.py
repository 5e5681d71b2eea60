"""Serves metrics over HTTP on 127.0.0.1 from one thread, so that a scraper can never take more than that thread.

Connections are few and have deadlines: a scraper that sends nothing, or reads nothing, is disconnected, and of too many
the oldest one is. Samples are collected at most once in a while, however often they are requested.
"""

from __future__ import annotations

import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

ADDRESS = "127.0.0.1"
MOST_CONNECTIONS = 8
MOST_ACCEPTED = 50
"""In a second; the others wait in the queue of the kernel."""
QUEUE = 64
LONGEST_REQUEST = 8192
REQUEST_SECONDS = 5.0
RESPONSE_SECONDS = 10.0
FRESH_SECONDS = 1.0
"""Samples are collected at most so often."""

_PATHS = ("/metrics", "/")
_TEXT = "text/plain; charset=utf-8"

_log = logging.getLogger(__name__)

Collect = Callable[[], Sequence[Metric]]


class MetricsError(Exception):
    """The metrics cannot be served; the message states why."""


@contextmanager
def served(port: int | None, collect: Collect) -> Iterator[int | None]:
    """Serve what ``collect`` returns (called in the server's thread; it may raise, then the scrape fails) while the
    context lasts; without a port not at all (0: any free one). Gives the port. Raises MetricsError if it is taken."""
    if port is None:
        yield None
        return
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        # A port that an ended connection of the former process still holds is free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((ADDRESS, port))
        listener.listen(QUEUE)
        server = _Server(listener, collect)
        server.start()
    except (OSError, OverflowError, RuntimeError) as error:
        # RuntimeError: no further thread can be started.
        listener.close()
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise MetricsError(f"metrics cannot be served on {ADDRESS}:{port}: {reason}") from error
    try:
        yield listener.getsockname()[1]
    finally:
        server.stop()


@dataclass
class _Connection:
    socket: socket.socket
    deadline: float
    received: bytes = b""
    response: memoryview = field(default_factory=lambda: memoryview(b""))

    @property
    def writes(self) -> bool:
        return len(self.response) > 0


class _Server:
    """The thread and its connections."""

    def __init__(self, listener: socket.socket, collect: Collect) -> None:
        self._listener = listener
        self._samples = _CachedSamples(collect)
        self._selector = selectors.DefaultSelector()
        self._connections: dict[int, _Connection] = {}
        self._accepted: list[float] = []
        self._listens = False
        self._wake_reader, self._wake_writer = socket.socketpair()
        # A daemon: a collection that hangs must not hold the end of the service.
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)

    def start(self) -> None:
        self._listener.setblocking(False)
        self._selector.register(self._wake_reader, selectors.EVENT_READ)
        self._thread.start()

    def stop(self) -> None:
        self._wake_writer.close()
        self._thread.join(1.0)

    def _run(self) -> None:
        try:
            while self._serve():
                pass
        finally:
            for connection in list(self._connections.values()):
                self._drop(connection)
            self._listener.close()
            self._wake_reader.close()
            self._selector.close()

    def _serve(self) -> bool:
        """One step; whether to continue."""
        now = time.monotonic()
        self._accepted = [at for at in self._accepted if now - at < 1.0]
        self._listen(len(self._accepted) < MOST_ACCEPTED)
        deadlines = [connection.deadline for connection in self._connections.values()]
        if not self._listens:
            deadlines.append(self._accepted[0] + 1.0)
        ready = self._selector.select(max(0.0, min(deadlines) - now) if deadlines else None)
        for key, _ in ready:
            if key.fileobj is self._wake_reader:
                return False
            if key.fileobj is self._listener:
                self._accept()
            elif (connection := self._connections.get(key.fd)) is not None:
                self._advance(connection)
        now = time.monotonic()
        for connection in [each for each in self._connections.values() if each.deadline <= now]:
            self._drop(connection)
        return True

    def _listen(self, wanted: bool) -> None:
        if wanted and not self._listens:
            self._selector.register(self._listener, selectors.EVENT_READ)
        elif self._listens and not wanted:
            self._selector.unregister(self._listener)
        self._listens = wanted

    def _accept(self) -> None:
        try:
            accepted, _ = self._listener.accept()
        except OSError as error:
            # Without a free descriptor the listener stays readable: wait instead of trying at once again.
            _log.debug("no connection for metrics was accepted: %s", error)
            self._accepted += [time.monotonic()] * MOST_ACCEPTED
            return
        now = time.monotonic()
        self._accepted.append(now)
        accepted.setblocking(False)
        if len(self._connections) >= MOST_CONNECTIONS:
            self._drop(min(self._connections.values(), key=lambda connection: connection.deadline))
        self._connections[accepted.fileno()] = _Connection(accepted, now + REQUEST_SECONDS)
        self._selector.register(accepted, selectors.EVENT_READ)

    def _advance(self, connection: _Connection) -> None:
        try:
            if connection.writes:
                connection.response = connection.response[connection.socket.send(connection.response) :]
                if not connection.writes:
                    self._finish(connection)
                return
            received = connection.socket.recv(LONGEST_REQUEST)
        except BlockingIOError:
            return
        except OSError:
            self._drop(connection)
            return
        connection.received += received
        if not received:
            self._drop(connection)
        elif b"\r\n\r\n" in connection.received or len(connection.received) >= LONGEST_REQUEST:
            connection.response = memoryview(self._response(connection.received))
            connection.deadline = time.monotonic() + RESPONSE_SECONDS
            self._selector.modify(connection.socket, selectors.EVENT_WRITE)

    def _response(self, request: bytes) -> bytes:
        head, complete, _ = request.partition(b"\r\n\r\n")
        line, *fields = head.decode("latin-1").split("\r\n")
        words = line.split(" ")
        if not complete or len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _http("400 Bad Request", _TEXT, b"This is no HTTP request.\n")
        method, target, _ = words
        if method not in ("GET", "HEAD"):
            return _http("405 Method Not Allowed", _TEXT, b"Only GET is allowed.\n", "Allow: GET, HEAD")
        if target.partition("?")[0] not in _PATHS:
            return _http("404 Not Found", _TEXT, b"The metrics are at /metrics.\n")
        accept = next((value for name, _, value in (f.partition(":") for f in fields) if name.lower() == "accept"), "")
        try:
            kind, body = self._samples.text(accept.strip())
        except Exception as error:  # of any kind: a scrape that fails must not end the thread
            self._samples.log_failure(error)
            return _http("503 Service Unavailable", _TEXT, b"The metrics could not be collected.\n")
        response = _http("200 OK", kind, body)
        return response if method == "GET" else response[: response.index(b"\r\n\r\n") + 4]

    def _finish(self, connection: _Connection) -> None:
        with suppress(OSError):
            connection.socket.shutdown(socket.SHUT_WR)
        self._drop(connection)

    def _drop(self, connection: _Connection) -> None:
        self._connections.pop(connection.socket.fileno(), None)
        with suppress(KeyError, ValueError):
            self._selector.unregister(connection.socket)
        connection.socket.close()


class _Collected(Collector):
    """Families that are there already."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)


class _CachedSamples:
    """The text of the samples; those of the last `FRESH_SECONDS` are used again."""

    def __init__(self, collect: Collect) -> None:
        self._collect = collect
        self._registry = CollectorRegistry()
        self._texts: dict[str, bytes] = {}
        self._until = 0.0
        self._error: Exception | None = None
        self._reported = False

    def text(self, accept: str) -> tuple[str, bytes]:
        """Content type and text. Raises what the collection raises."""
        encode, kind = choose_encoder(accept)
        if time.monotonic() >= self._until:
            self._refresh()
        if self._error is not None:
            # What fails is not tried more often either.
            raise self._error
        if kind not in self._texts:
            self._texts[kind] = encode(self._registry)
        return kind, self._texts[kind]

    def _refresh(self) -> None:
        self._texts, self._error, self._registry = {}, None, CollectorRegistry()
        try:
            self._registry.register(_Collected(self._collect()))
            self._reported = False
        except Exception as error:  # of any kind: each scrape until the next try receives it
            self._error = error
        self._until = time.monotonic() + FRESH_SECONDS

    def log_failure(self, error: Exception) -> None:
        """Once, until a collection succeeds."""
        if not self._reported:
            self._reported = True
            _log.warning("the metrics could not be collected: %s", str(error) or type(error).__name__)


def _http(status: str, kind: str, body: bytes, *fields: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", "Connection: close", *fields]
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body
