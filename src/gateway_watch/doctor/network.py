"""The way from the host to IBKR's servers: name, connection, TLS. Nothing is sent beyond the TLS handshake."""

from __future__ import annotations

import asyncio
import configparser
import contextlib
import socket
import ssl
from collections.abc import Container, Iterable
from pathlib import Path

from gateway_watch.doctor.facts import Server

SECONDS = 5.0
TLS_PORT = 4000
"""IBKR's documentation of hosts and ports names 4000 and 4001 for TWS and the gateway. The gateway's own jts.ini has
port 4000 for its TLS connection (SupportsSSL) and 4001 for the other (Peer)."""

DEFAULT_SERVERS = (("ndc1.ibllc.com", TLS_PORT), ("cdc1.ibllc.com", TLS_PORT))
"""Servers for a gateway that has not written its own into jts.ini yet. A user's own server depends on the region."""


def own_servers(settings: Path) -> tuple[tuple[str, int], ...]:
    """The servers in the jts.ini files below the gateway's settings directory; empty if there are none."""
    found: dict[tuple[str, int], None] = {}
    for file in sorted(settings.glob("**/jts.ini")):
        parser = configparser.RawConfigParser(strict=False, interpolation=None)
        with contextlib.suppress(configparser.Error, OSError, UnicodeDecodeError):
            parser.read_string(file.read_text(encoding="utf-8"))
        for section, key in (("Logon", "SupportsSSL"), ("Communication", "Peer")):
            value = parser.get(section, key, fallback="").partition(",")[0]
            host, _, port = value.partition(":")
            if host and port.isdigit():
                found[host, int(port)] = None
    return tuple(found)


async def inspect(
    servers: Iterable[tuple[str, int]], seconds: float = SECONDS, *, tls_ports: Container[int] = (TLS_PORT,)
) -> tuple[Server, ...]:
    """Every server, side by side, each within `seconds` per step; those at `tls_ports` also by TLS."""
    steps = (_inspect(host, port, seconds, tls=port in tls_ports) for host, port in servers)
    return tuple(await asyncio.gather(*steps))


async def _inspect(host: str, port: int, seconds: float, *, tls: bool) -> Server:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(seconds):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError):
        # UnicodeError: a name from which no query can be created.
        return Server(host, port)
    addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(host, port)
        await _close(writer, seconds)
    except TimeoutError:
        return Server(host, port, addresses, connect_error=f"no connection within {seconds:g} s")
    except OSError as error:
        return Server(host, port, addresses, connect_error=error.strerror or str(error))
    if not tls:
        return Server(host, port, addresses)
    return Server(host, port, addresses, tls=True, tls_error=await _tls_error(host, port, seconds))


async def _tls_error(host: str, port: int, seconds: float) -> str:
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(host, port, ssl=ssl.create_default_context())
        await _close(writer, seconds)
    except TimeoutError:
        return f"no TLS handshake within {seconds:g} s"
    except (OSError, ssl.SSLError) as error:
        return getattr(error, "reason", None) or str(error)
    return ""


async def _close(writer: asyncio.StreamWriter, seconds: float) -> None:
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(seconds):
            await writer.wait_closed()
