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
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from gateway_watch.session_calendar import NEW_YORK
from host_service import gateway_login
from ib_connection.accounts import masked, masked_list
from ib_connection.causes import CLIENT_ID_IN_USE
from notifications.message import Message
from position_manager.account.assignment_watch import AssignmentWatch
from position_manager.account.cooldown import Cooldowns
from position_manager.account.watch import AccountWatch
from position_manager.brokers.broker import (
    Broker,
    BrokerError,
    BrokerEvent,
    CodeSaid,
    CommissionHeard,
    ConnectError,
    DetailsHeard,
    Disconnected,
    ExecutionHeard,
    LeftOutHeard,
    OrderHeard,
    PositionHeard,
    QuoteHeard,
    QuotesHeard,
)
from position_manager.clock import Clock
from position_manager.config import Config, Mode
from position_manager.engine import connection_state as link
from position_manager.engine.desk import Desk
from position_manager.engine.halt import Halt, Halts, is_read_only_halt
from position_manager.engine.left_out import LeftOuts
from position_manager.engine.rivals import Rivals
from position_manager.journal import kept_instruments
from position_manager.journal.journal import Journal, JournalError
from position_manager.model import Instrument, Position, Quote, Right
from position_manager.orders import evidence
from position_manager.orders.closer import Closer
from position_manager.orders.disaster_stops import DisasterStops
from position_manager.orders.evidence import Snapshot
from position_manager.orders.followed_orders import FollowedOrders
from position_manager.orders.intents import State
from position_manager.orders.reconcile import (
    Finding,
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
from position_manager.refused import RefusedError
from position_manager.rules.evaluation import Blind, Close, Hold
from position_manager.rules.evaluation import Cause as BlindCause
from position_manager.rules.groups import Unit
from position_manager.rules.guard import Guard, Key
from position_manager.sessions.hours import Calendar

_log = logging.getLogger(__name__)

ATTEMPTS = 5
ATTEMPT_DELAY = timedelta(seconds=5)
LONGEST_DELAY = timedelta(seconds=60)
SYNC_AGAIN = timedelta(seconds=5)
"""After a full sync that failed."""
LONGEST_SYNC_PAUSE = timedelta(seconds=20)
QUOTES_AGAIN = timedelta(seconds=30)
"""How often the quotes of a contract are requested again while it has none that are live."""
ALERT_AFTER = timedelta(seconds=60)
"""How long a unit may be unprotected in trading hours before a person is notified."""
PROBE_EVERY = timedelta(seconds=30)
"""How often a lost link is probed."""
KEEP_SYNC_EVERY = timedelta(minutes=10)
LAST_SYNC = "last sync"
KEEP_WITHIN = timedelta(seconds=0.2)
"""A trailing stop that has moved is stored within this time."""
QUIET_CAUSES = frozenset(
    {BlindCause.MARKET_CLOSED, BlindCause.OPENING, BlindCause.NOT_READY, BlindCause.HALTED, BlindCause.LOCKED}
)
"""Causes of being unprotected that are reported elsewhere, or that are in the nature of markets."""
FRESH_CAUSES = frozenset(
    {BlindCause.MARKET_CLOSED, BlindCause.OPENING, BlindCause.NO_RULES, BlindCause.LOCKED, BlindCause.BLOCKED}
)
"""Causes of being unprotected that give no information about quotes."""
UNSEEN = frozenset(
    {
        BlindCause.MARKET_CLOSED,
        BlindCause.HOURS_UNKNOWN,
        BlindCause.OPENING,
        BlindCause.NO_QUOTE,
        BlindCause.WIDE_SPREAD,
    }
)
"""Causes for which the current price of a unit is unknown."""
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
        tell: Callable[[Message], object],
        clock: Clock,
        calendar: Calendar,
        halts: Halts,
        jitter: Callable[[], float],
        on_loop: Callable[[], None] = lambda: None,
        claim: Callable[[Iterable[str]], str] = lambda _accounts: "",
        patience: evidence.Patience = PATIENCE,
        link_patience: link.Patience | None = None,
    ) -> None:
        """``open_journal`` is called with the accounts of the first session. ``tell`` must not block for long.
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
            link.begun(now, link_patience, None if halted is None else halted.reason),
            clock=clock,
            calendar=calendar,
            halts=halts,
            tell=tell,
        )
        self.orders = FollowedOrders(self.desk)
        self.closer = Closer(self.desk, self.orders)
        self.accounts = AccountWatch(self.desk, self.closer)
        self.cooldowns = Cooldowns(self.desk, self.closer)
        self.assignments = AssignmentWatch(self.desk)
        self.orders.on_filled = self.cooldowns.filled
        self._disaster_stops = DisasterStops(self.desk, self.orders, self.closer)
        self.since = now
        self.why = "starting"
        self.last_sync: datetime | None = None
        self._synced_from: datetime | None = None
        """When the last successful full sync started, across restarts too."""
        self._synced_kept: datetime | None = None
        self._same_session = False
        self.losses = 0
        self.new_accounts: tuple[str, ...] = ()
        """Accounts of the session that are not accepted yet: nothing in them is guarded."""
        self.realized: dict[str, tuple[datetime, str, Decimal]] = {}
        self._open_journal = open_journal
        self._jitter = jitter
        self._on_loop = on_loop
        self._claim = claim
        self._rival: Halt | None = None
        self._patience = patience
        self._link_patience = link_patience
        self._searches = Searches()
        self._syncing = False
        self.left_out = LeftOuts(2 * self._period + timedelta(seconds=5))
        self._pushed: dict[Key, Decimal] = {}
        self._absent: set[Key] = set()
        """Holdings that the last list of positions lacked without an explanation."""
        self._flat: set[Key] = set()
        """Holdings that were pushed as flat, or as on the other side, since a full sync has counted them."""
        self._sync_pause = timedelta(seconds=1)
        self._connect_at: datetime | None = now
        self._delay = timedelta(seconds=1)
        self._poll_at = now
        self._cycle_at = now
        self._loop: Iterator[bool] | None = None
        self._keep_due = False
        self._keep_at: datetime | None = None
        self._loop_again = False
        self._unprotected_since: dict[str, datetime] = {}
        self._unprotected_told: dict[str, set[str]] = {}
        """By unit, the causes that were reported."""
        self._unwritten_halt: str | None = None
        self._probed: set[int] = set()
        self._probe_at: datetime | None = None
        self._renewed: dict[int, datetime] = {}
        """When the quotes of a contract were last asked for again, or were refused."""
        self._greeted = False
        self._connected_told = False
        broker.listen(self.hear)

    # ----- what others ask

    @property
    def ready(self) -> bool:
        """Whether the connection may send: the first full sync is done, and nothing has been lost since."""
        return self.desk.ready

    @property
    def synced(self) -> bool:
        """Whether a full sync has ever ended well."""
        return self.last_sync is not None

    @property
    def quotes_fresh(self) -> bool:
        """Whether every position of an open market has a quote that rules may act on, and every account values that its
        stops may act on; true if there is none."""
        causes = (verdict.cause for verdict in self.desk.guard.verdicts.values() if isinstance(verdict, Blind))
        return self.accounts.fresh and all(cause in FRESH_CAUSES for cause in causes)

    def reload(self, config: Config) -> None:
        """New rules, already checked and fit for this process (`config.reload`)."""
        self.desk.guard.config = config
        self.desk.say(self.desk.author.reloaded())

    async def close(self, what: str, *, by: str, limit: Decimal | None = None) -> str:
        """A person closes a unit, at the ladder's prices or at a ``limit`` that the person approves; what will
        happen, as a sentence. Raises RefusedError."""
        if not self.ready:
            raise RefusedError(f"The connection is {self.desk.connection.phase}: nothing can be sent. {self.why}")
        return self.closer.close(what, by=by, limit=limit)

    def release(self, what: str, *, by: str) -> str:
        """A person has checked the position: locks of a contract end, and a decision to close it is withdrawn. The
        position counts as it is shown now. Raises RefusedError."""
        desk = self.desk
        if not self.ready:
            raise RefusedError(f"The connection is {desk.connection.phase}: the position cannot be read. {self.why}")
        locked = [key for key in desk.locks if desk.names(key, what)]
        for key in locked:
            self._refuse_to_sell_at_once(key)
        said = []
        for closing in [c for c in self.closer.closings.values() if self.closer.means(c, what)]:
            self.accounts.spare(closing)
            self.closer.withdraw(closing, f"by {by}")
            said.append(f"{closing.name} is no longer being closed; its rules hold again.")
        # Without this a lock that ends days after the stop would be followed by an order at once.
        said += self.accounts.release(what)
        for key in locked:
            held = None if key in self._absent else desk.guard.positions.get(key)
            quantity = Decimal(0) if held is None else held.quantity
            if desk.journal.release(*key, quantity, by, desk.journal.uncounted(*key, desk.seen.executions)):
                self._searches.clear()
                desk.say(desk.author.released(desk.label(key[1]), key[0], by))
                said.append(f"{desk.label(key[1])} is released; {quantity} are held.")
        if not said:
            raise RefusedError(f"Nothing that is called {what!r} is locked or being closed.")
        desk.guard.count({key: holding.episode for key, holding in desk.journal.holdings().items() if holding.quantity})
        self.closer.withdraw_past()
        desk.read_locks()
        desk.sync_soon()
        return " ".join(said)

    def rearm(self, what: str, *, by: str) -> str:
        """A person ends the stops of the accounts (``account``): they start again at the present values; or the
        cooldown of an underlying. Raises RefusedError."""
        if what == "account":
            return self.accounts.rearm(by)
        if (done := self.cooldowns.rearm(what, by)) is not None:
            return done
        cooling = sorted({symbol for _, symbol in self.cooldowns.under_way()})
        raise RefusedError(f"{what!r} cannot be rearmed; there is: {', '.join(['account', *cooling])}.")

    def _refuse_to_sell_at_once(self, key: Key) -> None:
        """A rule that was written before a split names prices of before it, and an average cost may lag behind a size
        that grew: a release would close it at once, for no loss at all."""
        desk = self.desk
        held, holding = desk.guard.positions.get(key), desk.journal.holding(*key)
        if held is None or (holding is not None and holding.quantity == held.quantity):
            return
        grew = holding is None or abs(held.quantity) > abs(holding.quantity)
        for unit in desk.guard.units_of(key[1]):
            if unit.account != key[0]:
                continue
            rules, verdict = desk.guard.rules[unit.key].rules, desk.guard.at_first_sight(unit, desk.clock.now())
            if isinstance(verdict, Close) and (grew or rules.names_a_price(verdict.rule)):
                raise RefusedError(
                    f"{unit.name} is now {held.quantity} and would be closed at once by its {verdict.text}. "
                    "Correct the rule and reload, then release it; or close it by hand after the release."
                )
            if isinstance(verdict, Blind) and verdict.cause in UNSEEN and grew and rules.name_prices:
                # At night it is unknown whether that price is of before a split; the opening would sell it all.
                raise RefusedError(
                    f"{unit.name} is now {held.quantity}, a rule of it names a price, and that cannot be compared "
                    f"with the market now: {verdict.text}. Release it when it is quoted, or take the price out of "
                    "the rule and reload first."
                )

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
                self.closer.write_decided()
                left = len(desk.journal.open_intents())
                desk.guard.keep(desk.journal)
            except JournalError as error:
                _log.error("the journal could not be brought up to date: %s", error)
            desk.journal.close()
        desk.say(desk.author.stopped(left))
        desk.flush()

    def _next_due(self) -> datetime:
        desk = self.desk
        sync_at = None if self._syncing else desk.sync_at
        # While an order is being sent nothing is stored; its end wakes the loop.
        keep_at = None if desk.busy else self._keep_at
        write_at = self.closer.write_due if desk.fault is None else None
        others = (sync_at, self._connect_at, desk.advance_at, keep_at, write_at)
        return min([self._cycle_at, *(t for t in others if t is not None)])

    def _turn(self) -> None:
        """All that is due now."""
        desk = self.desk
        now = desk.clock.now()
        try:
            if self._connect_at is not None and now >= self._connect_at:
                self._connect_at = None
                desk.spawn(self._connect())
            if desk.sync_at is not None and now >= desk.sync_at and not self._syncing:
                desk.sync_at = None
                self._hear(link.SyncDue())
            if desk.advance_at is not None and now >= desk.advance_at:
                desk.advance_at = None
                self.closer.advance_all()
            # A clock that was set back must not stop the loop.
            if now >= self._cycle_at or self._cycle_at - now > self._period:
                self._cycle_at = now + self._period
                self._cycle(now)
            if desk.fault is None:
                self.closer.write_in_time(now)
            self._keep_moved(now)
            self._go_on()
        except JournalError as error:
            desk.journal_failed(error)
            self._loop, self._loop_again = None, False
            # Nothing can be closed now: that is counted all the same.
            for unit in desk.guard.units:
                self._look(unit, now)

    def _keep_moved(self, now: datetime) -> None:
        """A trailing stop that has moved is on disk before a rule can fire on it: that takes the time in which quotes
        confirm it. Those of a moment share one write to the disk."""
        desk = self.desk
        if not desk.guard.moved or desk.opened is None or desk.fault is not None:
            self._keep_at = None
            return
        if self._keep_at is None or self._keep_at - now > KEEP_WITHIN:
            self._keep_at = now + KEEP_WITHIN
        elif now >= self._keep_at and not desk.busy:
            desk.guard.keep_moved(desk.journal)
            self._keep_at = now if desk.guard.moved else None

    def _cycle(self, now: datetime) -> None:
        desk = self.desk
        self._forget_far_times(now)
        if desk.rivals is not None:
            desk.rivals.see_on_host(self._claim(desk.accounts), now)
        self._read_halts()
        self._hear(link.Tick())
        self._ask_for_the_login()
        if desk.opened is not None:
            self._mend_journal()
            self.orders.overdue(now)
            self.orders.keep_within()
            poll = timedelta(seconds=float(desk.config.poll_seconds))
            if now >= self._poll_at or self._poll_at - now > poll:
                self._poll_at = now + poll
                desk.sync_soon()
                self._keep_due = True
            self.closer.still_held(now)
            self._ask_for_life(now)
            self.accounts.ask(now)
            self._renew_quotes(now)
            self._probe(now)
        self._begin_loop()

    def _begin_loop(self) -> None:
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
                self._look(unit, desk.clock.now())
                yield False
        if desk.opened is not None:
            desk.guard.keep_new(desk.journal)
            if self._keep_due:
                self._keep_due = False
                for _ in desk.guard.keep_in_parts(desk.journal):
                    yield True
            self.accounts.step(desk.clock.now())
            self.cooldowns.step(desk.clock.now())
            self.closer.cancel_the_unwanted()
            for closing in list(self.closer.closings.values()):
                if self.closer.closings.get(closing.unit) is closing:
                    self.closer.advance(closing)
                    yield False
            for _ in self._disaster_stops.steps():
                yield False
            self._watch_the_unprotected(desk.clock.now())
            self.accounts.watch_the_unprotected(desk.clock.now())
            self.assignments.step(desk.clock.now())
        self._on_loop()

    def _forget_far_times(self, now: datetime) -> None:
        """What was to come soon is due now if a clock that was set back has moved it far away."""
        far = now + 2 * LONGEST_DELAY
        if self._connect_at is not None and self._connect_at > far:
            self._connect_at = now
        if self.desk.sync_at is not None and self.desk.sync_at > far:
            self.desk.sync_at = now
        if self.desk.advance_at is not None and self.desk.advance_at > far:
            self.desk.advance_at = now

    def _mend_journal(self) -> None:
        """What a failing journal missed is asked of the broker again once it works."""
        desk = self.desk
        if desk.fault is None:
            return
        desk.journal.append("journal works again", "", 0, {"fault": desk.fault})
        self.closer.write_decided()
        desk.fault = None
        self._searches.clear()
        self.orders.out_of_sight("the journal could not be written")
        desk.say(desk.author.journal_works())
        desk.sync_soon()

    # ----- the connection

    def _hear(self, event: link.Event) -> None:
        desk = self.desk
        before, farms = desk.connection.phase, desk.connection.degraded
        desk.connection, actions = link.after(desk.connection, event, desk.clock.now(), self._link_patience)
        if desk.connection.phase is not before:
            self.since = desk.clock.now()
            # What is unprotected from now on is counted from now on.
            self._cycle_at = self.since
            _log.info("connection: %s", desk.connection.phase)
            desk.wake.set()
        if desk.connection.degraded != farms:
            desk.guard.farms_down(desk.connection.degraded)
        for action in actions:
            try:
                self._act(action)
            except JournalError as error:
                # The others must follow all the same, such as the next attempt to connect.
                desk.journal_failed(error)

    def _act(self, action: link.Action) -> None:
        desk = self.desk
        now = desk.clock.now()
        match action:
            case link.FullSync():
                desk.spawn(self._sync(action.sync))
            case link.Resubscribe():
                desk.guard.forget_quotes()
                self._renewed.clear()
                desk.broker.watch(self._watched(), anew=True)
            case link.OrdersOutOfSight():
                self._same_session = False
                # No pass counts across a lost link.
                self._searches.clear()
                self.closer.link_lost()
                self.orders.out_of_sight(action.why)
            case link.SyncLater():
                self.why = action.why
                desk.sync_at = now + SYNC_AGAIN
            case link.ConnectLater():
                pause = ATTEMPT_DELAY if action.same_id_soon else self._delay
                self._delay = min(LONGEST_DELAY, 2 * self._delay)
                self._connect_at = now + pause * self._jitter()
            case link.SuspendPrices():
                con_id = int(action.subject)
                desk.guard.suspend(con_id, action.why)
                if action.first:
                    desk.say(desk.author.suspended(desk.label(con_id), con_id, action.why))
                for unit in desk.guard.units_of(con_id):
                    self._look(unit, now)
            case link.ResumePrices():
                con_id = int(action.subject)
                desk.say(desk.author.quoted_again(desk.label(con_id), con_id))
            case link.DoubtQuotes():
                desk.guard.doubt(action.farm)
                self._renewed.clear()
            case link.Alert() if action.about is link.About.FARM:
                desk.say(desk.author.farm_down(action.subject, action.text))
            case link.Recovered() if action.about is link.About.FARM:
                desk.say(desk.author.farm_up(action.subject, action.text))
            case link.FarmForgotten():
                desk.say(desk.author.farm_forgotten(action.farm))
            case link.Alert():
                self.why = action.text
                self.losses += 1
                desk.say(desk.author.lost(action.text))
            case link.Recovered():
                desk.say(desk.author.back(action.text) if self.ready else desk.author.notice_over(action.text))
            case link.Page():
                desk.say(desk.author.page(action.text, action.about))
            case link.HaltAll():
                self._halt(action.reason)
            case link.HaltOver():
                self._end_read_only_halt()
        desk.wake.set()

    def _ask_for_the_login(self) -> None:
        """While the gateway is away: whether it waits for manual action."""
        file = self.desk.config.gateway.login_file
        if file is None or self.ready or self.desk.connection.link not in (link.Phase.DOWN, link.Phase.LINK_LOST):
            return
        login = gateway_login.read(file)
        if login is not None and login.needs_person:
            self.why = login.text
            self._hear(link.AuthNeeded(login.text))

    def _halt(self, reason: str) -> None:
        self._write_halt(reason)
        self._read_halts()

    def _end_read_only_halt(self) -> None:
        """The API accepts orders again. A halt that a person has written in the meantime stays."""
        record = self.desk.halts.record
        halt = record.read()
        if halt is not None and is_read_only_halt(halt.reason):
            try:
                record.resume()
            except OSError as error:
                _log.error("the halt for a read-only API could not be ended: %s", error)
                return
            _log.info("The API accepts orders again: the halt is over")
        self._read_halts()

    def _write_halt(self, reason: str) -> None:
        try:
            self.desk.halts.record.write(reason, self.desk.clock.now())
        except OSError as error:
            # The connection stays halted in this process; the next one would not know of it.
            _log.critical("the halt could not be written down: %s", error)
            self._unwritten_halt = reason
        else:
            self._unwritten_halt = None

    def _read_halts(self) -> None:
        desk = self.desk
        if self._unwritten_halt is not None:
            self._write_halt(self._unwritten_halt)
        halts, rival = desk.halts.read(), self._rival_now()
        before = desk.halted[: len(desk.halted) - (self._rival is not None)]
        if halts and not before:
            desk.say(desk.author.halted(halts[0].reason, halts[0].remedy))
        elif before and not halts:
            desk.say(desk.author.resumed())
        self._note_rival(rival)
        desk.halted = (*halts, *(() if rival is None else (rival,)))
        ended = desk.halts.record.read() is None and self._unwritten_halt is None
        if desk.connection.halted is not None and ended:
            self._hear(link.Resumed())

    def _rival_now(self) -> Halt | None:
        return None if self.desk.rivals is None else self.desk.rivals.halt(self.desk.clock.now())

    def _note_rival(self, rival: Halt | None) -> None:
        """Report another manager once, and that it is gone."""
        desk, before = self.desk, self._rival
        self._rival = rival
        if rival is not None and before is None:
            desk.say(desk.author.rival(rival.reason, rival.remedy))
            if not desk.journal.empty:
                # Positions held when a journal is new are not a change; an event in it would turn them into one.
                desk.journal.append("another manager", "", 0, {"why": rival.reason})
        elif before is not None and rival is None:
            desk.say(desk.author.rival_gone())
            desk.sync_soon()
            if not desk.journal.empty:
                desk.journal.append("no other manager any more", "", 0, {"was": before.reason})

    async def _connect(self) -> None:
        """Attempts until one succeeds; the connection decides what follows a failed one."""
        desk = self.desk
        if not self._greeted:
            self._greeted = True
            _log.info("PositionManager starting (poll every %ss)", desk.config.poll_seconds)
            if desk.config.mode is not Mode.SIM:
                _log.info("Connecting to IB Gateway (may take 30-60s on fresh starts)...")
        await desk.broker.close()
        where, client_id = desk.broker.name, desk.broker.client_id
        for attempt in range(1, ATTEMPTS + 1):
            _log.info("Connecting to %s (client_id=%s, attempt %s/%s)", where, client_id, attempt, ATTEMPTS)
            try:
                session = await desk.broker.connect()
            except ConnectError as error:
                self.why = f"{error.cause.id}: {error}"
                _log.warning("attempt %s/%s failed: %s. %s", attempt, ATTEMPTS, self.why, error.cause.remedy)
                if error.cause is CLIENT_ID_IN_USE:
                    self._hear(link.CodeHeard(326, str(error)))
                if attempt < ATTEMPTS:
                    await desk.clock.wait(asyncio.Event(), ATTEMPT_DELAY)
                continue
            _log.info("Successfully connected to %s (client_id=%s)", where, client_id)
            try:
                self._begin_session(session.accounts)
            except JournalError as error:
                if desk.opened is None:
                    raise
                # A session that started only in part guards nothing: the next one starts from scratch.
                desk.journal_failed(error)
                await desk.broker.close()
                self._hear(link.SocketDown(str(error)))
            return
        self._hear(link.SocketDown(self.why))

    def _begin_session(self, accounts: tuple[str, ...]) -> None:
        desk = self.desk
        wanted = desk.config.accounts
        shown = tuple(account for account in accounts if not wanted or account in wanted)
        if desk.opened is None:
            journal = self._open_journal(frozenset(shown))
            try:
                journal.recover()
                desk.guard.restore(journal)
                self.closer.restore(journal)
                self.accounts.restore(journal)
                self.cooldowns.restore(journal)
                self.assignments.restore(journal)
                self._synced_from = _last_sync(journal)
                self._searches.expired.update(restore_expired(journal))
                desk.instruments.update(kept_instruments.recall(journal, desk.clock.now()))
            except JournalError:
                journal.close()
                raise
            desk.opened = journal
            if desk.config.mode.sends:
                desk.rivals = Rivals(
                    desk.broker.client_id, lambda ref: journal.intent_of_ref(ref) is not None, journal.created
                )
            desk.broker.know(desk.instruments.values())
            desk.read_locks()
        elif not desk.journal.stamp.accounts <= frozenset(shown):
            raise RefusedError("The session lacks accounts that the one before it had; restart the position manager.")
        self._admit(shown)
        if desk.rivals is not None:
            desk.rivals.see_on_host(self._claim(desk.accounts), desk.clock.now())
            self._read_halts()
        self._same_session = False
        self._delay = timedelta(seconds=1)
        desk.guard.forget_quotes()
        self._renewed.clear()
        self._hear(link.SocketUp())
        self._hear(link.SessionVerified())

    def _admit(self, shown: tuple[str, ...]) -> None:
        """Guard the accounts that the journal knows and those that the configuration names. Any other is new: it is
        reported, and not touched before a person accepts it."""
        desk = self.desk
        config, known = desk.config, desk.journal.stamp.accounts
        new = [account for account in shown if account not in known]
        named = [account for account in new if account in (*config.accounts, *config.expected_accounts)]
        if named:
            desk.journal.accept(named, "the configuration")
        self.new_accounts = tuple(account for account in new if account not in named)
        desk.accounts = tuple(account for account in shown if account not in self.new_accounts)
        for account in self.new_accounts:
            desk.say(desk.author.new_account(account))

    def accept_account(self, account: str, *, by: str) -> str:
        """A person has decided that a new account is guarded too; what is done, as a sentence. Raises RefusedError."""
        desk = self.desk
        found = [new for new in self.new_accounts if account in (new, masked(new))]
        if len(found) != 1:
            waiting = f"these wait: {masked_list(self.new_accounts)}" if self.new_accounts else "none waits"
            raise RefusedError(f"{masked(account)} is no new account of this session; {waiting}.")
        desk.journal.accept(found, by)
        self.new_accounts = tuple(new for new in self.new_accounts if new not in found)
        desk.accounts = (*desk.accounts, *found)
        desk.say(desk.author.account_accepted(found[0], by))
        desk.sync_soon()
        return f"{masked(found[0])} is guarded from the next sync on, by the same rules."

    # ----- a full sync

    async def _sync(self, number: int) -> None:
        """All parts one after the other; nothing is concluded from a part of them, or after the session has changed."""
        desk = self.desk
        self._syncing = True
        self._pushed.clear()
        began, step = desk.clock.now(), link.Step.POSITIONS
        try:
            positions = await desk.broker.positions()
            self._hear(link.SyncDone(number, step))
            step = link.Step.OPEN_ORDERS
            open_orders = await desk.broker.open_orders()
            self._hear(link.SyncDone(number, step))
            step = link.Step.COMPLETED_ORDERS
            completed = await desk.broker.completed_orders()
            self._hear(link.SyncDone(number, step))
            step = link.Step.EXECUTIONS
            executions = await desk.broker.executions()
        except BrokerError as error:
            self._hear(link.SyncFailed(number, step, str(error)))
            return
        finally:
            self._syncing = False
            desk.wake.set()
        if desk.connection.sync != number or desk.connection.pending != (step,):
            return
        desk.seen = Snapshot(began, quantities(positions), open_orders, completed, executions)
        try:
            found = self._bring_in(positions)
        except JournalError as error:
            self._hear(link.SyncFailed(number, step, str(error)))
            raise
        self._hear(link.SyncDone(number, step))
        for finding in found:
            self._found(finding)
        now = desk.clock.now()
        self.last_sync = now
        self._same_session, self._synced_from = True, began
        self._keep_sync(began)
        self._poll_at = now + timedelta(seconds=float(desk.config.poll_seconds))
        self._ask_again(now)
        if not self._connected_told:
            self._connected_told = True
            desk.say(desk.author.connected(desk.broker.name, desk.accounts, len(desk.guard.positions)))
            if desk.config.mode is not Mode.SIM:
                _log.info("Successfully connected to IB Gateway — position manager running")
        self.orders.keep_within(exactly=True)
        self._begin_loop()

    def _bring_in(self, positions: tuple[Position, ...]) -> tuple[Finding, ...]:
        desk = self.desk
        held = {position.instrument.con_id: position.instrument for position in positions}
        kept_instruments.keep_changes(desk.journal, held.values(), desk.instruments, desk.clock.now())
        desk.instruments.update(held)
        guarded = frozenset(desk.accounts)
        client_id = desk.broker.client_id if desk.config.mode.sends else None
        if desk.rivals is not None:
            desk.rivals.see(guarded, desk.seen.open_orders, desk.seen.executions, desk.clock.now())
            self._read_halts()
        averages = {position.key: position.average_price for position in positions}
        sync = Sync(
            *(desk.seen, desk.instruments, guarded, self._patience, desk.config.hours.zone, client_id),
            unbroken=self._nothing_is_missing(desk.seen.time),
            averages=averages,
            flat=self._flat,
        )
        found = reconcile(desk.journal, sync, self._searches)
        desk.guard.count({key: holding.episode for key, holding in desk.journal.holdings().items() if holding.quantity})
        shown = [position for position in positions if position.account in guarded]
        desk.guard.hold([*shown, *self._only_absent(shown)])
        for key, quantity in self._pushed.items():
            # Reported after the sync started: the positions of the sync may be older.
            desk.guard.push(*key, quantity)
        self.closer.withdraw_past()
        desk.broker.watch(self._watched())
        desk.read_locks()
        return found

    def _nothing_is_missing(self, now: datetime) -> bool:
        """Whether all executions since the last full sync are reported: within one session a position that was flat in
        between was pushed, and otherwise no midnight may lie between the two, wherever IB's day starts."""
        last, config = self._synced_from, self.desk.config
        if last is None or now < last:
            return False
        zones = (UTC, NEW_YORK, config.hours.zone, ZoneInfo(config.gateway.restart_timezone))
        same_day = all(last.astimezone(zone).date() == now.astimezone(zone).date() for zone in zones)
        return same_day or (self._same_session and self.ready)

    def _keep_sync(self, began: datetime) -> None:
        """Store the time of the last sync now and then: an older value is only more conservative."""
        if self._synced_kept is None or abs(began - self._synced_kept) >= KEEP_SYNC_EVERY:
            self._synced_kept = began
            self.desk.journal.remember("", 0, LAST_SYNC, began.isoformat())

    def _only_absent(self, shown: Sequence[Position]) -> list[Position]:
        """What is held according to the journal, and is only missing from one list of positions: nothing is concluded
        from one absence. Until it is explained, its rules and their memory continue; nothing is sent for it, as the
        position is read again before an order. With an order in progress the list counts: the order could open one."""
        journal = self.desk.journal
        listed = {position.key for position in shown}
        self._absent = {
            key
            for key in self.desk.guard.positions
            if key not in listed
            and key not in self._pushed
            and (holding := journal.holding(*key)) is not None
            and holding.quantity == self.desk.guard.positions[key].quantity
            and journal.open_intent(*key) is None
        }
        return [self.desk.guard.positions[key] for key in self._absent]

    def _found(self, finding: Finding) -> None:
        desk, author = self.desk, self.desk.author
        match finding:
            case IntentMoved(before, change):
                self.orders.after(before, change)
            case HoldingSeen((account, con_id), quantity, first):
                if not first and quantity:
                    desk.say(author.seen(desk.label(con_id), account, quantity))
                    self.accounts.moved(account, con_id, Decimal(0), quantity)
            case HoldingMoved((account, con_id), held, quantity, cause, crossed):
                if crossed:
                    desk.say(author.crossed(desk.label(con_id), account, quantity))
                evidence_lines = self._of_the_expiry(con_id, held, cause)
                desk.say(author.moved(desk.label(con_id), account, held, quantity, cause, evidence_lines))
                self.accounts.moved(account, con_id, held, quantity)
                if quantity:
                    self.closer.withdraw_changed(account, con_id, f"the position changed to {quantity}: {cause}")
            case HoldingUnexplained((account, con_id), expected, reported):
                desk.say(author.unexplained(desk.label(con_id), account, expected, reported))
            case Stray((_, con_id), order_id, ref):
                desk.say(author.stray(desk.label(con_id), ref))
                self.orders.cancel_stray(order_id)

    def _of_the_expiry(self, con_id: int, held: Decimal, cause: evidence.Cause) -> tuple[str, ...]:
        """What is known of how an option ended."""
        desk = self.desk
        instrument, quote = desk.instruments.get(con_id), desk.guard.quotes.get(con_id)
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

    def _ask_again(self, now: datetime) -> None:
        """As long as a question is open, ask sooner than at the next poll, with growing pauses."""
        desk = self.desk
        waiting = any(intent.state in (State.UNKNOWN, State.CANCELLING) for intent in desk.journal.open_intents())
        if not waiting and not self._searches.pending:
            self._sync_pause = timedelta(seconds=1)
        elif desk.sync_at is None:
            desk.sync_at = now + self._sync_pause
            self._sync_pause = min(LONGEST_SYNC_PAUSE, 2 * self._sync_pause)

    # ----- broker events

    def hear(self, event: BrokerEvent) -> None:
        """An event of the broker. What a failing journal could not take is asked for again later."""
        try:
            self._heard(event)
        except JournalError as error:
            self.desk.journal_failed(error)
        except Exception as error:  # of any kind: an engine that misses broker events must not go on
            self.desk.fatal = error
            self.desk.wake.set()

    def _quotes_heard(self, quotes: Sequence[QuoteHeard]) -> None:
        """Quotes that have arrived together: rules first, as what is decided on them is sent together."""
        for heard in quotes:
            try:
                self._quote_heard(heard.con_id, heard.quote)
            except JournalError as error:
                # The others are evaluated regardless.
                self.desk.journal_failed(error)
        for heard in quotes:
            self.closer.quoted(heard.con_id)

    def _quote_heard(self, con_id: int, quote: Quote) -> None:
        desk, now = self.desk, self.desk.clock.now()
        desk.guard.hear(con_id, quote)
        if desk.connection.link is link.Phase.LINK_LOST and con_id in self._probed:
            self._probed.clear()
            self._hear(link.ServersAnswer())
        if quote.live and str(con_id) in desk.connection.suspended:
            self._hear(link.LiveAgain(str(con_id)))
        for unit in desk.guard.units_of(con_id):
            self._look(unit, now)
        if desk.guard.moved and self._keep_at is None:
            desk.wake.set()

    def _heard(self, event: BrokerEvent) -> None:
        desk = self.desk
        now = desk.clock.now()
        match event:
            case QuoteHeard(con_id, quote):
                self._quote_heard(con_id, quote)
                self.closer.quoted(con_id)
            case QuotesHeard(quotes):
                self._quotes_heard(quotes)
            case PositionHeard(account, con_id, quantity):
                known = self._pushed.get((account, con_id))
                held = desk.guard.positions.get((account, con_id))
                before = known if known is not None else Decimal(0) if held is None else held.quantity
                if before and before * quantity <= 0:
                    self._flat.add((account, con_id))
                self._pushed[account, con_id] = quantity
                if account in desk.accounts and desk.guard.push(account, con_id, quantity):
                    desk.broker.watch(self._watched())
                    desk.sync_soon()
                    self.orders.keep_within()
            case OrderHeard():
                self.orders.shown(event)
            case ExecutionHeard():
                self.orders.executed(event)
            case CommissionHeard(exec_id, _, realized, currency):
                # Each sync reports it again.
                if realized is not None:
                    self.realized.setdefault(exec_id, (now, currency, realized))
            case CodeSaid():
                if not self.orders.said(event):
                    self._code(event)
            case LeftOutHeard(left_out):
                for each in self.left_out.update(left_out, desk.accounts, now):
                    desk.say(desk.author.left_out(each.held.label, each.held.account, each.held.quantity, each.text))
            case DetailsHeard():
                desk.sync_soon()
            case Disconnected(why):
                self._hear(link.SocketDown(why))

    def _code(self, event: CodeSaid) -> None:
        about_quotes = link.REACTIONS.get(event.code) is link.Reaction.NO_LIVE_QUOTE
        if event.con_id:
            # Asked for again after a while, not at once: the answer would be the same.
            self._renewed[event.con_id] = self.desk.clock.now()
        if event.con_id or not about_quotes:
            self._hear(link.CodeHeard(event.code, event.text, str(event.con_id) if event.con_id else ""))

    def _renew_quotes(self, now: datetime) -> None:
        """Ask again for the quotes that prove nothing any more, while their market is open."""
        desk = self.desk
        if not self.ready:
            return
        guard, due = desk.guard, []
        for con_id in guard.quiet_contracts(now):
            doubtful = con_id in guard.suspended or con_id in guard.unproven
            pause = QUOTES_AGAIN if doubtful else guard.config.quotes.quiet / 2
            before = self._renewed.get(con_id)
            if before is None and con_id not in guard.quotes and not doubtful:
                # Its subscription is a new one.
                self._renewed[con_id] = now
            elif before is None or abs(now - before) >= pause:
                verdicts = (guard.verdicts.get(unit.key) for unit in guard.units_of(con_id))
                if any(not (isinstance(v, Blind) and v.cause is BlindCause.MARKET_CLOSED) for v in verdicts):
                    self._renewed[con_id] = now
                    due.append(con_id)
        if due:
            desk.broker.renew(due)

    def _probe(self, now: datetime) -> None:
        """A link that is lost for long, and whose return may not have been reported: request a few quotes again. The
        first answer shows that IB's servers are reached."""
        connection = self.desk.connection
        if connection.link is not link.Phase.LINK_LOST or connection.away_since is None:
            self._probed.clear()
            self._probe_at = None
            return
        if now - connection.away_since < self._link_patience.probe_after:
            return
        if self._probe_at is None or abs(now - self._probe_at) >= PROBE_EVERY:
            self._probe_at = now
            self._probed = {con_id for _, con_id in list(self.desk.guard.positions)[:3]}
            self.desk.broker.renew(sorted(self._probed))

    def _ask_for_life(self, now: datetime) -> None:
        """A quiet market is distinguished from a dead feed by a question that any living session answers."""
        alive = self.desk.guard.alive_at
        # Sooner than after a whole period: the answer takes its time, and a quote must not grow old meanwhile.
        if self.ready and self.desk.guard.units and (alive is None or abs(now - alive) >= self._period / 2):
            self.desk.spawn(self._ping())

    async def _ping(self) -> None:
        try:
            await self.desk.broker.ping()
        except BrokerError as error:
            _log.warning("the gateway does not answer: %s", error)
            return
        self.desk.guard.alive_at = self.desk.clock.now()

    # ----- rules

    def _look(self, unit: Unit, now: datetime) -> None:
        guard = self.desk.guard
        closing = self.closer.of(unit)
        # The rules continue for the rest when only a part is being closed.
        in_part = closing is not None and bool(closing.leaves) and closing.unit == unit.key
        if closing is not None and not in_part:
            # Whatever blocks a close counts as unprotected.
            bar = self.closer.bar(closing)
            blind = self._blind(unit) or (Blind(BlindCause.CANNOT_CLOSE, bar) if bar else None)
            guard.note(unit, blind or Hold(pending=(closing.text,)), now)
            return
        if (left := self.closer.wings.text(unit, now)) is not None:
            guard.note(unit, Hold(pending=(left,)), now)
            return
        fired = guard.look(unit, now, self._blind, self.closer.blocked)
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

    def _watch_the_unprotected(self, now: datetime) -> None:
        """Report units that have been unprotected for long while their market is open, and the end of that state."""
        desk, before = self.desk, self._unprotected_since
        self.left_out.count(now)
        self._unprotected_since = {}
        for unit in desk.guard.units:
            verdict = desk.guard.verdicts.get(unit.key)
            if isinstance(verdict, Blind):
                if verdict.cause in QUIET_CAUSES:
                    continue
                since = min(now, before.get(unit.key, now))
                self._unprotected_since[unit.key] = since
                told = self._unprotected_told.get(unit.key, set())
                if verdict.cause.value not in told and now - since >= ALERT_AFTER:
                    self._unprotected_told[unit.key] = told | {verdict.cause.value}
                    seconds, cause = (now - since).total_seconds(), verdict.cause.value
                    desk.say(desk.author.unprotected(unit.name, unit.key, cause, verdict.text, seconds))
            elif unit.key in self._unprotected_told:
                del self._unprotected_told[unit.key]
                desk.say(desk.author.protected(unit.name, unit.key, desk.guard.counts[unit.key].in_session))
        held = {unit.key for unit in desk.guard.units}
        self._unprotected_told = {key: told for key, told in self._unprotected_told.items() if key in held}

    def _watched(self) -> list[Instrument]:
        return [position.instrument for position in self.desk.guard.positions.values()]


def _last_sync(journal: Journal) -> datetime | None:
    """That of a former run."""
    text = journal.memory().get(("", 0, LAST_SYNC))
    try:
        return None if text is None else datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
