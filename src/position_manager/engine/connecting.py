"""Connecting to the broker: attempts with back-off, the journal of the first session, the accounts of each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from ib_connection.accounts import masked, masked_list
from ib_connection.causes import CLIENT_ID_IN_USE
from position_manager import connection_state as link
from position_manager.brokers.broker import Broker, ConnectError
from position_manager.clock import Clock
from position_manager.config.schema import Config, Mode
from position_manager.engine.agenda import Agenda
from position_manager.engine.contract_locks import ContractLocks
from position_manager.engine.guarded_accounts import GuardedAccounts
from position_manager.engine.halt_watch import HaltWatch
from position_manager.engine.journal_access import JournalAccess
from position_manager.engine.known_instruments import KnownInstruments
from position_manager.engine.link_status import LinkStatus
from position_manager.engine.notices import Notices
from position_manager.engine.rivals import Rivals
from position_manager.engine.sending_halts import SendingHalts
from position_manager.engine.tasks import Tasks
from position_manager.journal import stored_instruments
from position_manager.journal.errors import JournalError
from position_manager.journal.journal import Journal
from position_manager.refused import RefusedError

_log = logging.getLogger(__name__)

ATTEMPTS = 5
ATTEMPT_DELAY = timedelta(seconds=5)
LONGEST_DELAY = timedelta(seconds=60)


class Connector:
    """Connects when it is due. ``open_journal`` is called with the accounts of the first session, ``restore`` with its
    journal. ``jitter`` gives a random factor around 1 for back-off. ``on_session`` is called when a session has
    started, before ``on_event`` receives it."""

    def __init__(
        self,
        status: LinkStatus,
        halt_watch: HaltWatch,
        *,
        open_journal: Callable[[frozenset[str]], Journal],
        restore: Callable[[Journal], None],
        jitter: Callable[[], float],
        on_session: Callable[[], None],
        on_event: Callable[[link.Event], None],
        access: JournalAccess,
        agenda: Agenda,
        broker: Broker,
        clock: Clock,
        config: Callable[[], Config],
        guarded: GuardedAccounts,
        halts: SendingHalts,
        instruments: KnownInstruments,
        locks: ContractLocks,
        notices: Notices,
        tasks: Tasks,
    ) -> None:
        self._access = access
        self._agenda = agenda
        self._broker = broker
        self._clock = clock
        self._config = config
        self._guarded = guarded
        self._halts = halts
        self._instruments = instruments
        self._locks = locks
        self._notices = notices
        self._tasks = tasks
        self._status = status
        self._halt_watch = halt_watch
        self._open_journal = open_journal
        self._restore = restore
        self._jitter = jitter
        self._on_session = on_session
        self._on_event = on_event
        self.new_accounts: tuple[str, ...] = ()
        """Accounts of the session that are not accepted yet: nothing in them is guarded."""
        self.due: datetime | None = self._clock.now()
        """When the next attempts start."""
        self._delay = timedelta(seconds=1)
        self._greeted = False

    def connect_if_due(self, now: datetime) -> None:
        if self.due is not None and now >= self.due:
            self.due = None
            self._tasks.spawn(self._connect())

    def connect_later(self, now: datetime, *, same_id_soon: bool) -> None:
        """Try again after a pause that grows; soon if the client id is about to be released."""
        pause = ATTEMPT_DELAY if same_id_soon else self._delay
        self._delay = min(LONGEST_DELAY, 2 * self._delay)
        self.due = now + pause * self._jitter()

    async def _connect(self) -> None:
        """Attempts until one succeeds; the connection decides what follows a failed one."""
        if not self._greeted:
            self._greeted = True
            _log.info("PositionManager starting (poll every %ss)", self._config().poll_seconds)
            for recovery in self._notices.author.restarted():
                self._notices.end_former_incident(recovery)
            if self._config().mode is not Mode.SIM:
                _log.info("Connecting to IB Gateway (may take 30-60s on fresh starts)...")
        await self._broker.close()
        where, client_id = self._broker.name, self._broker.client_id
        for attempt in range(1, ATTEMPTS + 1):
            _log.info("Connecting to %s (client_id=%s, attempt %s/%s)", where, client_id, attempt, ATTEMPTS)
            try:
                session = await self._broker.connect()
            except ConnectError as error:
                self._status.why = f"{error.cause.id}: {error}"
                _log.warning("attempt %s/%s failed: %s. %s", attempt, ATTEMPTS, self._status.why, error.cause.remedy)
                if error.cause is CLIENT_ID_IN_USE:
                    self._on_event(link.ApiCode(326, str(error)))
                if attempt < ATTEMPTS:
                    await self._clock.wait(asyncio.Event(), ATTEMPT_DELAY)
                continue
            _log.info("Successfully connected to %s (client_id=%s)", where, client_id)
            try:
                self._start_session(session.accounts)
            except JournalError as error:
                if self._access.opened is None:
                    raise
                # A session that started only in part guards nothing: the next one starts from scratch.
                self._access.on_failure(error)
                await self._broker.close()
                self._on_event(link.SocketDown(str(error)))
            return
        self._on_event(link.SocketDown(self._status.why))

    def _start_session(self, accounts: tuple[str, ...]) -> None:
        wanted = self._config().accounts
        shown = tuple(account for account in accounts if not wanted or account in wanted)
        if self._access.opened is None:
            journal = self._open_journal(frozenset(shown))
            try:
                journal.recover()
                self._restore(journal)
                self._instruments.add(stored_instruments.recall(journal, self._clock.now()))
            except JournalError:
                journal.close()
                raise
            self._access.open(journal)
            # It has just been written.
            self._notices.end_former_incident(self._notices.author.journal_works())
            if self._config().mode.sends:
                rivals = Rivals(
                    self._broker.client_id, lambda ref: journal.intent_of_ref(ref) is not None, journal.created
                )
                self._halts.watch_for(rivals)
            self._broker.know(self._instruments.by_id.values())
            self._locks.refresh()
        elif not self._access.journal.stamp.accounts <= frozenset(shown):
            raise RefusedError("The session lacks accounts that the one before it had; restart the position manager.")
        self._admit(shown)
        if self._halts.watches:
            self._halt_watch.check_host()
            self._halt_watch.refresh()
        self._delay = timedelta(seconds=1)
        self._on_session()
        self._on_event(link.SocketUp())
        self._on_event(link.SessionVerified())

    def _admit(self, shown: tuple[str, ...]) -> None:
        """Guard the accounts that the journal knows and those that the configuration names. Any other is new: it is
        reported, and not touched before a person accepts it."""
        config, known = self._config(), self._access.journal.stamp.accounts
        new = [account for account in shown if account not in known]
        named = [account for account in new if account in (*config.accounts, *config.expected_accounts)]
        if named:
            self._access.journal.accept(named, "the configuration")
        self.new_accounts = tuple(account for account in new if account not in named)
        self._guarded.replace(account for account in shown if account not in self.new_accounts)
        for account in self.new_accounts:
            self._notices.notify(self._notices.author.new_account(account))

    def accept_account(self, account: str, *, by: str) -> str:
        """A person has decided that a new account is guarded too; what is done, as a sentence. Raises RefusedError."""
        found = [new for new in self.new_accounts if account in (new, masked(new))]
        if len(found) != 1:
            waiting = f"these wait: {masked_list(self.new_accounts)}" if self.new_accounts else "none waits"
            raise RefusedError(f"{masked(account)} is no new account of this session; {waiting}.")
        self._access.journal.accept(found, by)
        self.new_accounts = tuple(new for new in self.new_accounts if new not in found)
        self._guarded.add(found)
        self._notices.notify(self._notices.author.account_accepted(found[0], by))
        self._agenda.sync_soon()
        return f"{masked(found[0])} is guarded from the next sync on, by the same rules."
