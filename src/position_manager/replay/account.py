"""The stops of an account, and early assignment, over recorded quotes. Pure.

A tape knows positions, not accounts: the account has the given value at the first quote of all units, and from then on
moves with their profit alone. There is no margin in it, so a margin cushion is never evaluated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from position_manager.account.assignment import RiskSeen, is_exposed, judge, next_dividend
from position_manager.account.settings import Action
from position_manager.account.stops import AccountMemory, Circumstances, Fired, evaluate
from position_manager.account.values import AccountValues
from position_manager.config.schema import Config
from position_manager.model import Position
from position_manager.replay.tape import ACCOUNT, Tick


class ReplayedAccount:
    """An account that is worth ``net`` at the start. ``fired``: the stops that have fired, in order."""

    def __init__(self, config: Config, net: Decimal, currency: str = "USD") -> None:
        self.fired: list[Fired] = []
        self._rules = config.account_stops
        self._zone: ZoneInfo = config.hours.zone
        self._net = net
        self._currency = currency
        self._first_profit: Decimal | None = None
        self._memory = AccountMemory()
        self._asked: datetime | None = None

    def evaluate_at(self, now: datetime, profits: Iterable[Decimal | None]) -> Fired | None:
        """The stop that closes all now, if one does. ``profits``: of each unit, closed ones too, None if not known."""
        known = list(profits)
        rules = self._rules
        if rules is None or not known or any(profit is None for profit in known):
            return None
        profit = sum((each for each in known if each is not None), Decimal(0))
        if self._first_profit is None:
            self._first_profit = profit
        if self._asked is not None and now - self._asked < max(rules.every, timedelta(microseconds=1)):
            return None
        self._asked = now
        values = AccountValues(ACCOUNT, now, self._currency, self._net + profit - self._first_profit)
        outcome = evaluate(rules, values, self._memory, Circumstances(now, self._zone, True, "", False))
        self._memory = outcome.memory
        self.fired += outcome.fired
        return next((fired for fired in outcome.fired if fired.action is Action.CLOSE), None)


@dataclass(frozen=True)
class SeenRisk:
    """When a short option could first have been assigned early on a tape, by its name there."""

    time: datetime
    contract: str
    risk: RiskSeen


def assignment_risks(held: Mapping[str, Position], ticks: Iterable[Tick], config: Config) -> list[SeenRisk]:
    """Each kind of risk of each short option, at the first quote that shows it on a day. Dividends are those that the
    settings list."""
    settings, found = config.assignment_warnings, dict[tuple[object, ...], SeenRisk]()
    for tick in () if settings is None else ticks:
        position = held[tick.contract]
        instrument, quote = position.instrument, tick.quote
        if settings is None or not is_exposed(instrument, position.quantity, settings):
            continue
        today = quote.time.astimezone(config.hours.zone).date()
        sound = quote.problem(quote.time, config.quotes.max_age) is None
        usable = quote if sound and config.orders.spread().allows(instrument, quote) else None
        dividend = next_dividend(instrument, today, settings, None)
        for risk in judge(instrument, usable, dividend, today, settings):
            found.setdefault((tick.contract, risk.risk, today), SeenRisk(quote.time, tick.contract, risk))
    return list(found.values())
