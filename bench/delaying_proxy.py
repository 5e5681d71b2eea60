"""A TCP proxy on this machine that delays what it passes on, as a distant host would."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class DelayingProxy:
    """Passes connections on to a port of 127.0.0.1, each direction late by half of the round trip."""

    def __init__(self, port: int, round_trip: float) -> None:
        self._target = port
        self._delay = round_trip / 2
        self.port = 0

    async def serve(self) -> asyncio.Server:
        """Listen on a free port."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        await asyncio.gather(self._pass_on(reader, far_writer), self._pass_on(far_reader, writer))
        writer.close()
        far_writer.close()

    async def _pass_on(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        late: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        writing = loop.create_task(self._write(late, target))
        try:
            while data := await source.read(65536):
                late.put_nowait((loop.time() + self._delay, data))
        except ConnectionError:
            # Reset by this side: the other one gets the end of the connection, as late as its data.
            pass
        late.put_nowait((loop.time() + self._delay, b""))
        await writing

    async def _write(self, late: asyncio.Queue[tuple[float, bytes]], target: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while True:
            at, data = await late.get()
            await asyncio.sleep(max(0.0, at - loop.time()))
            # The other side may have ended before; what is late for it is dropped.
            with suppress(ConnectionError):
                if data:
                    target.write(data)
                    await target.drain()
                elif not target.is_closing():
                    target.write_eof()
            if not data:
                return


@contextmanager
def delaying_proxy(port: int, round_trip: float) -> Iterator[int]:
    """The port of a proxy to this port, which runs in a thread."""
    proxy = DelayingProxy(port, round_trip)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(proxy.serve(), loop).result()
    try:
        yield proxy.port
    finally:
        asyncio.run_coroutine_threadsafe(_end_all(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end_all() -> None:
    """End what still passes on: connections that their clients have left open."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
