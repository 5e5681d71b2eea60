"""Messages about accounts: values, positions and profit."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from gateway_simulator.api.messages.blocks import contract_block, number
from gateway_simulator.api.wire import encode_frame
from gateway_simulator.trading.model import AccountValue, Position


def account_value(value: AccountValue, account: str) -> bytes:
    """One value of a subscribed account."""
    return encode_frame([6, 2, value.key, value.value, value.currency, account])


def portfolio_value(position: Position, account: str) -> bytes:
    """One position of a subscribed account, priced."""
    return encode_frame(
        [
            7,
            8,
            *contract_block(position.contract, exchange=position.contract.primary_exchange),
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
    """One position of one account. As in the gateway, its exchange is the primary one; a derivative has none."""
    contract = contract_block(held.contract, exchange=held.contract.primary_exchange)
    return encode_frame([61, 3, account, *contract, held.quantity, held.average_cost])


def position_end() -> bytes:
    """The end of the positions."""
    return encode_frame([62, 1])


def position_multi(request_id: int, account: str, model: str, held: Position) -> bytes:
    """One position of an account and model."""
    contract = contract_block(held.contract, exchange=held.contract.primary_exchange)
    return encode_frame([71, 1, request_id, account, *contract, held.quantity, held.average_cost, model])


def position_multi_end(request_id: int) -> bytes:
    """The end of an account and model's positions."""
    return encode_frame([72, 1, request_id])


def pnl(request_id: int, daily: Decimal | None, unrealized: Decimal | None, realized: Decimal | None) -> bytes:
    """An account's profit and loss in its currency; None for what is not known."""
    return encode_frame([94, request_id, number(daily), number(unrealized), number(realized)])


def pnl_single(
    request_id: int,
    position: Decimal,
    daily: Decimal | None,
    unrealized: Decimal | None,
    realized: Decimal | None,
    value: Decimal | None,
) -> bytes:
    """One position's profit and loss and its value, in the account's currency; None for what is not known."""
    return encode_frame([95, request_id, position, *map(number, (daily, unrealized, realized, value))])
