"""The gateway's messages as protobuf, rewritten from their text fields at version 178.

A table entry lists what the text fields are, in order, separated by spaces. ``5s`` is field 5 of the message, ``3.5s``
field 5 of the message in field 3.

| sign | text field, or fields |
|---|---|
| ``s`` ``i`` ``d`` ``b`` | text, integer, double, yes or no; one that is not set is left out |
| ``e`` | text in ASCII with escapes |
| ``-`` | left out: it has no field |
| ``c`` ``p`` | the eleven fields of a contract; ``p`` has its primary exchange where ``c`` has the exchange |
| ``m`` | a sum of 1 and 2: a message of two flags |
| ``v…s`` ``v…d`` | a count and so many values |
| ``r…( … )`` | a count and so many groups of fields, each a message |
| ``a`` | an algorithm's name and, if there is one, its parameters, which go to the next field |
| ``q`` | an order's conditions and, if there are any, two flags |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from gateway_simulator.api.messages.blocks import UNSET_INTEGER, UNSET_LONG, UNSET_NUMBER
from gateway_simulator.api.protobuf.encoding import bytes_field, double_field, integer_field
from gateway_simulator.api.protobuf.requests import CONDITIONS

PROTOBUF_IDS = 200
"""What is added to the id of a message whose body is protobuf."""
ERROR, HISTORICAL_DATA, TICK_BY_TICK, HISTORICAL_DATA_END = 4, 17, 99, 108
ERROR_TIME = 2
IGNORE_RTH, CANCEL = 102, 101
"""The fields of an order that define how its conditions count."""

_BAR = "1s 2d 3d 4d 5d 6s 7s 8i"
_HEAD = "3.5s 3.6s 3.8s 3.9d 3.10d 3.11s 3.27s 3.12s 3.68s 3.69i 3.28s"
_MIDDLE = "3.103s 3.26s 3.29s 3.21d 3.13s 3.70i 3.71s 3.72i"
_BLOCKS = "2.19s r2.20( 1i 2i 3s 4s 5i 6i 7s 8i ) r0( - ) r3.64( 1s 2s ) 3.48i 3.49i 3.50d 3.59s"
_ENDS = "3.127i 3.128i 3.129d 3.130d 3.131d"
_REFERENCES = "3.78d 3.79d 3.80d 3.81d 3.82d"

ANSWERS: dict[int, str] = {
    1: "- 1i 2i 3d 4s 5i",
    2: "- 1i 2i 3s",
    3: "1i 2s 3s 4s 5d 6i 7i 8d 9i 10s 11d",
    4: "- 1i 3i 4e 5s",
    5: (
        f"1i 2c {_HEAD} 3.1i 3.3i 3.19b 3.18b 3.76d 3.25s - 3.34s 3.35s 3.36s {_MIDDLE} - {_REFERENCES} 3.7i 3.17b "
        "3.20b 3.16b 3.24i 3.30i - - - 3.4i 3.31i 3.37d 3.38i 3.41s 3.42d 3.43i 3.73s 3.74s 3.75s 3.44s 3.45b 3.46i "
        f"3.47s 3.39b 3.40i 3.23d 3.22d - - {_BLOCKS} 3.77b 3.14s 3.15s 3.83b - 3.61a 3.85b 3.65b 4.1s 4.2d 4.3d 4.4d "
        "4.5d 4.6d 4.7d 4.8d 4.9d 4.10d 4.11d 4.12d 4.13d 4.14s 4.28e 3.86b 3.87b 3.100q 3.93s 3.94d 3.23d 3.99d 3.95d "
        f"3.96d 3.97d 3.98i - - - 3.106d 3.111b 3.112b 3.113b 3.122i 3.123i 3.124i 3.117b {_ENDS}"
    ),
    6: "- 1s 2s 3s 4s",
    7: "- 1p 2s 3d 4d 5d 6d 7d 8s",
    8: "- 1s",
    9: "- 1i",
    10: (
        "1i 2.2s 2.3s 2.4s 2.5d 2.6s 2.8s 2.10s 2.11s 3.1s 2.12s 2.1i 3.2s 2.7d 3.3s 3.4s 3.5i 3.6i 3.7e 2.9s 3.8s "
        "3.9s 3.10s 3.11s 3.12s 3.13s 3.14s 3.15s 3.16d r3.17( 1s 2s ) 3.18i 3.19s 3.20s 3.21s 3.22s 3.23s 3.24s "
        "3.25s 3.26s"
    ),
    11: (
        "1i 3.1i 2c 3.2s 3.3s 3.4s 3.5s 3.6s 3.7s 3.8d 3.9i 3.10i 3.11b 3.12s 3.13d 3.14s 3.15s 3.16d 3.17s 3.18i 3.19b"
    ),
    14: "- 1i 2i 3s 4s",
    15: "- 1s",
    17: f"1i - - r2( {_BAR} )",
    21: "1i 2i 3i 4d 5d 6d 7d 8d 9d 10d 11d",
    45: "- 1i 2i 3d",
    46: "- 1i 2i 3s",
    49: "- 1i",
    50: "- 1i 2i 3d 4d 5d 6d 7s 8s 9i",
    52: "- 1i",
    53: "-",
    54: "- 1s",
    55: "- 1i",
    57: "- 1i",
    58: "- 1i 2i",
    59: "- 1s 2d 3s 4d 5d 6s",
    61: "- 1s 2c 3s 4d",
    62: "-",
    63: "- 1i 2s 3s 4s 5s",
    64: "- 1i",
    71: "- 1i 2s 3c 4s 5d 6s",
    72: "- 1i",
    73: "- 1i 2s 3s 4s 5s 6s",
    74: "- 1i",
    75: "1i 2s 3i 4s 5s v6s v7d",
    76: "1i",
    77: "1i r2( 1s 2s 3s )",
    78: "r1( 1s 2s )",
    79: "1i r2( 1.1i 1.2s 1.3s 1.9s 1.10s v2s 1.15s 1.16s )",
    80: "r1( 1s 2s 3s 4s 5i )",
    81: "1i 2s 3s 4i",
    82: "1i r2( 1i 2s 3s )",
    85: "r1( 1s 2s )",
    88: "1i 2s",
    90: "1i 2.8i 2.1s 2.2d 2.5d 2.3d 2.4d 2.7s 2.6s",
    93: "1i r2( 1d 2d )",
    94: "1i 2d 3d 4d",
    95: "1i 2s 3d 4d 5d 6d",
    96: "1i r2( 1i - 2d 3s ) 3b",
    97: "1i r2( 1i 2m 3d 4d 5s 6s ) 3b",
    98: "1i r2( 1i 2m 3d 4s 5s 6s ) 3b",
    101: (
        "1c 2.5s 2.6s 2.8s 2.9d 2.10d 2.11s 2.27s 2.12s 2.68s 2.69i 2.28s 2.3i 2.19b 2.18b 2.76d 2.25s 2.34s 2.35s "
        "2.36s 2.103s 2.26s 2.29s 2.21d 2.13s 2.70i 2.71s 2.72i 2.78d 2.79d 2.80d 2.81d 2.82d 2.7i 2.20b 2.16b 2.24i "
        "2.30i 2.31i 2.37d 2.38i 2.41s 2.42d 2.43i 2.45b 2.46i 2.47s 2.39b 2.40i 2.23d 2.22d 1.19s "
        "r1.20( 1i 2i 3s 4s 5i 6i 7s 8i ) r0( - ) r2.64( 1s 2s ) 2.48i 2.49i 2.50d 2.59s 2.14s 2.15s 2.83b - 2.61a "
        "2.85b 3.1s 2.86b 2.87b 2.100q 2.23d 2.99d 2.106d 2.111b 2.112b 2.114s 2.115s 2.116i 2.117b 2.118s 2.119b "
        "2.120i 2.121i 3.29s 3.30s 2.127i 2.128i 2.129d 2.130d 2.131d"
    ),
    102: "",
    106: "1i 2s 3s 4s r5( 1s 2s 3s )",
    107: "1i 2s",
    109: "1i",
}
TICKS_BY_TICK = {
    "1": "1i 2i 3.1i 3.3d 3.4s 3.2m 3.5s 3.6s",
    "2": "1i 2i 3.1i 3.3d 3.4s 3.2m 3.5s 3.6s",
    "3": "1i 2i 4.1i 4.3d 4.4d 4.5s 4.6s 4.2m",
    "4": "1i 2i 5.1i 5.2d",
}
CONTRACT = "1i 2s 3s 4s 5d 6s 7d 8s 10s 11s 12s"
PORTFOLIO_CONTRACT = "1i 2s 3s 4s 5d 6s 7d 9s 10s 11s 12s"

_SIGN = re.compile(r"(?P<list>[vr]?)(?:(?P<group>\d+)\.)?(?P<number>\d+)(?P<kind>[sidbecpmaq(])")
_UNSET = {"", UNSET_NUMBER, str(UNSET_INTEGER), str(UNSET_LONG)}
_ESCAPE = re.compile(r"\\u([0-9a-f]{4})|\\U([0-9a-f]{8})")
_YES = ("1", "true")


class UnknownAnswerError(LookupError):
    """A message of the gateway that the tables do not have."""


@dataclass
class Message:
    """A message being written: its own fields, and those of the messages in it by field number."""

    own: bytearray = field(default_factory=bytearray)
    inner: dict[int, Message] = field(default_factory=dict)

    def of(self, group: int) -> Message:
        """Return the message in a field, or this one for 0."""
        return self.inner.setdefault(group, Message()) if group else self

    def written(self) -> bytes:
        """Return the bytes; an inner message of no fields is not written."""
        inner = ((number, each.written()) for number, each in self.inner.items())
        return bytes(self.own) + b"".join(bytes_field(number, data) for number, data in inner if data)


_Take = Callable[[], str]
_Step = Callable[[Message, _Take], None]


def rewrite(fields: Sequence[str], milliseconds: int) -> Iterator[tuple[int, bytes]]:
    """Return the protobuf messages equivalent to a text message of version 178: their ids and bodies.

    ``milliseconds`` since 1970 is the moment that an error names, which text does not.
    Raises UnknownAnswerError if there is no table for it.
    """
    message_id = int(fields[0])
    if message_id == TICK_BY_TICK:
        steps = _TICK_STEPS[fields[2]]
    elif message_id in _STEPS:
        steps = _STEPS[message_id]
    else:
        raise UnknownAnswerError(f"message {message_id} has no form in protobuf")
    message = Message()
    taken = iter(fields[1:])
    for step in steps:
        step(message, taken.__next__)
    if message_id == ERROR:
        message.own += integer_field(ERROR_TIME, milliseconds)
    yield message_id, message.written()
    if message_id == HISTORICAL_DATA:
        end = integer_field(1, int(fields[1])) + _string(2, fields[2]) + _string(3, fields[3])
        yield HISTORICAL_DATA_END, end


def _string(number: int, text: str) -> bytes:
    return bytes_field(number, text.encode("utf-8")) if text else b""


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1] or found[2], 16)), text)


def _scalar(kind: str, number: int, text: str) -> bytes:
    if kind == "s":
        return _string(number, text)
    if kind == "e":
        return _string(number, _unescaped(text))
    if text in _UNSET:
        return b""
    if kind == "d":
        return double_field(number, float(text))
    if kind == "b":
        return integer_field(number, text in _YES)
    return integer_field(number, int(text))


def _flags(text: str) -> bytes:
    mask = int(text or 0)
    return integer_field(1, mask & 1) + integer_field(2, mask >> 1 & 1) if mask else b""


def _compiled(signs: str) -> tuple[_Step, ...]:
    """Compile a table entry into steps, each of which reads its text fields and adds to the message."""
    words = iter(signs.split())
    return tuple(_steps(words))


def _steps(words: Iterator[str]) -> Iterator[_Step]:
    for word in words:
        if word == ")":
            return
        if word == "-":
            yield lambda _, take: _ignore(take())
            continue
        found = _SIGN.fullmatch(word)
        if found is None:
            raise ValueError(f"{word!r} is not a sign of the table")
        group, number, kind = int(found["group"] or 0), int(found["number"]), found["kind"]
        if found["list"] == "r":
            yield _repeated(group, number, tuple(_steps(words)))
        elif found["list"] == "v":
            yield _values(group, number, kind)
        elif kind in "cp":
            yield _contract(number, _compiled(CONTRACT if kind == "c" else PORTFOLIO_CONTRACT))
        elif kind == "m":
            yield _mask(group, number)
        elif kind == "q":
            yield _conditions(group, number)
        elif kind == "a":
            yield _algorithm(group, number)
        else:
            yield _single(group, number, kind)


def _ignore(_: str) -> None:
    """Leave a field out."""


def _single(group: int, number: int, kind: str) -> _Step:
    def step(message: Message, take: _Take) -> None:
        message.of(group).own += _scalar(kind, number, take())

    return step


def _mask(group: int, number: int) -> _Step:
    def step(message: Message, take: _Take) -> None:
        flags = _flags(take())
        if flags:
            message.of(group).own += bytes_field(number, flags)

    return step


def _values(group: int, number: int, kind: str) -> _Step:
    def step(message: Message, take: _Take) -> None:
        for _ in range(int(take())):
            message.of(group).own += _scalar(kind, number, take())

    return step


def _repeated(group: int, number: int, steps: tuple[_Step, ...]) -> _Step:
    def step(message: Message, take: _Take) -> None:
        for _ in range(int(take() or 0)):
            entry = Message()
            for each in steps:
                each(entry, take)
            if number:
                message.of(group).own += bytes_field(number, entry.written())

    return step


def _contract(number: int, steps: tuple[_Step, ...]) -> _Step:
    def step(message: Message, take: _Take) -> None:
        for each in steps:
            each(message.of(number), take)

    return step


def _algorithm(group: int, number: int) -> _Step:
    def step(message: Message, take: _Take) -> None:
        name = take()
        if not name:
            return
        order = message.of(group)
        order.own += _string(number, name)
        for _ in range(int(take())):
            order.own += bytes_field(number + 1, _string(1, take()) + _string(2, take()))

    return step


def _conditions(group: int, number: int) -> _Step:
    def step(message: Message, take: _Take) -> None:
        order, count = message.of(group), int(take())
        for _ in range(count):
            kind = take()
            entry = bytearray(integer_field(1, int(kind)) + integer_field(2, take() == "a"))
            for sign in CONDITIONS[int(kind)].split():
                entry += _scalar(sign[-1], int(sign[:-1]), take())
            order.own += bytes_field(number, bytes(entry))
        if count:
            order.own += _scalar("b", IGNORE_RTH, take()) + _scalar("b", CANCEL, take())

    return step


_STEPS = {message_id: _compiled(signs) for message_id, signs in ANSWERS.items()}
_TICK_STEPS = {kind: _compiled(signs) for kind, signs in TICKS_BY_TICK.items()}
