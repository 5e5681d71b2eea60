"""Accounts: cash, holdings, and the values that the gateway derives from them.

A future's gains stay in its position until it is closed and are then paid in cash (a real account is credited daily);
its commissions are part of its average cost. For all else a trade's value and commission go from or to cash at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal

from gateway_simulator.trading.margin import Requirement, requirement
from gateway_simulator.trading.model import CENT, ZERO, AccountValue, Contract, Position

ONE = Decimal(1)
RATE_UNIT = Decimal("0.0000001")
CURRENCY_RATE = Decimal("0.03")
"""Margin of a balance in another currency, as a share of it."""
COST_UNIT = Decimal("0.0000000001")
"""Average costs are rounded to this unit."""


@dataclass(frozen=True)
class Profit:
    """Daily, unrealized and realized profit. Daily and realized count from the day's start."""

    daily: Decimal
    unrealized: Decimal
    realized: Decimal


@dataclass
class Account:
    """One account: its cash and its holdings in ``currency``, and its ``balances`` in other currencies.

    The mappings are by contract id: the day's realized profit, the value of each holding at the start of the day, the
    money that the day's trades took (negative) or brought, and the price of each held option's underlying.
    ``exchange_rates`` has what one unit of another currency is worth. A trade in currencies moves two balances; the
    position in the pair only shows what was traded and at which cost, as IB's virtual positions do.
    """

    account_id: str
    cash: Decimal = ZERO
    currency: str = "USD"
    account_type: str = "INDIVIDUAL"
    positions: dict[int, Position] = field(default_factory=dict)
    realized: dict[int, Decimal] = field(default_factory=dict)
    day_values: dict[int, Decimal] = field(default_factory=dict)
    day_flows: dict[int, Decimal] = field(default_factory=dict)
    day_equity: Decimal | None = None
    underlying_prices: dict[int, Decimal] = field(default_factory=dict)
    balances: dict[str, Decimal] = field(default_factory=dict)
    exchange_rates: dict[str, Decimal] = field(default_factory=dict)

    def hold(self, position: Position) -> None:
        """Set the holding of a contract; a quantity of 0 removes it."""
        if position.contract.currency != self.currency and position.contract.sec_type != "CASH":
            raise ValueError(
                f"account {self.account_id} is kept in {self.currency}; "
                f"{position.contract.symbol} is priced in {position.contract.currency}"
            )
        if position.quantity:
            self.positions[position.contract.con_id] = position
        else:
            self.positions.pop(position.contract.con_id, None)

    def trade(self, contract: Contract, quantity: Decimal, price: Decimal, commission: Decimal) -> Position:
        """Book a trade of a signed quantity; return the holding after it (a quantity of 0: none is left).

        What crosses zero closes the whole holding and opens the rest at the price. The returned position's
        ``realized_pnl`` is the day's for this contract.
        """
        con_id = contract.con_id
        before = self.positions.get(con_id) or Position(contract, ZERO, ZERO, price)
        unit = price * contract.unit_multiplier
        rate = self.rate(contract.currency)
        charged, commission = commission, commission / rate
        closing = min(abs(quantity), abs(before.quantity)) if before.quantity * quantity < 0 else ZERO
        closing_fee = commission * closing / abs(quantity)
        opening_fee = commission - closing_fee
        direction = Decimal(1) if quantity > 0 else Decimal(-1)
        after = before.quantity + quantity
        realized = -direction * closing * (unit - before.average_cost) - closing_fee
        if not after:
            average = ZERO
        elif closing == abs(quantity):
            average = before.average_cost
        else:
            kept = before.quantity if not closing else ZERO
            average = (kept * before.average_cost + (after - kept) * unit + opening_fee) / after
            average = average.quantize(COST_UNIT)
        if closing:
            self.realized[con_id] = self.realized.get(con_id, ZERO) + realized * rate
        held = Position(contract, after, average, price, self.realized.get(con_id, ZERO))
        flow = -quantity * unit - commission
        self.day_flows[con_id] = self.day_flows.get(con_id, ZERO) + flow * rate
        if contract.sec_type == "CASH":
            self._move(contract.symbol, quantity)
            self._move(contract.currency, -quantity * unit)
            self.cash -= charged
        else:
            self.cash += flow
        if contract.sec_type == "FUT":
            self.cash += after * average - before.quantity * before.average_cost
        self.hold(held)
        return held

    def rate(self, currency: str) -> Decimal:
        """Return what one unit of a currency is worth in the account's."""
        return self.exchange_rates.get(currency, ONE) if currency != self.currency else ONE

    def _move(self, currency: str, amount: Decimal) -> None:
        if currency == self.currency:
            self.cash += amount
        else:
            self.balances[currency] = self.balances.get(currency, ZERO) + amount

    def worth(self, position: Position) -> Decimal:
        """Return a holding's market value in the account's currency."""
        return position.market_value * self.rate(position.contract.currency)

    def start_day(self) -> None:
        """Reset the day's profit to start from the current values."""
        self.realized.clear()
        self.day_flows.clear()
        self.positions = {key: replace(each, realized_pnl=ZERO) for key, each in self.positions.items()}
        self.day_values = {key: self.worth(each) for key, each in self.positions.items()}
        self.day_equity = self.equity_with_loan

    def profit(self) -> Profit:
        """Return the account's profit."""
        singles = [self.profit_of(key) for key in {*self.positions, *self.day_values, *self.day_flows}]
        return Profit(
            sum((each.daily for each in singles), ZERO),
            sum((each.unrealized for each in singles), ZERO),
            sum(self.realized.values(), ZERO),
        )

    def profit_of(self, con_id: int) -> Profit:
        """Return the profit of one contract."""
        held = self.positions.get(con_id)
        value = self.worth(held) if held is not None else ZERO
        daily = value - self.day_values.get(con_id, ZERO) + self.day_flows.get(con_id, ZERO)
        unrealized = self._unrealized(held) if held is not None else ZERO
        return Profit(daily, unrealized, self.realized.get(con_id, ZERO))

    def margin(self) -> Requirement:
        """Return what the holdings need."""
        foreign = sum((abs(each) * self.rate(name) for name, each in self.balances.items()), ZERO) * CURRENCY_RATE
        return requirement(self.positions.values(), self.underlying_prices) + Requirement(foreign, foreign)

    @property
    def equity_with_loan(self) -> Decimal:
        """What counts as collateral: cash, stocks and the gains of futures, but no options."""
        return self.total_cash + self._value_of("STK") + self._future_gains()

    @property
    def total_cash(self) -> Decimal:
        """Cash of all currencies."""
        return self.cash + sum((each * self.rate(name) for name, each in self.balances.items()), ZERO)

    @property
    def net_liquidation(self) -> Decimal:
        """What the account is worth."""
        return self.equity_with_loan + self._value_of("OPT")

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
        net, equity = self.net_liquidation, self.equity_with_loan
        margin = self.margin()
        available, excess = equity - margin.initial, equity - margin.maintenance
        amounts = {
            "AccruedCash": ZERO,
            "AvailableFunds": available,
            "BuyingPower": max(available, ZERO) * 4,
            "EquityWithLoanValue": equity,
            "ExcessLiquidity": excess,
            "FullAvailableFunds": available,
            "FullExcessLiquidity": excess,
            "FullInitMarginReq": margin.initial,
            "FullMaintMarginReq": margin.maintenance,
            "GrossPositionValue": self._gross_value(),
            "InitMarginReq": margin.initial,
            "LookAheadAvailableFunds": available,
            "LookAheadExcessLiquidity": excess,
            "LookAheadInitMarginReq": margin.initial,
            "LookAheadMaintMarginReq": margin.maintenance,
            "MaintMarginReq": margin.maintenance,
            "NetLiquidation": net,
            "PreviousDayEquityWithLoanValue": equity if self.day_equity is None else self.day_equity,
            "RegTEquity": equity,
            "RegTMargin": margin.initial,
            "SMA": available,
            "SettledCash": self.total_cash,
            "TotalCashValue": self.total_cash,
        }
        yield AccountValue("Cushion", format(self._cushion(net, margin.maintenance), "f"))
        for key, amount in amounts.items():
            yield AccountValue(key, _amount(amount), self.currency)

    def _ledger(self) -> Iterator[AccountValue]:
        everything = {
            "AccruedCash": ZERO,
            "CashBalance": self.total_cash,
            "FuturesPNL": self._future_gains(),
            "NetLiquidationByCurrency": self.net_liquidation,
            "OptionMarketValue": self._value_of("OPT"),
            "RealizedPnL": sum(self.realized.values(), ZERO),
            "StockMarketValue": self._value_of("STK"),
            "TotalCashBalance": self.total_cash,
            "UnrealizedPnL": sum((self._unrealized(each) for each in self.positions.values()), ZERO),
        }
        foreign = self.total_cash - self.cash
        own = {
            **everything,
            "CashBalance": self.cash,
            "NetLiquidationByCurrency": self.net_liquidation - foreign,
            "TotalCashBalance": self.cash,
        }
        yield from _ledger_of("BASE", ONE, everything)
        yield from _ledger_of(self.currency, ONE, own)
        for currency, balance in sorted(self.balances.items()):
            cash = dict.fromkeys(("CashBalance", "NetLiquidationByCurrency", "TotalCashBalance"), balance)
            yield from _ledger_of(currency, self.rate(currency), {**dict.fromkeys(everything, ZERO), **cash})

    def _unrealized(self, held: Position) -> Decimal:
        return held.unrealized_pnl * self.rate(held.contract.currency)

    def _value_of(self, sec_type: str) -> Decimal:
        held = self.positions.values()
        return sum((each.market_value for each in held if each.contract.sec_type == sec_type), ZERO)

    def _future_gains(self) -> Decimal:
        held = self.positions.values()
        return sum((each.unrealized_pnl for each in held if each.contract.sec_type == "FUT"), ZERO)

    def _gross_value(self) -> Decimal:
        held = self.positions.values()
        return sum((abs(each.market_value) for each in held if each.contract.sec_type not in ("FUT", "CASH")), ZERO)

    def _leverage(self) -> Decimal:
        net = self.net_liquidation
        return (self._gross_value() / net).quantize(CENT) if net > 0 else ZERO

    @staticmethod
    def _cushion(net: Decimal, maintenance: Decimal) -> Decimal:
        return ((net - maintenance) / net).quantize(Decimal("0.000001")) if net > 0 else ZERO


def _ledger_of(currency: str, rate: Decimal, amounts: dict[str, Decimal]) -> Iterator[AccountValue]:
    rate_text = "1.00" if rate == ONE else format(rate.quantize(RATE_UNIT), "f")
    yield AccountValue("ExchangeRate", rate_text, currency, is_ledger=True)
    for key, amount in amounts.items():
        yield AccountValue(key, _amount(amount), currency, is_ledger=True)


def _amount(value: Decimal) -> str:
    return format(value.quantize(CENT), "f")
