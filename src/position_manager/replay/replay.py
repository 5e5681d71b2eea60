"""The rules over recorded quotes: what would have closed, when and at which profit. Pure.

A quote is valid as long as the tape continues. Where no line comes for longer than ``quotes.max_age_seconds``, the
rules have no quote until the next one. A unit that a rule closes is out at the side price that the rule saw; so is a
part of it that a partial target closes. Days held count from the first line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby

from position_manager.config.precedence import resolve
from position_manager.config.schema import Config
from position_manager.model import Hours, Market, Position, Quote
from position_manager.replay.account import ReplayedAccount
from position_manager.replay.tape import Tick
from position_manager.rules.evaluation import Close, Distance, Hold, Memory, QuotePolicy, Rule, evaluate
from position_manager.rules.groups import Unit, group_positions
from position_manager.rules.partial_targets import left_of
from position_manager.rules.rule_set import RuleSet
from position_manager.rules.unprotected import Unprotected
from position_manager.sessions.hours import BrokerCalendar, Calendar
from position_manager.ulid import ulid

_MOMENT = timedelta(microseconds=1)


@dataclass(frozen=True)
class Sample:
    """A unit at one moment: its price at the side a close trades on, and the levels of its rules on that price."""

    time: datetime
    price: Decimal
    stop: Decimal | None
    target: Decimal | None
    trailing: Decimal | None


@dataclass(frozen=True)
class PartClosed:
    """How many units a partial target closed, at which price and profit."""

    time: datetime
    close: Close
    price: Decimal
    profit: Decimal


@dataclass
class Outcome:
    """The outcome of a unit. ``exit``: its price when a rule closed it (``closed``, at ``closed_at``), else the last
    one; None if it never had one. ``parts``: what partial targets closed before. ``profit`` is in money, that of the
    parts included; ``unprotected`` in seconds by cause."""

    unit: Unit
    closed: Close | None = None
    closed_at: datetime | None = None
    exit: Decimal | None = None
    profit: Decimal | None = None
    parts: list[PartClosed] = field(default_factory=list)
    count: Unprotected = field(default_factory=Unprotected)
    samples: list[Sample] = field(default_factory=list)

    @property
    def unprotected(self) -> dict[str, float]:
        return {cause: round(seconds, 3) for cause, seconds in self.count.seconds.items()}


def always_open(positions: Iterable[Position], ticks: Sequence[Tick]) -> list[Position]:
    """The positions with one session that spans the tape."""
    hours = (Hours(ticks[0].quote.time, ticks[-1].quote.time + timedelta(seconds=1)),)
    return [replace(p, instrument=replace(p.instrument, liquid_hours=hours)) for p in positions]


def replay(
    positions: Mapping[str, Position],
    ticks: Sequence[Tick],
    config: Config,
    calendar: Calendar | None = None,
    account: ReplayedAccount | None = None,
) -> tuple[Outcome, ...]:
    """Play a tape. Without a ``calendar`` the market is open from its first line to its last;
    without an ``account`` its stops are left out."""
    held = list(positions.values()) if calendar is not None else always_open(positions.values(), ticks)
    run = _Run(config, calendar or BrokerCalendar(), group_positions(held, config.groups).units)
    ids = {name: position.instrument.con_id for name, position in positions.items()}
    max_age, before = config.quotes.max_age, None
    for now, lines in groupby(ticks, key=lambda tick: tick.quote.time):
        if before is not None and now - before > max_age + _MOMENT:
            run.evaluate_units(before + max_age + _MOMENT, max_age)
        run.quotes.update((ids[line.contract], line.quote) for line in lines)
        run.evaluate_units(now, timedelta.max)
        if account is not None:
            run.evaluate_account(account, now)
        before = now
    return tuple(run.outcomes)


class _Run:
    def __init__(self, config: Config, calendar: Calendar, units: Iterable[Unit]) -> None:
        self.quotes: dict[int, Quote] = {}
        self.outcomes = [Outcome(unit) for unit in units]
        self._calendar = calendar
        self._rules = {outcome.unit.key: resolve(outcome.unit, config).rules for outcome in self.outcomes}
        self._memories: dict[str, Memory] = {}
        self._started = False
        quotes = config.quotes
        self._policy = QuotePolicy(config.hours.zone, quotes.max_age, quotes.confirmations, quotes.confirm_within)

    def evaluate_units(self, now: datetime, max_age: timedelta) -> None:
        market = Market(now, self.quotes)
        if not self._started:
            self._started, episode = True, ulid(now, bytes)
            self._memories = {outcome.unit.key: Memory(episode=episode) for outcome in self.outcomes}
        for outcome in self.outcomes:
            if outcome.closed is None:
                self._evaluate_unit(outcome, market, replace(self._policy, max_age=max_age))

    def evaluate_account(self, account: ReplayedAccount, now: datetime) -> None:
        """Close what is still open at its present price if a stop of the account fires."""
        fired = account.evaluate_at(now, (outcome.profit for outcome in self.outcomes))
        if fired is None:
            return
        for outcome in self.outcomes:
            if outcome.closed is None:
                outcome.closed, outcome.closed_at = Close(Rule.ACCOUNT, f"{fired.rule}: {fired.text}"), now

    def _evaluate_unit(self, outcome: Outcome, market: Market, policy: QuotePolicy) -> None:
        unit, rules = outcome.unit, self._rules[outcome.unit.key]
        memory = self._memories.get(unit.key, Memory())
        verdict, memory = evaluate(unit, rules, market, memory, policy, self._calendar)
        self._memories[unit.key] = memory
        outcome.count = outcome.count.after_verdict(verdict, market.now, timedelta.max)
        legs = [market.quotes.get(leg.instrument.con_id) for leg in unit.legs]
        if all(q is not None and q.problem(market.now, policy.max_age) is None for q in legs):
            before = sum((part.profit for part in outcome.parts), Decimal())
            outcome.exit, outcome.profit = unit.price(market.quotes), before + unit.profit(market.quotes)
            stop, target = self._level(unit, rules, market, policy)
            outcome.samples.append(Sample(market.now, outcome.exit, stop, target, memory.trail))
        if isinstance(verdict, Close) and verdict.part is not None and verdict.part < unit.quantity:
            self._memories[unit.key] = replace(memory, levels=(*memory.levels, verdict.level), sightings=())
            profit = unit.profit(market.quotes) * verdict.part / unit.quantity
            outcome.parts.append(PartClosed(market.now, verdict, unit.price(market.quotes), profit))
            outcome.unit = _reduced(unit, verdict.part)
        elif isinstance(verdict, Close):
            outcome.closed, outcome.closed_at = verdict, market.now

    def _level(
        self, unit: Unit, rules: RuleSet, market: Market, policy: QuotePolicy
    ) -> tuple[Decimal | None, Decimal | None]:
        """Where stop and target are on the unit's own price. Asked alone and for the first time, they only hold."""
        alone = RuleSet(stop=rules.stop, target=rules.target)
        policy = replace(policy, confirmations=2)
        verdict, _ = evaluate(unit, alone, market, Memory(), policy, self._calendar)
        if not isinstance(verdict, Hold):
            return None, None
        return _on_price(verdict.stop, Rule.STOP), _on_price(verdict.target, Rule.TARGET)


def _reduced(unit: Unit, part: Decimal) -> Unit:
    """A unit of which a part is closed."""
    left = left_of(unit, part)
    legs = (replace(leg, position=replace(leg.position, quantity=left[leg.instrument.con_id])) for leg in unit.legs)
    return replace(unit, legs=tuple(legs))


def _on_price(distance: Distance | None, rule: Rule) -> Decimal | None:
    if distance is None or distance.rule is not rule or distance.subject == "underlying":
        return None
    return distance.level
