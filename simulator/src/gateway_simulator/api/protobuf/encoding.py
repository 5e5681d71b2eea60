"""The bytes of protobuf messages: tags, variable-length integers, doubles and byte strings; no message is known here.

Only the wire types that the TWS API uses are read: varint (0), 64 bit (1), length-delimited (2) and 32 bit (5).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MAX_VARINT_BYTES = 10
_WORD = 1 << 64
_SIGN = 1 << 63
_BYTE = 0x80


class ProtobufError(ValueError):
    """Bytes that are no protobuf message; the text states at which byte and why."""


def varint(value: int) -> bytes:
    """Write an integer of 64 bits; a negative one takes ten bytes."""
    value %= _WORD
    written = bytearray()
    while value >= _BYTE:
        written.append(value & 0x7F | _BYTE)
        value >>= 7
    written.append(value)
    return bytes(written)


def integer_field(number: int, value: int) -> bytes:
    """Write a field of type int32, int64 or bool."""
    return varint(number << 3 | VARINT) + varint(value)


def double_field(number: int, value: float) -> bytes:
    """Write a field of type double."""
    return varint(number << 3 | FIXED64) + struct.pack("<d", value)


def bytes_field(number: int, value: bytes) -> bytes:
    """Write a field of type string (in UTF-8) or message."""
    return varint(number << 3 | BYTES) + varint(len(value)) + value


@dataclass
class Fields:
    """A message's fields as read: for each number its values in order, integers (unsigned), doubles or bytes."""

    values: dict[int, list[int | float | bytes]] = field(default_factory=dict)

    def has(self, number: int) -> bool:
        """Return whether a field is present."""
        return number in self.values

    def integer(self, number: int) -> int | None:
        """Return the last value of an integer field, signed."""
        value = self._last(number)
        if value is None:
            return None
        if not isinstance(value, int):
            raise ProtobufError(f"field {number} is not an integer")
        return value - _WORD if value >= _SIGN else value

    def double(self, number: int) -> float | None:
        """Return the last value of a double field."""
        value = self._last(number)
        if value is not None and not isinstance(value, float):
            raise ProtobufError(f"field {number} is not a double")
        return value

    def text(self, number: int) -> str:
        """Return the last value of a string field; empty if it is absent."""
        return "" if (value := self._last(number)) is None else _text(number, value)

    def message(self, number: int) -> Fields:
        """Return a field that is a message; an empty one if it is absent."""
        found = self.messages(number)
        return found[-1] if found else Fields()

    def messages(self, number: int) -> list[Fields]:
        """Return the messages of a repeated field."""
        found = []
        for value in self.values.get(number, []):
            if not isinstance(value, bytes):
                raise ProtobufError(f"field {number} is not a message")
            found.append(read(value))
        return found

    def _last(self, number: int) -> int | float | bytes | None:
        values = self.values.get(number)
        return values[-1] if values else None


def _text(number: int, value: int | float | bytes) -> str:
    if not isinstance(value, bytes):
        raise ProtobufError(f"field {number} is not text")
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ProtobufError(f"field {number} is not UTF-8") from error
    if "\0" in text:
        raise ProtobufError(f"field {number} contains NUL")
    return text


def read(data: bytes) -> Fields:
    """Read a message. Raises ProtobufError if the bytes are none."""
    fields = Fields()
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        number, wire_type = tag >> 3, tag & 7
        value: int | float | bytes
        if wire_type == VARINT:
            value, at = _read_varint(data, at)
        elif wire_type == FIXED64:
            value = struct.unpack("<d", _cut(data, at, 8))[0]
            at += 8
        elif wire_type == BYTES:
            length, at = _read_varint(data, at)
            value = _cut(data, at, length)
            at += length
        elif wire_type == FIXED32:
            value = struct.unpack("<f", _cut(data, at, 4))[0]
            at += 4
        else:
            raise ProtobufError(f"byte {at}: wire type {wire_type} is not in use")
        fields.values.setdefault(number, []).append(value)
    return fields


def _cut(data: bytes, at: int, length: int) -> bytes:
    if at + length > len(data):
        raise ProtobufError(f"byte {at}: {length} bytes are announced, {len(data) - at} are left")
    return data[at : at + length]


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(MAX_VARINT_BYTES):
        if at >= len(data):
            raise ProtobufError(f"byte {at}: an integer is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << 7 * shift
        if byte < _BYTE:
            return value % _WORD, at
    raise ProtobufError(f"byte {at}: an integer is too long")
