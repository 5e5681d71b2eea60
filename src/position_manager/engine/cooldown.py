"""The time after a stop: what is opened again on the same underlying is alerted about, or closed.

The manager opens nothing, so it cannot prevent trading. It recognises an opening by its episode: every position that
was not held when the stop was filled, as soon as a full sync has counted it. An assignment is not an opening, and what
may cover a short position is never closed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from position_manager.account.priority import waits_for
from position_manager.account.settings import Cooldown, CooldownAction
from position_manager.clock import Clock
from position_manager.engine.account_watch import RULE as ACCOUNT_RULE
from position_manager.engine.broker_view import BrokerView
from position_manager.engine.closer import Closer
from position_manager.engine.contract_locks import ContractLocks
from position_manager.engine.current_connection import CurrentConnection
from position_manager.engine.guard import Guard
from position_manager.engine.journal_access import JournalAccess
from position_manager.engine.known_instruments import KnownInstruments
from position_manager.engine.notices import Notices
from position_manager.engine.sending_halts import SendingHalts
from position_manager.episodes import same_life
from position_manager.journal.journal import Journal
from position_manager.model import Position
from position_manager.orders import disaster
from position_manager.orders.intents import REF_PREFIX, Intent
from position_manager.reports.account_messages import AccountAuthor
from position_manager.rules.evaluation import Rule
from position_manager.rules.groups import Unit

RULE = "cooldown"
STOPS = frozenset(
    {Rule.STOP.value, Rule.TRAILING.value, Rule.BREAKEVEN.value, Rule.DELTA.value, Rule.STRIKE.value, disaster.RULE}
)
_STORED = "cooldown of "
Place = tuple[str, str]
"""Account and underlying."""


@dataclass(frozen=True)
class Cooling:
    """One underlying in one account, from the fill of a stop (``rule``, at ``since``) on. ``known``: the episodes of
    what was held then, by contract; ``seen``: those of what was opened since and was dealt with. ``since`` moves with
    each further fill, ``started`` does not; journals have it as ``begun``."""

    since: datetime
    rule: str
    label: str
    known: Mapping[int, str] = field(default_factory=dict)
    seen: Mapping[int, str] = field(default_factory=dict)
    started: Annotated[datetime | None, Field(alias="begun")] = None

    def to_json(self) -> str:
        return _COOLING.dump_json(self, by_alias=True).decode()

    @staticmethod
    def from_json(text: str) -> Cooling:
        """Raises ValueError if the text is none."""
        try:
            return _COOLING.validate_json(text)
        except ValidationError as error:
            raise ValueError(f"this is no cooldown: {error}") from error


_COOLING = TypeAdapter(Cooling)


class Cooldowns:
    """All active ones. They are in the journal."""

    def __init__(
        self,
        closer: Closer,
        *,
        access: JournalAccess,
        clock: Clock,
        connection: CurrentConnection,
        guard: Guard,
        halts: SendingHalts,
        instruments: KnownInstruments,
        locks: ContractLocks,
        notices: Notices,
        view: BrokerView,
    ) -> None:
        self._access = access
        self._clock = clock
        self._connection = connection
        self._guard = guard
        self._halts = halts
        self._instruments = instruments
        self._locks = locks
        self._notices = notices
        self._view = view
        self._closer = closer
        self._cooling: dict[Place, Cooling] = {}

    @property
    def _rule(self) -> Cooldown | None:
        return self._guard.config.cooldown

    @property
    def _author(self) -> AccountAuthor:
        return AccountAuthor(self._guard.config.mode.value, self._clock.now())

    def restore(self, journal: Journal) -> None:
        """Raises JournalError."""
        for account, _, symbol, cooling in journal.remembered(_STORED, Cooling.from_json):
            self._cooling[account, symbol] = cooling

    def under_way(self) -> Mapping[Place, tuple[Cooling, datetime]]:
        """Each with its end."""
        rule = self._rule
        return {} if rule is None else {place: (each, each.since + rule.span) for place, each in self._cooling.items()}

    def on_fill(self, intent: Intent) -> None:
        """An order of ours was executed, in part or in full."""
        if self._rule is None or not (intent.rule in STOPS or intent.rule.startswith(ACCOUNT_RULE)):
            return
        instrument = self._instruments.get(intent.con_id)
        if instrument is None:
            return
        place, label = (intent.account, instrument.symbol), instrument.label
        now = self._clock.now()
        since = min(now, intent.fills[-1].time) if intent.fills else now
        before = self._cooling.get(place)
        if before is not None:
            self._store(place, replace(before, since=max(since, before.since), rule=intent.rule, label=label))
            return
        if now >= since + self._rule.span:
            return
        known = {
            **self._counted(place),
            **{position.instrument.con_id: self._episode(position) for position in self._held(place)},
        }
        known[intent.con_id] = self._guard.episodes.get((intent.account, intent.con_id), known.get(intent.con_id, ""))
        with self._access.journal.transaction():
            self._access.journal.append("cooldown", *_key(intent), {"underlying": place[1], "rule": intent.rule})
            self._store(place, Cooling(since, intent.rule, label, known, started=since))

    def rearm(self, symbol: str, by: str) -> str | None:
        """A person ends the cooldowns of an underlying; what was done, None if there is none."""
        places = [place for place in self._cooling if place[1] == symbol]
        for place in places:
            self._end(place, f"ended by {by}")
        return f"The cooldown of {symbol} is over." if places else None

    def update(self, now: datetime) -> None:
        """Deal with what was opened, and end what is over."""
        rule = self._rule
        if not self._connection.ready or self._access.fault is not None:
            return
        for place, cooling in list(self._cooling.items()):
            if rule is None or now >= cooling.since + rule.span:
                self._end(place, "it is over")
                continue
            for position in self._held(place):
                episode, con_id = self._episode(position), position.instrument.con_id
                present = self._cooling[place]
                dealt = (present.known.get(con_id, ""), present.seen.get(con_id, ""))
                if episode and not any(same_life(each, episode) for each in dealt):
                    dealt_with = replace(present, seen={**present.seen, con_id: episode})
                    self._opened(place, dealt_with, position, rule)

    def _opened(self, place: Place, cooling: Cooling, position: Position, rule: Cooldown) -> None:
        account, symbol = place
        unit = next(
            (u for u in self._guard.units_of(position.instrument.con_id) if u.account == account),
            None,
        )
        spared = "the cooldown only notifies"
        if rule.action is CooldownAction.CLOSE:
            spared = "it is held by nothing that is guarded" if unit is None else self._spared(unit, position, cooling)
        ends = cooling.since + rule.span
        data = {"underlying": symbol, "stop": cooling.rule, "ends": ends, "why": spared or "it is closed"}
        with self._access.journal.transaction():
            self._access.journal.append("opened in a cooldown", *position.key, data)
            self._access.journal.remember(account, 0, _STORED + symbol, cooling.to_json())
        self._cooling[place] = cooling
        self._notices.notify(
            self._author.opened_in_cooldown(
                account, position, f"{cooling.rule} of {cooling.label}", cooling.since, ends, spared
            )
        )
        if unit is not None and not spared:
            text = (
                f"cooldown: opened before {ends:%H:%M:%S} UTC, {rule.minutes} minutes after the {cooling.rule} of "
                f"{cooling.label} was filled"
            )
            self._closer.decide(unit, RULE, text)

    def _spared(self, unit: Unit, position: Position, cooling: Cooling) -> str:
        """Why a unit is not closed although the cooldown closes; empty if it is."""
        if self._halts.present:
            return f"halted: {self._halts.present[0].reason}"
        if self._closer.decisions.of(unit) is not None:
            return "it is being closed already"
        if any(position.key == lock for lock in self._locks.present):
            return "it is locked"
        traded = (
            execution.fill
            for execution in self._view.latest.executions
            if (execution.account, execution.con_id) == position.key
            and not execution.ref.startswith(REF_PREFIX)
            and execution.fill.time >= (cooling.started or cooling.since)
        )
        if not any(traded):
            return "no execution since the stop shows that it was bought or sold: it may have been assigned"
        if any(leg.instrument.con_id in cooling.known and self._is_known(leg.position, cooling) for leg in unit.legs):
            return f"{unit.name} has legs that were held before"
        others = [each for each in self._guard.units if each.account == unit.account]
        if (other := waits_for(unit, others)) is not None:
            return f"it may cover {other.name}, which is short"
        return ""

    def _is_known(self, position: Position, cooling: Cooling) -> bool:
        return same_life(cooling.known.get(position.instrument.con_id, ""), self._episode(position))

    def _held(self, place: Place) -> list[Position]:
        held = self._guard.positions.values()
        return [position for position in held if (position.account, position.instrument.symbol) == place]

    def _counted(self, place: Place) -> dict[int, str]:
        """What the journal knows to be held, which is more than the guard knows before the first full sync."""
        return {
            con_id: holding.episode
            for (account, con_id), holding in self._access.journal.holdings().items()
            if holding.quantity
            and account == place[0]
            and (instrument := self._instruments.get(con_id)) is not None
            and instrument.symbol == place[1]
        }

    def _episode(self, position: Position) -> str:
        return self._guard.episodes.get(position.key, "")

    def _store(self, place: Place, cooling: Cooling) -> None:
        self._access.journal.remember(place[0], 0, _STORED + place[1], cooling.to_json())
        self._cooling[place] = cooling

    def _end(self, place: Place, why: str) -> None:
        journal = self._access.journal
        with journal.transaction():
            journal.drop(place[0], 0, _STORED + place[1])
            journal.append("cooldown over", place[0], 0, {"underlying": place[1], "why": why})
        del self._cooling[place]


def _key(intent: Intent) -> tuple[str, int]:
    return intent.account, intent.con_id
