"""How a split changes a stock, the options on it, and the holdings in them. Decisions only.

| | becomes |
|---|---|
| shares | times the ratio; what is left of a share is paid in cash |
| their average cost, their price | divided by the ratio |
| options, new shares for one old (4:1) | times the ratio, at the strike divided by it; the multiplier stays |
| options, any other ratio (3:2, 1:10) | the same number; the strike is divided by the ratio, the multiplier times it |

The second rule for options keeps what they are worth. Real ones change what they deliver instead. Contract ids stay.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import ROUND_DOWN, Decimal

from gateway_simulator.trading.model import CENT, Contract, Position

MOST = 1000
"""The largest number on either side of a ratio."""
COST_UNIT = Decimal("0.0000000001")


@dataclass(frozen=True)
class Split:
    """``new`` shares of a stock in place of ``old`` ones, and the options on it as they are from then on."""

    con_id: int
    new: int
    old: int
    adjusted: list[Contract] = field(default_factory=list)

    @property
    def ratio(self) -> Decimal:
        """How many shares one share becomes."""
        return Decimal(self.new) / self.old

    @property
    def is_whole(self) -> bool:
        """Whether one share becomes several whole ones."""
        return self.new % self.old == 0

    def price(self, price: Decimal) -> Decimal:
        """A price of before, as it is after the split, not rounded."""
        return price * self.old / self.new

    def option(self, contract: Contract) -> Contract:
        """An option of before, as it is after the split."""
        strike = self.price(contract.strike).quantize(CENT)
        trading_class = contract.trading_class
        multiplier = contract.multiplier
        if not self.is_whole:
            multiplier = f"{(Decimal(multiplier or 1) * self.ratio).normalize():f}"
            trading_class = f"{trading_class}1"
        return replace(
            contract,
            strike=strike.normalize() + 0,
            multiplier=multiplier,
            trading_class=trading_class,
            local_symbol=f"{trading_class:<6}{contract.expiry[2:]}{contract.right}{int(strike * 1000):08d}",
        )

    def holding(self, held: Position, contract: Contract) -> tuple[Position, Decimal]:
        """A holding of before as one of the contract of after, and the part of a share that is paid in cash."""
        stays = held.contract.sec_type == "OPT" and not self.is_whole
        if stays:
            return replace(held, contract=contract, market_price=self.price(held.market_price)), Decimal(0)
        exact = held.quantity * self.new / self.old
        quantity = exact.to_integral_value(ROUND_DOWN)
        return (
            replace(
                held,
                contract=contract,
                quantity=quantity,
                average_cost=self.price(held.average_cost).quantize(COST_UNIT).normalize() + 0,
                market_price=self.price(held.market_price),
            ),
            exact - quantity,
        )


def read_ratio(text: str) -> tuple[int, int]:
    """Read ``4:1`` as new and old. Raises ValueError."""
    new, colon, old = text.partition(":")
    numbers = [int(each) if each.isascii() and each.isdigit() and len(each) < 5 else 0 for each in (new, old)]
    if not colon or not all(0 < each <= MOST for each in numbers) or numbers[0] == numbers[1]:
        raise ValueError(f"{text!r} is no ratio: write new shares and old ones, such as 4:1, each from 1 to {MOST}")
    return numbers[0], numbers[1]
