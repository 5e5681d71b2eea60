"""How long to wait before the next start of a gateway that keeps failing."""

from __future__ import annotations

FIRST = 10.0
LONGEST = 300.0

_PATIENT = frozenset({"rate_limited"})
"""Causes after which another login before the longest pause would only prolong the refusal."""


def failures_since_stable(restarts: int, stable_at: int | None) -> int:
    """Starts that failed in a row.

    `restarts` is systemd's count of automatic restarts (NRestarts), which continues over successes; `stable_at` is
    what it was when a start last lasted. A count that decreased was reset manually.
    """
    if stable_at is None or restarts <= stable_at:
        return restarts if stable_at is None or restarts < stable_at else 0
    return restarts - stable_at - 1


def pause(failures: int, last_cause: str | None = None) -> float:
    """Seconds to wait after so many failed starts in a row: 0, 10, 20, 40 … 300."""
    if failures > 0 and last_cause in _PATIENT:
        return LONGEST
    return 0.0 if failures <= 0 else min(LONGEST, FIRST * 2.0 ** min(failures - 1, 10))
