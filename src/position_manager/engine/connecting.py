"""Connecting to the broker: attempts with back-off, the journal of the first session, the accounts of each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from ib_connection.accounts import masked, masked_list
from ib_connection.causes import CLIENT_ID_IN_USE
from position_manager import connection_state as link
from position_manager.brokers.broker import ConnectError
from position_manager.config.schema import Mode
from position_manager.engine.desk import Desk
from position_manager.engine.halt_watch import HaltWatch
from position_manager.engine.link_status import LinkStatus
from position_manager.engine.rivals import Rivals
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
        desk: Desk,
        status: LinkStatus,
        halt_watch: HaltWatch,
        *,
        open_journal: Callable[[frozenset[str]], Journal],
        restore: Callable[[Journal], None],
        jitter: Callable[[], float],
        on_session: Callable[[], None],
        on_event: Callable[[link.Event], None],
    ) -> None:
        self._desk = desk
        self._status = status
        self._halt_watch = halt_watch
        self._open_journal = open_journal
        self._restore = restore
        self._jitter = jitter
        self._on_session = on_session
        self._on_event = on_event
        self.new_accounts: tuple[str, ...] = ()
        """Accounts of the session that are not accepted yet: nothing in them is guarded."""
        self.due: datetime | None = desk.clock.now()
        """When the next attempts start."""
        self._delay = timedelta(seconds=1)
        self._greeted = False

    def connect_if_due(self, now: datetime) -> None:
        if self.due is not None and now >= self.due:
            self.due = None
            self._desk.spawn(self._connect())

    def connect_later(self, now: datetime, *, same_id_soon: bool) -> None:
        """Try again after a pause that grows; soon if the client id is about to be released."""
        pause = ATTEMPT_DELAY if same_id_soon else self._delay
        self._delay = min(LONGEST_DELAY, 2 * self._delay)
        self.due = now + pause * self._jitter()

    async def _connect(self) -> None:
        """Attempts until one succeeds; the connection decides what follows a failed one."""
        desk = self._desk
        if not self._greeted:
            self._greeted = True
            _log.info("PositionManager starting (poll every %ss)", desk.config.poll_seconds)
            for message in desk.author.restarted():
                desk.notify(message)
            if desk.config.mode is not Mode.SIM:
                _log.info("Connecting to IB Gateway (may take 30-60s on fresh starts)...")
        await desk.broker.close()
        where, client_id = desk.broker.name, desk.broker.client_id
        for attempt in range(1, ATTEMPTS + 1):
            _log.info("Connecting to %s (client_id=%s, attempt %s/%s)", where, client_id, attempt, ATTEMPTS)
            try:
                session = await desk.broker.connect()
            except ConnectError as error:
                self._status.why = f"{error.cause.id}: {error}"
                _log.warning("attempt %s/%s failed: %s. %s", attempt, ATTEMPTS, self._status.why, error.cause.remedy)
                if error.cause is CLIENT_ID_IN_USE:
                    self._on_event(link.ApiCode(326, str(error)))
                if attempt < ATTEMPTS:
                    await desk.clock.wait(asyncio.Event(), ATTEMPT_DELAY)
                continue
            _log.info("Successfully connected to %s (client_id=%s)", where, client_id)
            try:
                self._start_session(session.accounts)
            except JournalError as error:
                if desk.opened is None:
                    raise
                # A session that started only in part guards nothing: the next one starts from scratch.
                desk.journal_failed(error)
                await desk.broker.close()
                self._on_event(link.SocketDown(str(error)))
            return
        self._on_event(link.SocketDown(self._status.why))

    def _start_session(self, accounts: tuple[str, ...]) -> None:
        desk = self._desk
        wanted = desk.config.accounts
        shown = tuple(account for account in accounts if not wanted or account in wanted)
        if desk.opened is None:
            journal = self._open_journal(frozenset(shown))
            try:
                journal.recover()
                self._restore(journal)
                desk.instruments.update(stored_instruments.recall(journal, desk.clock.now()))
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
            self._halt_watch.check_host(desk.clock.now())
            self._halt_watch.refresh()
        self._delay = timedelta(seconds=1)
        self._on_session()
        self._on_event(link.SocketUp())
        self._on_event(link.SessionVerified())

    def _admit(self, shown: tuple[str, ...]) -> None:
        """Guard the accounts that the journal knows and those that the configuration names. Any other is new: it is
        reported, and not touched before a person accepts it."""
        desk = self._desk
        config, known = desk.config, desk.journal.stamp.accounts
        new = [account for account in shown if account not in known]
        named = [account for account in new if account in (*config.accounts, *config.expected_accounts)]
        if named:
            desk.journal.accept(named, "the configuration")
        self.new_accounts = tuple(account for account in new if account not in named)
        desk.accounts = tuple(account for account in shown if account not in self.new_accounts)
        for account in self.new_accounts:
            desk.notify(desk.author.new_account(account))

    def accept_account(self, account: str, *, by: str) -> str:
        """A person has decided that a new account is guarded too; what is done, as a sentence. Raises RefusedError."""
        desk = self._desk
        found = [new for new in self.new_accounts if account in (new, masked(new))]
        if len(found) != 1:
            waiting = f"these wait: {masked_list(self.new_accounts)}" if self.new_accounts else "none waits"
            raise RefusedError(f"{masked(account)} is no new account of this session; {waiting}.")
        desk.journal.accept(found, by)
        self.new_accounts = tuple(new for new in self.new_accounts if new not in found)
        desk.accounts = (*desk.accounts, *found)
        desk.notify(desk.author.account_accepted(found[0], by))
        desk.sync_soon()
        return f"{masked(found[0])} is guarded from the next sync on, by the same rules."
