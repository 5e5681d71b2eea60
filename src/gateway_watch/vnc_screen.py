"""The gateway's screen over VNC: the connection, and the picture."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

ERRORS = (TimeoutError, asyncio.IncompleteReadError, OSError, ValueError)
"""What a connection or a picture can raise."""


@asynccontextmanager
async def connect(host: str, port: int, secret: str, seconds: float) -> AsyncIterator[Any]:
    """A client of the VNC server; connected within `seconds`. Raises one of `ERRORS`."""
    # Imported here: with numpy and cryptography it costs 40 MB that a gateway in good health never needs.
    with warnings.catch_warnings():
        # VNC's own authentication is single DES; it crosses the loopback only.
        warnings.simplefilter("ignore")
        import asyncvnc  # type: ignore[import-untyped]  # it carries no types
    writers: list[asyncio.StreamWriter] = []

    async def opener(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(host, port)
        # asyncvnc leaves the connection open if the password is refused.
        writers.append(writer)
        return reader, writer

    try:
        async with asyncio.timeout(seconds):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                context: AbstractAsyncContextManager[Any] = asyncvnc.connect(host, port, password=secret, opener=opener)
                client = await context.__aenter__()
        yield client
    finally:
        for writer in writers:
            writer.close()


async def picture(client: Any) -> Any:
    """The whole screen, as rows of RGBA pixels. Raises one of `ERRORS`.

    Not the client's own method: asyncvnc 1.3.0 takes the clipboard's message for a bell, and cannot read what follows.
    """
    client.video.data = None
    client.video.refresh()
    while not client.video.is_complete():
        match int.from_bytes(await client.reader.readexactly(1), "big"):
            case 0:  # FramebufferUpdate (RFC 6143, 7.6)
                await client.reader.readexactly(1)
                for _ in range(int.from_bytes(await client.reader.readexactly(2), "big")):
                    await client.video.read()
            case 2:  # Bell
                continue
            case 3:  # ServerCutText
                await client.reader.readexactly(3)
                await client.reader.readexactly(int.from_bytes(await client.reader.readexactly(4), "big"))
            case other:
                raise ValueError(f"unknown message {other} of the VNC server")
    return client.video.as_rgba()
