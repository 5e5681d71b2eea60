"""The journal: one line of canonical JSON for each event, the same for the same seed and requests."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal

from gateway_simulator.trading import events
from gateway_simulator.trading.model import Execution, Order, Position


def journal_line(event: events.Event, moment: datetime) -> str:
    """Return an event as a line: keys sorted, no spaces, decimals and moments as text, no line break."""
    facts = {"event": type(event).__name__, "time": moment.isoformat(), **_facts(event)}
    return json.dumps(facts, sort_keys=True, separators=(",", ":"))


def _facts(event: events.Event) -> dict[str, object]:
    match event:
        case events.OrderOpened(order) | events.OrderStatusChanged(order):
            return _order(order)
        case events.OrderFilled(order, execution):
            return {**_order(order), **_execution(execution)}
        case events.CommissionCharged(execution):
            return {
                "exec_id": execution.exec_id,
                "commission": _text(execution.commission),
                "realized_pnl": _text(execution.realized_pnl),
            }
        case events.OrderError(client_id, order_id, code, text):
            return {"client_id": client_id, "order_id": order_id, "code": code, "text": text}
        case events.OrderPreviewed(order, impact):
            return {
                **_order(order),
                "initial_margin_after": _text(impact.initial_margin_after),
                "maintenance_margin_after": _text(impact.maintenance_margin_after),
                "equity_with_loan_after": _text(impact.equity_with_loan_after),
                "commission": _text(impact.commission),
            }
        case events.PositionChanged(account_id, position):
            return {"account": account_id, **_position(position)}
        case events.AccountChanged(account_id):
            return {"account": account_id}


def _order(order: Order) -> dict[str, object]:
    return {
        "client_id": order.client_id,
        "order_id": order.order_id,
        "perm_id": order.perm_id,
        "parent_id": order.parent_id,
        "account": order.account,
        "con_id": order.contract.con_id,
        "symbol": order.contract.symbol,
        "action": order.action,
        "quantity": _text(order.quantity),
        "order_type": order.order_type,
        "limit_price": _text(order.limit_price),
        "aux_price": _text(order.aux_price),
        "trail_stop_price": _text(order.trail_stop_price),
        "time_in_force": order.time_in_force,
        "oca_group": order.oca_group,
        "order_ref": order.order_ref,
        "status": order.status.value,
        "filled": _text(order.filled),
        "average_fill_price": _text(order.average_fill_price),
        "why_held": order.why_held,
    }


def _execution(execution: Execution) -> dict[str, object]:
    return {
        "exec_id": execution.exec_id,
        "exchange": execution.exchange,
        "side": execution.side,
        "shares": _text(execution.shares),
        "price": _text(execution.price),
        "cumulative_quantity": _text(execution.cumulative_quantity),
    }


def _position(position: Position) -> dict[str, object]:
    return {
        "con_id": position.contract.con_id,
        "symbol": position.contract.symbol,
        "position": _text(position.quantity),
        "average_cost": _text(position.average_cost),
        "realized_pnl": _text(position.realized_pnl),
    }


def _text(value: Decimal | None) -> str | None:
    """A decimal without an exponent or trailing zeros, so that equal numbers read alike."""
    if value is None:
        return None
    text = format(value, "f")
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"
