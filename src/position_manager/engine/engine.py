"""The engine: evaluates rules on broker events and clock times, sends orders, and notifies people.

One loop, one thread. Broker events are handled immediately, in the order in which they arrive; whatever needs an answer
from the broker (a session, a full sync, the check just before sending) runs in a concurrent task. All that must outlast
the process is in the journal before it takes effect.

The same engine runs in every mode; only the broker behind it and the gate for the mode differ.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from notifications.message import Message
from position_manager import connection_state as link
from position_manager.brokers.broker import Broker
from position_manager.clock import Clock
from position_manager.config.schema import Config
from position_manager.engine import wiring
from position_manager.engine.connecting import LONGEST_DELAY, Connector
from position_manager.engine.event_handler import EventHandler
from position_manager.engine.left_out import LeftOuts
from position_manager.engine.link_handler import LinkHandler
from position_manager.engine.link_status import LinkStatus
from position_manager.engine.rule_loop import RuleLoop
from position_manager.engine.shared import collaborators
from position_manager.engine.syncing import Syncing
from position_manager.engine.unprotected_watch import UnprotectedWatch
from position_manager.halt import Halts
from position_manager.journal.errors import JournalError
from position_manager.journal.journal import Journal
from position_manager.orders import evidence
from position_manager.refused import RefusedError
from position_manager.rules.evaluation import Blind
from position_manager.rules.evaluation import Cause as BlindCause
from position_manager.sessions.hours import Calendar

_log = logging.getLogger(__name__)

FRESH_CAUSES = frozenset(
    {BlindCause.MARKET_CLOSED, BlindCause.OPENING, BlindCause.NO_RULES, BlindCause.LOCKED, BlindCause.BLOCKED}
)
"""Causes of being unprotected that give no information about quotes."""
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
        evaluated_within = 2 * self._period + timedelta(seconds=5)
        self.shared = shared = collaborators(
            config,
            broker,
            clock=clock,
            calendar=calendar,
            halts=halts,
            connection=link.initial(now, link_patience, None if halted is None else halted.reason),
            patience=evaluated_within,
            deliver=deliver,
        )
        self.orders = wiring.followed_orders(shared)
        self.closer = wiring.closer(shared, self.orders)
        self.accounts = wiring.account_watch(shared, self.closer)
        self.cooldowns = wiring.cooldowns(shared, self.closer)
        self.assignments = wiring.assignment_watch(shared)
        self.orders.on_filled = self.cooldowns.on_fill
        self.left_out = LeftOuts(evaluated_within)
        self.link_status = LinkStatus(now)
        self._moved_stops = wiring.moved_stops(shared)
        self._halt_watch = wiring.halt_watch(shared, claim, self._on_link_event)
        self._quote_requests = wiring.quote_requests(
            shared, self._period, link_patience.probe_after, self._on_link_event
        )
        self._evaluator = wiring.unit_evaluator(shared, self.closer)
        self._loop = RuleLoop(
            self._evaluator,
            self.closer,
            self.accounts,
            self.cooldowns,
            self.assignments,
            wiring.disaster_stops(shared, self.orders, self.closer),
            UnprotectedWatch(self.left_out, guard=shared.guard, notices=shared.notices),
            access=shared.access,
            agenda=shared.agenda,
            clock=shared.clock,
            guard=shared.guard,
            in_flight=shared.in_flight,
            on_loop=on_loop,
        )
        self.syncing = Syncing(
            self.orders,
            self.closer,
            self.accounts,
            self._halt_watch,
            access=shared.access,
            agenda=shared.agenda,
            broker=shared.broker,
            clock=shared.clock,
            connection=shared.connection,
            guard=shared.guard,
            guarded=shared.guarded,
            halts=shared.halts,
            instruments=shared.instruments,
            locks=shared.locks,
            notices=shared.notices,
            view=shared.view,
            quote_requests=self._quote_requests,
            patience=patience,
            on_event=self._on_link_event,
            on_done=self._loop.start,
        )
        self.connector = Connector(
            self.link_status,
            self._halt_watch,
            access=shared.access,
            agenda=shared.agenda,
            broker=shared.broker,
            clock=shared.clock,
            config=shared.config,
            guarded=shared.guarded,
            halts=shared.halts,
            instruments=shared.instruments,
            locks=shared.locks,
            notices=shared.notices,
            tasks=shared.tasks,
            open_journal=open_journal,
            restore=self._restore,
            jitter=jitter,
            on_session=self._on_session,
            on_event=self._on_link_event,
        )
        self._link_handler = LinkHandler(
            self.link_status,
            link_patience,
            access=shared.access,
            agenda=shared.agenda,
            clock=shared.clock,
            connection=shared.connection,
            guard=shared.guard,
            instruments=shared.instruments,
            notices=shared.notices,
            tasks=shared.tasks,
            orders=self.orders,
            closer=self.closer,
            halt_watch=self._halt_watch,
            quote_requests=self._quote_requests,
            connector=self.connector,
            syncing=self.syncing,
            evaluate=self._evaluator.evaluate,
            on_phase=self._on_phase,
        )
        self._releasing = wiring.releasing(shared, self.closer, self.accounts, self.syncing, self.link_status)
        self._close_requests = wiring.close_requests(shared, self.closer)
        self._events = EventHandler(
            self._evaluator,
            self.closer,
            self.orders,
            self.syncing,
            self._quote_requests,
            self.left_out,
            self._moved_stops,
            access=shared.access,
            agenda=shared.agenda,
            clock=shared.clock,
            connection=shared.connection,
            guard=shared.guard,
            guarded=shared.guarded,
            notices=shared.notices,
            tasks=shared.tasks,
            on_link_event=self._on_link_event,
        )
        self._cycle_at = now
        broker.listen(self._events.handle)

    # ----- what others ask

    @property
    def ready(self) -> bool:
        """Whether the connection may send: the first full sync is done, and nothing has been lost since."""
        return self.shared.connection.ready

    @property
    def synced(self) -> bool:
        """Whether a full sync has ever ended well."""
        return self.syncing.last is not None

    @property
    def quotes_fresh(self) -> bool:
        """Whether every position of an open market has a quote that rules may act on, and every account values that its
        stops may act on; true if there is none."""
        causes = (verdict.cause for verdict in self.shared.guard.verdicts.values() if isinstance(verdict, Blind))
        return self.accounts.fresh and all(cause in FRESH_CAUSES for cause in causes)

    @property
    def realized(self) -> Mapping[str, tuple[datetime, str, Decimal]]:
        """The results of executions: when each was received, its currency and amount."""
        return self._events.realized

    def reload(self, config: Config) -> None:
        """New rules, already checked and fit for this process (`loading.reload`)."""
        self.shared.guard.config = config
        self.shared.notices.notify(self.shared.notices.author.reloaded())

    async def close(self, what: str, *, by: str, limit: Decimal | None = None) -> str:
        """A person closes a unit, at the ladder's prices or at a ``limit`` that the person approves; what will
        happen, as a sentence. Raises RefusedError."""
        if not self.ready:
            phase = self.shared.connection.state.phase
            raise RefusedError(f"The connection is {phase}: nothing can be sent. {self.link_status.why}")
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
        shared = self.shared
        watching = asyncio.create_task(self._forward(stop))
        try:
            while not stop.is_set() and shared.tasks.fatal is None:
                self._turn()
                if not shared.in_flight:
                    shared.notices.flush()
                await shared.agenda.wait(self._next_due)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await shared.tasks.end()
            shared.in_flight.clear()
            await shared.broker.close()
            self._stop()
        if shared.tasks.fatal is not None:
            raise shared.tasks.fatal

    async def _forward(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self.shared.agenda.wake()

    def _stop(self) -> None:
        shared, left = self.shared, 0
        journal = shared.access.opened
        if journal is not None:
            try:
                self.closer.decisions.write_pending()
                left = len(journal.open_intents())
                shared.guard.store(journal)
            except JournalError as error:
                _log.error("the journal could not be brought up to date: %s", error)
            journal.close()
        shared.notices.notify(shared.notices.author.stopped(left))
        shared.notices.flush()

    def _next_due(self) -> datetime:
        shared = self.shared
        sync_at = None if self.syncing.running else shared.agenda.sync_at
        write_at = self.closer.decisions.write_due if shared.access.fault is None else None
        others = (sync_at, self.connector.due, shared.agenda.advance_at, self._moved_stops.due, write_at)
        return min([self._cycle_at, *(t for t in others if t is not None)])

    def _turn(self) -> None:
        """All that is due now."""
        shared = self.shared
        now = shared.clock.now()
        try:
            self.connector.connect_if_due(now)
            if not self.syncing.running and shared.agenda.take_sync(now):
                self._on_link_event(link.SyncDue())
            if shared.agenda.take_advance(now):
                self.closer.advance_all()
            # A clock that was set back must not stop the loop.
            if now >= self._cycle_at or self._cycle_at - now > self._period:
                self._cycle_at = now + self._period
                self._cycle(now)
            if shared.access.fault is None:
                self.closer.decisions.write_in_time(now)
            self._moved_stops.store(now)
            self._loop.run_slice()
        except JournalError as error:
            shared.access.on_failure(error)
            self._loop.abort()
            # Nothing can be closed now: that is counted all the same.
            for unit in shared.guard.units:
                self._evaluator.evaluate(unit, now)

    def _cycle(self, now: datetime) -> None:
        self._forget_far_times(now)
        self._halt_watch.check_host()
        self._halt_watch.refresh()
        self._on_link_event(link.Tick())
        self._link_handler.check_login()
        if self.shared.access.opened is not None:
            self._resume_journal()
            self.orders.overdue(now)
            self.orders.cancel_excess()
            if self.syncing.poll(now):
                self._loop.store_next()
            self.closer.escalation.report_still_held(now)
            self._quote_requests.ping_if_quiet(now)
            self.accounts.ask(now)
            self._quote_requests.renew(now)
            self._quote_requests.probe(now)
            if not self.shared.in_flight and not self.closer.decisions.write_due:
                self.shared.access.journal.checkpoint()
        self._loop.start()

    def _forget_far_times(self, now: datetime) -> None:
        """What was to come soon is due now if a clock that was set back has moved it far away."""
        far = now + 2 * LONGEST_DELAY
        if self.connector.due is not None and self.connector.due > far:
            self.connector.due = now
        self.shared.agenda.limit(far, now)

    def _resume_journal(self) -> None:
        """What a failing journal missed is asked of the broker again once it works."""
        access, notices = self.shared.access, self.shared.notices
        if access.fault is None:
            return
        access.journal.append("journal works again", "", 0, {"fault": access.fault})
        self.closer.decisions.write_pending()
        access.on_recovery()
        self.syncing.restart_searches()
        self.orders.out_of_sight("the journal could not be written")
        notices.notify(notices.author.journal_works())
        self.shared.agenda.sync_soon()

    # ----- the connection

    def _on_link_event(self, event: link.Event) -> None:
        self._link_handler.handle(event)

    def _on_phase(self) -> None:
        # What is unprotected from now on is counted from now on.
        self._cycle_at = self.shared.clock.now()

    def _restore(self, journal: Journal) -> None:
        """What former runs have decided and seen. Raises JournalError."""
        self.shared.guard.restore(journal)
        self.closer.restore(journal)
        self.accounts.restore(journal)
        self.cooldowns.restore(journal)
        self.assignments.restore(journal)
        self.syncing.restore(journal)

    def _on_session(self) -> None:
        self.syncing.restart_session()
        self.shared.guard.forget_quotes()
        self._quote_requests.restart()
