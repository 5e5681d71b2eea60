"""What the simulated brokerage holds: accounts, positions, instruments, orders and executions.

Plain data and arithmetic: nothing here reads a socket, a clock or a file, and nothing knows the wire.
Money, prices and quantities are Decimals in the unit of the contract's or account's currency.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

ZERO = Decimal(0)
CENT = Decimal("0.01")

INITIAL_MARGIN = Decimal("0.50")
MAINTENANCE_MARGIN = Decimal("0.25")
"""Share of the gross position value held as margin (Regulation T's rates for stocks)."""

DEFAULT_ACCOUNTS = {"paper": ["DU1234567"], "live": ["U1234567"]}


@dataclass(frozen=True)
class Contract:
    """An instrument as orders and positions name it. ``expiry`` is YYYYMMDD, ``right`` C or P."""

    con_id: int
    symbol: str
    sec_type: str = "STK"
    expiry: str = ""
    strike: Decimal = ZERO
    right: str = ""
    multiplier: str = ""
    exchange: str = "SMART"
    primary_exchange: str = ""
    currency: str = "USD"
    local_symbol: str = ""
    trading_class: str = ""

    @property
    def unit_multiplier(self) -> Decimal:
        """How many units of the underlying one contract stands for."""
        return Decimal(self.multiplier or 1)


@dataclass(frozen=True)
class ContractQuery:
    """What a client gives to look a contract up; an empty field (0 for ``con_id``) matches anything."""

    con_id: int = 0
    symbol: str = ""
    sec_type: str = ""
    expiry: str = ""
    strike: Decimal = ZERO
    right: str = ""
    exchange: str = ""
    primary_exchange: str = ""
    currency: str = ""
    local_symbol: str = ""
    trading_class: str = ""


@dataclass(frozen=True)
class Instrument:
    """A contract the brokerage knows, with what contract details tell about it."""

    contract: Contract
    long_name: str
    market_name: str = ""
    min_tick: Decimal = CENT
    order_types: str = "ACTIVETIM,ADJUST,DAY,GTC,LMT,MKT,STP,STPLMT,TRAIL,WHATIF"
    valid_exchanges: str = "SMART"
    industry: str = ""
    category: str = ""
    subcategory: str = ""
    time_zone: str = "US/Eastern"
    trading_hours: str = ""
    liquid_hours: str = ""
    stock_type: str = ""

    def matches(self, query: ContractQuery) -> bool:
        """Tell whether this is an instrument the query asks for."""
        own = self.contract
        if query.con_id:
            return query.con_id == own.con_id
        if not (query.symbol or query.local_symbol):
            return False
        wanted = (
            (query.symbol, own.symbol),
            (query.sec_type, own.sec_type),
            (query.right, own.right),
            (query.primary_exchange, own.primary_exchange),
            (query.currency, own.currency),
            (query.local_symbol, own.local_symbol),
            (query.trading_class, own.trading_class),
        )
        return (
            all(not value or value == has for value, has in wanted)
            and own.expiry.startswith(query.expiry)
            and query.strike in (ZERO, own.strike)
            and (not query.exchange or query.exchange in self.valid_exchanges.split(","))
        )


@dataclass(frozen=True)
class Position:
    """A holding. ``average_cost`` is per contract, multiplier and commissions included, as IB states it."""

    contract: Contract
    quantity: Decimal
    average_cost: Decimal
    market_price: Decimal
    realized_pnl: Decimal = ZERO

    @property
    def market_value(self) -> Decimal:
        """Value at the market price; negative for a short position."""
        return (self.quantity * self.market_price * self.contract.unit_multiplier).quantize(CENT)

    @property
    def unrealized_pnl(self) -> Decimal:
        """Market value less what the position cost."""
        return (self.market_value - self.quantity * self.average_cost).quantize(CENT)


@dataclass(frozen=True)
class AccountValue:
    """One key of an account; ``currency`` is empty for keys that are not amounts."""

    key: str
    value: str
    currency: str = ""
    is_ledger: bool = False


@dataclass
class Account:
    """One account: its cash and its holdings, all in ``currency``."""

    account_id: str
    cash: Decimal = ZERO
    currency: str = "USD"
    account_type: str = "INDIVIDUAL"
    positions: dict[int, Position] = field(default_factory=dict)

    def hold(self, position: Position) -> None:
        """Set the holding of a contract; a quantity of 0 removes it."""
        if position.contract.currency != self.currency:
            raise ValueError(
                f"account {self.account_id} is kept in {self.currency}; "
                f"{position.contract.symbol} is priced in {position.contract.currency}"
            )
        if position.quantity:
            self.positions[position.contract.con_id] = position
        else:
            self.positions.pop(position.contract.con_id, None)

    def values(self) -> list[AccountValue]:
        """Derive the account's values, in the order the gateway lists them: facts, amounts, ledger."""
        return [*self._facts(), *self._amounts(), *self._ledger()]

    def _facts(self) -> Iterator[AccountValue]:
        facts = {
            "AccountCode": self.account_id,
            "AccountOrGroup": self.account_id,
            "AccountReady": "true",
            "AccountType": self.account_type,
            "Currency": self.currency,
            "DayTradesRemaining": "-1",
            "HighestSeverity": "0",
            "Leverage-S": format(self._leverage(), "f"),
            "LookAheadNextChange": "0",
        }
        return (AccountValue(key, value) for key, value in facts.items())

    def _amounts(self) -> Iterator[AccountValue]:
        stock = self._market_value()
        gross = self._gross_value()
        net = self.cash + stock
        initial = gross * INITIAL_MARGIN
        maintenance = gross * MAINTENANCE_MARGIN
        amounts = {
            "AccruedCash": ZERO,
            "AvailableFunds": net - initial,
            "BuyingPower": max(net - initial, ZERO) * 4,
            "EquityWithLoanValue": net,
            "ExcessLiquidity": net - maintenance,
            "FullAvailableFunds": net - initial,
            "FullExcessLiquidity": net - maintenance,
            "FullInitMarginReq": initial,
            "FullMaintMarginReq": maintenance,
            "GrossPositionValue": gross,
            "InitMarginReq": initial,
            "LookAheadAvailableFunds": net - initial,
            "LookAheadExcessLiquidity": net - maintenance,
            "LookAheadInitMarginReq": initial,
            "LookAheadMaintMarginReq": maintenance,
            "MaintMarginReq": maintenance,
            "NetLiquidation": net,
            "PreviousDayEquityWithLoanValue": net,
            "RegTEquity": net,
            "RegTMargin": initial,
            "SMA": net - initial,
            "SettledCash": self.cash,
            "TotalCashValue": self.cash,
        }
        yield AccountValue("Cushion", format(self._cushion(net, maintenance), "f"))
        for key, amount in amounts.items():
            yield AccountValue(key, _amount(amount), self.currency)

    def _ledger(self) -> Iterator[AccountValue]:
        positions = self.positions.values()
        amounts = {
            "AccruedCash": ZERO,
            "CashBalance": self.cash,
            "NetLiquidationByCurrency": self.cash + self._market_value(),
            "RealizedPnL": sum((each.realized_pnl for each in positions), ZERO),
            "StockMarketValue": self._market_value(),
            "TotalCashBalance": self.cash,
            "UnrealizedPnL": sum((each.unrealized_pnl for each in positions), ZERO),
        }
        for currency in ("BASE", self.currency):
            yield AccountValue("ExchangeRate", "1.00", currency, is_ledger=True)
            for key, amount in amounts.items():
                yield AccountValue(key, _amount(amount), currency, is_ledger=True)

    def _market_value(self) -> Decimal:
        return sum((each.market_value for each in self.positions.values()), ZERO)

    def _gross_value(self) -> Decimal:
        return sum((abs(each.market_value) for each in self.positions.values()), ZERO)

    def _leverage(self) -> Decimal:
        net = self.cash + self._market_value()
        return (self._gross_value() / net).quantize(CENT) if net > 0 else ZERO

    @staticmethod
    def _cushion(net: Decimal, maintenance: Decimal) -> Decimal:
        return ((net - maintenance) / net).quantize(Decimal("0.000001")) if net > 0 else ZERO


def _amount(value: Decimal) -> str:
    return format(value.quantize(CENT), "f")


class OrderStatus(StrEnum):
    """Where an order stands, in IB's words."""

    PENDING_SUBMIT = "PendingSubmit"
    PRE_SUBMITTED = "PreSubmitted"
    SUBMITTED = "Submitted"
    PENDING_CANCEL = "PendingCancel"
    CANCELLED = "Cancelled"
    FILLED = "Filled"
    INACTIVE = "Inactive"


@dataclass(frozen=True)
class Order:
    """An order and where it stands. None for a price means that the order has none."""

    order_id: int
    client_id: int
    perm_id: int
    account: str
    contract: Contract
    action: str
    quantity: Decimal
    order_type: str
    limit_price: Decimal | None = None
    aux_price: Decimal | None = None
    trail_stop_price: Decimal | None = None
    trailing_percent: Decimal | None = None
    time_in_force: str = "DAY"
    good_till_date: str = ""
    outside_rth: bool = False
    order_ref: str = ""
    parent_id: int = 0
    oca_group: str = ""
    status: OrderStatus = OrderStatus.SUBMITTED
    filled: Decimal = ZERO
    average_fill_price: Decimal = ZERO
    last_fill_price: Decimal = ZERO
    why_held: str = ""
    completed_at: datetime | None = None
    completed_reason: str = ""

    @property
    def remaining(self) -> Decimal:
        """Quantity not filled yet."""
        return self.quantity - self.filled


@dataclass(frozen=True)
class Execution:
    """One fill and its commission. ``side`` is BOT or SLD; ``time`` is aware."""

    exec_id: str
    order_id: int
    client_id: int
    perm_id: int
    account: str
    contract: Contract
    time: datetime
    exchange: str
    side: str
    shares: Decimal
    price: Decimal
    cumulative_quantity: Decimal
    average_price: Decimal
    commission: Decimal
    realized_pnl: Decimal | None = None
    order_ref: str = ""
    last_liquidity: int = 2
    pending_price_revision: bool = False


@dataclass(frozen=True)
class ExecutionFilter:
    """Which executions a client asks for; an empty field (0 for ``client_id``) matches all."""

    client_id: int = 0
    account: str = ""
    since: datetime | None = None
    symbol: str = ""
    sec_type: str = ""
    exchange: str = ""
    side: str = ""

    def admits(self, execution: Execution) -> bool:
        """Tell whether the execution is one of those asked for. BUY and SELL mean BOT and SLD."""
        side = {"BUY": "BOT", "SELL": "SLD"}.get(self.side, self.side)
        wanted = (
            (self.client_id, execution.client_id),
            (self.account, execution.account),
            (self.symbol, execution.contract.symbol),
            (self.sec_type, execution.contract.sec_type),
            (self.exchange, execution.exchange),
            (side, execution.side),
        )
        return all(not value or value == has for value, has in wanted) and (
            self.since is None or execution.time >= self.since
        )


@dataclass(frozen=True)
class Bulletin:
    """A news bulletin. ``kind``: 1 news, 2 exchange closed, 3 exchange open again."""

    bulletin_id: int
    kind: int
    text: str
    exchange: str = ""


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
