"""What the gateway says: the TWS API's answers, written for one server version (176, 177 or 178).

Each function returns one frame. Up to 176 orders carry the FA profile field, from 177 on they do
not; from 178 on an execution ends with a pending price revision flag. The rest is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from gateway_simulator.api.wire import FieldValue, encode_frame
from gateway_simulator.clock import gateway_time
from gateway_simulator.trading.model import (
    AccountValue,
    Bulletin,
    Contract,
    Execution,
    Instrument,
    Order,
    OrderStatus,
    Position,
)

FA_PROFILE_DROPPED = 177
PENDING_PRICE_REVISION = 178

UNSET_NUMBER = "1.7976931348623157E308"
UNSET_INTEGER = 2147483647


def version_answer(server_version: int, moment: datetime) -> bytes:
    """The handshake's answer: the version both will use and the time, without a message id."""
    return encode_frame([server_version, gateway_time(moment)])


def error(request_id: int, code: int, text: str, *, handshake_done: bool = True) -> bytes:
    """An error or system message; ``request_id`` is -1 for those that belong to no request.

    Before the handshake no version is agreed on, so the oldest layout is used, which lacks the
    field for an advanced order reject.
    """
    return encode_frame([4, 2, request_id, code, text, *([""] if handshake_done else [])])


def managed_accounts(accounts: Sequence[str]) -> bytes:
    """The accounts of this session."""
    return encode_frame([15, 1, ",".join(accounts)])


def next_valid_id(order_id: int) -> bytes:
    """The first order id the client may use."""
    return encode_frame([9, 1, order_id])


def current_time(moment: datetime) -> bytes:
    """The server's time in seconds since 1970."""
    return encode_frame([49, 1, int(moment.timestamp())])


def account_value(value: AccountValue, account: str) -> bytes:
    """One value of a subscribed account."""
    return encode_frame([6, 2, value.key, value.value, value.currency, account])


def portfolio_value(position: Position, account: str) -> bytes:
    """One position of a subscribed account, priced."""
    return encode_frame(
        [
            7,
            8,
            *_contract(position.contract, exchange=position.contract.primary_exchange),
            position.quantity,
            position.market_price,
            position.market_value,
            position.average_cost,
            position.unrealized_pnl,
            position.realized_pnl,
            account,
        ]
    )


def account_update_time(moment: datetime) -> bytes:
    """The minute an account's values are from, on the gateway's clock."""
    return encode_frame([8, 1, f"{moment:%H:%M}"])


def account_download_end(account: str) -> bytes:
    """The end of an account's first values."""
    return encode_frame([54, 1, account])


def account_update_multi(request_id: int, account: str, model: str, value: AccountValue) -> bytes:
    """One value of an account and model."""
    return encode_frame([73, 1, request_id, account, model, value.key, value.value, value.currency])


def account_update_multi_end(request_id: int) -> bytes:
    """The end of an account and model's first values."""
    return encode_frame([74, 1, request_id])


def account_summary(request_id: int, account: str, value: AccountValue) -> bytes:
    """One value of an account summary."""
    return encode_frame([63, 1, request_id, account, value.key, value.value, value.currency])


def account_summary_end(request_id: int) -> bytes:
    """The end of an account summary's first values."""
    return encode_frame([64, 1, request_id])


def position(account: str, held: Position) -> bytes:
    """One position of one account. As in the gateway, its exchange is empty."""
    return encode_frame([61, 3, account, *_contract(held.contract, exchange=""), held.quantity, held.average_cost])


def position_end() -> bytes:
    """The end of the positions."""
    return encode_frame([62, 1])


def position_multi(request_id: int, account: str, model: str, held: Position) -> bytes:
    """One position of an account and model."""
    contract = _contract(held.contract, exchange="")
    return encode_frame([71, 1, request_id, account, *contract, held.quantity, held.average_cost, model])


def position_multi_end(request_id: int) -> bytes:
    """The end of an account and model's positions."""
    return encode_frame([72, 1, request_id])


def bulletin(news: Bulletin) -> bytes:
    """A news bulletin."""
    return encode_frame([14, 1, news.bulletin_id, news.kind, news.text, news.exchange])


def family_codes(accounts: Sequence[str]) -> bytes:
    """The accounts' family codes; none belongs to a family."""
    pairs = (field for account in accounts for field in (account, ""))
    return encode_frame([78, len(accounts), *pairs])


def user_info(request_id: int) -> bytes:
    """The user's white branding: none."""
    return encode_frame([107, request_id, ""])


def contract_details(request_id: int, instrument: Instrument) -> bytes:
    """The details of a contract (not a bond, which has a message of its own)."""
    own = instrument.contract
    return encode_frame(
        [
            10,
            request_id,
            own.symbol,
            own.sec_type,
            own.expiry,
            own.strike,
            own.right,
            own.exchange,
            own.currency,
            own.local_symbol,
            instrument.market_name,
            own.trading_class,
            own.con_id,
            instrument.min_tick,
            own.multiplier,
            instrument.order_types,
            instrument.valid_exchanges,
            1,  # price magnifier
            0,  # underlying's contract id
            instrument.long_name,
            own.primary_exchange,
            own.expiry[:6],
            instrument.industry,
            instrument.category,
            instrument.subcategory,
            instrument.time_zone,
            instrument.trading_hours,
            instrument.liquid_hours,
            "",  # economic value rule
            "",  # economic value multiplier
            0,  # security ids
            1,  # aggregated group
            "",  # underlying symbol
            "",  # underlying security type
            "26",  # market rule ids
            own.expiry,
            instrument.stock_type,
            "1",  # minimum size
            "1",  # size increment
            "100",  # suggested size increment
        ]
    )


def contract_details_end(request_id: int) -> bytes:
    """The end of the contracts asked for."""
    return encode_frame([52, 1, request_id])


def executions_end(request_id: int) -> bytes:
    """The end of the executions asked for."""
    return encode_frame([55, 1, request_id])


def execution(request_id: int, fill: Execution, server_version: int) -> bytes:
    """One execution; ``request_id`` is -1 for one that happens now."""
    fields: list[FieldValue] = [
        11,
        request_id,
        fill.order_id,
        *_contract(fill.contract, exchange=fill.contract.exchange),
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
    realized = UNSET_NUMBER if fill.realized_pnl is None else fill.realized_pnl
    return encode_frame([59, 1, fill.exec_id, fill.commission, fill.contract.currency, realized, UNSET_NUMBER, ""])


def order_status(order: Order) -> bytes:
    """Where an order stands."""
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


def open_order(order: Order, server_version: int) -> bytes:
    """An open order as it stands: 136 fields at 176, one fewer from 177 on."""
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
            *_order_middle_of_open(order),
            *_volatility(order, completed=False),
            "",  # basis points
            "",  # basis points type
            *_blocks(),
            0,  # opt out of SMART routing
            "",  # clearing account
            "IB",  # clearing intent
            0,  # not held
            0,  # no delta neutral contract
            "",  # no algorithm
            0,  # solicited
            0,  # what-if
            order.status.value,
            *[UNSET_NUMBER] * 9,  # margins before, changed, after
            *[""] * 5,  # commission, its bounds and currency, warning
            0,  # randomize size
            0,  # randomize price
            0,  # conditions
            "None",  # adjusted order type
            UNSET_NUMBER,  # trigger price
            UNSET_NUMBER if order.trail_stop_price is None else order.trail_stop_price,
            *[UNSET_NUMBER] * 4,  # limit offset and adjusted prices
            0,  # adjustable trailing unit
            *[""] * 3,  # soft dollar tier
            0,  # cash quantity
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
    """An order that is done. Its order id and client id are not told: the permanent id names it."""
    return encode_frame(
        [
            101,
            *_order_contract(order),
            *_order_head(order),
            order.perm_id,
            *_order_times(order),
            *_allocation(server_version),
            "",  # model
            order.good_till_date,
            "",  # rule 80A
            "",  # percent offset
            "",  # settling firm
            0,  # short sale slot
            "",  # designated location
            -1,  # exempt code
            *[""] * 5,  # starting, reference prices, delta, range
            UNSET_INTEGER,  # display size
            0,  # sweep to fill
            0,  # all or none
            "",  # minimum quantity
            3,  # OCA type
            0,  # trigger method
            *_volatility(order, completed=True),
            *_blocks(),
            "",  # clearing account
            "IB",  # clearing intent
            0,  # not held
            0,  # no delta neutral contract
            "",  # no algorithm
            0,  # solicited
            order.status.value,
            0,  # randomize size
            0,  # randomize price
            0,  # conditions
            UNSET_NUMBER if order.trail_stop_price is None else order.trail_stop_price,
            UNSET_NUMBER,  # limit offset
            0,  # cash quantity
            1,  # do not use automatic price for hedge
            0,  # OMS container
            "",  # automatic cancel date
            order.filled,
            0,  # reference futures contract
            0,  # cancel with parent
            "",  # shareholder
            0,  # imbalance only
            0,  # route marketable to BBO
            0,  # parent's permanent id
            "" if order.completed_at is None else gateway_time(order.completed_at),
            order.completed_reason,
            *[""] * 5,  # minimum trade and compete sizes, offsets
        ]
    )


def _contract(contract: Contract, *, exchange: str) -> list[FieldValue]:
    """The block of eleven fields that names a contract."""
    return [
        contract.con_id,
        contract.symbol,
        contract.sec_type,
        contract.expiry,
        contract.strike,
        contract.right,
        contract.multiplier,
        exchange,
        contract.currency,
        contract.local_symbol,
        contract.trading_class,
    ]


def _order_contract(order: Order) -> list[FieldValue]:
    fields = _contract(order.contract, exchange=order.contract.exchange)
    fields[5] = order.contract.right or "?"  # in orders an absent right is a question mark
    return fields


def _order_head(order: Order) -> list[FieldValue]:
    return [
        order.action,
        order.quantity,
        order.order_type,
        "0.0" if order.limit_price is None else order.limit_price,
        "0.0" if order.aux_price is None else order.aux_price,
        order.time_in_force,
        order.oca_group,
        order.account,
        "",  # open or close
        0,  # origin
        order.order_ref,
    ]


def _order_times(order: Order) -> list[FieldValue]:
    return [order.outside_rth, 0, 0, ""]  # hidden, discretionary amount, good after time


def _allocation(server_version: int) -> list[FieldValue]:
    """FA group, method and percentage, and before 177 the profile."""
    return [""] * (3 if server_version >= FA_PROFILE_DROPPED else 4)


def _order_middle_of_open(order: Order) -> list[FieldValue]:
    return [
        "",  # model
        order.good_till_date,
        "",  # rule 80A
        "",  # percent offset
        "",  # settling firm
        0,  # short sale slot
        "",  # designated location
        -1,  # exempt code
        0,  # auction strategy
        *[""] * 5,  # starting, reference prices, delta, range
        UNSET_INTEGER,  # display size
        0,  # block order
        0,  # sweep to fill
        0,  # all or none
        "",  # minimum quantity
        3,  # OCA type
        0,  # electronic trade only
        0,  # firm quote only
        "",  # NBBO price cap
        order.parent_id,
        0,  # trigger method
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


def _blocks() -> list[FieldValue]:
    """Combo description, legs, order legs, routing parameters, scale and hedge: none of them."""
    return ["", 0, 0, 0, UNSET_INTEGER, UNSET_INTEGER, "", ""]
