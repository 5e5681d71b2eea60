"""How much may be sent: orders in a minute and in a day, quantity and notional of one order. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import ROUND_FLOOR, Decimal

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Caps:
    """The bounds; each holds for the whole process. ``notional`` is price times quantity times multiplier, in the
    instrument's currency. Raises ValueError, naming the field, for a bound that is not above zero."""

    orders_per_minute: int = 10
    orders_per_day: int = 200
    quantity: Decimal = Decimal(100)
    notional: Decimal = Decimal(100_000)

    def __post_init__(self) -> None:
        for name in ("orders_per_minute", "orders_per_day", "quantity", "notional"):
            value: int | Decimal = getattr(self, name)
            if value <= 0:
                raise ValueError(f"{name} is {value}; it must be more than 0")

    def slice_of(self, quantity: Decimal, price: Decimal, multiplier: Decimal) -> Decimal:
        """How much of a quantity one order may be for: whole units where there is at least one; 0 if not even one fits.
        What is left goes into the next orders."""
        worth = abs(price) * multiplier
        most = min(quantity, self.quantity, self.notional / worth if worth > 0 else quantity)
        return most if most == quantity else most.to_integral_value(ROUND_FLOOR)

    @property
    def of_resting(self) -> Caps:
        """Those of orders that rest in case we are gone, all orders counted: half is left for closes, which count
        themselves alone."""
        minute, day = max(1, self.orders_per_minute // 2), max(1, self.orders_per_day // 2)
        return replace(self, orders_per_minute=minute, orders_per_day=day)


@dataclass(frozen=True)
class Sent:
    """How many orders were sent in the last minute and in the last 24 hours: rolling, so that no midnight and no
    restart opens the bound again. For a close only closes count, for a resting stop all."""

    minute: int
    day: int


def windows(now: datetime) -> tuple[datetime, datetime]:
    """Since when orders count for the minute and for the day."""
    return now - MINUTE, now - DAY
