"""A message to a person, without anything in it that must not be read by others."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Any

from ib_connection.accounts import masked

_ACCOUNT = re.compile(r"(?<![A-Za-z0-9])D?[A-Z]{1,2}\d{5,9}(?![A-Za-z0-9])")
_WEBHOOK = re.compile(r"(?i)\bhttps?://[^\s/]*discord[^\s/]*/api/(?:v\d+/)?webhooks/\S+")


class Severity(IntEnum):
    """How much a message matters. When the outbox is full, the least goes first, and an alert never."""

    INFO = 0
    WARNING = 1
    ALERT = 2


@dataclass(frozen=True)
class Message:
    """One message. ``time`` is when it happened and has a time zone.

    ``kind`` is a snake_case word for programs. Messages with the same ``dedupe_key`` within a window are counted, not
    repeated. ``recovery_of`` names the dedupe key of the incident that has ended, and with it all below (``key/…``); a
    recovery is sent only if one of them was. ``attachment`` is a PNG file; it is read when the message is sent.

    Account numbers in all texts are masked on the way in, and addresses of Discord webhooks taken out, so no later step
    can show them. Raises ValueError for a time without a zone and for an empty title.
    """

    kind: str
    severity: Severity
    title: str
    time: datetime
    lines: tuple[str, ...] = ()
    fields: tuple[tuple[str, str], ...] = ()
    dedupe_key: str = ""
    recovery_of: str = ""
    attachment: Path | None = None

    def __post_init__(self) -> None:
        if self.time.tzinfo is None:
            raise ValueError(f"the message {self.kind} has a time without a time zone: {self.time}")
        if not self.title.strip():
            raise ValueError(f"the message {self.kind} has no title")
        object.__setattr__(self, "title", clean(self.title))
        object.__setattr__(self, "lines", tuple(clean(line) for line in self.lines))
        object.__setattr__(self, "fields", tuple((clean(name), clean(value)) for name, value in self.fields))

    def with_line(self, line: str) -> Message:
        return replace(self, lines=(*self.lines, line))

    def text(self) -> str:
        """All below the title as plain text."""
        fields = (f"{name}: {value}" for name, value in self.fields)
        return "\n".join((*self.lines, *fields, f"{self.time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"))

    def to_json(self) -> str:
        values = asdict(self) | {"time": self.time.isoformat(), "attachment": self.attachment and str(self.attachment)}
        return json.dumps(values)

    @classmethod
    def from_json(cls, text: str) -> Message:
        """The inverse of `to_json`. Raises ValueError, KeyError or TypeError for anything else."""
        values: dict[str, Any] = json.loads(text)
        attachment = values["attachment"]
        changed = {
            "severity": Severity(values["severity"]),
            "time": datetime.fromisoformat(values["time"]),
            "lines": tuple(values["lines"]),
            "fields": tuple((name, value) for name, value in values["fields"]),
            "attachment": Path(attachment) if attachment else None,
        }
        return cls(**{**values, **changed})


def clean(text: str) -> str:
    """A text as people may see it: account numbers masked, addresses of webhooks left out."""
    return _ACCOUNT.sub(lambda found: masked(found[0]), _WEBHOOK.sub("(address of a webhook)", text))
