"""Requests about orders and executions, but for the placing of one, which has a module of its own."""

from __future__ import annotations

from dataclasses import dataclass

from gateway_simulator.api.requests.reader import Reader
from gateway_simulator.trading.model import ExecutionFilter, Order


@dataclass(frozen=True)
class PlaceOrder:
    """Place or change an order, which has the client's order id and no client id or permanent id yet.

    ``unsupported`` names what the order asks for and the simulator does not support (an order type it does not know
    is in the order itself).
    """

    order: Order
    unsupported: tuple[str, ...] = ()


@dataclass(frozen=True)
class CancelOrder:
    """Cancel an order."""

    order_id: int


@dataclass(frozen=True)
class GlobalCancel:
    """Cancel every order."""


@dataclass(frozen=True)
class OpenOrders:
    """Report this client's open orders."""


@dataclass(frozen=True)
class AllOpenOrders:
    """Report every client's open orders."""


@dataclass(frozen=True)
class AutoOpenOrders:
    """Bind orders entered manually to this client (client 0 only)."""

    bind: bool


@dataclass(frozen=True)
class CompletedOrders:
    """Report the day's completed orders."""

    api_only: bool


@dataclass(frozen=True)
class Executions:
    """Report the day's executions."""

    request_id: int
    wanted: ExecutionFilter


@dataclass(frozen=True)
class NextIds:
    """Report the next order id."""


def read_cancel_order(take: Reader) -> CancelOrder:
    """Read cancelOrder."""
    take.version(1)
    take.request_id = order_id = take.integer("order id")
    take.text("manual order cancel time")
    return CancelOrder(order_id)


def read_completed_orders(take: Reader) -> CompletedOrders:
    """Read reqCompletedOrders."""
    return CompletedOrders(take.flag("api only"))


def read_auto_open_orders(take: Reader) -> AutoOpenOrders:
    """Read reqAutoOpenOrders."""
    take.version(1)
    return AutoOpenOrders(take.flag("auto bind"))


def read_executions(take: Reader) -> Executions:
    """Read reqExecutions."""
    take.version(3)
    return Executions(
        take.identify(),
        ExecutionFilter(
            client_id=take.optional_integer("client id"),
            account=take.text("account"),
            since=take.moment("time"),
            symbol=take.text("symbol"),
            sec_type=take.text("security type"),
            exchange=take.text("exchange"),
            side=take.text("side"),
        ),
    )


def read_next_ids(take: Reader) -> NextIds:
    """Read reqIds."""
    take.version(1)
    take.integer("number of ids")
    return NextIds()
