"""Until when IB lets a version of the gateway log in: pure, from `gateway_versions.toml` and a day.

IB ends old versions on a day that it announces in the gateway only. From `NOTICE` before that day on people are warned,
and from the day on a deploy is refused, since no login would succeed.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from importlib import resources
from typing import Any

NOTICE = timedelta(days=45)

_TAG = re.compile(r"^[^@]*:(10\.\d+(?:\.\d+[a-z]?)?)(?:@.*)?$")
_PARTS = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")


@dataclass(frozen=True)
class Cutoff:
    """Versions below ``minimum`` do not log in from ``desupported_on`` on."""

    minimum: str
    desupported_on: date
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Version:
    """A known version; ``released`` and ``digest`` are None where no public text has them."""

    version: str
    channel: str
    released: date | None
    source: str
    digest: str | None


@dataclass(frozen=True)
class Versions:
    checked: date
    cutoffs: tuple[Cutoff, ...]
    versions: tuple[Version, ...]


@dataclass(frozen=True)
class Support:
    """A version that IB ends: on which day, in how many days (0 or less: it has ended), and what to use instead."""

    version: str
    desupported_on: date
    days_left: int
    minimum: str
    recommended: str | None

    @property
    def over(self) -> bool:
        return self.days_left <= 0

    @property
    def text(self) -> str:
        day = f"{self.desupported_on:%Y-%m-%d}"
        if self.over:
            return f"IB has ended IB Gateway {self.version} on {day}: it does not log in any more"
        return f"IB ends IB Gateway {self.version} on {day}, in {self.days_left} days: it will not log in from then on"

    @property
    def remedy(self) -> str:
        instead = f", for example {self.recommended}" if self.recommended else ""
        return f"Set ib_gateway_image to version {self.minimum} or later{instead}, and deploy."


def parse(document: str) -> Versions:
    """The data file. Raises ValueError, KeyError or TypeError for another one."""
    data: dict[str, Any] = tomllib.loads(document)
    cutoffs = tuple(
        Cutoff(str(entry["minimum"]), entry["desupported_on"], tuple(entry["sources"])) for entry in data["cutoff"]
    )
    versions = tuple(
        Version(
            str(entry["version"]),
            str(entry["channel"]),
            entry.get("released"),
            str(entry["source"]),
            entry.get("digest"),
        )
        for entry in data["version"]
    )
    return Versions(data["checked"], cutoffs, versions)


@cache
def known() -> Versions:
    return parse((resources.files("gateway_watch") / "gateway_versions.toml").read_text(encoding="utf-8"))


def version_of(image: str, versions: Versions) -> str | None:
    """The version that an image holds, by its tag or its digest; None if neither shows it."""
    if found := _TAG.match(image):
        return found[1]
    digest = image.partition("@")[2]
    return next((entry.version for entry in versions.versions if digest and entry.digest == digest), None)


def support(image: str, today: date, versions: Versions | None = None) -> Support | None:
    """Whether IB ends the version of an image within `NOTICE`, or has ended it; None if not, or if nothing is known."""
    versions = versions or known()
    version = version_of(image, versions)
    if version is None:
        return None
    ended = [cutoff for cutoff in versions.cutoffs if _parts(version) < _parts(cutoff.minimum)]
    if not ended:
        return None
    first = min(ended, key=lambda cutoff: cutoff.desupported_on)
    left = first.desupported_on - today
    if left > NOTICE:
        return None
    # Once it has ended, the highest minimum that is in force counts.
    highest = max((entry.minimum for entry in ended), key=_parts)
    return Support(version, first.desupported_on, left.days, highest, _recommended(versions, highest))


def desupported_on(image: str, versions: Versions | None = None) -> date | None:
    """From which day on the image's version does not log in; None if no end is announced, or nothing is known."""
    versions = versions or known()
    version = version_of(image, versions)
    if version is None:
        return None
    ends = [cutoff.desupported_on for cutoff in versions.cutoffs if _parts(version) < _parts(cutoff.minimum)]
    return min(ends, default=None)


def _recommended(versions: Versions, minimum: str) -> str | None:
    """The newest known version that is not ended, with its digest."""
    fitting = [entry for entry in versions.versions if entry.digest and _parts(entry.version) >= _parts(minimum)]
    if not fitting:
        return None
    newest = max(fitting, key=lambda entry: _parts(entry.version))
    return f"ghcr.io/gnzsnz/ib-gateway:{newest.version}@{newest.digest}"


def _parts(version: str) -> tuple[int, int, int]:
    """For comparisons; a tag without a patch number is the newest patch."""
    found = _PARTS.match(version)
    if found is None:
        raise ValueError(f"{version!r} is no version of IB Gateway")
    return int(found[1]), int(found[2]), int(found[3]) if found[3] else 10**6
