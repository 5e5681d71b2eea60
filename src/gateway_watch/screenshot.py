"""The gateway's screen as a picture, taken over VNC."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from gateway_watch import vnc_screen
from gateway_watch.instance import Instance
from host_service.statefile import write_bytes

TIMEOUT = 15.0
RETAINED = 20
"""Pictures of a failing gateway that remain; older ones are deleted."""


class ScreenshotError(Exception):
    """The screenshot failed; the message names the place, the reason and the remedy."""


def password_file(instance: Instance, environment: Mapping[str, str]) -> Path:
    """Where the VNC password is."""
    return instance.secret("vnc_password", environment)


async def capture(host: str, port: int, password: Path, seconds: float = TIMEOUT) -> bytes:
    """The screen behind a VNC server as PNG. Raises `ScreenshotError`; takes `seconds` at the most."""
    place = f"the VNC server at {host}:{port}"
    secret = read_password(password)
    try:
        async with asyncio.timeout(seconds):
            return await _capture(host, port, secret, seconds)
    except TimeoutError as error:
        raise ScreenshotError(f"No picture came from {place} in {seconds:g} s: is the container overloaded?") from error
    except ConnectionRefusedError as error:
        raise ScreenshotError(f"Nothing listens on {host}:{port}: the container is down, or VNC is off.") from error
    except PermissionError as error:
        raise ScreenshotError(
            f"{place} refused the password in {password} ({error}): restart the gateway if the password was changed."
        ) from error
    except vnc_screen.ERRORS as error:
        raise ScreenshotError(f"{place} did not give a picture: {error or type(error).__name__}") from error


async def save(instance: Instance, password: Path, reason: str, now: datetime, seconds: float) -> Path:
    """Store a picture of the instance's screen in its state directory; return its path. Raises `ScreenshotError`."""
    if instance.vnc is None:
        raise ScreenshotError("VNC is off for this instance, so its screen cannot be read.")
    picture = await capture(instance.vnc.host, instance.vnc.port, password, seconds)
    path = instance.screenshots_dir / f"{now:%Y%m%dT%H%M%SZ}-{reason}.png"
    _store(path, picture)
    return path


def _store(path: Path, picture: bytes) -> None:
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_bytes(path, picture)
        for old in sorted(path.parent.glob("*.png"))[:-RETAINED]:
            old.unlink()
    except OSError as error:
        raise ScreenshotError(f"The picture cannot be stored: {error}.") from error


def read_password(file: Path) -> str:
    """The VNC password in a file. Raises `ScreenshotError`."""
    try:
        return file.read_text(encoding="ascii").rstrip("\n")
    except FileNotFoundError as error:
        raise ScreenshotError(f"There is no VNC password in {file}: deploy with site.yml.") from error
    except PermissionError as error:
        raise ScreenshotError(f"The VNC password in {file} may not be read by this user: use sudo.") from error
    except UnicodeDecodeError as error:
        raise ScreenshotError(f"The VNC password in {file} is not ASCII, which VNC needs: change it.") from error


async def _capture(host: str, port: int, secret: str, seconds: float) -> bytes:
    # Imported here, as asyncvnc is: a gateway in good health never needs it.
    from PIL import Image

    async with vnc_screen.connect(host, port, secret, seconds) as client:
        pixels = await vnc_screen.picture(client)
    output = io.BytesIO()
    Image.fromarray(pixels).convert("RGB").save(output, "PNG", optimize=True)
    return output.getvalue()
