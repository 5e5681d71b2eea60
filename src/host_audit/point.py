"""The result of one check of the audit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

LIVE = "live-readiness"
"""Tag of the points that must be fulfilled before the first live order."""


class Level(Enum):
    MUST = "must"
    SHOULD = "should"


class Verdict(Enum):
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    """Does not apply to this host, for the reason in `found`."""
    UNKNOWN = "unknown"
    """Could not be checked, for the reason in `found`. Of a must it counts as failed."""


@dataclass(frozen=True)
class Point:
    """One point: `subject` is what it is about (an instance, a file), empty for the whole host."""

    id: str
    title: str
    level: Level
    expected: str
    found: str
    verdict: Verdict
    remedy: str = ""
    subject: str = ""
    tags: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def parse(cls, document: object) -> Point:
        """A point as `report.as_json` writes it, such as those of the cloud account. Raises ValueError."""
        if not isinstance(document, dict):
            raise ValueError(f"a point must be an object, not {document!r}")
        try:
            return cls(
                str(document["id"]),
                str(document["title"]),
                Level(document["level"]),
                str(document["expected"]),
                str(document["found"]),
                Verdict(document["verdict"]),
                str(document["remedy"]),
                str(document["subject"]),
                frozenset(map(str, document["tags"])),
            )
        except KeyError as error:
            raise ValueError(f"a point lacks {error}") from error

    @property
    def is_failed_must(self) -> bool:
        return self.level is Level.MUST and self.verdict in (Verdict.FAILED, Verdict.UNKNOWN)


@dataclass(frozen=True)
class Definition:
    """What is the same for every result of a point."""

    id: str
    title: str
    level: Level
    expected: str
    remedy: str
    tags: frozenset[str] = field(default_factory=frozenset)

    def _point(self, verdict: Verdict, found: str, subject: str, remedy: str) -> Point:
        return Point(self.id, self.title, self.level, self.expected, found, verdict, remedy, subject, self.tags)

    def passed(self, found: str, subject: str = "") -> Point:
        return self._point(Verdict.PASSED, found, subject, "")

    def failed(self, found: str, subject: str = "", remedy: str = "") -> Point:
        return self._point(Verdict.FAILED, found, subject, remedy or self.remedy)

    def skipped(self, reason: str, subject: str = "") -> Point:
        return self._point(Verdict.SKIPPED, reason, subject, "")

    def unknown(self, reason: str, subject: str = "") -> Point:
        return self._point(Verdict.UNKNOWN, reason, subject, self.remedy)

    def of(self, faults: Iterable[str], found: str, subject: str = "") -> Point:
        """Failed with the faults, or passed with `found` if there are none."""
        text = "; ".join(faults)
        return self.failed(text, subject) if text else self.passed(found, subject)


def must(id_: str, title: str, expected: str, remedy: str, *tags: str) -> Definition:
    return Definition(id_, title, Level.MUST, expected, remedy, frozenset(tags))


def should(id_: str, title: str, expected: str, remedy: str, *tags: str) -> Definition:
    return Definition(id_, title, Level.SHOULD, expected, remedy, frozenset(tags))
