"""Bars and ticks of the past, created from the same market that quotes the present.

A bar's open and close are the market's at its first and last step, high and low its true extremes; so the bars of any
size agree with each other and with what was quoted live. Of an option, high and low are its prices when the
underlying was at its extremes. Prices that were set show from when they were set.

Bars lie on the clock of the exchange's time zone (hours from its midnight) and are cut off where a session starts.
A bar that is not over yet ends now. Daily, weekly and monthly bars are named by their (last) trading day, at its
midnight. A duration in seconds counts open time; days are trading days, the present one included; weeks, months and
years go back by the calendar.

Volatilities are shares of 1 a year: the historical one of a day is that of the last 30 closes of the regular session,
the implied one that of options at the money. Both are of underlyings only.

History reaches back to the start of the fifth year before the catalog's day.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import groupby, pairwise
from math import log, sqrt
from statistics import stdev

from gateway_simulator.trading.catalog import Catalog
from gateway_simulator.trading.market import Market, Point, UnknownContractError
from gateway_simulator.trading.model import Bar, Instrument
from gateway_simulator.trading.tradinghours import Session, TradingHours, zone_of
from gateway_simulator.trading.walk import STEP, moment_of, step_at

BAD_REQUEST, NO_DATA = 321, 162
YEARS = 5
"""How many calendar years before the present one have data."""
MOST_BARS, MOST_LONG_BARS, MOST_TICKS = 11_000, 3000, 1000
"""The most that is returned at once; long bars are those of an hour and more."""

DAY = 86400
SECONDS = {"sec": 1, "min": 60, "hour": 3600}
STEPS_PER_SECOND = timedelta(seconds=1) // STEP
BAR_SIZES = (
    *("1 secs", "5 secs", "10 secs", "15 secs", "30 secs"),
    *("1 min", "2 mins", "3 mins", "5 mins", "10 mins", "15 mins", "20 mins", "30 mins"),
    *("1 hour", "2 hours", "3 hours", "4 hours", "8 hours", "1 day", "1W", "1M"),
)
SAME_SIZE = {"1 sec": "1 secs", "1 mins": "1 min", "1 week": "1W", "1 w": "1W", "1 month": "1M", "1 m": "1M"}
TRADED, QUOTED = ("TRADES", "ADJUSTED_LAST"), ("MIDPOINT", "BID", "ASK", "BID_ASK")
HISTORICAL_VOLATILITY, VOLATILITIES = "HISTORICAL_VOLATILITY", ("HISTORICAL_VOLATILITY", "OPTION_IMPLIED_VOLATILITY")
UNKNOWN_KINDS = ("FEE_RATE", "AGGTRADES", "SCHEDULE")
VOLATILITY_CLOSES, TRADING_DAYS_PER_YEAR = 30, 252
VOLATILITY_UNIT = Decimal("0.000001")
LONGEST_SMALL_BARS = {1: 2000, 5: 7200, 10: 14400, 15: 14400, 30: 28800}
"""Seconds that a request for bars of so many seconds may span."""
MOST_OF_UNIT = {
    "S": (86400, "Historical data request for greater than 86400 seconds rejected."),
    "D": (365, "Historical data requests for durations longer than 365 days must be made in years."),
    "W": (52, "Historical data request for durations longer than 52 weeks must be made in years."),
    "M": (12, "Historical data request for durations longer than 12 months must be made in years."),
    "Y": (99, "Historical data requested duration is invalid."),
}
SHARES_PER_TRADE = 150
NOT_TRADED = Decimal(-1)
AVERAGE_UNIT = Decimal("0.00001")


class HistoryError(Exception):
    """A rejected request for history, with IB's code (321 bad request, 162 no data) and text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


@dataclass(frozen=True)
class TradeTick:
    """One trade, or the middle of the market, at a moment (aware); a middle has size 0."""

    time: datetime
    price: Decimal
    size: Decimal


@dataclass(frozen=True)
class QuoteTick:
    """Bid and ask at a moment (aware); a price of 0 means that there is none."""

    time: datetime
    bid: Decimal
    ask: Decimal
    bid_size: Decimal
    ask_size: Decimal


@dataclass(frozen=True)
class _Span:
    """A stretch of open time of one trading day: its first step, and the first after it."""

    day: date
    first: int
    end: int


class History:
    """Bars and ticks of a market's contracts."""

    def __init__(self, catalog: Catalog, market: Market, hours: TradingHours) -> None:
        self._catalog = catalog
        self._market = market
        self._hours = hours

    def bars(
        self,
        con_id: int,
        end: datetime | None,
        duration: str,
        bar_size: str,
        what: str,
        use_rth: bool,
        now: datetime,
    ) -> list[Bar]:
        """Return the bars of a stretch of time up to ``end`` (None: until now), oldest first.

        ``duration`` is a number and S, D, W, M or Y, ``bar_size`` one of BAR_SIZES, ``what`` one of TRADED, QUOTED
        and VOLATILITIES. Times are in the zone of ``now``, or of the exchange for bars of a day and more.
        Raises HistoryError and UnknownContractError.
        """
        instrument = self._instrument(con_id)
        number, unit = _duration(duration)
        size = _bar_size(bar_size)
        what = self._what(instrument, what)
        if what == "ADJUSTED_LAST" and end is not None:
            raise _refused("End Date not supported with adjusted last")
        until = step_at(now) + 1 if end is None or end > now else step_at(end)
        seconds = _seconds_of(size)
        spans = self._spans(instrument, number, unit, until, seconds, use_rth=use_rth)
        if what in VOLATILITIES:
            return self._checked(instrument, self._volatility_bars(instrument, spans, size, what, now), what)
        if seconds == DAY:
            return self._long_bars(instrument, spans, size, what)
        length = sum(each.end - each.first for each in spans) // STEPS_PER_SECOND
        most = MOST_LONG_BARS if seconds >= SECONDS["hour"] else MOST_BARS
        if length > most * seconds or length > LONGEST_SMALL_BARS.get(seconds, length) + seconds:
            raise HistoryError(NO_DATA, "Historical Market Data Service error message:Time length exceed max.")
        bars = (self._bar(con_id, [piece], what) for piece in self._pieces(instrument, spans, seconds))
        return self._checked(instrument, [_at(bar, bar.time.astimezone(now.tzinfo)) for bar in bars if bar], what)

    def schedule(
        self, con_id: int, end: datetime | None, duration: str, bar_size: str, use_rth: bool, now: datetime
    ) -> list[Session]:
        """Return the sessions of a stretch of time up to ``end`` (None: until now), oldest first.

        Raises HistoryError and UnknownContractError.
        """
        instrument = self._instrument(con_id)
        number, unit = _duration(duration)
        if _bar_size(bar_size) != "1 day" or unit == "S":
            raise _refused("Only 1 day bars are supported for SCHEDULE")
        until = step_at(now) + 1 if end is None or end > now else step_at(end)
        days = [span.day for span in self._spans(instrument, number, unit, until, DAY, use_rth=use_rth)]
        return [each for day in days if (each := self._hours.session_of_day(instrument, day)) is not None]

    def _volatility_bars(
        self, instrument: Instrument, spans: list[_Span], size: str, what: str, now: datetime
    ) -> list[Bar]:
        """Bars of a volatility: of the day before at the open, of the day itself at the close."""
        if not spans:
            return []
        values = self._historical_volatilities(instrument, spans) if what == HISTORICAL_VOLATILITY else {}
        reference = self._catalog.reference(instrument.contract.con_id)
        implied = Decimal(str(reference.volatility)) if reference is not None else None
        zone = zone_of(instrument)
        bars = []
        for moment, pieces in self._periods(instrument, spans, size):
            shown = [value for each in pieces if (value := values.get(each.day, implied)) is not None]
            if shown:
                time = datetime(moment.day.year, moment.day.month, moment.day.day, tzinfo=zone)
                if _seconds_of(size) != DAY:
                    time = moment_of(moment.first).astimezone(now.tzinfo)
                ends = (shown[0], max(shown), min(shown), shown[-1])
                bars.append(Bar(time, *ends, volume=NOT_TRADED, average=NOT_TRADED, count=-1))
        return bars

    def _periods(self, instrument: Instrument, spans: list[_Span], size: str) -> Iterator[tuple[_Span, list[_Span]]]:
        """The open time of each bar, with the piece that names it."""
        seconds = _seconds_of(size)
        if seconds != DAY:
            for piece in self._pieces(instrument, spans, seconds):
                yield piece, [piece]
            return
        for _, group in groupby(spans, lambda span: _period(span, size)):
            pieces = list(group)
            yield pieces[-1], pieces

    def _historical_volatilities(self, instrument: Instrument, spans: list[_Span]) -> dict[date, Decimal]:
        """The volatility of each day's last closes."""
        con_id, needed = instrument.contract.con_id, VOLATILITY_CLOSES
        days: list[date] = []
        closes: list[float] = []
        for span in self._spans_back(instrument, spans[-1].end, use_rth=True):
            value = self._market.point(con_id, span.end - 1).value
            if value is not None:
                days.append(span.day)
                closes.append(float(value))
            if span.day < spans[0].day:
                needed -= 1
            if not needed:
                break
        returns = [log(after / before) for after, before in pairwise(closes)]
        found = {}
        for at, day in enumerate(days):
            window = returns[at : at + VOLATILITY_CLOSES - 1]
            if len(window) > 1:
                found[day] = Decimal(stdev(window) * sqrt(TRADING_DAYS_PER_YEAR)).quantize(VOLATILITY_UNIT)
        return found

    def head(self, con_id: int, what: str, use_rth: bool) -> datetime:
        """Return the moment at which a contract's history starts. Raises HistoryError and UnknownContractError."""
        instrument = self._instrument(con_id)
        self._what(instrument, what)
        day = self._first_day(instrument)
        while True:
            session = self._hours.session_of_day(instrument, day)
            if session is not None:
                return session.regular_start if use_rth else session.start
            day += timedelta(days=1)

    def real_time_bar(self, con_id: int, what: str, use_rth: bool, end: datetime) -> Bar | None:
        """Return the bar of the five seconds before ``end``, or None if the market was not open then.

        Raises HistoryError and UnknownContractError.
        """
        instrument = self._instrument(con_id)
        what = self._what(instrument, what)
        start = end - timedelta(seconds=5)
        if not (self._hours.is_regular(instrument, start) if use_rth else self._is_open(instrument, start)):
            return None
        first = step_at(start)
        bar = self._bar(con_id, [_Span(start.date(), first, max(step_at(end), first + 1))], what)
        return None if bar is None else _at(bar, start)

    def ticks(
        self,
        con_id: int,
        start: datetime | None,
        end: datetime | None,
        number: int,
        what: str,
        use_rth: bool,
        now: datetime,
    ) -> list[TradeTick] | list[QuoteTick]:
        """Return up to ``number`` ticks from ``start`` on or before ``end``, one a second, oldest first.

        ``what`` is TRADES, MIDPOINT (TradeTick) or BID_ASK (QuoteTick). Raises HistoryError and UnknownContractError.
        """
        instrument = self._instrument(con_id)
        if what.upper() not in ("TRADES", "MIDPOINT", "BID_ASK"):
            raise _refused("What to show must be TRADES, MIDPOINT or BID_ASK")
        what = self._what(instrument, what)
        if (start is None) == (end is None):
            raise _refused("Please specify either start date/time or end date/time")
        if not 1 <= number <= MOST_TICKS:
            raise _refused(f"Number of ticks must be between 1 and {MOST_TICKS}")
        latest = step_at(now)
        steps: list[int] = []
        if start is not None:
            for span in self._spans_from(instrument, step_at(start), latest, use_rth=use_rth):
                steps.extend(range(span.first, span.end, STEPS_PER_SECOND)[: number - len(steps)])
                if len(steps) >= number:
                    break
        else:
            until = min(step_at(end) if end is not None else latest, latest + 1)
            for span in self._spans_back(instrument, until, use_rth=use_rth):
                steps.extend(range(span.end - 1, span.first - 1, -STEPS_PER_SECOND)[: number - len(steps)])
                if len(steps) >= number:
                    break
            steps.reverse()
        if what == "BID_ASK":
            return [self._quote_tick(con_id, step, now) for step in steps]
        return [tick for step in steps if (tick := self._trade_tick(con_id, step, what, now)) is not None]

    def _trade_tick(self, con_id: int, step: int, what: str, now: datetime) -> TradeTick | None:
        price = _price(self._market.point(con_id, step), what)
        size = self._market.sizes(con_id, step)[2] if what in TRADED else Decimal(0)
        return None if price is None else TradeTick(moment_of(step).astimezone(now.tzinfo), price, size)

    def _quote_tick(self, con_id: int, step: int, now: datetime) -> QuoteTick:
        point = self._market.point(con_id, step)
        bid_size, ask_size, _ = self._market.sizes(con_id, step)
        none = Decimal(0)
        return QuoteTick(
            moment_of(step).astimezone(now.tzinfo),
            none if point.bid is None else point.bid,
            none if point.ask is None else point.ask,
            none if point.bid is None else bid_size,
            none if point.ask is None else ask_size,
        )

    def _spans(
        self, instrument: Instrument, number: int, unit: str, until: int, bar_seconds: int, *, use_rth: bool
    ) -> list[_Span]:
        """The open time that a duration covers, in order of time; one in seconds starts with a whole bar."""
        bar_steps = bar_seconds * STEPS_PER_SECOND
        spans: list[_Span] = []
        left = number * STEPS_PER_SECOND
        first_day = _calendar_start(moment_of(until - 1).astimezone(zone_of(instrument)).date(), number, unit)
        for span in self._spans_back(instrument, until, use_rth=use_rth):
            if unit == "S":
                first = max(span.first, (span.end - left) // bar_steps * bar_steps)
                spans.append(_Span(span.day, first, span.end))
                left -= span.end - first
                if left <= 0:
                    break
            elif unit == "D":
                spans.append(span)
                if len(spans) >= number:
                    break
            elif span.day <= first_day:
                break
            else:
                spans.append(span)
        return spans[::-1]

    def _spans_back(self, instrument: Instrument, until: int, *, use_rth: bool) -> Iterator[_Span]:
        """The stretches of open time before a step, the latest first."""
        first_day = self._first_day(instrument)
        day = moment_of(until).astimezone(zone_of(instrument)).date() + timedelta(days=1)
        while day >= first_day:
            span = _span(self._hours.session_of_day(instrument, day), use_rth=use_rth)
            if span is not None and span.first < until:
                yield _Span(span.day, span.first, min(span.end, until))
            day -= timedelta(days=1)

    def _spans_from(self, instrument: Instrument, first: int, last: int, *, use_rth: bool) -> Iterator[_Span]:
        """The stretches of open time from a step to another (included), the earliest first."""
        day = max(moment_of(first).astimezone(zone_of(instrument)).date(), self._first_day(instrument))
        while moment_of(last).date() + timedelta(days=1) >= day:
            span = _span(self._hours.session_of_day(instrument, day), use_rth=use_rth)
            if span is not None and span.end > first and span.first <= last:
                yield _Span(span.day, max(span.first, first), min(span.end, last + 1))
            day += timedelta(days=1)

    def _pieces(self, instrument: Instrument, spans: list[_Span], seconds: int) -> Iterator[_Span]:
        """Cut open time into bars that lie on the clock."""
        length = seconds * STEPS_PER_SECOND
        zone = zone_of(instrument)
        for span in spans:
            midnight = moment_of(span.first).astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
            base = step_at(midnight)
            first = span.first
            while first < span.end:
                end = min(base + ((first - base) // length + 1) * length, span.end)
                yield _Span(span.day, first, end)
                first = end

    def _long_bars(self, instrument: Instrument, spans: list[_Span], size: str, what: str) -> list[Bar]:
        """Bars of days, weeks or months."""
        bars = []
        for last, pieces in self._periods(instrument, spans, size):
            bar = self._bar(instrument.contract.con_id, pieces, what)
            if bar is not None:
                day = last.day
                bars.append(_at(bar, datetime(day.year, day.month, day.day, tzinfo=zone_of(instrument))))
        return self._checked(instrument, bars, what)

    def _bar(self, con_id: int, pieces: list[_Span], what: str) -> Bar | None:
        """The bar over pieces of open time; None where there was no price."""
        points = []
        volume = 0
        for piece in pieces:
            inner = self._market.extreme_steps(con_id, piece.first, piece.end - 1)
            points += [self._market.point(con_id, step) for step in (piece.first, *inner, piece.end - 1)]
            hours = self._market.hours_at(con_id, piece.first)
            if hours is not None and what in TRADED:
                traded = self._market.volume(con_id, hours, piece.end) - self._market.volume(con_id, hours, piece.first)
                volume += traded
        sides = ("BID", "ASK") if what == "BID_ASK" else (what, what)
        lower, upper = ([price for each in points if (price := _price(each, side)) is not None] for side in sides)
        if not lower or not upper:
            return None
        opened, closed, low, high = lower[0], upper[-1], min(lower), max(upper)
        traded_here = what in TRADED
        return Bar(
            time=moment_of(pieces[0].first),
            open=opened,
            high=high,
            low=low,
            close=closed,
            volume=Decimal(volume) if traded_here else NOT_TRADED,
            average=((opened + high + low + closed) / 4).quantize(AVERAGE_UNIT) if traded_here else NOT_TRADED,
            count=-(-volume // SHARES_PER_TRADE) if traded_here else -1,
        )

    def _first_day(self, instrument: Instrument) -> date:
        first = date(self._catalog.today.year - YEARS, 1, 1)
        expiry = self._hours.expiry_moment(instrument)
        return first if expiry is None else max(first, expiry.date() - timedelta(days=730))

    def _is_open(self, instrument: Instrument, moment: datetime) -> bool:
        return self._hours.is_open(instrument, moment, outside_rth=True)

    def _instrument(self, con_id: int) -> Instrument:
        instrument = self._catalog.get(con_id)
        if instrument is None:
            raise UnknownContractError(f"no contract has the id {con_id}")
        return instrument

    @staticmethod
    def _what(instrument: Instrument, what: str) -> str:
        """The kind of data in capitals. Raises HistoryError for one that the instrument does not have."""
        asked = what.strip().upper()
        if asked not in (*TRADED, *QUOTED, *VOLATILITIES, *UNKNOWN_KINDS):
            raise _refused(f"Historical data request for '{what}' is invalid: what to show is not known")
        kind = instrument.contract.sec_type
        known = {"CASH": QUOTED, "IND": (*TRADED, *VOLATILITIES), "STK": (*TRADED, *QUOTED, *VOLATILITIES)}.get(
            kind, (*TRADED, *QUOTED)
        )
        if asked not in known:
            raise _no_data(instrument, asked)
        return asked

    @staticmethod
    def _checked(instrument: Instrument, bars: list[Bar], what: str) -> list[Bar]:
        if not bars:
            raise HistoryError(
                NO_DATA,
                "Historical Market Data Service error message:HMDS query returned no data: "
                f"{_place(instrument)} {what.title()}",
            )
        return bars


def _price(point: Point, what: str) -> Decimal | None:
    match what:
        case "BID":
            return point.bid
        case "ASK":
            return point.ask
        case "MIDPOINT" if point.bid is not None and point.ask is not None:
            return (point.bid + point.ask) / 2
        case _:
            return point.value


def _span(session: Session | None, *, use_rth: bool) -> _Span | None:
    if session is None:
        return None
    start, end = (session.regular_start, session.regular_end) if use_rth else (session.start, session.end)
    first, after = step_at(start), step_at(end)
    return _Span(session.day, first, after) if first < after else None


def _period(span: _Span, size: str) -> tuple[int, int]:
    """The number of the day, week or month that a span belongs to."""
    if size == "1 day":
        return span.day.toordinal(), 0
    return span.day.isocalendar()[:2] if size == "1W" else (span.day.year, span.day.month)


def _duration(text: str) -> tuple[int, str]:
    """Read a number and its unit. Raises HistoryError."""
    number, _, unit = text.strip().partition(" ")
    unit = unit.strip().upper()
    if not (number.isascii() and number.isdigit()) or int(number) < 1 or unit not in MOST_OF_UNIT:
        raise _refused("Historical data requested duration is invalid.")
    most, refusal = MOST_OF_UNIT[unit]
    if int(number) > most:
        raise _refused(refusal)
    return int(number), unit


def _bar_size(text: str) -> str:
    size = SAME_SIZE.get(text.strip().lower(), text.strip())
    known = next((each for each in BAR_SIZES if each.lower() == size.lower()), None)
    if known is None:
        raise _refused(f"Historical data bar size setting is invalid. Legal ones are: {', '.join(BAR_SIZES)}")
    return known


def _seconds_of(size: str) -> int:
    """The length of a bar; a day for the longer ones too, which consist of days."""
    if size in ("1 day", "1W", "1M"):
        return DAY
    number, unit = size.split()
    return int(number) * SECONDS[unit.rstrip("s")]


def _calendar_start(last: date, number: int, unit: str) -> date:
    """The day after which weeks, months or years before a day start."""
    if unit == "W":
        return last - timedelta(weeks=number)
    months = last.year * 12 + last.month - 1 - number * (12 if unit == "Y" else 1)
    year, month = divmod(months, 12)
    following = date(year + (month == 11), (month + 1) % 12 + 1, 1)
    return min(date(year, month + 1, 1) + timedelta(days=last.day - 1), following - timedelta(days=1))


def _at(bar: Bar, moment: datetime) -> Bar:
    return Bar(moment, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.average, bar.count)


def _place(instrument: Instrument) -> str:
    return f"{instrument.contract.symbol}@{instrument.contract.exchange}"


def _refused(cause: str) -> HistoryError:
    return HistoryError(BAD_REQUEST, f"Error validating request.-'bN' : cause - {cause}")


def _no_data(instrument: Instrument, what: str) -> HistoryError:
    return HistoryError(
        NO_DATA,
        f"Historical Market Data Service error message:No historical market data for {instrument.contract.symbol}/"
        f"{instrument.contract.sec_type}@{instrument.contract.exchange} {what.title()}",
    )
