"""Instruments, quotes and evaluations for the tests of the rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from position_manager.model import Instrument, Kind, Market, Position, Quote, Right
from position_manager.rules.evaluation import Memory, QuotePolicy, Verdict, evaluate
from position_manager.rules.groups import Unit, single
from position_manager.rules.rule_set import RuleSet
from position_manager.sessions.hours import BrokerCalendar, parse_liquid_hours

NEW_YORK = ZoneInfo("America/New_York")
NOW = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)
"""A Monday, 10:00 in New York."""
HOURS = parse_liquid_hours("20261123:0930-20261123:1600;20261124:0930-20261124:1300", NEW_YORK)
POLICY = QuotePolicy(NEW_YORK)
ACCOUNT = "DU1234567"


def option(con_id: int = 1, strike: str = "450", right: Right = Right.PUT, **more: Any) -> Instrument:
    fields: dict[str, Any] = {"multiplier": Decimal(100), "expiry": date(2026, 12, 18), "liquid_hours": HOURS} | more
    return Instrument(con_id, "SPY", Kind.OPTION, strike=Decimal(strike), right=right, **fields)


def stock(con_id: int = 90, **more: Any) -> Instrument:
    return Instrument(con_id, "SPY", Kind.STOCK, liquid_hours=HOURS, **more)


def held(quantity: int | str, average: str = "2.50", instrument: Instrument | None = None) -> Position:
    return Position(ACCOUNT, instrument or option(), Decimal(quantity), Decimal(average))


def quote(bid: str | Decimal | None, ask: str | Decimal | None, at: datetime = NOW, **more: Any) -> Quote:
    return Quote(at, None if bid is None else Decimal(bid), None if ask is None else Decimal(ask), **more)


def rules(**given: Any) -> RuleSet:
    return RuleSet.model_validate(given)


def assess(unit: Unit | Position, rule_set: RuleSet, quotes: Mapping[int, Quote] | Quote | None, now: datetime = NOW,
         memory: Memory | None = None, policy: QuotePolicy = POLICY) -> tuple[Verdict, Memory]:  # fmt: skip
    """One evaluation; a single quote is that of contract 1."""
    unit = single(unit) if isinstance(unit, Position) else unit
    known = {} if quotes is None else {1: quotes} if isinstance(quotes, Quote) else dict(quotes)
    return evaluate(unit, rule_set, Market(now, known), memory or Memory(), policy, BrokerCalendar())


def run(
    unit: Unit | Position, rule_set: RuleSet, prices: Iterable[str | Decimal], memory: Memory | None = None
) -> list[tuple[Verdict, Memory]]:
    """Evaluations a second apart, each on a new quote with bid and ask alike."""
    steps = []
    for index, price in enumerate(prices):
        now = NOW + timedelta(seconds=index)
        verdict, memory = assess(unit, rule_set, quote(price, price, now), now, memory)
        steps.append((verdict, memory))
    return steps
