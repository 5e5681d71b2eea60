"""The broker as the position manager needs it: one port with several implementations.

`IbBroker` (a gateway, over ib_insync) and `SimBroker` (a market of its own, no gateway) both fulfil this contract. The
broker's reports arrive as events through `listen`, in the order in which they were sent; requests are answered by
coroutines. Nothing here decides anything.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from ib_connection.causes import Cause
from position_manager.account.assignment import Dividend
from position_manager.account.values import AccountValues
from position_manager.journal.records import ComboToSend, OrderToSend
from position_manager.model import Instrument, Position, Quote
from position_manager.orders.evidence import CompletedOrder, Execution, OpenOrder


@dataclass(frozen=True)
class Session:
    """A verified session: its managed accounts, and the first order id that the broker gives out for this client."""

    accounts: tuple[str, ...]
    next_order_id: int


@dataclass(frozen=True)
class QuoteReceived:
    """A new quote of a watched instrument. ``quote.time`` is when it was received."""

    con_id: int
    quote: Quote


@dataclass(frozen=True)
class QuotesReceived:
    """New quotes that have arrived together, in their order."""

    quotes: tuple[QuoteReceived, ...]


@dataclass(frozen=True)
class PositionReceived:
    """The broker pushed a position: a signed quantity, 0 if it is gone."""

    account: str
    con_id: int
    quantity: Decimal


@dataclass(frozen=True)
class OrderReceived:
    """The broker shows an order of this client as its own: ``perm_id`` above zero."""

    order_id: int
    perm_id: int
    status: str
    ref: str


@dataclass(frozen=True)
class ExecutionReceived:
    """An execution, of any client that is reported to this one. ``order_id`` is 0 unless the order is this client's."""

    execution: Execution
    order_id: int


@dataclass(frozen=True)
class CommissionReceived:
    """What an execution cost, and the profit that it realised (None if it opened a position), in ``currency``."""

    exec_id: str
    commission: Decimal
    realized: Decimal | None
    currency: str


@dataclass(frozen=True)
class CodeReceived:
    """A message with a code. ``order_id`` is that of an order of this client, or 0; ``con_id`` that of the instrument
    whose quotes were asked for, or 0."""

    code: int
    text: str
    order_id: int = 0
    con_id: int = 0


@dataclass(frozen=True)
class DetailsReceived:
    """The broker reported more details of contracts that are held: the next answer of `positions` contains them."""


@dataclass(frozen=True)
class LeftOut:
    """A holding of a kind that cannot be guarded, such as a CFD or a bond. ``kind`` is IB's word for it."""

    account: str
    con_id: int
    label: str
    kind: str
    quantity: Decimal
    currency: str = ""


@dataclass(frozen=True)
class LeftOutReceived:
    """All holdings that `positions` leaves out, reported just before its answer."""

    held: tuple[LeftOut, ...]


@dataclass(frozen=True)
class Disconnected:
    """The session is over; it delivers no further events."""

    why: str


BrokerEvent = (
    QuoteReceived
    | QuotesReceived
    | PositionReceived
    | OrderReceived
    | ExecutionReceived
    | CommissionReceived
    | CodeReceived
    | DetailsReceived
    | LeftOutReceived
    | Disconnected
)


@dataclass(frozen=True)
class Reread:
    """A position and the live orders of ANY client, as the broker reports them at ``time``, when the request was
    sent."""

    time: datetime
    quantity: Decimal
    open_orders: tuple[OpenOrder, ...]


PARTIAL_DATA = frozenset({10090})
"""A part of the requested market data is not subscribed; bid and ask still are live."""


def ends_quotes(code: int) -> bool:
    """Whether a message with this code about a market data subscription means that its quotes are no longer live.
    Everything does, known or not, except for IB's warnings (2100 to 2199) and `PARTIAL_DATA`."""
    return code not in PARTIAL_DATA and not 2100 <= code < 2200


class BrokerError(Exception):
    """A question was not answered: in time, or at all. The message states which and why."""


class ConnectError(BrokerError):
    """A session could not be established. ``cause`` is the same one that a deploy would report."""

    def __init__(self, cause: Cause, detail: str) -> None:
        super().__init__(f"{cause.text} ({detail})")
        self.cause = cause
        self.detail = detail


class Broker(Protocol):
    """One session at a time. Every coroutine raises BrokerError if it is not answered."""

    client_id: int
    name: str
    """Its location in readable form: ``IB at 127.0.0.1:4002``."""

    def listen(self, on_event: Callable[[BrokerEvent], None]) -> None:
        """Register the receiver of events. Must be called once, before anything else."""

    def know(self, instruments: Collection[Instrument]) -> None:
        """What was reported before, perhaps to a process before this one: `positions` need not wait until it is
        reported again. Hours count if they are there."""

    async def connect(self) -> Session:
        """One attempt, with nothing left over from a session before. Raises ConnectError."""

    async def close(self) -> None:
        """End the session, if there is one; it delivers no further events, not even `Disconnected`."""

    async def positions(self) -> tuple[Position, ...]:
        """All of the session's accounts, zero ones left out, with the details of each instrument."""

    async def open_orders(self) -> tuple[OpenOrder, ...]:
        """Of all clients."""

    async def completed_orders(self) -> tuple[CompletedOrder, ...]:
        """Of all clients, as far back as the broker reports them."""

    async def executions(self) -> tuple[Execution, ...]:
        """Of all clients, as far back as the broker reports them."""

    async def read_again(self, account: str, con_id: int) -> Reread:
        """A position and all open orders, for the moment just before sending: from an answer to a question that was
        sent after this call, never from one that was already pending. Several calls may share one answer."""

    async def account_values(self) -> tuple[AccountValues, ...]:
        """What the session's accounts are worth now. A question that is not answered does not end the session."""

    async def dividend(self, con_id: int) -> Dividend | None:
        """The next dividend of what an option is written on; None if it has none. A question that is not answered does
        not end the session."""

    async def read_legs_again(self, account: str, con_ids: Collection[int]) -> Mapping[int, Reread]:
        """The same for several contracts of an account, all as they are at one moment."""

    async def ping(self) -> None:
        """A question that any living session answers at once."""

    def watch(self, instruments: Collection[Instrument], *, resubscribe: bool = False) -> None:
        """Receive the quotes of exactly these from now on. ``resubscribe``: all subscriptions were lost."""

    def renew(self, con_ids: Collection[int]) -> None:
        """Replace the quote subscriptions of these watched contracts by new ones: their quotes are reported again, or
        why there are none. Until then nothing is reported for them."""

    def next_order_id(self) -> int:
        """The lowest order id that the broker would still take from this client."""

    def send(self, order: OrderToSend, instrument: Instrument, *, tif: str, outside_rth: bool) -> None:
        """Pass a limit order, or a stop-limit if it has a ``stop``, to the socket, at once. Raises BrokerError if there
        is no session: nothing was sent."""

    def send_combo(
        self, order: ComboToSend, instruments: Mapping[int, Instrument], *, tif: str, outside_rth: bool
    ) -> None:
        """Pass one limit order for several contracts to the socket, at once. Raises BrokerError if there is no session,
        or if the contracts form no combination: nothing was sent."""

    def cancel(self, order_id: int) -> None:
        """Pass the cancel of an order of this client to the socket. Raises BrokerError if there is no session."""

    async def cancel_of_other(self, order: OpenOrder) -> None:
        """Ask for the cancel of an order of another client, which the broker takes from that client alone: so as that
        client, in a short session of its own. Returns once it was asked for, which proves nothing. Raises BrokerError
        if it was not, e.g. because that client is connected."""
