"""The raw version handshake: does an IB API answer on this port?

The client sends ``API\\0`` and a frame with the range of versions it speaks; the server answers a frame with the
version both will use and its time. Nothing more is sent, so no client id is used and no session starts.
Source: the handshake of IB's own client (text protocol, versions up to 178).
"""

from __future__ import annotations

import asyncio
import errno
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from enum import Enum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ib_connection.causes import (
    CLOSED_BY_PEER,
    NATIVE_PORT_PUBLISHED,
    NOT_A_GATEWAY,
    REFUSED,
    SILENT_BEFORE_VERSION,
    UNREACHABLE,
    Cause,
)

DEFAULT_TIMEOUT = 1.5
"""Seconds a healthy API never needs: it answers in milliseconds."""

VERSION_RANGE = b"v157..178"
"""The versions of the text protocol. Above 178 the messages are encoded otherwise, and ib_insync cannot read them."""

LONGEST_ANSWER = 256
"""Bytes. The answer is a version and a time; a longer frame comes from another kind of server."""

NATIVE_PORTS = frozenset({4001, 4002})
"""Ports on which the gateway itself listens in its container: it answers no client from outside."""

RELAY_PORTS = frozenset({4003, 4004})
"""Ports of the container's relay, which the gateway takes for a local client."""

# What Java prints for these zones is no name that the time zone database has.
ABBREVIATIONS = {
    "EDT": timedelta(hours=-4),
    "CDT": timedelta(hours=-5),
    "MDT": timedelta(hours=-6),
    "PST": timedelta(hours=-8),
    "PDT": timedelta(hours=-7),
    "CEST": timedelta(hours=2),
    "BST": timedelta(hours=1),
    "JST": timedelta(hours=9),
    "HKT": timedelta(hours=8),
}


class Outcome(Enum):
    """How a probe ended."""

    ANSWERED = "answered"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    CLOSED_BY_PEER = "closed_by_peer"
    SILENT = "silent"
    GARBAGE = "garbage"


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What a probe met.

    ``elapsed`` seconds; ``detail`` what exactly was met, for people; ``server_version`` the version both sides would
    use; ``server_time`` the gateway's clock, whole seconds; ``clock_difference`` gateway's clock minus this host's in
    seconds: positive if the gateway is ahead, exact to one second. The last three are None unless answered, and the
    last two also if the gateway's time names a zone that is not known.
    """

    outcome: Outcome
    elapsed: float
    detail: str
    server_version: int | None = None
    server_time: datetime | None = None
    clock_difference: float | None = None

    @property
    def answered(self) -> bool:
        """Whether an IB API answered."""
        return self.outcome is Outcome.ANSWERED

    def cause(self, *, container_healthy: bool, container_port: int | None) -> Cause | None:
        """Why it failed, None if it did not.

        Silence is classified by what is known of the container: with ``container_port``, the port inside it that the
        published one leads to, it is certain whether that is the native port; without it, a container that is healthy
        (its gateway listens) and yet silent is taken for one whose native port was published.
        """
        if self.outcome is Outcome.SILENT:
            if container_port in RELAY_PORTS:
                return SILENT_BEFORE_VERSION
            native = container_port in NATIVE_PORTS or (container_port is None and container_healthy)
            return NATIVE_PORT_PUBLISHED if native else SILENT_BEFORE_VERSION
        return {
            Outcome.ANSWERED: None,
            Outcome.REFUSED: REFUSED,
            Outcome.UNREACHABLE: UNREACHABLE,
            Outcome.CLOSED_BY_PEER: CLOSED_BY_PEER,
            Outcome.GARBAGE: NOT_A_GATEWAY,
        }[self.outcome]


def parse_server_time(text: str) -> datetime | None:
    """The gateway's time, such as ``20261123 01:10:50 UTC``, as an aware datetime.

    None if it is not of this form or names a zone that is not known here.
    """
    try:
        stamp, clock, zone_name = text.split(" ", 2)
        naive = datetime.strptime(f"{stamp} {clock}", "%Y%m%d %H:%M:%S")
    except ValueError:
        return None
    zone: tzinfo
    if zone_name in ABBREVIATIONS:
        zone = timezone(ABBREVIATIONS[zone_name], zone_name)
    else:
        try:
            zone = ZoneInfo(zone_name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            return None
    return naive.replace(tzinfo=zone)


def utc_now() -> datetime:
    """This host's clock."""
    return datetime.now(UTC)


async def probe(
    host: str,
    port: int,
    *,
    timeout: float = DEFAULT_TIMEOUT,  # noqa: ASYNC109 - silence is an outcome here, not an exception
    clock: Callable[[], float] = time.monotonic,
    now: Callable[[], datetime] = utc_now,
) -> ProbeResult:
    """Shake hands on the version and hang up. Takes ``timeout`` seconds at the most; raises nothing."""
    started = clock()
    place = f"{host}:{port}"

    def result(outcome: Outcome, detail: str) -> ProbeResult:
        return ProbeResult(outcome, clock() - started, detail)

    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"API\0" + struct.pack(">I", len(VERSION_RANGE)) + VERSION_RANGE)
            answer = await _read_answer(reader)
            received = now()
    except TimeoutError:
        if writer is None:
            return result(Outcome.UNREACHABLE, f"{place} did not accept a connection in {timeout:g} s")
        return result(Outcome.SILENT, f"{place} accepted the connection and sent nothing in {timeout:g} s")
    except ConnectionRefusedError:
        return result(Outcome.REFUSED, f"{place} refused the connection")
    except (asyncio.IncompleteReadError, ConnectionError):
        return result(Outcome.CLOSED_BY_PEER, f"{place} closed the connection before it sent its version")
    except OSError as error:
        # Several addresses of one name (::1 and 127.0.0.1) are reported together, without an errno.
        if f"[Errno {errno.ECONNREFUSED}]" in str(error):
            return result(Outcome.REFUSED, f"{place} refused the connection")
        return result(Outcome.UNREACHABLE, f"{place}: {error.strerror or error}")
    except NotAnAnswerError as error:
        return result(Outcome.GARBAGE, f"{place} sent {error}")
    finally:
        if writer is not None:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
    version, time_text = answer
    server_time = parse_server_time(time_text)
    return ProbeResult(
        Outcome.ANSWERED,
        clock() - started,
        f"{place} answered with server version {version}",
        version,
        server_time,
        None if server_time is None else (server_time - received.replace(microsecond=0)).total_seconds(),
    )


class NotAnAnswerError(Exception):
    """The peer sent something that no IB API sends at this point; the message shows its first bytes."""


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, str]:
    head = await reader.readexactly(4)
    (length,) = struct.unpack(">I", head)
    if not 0 < length <= LONGEST_ANSWER:
        raise NotAnAnswerError(repr(head))
    frame = await reader.readexactly(length)
    fields = frame.split(b"\0")
    if len(fields) != 3 or fields[2] or not fields[0].isdigit():
        raise NotAnAnswerError(repr(frame[:36]))
    return int(fields[0]), fields[1].decode(errors="replace")
