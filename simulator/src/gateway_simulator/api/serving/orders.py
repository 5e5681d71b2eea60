"""Orders and executions: placing, cancelling, listing, and passing on what becomes of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gateway_simulator.api import messages, requests
from gateway_simulator.api.serving.desk import Desk, Handler, RefusalError
from gateway_simulator.trading.events import (
    CommissionCharged,
    Event,
    OrderError,
    OrderFilled,
    OrderOpened,
    OrderPreviewed,
    OrderStatusChanged,
)
from gateway_simulator.trading.model import Order, OrderStatus


class Orders:
    """One client's view of the orders."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._listed: dict[tuple[int, int], tuple[Order, tuple[bytes, bytes]]] = {}
        """The frames of the last list of open orders: most orders are the same in the next one."""
        self.handlers: Mapping[type, Handler] = {
            requests.OpenOrders: self._open_orders,
            requests.AllOpenOrders: self._all_open_orders,
            requests.AutoOpenOrders: self._auto_open_orders,
            requests.CompletedOrders: self._completed_orders,
            requests.PlaceOrder: self._place,
            requests.CancelOrder: self._cancel,
            requests.GlobalCancel: self._global_cancel,
            requests.Executions: self._executions,
            requests.NextIds: self._next_ids,
        }

    def _open_orders(self, _: requests.OpenOrders) -> Iterable[bytes]:
        own = self._desk.client_id
        unsent = [each for each in self._desk.floor.unsent_orders if each.client_id == own]
        return self._list([*self._desk.brokerage.open_orders_of(own), *unsent])

    def _all_open_orders(self, _: requests.AllOpenOrders) -> Iterable[bytes]:
        return self._list([*self._desk.brokerage.orders, *self._desk.floor.unsent_orders])

    def _list(self, orders: list[Order]) -> Iterable[bytes]:
        self._desk.may_order()
        before, self._listed = self._listed, {}
        for order in orders:
            key = order.client_id, order.order_id
            known = before.get(key)
            if known is None or known[0] is not order:
                frames = messages.open_order(order, self._desk.server_version), messages.order_status(order)
                known = order, frames
            self._listed[key] = known
            yield from known[1]
        yield messages.open_order_end()

    def _auto_open_orders(self, _: requests.AutoOpenOrders) -> Iterable[bytes]:
        """Handle the request to be bound to orders entered manually, of which there are none."""
        self._desk.may_order()
        if self._desk.client_id != 0:
            raise RefusalError(
                327, "Only API connections with clientId set to 0 can set the auto bind TWS orders property."
            )
        return ()

    def _completed_orders(self, _: requests.CompletedOrders) -> Iterable[bytes]:
        self._desk.may_order()
        for order in self._desk.brokerage.completed_orders:
            yield messages.completed_order(order, self._desk.server_version)
        yield messages.completed_orders_end()

    def _place(self, request: requests.PlaceOrder) -> Iterable[bytes]:
        order = request.order
        self._desk.may_order(order.order_id)
        if request.unsupported:
            what = ", ".join(request.unsupported)
            text = f"Order rejected - reason:The simulated gateway does not play this: {what}."
            yield self._desk.error(order.order_id, 201, text)
            yield messages.order_status_of(
                order.order_id, OrderStatus.INACTIVE, remaining=order.quantity, client_id=self._desk.client_id
            )
            return
        self._desk.floor.place(self._desk.client_id, order)

    def _cancel(self, request: requests.CancelOrder) -> Iterable[bytes]:
        self._desk.may_order(request.order_id)
        self._desk.floor.cancel(self._desk.client_id, request.order_id)
        return ()

    def _global_cancel(self, _: requests.GlobalCancel) -> Iterable[bytes]:
        self._desk.may_order()
        self._desk.floor.cancel_all(self._desk.client_id)
        return ()

    def _executions(self, request: requests.Executions) -> Iterable[bytes]:
        for fill in self._desk.brokerage.find_executions(request.wanted, self._desk.now()):
            yield messages.execution(request.request_id, fill, self._desk.server_version)
            if fill.contract.sec_type != "BAG":  # its legs have commissions
                yield messages.commission(fill)
        if not self._desk.behaviour.omit_executions_end:
            yield messages.executions_end(request.request_id)

    def _next_ids(self, _: requests.NextIds) -> Iterable[bytes]:
        yield self.next_valid_id()

    def next_valid_id(self) -> bytes:
        """The first order id that this client may use."""
        return messages.next_valid_id(self._desk.brokerage.next_order_id(self._desk.client_id))

    def _concerns(self, client_id: int) -> bool:
        """Whether this client is notified of a client's order: every client of its own, the master of all."""
        return self._desk.client_id in (client_id, self._desk.behaviour.master_client_id)

    def on_event(self, event: Event) -> Iterable[bytes]:
        """Notify the client of an event of an order that concerns it; a read-only API reports executions only."""
        shows_orders = not self._desk.behaviour.read_only
        match event:
            case OrderOpened(order) if shows_orders and self._concerns(order.client_id):
                yield messages.open_order(order, self._desk.server_version)
            case OrderStatusChanged(order) if shows_orders and self._concerns(order.client_id):
                yield messages.order_status(order)
            case OrderFilled(order, execution) if self._concerns(order.client_id):
                yield messages.execution(-1, execution, self._desk.server_version)
            case CommissionCharged(execution) if self._concerns(execution.client_id):
                yield messages.commission(execution)
            case OrderError(client_id, order_id, code, text) if client_id == self._desk.client_id:
                yield self._desk.error(order_id, code, text)
            case OrderPreviewed(order, impact) if order.client_id == self._desk.client_id:
                yield messages.open_order(order, self._desk.server_version, impact=impact)
