"""What the API's tests share: a server on a free port, and a client that speaks raw frames."""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from gateway_simulator.api.behaviour import ApiBehaviour
from gateway_simulator.api.server import ApiServer, JournalEntry
from gateway_simulator.clock import Clock, ServerClock
from gateway_simulator.trading.brokerage import Brokerage
from gateway_simulator.trading.sample import sample_brokerage

NOW = datetime(2026, 11, 23, 15, 4, 5, tzinfo=UTC)
SOON = 5.0
"""Seconds within which an answer that comes at all has come; only a failing test waits for so long."""


class HeldPace:
    """A machine clock that does not run and whose sleepers wake on request; a sleep of 0 is none."""

    def __init__(self) -> None:
        self.sleeping = asyncio.Event()
        self.slept: list[float] = []
        self._release = asyncio.Event()

    def now(self) -> datetime:
        return NOW

    async def sleep(self, seconds: float) -> None:
        if not seconds:
            await asyncio.sleep(0)
            return
        self.slept.append(seconds)
        self.sleeping.set()
        await self._release.wait()

    def release(self) -> None:
        self._release.set()


def held_clock() -> ServerClock:
    """The servers' clock, which remains at NOW until it is advanced."""
    return ServerClock(start=NOW, held=True)


class WatchedJournal(deque[JournalEntry]):
    """A journal whose growth can be awaited."""

    def __init__(self, maxlen: int | None) -> None:
        super().__init__(maxlen=maxlen)
        self.grown = asyncio.Event()

    def append(self, entry: JournalEntry) -> None:
        super().append(entry)
        self.grown.set()


@asynccontextmanager
async def running_server(
    brokerage: Brokerage | None = None,
    clock: ServerClock | None = None,
    behaviour: ApiBehaviour | None = None,
    pace: Clock | None = None,
) -> AsyncIterator[ApiServer]:
    """A server of the sample brokerage whose time is held at NOW, unless given otherwise."""
    server = ApiServer(
        brokerage or sample_brokerage(),
        behaviour or ApiBehaviour(),
        clock or held_clock(),
        pace=pace,
    )
    server.journal = WatchedJournal(server.journal.maxlen)
    await server.start("127.0.0.1", 0)
    try:
        yield server
    finally:
        await server.stop()


def events(server: ApiServer, event: str) -> list[str]:
    """The details of the journal's entries of one event."""
    return [entry.detail for entry in server.journal if entry.event == event]


async def journaled(server: ApiServer, event: str, count: int = 1) -> str:
    """Wait until the journal holds an event so many times; return its first entry's detail."""
    journal = server.journal
    assert isinstance(journal, WatchedJournal)
    async with asyncio.timeout(SOON):
        while len(events(server, event)) < count:
            journal.grown.clear()
            await journal.grown.wait()
    return events(server, event)[0]


class RawClient:
    """A client of bare sockets and frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int, source: str = "127.0.0.1") -> RawClient:
        return cls(*await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0)))

    @classmethod
    async def started(cls, port: int, client_id: int = 1, offer: str = "v157..178") -> RawClient:
        """Connect and go through the handshake; the answers to START_API are read and dropped."""
        client = await cls.connect(port)
        await client.shake_hands(offer)
        client.send(71, 2, client_id, "")
        await client.until("4", "2", "-1", "2158")
        return client

    async def shake_hands(self, offer: str) -> list[str]:
        self.writer.write(b"API\0" + frame(offer.encode()))
        return await self.receive()

    def send(self, *fields: object) -> None:
        self.writer.write(frame("".join(f"{field}\0" for field in fields).encode()))

    async def receive(self) -> list[str]:
        """Return the next frame's fields. Raises IncompleteReadError at the end of the stream."""
        async with asyncio.timeout(SOON):
            (length,) = struct.unpack(">I", await self.reader.readexactly(4))
            payload = await self.reader.readexactly(length)
        assert payload.endswith(b"\0")
        return payload[:-1].decode().split("\0")

    async def until(self, *start: str) -> list[list[str]]:
        """Receive up to and with the first frame that starts with these fields."""
        received = []
        while True:
            received.append(await self.receive())
            if tuple(received[-1][: len(start)]) == start:
                return received

    async def closed(self) -> bytes:
        """Wait for the server to close; return what came before that."""
        async with asyncio.timeout(SOON):
            return await self.reader.read()

    async def silent(self, seconds: float = 0.3) -> bool:
        """Return whether nothing arrives, not even an end, for a while."""
        try:
            async with asyncio.timeout(seconds):
                await self.reader.read(1)
        except TimeoutError:
            return True
        return False

    def close(self) -> None:
        self.writer.close()


def frame(payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + payload
