"""ib_insync's own encoder and decoder without a connection: what it sends, and what it reads from a frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from ib_insync.client import Client
from ib_insync.decoder import Decoder

from gateway_simulator.api.wire import FrameReader, decode_fields

SERVER_VERSION = 176
"""The newest version that ib_insync speaks."""


class _Calls:
    """A wrapper that records the calls it receives."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: self.seen.append((name, arguments))


class _Strict:
    """A logger for a decoder that would only log what it cannot read."""

    def exception(self, text: str) -> None:
        raise AssertionError(text)


class _Recorder:
    """A socket that keeps what is sent over it."""

    def __init__(self) -> None:
        self.reader = FrameReader()
        self.reader.feed(b"API\0")

    def sendMsg(self, data: bytes) -> None:  # noqa: N802 - the name that ib_insync calls
        self.reader.feed(data)


class InsyncEncoder(Client):
    """ib_insync's client with its socket recorded."""

    conn: Any

    def __init__(self) -> None:
        super().__init__(_Calls())  # type: ignore[no-untyped-call]  # ib_insync carries no types
        self.conn = self._recorder = _Recorder()
        self.connState = Client.CONNECTED
        self.MaxRequests = 0  # no throttling
        self._serverVersion = SERVER_VERSION

    def sendMsg(self, msg: str) -> None:  # noqa: N802 - the name that ib_insync calls
        """Send at once: ib_insync's own method asks an event loop for the time, to throttle by."""
        self.conn.sendMsg(self._prefix(msg.encode()))  # type: ignore[no-untyped-call]  # ib_insync carries no types

    def fields_of(self, request: str, *arguments: object) -> list[str]:
        """The fields of the one frame that a request sends."""
        getattr(self, request)(*arguments)
        payload = self._recorder.reader.next_frame()
        assert payload is not None
        assert self._recorder.reader.buffered == 0
        return decode_fields(payload)


def read_by_insync(frame: bytes) -> list[tuple[str, tuple[Any, ...]]]:
    """The calls by ib_insync's decoder for one of the gateway's frames."""
    calls = _Calls()
    decoder: Any = Decoder(cast(Any, calls), SERVER_VERSION)
    decoder.logger = _Strict()
    fields = decode_fields(frame[4:])
    decoder.handlers[int(fields[0])](fields)
    return calls.seen
