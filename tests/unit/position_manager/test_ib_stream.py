"""The reader of a session's bytes: however they are cut, and what repeats itself is not decoded again."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from ib_insync import IB

from position_manager.brokers.ib_stream import Stream

OPEN_ORDER, STATUS = 5, 3


class Reader:
    """A session that is connected to nothing. ``decoded``: the messages that ib_insync decoded; ``again``: those that
    were repeated; ``chunks``: how often bytes came."""

    def __init__(self) -> None:
        self.ib = IB()  # type: ignore[no-untyped-call]  # ib_insync leaves it untyped
        self.client = self.ib.client
        self.client.connState = self.client.CONNECTED
        self.client._apiReady, self.client._serverVersion = True, 178
        self.decoded: list[list[str]] = []
        self.again: list[str] = []
        self.chunks = 0
        for kind in (OPEN_ORDER, STATUS):
            self.client.decoder.handlers[kind] = self._handle
        self.stream = Stream(self.ib, start=lambda: None, end=self._end)
        self.failing: Callable[[], None] = lambda: None

    def _handle(self, fields: list[str]) -> None:
        self.decoded.append(fields)
        _, order, what = fields
        self.stream.repeat((fields[0], order), lambda: self._repeated(what))

    def _repeated(self, what: str) -> None:
        self.failing()
        self.again.append(what)

    def _end(self) -> None:
        self.chunks += 1

    def feed(self, data: bytes) -> None:
        self.client.conn.hasData.emit(data)


def message(*fields: object) -> bytes:
    payload = "".join(f"{field}\0" for field in fields).encode()
    return struct.pack(">I", len(payload)) + payload


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_messages_are_the_same_however_their_bytes_are_cut(size: int) -> None:
    reader = Reader()
    reader.stream.attach()
    data = b"".join(message(OPEN_ORDER, order, f"order {order}") for order in range(20))
    for first in range(0, len(data), size):
        reader.feed(data[first : first + size])
    assert [fields[2] for fields in reader.decoded] == [f"order {order}" for order in range(20)]
    assert reader.chunks == -(-len(data) // size)


def test_what_ib_insync_has_not_finished_reading_is_taken_over() -> None:
    reader = Reader()
    data = message(OPEN_ORDER, 1, "an order")
    reader.feed(data[:9])
    reader.stream.attach()
    reader.feed(data[9:])
    assert [fields[2] for fields in reader.decoded] == ["an order"]


def test_a_message_is_only_repeated_while_it_is_the_last_one_about_its_subject() -> None:
    reader = Reader()
    reader.stream.attach()
    for what in ("a", "a", "b", "a", "a"):
        reader.feed(message(OPEN_ORDER, 1, what) + message(OPEN_ORDER, 2, "x"))
    assert [fields[2] for fields in reader.decoded if fields[1] == "1"] == ["a", "b", "a"]
    assert [fields[2] for fields in reader.decoded if fields[1] == "2"] == ["x"]
    assert reader.again == ["a", "x", "x", "x", "a", "x"]
    reader.stream.forget((str(OPEN_ORDER), "1"))
    reader.feed(message(OPEN_ORDER, 1, "a"))
    assert [fields[2] for fields in reader.decoded if fields[1] == "1"] == ["a", "b", "a", "a"]


def test_a_repeated_message_that_fails_does_not_end_the_reading(caplog: pytest.LogCaptureFixture) -> None:
    reader = Reader()
    reader.stream.attach()
    reader.feed(message(OPEN_ORDER, 1, "a"))

    def fails() -> None:
        raise ValueError("no")

    reader.failing = fails
    reader.feed(message(OPEN_ORDER, 1, "a") + message(OPEN_ORDER, 2, "b"))
    assert [fields[2] for fields in reader.decoded] == ["a", "b"]
    assert "could not be handled" in caplog.text


def test_nothing_is_read_after_the_session_has_ended() -> None:
    reader = Reader()
    reader.stream.attach()
    handle = reader._handle

    def ends(fields: list[str]) -> None:
        handle(fields)
        reader.client.connState = reader.client.DISCONNECTED

    reader.client.decoder.handlers[STATUS] = ends
    reader.feed(message(STATUS, 1, "last") + message(OPEN_ORDER, 2, "b"))
    reader.feed(message(OPEN_ORDER, 3, "c"))
    assert [fields[2] for fields in reader.decoded] == ["last"]
