"""The contracts that the simulated brokerage knows, and how a client's description finds them.

Stocks, an index, index futures, a currency pair and option chains. Options are not kept: an option's contract id says
which one it is, so that chains of thousands cost nothing until a contract is asked for, and an id means the same
contract in every run.

Contract ids: what is listed by name has IB's own id. A future's or another derived id comes from a hash of what it is,
in [2**29, 2**30). An option's is 2**30 plus its class, week of expiry, strike and right, packed into 29 bits.

Increments: ``Instrument.market_rule_id`` names a rule of MARKET_RULES, a tuple of (low edge, increment) in which the
last edge at or below a price gives the increment there; ``increment_at`` looks it up. The classes of the penny
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
from gateway_simulator.trading.model import ZERO, Contract, ContractQuery, Instrument

Rule = tuple[tuple[Decimal, Decimal], ...]

STOCK_RULE, PENNY_OPTION_RULE, OPTION_RULE, INDEX_OPTION_RULE, FUTURE_RULE, CURRENCY_RULE = 26, 32, 109, 110, 67, 239
GRAIN_RULE = 148
MARKET_RULES: dict[int, Rule] = {
    STOCK_RULE: ((ZERO, Decimal("0.01")),),
    PENNY_OPTION_RULE: ((ZERO, Decimal("0.01")),),
    OPTION_RULE: ((ZERO, Decimal("0.01")), (Decimal(3), Decimal("0.05"))),
    INDEX_OPTION_RULE: ((ZERO, Decimal("0.05")), (Decimal(3), Decimal("0.10"))),
    FUTURE_RULE: ((ZERO, Decimal("0.25")),),
    GRAIN_RULE: ((ZERO, Decimal("0.25")),),
    CURRENCY_RULE: ((ZERO, Decimal("0.00005")),),
}

WEEKLIES = 6
MONTHLIES = 6
LEAPS = 2
FUTURES = 4
"""How many expiries of each kind are listed; LEAPS are the Januaries beyond the monthlies."""
STRIKE_RANGE = Decimal("0.3")
"""Strikes reach so far from the underlying's base price, as a share of it, on either side."""
EXPIRED_FUTURES_DAYS = 730
EXPIRED_OPTIONS_DAYS = 60
"""How long ago a contract may have expired that a search with includeExpired still finds."""

OPTION_IDS = 2**30
DERIVED_IDS = 2**29
FIRST_WEEK = date(2000, 1, 3)
"""The Monday of week 0 in an option's contract id."""
STRIKE_BITS, WEEK_BITS, CLASS_BITS = 12, 12, 4

CORN = 38127218
"""The id of what the futures on corn are on; their months are those of all futures here."""
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

    ``code`` is part of their contract ids and must never change. ``weekly`` classes have weekly and monthly
    expiries, the others monthly ones only.
    """

    code: int
    underlying: Instrument
    trading_class: str
    base_price: Decimal
    strike_step: Decimal
    market_rule_id: int
    direct_rule_id: int = 0
    exchanges: str = OPTION_EXCHANGES
    weekly: bool = True
    ends_at: str = "16:00"

    def strikes(self) -> tuple[Decimal, ...]:
        """All strikes, rising."""
        return _strikes(self.base_price, self.strike_step)

    def expiries(self, today: date) -> tuple[date, ...]:
        """The expiries listed on a day, its own included, in order of time."""
        friday = today + timedelta(days=(FRIDAY - today.weekday()) % 7)
        days = [_monthly(today.year, today.month + offset) for offset in range(MONTHLIES + 1)]
        monthlies = [each for each in days if each >= today][:MONTHLIES]
        januaries = [_monthly(year, 1) for year in range(today.year + 1, today.year + 2 + LEAPS)]
        listed = {*monthlies, *[each for each in januaries if each > monthlies[-1]][:LEAPS]}
        if self.weekly:
            weeklies = [holidays.last_trading_day(friday + timedelta(weeks=week)) for week in range(WEEKLIES + 1)]
            listed.update([each for each in weeklies if each >= today][:WEEKLIES])
        return tuple(sorted(listed))

    def expired_since(self, first: date, today: date) -> tuple[date, ...]:
        """The expiries from a day on that lie before today, in order of time."""
        days = (first + timedelta(days=offset) for offset in range((today - first).days))
        return tuple(each for each in days if self.has_expiry(each))

    def has_expiry(self, day: date) -> bool:
        """Tell whether options of this class can end on a day, be it listed now or not."""
        friday = day + timedelta(days=(FRIDAY - day.weekday()) % 7)
        if holidays.last_trading_day(friday) != day:
            return False
        return self.weekly or _monthly(friday.year, friday.month) == day

    def con_id(self, expiry: date, strike: Decimal, right: str) -> int:
        """The contract id of an option. Raises ValueError for one that cannot be numbered."""
        week = (expiry - FIRST_WEEK).days // 7
        index = self._strike_index(strike)
        if not 0 <= week < 1 << WEEK_BITS or index is None:
            raise ValueError(f"{self.trading_class} has no option {expiry} {strike} {right}")
        packed = (self.code << WEEK_BITS | week) << STRIKE_BITS | index
        return OPTION_IDS + (packed << 1 | (right == "P"))

    def decode(self, con_id: int) -> tuple[date, Decimal, str] | None:
        """The option that a contract id of this class stands for, or None if there is no such option."""
        packed, is_put = divmod(con_id - OPTION_IDS, 2)
        packed, index = divmod(packed, 1 << STRIKE_BITS)
        friday = FIRST_WEEK + timedelta(weeks=packed % (1 << WEEK_BITS), days=FRIDAY)
        day = holidays.last_trading_day(friday)
        strike = index * self.strike_step
        if strike not in self.strikes() or not self.has_expiry(day):
            return None
        return day, strike, "P" if is_put else "C"

    def option(self, expiry: date, strike: Decimal, right: str) -> Instrument:
        """Describe one option of the class."""
        on = self.underlying
        half = holidays.new_york(expiry) is DayKind.HALF
        contract = Contract(
            self.con_id(expiry, strike, right),
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
        index, rest = divmod(strike, self.strike_step)
        return int(index) if rest == 0 and 0 < index < 1 << STRIKE_BITS else None


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
    ) -> None:
        self._instruments = {each.contract.con_id: each for each in listed}
        self._references = dict(references)
        self._option_classes = {each.code: each for each in options}
        self._future_classes = tuple(futures)
        self._options: dict[int, Instrument] = {}
        self.roll(today)

    def roll(self, today: date) -> None:
        """Make this the catalog of a day: add expiries that are new, and keep those that have passed."""
        self.today = today
        for each in self._future_classes:
            self._instruments.update((future.contract.con_id, future) for future in each.listed(today))

    def get(self, con_id: int) -> Instrument | None:
        """Return the contract of an id, expired ones too, or None if there is no such contract."""
        known = self._instruments.get(con_id) or self._options.get(con_id)
        if known is not None:
            return known
        option_class = self._class_of(con_id)
        terms = option_class.decode(con_id) if option_class is not None else None
        return self._option(option_class, *terms) if option_class is not None and terms is not None else None

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
        if wanted.con_id:
            known = self.get(wanted.con_id)
            found = [known] if known is not None else []
        else:
            found = [*self._find_listed(wanted), *self._find_options(wanted, include_expired=include_expired)]
        return [
            _on_exchange(each, wanted.exchange)
            for each in found
            if (include_expired or not self._is_expired(each))
            and (not wanted.exchange or wanted.exchange in each.valid_exchanges.split(","))
        ]

    def search(self, pattern: str) -> list[SymbolMatch]:
        """Return the underlyings whose symbol begins with a pattern or whose name contains it, best first.

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
                tuple(f"{day:%Y%m%d}" for day in each.expiries(self.today)),
                each.strikes(),
            )
            for each in self._option_classes.values()
            if each.underlying.contract.con_id == underlying_con_id
            for place in each.exchanges.split(",")
            if exchange in ("", place)
        ]

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
        return [each for each in found if wanted.local_symbol in ("", each.contract.local_symbol)]

    def _option(self, option_class: OptionClass, expiry: date, strike: Decimal, right: str) -> Instrument:
        con_id = option_class.con_id(expiry, strike, right)
        known = self._options.get(con_id)
        if known is None:
            known = self._options[con_id] = option_class.option(expiry, strike, right)
        return known

    def _class_of(self, con_id: int) -> OptionClass | None:
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
    for edge, step in MARKET_RULES[instrument.rule_on(instrument.contract.exchange)]:
        if price >= edge:
            increment = step
    return increment


def derived_id(*facts: str) -> int:
    """Return a contract id in [2**29, 2**30) that depends on nothing but the facts."""
    digest = blake2b("|".join(facts).encode(), digest_size=8).digest()
    return DERIVED_IDS + int.from_bytes(digest, "big") % DERIVED_IDS


def sample_catalog(today: date) -> Catalog:
    """Build the catalog of the simulator as it is on a day."""
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
        6,
        instruments[416904],
        "SPXW",
        references[416904].base_price,
        Decimal(25),
        INDEX_OPTION_RULE,
        exchanges="SMART,CBOE",
    )
    # The monthly class is settled from the opening prices of its Friday.
    opening = replace(index, code=7, trading_class="SPX", weekly=False, ends_at="09:30")
    return Catalog(
        instruments.values(),
        references,
        today,
        options=[*classes, index, opening],
        futures=[
            FutureClass(instruments[11004968], "CME", "50", FUTURE_RULE),
            # Quoted in cents for a bushel.
            FutureClass(instruments[CORN], "CBOT", "5000", GRAIN_RULE, price_magnifier=100),
        ],
    )


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
    for con_id, symbol, name, exchange, price, walk in (
        (416904, "SPX", "S&P 500 Stock Index", "CBOE", "6000.00", "SPX"),
        (11004968, "ES", "E-mini S&P 500", "CME", "6000.00", "SPX"),
        (CORN, "ZC", "Corn Futures", "CBOT", "450.00", "ZC"),
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
            Reference(Decimal(price), 0.15, 0, walk, 0.013),
        )
    euro = Contract(12087792, "EUR", "CASH", exchange="IDEALPRO", local_symbol="EUR.USD", trading_class="EUR.USD")
    yield (
        Instrument(
            euro,
            "European Monetary Union Euro",
            "EUR.USD",
            min_tick=Decimal("0.00005"),
            order_types=ORDER_TYPES,
            valid_exchanges="IDEALPRO",
            market_rule_id=CURRENCY_RULE,
            suggested_size_increment=Decimal(1),
        ),
        Reference(Decimal("1.08500"), 0.07, 0, "EUR.USD"),
    )


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
    european = exchange == "IBIS"
    trading_class = {"NASDAQ": "NMS", "IBIS": "XETRA"}.get(exchange, symbol)
    contract = Contract(
        con_id,
        symbol,
        primary_exchange=exchange,
        currency="EUR" if european else "USD",
        local_symbol=symbol,
        trading_class=trading_class,
    )
    instrument = Instrument(
        contract,
        name,
        trading_class,
        order_types=ORDER_TYPES,
        valid_exchanges="SMART,IBIS" if european else "SMART,AMEX,NYSE,NASDAQ,ARCA,BATS,IEX",
        industry=sector[0],
        category=sector[1],
        subcategory=sector[2],
        time_zone="Europe/Berlin" if european else "US/Eastern",
        stock_type=stock_type,
        isin=isin,
    )
    return instrument, Reference(Decimal(base_price), volatility, millions * 1_000_000, walk or symbol, 0.005)


@lru_cache
def _strikes(base_price: Decimal, step: Decimal) -> tuple[Decimal, ...]:
    low = int(base_price * (1 - STRIKE_RANGE) / step) + 1
    high = int(base_price * (1 + STRIKE_RANGE) / step)
    return tuple(index * step for index in range(low, high + 1))


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
