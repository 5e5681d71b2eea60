"""Finds a window of the gateway's X server by its title and brings it to the front.

The image has no window manager, so a dialog behind another window can be raised by nobody at the screen. This speaks
the few requests of the X protocol that it takes, over a byte stream: in the container that is `socat` from the image
itself, connected to the X server's socket. Nothing is published and nothing is added to the image.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from re import Pattern
from typing import TypeAlias

DISPLAY_SOCKET = "/tmp/.X11-unix/X1"  # noqa: S108 - the image's display is :1
REPLY_SECONDS = 10.0

_WM_NAME = 39
_VIEWABLE = 2
_STACK_MODE = 0x40
_ABOVE = 0
_NAME_WORDS = 64

Stream: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
OpenStream: TypeAlias = Callable[[], AbstractAsyncContextManager[Stream]]


class XError(Exception):
    """The X server cannot be queried, or rejected a request."""


@dataclass(frozen=True)
class Window:
    """A window that can be seen, and where it is."""

    id: int
    title: str
    x: int
    y: int
    width: int
    height: int


class XServer:
    """A connection to an X server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, root: int) -> None:
        self._reader, self._writer, self._root = reader, writer, root

    @classmethod
    async def connect(cls, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> XServer:
        """Set up the connection. Raises `XError`."""
        writer.write(struct.pack("<cxHHHHxx", b"l", 11, 0, 0, 0))
        try:
            async with asyncio.timeout(REPLY_SECONDS):
                head = await reader.readexactly(8)
                data = await reader.readexactly(4 * struct.unpack("<H", head[6:8])[0])
        except (TimeoutError, asyncio.IncompleteReadError, OSError) as error:
            raise XError(f"the X server did not answer: {error or type(error).__name__}") from error
        if head[0] != 1:
            raise XError("the X server refused the connection")
        vendor, formats = struct.unpack("<H", data[16:18])[0], data[21]
        screen = 32 + (vendor + 3) // 4 * 4 + 8 * formats
        return cls(reader, writer, struct.unpack("<I", data[screen : screen + 4])[0])

    async def find(self, title: Pattern[str]) -> Window | None:
        """The uppermost window with such a title. Raises `XError`."""
        for window in reversed(await self._children(self._root)):
            try:
                found = await self._window(window)
            except _GoneError:
                continue
            if found is not None and title.search(found.title):
                return found
        return None

    async def raise_window(self, window: Window) -> None:
        """Raise a window above all others. Raises `XError`."""
        self._writer.write(struct.pack("<BxHIHxxI", 12, 4, window.id, _STACK_MODE, _ABOVE))
        # A request with a reply: the window is in front when it comes.
        await self._ask(struct.pack("<BxH", 43, 1))

    async def _window(self, window: int) -> Window | None:
        attributes, _ = await self._ask(struct.pack("<BxHI", 3, 2, window))
        if attributes[26] != _VIEWABLE:
            return None
        head, value = await self._ask(struct.pack("<BxHIIIII", 20, 6, window, _WM_NAME, 0, 0, _NAME_WORDS))
        length = struct.unpack("<I", head[16:20])[0]
        geometry, _ = await self._ask(struct.pack("<BxHI", 14, 2, window))
        x, y, width, height = struct.unpack("<hhHH", geometry[12:20])
        return Window(window, value[:length].decode("latin-1"), x, y, width, height)

    async def _children(self, window: int) -> list[int]:
        head, data = await self._ask(struct.pack("<BxHI", 15, 2, window))
        count = struct.unpack("<H", head[16:18])[0]
        return list(struct.unpack(f"<{count}I", data[: 4 * count]))

    async def _ask(self, request: bytes) -> tuple[bytes, bytes]:
        """Send a request; the reply's head and what follows it."""
        self._writer.write(request)
        try:
            async with asyncio.timeout(REPLY_SECONDS):
                while True:
                    head = await self._reader.readexactly(32)
                    if head[0] == 0:
                        raise _GoneError(f"error {head[1]} of the X server")
                    if head[0] == 1:
                        return head, await self._reader.readexactly(4 * struct.unpack("<I", head[4:8])[0])
        except (TimeoutError, asyncio.IncompleteReadError, OSError) as error:
            raise XError(f"the X server did not answer: {error or type(error).__name__}") from error


class _GoneError(XError):
    """The window is no longer there."""


def in_container(container: str) -> OpenStream:
    """A stream to the X server in a container."""

    @asynccontextmanager
    async def stream() -> AsyncIterator[Stream]:
        process = await asyncio.create_subprocess_exec(
            *("docker", "exec", "--interactive", container, "socat", "-", f"UNIX-CONNECT:{DISPLAY_SOCKET}"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        if process.stdin is None or process.stdout is None:
            raise XError("docker exec was started without its streams")
        try:
            yield process.stdout, process.stdin
        finally:
            process.stdin.close()
            try:
                async with asyncio.timeout(REPLY_SECONDS):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()

    return stream


def on_this_machine(socket: str) -> OpenStream:
    """A stream to an X server's socket."""

    @asynccontextmanager
    async def stream() -> AsyncIterator[Stream]:
        reader, writer = await asyncio.open_unix_connection(socket)
        try:
            yield reader, writer
        finally:
            writer.close()

    return stream
