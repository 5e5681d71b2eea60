"""The floor of bench.manager_rows: what the same messages take in a plain asyncio program that decides nothing.

A quote arrives, the open orders are asked for, and when the answer is there a line is stored and an order is sent. The
time is that from the bytes of the quote to the bytes of the order, as for the position manager.
"""

from __future__ import annotations

import asyncio
import os
import struct
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

QUESTION, ANSWER, QUOTE, ORDER = (
    b"16\x001\x00",
    b"53\x001\x00",
    b"1\x006\x001000\x001\x000.01\x001\x000\x00",
    b"3\x00" + b"0\x00" * 100,
)


def frame(payload: bytes) -> bytes:
    """A message of the API."""
    return struct.pack(">I", len(payload)) + payload


class Gateway(asyncio.Protocol):
    """Answers each question, and sends a quote after each order."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - narrows the type
        self._transport = transport
        transport.write(frame(QUOTE))

    def data_received(self, data: bytes) -> None:
        if data[4:].startswith(QUESTION):
            self._transport.write(frame(ANSWER))
        else:
            asyncio.get_running_loop().call_later(0.01, self._transport.write, frame(QUOTE))


class Client(asyncio.Protocol):
    """Measures ``count`` orders."""

    def __init__(self, file: int, count: int) -> None:
        self.taken: list[float] = []
        self.done = asyncio.Event()
        self._file = file
        self._count = count
        self._begun = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - narrows the type
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if data[4:].startswith(b"1\x00"):
            self._begun = time.perf_counter()
            self._transport.write(frame(QUESTION))
            return
        os.write(self._file, b"an order is sent\n")
        os.fsync(self._file)
        self._transport.write(frame(ORDER))
        self.taken.append(time.perf_counter() - self._begun)
        if len(self.taken) >= self._count:
            self.done.set()


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Gateway, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


def syncs(directory: str | None, count: int = 200) -> tuple[float, ...]:
    """Seconds that the disk alone takes for each write of a page and its sync."""
    taken = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(count):
            begun = time.perf_counter()
            os.write(file.fileno(), bytes(4096))
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - begun)
            # As a journal, which is not always written.
            time.sleep(0.002)
    return tuple(taken)


async def floor(directory: str | None, count: int = 200) -> tuple[float, ...]:
    """Seconds from each quote to its order, with the file in the directory."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.echo", cwd=Path(__file__).parents[1], stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None  # noqa: S101 - requested above
    try:
        port = int(await process.stdout.readline())
        with tempfile.TemporaryFile(dir=directory) as file:
            client = Client(file.fileno(), count)
            transport, _ = await asyncio.get_running_loop().create_connection(lambda: client, "127.0.0.1", port)
            await client.done.wait()
            transport.close()
        return tuple(client.taken)
    finally:
        process.kill()
        await process.wait()


def main(_arguments: Sequence[str]) -> None:
    asyncio.run(_serve())


if __name__ == "__main__":
    main(sys.argv[1:])
