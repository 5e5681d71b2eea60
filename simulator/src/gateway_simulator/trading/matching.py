"""How orders meet the market: triggers, trailing stops, prices and sizes of fills. Decisions only, no accounts.

- A stop is triggered by the last price; on options by the quote, twice in a row (IB's "double bid/ask"): a buy by the
  bid at or above its price, a sell by the ask at or below it. ``trigger_method`` chooses otherwise.
- An order fills at the far side of the quote, at most the size shown there. What is left tries again at the next
  market step; an order without a limit then pays one more price increment (``slippage``) for each step before.
- A combination fills all its legs at once, each at the far side of its own quote and at most in the size shown there;
  it never slips, so that the legs' prices always give the combination's.
- A limit order fills only at its limit or better.
- A pegged order's price follows the quote, and its limit price caps it: REL is the near side improved by its offset,
  PEG MKT the far side less the offset, PEG MID the middle less the offset, MIDPRICE the middle. Somebody is taken to
  trade at the middle: the order fills, at its own price, where that is the middle or beyond.
- An order for the opening (OPG) trades whole at the first price of the regular session.
- Orders of one side take the size shown in the order of price and time; what one took is gone until the next step or
  the next quote.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import NamedTuple, Protocol

from gateway_simulator.trading.model import ZERO, Instrument, Order, Quote
from gateway_simulator.trading.working import STOPS, TRAILING, WorkingOrder

DEFAULT, DOUBLE_BID_ASK, LAST, DOUBLE_LAST, BID_ASK, LAST_OR_BID_ASK, MIDPOINT = 0, 1, 2, 3, 4, 7, 8
TRIGGER_METHODS = (DEFAULT, DOUBLE_BID_ASK, LAST, DOUBLE_LAST, BID_ASK, LAST_OR_BID_ASK, MIDPOINT)
HUNDRED = Decimal(100)


class Prices(Protocol):
    """The prices of a quote; a quote is one."""

    @property
    def bid(self) -> Decimal | None: ...
    @property
    def ask(self) -> Decimal | None: ...
    @property
    def last(self) -> Decimal | None: ...


class PricesOnly(NamedTuple):
    """The prices alone, for where a whole quote would take too long."""

    bid: Decimal | None
    ask: Decimal | None
    last: Decimal | None


@dataclass(frozen=True)
class Fill:
    """A quantity and the price it trades at."""

    quantity: Decimal
    price: Decimal


@dataclass(frozen=True)
class ShownSize:
    """What is left of a size shown on one side of a contract's quote at a market step."""

    con_id: int
    buys: bool
    step: int
    prices: tuple[Decimal | None, Decimal | None]
    sizes: tuple[Decimal, Decimal]
    left: Decimal


class ShownSizes:
    """The sizes shown, less what orders have taken of them."""

    def __init__(self, known: tuple[ShownSize, ...] = ()) -> None:
        self._known = {(each.con_id, each.buys): each for each in known}

    def left(self, con_id: int, quote: Quote, *, buys: bool, step: int) -> Decimal:
        """Return what an order of this side can take at a market step."""
        fresh = _shown(con_id, quote, buys=buys, step=step)
        known = self._known.get((con_id, buys))
        return known.left if known is not None and replace(known, left=fresh.left) == fresh else fresh.left

    def take(self, con_id: int, quote: Quote, quantity: Decimal, *, buys: bool, step: int) -> None:
        """Subtract a quantity from what is left."""
        left = self.left(con_id, quote, buys=buys, step=step) - quantity
        self._known[con_id, buys] = replace(_shown(con_id, quote, buys=buys, step=step), left=left)

    def all(self) -> tuple[ShownSize, ...]:
        """Return everything known, in order of contract and side."""
        return tuple(self._known[key] for key in sorted(self._known))


def trigger_method(working: WorkingOrder) -> int:
    """Return the method by which an order is triggered, the instrument's default resolved."""
    if working.order.trigger_method != DEFAULT:
        return working.order.trigger_method
    return DOUBLE_BID_ASK if working.instrument.contract.sec_type == "OPT" else LAST


def trailed_stop(working: WorkingOrder, quote: Prices, increment: Decimal) -> Decimal | None:
    """Return where a trailing order's stop price is after a quote; it moves in the order's favour only."""
    order, stop = working.order, working.order.trail_stop_price
    price = _watched(working, quote)
    if order.order_type not in TRAILING or price is None:
        return stop
    percent = order.trailing_percent
    distance = price * percent / HUNDRED if percent is not None else order.aux_price or ZERO
    if working.buys:
        moved = _rounded(price + distance, increment, ROUND_CEILING)
        return moved if stop is None else min(stop, moved)
    moved = _rounded(price - distance, increment, ROUND_FLOOR)
    return moved if stop is None else max(stop, moved)


def trailed_limit(order: Order, stop: Decimal | None) -> Decimal | None:
    """Return where the limit of a trailing stop is when its stop price has moved."""
    if order.order_type != "TRAIL LIMIT" or stop is None:
        return order.limit_price
    offset = order.limit_price_offset
    if offset is None:
        if order.limit_price is None or order.trail_stop_price is None:
            return order.limit_price
        return order.limit_price + stop - order.trail_stop_price
    return stop + offset if order.action == "BUY" else stop - offset


def is_reached(working: WorkingOrder, quote: Prices) -> bool:
    """Return whether a quote reaches an order's trigger price."""
    order = working.order
    trigger = order.trail_stop_price if order.order_type in TRAILING else order.aux_price
    if trigger is None:
        return False
    rising = _rising(working)
    watched = [_watched(working, quote)]
    if trigger_method(working) == LAST_OR_BID_ASK:
        watched.append(quote.bid if rising else quote.ask)
    return any(price is not None and (price >= trigger if rising else price <= trigger) for price in watched)


def steps_needed(working: WorkingOrder) -> int:
    """Return at how many steps in a row the trigger price must be reached."""
    return 2 if trigger_method(working) in (DOUBLE_BID_ASK, DOUBLE_LAST) else 1


def fill_of(working: WorkingOrder, quote: Quote, left: Decimal, increment: Decimal, slippage: int) -> Fill | None:
    """Return what an order trades now when ``left`` can be taken, or None.

    ``slippage`` counts price increments for each step before that filled the order in part.
    """
    order = working.order
    price = quote.ask if working.buys else quote.bid
    if price is None or left <= 0 or not is_marketable(working, quote):
        return None
    if working.limit is None and not working.instrument.legs:
        worse = working.slips * slippage * increment
        price = price + worse if working.buys else max(price - worse, min(price, increment))
    return _part_of(order, left, price)


def _part_of(order: Order, left: Decimal, price: Decimal) -> Fill | None:
    """A fill of at most what is left, or None if the order takes no part so small."""
    quantity = min(order.remaining, left)
    if order.all_or_none or order.time_in_force == "FOK":
        least = order.remaining
    else:
        least = ZERO if order.filled else min(Decimal(order.min_quantity or 0), order.quantity)
    return Fill(quantity, price) if quantity >= least else None


def is_marketable(working: WorkingOrder, quote: Prices) -> bool:
    """Return whether the far side of a quote is at an order's limit or better."""
    price, limit = (quote.ask if working.buys else quote.bid), working.limit
    if price is None or (price <= 0 and not working.instrument.legs):
        return False
    return limit is None or (price <= limit if working.buys else price >= limit)


def auction_fill(working: WorkingOrder, quote: Quote) -> Fill | None:
    """Return what an order for the opening or the close trades at the session's first or last price: all or nothing."""
    price, limit = quote.last, working.limit
    if price is None or quote.halted:
        return None
    if limit is not None and (price > limit if working.buys else price < limit):
        return None
    return Fill(working.order.remaining, price)


def pegged_price(working: WorkingOrder, quote: Prices) -> Decimal | None:
    """Return the price of an order that follows the quote; None without both sides."""
    order, bid, ask = working.order, quote.bid, quote.ask
    if bid is None or ask is None:
        return None
    near, far, better = (bid, ask, 1) if working.buys else (ask, bid, -1)
    offset = better * (order.aux_price or ZERO)
    match order.order_type:
        case "REL":
            price = near + offset
        case "PEG MKT":
            price = far - offset
        case "PEG MID":
            price = (bid + ask) / 2 - offset
        case _:
            price = (bid + ask) / 2
    cap = order.limit_price
    if cap is not None:
        price = min(price, cap) if working.buys else max(price, cap)
    return min(price, ask) if working.buys else max(price, bid)


def pegged_fill(working: WorkingOrder, quote: Quote, left: Decimal) -> Fill | None:
    """Return what a pegged order trades now when ``left`` can be taken, or None."""
    price = pegged_price(working, quote)
    if price is None or price <= 0 or left <= 0 or quote.bid is None or quote.ask is None:
        return None
    middle = (quote.bid + quote.ask) / 2
    if price < middle if working.buys else price > middle:
        return None
    return _part_of(working.order, left, price)


def _rising(working: WorkingOrder) -> bool:
    """Whether the order waits for a price that rises."""
    return working.buys == (working.order.order_type in STOPS)


def _watched(working: WorkingOrder, quote: Prices) -> Decimal | None:
    """The price that an order's trigger is compared with."""
    match trigger_method(working):
        case method if method in (DOUBLE_BID_ASK, BID_ASK):
            return quote.bid if _rising(working) else quote.ask
        case method if method == MIDPOINT:
            return (quote.bid + quote.ask) / 2 if quote.bid is not None and quote.ask is not None else None
        case _:
            return quote.last


def _shown(con_id: int, quote: Quote, *, buys: bool, step: int) -> ShownSize:
    left = quote.ask_size if buys else quote.bid_size
    return ShownSize(con_id, buys, step, (quote.bid, quote.ask), (quote.bid_size, quote.ask_size), left)


def _rounded(price: Decimal, increment: Decimal, rounding: str) -> Decimal:
    return (price / increment).quantize(Decimal(1), rounding) * increment


def exchange_of(order: Order, instrument: Instrument) -> str:
    """Return where an order is filled: the exchange it names, or the instrument's main one for SMART."""
    if order.contract.exchange != "SMART":
        return order.contract.exchange
    others = [each for each in instrument.valid_exchanges.split(",") if each != "SMART"]
    return instrument.contract.primary_exchange or next(iter(others), "SMART")
