"""Messages of the market as it is now: ticks of quotes, every tick, and bars of five seconds."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from gateway_simulator.api.messages.blocks import epoch
from gateway_simulator.api.wire import FieldValue, encode_frame
from gateway_simulator.trading.model import Bar, OptionComputation

_NOT_COMPUTED = (-1, -2, -1, -1, -2, -2, -2, -1)
"""The values that represent no volatility, delta, price, dividend, gamma, vega, theta and underlying's price."""


def tick_price(
    request_id: int, tick_type: int, price: Decimal | None, size: Decimal = Decimal(0), attributes: int = 0
) -> bytes:
    """A price and the size that goes with it; a price of None is written as -1 with no size.

    ``attributes`` is a sum of 1 (can be executed at once), 2 (past the limit) and 4 (before the opening).
    """
    if price is None:
        price, size = Decimal(-1), Decimal(0)
    return encode_frame([1, 6, request_id, tick_type, price, size, attributes])


def tick_size(request_id: int, tick_type: int, size: Decimal) -> bytes:
    """A size without a price."""
    return encode_frame([2, 6, request_id, tick_type, size])


def tick_generic(request_id: int, tick_type: int, value: Decimal | float) -> bytes:
    """A number that is neither price nor size."""
    return encode_frame([45, 6, request_id, tick_type, value])


def tick_string(request_id: int, tick_type: int, value: str) -> bytes:
    """A text, such as the time of the last trade."""
    return encode_frame([46, 6, request_id, tick_type, value])


def tick_option_computation(request_id: int, tick_type: int, computation: OptionComputation | None) -> bytes:
    """An option's price and greeks, from its price's volatility; None if they could not be computed."""
    values: tuple[FieldValue, ...] = _NOT_COMPUTED
    if computation is not None:
        values = (
            computation.implied_volatility,
            computation.delta,
            computation.price,
            computation.present_value_dividend,
            computation.gamma,
            computation.vega,
            computation.theta,
            computation.underlying_price,
        )
    return encode_frame([21, request_id, tick_type, 1, *values])  # 1: volatility is price-based


def tick_request_params(request_id: int, min_tick: Decimal, bbo_exchange: str, snapshot_permissions: int) -> bytes:
    """The first answer to a subscription to ticks: the price increment and the map of exchange letters."""
    return encode_frame([81, request_id, min_tick, bbo_exchange, snapshot_permissions])


def market_data_type(request_id: int, kind: int) -> bytes:
    """The kind of a subscription's ticks from now on: 1 live, 2 frozen, 3 delayed, 4 delayed and frozen."""
    return encode_frame([58, 1, request_id, kind])


def tick_snapshot_end(request_id: int) -> bytes:
    """The end of a snapshot."""
    return encode_frame([57, 1, request_id])


def tick_by_tick_last(
    request_id: int,
    moment: datetime,
    price: Decimal,
    size: Decimal,
    exchange: str,
    *,
    all_last: bool = False,
    attributes: int = 0,
    conditions: str = "",
) -> bytes:
    """A trade; ``all_last`` if trades that do not move the last price are reported too.

    ``attributes`` is a sum of 1 (past the limit) and 2 (unreported).
    """
    kind = 2 if all_last else 1
    return encode_frame([99, request_id, kind, epoch(moment), price, size, attributes, exchange, conditions])


def tick_by_tick_bid_ask(
    request_id: int,
    moment: datetime,
    bid: Decimal,
    ask: Decimal,
    bid_size: Decimal,
    ask_size: Decimal,
    attributes: int = 0,
) -> bytes:
    """A quote. ``attributes`` is a sum of 1 (bid below the day's low) and 2 (ask above the day's high)."""
    return encode_frame([99, request_id, 3, epoch(moment), bid, ask, bid_size, ask_size, attributes])


def tick_by_tick_midpoint(request_id: int, moment: datetime, price: Decimal) -> bytes:
    """The middle between bid and ask."""
    return encode_frame([99, request_id, 4, epoch(moment), price])


def real_time_bar(request_id: int, bar: Bar) -> bytes:
    """A bar of five seconds."""
    prices = (bar.open, bar.high, bar.low, bar.close)
    return encode_frame([50, 3, request_id, epoch(bar.time), *prices, bar.volume, bar.average, bar.count])
