"""How much margin a set of holdings needs.

Regulation T's strategy-based rules, simplified: no house rates, and both sides of a condor count.

| holding | initial | maintenance |
|---|---|---|
| stock, long | 50 % of its value | 25 % |
| stock, short | 50 % | 30 % |
| option, long | paid in full: nothing more, and its value is no collateral | the same |
| call, short, covered by shares held | nothing more | nothing more |
| option, short, covered by a long one of its kind that ends no earlier | the difference of strikes | the same |
| option, short, alone | premium + max(20 % of the underlying - amount out of the money, floor) | the same |
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
    held = sorted(positions, key=lambda position: position.contract.con_id)
    shares = {each.contract.symbol: each.quantity for each in held if each.contract.sec_type == "STK"}
    long = [_Bought(each.contract, each.quantity) for each in held if _is_option(each) and each.quantity > 0]
    total = NOTHING
    for each in held:
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
            alone = contract.unit_multiplier * _short_option(contract, each.market_price, price)
            amount = _against_bought(contract, uncovered, alone, long)
            total += Requirement(amount, amount)
        elif contract.sec_type == "FUT":
            value = abs(each.market_value)
            total += Requirement(value * FUTURE_INITIAL, value * FUTURE_MAINTENANCE)
        else:
            value = abs(each.market_value)
            rate = STOCK_MAINTENANCE if each.quantity > 0 else SHORT_STOCK_MAINTENANCE
            total += Requirement(value * STOCK_INITIAL, value * rate)
    return total


@dataclass
class _Bought:
    """A long option, and how many of it cover no short one yet."""

    contract: Contract
    left: Decimal


def _is_option(position: Position) -> bool:
    return position.contract.sec_type == "OPT"


def _against_bought(short: Contract, quantity: Decimal, alone: Decimal, long: list[_Bought]) -> Decimal:
    """What short options need: those that a long one covers their loss at most, the others as if they were ``alone``.

    The long ones that leave the smallest loss are taken first, and none that leaves more than a short one alone needs.
    """
    total = ZERO
    usable = [(_loss(short, each.contract), each) for each in long if _covers(each.contract, short)]
    for loss, each in sorted(usable, key=lambda entry: (entry[0], entry[1].contract.con_id)):
        if loss < alone:
            covered = min(quantity, each.left)
            each.left -= covered
            quantity -= covered
            total += covered * loss
    return total + quantity * alone


def _covers(long: Contract, short: Contract) -> bool:
    return (long.symbol, long.right, long.multiplier, long.currency) == (
        short.symbol,
        short.right,
        short.multiplier,
        short.currency,
    ) and long.expiry >= short.expiry


def _loss(short: Contract, long: Contract) -> Decimal:
    """The most that a short option loses more than a long one that covers it, for one contract."""
    width = long.strike - short.strike if short.right == "C" else short.strike - long.strike
    return max(width, ZERO) * short.unit_multiplier


def _short_option(contract: Contract, premium: Decimal, underlying: Decimal) -> Decimal:
    """What one unit of an uncovered short option needs."""
    if contract.right == "C":
        out_of_the_money, floor = max(contract.strike - underlying, ZERO), underlying * SHORT_OPTION_FLOOR
    else:
        out_of_the_money, floor = max(underlying - contract.strike, ZERO), contract.strike * SHORT_OPTION_FLOOR
    return premium + max(underlying * SHORT_OPTION_RATE - out_of_the_money, floor)
