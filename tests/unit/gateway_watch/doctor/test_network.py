"""The way to servers, over real sockets of this machine."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway_watch.doctor import network

pytestmark = pytest.mark.asyncio


@asynccontextmanager
async def server(context: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server on 127.0.0.1: its port, and what clients send after the handshake."""
    received: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.read())
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with listening:
        yield listening.sockets[0].getsockname()[1], received


async def test_a_server_that_accepts_is_reachable_and_gets_nothing() -> None:
    async with server() as (port, received):
        (result,) = await network.inspect([("127.0.0.1", port)])
    assert (result.addresses, result.connect_error, result.tls) == (("127.0.0.1",), "", False)
    assert b"".join(received) == b""


async def test_a_closed_port_is_named() -> None:
    async with server() as (port, _):
        pass
    (result,) = await network.inspect([("127.0.0.1", port)])
    assert "refused" in result.connect_error.lower() or "connect" in result.connect_error.lower()


async def test_a_name_that_cannot_be_resolved_has_no_address() -> None:
    # A label of more than 63 characters is refused before any query is sent.
    (result,) = await network.inspect([("n" * 64, 4000)])
    assert result.addresses == ()


@pytest.fixture
def self_signed(tmp_path: Path) -> ssl.SSLContext:
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "cert.pem")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


async def test_a_certificate_that_nobody_trusts_is_named(self_signed: ssl.SSLContext) -> None:
    async with server(self_signed) as (port, _):
        (result,) = await network.inspect([("127.0.0.1", port)], tls_ports=[port])
    assert result.tls
    assert "CERTIFICATE_VERIFY_FAILED" in result.tls_error.upper().replace(" ", "_")


async def test_a_server_that_does_not_speak_tls_is_named() -> None:
    async with server() as (port, _):
        (result,) = await network.inspect([("127.0.0.1", port)], seconds=0.5, tls_ports=[port])
    assert result.tls_error == "no TLS handshake within 0.5 s"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[Logon]\nSupportsSSL=gdc1.example:4000,true,20251111,false\n[Communication]\nPeer=gdc1.example:4001\n",
            (("gdc1.example", 4000), ("gdc1.example", 4001)),
        ),
        ("[Logon]\nTimeZone=America/New_York\n", ()),
        ("no section\n", ()),
    ],
)
async def test_the_gateways_own_servers_are_read(
    tmp_path: Path, text: str, expected: tuple[tuple[str, int], ...]
) -> None:
    (tmp_path / "tws").mkdir()
    (tmp_path / "tws/jts.ini").write_text(text, encoding="utf-8")
    assert network.own_servers(tmp_path) == expected
