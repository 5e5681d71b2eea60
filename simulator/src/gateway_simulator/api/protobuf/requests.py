"""Requests in protobuf, rewritten as the text fields of the same request at version 178.

A table entry lists the text fields in order, separated by spaces. ``5s`` is field 5 of the message, ``3.5s`` field 5 of
the message in field 3, ``3.105.1s`` one level further down.

| sign | text field, or fields |
|---|---|
| ``=TEXT`` | this text, whatever the message contains |
| ``s`` ``i`` ``d`` ``b`` | text, integer, double, yes or no; empty (no) if the field is absent |
| ``n`` | an integer, 0 if the field is absent |
| ``c`` | the twelve fields of a contract |
| ``l`` | the legs of a combination; nothing for another contract |
| ``x`` | the block of a delta neutral contract |
| ``a`` | a name and, if there is one, its parameters, which come from the next field |
| ``q`` | the conditions of an order |

placeOrder consists of blocks, some of which are there only if a term of the order asks for them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal

from gateway_simulator.api.protobuf.encoding import Fields, ProtobufError, read

REQUESTS: dict[int, str] = {
    1: "=11 1n 2c 2l 2x 3s 4b 5b =",
    2: "=2 1n",
    4: "=1 1n 2.1s",
    5: "=1",
    6: "=2 1b 2s",
    7: "=3 1n 2.1i 2.2s 2.3s 2.4s 2.5s 2.6s 2.7s",
    8: "=1 1n",
    9: "=8 1n 2c 2.18b 2.13s 2.14s 2.16s",
    12: "=1 1b",
    13: "=1",
    14: "=1 1n",
    15: "=1 1b",
    16: "=1",
    17: "=1",
    20: "1n 2c 2.18b 3s 4s 5s 6b 7s 8n 2l 9b =",
    25: "=1 1n",
    49: "=1",
    50: "=3 1n 2c 3i 4s 5b =",
    51: "=1 1n",
    54: "=3 1n 2c 3d 4d",
    55: "=3 1n 2c 3d 4d",
    56: "=1 1n",
    57: "=1 1n",
    58: "=1",
    59: "=1 1n",
    61: "=1",
    62: "=1 1n 2s 3s",
    63: "=1 1n",
    64: "=1",
    71: "=2 1n 2s",
    74: "=1 1n 2s 3s",
    75: "=1 1n",
    76: "=1 1n 2s 3s 4b",
    77: "=1 1n",
    78: "1n 2s 3s 4s 5i",
    79: "1n",
    80: "",
    81: "1n 2s",
    82: "",
    83: "1n 2s",
    85: "",
    87: "1n 2c 2.18b 3b 4s 5n",
    90: "1n",
    91: "1n",
    92: "1n 2s 3s",
    93: "1n",
    94: "1n 2s 3s 4i",
    95: "1n",
    96: "1n 2c 2.18b 3s 4s 5n 6s 7b 8b =",
    97: "1n 2c 3s 4i 5b",
    98: "1n",
    99: "1b",
    104: "1n",
    105: "",
    106: "1n",
    107: "1n",
}
CONTRACT = "1i 2s 3s 4s 5d 6s 7d 8s 9s 10s 11s 12s"
LEG = "1i 2i 3s 4s"
ORDER_LEG = "1i 2i 3s 4s 5i 6i 7s 8i"
PLACE_ORDER = 3
LARGEST_PLAIN = 1e15
"""Doubles from here on, infinity among them, are written as they are."""
UNSERVED_FIELDS = 4
"""Fields of a request that is not served; the text form has the request id in one of them."""
ORDER_HEAD = (
    "1n 2c 2.13s 2.14s 3.5s 3.6s 3.8s 3.9d 3.10d 3.11s 3.27s 3.12s 3.68s 3.69i 3.28s 3.66b 3.4i 3.17b 3.20b 3.7i 3.31i "
    "3.19b 3.18b"
)
ORDER_TERMS = (
    "= 3.76d 3.25s 3.26s 3.34s 3.35s 3.36s 3.103s 3.70i 3.71s 3.72i 3.30i 3.29s 3.13s 3.16b 3.24i 3.21d =0 =0 = =0 "
    "3.78d 3.79d 3.80d 3.81d 3.82d 3.67b 3.37d 3.38i 3.41s 3.42d"
)
DELTA_NEUTRAL = "3.43i 3.73s 3.74s 3.75s 3.44s 3.45b 3.46i 3.47s"
TRAILING_AND_SCALE = "3.39b 3.40i 3.23d 3.22d 3.48i 3.49i 3.50d"
SCALE = "3.51d 3.52i 3.53d 3.54b 3.55i 3.56i 3.57b"
SCALE_TIMES_AND_HEDGE = "3.58s 3.32s 3.33s 3.59s"
HEDGE = "3.60s"
CLEARING = "3.77b 3.14s 3.15s 3.83b 2x 3.61a 3.63s 3.65b = 3.85b 3.86b 3.87b"
PEGGED = "3.88i 3.90b 3.89d 3.91d 3.92s"
CLOSING = (
    "3.100q 3.93s 3.94d 3.99d 3.95d 3.96d 3.97d 3.98i 3.104s 3.105.1s 3.105.2s 3.106d 3.107s 3.108s 3.109s 3.110s "
    "3.111b 3.112b 3.113b 3.122i 3.123i 3.124i 3.117b 3.125s 3.126s"
)
CONDITIONS: dict[int, str] = {
    # type: what follows the conjunction
    1: "3b 10d 4i 5s 11i",
    3: "3b 12s",
    4: "3b 8i",
    5: "7s 5s 6s",
    6: "3b 13i 4i 5s",
    7: "3b 9d 4i 5s",
}

_SIGN = re.compile(r"(?P<path>(?:\d+\.)*)(?P<number>\d+)(?P<kind>[sidbnclxaq])")
_Step = Callable[[Fields], list[str]]


def rewrite(message_id: int, body: bytes) -> list[str]:
    """Return the text fields of a protobuf request, its message id first.

    A request that the simulator does not serve has its id and, where one is, its request id. Raises ProtobufError.
    """
    message = read(body)
    if message_id == PLACE_ORDER:
        return [str(message_id), *_place_order(message)]
    steps = _STEPS.get(message_id)
    if steps is None:
        request_id = _integer(message, 1) if _is_integer(message, 1) else ""
        return [str(message_id), *[request_id] * UNSERVED_FIELDS]
    return [str(message_id), *(text for step in steps for text in step(message))]


def _is_integer(message: Fields, number: int) -> bool:
    return all(isinstance(each, int) for each in message.values.get(number, [None]))


def _place_order(message: Fields) -> list[str]:
    """The blocks of placeOrder, some of which bring further fields along."""
    contract, order = message.message(2), message.message(3)
    is_combination = contract.text(3) == "BAG"
    order_type = order.text(8)
    blocks: list[Sequence[_Step]] = [_HEAD]
    if is_combination:
        blocks.append((_order_legs,))
    blocks.append(_TERMS)
    if order.text(41):
        blocks.append(_DELTA_NEUTRAL)
    blocks.append(_TRAILING_AND_SCALE)
    if (order.double(50) or 0) > 0:
        blocks.append(_SCALE)
    blocks.append(_SCALE_TIMES_AND_HEDGE)
    if order.text(59):
        blocks.append(_HEDGE)
    blocks.append(_CLEARING)
    if order_type in ("PEG BENCH", "PEGBENCH"):
        blocks.append(_PEGGED)
    blocks.append(_CLOSING)
    fields = [text for steps in blocks for step in steps for text in step(message)]
    return fields + _competing(contract, order)


def _competing(contract: Fields, order: Fields) -> list[str]:
    fields = []
    if contract.text(8) == "IBKRATS":
        fields.append(_integer(order, 127))
    up_to_mid = order.text(8) in ("PEG MID", "PEGMID")
    if order.text(8) in ("PEG BEST", "PEGBEST"):
        offset = order.double(129)
        up_to_mid = offset == float("inf")
        fields += [_integer(order, 128), "Infinity" if up_to_mid else _double(order, 129)]
    if up_to_mid:
        fields += [_double(order, 130), _double(order, 131)]
    return fields


def _order_legs(message: Fields) -> list[str]:
    contract, order = message.message(2), message.message(3)
    legs = contract.messages(20)
    fields = [str(len(legs)), *(text for leg in legs for step in _ORDER_LEG for text in step(leg))]
    prices = [_double(leg, 9) for leg in legs if leg.has(9)]
    fields += [str(len(prices)), *prices]
    return fields + _tags(order, 64)


def _tags(message: Fields, number: int) -> list[str]:
    """A map of names and values, as its count and its entries."""
    entries = message.messages(number)
    return [str(len(entries)), *(text for entry in entries for text in (entry.text(1), entry.text(2)))]


def _integer(message: Fields, number: int) -> str:
    value = message.integer(number)
    return "" if value is None else str(value)


def _double(message: Fields, number: int) -> str:
    value = message.double(number)
    if value is None:
        return ""
    if value.is_integer() and abs(value) < LARGEST_PLAIN:
        return str(int(value))
    return format(Decimal(repr(value)), "f") if abs(value) < LARGEST_PLAIN else repr(value)


def _flag(message: Fields, number: int) -> str:
    return "1" if message.integer(number) else "0"


def _legs(message: Fields, number: int) -> list[str]:
    contract = message.message(number)
    if contract.text(3) != "BAG":
        return []
    legs = contract.messages(20)
    return [str(len(legs)), *(text for leg in legs for step in _LEG for text in step(leg))]


def _delta_neutral(message: Fields, number: int) -> list[str]:
    contract = message.message(number)
    if not contract.has(17):
        return ["0"]
    other = contract.message(17)
    return ["1", str(other.integer(1) or 0), _double(other, 2), _double(other, 3)]


def _algorithm(message: Fields, number: int) -> list[str]:
    name = message.text(number)
    return [name, *_tags(message, number + 1)] if name else [name]


def _conditions(message: Fields, number: int) -> list[str]:
    conditions = message.messages(number)
    fields = [str(len(conditions))]
    for each in conditions:
        kind = each.integer(1) or 0
        if kind not in _CONDITIONS:
            raise ProtobufError(f"there is no condition of type {kind}")
        fields += [str(kind), "a" if each.integer(2) else "o"]
        fields += [text for step in _CONDITIONS[kind] for text in step(each)]
    if conditions:
        fields += [_flag(message, 102), _flag(message, 101)]
    return fields


def _contract(message: Fields, number: int) -> list[str]:
    contract = message.message(number)
    return [text for step in _CONTRACT_STEPS for text in step(contract)]


_KINDS: dict[str, Callable[[Fields, int], list[str]]] = {
    "s": lambda message, number: [message.text(number)],
    "i": lambda message, number: [_integer(message, number)],
    "d": lambda message, number: [_double(message, number)],
    "b": lambda message, number: [_flag(message, number)],
    "n": lambda message, number: [_integer(message, number) or "0"],
    "c": _contract,
    "l": _legs,
    "x": _delta_neutral,
    "a": _algorithm,
    "q": _conditions,
}


def _compiled(signs: str) -> tuple[_Step, ...]:
    return tuple(_step(sign) for sign in signs.split())


def _step(sign: str) -> _Step:
    """Compile one sign of a table into a reader of its text fields from a message."""
    if sign.startswith("="):
        return lambda _: [sign[1:]]
    found = _SIGN.fullmatch(sign)
    if found is None:
        raise ValueError(f"{sign!r} is not a sign of the table")
    path = [int(each) for each in found["path"].split(".") if each]
    number, take = int(found["number"]), _KINDS[found["kind"]]

    def step(message: Fields) -> list[str]:
        for each in path:
            message = message.message(each)
        return take(message, number)

    return step


_CONTRACT_STEPS = _compiled(CONTRACT)
_LEG, _ORDER_LEG = _compiled(LEG), _compiled(ORDER_LEG)
_CONDITIONS = {kind: _compiled(signs) for kind, signs in CONDITIONS.items()}
_HEAD, _TERMS, _DELTA_NEUTRAL = _compiled(ORDER_HEAD), _compiled(ORDER_TERMS), _compiled(DELTA_NEUTRAL)
_TRAILING_AND_SCALE, _SCALE = _compiled(TRAILING_AND_SCALE), _compiled(SCALE)
_SCALE_TIMES_AND_HEDGE, _HEDGE, _CLEARING = _compiled(SCALE_TIMES_AND_HEDGE), _compiled(HEDGE), _compiled(CLEARING)
_PEGGED, _CLOSING = _compiled(PEGGED), _compiled(CLOSING)
_STEPS = {message_id: _compiled(signs) for message_id, signs in REQUESTS.items()}
