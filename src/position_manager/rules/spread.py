"""How wide a spread may be for a quote to be acted on: by a part of the middle, or by ticks. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from position_manager.model import ZERO, Instrument, Quote


def spread_of(quote: Quote) -> Decimal | None:
    """The spread as a fraction of the middle, without its sign; None without a two-sided quote."""
    if quote.bid is None or quote.ask is None or quote.mid is None or quote.ask <= 0 <= quote.bid:
        return None
    spread = quote.ask - quote.bid
    return spread / abs(quote.mid) if quote.mid else Decimal("Infinity") if spread else ZERO


@dataclass(frozen=True)
class SpreadBound:
    """A spread is allowed up to ``fraction`` of the middle (0.20 is 20 %) or up to ``ticks`` increments, whichever is
    more: an option at 0.04 by 0.05 has a spread of 22 % and cannot have less. Raises ValueError, naming the field, for
    values that define no valid bound."""

    fraction: Decimal = Decimal("0.20")
    ticks: int = 3

    def __post_init__(self) -> None:
        if not 0 < self.fraction < 1:
            raise ValueError(f"max_spread is {self.fraction}; it must be a fraction between 0 and 1")
        if self.ticks < 0:
            raise ValueError(f"max_spread_ticks is {self.ticks}; it must be 0 or more")

    def allows(self, instrument: Instrument, quote: Quote) -> bool:
        """Whether a two-sided quote is within the bound; False for one that is not two-sided."""
        if quote.bid is None or quote.ask is None or quote.mid is None or quote.ask <= 0 <= quote.bid:
            return False
        spread = quote.ask - quote.bid
        return spread <= self.fraction * abs(quote.mid) or spread <= self.ticks * instrument.increment_at(quote.mid)

    def excess(self, instrument: Instrument, quote: Quote) -> str:
        """Why a quote is not within the bound; empty if it is."""
        if self.allows(instrument, quote):
            return ""
        spread = spread_of(quote)
        if spread is None or quote.ask is None or quote.bid is None:
            return "no two-sided quote"
        ticks = (quote.ask - quote.bid) / instrument.increment_at(quote.mid or quote.ask)
        return f"{spread:.2%} of the middle or {ticks:.0f} ticks, at most {self.fraction:.2%} or {self.ticks} ticks"
