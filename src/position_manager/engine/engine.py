"""The engine: what the broker says and what the clock shows becomes rules looked at, orders sent, and people told.

One loop, one thread. Events of the broker are handled at once, in the order in which they come; what needs an answer
of the broker (a session, a full sync, the look just before sending) runs as a task beside. All that must outlast the
process is in the journal before it takes effect.

The same engine runs in every mode; only the broker behind it and the gate for the mode differ.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from host_service import gateway_login
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
    OrderHeard,
    PositionHeard,
    QuoteHeard,
)
from position_manager.clock import Clock
from position_manager.config import Config, Mode
from position_manager.engine import connection_state as link
from position_manager.engine.desk import Desk
from position_manager.engine.halt import Halts, is_read_only_halt
from position_manager.journal import kept_instruments
from position_manager.journal.journal import Journal, JournalError
from position_manager.model import Instrument, Position
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
"""So often the quotes of a contract are asked for again while it has none that are live."""
ALERT_AFTER = timedelta(seconds=60)
"""So long a unit may be unprotected in trading hours before a person is told."""
PROBE_EVERY = timedelta(seconds=30)
"""So often a lost link is probed."""
KEEP_WITHIN = timedelta(seconds=0.2)
"""A trailing stop that has moved is written down within this time."""
QUIET_CAUSES = frozenset(
    {BlindCause.MARKET_CLOSED, BlindCause.OPENING, BlindCause.NOT_READY, BlindCause.HALTED, BlindCause.LOCKED}
)
"""Causes of being unprotected that people are told of in another way, or that are in the nature of markets."""
FRESH_CAUSES = frozenset(
    {BlindCause.MARKET_CLOSED, BlindCause.OPENING, BlindCause.NO_RULES, BlindCause.LOCKED, BlindCause.BLOCKED}
)
"""Causes of being unprotected that say nothing about quotes."""
UNSEEN = frozenset(
    {
        BlindCause.MARKET_CLOSED,
        BlindCause.HOURS_UNKNOWN,
        BlindCause.OPENING,
        BlindCause.NO_QUOTE,
        BlindCause.WIDE_SPREAD,
    }
)
"""Causes for which nobody knows at what price a unit trades."""
SLICE = 10
"""So many units are looked at in a row before what the broker says is heard again: an order must not wait for them."""
PATIENCE = evidence.Patience()


class Engine:
    """Guards the positions of one session's accounts until it is told to stop."""

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
        patience: evidence.Patience = PATIENCE,
        link_patience: link.Patience | None = None,
    ) -> None:
        """``open_journal`` is called with the accounts of the first session. ``tell`` must not block for long.
        ``jitter`` gives a random factor around 1 for back-off. ``on_loop`` is called after each whole rule loop.
        Without a ``link_patience`` the configuration says when the gateway restarts."""
        now, halted = clock.now(), halts.record.read()
        link_patience = link_patience or link.patience_with_restart(
            config.gateway.restart_time, ZoneInfo(config.gateway.restart_timezone)
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
        self.losses = 0
        self.realized: dict[str, tuple[datetime, str, Decimal]] = {}
        self._open_journal = open_journal
        self._jitter = jitter
        self._on_loop = on_loop
        self._patience = patience
        self._link_patience = link_patience
        self._searches = Searches()
        self._syncing = False
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
        """By unit, the causes that people know of."""
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
        """A person has looked: locks of a contract end, and a decision to close it is withdrawn. The position counts
        as it is shown now. Raises RefusedError."""
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
                # At night nobody can tell whether that price is of before a split; the opening would sell it all.
                raise RefusedError(
                    f"{unit.name} is now {held.quantity}, a rule of it names a price, and that cannot be compared "
                    f"with the market now: {verdict.text}. Release it when it is quoted, or take the price out of "
                    "the rule and reload first."
                )

    # ----- the loop

    async def run(self, stop: asyncio.Event) -> None:
        """Guard until ``stop`` is set. Raises JournalError if the journal is not for this session, and what else no
        further attempt can mend."""
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
        # While an order is being sent nothing is kept; its end wakes the loop.
        keep_at = None if desk.busy else self._keep_at
        others = (sync_at, self._connect_at, desk.advance_at, keep_at)
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
        """Look at all that is guarded, a slice at a time; after the loop that is under way, if there is one."""
        if self._loop is None:
            self._loop = self._whole_loop()
        else:
            self._loop_again = True
        self.desk.wake.set()

    def _go_on(self) -> None:
        """The next slice of the loop that is under way: a small one while an order is on its way to the socket."""
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
        """One rule loop, in steps: what is held, what is being closed, what rests in case we are gone. Each step tells
        whether it has taken long enough for the broker to be heard before the next one."""
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
                # No pass counts across a lost link.
                self._searches.clear()
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
        """While the gateway is away: whether it waits for a person."""
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
        halts = desk.halts.read()
        if halts and not desk.halted:
            desk.say(desk.author.halted(halts[0].reason, halts[0].remedy))
        elif desk.halted and not halts:
            desk.say(desk.author.resumed())
        desk.halted = halts
        ended = desk.halts.record.read() is None and self._unwritten_halt is None
        if desk.connection.halted is not None and ended:
            self._hear(link.Resumed())

    async def _connect(self) -> None:
        """Attempts until one succeeds; what comes after the last one is the connection's to say."""
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
            self._begin_session(session.accounts)
            return
        self._hear(link.SocketDown(self.why))

    def _begin_session(self, accounts: tuple[str, ...]) -> None:
        desk = self.desk
        wanted = desk.config.accounts
        desk.accounts = tuple(account for account in accounts if not wanted or account in wanted)
        if desk.opened is None:
            journal = self._open_journal(frozenset(desk.accounts))
            try:
                journal.recover()
                desk.guard.restore(journal)
                self.closer.restore(journal)
                self.accounts.restore(journal)
                self.cooldowns.restore(journal)
                self.assignments.restore(journal)
                desk.instruments.update(kept_instruments.recall(journal, desk.clock.now()))
            except JournalError:
                journal.close()
                raise
            desk.opened = journal
            desk.broker.know(desk.instruments.values())
            desk.read_locks()
        elif desk.journal.stamp.accounts != frozenset(desk.accounts):
            raise RefusedError("The session has other accounts than the one before it; restart the position manager.")
        self._delay = timedelta(seconds=1)
        desk.guard.forget_quotes()
        self._renewed.clear()
        self._hear(link.SocketUp())
        self._hear(link.SessionVerified())

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
        today = desk.clock.now().astimezone(desk.config.hours.zone).date()
        client_id = desk.broker.client_id if desk.config.mode.sends else None
        averages = {position.key: position.average_price for position in positions}
        sync = Sync(
            desk.seen, desk.instruments, guarded, self._patience, today, client_id, averages=averages, flat=self._flat
        )
        found = reconcile(desk.journal, sync, self._searches)
        desk.guard.count({key: holding.episode for key, holding in desk.journal.holdings().items() if holding.quantity})
        shown = [position for position in positions if position.account in guarded]
        desk.guard.hold([*shown, *self._only_absent(shown)])
        for key, quantity in self._pushed.items():
            # Told after the sync has begun: the positions of the sync may be older.
            desk.guard.push(*key, quantity)
        self.closer.withdraw_past()
        desk.broker.watch(self._watched())
        desk.read_locks()
        return found

    def _only_absent(self, shown: Sequence[Position]) -> list[Position]:
        """What is held as far as the journal knows, and merely lacks in one list of positions: nothing is concluded
        from one absence. Until it is explained its rules and what they remember go on; nothing is sent for it, as the
        position is read again before an order. With an order under way the list counts: the order could open one."""
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
            case HoldingMoved((account, con_id), held, quantity, cause):
                desk.say(author.moved(desk.label(con_id), account, held, quantity, cause))
                self.accounts.moved(account, con_id, held, quantity)
                if quantity:
                    self.closer.withdraw_changed(account, con_id, f"the position changed to {quantity}: {cause}")
            case HoldingUnexplained((account, con_id), expected, reported):
                desk.say(author.unexplained(desk.label(con_id), account, expected, reported))
            case Stray((_, con_id), order_id, ref):
                desk.say(author.stray(desk.label(con_id), ref))
                self.orders.cancel_stray(order_id)

    def _ask_again(self, now: datetime) -> None:
        """As long as a question is open, ask sooner than at the next poll, with growing pauses."""
        desk = self.desk
        waiting = any(intent.state in (State.UNKNOWN, State.CANCELLING) for intent in desk.journal.open_intents())
        if not waiting and not self._searches.pending:
            self._sync_pause = timedelta(seconds=1)
        elif desk.sync_at is None:
            desk.sync_at = now + self._sync_pause
            self._sync_pause = min(LONGEST_SYNC_PAUSE, 2 * self._sync_pause)

    # ----- what the broker says

    def hear(self, event: BrokerEvent) -> None:
        """An event of the broker. What a failing journal could not take is asked for again later."""
        try:
            self._heard(event)
        except JournalError as error:
            self.desk.journal_failed(error)
        except Exception as error:  # whatever it is: an engine that misses what the broker says must not go on
            self.desk.fatal = error
            self.desk.wake.set()

    def _heard(self, event: BrokerEvent) -> None:
        desk = self.desk
        now = desk.clock.now()
        match event:
            case QuoteHeard(con_id, quote):
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
                self.closer.quoted(con_id)
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
                # Each sync tells it again.
                if realized is not None:
                    self.realized.setdefault(exec_id, (now, currency, realized))
            case CodeSaid():
                if not self.orders.said(event):
                    self._code(event)
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
        """A link that is lost for long, and whose return may not have been reported: ask for a few quotes anew. The
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
        """A market in which nothing moves is told from a dead feed by a question that any living session answers."""
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
        if closing is not None:
            # What keeps a close from going on counts as unprotected.
            bar = self.closer.bar(closing)
            blind = self._blind(unit) or (Blind(BlindCause.CANNOT_CLOSE, bar) if bar else None)
            guard.note(unit, blind or Hold(pending=(closing.text,)), now)
            return
        if (left := self.closer.wings.text(unit, now)) is not None:
            guard.note(unit, Hold(pending=(left,)), now)
            return
        fired = guard.look(unit, now, self._blind, self.closer.blocked)
        if fired is not None:
            self.closer.decide(unit, str(fired.rule), fired.text)

    def _blind(self, unit: Unit) -> Blind | None:
        """Why nothing could be sent for a unit, whatever its rules say."""
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
        """Tell of units that have been unprotected for long while their market is open, and of the end of it."""
        desk, before = self.desk, self._unprotected_since
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
