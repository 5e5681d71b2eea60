"""Which orders depend on which: brackets and OCA groups."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal

from gateway_simulator.trading.model import ZERO, Order
from gateway_simulator.trading.working import WorkingOrder

CANCEL_WITH_BLOCK = 1
"""The OCA type that cancels the others at any fill; types 2 and 3 reduce them."""


def is_child(child: WorkingOrder, parent: WorkingOrder) -> bool:
    """Return whether an order is attached to another."""
    return child.order.parent_id != 0 and (child.order.client_id, child.order.parent_id) == parent.key


def are_siblings(one: WorkingOrder, other: WorkingOrder) -> bool:
    """Return whether two orders are attached to the same parent."""
    return (
        one is not other
        and one.order.parent_id != 0
        and (one.order.client_id, one.order.parent_id) == (other.order.client_id, other.order.parent_id)
    )


def share_a_group(one: WorkingOrder, other: WorkingOrder) -> bool:
    """Return whether two transmitted orders are of one OCA group: of one account, whoever placed them."""
    return (
        one is not other
        and one.transmitted
        and other.transmitted
        and one.order.oca_group != ""
        and (one.order.account, one.order.oca_group) == (other.order.account, other.order.oca_group)
    )


def is_spent(other: Order, joining: Order) -> bool:
    """Return whether another order has used up the OCA group that an order wants to join."""
    if not joining.oca_group or (other.account, other.oca_group) != (joining.account, joining.oca_group):
        return False
    if (other.client_id, other.order_id) == (joining.client_id, joining.order_id):
        return False
    return not other.remaining or (other.filled > 0 and joining.oca_type == CANCEL_WITH_BLOCK)


def quantity_left(other: WorkingOrder, filled: Decimal, remaining_before: Decimal) -> Decimal:
    """Return what remains of an order when one of its group, of which so much remained before, was filled in part.

    It is reduced by the same share, rounded up to whole steps of its size.
    """
    unit = other.instrument.size_increment
    remaining = other.order.remaining
    reduction = (remaining * filled / remaining_before / unit).quantize(Decimal(1), ROUND_CEILING) * unit
    return max(remaining - reduction, ZERO)
