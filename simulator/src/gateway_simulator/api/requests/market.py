"""Requests for the market as it is now: quotes, ticks, bars of five seconds, and the option model."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from decimal import Decimal

from gateway_simulator.api.requests.reader import Reader
from gateway_simulator.trading.model import Contract

_GENERIC_TICK = re.compile(r"\d{1,4}", re.ASCII)
_NEWS_TICK = re.compile(r"292:(?P<feeds>[A-Z][A-Z0-9_+-]{0,39})", re.ASCII)
_NO_QUOTES = "mdoff"
_MAX_OPTION_FIELDS = 2


@dataclass(frozen=True)
class MarketData:
    """Subscribe to a contract's ticks, or have one snapshot of them.

    ``generic_list`` is the list of generic ticks as it was sent; ``quotes`` is false where it contains mdoff, which
    leaves only the generic ticks. ``news_feeds`` are the providers named after 292.
    """

    request_id: int
    contract: Contract
    generic_ticks: tuple[int, ...] = ()
    snapshot: bool = False
    regulatory_snapshot: bool = False
    generic_list: str = ""
    quotes: bool = True
    news_feeds: tuple[str, ...] = ()


@dataclass(frozen=True)
class CancelMarketData:
    """Stop a subscription to ticks."""

    request_id: int


@dataclass(frozen=True)
class MarketDataType:
    """Set the kind of market data to send from now on: 1 live, 2 frozen, 3 delayed, 4 delayed and frozen."""

    kind: int


@dataclass(frozen=True)
class TickByTick:
    """Subscribe to every tick of one kind: Last, AllLast, BidAsk or MidPoint."""

    request_id: int
    contract: Contract
    kind: str
    number_of_ticks: int
    ignore_size: bool


@dataclass(frozen=True)
class CancelTickByTick:
    """Stop a subscription to every tick."""

    request_id: int


@dataclass(frozen=True)
class RealTimeBars:
    """Subscribe to bars of ``bar_size`` seconds."""

    request_id: int
    contract: Contract
    bar_size: int
    what: str
    use_rth: bool


@dataclass(frozen=True)
class CancelRealTimeBars:
    """Stop a subscription to real-time bars."""

    request_id: int


@dataclass(frozen=True)
class CalculateImpliedVolatility:
    """Compute the volatility that an option's price implies."""

    request_id: int
    contract: Contract
    option_price: Decimal
    underlying_price: Decimal


@dataclass(frozen=True)
class CancelCalculateImpliedVolatility:
    """Cancel a computation of implied volatility."""

    request_id: int


@dataclass(frozen=True)
class CalculateOptionPrice:
    """Compute an option's price at a volatility (a share of 1)."""

    request_id: int
    contract: Contract
    volatility: Decimal
    underlying_price: Decimal


@dataclass(frozen=True)
class CancelCalculateOptionPrice:
    """Cancel a computation of an option's price."""

    request_id: int


def read_market_data(take: Reader) -> MarketData:
    """Read reqMktData."""
    take.version(11)
    request_id, contract = take.identify(), take.contract()
    if contract.sec_type == "BAG":
        contract = replace(contract, combo_legs=take.combo_legs())
    take.delta_neutral_contract()
    generic_list = take.text("generic ticks")
    entries = [each.strip() for each in generic_list.split(",") if each.strip()]
    feeds = [news["feeds"] for each in entries if (news := _NEWS_TICK.fullmatch(each))]
    numbers = tuple(_generic_tick(take, each) for each in entries if each != _NO_QUOTES)
    snapshot, regulatory = take.flag("snapshot"), take.flag("regulatory snapshot")
    take.text("options")
    return MarketData(
        request_id,
        contract,
        numbers,
        snapshot,
        regulatory,
        generic_list,
        quotes=_NO_QUOTES not in entries,
        news_feeds=tuple(feeds),
    )


def _generic_tick(take: Reader, text: str) -> int:
    if _NEWS_TICK.fullmatch(text):
        return 292
    if not _GENERIC_TICK.fullmatch(text):
        raise take.error(f"generic tick {text[:40]!r} is not a number")
    return int(text)


def read_market_data_type(take: Reader) -> MarketDataType:
    """Read reqMarketDataType."""
    take.version(1)
    return MarketDataType(take.integer("market data type"))


def read_tick_by_tick(take: Reader) -> TickByTick:
    """Read reqTickByTickData."""
    return TickByTick(
        take.identify(),
        take.contract(),
        take.text("tick type"),
        take.optional_integer("number of ticks"),
        take.flag("ignore size"),
    )


def read_real_time_bars(take: Reader) -> RealTimeBars:
    """Read reqRealTimeBars."""
    take.version(3)
    request = RealTimeBars(
        take.identify(),
        take.contract(),
        take.optional_integer("bar size"),
        take.text("what to show"),
        take.flag("regular hours only"),
    )
    take.text("options")
    return request


def read_implied_volatility(take: Reader) -> CalculateImpliedVolatility:
    """Read calculateImpliedVolatility."""
    take.version(2, 3)
    request = CalculateImpliedVolatility(
        take.identify(), take.contract(), take.decimal("option price"), take.decimal("underlying price")
    )
    _skip_options(take)
    return request


def read_option_price(take: Reader) -> CalculateOptionPrice:
    """Read calculateOptionPrice."""
    take.version(2, 3)
    request = CalculateOptionPrice(
        take.identify(), take.contract(), take.decimal("volatility"), take.decimal("underlying price")
    )
    _skip_options(take)
    return request


def _skip_options(take: Reader) -> None:
    """Read the internal options of a computation: some clients write their number before them."""
    for _ in range(_MAX_OPTION_FIELDS):
        if take.peek() is not None:
            take.text("options")
