"""The contracts that the simulated brokerage knows, and how a client's description finds them.

Stocks, indices, futures, currency pairs and option chains. Options are not stored: an option's contract id
encodes which one it is, so that chains of thousands cost nothing until a contract is asked for, and an id means the
same contract in every run.

Contract ids: what is listed by name has IB's own id. A future's or another derived id comes from a hash of what it is,
in [2**29, 2**30). An option's is 2**30 plus its class, week of expiry, strike and right, packed into 29 bits; that of
a symbol that was added to the sample is 2**29 more, and its class the place of the symbol among those that were added.
The last 32 of these classes are one that has daily expiries: day, strike and right.

A stock or ETF that nobody listed is invented on request (``invented``), unless the catalog rejects it.

Increments: ``Instrument.market_rule_id`` names a rule of MARKET_RULES, a tuple of (low edge, increment) in which the
last edge at or below a price gives the increment there; ``increment_at`` returns it. The classes of the penny
program trade in cents on SMART, and in steps of 0.01 and 0.05 when routed to an exchange; the others in 0.05 and 0.10.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache
from hashlib import blake2b

from gateway_simulator.trading import holidays
from gateway_simulator.trading.holidays import FRIDAY, DayKind
from gateway_simulator.trading.invented import US_EXCHANGES, Listing, invented, is_plausible
from gateway_simulator.trading.model import ZERO, Contract, ContractQuery, Instrument
from gateway_simulator.trading.splits import Split

Rule = tuple[tuple[Decimal, Decimal], ...]

STOCK_RULE, PENNY_OPTION_RULE, OPTION_RULE, INDEX_OPTION_RULE, FUTURE_RULE, CURRENCY_RULE = 26, 32, 109, 110, 67, 239
GRAIN_RULE = 148
LONDON_RULE = 2001
YEN_RULE = 240
MARKET_RULES: dict[int, Rule] = {
    STOCK_RULE: ((ZERO, Decimal("0.01")),),
    PENNY_OPTION_RULE: ((ZERO, Decimal("0.01")),),
    OPTION_RULE: ((ZERO, Decimal("0.01")), (Decimal(3), Decimal("0.05"))),
    INDEX_OPTION_RULE: ((ZERO, Decimal("0.05")), (Decimal(3), Decimal("0.10"))),
    FUTURE_RULE: ((ZERO, Decimal("0.25")),),
    GRAIN_RULE: ((ZERO, Decimal("0.25")),),
    LONDON_RULE: ((ZERO, Decimal("0.02")), (Decimal(100), Decimal("0.05")), (Decimal(500), Decimal("0.1"))),
    CURRENCY_RULE: ((ZERO, Decimal("0.00005")),),
    YEN_RULE: ((ZERO, Decimal("0.005")),),
}

DAILIES = 20
WEEKLIES = 6
MONTHLIES = 6
LEAPS = 2
FUTURES = 4
"""How many expiries of each kind are listed; LEAPS are the Januaries beyond the monthlies."""
STRIKE_RANGE, NEAR_RANGE = Decimal("0.3"), Decimal("0.05")
"""Strikes reach so far from the underlying's base price, as a share of it; the second is of those closer together."""
EXPIRED_FUTURES_DAYS = 730
EXPIRED_OPTIONS_DAYS = 60
"""How long ago a contract may have expired that a search with includeExpired still finds."""

OPTION_IDS = 2**30
DERIVED_IDS = 2**29
FIRST_WEEK = date(2000, 1, 3)
"""The Monday of week 0 in an option's contract id."""
STRIKE_BITS, WEEK_BITS, CLASS_BITS = 12, 12, 4
ADDED_CODE = 1 << CLASS_BITS
"""The first class of options of symbols that were added; each of these has a class of its own."""
ADDED_IDS = OPTION_IDS + 2**29
ADDED_STRIKE_BITS, ADDED_WEEK_BITS = 9, 11
ADDED_SHIFT = 1 + ADDED_STRIKE_BITS + ADDED_WEEK_BITS
VIX_CODE, DAILY_CODE = ADDED_CODE + 223, ADDED_CODE + 224
"""The classes that symbols that are added cannot have."""
DAILY_IDS = ADDED_IDS + ((DAILY_CODE - ADDED_CODE) << ADDED_SHIFT)
DAILY_STRIKE_BITS, DAY_BITS = 11, 14

VIX = 13455763
CORN = 38127218
"""The id of what the futures on corn are on; their months are those of all futures here."""
WEEKLY, DAILY, MONTHLY, VOLATILITY = "weekly", "daily", "monthly", "volatility"
"""The cycles of expiries."""
WEDNESDAY = 2
FUTURE_MONTHS = {3: "H", 6: "M", 9: "U", 12: "Z"}
ORDER_TYPES = "ACTIVETIM,ADJUST,ALL,DAY,GTC,GTD,IOC,LIT,LMT,LOC,MIT,MKT,MOC,OCA,STP,STPLMT,TRAIL,TRAILLMT,WHATIF"
OPTION_EXCHANGES = "SMART,AMEX,CBOE,ISE,PHLX"
LOCAL_OPTION = re.compile(r"(?P<root>[A-Z]{1,6}) *(?P<day>\d{6})(?P<right>[CP])(?P<strike>\d{8})")
UNDERLYING_KINDS = ("STK", "IND", "CASH")


@dataclass(frozen=True)
class Reference:
    """How the simulated market moves an instrument: the price about which it walks, its volatility and dividend
    yield (shares of 1 a year), and how many units trade on a day. Instruments with the same ``walk`` move alike."""

    base_price: Decimal
    volatility: float
    daily_volume: int
    walk: str
    dividend_yield: float = 0.0


@dataclass(frozen=True)
class OptionClass:
    """The options of one trading class: on what, with which strikes, and when they end on their last day.

    ``code`` is part of their contract ids and must never change (from ADDED_CODE on for symbols that were added).
    Every class has monthly expiries; by its ``cycle`` also weekly or daily ones, or it has monthly ones alone, on the
    third Friday or, of volatility, on the Wednesday thirty days before the next month's. Strikes are ``near_step``
    apart about the base price; ``strike_bounds`` are the lowest and highest where the base price does not give them.
    """

    code: int
    underlying: Instrument
    trading_class: str
    base_price: Decimal
    strike_step: Decimal
    market_rule_id: int
    direct_rule_id: int = 0
    exchanges: str = OPTION_EXCHANGES
    cycle: str = WEEKLY
    ends_at: str = "16:00"
    near_step: Decimal = ZERO
    strike_bounds: tuple[Decimal, Decimal] | None = None

    def strikes(self) -> tuple[Decimal, ...]:
        """All strikes, rising."""
        return _strikes(self.base_price, self.strike_step, self.near_step, self.strike_bounds)

    @property
    def _strike_unit(self) -> Decimal:
        """What every strike is a multiple of."""
        return self.near_step or self.strike_step

    def expiries(self, today: date) -> tuple[date, ...]:
        """The expiries listed on a day, its own included, in order of time."""
        friday = today + timedelta(days=(FRIDAY - today.weekday()) % 7)
        days = [self._monthly(today.year, today.month + offset) for offset in range(MONTHLIES + 1)]
        monthlies = [each for each in days if each >= today][:MONTHLIES]
        januaries = [self._monthly(year, 1) for year in range(today.year + 1, today.year + 2 + LEAPS)]
        listed = {*monthlies, *[each for each in januaries if each > monthlies[-1]][:LEAPS]}
        if self.cycle == DAILY:
            following = (today + timedelta(days=offset) for offset in range(2 * DAILIES))
            listed.update([each for each in following if self.has_expiry(each)][:DAILIES])
        if self.cycle == WEEKLY:
            weeklies = [holidays.last_trading_day(friday + timedelta(weeks=week)) for week in range(WEEKLIES + 1)]
            listed.update([each for each in weeklies if each >= today][:WEEKLIES])
        return tuple(sorted(listed))

    def expired_since(self, first: date, today: date) -> tuple[date, ...]:
        """The expiries from a day on that lie before today, in order of time."""
        days = (first + timedelta(days=offset) for offset in range((today - first).days))
        return tuple(each for each in days if self.has_expiry(each))

    def has_expiry(self, day: date) -> bool:
        """Return whether options of this class can end on a day, be it listed now or not."""
        if self.cycle == DAILY:
            return holidays.last_trading_day(day) == day
        if self.cycle == VOLATILITY:
            return self._monthly(day.year, day.month) == day
        friday = day + timedelta(days=(FRIDAY - day.weekday()) % 7)
        if holidays.last_trading_day(friday) != day:
            return False
        return self.cycle == WEEKLY or _monthly(friday.year, friday.month) == day

    def _monthly(self, year: int, month: int) -> date:
        """The monthly expiry of a month, which may run over the year's end."""
        if self.cycle != VOLATILITY:
            return _monthly(year, month)
        year, month = year + month // 12, month % 12 + 1
        return holidays.last_trading_day(holidays.nth_weekday(year, month, FRIDAY, 3) - timedelta(days=30))

    def con_id(self, expiry: date, strike: Decimal, right: str) -> int:
        """The contract id of an option. Raises ValueError for one that cannot be numbered."""
        place = (expiry - FIRST_WEEK).days // self._period
        index = self._strike_index(strike)
        base, code, place_bits, strike_bits = self._numbering
        if not 0 <= place < 1 << place_bits or index is None:
            raise ValueError(f"{self.trading_class} has no option {expiry} {strike} {right}")
        packed = (code << place_bits | place) << strike_bits | index
        return base + (packed << 1 | (right == "P"))

    @property
    def _period(self) -> int:
        """How many days have one number in contract ids."""
        return 1 if self.cycle == DAILY else 7

    @property
    def _numbering(self) -> tuple[int, int, int, int]:
        """The first contract id, the class's number from there, and the bits of week or day and of the strike."""
        if self.code == DAILY_CODE:
            return DAILY_IDS, 0, DAY_BITS, DAILY_STRIKE_BITS
        if self.code < ADDED_CODE:
            return OPTION_IDS, self.code, WEEK_BITS, STRIKE_BITS
        return ADDED_IDS, self.code - ADDED_CODE, ADDED_WEEK_BITS, ADDED_STRIKE_BITS

    def decode(self, con_id: int) -> tuple[date, Decimal, str] | None:
        """The option that a contract id of this class represents, or None if there is no such option."""
        base, _, place_bits, strike_bits = self._numbering
        packed, is_put = divmod(con_id - base, 2)
        packed, index = divmod(packed, 1 << strike_bits)
        within = {DAILY: 0, VOLATILITY: WEDNESDAY}.get(self.cycle, FRIDAY)
        day = FIRST_WEEK + timedelta(days=packed % (1 << place_bits) * self._period + within)
        day = day if self.cycle == DAILY else holidays.last_trading_day(day)
        strike = index * self._strike_unit
        if strike not in self.strikes() or not self.has_expiry(day):
            return None
        return day, strike, "P" if is_put else "C"

    def option(self, expiry: date, strike: Decimal, right: str, con_id: int = 0) -> Instrument:
        """Describe one option of the class; its contract id is given if the class cannot number it."""
        on = self.underlying
        half = holidays.new_york(expiry) is DayKind.HALF
        contract = Contract(
            con_id or self.con_id(expiry, strike, right),
            on.contract.symbol,
            "OPT",
            expiry=f"{expiry:%Y%m%d}",
            strike=strike,
            right=right,
            multiplier="100",
            exchange=self.exchanges.split(",")[0],
            currency=on.contract.currency,
            local_symbol=f"{self.trading_class:<6}{expiry:%y%m%d}{right}{int(strike * 1000):08d}",
            trading_class=self.trading_class,
        )
        return Instrument(
            contract,
            long_name=on.long_name,
            market_name=self.trading_class,
            min_tick=MARKET_RULES[self.market_rule_id][0][1],
            order_types=ORDER_TYPES,
            valid_exchanges=self.exchanges,
            underlying=on.contract,
            last_trade_time=min(self.ends_at, "13:00") if half else self.ends_at,
            market_rule_id=self.market_rule_id,
            direct_rule_id=self.direct_rule_id,
            suggested_size_increment=Decimal(1),
        )

    def _strike_index(self, strike: Decimal) -> int | None:
        index, rest = divmod(strike, self._strike_unit)
        return int(index) if rest == 0 and 0 < index < 1 << self._numbering[3] else None


@dataclass(frozen=True)
class Place:
    """What stocks of one exchange have in common."""

    currency: str
    exchanges: str
    time_zone: str
    market_rule_id: int = STOCK_RULE
    price_magnifier: int = 1


UNITED_STATES = Place("USD", "SMART,AMEX,NYSE,NASDAQ,ARCA,BATS,IEX", "US/Eastern")
PLACES = {
    "IBIS": Place("EUR", "SMART,IBIS", "Europe/Berlin"),
    "LSE": Place("GBP", "SMART,LSE", "GB-Eire", LONDON_RULE, price_magnifier=100),
}
"""The exchanges outside of the United States."""


@dataclass(frozen=True)
class SymbolMatch:
    """An instrument whose symbol or name fits a searched pattern, with the kinds of derivatives on it."""

    contract: Contract
    derivative_types: tuple[str, ...]
    description: str


@dataclass(frozen=True)
class OptionChain:
    """The options of one trading class on one exchange: expirations as YYYYMMDD, and strikes, both rising."""

    exchange: str
    underlying_con_id: int
    trading_class: str
    multiplier: str
    expirations: tuple[str, ...]
    strikes: tuple[Decimal, ...]


@dataclass(frozen=True)
class FutureClass:
    """Quarterly futures on an index; each ends on the third Friday of its month at 09:30 in New York."""

    underlying: Instrument
    exchange: str
    multiplier: str
    market_rule_id: int
    price_magnifier: int = 1

    def listed(self, today: date) -> Iterator[Instrument]:
        """The futures on a day: those that expired lately, and the next ones."""
        ahead = 0
        year, month = (today - timedelta(days=EXPIRED_FUTURES_DAYS)).year, 3
        while ahead < FUTURES:
            expiry = _monthly(year, month)
            if expiry >= today - timedelta(days=EXPIRED_FUTURES_DAYS):
                yield self.future(expiry, year, month)
            ahead += expiry >= today
            year, month = (year, month + 3) if month < 12 else (year + 1, 3)

    def future(self, expiry: date, year: int, month: int) -> Instrument:
        """Describe the future of a contract month."""
        symbol = self.underlying.contract.symbol
        contract = Contract(
            derived_id("FUT", symbol, self.exchange, f"{expiry:%Y%m%d}", self.multiplier),
            symbol,
            "FUT",
            expiry=f"{expiry:%Y%m%d}",
            multiplier=self.multiplier,
            exchange=self.exchange,
            currency=self.underlying.contract.currency,
            local_symbol=f"{symbol}{FUTURE_MONTHS[month]}{year % 10}",
            trading_class=symbol,
            price_magnifier=self.price_magnifier,
        )
        return Instrument(
            contract,
            long_name=self.underlying.long_name,
            market_name=symbol,
            min_tick=MARKET_RULES[self.market_rule_id][0][1],
            order_types=ORDER_TYPES,
            valid_exchanges=self.exchange,
            time_zone="US/Central",
            underlying=self.underlying.contract,
            last_trade_time="08:30",
            market_rule_id=self.market_rule_id,
            suggested_size_increment=Decimal(1),
        )


class Catalog:
    """All contracts there are on a day; ``roll`` brings it to another day.

    ``references`` has one entry for each listed contract id. Derivatives have none: they follow their underlying.
    """

    def __init__(
        self,
        listed: Iterable[Instrument],
        references: Mapping[int, Reference],
        today: date,
        *,
        options: Iterable[OptionClass] = (),
        futures: Iterable[FutureClass] = (),
        invents: bool = False,
    ) -> None:
        self.invents = invents
        self.added: list[str] = []
        self.splits: list[Split] = []
        self.split_ratios: dict[int, float] = {}
        """How many shares one share of the reference has become, by the stock's contract id."""
        self._adjusted: set[int] = set()
        self._invented: set[str] = set()
        self._instruments = {each.contract.con_id: each for each in listed}
        self._pairs = {
            (each.contract.symbol, each.contract.currency): each
            for each in self._instruments.values()
            if each.contract.sec_type == "CASH"
        }
        self._references = dict(references)
        self._option_classes = {each.code: each for each in options}
        self._future_classes = tuple(futures)
        self._options: dict[int, Instrument] = {}
        self._combinations: dict[int, Instrument] = {}
        self._listed_options: dict[int, list[Instrument]] = {}
        self.roll(today)

    def roll(self, today: date) -> None:
        """Advance the catalog to a day: add expiries that are new, and keep those that have passed."""
        self.today = today
        for each in self._future_classes:
            self._instruments.update((future.contract.con_id, future) for future in each.listed(today))

    def add(self, listing: Listing) -> None:
        """Add a stock or ETF with its options, or give a listed one other terms."""
        known = next((each for each in self._instruments.values() if _is_us_stock(each, listing.symbol)), None)
        con_id = known.contract.con_id if known is not None else derived_id("STK", listing.symbol, "SMART", "USD")
        instrument, reference = _stock(
            con_id,
            listing.symbol,
            listing.name,
            listing.exchange,
            ("", "", ""),
            str(listing.price),
            listing.volatility,
            listing.millions,
            listing.isin,
            stock_type=listing.kind,
        )
        self._instruments[con_id] = instrument
        self._references[con_id] = reference
        for code in [code for code, each in self._option_classes.items() if each.underlying.contract.con_id == con_id]:
            del self._option_classes[code]
        code = ADDED_CODE + len(self.added)
        self.added.append(listing.symbol)
        if listing.strike_step and code < VIX_CODE:
            self._option_classes[code] = OptionClass(
                code, instrument, listing.symbol.replace(" ", ""), listing.price, listing.strike_step, INDEX_OPTION_RULE
            )

    def invent(self, symbol: str) -> None:
        """Add the stock of a symbol as the simulator invents it."""
        self.add(invented(symbol))
        self._invented.add(symbol)

    def list_option(
        self, symbol: str, expiry: date, strike: Decimal, right: str, trading_class: str = ""
    ) -> Instrument | None:
        """Return an option by its terms, and list it if it is not; None if the symbol has no options of the class."""
        query = ContractQuery(0, symbol, "OPT", f"{expiry:%Y%m%d}", strike, right, trading_class=trading_class)
        found = self.find(query, include_expired=True)
        if found:
            return found[0]
        for each in self._option_classes.values():
            if each.underlying.contract.symbol == symbol and trading_class in ("", each.trading_class):
                facts = (each.trading_class, query.expiry, f"{strike.normalize():f}", right)
                listed = each.option(expiry, strike, right, derived_id("OPT", *facts))
                self._options[listed.contract.con_id] = listed
                self._listed_options.setdefault(each.code, []).append(listed)
                return listed
        return None

    def restore_added(self, symbols: Iterable[str]) -> None:
        """Invent the stocks that another catalog has invented, in the same order, so that contract ids are the same."""
        for symbol in list(symbols)[len(self.added) :]:
            self.invent(symbol)

    def options_known(self, underlying_con_id: int) -> list[Instrument]:
        """Return the options on an underlying that were requested since the start, those held among them."""
        return [
            each
            for each in self._options.values()
            if each.underlying is not None and each.underlying.con_id == underlying_con_id
        ]

    def apply_split(self, split: Split) -> None:
        """Apply a split to the catalog: options have their new terms, and chains new strikes."""
        for contract in split.adjusted:
            known = self.get(contract.con_id)
            if known is None:
                raise ValueError(f"contract {contract.con_id} is not in the catalog")
            self._options[contract.con_id] = replace(known, contract=contract)
            self._adjusted.add(contract.con_id)
        for code, each in self._option_classes.items():
            if each.underlying.contract.con_id == split.con_id:
                self._option_classes[code] = replace(each, base_price=split.price(each.base_price))
        self.splits.append(split)
        self.split_ratios[split.con_id] = self.split_ratios.get(split.con_id, 1.0) * float(split.ratio)

    def _invent_for(self, wanted: ContractQuery) -> bool:
        """Invent the stock that a description means, itself or through its options; return whether it was one."""
        plausible = (
            self.invents
            and is_plausible(wanted.symbol)
            and wanted.sec_type in ("STK", "OPT")
            and wanted.currency in ("", "USD")
            and wanted.primary_exchange in ("", *US_EXCHANGES)
            and not any(
                (each.contract.symbol, each.contract.currency) == (wanted.symbol, "USD")
                for each in self._instruments.values()
            )
        )
        if plausible:
            self.invent(wanted.symbol)
        return plausible

    def get(self, con_id: int) -> Instrument | None:
        """Return the contract of an id, expired ones too, or None if there is no such contract."""
        known = self._instruments.get(con_id) or self._options.get(con_id) or self._combinations.get(con_id)
        if known is not None:
            return known
        option_class = self._class_of(con_id)
        terms = option_class.decode(con_id) if option_class is not None else None
        return self._option(option_class, *terms) if option_class is not None and terms is not None else None

    def known(self, con_id: int) -> Instrument:
        """Return the contract of an id, expired ones too. Raises ValueError if there is none."""
        instrument = self.get(con_id)
        if instrument is None:
            raise ValueError(f"contract {con_id} is not in the catalog")
        return instrument

    def pair(self, symbol: str, currency: str) -> Instrument | None:
        """Return the pair in which one currency is priced in another."""
        return self._pairs.get((symbol, currency))

    def remember(self, combination: Instrument) -> None:
        """Register a combination, so that ``get`` finds it by its key."""
        self._combinations[combination.key] = combination

    def reference(self, con_id: int) -> Reference | None:
        """Return how the market moves a contract, or None for derivatives and unknown ids."""
        return self._references.get(con_id)

    def find(self, query: ContractQuery, *, include_expired: bool = False) -> list[Instrument]:
        """Return the contracts that a client's description fits, by symbol, expiry, strike and right.

        A contract id or a local symbol is enough; an expiry may be a month (YYYYMM); a strike of 0 and an empty
        field fit any. Without a security type, derivatives are found only where expiry, strike or right is given.
        Expired contracts (futures of the last two years, options of two months) are found if asked for. Contracts
        come with the exchange that was asked for.
        """
        wanted = _normalized(query)
        if wanted.symbol in self._invented and wanted.primary_exchange in US_EXCHANGES:
            wanted = replace(wanted, primary_exchange="")  # where an invented stock is listed, nobody can know
        if wanted.con_id:
            known = self.get(wanted.con_id)
            found = [known] if known is not None else []
        else:
            found = [*self._find_listed(wanted), *self._find_options(wanted, include_expired=include_expired)]
            if not found and self._invent_for(wanted):
                return self.find(query, include_expired=include_expired)
        return [
            _on_exchange(each, wanted.exchange)
            for each in found
            if (include_expired or not self._is_expired(each))
            and (not wanted.exchange or wanted.exchange in each.valid_exchanges.split(","))
        ]

    def search(self, pattern: str) -> list[SymbolMatch]:
        """Return the underlyings whose symbol starts with a pattern or whose name contains it, best first.

        Upper and lower case are alike; an empty pattern finds nothing.
        """
        text = pattern.strip().upper()
        if not text:
            return []
        matches = [
            each
            for each in self._instruments.values()
            if each.contract.sec_type in UNDERLYING_KINDS
            and (each.contract.symbol.startswith(text) or text in each.long_name.upper())
        ]
        matches.sort(key=lambda each: (each.contract.symbol != text, not each.contract.symbol.startswith(text)))
        return [SymbolMatch(each.contract, self._derivative_types(each), each.long_name) for each in matches]

    def chains(self, underlying_con_id: int, exchange: str = "") -> list[OptionChain]:
        """Return the option chains on an underlying, for one exchange or for all; none if it has no options."""
        return [
            OptionChain(
                place,
                underlying_con_id,
                each.trading_class,
                "100",
                self._expirations(each),
                tuple(sorted({*each.strikes(), *(own.contract.strike for own in self._listed_of(each))})),
            )
            for each in self._option_classes.values()
            if each.underlying.contract.con_id == underlying_con_id
            for place in each.exchanges.split(",")
            if exchange in ("", place)
        ]

    def _listed_of(self, option_class: OptionClass) -> list[Instrument]:
        """The options of a class that were listed one by one and have not expired."""
        return [each for each in self._listed_options.get(option_class.code, []) if not self._is_expired(each)]

    def _expirations(self, option_class: OptionClass) -> tuple[str, ...]:
        listed = {f"{day:%Y%m%d}" for day in option_class.expiries(self.today)}
        return tuple(sorted(listed | {each.contract.expiry for each in self._listed_of(option_class)}))

    def named(self, name: str) -> list[Instrument]:
        """Return what a person may mean by a contract id as text, a local symbol or a symbol, expired ones too.

        A symbol means its underlyings, in the order of the catalog.
        """
        text = name.strip()
        if text.isascii() and text.isdigit():
            known = self.get(int(text))
            return [known] if known is not None else []
        listed = [each for each in self._instruments.values() if each.contract.local_symbol == text.upper()]
        by_local = listed or self._find_options(_normalized(ContractQuery(local_symbol=text)), include_expired=True)
        return by_local or [
            each
            for each in self._instruments.values()
            if each.contract.symbol == text.upper() and each.contract.sec_type in UNDERLYING_KINDS
        ]

    def _find_listed(self, wanted: ContractQuery) -> list[Instrument]:
        if wanted.sec_type == "OPT":
            return []
        derivatives = bool(wanted.sec_type or wanted.expiry or wanted.local_symbol)
        found = [
            each
            for each in self._instruments.values()
            if (derivatives or each.contract.sec_type != "FUT") and each.matches(wanted)
        ]
        return sorted(found, key=lambda each: each.contract.expiry)

    def _find_options(self, wanted: ContractQuery, *, include_expired: bool) -> list[Instrument]:
        if wanted.sec_type not in ("", "OPT"):
            return []
        if wanted.local_symbol:
            parsed = LOCAL_OPTION.fullmatch(wanted.local_symbol)
            if parsed is None:
                return []
            wanted = replace(
                wanted,
                trading_class=wanted.trading_class or parsed["root"],
                expiry=wanted.expiry or f"20{parsed['day']}",
                strike=wanted.strike or Decimal(parsed["strike"]) / 1000,
                right=wanted.right or parsed["right"],
                local_symbol=f"{parsed['root']:<6}{parsed['day']}{parsed['right']}{parsed['strike']}",
            )
        elif not wanted.symbol or not (wanted.sec_type or wanted.expiry or wanted.strike or wanted.right):
            return []
        oldest = self.today - timedelta(days=EXPIRED_OPTIONS_DAYS)
        found = [
            self._option(each, expiry, strike, right)
            for each in self._option_classes.values()
            if each.underlying.contract.symbol == wanted.symbol or not wanted.symbol
            if wanted.trading_class in ("", each.trading_class) and wanted.multiplier in ("", "100")
            if wanted.currency in ("", each.underlying.contract.currency) and not wanted.primary_exchange
            for expiry in (
                *(each.expired_since(oldest, self.today) if include_expired else ()),
                *each.expiries(self.today),
            )
            if f"{expiry:%Y%m%d}".startswith(wanted.expiry)
            for strike in each.strikes()
            if wanted.strike in (ZERO, strike)
            for right in ("C", "P")
            if wanted.right in ("", right)
        ]
        found += [option for options in self._listed_options.values() for option in options if option.matches(wanted)]
        if self._adjusted:
            # An option of after a split takes the place of a listed one with the same terms.
            adjusted = [self._options[con_id] for con_id in sorted(self._adjusted)]
            taken = {each.contract.local_symbol for each in adjusted}
            found = [
                each
                for each in found
                if each.contract.con_id not in self._adjusted and each.contract.local_symbol not in taken
            ]
            found += [each for each in adjusted if each.matches(wanted)]
        return [each for each in found if wanted.local_symbol in ("", each.contract.local_symbol)]

    def _option(self, option_class: OptionClass, expiry: date, strike: Decimal, right: str) -> Instrument:
        con_id = option_class.con_id(expiry, strike, right)
        known = self._options.get(con_id)
        if known is None:
            known = self._options[con_id] = option_class.option(expiry, strike, right)
        return known

    def _class_of(self, con_id: int) -> OptionClass | None:
        if con_id >= ADDED_IDS:
            code = min(ADDED_CODE + ((con_id - ADDED_IDS) >> ADDED_SHIFT), DAILY_CODE)
        else:
            code = (con_id - OPTION_IDS) >> (1 + STRIKE_BITS + WEEK_BITS)
        return self._option_classes.get(code) if con_id >= OPTION_IDS else None

    def _is_expired(self, instrument: Instrument) -> bool:
        return "" < instrument.contract.expiry < f"{self.today:%Y%m%d}"

    def _derivative_types(self, underlying: Instrument) -> tuple[str, ...]:
        con_id = underlying.contract.con_id
        options = any(each.underlying.contract.con_id == con_id for each in self._option_classes.values())
        futures = any(each.underlying.contract.con_id == con_id for each in self._future_classes)
        return (*(("OPT",) if options else ()), *(("FUT",) if futures else ()))


def increment_at(instrument: Instrument, price: Decimal) -> Decimal:
    """Return the step between allowed prices of an instrument at a price, on the exchange that its contract names."""
    increment = instrument.min_tick
    if instrument.legs:
        return increment
    for edge, step in MARKET_RULES[instrument.rule_on(instrument.contract.exchange)]:
        if price >= edge:
            increment = step
    return increment


def derived_id(*facts: str) -> int:
    """Return a contract id in [2**29, 2**30) that depends on nothing but the facts."""
    digest = blake2b("|".join(facts).encode(), digest_size=8).digest()
    return DERIVED_IDS + int.from_bytes(digest, "big") % DERIVED_IDS


def sample_catalog(today: date, *, invents: bool = False, listings: Iterable[Listing] = ()) -> Catalog:
    """Create the catalog of the simulator as it is on a day, with listings that add to it or replace some of it.

    ``invents``: a stock or ETF that is asked for and not listed is invented.
    """
    instruments = {}
    references = {}
    for instrument, reference in _listed():
        instruments[instrument.contract.con_id] = instrument
        references[instrument.contract.con_id] = reference
    steps = (
        (0, 265598, "AAPL", "2.5", OPTION_RULE),
        (1, 272093, "MSFT", "5", OPTION_RULE),
        (2, 756733, "SPY", "5", PENNY_OPTION_RULE),
        (3, 76792991, "TSLA", "5", OPTION_RULE),
        (4, 4815747, "NVDA", "2.5", OPTION_RULE),
        (5, 8314, "IBM", "5", OPTION_RULE),
        (8, 320227571, "QQQ", "5", PENNY_OPTION_RULE),
        (9, 15547841, "TLT", "1", OPTION_RULE),
        (10, 9579970, "IWM", "2.5", PENNY_OPTION_RULE),
        (11, 4391, "AMD", "2.5", OPTION_RULE),
        (12, 270639, "INTC", "0.5", OPTION_RULE),
        (13, 3691937, "AMZN", "2.5", OPTION_RULE),
        (14, 208813720, "GOOG", "2.5", OPTION_RULE),
        (15, 72063691, "BRKB", "5", OPTION_RULE),
    )
    classes = [
        OptionClass(
            code,
            instruments[con_id],
            name,
            references[con_id].base_price,
            Decimal(step),
            PENNY_OPTION_RULE,
            direct_rule,
        )
        for code, con_id, name, step, direct_rule in steps
    ]
    index = OptionClass(
        DAILY_CODE,
        instruments[416904],
        "SPXW",
        references[416904].base_price,
        Decimal(25),
        INDEX_OPTION_RULE,
        exchanges="SMART,CBOE",
        cycle=DAILY,
        near_step=Decimal(5),
    )
    # The monthly class is settled from the opening prices of its Friday.
    opening = replace(index, code=7, trading_class="SPX", cycle=MONTHLY, ends_at="09:30", near_step=ZERO)
    volatility = replace(
        opening,
        code=VIX_CODE,
        underlying=instruments[VIX],
        trading_class="VIX",
        base_price=references[VIX].base_price,
        strike_step=Decimal(1),
        cycle=VOLATILITY,
        strike_bounds=(Decimal(10), Decimal(60)),
    )
    catalog = Catalog(
        instruments.values(),
        references,
        today,
        options=[*classes, index, opening, volatility],
        futures=[
            FutureClass(instruments[11004968], "CME", "50", FUTURE_RULE),
            FutureClass(instruments[362687422], "CME", "5", FUTURE_RULE),
            FutureClass(instruments[11004958], "CME", "20", FUTURE_RULE),
            FutureClass(instruments[362687423], "CME", "2", FUTURE_RULE),
            # Quoted in cents for a bushel.
            FutureClass(instruments[CORN], "CBOT", "5000", GRAIN_RULE, price_magnifier=100),
        ],
        invents=invents,
    )
    for listing in listings:
        catalog.add(listing)
    return catalog


def _is_us_stock(instrument: Instrument, symbol: str) -> bool:
    contract = instrument.contract
    return (contract.symbol, contract.sec_type, contract.currency) == (symbol, "STK", "USD")


def _listed() -> Iterator[tuple[Instrument, Reference]]:
    yield _stock(
        265598,
        "AAPL",
        "APPLE INC",
        "NASDAQ",
        ("Technology", "Computers", "Computers"),
        "189.25",
        0.26,
        55,
        "US0378331005",
    )
    yield _stock(
        272093,
        "MSFT",
        "MICROSOFT CORP",
        "NASDAQ",
        ("Technology", "Software", "Applications Software"),
        "402.10",
        0.24,
        22,
        "US5949181045",
    )
    yield _stock(
        756733, "SPY", "SPDR S&P 500 ETF TRUST", "ARCA", ("", "", ""), "600.00", 0.15, 70, "US78462F1030", "SPX", "ETF"
    )
    yield _stock(
        76792991,
        "TSLA",
        "TESLA INC",
        "NASDAQ",
        ("Consumer, Cyclical", "Auto Manufacturers", "Auto-Cars/Light Trucks"),
        "250.00",
        0.50,
        95,
        "US88160R1014",
    )
    yield _stock(
        4815747,
        "NVDA",
        "NVIDIA CORP",
        "NASDAQ",
        ("Technology", "Semiconductors", "Electronic Compo-Semicon"),
        "140.00",
        0.45,
        210,
        "US67066G1040",
    )
    yield _stock(
        8314,
        "IBM",
        "INTL BUSINESS MACHINES CORP",
        "NYSE",
        ("Technology", "Computers", "Computer Services"),
        "230.00",
        0.21,
        4,
        "US4592001014",
    )
    yield _stock(
        derived_id("STK", "IBM", "IBIS", "EUR"),
        "IBM",
        "INTL BUSINESS MACHINES CORP",
        "IBIS",
        ("Technology", "Computers", "Computer Services"),
        "212.00",
        0.21,
        1,
        "US4592001014",
    )
    # Quoted in pence.
    for symbol, name, price, volatility, millions, isin in (
        ("VOD", "VODAFONE GROUP PLC", "74.00", 0.24, 60, "GB00BH4HKS39"),
        ("BARC", "BARCLAYS PLC", "337.00", 0.28, 35, "GB0031348658"),
    ):
        yield _stock(
            derived_id("STK", symbol, "LSE", "GBP"),
            symbol,
            name,
            "LSE",
            ("", "", ""),
            price,
            volatility,
            millions,
            isin,
            f"{symbol} LSE",
        )
    yield from _more_stocks()
    for con_id, symbol, name, exchange, price, volatility, walk in (
        (416904, "SPX", "S&P 500 Stock Index", "CBOE", "6000.00", 0.15, "SPX"),
        (11004968, "ES", "E-mini S&P 500", "CME", "6000.00", 0.15, "SPX"),
        (362687422, "MES", "Micro E-Mini S&P 500 Stock Price Index", "CME", "6000.00", 0.15, "SPX"),
        (11004958, "NQ", "E-mini NASDAQ 100", "CME", "21000.00", 0.20, "NDX"),
        (362687423, "MNQ", "Micro E-Mini Nasdaq-100 Index", "CME", "21000.00", 0.20, "NDX"),
        (VIX, "VIX", "CBOE Volatility Index", "CBOE", "16.00", 0.90, "VIX"),
        (CORN, "ZC", "Corn Futures", "CBOT", "450.00", 0.15, "ZC"),
    ):
        contract = Contract(con_id, symbol, "IND", exchange=exchange, local_symbol=symbol, trading_class=symbol)
        yield (
            Instrument(
                contract,
                name,
                symbol,
                order_types="",
                valid_exchanges=exchange,
                industry="Indices",
                category="Broad Range Equity Index",
            ),
            Reference(Decimal(price), volatility, 0, walk, 0.013),
        )
    for con_id, symbol, currency, name, price, volatility in (
        (12087792, "EUR", "USD", "European Monetary Union Euro", "1.08500", 0.07),
        (12087797, "GBP", "USD", "British pound", "1.27000", 0.08),
        (14433401, "AUD", "USD", "Australian dollar", "0.65000", 0.10),
        (39453441, "NZD", "USD", "New Zealand dollar", "0.59000", 0.10),
        (15016062, "USD", "CAD", "United States dollar", "1.40000", 0.06),
        (12087820, "USD", "CHF", "United States dollar", "0.88500", 0.07),
        (15016059, "USD", "JPY", "United States dollar", "154.500", 0.10),
    ):
        yield _pair(con_id, symbol, currency, name, price, volatility)


def _pair(
    con_id: int, symbol: str, currency: str, name: str, price: str, volatility: float
) -> tuple[Instrument, Reference]:
    """A currency pair; ``currency`` is the one in which ``symbol`` is priced."""
    pair = f"{symbol}.{currency}"
    rule = YEN_RULE if currency == "JPY" else CURRENCY_RULE
    contract = Contract(
        con_id, symbol, "CASH", exchange="IDEALPRO", currency=currency, local_symbol=pair, trading_class=pair
    )
    instrument = Instrument(
        contract,
        name,
        pair,
        min_tick=MARKET_RULES[rule][0][1],
        order_types=ORDER_TYPES,
        valid_exchanges="IDEALPRO",
        market_rule_id=rule,
        suggested_size_increment=Decimal(1),
    )
    return instrument, Reference(Decimal(price), volatility, 0, pair)


def _more_stocks() -> Iterator[tuple[Instrument, Reference]]:
    technology, none = ("Technology", "Semiconductors", "Electronic Compo-Semicon"), ("", "", "")
    internet = ("Communications", "Internet", "E-Commerce/Products")
    finance = ("Financial", "Insurance", "Reinsurance")
    for con_id, symbol, name, exchange, sector, price, volatility, millions, isin, walk, kind in (
        (320227571, "QQQ", "INVESCO QQQ TRUST SERIES 1", "NASDAQ", none, "510", 0.2, 35, "US46090E1038", "NDX", "ETF"),
        (15547841, "TLT", "ISHARES 20+ YEAR TREASURY", "NASDAQ", none, "90", 0.14, 40, "US4642874329", "", "ETF"),
        (9579970, "IWM", "ISHARES RUSSELL 2000 ETF", "ARCA", none, "235", 0.21, 28, "US4642876555", "", "ETF"),
        (4391, "AMD", "ADVANCED MICRO DEVICES", "NASDAQ", technology, "140", 0.45, 38, "US0079031078", "", "COMMON"),
        (270639, "INTC", "INTEL CORP", "NASDAQ", technology, "24.5", 0.5, 60, "US4581401001", "", "COMMON"),
        (3691937, "AMZN", "AMAZON.COM INC", "NASDAQ", internet, "205", 0.3, 40, "US0231351067", "", "COMMON"),
        (208813720, "GOOG", "ALPHABET INC-CL C", "NASDAQ", internet, "170", 0.28, 20, "US02079K1079", "", "COMMON"),
        (72063691, "BRK B", "BERKSHIRE HATHAWAY-CL B", "NYSE", finance, "475", 0.16, 4, "US0846707026", "", "COMMON"),
    ):
        yield _stock(con_id, symbol, name, exchange, sector, price, volatility, millions, isin, walk, kind)


def _stock(
    con_id: int,
    symbol: str,
    name: str,
    exchange: str,
    sector: tuple[str, str, str],
    base_price: str,
    volatility: float,
    millions: int,
    isin: str,
    walk: str = "",
    stock_type: str = "COMMON",
) -> tuple[Instrument, Reference]:
    """A stock, and the market's terms for it; ``millions`` of shares trade on a day."""
    place = PLACES.get(exchange, UNITED_STATES)
    trading_class = {"NASDAQ": "NMS", "IBIS": "XETRA"}.get(exchange, symbol)
    contract = Contract(
        con_id,
        symbol,
        primary_exchange=exchange,
        currency=place.currency,
        local_symbol=symbol,
        trading_class=trading_class,
        price_magnifier=place.price_magnifier,
    )
    instrument = Instrument(
        contract,
        name,
        trading_class,
        min_tick=MARKET_RULES[place.market_rule_id][0][1],
        order_types=ORDER_TYPES,
        valid_exchanges=place.exchanges,
        industry=sector[0],
        category=sector[1],
        subcategory=sector[2],
        time_zone=place.time_zone,
        stock_type=stock_type,
        market_rule_id=place.market_rule_id,
        isin=isin,
    )
    return instrument, Reference(Decimal(base_price), volatility, millions * 1_000_000, walk or symbol, 0.005)


@lru_cache
def _strikes(
    base_price: Decimal, step: Decimal, near_step: Decimal, bounds: tuple[Decimal, Decimal] | None
) -> tuple[Decimal, ...]:
    low, high = bounds or (base_price * (1 - STRIKE_RANGE), base_price * (1 + STRIKE_RANGE))
    strikes = _multiples(step, low, high)
    if near_step:
        strikes |= _multiples(near_step, base_price * (1 - NEAR_RANGE), base_price * (1 + NEAR_RANGE))
    return tuple(sorted(strikes))


def _multiples(step: Decimal, low: Decimal, high: Decimal) -> set[Decimal]:
    first = int(low / step) + (low % step != 0)
    return {index * step for index in range(first, int(high / step) + 1)}


def _monthly(year: int, month: int) -> date:
    """The last trading day of monthly options and of futures: the third Friday, or the day before a holiday.

    ``month`` may run over the year's end.
    """
    return holidays.last_trading_day(holidays.nth_weekday(year + (month - 1) // 12, (month - 1) % 12 + 1, FRIDAY, 3))


def _on_exchange(instrument: Instrument, exchange: str) -> Instrument:
    if exchange in ("", instrument.contract.exchange):
        return instrument
    return replace(instrument, contract=replace(instrument.contract, exchange=exchange))


def _normalized(query: ContractQuery) -> ContractQuery:
    """The query in the catalog's own words: upper case, C or P, a bare date."""
    right = query.right.strip().upper()
    return replace(
        query,
        symbol=query.symbol.strip().upper(),
        sec_type=query.sec_type.strip().upper(),
        right={"CALL": "C", "PUT": "P", "?": "", "0": ""}.get(right, right),
        exchange=query.exchange.strip().upper(),
        primary_exchange=query.primary_exchange.strip().upper(),
        currency=query.currency.strip().upper(),
        local_symbol=query.local_symbol.strip().upper(),
        trading_class=query.trading_class.strip().upper(),
        expiry=query.expiry.strip()[:8],
    )
