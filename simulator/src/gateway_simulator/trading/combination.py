"""Combinations (BAG): several contracts that one order trades together, leg by leg, in a fixed ratio.

A combination's price is what its legs cost for each unit of the largest multiplier among them: for options the sum of
their prices, for shares against options the price for each share. It may be 0 or negative. To buy one is to buy what
its legs buy and to sell what they sell, so its ask consists of the asks of the former and the bids of the latter.

A gateway gives every combination the same contract id, and no contract details.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from hashlib import blake2b
from typing import Protocol

from gateway_simulator.trading.model import ZERO, Contract, Halted, Instrument, Leg, Quote

CON_ID = 28812380
"""The contract id of every combination (as clients of real gateways print it)."""
TRADING_CLASS = "COMB"
BUYS, SELLS = ("BUY",), ("SELL", "SSHORT")
COMBINED = ("STK", "OPT", "FUT")
FEWEST_LEGS = 2
KEY_BYTES = 6


class CombinationError(Exception):
    """Legs that form no combination: the API's code and text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class Contracts(Protocol):
    """What knows contracts by their ids, and remembers combinations."""

    def get(self, con_id: int) -> Instrument | None: ...
    def remember(self, combination: Instrument) -> None: ...


class Sides(Protocol):
    """A bid and an ask."""

    @property
    def bid(self) -> Decimal | None: ...
    @property
    def ask(self) -> Decimal | None: ...


def resolve(contracts: Contracts, contract: Contract) -> Instrument:
    """Return the combination that a client describes by its legs. Raises CombinationError."""
    if not contract.combo_legs:
        cause = "Security type 'BAG' requires combo leg details."
        raise CombinationError(321, f"Error validating request.-'bN' : cause - {cause}")
    legs = tuple(_leg(contracts, contract, number) for number in range(len(contract.combo_legs)))
    if len({each.instrument.contract.con_id for each in legs}) < max(FEWEST_LEGS, len(legs)):
        raise CombinationError(312, "The combo details are invalid.")
    if len({each.instrument.contract.currency for each in legs}) > 1:
        raise CombinationError(312, "The combo details are invalid.")
    if contract.exchange != "SMART" and any(each.instrument.contract.sec_type == "STK" for each in legs):
        raise CombinationError(315, "Stock combo legs are restricted to SMART order routing.")
    first = legs[0].instrument
    description = Contract(
        CON_ID,
        contract.symbol or first.contract.symbol,
        "BAG",
        exchange=contract.exchange,
        currency=first.contract.currency,
        local_symbol=str(CON_ID),
        trading_class=TRADING_CLASS,
        combo_legs=contract.combo_legs,
    )
    combination = Instrument(
        description,
        "Combination",
        TRADING_CLASS,
        min_tick=min(each.instrument.min_tick for each in legs),
        valid_exchanges=first.valid_exchanges,
        suggested_size_increment=Decimal(1),
        legs=legs,
        combination_key=_key(legs),
    )
    combination = replace(combination, time_zone=combination.leading.time_zone)
    contracts.remember(combination)
    return combination


def _leg(contracts: Contracts, contract: Contract, number: int) -> Leg:
    leg = contract.combo_legs[number]
    known = contracts.get(leg.con_id) if leg.con_id > 0 else None
    exchange = contract.exchange
    if (
        known is None
        or known.contract.sec_type not in COMBINED
        or leg.ratio <= 0
        or leg.action not in (*BUYS, *SELLS)
        or (exchange != "SMART" and exchange not in known.valid_exchanges.split(","))
    ):
        raise CombinationError(313, f"The combo details for leg '{number + 1}' are invalid.")
    return Leg(known, leg.ratio if leg.action in BUYS else -leg.ratio)


def _key(legs: Sequence[Leg]) -> int:
    text = ",".join(f"{each.instrument.contract.con_id}|{each.ratio}" for each in legs)
    return -1 - int.from_bytes(blake2b(text.encode(), digest_size=KEY_BYTES).digest(), "big")


def same_legs(one: Contract, other: Contract) -> bool:
    """Return whether two contracts have the same legs, or none."""
    return [(each.con_id, each.ratio, each.action) for each in one.combo_legs] == [
        (each.con_id, each.ratio, each.action) for each in other.combo_legs
    ]


def description_of(contract: Contract) -> str:
    """Return the legs in one text, as openOrder has them: ``265598|1,272093|-1``."""
    return ",".join(
        f"{each.con_id}|{each.ratio if each.action in BUYS else -each.ratio}" for each in contract.combo_legs
    )


def unit_of(legs: Sequence[Leg]) -> Decimal:
    """Return what a price of 1 is worth for one combination."""
    return max(each.instrument.contract.unit_multiplier for each in legs)


def net(legs: Sequence[Leg], prices: Sequence[Decimal | None]) -> Decimal | None:
    """Return the combination's price if its legs have these; None if one has none."""
    total = ZERO
    for leg, price in zip(legs, prices, strict=True):
        if price is None:
            return None
        total += leg.ratio * leg.instrument.contract.unit_multiplier * price
    return total / unit_of(legs)


def leg_prices(legs: Sequence[Leg], quotes: Sequence[Sides], *, buys: bool) -> list[Decimal | None]:
    """Return the price of each leg at the far side, for an order that buys or sells the combination."""
    return [each.ask if (leg.ratio > 0) == buys else each.bid for leg, each in zip(legs, quotes, strict=True)]


def sides_of(legs: Sequence[Leg], quotes: Sequence[Sides]) -> tuple[Decimal | None, Decimal | None]:
    """Return the combination's bid and ask."""
    return (
        net(legs, leg_prices(legs, quotes, buys=False)),
        net(legs, leg_prices(legs, quotes, buys=True)),
    )


def quote_of(legs: Sequence[Leg], quotes: Sequence[Quote], moment: datetime) -> Quote:
    """Return a combination's quote. It has no last trade and no volume: combinations are not traded as such."""
    bid, ask = sides_of(legs, quotes)
    return Quote(
        moment,
        bid,
        ask,
        None,
        _size(legs, quotes, buys=False),
        _size(legs, quotes, buys=True),
        last_size=ZERO,
        volume=ZERO,
        day_open=None,
        day_high=None,
        day_low=None,
        close=net(legs, [each.close for each in quotes]),
        mark=None if bid is None or ask is None else (bid + ask) / 2,
        open=all(each.open for each in quotes),
        extended=all(each.extended for each in quotes),
        halted=max((each.halted for each in quotes), default=Halted.NO),
    )


def _size(legs: Sequence[Leg], quotes: Sequence[Quote], *, buys: bool) -> Decimal:
    """How many combinations the sizes shown of the legs give."""
    sizes = [
        (each.ask_size if (leg.ratio > 0) == buys else each.bid_size) // abs(leg.ratio)
        for leg, each in zip(legs, quotes, strict=True)
    ]
    return min(sizes)
