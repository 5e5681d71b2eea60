"""What holdings are worth at a moment."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from gateway_simulator.trading.accounts import Account
from gateway_simulator.trading.catalog import Catalog
from gateway_simulator.trading.market import Market


def revalue(accounts: Iterable[Account], catalog: Catalog, market: Market, now: datetime) -> None:
    """Update the prices of the accounts' holdings, and of what they are derived from, to a moment."""
    for account in accounts:
        revalue_currencies(account, account.balances, catalog, market, now)
        for con_id, held in account.positions.items():
            price, _ = market.valuation(con_id, now)
            if price is not None and price != held.market_price:
                account.positions[con_id] = replace(held, market_price=price)
            instrument = catalog.get(con_id)
            if held.contract.sec_type == "OPT" and instrument is not None and instrument.underlying is not None:
                _, above = market.valuation(instrument.underlying.con_id, now)
                if above is not None:
                    account.underlying_prices[con_id] = above


def revalue_currencies(
    account: Account, currencies: Iterable[str], catalog: Catalog, market: Market, now: datetime
) -> None:
    """Update the rates of currencies in an account to a moment: the middle of the pair with the account's currency,
    or of their pairs with the dollar."""
    for currency in currencies:
        if currency == account.currency:
            continue
        rate = _rate(currency, account.currency, catalog, market, now)
        if rate is None:
            to, of = (_rate(each, "USD", catalog, market, now) for each in (currency, account.currency))
            rate = to / of if to is not None and of is not None else None
        if rate is not None:
            account.exchange_rates[currency] = rate


def _rate(currency: str, other: str, catalog: Catalog, market: Market, now: datetime) -> Decimal | None:
    """What one unit of a currency is worth in another one that it has a pair with."""
    for symbol, quoted in ((currency, other), (other, currency)):
        pair = catalog.pair(symbol, quoted)
        price = market.valuation(pair.contract.con_id, now)[0] if pair is not None else None
        if price is not None:
            return price if symbol == currency else 1 / price
    return None
