"""Full syncs: reading all that the broker knows, and reconciling the journal and the guard with it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from gateway_watch.session_calendar import NEW_YORK
from position_manager import connection_state as link
from position_manager.brokers.broker import Broker, BrokerError
from position_manager.clock import Clock
from position_manager.config.schema import Mode
from position_manager.engine.account_watch import AccountWatch
from position_manager.engine.agenda import Agenda
from position_manager.engine.broker_view import BrokerView
from position_manager.engine.closer import Closer
from position_manager.engine.contract_locks import ContractLocks
from position_manager.engine.current_connection import CurrentConnection
from position_manager.engine.followed_orders import FollowedOrders
from position_manager.engine.guard import Guard, Key
from position_manager.engine.guarded_accounts import GuardedAccounts
from position_manager.engine.halt_watch import HaltWatch
from position_manager.engine.journal_access import JournalAccess
from position_manager.engine.known_instruments import KnownInstruments
from position_manager.engine.notices import Notices
from position_manager.engine.quote_requests import QuoteRequests
from position_manager.engine.reconcile import (
    Finding,
    HoldingForgotten,
    HoldingMoved,
    HoldingSeen,
    HoldingUnexplained,
    IntentMoved,
    Searches,
    Stray,
    Sync,
    quantities,
    reconcile,
    restore_expired,
)
from position_manager.engine.sending_halts import SendingHalts
from position_manager.journal import stored_instruments
from position_manager.journal.errors import JournalError
from position_manager.journal.journal import Journal
from position_manager.model import Position, Right
from position_manager.orders import evidence
from position_manager.orders.evidence import Snapshot
from position_manager.orders.intents import State

_log = logging.getLogger(__name__)

LONGEST_SYNC_PAUSE = timedelta(seconds=20)
STORE_SYNC_EVERY = timedelta(minutes=10)
LAST_SYNC = "last sync"


class Syncing:
    """One full sync at a time, and what is pushed in between. ``on_event`` receives the progress of a sync,
    ``on_done`` is called after each that succeeded."""

    def __init__(
        self,
        orders: FollowedOrders,
        closer: Closer,
        accounts: AccountWatch,
        halt_watch: HaltWatch,
        *,
        patience: evidence.Patience,
        on_event: Callable[[link.Event], None],
        on_done: Callable[[], None],
        access: JournalAccess,
        agenda: Agenda,
        broker: Broker,
        clock: Clock,
        connection: CurrentConnection,
        guard: Guard,
        guarded: GuardedAccounts,
        halts: SendingHalts,
        instruments: KnownInstruments,
        locks: ContractLocks,
        notices: Notices,
        quote_requests: QuoteRequests,
        view: BrokerView,
    ) -> None:
        self._access = access
        self._agenda = agenda
        self._broker = broker
        self._clock = clock
        self._connection = connection
        self._guard = guard
        self._guarded = guarded
        self._halts = halts
        self._instruments = instruments
        self._locks = locks
        self._notices = notices
        self._quote_requests = quote_requests
        self._view = view
        self._orders = orders
        self._closer = closer
        self._accounts = accounts
        self._halt_watch = halt_watch
        self._patience = patience
        self._on_event = on_event
        self._on_done = on_done
        self.last: datetime | None = None
        """When a full sync of this process last ended well."""
        self.running = False
        self._from: datetime | None = None
        """When the last successful full sync started, across restarts too."""
        self._stored: datetime | None = None
        self._same_session = False
        self._searches = Searches()
        self._pushed: dict[Key, Decimal] = {}
        self._absent: set[Key] = set()
        """Holdings that the last list of positions lacked without an explanation."""
        self._flat: set[Key] = set()
        """Holdings that were pushed as flat, or as on the other side, since a full sync has counted them."""
        self._pause = timedelta(seconds=1)
        self._poll_at = self._clock.now()
        self._connected_reported = False

    def restore(self, journal: Journal) -> None:
        """What former runs knew. Raises JournalError."""
        self._from = _last_sync(journal)
        self._searches.expired.update(restore_expired(journal))

    def restart_session(self) -> None:
        """The session is a new one, or it lost its link: an execution may have been missed."""
        self._same_session = False

    def restart_searches(self) -> None:
        """No pass counts that was made before."""
        self._searches.clear()

    def is_absent(self, key: Key) -> bool:
        """Whether the last list of positions lacked a holding without an explanation."""
        return key in self._absent

    def poll(self, now: datetime) -> bool:
        """Schedule the regular full sync if it is due; whether it is."""
        poll = timedelta(seconds=float(self._guard.config.poll_seconds))
        if now < self._poll_at and self._poll_at - now <= poll:
            return False
        self._poll_at = now + poll
        self._agenda.sync_soon()
        return True

    def on_position(self, account: str, con_id: int, quantity: Decimal) -> None:
        """The broker pushed a position."""
        known = self._pushed.get((account, con_id))
        held = self._guard.positions.get((account, con_id))
        before = known if known is not None else Decimal(0) if held is None else held.quantity
        if before and before * quantity <= 0:
            self._flat.add((account, con_id))
        self._pushed[account, con_id] = quantity
        if account in self._guarded.names and self._guard.push(account, con_id, quantity):
            self._quote_requests.watch_held()
            self._agenda.sync_soon()
            self._orders.cancel_excess()

    async def sync(self, number: int) -> None:
        """All parts one after the other; nothing is concluded from a part of them, or after the session has changed."""
        self.running = True
        self._pushed.clear()
        started, step = self._clock.now(), link.Step.POSITIONS
        try:
            positions = await self._broker.positions()
            self._on_event(link.SyncDone(number, step))
            step = link.Step.OPEN_ORDERS
            open_orders = await self._broker.open_orders()
            self._on_event(link.SyncDone(number, step))
            step = link.Step.COMPLETED_ORDERS
            completed = await self._broker.completed_orders()
            self._on_event(link.SyncDone(number, step))
            step = link.Step.EXECUTIONS
            executions = await self._broker.executions()
        except BrokerError as error:
            self._on_event(link.SyncFailed(number, step, str(error)))
            return
        finally:
            self.running = False
            self._agenda.wake()
        if self._connection.state.sync != number or self._connection.state.pending != (step,):
            return
        self._view.replace(Snapshot(started, quantities(positions), open_orders, completed, executions))
        try:
            found = self._apply(positions)
        except JournalError as error:
            self._on_event(link.SyncFailed(number, step, str(error)))
            raise
        self._on_event(link.SyncDone(number, step))
        for finding in found:
            self._report(finding)
        now = self._clock.now()
        self.last = now
        self._same_session, self._from = True, started
        self._store_time(started)
        self._poll_at = now + timedelta(seconds=float(self._guard.config.poll_seconds))
        self._repeat_if_open(now)
        if not self._connected_reported:
            self._connected_reported = True
            self._notices.notify(
                self._notices.author.connected(self._broker.name, self._guarded.names, len(self._guard.positions))
            )
            back = self._notices.author.back("The position manager was restarted meanwhile.")
            self._notices.end_former_incident(back)
            if self._halts.watches and self._halts.rival() is None:
                self._notices.end_former_incident(self._notices.author.rival_gone())
            if self._guard.config.mode is not Mode.SIM:
                _log.info("Successfully connected to IB Gateway — position manager running")
        self._orders.cancel_excess(exactly=True)
        self._on_done()

    def _apply(self, positions: tuple[Position, ...]) -> tuple[Finding, ...]:
        held = {position.instrument.con_id: position.instrument for position in positions}
        stored_instruments.store_changes(
            self._access.journal, held.values(), self._instruments.by_id, self._clock.now()
        )
        self._instruments.add(held)
        guarded = frozenset(self._guarded.names)
        client_id = self._broker.client_id if self._guard.config.mode.sends else None
        if self._halts.watches:
            self._halts.see(guarded, self._view.latest.open_orders, self._view.latest.executions)
            self._halt_watch.refresh()
        averages = {position.key: position.average_price for position in positions}
        sync = Sync(
            *(
                self._view.latest,
                self._instruments.by_id,
                guarded,
                self._patience,
                self._guard.config.hours.zone,
                client_id,
            ),
            unbroken=self._nothing_is_missing(self._view.latest.time),
            averages=averages,
            flat=self._flat,
        )
        found = reconcile(self._access.journal, sync, self._searches)
        self._guard.count(
            {key: holding.episode for key, holding in self._access.journal.holdings().items() if holding.quantity}
        )
        shown = [position for position in positions if position.account in guarded]
        self._guard.hold([*shown, *self._only_absent(shown)])
        for key, quantity in self._pushed.items():
            # Reported after the sync started: the positions of the sync may be older.
            self._guard.push(*key, quantity)
        self._closer.withdraw_past()
        self._quote_requests.watch_held()
        self._locks.refresh()
        return found

    def _nothing_is_missing(self, now: datetime) -> bool:
        """Whether all executions since the last full sync are reported: within one session a position that was flat in
        between was pushed, and otherwise no midnight may lie between the two, wherever IB's day starts."""
        last, config = self._from, self._guard.config
        if last is None or now < last:
            return False
        zones = (UTC, NEW_YORK, config.hours.zone, ZoneInfo(config.gateway.restart_timezone))
        same_day = all(last.astimezone(zone).date() == now.astimezone(zone).date() for zone in zones)
        return same_day or (self._same_session and self._connection.ready)

    def _store_time(self, started: datetime) -> None:
        """Store the time of the last sync now and then: an older value is only more conservative."""
        if self._stored is None or abs(started - self._stored) >= STORE_SYNC_EVERY:
            self._stored = started
            self._access.journal.remember("", 0, LAST_SYNC, started.isoformat())

    def _only_absent(self, shown: Sequence[Position]) -> list[Position]:
        """What is held according to the journal, and is only missing from one list of positions: nothing is concluded
        from one absence. Until it is explained, its rules and their memory continue; nothing is sent for it, as the
        position is read again before an order. With an order in progress the list counts: the order could open one."""
        journal = self._access.journal
        listed = {position.key for position in shown}
        self._absent = {
            key
            for key in self._guard.positions
            if key not in listed
            and key not in self._pushed
            and (holding := journal.holding(*key)) is not None
            and holding.quantity == self._guard.positions[key].quantity
            and journal.open_intent(*key) is None
        }
        return [self._guard.positions[key] for key in self._absent]

    def _report(self, finding: Finding) -> None:
        author = self._notices.author
        match finding:
            case IntentMoved(before, change):
                self._orders.after(before, change)
            case HoldingSeen((account, con_id), quantity, first):
                if not first and quantity:
                    self._notices.notify(author.seen(self._instruments.label(con_id), account, quantity))
                    self._accounts.moved(account, con_id, Decimal(0), quantity)
            case HoldingMoved((account, con_id), held, quantity, cause, crossed):
                if crossed:
                    self._notices.notify(author.crossed(self._instruments.label(con_id), account, quantity))
                evidence_lines = self._expiry_lines(con_id, held, cause)
                self._notices.notify(
                    author.moved(self._instruments.label(con_id), account, held, quantity, cause, evidence_lines)
                )
                self._accounts.moved(account, con_id, held, quantity)
                if quantity:
                    self._closer.withdraw_changed(account, con_id, f"the position changed to {quantity}: {cause}")
            case HoldingUnexplained((account, con_id), expected, reported):
                self._notices.notify(author.unexplained(self._instruments.label(con_id), account, expected, reported))
            case HoldingForgotten((account, con_id), reason):
                self._notices.notify(author.locked(self._instruments.label(con_id), account, reason))
            case Stray((_, con_id), order_id, ref):
                self._notices.notify(author.stray(self._instruments.label(con_id), ref))
                self._orders.cancel_stray(order_id)

    def _expiry_lines(self, con_id: int, held: Decimal, cause: evidence.Cause) -> tuple[str, ...]:
        """What is known of how an option ended."""
        instrument, quote = self._instruments.get(con_id), self._guard.quotes.get(con_id)
        if instrument is None or not instrument.is_option:
            return ()
        if cause is evidence.Cause.ASSIGNMENT:
            return (f"It was {'assigned' if held < 0 else 'exercised'}: the underlying changed by what it delivers.",)
        if cause is not evidence.Cause.EXPIRY:
            return ()
        lines = ["The underlying has not changed: nothing was delivered so far."]
        if quote is not None and quote.underlying is not None and instrument.right is not None:
            inside = (quote.underlying - instrument.strike) * (1 if instrument.right is Right.CALL else -1)
            where = "in" if inside > 0 else "out of"
            lines.append(f"At its last quote it was {abs(inside)} {where} the money (underlying {quote.underlying}).")
        lines.append(
            f"If it is {'assigned' if held < 0 else 'exercised'}, what it delivers comes in the night after, and is "
            "explained by it then."
        )
        return tuple(lines)

    def _repeat_if_open(self, now: datetime) -> None:
        """As long as a question is open, ask sooner than at the next poll, with growing pauses."""
        waiting = any(
            intent.state in (State.UNKNOWN, State.CANCELLING) for intent in self._access.journal.open_intents()
        )
        if not waiting and not self._searches.pending:
            self._pause = timedelta(seconds=1)
        elif self._agenda.sync_at is None:
            self._agenda.plan_sync(now + self._pause)
            self._pause = min(LONGEST_SYNC_PAUSE, 2 * self._pause)


def _last_sync(journal: Journal) -> datetime | None:
    """That of a former run."""
    text = journal.memory().get(("", 0, LAST_SYNC))
    try:
        return None if text is None else datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
