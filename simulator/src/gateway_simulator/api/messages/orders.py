"""Messages about orders and executions.

Up to 176 orders carry the FA profile field, from 177 on they do not; from 178 on an execution ends
with a pending price revision flag.
"""

from __future__ import annotations

from decimal import Decimal

from gateway_simulator.api.messages.blocks import (
    UNSET_INTEGER,
    UNSET_LONG,
    UNSET_NUMBER,
    ascii7,
    contract_block,
    number,
    price_or_zero,
)
from gateway_simulator.api.versions import FA_PROFILE_DROPPED, PENDING_PRICE_REVISION
from gateway_simulator.api.wire import FieldValue, encode_frame
from gateway_simulator.clock import gateway_time
from gateway_simulator.trading.combination import description_of
from gateway_simulator.trading.conditions import FIELDS
from gateway_simulator.trading.model import ComboLeg, Execution, Order, OrderImpact, OrderStatus


def executions_end(request_id: int) -> bytes:
    """The end of the requested executions."""
    return encode_frame([55, 1, request_id])


def execution(request_id: int, fill: Execution, server_version: int) -> bytes:
    """One execution; ``request_id`` is -1 for one that happens now."""
    fields: list[FieldValue] = [
        11,
        request_id,
        fill.order_id,
        *contract_block(fill.contract, exchange=fill.contract.exchange),
        fill.exec_id,
        gateway_time(fill.time),
        fill.account,
        fill.exchange,
        fill.side,
        fill.shares,
        fill.price,
        fill.perm_id,
        fill.client_id,
        0,  # liquidation
        fill.cumulative_quantity,
        fill.average_price,
        fill.order_ref,
        "",  # economic value rule
        "",  # economic value multiplier
        "",  # model
        fill.last_liquidity,
    ]
    if server_version >= PENDING_PRICE_REVISION:
        fields.append(fill.pending_price_revision)
    return encode_frame(fields)


def commission(fill: Execution) -> bytes:
    """The commission of an execution; a fill that closed nothing has no realized profit."""
    realized = number(fill.realized_pnl)
    currency = fill.commission_currency or fill.contract.currency
    return encode_frame([59, 1, fill.exec_id, fill.commission, currency, realized, UNSET_NUMBER, ""])


def order_status(order: Order) -> bytes:
    """The status of an order."""
    return order_status_of(
        order.order_id,
        order.status,
        filled=order.filled,
        remaining=order.remaining,
        average_price=order.average_fill_price,
        perm_id=order.perm_id,
        parent_id=order.parent_id,
        last_price=order.last_fill_price,
        client_id=order.client_id,
        why_held=order.why_held,
    )


def order_status_of(
    order_id: int,
    status: OrderStatus,
    *,
    filled: Decimal = Decimal(0),
    remaining: Decimal = Decimal(0),
    average_price: Decimal = Decimal(0),
    perm_id: int = 0,
    parent_id: int = 0,
    last_price: Decimal = Decimal(0),
    client_id: int = 0,
    why_held: str = "",
) -> bytes:
    """The status of an order that the brokerage may never have taken."""
    return encode_frame(
        [
            3,
            order_id,
            status.value,
            filled,
            remaining,
            average_price,
            perm_id,
            parent_id,
            last_price,
            client_id,
            why_held,
            0,  # market cap price
        ]
    )


def open_order_end() -> bytes:
    """The end of the open orders."""
    return encode_frame([53, 1])


def completed_orders_end() -> bytes:
    """The end of the completed orders; this message has no version."""
    return encode_frame([102])


def open_order(order: Order, server_version: int, *, impact: OrderImpact | None = None) -> bytes:
    """An open order in its current state: 136 fields at 176, one fewer from 177 on.

    With ``impact`` it answers a what-if order.
    """
    return encode_frame(
        [
            5,
            order.order_id,
            *_order_contract(order),
            *_order_head(order),
            order.client_id,
            order.perm_id,
            *_order_times(order),
            f"{order.perm_id}.0/{order.account}/100",  # deprecated shares allocation
            *_allocation(server_version),
            *_order_middle(order),
            0,  # auction strategy
            *[""] * 5,  # starting, reference prices, delta, range
            _display_size(order),
            0,  # block order
            0,  # sweep to fill
            order.all_or_none,
            order.min_quantity,
            order.oca_type,
            0,  # electronic trade only
            0,  # firm quote only
            "",  # NBBO price cap
            order.parent_id,
            order.trigger_method,
            *_volatility(order, completed=False),
            "",  # basis points
            "",  # basis points type
            *_blocks(order),
            0,  # opt out of SMART routing
            "",  # clearing account
            "IB",  # clearing intent
            0,  # not held
            0,  # no delta neutral contract
            *_algorithm(order),
            0,  # solicited
            order.what_if,
            order.status.value,
            *_impact(impact),
            0,  # randomize size
            0,  # randomize price
            *_conditions(order),
            "None",  # adjusted order type
            UNSET_NUMBER,  # trigger price
            number(order.trail_stop_price),
            number(order.limit_price_offset),
            *[UNSET_NUMBER] * 3,  # adjusted prices
            0,  # adjustable trailing unit
            *[""] * 3,  # soft dollar tier
            order.cash_quantity,
            1,  # do not use automatic price for hedge
            0,  # OMS container
            0,  # discretionary up to limit price
            0,  # price management algorithm
            "",  # duration
            "",  # post to ATS
            0,  # cancel with parent
            *[""] * 5,  # minimum trade and compete sizes, offsets
        ]
    )


def completed_order(order: Order, server_version: int) -> bytes:
    """An order that is done. It carries no order id or client id: the permanent id identifies it."""
    return encode_frame(
        [
            101,
            *_order_contract(order),
            *_order_head(order),
            order.perm_id,
            *_order_times(order),
            *_allocation(server_version),
            *_order_middle(order),
            *[""] * 5,  # starting, reference prices, delta, range
            _display_size(order),
            0,  # sweep to fill
            order.all_or_none,
            order.min_quantity,
            order.oca_type,
            order.trigger_method,
            *_volatility(order, completed=True),
            *_blocks(order),
            "",  # clearing account
            "IB",  # clearing intent
            0,  # not held
            0,  # no delta neutral contract
            *_algorithm(order),
            0,  # solicited
            order.status.value,
            0,  # randomize size
            0,  # randomize price
            *_conditions(order),
            number(order.trail_stop_price),
            number(order.limit_price_offset),
            order.cash_quantity,
            1,  # do not use automatic price for hedge
            0,  # OMS container
            "",  # automatic cancel date
            order.filled,
            UNSET_INTEGER,  # reference futures contract
            0,  # cancel with parent
            "Not an insider or substantial shareholder",
            0,  # imbalance only
            0,  # route marketable to BBO
            order.parent_perm_id or UNSET_LONG,
            "" if order.completed_at is None else gateway_time(order.completed_at),
            order.completed_reason,
            *[""] * 5,  # minimum trade and compete sizes, offsets
        ]
    )


def _order_contract(order: Order) -> list[FieldValue]:
    fields = contract_block(order.contract, exchange=order.contract.exchange)
    fields[5] = order.contract.right or "?"  # in orders an absent right is a question mark
    return fields


def _order_head(order: Order) -> list[FieldValue]:
    return [
        order.action,
        order.quantity,
        order.order_type,
        price_or_zero(order.limit_price),
        price_or_zero(order.aux_price),
        order.time_in_force,
        order.oca_group,
        order.account,
        order.open_close,
        order.origin,
        order.order_ref,
    ]


def _order_times(order: Order) -> list[FieldValue]:
    return [order.outside_rth, order.hidden, order.discretionary_amount, order.good_after_time]


def _allocation(server_version: int) -> list[FieldValue]:
    """FA group, method and percentage, and before 177 the profile."""
    return [""] * (3 if server_version >= FA_PROFILE_DROPPED else 4)


def _order_middle(order: Order) -> list[FieldValue]:
    return [
        order.model,
        order.good_till_date,
        "",  # rule 80A
        "",  # percent offset
        "",  # settling firm
        0,  # short sale slot
        "",  # designated location
        -1,  # exempt code
    ]


def _algorithm(order: Order) -> list[FieldValue]:
    """The algorithm's name and, if there is one, its parameters."""
    if not order.algo_strategy:
        return [""]
    return [
        order.algo_strategy,
        len(order.algo_params),
        *(text for parameter in order.algo_params for text in parameter),
    ]


def _display_size(order: Order) -> int:
    return UNSET_INTEGER if order.display_size is None else order.display_size


def _impact(impact: OrderImpact | None) -> list[FieldValue]:
    """Margins before, changed and after; commission, its bounds and currency; and the warning."""
    if impact is None:
        return [*[UNSET_NUMBER] * 9, *[""] * 5]
    return [
        impact.initial_margin_before,
        impact.maintenance_margin_before,
        impact.equity_with_loan_before,
        impact.initial_margin_change,
        impact.maintenance_margin_change,
        impact.equity_with_loan_change,
        impact.initial_margin_after,
        impact.maintenance_margin_after,
        impact.equity_with_loan_after,
        impact.commission,
        UNSET_NUMBER,  # the least and the most it may be, if it were not known
        UNSET_NUMBER,
        impact.commission_currency,
        ascii7(impact.warning),
    ]


def _volatility(order: Order, *, completed: bool) -> list[FieldValue]:
    """Volatility, the delta neutral order (its type "None" brings further fields) and trailing stop."""
    if completed:
        delta_neutral: list[FieldValue] = [0, 0, 0, ""]
    else:
        delta_neutral = [0, "", "", "", "?", 0, 0, ""]
    return [
        "",  # volatility
        0,  # volatility type
        "None",
        "",  # auxiliary price
        *delta_neutral,
        0,  # continuous update
        0,  # reference price type
        order.trail_stop_price,
        order.trailing_percent,
    ]


def _blocks(order: Order) -> list[FieldValue]:
    """Combo description, legs, leg prices, routing parameters, scale and hedge; the last two are never there."""
    legs, params = order.contract.combo_legs, order.combo_params
    return [
        description_of(order.contract),
        len(legs),
        *(field for each in legs for field in _leg(each)),
        len(legs),
        *[""] * len(legs),  # leg prices
        len(params),
        *(text for each in params for text in each),
        UNSET_INTEGER,  # initial and subsequent level size
        UNSET_INTEGER,
        "",  # price increment
        "",  # hedge type
    ]


def _leg(leg: ComboLeg) -> list[FieldValue]:
    return [
        leg.con_id,
        leg.ratio,
        leg.action,
        leg.exchange,
        leg.open_close,
        leg.short_sale_slot,
        leg.designated_location,
        leg.exempt_code,
    ]


def _conditions(order: Order) -> list[FieldValue]:
    fields: list[FieldValue] = [len(order.conditions)]
    for each in order.conditions:
        fields += [each.kind, each.conjunction, *(getattr(each, name) for name in FIELDS[each.kind])]
    return [*fields, order.conditions_ignore_rth, order.conditions_cancel] if order.conditions else fields
