"""What the position manager reasons about: instruments, positions and quotes.

Plain data; nothing here reads a socket, a clock or a file. Prices are Decimals per unit of the underlying (an
option at 2.50 with multiplier 100 costs 250), money is in the instrument's currency, times are aware.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import cached_property

ZERO = Decimal(0)


class Kind(StrEnum):
    """What an instrument is, in IB's words."""

    STOCK = "STK"
    OPTION = "OPT"
    FUTURE = "FUT"
    FUTURE_OPTION = "FOP"


class Right(StrEnum):
    """Which right an option gives."""

    CALL = "C"
    PUT = "P"


@dataclass(frozen=True)
class Hours:
    """One stretch of regular trading, start included, end excluded."""

    begin: datetime
    end: datetime


@dataclass(frozen=True)
class Instrument:
    """A contract as the broker knows it; ``con_id`` names it for ever.

    ``increments``: pairs of a price and the tick that holds from it on, ascending, the first price 0.
    ``liquid_hours``: the regular sessions that the broker has reported, ascending; empty if it has reported none.
    ``trading_hours``: all sessions in which an order may trade, at night too; likewise.
    ``magnifier``: how many units of the broker's quotes are one unit of ``currency`` (100 for pence and cents), 0 if it
    is not known. Only the broker adapter uses it: every price here, strikes and increments too, is in ``currency``.
    """

    con_id: int
    symbol: str
    kind: Kind
    multiplier: Decimal = Decimal(1)
    currency: str = "USD"
    exchange: str = "SMART"
    expiry: date | None = None
    strike: Decimal = ZERO
    right: Right | None = None
    local_symbol: str = ""
    trading_class: str = ""
    increments: tuple[tuple[Decimal, Decimal], ...] = ((ZERO, Decimal("0.01")),)
    liquid_hours: tuple[Hours, ...] = ()
    magnifier: int = 1
    trading_hours: tuple[Hours, ...] = ()

    @property
    def is_option(self) -> bool:
        return self.kind in (Kind.OPTION, Kind.FUTURE_OPTION)

    @property
    def may_be_negative(self) -> bool:
        """Whether it may trade at 0 and below: oil did in April 2020."""
        return self.kind is Kind.FUTURE

    @cached_property
    def label(self) -> str:
        """The readable name of the instrument, in a few words."""
        if self.is_option and self.expiry is not None and self.right is not None:
            return f"{self.symbol} {self.expiry:%Y-%m-%d} {self.strike.normalize():f}{self.right.value}"
        return self.local_symbol or self.symbol

    def increment_at(self, price: Decimal) -> Decimal:
        """The tick at a price."""
        return [tick for edge, tick in self.increments if edge <= price or edge == ZERO][-1]


@dataclass(frozen=True)
class Position:
    """A holding of one account. ``quantity`` is negative for a short one.

    ``average_price`` is what one unit cost or brought, without the multiplier, commissions included as the broker
    counts them: positive, but for a future that was traded below 0.
    """

    account: str
    instrument: Instrument
    quantity: Decimal
    average_price: Decimal

    @property
    def key(self) -> tuple[str, int]:
        """What names the holding: account and contract id."""
        return self.account, self.instrument.con_id


class QuoteProblem(StrEnum):
    """Why a quote cannot be acted on."""

    MISSING = "no quote"
    ONE_SIDED = "no two-sided quote"
    NOT_LIVE = "not live data"
    STALE = "stale"
    HALTED = "halted"
    CROSSED = "bid above ask"


@dataclass(frozen=True)
class Quote:
    """The market of one instrument as last received.

    ``live`` is False for delayed and frozen data. ``delta`` and ``underlying`` are known for options, from the broker's
    model; ``underlying`` is the price of the option's underlying.
    """

    time: datetime
    bid: Decimal | None
    ask: Decimal | None
    last: Decimal | None = None
    bid_size: Decimal = ZERO
    ask_size: Decimal = ZERO
    live: bool = True
    halted: bool = False
    delta: float | None = None
    underlying: Decimal | None = None

    @property
    def mid(self) -> Decimal | None:
        """The middle of bid and ask, if there are both."""
        return None if self.bid is None or self.ask is None else (self.bid + self.ask) / 2

    def valid_at(self, time: datetime) -> Quote:
        """The same quote, received again. It runs at each evaluation; `dataclasses.replace` takes three times as
        long."""
        return Quote(
            time, self.bid, self.ask, self.last, self.bid_size, self.ask_size, self.live, self.halted, self.delta,
            self.underlying,
        )  # fmt: skip

    def shows_the_same_as(self, other: Quote) -> bool:
        """Whether everything that rules evaluate is the same, apart from the time."""
        return (
            self.bid == other.bid
            and self.ask == other.ask
            and self.live == other.live
            and self.halted == other.halted
            and self.delta == other.delta
            and self.underlying == other.underlying
        )

    def problem(self, now: datetime, max_age: timedelta) -> QuoteProblem | None:
        """Why no price rule may act on this quote; None if one may."""
        if self.halted:
            return QuoteProblem.HALTED
        if not self.live:
            return QuoteProblem.NOT_LIVE
        # Of a future both may be negative; nothing at all is bid and offered where both are 0.
        if self.bid is None or self.ask is None or self.ask <= 0 <= self.bid:
            return QuoteProblem.ONE_SIDED
        if self.bid > self.ask:
            return QuoteProblem.CROSSED
        if now - self.time > max_age:
            return QuoteProblem.STALE
        return None


@dataclass(frozen=True)
class Market:
    """The quotes at one moment, by contract id."""

    now: datetime
    quotes: dict[int, Quote] = field(default_factory=dict)
