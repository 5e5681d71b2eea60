"""Requests for the past: bars, ticks, and how far back they reach."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from gateway_simulator.api.requests.reader import Reader
from gateway_simulator.trading.model import Contract


@dataclass(frozen=True)
class HistoricalData:
    """Report bars up to ``end`` (now if None), and continue with each new one if ``keep_up_to_date``.

    ``format_date`` is 1 for text, 2 for seconds since 1970.
    """

    request_id: int
    contract: Contract
    include_expired: bool
    end: datetime | None
    bar_size: str
    duration: str
    use_rth: bool
    what: str
    format_date: int
    keep_up_to_date: bool


@dataclass(frozen=True)
class CancelHistoricalData:
    """Stop a request for bars or its updates."""

    request_id: int


@dataclass(frozen=True)
class HeadTimestamp:
    """Report the moment of a contract's earliest data."""

    request_id: int
    contract: Contract
    include_expired: bool
    use_rth: bool
    what: str
    format_date: int


@dataclass(frozen=True)
class CancelHeadTimestamp:
    """Stop a request for the earliest data."""

    request_id: int


@dataclass(frozen=True)
class HistoricalTicks:
    """Report ``number`` ticks from ``start`` on or, if that is None, up to ``end``."""

    request_id: int
    contract: Contract
    start: datetime | None
    end: datetime | None
    number: int
    what: str
    use_rth: bool
    ignore_size: bool
    include_expired: bool = False


def read_historical_data(take: Reader) -> HistoricalData:
    """Read reqHistoricalData."""
    request_id, contract, include_expired = take.identify(), take.contract(), take.flag("include expired")
    end = take.moment("end")
    bar_size, duration = take.text("bar size"), take.text("duration")
    use_rth, what = take.flag("regular hours only"), take.text("what to show")
    format_date = take.integer("date format")
    if contract.sec_type == "BAG":
        take.combo_legs()
    keep_up_to_date = take.flag("keep up to date")
    take.text("options")
    return HistoricalData(
        request_id,
        contract,
        include_expired,
        end,
        bar_size,
        duration,
        use_rth,
        what,
        format_date,
        keep_up_to_date,
    )


def read_head_timestamp(take: Reader) -> HeadTimestamp:
    """Read reqHeadTimestamp."""
    return HeadTimestamp(
        take.identify(),
        take.contract(),
        take.flag("include expired"),
        take.flag("regular hours only"),
        take.text("what to show"),
        take.integer("date format"),
    )


def read_historical_ticks(take: Reader) -> HistoricalTicks:
    """Read reqHistoricalTicks."""
    request_id, contract, include_expired = take.identify(), take.contract(), take.flag("include expired")
    request = HistoricalTicks(
        request_id,
        contract,
        take.moment("start"),
        take.moment("end"),
        take.integer("number of ticks"),
        take.text("what to show"),
        take.flag("regular hours only"),
        take.flag("ignore size"),
        include_expired,
    )
    take.text("options")
    return request
