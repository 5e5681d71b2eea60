"""Decisions to close, from the rule that fired to the position that is gone: which order is next, and what bars it."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial

from ib_connection.accounts import masked
from position_manager.brokers.broker import BrokerError
from position_manager.config.schema import Config
from position_manager.engine.combo_closer import ComboCloser
from position_manager.engine.desk import Desk
from position_manager.engine.followed_orders import RESTING_STATES, FollowedOrders
from position_manager.engine.foreign_exits import ForeignExits
from position_manager.engine.guard import Key
from position_manager.engine.sending import NotSentError, Sender, Unwritten, Wish, WithdrawnError, quote_evidence
from position_manager.engine.worthless_wings import Wings, bounds
from position_manager.journal.errors import UnsettledError
from position_manager.journal.journal import Journal
from position_manager.model import ZERO, Instrument, Market, Position, Quote
from position_manager.orders.caps import windows
from position_manager.orders.closing import Cancel, Closing, Send, Wait, next_move
from position_manager.orders.combos import objection
from position_manager.orders.evidence import OpenOrder, Snapshot, resting
from position_manager.orders.gates import Limits, closable
from position_manager.orders.intents import REF_PREFIX, State, closing_side
from position_manager.orders.ladder import Bound, CapReached, LadderPolicy, legs_to_send
from position_manager.refused import RefusedError
from position_manager.rules.groups import Unit
from position_manager.rules.partial_targets import left_of
from position_manager.sessions.hours import open_hours, session_at

_log = logging.getLogger(__name__)

TRY_AGAIN = timedelta(seconds=5)
"""After a refusal by the gates, or a bound that was reached."""
ASKED = timedelta(seconds=1)
"""After a refusal that a full sync may explain."""
WRITE_WITHIN = timedelta(seconds=0.1)
"""A decision waits no longer for the order that it shares a write to the disk with."""
ASK_AFTER = frozenset({"position", "settled", "quantity", "open intent"})
"""Gates whose refusal means that the books are not what they were thought to be."""
_KEPT = "closing "
_NOTIFIED = "notified of closing "
"""Alerts and the escalation of a decision: a restart repeats neither."""
CLOSED = "the market is closed"
ANOTHER_UNIT = 10
"""A limit within this factor of the price in pence is taken for one in pence."""


@dataclass(frozen=True)
class Bar:
    """What prevents a contract from being closed: a bound of the ladder, or gates. ``reported``: whether
    people were notified."""

    what: str
    since: datetime
    reported: bool


class Closer:
    """The decisions in effect. They are in the journal, so that a restart continues with them."""

    def __init__(self, desk: Desk, orders: FollowedOrders) -> None:
        self._desk = desk
        self._orders = orders
        self.wings = Wings(desk)
        self.sender = Sender(desk, Unwritten(self._write_unwritten, self._are_written))
        self._unwritten: list[tuple[Closing, Mapping[str, object]]] = []
        """Decisions that are not on disk yet, and the data that they are based on."""
        self.closings: dict[str, Closing] = {}
        self._unit_of: dict[Key, str] = {}
        """Which decision a contract is in."""
        self.bars: dict[tuple[str, str], Bar] = {}
        """By unit and label of the contract."""
        self._shadowed: dict[str, str] = {}
        self._not_before: dict[Key, datetime] = {}
        """When what was refused may be tried again: a full sync alone is no reason to."""
        self._limits_of: tuple[Config, Limits] | None = None
        self._full: tuple[datetime, bool] | None = None
        self._rests_in: Snapshot | None = None
        self._others: dict[Key, list[OpenOrder]] = {}
        self._alerts: dict[str, int] = {}
        """How often people were notified that a position is still held after its decision."""
        self._escalated: set[str] = set()
        self._combos = ComboCloser(
            desk,
            orders,
            self._keep,
            self._usable,
            self._policy,
            self._combo_barred,
            self._would_bar,
            self._is_wanted,
            {},
        )
        self._foreign = ForeignExits(desk)
        self._gone_since: dict[str, datetime] = {}
        """Since when the condition of a decision is plainly gone."""

    def restore(self, journal: Journal) -> None:
        """Decisions of former runs. Raises JournalError."""
        self.wings.restore(journal)
        for _, _, unit, (alerts, escalated) in journal.remembered(_NOTIFIED, _notified):
            self._alerts[unit] = alerts
            if escalated:
                self._escalated.add(unit)
        for *_, closing in journal.remembered(_KEPT, Closing.from_json):
            self._stands(closing)

    def of(self, unit: Unit) -> Closing | None:
        """The decision that a contract of the unit is in."""
        found = (self._unit_of.get((unit.account, leg.instrument.con_id)) for leg in unit.legs)
        name = next((name for name in found if name is not None), None)
        return None if name is None else self.closings[name]

    def _stands(self, closing: Closing) -> None:
        self.closings[closing.unit] = closing
        if closing.leaves:
            self._desk.guard.closing_in_part.add(closing.unit)
        else:
            self._desk.guard.closing_in_part.discard(closing.unit)
        for con_id in closing.legs:
            self._unit_of.setdefault((closing.account, con_id), closing.unit)

    def bar(self, closing: Closing) -> str | None:
        """What prevents a decision from being carried out."""
        return next((bar.what for (unit, _), bar in self.bars.items() if unit == closing.unit), None)

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
        desk, now = self._desk, self._desk.clock.now()
        if part is not None and not part:
            self._pass_level(unit, text, level)
            return
        leaves = {} if part is None or part >= unit.quantity else left_of(unit, part)
        legs = {leg.instrument.con_id: leg.position.quantity for leg in unit.legs}
        episodes = {con_id: desk.guard.episodes.get((unit.account, con_id), "") for con_id in legs}
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
        if (wings := desk.config.worthless_wings) is not None and unit.group is not None and not by and not leaves:
            closing = replace(closing, worthless=bounds(wings, unit))
        group = desk.config.groups.get(unit.group) if unit.group is not None else None
        if group is not None and group.close == "combo" and unit.problem is None and not objection(unit):
            ratios = {leg.instrument.con_id: leg.ratio for leg in unit.legs}
            seconds = float(group.combo_seconds)
            closing = replace(closing, combo=ratios, direction=unit.direction, combo_seconds=seconds)
        # On disk at once with the decision, as every write costs time.
        for leg in legs_to_send([leg.position for leg in unit.legs]):
            closing = self._begun(closing, leg, now)
        quotes = {desk.label(con_id): quote for con_id, quote in desk.guard.market(unit, now).quotes.items()}
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
        if not desk.config.mode.sends and leaves:
            with desk.journal.transaction():
                desk.journal.append("would close", unit.account, unit.legs[0].instrument.con_id, seen)
                done = desk.guard.level_done(desk.journal, unit, level)
            done()
            desk.say(desk.author.shadowed(closing, quotes))
            return
        if not desk.config.mode.sends:
            # A rule that continues to hold is reported once.
            if self._shadowed.get(unit.key) != rule:
                self._shadowed[unit.key] = rule
                desk.journal.append("would close", unit.account, unit.legs[0].instrument.con_id, seen)
                desk.say(desk.author.shadowed(closing, quotes))
            return
        if level:
            # With the mark that the level is done: an order that follows would otherwise outlive what it was for.
            self.write_decided()
            with desk.journal.transaction():
                for con_id in legs:
                    desk.journal.append("rule fired", unit.account, con_id, seen)
                self._write(closing)
                level_is_done = desk.guard.level_done(desk.journal, unit, level)
            self._stands(closing)
            level_is_done()
        else:
            self._unwritten.append((closing, seen))
            self._stands(closing)
        if by or closing.combo:
            # The requester gets an answer now; a combination is recorded apart from other orders.
            self.write_decided()
        desk.say(desk.author.fired(closing, quotes))
        self.advance(closing)

    def _pass_level(self, unit: Unit, text: str, level: int) -> None:
        """A partial target of less than one contract is done without an order."""
        desk = self._desk
        with desk.journal.transaction():
            data = {"unit": unit.name, "text": text}
            for leg in unit.legs:
                desk.journal.append("partial target passed", unit.account, leg.instrument.con_id, data)
            done = desk.guard.level_done(desk.journal, unit, level)
        done()
        desk.say(desk.author.level_passed(unit.name, level, text))

    def widen(self, closing: Closing, unit: Unit, rule: str, text: str) -> None:
        """All of a unit is to be closed of which a part is being closed already."""
        desk, now = self._desk, self._desk.clock.now()
        self.write_decided()
        whole = closing.whole(rule, text, now)
        if (wings := desk.config.worthless_wings) is not None and unit.group is not None:
            whole = replace(whole, worthless=bounds(wings, unit))
        quotes = {desk.label(con_id): quote for con_id, quote in desk.guard.market(unit, now).quotes.items()}
        shown = {label: quote_evidence(quote) for label, quote in quotes.items()}
        with desk.journal.transaction():
            for con_id in whole.legs:
                seen = {"unit": whole.name, "rule": rule, "text": text, "quotes": shown}
                desk.journal.append("rule fired", unit.account, con_id, seen)
            self._write(whole)
        self._stands(whole)
        desk.say(desk.author.fired(whole, quotes))
        self.advance(whole)

    def write_decided(self) -> None:
        """Store the decisions that are not on disk yet. Raises JournalError; then they must still be written."""
        if self._unwritten:
            with self._desk.journal.transaction():
                self._write_unwritten()
            self._are_written()

    def write_in_time(self, now: datetime) -> None:
        """The same, but leave it to the order in progress for a moment: they share one write to the disk."""
        due = self.write_due
        if due is not None and (now >= due or due - now > WRITE_WITHIN or not self._desk.busy):
            self.write_decided()

    @property
    def write_due(self) -> datetime | None:
        """When decisions must be on disk, if some are not."""
        return self._unwritten[0][0].decided + WRITE_WITHIN if self._unwritten else None

    def _write_unwritten(self) -> None:
        """Within a transaction, after whose end `_are_written` is to be called."""
        for closing, seen in self._unwritten:
            for con_id in closing.legs:
                self._desk.journal.append("rule fired", closing.account, con_id, seen)
            standing = self.closings.get(closing.unit)
            if standing is not None:
                self._keep(standing)

    def _are_written(self) -> None:
        self._unwritten.clear()

    def would_have(self, unit: Unit) -> str | None:
        """In shadow: the rule that would have closed the unit."""
        return self._shadowed.get(unit.key)

    def _write(self, closing: Closing) -> None:
        self._desk.journal.remember(closing.account, 0, _KEPT + closing.unit, closing.to_json())

    def _keep(self, closing: Closing) -> None:
        self._write(closing)
        self._stands(closing)

    def _is_wanted(self, closing: Closing) -> bool:
        """Whether what a decision wanted is still wanted: it may have been withdrawn since, or become one to close all;
        of another decision about a part it means nothing."""
        now = self.closings.get(closing.unit)
        return now is not None and (now.decided == closing.decided or not now.leaves)

    def _drop(self, closing: Closing) -> None:
        self._desk.journal.drop(closing.account, 0, _KEPT + closing.unit)
        self._desk.journal.drop(closing.account, 0, _NOTIFIED + closing.unit)
        self.closings.pop(closing.unit, None)
        self._gone_since.pop(closing.unit, None)
        self._desk.guard.closing_in_part.discard(closing.unit)
        self._escalated.discard(closing.unit)
        if self._alerts.pop(closing.unit, 0):
            self._desk.say(self._desk.author.held_no_longer(closing))
        self._unit_of.clear()
        for other in self.closings.values():
            self._stands(other)
        for key in [key for key in self.bars if key[0] == closing.unit]:
            del self.bars[key]

    def withdraw(self, closing: Closing, why: str, *, level_left: bool = False) -> None:
        """The decision is no longer in effect; the rules apply again once what rests is cancelled. ``level_left``: the
        partial target that it is for is not done after all."""
        desk = self._desk
        self.write_decided()
        unit = desk.guard.unit(closing.unit)
        undone: Callable[[], None] | None = None
        with desk.journal.transaction():
            self._drop(closing)
            if closing.level and level_left and unit is not None:
                undone = desk.guard.level_done(desk.journal, unit, closing.level, done=False)
            for con_id in closing.legs:
                desk.journal.append("closing withdrawn", closing.account, con_id, {"why": why})
        if undone is not None:
            undone()
        desk.say(desk.author.withdrawn(closing, why))
        for con_id in closing.legs:
            intent = desk.journal.open_intent(closing.account, con_id)
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
                holding = self._desk.journal.holding(closing.account, con_id)
                if episode and holding is not None and holding.episode not in ("", episode):
                    label = self._desk.label(con_id)
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
        desk = self._desk
        if not desk.ready or desk.fault is not None:
            return
        for intent in desk.journal.open_intents():
            wanted = bool(intent.stop) or (intent.account, intent.con_id) in self._unit_of
            if intent.state in RESTING_STATES and not wanted:
                self._orders.cancel(intent, "no decision wants it any more")

    def quoted(self, con_id: int) -> None:
        """A ladder may have waited for a price."""
        for closing in list(self.closings.values()):
            if con_id not in closing.legs or self._recovered(closing):
                continue
            bar = self.bars.get((closing.unit, self._desk.label(con_id)))
            if con_id not in closing.ladders or (bar is not None and bar.what in set(Bound)):
                self.advance(closing)

    def _recovered(self, closing: Closing) -> bool:
        """Withdraw a decision of a rule whose condition has plainly been gone for a while, unless a part of it is
        executed; whether it was."""
        desk, now = self._desk, self._desk.clock.now()
        unit = desk.guard.unit(closing.unit)
        if closing.by or unit is None or not desk.ready or desk.fault is not None:
            return False
        held = {leg.instrument.con_id: leg.position.quantity for leg in unit.legs}
        intents = (desk.journal.open_intent(closing.account, con_id) for con_id in closing.legs)
        untouched = held == dict(closing.legs) and not any(intent and intent.filled for intent in intents)
        # For a part, the unfilled rest is withdrawn as well: a partial target must not sell at any price.
        ends = untouched or bool(closing.leaves)
        why = desk.guard.clearly_gone(unit, closing.rule, now, closing.level) if ends else None
        if why is None:
            self._gone_since.pop(closing.unit, None)
            return False
        since = min(now, self._gone_since.setdefault(closing.unit, now))
        if now - since < desk.config.quotes.recovery_span:
            desk.advance_by(since + desk.config.quotes.recovery_span)
            return False
        if closing.level and self._still_trading(closing):
            return True
        self.withdraw(closing, f"its condition is gone: {why}", level_left=not self._has_traded(closing))
        return True

    def _still_trading(self, closing: Closing) -> bool:
        """Whether an order of a part may still trade: it is cancelled, and only its proven end shows whether the level
        was done."""
        desk = self._desk
        intents = [desk.journal.open_intent(closing.account, con_id) for con_id in closing.legs]
        for intent in intents:
            if intent is not None and intent.state in RESTING_STATES:
                self._orders.cancel(intent, "its condition is gone")
        desk.advance_by(desk.clock.now() + ASKED)
        return any(intents)

    def _has_traded(self, closing: Closing) -> bool:
        """Whether any order of a decision was executed, in part or in full."""
        journal, account = self._desk.journal, closing.account
        held = {con_id: self._desk.guard.positions.get((account, con_id)) for con_id in closing.legs}
        if any(held_now is None or held_now.quantity != closing.legs[con_id] for con_id, held_now in held.items()):
            # Whatever a clock says that was set back since.
            return True
        past = (intent for con_id in closing.legs for intent in journal.intents(account, con_id))
        return any(intent.filled for intent in past if intent.created >= closing.decided)

    def advance(self, closing: Closing) -> None:
        """The next step of a decision, for each contract whose turn it is."""
        desk = self._desk
        if not desk.ready or desk.fault is not None or self._recovered(closing):
            return
        held = (desk.guard.positions.get((closing.account, con_id)) for con_id in closing.legs)
        legs = [position for position in held if position is not None and closing.surplus(position)]
        intents = {con_id: desk.journal.open_intent(closing.account, con_id) for con_id in closing.legs}
        split = self.wings.split(closing, legs, intents)
        legs = split.to_close
        if not legs and not split.undecided and not any(intents.values()):
            self._closed(closing, split.left)
            return
        if not legs and split.undecided:
            return
        if closing.combo:
            one_by_one = self._combos.step(closing, legs)
            if one_by_one is None:
                return
            closing = one_by_one
            self.bars.pop((closing.unit, closing.name), None)
        now = desk.clock.now()
        for leg in legs_to_send(legs):
            con_id = leg.instrument.con_id
            if leg.key in desk.busy or leg.key in desk.locks:
                continue
            if intents[con_id] is None and not self._settled(leg):
                desk.advance_by(now + ASKED)
                continue
            quote = self._usable(con_id)
            begun = self._begun(closing, leg, now)
            if begun is not closing:
                closing = begun
                self._keep(closing)
            intent = intents[con_id]
            if intent is not None and (bar := self._would_bar(leg, approved=con_id in closing.prices)):
                # What rests stays: it is not cancelled for an order that would be rejected.
                _log.info("%s rests as it is: %s", leg.instrument.label, bar)
                desk.advance_by(now + TRY_AGAIN)
                continue
            move = next_move(closing, leg, quote, intent, now, self._policy(closing, now))
            if not isinstance(move, CapReached):
                self._within_bounds(closing, leg)
            match move:
                case Send(price):
                    # After a clock was set back, nothing waits.
                    if now < self._not_before.get(leg.key, now) <= now + TRY_AGAIN:
                        desk.advance_by(self._not_before[leg.key])
                        continue
                    if self._foreign.wanted and not closing.leaves and self._waits_for_exits(closing, leg, price):
                        continue
                    desk.busy.add(leg.key)
                    desk.spawn(self._send(closing, leg, price))
                case Cancel(why) if intent is not None:
                    self.write_decided()
                    self._orders.cancel(intent, why)
                case CapReached():
                    self._capped(closing, leg, move)
                case Wait(until) if until is not None:
                    desk.advance_by(until)

    def _waits_for_exits(self, closing: Closing, leg: Position, price: Decimal) -> bool:
        """Whether exit orders of others must be gone before an order; they are cancelled only if one could be sent."""
        desk, key = self._desk, (closing.unit, leg.instrument.label)
        approved = leg.instrument.con_id in closing.prices
        too_large = not self._limits().caps.slice_of(
            min(abs(leg.quantity), Decimal(1)), price, leg.instrument.multiplier
        )
        if too_large or self._would_bar(leg, approved=approved):
            return False
        others = self._resting_of_others().get(leg.key, ())
        covered = resting(others, *leg.key, closing_side(leg.quantity))
        if closing.leaves and closable(leg.quantity, covered) >= closing.surplus(leg):
            # They protect what is left.
            return False
        self.write_decided()
        waits = self._foreign.clear(leg, f"{closing.rule} closes {closing.name}")
        if waits:
            desk.advance_by(desk.clock.now() + ASKED)
            if (bar := self.bars.get(key)) is None or bar.what != waits:
                self.bars[key] = Bar(waits, desk.clock.now(), reported=True)
        elif (bar := self.bars.get(key)) is not None and bar.what.startswith("waits for the proven cancel"):
            del self.bars[key]
        return bool(waits)

    def _policy(self, closing: Closing, now: datetime) -> LadderPolicy:
        """The ladder, with the bounds of the escalation once it is time for it."""
        orders = self._desk.config.orders
        policy, more = orders.ladder(), orders.escalation
        if more is None or now - closing.decided < timedelta(seconds=float(more.after_seconds)):
            return policy
        if closing.unit not in self._escalated:
            self._escalated.add(closing.unit)
            data = {"unit": closing.unit, "max_slippage_percent": more.max_slippage_percent}
            with self._desk.journal.transaction():
                self._desk.journal.append("escalated", closing.account, next(iter(closing.legs)), data)
                self._store_notified(closing)
            self._desk.say(self._desk.author.escalated(closing, more.max_slippage_percent))
        return replace(policy, max_slippage=more.max_slippage_percent / 100)

    def still_held(self, now: datetime) -> None:
        """Report, repeatedly, the positions that are still held long after the decision to close them, and what each
        waits for. While the market is closed or the connection is away nothing is reported."""
        desk = self._desk
        every = timedelta(seconds=float(desk.config.orders.still_held_seconds))
        if not desk.ready:
            return
        for closing in self.closings.values():
            shown = (desk.guard.positions.get((closing.account, con_id)) for con_id in closing.legs)
            held = [position for position in shown if position is not None and closing.surplus(position)]
            count = self._alerts.get(closing.unit, 0)
            if not held or now - closing.decided < every * (count + 1):
                continue
            if all(self._would_bar(leg, approved=bool(closing.prices)) == CLOSED for leg in held):
                continue
            # After a period without reports, one is enough.
            self._alerts[closing.unit] = int((now - closing.decided) / every)
            self._store_notified(closing)
            desk.say(
                desk.author.still_held(closing, now - closing.decided, [self._phase(closing, leg) for leg in held])
            )

    def _store_notified(self, closing: Closing) -> None:
        notified = {"alerts": self._alerts.get(closing.unit, 0), "escalated": closing.unit in self._escalated}
        self._desk.journal.remember(closing.account, 0, _NOTIFIED + closing.unit, notified)

    def _phase(self, closing: Closing, leg: Position) -> str:
        """What the close of a contract waits for."""
        label, now = leg.instrument.label, self._desk.clock.now()
        if leg.key in self._desk.locks:
            return f"{label}: locked: {self._desk.locks[leg.key].reason}"
        intent = self._desk.journal.open_intent(*leg.key)
        if intent is None:
            bar = self.bars.get((closing.unit, label))
            return f"{label}: {leg.quantity} held, no order is at the broker{f', {bar.what}' if bar else ''}"
        age = 0 if intent.sent is None else (now - intent.sent).total_seconds()
        said = f": {intent.reason}" if intent.reason else ""
        order_id = self._desk.journal.intent(intent.lead).order_id if intent.lead else intent.order_id
        what = f"order {order_id} over {intent.remaining} at {intent.limit} is {intent.state} for {age:.0f} s{said}"
        stuck = intent.state in (State.CANCELLING, State.UNKNOWN)
        return f"{label}: {what}{'. Cancel it in TWS or the Client Portal' if stuck else ''}"

    def _begun(self, closing: Closing, leg: Position, now: datetime) -> Closing:
        """With the ladder of a contract started, if there is a price to start at; and restarted if the one it has
        belongs to a market that has passed: an earlier session, or a price that was out of bounds for so long that the
        current one is an honest one. A quote starts no ladder if its spread is too wide for an order."""
        con_id, orders = leg.instrument.con_id, self._desk.config.orders
        quote = self._usable(con_id)
        if quote is None or not self._limits().spread.allows(leg.instrument, quote):
            return closing
        ladder = closing.ladders.get(con_id)
        if ladder is None:
            return closing.begun(con_id, now, quote)
        bar = self.bars.get((closing.unit, leg.instrument.label))
        used_up = bar is not None and bar.what == Bound.SLIPPAGE
        if used_up and bar is not None and now - bar.since >= timedelta(seconds=float(orders.reanchor_seconds)):
            why = f"its slippage was used up for {(now - bar.since).total_seconds():.0f} s"
        elif self._opened_since(leg, ladder.begun, now):
            why = "a new session has begun"
        else:
            return closing
        begun = closing.begun(con_id, now, quote)
        self._desk.journal.append(
            "ladder anew", *leg.key, {"why": why, "before": ladder.reference, "reference": quote.mid}
        )
        self._desk.say(self._desk.author.anchored(closing, leg.instrument.label, ladder.reference, quote, why))
        self._within_bounds(closing, leg)
        return begun

    def _opened_since(self, leg: Position, since: datetime, now: datetime) -> bool:
        """Whether the market was closed in between."""
        outside_rth = self._desk.config.orders.outside_rth
        sessions = open_hours(self._desk.calendar, leg.instrument, now, outside_rth=outside_rth)
        session = session_at(sessions, now)
        if session is None or session.begin <= since:
            return False
        return all(hours.end != session.begin for hours in sessions)

    def _would_bar(self, leg: Position, *, approved: bool) -> str:
        """Why the gates would refuse another order now, as far as this is known without asking the broker."""
        desk, now = self._desk, self._desk.clock.now()
        if desk.read_halts():
            return "halted"
        outside_rth = desk.config.orders.outside_rth or approved
        if session_at(open_hours(desk.calendar, leg.instrument, now, outside_rth=outside_rth), now) is None:
            return CLOSED
        caps = desk.config.limits().caps
        minute, day = windows(now)
        journal = desk.journal
        sent = [journal.sent_since(since, closes_only=True) for since in (minute, day)]
        if sent[0] >= caps.orders_per_minute or sent[1] >= caps.orders_per_day:
            return "no more orders may be sent now"
        return ""

    def blocked(self, unit: Unit, market: Market) -> str | None:
        """Why a close of a unit would not pass the gates now, although its rules can be evaluated: a dry run of those
        gates that the unit's state does not show already. It runs for each unit at each evaluation, so it does not read
        from disk."""
        desk = self._desk
        if not desk.config.mode.sends:
            return None
        if self._day_is_full():
            return "orders per day: no more orders may be sent today"
        caps, bound = self._limits().caps, self._limits().spread
        for leg in unit.legs:
            instrument, held = leg.instrument, leg.position.quantity
            quote, label = market.quotes.get(instrument.con_id), leg.instrument.label
            if (own := self._resting_of_others().get(leg.position.key)) is not None:
                cancelled = self._foreign.in_the_way(leg.position)
                stay = (order for order in own if order not in cancelled)
                covered = resting(stay, *leg.position.key, closing_side(held))
                if covered:
                    return f"quantity: orders of yours or of other programs rest for {covered} of {abs(held)} {label}"
            if quote is None or quote.bid is None or quote.ask is None:
                continue
            if len(unit.legs) == 1 and (excess := bound.excess(instrument, quote)):
                return f"spread: {excess}"
            # The price that closing would take at worst, with room for the ladder.
            price = quote.bid if held > 0 else quote.ask
            if not caps.slice_of(min(abs(held), Decimal(1)), price, instrument.multiplier):
                worth = price * instrument.multiplier
                return f"order notional: one {label} is worth {worth:.2f}, at most {caps.notional} may be sent"
        return None

    def _limits(self) -> Limits:
        """Created once for each configuration."""
        config = self._desk.config
        if self._limits_of is None or self._limits_of[0] is not config:
            self._limits_of = config, config.limits()
        return self._limits_of[1]

    def _day_is_full(self) -> bool:
        """Whether the cap of a day is reached. Read at most once a second."""
        desk, now = self._desk, self._desk.clock.now()
        if desk.opened is None or desk.fault is not None:
            return False
        if self._full is None or abs(now - self._full[0]) >= timedelta(seconds=1):
            sent = desk.journal.sent_since(windows(now)[1], closes_only=True)
            self._full = now, sent >= self._limits().caps.orders_per_day
        return self._full[1]

    def _resting_of_others(self) -> Mapping[Key, list[OpenOrder]]:
        """The orders that the last full sync showed and that are not ours, by holding."""
        desk = self._desk
        if self._rests_in is not desk.seen:
            self._rests_in = desk.seen
            self._others = defaultdict(list)
            for order in desk.seen.open_orders:
                if not order.ref.startswith(REF_PREFIX) or order.client_id != desk.broker.client_id:
                    self._others[order.account, order.con_id].append(order)
        return self._others

    def _settled(self, leg: Position) -> bool:
        """Whether the position matches our executions: after a fill its new size arrives a moment later."""
        holding = self._desk.journal.holding(*leg.key)
        return holding is not None and holding.quantity == leg.quantity

    def _usable(self, con_id: int) -> Quote | None:
        desk = self._desk
        quote = desk.guard.quote(con_id)
        usable = quote is not None and quote.problem(desk.clock.now(), desk.config.quotes.max_age) is None
        return quote if usable else None

    async def _send(self, closing: Closing, leg: Position, price: Decimal) -> None:
        desk, label = self._desk, leg.instrument.label
        try:
            approved = leg.instrument.con_id in closing.prices
            decided = closing.legs[leg.instrument.con_id]
            leaves = abs(closing.leaves.get(leg.instrument.con_id, ZERO))
            is_wanted = partial(self._is_wanted, closing)
            wish = Wish(leg, decided, price, closing.rule, closing.text, approved, leaves=leaves, is_wanted=is_wanted)
            intent = await self.sender.send(wish)
        except NotSentError as error:
            gates = ", ".join(check.gate for check in error.clearance.refusals)
            bar = self.bars.get((closing.unit, label))
            if bar is None or bar.what != gates:
                self.bars[closing.unit, label] = Bar(gates, desk.clock.now(), reported=True)
                desk.journal.append("refused", *leg.key, error.clearance.evidence())
                desk.say(desk.author.refused(closing, label, gates, str(error)))
            if ASK_AFTER & {check.gate for check in error.clearance.refusals}:
                desk.sync_soon()
                self._again(leg, ASKED)
            else:
                self._again(leg, TRY_AGAIN)
        except WithdrawnError:
            _log.info("%s was not sent: the decision was withdrawn meanwhile", label)
            # Another one may have been made meanwhile.
            desk.advance_by(desk.clock.now())
        except (UnsettledError, BrokerError) as error:
            _log.warning("%s was not sent: %s", label, error)
            desk.sync_soon()
            self._again(leg, ASKED)
        else:
            self.bars.pop((closing.unit, label), None)
            desk.advance_by(desk.clock.now() + desk.config.orders.ladder().interval)
            _log.info("sent: %s %s %s at %s (order %s)", intent.side, intent.quantity, label, price, intent.order_id)
        finally:
            desk.busy.discard(leg.key)
            desk.wake.set()

    def _combo_barred(self, closing: Closing, what: CapReached | NotSentError | None) -> None:
        """What prevents a combination from being sent; each cause is reported once."""
        desk, key = self._desk, (closing.unit, closing.name)
        now, bar = desk.clock.now(), self.bars.get(key)
        if what is None:
            self.bars.pop(key, None)
            return
        gates = [check.gate for check in what.clearance.refusals] if isinstance(what, NotSentError) else []
        word = what.bound if isinstance(what, CapReached) else ", ".join(dict.fromkeys(gates))
        if bar is not None and bar.what == word:
            return
        self.bars[key] = Bar(word, now, reported=True)
        for con_id in closing.legs:
            if isinstance(what, NotSentError):
                desk.journal.append("refused", closing.account, con_id, what.clearance.evidence())
            else:
                desk.journal.append("bound reached", closing.account, con_id, {"bound": str(what)})
        if isinstance(what, NotSentError):
            desk.say(desk.author.refused(closing, closing.name, word, str(what)))

    def _again(self, leg: Position, span: timedelta) -> None:
        self._not_before[leg.key] = self._desk.clock.now() + span
        self._desk.advance_by(self._not_before[leg.key])

    def _capped(self, closing: Closing, leg: Position, cap: CapReached) -> None:
        """Report a bound once. A price that is missing may come with the next tick, as after a start: it is reported
        when it has been missing for as long as a quote may be old."""
        desk, key = self._desk, (closing.unit, leg.instrument.label)
        now, bar = desk.clock.now(), self.bars.get(key)
        desk.advance_by(now + TRY_AGAIN)
        if bar is None or bar.what != cap.bound:
            bar = Bar(cap.bound, now, reported=False)
        if not bar.reported and (cap.bound is not Bound.NO_PRICE or now - bar.since >= desk.config.quotes.max_age):
            bar = replace(bar, reported=True)
            self.write_decided()
            desk.journal.append("bound reached", *leg.key, {"bound": str(cap)})
            desk.say(desk.author.capped(closing, key[1], cap))
        self.bars[key] = bar

    def _within_bounds(self, closing: Closing, leg: Position) -> None:
        key = (closing.unit, leg.instrument.label)
        bar = self.bars.get(key)
        if bar is not None and bar.what in set(Bound):
            del self.bars[key]

    def _closed(self, closing: Closing, left: Sequence[Position]) -> None:
        desk, wings = self._desk, {leg.instrument.con_id for leg in left}
        self.write_decided()
        if any(desk.guard.positions.get((closing.account, con_id)) for con_id in closing.leaves):
            with desk.journal.transaction():
                self._drop(closing)
                for con_id, remaining in closing.leaves.items():
                    data = {"unit": closing.name, "rule": closing.rule, "left": remaining}
                    desk.journal.append("closed in part", closing.account, con_id, data)
            desk.say(desk.author.closed_in_part(closing))
            desk.wake.set()
            return
        with desk.journal.transaction():
            self._drop(closing)
            for con_id in closing.legs:
                if con_id not in wings:
                    data = {"unit": closing.name, "rule": closing.rule}
                    desk.journal.append("closed", closing.account, con_id, data)
                desk.journal.forget(closing.account, con_id)
            self.wings.leave(closing, left)
        desk.say(desk.author.closed(closing, tuple(leg.instrument.label for leg in left)))

    # ----- what a person asks for

    def close(self, what: str, *, by: str, limit: Decimal | None) -> str:
        """Close a unit, at the ladder's prices or at a ``limit`` that the person approves; what will happen, as a
        sentence. Raises RefusedError."""
        desk = self._desk
        if not desk.config.mode.sends:
            raise RefusedError(f"Mode {desk.config.mode} sends nothing.")
        if halts := desk.read_halts():
            raise RefusedError("; ".join(f"Halted: {halt.reason}. To end it: {halt.remedy}" for halt in halts))
        under_way = [closing for closing in self.closings.values() if self.means(closing, what)]
        for closing in under_way:
            self._refuse_locked(closing.account, closing.legs)
        if len(under_way) == 1:
            closing = under_way[0]
            if closing.leaves:
                # A person who closes means all of it.
                closing = closing.whole("by hand", f"asked for by {by}", desk.clock.now(), by)
            closing = closing if limit is None else self._approve(closing, what, limit, by)
            # Whoever asks now means the market of now, and that it is closed even if the rule's condition has gone.
            closing = replace(closing, ladders={}, by=by) if limit is None else closing
            self._keep(closing)
            self.advance(closing)
            return self._outlook(closing, "" if limit is None else f" at {limit}")
        unit = self._unit(what)
        self._refuse_locked(unit.account, [leg.instrument.con_id for leg in unit.legs])
        if limit is not None:
            self._refuse_another_unit(unit.account, [leg.instrument for leg in unit.legs], limit)
        if limit is not None and len(unit.legs) > 1:
            remedy = (
                "Close it without a price; then approve one for a leg that reaches its bounds, by the leg's own name"
            )
            raise RefusedError(f"{unit.name} has {len(unit.legs)} legs, and each has a price of its own. {remedy}.")
        rule = "by hand" if limit is None else "by hand, price approved"
        prices = {} if limit is None else {unit.legs[0].instrument.con_id: limit}
        self.decide(unit, rule, f"asked for by {by}", by=by, prices=prices)
        decided = self.closings.get(unit.key)
        if decided is None:
            return f"{unit.name} is closed."
        return self._outlook(decided, "" if limit is None else f" at {limit}")

    def _outlook(self, closing: Closing, at: str) -> str:
        """The reply to a person who has asked for a close: that it goes on, or what prevents it."""
        desk, now = self._desk, self._desk.clock.now()
        if closing.unit not in self.closings:
            return f"{closing.name} is closed."
        why = self.bar(closing)
        unit = desk.guard.unit(closing.unit)
        for leg in () if unit is None or why is not None else unit.legs:
            approved = leg.instrument.con_id in closing.prices
            why = self._would_bar(leg.position, approved=approved) or None
            if why is None and not approved and self._usable(leg.instrument.con_id) is None:
                why = f"{leg.instrument.label} has no usable quote"
            if why is not None:
                break
        if why is None and unit is not None and not closing.prices:
            why = self.blocked(unit, desk.guard.market(unit, now))
        if why is None:
            return f"{closing.name} is being closed{at}; follow it with: position-manager status"
        return (
            f"{closing.name} is to be closed{at}, but nothing can be sent now: {why}. It is tried again by itself; "
            f"to approve a price: position-manager close '{closing.name}' --emergency --limit PRICE"
        )

    def _refuse_locked(self, account: str, con_ids: Iterable[int]) -> None:
        desk = self._desk
        locked = [desk.label(con_id) for con_id in con_ids if (account, con_id) in desk.locks]
        if locked:
            remedy = f"Look at it, then: position-manager release '{locked[0]}'"
            raise RefusedError(f"{', '.join(locked)} is locked. {remedy}")

    def _refuse_another_unit(self, account: str, instruments: Iterable[Instrument], limit: Decimal) -> None:
        """A price that the contract cannot have, or one in pence or cents for a contract whose prices here are in
        pounds or dollars: near a hundred times the market it is no opinion on its value. Without any quote nothing can
        be compared."""
        for instrument in instruments:
            if limit <= 0 and not instrument.may_be_negative:
                raise RefusedError(
                    f"{limit} is no price for {instrument.label}: only a future may trade at 0 or below."
                )
            quote, magnifier = self._desk.guard.quotes.get(instrument.con_id), instrument.magnifier
            seen = None if quote is None else quote.mid or quote.last
            held = self._desk.guard.positions.get((account, instrument.con_id))
            if seen is None and held is not None:
                seen = held.average_price
            if magnifier > 1 and seen is not None and seen > 0 and limit * ANOTHER_UNIT >= seen * magnifier:
                raise RefusedError(
                    f"Prices of {instrument.label} are in {instrument.currency} here: it is at {seen:.4g}, and {limit} "
                    f"seems to be in the unit of its quotes. Did you mean {limit / magnifier:f}?"
                )

    def _approve(self, closing: Closing, what: str, limit: Decimal, by: str) -> Closing:
        """With a price for the contract that ``what`` names: that of one leg means nothing for another."""
        desk, legs = self._desk, list(closing.legs)
        named = legs if len(legs) == 1 else [leg for leg in legs if desk.names((closing.account, leg), what)]
        if len(named) != 1:
            names = ", ".join(desk.label(leg) for leg in legs)
            raise RefusedError(f"{what!r} names no single leg of {closing.name}: approve a price for one of {names}.")
        if named[0] in desk.instruments:
            self._refuse_another_unit(closing.account, [desk.instruments[named[0]]], limit)
        return replace(closing, prices={**closing.prices, named[0]: limit}, by=by)

    def means(self, closing: Closing, what: str) -> bool:
        """Whether a person means this decision by ``what``."""
        named = what in (closing.name, closing.unit)
        return named or any(self._desk.names((closing.account, con_id), what) for con_id in closing.legs)

    def _unit(self, what: str) -> Unit:
        desk = self._desk
        found = [
            unit
            for unit in desk.guard.units
            if what in (unit.name, unit.shown_key)
            or any(desk.names((unit.account, leg.instrument.con_id), what) for leg in unit.legs)
        ]
        if len(found) == 1:
            return found[0]
        names = ", ".join(f"{unit.name} ({masked(unit.account)})" for unit in found or desk.guard.units)
        if not found:
            raise RefusedError(f"No position is called {what!r}. There are: {names or 'none'}")
        raise RefusedError(f"{what!r} means several positions: {names}. Name one by its key, see: status --json")


def _notified(data: Mapping[str, int]) -> tuple[int, bool]:
    """How often people were notified of a decision, and whether it was escalated."""
    return int(data["alerts"]), bool(data["escalated"])
