"""IB's numbers, executions, orders and quotes in the words of this package."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from ib_connection.ib_library import UNSET_DOUBLE, UNSET_INTEGER, Contract, Ticker, Trade
from position_manager.model import ZERO, Kind, Quote
from position_manager.orders.evidence import CompletedOrder, Execution
from position_manager.orders.intents import Fill, Side

NO_PRICE = -1
"""What IB gives in place of a price that there is not."""


def number(value: float | str) -> Decimal:
    """As IB writes it, without the digits that a float adds, and without needless zeros."""
    return _number(repr(value) if isinstance(value, float) else str(value))


@lru_cache(maxsize=256)
def _number(text: str) -> Decimal:
    """A thousand positions share most of their prices and sizes."""
    written = Decimal(text)
    return written.to_integral_value() if written == written.to_integral_value() else written.normalize()


def side_of(word: str) -> Side:
    """BUY and SELL of orders, BOT and SLD of executions; a short sale sells."""
    return Side.BUY if word in ("BUY", "BOT") else Side.SELL


def execution_of(contract: Contract, execution: Any, magnifier: int) -> Execution | None:
    """An execution, its price in the currency; None for one of a part of a combination, which IB reports leg by leg as
    well."""
    if contract.secType == "BAG":
        return None
    time = execution.time if execution.time.tzinfo is not None else execution.time.replace(tzinfo=UTC)
    fill = Fill(execution.execId, number(execution.shares), in_currency(number(execution.price), magnifier), time)
    return Execution(
        execution.acctNumber,
        contract.conId,
        side_of(execution.side),
        fill,
        int(execution.permId),
        execution.orderRef,
        int(execution.clientId),
    )


def completed_of(trade: Trade) -> CompletedOrder:
    """A completed order; the filled quantity is unknown if IB leaves it out."""
    order = trade.order
    filled = order.filledQuantity
    known = filled is not None and filled not in (UNSET_DOUBLE, UNSET_INTEGER)
    return CompletedOrder(
        int(order.permId), trade.orderStatus.status, number(filled) if known else None, order.orderRef
    )


def in_currency(quoted: Decimal, magnifier: int) -> Decimal:
    """A price in the currency: IB quotes, executes and takes orders in pence or cents where the price magnifier is
    100, but reports average costs in pounds or dollars."""
    return quoted if magnifier == 1 else quoted / magnifier


def quote_of(ticker: Ticker, now: datetime, *, live: bool, magnifier: int) -> Quote:
    """The quote at its last tick, prices in the currency. Without a bid or an ask IB gives -1; its last price is never
    used in place of one. With an unknown magnifier (0) there is no price."""
    if not magnifier:
        return Quote(now, None, None, live=live, halted=ticker.halted > 0)
    quote = _as_quoted(ticker, now, live=live)
    if magnifier == 1:
        return quote
    prices = (quote.bid, quote.ask, quote.last, quote.underlying)
    bid, ask, last, underlying = (None if price is None else price / magnifier for price in prices)
    return replace(quote, bid=bid, ask=ask, last=last, underlying=underlying)


def _as_quoted(ticker: Ticker, now: datetime, *, live: bool) -> Quote:
    greeks = ticker.modelGreeks
    negative = ticker.contract is not None and ticker.contract.secType == Kind.FUTURE.value
    return Quote(
        time=now,
        bid=_price(ticker.bid, ticker.bidSize, zero=True, negative=negative),
        ask=_price(ticker.ask, ticker.askSize, zero=negative, negative=negative),
        last=_price(ticker.last, ticker.lastSize, zero=negative, negative=negative),
        bid_size=_size(ticker.bidSize),
        ask_size=_size(ticker.askSize),
        live=live,
        halted=ticker.halted > 0,
        delta=None if greeks is None else greeks.delta,
        underlying=None
        if greeks is None or not greeks.undPrice
        else _price(greeks.undPrice, 1, zero=False, negative=False),
    )


def _price(value: float, size: float, *, zero: bool, negative: bool) -> Decimal | None:
    """A price that was quoted. ``negative``: for what may trade below 0, where -1 without a size is none."""
    if math.isnan(value) or (value == 0 and not zero):
        return None
    if value < 0 and (not negative or (value == NO_PRICE and not size > 0)):
        return None
    return number(value)


def _size(value: float) -> Decimal:
    return ZERO if math.isnan(value) or value < 0 else number(value)
