"""A relay on 127.0.0.1 between an engine and its gateway, which cuts the connection at a chosen message.

It reads the frames of the API's text protocol (a length of four bytes, then fields that each end in a zero byte) just
far enough to follow one order, by its orderRef and its order id among those of its client. All else goes on unread.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable

from position_manager.drill.cases import Moment, Tripwire
from position_manager.orders.intents import REF_PREFIX

PLACE_ORDER, START_API = b"3", b"71"
ORDER_STATUS, OPEN_ORDER, EXECUTION = b"3", b"5", b"11"
"""Ids of messages; those of a client and those of a gateway are counted apart."""
LONGEST = 1 << 24
"""Bytes. A longer frame is no frame: the two sides no longer agree on where one starts."""
LINGER_SECONDS = 2.0
"""The time after a cut in which a peer notices the end and closes its own side."""
_MARK = b"\0" + REF_PREFIX.encode()


class _CutError(Exception):
    """The connection ends here."""


class Proxy:
    """Listens on a free port from `start` to `close`. ``tripwire``: when to cut, None for never."""

    def __init__(self, host: str, port: int) -> None:
        self.tripwire: Tripwire | None = None
        self._upstream = (host, port)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    @property
    def port(self) -> int:
        if self._server is None:
            raise RuntimeError("the proxy was not started")
        return int(self._server.sockets[0].getsockname()[1])

    def sever(self) -> None:
        """End every connection at once."""
        for writer in self._writers:
            writer.transport.abort()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self.sever()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        sides = [(reader, writer)]
        pumps: list[asyncio.Task[None]] = []
        try:
            answers, far = await asyncio.open_connection(*self._upstream)
            self._writers.add(far)
            sides.append((answers, far))
            watched = _Watched(lambda: self.tripwire)
            pumps = [
                asyncio.create_task(_requests(reader, far, watched)),
                asyncio.create_task(_answers(answers, writer, watched)),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            # The gateway cannot be had; to the engine that is a connection that ends at once.
            pass
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            await asyncio.gather(*(_end(*side) for side in sides))
            self._writers.difference_update(side[1] for side in sides)


class _Watched:
    """The order that one connection carries."""

    def __init__(self, tripwire: Callable[[], Tripwire | None]) -> None:
        self._tripwire = tripwire
        self._client_id = b""
        self._order_id: bytes | None = None
        self._ref = b""

    def sent(self, frame: bytes) -> bytes:
        """What of a client's frame goes on. Raises _CutError with that in its argument."""
        fields = frame.split(b"\0", 3)
        if fields[0] == START_API:
            self._client_id = fields[2]
        if fields[0] != PLACE_ORDER or _MARK not in frame:
            return frame
        self._order_id = fields[1]
        self._ref = next(field for field in frame.split(b"\0") if field.startswith(REF_PREFIX.encode()))
        self._cut_at(Moment.LEFT, b"")
        self._cut_at(Moment.HALF_SENT, _half(frame))
        return frame

    def received(self, frame: bytes) -> bytes:
        """What of a gateway's frame goes on. Raises _CutError with that in its argument."""
        if self._order_id is None:
            return frame
        fields = frame.split(b"\0", 10)
        referred = b"\0" + self._ref + b"\0" in frame
        if fields[0] == EXECUTION and referred:
            self._cut_at(Moment.ACKNOWLEDGED, b"")
        # An order of another client can have the same id.
        status = fields[0] == ORDER_STATUS and fields[1:2] + fields[9:10] == [self._order_id, self._client_id]
        if not status and not (fields[0] == OPEN_ORDER and referred):
            return frame
        self._cut_at(Moment.ARRIVED, b"")
        self._cut_at(Moment.HALF_ACKNOWLEDGED, _half(frame))
        if status and fields[6] != b"0":
            # With a permId it is the broker's acknowledgement; this one still gets through.
            self._cut_at(Moment.ACKNOWLEDGED, _whole(frame))
        return frame

    def _cut_at(self, moment: Moment, last: bytes) -> None:
        tripwire = self._tripwire()
        if tripwire is not None and tripwire.waits_for(moment):
            tripwire.spring()
            raise _CutError(last)


def _whole(frame: bytes) -> bytes:
    return struct.pack(">I", len(frame)) + frame


def _half(frame: bytes) -> bytes:
    whole = _whole(frame)
    return whole[: len(whole) // 2]


async def _end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """End one side so that what was written before still arrives: a socket that is closed with bytes nobody has read is
    reset, and the peer's next write then discards what it has not read itself."""
    try:
        writer.write_eof()
        async with asyncio.timeout(LINGER_SECONDS):
            while await reader.read(LONGEST):
                pass
    except (OSError, TimeoutError):
        pass  # the peer is gone, or does not end its side in time: it is closed all the same
    finally:
        writer.close()


async def _requests(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, watched: _Watched) -> None:
    try:
        # Before its first frame a client states which protocol it uses.
        writer.write(await reader.readexactly(4))
    except (asyncio.IncompleteReadError, OSError):
        return
    await _pump(reader, writer, watched.sent)


async def _answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, watched: _Watched) -> None:
    await _pump(reader, writer, watched.received)


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, inspect: Callable[[bytes], bytes]
) -> None:  # fmt: skip
    """Frame by frame until one side ends, or a cut."""
    try:
        while True:
            (length,) = struct.unpack(">I", await reader.readexactly(4))
            if length > LONGEST:
                return
            writer.write(_whole(inspect(await reader.readexactly(length))))
            await writer.drain()
    except _CutError as cut:
        writer.write(cut.args[0])
    except (asyncio.IncompleteReadError, OSError):
        return
