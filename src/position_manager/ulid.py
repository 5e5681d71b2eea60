"""ULIDs: ids of 26 characters that sort by time (Crockford's base 32: 48 bits of time, 80 random ones)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def ulid(now: datetime, random_bytes: Callable[[int], bytes]) -> str:
    """A new one of this moment. ``random_bytes(n)`` gives n random bytes, e.g. ``os.urandom``."""
    milliseconds = int(now.timestamp() * 1000)
    value = milliseconds << 80 | int.from_bytes(random_bytes(10), "big")
    return "".join(ALPHABET[value >> shift & 31] for shift in range(125, -1, -5))


def time_of(text: str) -> datetime | None:
    """When a ULID was created, in UTC; None if the text is none."""
    if len(text) != 26 or not set(text) <= set(ALPHABET) or text[0] > "7":
        return None
    milliseconds = 0
    for letter in text[:10]:
        milliseconds = milliseconds << 5 | ALPHABET.index(letter)
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (OverflowError, ValueError):
        return None
