"""One session of the watch's own with the API, over the raw wire: system messages in, a liveness question out.

The session subscribes to no data and sends no order. It exists for what the gateway reports unasked (error messages
with request id -1: 1100, 1101, 1102, 2103 …) and as the proof that a session that was opened earlier still works.
ib_insync is not used: it costs 30 MB in a process that lives as long as the gateway.
Source of the layouts: the text protocol of IB's own client, versions 157 to 178.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass

from ib_connection.codes import is_read_only_refusal
from ib_connection.probe import VERSION_RANGE

CONNECT_SECONDS = 10.0
"""Until the gateway has accepted the session with its next order id."""

QUIET_SECONDS = 20.0
"""After so long without a frame the session requests the gateway's time."""

ANSWER_SECONDS = 10.0
"""The answer to that question arrives within this time, or the session is dead."""

MOST_BYTES = 1 << 20
"""A longer frame comes from no gateway."""

MOST_REFUSALS = 5
"""Repetition ends after so many rejections; a gateway whose settings are applied rejects at most one or two."""

CLIENT_ID_IN_USE = 326

_ERROR, _NEXT_VALID_ID, _CURRENT_TIME, _OPEN_ORDERS_END = b"4", b"9", b"49", b"53"
_UNKNOWN_REQUEST = -1


@dataclass(frozen=True)
class Opened:
    """The gateway has accepted the session; `version` is the server version in use."""

    version: int


@dataclass(frozen=True)
class SystemMessage:
    """A message that belongs to no request, such as 1100."""

    code: int
    text: str


@dataclass(frozen=True)
class OrdersListed:
    """The gateway has listed the session's own open orders (none): the API is not read-only."""


@dataclass(frozen=True)
class Answered:
    """The gateway has answered the liveness question; what it reports at the connect was sent before that."""


@dataclass(frozen=True)
class Closed:
    """The session has ended or could not be opened, and why; `client_id_in_use` if another client has its id."""

    detail: str
    client_id_in_use: bool = False


ApiEvent = Opened | SystemMessage | OrdersListed | Answered | Closed


class BadFrameError(Exception):
    """The peer sent what no gateway sends."""


@dataclass(frozen=True)
class Limits:
    """Seconds; see the constants of this module."""

    connect: float = CONNECT_SECONDS
    quiet: float = QUIET_SECONDS
    answer: float = ANSWER_SECONDS


class ApiSession:
    """One session; `events` opens it, `close` ends it from outside.

    With `ask_orders` it also requests its own open orders, which a read-only API rejects (321). A gateway that has
    just logged in can reject until its settings are applied, so the request is repeated; it ends after some rejections
    in a row, since the gateway asks on its screen about clients that want to write.
    """

    def __init__(
        self, host: str, port: int, client_id: int, limits: Limits | None = None, *, ask_orders: bool = False
    ) -> None:
        self._ask_orders = ask_orders
        self._refusals = 0
        self._host = host
        self._port = port
        self._client_id = client_id
        self._limits = limits or Limits()
        self._writer: asyncio.StreamWriter | None = None

    async def close(self) -> None:
        """End the session in good order; `events` ends with `Closed`."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def events(self) -> AsyncGenerator[ApiEvent, None]:
        """What the session reports until it ends; the last event is always `Closed`. Raises nothing."""
        in_use = False
        until = asyncio.get_running_loop().time() + self._limits.connect
        try:
            async with asyncio.timeout_at(until):
                reader, writer = await asyncio.open_connection(self._host, self._port, limit=MOST_BYTES)
                self._writer = writer
                writer.write(b"API\0" + struct.pack(">I", len(VERSION_RANGE)) + VERSION_RANGE)
                version = _version(await _payload(reader))
                self._send("71", "2", str(self._client_id), "")
            accepted = False
            while not accepted:
                async with asyncio.timeout_at(until):
                    fields = await _payload(reader)
                accepted = fields[0] == _NEXT_VALID_ID
                if (message := _system_message(fields)) is not None:
                    in_use = in_use or message.code == CLIENT_ID_IN_USE
                    yield message
            yield Opened(version)
            # Its answer marks the end of what the gateway reports to a client that connects.
            self._ask()
            async for event in self._watched(reader):
                yield event
        except TimeoutError:
            detail = f"no answer within {self._limits.connect:g} s"
        except (asyncio.IncompleteReadError, ConnectionError):
            detail = "the gateway closed the connection"
        except OSError as error:
            detail = error.strerror or str(error)
        except _SilentError:
            detail = f"the session did not answer within {self._limits.answer:g} s"
        except BadFrameError as error:
            detail = f"it sent {error}"
        finally:
            await self.close()
        yield Closed(f"{self._host}:{self._port}: {detail}", in_use)

    def _ask(self) -> None:
        if self._ask_orders:
            self._send("5", "1")
        self._send("49", "1")

    async def _watched(
        self, reader: asyncio.StreamReader
    ) -> AsyncGenerator[SystemMessage | OrdersListed | Answered, None]:
        asked = True
        while True:
            try:
                async with asyncio.timeout(self._limits.answer if asked else self._limits.quiet):
                    head = await reader.readexactly(4)
            except TimeoutError:
                if asked:
                    raise _SilentError from None
                self._ask()
                asked = True
                continue
            fields = await _rest(reader, head, self._limits.answer)
            if fields[0] == _CURRENT_TIME:
                asked = False
                yield Answered()
            elif fields[0] == _OPEN_ORDERS_END:
                self._refusals = 0
                yield OrdersListed()
            elif (message := _system_message(fields)) is not None:
                if is_read_only_refusal(message.code, message.text):
                    self._refusals += 1
                    self._ask_orders = self._refusals < MOST_REFUSALS
                yield message

    def _send(self, *fields: str) -> None:
        if self._writer is None:
            raise ConnectionResetError("the session was closed")
        payload = b"".join(field.encode() + b"\0" for field in fields)
        self._writer.write(struct.pack(">I", len(payload)) + payload)


class _SilentError(Exception):
    """The liveness question has no answer."""


async def _payload(reader: asyncio.StreamReader) -> list[bytes]:
    return await _fields(reader, await reader.readexactly(4))


async def _rest(reader: asyncio.StreamReader, head: bytes, seconds: float) -> list[bytes]:
    try:
        async with asyncio.timeout(seconds):
            return await _fields(reader, head)
    except TimeoutError:
        raise _SilentError from None


async def _fields(reader: asyncio.StreamReader, head: bytes) -> list[bytes]:
    (length,) = struct.unpack(">I", head)
    if not 0 < length <= MOST_BYTES:
        raise BadFrameError(f"a frame of {length} bytes")
    return (await reader.readexactly(length)).split(b"\0")


def _version(fields: list[bytes]) -> int:
    if len(fields) < 2 or not fields[0].isdigit():
        raise BadFrameError(repr(b"\0".join(fields)[:40]))
    return int(fields[0])


def _system_message(fields: list[bytes]) -> SystemMessage | None:
    """A message of kind 4 (version, request id, code, text) that belongs to no request."""
    if fields[0] != _ERROR or len(fields) < 5:
        return None
    try:
        request, code = int(fields[2]), int(fields[3])
    except ValueError:
        return None
    return SystemMessage(code, fields[4].decode(errors="replace")) if request == _UNKNOWN_REQUEST else None
