"""The record of the last backup, for `status.yml`, the audit and the next run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from host_service.statefile import write_json

CONFIG = Path("/etc/host-backup.json")
STATE = Path("/var/lib/host-backup")
RECORD = STATE / "last.json"


@dataclass(frozen=True)
class Good:
    """A backup that is complete: its file, size in bytes, where it was stored beside the host, and the last event's
    number of each journal, by path."""

    at: datetime
    file: str
    size: int
    stored: tuple[str, ...]
    journals: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """``fault`` is why the last run failed, empty if it did not; ``at`` its time."""

    at: datetime
    fault: str
    good: Good | None

    def write(self, path: Path) -> None:
        """Raises OSError."""
        document = asdict(self)
        document["at"] = self.at.isoformat()
        if self.good is not None:
            document["good"]["at"] = self.good.at.isoformat()
        write_json(path, document)


def read(path: Path) -> Record | None:
    """None if no backup was ever tried. Raises OSError, and ValueError for what is no record."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        document: dict[str, Any] = json.loads(text)
        good = document["good"]
        return Record(
            datetime.fromisoformat(document["at"]),
            str(document["fault"]),
            None
            if good is None
            else Good(
                datetime.fromisoformat(good["at"]),
                str(good["file"]),
                int(good["size"]),
                tuple(map(str, good["stored"])),
                {str(path): int(last) for path, last in good.get("journals", {}).items()},
            ),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no record of a backup") from error


@dataclass(frozen=True)
class Overview:
    """What the status shows: one line for people, and a document for programs."""

    text: str
    document: dict[str, Any]


def overview(now: datetime, config: Path | None = None, path: Path | None = None) -> Overview:
    """Of this host; what cannot be read is stated in the line."""
    if not (config or CONFIG).exists():
        return Overview("not configured (host_backup_recipients)", _document(None))
    try:
        last = read(path or RECORD)
    except (OSError, ValueError) as error:
        text = f"unknown: {error}"
        return Overview(text, _document(None) | {"fault": text})
    return Overview(line(last, now).removeprefix("last backup: "), _document(last))


def _document(record: Record | None) -> dict[str, Any]:
    good = record.good if record is not None else None
    return {
        "last_backup": good.at.isoformat() if good is not None else None,
        "file": good.file if good is not None else None,
        "stored": list(good.stored) if good is not None else [],
        "fault": (record.fault if record is not None else "") or None,
    }


def age(record: Record | None, since: datetime, now: datetime) -> timedelta:
    """Of the last complete backup; before the first one, of the configuration (``since``)."""
    return now - (record.good.at if record is not None and record.good is not None else since)


def line(record: Record | None, now: datetime) -> str:
    """One line for people."""
    if record is None:
        return "last backup: none yet"
    if record.good is None:
        return f"last backup: none; the attempt at {_time(record.at)} FAILED: {record.fault}"
    good = record.good
    text = f"last backup: {_time(good.at)} ({_ago(now - good.at)}), {size(good.size)}, {good.file}"
    text += "".join(f", {place}" for place in good.stored)
    return f"{text}; the attempt at {_time(record.at)} FAILED: {record.fault}" if record.fault else text


def size(number: int) -> str:
    return f"{number / (1 << 20):.1f} MB" if number >= 1 << 20 else f"{max(1, number >> 10)} KB"


def _time(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _ago(age: timedelta) -> str:
    minutes = int(age.total_seconds() // 60)
    if minutes < 120:
        return f"{max(0, minutes)} min ago"
    return f"{minutes // 60} h ago" if minutes < 72 * 60 else f"{minutes // 1440} days ago"
