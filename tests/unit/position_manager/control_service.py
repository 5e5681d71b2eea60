"""A service that listens at a real control socket, and notes what is asked of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

from tests.unit.position_manager import status_samples as samples

from position_manager.refused import RefusedError
from position_manager.reports.status import Status
from position_manager.service.control import Server

T = TypeVar("T")


class Service:
    """Does what is asked, unless it is about DU1234567."""

    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []

    def status(self) -> Status:
        return samples.READY

    async def close(self, what: str, *, by: str, limit: Decimal | None) -> str:
        self.heard.append(("close", what, by, limit))
        await asyncio.sleep(0)
        return f"{what} is being closed"

    def release(self, what: str, *, by: str) -> str:
        self.heard.append(("release", what, by))
        if what == "unknown":
            raise RefusedError("Nothing in DU1234567 is called unknown.")
        return f"{what} is released"

    def rearm(self, what: str, *, by: str) -> str:
        self.heard.append(("rearm", what, by))
        return f"{what} is rearmed"

    def accept_account(self, account: str, *, by: str) -> str:
        self.heard.append(("accept-account", account, by))
        return f"{account} is guarded"

    def reload(self) -> str:
        raise RefusedError("pm.yml:3: mode: must be one of sim, shadow, paper, live")

    def move_price(self, symbol: str, price: Decimal) -> str:
        self.heard.append(("price", symbol, price))
        return f"{symbol} is at {price}"


def served(path: Path, client: Callable[[], T], service: Service | None = None, status: Path | None = None) -> T:
    """What a client in another thread comes to while the service listens."""

    async def run() -> T:
        async with Server(path, service or Service(), status):
            return await asyncio.to_thread(client)

    return asyncio.run(run())
