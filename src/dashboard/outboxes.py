"""Notifications on the page, from the outbox of a service. Reads only."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dashboard import readonly
from dashboard.document import Document
from host_service import sqlite_file

SHOWN = 30
SEVERITIES = ("info", "warning", "alert")


class UnreadableError(Exception):
    """A file that is there cannot be read; the message names it, the reason and what to do."""


def read(path: Path, source: str) -> Document:
    """The newest messages with the state of each delivery. Raises UnreadableError."""
    try:
        with closing(readonly.connect(path)) as database:
            counts = dict(database.execute("SELECT state, count(*) FROM deliveries GROUP BY state").fetchall())
            messages = database.execute(
                "SELECT id, severity, body, put FROM messages ORDER BY id DESC LIMIT ?", (SHOWN,)
            ).fetchall()
            oldest = messages[-1][0] if messages else 0
            deliveries = database.execute(
                "SELECT message, target, state, detail FROM deliveries WHERE message >= ?", (oldest,)
            ).fetchall()
    except FileNotFoundError:
        return {"source": source, "pending": 0, "failed": 0, "items": {}}
    except (sqlite3.Error, OSError) as error:
        raise UnreadableError(f"The notifications of {source} cannot be read: {reason(path, error)}") from error
    return {
        "source": source,
        "pending": counts.get("queued", 0) + counts.get("sending", 0),
        "failed": counts.get("failed", 0),
        "items": {
            str(number): _item(severity, body, put, [each for each in deliveries if each[0] == number])
            for number, severity, body, put in messages
        },
    }


def reason(path: Path, error: Exception) -> str:
    """Why a database cannot be read, and what to do."""
    if isinstance(error, sqlite3.Error):
        known = sqlite_file.FAILURES.get(sqlite_file.primary_code(error))
        return f"{path}: {known[0]}. {known[1]}" if known else f"{path}: {error}"
    return f"{path}: {error.strerror if isinstance(error, OSError) and error.strerror else error}"


def _item(severity: int, body: str, put: float, deliveries: list[tuple[Any, ...]]) -> Document:
    try:
        message = json.loads(body)
        title = str(message["title"])
        lines = [*map(str, message["lines"]), *(f"{name}: {value}" for name, value in message["fields"])]
    except (ValueError, KeyError, TypeError):
        title, lines = "A message that cannot be read", []
    # Targets are named by a hash of their address at most; details can hold what a server answered.
    details = [str(detail) for _, _, _, detail in deliveries if detail]
    return {
        "at": datetime.fromtimestamp(put, UTC).isoformat(),
        "severity": SEVERITIES[severity] if 0 <= severity < len(SEVERITIES) else "alert",
        "title": title,
        "lines": lines,
        "states": {str(target): str(state) for _, target, state, _ in deliveries},
        "detail": details[0] if details else None,
    }
