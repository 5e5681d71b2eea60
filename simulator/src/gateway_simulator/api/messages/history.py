"""Messages of the past: bars, ticks, and how far back they reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal

from gateway_simulator.api.messages.blocks import epoch
from gateway_simulator.api.wire import FieldValue, encode_frame
from gateway_simulator.clock import gateway_time
from gateway_simulator.trading.model import Bar

_LOCAL = "%Y%m%d-%H:%M:%S"
AS_SECONDS = 2
"""The date format that asks for seconds since 1970; any other is text."""


@dataclass(frozen=True)
class PastMidpoint:
    """A midpoint of the past; ``time`` is aware."""

    time: datetime
    price: Decimal


@dataclass(frozen=True)
class PastBidAsk:
    """A quote of the past; ``time`` is aware."""

    time: datetime
    bid: Decimal
    ask: Decimal
    bid_size: Decimal
    ask_size: Decimal


@dataclass(frozen=True)
class PastTrade:
    """A trade of the past; ``time`` is aware."""

    time: datetime
    price: Decimal
    size: Decimal
    exchange: str = ""
    conditions: str = ""


@dataclass(frozen=True)
class PastSession:
    """A trading session: its start and end on the clock of the exchange, and the trading day it belongs to."""

    start: datetime
    end: datetime
    day: date


def historical_schedule(request_id: int, time_zone: str, sessions: Sequence[PastSession]) -> bytes:
    """The sessions of a stretch of time."""
    whole = (f"{sessions[0].start:{_LOCAL}}", f"{sessions[-1].end:{_LOCAL}}") if sessions else ("", "")
    fields: list[FieldValue] = [106, request_id, *whole, time_zone, len(sessions)]
    for each in sessions:
        fields += [f"{each.start:{_LOCAL}}", f"{each.end:{_LOCAL}}", f"{each.day:%Y%m%d}"]
    return encode_frame(fields)


def historical_data(
    request_id: int, start: datetime, end: datetime, bars: Sequence[Bar], *, format_date: int, daily: bool
) -> bytes:
    """The bars between two moments.

    Times are written on the clock of their own zone. ``daily`` bars (those of a day or longer) carry a date alone,
    in either format.
    """
    fields: list[FieldValue] = [17, request_id, gateway_time(start), gateway_time(end), len(bars)]
    for bar in bars:
        fields += [_bar_time(bar, format_date, daily), bar.open, bar.high, bar.low, bar.close]
        fields += [bar.volume, bar.average, bar.count]
    return encode_frame(fields)


def historical_data_update(request_id: int, bar: Bar, format_date: int, daily: bool) -> bytes:
    """The bar that runs, as it is now."""
    when = _bar_time(bar, format_date, daily)
    prices = (bar.open, bar.close, bar.high, bar.low)
    return encode_frame([90, request_id, bar.count, when, *prices, bar.average, bar.volume])


def _bar_time(bar: Bar, format_date: int, daily: bool) -> FieldValue:
    if daily:
        return f"{bar.time:%Y%m%d}"
    return epoch(bar.time) if format_date == AS_SECONDS else gateway_time(bar.time)


def head_timestamp(request_id: int, moment: datetime, format_date: int) -> bytes:
    """The moment of a contract's earliest data, in UTC."""
    when = epoch(moment) if format_date == AS_SECONDS else f"{moment.astimezone(UTC):%Y%m%d-%H:%M:%S}"
    return encode_frame([88, request_id, when])


def historical_ticks_midpoint(request_id: int, ticks: Sequence[PastMidpoint], *, done: bool = True) -> bytes:
    """Midpoints of the past; ``done`` marks the last batch."""
    fields: list[FieldValue] = [96, request_id, len(ticks)]
    for each in ticks:
        fields += [epoch(each.time), "", each.price, 0]
    return encode_frame([*fields, done])


def historical_ticks_bid_ask(request_id: int, ticks: Sequence[PastBidAsk], *, done: bool = True) -> bytes:
    """Quotes of the past; ``done`` marks the last batch."""
    fields: list[FieldValue] = [97, request_id, len(ticks)]
    for each in ticks:
        fields += [epoch(each.time), 0, each.bid, each.ask, each.bid_size, each.ask_size]
    return encode_frame([*fields, done])


def historical_ticks_last(request_id: int, ticks: Sequence[PastTrade], *, done: bool = True) -> bytes:
    """Trades of the past; ``done`` marks the last batch."""
    fields: list[FieldValue] = [98, request_id, len(ticks)]
    for each in ticks:
        fields += [epoch(each.time), 0, each.price, each.size, each.exchange, each.conditions]
    return encode_frame([*fields, done])
