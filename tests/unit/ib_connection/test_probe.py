"""The raw version handshake against real servers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from tests.unit.ib_connection.servers import (
    Behaviour,
    answer_with,
    close_at_once,
    framed,
    free_port,
    serving,
    simulated_api,
    stay_silent,
)

from ib_connection import causes
from ib_connection.probe import Outcome, ProbeResult, parse_server_time, probe

NOON = datetime(2026, 11, 23, 12, 0, 0, 400_000, tzinfo=UTC)


def probed(behaviour: Behaviour, timeout: float = 0.5) -> ProbeResult:
    async def ask() -> ProbeResult:
        async with serving(behaviour) as port:
            return await probe("127.0.0.1", port, timeout=timeout, now=lambda: NOON)

    return asyncio.run(ask())


def test_answer_reports_version_and_clock() -> None:
    result = probed(answer_with(framed(b"176\x0020261123 07:00:30 EST\0")))
    assert result.outcome is Outcome.ANSWERED
    assert result.answered
    assert result.server_version == 176
    assert result.server_time == datetime(2026, 11, 23, 12, 0, 30, tzinfo=UTC)
    assert result.clock_difference == 30.0


def test_offer_is_the_text_protocol_and_nothing_more() -> None:
    received = b""

    async def record(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        received = await reader.read(1)
        writer.write(framed(b"176\x0020261123 12:00:00 UTC\0"))
        received += await reader.read(-1)

    assert probed(record).answered
    assert received == b"API\0" + framed(b"v157..178")


def test_gateway_that_is_behind_has_a_negative_difference() -> None:
    assert probed(answer_with(framed(b"176\x0020261123 11:59:30 UTC\0"))).clock_difference == -30.0


def test_answer_in_pieces_is_put_together() -> None:
    whole = framed(b"178\x0020261123 12:00:00 UTC\0")

    async def piecemeal(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for first, last in pairwise((0, 2, 6, len(whole))):
            writer.write(whole[first:last])
            await writer.drain()
            await asyncio.sleep(0.01)
        await reader.read(-1)

    assert probed(piecemeal).server_version == 178


def test_unknown_zone_leaves_the_clock_open() -> None:
    result = probed(answer_with(framed(b"176\x0020261123 12:00:00 Mars Standard Time\0")))
    assert result.answered
    assert result.server_time is None
    assert result.clock_difference is None


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_refused(host: str) -> None:
    assert asyncio.run(probe(host, free_port())).outcome is Outcome.REFUSED


def test_unknown_host_is_unreachable() -> None:
    result = asyncio.run(probe("no-such-host.invalid", 4002))
    assert result.outcome is Outcome.UNREACHABLE
    assert "no-such-host.invalid:4002" in result.detail


def test_closed_by_peer() -> None:
    assert probed(close_at_once).outcome is Outcome.CLOSED_BY_PEER


@pytest.mark.parametrize("behaviour", [stay_silent, answer_with(b"\0\0")], ids=["nothing", "half a header"])
def test_silence_is_bounded(behaviour: Behaviour) -> None:
    result = probed(behaviour, timeout=0.3)
    assert result.outcome is Outcome.SILENT
    assert 0.3 <= result.elapsed < 0.8


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        framed(b"abc\x0020261123 12:00:00 UTC\0"),
        framed(b"176\0"),
        framed(b"176\x00time\x00more\0"),
        framed(b""),
    ],
)
def test_something_else_listens(answer: bytes) -> None:
    result = probed(answer_with(answer))
    assert result.outcome is Outcome.GARBAGE
    assert result.server_version is None


def test_no_session_starts_on_the_simulator() -> None:
    async def ask() -> tuple[ProbeResult, list[str]]:
        async with simulated_api() as server:
            result = await probe("127.0.0.1", server.port)
            await asyncio.sleep(0.05)
            return result, [entry.event for entry in server.journal]

    result, events = asyncio.run(ask())
    assert result.server_version == 178
    assert result.clock_difference is not None
    assert abs(result.clock_difference) <= 1
    assert "handshake" in events
    assert "disconnected" in events
    assert "started" not in events


@pytest.mark.parametrize(
    ("text", "offset_hours"),
    [
        ("20260723 12:00:00 EDT", -4),
        ("20260723 12:00:00 America/New_York", -4),
        ("20261123 12:00:00 America/New_York", -5),
        ("20260723 12:00:00 CEST", 2),
    ],
)
def test_zones(text: str, offset_hours: int) -> None:
    parsed = parse_server_time(text)
    assert parsed is not None
    assert parsed.utcoffset() == timedelta(hours=offset_hours)


@pytest.mark.parametrize("text", ["", "noon", "20261399 12:00:00 UTC", "20261123 12:00:00", "20261123 12:00:00 ../etc"])
def test_no_time(text: str) -> None:
    assert parse_server_time(text) is None


@pytest.mark.parametrize(
    ("healthy", "port", "cause"),
    [
        (False, None, causes.SILENT_BEFORE_VERSION),
        (True, None, causes.NATIVE_PORT_PUBLISHED),
        (True, 4002, causes.NATIVE_PORT_PUBLISHED),
        (False, 4001, causes.NATIVE_PORT_PUBLISHED),
        (True, 4004, causes.SILENT_BEFORE_VERSION),
        (True, 9999, causes.SILENT_BEFORE_VERSION),
    ],
)
def test_what_silence_means(healthy: bool, port: int | None, cause: causes.Cause) -> None:
    silent = ProbeResult(Outcome.SILENT, 1.5, "silent")
    assert silent.cause(container_healthy=healthy, container_port=port) is cause
