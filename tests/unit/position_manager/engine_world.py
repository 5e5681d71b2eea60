"""A broker in memory behind the real engine, a clock that only a test moves, and the notifications sent.

The broker knows the truth about several contracts, shows it late if set so, and checks each order as it arrives:
it must close, must be the only live one of ours, and with all other live orders must not be able to go through zero.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from ib_connection.causes import REFUSED, Cause
from notifications.message import Message
from position_manager.account.assignment import Dividend
from position_manager.account.values import AccountValues
from position_manager.brokers.broker import (
    BrokerError,
    BrokerEvent,
    CodeReceived,
    ConnectError,
    Disconnected,
    ExecutionReceived,
    OrderReceived,
    PositionReceived,
    QuoteReceived,
    QuotesReceived,
    Reread,
    Session,
)
from position_manager.brokers.shared_question import SharedQuestion
from position_manager.config.schema import Config
from position_manager.engine.engine import Engine
from position_manager.halt import HaltRecord, Halts, KillSwitch
from position_manager.journal.journal import Journal
from position_manager.journal.records import ComboToSend, OrderToSend, Stamp
from position_manager.model import Hours, Instrument, Kind, Position, Quote, Right
from position_manager.orders.evidence import CompletedOrder, Execution, OpenOrder
from position_manager.orders.intents import Fill, Side, closing_side
from position_manager.sessions.hours import BrokerCalendar
from position_manager.ulid import ulid

ACCOUNT = "DU1234567"
SECOND = "DU7654321"
BEGIN = datetime(2026, 11, 23, 15, tzinfo=UTC)
HOURS = (Hours(BEGIN - timedelta(hours=1), BEGIN + timedelta(hours=6)),)


ALWAYS = (Hours(BEGIN - timedelta(days=7), BEGIN + timedelta(days=7)),)


def put(con_id: int, strike: int = 450, *, always: bool = False) -> Instrument:
    """A put on SPY that expires in four weeks; its market is open for hours, or for days."""
    return Instrument(
        con_id,
        "SPY",
        Kind.OPTION,
        Decimal(100),
        expiry=(BEGIN + timedelta(days=28)).date(),
        strike=Decimal(strike),
        right=Right.PUT,
        local_symbol=f"SPY   261221P00{strike}000",
        liquid_hours=ALWAYS if always else HOURS,
    )


@dataclass
class Order:
    """An order as it truly is. ``over`` is the status it ended with."""

    sent: OrderToSend
    perm_id: int
    client_id: int
    filled: Decimal = Decimal(0)
    over: str = ""
    cancelling: bool = False
    legs: tuple[tuple[int, Side, Decimal], ...] = ()
    """Of a combination: contract, side and contracts in one of them; ``sent`` then is the first leg's, and its
    quantity counts combinations."""

    def part(self, con_id: int) -> tuple[Side, Decimal] | None:
        """What it may still trade in a contract."""
        for leg, side, ratio in self.legs:
            if leg == con_id:
                return side, ratio * self.remaining
        return (self.sent.side, self.remaining) if self.sent.con_id == con_id and not self.legs else None

    @property
    def remaining(self) -> Decimal:
        return self.sent.quantity - self.filled


class ManualClock:
    """A clock that only a test moves."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._waiting: list[tuple[datetime, asyncio.Event]] = []
        self.passing: Callable[[timedelta], None] = lambda _span: None
        """Called with each stretch of time before it is over; nothing happens within one."""

    def now(self) -> datetime:
        return self._now

    async def wait(self, event: asyncio.Event, span: timedelta) -> bool:
        until, over = self._now + span, asyncio.Event()
        if event.is_set() or span <= timedelta():
            await asyncio.sleep(0)
            return event.is_set()
        entry = (until, over)
        self._waiting.append(entry)
        tasks = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(over.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            if entry in self._waiting:
                self._waiting.remove(entry)
        return event.is_set()

    def jump(self, span: timedelta) -> None:
        """Somebody sets the clock: what waits still waits for as long as it meant to."""
        self._now += span
        self._waiting = [(until + span, over) for until, over in self._waiting]

    async def advance(self, seconds: float) -> None:
        """Advance the time, and have all events in it happen in order."""
        end = self._now + timedelta(seconds=seconds)
        await settle()
        while True:
            due = min((until for until, _ in self._waiting), default=end)
            if due > end:
                break
            self._pass(due)
            woken = [entry for entry in self._waiting if entry[0] <= self._now]
            if not woken:
                break
            for entry in woken:
                self._waiting.remove(entry)
                entry[1].set()
            await settle()
        self._pass(end)
        await settle()

    def _pass(self, until: datetime) -> None:
        if until > self._now:
            self.passing(until - self._now)
            self._now = until


async def settle() -> None:
    """Run everything that can run without time passing."""
    ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]  # asyncio has no public word for it
    for _ in range(200):
        await asyncio.sleep(0)
        if not ready:
            return
    raise AssertionError("it does not come to rest")


@dataclass
class World:
    """The truth at the broker. ``on_event`` passes events to the engine while it is connected."""

    clock: ManualClock
    positions: dict[int, Decimal] = field(default_factory=dict)
    second: dict[int, Decimal] = field(default_factory=dict)
    """What a second account holds; it is in the session if it holds anything."""
    instruments: dict[int, Instrument] = field(default_factory=dict)
    average: dict[int, Decimal] = field(default_factory=lambda: defaultdict(lambda: Decimal("2.50")))
    orders: list[Order] = field(default_factory=list)
    executions: list[Execution] = field(default_factory=list)
    quotes: dict[int, Quote] = field(default_factory=dict)
    up: bool = True
    deaf: bool = False
    """Whether the engine is notified of nothing that happens (a lost link)."""
    swallow: bool = False
    """Whether orders vanish on their way."""
    acknowledges: bool = True
    cancels_at_once: bool = True
    received: list[OrderToSend] = field(default_factory=list)
    combos: list[ComboToSend] = field(default_factory=list)
    fail: set[str] = field(default_factory=set)
    """Names of questions that are not answered."""
    refusal: Cause = REFUSED
    """Why there is no session while it is not up."""
    on_ask: Callable[[str], None] = lambda _question: None
    first_quotes: bool = True
    """Whether a new subscription is answered with the present quote."""
    quoted: set[int] = field(default_factory=set)
    """Contracts of which the present subscriptions have delivered a quote."""
    status: str = "Submitted"
    """The status in which orders rest."""
    refused_quotes: dict[int, tuple[int, str]] = field(default_factory=dict)
    """Contracts whose market data are refused, with the code and the text."""
    outside_rth: list[bool] = field(default_factory=list)
    """Of each order received, whether it may trade outside the regular hours."""
    foreign_cancels: list[Order] = field(default_factory=list)
    """Orders of other clients whose cancel the engine asked for."""
    renewed: list[int] = field(default_factory=list)
    """Contracts whose quotes were asked for again, in order."""
    on_send: Callable[[str], None] = lambda _moment: None
    next_id: int = 1
    perm_ids: int = 6999
    unlisted: set[int] = field(default_factory=set)
    """Contracts that the list of positions lacks although they are held."""
    lag: bool = False
    """Whether what our orders trade is shown later: in executions, positions and completed orders."""
    unseen: list[tuple[Order, Execution]] = field(default_factory=list)
    incidents: set[str] = field(default_factory=set)
    """Keys of what people were notified of and whose end they were not."""

    def hold(self, instrument: Instrument, quantity: int, average: str = "2.50") -> None:
        self.instruments[instrument.con_id] = instrument
        self.positions[instrument.con_id] = Decimal(quantity)
        self.average[instrument.con_id] = Decimal(average)

    def book(self, account: str) -> dict[int, Decimal]:
        """The positions of an account."""
        return self.second if account == SECOND else self.positions

    def new_perm_id(self) -> int:
        """The broker never gives one twice, whatever a gateway forgets."""
        self.perm_ids += 1
        return self.perm_ids

    def live(self, con_id: int, account: str = ACCOUNT) -> list[Order]:
        return [o for o in self.orders if not o.over and o.sent.account == account and o.part(con_id) is not None]

    def ours(self, con_id: int) -> list[Order]:
        return [order for order in self.orders if order.client_id == 100 and order.part(con_id) is not None]

    def take(self, sent: OrderToSend) -> Order:
        """An order of the engine arrives. Raises AssertionError if it could close the position a second time."""
        self.check_that_it_closes(sent.account, sent.con_id, sent.side, sent.quantity)
        assert all(order.sent.ref != sent.ref for order in self.orders), f"sent twice: {sent}"
        assert all(order.sent.order_id != sent.order_id for order in self.orders if order.client_id == 100)
        assert sent.oca_type == 1
        assert sent.oca_group
        return self._taken(Order(sent, self.new_perm_id(), 100))

    def check_that_it_closes(self, account: str, con_id: int, side: Side, quantity: Decimal) -> None:
        held, live = self.book(account).get(con_id, Decimal(0)), self.live(con_id, account)
        assert not [o for o in live if o.client_id == 100], (
            f"a second live order of ours: {side} {quantity} of {con_id}"
        )
        assert held and side is closing_side(held), f"{side} {quantity} of {con_id} does not close {held}"
        parts = (part for o in live if (part := o.part(con_id)) is not None)
        resting = sum((remaining for rests, remaining in parts if rests is side), Decimal(0))
        assert quantity + resting <= abs(held), f"{side} {quantity} and {resting} resting, {held} of {con_id} held"

    def take_combo(self, sent: ComboToSend) -> Order:
        """A combination of the engine arrives; each leg is checked like an order of its own."""
        sign = sent.side.sign
        legs = tuple((con_id, Side.BUY if ratio * sign > 0 else Side.SELL, abs(ratio)) for con_id, ratio in sent.legs)
        for con_id, side, ratio in legs:
            self.check_that_it_closes(sent.account, con_id, side, ratio * sent.quantity)
        assert all(order.sent.ref != sent.ref for order in self.orders), f"sent twice: {sent}"
        assert all(order.sent.order_id != sent.order_id for order in self.orders if order.client_id == 100)
        con_id, side, _ = legs[0]
        first = OrderToSend(
            sent.account, con_id, side, sent.quantity, sent.limit, sent.ref, sent.order_id, sent.client_id, "", 0
        )
        return self._taken(Order(first, self.new_perm_id(), 100, legs=legs))

    def _taken(self, order: Order) -> Order:
        sent = order.sent
        self.orders.append(order)
        self.next_id = max(self.next_id, sent.order_id + 1)
        if self.acknowledges:
            self.emit(OrderReceived(sent.order_id, order.perm_id, "Submitted", sent.ref))
        return order

    def fill_combo(self, order: Order, quantity: int) -> None:
        """So many combinations trade: each leg by an execution of its own."""
        order.filled += quantity
        assert order.remaining >= 0
        if not order.remaining:
            order.over = "Filled"
        for con_id, side, ratio in order.legs:
            book, contracts = self.book(order.sent.account), ratio * quantity
            before = book[con_id]
            book[con_id] = before + side.sign * contracts
            assert before * book[con_id] >= 0, f"through zero: {before} to {book[con_id]}"
            fill = Fill(f"0000.{len(self.executions):04x}.01.01", contracts, Decimal("1.00"), self.clock.now())
            execution = Execution(order.sent.account, con_id, side, fill, order.perm_id, order.sent.ref)
            self.executions.append(execution)
            if self.lag:
                self.unseen.append((order, execution))
            else:
                self._show(order, execution)

    def fill(self, order: Order, quantity: int, price: str = "3.70") -> None:
        if order.legs:
            self.fill_combo(order, quantity)
            return
        account, con_id, side = order.sent.account, order.sent.con_id, order.sent.side
        book = self.book(account)
        before = book[con_id]
        order.filled += quantity
        book[con_id] = before + side.sign * quantity
        assert before * book[con_id] >= 0, f"through zero: {before} to {book[con_id]}"
        assert order.remaining >= 0
        if not order.remaining:
            order.over = "Filled"
        fill = Fill(f"0000.{len(self.executions):04x}.01.01", Decimal(quantity), Decimal(price), self.clock.now())
        ref = order.sent.ref if order.client_id == 100 else ""
        execution = Execution(account, con_id, side, fill, order.perm_id, ref, order.client_id)
        self.executions.append(execution)
        if self.lag and ref:
            self.unseen.append((order, execution))
        else:
            self._show(order, execution)

    def _show(self, order: Order, execution: Execution) -> None:
        self.emit(ExecutionReceived(execution, order.sent.order_id if execution.ref else 0))
        shown = self.shown_position(execution.con_id, execution.account)
        self.emit(PositionReceived(execution.account, execution.con_id, shown))

    def catch_up(self) -> None:
        """The views show all that has happened."""
        self.lag = False
        while self.unseen:
            self._show(*self.unseen.pop(0))

    def shown_position(self, con_id: int, account: str = ACCOUNT) -> Decimal:
        late = (e.side.sign * e.fill.quantity for _, e in self.unseen if (e.account, e.con_id) == (account, con_id))
        return self.book(account).get(con_id, Decimal(0)) - sum(late, Decimal(0))

    def forget(self, order: Order) -> None:
        """The gateway has lost an order that did nothing yet, and gives out its id again."""
        self.orders.remove(order)
        self.next_id = min(self.next_id, order.sent.order_id)

    def foreign(self, con_id: int, side: Side, quantity: int) -> Order:
        """An order of another client rests at the broker."""
        sent = OrderToSend(ACCOUNT, con_id, side, Decimal(quantity), Decimal(1), "", 0, 0, "", 0)
        order = Order(sent, self.new_perm_id(), 0)
        self.orders.append(order)
        return order

    def end(self, order: Order, status: str = "Cancelled", code: int = 202) -> None:
        order.over = status
        self.emit(CodeReceived(code, status, order.sent.order_id))

    def quote(self, con_id: int, bid: str | None, ask: str | None, **more: object) -> None:
        self.emit(self._quoted(con_id, bid, ask, **more))

    def quote_together(self, con_ids: Collection[int], bid: str | None, ask: str | None) -> None:
        """The same prices for several contracts, in one piece of the stream."""
        self.emit(QuotesReceived(tuple(self._quoted(con_id, bid, ask) for con_id in con_ids)))

    def _quoted(self, con_id: int, bid: str | None, ask: str | None, **more: object) -> QuoteReceived:
        quote = Quote(
            self.clock.now(),
            None if bid is None else Decimal(bid),
            None if ask is None else Decimal(ask),
            **more,  # type: ignore[arg-type]  # a test's own fields
        )
        self.quotes[con_id] = quote
        return QuoteReceived(con_id, quote)

    def emit(self, event: BrokerEvent) -> None:
        if self.port is not None and not self.deaf:
            self.port.emit(event)

    port: PortBroker | None = None
    dividends: dict[int, Dividend] = field(default_factory=dict)
    """What the broker reports of the underlying of an option."""
    dividends_asked: list[int] = field(default_factory=list)
    worth: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    """Net liquidation value, excess liquidity and cash of each account that the broker reports."""
    currency: str = "USD"
    """Of those values."""
    worth_at: datetime | None = None
    """Since when the broker repeats the same answer; None: each answer is of now."""


class PortBroker:
    """The world as one process sees it through the port."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.client_id = 100
        self.known: dict[int, Instrument] = {}
        self.name = "IB at 127.0.0.1:4002"
        self.watched: set[int] = set()
        self._on_event: Callable[[BrokerEvent], None] | None = None
        self.open = False
        self._all_open_orders = SharedQuestion(self._answer_open_orders)

    def listen(self, on_event: Callable[[BrokerEvent], None]) -> None:
        self._on_event = on_event

    def emit(self, event: BrokerEvent) -> None:
        if not self.open or self._on_event is None:
            return
        if isinstance(event, QuotesReceived):
            event = QuotesReceived(tuple(quote for quote in event.quotes if quote.con_id in self.watched))
            self.world.quoted |= {quote.con_id for quote in event.quotes}
        if isinstance(event, QuoteReceived):
            if event.con_id not in self.watched:
                return
            self.world.quoted.add(event.con_id)
        self._on_event(event)

    async def connect(self) -> Session:
        await asyncio.sleep(0)
        if not self.world.up:
            raise ConnectError(self.world.refusal, "no session")
        self.world.port = self
        self.world.quoted.clear()
        self.open = True
        return Session((ACCOUNT, SECOND) if self.world.second else (ACCOUNT,), self.world.next_id)

    async def close(self) -> None:
        self.open = False
        self.watched.clear()

    def drop(self, why: str = "closed by the gateway") -> None:
        """The gateway ends the session."""
        if self.open:
            self.open = False
            assert self._on_event is not None
            self._on_event(Disconnected(why))

    async def _ask(self, what: str) -> None:
        self.world.on_ask(what)
        await asyncio.sleep(0)
        if not self.open or what in self.world.fail:
            raise BrokerError(f"{what} not answered within 10 s")

    def know(self, instruments: Collection[Instrument]) -> None:
        self.known = {instrument.con_id: instrument for instrument in instruments}

    async def positions(self) -> tuple[Position, ...]:
        await self._ask("positions")
        world = self.world
        return tuple(
            Position(account, world.instruments[con_id], quantity, world.average[con_id])
            for account in (ACCOUNT, SECOND)
            for con_id in world.book(account)
            if (quantity := world.shown_position(con_id, account)) and con_id not in world.unlisted
        )

    async def open_orders(self) -> tuple[OpenOrder, ...]:
        return await self._all_open_orders.answer()

    async def _answer_open_orders(self) -> tuple[OpenOrder, ...]:
        """As they are when the question arrives, which is as old as an answer can be."""
        orders = self._open_orders()
        await self._ask("open orders")
        return orders

    def _open_orders(self) -> tuple[OpenOrder, ...]:
        return tuple(
            OpenOrder(
                order.sent.account,
                con_id,
                side,
                ratio * order.remaining,
                order.perm_id,
                "PendingCancel" if order.cancelling else self.world.status,
                order.sent.ref,
                order.client_id,
                order.sent.order_id,
            )
            for order in self.world.orders
            if not order.over
            for con_id, side, ratio in order.legs or ((order.sent.con_id, order.sent.side, Decimal(1)),)
        )

    async def completed_orders(self) -> tuple[CompletedOrder, ...]:
        await self._ask("completed orders")
        return tuple(
            CompletedOrder(order.perm_id, order.over, order.filled, order.sent.ref)
            for order in self.world.orders
            if order.over and all(late is not order for late, _ in self.world.unseen)
        )

    async def executions(self) -> tuple[Execution, ...]:
        await self._ask("executions")
        late = [execution for _, execution in self.world.unseen]
        return tuple(execution for execution in self.world.executions if execution not in late)

    async def read_again(self, account: str, con_id: int) -> Reread:
        time = self.world.clock.now()
        orders = await self._all_open_orders.answer()
        return Reread(time, self.world.shown_position(con_id, account), orders)

    async def account_values(self) -> tuple[AccountValues, ...]:
        time = self.world.clock.now()
        await self._ask("account values")
        return tuple(
            AccountValues(account, self.world.worth_at or time, self.world.currency, *map(_decimal, worth))
            for account, worth in self.world.worth.items()
        )

    async def dividend(self, con_id: int) -> Dividend | None:
        self.world.dividends_asked.append(con_id)
        await self._ask("dividends")
        return self.world.dividends.get(con_id)

    async def read_legs_again(self, account: str, con_ids: Collection[int]) -> Mapping[int, Reread]:
        time = self.world.clock.now()
        await self._ask("open orders")
        orders = self._open_orders()
        return {con_id: Reread(time, self.world.shown_position(con_id, account), orders) for con_id in con_ids}

    async def ping(self) -> None:
        await self._ask("time")

    def watch(self, instruments: Collection[Instrument], *, resubscribe: bool = False) -> None:
        wanted = {instrument.con_id for instrument in instruments}
        fresh = wanted if resubscribe else wanted - self.watched
        self.watched = wanted
        self.world.quoted -= fresh
        for con_id in fresh:
            quote = self.world.quotes.get(con_id)
            if quote is not None and self.world.first_quotes:
                self.emit(QuoteReceived(con_id, quote))

    def renew(self, con_ids: Collection[int]) -> None:
        world = self.world
        for con_id in self.watched & set(con_ids):
            world.renewed.append(con_id)
            if con_id in world.refused_quotes:
                self.emit(CodeReceived(*world.refused_quotes[con_id], 0, con_id))
            elif con_id in world.quotes and world.first_quotes:
                self.emit(QuoteReceived(con_id, world.quotes[con_id].valid_at(world.clock.now())))

    def next_order_id(self) -> int:
        return self.world.next_id

    def send(self, order: OrderToSend, instrument: Instrument, *, tif: str, outside_rth: bool) -> None:
        if not self.open:
            raise BrokerError("not connected")
        assert instrument.con_id == order.con_id
        self.world.on_send("before send")
        self.world.received.append(order)
        self.world.outside_rth.append(outside_rth)
        if not self.world.swallow:
            self.world.take(order)
        self.world.on_send("after send")

    def send_combo(
        self, order: ComboToSend, instruments: Mapping[int, Instrument], *, tif: str, outside_rth: bool
    ) -> None:
        if not self.open:
            raise BrokerError("not connected")
        assert instruments.keys() == {con_id for con_id, _ in order.legs}
        self.world.on_send("before send")
        self.world.combos.append(order)
        if not self.world.swallow:
            self.world.take_combo(order)
        self.world.on_send("after combo")

    def cancel(self, order_id: int) -> None:
        if not self.open:
            raise BrokerError("not connected")
        for order in self.world.orders:
            if order.client_id == 100 and order.sent.order_id == order_id and not order.over:
                if self.world.cancels_at_once:
                    self.world.end(order)
                else:
                    order.cancelling = True

    async def cancel_of_other(self, order: OpenOrder) -> None:
        await self._ask("cancel of another client's order")
        for one in self.world.orders:
            if one.perm_id == order.perm_id and one.client_id != self.client_id and not one.over:
                self.world.foreign_cancels.append(one)
                if self.world.cancels_at_once:
                    one.over = "Cancelled"
                else:
                    one.cancelling = True


def _decimal(text: str) -> Decimal:
    return Decimal(text)


class KilledError(BaseException):
    """The process is gone: nothing may catch it."""


CONFIG: Mapping[str, object] = {
    "mode": "paper",
    "defaults": {"stop": {"percent_of_premium": 50}, "target": {"percent_of_premium": 60}},
}

GROUP: Mapping[str, Any] = {
    **CONFIG,
    "groups": {
        "vertical": {
            "legs": [{"con_id": 42, "ratio": -1}, {"con_id": 43, "ratio": 1}],
            "stop": {"loss_amount": 30},
        }
    },
}
COMBO: Mapping[str, Any] = {
    **CONFIG,
    "groups": {"vertical": {**GROUP["groups"]["vertical"], "close": "combo", "combo_seconds": 30}},
}
HALF: Mapping[str, object] = {"levels": [{"percent_of_premium": 40, "close_percent": 50}], "then_breakeven": True}
PARTS: Mapping[str, object] = {
    "mode": "paper",
    "defaults": {
        "stop": {"percent_of_premium": 50},
        "target": {"percent_of_premium": 60},
        "partial_targets": HALF,
    },
}
GROUP_PARTS: Mapping[str, object] = {
    **PARTS,
    "groups": {"vertical": {**GROUP["groups"]["vertical"], "target": {"percent_of_premium": 80}}},
}
COMBO_PARTS: Mapping[str, object] = {
    **COMBO,
    "groups": {
        "vertical": {
            **COMBO["groups"]["vertical"],
            "target": {"percent_of_premium": 80},
            "partial_targets": HALF,
        }
    },
    "disaster_stop": {"percent_of_premium": 200, "short_legs_percent": 300},
}
GROUP_DISASTER: Mapping[str, object] = {
    **GROUP,
    "disaster_stop": {"percent_of_premium": 200, "short_legs_percent": 300},
}
DISASTER: Mapping[str, object] = {**CONFIG, "disaster_stop": {"percent_of_premium": 200}}


def short_puts(quantity: int = -2) -> World:
    """An account that is short puts at 2.50, quoted at what they brought."""
    at = World(ManualClock(BEGIN))
    at.hold(put(42), quantity)
    at.quote(42, "2.45", "2.55")
    return at


def vertical(quantity: int = 1) -> World:
    """An account that is short the 450 puts at 2.50 and long the 440 puts at 1.50."""
    at = short_puts(-quantity)
    at.hold(put(43, 440), quantity, "1.50")
    at.quote(43, "1.45", "1.55")
    return at


async def breach(at: World, bid: str = "3.75", ask: str = "3.85", times: int = 2) -> None:
    """Quotes beyond the stop, one a second."""
    for _ in range(times):
        at.quote(42, bid, ask)
        await at.clock.advance(1)


class Manager:
    """One process: the engine, its journal, and its notifications. What is not in the directory dies with it."""

    def __init__(
        self, world: World, directory: Path, config: Mapping[str, object] | None = None, seed: int = 0
    ) -> None:
        self.world = world
        self.reported: list[Message] = []
        self.people_are_away = False
        self.seed = seed
        self.broker = PortBroker(world)
        self.stop = asyncio.Event()
        self.loops = 0
        ids = random.Random(seed)  # noqa: S311 - ids that can be repeated
        self.config = Config.model_validate(config or CONFIG)
        clock = world.clock
        self.until_crash: int | None = None

        def now() -> datetime:
            """The journal's time; and the place where a process dies in the middle of a transaction."""
            if self.until_crash is not None:
                self.until_crash -= 1
                if self.until_crash < 0:
                    self.until_crash = None
                    raise KilledError
            return clock.now()

        def open_journal(accounts: frozenset[str]) -> Journal:
            return Journal(
                directory / "journal.db",
                Stamp(self.config.mode.value, accounts),
                clock=now,
                busy_timeout=0.01,
                new_id=lambda: ulid(clock.now(), ids.randbytes),
            )

        self.engine = Engine(
            self.config,
            self.broker,
            open_journal=open_journal,
            deliver=self._deliver,
            clock=clock,
            calendar=BrokerCalendar(),
            halts=Halts(KillSwitch(directory / "HALT"), HaltRecord(directory / "halt.json")),
            jitter=lambda: 1.0,
            on_loop=self._looped,
        )
        self.running: asyncio.Task[None] | None = None

    def _deliver(self, message: Message) -> None:
        """As an outbox would that outlasts the process: no end of what was not reported."""
        if self.people_are_away:
            raise OSError("nobody can be told")
        incidents = self.world.incidents
        if message.recovery_of:
            ended = {key for key in incidents if f"{key}/".startswith(f"{message.recovery_of}/")}
            if not ended:
                return
            incidents -= ended
        elif message.dedupe_key:
            incidents.add(message.dedupe_key)
        self.reported.append(message)

    def _looped(self) -> None:
        self.loops += 1

    @property
    def kinds(self) -> list[str]:
        return [message.kind for message in self.reported]

    async def start(self) -> None:
        self.running = asyncio.create_task(self.engine.run(self.stop))
        await settle()

    async def end(self) -> None:
        """An orderly stop."""
        assert self.running is not None
        self.stop.set()
        await self.running

    async def kill(self) -> None:
        """kill -9: nothing more is logged, written or sent; the kernel frees the lock of the journal."""
        self.broker.open = False
        self.broker._on_event = None
        journal, engine = self.engine.shared.access.opened, self.engine
        engine.shared.tasks.cancel()
        assert self.running is not None
        engine._stop = lambda: None  # type: ignore[method-assign]  # what a killed process does not do
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)
        if journal is not None:
            journal.close()
