"""The stops of accounts at work: asks for the values, fires, and carries on what a fired rule has to close.

A fired rule and what it has to close are on disk before anything follows from them. Orders are the closer's: each unit
is decided on as by a rule of its own, and passes the same gates.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from ib_connection.accounts import masked
from position_manager.account.frozen import LastChange, frozen, lacks_positions, since_change
from position_manager.account.priority import covers, in_order, waits_for
from position_manager.account.settings import AccountRules, Action
from position_manager.account.stops import (
    AccountMemory,
    Circumstances,
    Fired,
    Outcome,
    RuleState,
    Verdict,
    blind,
    evaluate,
    unusable,
)
from position_manager.account.values import AccountValues
from position_manager.brokers.broker import Broker, BrokerError
from position_manager.clock import Clock
from position_manager.engine.agenda import Agenda
from position_manager.engine.closer import Closer
from position_manager.engine.contract_locks import ContractLocks
from position_manager.engine.current_connection import CurrentConnection
from position_manager.engine.guard import Guard
from position_manager.engine.guarded_accounts import GuardedAccounts
from position_manager.engine.in_flight import InFlight
from position_manager.engine.journal_access import JournalAccess
from position_manager.engine.known_instruments import KnownInstruments
from position_manager.engine.notices import Notices
from position_manager.engine.sending_halts import SendingHalts
from position_manager.engine.tasks import Tasks
from position_manager.episodes import same_life
from position_manager.journal.journal import Journal
from position_manager.model import Kind, Position
from position_manager.orders.closing import Closing
from position_manager.refused import RefusedError
from position_manager.reports.account_messages import AccountAuthor
from position_manager.rules.groups import Unit
from position_manager.sessions.hours import Calendar, open_hours, session_at

_log = logging.getLogger(__name__)

ALERT_AFTER = timedelta(seconds=60)
"""How long a rule may be unprotected before people are notified."""
RULE = "account "
"""Prefix of the rule of a decision to close that a stop of the account has taken."""
_STORED = "account stops"


@dataclass(frozen=True)
class AccountPicture:
    """The state of the rules of one account, for `status`. ``values``: the last usable answer."""

    account: str
    values: AccountValues | None
    memory: AccountMemory
    states: tuple[RuleState, ...]


class AccountWatch:
    """The stops of every guarded account."""

    def __init__(
        self,
        closer: Closer,
        *,
        access: JournalAccess,
        agenda: Agenda,
        broker: Broker,
        calendar: Calendar,
        clock: Clock,
        connection: CurrentConnection,
        guard: Guard,
        guarded: GuardedAccounts,
        halts: SendingHalts,
        in_flight: InFlight,
        instruments: KnownInstruments,
        locks: ContractLocks,
        notices: Notices,
        tasks: Tasks,
    ) -> None:
        self._access = access
        self._agenda = agenda
        self._broker = broker
        self._calendar = calendar
        self._clock = clock
        self._connection = connection
        self._guard = guard
        self._guarded = guarded
        self._halts = halts
        self._in_flight = in_flight
        self._instruments = instruments
        self._locks = locks
        self._notices = notices
        self._tasks = tasks
        self._closer = closer
        self._values: dict[str, AccountValues] = {}
        self._memories: dict[str, AccountMemory] = {}
        self._states: dict[str, tuple[RuleState, ...]] = {}
        self._changed: dict[str, LastChange] = {}
        self._asked: datetime | None = None
        self._asking = False
        self._blind_since: dict[tuple[str, str], datetime] = {}
        self._notified: set[tuple[str, str]] = set()
        self._waiting: dict[str, str] = {}
        """By unit that has yet to be closed: the unit that must be closed before it."""

    @property
    def _rules(self) -> AccountRules | None:
        return self._guard.config.account_stops

    @property
    def _author(self) -> AccountAuthor:
        return AccountAuthor(self._guard.config.mode.value, self._clock.now())

    def restore(self, journal: Journal) -> None:
        """What a former run has stored. Raises JournalError."""
        for account, _, _, memory in journal.remembered(_STORED, AccountMemory.from_json):
            self._memories[account] = memory

    # ----- what others ask

    @property
    def fresh(self) -> bool:
        """Whether every rule could be evaluated; true without rules."""
        rules = self._rules
        if rules is None:
            return True
        now = self._clock.now()
        return all(
            unusable(self._values.get(account), now, rules.max_age) is None
            and all(state.verdict is not Verdict.BLIND for state in self._states.get(account, ()))
            for account in self._guarded.names
        )

    def pictures(self) -> tuple[AccountPicture, ...]:
        """The state of each account."""
        rules, now = self._rules, self._clock.now()
        if rules is None:
            return ()
        return tuple(
            AccountPicture(
                account, self._values.get(account), self._memory(account), self._states_of(account, rules, now)
            )
            for account in self._guarded.names
        )

    def waits(self, unit: Unit) -> str | None:
        """Which unit must be closed before this one, which an account stop has to close."""
        return self._waiting.get(unit.key)

    def rearm(self, by: str) -> str:
        """A person accepts the accounts as they are; what was done. Raises RefusedError."""
        rules = self._rules
        if rules is None:
            raise RefusedError("The configuration has no rules of the account.")
        now = self._clock.now()
        for account in self._guarded.names:
            why = unusable(self._values.get(account), now, rules.max_age)
            if why is not None or not self._connection.ready:
                raise RefusedError(f"{masked(account)} cannot be rearmed: {why or 'not connected'}.")
        done = []
        for account in self._guarded.names:
            before = self._memory(account)
            rearmed = before.rearmed()
            with self._access.journal.transaction():
                self._access.journal.append("account rearmed", account, 0, {"by": by, "fired": ", ".join(before.fired)})
                self._access.journal.remember(account, 0, _STORED, rearmed.to_json())
            self._memories[account] = rearmed
            for rule in before.fired:
                self._notices.notify(self._author.account_over(account, rule, f"rearmed by {by}"))
            fired = ", ".join(before.fired) or "nothing"
            done.append(
                f"{masked(account)}: rearmed at {self._values[account].net_liquidation:,.2f} "
                f"{self._values[account].currency}; {fired} had fired."
            )
        closing = [each.name for each in self._closer.closings.values() if each.rule.startswith(RULE)]
        if closing:
            done.append(f"Still being closed: {', '.join(closing)}. To withdraw one: position-manager release NAME")
        self._waiting.clear()
        return " ".join(done)

    def spare(self, closing: Closing) -> None:
        """A person has withdrawn a decision: the account stop leaves that unit alone."""
        memory = self._memories.get(closing.account)
        if memory is not None and memory.targets.keys() & closing.legs.keys():
            left = {key: episode for key, episode in memory.targets.items() if key not in closing.legs}
            self._store(closing.account, replace(memory, targets=left))

    def release(self, what: str) -> list[str]:
        """A person takes units out of what a stop has yet to close, as one that is locked or waits for another; what
        was done."""
        done = list[str]()
        for unit in self._guard.units:
            memory = self._memory(unit.account)
            named = unit.name == what or any(self._instruments.matches(leg.position.key, what) for leg in unit.legs)
            legs = {leg.instrument.con_id for leg in unit.legs}
            if named and legs & memory.targets.keys():
                left = {key: episode for key, episode in memory.targets.items() if key not in legs}
                self._store(unit.account, replace(memory, targets=left))
                self._waiting.pop(unit.key, None)
                done.append(f"The account stop leaves {unit.name} alone; its rules hold.")
        return done

    def moved(self, account: str, con_id: int, before: Decimal, quantity: Decimal) -> None:
        """Somebody else than the manager has changed a position: alert if it grew although a stop has fired."""
        fired = [each.rule for each in self._memory(account).fired.values() if each.action is not Action.NOTIFY]
        grew = abs(quantity) > abs(before) or before * quantity < 0
        if self._rules is None or not fired or not grew:
            return
        label, now = self._instruments.label(con_id), self._clock.now()
        data = {"before": before, "quantity": quantity, "fired": ", ".join(fired)}
        self._access.journal.append("opened although an account stop has fired", account, con_id, data)
        self._notices.notify(self._author.opened_all_the_same(account, label, before, quantity, ", ".join(fired), now))

    # ----- steps

    def ask(self, now: datetime) -> None:
        """Ask for the values when it is time to."""
        rules = self._rules
        if rules is None or not self._connection.ready or self._asking:
            return
        if self._asked is None or abs(now - self._asked) >= rules.every:
            self._asked, self._asking = now, True
            self._tasks.spawn(self._ask())

    async def _ask(self) -> None:
        try:
            answers = await self._broker.account_values()
        except BrokerError as error:
            _log.warning("%s", error)
            return
        finally:
            self._asking = False
            self._agenda.wake()
        for values in answers:
            if values.account in self._guarded.names:
                self._learn(values)

    def _learn(self, values: AccountValues) -> None:
        """Evaluate one answer; each only once, and only while something could follow from it."""
        rules, account = self._rules, values.account
        before, now = self._values.get(account), self._clock.now()
        if before is not None and values.time <= before.time <= now:
            return
        self._values[account] = values
        if rules is None or not self._connection.ready or self._access.fault is not None:
            return
        if unusable(values, now, rules.max_age) is not None:
            return
        at = self._circumstances(account, now)
        if (marks := self._marks(account, now)) is not None:
            last = since_change(self._changed.get(account), values, marks, at.held)
            self._changed[account] = last
            why = frozen(last, values, marks) or lacks_positions(values, marks, futures=at.futures)
            if why is not None:
                self._states[account] = blind(rules, self._memory(account), why)
                return
        outcome = evaluate(rules, values, self._memory(account), at)
        self._carry_out(account, outcome, values)
        self._states[account] = outcome.states

    def _marks(self, account: str, now: datetime) -> Decimal | None:
        """What the positions are worth at the middle of our own quotes; None unless all of them are live."""
        guard, worth = self._guard, Decimal(0)
        for position in guard.positions.values():
            if position.account == account:
                quote = guard.quote(position.instrument.con_id)
                if quote is None or quote.mid is None or quote.problem(now, self._guard.config.quotes.max_age):
                    return None
                worth += position.quantity * quote.mid * position.instrument.multiplier
        return worth

    def _circumstances(self, account: str, now: datetime) -> Circumstances:
        held = [position for position in self._guard.positions.values() if position.account == account]
        halt = self._halts.read()
        return Circumstances(
            now,
            self._guard.config.hours.zone,
            self._may_close(held, now),
            " ".join(sorted(f"{position.instrument.con_id}:{position.quantity}" for position in held)),
            any(position.instrument.kind is Kind.FUTURE for position in held),
            f"halted: {halt[0].reason}; to end it: {halt[0].remedy}" if halt else "",
        )

    def _may_close(self, held: Iterable[Position], now: datetime) -> bool:
        """Whether something of it could be sold or bought now, and nothing is in the grace after an opening: then its
        marks are odd, and they count for the whole account."""
        config = self._guard.config
        rth, calendar = config.orders.outside_rth, self._calendar
        grace = timedelta(seconds=float(config.quotes.opening_grace_seconds))
        sessions = (session_at(open_hours(calendar, each.instrument, now, outside_rth=rth), now) for each in held)
        since = [now - session.begin for session in sessions if session is not None]
        return bool(since) and min(since) >= grace

    def _carry_out(self, account: str, outcome: Outcome, values: AccountValues) -> None:
        """Record the result of an answer, then notify. Nothing takes effect before it is recorded."""
        memory = outcome.memory
        before = self._memory(account)
        if any(fired.action is Action.CLOSE for fired in outcome.fired):
            memory = replace(memory, targets=self._held(account))
        if outcome.fired or outcome.over:
            with self._access.journal.transaction():
                for fired in outcome.fired:
                    self._access.journal.append("account stop", account, 0, _evidence(fired, values, memory))
                for rule in outcome.over:
                    self._access.journal.append("account stop over", account, 0, {"rule": rule})
                self._access.journal.remember(account, 0, _STORED, memory.to_json())
            self._memories[account] = memory
        elif not self._in_flight:
            if memory.day_start is not None and before.day_start != memory.day_start:
                self._access.journal.append(
                    "account day", account, 0, {"start": memory.day_start, "day": str(memory.day)}
                )
            self._store(account, memory)
        else:
            # An order in progress must not wait for the disk; the next answer is recorded.
            self._memories[account] = memory
        for fired in outcome.fired:
            self._notices.notify(self._author.account_fired(account, fired, shadow=not self._guard.config.mode.sends))
        for rule in outcome.over:
            self._notices.notify(self._author.account_over(account, rule, "its episode is over"))
        if outcome.fired:
            self._agenda.wake()
            self.close_remaining(self._clock.now())

    def _held(self, account: str) -> dict[int, str]:
        guard = self._guard
        return {key[1]: guard.episodes.get(key, "") for key in guard.positions if key[0] == account}

    def close_remaining(self, now: datetime) -> None:
        """Decide to close what a fired rule still has to close, in its order of priority."""
        self._waiting.clear()
        if not self._connection.ready or self._access.fault is not None or self._halts.present:
            return
        for account, memory in list(self._memories.items()):
            if memory.targets and self._rules is None:
                # Nobody could rearm it any more, and it would go on whenever there are such rules again.
                with self._access.journal.transaction():
                    self._access.journal.append("account stop over", account, 0, {"rule": "what it still had to close"})
                    self._store(account, replace(memory, targets={}))
            elif memory.targets:
                self._close_targets(account, memory, now)

    def _close_targets(self, account: str, memory: AccountMemory, now: datetime) -> None:
        guard = self._guard
        present = self._held(account)
        targets = {
            con_id: episode
            for con_id, episode in memory.targets.items()
            if (not episode or not present.get(con_id, "") or same_life(episode, present[con_id]))
            and (con_id in present or self._is_counted(account, con_id))
        }
        units = [
            unit
            for unit in guard.units
            if unit.account == account and any(leg.instrument.con_id in targets for leg in unit.legs)
        ]
        by = next((each for each in memory.fired.values() if each.action is Action.CLOSE), None)
        rule, text = (RULE + by.rule.replace("_", " "), by.text) if by else (f"{RULE}stop", "an account stop has fired")
        others = [unit for unit in guard.units if unit.account == account and unit not in units]
        for unit in in_order(units):
            closing = self._closer.decisions.of(unit)
            if closing is not None and not closing.leaves:
                continue
            if self._closer.wings.holds(unit):
                targets.pop(unit.legs[0].instrument.con_id, None)
                continue
            if any((account, leg.instrument.con_id) in self._locks.present for leg in unit.legs):
                self._waiting[unit.key] = "a person: it is locked"
                continue
            # What a person has released, or opened since, must not lose its cover.
            other = waits_for(unit, units) or covers(unit, others)
            if other is not None and self._guard.config.mode.sends:
                self._waiting[unit.key] = other.name
                continue
            if closing is not None:
                # Only a part of it is being closed, or of the group that it is a leg of.
                self._closer.widen(closing, unit, rule, text)
                continue
            self._closer.decide(unit, rule, text)
            if not self._guard.config.mode.sends:
                for leg in unit.legs:
                    targets.pop(leg.instrument.con_id, None)
        if targets != dict(memory.targets):
            self._store(account, replace(self._memory(account), targets=targets))

    def _is_counted(self, account: str, con_id: int) -> bool:
        """Whether it is held as far as the journal knows: a list that lacks it proves nothing."""
        holding = self._access.journal.holding(account, con_id)
        return holding is not None and bool(holding.quantity)

    def watch_the_unprotected(self, now: datetime) -> None:
        """Notify of rules that could not be evaluated for long, and of the end of it."""
        rules, before = self._rules, self._blind_since
        self._blind_since = {}
        if rules is None or not self._connection.ready:
            return
        for account in self._guarded.names:
            for state in self._states_of(account, rules, now):
                key = (account, state.rule)
                if state.verdict is Verdict.BLIND:
                    since = min(now, before.get(key, now))
                    self._blind_since[key] = since
                    if key not in self._notified and now - since >= ALERT_AFTER:
                        self._notified.add(key)
                        self._notices.notify(self._author.account_blind(account, state, (now - since).total_seconds()))
                elif key in self._notified:
                    self._notified.discard(key)
                    self._notices.notify(self._author.account_seen(account, state.rule))

    # ----- memory

    def _states_of(self, account: str, rules: AccountRules, now: datetime) -> tuple[RuleState, ...]:
        memory = self._memory(account)
        why = unusable(self._values.get(account), now, rules.max_age)
        if not self._connection.ready:
            why = f"the connection is {self._connection.state.phase}"
        elif self._access.fault is not None:
            why = self._access.fault
        states = self._states.get(account, ())
        if why is None and [state.rule for state in states] == list(rules.own_rules):
            return tuple(_as_remembered(state, memory.fired) for state in states)
        return blind(rules, memory, why or "not evaluated yet")

    def _memory(self, account: str) -> AccountMemory:
        return self._memories.get(account, AccountMemory())

    def _store(self, account: str, memory: AccountMemory) -> None:
        self._access.journal.remember(account, 0, _STORED, memory.to_json())
        self._memories[account] = memory


def _as_remembered(state: RuleState, fired: Mapping[str, Fired]) -> RuleState:
    """The state as it is after a person has rearmed the rule since the last answer."""
    if state.verdict is Verdict.FIRED and state.rule not in fired:
        return replace(state, verdict=Verdict.PENDING, text="rearmed; evaluated at the next answer")
    return state


def _evidence(fired: Fired, values: AccountValues, memory: AccountMemory) -> dict[str, object]:
    return {
        "rule": fired.rule,
        "action": fired.action.value,
        "text": fired.text,
        "net_liquidation": values.net_liquidation,
        "excess_liquidity": values.excess_liquidity,
        "cash": values.cash,
        "currency": values.currency,
        "asked": values.time,
        "day_start": memory.day_start,
        "best": memory.best,
        "to_close": len(memory.targets),
    }
