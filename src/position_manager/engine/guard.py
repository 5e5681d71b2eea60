"""What is held, its quotes, and the current result of the rules.

The guard stores the positions of the last full sync (and what was pushed since), the newest quotes, and what rules
remember. It sends nothing: a rule that closes is returned to the caller.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from position_manager.config.precedence import Resolved, resolve
from position_manager.config.schema import EXCHANGE, Config
from position_manager.journal.journal import Journal
from position_manager.model import Market, Position, Quote
from position_manager.rules.data_farms import quotes
from position_manager.rules.evaluation import (
    Blind,
    Cause,
    Close,
    Hold,
    Memory,
    QuotePolicy,
    Rest,
    Verdict,
    at_rest,
    clearly_gone,
    evaluate,
)
from position_manager.rules.groups import GroupProblem, Unit, group_key, group_positions, single
from position_manager.rules.unprotected import NOT_WATCHED, Unprotected
from position_manager.sessions.hours import Calendar

Key = tuple[str, int]

_MEMORY = "memory of "
_COUNT = "unprotected of "
PART = 25
"""The number of units whose memory is stored in a row."""


class Guard:
    """The guarded units. ``calendar`` knows regular sessions, ``patience`` is how long a unit may go without an
    evaluation before it counts as not watched."""

    def __init__(self, config: Config, calendar: Calendar, patience: timedelta) -> None:
        self._calendar = calendar
        self._patience = patience
        self.positions: dict[Key, Position] = {}
        self.quotes: dict[int, Quote] = {}
        self.units: tuple[Unit, ...] = ()
        self.problems: tuple[GroupProblem, ...] = ()
        self.rules: dict[str, Resolved] = {}
        self.verdicts: dict[str, Verdict] = {}
        self.counts: dict[str, Unprotected] = {}
        self.alive_at: datetime | None = None
        """When the broker last answered: a quote that has not changed since its last tick is still valid at that time,
        unless its contract is in ``unproven`` or ``blinded``, or the tick is older than `quotes.quiet_seconds`. Events
        do not move it: a tick of one leg must not confirm the quotes of another."""
        self.suspended: dict[int, str] = {}
        """Contracts without live quotes, and why. Their last quote counts as not live."""
        self._farms_down: frozenset[str] = frozenset()
        self.blinded: frozenset[int] = frozenset()
        """Held contracts that a data farm quotes which is down."""
        self.unproven: set[int] = set()
        """Contracts of which a tick may have been missed: only their next quote has an age of its own again."""
        self.episodes: Mapping[Key, str] = {}
        """Of what is held; see `count`."""
        self._episode_of: dict[str, str] = {}
        self.closing_in_part: set[str] = set()
        """Groups of which a part is being closed: while their legs do not fit, what is remembered of them stays."""
        self.moved: dict[str, None] = {}
        """Units whose trailing stop or breakeven has moved and is not on disk yet, in order."""
        self._memories: dict[str, Memory] = {}
        self._rests: dict[str, Rest | None] = {}
        """Of the present units with their present rules."""
        self._stored: dict[str, tuple[str, str]] = {}
        self._by_contract: dict[int, list[Unit]] = {}
        self._by_key: dict[str, Unit] = {}
        self.config = config

    @property
    def config(self) -> Config:
        return self._config

    @config.setter
    def config(self, config: Config) -> None:
        """New rules: sightings of the old ones do not count for them, as they are worded otherwise."""
        self._config = config
        wanted = config.quotes
        self._quiet = wanted.quiet
        self._policy = QuotePolicy(
            config.hours.zone,
            wanted.max_age,
            wanted.confirmations,
            wanted.confirm_within,
            outside_rth=config.orders.outside_rth,
            confirm_span=timedelta(seconds=float(wanted.confirm_seconds)),
            grace=timedelta(seconds=float(wanted.opening_grace_seconds)),
            spread=config.orders.spread(),
            exchange_times=config.hours.timezone == EXCHANGE,
        )
        self._regroup()

    def restore(self, journal: Journal) -> None:
        """Load what a former run has remembered. Raises JournalError."""
        # Older journals have an empty text where there was nothing to remember, which is no damage.
        for _, _, key, memory in journal.remembered(_MEMORY, lambda text: Memory.from_json(text) if text else None):
            if memory is not None:
                self._memories[key] = replace(memory, episode=_together(memory.episode.split("|")))
        for _, _, key, count in journal.remembered(_COUNT, lambda text: Unprotected.from_json(text) if text else None):
            if count is not None:
                # It was not watched since then, however short that was.
                self.counts[key] = replace(count, state=NOT_WATCHED)

    def store(self, journal: Journal) -> None:
        """Store what must outlast a restart, as far as it has changed."""
        for _ in self.store_in_parts(journal, len(self.units)):
            pass

    def store_in_parts(self, journal: Journal, size: int = PART) -> Iterator[None]:
        """The same, a part at a time: a thousand in a row would delay an order. Units that are gone meanwhile are left
        out."""
        keys = [unit.key for unit in self.units]
        for first in range(0, len(keys), max(1, size)):
            part = (self._by_key.get(key) for key in keys[first : first + size])
            self._store_units(journal, [unit for unit in part if unit is not None])
            yield

    def _store_units(self, journal: Journal, units: Iterable[Unit]) -> None:
        changed = []
        for unit in units:
            memory, count = self._memories.get(unit.key), self.counts.get(unit.key)
            # Sightings and recent prices start over after a restart: they need quotes in a row.
            marks = "" if memory is None else replace(memory, recent=(), recent_at=None, sightings=()).to_json()
            texts = (marks, "" if count is None else count.to_json())
            if self._stored.get(unit.key) != texts:
                changed.append((unit, texts))
        if not changed:
            return
        with journal.transaction():
            for unit, (marks, count_text) in changed:
                place = (unit.account, unit.legs[0].instrument.con_id)
                for rule, text in ((_MEMORY + unit.key, marks), (_COUNT + unit.key, count_text)):
                    if text:
                        journal.remember(*place, rule, text)
                    else:
                        journal.drop(*place, rule)
        self._stored.update((unit.key, texts) for unit, texts in changed)

    def store_moved(self, journal: Journal, most: int = PART) -> None:
        """Store trailing stops and breakevens that have moved: some of them, so that an order need not wait."""
        keys = list(self.moved)[:most]
        units = (self._by_key.get(key) for key in keys)
        self._store_units(journal, [unit for unit in units if unit is not None])
        for key in keys:
            del self.moved[key]

    def store_new(self, journal: Journal) -> None:
        """Record that units are guarded from now on, so that the time in which they are not is counted too."""
        if any(unit.key not in self._stored for unit in self.units):
            self.store(journal)

    def count(self, episodes: Mapping[Key, str]) -> None:
        """Which episode each holding is in, as the journal counts them. Must be called before what is held is
        evaluated: what was remembered in another episode counts no longer."""
        if episodes != self.episodes:
            self.episodes = episodes
            self._name_episodes()

    def _name_episodes(self) -> None:
        self._episode_of = {}
        for unit in self.units:
            self._name_episode(unit)

    def _name_episode(self, unit: Unit) -> None:
        named = [self.episodes.get((unit.account, leg.instrument.con_id), "") for leg in unit.legs]
        self._episode_of[unit.key] = _together(named) if all(named) else ""

    def hold(self, positions: Iterable[Position]) -> None:
        """What a full sync showed."""
        held = {position.key: position for position in positions if position.quantity}
        if held != self.positions:
            self.positions = held
            self._regroup()
        self._forget_what_is_gone()

    def push(self, account: str, con_id: int, quantity: Decimal) -> bool:
        """What was pushed about one position; whether it was another quantity than the one known. A contract that is
        not known yet waits for a full sync."""
        known = self.positions.get((account, con_id))
        if known is None or known.quantity == quantity:
            return known is None and quantity != 0
        now = replace(known, quantity=quantity) if quantity else None
        if now is not None:
            self.positions[account, con_id] = now
        else:
            del self.positions[account, con_id]
        if self._config.groups:
            self._regroup()
        else:
            self._replace_unit(known, now)
        self._forget_what_is_gone()
        return True

    def _replace_unit(self, before: Position, now: Position | None) -> None:
        """The same as `_regroup` for one position that is now another one or gone, where each is a unit of its own: a
        thousand units need not be created again while an order may be due."""
        key, con_id = single(before).key, before.instrument.con_id
        new = [] if now is None else [single(now)]
        self.units = tuple(_replaced(self.units, key, new))
        self._by_contract[con_id] = _replaced(self._by_contract[con_id], key, new)
        self._rests.pop(key, None)
        for unit in new:
            self._by_key[key] = unit
            self.rules[key] = resolve(unit, self._config)
            self._name_episode(unit)
        if not new:
            for known in (self.rules, self._by_key, self._episode_of, self.verdicts):
                known.pop(key, None)
        self._name_the_blinded()

    def _regroup(self) -> None:
        grouping = group_positions(self.positions.values(), self._config.groups)
        self.units, self.problems = grouping.units, grouping.problems
        self.rules = self._resolved()
        self._rests.clear()
        by_contract: dict[int, list[Unit]] = defaultdict(list)
        for unit in self.units:
            for leg in unit.legs:
                by_contract[leg.instrument.con_id].append(unit)
        self._by_contract = dict(by_contract)
        self._by_key = {unit.key: unit for unit in self.units}
        self._name_episodes()
        self._name_the_blinded()
        self._drop_others(self.verdicts)

    def _resolved(self) -> dict[str, Resolved]:
        """The rules of each unit; most units have the same, so that for a thousand units they are stored once."""
        shared: dict[tuple[object, ...], Resolved] = {}
        found = {}
        for unit in self.units:
            resolved = resolve(unit, self._config)
            # The places where the rules were written identify them.
            found[unit.key] = shared.setdefault((*resolved.origins.values(), resolved.ignored), resolved)
        return found

    def _drop_others(self, *known: dict[str, Any], spared: Collection[str] = ()) -> None:
        for known_of in known:
            for key in [key for key in known_of if key not in self._by_key and key not in spared]:
                del known_of[key]

    def _forget_what_is_gone(self) -> None:
        """A position that is gone takes with it what was remembered about it. New rules alone take nothing; nor do legs
        that do not fit for a while, as when a part of a group is traded leg by leg: what they were is told by their
        episodes."""
        broken = {group_key(problem.account, problem.group) for problem in self.problems}
        spared = self.closing_in_part | broken
        self._drop_others(self._memories, self._stored, spared=spared)
        self._drop_others(self.counts, spared=self.closing_in_part)

    def guards(self, unit: Unit) -> bool:
        """Whether a unit is still as it was."""
        return self._by_key.get(unit.key) is unit

    def units_of(self, con_id: int) -> Iterable[Unit]:
        """The units that a quote matters to."""
        return self._by_contract.get(con_id, ())

    def on_quote(self, con_id: int, quote: Quote) -> None:
        """A new quote of a present subscription."""
        self.quotes[con_id] = quote
        self.unproven.discard(con_id)
        if quote.live:
            self.suspended.pop(con_id, None)

    def suspend(self, con_id: int, why: str) -> None:
        """The broker reports that there are no live quotes: the last one is no longer one, however young it is."""
        self.suspended[con_id] = why
        if (quote := self.quotes.get(con_id)) is not None:
            self.quotes[con_id] = replace(quote, live=False)

    def doubt(self, farm: str = "") -> None:
        """Ticks may have been missed: of what a data farm quotes, or of any contract."""
        held = {position.instrument.con_id: position.instrument for position in self.positions.values()}
        affected = (con_id for con_id in self.quotes if not farm or con_id not in held or quotes(farm, held[con_id]))
        self.unproven.update(affected)

    def farms_down(self, farms: frozenset[str]) -> None:
        """Data farms that are down: a quote of theirs that does not change proves nothing."""
        self._farms_down = farms
        self._name_the_blinded()

    def _name_the_blinded(self) -> None:
        instruments = (position.instrument for position in self.positions.values())
        self.blinded = (
            frozenset(each.con_id for each in instruments if any(quotes(farm, each) for farm in self._farms_down))
            if self._farms_down
            else frozenset()
        )

    def quiet_contracts(self, now: datetime) -> Iterator[int]:
        """Contracts whose quotes should be requested again before they are too old to be trusted: those that were not
        quoted for half of the time allowed, or at all, or that are suspended or unproven; not while their data farm is
        down."""
        half = self._quiet / 2
        for _, con_id in self.positions:
            quote = self.quotes.get(con_id)
            quiet = quote is None or now - quote.time >= half
            if con_id not in self.blinded and (quiet or con_id in self.suspended or con_id in self.unproven):
                yield con_id

    def forget_quotes(self) -> None:
        """The subscriptions are new ones: quotes received before them are no longer valid, however alive the broker
        is."""
        self.quotes.clear()
        self.unproven.clear()
        self.alive_at = None

    def quote(self, con_id: int) -> Quote | None:
        """The newest quote, at the time at which it was still valid. Its age is its own: an answer of the broker does
        not renew it once it is suspended, unproven, or quiet for too long."""
        quote = self.quotes.get(con_id)
        if quote is None or self.alive_at is None or quote.time >= self.alive_at:
            return quote
        if (
            not quote.live
            or con_id in self.unproven
            or con_id in self.blinded
            or self.alive_at - quote.time > self._quiet
        ):
            return quote
        return quote.valid_at(self.alive_at)

    def market(self, unit: Unit, now: datetime) -> Market:
        """The quotes of a unit's legs."""
        ids = [leg.instrument.con_id for leg in unit.legs]
        return Market(now, {con_id: quote for con_id in ids if (quote := self.quote(con_id)) is not None})

    def evaluate_unit(
        self,
        unit: Unit,
        now: datetime,
        blind: Callable[[Unit], Blind | None],
        blocked: Callable[[Unit, Market], str | None] = lambda _unit, _market: None,
    ) -> Close | None:
        """The result of the rules for a unit now; a Close is for the caller to carry out. ``blind`` states why nothing
        could be sent anyway: then nothing fires, and the unit counts as unprotected. ``blocked`` states why a close
        would not get through: rules fire all the same, but until then the unit counts as unprotected too."""
        memory, episode = self._memories.get(unit.key, Memory()), self._episode_of[unit.key]
        if episode and memory.episode != episode:
            memory = memory.in_episode(episode)
            self._rests[unit.key] = None
        rules = self.rules[unit.key].rules
        market, rest = self.market(unit, now), self._rests.get(unit.key)
        same = None if rest is None else rest.goes_on(market, memory, self._policy)
        verdict: Verdict
        if rest is not None and same is not None:
            verdict, self._memories[unit.key] = rest.hold, same
        else:
            verdict, after = evaluate(unit, rules, market, memory, self._policy, self._calendar)
            self._memories[unit.key] = after
            if after.protects_other_than(memory):
                self.moved[unit.key] = None
            self._rests[unit.key] = at_rest(unit, rules, market, memory, verdict, after, self._policy, self._calendar)
        why = blind(unit)
        verdict = verdict if why is None else why
        if isinstance(verdict, Hold) and (bar := blocked(unit, market)) is not None:
            verdict = Blind(Cause.BLOCKED, f"{Cause.BLOCKED} by {bar}", verdict)
        self.record_verdict(unit, verdict, now)
        return verdict if isinstance(verdict, Close) else None

    def clearly_gone(self, unit: Unit, rule: str, now: datetime, level: int = 0) -> str | None:
        """Why a rule that has fired for a unit, or a level of its partial targets, plainly holds no longer; None if it
        may still hold."""
        margin = self._config.quotes.recovery_percent / 100
        rules, memory = self.rules[unit.key].rules, self._memories.get(unit.key, Memory())
        market = self.market(unit, now)
        return clearly_gone(unit, rules, market, memory, self._policy, self._calendar, rule, margin, level)

    def levels_done(self, unit: Unit) -> tuple[int, ...]:
        """The partial targets of a unit that are done."""
        return self._memories.get(unit.key, Memory()).levels

    def level_done(self, journal: Journal, unit: Unit, level: int, *, done: bool = True) -> Callable[[], None]:
        """Record that a partial target is done, or is not after all. The returned function applies it in memory, once
        all that belongs to it is on disk."""
        memory = self._memories.get(unit.key, Memory())
        memory = memory.in_episode(self._episode_of.get(unit.key, memory.episode))
        others = {number for number in memory.levels if number != level}
        after = replace(memory, sightings=(), levels=tuple(sorted(others | ({level} if done else set()))))
        marks = replace(after, recent=(), recent_at=None).to_json()
        journal.remember(unit.account, unit.legs[0].instrument.con_id, _MEMORY + unit.key, marks)

        def store() -> None:
            self._memories[unit.key] = after
            self._rests[unit.key] = None

        return store

    def unit(self, key: str) -> Unit | None:
        """The present unit of a key."""
        return self._by_key.get(key)

    def at_first_sight(self, unit: Unit, now: datetime) -> Verdict:
        """The result of the rules for a unit on its present quotes, with nothing remembered and one quote enough."""
        policy = replace(self._policy, confirmations=1)
        rules = self.rules[unit.key].rules
        memory = self._memories.get(unit.key, Memory())
        fresh = Memory(episode=self._episode_of[unit.key], levels=memory.levels)
        verdict, _ = evaluate(unit, rules, self.market(unit, now), fresh, policy, self._calendar)
        return verdict

    def record_verdict(self, unit: Unit, verdict: Verdict, now: datetime) -> None:
        """Count the time since the last evaluation."""
        self.verdicts[unit.key] = verdict
        self.counts[unit.key] = self.counts.get(unit.key, Unprotected()).after_verdict(verdict, now, self._patience)


def _replaced(units: Sequence[Unit], key: str, new: list[Unit]) -> list[Unit]:
    """With ``new`` in place of the unit of a key."""
    place = next(number for number, unit in enumerate(units) if unit.key == key)
    return [*units[:place], *new, *units[place + 1 :]]


def _together(episodes: Iterable[str]) -> str:
    """The episodes of a unit's legs as one, in whatever order its file names the legs."""
    return "|".join(sorted(episodes))
