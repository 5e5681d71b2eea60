"""The orders of all clients: those at work, those of the day that are done, and the states in between."""

from __future__ import annotations

from datetime import timedelta

from gateway_simulator.trading import contingency, events
from gateway_simulator.trading.book import Session
from gateway_simulator.trading.model import Order, OrderStatus
from gateway_simulator.trading.reports import Reports
from gateway_simulator.trading.trading_time import NEVER, TradingTime
from gateway_simulator.trading.tradinghours import TradingHours
from gateway_simulator.trading.validation import OrderRejectedError
from gateway_simulator.trading.working import AT_ONCE, WorkingOrder

BY_TRADER = "Cancelled by Trader"


class OrderBook:
    """``working`` has the orders by client and id, ``completed`` the day's. ``cancels_held``: whether a cancel stays on
    its way for ever."""

    def __init__(self, hours: TradingHours, cancel_latency: timedelta, time: TradingTime, reports: Reports) -> None:
        self._hours = hours
        self._cancel_latency = cancel_latency
        self._time = time
        self._reports = reports
        self.working: dict[tuple[int, int], WorkingOrder] = {}
        self.completed: list[Order] = []
        self.last_ids: dict[int, int] = {}
        self.cancels_held = False
        self._sessions: dict[int, Session] = {}

    @property
    def transmitted(self) -> list[Order]:
        """The working orders of all clients in their current state, oldest first."""
        return [each.order for each in self.working.values() if each.transmitted]

    def is_working(self, working: WorkingOrder) -> bool:
        """Whether an order has not ended, nor been replaced."""
        return self.working.get(working.key) is working

    def forget_sessions(self) -> None:
        """Read the trading hours again."""
        self._sessions.clear()

    def find(self, client_id: int, order_id: int) -> Order | None:
        """Return a client's order, working or done, by its id."""
        working = self.working.get((client_id, order_id))
        return working.order if working is not None else self.find_completed(client_id, order_id)

    def find_completed(self, client_id: int, order_id: int) -> Order | None:
        """Return a client's order that is done, by its id."""
        for each in reversed(self.completed):
            if (each.client_id, each.order_id) == (client_id, order_id):
                return each
        return None

    def use_id(self, client_id: int, order_id: int) -> None:
        """Count an order id as used."""
        self.last_ids[client_id] = max(self.last_ids.get(client_id, 0), order_id)

    def uncancellable(self, client_id: int, order_id: int) -> tuple[int, str]:
        """Return the code and the text for an order that cannot be cancelled."""
        done = self.find(client_id, order_id)
        if done is None:
            return 10147, f"OrderId {order_id} that needs to be cancelled is not found."
        if done.status is OrderStatus.INACTIVE:
            return 161, f"Cancel attempted when order is not in a cancellable state. Order permId = {done.perm_id}"
        return (
            10148,
            f"OrderId {order_id} that needs to be cancelled cannot be cancelled, state: {done.status.value}.",
        )

    def state_of(self, working: WorkingOrder) -> tuple[OrderStatus, str]:
        """The status of an order that is not done, and what holds it."""
        held, why = True, ""
        if working.cancelled_at is not None:
            return OrderStatus.PENDING_CANCEL, why
        if self.waits_for_parent(working):
            why = "child"
        elif working.waits_for_trigger:
            why = "trigger"
        else:
            held = not self.may_trade(working)
        return (OrderStatus.PRE_SUBMITTED if held else OrderStatus.SUBMITTED), why

    def waits_for_parent(self, working: WorkingOrder) -> bool:
        """Whether an order waits until its parent is filled."""
        order = working.order
        return order.parent_id != 0 and (order.client_id, order.parent_id) in self.working

    def may_trade(self, working: WorkingOrder) -> bool:
        """Whether the market may fill or trigger an order now."""
        return (
            working.transmitted
            and not self.waits_for_parent(working)
            and not (working.order.conditions and working.waits_for_conditions)
            and (working.begins is None or working.begins <= self._time.moment)
            and self.is_open(working)
        )

    def is_at_work(self, working: WorkingOrder) -> bool:
        """Whether an order can meet the market now."""
        return self.is_working(working) and (
            self.may_trade(working)
            or (
                working.order.time_in_force in AT_ONCE
                and not self.waits_for_parent(working)
                and not working.waits_for_conditions
            )
        )

    def is_open(self, working: WorkingOrder) -> bool:
        """Whether the market is open for an order."""
        session = self.session_of(working)
        return session.extended if working.order.outside_rth else session.regular

    def session_of(self, working: WorkingOrder) -> Session:
        """The instrument's session at this moment, cached between two changes."""
        now = self._time.moment
        session = self._sessions.get(working.con_id)
        if session is None or not session.since <= now < session.until:
            session = self._sessions[working.con_id] = Session(
                self._hours.is_open(working.instrument, now, outside_rth=False),
                self._hours.is_open(working.instrument, now, outside_rth=True),
                now,
                self._hours.next_change(working.instrument, now),
            )
        return session

    def announce(self, working: WorkingOrder) -> None:
        """Report an order that was accepted or changed, the way the gateway does: PreSubmitted first, and twice."""
        status, why_held = self.state_of(working)
        first = OrderStatus.PRE_SUBMITTED
        if working.order.order_type == "MKT" and not working.buys and status is OrderStatus.SUBMITTED:
            first = status
        for each in (first, status) if first is OrderStatus.PRE_SUBMITTED else (status,):
            order = working.change(status=each, why_held=why_held)
            self._reports.report(events.OrderOpened(order), events.OrderStatusChanged(order))

    def report_state(self, working: WorkingOrder) -> None:
        """Report an order as it is now."""
        status, why_held = self.state_of(working)
        order = working.change(status=status, why_held=why_held)
        self._reports.report(events.OrderOpened(order), events.OrderStatusChanged(order))

    def report_change(self, working: WorkingOrder) -> None:
        """Report an order's status if it has changed."""
        if not working.transmitted or not self.is_working(working):
            return
        if self.state_of(working) != (working.order.status, working.order.why_held):
            self.report_state(working)

    def cancel_for_trader(self, working: WorkingOrder) -> None:
        """Cancel an order, as its client asked for."""
        if working.transmitted:
            self._reports.report(
                events.OrderStatusChanged(working.change(status=OrderStatus.PENDING_CANCEL, why_held=""))
            )
        if working.transmitted and self.cancels_held:
            working.cancelled_at = NEVER
        elif working.transmitted and self._cancel_latency:
            working.cancelled_at = self._time.moment + self._cancel_latency
        else:
            self.cancel(working, BY_TRADER)

    def cancel(self, working: WorkingOrder, reason: str) -> None:
        """End an order as cancelled, with what depends on it."""
        self.end(working, OrderStatus.CANCELLED, reason)
        text = "Order Canceled - reason:" + ("" if reason == BY_TRADER else reason)
        self._reports.report(events.OrderError(working.order.client_id, working.order.order_id, 202, text))
        self.cancel_children(working, "The parent order was cancelled")

    def cancel_children(self, parent: WorkingOrder, reason: str) -> None:
        """Cancel the orders that wait for one that has ended."""
        for child in [each for each in self.working.values() if contingency.is_child(each, parent)]:
            if child.key in self.working:
                self.cancel(child, reason)

    def reject(self, working: WorkingOrder, rejection: OrderRejectedError) -> None:
        """End an order that was not accepted, with what depends on it."""
        order = working.order
        self._reports.report(events.OrderError(order.client_id, order.order_id, rejection.code, rejection.text))
        self.end(working, OrderStatus.INACTIVE, rejection.text)
        self.cancel_children(working, "The parent order was rejected")

    def end(self, working: WorkingOrder, status: OrderStatus, reason: str) -> None:
        """End an order."""
        del self.working[working.key]
        order = working.change(status=status, why_held="", completed_at=self._time.moment, completed_reason=reason)
        self.completed.append(order)
        self._reports.report(events.OrderStatusChanged(order))

    def release_children(self, parent: WorkingOrder) -> None:
        """Set the children of a filled order to work."""
        for child in [each for each in self.working.values() if contingency.is_child(each, parent)]:
            self.report_change(child)
