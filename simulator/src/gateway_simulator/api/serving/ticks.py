"""The ticks that report a quote: pure, and the same for a stream and a snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from gateway_simulator.api import messages
from gateway_simulator.trading.model import ZERO, Instrument, OptionComputation, Quote

BID_SIZE, BID, ASK, ASK_SIZE, LAST, LAST_SIZE, HIGH, LOW, VOLUME, CLOSE = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9
BID_OPTION, ASK_OPTION, LAST_OPTION, MODEL_OPTION, OPEN = 10, 11, 12, 13, 14
HISTORICAL_VOLATILITY, IMPLIED_VOLATILITY = 23, 24
CALL_OPEN_INTEREST, PUT_OPEN_INTEREST, CALL_VOLUME, PUT_VOLUME = 27, 28, 29, 30
MARK, LAST_TIMESTAMP, SHORTABLE, RT_VOLUME, HALTED, SHORTABLE_SHARES = 37, 45, 46, 48, 49, 89
CUSTOM_OPTION = 53

DELAYED = {
    BID: 66,
    ASK: 67,
    LAST: 68,
    BID_SIZE: 69,
    ASK_SIZE: 70,
    LAST_SIZE: 71,
    HIGH: 72,
    LOW: 73,
    VOLUME: 74,
    CLOSE: 75,
    OPEN: 76,
    BID_OPTION: 80,
    ASK_OPTION: 81,
    LAST_OPTION: 82,
    MODEL_OPTION: 83,
    LAST_TIMESTAMP: 88,
    HALTED: 90,
}
"""The types that ticks of delayed data have; those without one of their own stay as they are."""

GENERIC_TICKS = {
    100: "100(Option Volume)",
    101: "101(Option Open Interest)",
    105: "105(Average Opt Volume)",
    106: "106(impvolat)",
    165: "165(Misc. Stats)",
    221: "221/220(Creditman Mark Price)",
    225: "225(Auction)",
    232: "232/221(Pl Price)",
    233: "233(RTVolume)",
    236: "236(inventory)",
    258: "258/47(Fundamentals)",
    292: "292(Wide_news)",
    293: "293(TradeCount)",
    294: "294(TradeRate)",
    295: "295(VolumeRate)",
    318: "318(LastRTHTrade)",
    375: "375(RTTrdVolume)",
    411: "411(rthistvol)",
    456: "456/59(IBDividends)",
    460: "460(Bond Factor Multiplier)",
    576: "576(EtfNavBidAsk(navbidask))",
    577: "577(EtfNavLast(navlast))",
    578: "578(EtfNavClose(navclose))",
    586: "586(IPOHLMPRC)",
    587: "587(Pl Price Delayed)",
    588: "588(Futures Open Interest)",
    595: "595(Short-Term Volume X Mins)",
    614: "614(EtfNavMisc(high/low))",
    619: "619(Creditman Slow Mark Price)",
    623: "623(EtfFrozenNavLast(fznavlast))",
}
"""Those that may be asked for, as a refusal lists them; of them 100, 101, 104, 106, 221, 232, 233 and 236 bring ticks
here."""
_ALIASES = frozenset({47, 59, 104, 162, 220})
"""Numbers that are accepted and not listed."""
_OF_STOCKS = frozenset({576, 578})


def legal_generic_ticks(sec_type: str) -> frozenset[int]:
    """Return the generic ticks that may be asked for of contracts of a type, without their other numbers."""
    return frozenset(GENERIC_TICKS) if sec_type == "STK" else frozenset(GENERIC_TICKS) - _OF_STOCKS


def illegal_generic_ticks(generic: frozenset[int], sec_type: str) -> bool:
    """Decide whether any of the generic ticks is refused for contracts of a type."""
    return not generic <= legal_generic_ticks(sec_type) | _ALIASES


AUTO_EXECUTION = 1
"""The attribute of a price at which an order would execute at once."""
NO_PRICE = Decimal(-1)


@dataclass(frozen=True)
class PriceTick:
    """A price with its size."""

    kind: int
    price: Decimal
    size: Decimal = ZERO
    attributes: int = 0

    def frame(self, request_id: int) -> bytes:
        """Create the tick's frame for a request."""
        return messages.tick_price(request_id, self.kind, self.price, self.size, self.attributes)


@dataclass(frozen=True)
class SizeTick:
    """A size or a volume."""

    kind: int
    size: Decimal

    def frame(self, request_id: int) -> bytes:
        """Create the tick's frame for a request."""
        return messages.tick_size(request_id, self.kind, self.size)


@dataclass(frozen=True)
class GenericTick:
    """A number that is neither."""

    kind: int
    value: float

    def frame(self, request_id: int) -> bytes:
        """Create the tick's frame for a request."""
        return messages.tick_generic(request_id, self.kind, self.value)


@dataclass(frozen=True)
class StringTick:
    """A text."""

    kind: int
    value: str

    def frame(self, request_id: int) -> bytes:
        """Create the tick's frame for a request."""
        return messages.tick_string(request_id, self.kind, self.value)


@dataclass(frozen=True)
class ComputationTick:
    """An option's greeks."""

    kind: int
    computation: OptionComputation

    def frame(self, request_id: int) -> bytes:
        """Create the tick's frame for a request."""
        return messages.tick_option_computation(request_id, self.kind, self.computation)


Tick = PriceTick | SizeTick | GenericTick | StringTick | ComputationTick


def ticks_of(quote: Quote, *, delayed: bool) -> Iterator[Tick]:
    """Yield everything a quote contains without a request, each tick with a type of its own."""

    def kind(each: int) -> int:
        return DELAYED.get(each, each) if delayed else each

    auto = AUTO_EXECUTION if quote.open else 0
    for own, price, size in ((BID, quote.bid, quote.bid_size), (ASK, quote.ask, quote.ask_size)):
        yield PriceTick(kind(own), price if price is not None else NO_PRICE, size if price is not None else ZERO, auto)
    if quote.last is not None:
        yield PriceTick(kind(LAST), quote.last, quote.last_size)
        yield StringTick(kind(LAST_TIMESTAMP), str(int(quote.time.timestamp())))
    yield SizeTick(kind(VOLUME), quote.volume)
    for own, price in (
        (HIGH, quote.day_high),
        (LOW, quote.day_low),
        (CLOSE, quote.close),
        (OPEN, quote.day_open),
    ):
        if price is not None:
            yield PriceTick(kind(own), price)
    yield GenericTick(kind(HALTED), float(quote.halted))
    for own, computation in (
        (BID_OPTION, quote.bid_computation),
        (ASK_OPTION, quote.ask_computation),
        (LAST_OPTION, quote.last_computation),
        (MODEL_OPTION, quote.model_computation),
    ):
        if computation is not None:
            yield ComputationTick(kind(own), computation)


def generic_ticks_of(quote: Quote, instrument: Instrument, generic: frozenset[int]) -> Iterator[Tick]:
    """Yield the ticks that the generic ticks asked for bring."""
    if generic & {221, 232} and quote.mark is not None:
        yield PriceTick(MARK, quote.mark)
    is_call, is_put = instrument.contract.right == "C", instrument.contract.right == "P"
    if 100 in generic:
        yield SizeTick(CALL_VOLUME, quote.volume if is_call else ZERO)
        yield SizeTick(PUT_VOLUME, quote.volume if is_put else ZERO)
    if 101 in generic:
        yield SizeTick(CALL_OPEN_INTEREST, _open_interest(instrument) if is_call else ZERO)
        yield SizeTick(PUT_OPEN_INTEREST, _open_interest(instrument) if is_put else ZERO)
    if quote.model_computation is not None:
        volatility = quote.model_computation.implied_volatility
        if 104 in generic:
            yield GenericTick(HISTORICAL_VOLATILITY, volatility)
        if 106 in generic:
            yield GenericTick(IMPLIED_VOLATILITY, volatility)
    if 233 in generic and quote.last is not None:
        time = int(quote.time.timestamp() * 1000)
        yield StringTick(RT_VOLUME, f"{quote.last};{quote.last_size};{time};{quote.volume};{quote.last};true")
    if 236 in generic and instrument.contract.sec_type == "STK":
        yield GenericTick(SHORTABLE, 3.0)
        yield SizeTick(SHORTABLE_SHARES, Decimal(1_000_000))


def _open_interest(instrument: Instrument) -> Decimal:
    """A number that an option keeps for its lifetime."""
    return Decimal(instrument.contract.con_id * 7919 % 20_000)
