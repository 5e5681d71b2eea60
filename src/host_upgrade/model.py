"""What runs on a host, an upgrade in progress, and the record of one that has ended; each as JSON and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

Tiers = Mapping[str, Mapping[str, Any]]
"""For each unit whether a tier is reached, by the tier's name; of a position manager its phase."""


class UnusableStateError(Exception):
    """A file of state or a record that cannot be read; the message names it."""


@dataclass(frozen=True)
class Deployment:
    """The release, and the image of each gateway; an image is empty if an unfinished deploy leaves it unknown."""

    release: str
    images: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        return {"release": self.release, "images": dict(self.images)}

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> Deployment:
        return Deployment(
            str(document["release"]), {str(name): str(image) for name, image in dict(document["images"]).items()}
        )

    def covers(self, other: Deployment) -> bool:
        """Whether it has the release and images of another one, apart from gateways that only one of them names."""
        return self.release == other.release and all(
            other.images.get(name, image) == image for name, image in self.images.items()
        )

    def changes_to(self, other: Deployment) -> list[str]:
        """One line for each part that differs."""
        lines = [
            f"{name}: {self.images.get(name) or 'no known image'} -> {image}"
            for name, image in other.images.items()
            if self.images.get(name) != image
        ]
        if self.release != other.release:
            lines.append(f"release: {self.release or 'none'} -> {other.release}")
        return lines


class Phase(StrEnum):
    """``switching`` and ``rolling_back`` are in progress, or were interrupted; the others have ended."""

    SWITCHING = "switching"
    ROLLING_BACK = "rolling_back"
    VERIFIED = "verified"
    ROLLED_BACK = "rolled_back"


class Kind(StrEnum):
    """``rollback``: requested with rollback.yml. A rollback after a failed upgrade is part of the upgrade."""

    UPGRADE = "upgrade"
    ROLLBACK = "rollback"


class Outcome(StrEnum):
    """``replaced``: a deploy of something else followed an interrupted upgrade."""

    VERIFIED = "verified"
    ROLLED_BACK = "rolled_back"
    NOT_VERIFIED = "rolled_back_not_verified"
    REPLACED = "replaced"


@dataclass(frozen=True)
class SavedFile:
    """A file as it was before the upgrade; ``content`` is None if it did not exist. None of them holds a secret."""

    path: str
    owner: str
    """The unit's name without its type, for which it is."""
    content: str | None
    mode: int = 0o600
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True)
class State:
    """The upgrade in progress, or the last one: ``before`` is the way back. ``reason``: why it is rolled back.
    ``verified``: whether the last rollback was verified. ``restart``: units that the rollback restarts."""

    phase: Phase
    kind: Kind
    before: Deployment
    after: Deployment
    started: datetime
    files: tuple[SavedFile, ...] = ()
    reason: str = ""
    verified: bool = True
    interruptions: int = 0
    tiers_before: Tiers = field(default_factory=dict)
    restart: tuple[str, ...] = ()

    @property
    def in_progress(self) -> bool:
        return self.phase in (Phase.SWITCHING, Phase.ROLLING_BACK)

    def to_json(self) -> dict[str, Any]:
        return {
            "phase": self.phase.value,
            "kind": self.kind.value,
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "started": self.started.isoformat(),
            "reason": self.reason,
            "verified": self.verified,
            "interruptions": self.interruptions,
            "tiers_before": {name: dict(tiers) for name, tiers in self.tiers_before.items()},
            "restart": list(self.restart),
            "files": [vars(file) for file in self.files],
        }

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> State:
        """Raises KeyError, TypeError or ValueError for anything else."""
        return State(
            phase=Phase(document["phase"]),
            kind=Kind(document["kind"]),
            before=Deployment.from_json(document["before"]),
            after=Deployment.from_json(document["after"]),
            started=datetime.fromisoformat(document["started"]),
            reason=str(document["reason"]),
            verified=document["verified"] is True,
            interruptions=int(document["interruptions"]),
            tiers_before=dict(document["tiers_before"]),
            restart=tuple(document["restart"]),
            files=tuple(SavedFile(**file) for file in document["files"]),
        )


@dataclass(frozen=True)
class Record:
    """An upgrade or rollback that has ended."""

    kind: Kind
    before: Deployment
    after: Deployment
    started: datetime
    ended: datetime
    outcome: Outcome
    reason: str
    interruptions: int
    tiers_before: Tiers
    tiers_after: Tiers

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind.value,
            "from": self.before.to_json(),
            "to": self.after.to_json(),
            "started": self.started.isoformat(),
            "ended": self.ended.isoformat(),
            "seconds": round((self.ended - self.started).total_seconds(), 1),
            "outcome": self.outcome.value,
            "reason": self.reason,
            "interruptions": self.interruptions,
            "tiers_before": {name: dict(tiers) for name, tiers in self.tiers_before.items()},
            "tiers_after": {name: dict(tiers) for name, tiers in self.tiers_after.items()},
        }

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> Record:
        """Raises KeyError, TypeError or ValueError for anything else."""
        return Record(
            kind=Kind(document["kind"]),
            before=Deployment.from_json(document["from"]),
            after=Deployment.from_json(document["to"]),
            started=datetime.fromisoformat(document["started"]),
            ended=datetime.fromisoformat(document["ended"]),
            outcome=Outcome(document["outcome"]),
            reason=str(document["reason"]),
            interruptions=int(document["interruptions"]),
            tiers_before=dict(document["tiers_before"]),
            tiers_after=dict(document["tiers_after"]),
        )

    @property
    def line(self) -> str:
        """One line for people."""
        changes = DIGEST.sub(r"\1", "; ".join(self.before.changes_to(self.after))) or "no change"
        seconds = (self.ended - self.started).total_seconds()
        outcome = {
            Outcome.VERIFIED: f"verified after {seconds:.0f} s",
            Outcome.ROLLED_BACK: f"ROLLED BACK and verified after {seconds:.0f} s: {headline(self.reason)}",
            Outcome.NOT_VERIFIED: f"ROLLED BACK, NOT VERIFIED: {headline(self.reason)}",
            Outcome.REPLACED: "interrupted, and replaced by a later deploy",
        }[self.outcome]
        return f"{self.kind} {self.started:%Y-%m-%d %H:%M} UTC, {outcome} ({changes})"


HEADLINE_LENGTH = 240
DIGEST = re.compile(r"(@sha256:[0-9a-f]{12})[0-9a-f]{52}")
"""The part that distinguishes an image for people."""


def headline(text: str) -> str:
    """The first two lines of a reason as one, in which a verification names what failed and why."""
    line = " ".join(line.strip() for line in text.strip().splitlines()[:2])
    return line if len(line) <= HEADLINE_LENGTH else f"{line[:HEADLINE_LENGTH]} …"
