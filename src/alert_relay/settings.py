"""The settings of the receiver, and the secrets that systemd passes to it as credentials."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from notifications.delivery import AddressError, read_addresses, usable_targets
from notifications.target import Target

ADDRESSES = "addresses-*"
"""The credentials with addresses, one for each service of the host that notifies."""

HEARTBEAT_URL = "heartbeat_url"
_log = logging.getLogger(__name__)


class SettingsError(ValueError):
    """The settings cannot be used; the message names the file and what is wrong."""


@dataclass(frozen=True)
class Settings:
    """``heartbeat_timeout`` is in seconds."""

    host: str
    port: int
    heartbeat_timeout: float


def read(path: Path) -> Settings:
    """Raises SettingsError."""
    try:
        document = json.loads(path.read_bytes())
        return Settings(str(document["host"]), int(document["port"]), float(document["heartbeat_timeout"]))
    except OSError as error:
        raise SettingsError(f"{path}: it cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{path}: it is not a configuration ({type(error).__name__}: {error})") from error


def targets(credentials: Path) -> tuple[Target, ...]:
    """Every target of the host, once. What cannot be used is logged and silences no other."""
    addresses: dict[str, None] = {}
    for file in sorted(credentials.glob(ADDRESSES)):
        try:
            addresses |= dict.fromkeys(read_addresses(file))
        except AddressError as error:
            _log.error("%s", error)
    found, faults = usable_targets(addresses)
    for fault in faults:
        _log.error("%s", fault)
    return found


def heartbeat_url(credentials: Path) -> str | None:
    """The address that each heartbeat is passed on to; None without one. Raises SettingsError."""
    path = credentials / HEARTBEAT_URL
    if not path.exists():
        return None
    url = path.read_text(encoding="utf-8").strip()
    if not url.startswith(("https://", "http://127.0.0.1:")):
        raise SettingsError(f"{path}: it must be an https:// address")
    return url
