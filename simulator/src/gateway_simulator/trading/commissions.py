"""What an execution costs: IB's fixed prices for the United States, as a schedule that can be changed.

Fees of exchanges, clearing and regulators are left out. A stock order pays its minimum once: fills of one order share
it. All amounts are in the contract's currency, of a currency pair in dollars.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from gateway_simulator.trading.model import ZERO, Contract

SMALLEST = Decimal("0.000001")


@dataclass(frozen=True)
class CommissionSchedule:
    """Prices per share or contract, the least an order pays, and the share of a stock trade's value it pays at most."""

    per_share: Decimal = Decimal("0.005")
    stock_minimum: Decimal = Decimal(1)
    stock_maximum_share: Decimal = Decimal("0.01")
    per_option: Decimal = Decimal("0.65")
    option_minimum: Decimal = Decimal(1)
    per_future: Decimal = Decimal("2.25")
    currency_share: Decimal = Decimal("0.00002")
    currency_minimum: Decimal = Decimal(2)

    def of_order(self, contract: Contract, quantity: Decimal, average_price: Decimal) -> Decimal:
        """Return what a whole order of this quantity, filled at this average price, costs."""
        if not quantity:
            return ZERO
        match contract.sec_type:
            case "OPT":
                return max(quantity * self.per_option, self.option_minimum)
            case "CASH":
                return max(
                    self._dollars(contract, quantity, average_price) * self.currency_share, self.currency_minimum
                )
            case "FUT":
                return quantity * self.per_future
            case _:
                cost = max(quantity * self.per_share, self.stock_minimum)
                value = quantity * average_price * contract.unit_multiplier
                return min(cost, value * self.stock_maximum_share)

    @staticmethod
    def _dollars(contract: Contract, quantity: Decimal, price: Decimal) -> Decimal:
        """The value of a trade in a pair that has the dollar on one side."""
        return quantity if contract.symbol == "USD" else quantity * price

    def of_fill(
        self, contract: Contract, filled_before: Decimal, average_before: Decimal, quantity: Decimal, price: Decimal
    ) -> Decimal:
        """Return what one fill adds to what its order has cost until then; it is never below 0."""
        filled = filled_before + quantity
        average = (filled_before * average_before + quantity * price) / filled
        before = self.of_order(contract, filled_before, average_before)
        cost = self.of_order(contract, filled, average) - before
        return max(cost, ZERO).quantize(SMALLEST, ROUND_HALF_UP).normalize() + ZERO
