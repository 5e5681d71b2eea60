"""Accounts: cash, holdings, and the values that the gateway derives from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal

from gateway_simulator.trading.model import CENT, ZERO, AccountValue, Position

INITIAL_MARGIN = Decimal("0.50")
MAINTENANCE_MARGIN = Decimal("0.25")
"""Share of the gross position value held as margin (Regulation T's rates for stocks)."""


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
