"""A circuit breaker for logins: a gateway that was refused too often is not started before manual intervention.

The state is pure (`Breaker` and the functions on it); `BreakerFile` stores it over restarts. Too many refused
logins in a row lock an account at IBKR, so what cannot be read is taken for open.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from host_service.statefile import write_json

BAD_LOGIN = "bad_credentials"

CREDENTIAL_CAUSES = frozenset({"bad_credentials", "empty_credentials", "account_locked"})
"""Causes that only other credentials resolve: a change of other settings must not cost further logins."""


@dataclass(frozen=True)
class Opening:
    """Why the breaker is open: `cause` id, one line of `text`, the `remedy`, and since when (UTC)."""

    cause: str
    text: str
    remedy: str
    at: datetime


@dataclass(frozen=True)
class Breaker:
    """`refusals` counts by cause the logins that failed in a row, the last of them at `last_bad_at` (UTC); `opening`
    is None while closed."""

    refusals: Mapping[str, int] = field(default_factory=dict)
    last_bad_at: datetime | None = None
    opening: Opening | None = None

    @property
    def since(self) -> datetime | None:
        """When the last fault occurred; a correction must be newer."""
        return self.opening.at if self.opening else self.last_bad_at

    @property
    def about_credentials(self) -> bool:
        """Whether only other credentials correct it."""
        return self.opening is None or self.opening.cause in CREDENTIAL_CAUSES

    @property
    def bad_logins(self) -> int:
        """How often in a row IBKR has rejected the credentials."""
        return self.count(BAD_LOGIN)

    def count(self, cause: str) -> int:
        """How often in a row the cause has occurred."""
        return self.refusals.get(cause, 0)

    def after_refusal(self, cause: str, now: datetime) -> Breaker:
        return replace(self, refusals={**self.refusals, cause: self.count(cause) + 1}, last_bad_at=now)

    def opened(self, cause: str, text: str, remedy: str, now: datetime) -> Breaker:
        return replace(self, opening=Opening(cause, text, remedy, now))

    def corrected(self, corrected_at: datetime | None) -> Breaker:
        """Return a closed breaker at zero if something was corrected since the fault, otherwise the same one."""
        if self.since is not None and corrected_at is not None and corrected_at > self.since:
            return Breaker()
        return self


class BreakerFileError(Exception):
    """The breaker's file cannot be understood; the message names it, the reason and the remedy."""


class BreakerFile:
    """The breaker on disk (mode 0600). Writing raises OSError."""

    def __init__(self, path: Path, instance: str) -> None:
        self.path = path
        self._instance = instance

    def read(self) -> Breaker:
        """The breaker as it was last written; closed if it never was. Raises `BreakerFileError`."""
        try:
            return _decode(json.loads(self.path.read_bytes()))
        except FileNotFoundError:
            return Breaker()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BreakerFileError(
                f"{self.path} cannot be read as a breaker ({type(error).__name__}: {error}), so no login is tried. "
                f"If the credentials are right: gateway-watch reset --instance {self._instance}"
            ) from error

    def write(self, breaker: Breaker) -> None:
        write_json(self.path, _encode(breaker))

    def reset(self) -> bool:
        """Close it and discard the rejected logins; return whether there was anything to discard."""
        try:
            self.path.unlink()
        except FileNotFoundError:
            return False
        return True


def newest_change(files: Iterable[Path]) -> datetime | None:
    """When the latest of `files` was written (UTC); None if there is none. Needs no right to read them."""
    times = []
    for file in files:
        try:
            times.append(file.stat().st_mtime)
        except FileNotFoundError:
            continue
    return datetime.fromtimestamp(max(times), UTC) if times else None


def _encode(breaker: Breaker) -> dict[str, Any]:
    opening = breaker.opening
    return {
        "bad_logins": breaker.bad_logins,
        "refusals": dict(breaker.refusals),
        "last_bad_at": breaker.last_bad_at.isoformat() if breaker.last_bad_at else None,
        "open": None
        if opening is None
        else {"cause": opening.cause, "text": opening.text, "remedy": opening.remedy, "at": opening.at.isoformat()},
    }


def _decode(document: dict[str, Any]) -> Breaker:
    bad, last, opening = document["bad_logins"], document["last_bad_at"], document["open"]
    # A file of an earlier release counts only rejected credentials.
    refusals = document.get("refusals", {BAD_LOGIN: bad} if bad else {})
    if not all(isinstance(count, int) and count >= 0 for count in (bad, *refusals.values())):
        raise ValueError(f"bad_logins is {bad!r}, refusals are {refusals!r}")
    return Breaker(
        refusals={str(cause): count for cause, count in refusals.items()},
        last_bad_at=None if last is None else _moment(last),
        opening=None
        if opening is None
        else Opening(str(opening["cause"]), str(opening["text"]), str(opening["remedy"]), _moment(opening["at"])),
    )


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment
