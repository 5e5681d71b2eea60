"""What a backup contains: versions, instance, host, time, each part with its checksum, each journal with its events."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError

from host_backup.errors import BackupError

FORMAT = 1
NAME = "manifest.json"


@dataclass(frozen=True)
class Part:
    """One file or directory. ``path`` is absolute on the host. ``owner`` and ``group`` are names of system users, whose
    numbers differ between hosts, or numbers. ``state`` parts are restored; the others (configuration) come from the
    inventory and are there for comparison. A directory has no checksum."""

    path: str
    state: bool
    mode: int
    owner: str
    group: str
    directory: bool = False
    size: int = 0
    sha256: str = ""


@dataclass(frozen=True)
class JournalFacts:
    """Of one journal: whom it belongs to (``created`` identifies it), its last event, and a digest of all its events
    and one of everything else."""

    path: str
    mode: str
    accounts: tuple[str, ...]
    schema: int
    created: str
    last_event: int
    last_time: str
    intents: int
    open_intents: int
    episodes: int
    events_digest: str
    content_digest: str


@dataclass(frozen=True)
class GatewayFacts:
    """An instance of the gateway as it was configured."""

    name: str
    trading_mode: str
    image: str


@dataclass(frozen=True)
class ManagerFacts:
    """An instance of the position manager as it was configured."""

    name: str
    mode: str


@dataclass(frozen=True)
class Manifest:
    """``host`` is the name in the inventory; ``left_out`` names what was not copied, with the reason."""

    host: str
    created: datetime
    release: str
    gateways: tuple[GatewayFacts, ...]
    managers: tuple[ManagerFacts, ...]
    journals: tuple[JournalFacts, ...]
    parts: tuple[Part, ...]
    left_out: tuple[str, ...] = ()
    format: int = field(default=FORMAT)

    @property
    def id(self) -> str:
        """Name of the backup, also of its file."""
        return f"{self.host}-{self.created:%Y%m%dT%H%M%SZ}"

    def to_json(self) -> str:
        return json.dumps(asdict(self) | {"created": self.created.isoformat()}, indent=1)


_MANIFEST = TypeAdapter(Manifest)


def parse(text: str | bytes) -> Manifest:
    """Raises BackupError for another format, and for what is no manifest."""
    try:
        document: Any = json.loads(text)
        version = document["format"]
    except (ValueError, TypeError, KeyError) as error:
        raise BackupError("The manifest cannot be read.", "The backup is damaged: use another one.") from error
    if version != FORMAT:
        raise BackupError(
            f"The backup has format {version}; this release reads {FORMAT}.", "Use the release that created it."
        )
    try:
        return _MANIFEST.validate_python(document)
    except ValidationError as error:
        first = error.errors()[0]
        raise BackupError(
            f"The manifest is invalid at {'.'.join(map(str, first['loc']))}: {first['msg']}.",
            "The backup is damaged: use another one.",
        ) from error
