"""The accounts: holdings at the prices of the moment, trades, expiries and splits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from gateway_simulator.trading import events, settlement
from gateway_simulator.trading.accounts import Account
from gateway_simulator.trading.catalog import Catalog
from gateway_simulator.trading.commissions import CommissionSchedule
from gateway_simulator.trading.impact import impact_of
from gateway_simulator.trading.market import STEP, Market
from gateway_simulator.trading.model import ZERO, Contract, Instrument, Order, OrderImpact, Position
from gateway_simulator.trading.reports import Reports
from gateway_simulator.trading.splits import Split
from gateway_simulator.trading.trading_time import EPOCH, TradingTime
from gateway_simulator.trading.valuation import revalue, revalue_currencies

AVERAGE_UNIT = Decimal("0.0000000001")


@dataclass(frozen=True)
class Part:
    """What a fill trades of one contract; ``filled`` and ``average`` are the order's after it."""

    instrument: Instrument
    quantity: Decimal
    price: Decimal
    filled: Decimal
    average: Decimal
    buys: bool
    average_before: Decimal = ZERO


def part_of(
    instrument: Instrument, quantity: Decimal, price: Decimal, filled_before: Decimal, average: Decimal, buys: bool
) -> Part:
    filled = filled_before + quantity
    after = ((filled_before * average + quantity * price) / filled).quantize(AVERAGE_UNIT)
    return Part(instrument, quantity, price, filled, after, buys, average)


class AccountBook:
    """``by_id`` has the accounts in the order in which they were added."""

    def __init__(
        self, catalog: Catalog, market: Market, commissions: CommissionSchedule, time: TradingTime, reports: Reports
    ) -> None:
        self._catalog = catalog
        self._market = market
        self._commissions = commissions
        self._time = time
        self._reports = reports
        self.by_id: dict[str, Account] = {}
        self._refreshed: tuple[int, int] | None = None

    @property
    def valued(self) -> dict[str, Account]:
        """The accounts by id, with their holdings at the prices of this moment."""
        if self._time.now is not None:
            self.refresh()
        return self.by_id

    def add(self, account: Account) -> None:
        """Add an account. Raises ValueError if there is one of this id."""
        if account.account_id in self.by_id:
            raise ValueError(f"account {account.account_id} is there already")
        self.by_id[account.account_id] = account
        account.start_day()

    def start_day(self) -> None:
        """Reset the daily profit of each account."""
        for account in self.by_id.values():
            account.start_day()

    def forget_prices(self) -> None:
        """Update the prices of holdings even if neither the moment nor the market changes."""
        self._refreshed = None

    def pnl(self, account_id: str) -> tuple[Decimal, Decimal, Decimal]:
        """Return the daily, unrealized and realized profit of an account (KeyError if there is none of this id)."""
        profit = self.valued[account_id].profit()
        return profit.daily, profit.unrealized, profit.realized

    def pnl_single(self, account_id: str, con_id: int) -> tuple[Decimal, Decimal, Decimal, Decimal, Decimal]:
        """Return the position in one contract, its daily, unrealized and realized profit, and its value."""
        account = self.valued[account_id]
        held = account.positions.get(con_id)
        profit = account.profit_of(con_id)
        quantity, value = (held.quantity, account.worth(held)) if held is not None else (ZERO, ZERO)
        return quantity, profit.daily, profit.unrealized, profit.realized, value

    def refresh(self) -> None:
        """Update the prices of holdings to this moment."""
        state = ((self._time.moment - EPOCH) // STEP, self._market.revision)
        if state != self._refreshed:
            self._refreshed = state
            revalue(self.by_id.values(), self._catalog, self._market, self._time.moment)

    def held(self) -> set[int]:
        """The ids of all contracts that are held."""
        return {con_id for account in self.by_id.values() for con_id in account.positions}

    def impact(self, order: Order, instrument: Instrument) -> OrderImpact:
        """Return what an order would do to its account."""
        account = self.valued[order.account]
        self.rate_currencies(account, instrument)
        return impact_of(order, instrument, account, self._market, self._commissions, self._time.moment)

    def rate_currencies(self, account: Account, instrument: Instrument) -> None:
        """Update an account's exchange rates for the currencies of a pair."""
        contract = instrument.contract
        if contract.sec_type == "CASH":
            both = (contract.symbol, contract.currency)
            revalue_currencies(account, both, self._catalog, self._market, self._time.moment)

    def trade(self, order: Order, part: Part) -> tuple[Position, Decimal | None, Decimal]:
        """Trade one contract in the order's account: the holding after it, what it realized and cost."""
        account = self.valued[order.account]
        self.rate_currencies(account, part.instrument)
        contract = part.instrument.contract
        commission = self._commissions.of_fill(
            contract, part.filled - part.quantity, part.average_before, part.quantity, part.price
        )
        held = account.positions.get(contract.con_id)
        signed = part.quantity if part.buys else -part.quantity
        closes = held is not None and held.quantity * signed < 0
        realized_before = account.realized.get(contract.con_id, ZERO)
        position = account.trade(contract, signed, part.price, commission)
        self._refreshed = None
        return position, position.realized_pnl - realized_before if closes else None, commission

    def expire(self, instrument: Instrument, expiry: datetime) -> None:
        """Convert every holding of an expired contract into what it is worth."""
        underlying = instrument.underlying
        if underlying is None:
            raise ValueError(f"{instrument.contract.local_symbol} expires but names no underlying")
        quote = self._market.quote(underlying.con_id, expiry)
        price = quote.last or quote.mark or quote.close or instrument.contract.strike
        for account in self.valued.values():
            held = account.positions.get(instrument.contract.con_id)
            if held is None:
                continue
            for trade in settlement.settle(held, underlying, price):
                position = account.trade(trade.contract, trade.quantity, trade.price, ZERO)
                self._refreshed = None
                self._reports.report(events.PositionChanged(account.account_id, position))
            self._reports.report(events.AccountChanged(account.account_id))

    def split(self, split: Split, contracts: dict[int, Contract]) -> None:
        """Change the holdings of a split stock and of its options; ``contracts`` has them after the split."""
        for account in self.by_id.values():
            for held_id in sorted(contracts.keys() & account.positions.keys()):
                before = account.positions[held_id]
                held, rest = split.holding(before, contracts[held_id])
                account.hold(held)
                account.cash += rest * held.market_price * held.contract.unit_multiplier
                self._reports.report(events.PositionChanged(account.account_id, held))
            self._reports.report(events.AccountChanged(account.account_id))
