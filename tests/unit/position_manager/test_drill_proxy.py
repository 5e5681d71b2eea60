"""A cut of the drill's proxy is at the moment of its order, and loses nothing that was passed on before."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from position_manager.drill.cases import Moment, Tripwire
from position_manager.drill.proxy import Proxy

START_API = b"71\x002\x0012\x00\x00"
ORDER = b"3\x0077\x00265598\x00pm:01M84EQJC0G83EFRTNJJN6PQ8A\x00"
ACKNOWLEDGEMENT = b"3\x0077\x00Submitted\x000\x001\x000\x00123456\x000\x000\x0012\x00\x000\x00"
ANOTHER_CLIENTS_STATUS = b"3\x0077\x00Submitted\x000\x001\x000\x00654321\x000\x000\x007\x00\x000\x00"
ANOTHER_CLIENTS_ORDER = b"5\x0077\x00265598\x00AAPL\x00STK\x00"
UNREAD = 32 << 20
"""Bytes that no buffer on the way takes, so that some are unread at the cut."""


def frame(payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + payload


@pytest.mark.asyncio
async def test_what_was_passed_on_before_a_cut_arrives_although_the_client_goes_on_writing() -> None:
    release = asyncio.Event()

    async def gateway(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(4 + len(frame(START_API) + frame(ORDER)))
        # From here on it reads nothing, and the client's messages wait in the proxy.
        reader._transport.pause_reading()  # type: ignore[attr-defined]  # the only way to let a buffer fill
        await release.wait()
        writer.write(frame(ACKNOWLEDGEMENT))
        await writer.drain()
        reader._transport.resume_reading()  # type: ignore[attr-defined]  # as above
        while await reader.read(1 << 20):
            pass
        writer.close()

    async with await asyncio.start_server(gateway, "127.0.0.1", 0) as upstream:
        proxy = Proxy("127.0.0.1", upstream.sockets[0].getsockname()[1])
        await proxy.start()
        cut = asyncio.Event()
        proxy.tripwire = Tripwire(Moment.ACKNOWLEDGED, cut.set)
        loop = asyncio.get_running_loop()
        with socket.create_connection(("127.0.0.1", proxy.port)) as client:
            client.setblocking(False)
            await loop.sock_sendall(client, b"API\0" + frame(START_API) + frame(ORDER))
            flood = asyncio.create_task(loop.sock_sendall(client, frame(b"9" * (1 << 20)) * (UNREAD >> 20)))
            release.set()
            async with asyncio.timeout(20):
                await cut.wait()
                # The client writes on before it reads: the proxy must take it, not reset the connection.
                await flood
                received = b""
                while piece := await loop.sock_recv(client, 1 << 16):
                    received += piece
        assert received == frame(ACKNOWLEDGEMENT)
        await proxy.close()


@pytest.mark.parametrize(
    ("moment", "passed"),
    [
        (Moment.ARRIVED, b""),
        (Moment.HALF_ACKNOWLEDGED, frame(ACKNOWLEDGEMENT)[: len(frame(ACKNOWLEDGEMENT)) // 2]),
        (Moment.ACKNOWLEDGED, frame(ACKNOWLEDGEMENT)),
    ],
)
@pytest.mark.asyncio
async def test_an_order_of_another_client_with_the_same_id_is_not_the_one(moment: Moment, passed: bytes) -> None:
    others = frame(ANOTHER_CLIENTS_ORDER) + frame(ANOTHER_CLIENTS_STATUS)

    async def gateway(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(4 + len(frame(START_API) + frame(ORDER)))
        writer.write(others + frame(ACKNOWLEDGEMENT))
        await reader.read()
        writer.close()

    async with await asyncio.start_server(gateway, "127.0.0.1", 0) as upstream:
        proxy = Proxy("127.0.0.1", upstream.sockets[0].getsockname()[1])
        await proxy.start()
        tripwire = proxy.tripwire = Tripwire(moment, lambda: None)
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"API\0" + frame(START_API) + frame(ORDER))
        async with asyncio.timeout(20):
            received = await reader.read()
        writer.close()
        await proxy.close()
    assert tripwire.sprung
    assert received == others + passed
