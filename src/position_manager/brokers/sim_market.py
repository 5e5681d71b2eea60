"""The market of mode sim: what every instrument is quoted at, at every tick. Pure, and the same for the same seed.

Each underlying walks at random on a grid of ticks. Any tick's price is found without those before it, so a restart, a
suspended host or a clock that jumps leave the market where it would have been. Options are priced by Black and Scholes
at the volatility of the walk, without interest and dividends; time to expiry is that of the clock.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import lru_cache
from random import Random
from statistics import NormalDist
from zoneinfo import ZoneInfo

from position_manager.config.sim import Sim
from position_manager.model import ZERO, Instrument, Kind, Quote, Right

EXCHANGE_ZONE = ZoneInfo("America/New_York")
EXPIRES_AT = time(16)
YEAR = timedelta(days=365)
STRETCH_BITS = 16
"""The walk is drawn in stretches of 2**16 ticks, each halved until the tick that is asked for."""
SPREAD = {Kind.STOCK: 0.0002, Kind.FUTURE: 0.0001}
"""The whole spread as a part of the price; options have a wider one."""
OPTION_SPREAD = 0.02

_NORMAL = NormalDist()


@dataclass(frozen=True)
class Anchor:
    """A price that an underlying has at a tick; from there it walks on."""

    tick: int
    price: Decimal


@dataclass(frozen=True)
class Market:
    """The market of one configuration, started at ``began`` (tick 0)."""

    sim: Sim
    began: datetime

    def tick_at(self, now: datetime) -> int:
        """The last tick at or before a moment."""
        return (now - self.began) // self.sim.tick

    def time_of(self, tick: int) -> datetime:
        return self.began + tick * self.sim.tick

    def anchors(self) -> dict[str, Anchor]:
        """The initial price of every underlying."""
        return {symbol: Anchor(0, underlying.price) for symbol, underlying in self.sim.underlyings.items()}

    def underlying(self, symbol: str, tick: int, anchors: Mapping[str, Anchor]) -> float:
        """The price of an underlying before it is rounded to ticks."""
        anchor, deviation = anchors[symbol], self._deviation(symbol)
        name = f"{self.sim.seed}/{symbol}"
        moved = _walk(name, tick) - _walk(name, anchor.tick)
        step = deviation * math.sqrt(self.sim.tick / YEAR)
        return float(anchor.price) * math.exp(step * moved - step * step / 2 * (tick - anchor.tick))

    def quote(self, instrument: Instrument, tick: int, anchors: Mapping[str, Anchor], now: datetime) -> Quote:
        """The quote of an instrument, as received ``now``. Options come with delta and the underlying's price."""
        seen = self.underlying(instrument.symbol, tick, anchors)
        delta = None
        middle, part = seen, SPREAD.get(instrument.kind, OPTION_SPREAD)
        if instrument.right is not None:
            left = max(timedelta(), expiry_of(instrument) - self.time_of(tick)) / YEAR
            deviation = self._deviation(instrument.symbol) * math.sqrt(left)
            middle, delta = option_price(instrument.right, seen, float(instrument.strike), deviation)
        bid, ask = two_sided(instrument, middle, part)
        sizes = Random(f"{self.sim.seed}/{instrument.con_id}/{tick}")  # noqa: S311 - a market that can be repeated
        lot = 100 if instrument.kind is Kind.STOCK else 1
        return Quote(
            now,
            bid,
            ask,
            last=bid if sizes.random() < 0.5 else ask,
            bid_size=Decimal(lot * sizes.randint(1, 20)),
            ask_size=Decimal(lot * sizes.randint(1, 20)),
            delta=delta,
            underlying=None if delta is None else Decimal(str(round(seen, 2))),
        )

    def _deviation(self, symbol: str) -> float:
        return float(self.sim.underlyings[symbol].volatility_percent) / 100


def expiry_of(instrument: Instrument) -> datetime:
    """When it stops trading; what never does, at the end of all days."""
    return datetime.combine(instrument.expiry or date.max, EXPIRES_AT, EXCHANGE_ZONE)


def option_price(right: Right, underlying: float, strike: float, deviation: float) -> tuple[float, float]:
    """An option's price and delta. ``deviation``: that of the underlying's logarithm until expiry, 0 or more."""
    sign = 1 if right is Right.CALL else -1
    if deviation == 0:
        value = sign * (underlying - strike)
        return max(0.0, value), float(sign) if value > 0 else 0.0
    upper = math.log(underlying / strike) / deviation + deviation / 2
    lower = upper - deviation
    delta = sign * _NORMAL.cdf(sign * upper)
    return max(0.0, underlying * delta - sign * strike * _NORMAL.cdf(sign * lower)), delta


def two_sided(instrument: Instrument, middle: float, part: float) -> tuple[Decimal, Decimal]:
    """Bid and ask around a price, on the instrument's ticks, at least one tick apart; a bid may be 0."""
    exact = Decimal(str(round(middle, 6)))
    tick = instrument.increment_at(exact)
    half = max(tick, exact * Decimal(str(part))) / 2
    bid = max(ZERO, ((exact - half) / tick).to_integral_value(ROUND_FLOOR) * tick)
    ask = ((exact + half) / tick).to_integral_value(ROUND_CEILING) * tick
    # At the edge between two sizes of ticks the ask may be on the wider side.
    wider = instrument.increment_at(ask)
    ask = (ask / wider).to_integral_value(ROUND_CEILING) * wider
    return bid, max(ask, bid + tick)


def _walk(name: str, tick: int) -> float:
    """A walk with normal steps of variance 1 a tick, 0 at tick 0; ticks before it count too."""
    stretch, within = tick >> STRETCH_BITS, tick & ((1 << STRETCH_BITS) - 1)
    return _stretch_start(name, stretch) + _bridge(name, stretch, STRETCH_BITS, within)


@lru_cache(maxsize=1024)
def _stretch_start(name: str, stretch: int) -> float:
    whole = range(stretch) if stretch >= 0 else range(stretch, 0)
    total = sum(_stretch_step(name, number) for number in whole)
    return total if stretch >= 0 else -total


@lru_cache(maxsize=1024)
def _stretch_step(name: str, stretch: int) -> float:
    return math.sqrt(1 << STRETCH_BITS) * _normal(f"{name}/{stretch}")


def _bridge(name: str, stretch: int, bits: int, within: int) -> float:
    """Where the walk is within a stretch, relative to its start: halved, and halved again, as deep as is needed."""
    begin, end, node = 0.0, _stretch_step(name, stretch), 1
    while within:
        middle = (begin + end) / 2 + math.sqrt(1 << bits) / 2 * _node(name, stretch, node)
        bits -= 1
        half = 1 << bits
        if within >= half:
            begin, node, within = middle, 2 * node + 1, within - half
        else:
            end, node = middle, 2 * node
    return begin


@lru_cache(maxsize=8192)
def _node(name: str, stretch: int, node: int) -> float:
    return _normal(f"{name}/{stretch}/{node}")


def _normal(name: str) -> float:
    return Random(name).gauss(0, 1)  # noqa: S311 - a market that can be repeated
