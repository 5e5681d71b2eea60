"""The newest lines of a service's log, from journald."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from dashboard.document import Document

MOST_LINES = 1000
SECONDS = 10.0
LONGEST_LINE = 4000


class LogError(Exception):
    """The log cannot be read; the message states why and what to do."""


async def read(unit: str, lines: int, journalctl: str = "journalctl") -> list[Document]:
    """Raises LogError."""
    command = (journalctl, "--unit", unit, "--lines", str(lines), "--output", "json", "--no-pager", "--quiet")
    fields = "--output-fields=MESSAGE,PRIORITY,__REALTIME_TIMESTAMP"
    try:
        process = await asyncio.create_subprocess_exec(
            *command, fields, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
    except OSError as error:
        raise LogError(f"The log of {unit} cannot be read: there is no program journalctl here.") from error
    try:
        async with asyncio.timeout(SECONDS):
            output, errors = await process.communicate()
    except TimeoutError as error:
        raise LogError(f"journalctl did not answer within {SECONDS:g} s. Try again.") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise LogError(f"The log of {unit} cannot be read: {' '.join(errors.decode(errors='replace').split())}")
    return list(parsed(output))


def parsed(output: bytes) -> Iterator[Document]:
    """The lines of `journalctl --output json`; what is none is left out."""
    for line in output.splitlines():
        try:
            entry: dict[str, Any] = json.loads(line)
            at = datetime.fromtimestamp(int(entry["__REALTIME_TIMESTAMP"]) / 1e6, UTC)
        except (ValueError, KeyError, TypeError):
            continue
        yield {
            "at": at.isoformat(timespec="milliseconds"),
            "priority": int(entry.get("PRIORITY") or 6),
            "text": readable(_text(entry.get("MESSAGE")))[:LONGEST_LINE],
        }


def _text(message: object) -> str:
    """journald gives what is not printable as a list of bytes."""
    if isinstance(message, list):
        return bytes(byte for byte in message if isinstance(byte, int) and 0 <= byte < 256).decode(errors="replace")
    return str(message or "")


def readable(text: str) -> str:
    """A line that is a JSON object of a structured log, in words; any other as it is."""
    if not text.startswith("{"):
        return text
    try:
        entry = json.loads(text)
    except ValueError:
        return text
    if not isinstance(entry, dict) or "event" not in entry:
        return text
    rest = {key: value for key, value in entry.items() if key not in ("event", "time", "timestamp", "level", "logger")}
    more = "".join(f" {key}={value}" for key, value in rest.items())
    return f"{entry.get('level', 'info')}: {entry['event']}{more}"
