"""The bytes of a session, cut into messages.

This replaces ib_insync's own reader, for two reasons. That reader copies all remaining bytes for each message that it
takes from them: an answer with hundreds of orders costs their square. And it decodes every message, although answers
repeat what was sent before: of the orders that rest and the positions that are held, most bytes are the same each time.
Here a message that repeats the last one about the same subject byte by byte is not decoded again: the effects of the
first decoding are applied again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from typing import Any

from ib_connection.ib_library import IB

_log = logging.getLogger("ib_insync.client")
HEADER = 4
"""Bytes of the length before each message."""
MOST = 20_000
"""Subjects whose last messages are stored; with more of them all are forgotten, and decoded once more."""


class Stream:
    """The messages of one session, from the moment of `attach` on.

    ``start`` and ``end`` are called around the messages that have arrived together.
    """

    def __init__(self, ib: IB, *, start: Callable[[], None], end: Callable[[], None]) -> None:
        self._client: Any = ib.client
        self._start = start
        self._end = end
        self._data = bytearray()
        self._payload = b""
        self._again: dict[bytes, Callable[[], None]] = {}
        self._last: dict[Hashable, bytes] = {}

    def attach(self) -> None:
        client = self._client
        self._data += client._data
        client._data = b""
        client.conn.hasData -= client._onSocketHasData
        client.conn.hasData += self._on_data

    def repeat(self, subject: Hashable, action: Callable[[], None]) -> None:
        """To be called while a message is handled: do ``action`` in place of decoding it when the same bytes come
        again, until there is another message about the subject."""
        payload = self._payload
        if len(self._last) >= MOST:
            self._again.clear()
            self._last.clear()
        self._again.pop(self._last.get(subject, b""), None)
        self._last[subject] = payload
        self._again[payload] = action

    def forget(self, subject: Hashable) -> None:
        """The next message about the subject is decoded."""
        self._again.pop(self._last.pop(subject, b""), None)

    def _on_data(self, data: bytes) -> None:
        client, buffer, again = self._client, self._data, self._again
        if not client.isConnected():
            return
        debug = _log.isEnabledFor(logging.DEBUG)
        client._tcpDataArrived()
        client._numBytesRecv += len(data)
        buffer += data
        position, size = 0, len(buffer)
        self._start()
        try:
            while size - position > HEADER:
                begin = position + HEADER
                after = begin + int.from_bytes(buffer[position:begin], "big")
                if after > size:
                    break
                payload, position = bytes(buffer[begin:after]), after
                client._numMsgRecv += 1
                action = again.get(payload)
                if action is not None:
                    _do(action)
                    continue
                self._payload = payload
                fields = payload.decode(errors="backslashreplace").split("\0")
                fields.pop()
                if debug:
                    _log.debug("<<< %s", ",".join(fields))
                client.decoder.interpret(fields)
                if not client.isConnected():
                    # A message has ended the session: discard what follows.
                    position = size
            del buffer[:position]
            client._tcpDataProcessed()
        finally:
            self._end()


def _do(action: Callable[[], None]) -> None:
    """As ib_insync does with messages: one that fails must not end the reading of the others."""
    try:
        action()
    except Exception:  # of any kind: reported, and the next message is read
        _log.exception("a repeated message could not be handled")
