"""The status of a running position manager, from the socket that shows it and does nothing else."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

SECONDS = 3.0
MOST_BYTES = 16 << 20


class AbsentError(Exception):
    """No manager answers; the message states why and what to do."""


def ask(path: Path, seconds: float = SECONDS) -> dict[str, Any]:
    """Raises AbsentError."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
            channel.settimeout(seconds)
            channel.connect(str(path))
            line = _received(channel)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        if path.with_name("control.sock").exists() and not path.exists():
            raise AbsentError("it runs an older release, which has no socket for the page; restart it") from error
        raise AbsentError("it does not run") from error
    except TimeoutError as error:
        raise AbsentError(f"it did not answer within {seconds:g} s; check its log") from error
    except OSError as error:
        raise AbsentError(f"{path} cannot be used: {error.strerror or error}") from error
    try:
        answer = json.loads(line)
        if answer["done"] is not True:
            raise AbsentError(str(answer["text"]))
        status: dict[str, Any] = answer["status"]
        if not isinstance(status, dict):
            raise TypeError("no status")
    except (ValueError, KeyError, TypeError) as error:
        raise AbsentError("its answer is not understood: is it of another release? Restart it.") from error
    return status


def _received(channel: socket.socket) -> bytes:
    parts, size = [], 0
    while part := channel.recv(65536):
        parts.append(part)
        size += len(part)
        if size > MOST_BYTES:
            raise OSError("its answer is too long")
    return b"".join(parts)
