"""Pictures from a VNC server that also sends what a program in the container copies, and the bell."""

from __future__ import annotations

import asyncio
import io
import struct
from pathlib import Path

import pytest
from PIL import Image

from gateway_watch.screenshot import ScreenshotError, capture

WIDTH, HEIGHT = 4, 3
COLOUR = (0x12, 0x80, 0xFE)
PIXELS = bytes([*COLOUR, 0]) * WIDTH * HEIGHT
FORMAT = struct.pack(">BBBBHHHBBBxxx", 32, 24, 0, 1, 255, 255, 255, 0, 8, 16)
VIDEO = struct.pack(">BxHHHHHi", 0, 1, 0, 0, WIDTH, HEIGHT, 0) + PIXELS
BELL = bytes([2])
CLIPBOARD = struct.pack(">BxxxI", 3, 6) + b"copied"


def picture(directory: Path, messages: bytes) -> bytes:
    """A screenshot from a server (RFC 6143, without a password) that sends the messages when it is asked for one."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"RFB 003.008\n" + bytes([1, 1]))
        await reader.readexactly(12 + 1)
        writer.write(struct.pack(">I", 0))
        await reader.readexactly(1)
        writer.write(struct.pack(">HH", WIDTH, HEIGHT) + FORMAT + struct.pack(">I", 4) + b"test" + messages)
        await reader.read()
        writer.close()

    async def run() -> bytes:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            return await capture("127.0.0.1", server.sockets[0].getsockname()[1], directory / "password", 5)

    (directory / "password").write_text("unused\n")
    return asyncio.run(run())


@pytest.mark.parametrize(
    "before", [b"", BELL, CLIPBOARD, CLIPBOARD + BELL + CLIPBOARD], ids=["nothing", "bell", "clipboard", "both"]
)
def test_a_picture_is_read_after_the_clipboard_and_the_bell(tmp_path: Path, before: bytes) -> None:
    shown = Image.open(io.BytesIO(picture(tmp_path, before + VIDEO)))
    assert shown.size == (WIDTH, HEIGHT)
    assert shown.getpixel((WIDTH - 1, HEIGHT - 1)) == COLOUR


def test_an_unknown_message_is_an_error_and_no_wait(tmp_path: Path) -> None:
    with pytest.raises(ScreenshotError, match="unknown message 9"):
        picture(tmp_path, bytes([9]) + VIDEO)
