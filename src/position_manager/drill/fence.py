"""A broker that has nothing but the one contract of a drill: its user neither sees nor trades any other.

Requests, events and watched quotes are limited to that contract, and an order or a cancel that does anything else than
close it is an error that ends the engine, not a refusal that it could work around.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from position_manager.account.assignment import Dividend
from position_manager.account.values import AccountValues
from position_manager.brokers.broker import (
    Broker,
    BrokerError,
    BrokerEvent,
    CodeReceived,
    ExecutionReceived,
    LeftOutReceived,
    PositionReceived,
    QuoteReceived,
    QuotesReceived,
    Reread,
    Session,
)
from position_manager.drill.cases import Moment, Tripwire
from position_manager.journal.records import ComboToSend, OrderToSend
from position_manager.model import Instrument, Position
from position_manager.orders.evidence import CompletedOrder, Execution, OpenOrder
from position_manager.orders.intents import Side


class FenceError(Exception):
    """An engine wanted to touch what is not the drill's; nothing was sent."""


@dataclass(frozen=True)
class Field:
    """What may be touched: closing up to ``quantity`` (above zero, long) of a contract in an account."""

    account: str
    con_id: int
    quantity: Decimal

    def has(self, account: str, con_id: int) -> bool:
        return (account, con_id) == (self.account, self.con_id)


class Fence:
    """Implements the contract of `position_manager.brokers.broker.Broker`. ``sent``: the ids of the drill's orders,
    which outlast an engine."""

    def __init__(self, inner: Broker, field: Field, sent: set[int], tripwire: Tripwire) -> None:
        self.client_id = inner.client_id
        self.name = inner.name
        self._inner = inner
        self._field = field
        self._sent = sent
        self._tripwire = tripwire
        self._dead = False
        self._on_event: Callable[[BrokerEvent], None] = lambda _event: None
        inner.listen(self._pass)

    def kill(self) -> None:
        """Its user is dead: it receives no further events, and reaches nobody."""
        self._dead = True

    def listen(self, on_event: Callable[[BrokerEvent], None]) -> None:
        self._on_event = on_event

    def _pass(self, event: BrokerEvent) -> None:
        match event:
            case QuotesReceived(quotes):
                for quote in quotes:
                    self._pass(quote)
                return
            case PositionReceived(account, con_id, _):
                ours = self._field.has(account, con_id)
            case ExecutionReceived(execution, _):
                ours = self._field.has(execution.account, execution.con_id)
            case QuoteReceived(con_id, _):
                ours = con_id == self._field.con_id
            case CodeReceived():
                ours = event.con_id in (0, self._field.con_id)
            case LeftOutReceived():
                ours = False
            case _:
                ours = True
        if ours and not self._dead:
            self._on_event(event)

    def _living(self) -> Broker:
        if self._dead:
            raise BrokerError("the engine was killed")
        return self._inner

    def know(self, instruments: Collection[Instrument]) -> None:
        self._living().know(instruments)

    async def connect(self) -> Session:
        return await self._living().connect()

    async def close(self) -> None:
        await self._inner.close()

    async def positions(self) -> tuple[Position, ...]:
        return tuple(held for held in await self._living().positions() if self._field.has(*held.key))

    async def open_orders(self) -> tuple[OpenOrder, ...]:
        return self._ours(await self._living().open_orders())

    def _ours(self, orders: Collection[OpenOrder]) -> tuple[OpenOrder, ...]:
        return tuple(order for order in orders if self._field.has(order.account, order.con_id))

    async def completed_orders(self) -> tuple[CompletedOrder, ...]:
        # They do not name their contract; an engine finds its own by orderRef and permId.
        return await self._living().completed_orders()

    async def executions(self) -> tuple[Execution, ...]:
        return tuple(one for one in await self._living().executions() if self._field.has(one.account, one.con_id))

    async def read_again(self, account: str, con_id: int) -> Reread:
        reread = await self._living().read_again(account, con_id)
        return replace(reread, open_orders=self._ours(reread.open_orders))

    async def account_values(self) -> tuple[AccountValues, ...]:
        return await self._living().account_values()

    async def dividend(self, con_id: int) -> Dividend | None:
        return await self._living().dividend(con_id)

    async def read_legs_again(self, account: str, con_ids: Collection[int]) -> Mapping[int, Reread]:
        found = await self._living().read_legs_again(account, con_ids)
        return {con_id: replace(reread, open_orders=self._ours(reread.open_orders)) for con_id, reread in found.items()}

    async def ping(self) -> None:
        await self._living().ping()

    def watch(self, instruments: Collection[Instrument], *, resubscribe: bool = False) -> None:
        self._living().watch([one for one in instruments if one.con_id == self._field.con_id], resubscribe=resubscribe)

    def renew(self, con_ids: Collection[int]) -> None:
        self._living().renew([con_id for con_id in con_ids if con_id == self._field.con_id])

    def next_order_id(self) -> int:
        return self._living().next_order_id()

    def send(self, order: OrderToSend, instrument: Instrument, *, tif: str, outside_rth: bool) -> None:
        field = self._field
        closes = order.side is Side.SELL and 0 < order.quantity <= field.quantity
        if not field.has(order.account, order.con_id) or not closes:
            raise FenceError(f"{order.side} {order.quantity} of contract {order.con_id} is none of the drill's orders")
        broker = self._living()
        if self._tripwire.waits_for(Moment.WRITTEN):
            self._tripwire.spring()
            raise BrokerError("the engine was killed before it sent the order")
        self._sent.add(order.order_id)
        broker.send(order, instrument, tif=tif, outside_rth=outside_rth)

    def send_combo(
        self, order: ComboToSend, instruments: Mapping[int, Instrument], *, tif: str, outside_rth: bool
    ) -> None:
        raise FenceError(f"combination {order.ref} is none of the drill's orders")

    def cancel(self, order_id: int) -> None:
        if order_id not in self._sent:
            raise FenceError(f"order {order_id} is none of the drill's")
        self._living().cancel(order_id)

    async def cancel_of_other(self, order: OpenOrder) -> None:
        raise FenceError(f"order {order.perm_id} is none of the drill's")
