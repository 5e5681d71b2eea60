"""Pictures of a real X screen over a real VNC server (packages xvfb, x11vnc and x11-xserver-utils)."""

from __future__ import annotations

import asyncio
import io
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image

from gateway_watch.screenshot import ScreenshotError, capture

PASSWORD = "pass word"  # longer than the 8 characters that VNC uses
COLOUR = (0x12, 0x80, 0xFE)


@dataclass(frozen=True)
class Screen:
    port: int
    password: Path


def need(program: str) -> str:
    found = shutil.which(program)
    assert found is not None, f"{program} is missing: apt-get install xvfb x11vnc x11-xserver-utils"
    return found


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Screen]:
    directory = tmp_path_factory.mktemp("screen")
    password = directory / "vnc_password"
    password.write_text(PASSWORD + "\n")
    read, write = os.pipe()
    xvfb = subprocess.Popen(
        # -noreset: the colour stays when the program that sets it has gone.
        [need("Xvfb"), "-displayfd", str(write), "-screen", "0", "320x200x24", "-nolisten", "tcp", "-noreset"],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    with os.fdopen(read) as pipe:
        display = f":{pipe.readline().strip()}"
    # Before the VNC server reads the screen: it shows a later change a part at a time.
    environment = {**os.environ, "DISPLAY": display}
    subprocess.run([need("xsetroot"), "-solid", "#1280fe"], env=environment, check=True, timeout=20)
    with (directory / "x11vnc.log").open("w") as log:
        vnc = subprocess.Popen(
            [
                *(need("x11vnc"), "-display", display, "-passwdfile", str(password)),
                # -nocursor: else the arrow is drawn into the picture, at first in the corner.
                *("-localhost", "-no6", "-autoport", "15900", "-forever", "-shared", "-noxdamage", "-nocursor"),
            ],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        assert vnc.stdout is not None
        port = next(int(found[1]) for line in vnc.stdout if (found := re.match(r"PORT=(\d+)", line)))
        yield Screen(port, password)
    finally:
        for process in (vnc, xvfb):
            process.terminate()
            process.wait(20)
        if vnc.stdout:
            vnc.stdout.close()


def test_the_picture_shows_the_screen(screen: Screen) -> None:
    png = asyncio.run(capture("127.0.0.1", screen.port, screen.password))
    picture = Image.open(io.BytesIO(png))
    assert picture.format == "PNG"
    assert picture.size == (320, 200)
    assert [picture.getpixel(corner) for corner in ((0, 0), (319, 0), (0, 199), (319, 199))] == [COLOUR] * 4


def test_a_wrong_password_is_named_and_not_shown(screen: Screen, tmp_path: Path) -> None:
    wrong = tmp_path / "vnc_password"
    wrong.write_text("zzsecret")
    with pytest.raises(ScreenshotError, match=f"refused the password in {wrong}") as caught:
        asyncio.run(capture("127.0.0.1", screen.port, wrong))
    assert "zzsecret" not in str(caught.value)


def test_nothing_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(ScreenshotError, match=r"Nothing listens on 127\.0\.0\.1"):
            asyncio.run(capture("127.0.0.1", free.getsockname()[1], Path(__file__)))


def test_a_server_that_stays_silent_costs_its_time_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "vnc_password").write_text("x")
    begun = datetime.now(UTC)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with pytest.raises(ScreenshotError, match=r"No picture .* in 0\.3 s"):
            asyncio.run(capture("127.0.0.1", server.getsockname()[1], tmp_path / "vnc_password", 0.3))
    assert (datetime.now(UTC) - begun).total_seconds() < 3


def test_a_server_that_is_no_vnc_server(tmp_path: Path) -> None:
    (tmp_path / "vnc_password").write_text("x")

    async def run() -> None:
        async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.0 400 Bad Request\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
            await capture("127.0.0.1", server.sockets[0].getsockname()[1], tmp_path / "vnc_password")

    with pytest.raises(ScreenshotError, match="did not give a picture: not a VNC server"):
        asyncio.run(run())


def test_a_missing_password_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScreenshotError, match=f"no VNC password in {tmp_path}/vnc_password"):
        asyncio.run(capture("127.0.0.1", 1, tmp_path / "vnc_password"))
