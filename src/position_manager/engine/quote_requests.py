"""Requests that keep quotes and the link provably alive: renewed subscriptions, probes of a lost link, pings."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from position_manager import connection_state as link
from position_manager.brokers.broker import Broker, BrokerError
from position_manager.clock import Clock
from position_manager.engine.current_connection import CurrentConnection
from position_manager.engine.guard import Guard
from position_manager.engine.tasks import Tasks
from position_manager.rules.evaluation import Blind, Cause

_log = logging.getLogger(__name__)

QUOTES_AGAIN = timedelta(seconds=30)
"""How often the quotes of a contract are requested again while it has none that are live."""
PROBE_EVERY = timedelta(seconds=30)
"""How often a lost link is probed."""


class QuoteRequests:
    """``period``: the longest time between two rule loops. ``probe_after``: how long a link is lost before it is
    probed. ``on_event`` receives the answer to a probe."""

    def __init__(
        self,
        period: timedelta,
        probe_after: timedelta,
        on_event: Callable[[link.Event], None],
        *,
        broker: Broker,
        clock: Clock,
        connection: CurrentConnection,
        guard: Guard,
        tasks: Tasks,
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._connection = connection
        self._guard = guard
        self._tasks = tasks
        self._period = period
        self._probe_after = probe_after
        self._on_event = on_event
        self._probed: set[int] = set()
        self._probe_at: datetime | None = None
        self._renewed: dict[int, datetime] = {}
        """When the quotes of a contract were last asked for again, or were refused."""

    def watch_held(self, *, resubscribe: bool = False) -> None:
        """Receive the quotes of what is held, and no others. ``resubscribe``: all subscriptions were lost."""
        held = [position.instrument for position in self._guard.positions.values()]
        self._broker.watch(held, resubscribe=resubscribe)

    def restart(self) -> None:
        """All subscriptions are new, or doubtful: any may be renewed at once."""
        self._renewed.clear()

    def on_quote(self, con_id: int) -> None:
        """A quote of a probed contract shows that IB's servers are reached."""
        if self._connection.state.link is link.Phase.LINK_LOST and con_id in self._probed:
            self._probed.clear()
            self._on_event(link.ServersAnswer())

    def on_refused(self, con_id: int) -> None:
        """Request the quotes again after a while, not at once: the answer would be the same."""
        self._renewed[con_id] = self._clock.now()

    def renew(self, now: datetime) -> None:
        """Ask again for the quotes that prove nothing any more, while their market is open."""
        if not self._connection.ready:
            return
        guard, due = self._guard, []
        for con_id in guard.quiet_contracts(now):
            doubtful = con_id in guard.suspended or con_id in guard.unproven
            pause = QUOTES_AGAIN if doubtful else guard.config.quotes.quiet / 2
            before = self._renewed.get(con_id)
            if before is None and con_id not in guard.quotes and not doubtful:
                # Its subscription is a new one.
                self._renewed[con_id] = now
            elif before is None or abs(now - before) >= pause:
                verdicts = (guard.verdicts.get(unit.key) for unit in guard.units_of(con_id))
                if any(not (isinstance(v, Blind) and v.cause is Cause.MARKET_CLOSED) for v in verdicts):
                    self._renewed[con_id] = now
                    due.append(con_id)
        if due:
            self._broker.renew(due)

    def probe(self, now: datetime) -> None:
        """A link that is lost for long, and whose return may not have been reported: request a few quotes again. The
        first answer shows that IB's servers are reached."""
        connection = self._connection.state
        if connection.link is not link.Phase.LINK_LOST or connection.away_since is None:
            self._probed.clear()
            self._probe_at = None
            return
        if now - connection.away_since < self._probe_after:
            return
        if self._probe_at is None or abs(now - self._probe_at) >= PROBE_EVERY:
            self._probe_at = now
            self._probed = {con_id for _, con_id in list(self._guard.positions)[:3]}
            self._broker.renew(sorted(self._probed))

    def ping_if_quiet(self, now: datetime) -> None:
        """A quiet market is distinguished from a dead feed by a question that any living session answers."""
        alive = self._guard.alive_at
        # Sooner than after a whole period: the answer takes its time, and a quote must not grow old meanwhile.
        if self._connection.ready and self._guard.units and (alive is None or abs(now - alive) >= self._period / 2):
            self._tasks.spawn(self._ping())

    async def _ping(self) -> None:
        try:
            await self._broker.ping()
        except BrokerError as error:
            _log.warning("the gateway does not answer: %s", error)
            return
        self._guard.alive_at = self._clock.now()
