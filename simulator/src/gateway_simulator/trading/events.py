"""The brokerage's events, for those that notify clients and write the journal.

An event holds the facts as they were when it happened. The order of events is the order in which a client must
receive them.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway_simulator.trading.model import Execution, Order, OrderImpact, Position


@dataclass(frozen=True)
class OrderOpened:
    """An order was accepted, changed, or its terms are to be sent again (openOrder)."""

    order: Order


@dataclass(frozen=True)
class OrderStatusChanged:
    """An order's status or filled quantity changed (orderStatus)."""

    order: Order


@dataclass(frozen=True)
class OrderFilled:
    """An order was filled in part or in whole (execDetails with request id -1). The order is as after the fill."""

    order: Order
    execution: Execution


@dataclass(frozen=True)
class CommissionCharged:
    """The commission of an execution is known (commissionReport)."""

    execution: Execution


@dataclass(frozen=True)
class OrderError:
    """An error or warning about an order, for the client that placed or cancelled it."""

    client_id: int
    order_id: int
    code: int
    text: str


@dataclass(frozen=True)
class OrderPreviewed:
    """The answer to a what-if order; nothing was placed (openOrder with the impact, and no orderStatus)."""

    order: Order
    impact: OrderImpact


@dataclass(frozen=True)
class PositionChanged:
    """A holding changed, by a fill or by expiry; a quantity of 0 means that it is gone."""

    account_id: str
    position: Position


@dataclass(frozen=True)
class AccountChanged:
    """Cash, margin or realized profit of an account changed."""

    account_id: str


def client_of(event: Event) -> int | None:
    """Return the client whose order an event is about; None for one that is about an account."""
    match event:
        case OrderOpened(order) | OrderStatusChanged(order) | OrderFilled(order) | OrderPreviewed(order):
            return order.client_id
        case CommissionCharged(execution):
            return execution.client_id
        case OrderError(client_id):
            return client_id
        case _:
            return None


Event = (
    OrderOpened
    | OrderStatusChanged
    | OrderFilled
    | CommissionCharged
    | OrderError
    | OrderPreviewed
    | PositionChanged
    | AccountChanged
)
