"""How much may be sent: orders in a minute and in a day, quantity and notional of one order. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

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


@dataclass(frozen=True)
class Sent:
    """How many orders were sent in the last minute and in the last 24 hours: rolling, so that no midnight and no
    restart opens the bound again."""

    minute: int
    day: int


def windows(now: datetime) -> tuple[datetime, datetime]:
    """Since when orders count for the minute and for the day."""
    return now - MINUTE, now - DAY
