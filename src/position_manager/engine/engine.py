"""The engine: evaluates rules on broker events and clock times, sends orders, and notifies people.

One loop, one thread. Broker events are handled immediately, in the order in which they arrive; whatever needs an answer
from the broker (a session, a full sync, the check just before sending) runs in a concurrent task. All that must outlast
the process is in the journal before it takes effect.

The same engine runs in every mode; only the broker behind it and the gate for the mode differ.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from notifications.message import Message
from position_manager import connection_state as link
from position_manager.brokers.broker import (
    Broker,
    BrokerEvent,
    CodeReceived,
    CommissionReceived,
    DetailsReceived,
    Disconnected,
    ExecutionReceived,
    LeftOutReceived,
    OrderReceived,
    PositionReceived,
    QuoteReceived,
    QuotesReceived,
)
from position_manager.clock import Clock
from position_manager.config.schema import Config
from position_manager.engine.account_watch import AccountWatch
from position_manager.engine.assignment_watch import AssignmentWatch
from position_manager.engine.close_requests import CloseRequests
from position_manager.engine.closer import Closer
from position_manager.engine.connecting import LONGEST_DELAY, Connector
from position_manager.engine.cooldown import Cooldowns
from position_manager.engine.desk import Desk
from position_manager.engine.disaster_stops import DisasterStops
from position_manager.engine.followed_orders import FollowedOrders
from position_manager.engine.guard import Guard
from position_manager.engine.halt_watch import HaltWatch
from position_manager.engine.left_out import LeftOuts
from position_manager.engine.link_handler import LinkHandler
from position_manager.engine.link_status import LinkStatus
from position_manager.engine.quote_requests import QuoteRequests
from position_manager.engine.releasing import Releasing
from position_manager.engine.syncing import Syncing
from position_manager.engine.unprotected_watch import UnprotectedWatch
from position_manager.halt import Halts
from position_manager.journal.errors import JournalError
from position_manager.journal.journal import Journal
from position_manager.model import Quote
from position_manager.orders import evidence
from position_manager.refused import RefusedError
from position_manager.rules.evaluation import Blind, Hold
from position_manager.rules.evaluation import Cause as BlindCause
from position_manager.rules.groups import Unit
from position_manager.sessions.hours import Calendar

_log = logging.getLogger(__name__)

STORE_WITHIN = timedelta(seconds=0.2)
"""A trailing stop that has moved is stored within this time."""
FRESH_CAUSES = frozenset(
    {BlindCause.MARKET_CLOSED, BlindCause.OPENING, BlindCause.NO_RULES, BlindCause.LOCKED, BlindCause.BLOCKED}
)
"""Causes of being unprotected that give no information about quotes."""
SLICE = 10
"""How many units are evaluated in a row before broker events are handled again: an order must not wait for them."""
PATIENCE = evidence.Patience()


class Engine:
    """Guards the positions of one session's accounts until it is stopped."""

    def __init__(
        self,
        config: Config,
        broker: Broker,
        *,
        open_journal: Callable[[frozenset[str]], Journal],
        deliver: Callable[[Message], object],
        clock: Clock,
        calendar: Calendar,
        halts: Halts,
        jitter: Callable[[], float],
        on_loop: Callable[[], None] = lambda: None,
        claim: Callable[[Iterable[str]], str] = lambda _accounts: "",
        patience: evidence.Patience = PATIENCE,
        link_patience: link.Patience | None = None,
    ) -> None:
        """``open_journal`` is called with the accounts of the first session. ``deliver`` must not block for long.
        ``jitter`` gives a random factor around 1 for back-off. ``on_loop`` is called after each whole rule loop.
        ``claim`` claims accounts on this host; it returns who else guards one of them, if anybody.
        Without a ``link_patience`` the gateway's restart time is read from the configuration."""
        now, halted = clock.now(), halts.record.read()
        gateway = config.gateway
        link_patience = link_patience or link.patience_with_restart(
            gateway.restart_time, ZoneInfo(gateway.restart_timezone), gateway.cold_restart_time
        )
        self._period = min(timedelta(seconds=5), config.quotes.max_age / 2)
        self.desk = Desk(
            broker,
            Guard(config, calendar, patience=2 * self._period + timedelta(seconds=5)),
            link.initial(now, link_patience, None if halted is None else halted.reason),
            clock=clock,
            calendar=calendar,
            halts=halts,
            deliver=deliver,
        )
        self.orders = FollowedOrders(self.desk)
        self.closer = Closer(self.desk, self.orders)
        self.accounts = AccountWatch(self.desk, self.closer)
        self.cooldowns = Cooldowns(self.desk, self.closer)
        self.assignments = AssignmentWatch(self.desk)
        self.orders.on_filled = self.cooldowns.on_fill
        self._disaster_stops = DisasterStops(self.desk, self.orders, self.closer)
        self.left_out = LeftOuts(2 * self._period + timedelta(seconds=5))
        self._unprotected = UnprotectedWatch(self.desk, self.left_out)
        self.link_status = LinkStatus(now)
        self._halt_watch = HaltWatch(self.desk, claim, self._on_link_event)
        self._quote_requests = QuoteRequests(self.desk, self._period, link_patience.probe_after, self._on_link_event)
        self.syncing = Syncing(
            self.desk,
            self.orders,
            self.closer,
            self.accounts,
            self._halt_watch,
            patience=patience,
            on_event=self._on_link_event,
            on_done=self._start_loop,
        )
        self.connector = Connector(
            self.desk,
            self.link_status,
            self._halt_watch,
            open_journal=open_journal,
            restore=self._restore,
            jitter=jitter,
            on_session=self._on_session,
            on_event=self._on_link_event,
        )
        self._link_handler = LinkHandler(
            self.desk,
            self.link_status,
            link_patience,
            orders=self.orders,
            closer=self.closer,
            halt_watch=self._halt_watch,
            quote_requests=self._quote_requests,
            connector=self.connector,
            syncing=self.syncing,
            evaluate=self._evaluate,
            on_phase=self._on_phase,
        )
        self._releasing = Releasing(self.desk, self.closer, self.accounts, self.syncing, self.link_status)
        self._close_requests = CloseRequests(self.desk, self.closer)
        self.realized: dict[str, tuple[datetime, str, Decimal]] = {}
        self._on_loop = on_loop
        self._cycle_at = now
        self._loop: Iterator[bool] | None = None
        self._store_due = False
        self._store_at: datetime | None = None
        self._loop_again = False
        broker.listen(self.on_event)

    # ----- what others ask

    @property
    def ready(self) -> bool:
        """Whether the connection may send: the first full sync is done, and nothing has been lost since."""
        return self.desk.ready

    @property
    def synced(self) -> bool:
        """Whether a full sync has ever ended well."""
        return self.syncing.last is not None

    @property
    def quotes_fresh(self) -> bool:
        """Whether every position of an open market has a quote that rules may act on, and every account values that its
        stops may act on; true if there is none."""
        causes = (verdict.cause for verdict in self.desk.guard.verdicts.values() if isinstance(verdict, Blind))
        return self.accounts.fresh and all(cause in FRESH_CAUSES for cause in causes)

    def reload(self, config: Config) -> None:
        """New rules, already checked and fit for this process (`loading.reload`)."""
        self.desk.guard.config = config
        self.desk.notify(self.desk.author.reloaded())

    async def close(self, what: str, *, by: str, limit: Decimal | None = None) -> str:
        """A person closes a unit, at the ladder's prices or at a ``limit`` that the person approves; what will
        happen, as a sentence. Raises RefusedError."""
        if not self.ready:
            raise RefusedError(
                f"The connection is {self.desk.connection.phase}: nothing can be sent. {self.link_status.why}"
            )
        return self._close_requests.close(what, by=by, limit=limit)

    def release(self, what: str, *, by: str) -> str:
        """A person has checked the position: locks of a contract end, and a decision to close it is withdrawn. The
        position counts as it is shown now. Raises RefusedError."""
        return self._releasing.release(what, by=by)

    def rearm(self, what: str, *, by: str) -> str:
        """A person ends the stops of the accounts (``account``): they start again at the present values; or the
        cooldown of an underlying. Raises RefusedError."""
        if what == "account":
            return self.accounts.rearm(by)
        if (done := self.cooldowns.rearm(what, by)) is not None:
            return done
        cooling = sorted({symbol for _, symbol in self.cooldowns.under_way()})
        raise RefusedError(f"{what!r} cannot be rearmed; there is: {', '.join(['account', *cooling])}.")

    def accept_account(self, account: str, *, by: str) -> str:
        """A person has decided that a new account is guarded too; what is done, as a sentence. Raises RefusedError."""
        return self.connector.accept_account(account, by=by)

    # ----- the loop

    async def run(self, stop: asyncio.Event) -> None:
        """Guard until ``stop`` is set. Raises JournalError if the journal is not for this session, and any error that
        no further attempt can resolve."""
        desk = self.desk
        watching = asyncio.create_task(self._forward(stop))
        try:
            while not stop.is_set() and desk.fatal is None:
                self._turn()
                if not desk.busy:
                    desk.flush()
                if not desk.wake.is_set():
                    await desk.clock.wait(desk.wake, self._next_due() - desk.clock.now())
                else:
                    await asyncio.sleep(0)
                desk.wake.clear()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await desk.end()
            await desk.broker.close()
            self._stop()
        if desk.fatal is not None:
            raise desk.fatal

    async def _forward(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self.desk.wake.set()

    def _stop(self) -> None:
        desk, left = self.desk, 0
        if desk.opened is not None:
            try:
                self.closer.decisions.write_pending()
                left = len(desk.journal.open_intents())
                desk.guard.store(desk.journal)
            except JournalError as error:
                _log.error("the journal could not be brought up to date: %s", error)
            desk.journal.close()
        desk.notify(desk.author.stopped(left))
        desk.flush()

    def _next_due(self) -> datetime:
        desk = self.desk
        sync_at = None if self.syncing.running else desk.sync_at
        # While an order is being sent nothing is stored; its end wakes the loop.
        store_at = None if desk.busy else self._store_at
        write_at = self.closer.decisions.write_due if desk.fault is None else None
        others = (sync_at, self.connector.due, desk.advance_at, store_at, write_at)
        return min([self._cycle_at, *(t for t in others if t is not None)])

    def _turn(self) -> None:
        """All that is due now."""
        desk = self.desk
        now = desk.clock.now()
        try:
            self.connector.connect_if_due(now)
            if desk.sync_at is not None and now >= desk.sync_at and not self.syncing.running:
                desk.sync_at = None
                self._on_link_event(link.SyncDue())
            if desk.advance_at is not None and now >= desk.advance_at:
                desk.advance_at = None
                self.closer.advance_all()
            # A clock that was set back must not stop the loop.
            if now >= self._cycle_at or self._cycle_at - now > self._period:
                self._cycle_at = now + self._period
                self._cycle(now)
            if desk.fault is None:
                self.closer.decisions.write_in_time(now)
            self._store_moved(now)
            self._go_on()
        except JournalError as error:
            desk.journal_failed(error)
            self._loop, self._loop_again = None, False
            # Nothing can be closed now: that is counted all the same.
            for unit in desk.guard.units:
                self._evaluate(unit, now)

    def _store_moved(self, now: datetime) -> None:
        """A trailing stop that has moved is on disk before a rule can fire on it: that takes the time in which quotes
        confirm it. Those of a moment share one write to the disk."""
        desk = self.desk
        if not desk.guard.moved or desk.opened is None or desk.fault is not None:
            self._store_at = None
            return
        if self._store_at is None or self._store_at - now > STORE_WITHIN:
            self._store_at = now + STORE_WITHIN
        elif now >= self._store_at and not desk.busy:
            desk.guard.store_moved(desk.journal)
            self._store_at = now if desk.guard.moved else None

    def _cycle(self, now: datetime) -> None:
        desk = self.desk
        self._forget_far_times(now)
        self._halt_watch.check_host(now)
        self._halt_watch.refresh()
        self._on_link_event(link.Tick())
        self._link_handler.check_login()
        if desk.opened is not None:
            self._resume_journal()
            self.orders.overdue(now)
            self.orders.cancel_excess()
            if self.syncing.poll(now):
                self._store_due = True
            self.closer.escalation.report_still_held(now)
            self._quote_requests.ping_if_quiet(now)
            self.accounts.ask(now)
            self._quote_requests.renew(now)
            self._quote_requests.probe(now)
        self._start_loop()

    def _start_loop(self) -> None:
        """Evaluate all that is guarded, a slice at a time; after the current loop, if one is running."""
        if self._loop is None:
            self._loop = self._whole_loop()
        else:
            self._loop_again = True
        self.desk.wake.set()

    def _go_on(self) -> None:
        """The next slice of the current loop: a small one while an order is on its way to the socket."""
        loop = self._loop
        if loop is None:
            return
        for _ in range(1 if self.desk.busy else SLICE):
            long = next(loop, None)
            if long is None:
                self._loop = self._whole_loop() if self._loop_again else None
                self._loop_again = False
            if long is not False:
                break
        if self._loop is not None:
            self.desk.wake.set()

    def _whole_loop(self) -> Iterator[bool]:
        """One rule loop, in steps: what is held, what is being closed, what rests in case we are gone. Each step
        reports whether it has taken so long that broker events must be handled before the next one."""
        desk = self.desk
        for unit in desk.guard.units:
            if desk.guard.guards(unit):
                self._evaluate(unit, desk.clock.now())
                yield False
        if desk.opened is not None:
            desk.guard.store_new(desk.journal)
            if self._store_due:
                self._store_due = False
                for _ in desk.guard.store_in_parts(desk.journal):
                    yield True
            self.accounts.close_remaining(desk.clock.now())
            self.cooldowns.update(desk.clock.now())
            self.closer.cancel_the_unwanted()
            for closing in list(self.closer.closings.values()):
                if self.closer.closings.get(closing.unit) is closing:
                    self.closer.advance(closing)
                    yield False
            for _ in self._disaster_stops.steps():
                yield False
            self._unprotected.check(desk.clock.now())
            self.accounts.watch_the_unprotected(desk.clock.now())
            self.assignments.warn(desk.clock.now())
        self._on_loop()

    def _forget_far_times(self, now: datetime) -> None:
        """What was to come soon is due now if a clock that was set back has moved it far away."""
        far = now + 2 * LONGEST_DELAY
        if self.connector.due is not None and self.connector.due > far:
            self.connector.due = now
        if self.desk.sync_at is not None and self.desk.sync_at > far:
            self.desk.sync_at = now
        if self.desk.advance_at is not None and self.desk.advance_at > far:
            self.desk.advance_at = now

    def _resume_journal(self) -> None:
        """What a failing journal missed is asked of the broker again once it works."""
        desk = self.desk
        if desk.fault is None:
            return
        desk.journal.append("journal works again", "", 0, {"fault": desk.fault})
        self.closer.decisions.write_pending()
        desk.fault = None
        self.syncing.restart_searches()
        self.orders.out_of_sight("the journal could not be written")
        desk.notify(desk.author.journal_works())
        desk.sync_soon()

    # ----- the connection

    def _on_link_event(self, event: link.Event) -> None:
        self._link_handler.handle(event)

    def _on_phase(self) -> None:
        # What is unprotected from now on is counted from now on.
        self._cycle_at = self.desk.clock.now()

    def _restore(self, journal: Journal) -> None:
        """What former runs have decided and seen. Raises JournalError."""
        self.desk.guard.restore(journal)
        self.closer.restore(journal)
        self.accounts.restore(journal)
        self.cooldowns.restore(journal)
        self.assignments.restore(journal)
        self.syncing.restore(journal)

    def _on_session(self) -> None:
        self.syncing.restart_session()
        self.desk.guard.forget_quotes()
        self._quote_requests.restart()

    # ----- broker events

    def on_event(self, event: BrokerEvent) -> None:
        """An event of the broker. What a failing journal could not take is asked for again later."""
        try:
            self._dispatch(event)
        except JournalError as error:
            self.desk.journal_failed(error)
        except Exception as error:  # of any kind: an engine that misses broker events must not go on
            self.desk.fatal = error
            self.desk.wake.set()

    def _on_quotes(self, quotes: Sequence[QuoteReceived]) -> None:
        """Quotes that have arrived together: rules first, as what is decided on them is sent together."""
        for received in quotes:
            try:
                self._on_quote(received.con_id, received.quote)
            except JournalError as error:
                # The others are evaluated regardless.
                self.desk.journal_failed(error)
        for received in quotes:
            self.closer.on_quote(received.con_id)

    def _on_quote(self, con_id: int, quote: Quote) -> None:
        desk, now = self.desk, self.desk.clock.now()
        desk.guard.on_quote(con_id, quote)
        self._quote_requests.on_quote(con_id)
        if quote.live and str(con_id) in desk.connection.suspended:
            self._on_link_event(link.LiveAgain(str(con_id)))
        for unit in desk.guard.units_of(con_id):
            self._evaluate(unit, now)
        if desk.guard.moved and self._store_at is None:
            desk.wake.set()

    def _dispatch(self, event: BrokerEvent) -> None:
        desk = self.desk
        now = desk.clock.now()
        match event:
            case QuoteReceived(con_id, quote):
                self._on_quote(con_id, quote)
                self.closer.on_quote(con_id)
            case QuotesReceived(quotes):
                self._on_quotes(quotes)
            case PositionReceived(account, con_id, quantity):
                self.syncing.on_position(account, con_id, quantity)
            case OrderReceived():
                self.orders.on_order(event)
            case ExecutionReceived():
                self.orders.on_execution(event)
            case CommissionReceived(exec_id, _, realized, currency):
                # Each sync reports it again.
                if realized is not None:
                    self.realized.setdefault(exec_id, (now, currency, realized))
            case CodeReceived():
                if not self.orders.on_code(event):
                    self._code(event)
            case LeftOutReceived(left_out):
                for each in self.left_out.update(left_out, desk.accounts, now):
                    desk.notify(desk.author.left_out(each.held.label, each.held.account, each.held.quantity, each.text))
            case DetailsReceived():
                desk.sync_soon()
            case Disconnected(why):
                self._on_link_event(link.SocketDown(why))

    def _code(self, event: CodeReceived) -> None:
        about_quotes = link.REACTIONS.get(event.code) is link.Reaction.NO_LIVE_QUOTE
        if event.con_id:
            self._quote_requests.on_refused(event.con_id)
        if event.con_id or not about_quotes:
            self._on_link_event(link.ApiCode(event.code, event.text, str(event.con_id) if event.con_id else ""))

    # ----- rules

    def _evaluate(self, unit: Unit, now: datetime) -> None:
        guard = self.desk.guard
        closing = self.closer.decisions.of(unit)
        # The rules continue for the rest when only a part is being closed.
        in_part = closing is not None and bool(closing.leaves) and closing.unit == unit.key
        if closing is not None and not in_part:
            # Whatever blocks a close counts as unprotected.
            bar = self.closer.bars.text(closing)
            blind = self._blind(unit) or (Blind(BlindCause.CANNOT_CLOSE, bar) if bar else None)
            guard.record_verdict(unit, blind or Hold(pending=(closing.text,)), now)
            return
        if (left := self.closer.wings.text(unit, now)) is not None:
            guard.record_verdict(unit, Hold(pending=(left,)), now)
            return
        fired = guard.evaluate_unit(unit, now, self._blind, self.closer.dry_run.blocked)
        if fired is not None and closing is None:
            self.closer.decide(unit, str(fired.rule), fired.text, part=fired.part, level=fired.level)
        elif fired is not None and closing is not None and fired.part is None:
            self.closer.widen(closing, unit, str(fired.rule), fired.text)

    def _blind(self, unit: Unit) -> Blind | None:
        """Why nothing could be sent for a unit, whatever the result of its rules."""
        desk = self.desk
        if not desk.ready:
            return Blind(BlindCause.NOT_READY, f"the connection is {desk.connection.phase}")
        if desk.halted:
            return Blind(BlindCause.HALTED, f"{desk.halted[0].reason}; to end it: {desk.halted[0].remedy}")
        if desk.fault is not None:
            return Blind(BlindCause.HALTED, desk.fault)
        for leg in unit.legs:
            lock = desk.locks.get((unit.account, leg.instrument.con_id))
            if lock is not None:
                return Blind(BlindCause.LOCKED, f"{leg.instrument.label} is locked: {lock.reason}")
        return None
