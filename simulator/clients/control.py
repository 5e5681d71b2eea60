"""The simulator's control interface for client programs, which have none of the simulator's own code."""

from __future__ import annotations

import json
import socket
import time
from typing import Any


class Control:
    """Sends commands to the control port of the simulator on this machine."""

    def __init__(self, port: int) -> None:
        self._port = port

    def __call__(self, command: str, *arguments: str) -> Any:
        """Carry out a command and return its result. Raises RuntimeError with the reason if it is refused."""
        line = json.dumps({"command": command, "arguments": list(arguments), "mode": None}) + "\n"
        with socket.create_connection(("127.0.0.1", self._port), timeout=20) as connection:
            connection.sendall(line.encode())
            with connection.makefile() as stream:
                answer = json.loads(stream.readline())
        if not answer["ok"]:
            raise RuntimeError(f"{command}: {answer['error']}")
        return answer["result"]

    def price(self, name: str, bid: str, ask: str) -> None:
        """Script a contract's quote, its last price in the middle."""
        middle = (float(bid) + float(ask)) / 2
        self("set-price", name, f"bid={bid}", f"ask={ask}", f"last={middle:.2f}")

    def until_gone(self, client_id: int) -> None:
        """Wait until the gateway has noticed that a client has left; before that its id is in use."""
        deadline = time.monotonic() + 10
        while client_id in self("status")["paper"]["clients"]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"client {client_id} is still connected")
