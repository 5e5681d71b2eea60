"""Warnings about early assignment at work: asks for dividends, judges, notifies once a day. Nothing is ever closed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from position_manager.account.assignment import (
    AssignmentWarnings,
    Dividend,
    RiskSeen,
    dividend_text,
    is_exposed,
    judge,
    next_dividend,
)
from position_manager.brokers.broker import Broker, BrokerError
from position_manager.clock import Clock
from position_manager.engine.current_connection import CurrentConnection
from position_manager.engine.guard import Guard
from position_manager.engine.journal_access import JournalAccess
from position_manager.engine.notices import Notices
from position_manager.engine.tasks import Tasks
from position_manager.journal.journal import Journal
from position_manager.model import Kind, Position, Right
from position_manager.reports.account_messages import AccountAuthor
from position_manager.sessions.hours import Calendar, open_hours, session_at

_log = logging.getLogger(__name__)

HOLDS_FOR = timedelta(seconds=30)
"""A risk that is gone sooner is not notified of."""
EVERY = timedelta(hours=6)
"""How often the next dividend of an underlying is asked for."""
AGAIN = timedelta(minutes=10)
"""After a question that was not answered."""
_STORED = "warned of "


@dataclass(frozen=True)
class Exposure:
    """A short option that may be assigned early: the risks that it has now, and what is known of dividends."""

    position: Position
    warnings: tuple[RiskSeen, ...]
    dividend: str


class AssignmentWatch:
    """All short options of the guarded accounts."""

    def __init__(
        self,
        *,
        access: JournalAccess,
        broker: Broker,
        calendar: Calendar,
        clock: Clock,
        connection: CurrentConnection,
        guard: Guard,
        notices: Notices,
        tasks: Tasks,
    ) -> None:
        self._access = access
        self._broker = broker
        self._calendar = calendar
        self._clock = clock
        self._connection = connection
        self._guard = guard
        self._notices = notices
        self._tasks = tasks
        self._reported: dict[str, Dividend | None] = {}
        self._ask_at: dict[str, datetime] = {}
        self._asking = False
        self._warned: dict[tuple[str, int, str], str] = {}
        self._since: dict[tuple[str, int, str], datetime] = {}

    def restore(self, journal: Journal) -> None:
        """What a former run has notified of."""
        self._warned = {key: data for key, data in journal.memory().items() if key[2].startswith(_STORED)}

    @property
    def _settings(self) -> AssignmentWarnings | None:
        return self._guard.config.assignment_warnings

    def exposures(self) -> tuple[Exposure, ...]:
        """The state of each short option, for `status`."""
        settings = self._settings
        if settings is None:
            return ()
        now = self._clock.now()
        return tuple(
            Exposure(
                position,
                self._judge(position, settings, now),
                dividend_text(position.instrument, self._dividend(position, settings, now), settings),
            )
            for position in self._exposed(settings)
        )

    def warn(self, now: datetime) -> None:
        """Ask for what is not known, and notify of what has been a risk for a while."""
        settings = self._settings
        if settings is None or not self._connection.ready or self._access.fault is not None:
            self._since.clear()
            return
        since = self._since
        self._since = {}
        for position in self._exposed(settings):
            self._ask_for(position, settings, now)
            for warning in self._judge(position, settings, now):
                key = (*position.key, warning.risk.value)
                self._since[key] = min(now, since.get(key, now))
                if now - self._since[key] >= HOLDS_FOR:
                    self._notify(position, warning, now)

    def _exposed(self, settings: AssignmentWarnings) -> Iterator[Position]:
        for position in self._guard.positions.values():
            if is_exposed(position.instrument, position.quantity, settings):
                yield position

    def _judge(self, position: Position, settings: AssignmentWarnings, now: datetime) -> tuple[RiskSeen, ...]:
        instrument = position.instrument
        quote = self._guard.quote(instrument.con_id)
        if quote is not None and quote.problem(now, self._guard.config.quotes.max_age) is not None:
            quote = None
        if quote is not None and not self._guard.config.orders.spread().allows(instrument, quote):
            # The middle of a wide market is no price.
            quote = None
        dividend = self._dividend(position, settings, now)
        return judge(instrument, quote, dividend, self._today(now), settings)

    def _dividend(self, position: Position, settings: AssignmentWarnings, now: datetime) -> Dividend | None:
        instrument = position.instrument
        return next_dividend(instrument, self._today(now), settings, self._reported.get(instrument.symbol))

    def _today(self, now: datetime) -> date:
        return now.astimezone(self._guard.config.hours.zone).date()

    def _notify(self, position: Position, warning: RiskSeen, now: datetime) -> None:
        """Once a day for each risk of a position, and only while it can be acted on."""
        hours = open_hours(self._calendar, position.instrument, now, outside_rth=self._guard.config.orders.outside_rth)
        if session_at(hours, now) is None:
            return
        rule = (*position.key, _STORED + warning.risk.value)
        mark = f"{self._today(now)} {self._guard.episodes.get(position.key, '')}"
        if self._warned.get(rule) == mark:
            return
        with self._access.journal.transaction():
            self._access.journal.append(warning.risk.value, *position.key, {"text": warning.text})
            self._access.journal.remember(*rule, mark)
        self._warned[rule] = mark
        author = AccountAuthor(self._guard.config.mode.value, now)
        self._notices.notify(author.may_be_assigned(position, warning, mark))

    # ----- dividends

    def _ask_for(self, position: Position, settings: AssignmentWarnings, now: datetime) -> None:
        instrument = position.instrument
        symbol = instrument.symbol
        wanted = instrument.kind is Kind.OPTION and instrument.right is Right.CALL and symbol not in settings.dividends
        if not settings.ask_broker or not wanted or self._asking:
            return
        due = self._ask_at.get(symbol)
        if due is not None and now < due <= now + EVERY:
            return
        self._ask_at[symbol] = now + AGAIN
        self._asking = True
        self._tasks.spawn(self._ask(symbol, instrument.con_id))

    async def _ask(self, symbol: str, con_id: int) -> None:
        try:
            self._reported[symbol] = await self._broker.dividend(con_id)
            self._ask_at[symbol] = self._clock.now() + EVERY
        except BrokerError as error:
            _log.warning("the next dividend of %s is not known: %s", symbol, error)
        finally:
            self._asking = False
