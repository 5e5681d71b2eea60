"""The brokerage that the simulator begins with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal

from gateway_simulator.trading.accounts import Account
from gateway_simulator.trading.brokerage import NEW_YORK, Brokerage, BrokerageSettings
from gateway_simulator.trading.catalog import sample_catalog
from gateway_simulator.trading.invented import Listing
from gateway_simulator.trading.market import Market
from gateway_simulator.trading.model import Position
from gateway_simulator.trading.tape import Tape
from gateway_simulator.trading.tradinghours import TradingHours

DEFAULT_ACCOUNTS = {"paper": ["DU1234567"], "live": ["U1234567"]}
SAMPLE_DAY = date(2026, 11, 23)
AAPL, MSFT = 265598, 272093


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
) -> Brokerage:
    """Build a brokerage to begin with: each account has 100000 USD, 100 AAPL and 50 MSFT, and no orders.

    ``mode`` is ``paper`` or ``live`` and names the account when ``accounts`` does not. Accounts are taken as given,
    so that one of the wrong kind for the mode can be simulated. ``now`` is when a tape with times in seconds starts;
    the brokerage itself begins with the first moment it is told. ``invents`` and ``listings`` are the catalog's.
    Raises ValueError for an unknown mode, an account id that cannot stand in a list, or unknown ``hours``.
    """
    if mode not in DEFAULT_ACCOUNTS:
        raise ValueError(f"mode is {mode!r}; it must be one of {', '.join(DEFAULT_ACCOUNTS)}")
    today = SAMPLE_DAY if now is None else now.astimezone(NEW_YORK).date()
    catalog = sample_catalog(today, invents=invents, listings=listings)
    trading_hours = TradingHours(hours)
    market = Market(catalog, trading_hours, seed, tape, start=now)
    brokerage = Brokerage(catalog, market, trading_hours, mode=mode, seed=seed, settings=settings)
    apple, microsoft = (brokerage.known_instrument(con_id).contract for con_id in (AAPL, MSFT))
    for account_id in DEFAULT_ACCOUNTS[mode] if accounts is None else accounts:
        if not account_id.isascii() or not account_id.isalnum():
            raise ValueError(f"account id {account_id!r} must be letters and digits")
        account = Account(account_id, cash=Decimal(100_000))
        account.hold(Position(apple, Decimal(100), Decimal("185.5"), Decimal("189.25")))
        account.hold(Position(microsoft, Decimal(50), Decimal("410.2"), Decimal("402.1")))
        brokerage.add_account(account)
    return brokerage
