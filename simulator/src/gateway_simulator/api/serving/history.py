"""The past: bars, the first of them, ticks, and bars that are kept up to date."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from gateway_simulator.api import messages, requests
from gateway_simulator.api.behaviour import MarketDataAccess
from gateway_simulator.api.pacing import HistoryAsked
from gateway_simulator.api.serving.desk import Desk, Handler, RefusalError
from gateway_simulator.api.serving.market import BAR, bar_mark
from gateway_simulator.trading.history import HistoryError, QuoteTick, TradeTick
from gateway_simulator.trading.model import Bar, Instrument
from gateway_simulator.trading.tradinghours import zone_of

SERVICE = "Historical Market Data Service error message:"
MAX_SUBSCRIPTIONS = 50


@dataclass
class _Bars:
    """Bars that are kept up to date; ``last_sent`` is the last one sent, ``mark`` when that was."""

    request: requests.HistoricalData
    instrument: Instrument
    last_sent: Bar | None
    mark: datetime


class History:
    """One client's view of the past."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._updated: dict[int, _Bars] = {}
        self.handlers: Mapping[type, Handler] = {
            requests.HistoricalData: self._bars,
            requests.CancelHistoricalData: self._cancel_bars,
            requests.HeadTimestamp: self._head,
            requests.CancelHeadTimestamp: self._cancel_head,
            requests.HistoricalTicks: self._ticks,
        }

    def lose_data(self) -> None:
        """Discard every subscription."""
        self._updated.clear()

    def _bars(self, request: requests.HistoricalData) -> Iterable[bytes]:
        if request.request_id in self._updated:
            raise RefusalError(322, "Error processing request.-'bH' : cause - Duplicate ticker ID for API query")
        if request.keep_up_to_date and len(self._updated) >= MAX_SUBSCRIPTIONS:
            raise RefusalError(321, f"{SERVICE}only {MAX_SUBSCRIPTIONS} requests can be kept up to date")
        if request.keep_up_to_date and request.end is not None:
            cause = "End date not supported with keepUpToDate"
            raise RefusalError(321, f"Error validating request.-'bH' : cause - {cause}")
        instrument = self._desk.instrument(request.contract, include_expired=request.include_expired)
        self._need_service(instrument, replace(request, request_id=0), (instrument.contract.con_id, request.what))
        if request.what.strip().upper() == "SCHEDULE":
            yield self._schedule(request, instrument)
            return
        now = self._desk.now()
        bars = self._find_bars(request, instrument, request.duration)
        end = request.end or self._desk.floor.clock.now()
        start = bars[0].time if bars else end
        daily = is_daily(request.bar_size)
        yield messages.historical_data(
            request.request_id, start, end, bars, format_date=request.format_date, daily=daily
        )
        if request.keep_up_to_date:
            self._updated[request.request_id] = _Bars(request, instrument, bars[-1] if bars else None, bar_mark(now))

    def _schedule(self, request: requests.HistoricalData, instrument: Instrument) -> bytes:
        if request.keep_up_to_date:
            raise RefusalError(321, "Error validating request.-'bH' : cause - SCHEDULE cannot be kept up to date")
        try:
            sessions = self._desk.floor.history.schedule(
                instrument.contract.con_id,
                request.end,
                request.duration,
                request.bar_size,
                request.use_rth,
                self._desk.floor.clock.now(),
            )
        except HistoryError as error:
            raise RefusalError(error.code, error.text) from error
        zone = zone_of(instrument)
        past = [
            messages.PastSession(
                (each.regular_start if request.use_rth else each.start).astimezone(zone),
                (each.regular_end if request.use_rth else each.end).astimezone(zone),
                each.day,
            )
            for each in sessions
        ]
        return messages.historical_schedule(request.request_id, instrument.time_zone, past)

    def _find_bars(self, request: requests.HistoricalData, instrument: Instrument, duration: str) -> list[Bar]:
        try:
            return self._desk.floor.history.bars(
                instrument.contract.con_id,
                request.end,
                duration,
                request.bar_size,
                request.what,
                request.use_rth,
                self._desk.floor.clock.now(),
            )
        except HistoryError as error:
            raise RefusalError(error.code, error.text) from error

    def _need_service(self, instrument: Instrument, request: object, subject: object) -> None:
        """Reject while the service is away, does not serve this user, or gets too many requests."""
        floor = self._desk.floor
        if not floor.connected or floor.behaviour.farm_down:
            raise RefusalError(162, f"{SERVICE}HMDS server disconnect occurred.  Attempting reconnection...")
        if floor.behaviour.market_data is MarketDataAccess.NONE:
            contract = instrument.contract
            text = f"{SERVICE}No market data permissions for {contract.primary_exchange} {contract.sec_type}"
            raise RefusalError(162, text)
        if floor.behaviour.market_data is MarketDataAccess.COMPETING:
            raise RefusalError(162, f"{SERVICE}Trading TWS session is connected from a different IP address")
        if floor.behaviour.historical_pacing:
            # Requests are counted by the machine's time, which is that of the clients.
            asked = HistoryAsked(asyncio.get_running_loop().time(), request, subject)
            if violation := floor.history_pacer.violation(asked):
                raise RefusalError(162, f"{SERVICE}Historical data request pacing violation: {violation}")

    def _cancel_bars(self, request: requests.CancelHistoricalData) -> Iterable[bytes]:
        if self._updated.pop(request.request_id, None) is None:
            raise RefusalError(366, f"No historical data query found for ticker id:{request.request_id}")
        raise RefusalError(162, f"{SERVICE}API historical data query cancelled: {request.request_id}")

    def _head(self, request: requests.HeadTimestamp) -> Iterable[bytes]:
        instrument = self._desk.instrument(request.contract, include_expired=request.include_expired)
        self._need_service(instrument, replace(request, request_id=0), (instrument.contract.con_id, "head"))
        try:
            head = self._desk.floor.history.head(instrument.contract.con_id, request.what, request.use_rth)
        except HistoryError as error:
            raise RefusalError(error.code, error.text) from error
        yield messages.head_timestamp(request.request_id, head, request.format_date)

    def _cancel_head(self, _: requests.CancelHeadTimestamp) -> Iterable[bytes]:
        """Obey: the answer has been given, so that there is nothing to cancel."""
        return ()

    def _ticks(self, request: requests.HistoricalTicks) -> Iterable[bytes]:
        if (request.start is None) == (request.end is None):
            cause = "either the start or the end must be given"
            raise RefusalError(321, f"Error validating request.-'bH' : cause - {cause}")
        instrument = self._desk.instrument(request.contract, include_expired=request.include_expired)
        self._need_service(instrument, replace(request, request_id=0), (instrument.contract.con_id, request.what))
        try:
            ticks = self._desk.floor.history.ticks(
                instrument.contract.con_id,
                request.start,
                request.end,
                request.number,
                request.what,
                request.use_rth,
                self._desk.now(),
            )
        except HistoryError as error:
            raise RefusalError(error.code, error.text) from error
        request_id, exchange = request.request_id, instrument.contract.primary_exchange
        trades = [each for each in ticks if isinstance(each, TradeTick)]
        if request.what == "BID_ASK":
            quotes = [each for each in ticks if isinstance(each, QuoteTick)]
            yield messages.historical_ticks_bid_ask(
                request_id,
                [messages.PastBidAsk(each.time, each.bid, each.ask, each.bid_size, each.ask_size) for each in quotes],
            )
        elif request.what == "MIDPOINT":
            midpoints = [messages.PastMidpoint(each.time, each.price) for each in trades]
            yield messages.historical_ticks_midpoint(request_id, midpoints)
        else:
            past = [messages.PastTrade(each.time, each.price, each.size, exchange) for each in trades]
            yield messages.historical_ticks_last(request_id, past)

    def next_due(self, now: datetime) -> datetime | None:
        """Return when bars that are kept up to date are evaluated next."""
        return bar_mark(now) + BAR if self._updated else None

    def tick(self, now: datetime) -> Iterable[bytes]:
        """Send the bar that is being formed, and the one before it when a new one has started."""
        mark = bar_mark(now)
        if not self._desk.floor.data_flows:
            return
        for updated in self._updated.values():
            if updated.mark < mark:
                updated.mark = mark
                yield from self._update(updated)

    def _update(self, updated: _Bars) -> Iterator[bytes]:
        request = updated.request
        try:
            bars = self._find_bars(request, updated.instrument, recent_duration(request.bar_size))
        except RefusalError as refusal:
            yield self._desk.error(request.request_id, refusal.code, refusal.text)
            return
        since = updated.last_sent.time if updated.last_sent is not None else None
        for bar in bars:
            if (since is None or bar.time >= since) and bar != updated.last_sent:
                updated.last_sent = bar
                yield messages.historical_data_update(
                    request.request_id, bar, request.format_date, is_daily(request.bar_size)
                )


def is_daily(bar_size: str) -> bool:
    """Return whether bars of a size are dated by the day."""
    return bar_size.split()[-1:] in (["day"], ["days"], ["week"], ["weeks"], ["month"], ["months"], ["W"], ["M"])


def recent_duration(bar_size: str) -> str:
    """Return a duration that holds at least the present bar of a size and the one before it."""
    count, _, unit = bar_size.partition(" ")
    seconds = {"sec": 1, "min": 60, "hour": 3600}.get(unit.rstrip("s"))
    if seconds is not None and count.isdecimal():
        return f"{2 * int(count) * seconds} S"
    return {"day": "5 D", "week": "3 W", "W": "3 W"}.get(unit.rstrip("s") or bar_size[-1:], "3 M")
