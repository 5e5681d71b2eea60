"""Halts and other managers: what stops sending at this moment, reported when it starts and when it is over."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from position_manager import connection_state as link
from position_manager.clock import Clock
from position_manager.engine.agenda import Agenda
from position_manager.engine.current_connection import CurrentConnection
from position_manager.engine.guarded_accounts import GuardedAccounts
from position_manager.engine.journal_access import JournalAccess
from position_manager.engine.notices import Notices
from position_manager.engine.sending_halts import SendingHalts
from position_manager.halt import Halt, is_read_only_halt

_log = logging.getLogger(__name__)


class HaltWatch:
    """``claim`` claims accounts on this host; it returns who else guards one of them, if anybody. ``on_event`` receives
    the end of a halt that the connection is in."""

    def __init__(
        self,
        claim: Callable[[Iterable[str]], str],
        on_event: Callable[[link.Event], None],
        *,
        access: JournalAccess,
        agenda: Agenda,
        clock: Clock,
        connection: CurrentConnection,
        guarded: GuardedAccounts,
        halts: SendingHalts,
        notices: Notices,
    ) -> None:
        self._access = access
        self._agenda = agenda
        self._clock = clock
        self._connection = connection
        self._guarded = guarded
        self._halts = halts
        self._notices = notices
        self._claim = claim
        self._on_event = on_event
        self._rival: Halt | None = None
        self._refreshed = False
        self._unwritten: str | None = None
        """The reason of a halt that could not be written to disk yet."""

    def check_host(self) -> None:
        """Check whether another process of this host guards one of the accounts."""
        if self._halts.watches:
            self._halts.see_on_host(self._claim(self._guarded.names))

    def halt(self, reason: str) -> None:
        """Stop sending."""
        self._write(reason)
        self.refresh()

    def end_read_only_halt(self) -> None:
        """The API accepts orders again. A halt that a person has written in the meantime stays."""
        record = self._halts.record
        halt = record.read()
        if halt is not None and is_read_only_halt(halt.reason):
            try:
                record.resume()
            except OSError as error:
                _log.error("the halt for a read-only API could not be ended: %s", error)
                return
            _log.info("The API accepts orders again: the halt is over")
        self.refresh()

    def refresh(self) -> None:
        """Read what stops sending now, and report what has changed."""
        if self._unwritten is not None:
            self._write(self._unwritten)
        halts, rival = self._halts.read_disk(), self._rival_now()
        before = self._halts.present[: len(self._halts.present) - (self._rival is not None)]
        if halts and not before:
            self._notices.notify(self._notices.author.halted(halts[0].reason, halts[0].remedy))
        elif before and not halts:
            self._notices.notify(self._notices.author.resumed())
        elif not halts and not self._refreshed:
            self._notices.end_former_incident(self._notices.author.resumed())
        self._refreshed = True
        self._report_rival(rival)
        self._halts.report((*halts, *(() if rival is None else (rival,))))
        ended = self._halts.record.read() is None and self._unwritten is None
        if self._connection.state.halted is not None and ended:
            self._on_event(link.Resumed())

    def _write(self, reason: str) -> None:
        try:
            self._halts.record.write(reason, self._clock.now())
        except OSError as error:
            # The connection stays halted in this process; the next one would not know of it.
            _log.critical("the halt could not be written down: %s", error)
            self._unwritten = reason
        else:
            self._unwritten = None

    def _rival_now(self) -> Halt | None:
        return self._halts.rival()

    def _report_rival(self, rival: Halt | None) -> None:
        """Report another manager once, and that it is gone."""
        before = self._rival
        self._rival = rival
        if rival is not None and before is None:
            self._notices.notify(self._notices.author.rival(rival.reason, rival.remedy))
            if not self._access.journal.empty:
                # Positions held when a journal is new are not a change; an event in it would turn them into one.
                self._access.journal.append("another manager", "", 0, {"why": rival.reason})
        elif before is not None and rival is None:
            self._notices.notify(self._notices.author.rival_gone())
            self._agenda.sync_soon()
            if not self._access.journal.empty:
                self._access.journal.append("no other manager any more", "", 0, {"was": before.reason})
