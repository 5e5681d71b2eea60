"""Decisions to close, from the rule that fired to the position that is gone: which order is next, and what bars it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial

from position_manager.brokers.broker import BrokerError
from position_manager.clock import Clock
from position_manager.engine.agenda import Agenda
from position_manager.engine.bars import TRY_AGAIN, Bars
from position_manager.engine.combo_closer import ComboCloser
from position_manager.engine.contract_locks import ContractLocks
from position_manager.engine.current_connection import CurrentConnection
from position_manager.engine.decisions import Decisions
from position_manager.engine.dry_run import DryRun
from position_manager.engine.escalation import Escalation
from position_manager.engine.followed_orders import RESTING_STATES, FollowedOrders
from position_manager.engine.foreign_exits import ForeignExits
from position_manager.engine.guard import Guard, Key
from position_manager.engine.in_flight import InFlight
from position_manager.engine.journal_access import JournalAccess
from position_manager.engine.known_instruments import KnownInstruments
from position_manager.engine.ladder_starts import LadderStarts
from position_manager.engine.notices import Notices
from position_manager.engine.sending import NotSentError, Sender, Wish, WithdrawnError, quote_evidence
from position_manager.engine.tasks import Tasks
from position_manager.engine.worthless_wings import Wings, bounds
from position_manager.journal.errors import UnsettledError
from position_manager.journal.journal import Journal
from position_manager.model import ZERO, Position
from position_manager.orders.closing import Cancel, Closing, Send, Wait, next_move
from position_manager.orders.combos import objection
from position_manager.orders.evidence import resting
from position_manager.orders.gates import closable
from position_manager.orders.intents import closing_side
from position_manager.orders.ladder import CapReached, legs_to_send
from position_manager.rules.groups import Unit
from position_manager.rules.partial_targets import left_of

_log = logging.getLogger(__name__)

ASKED = timedelta(seconds=1)
"""After a refusal that a full sync may explain."""
ASK_AFTER = frozenset({"position", "settled", "quantity", "open intent"})
"""Gates whose refusal means that the books are not what they were thought to be."""


@dataclass(frozen=True)
class ClosingParts:
    """What the closer decides with and sends by."""

    wings: Wings
    decisions: Decisions
    sender: Sender
    dry_run: DryRun
    bars: Bars
    escalation: Escalation
    foreign: ForeignExits
    ladder_starts: LadderStarts
    combos: ComboCloser


class Closer:
    """Carries out the decisions in effect, one step at a time."""

    def __init__(
        self,
        parts: ClosingParts,
        orders: FollowedOrders,
        *,
        access: JournalAccess,
        agenda: Agenda,
        clock: Clock,
        connection: CurrentConnection,
        guard: Guard,
        in_flight: InFlight,
        instruments: KnownInstruments,
        locks: ContractLocks,
        notices: Notices,
        tasks: Tasks,
    ) -> None:
        self._access = access
        self._agenda = agenda
        self._clock = clock
        self._connection = connection
        self._guard = guard
        self._in_flight = in_flight
        self._instruments = instruments
        self._locks = locks
        self._notices = notices
        self._tasks = tasks
        self._orders = orders
        self.wings = parts.wings
        self.decisions = parts.decisions
        self.sender = parts.sender
        self.dry_run = parts.dry_run
        self.bars = parts.bars
        self.escalation = parts.escalation
        self._foreign = parts.foreign
        self._ladder_starts = parts.ladder_starts
        self._combos = parts.combos
        self._shadowed: dict[str, str] = {}
        self._not_before: dict[Key, datetime] = {}
        """When what was refused may be tried again: a full sync alone is no reason to."""
        self._gone_since: dict[str, datetime] = {}
        """Since when the condition of a decision is plainly gone."""

    def restore(self, journal: Journal) -> None:
        """Decisions of former runs. Raises JournalError."""
        self.wings.restore(journal)
        self.escalation.restore(journal)
        self.decisions.restore(journal)

    @property
    def closings(self) -> Mapping[str, Closing]:
        """The decisions in effect, by unit."""
        return self.decisions.closings

    # ----- decisions

    def decide(
        self,
        unit: Unit,
        rule: str,
        text: str,
        *,
        by: str = "",
        prices: Mapping[int, Decimal] | None = None,
        part: Decimal | None = None,
        level: int = 0,
    ) -> None:
        """A unit is to be closed, or only a ``part`` of it, for a ``level`` of its partial targets. The decision is on
        disk before an order or a cancel follows from it: with the order if that leaves at once. A part is on disk at
        once, and with it that the level is done."""
        now = self._clock.now()
        if part is not None and not part:
            self._pass_level(unit, text, level)
            return
        leaves = {} if part is None or part >= unit.quantity else left_of(unit, part)
        legs = {leg.instrument.con_id: leg.position.quantity for leg in unit.legs}
        episodes = {con_id: self._guard.episodes.get((unit.account, con_id), "") for con_id in legs}
        closing = Closing(
            unit.key,
            unit.name,
            unit.account,
            rule,
            text,
            now,
            legs,
            prices=prices or {},
            by=by,
            episodes=episodes,
            leaves=leaves,
            level=level,
        )
        # What a person asks for is closed as a whole, and so is a part.
        if (
            (wings := self._guard.config.worthless_wings) is not None
            and unit.group is not None
            and not by
            and not leaves
        ):
            closing = replace(closing, worthless=bounds(wings, unit))
        group = self._guard.config.groups.get(unit.group) if unit.group is not None else None
        if group is not None and group.close == "combo" and unit.problem is None and not objection(unit):
            ratios = {leg.instrument.con_id: leg.ratio for leg in unit.legs}
            seconds = float(group.combo_seconds)
            closing = replace(closing, combo=ratios, direction=unit.direction, combo_seconds=seconds)
        # On disk at once with the decision, as every write costs time.
        for leg in legs_to_send([leg.position for leg in unit.legs]):
            closing = self._ladder_starts.start(closing, leg, now)
        quotes = {
            self._instruments.label(con_id): quote for con_id, quote in self._guard.market(unit, now).quotes.items()
        }
        seen: dict[str, object] = {
            "unit": unit.name,
            "rule": rule,
            "text": text,
            "quotes": {label: quote_evidence(quote) for label, quote in quotes.items()},
            "held": [
                {
                    "con_id": leg.instrument.con_id,
                    "quantity": leg.position.quantity,
                    "average_price": leg.position.average_price,
                }
                for leg in unit.legs
            ],
        }
        if level:
            seen |= {"level": level, "part": part}
        if not self._guard.config.mode.sends and leaves:
            with self._access.journal.transaction():
                self._access.journal.append("would close", unit.account, unit.legs[0].instrument.con_id, seen)
                done = self._guard.level_done(self._access.journal, unit, level)
            done()
            self._notices.notify(self._notices.author.shadowed(closing, quotes))
            return
        if not self._guard.config.mode.sends:
            # A rule that continues to hold is reported once.
            if self._shadowed.get(unit.key) != rule:
                self._shadowed[unit.key] = rule
                self._access.journal.append("would close", unit.account, unit.legs[0].instrument.con_id, seen)
                self._notices.notify(self._notices.author.shadowed(closing, quotes))
            return
        if level:
            # With the mark that the level is done: an order that follows would otherwise outlive what it was for.
            self.decisions.write_pending()
            with self._access.journal.transaction():
                for con_id in legs:
                    self._access.journal.append("rule fired", unit.account, con_id, seen)
                self.decisions.write(closing)
                level_is_done = self._guard.level_done(self._access.journal, unit, level)
            self.decisions.add(closing)
            level_is_done()
        else:
            self.decisions.add_unwritten(closing, seen)
        if by or closing.combo:
            # The requester gets an answer now; a combination is recorded apart from other orders.
            self.decisions.write_pending()
        self._notices.notify(self._notices.author.fired(closing, quotes))
        self.advance(closing)

    def _pass_level(self, unit: Unit, text: str, level: int) -> None:
        """A partial target of less than one contract is done without an order."""
        with self._access.journal.transaction():
            data = {"unit": unit.name, "text": text}
            for leg in unit.legs:
                self._access.journal.append("partial target passed", unit.account, leg.instrument.con_id, data)
            done = self._guard.level_done(self._access.journal, unit, level)
        done()
        self._notices.notify(self._notices.author.level_passed(unit.name, level, text))

    def widen(self, closing: Closing, unit: Unit, rule: str, text: str) -> None:
        """All of a unit is to be closed of which a part is being closed already."""
        now = self._clock.now()
        self.decisions.write_pending()
        whole = closing.whole(rule, text, now)
        if (wings := self._guard.config.worthless_wings) is not None and unit.group is not None:
            whole = replace(whole, worthless=bounds(wings, unit))
        quotes = {
            self._instruments.label(con_id): quote for con_id, quote in self._guard.market(unit, now).quotes.items()
        }
        shown = {label: quote_evidence(quote) for label, quote in quotes.items()}
        with self._access.journal.transaction():
            for con_id in whole.legs:
                seen = {"unit": whole.name, "rule": rule, "text": text, "quotes": shown}
                self._access.journal.append("rule fired", unit.account, con_id, seen)
            self.decisions.write(whole)
        self.decisions.add(whole)
        self._notices.notify(self._notices.author.fired(whole, quotes))
        self.advance(whole)

    def would_have(self, unit: Unit) -> str | None:
        """In shadow: the rule that would have closed the unit."""
        return self._shadowed.get(unit.key)

    def _drop(self, closing: Closing) -> None:
        # On disk first: what a failing journal still has stays in effect.
        self.decisions.erase(closing)
        self.escalation.erase(closing)
        self.decisions.drop(closing)
        self.escalation.drop(closing)
        self._gone_since.pop(closing.unit, None)
        self.bars.drop(closing)

    def withdraw(self, closing: Closing, why: str, *, level_left: bool = False) -> None:
        """The decision is no longer in effect; the rules apply again once what rests is cancelled. ``level_left``: the
        partial target that it is for is not done after all."""
        self.decisions.write_pending()
        unit = self._guard.unit(closing.unit)
        undone: Callable[[], None] | None = None
        with self._access.journal.transaction():
            self._drop(closing)
            if closing.level and level_left and unit is not None:
                undone = self._guard.level_done(self._access.journal, unit, closing.level, done=False)
            for con_id in closing.legs:
                self._access.journal.append("closing withdrawn", closing.account, con_id, {"why": why})
        if undone is not None:
            undone()
        self._notices.notify(self._notices.author.withdrawn(closing, why))
        for con_id in closing.legs:
            intent = self._access.journal.open_intent(closing.account, con_id)
            if intent is not None and intent.state in RESTING_STATES:
                self._orders.cancel(intent, why)

    def withdraw_changed(self, account: str, con_id: int, why: str) -> None:
        """Somebody else has traded a position that is being closed: evaluate its rules again."""
        for closing in list(self.closings.values()):
            if closing.account == account and con_id in closing.legs:
                self.withdraw(closing, why)

    def withdraw_past(self) -> None:
        """Withdraw what was decided about a position in an earlier episode of it."""
        for closing in list(self.closings.values()):
            for con_id, episode in closing.episodes.items():
                holding = self._access.journal.holding(closing.account, con_id)
                if episode and holding is not None and holding.episode not in ("", episode):
                    label = self._instruments.label(con_id)
                    self.withdraw(closing, f"{label} was closed and opened again, split or assigned since")
                    break

    # ----- steps

    def link_lost(self) -> None:
        """What the broker shows from now on is counted anew."""
        self._foreign.link_lost()

    def advance_all(self) -> None:
        for closing in list(self.closings.values()):
            self.advance(closing)

    def cancel_the_unwanted(self) -> None:
        """Cancel what rests to close but belongs to no decision: it was on its way, or the process ended, when the
        decision was withdrawn."""
        if not self._connection.ready or self._access.fault is not None:
            return
        for intent in self._access.journal.open_intents():
            wanted = bool(intent.stop) or self.decisions.includes((intent.account, intent.con_id))
            if intent.state in RESTING_STATES and not wanted:
                self._orders.cancel(intent, "no decision wants it any more")

    def on_quote(self, con_id: int) -> None:
        """A ladder may have waited for a price."""
        for closing in list(self.closings.values()):
            if con_id not in closing.legs or self._recovered(closing):
                continue
            if con_id not in closing.ladders or self.bars.is_bound(closing, self._instruments.label(con_id)):
                self.advance(closing)

    def _recovered(self, closing: Closing) -> bool:
        """Withdraw a decision of a rule whose condition has plainly been gone for a while, unless a part of it is
        executed; whether it was."""
        now = self._clock.now()
        unit = self._guard.unit(closing.unit)
        if closing.by or unit is None or not self._connection.ready or self._access.fault is not None:
            return False
        held = {leg.instrument.con_id: leg.position.quantity for leg in unit.legs}
        intents = (self._access.journal.open_intent(closing.account, con_id) for con_id in closing.legs)
        untouched = held == dict(closing.legs) and not any(intent and intent.filled for intent in intents)
        # For a part, the unfilled rest is withdrawn as well: a partial target must not sell at any price.
        ends = untouched or bool(closing.leaves)
        why = self._guard.clearly_gone(unit, closing.rule, now, closing.level) if ends else None
        if why is None:
            self._gone_since.pop(closing.unit, None)
            return False
        since = min(now, self._gone_since.setdefault(closing.unit, now))
        if now - since < self._guard.config.quotes.recovery_span:
            self._agenda.advance_by(since + self._guard.config.quotes.recovery_span)
            return False
        if closing.level and self._still_trading(closing):
            return True
        self.withdraw(closing, f"its condition is gone: {why}", level_left=not self._has_traded(closing))
        return True

    def _still_trading(self, closing: Closing) -> bool:
        """Whether an order of a part may still trade: it is cancelled, and only its proven end shows whether the level
        was done."""
        intents = [self._access.journal.open_intent(closing.account, con_id) for con_id in closing.legs]
        for intent in intents:
            if intent is not None and intent.state in RESTING_STATES:
                self._orders.cancel(intent, "its condition is gone")
        self._agenda.advance_by(self._clock.now() + ASKED)
        return any(intents)

    def _has_traded(self, closing: Closing) -> bool:
        """Whether any order of a decision was executed, in part or in full."""
        journal, account = self._access.journal, closing.account
        held = {con_id: self._guard.positions.get((account, con_id)) for con_id in closing.legs}
        if any(held_now is None or held_now.quantity != closing.legs[con_id] for con_id, held_now in held.items()):
            # Whatever a clock says that was set back since.
            return True
        past = (intent for con_id in closing.legs for intent in journal.intents(account, con_id))
        return any(intent.filled for intent in past if intent.created >= closing.decided)

    def advance(self, closing: Closing) -> None:
        """The next step of a decision, for each contract whose turn it is."""
        if not self._connection.ready or self._access.fault is not None or self._recovered(closing):
            return
        held = (self._guard.positions.get((closing.account, con_id)) for con_id in closing.legs)
        legs = [position for position in held if position is not None and closing.surplus(position)]
        intents = {con_id: self._access.journal.open_intent(closing.account, con_id) for con_id in closing.legs}
        split = self.wings.split(closing, legs, intents)
        legs = split.to_close
        if not legs and not split.undecided and not any(intents.values()):
            self._closed(closing, split.left)
            return
        if not legs and split.undecided:
            return
        if closing.combo:
            one_by_one = self._combos.advance(closing, legs)
            if one_by_one is None:
                return
            closing = one_by_one
            self.bars.end(closing, closing.name)
        now = self._clock.now()
        for leg in legs_to_send(legs):
            con_id = leg.instrument.con_id
            if leg.key in self._in_flight or leg.key in self._locks.present:
                continue
            if intents[con_id] is None and not self._settled(leg):
                self._agenda.advance_by(now + ASKED)
                continue
            quote = self.dry_run.usable(con_id)
            started = self._ladder_starts.start(closing, leg, now)
            if started is not closing:
                closing = started
                self.decisions.store(closing)
            intent = intents[con_id]
            if intent is not None and (bar := self.dry_run.refusal(leg, approved=con_id in closing.prices)):
                # What rests stays: it is not cancelled for an order that would be rejected.
                _log.info("%s rests as it is: %s", leg.instrument.label, bar)
                self._agenda.advance_by(now + TRY_AGAIN)
                continue
            move = next_move(closing, leg, quote, intent, now, self.escalation.policy(closing, now))
            if not isinstance(move, CapReached):
                self.bars.end_bound(closing, leg.instrument.label)
            match move:
                case Send(price):
                    # After a clock was set back, nothing waits.
                    if now < self._not_before.get(leg.key, now) <= now + TRY_AGAIN:
                        self._agenda.advance_by(self._not_before[leg.key])
                        continue
                    if self._foreign.wanted and not closing.leaves and self._waits_for_exits(closing, leg, price):
                        continue
                    self._in_flight.add([leg.key])
                    self._tasks.spawn(self._send(closing, leg, price))
                case Cancel(why) if intent is not None:
                    self.decisions.write_pending()
                    self._orders.cancel(intent, why)
                case CapReached():
                    self.bars.on_bound(closing, leg, move)
                case Wait(until) if until is not None:
                    self._agenda.advance_by(until)

    def _waits_for_exits(self, closing: Closing, leg: Position, price: Decimal) -> bool:
        """Whether exit orders of others must be gone before an order; they are cancelled only if one could be sent."""
        approved = leg.instrument.con_id in closing.prices
        too_large = not self.dry_run.limits().caps.slice_of(
            min(abs(leg.quantity), Decimal(1)), price, leg.instrument.multiplier
        )
        if too_large or self.dry_run.refusal(leg, approved=approved):
            return False
        others = self.dry_run.resting_of_others().get(leg.key, ())
        covered = resting(others, *leg.key, closing_side(leg.quantity))
        if closing.leaves and closable(leg.quantity, covered) >= closing.surplus(leg):
            # They protect what is left.
            return False
        self.decisions.write_pending()
        waits = self._foreign.clear(leg, f"{closing.rule} closes {closing.name}")
        if waits:
            self._agenda.advance_by(self._clock.now() + ASKED)
        self.bars.on_waiting(closing, leg.instrument.label, waits)
        return bool(waits)

    def _settled(self, leg: Position) -> bool:
        """Whether the position matches our executions: after a fill its new size arrives a moment later."""
        holding = self._access.journal.holding(*leg.key)
        return holding is not None and holding.quantity == leg.quantity

    async def _send(self, closing: Closing, leg: Position, price: Decimal) -> None:
        label = leg.instrument.label
        try:
            approved = leg.instrument.con_id in closing.prices
            decided = closing.legs[leg.instrument.con_id]
            leaves = abs(closing.leaves.get(leg.instrument.con_id, ZERO))
            is_wanted = partial(self.decisions.is_wanted, closing)
            wish = Wish(leg, decided, price, closing.rule, closing.text, approved, leaves=leaves, is_wanted=is_wanted)
            intent = await self.sender.send(wish)
        except NotSentError as error:
            self.bars.on_refused(closing, leg, error)
            if ASK_AFTER & {check.gate for check in error.clearance.refusals}:
                self._agenda.sync_soon()
                self._again(leg, ASKED)
            else:
                self._again(leg, TRY_AGAIN)
        except WithdrawnError:
            _log.info("%s was not sent: the decision was withdrawn meanwhile", label)
            # Another one may have been made meanwhile.
            self._agenda.advance_by(self._clock.now())
        except (UnsettledError, BrokerError) as error:
            _log.warning("%s was not sent: %s", label, error)
            self._agenda.sync_soon()
            self._again(leg, ASKED)
        else:
            self.bars.end(closing, label)
            self._agenda.advance_by(self._clock.now() + self._guard.config.orders.ladder().interval)
            _log.info("sent: %s %s %s at %s (order %s)", intent.side, intent.quantity, label, price, intent.order_id)
        finally:
            self._in_flight.remove([leg.key])
            self._agenda.wake()

    def _again(self, leg: Position, span: timedelta) -> None:
        self._not_before[leg.key] = self._clock.now() + span
        self._agenda.advance_by(self._not_before[leg.key])

    def _closed(self, closing: Closing, left: Sequence[Position]) -> None:
        wings = {leg.instrument.con_id for leg in left}
        self.decisions.write_pending()
        if any(self._guard.positions.get((closing.account, con_id)) for con_id in closing.leaves):
            with self._access.journal.transaction():
                self._drop(closing)
                for con_id, remaining in closing.leaves.items():
                    data = {"unit": closing.name, "rule": closing.rule, "left": remaining}
                    self._access.journal.append("closed in part", closing.account, con_id, data)
            self._notices.notify(self._notices.author.closed_in_part(closing))
            self._agenda.wake()
            return
        with self._access.journal.transaction():
            self._drop(closing)
            for con_id in closing.legs:
                if con_id not in wings:
                    data = {"unit": closing.name, "rule": closing.rule}
                    self._access.journal.append("closed", closing.account, con_id, data)
                self._access.journal.forget(closing.account, con_id)
            self.wings.leave(closing, left)
        self._notices.notify(self._notices.author.closed(closing, tuple(leg.instrument.label for leg in left)))
