"""Real servers on the loopback for the tests: one line of behaviour each, or the simulator's API."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from gateway_simulator.api.behaviour import ApiBehaviour
from gateway_simulator.api.server import ApiServer
from gateway_simulator.trading.sample import sample_brokerage

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def framed(payload: bytes) -> bytes:
    """A frame of the API."""
    return struct.pack(">I", len(payload)) + payload


async def close_at_once(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Accept, then close."""


async def stay_silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Read all, answer nothing."""
    await reader.read(-1)


def answer_with(*answers: bytes) -> Behaviour:
    """Answer the first request of the client with these bytes, then stay silent."""

    async def behaviour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        for answer in answers:
            writer.write(answer)
        await reader.read(-1)

    return behaviour


@asynccontextmanager
async def serving(behaviour: Behaviour) -> AsyncIterator[int]:
    """The port of a server that behaves so. At the end it checks that every client has hung up."""
    clients: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        clients.add(task)
        try:
            await behaviour(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    if clients:
        _, still_there = await asyncio.wait(clients, timeout=1)
        assert not still_there, "the client left a socket open"
    server.close()
    await server.wait_closed()


@asynccontextmanager
async def simulated_api(behaviour: ApiBehaviour | None = None, *, mode: str = "paper") -> AsyncIterator[ApiServer]:
    """The simulator's API on a free port."""
    server = ApiServer(sample_brokerage(mode=mode), behaviour or ApiBehaviour())
    await server.start("127.0.0.1", 0)
    yield server
    await server.stop()


def requests_seen(server: ApiServer) -> list[str]:
    """What clients of the simulator requested, as its journal records it."""
    return [entry.detail for entry in server.journal if entry.event == "request"]
