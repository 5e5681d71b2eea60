"""A small broker in memory that knows the truth, and shows it late, twice or not at all.

It checks each order as it arrives: it must close, it must be the only live one of ours, and together with all other
live orders it must not be able to go through zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from position_manager.journal.records import OrderToSend
from position_manager.orders.evidence import CompletedOrder, Execution, OpenOrder, Snapshot
from position_manager.orders.intents import Fill, Side, closing_side

ACCOUNT = "DU1234567"
CON_ID = 42
PRICE = Decimal("2.50")
KEY = (ACCOUNT, CON_ID)


@dataclass
class Order:
    """An order as it truly is. ``over`` is the status it ended with."""

    perm_id: int
    side: Side
    quantity: Decimal
    ref: str = ""
    order_id: int = 0
    filled: Decimal = Decimal(0)
    over: str = ""
    shown_over_at: datetime | None = None

    @property
    def remaining(self) -> Decimal:
        return self.quantity - self.filled


@dataclass
class Trade:
    """An execution as it truly is, and when the broker's two views of it catch up."""

    execution: Execution
    in_executions_at: datetime
    in_position_at: datetime


@dataclass(frozen=True)
class Message:
    """What the broker reports to a connected client about an order: ack, fill, or an error code."""

    kind: str
    order: Order
    fill: Fill | None = None
    code: int = 0


@dataclass
class Broker:
    """The truth. ``position`` may be changed by a test to play the user; ``wire`` are messages not yet delivered."""

    now: datetime
    position: Decimal
    orders: list[Order] = field(default_factory=list)
    trades: list[Trade] = field(default_factory=list)
    in_flight: list[tuple[datetime, OrderToSend]] = field(default_factory=list)
    wire: list[Message] = field(default_factory=list)
    link: bool = True
    received: int = 0

    def live(self, ours: bool | None = None) -> list[Order]:
        return [o for o in self.orders if not o.over and (ours is None or bool(o.ref) is ours)]

    def pass_time(self, span: timedelta) -> None:
        self.now += span
        for due, order in list(self.in_flight):
            if due <= self.now:
                self.in_flight.remove((due, order))
                self.receive(order)

    def receive(self, sent: OrderToSend) -> None:
        """Accept an order of ours. Raises AssertionError if it could close the position a second time."""
        assert not self.live(ours=True), f"a second live order of ours: {sent}, {self.live(ours=True)}"
        assert all(order.ref != sent.ref for order in self.orders), f"sent twice: {sent}"
        assert sent.side is closing_side(self.position), f"{sent} does not close {self.position}"
        resting = sum((o.remaining for o in self.live() if o.side is sent.side), Decimal(0))
        assert sent.quantity + resting <= abs(self.position), f"{sent} and {resting} resting, {self.position} held"
        assert sent.oca_type == 1
        assert sent.oca_group
        order = Order(1000 + len(self.orders), sent.side, sent.quantity, sent.ref, sent.order_id)
        self.orders.append(order)
        self.received += 1
        self.emit(Message("ack", order))

    def emit(self, message: Message) -> None:
        if self.link and message.order.ref:
            self.wire.append(message)

    def fill(self, order: Order, quantity: Decimal, executions_late: int, position_late: int) -> None:
        side, before = order.side, self.position
        order.filled += quantity
        self.position += side.sign * quantity
        assert before * self.position >= 0, f"through zero: {before} to {self.position}"
        fill = Fill(f"x{len(self.trades)}", quantity, PRICE, self.now)
        self.trades.append(
            Trade(
                Execution(ACCOUNT, CON_ID, side, fill, order.perm_id, order.ref),
                self.now + timedelta(seconds=executions_late),
                self.now + timedelta(seconds=position_late),
            )
        )
        self.emit(Message("fill", order, fill))
        if not order.remaining:
            self.end(order, "Filled", executions_late)

    def end(self, order: Order, status: str, late: int) -> None:
        order.over = status
        order.shown_over_at = self.now + timedelta(seconds=late)

    def shown_position(self) -> Decimal:
        late = (t.execution.side.sign * t.execution.fill.quantity for t in self.trades if t.in_position_at > self.now)
        return self.position - sum(late, Decimal(0))

    def shown_open(self) -> tuple[OpenOrder, ...]:
        return tuple(
            OpenOrder(ACCOUNT, CON_ID, o.side, o.remaining, o.perm_id, "Submitted", o.ref, 100 if o.ref else 0)
            for o in self.live()
        )

    def snapshot(self, shows_filled: bool = True) -> Snapshot:
        return Snapshot(
            time=self.now,
            positions={KEY: self.shown_position()},
            open_orders=self.shown_open(),
            completed=tuple(
                CompletedOrder(o.perm_id, o.over, o.filled if shows_filled else None, o.ref)
                for o in self.orders
                if o.shown_over_at is not None and o.shown_over_at <= self.now
            ),
            executions=tuple(t.execution for t in self.trades if t.in_executions_at <= self.now),
        )
