"""The brokerage that the simulator starts with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal

from gateway_simulator.trading.accounts import Account
from gateway_simulator.trading.brokerage import Brokerage, BrokerageSettings
from gateway_simulator.trading.catalog import derived_id, sample_catalog
from gateway_simulator.trading.invented import Listing
from gateway_simulator.trading.market import Market
from gateway_simulator.trading.model import Position
from gateway_simulator.trading.tape import Tape
from gateway_simulator.trading.trading_time import NEW_YORK
from gateway_simulator.trading.tradinghours import TradingHours

DEFAULT_ACCOUNTS = {"paper": ["DU1234567"], "live": ["U1234567"]}
SAMPLE_DAY = date(2026, 11, 23)
AAPL, MSFT = 265598, 272093
VOD = derived_id("STK", "VOD", "LSE", "GBP")
HOLDINGS = (
    (AAPL, "100", "185.5", "189.25"),
    (MSFT, "50", "410.2", "402.1"),
    (VOD, "1000", "0.7125", "74"),
)
"""Contract, quantity, average cost (in the currency) and price (as it is quoted); an account has those in its own
currency."""


def sample_brokerage(
    accounts: Sequence[str] | None = None,
    mode: str = "paper",
    *,
    seed: int = 1,
    now: datetime | None = None,
    hours: str = "always",
    tape: Tape | None = None,
    settings: BrokerageSettings | None = None,
    invents: bool = True,
    listings: Iterable[Listing] = (),
    currency: str = "USD",
) -> Brokerage:
    """Create the initial brokerage: each account has 100000 USD, 100 AAPL and 50 MSFT, and no orders.

    With the ``currency`` GBP it has pounds and 1000 VOD instead, with EUR euros only.

    ``mode`` is ``paper`` or ``live`` and names the account when ``accounts`` does not. Accounts are taken as given,
    so that one of the wrong kind for the mode can be simulated. ``now`` is when a tape with times in seconds starts;
    the brokerage itself starts at the first moment it receives. ``invents`` and ``listings`` are the catalog's.
    Raises ValueError for an unknown mode, an account id that is invalid in a list, or unknown ``hours``.
    """
    if mode not in DEFAULT_ACCOUNTS:
        raise ValueError(f"mode is {mode!r}; it must be one of {', '.join(DEFAULT_ACCOUNTS)}")
    today = SAMPLE_DAY if now is None else now.astimezone(NEW_YORK).date()
    catalog = sample_catalog(today, invents=invents, listings=listings)
    trading_hours = TradingHours(hours)
    market = Market(catalog, trading_hours, seed, tape, start=now)
    brokerage = Brokerage(catalog, market, trading_hours, mode=mode, seed=seed, settings=settings)
    for account_id in DEFAULT_ACCOUNTS[mode] if accounts is None else accounts:
        if not account_id.isascii() or not account_id.isalnum():
            raise ValueError(f"account id {account_id!r} must be letters and digits")
        account = Account(account_id, cash=Decimal(100_000), currency=currency)
        for con_id, quantity, cost, price in HOLDINGS:
            contract = brokerage.known_instrument(con_id).contract
            if contract.currency == currency:
                account.hold(Position(contract, Decimal(quantity), Decimal(cost), Decimal(price)))
        brokerage.add_account(account)
    return brokerage
