"""The gateway's screen for the status page: the picture of this moment, else the last one stored, with its text masked.

The page's service has neither the password of the VNC server nor the stored pictures; this program answers it over a
socket of systemd. Account numbers, user names and codes can be anywhere on the screen, so all text is removed; shapes
and colours of the windows remain.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from gateway_watch import screenshot
from gateway_watch.instance import Instance
from gateway_watch.screenshot import ScreenshotError

TEXT = 11
"""Wider than the strokes of any text of the gateway: the median of so many pixels across is the background."""
BLOCK = 4
"""What is left of larger letters goes with the mosaic."""
LARGEST = 4096


async def answer(instance: Instance, environment: Mapping[str, str], now: datetime) -> bytes:
    """One line of JSON, then the picture; or one line with the error."""
    try:
        picture, taken_at, fresh = await _picture(instance, environment, now)
        return _line({"taken_at": taken_at.isoformat(), "fresh": fresh}) + masked(picture)
    except (ScreenshotError, OSError, ValueError) as error:
        return _line({"error": str(error)})


async def _picture(instance: Instance, environment: Mapping[str, str], now: datetime) -> tuple[bytes, datetime, bool]:
    """Raises ScreenshotError."""
    if instance.vnc is None:
        raise ScreenshotError("VNC is off for this instance, so its screen cannot be read.")
    password = screenshot.password_file(instance, environment)
    try:
        return await screenshot.capture(instance.vnc.host, instance.vnc.port, password), now, True
    except ScreenshotError:
        stored = newest(instance.screenshots_dir)
        if stored is None:
            raise
        return stored[0].read_bytes(), stored[1], False


def newest(directory: Path) -> tuple[Path, datetime] | None:
    """The picture stored last, and when it was taken, by its name."""
    for path in sorted(directory.glob("*.png"), reverse=True):
        try:
            taken = datetime.strptime(path.name.partition("-")[0], "%Y%m%dT%H%M%SZ")
        except ValueError:
            continue
        return path, taken.replace(tzinfo=UTC)
    return None


def masked(picture: bytes) -> bytes:
    """A picture (PNG) without its text. Raises ValueError or OSError for what is no picture."""
    # Imported here, as screenshot.py does.
    from PIL import Image, ImageFilter

    with Image.open(io.BytesIO(picture), formats=["PNG"]) as opened:
        if max(opened.size) > LARGEST:
            raise ValueError(f"The picture has more than {LARGEST} pixels on a side.")
        image = opened.convert("RGB")
    width, height = image.size
    # By median twice: bold letters leave a trace after the first time.
    image = image.filter(ImageFilter.MedianFilter(TEXT)).filter(ImageFilter.MedianFilter(TEXT))
    small = image.resize((max(1, width // BLOCK), max(1, height // BLOCK)), Image.Resampling.BOX)
    output = io.BytesIO()
    small.resize((width, height), Image.Resampling.NEAREST).save(output, "PNG", optimize=True)
    return output.getvalue()


def _line(document: Mapping[str, object]) -> bytes:
    return json.dumps(document).encode() + b"\n"
