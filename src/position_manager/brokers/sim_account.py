"""What the simulated account is worth, from its books and the market of now. Pure.

The margin is a rough one: a quarter of the value of stocks, a tenth of that of futures, a fifth of the value of what a
short option is written on; a long option is no collateral.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from position_manager.account.values import AccountValues
from position_manager.brokers import sim_books
from position_manager.brokers.sim_books import Books
from position_manager.brokers.sim_market import Market
from position_manager.model import ZERO, Instrument, Kind

CENT = Decimal("0.01")
_MARGIN = {Kind.STOCK: Decimal("0.25"), Kind.FUTURE: Decimal("0.10")}
SHORT_OPTION = Decimal("0.20")


def values_of(books: Books, market: Market, known: Mapping[int, Instrument], now: datetime) -> AccountValues:
    """The account at a moment. Positions count at the middle of the market."""
    tick = market.tick_at(now)
    # A future costs nothing to hold, but the books count each trade at its full price.
    opened = sim_books.opened(market).holdings
    cash = market.sim.cash + books.cash
    net = cash
    maintenance = ZERO
    for con_id, instrument in known.items():
        held = books.holdings[con_id]
        middle = market.quote(instrument, tick, books.anchors, now).mid or ZERO
        size = instrument.multiplier
        net += held.quantity * middle * size
        if instrument.kind is Kind.FUTURE:
            net -= opened[con_id].quantity * opened[con_id].average_price * size
        if instrument.is_option:
            underlying = Decimal(str(round(market.underlying(instrument.symbol, tick, books.anchors), 2)))
            maintenance += (
                held.quantity * middle * size
                if held.quantity > 0
                else abs(held.quantity) * (underlying * SHORT_OPTION + middle) * size
                - abs(held.quantity) * middle * size
            )
        else:
            maintenance += abs(held.quantity) * middle * size * _MARGIN.get(instrument.kind, Decimal(1))
    return AccountValues(
        market.sim.account, now, "USD", net.quantize(CENT), (net - maintenance).quantize(CENT), cash.quantize(CENT)
    )
