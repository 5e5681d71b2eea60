"""What the simulated brokerage holds: contracts, quotes, positions, orders and executions.

Plain data and arithmetic: nothing here reads a socket, a clock or a file, and nothing knows the wire.
Money, prices and quantities are Decimals in the unit of the contract's or account's currency.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import IntEnum, StrEnum

ZERO = Decimal(0)
CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class ComboLeg:
    """One contract of a combination: how many of it are bought or sold for each combination that is bought."""

    con_id: int
    ratio: int
    action: str
    exchange: str = ""
    open_close: int = 0
    short_sale_slot: int = 0
    designated_location: str = ""
    exempt_code: int = -1


@dataclass(frozen=True, slots=True)
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
    price_magnifier: int = 1
    """How many units of its quotes are one unit of its currency: 100 for prices in pence or cents."""
    combo_legs: tuple[ComboLeg, ...] = ()
    """The legs of a combination (BAG)."""

    @property
    def unit_multiplier(self) -> Decimal:
        """What a price of 1, as it is quoted, is worth for one contract, in its currency."""
        return Decimal(self.multiplier or 1) / self.price_magnifier


@dataclass(frozen=True)
class ContractQuery:
    """What a client gives to find a contract; an empty field (0 for ``con_id``) matches anything."""

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
    multiplier: str = ""

    @classmethod
    def of(cls, contract: Contract) -> ContractQuery:
        """The query that a contract, as a client gave it with a request, represents."""
        return cls(
            con_id=contract.con_id,
            symbol=contract.symbol,
            sec_type=contract.sec_type,
            expiry=contract.expiry,
            strike=contract.strike,
            right=contract.right,
            exchange=contract.exchange,
            primary_exchange=contract.primary_exchange,
            currency=contract.currency,
            local_symbol=contract.local_symbol,
            trading_class=contract.trading_class,
            multiplier=contract.multiplier,
        )


@dataclass(frozen=True)
class Leg:
    """A leg of a combination: its contract, and how many are bought (negative: sold) for each combination bought."""

    instrument: Instrument
    ratio: int


@dataclass(frozen=True)
class Instrument:
    """A contract the brokerage knows, with what contract details report about it."""

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
    underlying: Contract | None = None
    """The contract that a derivative's price follows."""
    last_trade_time: str = ""
    """HH:MM in ``time_zone`` at which a derivative ends on its expiry."""
    market_rule_id: int = 26
    """The rule of price increments on the first of ``valid_exchanges``."""
    direct_rule_id: int = 0
    """The rule on the other exchanges; 0: the same."""
    isin: str = ""
    min_size: Decimal = Decimal(1)
    size_increment: Decimal = Decimal(1)
    suggested_size_increment: Decimal = Decimal(100)
    legs: tuple[Leg, ...] = ()
    """Of a combination; one of these has no market, price rule or expiry of its own."""
    combination_key: int = 0
    """Names a combination within the simulator (negative): all of them have the same contract id."""

    @property
    def key(self) -> int:
        """The number under which the market quotes this: its contract id, or what names a combination."""
        return self.combination_key or self.contract.con_id

    @property
    def parts(self) -> tuple[Leg, ...]:
        """What an order in this trades: the legs of a combination, or the instrument itself."""
        return self.legs or (Leg(self, 1),)

    @property
    def leading(self) -> Instrument:
        """The instrument whose sessions and expiry hold for this one: of a combination the leg that ends first."""
        ending = [each.instrument for each in self.legs if each.instrument.contract.expiry]
        if ending:
            return min(ending, key=lambda each: (each.contract.expiry, each.last_trade_time))
        return self.legs[0].instrument if self.legs else self

    def rule_on(self, exchange: str) -> int:
        """Return the id of the rule of price increments that holds on one of ``valid_exchanges``."""
        if not self.direct_rule_id or exchange == self.valid_exchanges.split(",")[0]:
            return self.market_rule_id
        return self.direct_rule_id

    def matches(self, query: ContractQuery) -> bool:
        """Return whether this is an instrument the query asks for."""
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
            (query.multiplier, own.multiplier),
        )
        return (
            all(not value or value == has for value, has in wanted)
            and own.expiry.startswith(query.expiry)
            and query.strike in (ZERO, own.strike)
            and (not query.exchange or query.exchange in self.valid_exchanges.split(","))
        )


@dataclass(frozen=True)
class OptionComputation:
    """An option's price and greeks by the model. Volatility and delta are shares of 1, theta is per day,
    vega per percent point of volatility."""

    implied_volatility: float
    delta: float
    price: float
    present_value_dividend: float
    gamma: float
    vega: float
    theta: float
    underlying_price: float


class Halted(IntEnum):
    """Whether an instrument trades, as tick 49 reports it."""

    NO = 0
    GENERAL = 1
    VOLATILITY = 2


@dataclass(frozen=True)
class Quote:
    """The market of one contract at one moment (aware). A price is None where there is none.

    ``open`` is whether the regular session runs, ``extended`` whether any session does (orders with
    outsideRth trade in it); ``halted`` stops both. ``close`` is the previous session's last price, ``day_*``
    and ``volume`` belong to the present session. Computations exist for options only.
    """

    time: datetime
    bid: Decimal | None
    ask: Decimal | None
    last: Decimal | None
    bid_size: Decimal
    ask_size: Decimal
    last_size: Decimal
    volume: Decimal
    day_open: Decimal | None
    day_high: Decimal | None
    day_low: Decimal | None
    close: Decimal | None
    mark: Decimal | None
    open: bool = True
    extended: bool = True
    halted: Halted = Halted.NO
    bid_computation: OptionComputation | None = None
    ask_computation: OptionComputation | None = None
    last_computation: OptionComputation | None = None
    model_computation: OptionComputation | None = None


@dataclass(frozen=True)
class Bar:
    """Prices and volume of one stretch of time that starts at ``time`` (aware); ``average`` is the bar's VWAP."""

    time: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    average: Decimal
    count: int


@dataclass(frozen=True)
class OrderImpact:
    """What an order would do to an account's margin, and what it would cost, in the account's currency."""

    initial_margin_before: Decimal
    maintenance_margin_before: Decimal
    equity_with_loan_before: Decimal
    initial_margin_change: Decimal
    maintenance_margin_change: Decimal
    equity_with_loan_change: Decimal
    initial_margin_after: Decimal
    maintenance_margin_after: Decimal
    equity_with_loan_after: Decimal
    commission: Decimal
    commission_currency: str = "USD"
    warning: str = ""


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition of an order, of a kind as the API numbers them; what the kind does not have is left as it is.

    ``conjunction`` joins it to the next one: "a" (and) or "o" (or). ``value`` is a price, a volume or a percentage.
    """

    kind: int
    conjunction: str = "a"
    is_more: bool = False
    value: Decimal = ZERO
    con_id: int = 0
    exchange: str = ""
    trigger_method: int = 0
    time: str = ""
    sec_type: str = ""
    symbol: str = ""


class OrderStatus(StrEnum):
    """The status of an order, in IB's words."""

    PENDING_SUBMIT = "PendingSubmit"
    PRE_SUBMITTED = "PreSubmitted"
    SUBMITTED = "Submitted"
    PENDING_CANCEL = "PendingCancel"
    CANCELLED = "Cancelled"
    FILLED = "Filled"
    INACTIVE = "Inactive"


@dataclass(frozen=True, slots=True)
class Order:
    """An order and its state. None for a price means that the order has none."""

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
    transmit: bool = True
    what_if: bool = False
    oca_type: int = 3
    limit_price_offset: Decimal | None = None
    good_after_time: str = ""
    all_or_none: bool = False
    min_quantity: int | None = None
    hidden: bool = False
    display_size: int | None = None
    discretionary_amount: Decimal = ZERO
    trigger_method: int = 0
    open_close: str = ""
    origin: int = 0
    cash_quantity: Decimal = ZERO
    model: str = ""
    algo_strategy: str = ""
    algo_params: tuple[tuple[str, str], ...] = ()
    combo_params: tuple[tuple[str, str], ...] = ()
    conditions: tuple[Condition, ...] = ()
    conditions_ignore_rth: bool = False
    conditions_cancel: bool = False
    """Whether the conditions, once met, cancel the order instead of letting it trade."""
    leg_averages: tuple[Decimal, ...] = ()
    """The average price of each leg of a combination that is filled in part or in whole."""
    parent_perm_id: int = 0
    submitted_at: datetime | None = None
    completed_at: datetime | None = None
    completed_reason: str = ""

    @property
    def remaining(self) -> Decimal:
        """Quantity not filled yet."""
        return self.quantity - self.filled


@dataclass(frozen=True, slots=True)
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
    commission_currency: str = ""
    """The currency of the commission; empty: the contract's."""


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
        """Return whether the execution is one of those asked for. BUY and SELL mean BOT and SLD."""
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
