"""The market as it is now: tickers, snapshots, every tick, and bars of five seconds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import chain

from gateway_simulator.api import messages, requests
from gateway_simulator.api.behaviour import MarketDataAccess
from gateway_simulator.api.serving.desk import Desk, Handler, RefusalError
from gateway_simulator.api.serving.ticks import (
    CUSTOM_OPTION,
    GENERIC_TICKS,
    Tick,
    generic_ticks_of,
    illegal_generic_ticks,
    legal_generic_ticks,
    ticks_of,
)
from gateway_simulator.trading.history import HistoryError
from gateway_simulator.trading.market import MarketError, Silence
from gateway_simulator.trading.model import Instrument, Quote

MAX_TICK_BY_TICK = 5
DELAY = timedelta(minutes=15)
"""How far delayed data lags."""
BAR = timedelta(seconds=5)
LIVE, FROZEN, DELAYED, DELAYED_FROZEN = 1, 2, 3, 4
TICK_BY_TICK_KINDS = ("Last", "AllLast", "BidAsk", "MidPoint")
BAR_KINDS = ("TRADES", "MIDPOINT", "BID", "ASK")
COMPETING = "No market data during competing live session"
INTERRUPTIONS = {
    354: "Requested market data is not subscribed.",
    10089: (
        "Requested market data requires additional subscription for API. "
        "See link in 'Market Data Connections' dialog for more details."
    ),
    10168: "Requested market data is not subscribed. Delayed market data is not enabled.",
    10197: COMPETING,
}
"""Errors that end a contract's market data while they are subscribed to."""


@dataclass
class _Ticker:
    """A subscription to ticks; ``last_sent`` is the last value of each kind, ``seen`` the quote they were of. A frozen
    one receives nothing more."""

    request_id: int
    instrument: Instrument
    generic: frozenset[int]
    delayed: bool
    frozen: bool
    quotes: bool = True
    last_sent: dict[int, Tick] = field(default_factory=dict)
    seen: Quote | None = None


@dataclass
class _EveryTick:
    """A subscription to each tick of one kind; ``last_sent`` what the last one was of."""

    request: requests.TickByTick
    instrument: Instrument
    last_sent: tuple[Decimal | None, ...] = ()


@dataclass
class _Bars:
    """A subscription to bars; ``end`` of the last one sent."""

    request: requests.RealTimeBars
    instrument: Instrument
    end: datetime


def bar_mark(now: datetime) -> datetime:
    """Return the last end of a bar of five seconds."""
    return now - timedelta(seconds=now.second % 5, microseconds=now.microsecond)


class Market:
    """One client's view of the market."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._kind = LIVE
        self._tickers: dict[int, _Ticker] = {}
        self._every_tick: dict[int, _EveryTick] = {}
        self._bars: dict[int, _Bars] = {}
        self.handlers: Mapping[type, Handler] = {
            requests.MarketDataType: self._choose_kind,
            requests.MarketData: self._subscribe,
            requests.CancelMarketData: self._cancel,
            requests.TickByTick: self._subscribe_every_tick,
            requests.CancelTickByTick: self._cancel_every_tick,
            requests.RealTimeBars: self._subscribe_bars,
            requests.CancelRealTimeBars: self._cancel_bars,
            requests.CalculateImpliedVolatility: self._implied_volatility,
            requests.CalculateOptionPrice: self._option_price,
            requests.CancelCalculateImpliedVolatility: _nothing_to_cancel,
            requests.CancelCalculateOptionPrice: _nothing_to_cancel,
        }

    @property
    def streams(self) -> bool:
        """Whether any subscription follows each step of the market."""
        return bool(self._every_tick) or any(not each.frozen for each in self._tickers.values())

    def lose_data(self) -> None:
        """Discard every subscription."""
        self._tickers.clear()
        self._every_tick.clear()
        self._bars.clear()

    def _choose_kind(self, request: requests.MarketDataType) -> Iterable[bytes]:
        if request.kind not in (LIVE, FROZEN, DELAYED, DELAYED_FROZEN):
            raise RefusalError(321, f"Error validating request.-'bI' : cause - no market data type {request.kind}")
        self._kind = request.kind
        return ()

    def _subscribe(self, request: requests.MarketData) -> Iterable[bytes]:
        request_id = request.request_id
        if request_id in self._tickers:
            raise RefusalError(322, "Error processing request.-'bW' : cause - Duplicate ticker ID")
        instrument = self._desk.quoted(request.contract)
        snapshot = request.snapshot or request.regulatory_snapshot
        generic = _generic_ticks(request, instrument, snapshot=snapshot)
        if len(self._tickers) >= self._desk.behaviour.market_data_lines:
            raise RefusalError(101, "Max number of tickers has been reached")
        access = self._desk.behaviour.market_data
        delayed = access is MarketDataAccess.DELAYED
        self._need_data(instrument)
        if delayed and self._kind in (DELAYED, DELAYED_FROZEN):
            text = "Requested market data is not subscribed. Displaying delayed market data."
            yield self._desk.error(request_id, 10167, text)
        else:
            self._need_access()
        quote = self._quote(instrument, delayed=delayed)
        closed = not quote.extended and self._kind in (FROZEN, DELAYED_FROZEN)
        frozen = access is MarketDataAccess.FROZEN
        ticker = _Ticker(request_id, instrument, generic, delayed, frozen, request.quotes)
        yield messages.tick_request_params(request_id, instrument.min_tick, _bbo_exchange(instrument), 3)
        yield messages.market_data_type(request_id, LIVE + (frozen or closed) + 2 * delayed)
        if self._desk.floor.data_flows:
            yield from self._ticks(ticker, quote)
        if snapshot:
            yield messages.tick_snapshot_end(request_id)
        else:
            self._tickers[request_id] = ticker

    def _need_access(self) -> None:
        match self._desk.behaviour.market_data:
            case MarketDataAccess.DELAYED:
                text = "Requested market data is not subscribed. Delayed market data is not enabled."
                raise RefusalError(10168, text)
            case MarketDataAccess.NONE:
                raise RefusalError(354, "Requested market data is not subscribed.")
            case MarketDataAccess.COMPETING:
                raise RefusalError(10197, COMPETING)
            case MarketDataAccess.LIVE | MarketDataAccess.FROZEN:
                pass

    def _need_data(self, instrument: Instrument) -> None:
        """Reject data that are interrupted with an error; those that stop silently are subscribed to."""
        silence = self._silence_of(instrument)
        if silence is not None and silence.code:
            raise RefusalError(silence.code, INTERRUPTIONS[silence.code])

    def _silence_of(self, instrument: Instrument) -> Silence | None:
        return self._desk.brokerage.market.silence_of(instrument.contract.con_id)

    def report_interruption(self, code: int, con_id: int = 0) -> Iterable[bytes]:
        """Notify the client that the data of its subscriptions have ended: those of one contract, or all."""
        for subscriptions in (self._tickers, self._every_tick, self._bars):
            for request_id, each in subscriptions.items():
                if con_id in (0, each.instrument.contract.con_id):
                    yield self._desk.error(request_id, code, INTERRUPTIONS[code])

    def _quote(self, instrument: Instrument, *, delayed: bool) -> Quote:
        silence = self._silence_of(instrument)
        now = self._desk.now() if silence is None else silence.since
        return self._desk.brokerage.market.quote(instrument.key, now - DELAY if delayed else now)

    def _ticks(self, ticker: _Ticker, quote: Quote) -> Iterator[bytes]:
        # The market caches a quote until it changes: a thousand unchanged ones must not delay the one that moves.
        if quote is ticker.seen:
            return
        ticks: Iterator[Tick] = generic_ticks_of(quote, ticker.instrument, ticker.generic)
        if ticker.quotes:
            ticks = chain(ticks_of(quote, delayed=ticker.delayed), ticks)
        for tick in ticks:
            if ticker.last_sent.get(tick.kind) != tick:
                ticker.last_sent[tick.kind] = tick
                yield tick.frame(ticker.request_id)
        ticker.seen = quote

    def _cancel(self, request: requests.CancelMarketData) -> Iterable[bytes]:
        return _forget(self._tickers, request.request_id)

    def _subscribe_every_tick(self, request: requests.TickByTick) -> Iterable[bytes]:
        if request.request_id in self._every_tick:
            raise RefusalError(322, "Error processing request.-'bT' : cause - Duplicate ticker ID")
        if request.kind not in TICK_BY_TICK_KINDS:
            cause = f"tick type {request.kind!r} is none of {', '.join(TICK_BY_TICK_KINDS)}"
            raise RefusalError(321, f"Error validating request.-'bT' : cause - {cause}")
        instrument = self._desk.instrument(request.contract)
        if instrument.contract.sec_type == "OPT":
            raise RefusalError(10189, "Failed to request tick-by-tick data: options have none")
        if len(self._every_tick) >= MAX_TICK_BY_TICK:
            raise RefusalError(10190, "Max number of tick-by-tick requests has been reached")
        self._need_access()
        self._need_data(instrument)
        self._every_tick[request.request_id] = every = _EveryTick(request, instrument)
        if self._desk.floor.data_flows:
            yield from self._next_tick(every, self._quote(instrument, delayed=False))

    def _next_tick(self, every: _EveryTick, quote: Quote) -> Iterator[bytes]:
        """Send a tick if the quote differs from the last one sent."""
        request_id, kind, moment = every.request.request_id, every.request.kind, quote.time
        if kind in ("Last", "AllLast"):
            last_sent: tuple[Decimal | None, ...] = (quote.last, quote.volume)
            if last_sent == every.last_sent or quote.last is None:
                return
            exchange = every.instrument.contract.primary_exchange
            frame = messages.tick_by_tick_last(
                request_id, moment, quote.last, quote.last_size, exchange, all_last=kind == "AllLast"
            )
        else:
            sizes = () if every.request.ignore_size or kind == "MidPoint" else (quote.bid_size, quote.ask_size)
            last_sent = (quote.bid, quote.ask, *sizes)
            if last_sent == every.last_sent or quote.bid is None or quote.ask is None:
                return
            if kind == "BidAsk":
                frame = messages.tick_by_tick_bid_ask(
                    request_id, moment, quote.bid, quote.ask, quote.bid_size, quote.ask_size
                )
            else:
                frame = messages.tick_by_tick_midpoint(request_id, moment, (quote.bid + quote.ask) / 2)
        every.last_sent = last_sent
        yield frame

    def _cancel_every_tick(self, request: requests.CancelTickByTick) -> Iterable[bytes]:
        return _forget(self._every_tick, request.request_id)

    def _subscribe_bars(self, request: requests.RealTimeBars) -> Iterable[bytes]:
        if request.request_id in self._bars:
            raise RefusalError(322, "Error processing request.-'bB' : cause - Duplicate ticker ID")
        if request.what not in BAR_KINDS:
            cause = f"what to show {request.what!r} is none of {', '.join(BAR_KINDS)}"
            raise RefusalError(321, f"Error validating request.-'bB' : cause - {cause}")
        instrument = self._desk.instrument(request.contract)
        if self._desk.behaviour.market_data is not MarketDataAccess.LIVE:
            symbol = instrument.contract.symbol
            raise RefusalError(420, f"Invalid Real-time Query:No market data permissions for {symbol}")
        self._need_data(instrument)
        self._bars[request.request_id] = _Bars(request, instrument, bar_mark(self._desk.now()))
        return ()

    def _cancel_bars(self, request: requests.CancelRealTimeBars) -> Iterable[bytes]:
        return _forget(self._bars, request.request_id)

    def _implied_volatility(self, request: requests.CalculateImpliedVolatility) -> Iterable[bytes]:
        con_id = self._desk.instrument(request.contract).contract.con_id
        try:
            computation = self._desk.brokerage.market.option_volatility(
                con_id, float(request.option_price), float(request.underlying_price), self._desk.now()
            )
        except MarketError as error:
            raise RefusalError(321, f"Error validating request.-'bO' : cause - {error}") from error
        yield messages.tick_option_computation(request.request_id, CUSTOM_OPTION, computation)

    def _option_price(self, request: requests.CalculateOptionPrice) -> Iterable[bytes]:
        con_id = self._desk.instrument(request.contract).contract.con_id
        try:
            computation = self._desk.brokerage.market.option_computation(
                con_id, float(request.volatility), float(request.underlying_price), self._desk.now()
            )
        except MarketError as error:
            raise RefusalError(321, f"Error validating request.-'bO' : cause - {error}") from error
        yield messages.tick_option_computation(request.request_id, CUSTOM_OPTION, computation)

    def next_due(self, now: datetime) -> datetime | None:
        """Return when the next bar ends."""
        return bar_mark(now) + BAR if self._bars else None

    def tick(self, now: datetime) -> Iterable[bytes]:
        """Send what has changed, if the data flows."""
        if not self._desk.floor.data_flows:
            return
        for ticker in self._tickers.values():
            if not ticker.frozen and self._silence_of(ticker.instrument) is None:
                yield from self._ticks(ticker, self._quote(ticker.instrument, delayed=ticker.delayed))
        for every in self._every_tick.values():
            if self._silence_of(every.instrument) is None:
                yield from self._next_tick(every, self._quote(every.instrument, delayed=False))
        mark = bar_mark(now)
        for bars in self._bars.values():
            if bars.end < mark:
                bars.end = mark
                if self._silence_of(bars.instrument) is not None:
                    continue
                yield from self._bar(bars)

    def _bar(self, bars: _Bars) -> Iterator[bytes]:
        request, con_id = bars.request, bars.instrument.contract.con_id
        try:
            bar = self._desk.floor.history.real_time_bar(con_id, request.what, request.use_rth, bars.end)
        except HistoryError as error:
            yield self._desk.error(request.request_id, error.code, error.text)
            return
        if bar is not None:
            yield messages.real_time_bar(request.request_id, bar)


def _nothing_to_cancel(_: object) -> Iterable[bytes]:
    """Obey: the answer was given at once."""
    return ()


def _forget(
    subscriptions: dict[int, _Ticker] | dict[int, _EveryTick] | dict[int, _Bars], request_id: int
) -> Iterable[bytes]:
    if subscriptions.pop(request_id, None) is None:
        raise RefusalError(300, f"Can't find EId with tickerId:{request_id}")
    return ()


def _generic_ticks(request: requests.MarketData, instrument: Instrument, *, snapshot: bool) -> frozenset[int]:
    generic = frozenset(request.generic_ticks)
    if generic and snapshot:
        cause = "Snapshot market data subscription is not applicable to generic ticks"
        raise RefusalError(321, f"Error validating request.-'bQ' : cause - {cause}")
    sec_type = instrument.contract.sec_type
    if illegal_generic_ticks(generic, sec_type):
        legal = ",".join(GENERIC_TICKS[each] for each in sorted(legal_generic_ticks(sec_type)))
        cause = f"Incorrect generic tick list of {request.generic_list}.  Legal ones for ({sec_type}) are: {legal}"
        raise RefusalError(321, f"Error validating request.-'bQ' : cause - {cause}")
    if request.news_feeds:
        raise RefusalError(10276, "News feed is not allowed.")
    return generic


def _bbo_exchange(instrument: Instrument) -> str:
    """The key of the map that names the exchanges behind a SMART quote."""
    return "a60001" if instrument.contract.exchange == "SMART" else ""
