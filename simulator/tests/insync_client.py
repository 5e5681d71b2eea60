"""ib_insync as a client of the simulated API, and helpers that wait for its events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ib_insync import IB, Contract
from simulator.tests.api_client import SOON

from gateway_simulator.api.server import ApiServer


class Client:
    """An ib_insync client that stores the errors it received."""

    def __init__(self) -> None:
        self.ib = IB()  # type: ignore[no-untyped-call]  # ib_insync's, untyped
        self.errors: list[tuple[int, int, str]] = []
        self.ib.errorEvent += self._record_error

    def _record_error(self, request_id: int, code: int, text: str, _contract: Contract | None) -> None:
        self.errors.append((request_id, code, text))

    @property
    def codes(self) -> list[int]:
        return [code for _, code, _ in self.errors]

    async def connect(
        self, server: ApiServer, client_id: int = 5, patience: float = SOON, readonly: bool = False
    ) -> IB:
        await self.ib.connectAsync("127.0.0.1", server.port, client_id, patience, readonly)
        return self.ib

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until an event that the client receives makes a condition true."""
        async with asyncio.timeout(SOON):
            while not condition():
                await self.ib.updateEvent

    async def caught_up(self) -> None:
        """Wait until the client has handled everything that was sent to it so far."""
        await asyncio.wait_for(self.ib.reqCurrentTimeAsync(), SOON)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.ib.disconnect()  # type: ignore[no-untyped-call]  # ib_insync's, untyped
