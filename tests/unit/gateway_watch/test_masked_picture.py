"""The picture of the screen for the status page: its text is gone, its windows remain."""

from __future__ import annotations

import asyncio
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageDraw
from tests.unit.gateway_watch.instance_files import DOCUMENT

from gateway_watch import masked_picture, screenshot
from gateway_watch.instance import Instance, parse
from gateway_watch.screenshot import ScreenshotError

NOW = datetime(2026, 11, 30, 15, 0, tzinfo=UTC)


def screen(text: str) -> bytes:
    """A window with a title, some lines and a button."""
    image = Image.new("RGB", (400, 240), (240, 240, 240))
    draw = ImageDraw.Draw(image)
    draw.rectangle((20, 20, 380, 220), fill="white", outline="black")
    draw.rectangle((20, 20, 380, 46), fill=(20, 40, 90))
    draw.rectangle((150, 170, 250, 205), fill=(60, 120, 220))
    draw.text((30, 27), text, fill="white")
    for y in range(60, 160, 16):
        draw.text((40, y), text, fill="black")
    output = io.BytesIO()
    image.save(output, "PNG")
    return output.getvalue()


def opened(picture: bytes) -> Image.Image:
    with Image.open(io.BytesIO(picture)) as found:
        return found.convert("RGB")


def test_two_screens_that_differ_in_their_text_look_alike() -> None:
    one, other = (opened(masked_picture.masked(screen(text))) for text in ("Account U1234567", "Account U9876543"))
    assert one.size == (400, 240)
    difference = ImageChops.difference(one, other).convert("L")
    # In the lines there is nothing at all; of the title's upper edge a shade may remain.
    assert difference.crop((20, 50, 380, 220)).getbbox() is None
    assert difference.getextrema()[1] < 40


def test_the_windows_remain() -> None:
    found = opened(masked_picture.masked(screen("Account U1234567")))
    assert found.getpixel((200, 188)) == (60, 120, 220)
    assert found.getpixel((300, 100)) == (255, 255, 255)
    assert found.getpixel((8, 8)) == (240, 240, 240)


def answered(instance: Instance, tmp_path: Path) -> tuple[dict[str, Any], bytes]:
    answer = asyncio.run(masked_picture.answer(instance, {}, NOW))
    line, _, picture = answer.partition(b"\n")
    return json.loads(line), picture


def instance_of(tmp_path: Path, **changes: Any) -> Instance:
    return parse(DOCUMENT | {"state_dir": str(tmp_path)} | changes, tmp_path / "instance.json")


def test_the_screen_of_this_moment_is_sent_masked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def capture(*_: object) -> bytes:
        return screen("U1234567")

    monkeypatch.setattr(screenshot, "capture", capture)
    head, picture = answered(instance_of(tmp_path), tmp_path)
    assert head == {"taken_at": NOW.isoformat(), "fresh": True}
    assert picture == masked_picture.masked(screen("U1234567"))


def test_without_a_screen_the_last_picture_is_sent_with_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def capture(*_: object) -> bytes:
        raise ScreenshotError("Nothing listens")

    monkeypatch.setattr(screenshot, "capture", capture)
    instance = instance_of(tmp_path)
    assert answered(instance, tmp_path) == ({"error": "Nothing listens"}, b"")
    instance.screenshots_dir.mkdir()
    for name in ("20261129T090000Z-server_down.png", "20261130T090000Z-twofa.png", "zzz.png"):
        (instance.screenshots_dir / name).write_bytes(screen(name))
    head, picture = answered(instance, tmp_path)
    assert head == {"taken_at": "2026-11-30T09:00:00+00:00", "fresh": False}
    assert picture.startswith(b"\x89PNG")


def test_what_is_no_picture_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def capture(*_: object) -> bytes:
        return b"no picture"

    monkeypatch.setattr(screenshot, "capture", capture)
    head, picture = answered(instance_of(tmp_path), tmp_path)
    assert set(head) == {"error"} and picture == b""


def test_a_gateway_without_vnc_has_no_screen(tmp_path: Path) -> None:
    head, _ = answered(instance_of(tmp_path, vnc=None), tmp_path)
    assert head == {"error": "VNC is off for this instance, so its screen cannot be read."}
