"""Decisions to close a group by one combination order: the next step, and when orders of the legs replace it.

The combination is abandoned when its time is over, when the broker has refused or ended an order of it, when the legs
no longer fit, and when a person approves a price for a leg. Orders of the legs follow only once the combination is
proven to be over: until then the intents of its legs block them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from position_manager.brokers.broker import BrokerError
from position_manager.clock import Clock
from position_manager.engine.agenda import Agenda
from position_manager.engine.contract_locks import ContractLocks
from position_manager.engine.followed_orders import RESTING_STATES, FollowedOrders
from position_manager.engine.in_flight import InFlight
from position_manager.engine.journal_access import JournalAccess
from position_manager.engine.notices import Notices
from position_manager.engine.sending import NotSentError, WithdrawnError
from position_manager.engine.sending_combo import ComboSender, ComboWish
from position_manager.engine.tasks import Tasks
from position_manager.journal.errors import UnsettledError
from position_manager.model import Position, Quote
from position_manager.orders.closing import LADDER_STATES, Closing, LegLadder
from position_manager.orders.combos import LADDER, Combination, combination_of, quote_of, wanted
from position_manager.orders.intents import Intent, State
from position_manager.orders.ladder import CapReached, LadderPolicy

_log = logging.getLogger(__name__)

ASK_SOON = timedelta(seconds=1)
TRY_AGAIN = timedelta(seconds=5)


@dataclass(frozen=True)
class ComboCloser:
    """``store`` stores a decision, ``usable`` is the quote of a contract that an order may be priced from, ``policy``
    the bounds for a decision now. ``barred`` receives what prevents a combination from being sent, None once it is
    sent. ``would_bar`` is why the gates would refuse an order for a leg now, ``is_wanted`` whether a decision is
    still in effect."""

    access: JournalAccess
    agenda: Agenda
    clock: Clock
    in_flight: InFlight
    locks: ContractLocks
    notices: Notices
    tasks: Tasks
    sender: ComboSender
    orders: FollowedOrders
    store: Callable[[Closing], None]
    usable: Callable[[int], Quote | None]
    policy: Callable[[Closing, datetime], LadderPolicy]
    barred: Callable[[Closing, CapReached | NotSentError | None], None]
    would_bar: Callable[..., str]
    is_wanted: Callable[[Closing], bool]
    _not_before: dict[str, datetime] = field(default_factory=dict, init=False)

    def advance(self, closing: Closing, legs: list[Position]) -> Closing | None:
        """The next step of a decision that is carried out by combinations. The decision if its legs are to be closed
        one by one from now on, else None."""
        now = self.clock.now()
        if any(leg.key in self.in_flight for leg in legs):
            return None
        found = [self.access.journal.open_intent(closing.account, con_id) for con_id in closing.combo]
        intents = [intent for intent in found if intent is not None]
        resting = [intent for intent in intents if not intent.lead and intent.state in RESTING_STATES]
        combination = combination_of(closing, legs)
        why = self._given_up(closing, combination, intents, now)
        live = [intent for intent in intents if intent.lead]
        if why and not live:
            return self._leg_by_leg(closing, why)
        if live:
            if not isinstance(combination, str):
                # It is begun again where a part has become all, or a person has asked for it.
                closing = self._start_ladder(closing, combination, now)
            self._go_on(closing, combination, live, why, now, self._bar(closing, legs))
            return None
        if isinstance(combination, str) or any(leg.key in self.locks.present for leg in legs):
            return None
        closing = self._start_ladder(closing, combination, now)
        price = wanted(
            combination, self._quotes(combination), closing.ladders.get(LADDER), now, self.policy(closing, now)
        )
        if isinstance(price, CapReached):
            self.barred(closing, price)
            self.agenda.advance_by(now + ASK_SOON)
            return None
        if resting and (bar := self._bar(closing, legs)):
            _log.info("the disaster stops of %s rest as they are: %s", closing.name, bar)
            self.agenda.advance_by(now + TRY_AGAIN)
            return None
        for intent in resting:
            # A disaster stop of a leg is removed first, as for an order of the leg.
            self.orders.cancel(intent, "a rule closes in its place")
        waits = self._not_before.get(closing.unit, now)
        if intents or not self._settled(combination) or now < waits <= now + TRY_AGAIN:
            self.agenda.advance_by(now + ASK_SOON)
            return None
        self.in_flight.add(leg.position.key for leg in combination.legs)
        wish = ComboWish(
            combination,
            closing.legs,
            closing.leaves,
            price.price,
            closing.rule,
            closing.text,
            partial(self.is_wanted, closing),
        )
        self.tasks.spawn(self._send(closing, wish))
        return None

    def _given_up(self, closing: Closing, combination: Combination | str, intents: list[Intent], now: datetime) -> str:
        """Why the legs are to be closed one by one; empty if they are not."""
        ladder = closing.ladders.get(LADDER)
        started = closing.decided if ladder is None else ladder.begun
        if closing.prices:
            return "a person has approved a price for a leg"
        if abs(now - started) >= timedelta(seconds=closing.combo_seconds):
            return f"it was not executed within {closing.combo_seconds:g} s"
        if not intents:
            if isinstance(combination, str):
                return combination
            return self._ended_by_the_broker(closing)
        return ""

    def _ended_by_the_broker(self, closing: Closing) -> str:
        """How the broker ended the last order of a decision, if it did so without being asked to."""
        journal = self.access.journal
        for con_id in closing.combo:
            past = [i for i in journal.intents(closing.account, con_id) if i.created >= closing.decided and i.lead]
            if not past or past[-1].state is State.FILLED:
                continue
            if not any(record.kind == "CancelSent" for record in journal.events(intent=past[-1].id)):
                return f"the broker has ended it: {past[-1].reason}"
        return ""

    def _go_on(
        self, closing: Closing, combination: Combination | str, live: list[Intent], why: str, now: datetime, bar: str
    ) -> None:
        """What rests: leave it, or cancel it for a better price or for orders of the legs; leave it if there is a
        ``bar`` to what would follow."""
        states = {intent.state for intent in live}
        if not states <= LADDER_STATES:
            return
        first = live[0]
        if bar:
            _log.info("the combination of %s rests as it is: %s", closing.name, bar)
            self.agenda.advance_by(now + TRY_AGAIN)
            return
        if why:
            self.orders.cancel(first, f"leg by leg from now on: {why}")
            return
        policy = self.policy(closing, now)
        sent = now if first.sent is None or first.sent > now else first.sent
        if now < sent + policy.interval:
            self.agenda.advance_by(sent + policy.interval)
            return
        self.agenda.advance_by(now + policy.interval)
        if isinstance(combination, str):
            # A part is executed, and not all of its legs are reported yet.
            return
        price = wanted(combination, self._quotes(combination), closing.ladders.get(LADDER), now, policy)
        if not isinstance(price, CapReached) and (price.price - first.limit) * combination.side.sign > 0:
            self.orders.cancel(first, f"{price.price} instead of {first.limit}")

    def _bar(self, closing: Closing, legs: list[Position]) -> str:
        """Why nothing could be sent in place of what rests."""
        approved = bool(closing.prices)
        return next((bar for leg in legs if (bar := self.would_bar(leg, approved=approved))), "")

    def _quotes(self, combination: Combination) -> dict[int, Quote]:
        ids = [leg.instrument.con_id for leg in combination.legs]
        return {con_id: quote for con_id in ids if (quote := self.usable(con_id)) is not None}

    def _start_ladder(self, closing: Closing, combination: Combination, now: datetime) -> Closing:
        """With the ladder of the combination, at the first quote of which every leg's spread is allowed."""
        quotes, spread = self._quotes(combination), self.policy(closing, now).spread
        quote = quote_of(combination, quotes)
        allowed = all(
            spread.allows(leg.instrument, quotes[leg.instrument.con_id])
            for leg in combination.legs
            if leg.instrument.con_id in quotes
        )
        if LADDER in closing.ladders or quote is None or quote.mid is None or quote.mid <= 0 or not allowed:
            return closing
        started = replace(closing, ladders={**closing.ladders, LADDER: LegLadder(now, quote.mid)})
        self.store(started)
        return started

    def _settled(self, combination: Combination) -> bool:
        holdings = ((leg, self.access.journal.holding(*leg.position.key)) for leg in combination.legs)
        return all(held is not None and held.quantity == leg.position.quantity for leg, held in holdings)

    def _leg_by_leg(self, closing: Closing, why: str) -> Closing:
        after = replace(closing, combo={})
        with self.access.journal.transaction():
            for con_id in closing.legs:
                data = {"unit": closing.name, "why": why}
                self.access.journal.append("combination given up", closing.account, con_id, data)
            self.store(after)
        self.notices.notify(self.notices.author.leg_by_leg(closing, why))
        return after

    async def _send(self, closing: Closing, wish: ComboWish) -> None:
        now = self.clock.now()
        try:
            await self.sender.send(wish)
        except NotSentError as error:
            self.barred(closing, error)
            self._not_before[closing.unit] = now + TRY_AGAIN
            self.agenda.sync_soon()
        except WithdrawnError:
            _log.info("the combination of %s was not sent: it was withdrawn meanwhile", closing.name)
        except (UnsettledError, BrokerError) as error:
            _log.warning("the combination of %s was not sent: %s", closing.name, error)
            self._not_before[closing.unit] = now + ASK_SOON
            self.agenda.sync_soon()
        else:
            self.barred(closing, None)
            _log.info("sent: %s of %s at %s", wish.combination.side, closing.name, wish.limit)
        finally:
            self.in_flight.remove(leg.position.key for leg in wish.combination.legs)
            self.agenda.advance_by(self.clock.now() + ASK_SOON)
