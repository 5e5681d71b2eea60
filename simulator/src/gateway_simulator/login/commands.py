"""IBC's command server: commands to a gateway that runs, one a line, over a TCP connection.

Only RESTART and PAUSE do something here; the other commands of the real one are answered as unknown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gateway_simulator.settings import CommandServerSettings

LINE_LIMIT = 1024


@dataclass(frozen=True)
class Answer:
    """``closes`` whether the server ends the connection."""

    lines: tuple[str, ...]
    closes: bool = True


class CommandServer:
    """Listens while a run of the gateway goes on. ``carry_out`` gets each command in capitals and its sender's
    address."""

    def __init__(self, settings: CommandServerSettings, carry_out: Callable[[str, str], Awaitable[Answer]]) -> None:
        self._settings = settings
        self._carry_out = carry_out
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.StreamWriter] = set()

    async def start(self) -> int:
        """Listen, and return the port. Raises OSError if the port is taken."""
        address = self._settings.address or None
        self._server = await asyncio.start_server(self._client, address, self._settings.port, limit=LINE_LIMIT)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        """Stop listening and drop the connections. Does nothing on a stopped server."""
        if self._server is None:
            return
        self._server.close()
        for writer in self._clients:
            writer.close()
        await self._server.wait_closed()
        self._server = None

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        try:
            while line := await reader.readline():
                if command := line.decode(errors="replace").strip():
                    answer = await self._carry_out(command, writer.get_extra_info("peername")[0])
                    writer.write("".join(f"{each}\n" for each in answer.lines).encode())
                    await writer.drain()
                    if answer.closes:
                        break
        except (ConnectionError, ValueError):
            pass  # the client has gone, or its line is longer than LINE_LIMIT
        finally:
            self._clients.discard(writer)
            writer.close()
