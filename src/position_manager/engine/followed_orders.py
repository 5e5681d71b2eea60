"""Orders of ours from the socket to their proven end: every word of the broker about one goes into the journal."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from position_manager import connection_state as link
from position_manager.brokers.broker import Broker, BrokerError, CodeReceived, ExecutionReceived, OrderReceived
from position_manager.clock import Clock
from position_manager.engine.agenda import Agenda
from position_manager.engine.contract_locks import ContractLocks
from position_manager.engine.current_connection import CurrentConnection
from position_manager.engine.guard import Guard
from position_manager.engine.journal_access import JournalAccess
from position_manager.engine.known_instruments import KnownInstruments
from position_manager.engine.notices import Notices
from position_manager.model import ZERO
from position_manager.orders import evidence
from position_manager.orders.intents import (
    AT_BROKER,
    OPEN,
    Acknowledged,
    CancelSent,
    Change,
    Effect,
    Event,
    Executed,
    Intent,
    OutOfSight,
    Said,
    State,
    is_known,
)

_log = logging.getLogger(__name__)

ACKNOWLEDGE_WITHIN = timedelta(seconds=5)
"""An order that is not acknowledged in this time has an unknown outcome."""
CANCEL_WITHIN = timedelta(seconds=10)
"""A cancel that has not come true in this time is asked for again."""
RESTING_STATUSES = (evidence.LIVE_STATUSES | {evidence.FILLED}) - {"Inactive", "PendingCancel"}
"""Statuses after which there is nothing to ask: it rests, or its executions prove its outcome."""

RESTING_STATES = frozenset({State.WORKING, State.PARTIAL})
CANCELLABLE = RESTING_STATES | {State.CANCELLING}


class FollowedOrders:
    """The orders of this process and of those before it."""

    def __init__(
        self,
        *,
        access: JournalAccess,
        agenda: Agenda,
        broker: Broker,
        clock: Clock,
        connection: CurrentConnection,
        guard: Guard,
        instruments: KnownInstruments,
        locks: ContractLocks,
        notices: Notices,
    ) -> None:
        self._access = access
        self._agenda = agenda
        self._broker = broker
        self._clock = clock
        self._connection = connection
        self._guard = guard
        self._instruments = instruments
        self._locks = locks
        self._notices = notices
        self._cancelled_at: dict[str, datetime] = {}
        self.on_filled: Callable[[Intent], None] = lambda _intent: None
        """Called with an order of ours after each execution of it."""

    def on_order(self, event: OrderReceived) -> None:
        """The broker shows an order as its own."""
        intent = self._intent_of(event.order_id, event.ref)
        if intent is None:
            return
        acknowledged = Acknowledged(event.perm_id)
        for each in self._with_its_legs(intent):
            # Each answer about open orders shows all of them again, while another order waits for that answer.
            if not is_known(each, acknowledged):
                self.record(each, acknowledged)
        if event.status not in RESTING_STATUSES:
            # No proof, but a reason to ask for one.
            self._agenda.sync_soon()

    def on_execution(self, event: ExecutionReceived) -> None:
        """An execution, ours or not."""
        intent = self._intent_of(event.order_id, event.execution.ref)
        if intent is None:
            # Another client's trade moves a position: see what it did.
            self._agenda.sync_soon()
        else:
            # Of a combination each leg has executions of its own.
            for each in self._with_its_legs(intent):
                if each.con_id == event.execution.con_id:
                    self.record(each, Executed(event.execution.fill))

    def on_code(self, event: CodeReceived) -> bool:
        """A code about an order of ours; whether it was about nothing else."""
        intent = self._intent_of(event.order_id, "") if event.order_id else None
        if intent is None:
            return False
        for each in self._with_its_legs(intent):
            self.record(each, Said(event.code, event.text))
        reaction = link.REACTIONS.get(event.code)
        if reaction is link.Reaction.CONFIGURATION:
            return not link.is_account_fault(event.code, event.text)
        return reaction is None

    def _with_its_legs(self, intent: Intent) -> tuple[Intent, ...]:
        """All intents that an order represents: of a combination one for each leg."""
        return self._access.journal.legs_of(intent.lead) if intent.lead else (intent,)

    def _intent_of(self, order_id: int, ref: str) -> Intent | None:
        """Whose order it is. After a restart of the gateway the same id may come again: the mark must agree."""
        if self._access.opened is None:
            return None
        found = self._access.journal.intent_of_ref(ref) if ref else None
        if found is None and order_id:
            found = self._access.journal.intent_of_order(self._broker.client_id, order_id)
            if found is not None and ref and found.ref != ref:
                return None
        return found

    def record(self, intent: Intent, event: Event) -> None:
        self.after(intent, self._access.journal.record(intent.id, event))

    def after(self, before: Intent, change: Change) -> None:
        """Report what is new about an order, and take the required actions."""
        intent, author = change.intent, self._notices.author
        label = self._instruments.label(intent.con_id)
        if intent.lead:
            label += " in a combination"
        if intent.filled != before.filled:
            self._notices.notify(author.executed(intent, label))
            self.on_filled(intent)
        elif intent.state is not before.state:
            match intent.state:
                case State.WORKING if not intent.follows_a_lead:
                    self._notices.notify(author.sent(intent, label))
                case State.REJECTED:
                    self._notices.notify(author.rejected(intent, label))
                case State.UNKNOWN if before.state is not State.CANCELLING and not intent.follows_a_lead:
                    self._notices.notify(author.unknown(intent, label))
                case State.LOST:
                    self._notices.notify(author.lost_order(intent, label))
                    self._lost(intent)
        if Effect.LOCK in change.effects:
            self._locks.refresh()
            self._notices.notify(author.locked(label, intent.account, intent.reason))
        if Effect.ASK in change.effects:
            self._agenda.sync_soon()
        if intent.state not in OPEN and before.state in OPEN:
            self._agenda.advance_by(self._clock.now())

    def _lost(self, intent: Intent) -> None:
        """An order that never arrived is created once more, but not indefinitely."""
        before = [past for past in self._access.journal.intents(intent.account, intent.con_id) if past.id != intent.id][
            -1:
        ]
        if before and before[0].state is State.LOST:
            reason = "two orders in a row never arrived at the broker"
            self._access.journal.add_lock(intent.account, intent.con_id, reason, intent.id)
            self._locks.refresh()
            self._notices.notify(
                self._notices.author.locked(self._instruments.label(intent.con_id), intent.account, reason)
            )

    def out_of_sight(self, why: str) -> None:
        """What may be at the broker can be anything now."""
        if self._access.opened is None:
            return
        for intent in self._access.journal.open_intents():
            if intent.state in AT_BROKER:
                self.record(intent, OutOfSight(why))

    def overdue(self, now: datetime) -> None:
        """Orders that the broker has not acknowledged in time, and cancels that did nothing in time."""
        why = f"not acknowledged within {ACKNOWLEDGE_WITHIN.total_seconds():g} s"
        for intent in self._access.journal.open_intents():
            if intent.state is State.SENDING and intent.sent is not None and now - intent.sent > ACKNOWLEDGE_WITHIN:
                self.record(intent, OutOfSight(why))
            elif intent.state is State.CANCELLING and self._is_overdue(intent, now):
                self.cancel(intent, f"not cancelled within {CANCEL_WITHIN.total_seconds():g} s")

    def _is_overdue(self, intent: Intent, now: datetime) -> bool:
        """A cancel of a former process counts from when it is first seen; a clock that was set back asks at once."""
        return abs(now - self._cancelled_at.setdefault(intent.id, now)) > CANCEL_WITHIN

    def cancel_excess(self, *, exactly: bool = False) -> None:
        """Cancel what rests for more than is held: somebody else has traded the position, and what is left of the order
        could go through zero. ``exactly``, after a full sync: also what rests for a position that does not match our
        executions. The cause can only be determined once nothing rests."""
        if not self._connection.ready or self._access.fault is not None:
            return
        for intent in self._access.journal.open_intents():
            held = self._guard.positions.get((intent.account, intent.con_id))
            quantity = ZERO if held is None else held.quantity
            too_much = intent.remaining > max(ZERO, -intent.side.sign * quantity)
            if intent.state in RESTING_STATES and (too_much or (exactly and intent.expected_position != quantity)):
                self.cancel(intent, f"it is for {intent.remaining} of {intent.expected_position}, {quantity} are held")

    def cancel(self, intent: Intent, why: str) -> None:
        """Ask the broker to cancel; a full sync proves the outcome. Only READY may."""
        if not self._connection.ready:
            return
        legs = self._with_its_legs(intent)
        cancelling = []
        with self._access.journal.transaction():
            for each in legs:
                if each.state in CANCELLABLE:
                    cancelling.append(self._access.journal.record(each.id, CancelSent(), {"why": why}).intent)
        self._cancelled_at.update(dict.fromkeys((each.id for each in legs), self._clock.now()))
        try:
            self._broker.cancel(legs[0].order_id)
        except BrokerError as error:
            for each in cancelling:
                self.record(each, OutOfSight(str(error)))
        self._agenda.sync_soon()

    def cancel_stray(self, order_id: int) -> None:
        """Cancel a live order of this client that no open intent knows. Only READY may; the next sync sees it again."""
        if not self._connection.ready:
            return
        try:
            self._broker.cancel(order_id)
        except BrokerError as error:
            _log.warning("the stray order %s was not cancelled: %s", order_id, error)
