"""IB's contract details, as instruments; and which of them are known already."""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from ib_connection.ib_library import Contract, ContractDetails
from position_manager.brokers.ib_words import number
from position_manager.model import ZERO, Hours, Instrument, Kind, Right
from position_manager.sessions.hours import parse_liquid_hours, zone_of

_log = logging.getLogger(__name__)

AGAIN = timedelta(hours=1)
"""Details that lacked something, or that run out within a day, are asked for again after this time."""
AHEAD = timedelta(days=1)


_KINDS = {kind.value: kind for kind in Kind}


def kind_of(contract: Contract) -> Kind | None:
    """None for what is not guarded: cash, bonds, indices, …"""
    return _KINDS.get(contract.secType)


def share_texts(contract: Contract) -> None:
    """A thousand contracts have most of their texts in common: store each of these once."""
    fields = vars(contract)
    fields.update({name: sys.intern(value) for name, value in fields.items() if type(value) is str})


def per_unit(contract: Contract) -> Decimal:
    """What IB's average cost of a position counts as one: it includes the multiplier of options and futures."""
    return Decimal(contract.multiplier or 1) or Decimal(1)


@dataclass(frozen=True, slots=True)
class _Reported:
    """The relevant details of a contract: they are long, and there may be a thousand. ``rule``: the market rule of the
    exchange that orders are sent to; ``tick``: the smallest increment in the currency, 0 if it was not reported;
    ``magnifier``: how many units of the quotes are one of the currency."""

    contract: Contract
    rule: int | None
    tick: Decimal
    magnifier: int


@dataclass(frozen=True, slots=True)
class _Known:
    """What IB reported of a contract, None if it has no details; ``asked`` is when."""

    reported: _Reported | None
    hours: tuple[Hours, ...]
    asked: datetime
    trading: tuple[Hours, ...] = ()


class ContractBook:
    """Contracts by id. ``rules``: price increments by market rule, as pairs of lower edge and tick."""

    def __init__(self) -> None:
        self.rules: dict[int, Any] = {}
        self._known: dict[int, _Known] = {}
        self._contracts: dict[int, Contract] = {}
        self._built: dict[int, tuple[_Known | None, Instrument]] = {}

    def recall(self, instruments: Collection[Instrument], now: datetime) -> None:
        """What is known of contracts from before, with their hours as far as they are still valid. It counts until IB
        reports the details again."""
        for instrument in instruments:
            if instrument.con_id in self._built or instrument.con_id in self._known:
                continue
            hours, trading = instrument.liquid_hours, instrument.trading_hours
            known = _Known(None, hours, now, trading) if hours else None
            if known is not None:
                self._known[instrument.con_id] = known
            self._built[instrument.con_id] = known, instrument

    def lacks(self, contract: Contract) -> bool:
        """Whether too little is known of a contract to create an instrument from it without asking IB first."""
        built = self._built.get(contract.conId)
        if built is None:
            return True
        known, instrument = built
        if known is not None and known.reported is not None:
            return False
        # What was known from before is of no use if the contract was adjusted since, or if its unit is not known.
        named = contract.localSymbol, kind_of(contract), per_unit(contract)
        if instrument.magnifier and named == (instrument.local_symbol, instrument.kind, instrument.multiplier):
            return False
        del self._built[contract.conId]
        self._known.pop(contract.conId, None)
        return True

    def wants(self, contract: Contract, now: datetime) -> bool:
        """Whether the details of a contract should be asked for."""
        known = self._known.get(contract.conId)
        if known is None:
            return True
        lasting = bool(known.hours) and known.hours[-1].end - now > AHEAD
        return not lasting and now - known.asked >= AGAIN

    def unknown(self, contract: Contract, now: datetime) -> None:
        """IB did not report the details of a contract; those known before stay."""
        before = self._known.get(contract.conId)
        if before is None:
            self._known[contract.conId] = _Known(None, (), now)
        else:
            self._known[contract.conId] = replace(before, asked=now)

    def learn(self, details: ContractDetails, now: datetime) -> None:
        contract = details.contract
        if contract is None:
            return
        share_texts(contract)
        hours, trading = (_hours(text, details) for text in (details.liquidHours, details.tradingHours))
        tick = number(details.minTick) if details.minTick else ZERO
        reported = _Reported(contract, _rule_of(details, contract), tick, int(details.priceMagnifier or 1))
        self._known[contract.conId] = _Known(reported, hours, now, trading)

    def missing_rules(self) -> list[int]:
        """The market rules of known contracts that were not asked for yet."""
        wanted = (known.reported.rule for known in self._known.values() if known.reported is not None)
        return sorted({rule for rule in wanted if rule is not None and rule not in self.rules})

    def contract(self, con_id: int) -> Contract | None:
        """The contract for orders and quotes."""
        return self._contracts.get(con_id)

    def magnifier(self, con_id: int) -> int:
        """How many units of IB's quotes are one unit of the currency; 0 if it is not known."""
        built = self._built.get(con_id)
        return 0 if built is None else built[1].magnifier

    def instrument(self, held: Contract) -> Instrument:
        """An instrument from a position's contract and the details known of it; the same one while these stay."""
        known = self._known.get(held.conId)
        reported = None if known is None else known.reported
        if held.conId in self._built:
            built_from, built = self._built[held.conId]
            if (
                reported is None
                or known is built_from
                or (reported.rule is not None and reported.rule not in self.rules)
            ):
                self._contracts.setdefault(held.conId, _contract(built))
                return built
        contract = held if reported is None else reported.contract
        kind = kind_of(contract)
        if kind is None:
            raise ValueError(f"contract {held.conId} is a {held.secType}")
        magnifier = 1 if reported is None else reported.magnifier
        built = Instrument(
            con_id=held.conId,
            symbol=contract.symbol,
            kind=kind,
            multiplier=per_unit(contract),
            currency=contract.currency,
            exchange=_exchange(contract),
            expiry=_expiry(contract),
            strike=number(contract.strike) / magnifier if contract.strike else ZERO,
            right=Right(contract.right[0]) if contract.right and contract.right[0] in "CP" else None,
            local_symbol=contract.localSymbol,
            trading_class=contract.tradingClass,
            increments=self._increments(reported),
            liquid_hours=() if known is None else known.hours,
            trading_hours=() if known is None else known.trading,
            # Without details it is unknown whether its prices are in pence: none of them is used.
            magnifier=0 if reported is None else magnifier,
        )
        self._built[held.conId] = known, built
        self._contracts[held.conId] = _contract(built)
        return built

    def _increments(self, reported: _Reported | None) -> tuple[tuple[Decimal, Decimal], ...]:
        steps = self.rules.get(reported.rule) if reported is not None and reported.rule is not None else None
        if steps and reported is not None:
            found = sorted((number(step.lowEdge), number(step.increment)) for step in steps)
            # The smallest increment (minTick) is in the currency. Market rules are not known to be: one whose steps are
            # larger by the magnifier or more is in the unit of the quotes.
            least = min(step for _, step in found)
            unit = reported.magnifier if reported.tick and least >= reported.tick * reported.magnifier else 1
            found = [(edge / unit, step / unit) for edge, step in found]
            return ((ZERO, found[0][1]), *found[1:])
        return ((ZERO, reported.tick if reported is not None and reported.tick else Decimal("0.01")),)


def _hours(text: str, details: ContractDetails) -> tuple[Hours, ...]:
    """The sessions; none if they are not reported, or not understood."""
    try:
        return parse_liquid_hours(text, zone_of(details.timeZoneId)) if text else ()
    except ValueError as error:
        contract = details.contract
        _log.warning(
            "the hours of contract %s are not understood: %s", None if contract is None else contract.conId, error
        )
        return ()


def _rule_of(details: ContractDetails, contract: Contract) -> int | None:
    """The market rule of the exchange that orders are sent to."""
    rules = dict(zip(details.validExchanges.split(","), details.marketRuleIds.split(","), strict=False))
    found = rules.get(_exchange(contract)) or next(iter(rules.values()), "")
    return int(found) if found.isdecimal() else None


def _contract(instrument: Instrument) -> Contract:
    """For orders and quotes."""
    return Contract(
        secType=instrument.kind.value, conId=instrument.con_id, symbol=instrument.symbol, exchange=instrument.exchange,
        currency=instrument.currency, localSymbol=instrument.local_symbol,
    )  # fmt: skip


def _exchange(contract: Contract) -> str:
    return "SMART" if contract.secType in ("STK", "OPT") else contract.exchange or contract.primaryExchange


def _expiry(contract: Contract) -> date | None:
    text = contract.lastTradeDateOrContractMonth.split(" ")[0]
    return datetime.strptime(text, "%Y%m%d").date() if len(text) == 8 and text.isdecimal() else None
