"""How IB's own Python client decodes frames and encodes calls: one JSON line in, one out.

    {"decode": [[SERVER_VERSION, PAYLOAD_IN_HEX], …]}       the callbacks of its decoder, in order
    {"encode": [[METHOD, [ARGUMENT, …]], …], "version": N}  the payloads that its client sends, in hex

An argument or value that is an object of the API is written as {"NAME": {ATTRIBUTE: VALUE, …}}.
"""

from __future__ import annotations

import json
import sys
from decimal import Decimal
from enum import Enum
from typing import Any

import ibapi.contract
import ibapi.execution
import ibapi.order
import ibapi.order_cancel
import ibapi.order_condition
import ibapi.tag_value
from ibapi.client import EClient
from ibapi.decoder import Decoder
from ibapi.wrapper import EWrapper

MODULES = (ibapi.contract, ibapi.order, ibapi.order_cancel, ibapi.execution, ibapi.tag_value, ibapi.order_condition)
PROTOBUF = 201
PROTOBUF_IDS = 200


def plain(value: Any) -> Any:
    """A value as JSON. Numbers that mean the same are written alike."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, int | float | Decimal):
        return float(value)
    if isinstance(value, list | tuple | set):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    return {type(value).__name__: {name: plain(each) for name, each in sorted(vars(value).items())}}


class Witness(EWrapper):
    """Keeps every callback."""

    def __init__(self) -> None:
        EWrapper.__init__(self)
        self.calls: list[list[Any]] = []

    def __getattribute__(self, name: str) -> Any:
        found = EWrapper.__getattribute__(self, name)
        if name == "calls" or name.startswith("_") or name.endswith("ProtoBuf") or not callable(found):
            return (lambda *_: None) if name.endswith("ProtoBuf") else found
        return lambda *arguments: self.calls.append([name, [plain(each) for each in arguments]])


def decode(version: int, payload: bytes) -> list[list[Any]]:
    """The callbacks of one payload."""
    witness = Witness()
    decoder = Decoder(witness, version)
    if version < PROTOBUF:
        message_id, *fields = payload.split(b"\0")[:-1]
        decoder.interpret(fields, int(message_id))
        return witness.calls
    message_id = int.from_bytes(payload[:4], "big")
    if message_id <= PROTOBUF_IDS:
        raise ValueError(f"message {message_id} is not protobuf")
    decoder.processProtoBuf(payload[4:], message_id - PROTOBUF_IDS)
    return witness.calls


class Socket:
    """A connection that keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def sendMsg(self, frame: bytes) -> int:  # noqa: N802 - the API's name
        self.sent.append(frame[4:].hex())
        return len(frame)

    def isConnected(self) -> bool:  # noqa: N802 - the API's name
        return True


def built(value: Any) -> Any:
    """An object of the API from its JSON."""
    if isinstance(value, list):
        return [built(each) for each in value]
    if not isinstance(value, dict):
        return value
    [(name, attributes)] = value.items()
    if name == "Decimal":
        return Decimal(attributes)
    kind = next(getattr(module, name) for module in MODULES if hasattr(module, name))
    made = kind(*attributes) if isinstance(attributes, list) else kind()
    for attribute, each in attributes.items() if isinstance(attributes, dict) else ():
        if not hasattr(made, attribute):
            raise ValueError(f"{name} has no {attribute}")
        setattr(made, attribute, built(each))
    return made


def encode(version: int, method: str, arguments: list[Any]) -> str:
    """The payload of one call."""
    client = EClient(EWrapper())
    socket = Socket()
    client.conn, client.serverVersion_, client.clientId = socket, version, 1
    client.setConnState(EClient.CONNECTED)
    getattr(client, method)(*map(built, arguments))
    [payload] = socket.sent
    return payload


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        if "decode" in asked:
            answer: list[Any] = [decode(version, bytes.fromhex(data)) for version, data in asked["decode"]]
        else:
            answer = [encode(asked["version"], method, arguments) for method, arguments in asked["encode"]]
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
