"""The codes of an authenticator app (RFC 6238): HMAC-SHA1, six digits, 30 seconds. Pure; the moment is a parameter.

Written out instead of taken from a package: pyotp refuses secrets of fewer than 112 bits from 2.12 on, and IBKR shows
16 characters, which are 80 bits.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

DIGITS = 6
PERIOD = 30
SHORTEST = 16
"""Characters of the shortest secret that is accepted: 80 bits."""

_ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")


class SecretError(ValueError):
    """A text that is no secret of an authenticator app. The message never contains a part of it."""


@dataclass(frozen=True)
class Totp:
    """The codes of one secret. A code belongs to a step, the number of the period since 1970."""

    key: bytes = field(repr=False)

    def code(self, step: int) -> str:
        """The code of a step."""
        digest = hmac.digest(self.key, step.to_bytes(8, "big"), "sha1")
        offset = digest[-1] & 0xF
        number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
        return f"{number % 10**DIGITS:0{DIGITS}}"


def step_at(now: datetime) -> int:
    """The step of a moment."""
    return int(now.timestamp() // PERIOD)


def seconds_left(now: datetime) -> float:
    """How long the code of a moment remains valid."""
    return PERIOD - now.timestamp() % PERIOD


def start_of(step: int) -> datetime:
    """When the code of a step becomes valid."""
    return datetime.fromtimestamp(step * PERIOD, UTC)


def parse_secret(text: str) -> Totp:
    """The codes of a secret as IBKR shows it: base32 in any case, also in groups and with padding.

    Raises `SecretError`.
    """
    if "otpauth:" in text.lower():
        raise SecretError("is the whole otpauth address. Use the value of its parameter secret only.")
    written = "".join(text.split()).replace("-", "").rstrip("=")
    letters = written.upper()
    if not letters:
        raise SecretError("is empty.")
    if letters.isdigit() and len(letters) <= 8:
        raise SecretError("is a code of digits, not the secret that the codes are computed from.")
    # Upper case has made ASCII of some letters that are not.
    if not written.isascii() or not set(letters) <= _ALPHABET:
        raise SecretError("has a character that base32 does not know. It consists of A to Z and 2 to 7.")
    if len(letters) < SHORTEST:
        raise SecretError(f"has {len(letters)} characters. IBKR's secrets have at least {SHORTEST}: copy all of it.")
    try:
        return Totp(base64.b32decode(letters + "=" * (-len(letters) % 8)))
    except binascii.Error as error:
        raise SecretError(f"has {len(letters)} characters, which base32 cannot have: one is missing.") from error


def read_secret(file: Path) -> Totp:
    """The codes of the secret in a file. Raises `SecretError`, which names the file."""
    try:
        return parse_secret(file.read_text(encoding="utf-8"))
    except SecretError as error:
        raise SecretError(f"The secret of the authenticator app in {file} {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SecretError(f"The secret of the authenticator app in {file} cannot be read: {reason}.") from None
