"""Whether a unit is to be closed now: pure decisions with the numbers they saw.

`evaluate` takes all it needs and gives a verdict and the new memory; it reads no clock. The rules themselves are
explained in `position_manager.rules.rule_set`.

- A price rule acts only on live, two-sided, fresh quotes of every leg, at the side each leg would trade on; a last
  price is never used. It must hold on several different quotes in a row (`QuotePolicy`). For a group a quote is
  different when every leg has been quoted again.
- A time rule needs no quote to decide.
- What cannot be evaluated is `Blind` and counts as unprotected, a closed market too: no order could be sent. The
  cause distinguishes the kinds.
- Rules that contradict each other for this unit, or a stop that it can never reach, close nothing: Blind as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import cached_property, partial
from typing import NamedTuple
from zoneinfo import ZoneInfo

from pydantic import BaseModel, TypeAdapter, ValidationError

from position_manager.episodes import same_life
from position_manager.model import ZERO, Hours, Market, Quote, QuoteProblem
from position_manager.rules.groups import Unit
from position_manager.rules.partial_targets import levels_left, part_of
from position_manager.rules.rule_set import (
    Breakeven,
    DeltaRule,
    PartialTargets,
    PriceBounds,
    RuleSet,
    Stop,
    StrikeStop,
    Target,
    TargetLevel,
    TimeRule,
    Trailing,
)
from position_manager.rules.spread import SpreadBound
from position_manager.rules.stepped_target import has_steps, in_force, next_midnight, opened_on, sessions_zone
from position_manager.rules.strike_stop import levels, short_options, words
from position_manager.sessions.hours import (
    EARLY_CLOSE,
    Calendar,
    common,
    day_close,
    exchange_zone,
    next_open,
    open_hours,
    session_at,
)

UNDERLYING = "underlying"
"""The subject of a condition on the price of an option's underlying."""
LEAST_TICKS = 2
"""A condition is plainly gone only at this many increments from its level."""
CLOCK_SKEW = timedelta(seconds=2)
"""How far a quote may be in the future, as clocks differ; further, and its age is unknown."""


class Rule(StrEnum):
    """Which rule closed, or would."""

    STOP = "stop"
    TRAILING = "trailing"
    BREAKEVEN = "breakeven"
    DELTA = "delta"
    TARGET = "target"
    TIME = "time"
    ACCOUNT = "account stop"
    """Of `replay` alone: a stop of the whole account closed it."""
    STRIKE = "strike_stop"
    PARTIAL = "partial_targets"


class Cause(StrEnum):
    """Why rules cannot be evaluated."""

    NO_RULES = "no rules"
    BROKEN_GROUP = "broken group"
    MARKET_CLOSED = "market closed"
    HOURS_UNKNOWN = "trading hours not known"
    NO_QUOTE = "no usable quote"
    WIDE_SPREAD = "spread too wide"
    OPENING = "the market has just opened"
    NO_DELTA = "no delta"
    NO_UNDERLYING = "no price of the underlying"
    NO_PREMIUM = "no premium"
    CONTRADICTION = "contradiction"
    NOT_READY = "not connected"
    HALTED = "halted"
    LOCKED = "locked"
    CANNOT_CLOSE = "cannot be closed"
    BLOCKED = "guarded, but would be blocked"
    KIND = "kind not supported"


@dataclass(frozen=True)
class QuotePolicy:
    """Which quotes count: at most ``max_age`` old, ``confirmations`` in a row, each at most ``confirm_within`` after
    the one before. ``zone``: of days and times of day in time rules. ``outside_rth``: whether orders may trade outside
    the regular hours; price rules then act there too, time rules do not. ``confirm_span``: from the first to the last
    of those quotes it is at least that long, unless one is enough. ``grace``: how long after an opening price rules
    rest. ``spread``: wider quotes are not trusted (None: any is)."""

    zone: ZoneInfo
    max_age: timedelta = timedelta(seconds=10)
    confirmations: int = 2
    confirm_within: timedelta = timedelta(seconds=90)
    outside_rth: bool = False
    confirm_span: timedelta = timedelta(seconds=1)
    grace: timedelta = timedelta()
    spread: SpreadBound | None = None
    exchange_times: bool = False
    """Whether days and times of day are those of each contract's exchange, where that is known."""

    @cached_property
    def spacing(self) -> timedelta:
        """Between two quotes that count as different there is at least this time: a tick message is no new quote."""
        return self.confirm_span / (self.confirmations - 1) if self.confirmations > 1 else timedelta()


@dataclass(frozen=True)
class Distance:
    """How far a rule is from closing: ``seen`` must still move by ``distance`` to ``level``; ``percent`` of what was
    seen (None if that is 0). ``subject`` is the evaluated value: a price of the unit, the underlying's, the delta."""

    rule: Rule
    subject: str
    seen: Decimal
    level: Decimal
    distance: Decimal
    percent: Decimal | None


@dataclass(frozen=True)
class Hold:
    """No rule closes. ``stop``: the nearest of stop, trailing, breakeven and delta; ``target``: the nearest target.
    ``pending``: the rules that hold, but are not confirmed by enough quotes yet. ``distances``: those of all rules, for
    people; they decide nothing."""

    stop: Distance | None = None
    target: Distance | None = None
    pending: tuple[str, ...] = ()
    distances: tuple[Distance, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Close:
    """A rule decides to close the unit. ``text`` has the numbers. ``part``: only so many units of it, None for all; it
    may be 0. ``level``: the number of the partial target that was reached, else 0."""

    rule: Rule
    text: str
    part: Decimal | None = None
    level: int = 0


@dataclass(frozen=True)
class Blind:
    """The unit is unprotected: the rules cannot be evaluated, or a close could not be sent. ``hold``: the result of the
    rules nevertheless."""

    cause: Cause
    text: str
    hold: Hold | None = None


Verdict = Hold | Close | Blind


@dataclass(frozen=True)
class Sighting:
    """On how many different quotes in a row a rule has held. ``rule`` is its name and wording: a changed rule is
    another one. ``at``: the time of the newest quote that counted."""

    rule: str
    count: int
    at: datetime


@dataclass(frozen=True)
class Memory:
    """What must be remembered about one unit, from one evaluation to the next and over a restart.

    It belongs to one ``episode`` of the position (`journal.Holding`): the caller drops it in another one.
    ``direction`` 0 is an empty one. ``recent``: the unit's prices on
    the last different quotes, newest last; ``best``: the best price that so many quotes in a row reached. ``trail``:
    the price of the trailing stop and the wording of its rule, once active; ``breakeven``: the wording of the rule
    that is armed; ``levels``: the numbers of the partial targets that are done.
    """

    direction: int = 0
    recent: tuple[Decimal, ...] = ()
    recent_at: datetime | None = None
    best: Decimal | None = None
    trail: Decimal | None = None
    trail_rule: str = ""
    breakeven: str = ""
    sightings: tuple[Sighting, ...] = ()
    episode: str = ""
    levels: tuple[int, ...] = ()

    def in_episode(self, episode: str) -> Memory:
        """What still counts in an episode: after a split or an assignment only which partial targets are done, of
        another position nothing."""
        if not self.episode:
            # Of a release that knew none, or of a unit that was just seen first.
            return replace(self, episode=episode)
        return Memory(episode=episode, levels=self.levels if same_life(self.episode, episode) else ())

    def seen(self, recent: tuple[Decimal, ...], at: datetime, best: Decimal | None) -> Memory:
        """After other quotes. It runs for each unit at each evaluation; `replace` takes three times as long."""
        return Memory(
            self.direction, recent, at, best, self.trail, self.trail_rule, self.breakeven, self.sightings, self.episode,
            self.levels,
        )  # fmt: skip

    def protects_other_than(self, before: Memory) -> bool:
        """Whether a trailing stop or breakeven is another one: what a restart must never lose."""
        return (self.trail, self.trail_rule, self.breakeven) != (before.trail, before.trail_rule, before.breakeven)

    def to_json(self) -> str:
        """For the journal."""
        return _MEMORY.dump_json(self).decode()

    @staticmethod
    def from_json(text: str) -> Memory:
        """Raises ValueError if the text is no memory."""
        try:
            return _MEMORY.validate_json(text)
        except ValidationError as error:
            raise ValueError(f"this is no memory of rules: {error}") from error


_MEMORY = TypeAdapter(Memory)


class _Condition(NamedTuple):
    """Something that closes when ``seen`` is at or beyond ``level``: below it, or above it. ``why``: what the level
    is, in words that are seldom needed."""

    rule: Rule
    wording: str
    subject: str
    seen: Decimal
    level: Decimal
    below: bool
    why: Callable[[], str]
    level_number: int = 0

    @property
    def distance(self) -> Decimal:
        return self.seen - self.level if self.below else self.level - self.seen

    @property
    def met(self) -> bool:
        return self.distance <= 0

    @property
    def text(self) -> str:
        side = "below" if self.below else "above"
        return f"{self.rule}: {self.subject} {_plain(self.seen)} is at or {side} {_plain(self.level)} ({self.why()})"

    def as_distance(self) -> Distance:
        percent = None if self.seen == 0 else self.distance / abs(self.seen) * 100
        return Distance(self.rule, self.subject, self.seen, self.level, self.distance, percent)


class _View(NamedTuple):
    """A unit as its quotes show it."""

    unit: Unit
    price: Decimal
    oldest: datetime
    newest: datetime
    underlying: Decimal | None
    quotes: Mapping[int, Quote]

    @property
    def delta(self) -> Decimal | None:
        """None if the broker does not report it for each leg."""
        total = ZERO
        for leg in self.unit.legs:
            delta = self.quotes[leg.instrument.con_id].delta if leg.instrument.is_option else 1.0
            if delta is None or delta != delta:
                return None
            total += leg.weight * Decimal(str(delta))
        return abs(total / self.unit.multiplier)

    @property
    def subject(self) -> str:
        if len(self.unit.legs) == 1 and abs(self.unit.legs[0].ratio) == 1:
            return "bid" if self.unit.direction > 0 else "ask"
        return "net price" if self.unit.direction > 0 else "net cost to close"

    def is_its_price(self, subject: str) -> bool:
        """Whether a condition uses the unit's own quote."""
        return subject == self.subject or (subject == UNDERLYING and not self.unit.has_option)

    def at_gain(self, gain: Decimal) -> Decimal:
        """The unit's price at a gain per unit (negative: a loss)."""
        return self.unit.entry + self.unit.direction * gain

    def gain_at(self, price: Decimal) -> Decimal:
        return (price - self.unit.entry) * self.unit.direction


def evaluate(
    unit: Unit, rules: RuleSet, market: Market, memory: Memory, policy: QuotePolicy, calendar: Calendar
) -> tuple[Verdict, Memory]:
    """What is to become of a unit at ``market.now``, and what to remember.

    The same market evaluated twice gives the same verdict and memory: nothing is counted twice.
    """
    now = market.now
    if memory.direction != unit.direction:
        memory = Memory(direction=unit.direction, episode=memory.episode, levels=memory.levels)
    unseen = memory if not memory.sightings else replace(memory, sightings=())
    if unit.problem is not None:
        return Blind(Cause.BROKEN_GROUP, unit.problem), unseen
    applying = tuple(_applying(unit, rules))
    if not applying:
        return Blind(Cause.NO_RULES, "no rule guards it"), unseen
    sessions = _open_sessions(unit, now, policy, calendar)
    if not sessions:
        return Blind(Cause.HOURS_UNKNOWN, "the trading hours are not known"), unseen
    session = session_at(sessions, now)
    if session is None:
        opens = next_open(sessions, now)
        when = f"opens {opens.astimezone(policy.zone):%Y-%m-%d %H:%M %Z}" if opens else "its next session is not known"
        return Blind(Cause.MARKET_CLOSED, f"the market is closed, {when}"), unseen
    if isinstance(rules.time, TimeRule):
        regular = sessions
        if policy.outside_rth:
            regular = common(calendar.sessions(leg.instrument, now) for leg in unit.legs)
        inside = session_at(regular, now)
        if inside is not None:
            close = day_close(regular, now) or inside.end
            due = _due(unit, rules.time, inside, close, now, policy)
            if due is not None:
                return Close(Rule.TIME, f"time: {due}"), memory
    if applying == (Rule.TIME,):
        return Hold(), unseen
    opening = _opening(unit, sessions, session, now, policy, calendar)
    if opening is not None:
        return Blind(Cause.OPENING, opening), unseen
    problem = _quote_problem(unit, market, policy)
    if problem is not None:
        return Blind(Cause.NO_QUOTE, problem), unseen
    rules = _in_force(unit, rules, sessions, memory, now, policy)
    return _by_price(_view(unit, market.quotes), rules, memory, now, policy)


def _in_force(
    unit: Unit, rules: RuleSet, sessions: tuple[Hours, ...], memory: Memory, now: datetime, policy: QuotePolicy
) -> RuleSet:
    """The rules with the step of the target that holds today, by the day of the exchange."""
    if not has_steps(rules):
        return rules
    zone = sessions_zone(sessions, policy.zone)
    return in_force(rules, unit, now.astimezone(zone).date(), opened_on(memory.episode, zone))


def _opening(
    unit: Unit, sessions: tuple[Hours, ...], session: Hours, now: datetime, policy: QuotePolicy, calendar: Calendar
) -> str | None:
    """Why price rules rest after an opening; None if they do not. A session that follows on another without a gap does
    not open anything."""
    if not policy.grace:
        return None
    openings = [session.begin] if all(hours.end != session.begin for hours in sessions) else []
    if policy.outside_rth:
        regular = session_at(common(calendar.sessions(leg.instrument, now) for leg in unit.legs), now)
        openings += [] if regular is None else [regular.begin]
    since = min((now.timestamp() - begin.timestamp() for begin in openings), default=None)
    if since is None or since >= policy.grace.total_seconds():
        return None
    return f"the market opened {since:.0f} s ago; price rules rest for {policy.grace.total_seconds():g} s"


def clearly_gone(
    unit: Unit,
    rules: RuleSet,
    market: Market,
    memory: Memory,
    policy: QuotePolicy,
    calendar: Calendar,
    name: str,
    margin: Decimal,
    level: int = 0,
) -> str | None:
    """Why a rule that has fired (``name``, of partial targets the ``level``) plainly holds no longer: on quotes that
    are trusted, the value it checks is more than ``margin`` (a fraction) of its level on the good side. None if it may
    still hold, or if that is unknown."""
    if name not in set(Rule) or name == Rule.TIME or _quote_problem(unit, market, policy) is not None:
        return None
    view = _view(unit, market.quotes)
    if _too_wide(view, policy) is not None:
        return None
    rules = _in_force(unit, rules, _open_sessions(unit, market.now, policy, calendar), memory, market.now, policy)
    memory = replace(memory, levels=tuple(number for number in memory.levels if number != level)) if level else memory
    conditions = (c for c in _conditions(view, rules, memory) if isinstance(c, _Condition))
    found = [c for c in conditions if c.rule == name and c.level_number == level]
    # Near a level of 0 a fraction of it is less than the price can move.
    least = LEAST_TICKS * max(
        leg.instrument.increment_at(view.quotes[leg.instrument.con_id].mid or ZERO) for leg in unit.legs
    )
    for c in found:
        if c.distance <= max(abs(c.level) * margin, least if view.is_its_price(c.subject) else ZERO):
            return None
    if not found:
        return None
    return "; ".join(f"{c.subject} is {_plain(c.seen)}, {c.rule} at {_plain(c.level)}" for c in found)


def _too_wide(view: _View, policy: QuotePolicy) -> str | None:
    """Why the price is not trusted: the spread of a leg. One that matters little to the unit's price is no reason: a
    wing that is worth nothing must not prevent a stop from acting."""
    bound = policy.spread
    if bound is None:
        return None
    for leg in view.unit.legs:
        quote = view.quotes[leg.instrument.con_id]
        excess = bound.excess(leg.instrument, quote)
        if not excess:
            continue
        share = abs(leg.weight) * ((quote.ask or ZERO) - (quote.bid or ZERO)) / view.unit.multiplier
        if len(view.unit.legs) == 1 or share > bound.fraction * abs(view.price):
            return f"the spread of {leg.instrument.label} is too wide: {excess}"
    return None


@dataclass(frozen=True, slots=True)
class Rest:
    """A unit at rest: at the same prices, `evaluate` would return ``hold`` again and remember nothing new. Most units
    of a quiet market are, and each is evaluated every few seconds. It is valid for one unit, its rules and its
    memory."""

    unit: Unit
    hold: Hold
    quotes: Mapping[int, Quote]
    session: Hours

    def goes_on(self, market: Market, memory: Memory, policy: QuotePolicy) -> Memory | None:
        """The memory after another evaluation, identical to the result of `evaluate`; None if `evaluate` must be
        called."""
        at = memory.recent_at
        if at is None or not self.session.begin <= market.now < self.session.end:
            return None
        for con_id, before in self.quotes.items():
            quote = market.quotes.get(con_id)
            if quote is None or not quote.shows_the_same_as(before):
                return None
        if _quote_problem(self.unit, market, policy) is not None:
            return None
        times = [market.quotes[con_id].time for con_id in self.quotes]
        counts = min(times) > at and max(times) - at >= policy.spacing
        return memory.seen(memory.recent, max(times), memory.best) if counts else memory


def _open_sessions(unit: Unit, now: datetime, policy: QuotePolicy, calendar: Calendar) -> tuple[Hours, ...]:
    """The stretches in which orders for all legs of a unit trade."""
    outside = policy.outside_rth
    return common(open_hours(calendar, leg.instrument, now, outside_rth=outside) for leg in unit.legs)


def at_rest(
    unit: Unit,
    rules: RuleSet,
    market: Market,
    before: Memory,
    verdict: Verdict,
    after: Memory,
    policy: QuotePolicy,
    calendar: Calendar,
) -> Rest | None:
    """The result of an evaluation, if nothing but other prices or the end of the session can change it. The result of
    time rules changes by itself."""
    if not isinstance(verdict, Hold) or isinstance(rules.time, TimeRule):
        return None
    # Confirmations are counted at moments of their own: a rule that holds is evaluated until it has all of its quotes,
    # even if they stay the same.
    if verdict.pending:
        return None
    counted = after.recent_at is not None and after.recent_at != before.recent_at
    if not counted or replace(before, recent_at=after.recent_at) != after:
        return None
    # Of several legs the one that was quoted last shows where the underlying is, so the times matter too.
    if len({quote.underlying for quote in market.quotes.values()} - {None}) > 1:
        return None
    session = session_at(_open_sessions(unit, market.now, policy, calendar), market.now)
    if session is not None and policy.outside_rth:
        # At the regular opening price rules rest for a while.
        regular = common(calendar.sessions(leg.instrument, market.now) for leg in unit.legs)
        opens = next_open(regular, market.now)
        session = session if opens is None else Hours(session.begin, min(session.end, opens))
    if session is not None and has_steps(rules):
        # Another day may have another target.
        midnight = next_midnight(market.now, sessions_zone((session,), policy.zone))
        session = Hours(session.begin, min(session.end, midnight))
    return None if session is None else Rest(unit, verdict, market.quotes, session)


def _applying(unit: Unit, rules: RuleSet) -> Iterator[Rule]:
    """The rules that can mean something for a unit."""
    for name, rule in rules.own_rules.items():
        if rule == "off" or (name == Rule.DELTA and not unit.has_option):
            continue
        if name == Rule.STRIKE and not short_options(unit):
            continue
        if isinstance(rule, TimeRule) and rule.dte is not None and unit.first_expiry is None:
            continue
        yield Rule(name)


def _quote_problem(unit: Unit, market: Market, policy: QuotePolicy) -> str | None:
    for leg in unit.legs:
        quote = market.quotes.get(leg.instrument.con_id)
        problem = QuoteProblem.MISSING if quote is None else quote.problem(market.now, policy.max_age)
        if problem is not None:
            age = "" if quote is None else f", {(market.now - quote.time).total_seconds():.1f} s old"
            return f"{leg.instrument.label}: {problem.value}{age}"
        if quote is not None and quote.time - market.now > CLOCK_SKEW:
            return f"{leg.instrument.label}: its quote is from the future, its age is unknown"
    return None


def _view(unit: Unit, quotes: Mapping[int, Quote]) -> _View:
    seen = [quotes[leg.instrument.con_id] for leg in unit.legs]
    price = unit.price(quotes)
    newest_first = sorted(seen, key=lambda quote: quote.time, reverse=True)
    underlying = next((quote.underlying for quote in newest_first if quote.underlying is not None), None)
    if underlying is None and len(unit.legs) == 1 and not unit.has_option:
        underlying = price
    return _View(unit, price, newest_first[-1].time, newest_first[0].time, underlying, quotes)


# ----- time


def _due(unit: Unit, rule: TimeRule, session: Hours, close: datetime, now: datetime, policy: QuotePolicy) -> str | None:
    """Why a time rule closes now; None if it does not. Days to expiry are always those of the exchange."""
    exchange = _exchange_zone(unit) or policy.zone
    zone = exchange if policy.exchange_times else policy.zone
    today = now.astimezone(zone if rule.dte is None else exchange).date()
    day = rule.date
    if rule.dte is not None:
        if unit.first_expiry is None:
            return None
        day = unit.first_expiry - timedelta(days=rule.dte)
        what = f"{(unit.first_expiry - today).days} days to expiry, {rule.dte} are the bound"
    elif day is not None:
        what = f"today is {today}, the date is {day}"
    else:
        what = "every day"
    if day is not None and today != day:
        return what if today > day else None
    moment = _moment(rule, session, close, zone)
    if now < moment:
        return None
    return f"{what}, {now.astimezone(zone):%H:%M:%S} is at or after {moment.astimezone(zone):%H:%M:%S}"


def _exchange_zone(unit: Unit) -> ZoneInfo | None:
    """That of the leg that expires first."""
    first = min(unit.legs, key=lambda leg: leg.instrument.expiry or date.max)
    return exchange_zone(first.instrument)


def _moment(rule: TimeRule, session: Hours, close: datetime, zone: ZoneInfo) -> datetime:
    """From when on in a session a time rule closes."""
    if rule.before_close is not None:
        return datetime.fromtimestamp(close.timestamp() - rule.before_close.total_seconds(), zone)
    if rule.at is None:
        return session.begin
    # A session may start the evening before.
    days = sorted({session.begin.astimezone(zone).date(), close.astimezone(zone).date()})
    moments = [datetime.combine(day, rule.at, zone) for day in days]
    inside = [moment for moment in moments if session.begin <= moment < close]
    if inside:
        return inside[0]
    return session.begin if moments[-1] < close else close - EARLY_CLOSE


# ----- prices


def _by_price(
    view: _View, rules: RuleSet, memory: Memory, now: datetime, policy: QuotePolicy
) -> tuple[Verdict, Memory]:
    wide = _too_wide(view, policy)
    memory = _remember(view, rules, memory, policy, believed=wide is None)
    found = list(_conditions(view, rules, memory))
    blind = next((item for item in found if isinstance(item, Blind)), None)
    conditions = [item for item in found if isinstance(item, _Condition)]
    objection = _objection(view, conditions)
    if objection is not None:
        return Blind(Cause.CONTRADICTION, objection), replace(memory, sightings=())
    met = [condition for condition in conditions if condition.met]
    barred = [condition for condition in met if wide is not None and view.is_its_price(condition.subject)]
    met = [condition for condition in met if condition not in barred]
    sightings = tuple(_sighting(condition, view, memory, policy) for condition in met)
    if memory.sightings != sightings:
        memory = replace(memory, sightings=sightings)
    for condition, sighting in zip(met, sightings, strict=True):
        if sighting.count >= policy.confirmations:
            at = view.newest.astimezone(policy.zone).strftime("%H:%M:%S %Z")
            text = f"{condition.text}, on {sighting.count} quotes in a row, at {at}"
            return _close(view.unit, rules, condition, text), memory
    if blind is not None:
        return blind, memory
    if barred:
        return Blind(Cause.WIDE_SPREAD, f"{barred[0].text}, but {wide}"), memory
    pending = tuple(
        f"{condition.text}, on {sighting.count} of {policy.confirmations} quotes"
        for condition, sighting in zip(met, sightings, strict=True)
    )
    distances = tuple(condition.as_distance() for condition in conditions)
    stops = [distance for distance in distances if distance.rule not in (Rule.TARGET, Rule.PARTIAL)]
    targets = [distance for distance in distances if distance.rule in (Rule.TARGET, Rule.PARTIAL)]
    return Hold(_nearest(stops), _nearest(targets), pending, distances), memory


def _close(unit: Unit, rules: RuleSet, condition: _Condition, text: str) -> Close:
    """What follows from a condition that holds."""
    number = condition.level_number
    if not number or not isinstance(rules.partial_targets, PartialTargets):
        return Close(condition.rule, text)
    part = part_of(rules.partial_targets.levels[number - 1], unit.quantity)
    return Close(condition.rule, f"{text}; level {number}: {_plain(part)} of {_plain(unit.quantity)}", part, number)


def _nearest(distances: list[Distance]) -> Distance | None:
    """The one with the least way to go, in percent of what is seen; what is at 0 cannot be compared and goes last."""
    return min(distances, key=lambda d: (d.percent is None, d.percent or ZERO), default=None)


def _sighting(condition: _Condition, view: _View, memory: Memory, policy: QuotePolicy) -> Sighting:
    wording = f"{condition.rule} {condition.wording} {'below' if condition.below else 'above'}"
    before = next((sighting for sighting in memory.sightings if sighting.rule == wording), None)
    if before is None or view.newest - before.at > policy.confirm_within or view.newest < before.at:
        return Sighting(wording, 1, view.newest)
    if view.oldest <= before.at or view.newest - before.at < policy.spacing:
        return before
    return Sighting(wording, min(before.count + 1, policy.confirmations), view.newest)


def _remember(view: _View, rules: RuleSet, memory: Memory, policy: QuotePolicy, *, believed: bool) -> Memory:
    """The marks after these quotes: a best price counts when enough quotes in a row were at least as good. Of the
    quotes between two that count the worst one does. ``believed``: whether the spread lets them count at all."""
    at = memory.recent_at
    if believed and at is not None and memory.recent and not (view.oldest > at and view.newest - at >= policy.spacing):
        worst = min(memory.recent[-1], view.price, key=view.gain_at)
        if worst != memory.recent[-1] and view.newest >= at:
            memory = memory.seen((*memory.recent[:-1], worst), at, memory.best)
    elif believed:
        recent = (*memory.recent, view.price)[-policy.confirmations :]
        best = memory.best
        if len(recent) == policy.confirmations:
            reached = min(recent, key=view.gain_at)
            if best is None or view.gain_at(reached) > view.gain_at(best):
                best = reached
        memory = memory.seen(recent, view.newest, best)
    memory = _trail(view, rules.trailing if isinstance(rules.trailing, Trailing) else None, memory)
    rule = rules.breakeven if isinstance(rules.breakeven, Breakeven) else None
    wording = "" if rule is None else rule.wording
    armed = wording if memory.breakeven == wording else ""
    if rule is not None and memory.best is not None and view.unit.entry > 0:
        armed = wording if view.gain_at(memory.best) >= _part(view, rule.after_percent) else armed
    return memory if memory.breakeven == armed else replace(memory, breakeven=armed)


def _trail(view: _View, rule: Trailing | None, memory: Memory) -> Memory:
    wording = "" if rule is None else rule.wording
    level = memory.trail if memory.trail_rule == wording else None
    by_amount = rule is not None and rule.activate_percent is None and rule.distance_percent is None
    if rule is not None and memory.best is not None and (view.unit.entry > 0 or by_amount):
        best = view.gain_at(memory.best)
        activate = _gain(view, rule.activate_percent, rule.activate_amount)
        if level is not None or best >= activate:
            new = view.at_gain(best - _gain(view, rule.distance_percent, rule.distance_amount))
            # The quantity or the average price may have changed: the stop still never loosens.
            level = new if level is None else max(level, new, key=view.gain_at)
    trail_rule = "" if level is None else wording
    if (memory.trail, memory.trail_rule) == (level, trail_rule):
        return memory
    return replace(memory, trail=level, trail_rule=trail_rule)


def _part(view: _View, percent: Decimal) -> Decimal:
    return view.unit.entry * percent / 100


def _gain(view: _View, percent: Decimal | None, amount: Decimal | None) -> Decimal:
    """A gain per unit, from a percent of the premium or from money on the whole holding."""
    if percent is not None:
        return _part(view, percent)
    return (amount or ZERO) / view.unit.money_per_point


def _conditions(view: _View, rules: RuleSet, memory: Memory) -> Iterator[_Condition | Blind]:
    """What closes, in the order of precedence, and what cannot be evaluated."""
    unit, best = view.unit, memory.best or ZERO
    below = unit.direction > 0
    if unit.entry <= 0 and any(_needs_premium(rule) for rule in rules.own_rules.values()):
        yield Blind(Cause.NO_PREMIUM, f"the premium is {_plain(unit.entry)}: a percent of it means nothing")
    if isinstance(rules.stop, Stop):
        yield from _bound(view, Rule.STOP, rules.stop)
    if isinstance(rules.strike_stop, StrikeStop):
        yield from _strikes(view, rules.strike_stop)
    if memory.trail is not None and memory.best is not None:
        yield _Condition(
            *(Rule.TRAILING, memory.trail_rule, view.subject, view.price, memory.trail, below),
            lambda: f"best {_plain(best)}, premium {_plain(unit.entry)}",
        )
    if memory.breakeven:
        yield _Condition(
            *(Rule.BREAKEVEN, memory.breakeven, view.subject, view.price, unit.entry, below),
            lambda: f"best {_plain(best)}, the gain is gone",
        )
    elif _freed_by_a_part(view, rules, memory):
        yield _Condition(
            *(Rule.BREAKEVEN, "after a partial target", view.subject, view.price, unit.entry, below),
            lambda: f"best {_plain(best)}, the gain is gone after a partial target",
        )
    if isinstance(rules.delta, DeltaRule) and view.unit.has_option:
        delta = view.delta
        if delta is None:
            yield Blind(Cause.NO_DELTA, "the broker reports no delta")
        else:
            yield from _between(Rule.DELTA, rules.delta.wording, "|delta|", delta, rules.delta)
    if isinstance(rules.target, Target):
        yield from _bound(view, Rule.TARGET, rules.target)
    if isinstance(rules.partial_targets, PartialTargets):
        for number, level in levels_left(rules.partial_targets, memory.levels):
            for found in _bound(view, Rule.PARTIAL, level):
                yield found if isinstance(found, Blind) else found._replace(level_number=number)


def _freed_by_a_part(view: _View, rules: RuleSet, memory: Memory) -> bool:
    """Whether a partial target that is done has moved the stop to breakeven: only where there was a gain to lose."""
    rule = rules.partial_targets
    armed = isinstance(rule, PartialTargets) and rule.then_breakeven and bool(memory.levels) and view.unit.entry > 0
    return armed and memory.best is not None and view.gain_at(memory.best) > 0


def _strikes(view: _View, rule: StrikeStop) -> Iterator[_Condition | Blind]:
    """A strike stop, for each short option by the price of its own underlying."""
    for leg, level, below in levels(view.unit, rule):
        seen, label = view.quotes[leg.instrument.con_id].underlying, leg.instrument.label
        if seen is None:
            yield Blind(Cause.NO_UNDERLYING, f"{Rule.STRIKE}: the broker reports no price of the underlying of {label}")
            continue
        why = partial("the strike of short {}, {}".format, label, words(rule))
        yield _Condition(Rule.STRIKE, f"{rule.wording} {label}", UNDERLYING, seen, level, below, why)


def _bound(view: _View, rule: Rule, bound: Stop | Target | TargetLevel) -> Iterator[_Condition | Blind]:
    """The conditions of a stop or a target."""
    wording = bound.wording
    if bound.underlying_price is not None:
        if view.underlying is None:
            yield Blind(Cause.NO_UNDERLYING, f"{rule}: the broker reports no price of the underlying")
        else:
            yield from _between(rule, wording, UNDERLYING, view.underlying, bound.underlying_price)
        return
    sign = -1 if isinstance(bound, Stop) else 1
    if bound.price is not None:
        level = bound.price
    elif bound.percent_of_premium is None:
        level = view.at_gain(sign * _gain(view, None, _amount(bound)))
    elif view.unit.entry > 0:
        level = view.at_gain(sign * _part(view, bound.percent_of_premium))
    else:
        return
    below = (view.unit.direction > 0) == isinstance(bound, Stop)
    why = partial(_why, view.unit, rule, bound)
    yield _Condition(rule, wording, view.subject, view.price, level, below, why)


def _amount(bound: Stop | Target | TargetLevel) -> Decimal | None:
    return bound.loss_amount if isinstance(bound, Stop) else bound.profit_amount


def _why(unit: Unit, rule: Rule, bound: Stop | Target | TargetLevel) -> str:
    """What the level of a stop or a target is."""
    premium, word = _plain(unit.entry), "lost" if isinstance(bound, Stop) else "gained"
    if bound.price is not None:
        return f"the price of the {rule}, premium {premium}"
    if bound.percent_of_premium is not None:
        return f"{_plain(bound.percent_of_premium)} % of the premium {premium} {word}"
    return f"{_plain(_amount(bound) or ZERO)} {word}, premium {premium}"


def _between(
    rule: Rule, wording: str, subject: str, seen: Decimal, bounds: PriceBounds | DeltaRule
) -> Iterator[_Condition]:
    for level, below in ((bounds.below, True), (bounds.above, False)):
        if level is not None:
            yield _Condition(rule, wording, subject, seen, level, below, lambda: "the bound")


def _needs_premium(rule: object) -> bool:
    if isinstance(rule, Breakeven):
        return True
    if isinstance(rule, PartialTargets):
        return any(level.percent_of_premium is not None for level in rule.levels)
    return isinstance(rule, (Stop, Target, Trailing)) and any("percent" in name for name in _given(rule))


def _objection(view: _View, conditions: list[_Condition]) -> str | None:
    """Why the rules are inconsistent for this unit; None if they are consistent."""
    stops = [c for c in conditions if c.rule is Rule.STOP]
    targets = [c for c in conditions if c.rule in (Rule.TARGET, Rule.PARTIAL)]
    for stop in stops:
        against = [c for c in targets if c.subject == stop.subject]
        if stop.subject == UNDERLYING:
            if any(target.below is stop.below for target in against):
                return "the stop and the target wait for the underlying on the same side"
            continue
        if stop.below and stop.level < 0 and not all(leg.instrument.may_be_negative for leg in view.unit.legs):
            return f"the stop can never be reached: {stop.why()} is a price of {_plain(stop.level)}"
        for target in against:
            if view.gain_at(stop.level) >= view.gain_at(target.level):
                wrong = f"the stop at {_plain(stop.level)} is not on the losing side of the target"
                return f"{wrong} at {_plain(target.level)}"
    return None


def _given(rule: BaseModel) -> dict[str, object]:
    return rule.model_dump(exclude_none=True)


def _plain(number: Decimal) -> str:
    """In readable form, to four places."""
    return f"{round(number, 4).normalize():f}"
