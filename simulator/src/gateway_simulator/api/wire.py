"""The framing of the TWS API: length-prefixed frames of NUL-terminated text fields.

A client opens with the four bytes ``API\\0``; everything after them, in both directions, is a frame:
a big-endian unsigned 32 bit length and that many bytes. Nothing in here knows what a message means.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from math import isfinite

PREFACE = b"API\0"
HEADER_LENGTH = 4
MAX_FRAME_LENGTH = 256 * 1024
"""Longest frame accepted from a client, in bytes. The longest honest request is a few kilobytes."""

FieldValue = str | int | float | bool | Decimal | None

_OLD_OPENING = re.compile(rb"(\d{1,3})(\0?)", re.ASCII)
_VERSION_OFFER = re.compile(r"v(\d{1,5})(?:\.\.(\d{1,5}))?(?: (.*))?", re.ASCII | re.DOTALL)


class WireError(Exception):
    """The bytes are not the TWS API. ``code`` is the IB message code that reports it."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class OldHandshakeError(WireError):
    """A client opens with its own version, as clients did before server version 100."""

    def __init__(self, client_version: int) -> None:
        super().__init__(508, f"Bad message: a client of version {client_version} without a version offer")
        self.client_version = client_version


@dataclass(frozen=True)
class VersionOffer:
    """The range of server versions a client can speak, and its connect options."""

    minimum: int
    maximum: int
    options: str = ""


class FrameReader:
    """Cuts a client's byte stream into frames, as the bytes arrive.

    Bytes go in with :meth:`feed`; frames come out one at a time with :meth:`next_frame`, so that
    the owner can stop reading while a frame is being served. A length beyond ``max_length`` is
    refused from its header alone, before anything of the frame is stored.
    """

    def __init__(self, max_length: int = MAX_FRAME_LENGTH) -> None:
        self._max_length = max_length
        self._buffer = bytearray()
        self._preface_seen = False

    @property
    def buffered(self) -> int:
        """Number of bytes received and not yet taken as frames."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Add bytes received from the client."""
        self._buffer += data

    def next_frame(self) -> bytes | None:
        """Return the next complete frame's payload, or None until more bytes arrive.

        Raises WireError on a wrong preface, an empty frame or one longer than allowed; the stream
        cannot be read any further after that.
        """
        if not self._preface_seen and not self._take_preface():
            return None
        if len(self._buffer) < HEADER_LENGTH:
            return None
        (length,) = struct.unpack_from(">I", self._buffer)
        if not 0 < length <= self._max_length:
            raise WireError(507, f"Bad Message Length {length} (allowed: 1 to {self._max_length})")
        end = HEADER_LENGTH + length
        if len(self._buffer) < end:
            return None
        payload = bytes(self._buffer[HEADER_LENGTH:end])
        del self._buffer[:end]
        return payload

    def _take_preface(self) -> bool:
        start = bytes(self._buffer[: len(PREFACE)])
        if old := _OLD_OPENING.match(start):
            if old[2]:
                raise OldHandshakeError(int(old[1]))
            if old.end() == len(start):
                return False
        if not PREFACE.startswith(start):
            raise WireError(508, f"Bad message: a client starts with {PREFACE!r}, this one with {start!r}")
        if len(start) < len(PREFACE):
            return False
        del self._buffer[: len(PREFACE)]
        self._preface_seen = True
        return True


def parse_version_offer(payload: bytes) -> VersionOffer:
    """Read a client's first frame, for example ``v157..178`` or ``v176 +PACEAPI``.

    Raises WireError if it is not a version offer or its range is empty.
    """
    text = payload.decode("ascii", errors="replace")
    match = _VERSION_OFFER.fullmatch(text)
    if match is None:
        raise WireError(508, f"Bad message: expected a version offer like 'v157..178', got {text[:80]!r}")
    minimum = int(match[1])
    maximum = int(match[2] or match[1])
    if minimum > maximum:
        raise WireError(508, f"Bad message: the version offer {text[:80]!r} is an empty range")
    return VersionOffer(minimum, maximum, match[3] or "")


def decode_fields(payload: bytes) -> list[str]:
    """Split a frame's payload into its fields. Raises WireError unless it is NUL-terminated UTF-8."""
    if not payload.endswith(b"\0"):
        raise WireError(508, "Bad message: the last field is not terminated")
    try:
        return payload[:-1].decode("utf-8").split("\0")
    except UnicodeDecodeError as error:
        raise WireError(508, f"Bad message: not UTF-8 at byte {error.start}") from error


def field_text(value: FieldValue) -> str:
    """Encode one value as a field: None is empty, a bool is 1 or 0, a Decimal has no exponent.

    Raises ValueError for text with a NUL in it, which would shift every field after it, and for a number that is
    infinite or none at all.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, Decimal | float) and not isfinite(value):
        raise ValueError(f"a field cannot be the number {value}")
    if isinstance(value, Decimal):
        return format(value, "f")
    text = str(value)
    if "\0" in text:
        raise ValueError(f"a field cannot contain NUL: {text!r}")
    return text


def encode_frame(fields: Iterable[FieldValue]) -> bytes:
    """Encode fields as one frame, header included."""
    payload = "".join(field_text(value) + "\0" for value in fields).encode("utf-8")
    return struct.pack(">I", len(payload)) + payload
