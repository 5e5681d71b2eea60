"""The codes of an authenticator app (RFC 6238): HMAC-SHA1, six digits, 30 seconds."""

from __future__ import annotations

import hmac

PERIOD = 30


def code(key: bytes, step: int) -> str:
    """The code of a period, counted since 1970."""
    digest = hmac.digest(key, step.to_bytes(8, "big"), "sha1")
    offset = digest[-1] & 0xF
    return f"{(int.from_bytes(digest[offset : offset + 4], 'big') & 0x7FFFFFFF) % 1_000_000:06}"
