"""The brokerage on the servers' clock: what the sessions of one server trade on.

Everything runs on the event loop: a request first brings the brokerage up to its moment, an alarm of the clock does
so when something falls due. Without a working order and without a stream nothing wakes up between the two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from gateway_simulator.api.behaviour import ApiBehaviour, MarketDataAccess
from gateway_simulator.api.pacing import HistoryPacer
from gateway_simulator.clock import Alarm, ServerClock
from gateway_simulator.trading.brokerage import Brokerage
from gateway_simulator.trading.events import Event, OrderError, OrderOpened, OrderStatusChanged, client_of
from gateway_simulator.trading.history import History
from gateway_simulator.trading.model import Order, OrderStatus

MAX_STEPS = 2400
"""Steps that streams see of one advance of a held clock; a long one widens them, over 5 s from 200 minutes on."""


class Listener(Protocol):
    """A session, as the floor sees it."""

    @property
    def client_id(self) -> int:
        """The session's client id."""
        ...

    @property
    def streams(self) -> bool:
        """Whether it wants to see every step of the market."""
        ...

    def on_events(self, events: Sequence[Event]) -> None:
        """Handle events, in order."""
        ...

    def tick(self, now: datetime) -> None:
        """Send what is due now."""
        ...

    def next_due(self, now: datetime) -> datetime | None:
        """Return when the session has something to send that is not a step of the market."""
        ...

    def lose_data(self) -> None:
        """Discard the subscriptions to market data: the servers have."""
        ...


@dataclass(frozen=True)
class _Unsent:
    """An order or a cancel that waits for the connection to the servers."""

    client_id: int
    order_id: int
    order: Order | None
    send: Callable[[datetime], list[Event]]


class Floor:
    """One server's view of a brokerage. ``store`` is called after each batch of events, before any session gets them,
    when something was set in the market, and at the end.

    While the connection to the servers is lost the brokerage continues, but no session receives events; new orders and
    cancels wait and are sent when it is back.
    """

    def __init__(
        self, brokerage: Brokerage, behaviour: ApiBehaviour, clock: ServerClock, store: Callable[[], None]
    ) -> None:
        self.brokerage = brokerage
        self.behaviour = behaviour
        self.clock = clock
        self.history = History(brokerage.catalog, brokerage.market, brokerage.hours)
        self.history_pacer = HistoryPacer()
        self.connected = True
        self._store = store
        self._stored_revision = brokerage.market.revision
        self._listeners: list[Listener] = []
        self._alarm: Alarm | None = None
        self._unreported: list[Event] = []
        self._unsent: list[_Unsent] = []
        self._stride = timedelta(0)

    @property
    def data_flows(self) -> bool:
        """Whether market data comes in at all."""
        return (
            self.connected
            and not self.behaviour.farm_down
            and self.behaviour.market_data is not MarketDataAccess.COMPETING
        )

    @property
    def unsent_orders(self) -> list[Order]:
        """The new orders that wait for the connection."""
        return [each.order for each in self._unsent if each.order is not None]

    def join(self, listener: Listener) -> None:
        """Send everything from now on to a session."""
        self._listeners.append(listener)

    def leave(self, listener: Listener) -> None:
        """Send a session nothing more."""
        self._listeners.remove(listener)
        self.arm()

    def close(self) -> None:
        """Cancel the alarm and store the final state."""
        self._cancel_alarm()
        self._store()

    def store(self) -> None:
        """Store everything in its current state."""
        self._store()

    def advance(self) -> datetime:
        """Advance the brokerage to the present and return that."""
        now = self.clock.utc()
        self.publish(self.brokerage.advance(now))
        return now

    def publish(self, events: Sequence[Event]) -> None:
        """Notify every session of the events."""
        if events or self._stored_revision != self.brokerage.market.revision:
            self._stored_revision = self.brokerage.market.revision
            self._store()
        if not events:
            return
        if self.connected:
            self._notify_sessions(events)
        else:
            self._unreported.extend(events)

    def _notify_sessions(self, events: Sequence[Event]) -> None:
        """Send each session the events about accounts and its own orders; the master client all of them.

        Sorted here once, because a session would have to check every event of all the others.
        """
        owners = [client_of(each) for each in events]
        for listener in list(self._listeners):
            own = listener.client_id
            if own == self.behaviour.master_client_id:
                listener.on_events(events)
                continue
            mine = [each for each, owner in zip(events, owners, strict=True) if owner is None or owner == own]
            if mine:
                listener.on_events(mine)

    def arm(self) -> None:
        """Set the alarm to what falls due next; to be called whenever that may have changed."""
        self._cancel_alarm()
        now = self.clock.utc()
        wished = [each for each in (listener.next_due(now) for listener in self._listeners) if each is not None]
        due = [max(each, now + self._stride) for each in wished]
        if (next_due := self.brokerage.next_due(now)) is not None:
            due.append(next_due)
        if self.brokerage.working or any(each.streams for each in self._listeners):
            due.append(max(self.brokerage.market.next_change(now), now + self._stride))
        if due:
            self._alarm = self.clock.call_at(min(due), self.tick)

    def _cancel_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def tick(self) -> None:
        """Do everything that is due, and have every session send what is due now."""
        now = self.advance()
        for listener in list(self._listeners):
            listener.tick(now)
        self.arm()

    def move(self, seconds: float, steps: int = MAX_STEPS) -> datetime:
        """Advance a held clock, with everything that happens on the way; HeldClockError if it runs by itself.

        Streams and working orders see at most ``steps`` steps of the market.
        """
        self._stride = timedelta(seconds=seconds / steps)
        try:
            self.arm()
            now = self.clock.advance(seconds)
        finally:
            self._stride = timedelta(0)
        self.tick()
        return now

    def place(self, client_id: int, order: Order) -> None:
        """Place an order of a client's, or let it wait for the connection as PendingSubmit."""
        if self.connected:
            self.publish(self.brokerage.place(client_id, order, self.clock.utc()))
            return
        is_new = self.brokerage.find_order(client_id, order.order_id) is None and not order.what_if
        pending = replace(order, client_id=client_id, status=OrderStatus.PENDING_SUBMIT)
        self._unsent.append(
            _Unsent(
                client_id,
                order.order_id,
                pending if is_new else None,
                lambda now: self.brokerage.place(client_id, order, now),
            )
        )
        if is_new:
            self._notify_sessions([OrderOpened(pending), OrderStatusChanged(pending)])

    def cancel(self, client_id: int, order_id: int) -> None:
        """Cancel a client's order; one that still waits for the connection is never sent."""
        if self.connected:
            self.publish(self.brokerage.cancel(client_id, order_id, self.clock.utc()))
            return
        waiting = [each for each in self._unsent if (each.client_id, each.order_id) == (client_id, order_id)]
        new = [each.order for each in waiting if each.order is not None]
        if not new:
            send = _Unsent(client_id, order_id, None, lambda now: self.brokerage.cancel(client_id, order_id, now))
            self._unsent.append(send)
            return
        self._unsent = [each for each in self._unsent if each not in waiting]
        cancelled = replace(new[0], status=OrderStatus.CANCELLED)
        self._notify_sessions(
            [OrderStatusChanged(cancelled), OrderError(client_id, order_id, 202, "Order Canceled - reason:")]
        )

    def cancel_all(self, client_id: int) -> None:
        """Cancel every order of every client."""
        if self.connected:
            self.publish(self.brokerage.global_cancel(client_id, self.clock.utc()))
            return
        for order in self.unsent_orders:
            self.cancel(order.client_id, order.order_id)
        self._unsent.append(_Unsent(client_id, 0, None, lambda now: self.brokerage.global_cancel(client_id, now)))

    def disconnect(self) -> None:
        """Lose the connection to the servers."""
        self.connected = False

    def reconnect(self, *, data_lost: bool) -> None:
        """Restore the connection: deliver the missed events, then send what waited."""
        if data_lost:
            for listener in list(self._listeners):
                listener.lose_data()
        if self.connected:
            return
        self.connected = True
        self.advance()
        unreported, self._unreported = self._unreported, []
        self._notify_sessions(unreported)
        unsent, self._unsent = self._unsent, []
        for each in unsent:
            self.publish(each.send(self.clock.utc()))
        self.tick()
