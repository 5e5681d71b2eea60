"""The brokerage: everything behind the API that outlives a connection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from gateway_simulator.trading.accounts import Account
from gateway_simulator.trading.model import (
    Bulletin,
    Contract,
    ContractQuery,
    Execution,
    ExecutionFilter,
    Instrument,
    Order,
    Position,
)

DEFAULT_ACCOUNTS = {"paper": ["DU1234567"], "live": ["U1234567"]}


@dataclass
class Brokerage:
    """Everything behind the API that outlives a connection.

    ``orders`` are those still working, ``completed_orders`` those that are done; ``bulletins`` are
    today's. Accounts keep the order in which they were added.
    """

    accounts: dict[str, Account] = field(default_factory=dict)
    instruments: list[Instrument] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    completed_orders: list[Order] = field(default_factory=list)
    executions: list[Execution] = field(default_factory=list)
    bulletins: list[Bulletin] = field(default_factory=list)

    def add_account(self, account: Account) -> None:
        """Add an account. Raises ValueError if there is one of this name."""
        if account.account_id in self.accounts:
            raise ValueError(f"account {account.account_id} is there already")
        self.accounts[account.account_id] = account

    def find_instruments(self, query: ContractQuery) -> list[Instrument]:
        """Return the known instruments that a query asks for."""
        return [each for each in self.instruments if each.matches(query)]

    def find_executions(self, wanted: ExecutionFilter) -> list[Execution]:
        """Return the day's executions that a filter admits, oldest first."""
        return [each for each in self.executions if wanted.admits(each)]

    def open_orders_of(self, client_id: int) -> list[Order]:
        """Return the working orders that one client placed."""
        return [each for each in self.orders if each.client_id == client_id]

    def find_order(self, client_id: int, order_id: int) -> Order | None:
        """Return a client's order, working or done, by its id."""
        for each in (*self.orders, *self.completed_orders):
            if (each.client_id, each.order_id) == (client_id, order_id):
                return each
        return None

    def next_order_id(self, client_id: int) -> int:
        """Return the first order id that this client has never used."""
        used = [each.order_id for each in (*self.orders, *self.completed_orders) if each.client_id == client_id]
        return max(used, default=0) + 1


def sample_instruments() -> list[Instrument]:
    """Return the instruments that a sample brokerage knows (contract ids as IB has them)."""
    return [
        Instrument(
            Contract(265598, "AAPL", primary_exchange="NASDAQ", local_symbol="AAPL", trading_class="NMS"),
            long_name="APPLE INC",
            market_name="NMS",
            valid_exchanges="SMART,NASDAQ,NYSE,ARCA",
            industry="Technology",
            category="Computers",
            subcategory="Computers",
            stock_type="COMMON",
        ),
        Instrument(
            Contract(272093, "MSFT", primary_exchange="NASDAQ", local_symbol="MSFT", trading_class="NMS"),
            long_name="MICROSOFT CORP",
            market_name="NMS",
            valid_exchanges="SMART,NASDAQ,NYSE,ARCA",
            industry="Technology",
            category="Software",
            subcategory="Applications Software",
            stock_type="COMMON",
        ),
        Instrument(
            Contract(756733, "SPY", primary_exchange="ARCA", local_symbol="SPY", trading_class="SPY"),
            long_name="SPDR S&P 500 ETF TRUST",
            market_name="SPY",
            valid_exchanges="SMART,NASDAQ,NYSE,ARCA",
            stock_type="ETF",
        ),
    ]


def sample_brokerage(accounts: Sequence[str] | None = None, mode: str = "paper") -> Brokerage:
    """Build a brokerage to begin with: each account has 100000 USD, 100 AAPL and 50 MSFT, and no orders.

    ``mode`` is ``paper`` or ``live`` and names the account when ``accounts`` does not. Accounts are
    taken as given, so that one of the wrong kind for the mode can be simulated.
    Raises ValueError for an unknown mode or an account id that cannot stand in a list.
    """
    if mode not in DEFAULT_ACCOUNTS:
        raise ValueError(f"mode is {mode!r}; it must be one of {', '.join(DEFAULT_ACCOUNTS)}")
    brokerage = Brokerage(instruments=sample_instruments())
    apple, microsoft = (each.contract for each in brokerage.instruments[:2])
    for account_id in DEFAULT_ACCOUNTS[mode] if accounts is None else accounts:
        if not account_id.isascii() or not account_id.isalnum():
            raise ValueError(f"account id {account_id!r} must be letters and digits")
        account = Account(account_id, cash=Decimal(100_000))
        account.hold(Position(apple, Decimal(100), Decimal("185.5"), Decimal("189.25")))
        account.hold(Position(microsoft, Decimal(50), Decimal("410.2"), Decimal("402.1")))
        brokerage.add_account(account)
    return brokerage
