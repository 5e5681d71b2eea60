"""The simulated market: what every contract's quote is at any moment.

Without help from outside, a quote depends on the seed, the contract and the moment alone. Underlyings follow a random
walk (``walk``), futures their index and its cost of carry, options the model (``pricing``) at their underlying's
middle. While a market is closed, it shows what it showed last.

A quote's prices lie on the contract's increments. The bid is the market's middle less half a spread, rounded down, the
ask the same upwards; the last trade is at the middle, rounded. Half a spread is the sum of an amount and a share of
the price:

| | amount | share |
|---|---|---|
| stock | 0 | 0.00005 |
| future | 0.05 | 0 |
| currency | 0.00001 | 0 |
| option | 0.01 | 0.015 |

An index has a last price only, a currency none. An option whose bid would not be above 0 has none.

Prices can be set (a tape sets them at its times, ``set_price`` at once and above the tape). A price that was set
remains until it is changed or released, and derivatives follow it, except those that were set themselves. A halt
of an underlying halts its derivatives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from math import ceil, exp, floor, pi, sin
from typing import Any, NamedTuple

from gateway_simulator.trading import combination, holidays, pricing
from gateway_simulator.trading.catalog import MARKET_RULES, Catalog, Reference
from gateway_simulator.trading.model import ZERO, Halted, Instrument, Leg, OptionComputation, Quote
from gateway_simulator.trading.pricing import Terms
from gateway_simulator.trading.splits import Split
from gateway_simulator.trading.tape import PRICES, SIZES, Tape, TapedOption, TapeError
from gateway_simulator.trading.timeline import SetPrice, Timeline
from gateway_simulator.trading.tradinghours import LONGEST_PAUSE_DAYS, Schedule, SetHours, TradingHours
from gateway_simulator.trading.walk import SECONDS_PER_YEAR, STEP, Walk, key_of, moment_of, scramble, step_at

__all__ = ["STEP", "Market", "MarketError", "Point", "UnknownContractError"]

HALF_SPREADS = {"STK": (0.0, 0.00005), "FUT": (0.05, 0.0), "CASH": (0.00001, 0.0), "OPT": (0.01, 0.015)}
LOTS = {"STK": (100, 9), "FUT": (1, 60), "CASH": (500_000, 6), "OPT": (1, 50)}
"""Unit of a quote's sizes, and how many of them there are at most."""
FUTURES_VOLUME, OPTIONS_VOLUME = 1_500_000, 900
"""Contracts that trade on a day: of a future, and of an option at most."""
STEPS_PER_SECOND = timedelta(seconds=1) // STEP
ROUNDING = 1e-9
"""Share of an increment that counts as rounding of binary fractions."""
RANGES_CACHED, VALUES_CACHED = 256, 50_000


class MarketError(ValueError):
    """A price or halt that cannot be set: what is wrong and what to do."""


@dataclass(frozen=True)
class Silence:
    """When a contract's market data ended, and the code of the error that reports it; 0: none."""

    since: datetime
    code: int


class UnknownContractError(LookupError):
    """A contract id that is not in the catalog."""


class Point(NamedTuple):
    """The prices of a contract at a step; ``value`` is the last trade, or the middle where nothing trades."""

    bid: Decimal | None
    ask: Decimal | None
    value: Decimal | None


class Hours(NamedTuple):
    """A session in steps, the last step of the regular hours before, and the first step of the next."""

    day: date
    start: int
    end: int
    regular_start: int
    regular_end: int
    close_before: int
    next_start: int
    pause: tuple[int, int] | None = None


class _Listing(NamedTuple):
    """What the market must know about a contract; ``root`` is the contract whose walk it follows."""

    instrument: Instrument
    root: int
    walk: Walk
    reference: Reference
    key: int
    steps: tuple[tuple[float, float, Decimal], ...]
    expiry: int | None
    heeds_outside_rth: bool
    sessions: int

    @property
    def con_id(self) -> int:
        return self.instrument.contract.con_id

    @property
    def kind(self) -> str:
        return self.instrument.contract.sec_type


@dataclass
class _Range:
    """The steps of the lowest and highest price of a root from a step on, as far as they are known."""

    until: int
    low: tuple[float, int]
    high: tuple[float, int]


class Market:
    """The quotes of a catalog's contracts. Every ``now`` is aware.

    ``start`` is the moment from which a tape with times in seconds counts. ``revision`` grows with every change
    that is set from outside; quotes change at multiples of STEP otherwise.
    Raises TapeError for a tape that names unknown contracts, or has times in seconds and no start.
    """

    def __init__(
        self,
        catalog: Catalog,
        hours: TradingHours,
        seed: int,
        tape: Tape | None = None,
        *,
        start: datetime | None = None,
    ) -> None:
        self.catalog = catalog
        self.hours = hours
        self.seed = seed
        self.revision = 0
        self._listings: dict[int, _Listing] = {}
        self._walks: dict[int, Walk] = {}
        self._session_kinds: dict[tuple[Schedule, datetime | None], int] = {}
        self._hours: dict[int, Hours] = {}
        self._ranges: dict[tuple[int, int], _Range] = {}
        self._set_ranges: dict[tuple[int, int], tuple[int, list[Decimal]]] = {}
        self._values: dict[int, dict[int, Decimal | None]] = {}
        self._cached_values = 0
        self._scripted: dict[int, Timeline] = {}
        self._taped: dict[int, Timeline] = {}
        self._halted: dict[int, Halted] = {}
        self.silences: dict[int, Silence] = {}
        """By contract id; that of 0 is about all contracts."""
        self._quotes: dict[int, Quote] = {}
        self._quotes_of = 0
        if tape is not None:
            self._play(tape, start)

    # What clients and the brokerage see

    def quote(self, con_id: int, now: datetime) -> Quote:
        """Return a contract's quote. Raises UnknownContractError."""
        step = step_at(now)
        if con_id < 0:
            legs = self._legs(con_id)
            quotes = [self.quote(each.instrument.contract.con_id, now) for each in legs]
            return combination.quote_of(legs, quotes, moment_of(step))
        if self._quotes_of != step:
            self._quotes.clear()
            self._quotes_of = step
        known = self._quotes.get(con_id)
        if known is None:
            known = self._quotes[con_id] = self._quote(self._listing(con_id), step)
        return known

    def valuation(self, con_id: int, now: datetime) -> tuple[Decimal | None, Decimal | None]:
        """Return what a holding of a contract is valued at, and what its last trade or its middle is; None and None if
        it has no market. The same as in ``quote``, for less work. Raises UnknownContractError."""
        listing, step = self._listing(con_id), step_at(now)
        if self._hours_of(listing, step) is None or (listing.expiry is not None and step >= listing.expiry):
            return None, None
        point = self.point(con_id, step)
        return _mark(listing.kind, *point), point.value

    def next_change(self, now: datetime) -> datetime:
        """Return the next moment at which a quote may change by itself."""
        return moment_of(step_at(now) + 1)

    def option_computation(
        self, con_id: int, volatility: float, underlying_price: float, now: datetime
    ) -> OptionComputation:
        """Return what an option is worth at a given volatility and price of the underlying.

        Raises MarketError where the contract is no option, has expired, or a number is not above 0.
        """
        terms = self._terms_asked(con_id, underlying_price, now)
        if not volatility > 0:
            raise MarketError(f"volatility is {volatility}; it must be above 0")
        return pricing.compute(terms, volatility)

    def option_volatility(
        self, con_id: int, option_price: float, underlying_price: float, now: datetime
    ) -> OptionComputation:
        """Return the volatility and greeks that an option's price implies at a given price of the underlying.

        Raises MarketError as ``option_computation``, and for a price that no volatility gives.
        """
        terms = self._terms_asked(con_id, underlying_price, now)
        volatility = pricing.implied_volatility(terms, option_price) if option_price > 0 else None
        if volatility is None:
            raise MarketError(f"no volatility gives the option the price {option_price}")
        return pricing.compute(terms, volatility, option_price)

    # What is set from outside

    def named(self, name: str) -> Instrument:
        """Return the contract that a person means by a symbol, a local symbol or a contract id.

        Of several listings of a symbol it is the first. Raises MarketError.
        """
        found = self.catalog.named(name)
        if not found:
            raise MarketError(
                f"no contract is called {name!r}; give a symbol (AAPL), a local symbol (ESZ6, EUR.USD, "
                "'AAPL  261218C00190000') or a contract id"
            )
        return found[0]

    def set_price(
        self,
        name: str,
        now: datetime,
        *,
        bid: Decimal | None = None,
        ask: Decimal | None = None,
        last: Decimal | None = None,
    ) -> None:
        """Set prices for a contract from now on. Those not given are derived; none given means a market
        without bid and ask. Raises MarketError."""
        listing = self._listing(self.named(name).contract.con_id)
        given = {key: price for key, price in (("bid", bid), ("ask", ask), ("last", last)) if price is not None}
        step = step_at(now)
        if listing.expiry is not None and step >= listing.expiry:
            raise MarketError(f"{listing.instrument.contract.local_symbol} has expired; it has no market any more")
        standing = self.point(listing.con_id, step).value
        value = self._complete(listing, given or {"bid": None, "ask": None}, standing)
        self._scripted.setdefault(listing.con_id, Timeline()).add(step, value)
        self._changed(listing.con_id)

    def release(self, name: str, now: datetime | None = None) -> None:
        """Resume a contract's own movement from now on; without ``now`` as if nothing had ever been set.

        Raises MarketError for an unknown name or a contract whose price is not set.
        """
        con_id = self.named(name).contract.con_id
        timeline = self._scripted.get(con_id)
        if timeline is None or timeline.values[-1] is None:
            raise MarketError(f"no price of {name} is set, so there is none to release")
        if now is None:
            del self._scripted[con_id]
            self._set_ranges.clear()
        else:
            timeline.add(step_at(now), None)
        self._changed(con_id)

    def halt(self, name: str, kind: Halted) -> None:
        """Halt a contract and its derivatives. Raises MarketError."""
        if kind is Halted.NO:
            raise MarketError("to end a halt, resume the contract")
        con_id = self.named(name).contract.con_id
        self._halted[con_id] = kind
        self._changed(con_id)

    def resume(self, name: str) -> None:
        """End a contract's halt. Raises MarketError where it is not halted."""
        con_id = self.named(name).contract.con_id
        if self._halted.pop(con_id, None) is None:
            raise MarketError(f"{name} is not halted")
        self._changed(con_id)

    def silence(self, con_id: int, silence: Silence) -> None:
        """Stop a contract's data; 0: those of all. The market itself continues, and orders trade in it."""
        self.silences[con_id] = silence
        self.revision += 1

    def end_silence(self, con_id: int) -> None:
        """Resume a contract's data; 0: those of all. Raises MarketError where they are not stopped."""
        if con_id not in self.silences:
            raise MarketError("these market data are not interrupted")
        del self.silences[con_id]
        self.revision += 1

    def silence_of(self, con_id: int) -> Silence | None:
        """Return whether and how a contract's data are interrupted."""
        return (self.silences.get(con_id) or self.silences.get(0)) if self.silences else None

    def set_hours(self, name: str, kind: SetHours | None, now: datetime) -> Instrument:
        """Set the kind of a contract's hours from now on; None: its usual ones. Raises MarketError."""
        instrument = self.named(name)
        con_id = instrument.contract.con_id
        if kind is not None:
            self.hours.hours_set[con_id] = (kind, now)
        elif self.hours.hours_set.pop(con_id, None) is None:
            raise MarketError(f"the hours of {name} are not set")
        self._forget_listing(con_id)
        return instrument

    def split(self, split: Split) -> None:
        """Adjust set prices to a split that the catalog has applied, those of before too (but no tape's)."""
        for con_id in (split.con_id, *(each.con_id for each in split.adjusted)):
            self._forget_listing(con_id)
            timeline = self._scripted.get(con_id)
            if timeline is not None:
                listing = self._listing(con_id)
                timeline.values = [None if each is None else _split(listing, split, each) for each in timeline.values]
        self._set_ranges.clear()
        self._changed(split.con_id)

    def scripted(self) -> dict[str, Any]:
        """Return everything that was set (but not the tape) as plain JSON values, for ``restore_scripted``."""
        return {
            "prices": {
                str(con_id): [
                    [moment_of(step).isoformat(), _to_json(value)]
                    for step, value in zip(timeline.steps, timeline.values, strict=True)
                ]
                for con_id, timeline in sorted(self._scripted.items())
            },
            "halted": {str(con_id): int(kind) for con_id, kind in sorted(self._halted.items())},
            "silences": {
                str(con_id): [each.since.isoformat(), each.code] for con_id, each in sorted(self.silences.items())
            },
            "hours": {
                str(con_id): [kind.value, since.isoformat()]
                for con_id, (kind, since) in sorted(self.hours.hours_set.items())
            },
        }

    def restore_scripted(self, document: Mapping[str, Any]) -> None:
        """Set again what ``scripted`` returned, in place of what is set now.

        Raises MarketError, which names the field that is wrong; nothing is changed then.
        """
        scripted: dict[int, Timeline] = {}
        for con_id, changes in _fields(document, "prices"):
            timeline = scripted[con_id] = Timeline()
            try:
                for moment, value in changes:
                    timeline.add(step_at(datetime.fromisoformat(moment)), _from_json(value))
            except (TypeError, ValueError, KeyError, InvalidOperation) as error:
                raise MarketError(f"prices.{con_id}: {error!r} in {changes!r}") from error
        halted: dict[int, Halted] = {}
        for con_id, kind in _fields(document, "halted"):
            try:
                halted[con_id] = Halted(kind)
            except ValueError as error:
                raise MarketError(f"halted.{con_id}: {error}") from error
        silences: dict[int, Silence] = {}
        hours: dict[int, tuple[SetHours, datetime]] = {}
        # A state of an older simulator has neither.
        try:
            for con_id, (since, code) in _fields({"silences": document.get("silences", {})}, "silences"):
                silences[con_id] = Silence(datetime.fromisoformat(since), int(code))
            for con_id, (kind, since) in _fields({"hours": document.get("hours", {})}, "hours"):
                hours[con_id] = (SetHours(kind), datetime.fromisoformat(since))
        except (TypeError, ValueError) as error:
            raise MarketError(f"silences or hours: {error}") from error
        for con_id in (*scripted, *halted, *hours):
            if self.catalog.get(con_id) is None:
                raise MarketError(f"contract {con_id}: is not in the catalog")
        self._scripted = {con_id: timeline for con_id, timeline in scripted.items() if timeline.steps}
        self._halted = halted
        self.silences = silences
        self.hours.hours_set = hours
        self._listings.clear()
        self._set_ranges.clear()
        self._changed(*self._listings)

    # What bars are created from

    def point(self, con_id: int, step: int) -> Point:
        """Return a contract's prices at a step. Raises UnknownContractError."""
        if con_id < 0:
            legs = self._legs(con_id)
            points = [self.point(each.instrument.contract.con_id, step) for each in legs]
            bid, ask = combination.sides_of(legs, points)
            return Point(bid, ask, _middle(bid, ask) if bid is not None and ask is not None else None)
        listing = self._listing(con_id)
        value = self._set_price_at(con_id, step)
        if value is not None:
            return Point(value.bid, value.ask, value.last if value.last is not None else _middle(value.bid, value.ask))
        middle = self._middle_at(listing, step)
        return self._point(listing, middle)

    def sizes(self, con_id: int, step: int) -> tuple[Decimal, Decimal, Decimal]:
        """Return the sizes of a contract's bid, ask and last trade at a step."""
        listing = self._listing(con_id)
        bid, ask, last = self._sizes(listing, step, self._set_price_at(con_id, step))
        return bid, ask, last

    def extreme_steps(self, con_id: int, first: int, last: int) -> list[int]:
        """Return steps among which are those of a contract's lowest and highest price of a stretch.

        Both ends belong to the stretch. Of derivatives, whose price moves with time too, these are the steps at
        which the underlying was lowest and highest.
        """
        listing = self._listing(con_id)
        changes = {
            step
            for timelines in (self._scripted, self._taped)
            for place in {con_id, listing.root}
            if (timeline := timelines.get(place)) is not None
            for step in timeline.changes(first, last)
        }
        starts = [first, *sorted(changes)]
        steps: list[int] = []
        for start, next_start in zip(starts, [*starts[1:], last + 1], strict=True):
            if self._set_price_at(con_id, start) is None and self._set_price_at(listing.root, start) is None:
                steps.extend(listing.walk.extremes(start, next_start - 1))
            else:
                steps.append(start)
        return steps

    def volume(self, con_id: int, hours: Hours, step: int) -> int:
        """Return how many units have traded in a session before a step starts; it is highest at both ends of a day."""
        listing = self._listing(con_id)
        most = {"FUT": FUTURES_VOLUME, "OPT": OPTIONS_VOLUME * (listing.key % 1000) // 1000}.get(
            listing.kind, listing.reference.daily_volume
        )
        share = min(max((step - hours.start) / (hours.end - hours.start), 0.0), 1.0)
        of_day = most * (0.6 + 0.8 * scramble(listing.key, hours.day.toordinal()) * 2.0**-64)
        return int(of_day * (share + 0.12 * sin(2 * pi * share)))

    def hours_at(self, con_id: int, step: int) -> Hours | None:
        """Return the session that runs at a step, or the last one before; None if there is none lately."""
        return self._hours_of(self._listing(con_id), step)

    # Inside

    def _quote(self, listing: _Listing, step: int) -> Quote:
        hours = self._hours_of(listing, step)
        halted = self._halted_at(listing, step)
        if hours is None or (listing.expiry is not None and step >= listing.expiry):
            return _empty_quote(moment_of(step), halted)
        value = self._set_price_at(listing.con_id, step)
        middle = self._middle_at(listing, step)
        bid, ask, last = (value.bid, value.ask, value.last) if value is not None else self._point(listing, middle)
        trades = listing.kind != "CASH"
        day = self._day_values_of(listing, hours, step, last if last is not None else _middle(bid, ask))
        sizes = self._sizes(listing, step, value)
        pauses = hours.pause is not None and hours.pause[0] <= step < hours.pause[1]
        extended = hours.start <= step < hours.end and not pauses
        regular = hours.regular_start <= step < hours.regular_end
        quote = Quote(
            time=moment_of(step),
            bid=bid,
            ask=ask,
            last=last if trades else None,
            bid_size=sizes[0] if bid is not None else ZERO,
            ask_size=sizes[1] if ask is not None else ZERO,
            last_size=sizes[2] if trades and last is not None else ZERO,
            volume=Decimal(self.volume(listing.con_id, hours, step)),
            day_open=day[0],
            day_high=day[1],
            day_low=day[2],
            close=day[3],
            mark=_mark(listing.kind, bid, ask, last),
            open=extended and (regular or not listing.heeds_outside_rth),
            extended=extended,
            halted=halted,
        )
        return self._with_computations(listing, quote, step) if listing.kind == "OPT" else quote

    def _with_computations(self, listing: _Listing, quote: Quote, step: int) -> Quote:
        terms, volatility = self._terms(listing, step)

        def implied(price: Decimal | None) -> OptionComputation | None:
            if price is None:
                return None
            implied_volatility = pricing.implied_volatility(terms, float(price), volatility)
            return None if implied_volatility is None else pricing.compute(terms, implied_volatility, float(price))

        return replace(
            quote,
            bid_computation=implied(quote.bid),
            ask_computation=implied(quote.ask),
            last_computation=implied(quote.last),
            model_computation=pricing.compute(terms, volatility),
        )

    def _day_values_of(
        self, listing: _Listing, hours: Hours, step: int, now: Decimal | None
    ) -> tuple[Decimal | None, Decimal | None, Decimal | None, Decimal | None]:
        """Open, high and low of the session so far, and the close of the one before."""
        until = min(step, hours.end - 1)
        if any(
            place in timelines
            for place in {listing.con_id, listing.root}
            for timelines in (self._scripted, self._taped)
        ):
            extremes = [*self._set_extremes(listing, hours.start, until), self._value(listing, until)]
        else:
            extremes = [self._value(listing, each) for each in self._extremes(listing, hours.start, until)]
        opened = self._value(listing, hours.start)
        known = [each for each in (opened, *extremes, now) if each is not None]
        close = self._value(listing, hours.close_before)
        return opened, max(known, default=None), min(known, default=None), close

    def _value(self, listing: _Listing, step: int) -> Decimal | None:
        """``point(…).value``, cached: the day's open, extremes and close are requested at every step."""
        known = self._values.setdefault(listing.con_id, {})
        if step not in known:
            if self._cached_values >= VALUES_CACHED:
                self._values.clear()
                self._cached_values = 0
                known = self._values.setdefault(listing.con_id, {})
            known[step] = self.point(listing.con_id, step).value
            self._cached_values += 1
        return known[step]

    def _extremes(self, listing: _Listing, first: int, until: int) -> tuple[int, int]:
        """The steps of the walk's lowest and highest price, found by going on from where they were known."""
        key = (listing.root, first)
        known = self._ranges.get(key)
        if known is not None and known.until == until:
            return known.low[1], known.high[1]
        begin = first if known is None or known.until > until else known.until + 1
        low, high = listing.walk.extremes(begin, until)
        lows, highs = [(listing.walk.price(low), low)], [(listing.walk.price(high), high)]
        if begin > first and known is not None:
            lows.append(known.low)
            highs.append(known.high)
        elif len(self._ranges) >= RANGES_CACHED:
            self._ranges.clear()
        found = self._ranges[key] = _Range(until, min(lows), max(highs))
        return found.low[1], found.high[1]

    def _set_extremes(self, listing: _Listing, first: int, until: int) -> list[Decimal]:
        """The lowest and the highest value before ``until`` where prices were set; what is over stays as it was."""
        key = (listing.con_id, first)
        done, found = self._set_ranges.get(key, (first, []))
        if done > until:
            done, found = first, []
        if done < until:
            steps = self.extreme_steps(listing.con_id, done, until - 1)
            values = [*found, *(value for each in steps if (value := self._value(listing, each)) is not None)]
            found = [min(values), max(values)] if values else []
            if len(self._set_ranges) >= VALUES_CACHED:
                self._set_ranges.clear()
            self._set_ranges[key] = (until, found)
        return found

    def _sizes(self, listing: _Listing, step: int, value: SetPrice | None) -> list[Decimal]:
        """Sizes of bid, ask and last; they change every second."""
        unit, most = LOTS.get(listing.kind, (0, 1))
        bits = scramble(listing.key, step // STEPS_PER_SECOND)
        sizes = [Decimal(unit * (1 + (bits >> shift) % most)) for shift in (0, 16, 32)]
        if value is None:
            return sizes
        fixed = (value.bid_size, value.ask_size, value.last_size)
        return [size if own is None else own for own, size in zip(fixed, sizes, strict=True)]

    def _point(self, listing: _Listing, middle: float) -> Point:
        """The prices of a market that moves by itself."""
        if listing.kind == "IND":
            return Point(None, None, _nearest(listing, middle))
        half = _half_spread(listing, middle)
        bid = _below(listing, middle - half) if middle > half else ZERO
        return Point(bid if bid > 0 else None, _above(listing, middle + half), _nearest(listing, middle))

    def _middle_at(self, listing: _Listing, step: int) -> float:
        """The middle of the market as the walk or the model has it. Expired contracts end with their last step."""
        if listing.kind == "OPT":
            terms, volatility = self._terms(listing, step)
            return pricing.price(terms, volatility)
        spot = self._spot(listing, step)
        if listing.kind == "FUT":
            years = self._years(listing, self._live(listing, step))
            return spot * exp((pricing.RATE - listing.reference.dividend_yield) * years)
        return spot

    def _spot(self, listing: _Listing, step: int) -> float:
        """The price of what a contract follows: as it was set, or the walk's while the contract's market is open."""
        value = self._set_price_at(listing.root, step)
        if value is not None and value.reference is not None:
            return value.reference
        price = listing.walk.price(self._live(listing, step))
        ratios = self.catalog.split_ratios
        return price / ratios[listing.root] if listing.root in ratios else price

    def _live(self, listing: _Listing, step: int) -> int:
        """The step at which a contract's market was open last; derivatives do not age while it is closed."""
        hours = self._hours_of(listing, step)
        return step if hours is None else min(step, hours.end - 1)

    def _terms(self, listing: _Listing, step: int) -> tuple[Terms, float]:
        contract = listing.instrument.contract
        spot, strike = self._spot(listing, step), float(contract.strike)
        years = self._years(listing, self._live(listing, step))
        terms = Terms(contract.right, spot, strike, years, listing.reference.dividend_yield)
        return terms, pricing.smile(listing.reference.volatility, spot, strike, years)

    def _terms_asked(self, con_id: int, underlying_price: float, now: datetime) -> Terms:
        listing = self._listing(con_id)
        contract = listing.instrument.contract
        if listing.expiry is None or listing.kind != "OPT":
            raise MarketError(f"{contract.symbol} ({contract.sec_type}) is not an option")
        if step_at(now) >= listing.expiry:
            raise MarketError(f"{contract.local_symbol} has expired")
        if not underlying_price > 0:
            raise MarketError(f"the underlying's price is {underlying_price}; it must be above 0")
        years, dividend_yield = self._years(listing, step_at(now)), listing.reference.dividend_yield
        return Terms(contract.right, underlying_price, float(contract.strike), years, dividend_yield)

    @staticmethod
    def _years(listing: _Listing, step: int) -> float:
        left = 0 if listing.expiry is None else max(listing.expiry - step, 0)
        return max(left / (STEPS_PER_SECOND * SECONDS_PER_YEAR), pricing.LEAST_YEARS)

    def _complete(self, listing: _Listing, given: Mapping[str, Decimal | None], standing: Decimal | None) -> SetPrice:
        """Derive the prices that were not given; ``standing`` is the last trade before. Raises MarketError."""
        name = listing.instrument.contract.local_symbol
        for key, price in given.items():
            if price is not None and not (price.is_finite() and price > 0):
                raise MarketError(f"the {key} of {name} is {price}; it must be above 0")
        bid, ask, last = (given.get(key) for key in PRICES)
        if listing.kind == "IND" and (bid is not None or ask is not None):
            raise MarketError(f"{name} is an index; it has a last price, and no bid and ask")
        if bid is not None and ask is not None and bid > ask:
            raise MarketError(f"the bid of {name}, {bid}, is above the ask {ask}")
        known = [float(each) for each in (bid, ask, last) if each is not None]
        if listing.kind == "IND" or not known:
            return SetPrice(None, None, last if "last" in given else standing)
        spread = 2 * _half_spread(listing, known[0])
        if "bid" not in given:
            bid = _below(listing, float(ask) - spread if ask is not None else known[0] - spread / 2)
            bid = bid if last is None else min(bid, last)
        if "ask" not in given:
            ask = _above(listing, float(bid) + spread if "bid" in given and bid is not None else known[0] + spread / 2)
            ask = ask if last is None else max(ask, last)
        bid = bid if bid is not None and bid > 0 else None
        if "last" not in given:
            middle = _middle(bid, ask)
            last = None if middle is None else _nearest(listing, float(middle))
            last = max(last, bid) if last is not None and bid is not None else last
            last = min(last, ask) if last is not None and ask is not None else last
        return SetPrice(bid, ask, last)

    def _set_price_at(self, con_id: int, step: int) -> SetPrice | None:
        for timelines in (self._scripted, self._taped):
            timeline = timelines.get(con_id)
            value = timeline.at(step) if timeline is not None else None
            if value is not None:
                return value
        return None

    def _halted_at(self, listing: _Listing, step: int) -> Halted:
        for place in (listing.con_id, listing.root):
            value = self._set_price_at(place, step)
            halted = self._halted.get(place) or (Halted.NO if value is None else value.halted)
            if halted is not Halted.NO:
                return halted
        return Halted.NO

    def _hours_of(self, listing: _Listing, step: int) -> Hours | None:
        known = self._hours.get(listing.sessions)
        if known is not None and known.start <= step < known.next_start:
            return known
        instrument = listing.instrument
        session = self.hours.session(instrument, moment_of(step))
        if session is None:
            return None
        days = [session.day + timedelta(days=number) for number in range(-LONGEST_PAUSE_DAYS, LONGEST_PAUSE_DAYS + 1)]
        others = [other for day in days if (other := self.hours.session_of_day(instrument, day)) is not None]
        before = [other for other in others if other.day < session.day]
        after = [other for other in others if other.day > session.day]
        found = self._hours[listing.sessions] = Hours(
            session.day,
            step_at(session.start),
            step_at(session.end),
            step_at(session.regular_start),
            step_at(session.regular_end),
            step_at(before[-1].regular_end if before else session.start) - 1,
            step_at(after[0].start if after else session.end + timedelta(days=LONGEST_PAUSE_DAYS)),
            None if session.pause is None else (step_at(session.pause[0]), step_at(session.pause[1])),
        )
        return found

    def _legs(self, key: int) -> tuple[Leg, ...]:
        known = self.catalog.get(key)
        if known is None:
            raise UnknownContractError(f"no combination has the key {key}")
        return known.legs

    def _listing(self, con_id: int) -> _Listing:
        known = self._listings.get(con_id)
        if known is None:
            instrument = self.catalog.get(con_id)
            if instrument is None:
                raise UnknownContractError(f"no contract has the id {con_id}")
            known = self._listings[con_id] = self._list(instrument)
        return known

    def _list(self, instrument: Instrument) -> _Listing:
        root = instrument.contract if instrument.underlying is None else instrument.underlying
        reference = self.catalog.reference(root.con_id)
        if reference is None:
            raise UnknownContractError(f"the market does not know how contract {root.con_id} moves")
        walk = self._walks.get(root.con_id)
        if walk is None:
            key = key_of(self.seed, "walk", reference.walk)
            walk = self._walks[root.con_id] = Walk(key, float(reference.base_price), reference.volatility)
        expiry = self.hours.expiry_moment(instrument)
        schedule = self.hours.schedule(instrument)
        return _Listing(
            instrument,
            root.con_id,
            walk,
            reference,
            key_of(self.seed, "contract", instrument.contract.con_id),
            _rule(instrument.market_rule_id),
            None if expiry is None else step_at(expiry),
            schedule.heeds_outside_rth,
            self._session_kinds.setdefault((schedule, expiry), len(self._session_kinds)),
        )

    def _play(self, tape: Tape, start: datetime | None) -> None:
        """Lay a tape's rows on the timelines."""
        if tape.is_relative and start is None:
            raise TapeError(f"tape {tape.source}: its times are seconds from a start that is not known")
        for row in tape.rows:
            moment = row.time if isinstance(row.time, datetime) else start + row.time if start is not None else None
            if moment is None:
                raise AssertionError("a relative tape has a start")
            try:
                instrument = self.named(row.name) if row.option is None else self._taped_option(row.option)
                listing = self._listing(instrument.contract.con_id)
                step = step_at(moment)
                if listing.expiry is not None and step >= listing.expiry:
                    raise MarketError(
                        f"{listing.instrument.contract.local_symbol} has expired by then; leave the row out"
                    )
                value = self._complete(listing, row.prices, self.point(listing.con_id, step).value)
            except MarketError as error:
                raise TapeError(f"tape {tape.source}, line {row.line}: {error}") from error
            sizes = {key: row.sizes.get(key) for key in SIZES}
            self._taped.setdefault(listing.con_id, Timeline()).add(step, replace(value, halted=row.halted, **sizes))

    def _taped_option(self, option: TapedOption) -> Instrument:
        if not holidays.is_trading_day(option.expiry):
            raise MarketError(f"{option} ends on a day without trading; give its last trading day as the expiry")
        found = self.catalog.list_option(
            option.symbol, option.expiry, option.strike, option.right, option.trading_class
        )
        if found is None:
            wanted = f" of the class {option.trading_class}" if option.trading_class else ""
            raise MarketError(
                f"{option.symbol} has no options{wanted}, so there is no {option}; give a symbol that has some, or "
                "add it with --catalog"
            )
        return found

    def _forget_listing(self, con_id: int) -> None:
        """Discard the cached description of a contract, its hours among it."""
        self._changed(con_id)
        self._listings.pop(con_id, None)

    def _changed(self, *con_ids: int) -> None:
        """Something was set for contracts: what is remembered of them and of their derivatives holds no more."""
        self.revision += 1
        for con_id in [each for each, listing in self._listings.items() if {each, listing.root} & set(con_ids)]:
            self._quotes.pop(con_id, None)
            self._cached_values -= len(self._values.pop(con_id, {}))


def _half_spread(listing: _Listing, price: float) -> float:
    amount, share = HALF_SPREADS[listing.kind]
    return amount + share * price


@lru_cache
def _rule(rule_id: int) -> tuple[tuple[float, float, Decimal], ...]:
    """A market rule from its highest edge down: edge, increment, and the increment as it is written."""
    return tuple((float(edge), float(increment), increment) for edge, increment in reversed(MARKET_RULES[rule_id]))


def _increment(listing: _Listing, price: float) -> tuple[float, Decimal]:
    for edge, increment, exact in listing.steps:
        if price >= edge:
            return increment, exact
    return listing.steps[-1][1:]


def _below(listing: _Listing, price: float) -> Decimal:
    increment, exact = _increment(listing, price)
    return floor(price / increment + ROUNDING) * exact


def _above(listing: _Listing, price: float) -> Decimal:
    increment, exact = _increment(listing, price)
    return max(ceil(price / increment - ROUNDING), 1) * exact


def _nearest(listing: _Listing, price: float) -> Decimal:
    increment, exact = _increment(listing, price)
    return max(floor(price / increment + 0.5), 1) * exact


def _split(listing: _Listing, split: Split, value: SetPrice) -> SetPrice:
    """Prices that were set, on the increments as they are after a split."""
    bid, ask, last = (
        None if each is None else _nearest(listing, float(split.price(each)))
        for each in (value.bid, value.ask, value.last)
    )
    return replace(value, bid=bid, ask=ask, last=last)


def _middle(bid: Decimal | None, ask: Decimal | None) -> Decimal | None:
    if bid is None or ask is None:
        return bid if ask is None else ask
    return (bid + ask) / 2


def _mark(kind: str, bid: Decimal | None, ask: Decimal | None, last: Decimal | None) -> Decimal | None:
    """The price at which a holding is valued: the last trade, kept between bid and ask; the middle of an option or
    a currency."""
    if kind in ("OPT", "CASH") and bid is not None and ask is not None:
        return (bid + ask) / 2
    mark = last if last is not None else _middle(bid, ask)
    if mark is not None and bid is not None:
        mark = max(mark, bid)
    return min(mark, ask) if mark is not None and ask is not None else mark


def _empty_quote(moment: datetime, halted: Halted) -> Quote:
    """The quote of a contract that has no market."""
    return Quote(
        moment,
        None,
        None,
        None,
        ZERO,
        ZERO,
        ZERO,
        ZERO,
        None,
        None,
        None,
        None,
        None,
        open=False,
        extended=False,
        halted=halted,
    )


def _to_json(value: SetPrice | None) -> dict[str, str | None] | None:
    if value is None:
        return None
    return {key: None if (price := getattr(value, key)) is None else str(price) for key in PRICES}


def _from_json(value: Mapping[str, str | None] | None) -> SetPrice | None:
    if value is None:
        return None
    bid, ask, last = (None if (text := value[key]) is None else Decimal(text) for key in PRICES)
    return SetPrice(bid, ask, last)


def _fields(document: Mapping[str, Any], name: str) -> Iterator[tuple[int, Any]]:
    """The entries of one part of a saved document, by contract id."""
    part = document.get(name)
    if not isinstance(part, dict):
        raise MarketError(f"{name}: must be an object of contract ids, and is {part!r}")
    for key, value in part.items():
        if not key.isdecimal():
            raise MarketError(f"{name}.{key}: is no contract id")
        yield int(key), value
