"""How much margin a set of holdings needs.

Regulation T's strategy-based rules, simplified: no spreads between options, no house rates.

| holding | initial | maintenance |
|---|---|---|
| stock, long | 50 % of its value | 25 % |
| stock, short | 50 % | 30 % |
| option, long | paid in full: nothing more, and its value is no collateral | the same |
| call, short, covered by shares held | nothing more | nothing more |
| option, short | premium + max(20 % of the underlying - amount out of the money, floor) | the same |
| future | 6 % of its value | 5 % |

The floor is 10 % of the underlying for a call, of the strike for a put. Amounts are in the account's currency.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from gateway_simulator.trading.model import ZERO, Contract, Position

STOCK_INITIAL = Decimal("0.50")
STOCK_MAINTENANCE = Decimal("0.25")
SHORT_STOCK_MAINTENANCE = Decimal("0.30")
SHORT_OPTION_RATE = Decimal("0.20")
SHORT_OPTION_FLOOR = Decimal("0.10")
FUTURE_INITIAL = Decimal("0.06")
FUTURE_MAINTENANCE = Decimal("0.05")


@dataclass(frozen=True)
class Requirement:
    """Initial and maintenance margin."""

    initial: Decimal
    maintenance: Decimal

    def __add__(self, other: Requirement) -> Requirement:
        return Requirement(self.initial + other.initial, self.maintenance + other.maintenance)


NOTHING = Requirement(ZERO, ZERO)


def requirement(positions: Iterable[Position], underlying_prices: Mapping[int, Decimal]) -> Requirement:
    """Return what holdings need together.

    ``underlying_prices`` gives the price of each option's underlying by the option's contract id; an option without
    one counts as at the money.
    """
    held = list(positions)
    shares = {each.contract.symbol: each.quantity for each in held if each.contract.sec_type == "STK"}
    total = NOTHING
    for each in sorted(held, key=lambda position: position.contract.con_id):
        contract = each.contract
        if contract.sec_type == "OPT":
            if each.quantity >= 0:
                continue
            uncovered = -each.quantity
            if contract.right == "C":
                covered = min(uncovered, max(shares.get(contract.symbol, ZERO), ZERO) // contract.unit_multiplier)
                shares[contract.symbol] = shares.get(contract.symbol, ZERO) - covered * contract.unit_multiplier
                uncovered -= covered
            price = underlying_prices.get(contract.con_id, contract.strike)
            amount = uncovered * contract.unit_multiplier * _short_option(contract, each.market_price, price)
            total += Requirement(amount, amount)
        elif contract.sec_type == "FUT":
            value = abs(each.market_value)
            total += Requirement(value * FUTURE_INITIAL, value * FUTURE_MAINTENANCE)
        else:
            value = abs(each.market_value)
            rate = STOCK_MAINTENANCE if each.quantity > 0 else SHORT_STOCK_MAINTENANCE
            total += Requirement(value * STOCK_INITIAL, value * rate)
    return total


def _short_option(contract: Contract, premium: Decimal, underlying: Decimal) -> Decimal:
    """What one unit of an uncovered short option needs."""
    if contract.right == "C":
        out_of_the_money, floor = max(contract.strike - underlying, ZERO), underlying * SHORT_OPTION_FLOOR
    else:
        out_of_the_money, floor = max(underlying - contract.strike, ZERO), contract.strike * SHORT_OPTION_FLOOR
    return premium + max(underlying * SHORT_OPTION_RATE - out_of_the_money, floor)
