"""Events of the connection, and what follows from each: syncs, attempts to connect, halts, notifications."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from host_service import gateway_login
from position_manager import connection_state as link
from position_manager.clock import Clock
from position_manager.engine.agenda import Agenda
from position_manager.engine.closer import Closer
from position_manager.engine.connecting import Connector
from position_manager.engine.current_connection import CurrentConnection
from position_manager.engine.followed_orders import FollowedOrders
from position_manager.engine.guard import Guard
from position_manager.engine.halt_watch import HaltWatch
from position_manager.engine.journal_access import JournalAccess
from position_manager.engine.known_instruments import KnownInstruments
from position_manager.engine.link_status import LinkStatus
from position_manager.engine.notices import Notices
from position_manager.engine.quote_requests import QuoteRequests
from position_manager.engine.syncing import Syncing
from position_manager.engine.tasks import Tasks
from position_manager.journal.errors import JournalError
from position_manager.rules.groups import Unit

_log = logging.getLogger(__name__)

SYNC_AGAIN = timedelta(seconds=5)
"""After a full sync that failed."""


class LinkHandler:
    """Moves the connection from state to state. ``evaluate`` is called with a unit whose quotes are suspended,
    ``on_phase`` after each change of the connection's phase."""

    def __init__(
        self,
        status: LinkStatus,
        patience: link.Patience,
        *,
        orders: FollowedOrders,
        closer: Closer,
        halt_watch: HaltWatch,
        quote_requests: QuoteRequests,
        connector: Connector,
        syncing: Syncing,
        evaluate: Callable[[Unit, datetime], None],
        on_phase: Callable[[], None],
        access: JournalAccess,
        agenda: Agenda,
        clock: Clock,
        connection: CurrentConnection,
        guard: Guard,
        instruments: KnownInstruments,
        notices: Notices,
        tasks: Tasks,
    ) -> None:
        self._access = access
        self._agenda = agenda
        self._clock = clock
        self._connection = connection
        self._guard = guard
        self._instruments = instruments
        self._notices = notices
        self._tasks = tasks
        self._status = status
        self._patience = patience
        self._orders = orders
        self._closer = closer
        self._halt_watch = halt_watch
        self._quote_requests = quote_requests
        self._connector = connector
        self._syncing = syncing
        self._evaluate = evaluate
        self._on_phase = on_phase

    def handle(self, event: link.Event) -> None:
        """Apply an event, and do what follows from it."""
        before, farms = self._connection.state.phase, self._connection.state.degraded
        actions = self._connection.after(event, self._clock.now(), self._patience)
        if self._connection.state.phase is not before:
            self._status.since = self._clock.now()
            self._on_phase()
            _log.info("connection: %s", self._connection.state.phase)
            self._agenda.wake()
        if self._connection.state.degraded != farms:
            self._guard.farms_down(self._connection.state.degraded)
        for action in actions:
            try:
                self._act(action)
            except JournalError as error:
                # The others must follow all the same, such as the next attempt to connect.
                self._access.on_failure(error)

    def _act(self, action: link.Action) -> None:
        now = self._clock.now()
        match action:
            case link.FullSync():
                self._tasks.spawn(self._syncing.sync(action.sync))
            case link.Resubscribe():
                self._guard.forget_quotes()
                self._quote_requests.restart()
                self._quote_requests.watch_held(resubscribe=True)
            case link.OrdersOutOfSight():
                self._syncing.restart_session()
                # No pass counts across a lost link.
                self._syncing.restart_searches()
                self._closer.link_lost()
                self._orders.out_of_sight(action.why)
            case link.SyncLater():
                self._status.why = action.why
                self._agenda.plan_sync(now + SYNC_AGAIN)
            case link.ConnectLater():
                self._connector.connect_later(now, same_id_soon=action.same_id_soon)
            case link.SuspendPrices():
                con_id = int(action.subject)
                self._guard.suspend(con_id, action.why)
                if action.first:
                    self._notices.notify(
                        self._notices.author.suspended(self._instruments.label(con_id), con_id, action.why)
                    )
                for unit in self._guard.units_of(con_id):
                    self._evaluate(unit, now)
            case link.ResumePrices():
                con_id = int(action.subject)
                self._notices.notify(self._notices.author.quoted_again(self._instruments.label(con_id), con_id))
            case link.DoubtQuotes():
                self._guard.doubt(action.farm)
                self._quote_requests.restart()
            case link.Alert() if action.about is link.About.FARM:
                self._notices.notify(self._notices.author.farm_down(action.subject, action.text))
            case link.Recovered() if action.about is link.About.FARM:
                self._notices.notify(self._notices.author.farm_up(action.subject, action.text))
            case link.FarmForgotten():
                self._notices.notify(self._notices.author.farm_forgotten(action.farm))
            case link.Alert():
                self._status.why = action.text
                self._status.losses += 1
                self._notices.notify(self._notices.author.lost(action.text))
            case link.Recovered():
                self._notices.notify(
                    self._notices.author.back(action.text)
                    if self._connection.ready
                    else self._notices.author.notice_over(action.text)
                )
            case link.Page():
                self._notices.notify(self._notices.author.page(action.text, action.about))
            case link.HaltAll():
                self._halt_watch.halt(action.reason)
            case link.HaltOver():
                self._halt_watch.end_read_only_halt()
        self._agenda.wake()

    def check_login(self) -> None:
        """While the gateway is away: whether it waits for manual action."""
        file = self._guard.config.gateway.login_file
        if (
            file is None
            or self._connection.ready
            or self._connection.state.link not in (link.Phase.DOWN, link.Phase.LINK_LOST)
        ):
            return
        login = gateway_login.read(file)
        if login is not None and login.needs_person:
            self._status.why = login.text
            self.handle(link.AuthNeeded(login.text))
