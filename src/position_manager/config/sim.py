"""The simulated broker in the configuration: what it holds at the start, and how its market moves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated, Self

from pydantic import Field, model_validator

from position_manager.config.errors import Key
from position_manager.model import Kind, Right
from position_manager.rules.rule_set import CalendarDay, Number, Positive, Section, Whole

MULTIPLIERS = {Kind.STOCK: Decimal(1), Kind.OPTION: Decimal(100)}
"""Where none is given; 50 for futures and options on them."""
OPTION_KINDS = (Kind.OPTION, Kind.FUTURE_OPTION)


class SimUnderlying(Section):
    """Where a simulated price starts, and how far it moves in a year (a standard deviation). Options are priced with
    the same volatility; with 0 the price does not move."""

    price: Positive
    volatility_percent: Annotated[Number, Field(ge=0, le=500)] = Decimal(20)


class SimPosition(Section):
    """What the simulated account holds at its start.

    An option or a future without an ``expiry`` gets the Friday that is 26 to 32 days after the first run, a position
    without an ``average_price`` (per unit, without the multiplier) the market's middle then.
    """

    symbol: Annotated[str, Field(min_length=1)]
    kind: Kind = Kind.STOCK
    expiry: CalendarDay | None = None
    strike: Positive | None = None
    right: Right | None = None
    multiplier: Positive | None = None
    quantity: Annotated[Whole, Field(ge=-1_000_000, le=1_000_000)]
    average_price: Positive | None = None

    @model_validator(mode="after")
    def _one_contract(self) -> Self:
        if self.quantity == 0:
            raise ValueError("quantity must not be 0: positive for a long position, negative for a short one")
        if self.kind in OPTION_KINDS and (self.strike is None or self.right is None):
            raise ValueError(f"must have strike and right: its kind is {self.kind.value}")
        if self.kind not in OPTION_KINDS and (self.strike is not None or self.right is not None):
            raise ValueError(f"strike and right go with kind OPT or FOP; its kind is {self.kind.value}")
        if self.kind is Kind.STOCK and self.expiry is not None:
            raise ValueError("expiry goes with what expires; its kind is STK")
        return self

    @property
    def size(self) -> Decimal:
        """Its multiplier."""
        return self.multiplier or MULTIPLIERS.get(self.kind, Decimal(50))

    def expires(self, first_day: date) -> date | None:
        """Its last trading day, if the first run is on ``first_day``."""
        if self.kind is Kind.STOCK or self.expiry is not None:
            return self.expiry
        about = first_day + timedelta(days=29)
        return about + timedelta(days=(4 - about.weekday() + 3) % 7 - 3)

    @property
    def contract(self) -> tuple[object, ...]:
        """What names its contract."""
        return self.symbol, self.kind, self.expiry, self.strike, self.right, self.multiplier


def _default_positions() -> tuple[SimPosition, ...]:
    def option(right: Right, strike: int, quantity: int) -> SimPosition:
        return SimPosition(symbol="SPY", kind=Kind.OPTION, strike=Decimal(strike), right=right, quantity=quantity)

    return (
        option(Right.PUT, 440, -2),
        option(Right.CALL, 455, 1),
        option(Right.PUT, 435, -3),
        option(Right.PUT, 425, 3),
        SimPosition(symbol="AAPL", quantity=100),
    )


class Sim(Section):
    """The simulated broker of mode sim. The same ``seed`` gives the same market: every ``tick_seconds`` each
    underlying moves; what is sent arrives ``latency_ms`` later, and so does every answer. ``cash``: what the
    account holds in money beside its positions at the first run."""

    seed: Annotated[Whole, Field(ge=0, le=2**32 - 1)] = 1
    account: Annotated[str, Field(pattern=r"^DU[0-9]{3,10}$")] = "DU0000001"
    tick_seconds: Annotated[Number, Field(ge=Decimal("0.05"), le=60)] = Decimal(1)
    latency_ms: Annotated[Number, Field(ge=0, le=10_000)] = Decimal(50)
    underlyings: Mapping[str, SimUnderlying] = Field(
        default_factory=lambda: {
            "SPY": SimUnderlying(price=Decimal(450), volatility_percent=Decimal(15)),
            "AAPL": SimUnderlying(price=Decimal(190), volatility_percent=Decimal(25)),
        }
    )
    positions: tuple[SimPosition, ...] = Field(default_factory=_default_positions)
    cash: Annotated[Number, Field(ge=0)] = Decimal(100_000)

    @property
    def tick(self) -> timedelta:
        return timedelta(seconds=float(self.tick_seconds))

    @property
    def latency(self) -> timedelta:
        return timedelta(milliseconds=float(self.latency_ms))

    def faults(self) -> Iterator[tuple[Key, str]]:
        """What cannot be true at once, as key within the section and text."""
        first: dict[tuple[object, ...], int] = {}
        for index, position in enumerate(self.positions):
            place: Key = ("positions", index)
            if position.symbol not in self.underlyings:
                known = ", ".join(self.underlyings) or "none"
                yield (*place, "symbol"), f"{position.symbol} is not among sim.underlyings: {known}"
            before = first.setdefault(position.contract, index)
            if before != index:
                yield place, f"is the same contract as sim.positions[{before}]"
