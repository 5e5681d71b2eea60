"""What holdings are worth at a moment."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

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
    """Update the rates of currencies in an account to a moment: the middle of the pair with the account's currency."""
    for currency in currencies:
        if currency == account.currency:
            continue
        for symbol, other in ((currency, account.currency), (account.currency, currency)):
            pair = catalog.pair(symbol, other)
            price = market.valuation(pair.contract.con_id, now)[0] if pair is not None else None
            if price is not None:
                account.exchange_rates[currency] = price if symbol == currency else 1 / price
