"""Clients that misbehave cost only themselves, and dead modes resemble the real dead gateway."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path

import pytest
from simulator.tests.api_client import SOON, RawClient, events, frame, journaled, running_server

from gateway_simulator.api.behaviour import ApiBehaviour, ConnectMode
from gateway_simulator.api.server import MAX_CONNECTIONS, READ_LIMIT, WRITE_LIMIT, WRITE_PAUSE
from gateway_simulator.api.wire import MAX_FRAME_LENGTH

pytestmark = pytest.mark.asyncio


async def answers(client: RawClient) -> bool:
    client.send(49, 1)
    return (await client.receive())[0] == "49"


@pytest.mark.parametrize(
    ("garbage", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"508"),
        (b"API\0" + b"\xff\xff\xff\xff", b"507"),
        (b"API\0" + b"\0\0\0\0", b"507"),
        (b"API\0" + frame(b"hello"), b"508"),
        (b"API\0" + frame(b"v157..178") + frame(b"71\x002\x001\0"), b"320"),
        (b"API\0" + frame(b"v157..178") + frame(b"49\x001\0"), b"320"),
        (b"API\0" + frame(b"v157..178") + frame(b"71\x002\x00-4\0\0"), b"320"),
        (b"API\0" + frame(b"v157..178") + frame(b"71\x002\x001\0\0") + frame(b"999\x001\0"), b"505"),
        (b"API\0" + frame(b"v157..178") + frame(b"71\x002\x001\0\0") + frame(b"\xff\xff"), b"508"),
        (
            b"API\0" + frame(b"v157..178") + frame(b"71\x002\x001\0\0") + (MAX_FRAME_LENGTH + 1).to_bytes(4, "big"),
            b"507",
        ),
    ],
)
async def test_garbage_is_an_error_and_a_close_for_that_client_only(garbage: bytes, code: bytes) -> None:
    async with running_server() as server:
        good = await RawClient.started(server.port, client_id=2)
        bad = await RawClient.connect(server.port)
        bad.writer.write(garbage)
        assert b"4\x002\x00-1\x00" + code + b"\0" in await bad.closed()
        assert await answers(good)
        assert server.clients == [2]
        good.close()
        bad.close()


def noise(seed: str, length: int) -> bytes:
    """Bytes that appear random and are the same in every run."""
    return hashlib.shake_128(seed.encode()).digest(length)


async def test_random_bytes_never_stop_the_server() -> None:
    handshake = b"API\0" + frame(b"v157..178")
    session = handshake + frame(b"71\x002\x001\0\0")
    async with running_server() as server:
        for number in range(110):
            fields = noise(f"fields {number}", 40).replace(b"\xff", b"\0")
            request = frame(b"%d\0" % number + bytes(byte & 0x3F for byte in fields) + b"\0")
            for stream in (session + request * 3, session + noise(f"{number}", 40), handshake + request, noise("", 9)):
                client = await RawClient.connect(server.port)
                client.writer.write(stream)
                client.writer.write_eof()
                await client.closed()
                client.close()
        assert events(server, "internal_error") == []
        good = await RawClient.started(server.port)
        assert await answers(good)
        good.close()


async def test_a_truncated_frame_waits_and_costs_nothing_when_its_client_leaves() -> None:
    async with running_server() as server:
        client = await RawClient.connect(server.port)
        client.writer.write(b"API\0" + (100).to_bytes(4, "big") + b"v157")
        assert await client.silent()
        client.close()
        await journaled(server, "disconnected")


async def test_a_frame_may_come_byte_by_byte() -> None:
    async with running_server() as server:
        client = await RawClient.connect(server.port)
        for byte in b"API\0" + frame(b"v157..178"):
            client.writer.write(bytes([byte]))
            await client.writer.drain()
            await asyncio.sleep(0)
        assert (await client.receive())[0] == "178"
        client.close()


async def test_a_client_that_never_reads_is_served_no_further_and_stays_bounded() -> None:
    async with running_server(behaviour=ApiBehaviour(messages_per_second=0)) as server:
        slow = await RawClient.started(server.port, client_id=1)
        good = await RawClient.started(server.port, client_id=2)
        slow.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a StreamWriter has one
        request = frame(b"6\x002\x001\x00DU1234567\0")
        for _ in range(200):
            slow.writer.write(request * 500)
        await journaled(server, "input_full")
        await journaled(server, "output_full")
        (connection,) = [each for each in server._connections if each.session.client_id == 1]
        for _ in range(300):  # turns in which the slow client could be served too
            assert await answers(good)
        assert connection._reader.buffered <= READ_LIMIT + 256 * 1024
        assert WRITE_PAUSE < connection.transport.get_write_buffer_size() < WRITE_LIMIT
        assert events(server, "slow_reader") == []
        assert await answers(good)
        good.close()
        slow.writer.transport.abort()


async def test_a_client_that_never_reads_what_is_broadcast_is_given_up() -> None:
    async with running_server() as server:
        slow = await RawClient.started(server.port, client_id=1)
        good = await RawClient.started(server.port, client_id=2)
        slow.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a StreamWriter has one
        text = "x" * 60_000
        async with asyncio.timeout(SOON):
            while not events(server, "slow_reader"):
                server.broadcast_system(2100, text)
                assert (await good.receive())[3] == "2100"
        unread, *_ = (await journaled(server, "slow_reader")).split()
        assert int(unread) <= WRITE_LIMIT
        await journaled(server, "disconnected")
        assert server.clients == [2]
        assert await answers(good)
        good.close()
        slow.close()


async def test_connections_beyond_the_limit_are_closed_at_once() -> None:
    async with running_server(behaviour=ApiBehaviour(connect=ConnectMode.SILENT)) as server:
        held = [await RawClient.connect(server.port) for _ in range(MAX_CONNECTIONS)]
        await journaled(server, "connected", MAX_CONNECTIONS)
        extra = await RawClient.connect(server.port)
        assert await extra.closed() == b""
        held[0].close()
        await journaled(server, "disconnected", 2)
        last = await RawClient.connect(server.port)
        assert await last.silent()
        for client in [*held, extra, last]:
            client.close()


async def test_a_thousand_connections_cost_no_one_else_anything() -> None:
    async with running_server() as server:
        good = await RawClient.started(server.port)
        crowd: list[RawClient] = []
        for _ in range(10):
            crowd += await asyncio.gather(*(RawClient.connect(server.port) for _ in range(100)))
            for client in crowd[-100:]:
                client.writer.write(b"API\0" + frame(b"v157..178"))
            assert await answers(good)
        assert len(server._connections) == MAX_CONNECTIONS
        for client in crowd:
            client.close()
        async with asyncio.timeout(SOON):
            while len(server._connections) > 1:
                assert await answers(good)
        good.close()


async def test_a_peer_other_than_127_0_0_1_gets_a_connection_and_silence() -> None:
    async with running_server() as server:
        stranger = await RawClient.connect(server.port, source="127.0.0.2")
        stranger.writer.write(b"API\0" + frame(b"v157..178"))
        assert await stranger.silent()
        assert "127.0.0.2" in await journaled(server, "untrusted_peer")
        stranger.close()
        await journaled(server, "disconnected")


async def test_a_silent_gateway_keeps_the_connection_until_its_client_goes() -> None:
    async with running_server(behaviour=ApiBehaviour(connect=ConnectMode.SILENT)) as server:
        client = await RawClient.connect(server.port)
        client.writer.write(b"API\0" + frame(b"v157..178"))
        assert await client.silent()
        client.close()
        await journaled(server, "disconnected")


async def test_silent_after_the_version() -> None:
    async with running_server(behaviour=ApiBehaviour(connect=ConnectMode.SILENT_AFTER_VERSION)) as server:
        client = await RawClient.connect(server.port)
        assert (await client.shake_hands("v157..178"))[0] == "178"
        client.send(71, 2, 1, "")
        client.send(49, 1)
        assert await client.silent()
        assert server.clients == []
        client.close()


async def test_a_gateway_that_dies_answers_no_one_and_leaks_its_connections() -> None:
    async with running_server() as server:
        old = await RawClient.started(server.port)
        idle = await RawClient.started(server.port, client_id=2)
        server.behaviour.connect = ConnectMode.STALLED
        idle.close()
        await idle.writer.wait_closed()
        await journaled(server, "stalled")
        old.send(49, 1)
        assert await old.silent()
        new = await RawClient.connect(server.port)
        new.writer.write(b"API\0" + frame(b"v157..178"))
        assert await new.silent()
        server.broadcast_system(1100, "lost")
        assert await old.silent(0.1)
        for client in (old, new):
            client.close()
            await client.writer.wait_closed()
        await journaled(server, "stalled", 3)
        assert close_wait(server.port) == 3
        assert events(server, "disconnected") == []
        server.behaviour.connect = ConnectMode.NORMAL
        fresh = await RawClient.started(server.port, client_id=9)
        assert await answers(fresh)
        fresh.close()


def close_wait(port: int) -> int:
    """The number of this process's sockets on a local port that are in CLOSE_WAIT."""
    rows = [line.split() for line in Path(f"/proc/{os.getpid()}/net/tcp").read_text().splitlines()[1:]]
    return sum(row[3] == "08" and int(row[1].split(":")[1], 16) == port for row in rows)
