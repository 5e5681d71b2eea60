"""What a drill needs of a broker beside the engine that it tries: one unit to close, and the truth afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from position_manager.brokers.broker import Broker
from position_manager.config.schema import Config
from position_manager.drill.cases import Tripwire
from position_manager.drill.fence import Field
from position_manager.orders.evidence import Execution, OpenOrder


class DrillError(Exception):
    """The drill cannot start or continue; the message states why and what to do."""


@dataclass(frozen=True)
class Bought:
    """What a case closes: where and how much, its name, and a limit price at which it sells at once."""

    field: Field
    label: str
    limit: Decimal


@dataclass(frozen=True)
class Truth:
    """The broker's own data on the contract: the signed position, live orders of any client, and the executions since
    the case started."""

    position: Decimal
    open_orders: tuple[OpenOrder, ...]
    executions: tuple[Execution, ...]


class Bench(Protocol):
    """One broker, seen from beside the engine. Coroutines raise DrillError or BrokerError."""

    name: str
    config: Config
    """The engine's: without rules, so that it closes nothing by itself."""

    async def buy(self) -> Bought:
        """One unit."""

    def broker(self, tripwire: Tripwire) -> Broker:
        """A broker for one engine, whose connection is cut when the tripwire springs."""

    def sever(self) -> None:
        """End the engine's connection at once."""

    async def truth(self, bought: Bought) -> Truth:
        """The broker's own data, requested independently of the engine."""

    async def left(self) -> str | None:
        """What the drill has bought and not closed, and what to do about it; None if nothing."""
