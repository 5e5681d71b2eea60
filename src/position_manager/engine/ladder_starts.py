"""Where the ladder of a contract starts, and when it starts again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from position_manager.config.schema import Config
from position_manager.engine.bars import Bars
from position_manager.engine.dry_run import DryRun
from position_manager.engine.journal_access import JournalAccess
from position_manager.engine.notices import Notices
from position_manager.model import Position
from position_manager.orders.closing import Closing
from position_manager.orders.ladder import Bound
from position_manager.sessions.hours import Calendar, open_hours, session_at


class LadderStarts:
    """The reference prices of ladders."""

    def __init__(
        self,
        dry_run: DryRun,
        bars: Bars,
        *,
        access: JournalAccess,
        calendar: Calendar,
        config: Callable[[], Config],
        notices: Notices,
    ) -> None:
        self._access = access
        self._calendar = calendar
        self._config = config
        self._notices = notices
        self._dry_run = dry_run
        self._bars = bars

    def start(self, closing: Closing, leg: Position, now: datetime) -> Closing:
        """With the ladder of a contract started, if there is a price to start at; and restarted if the one it has
        belongs to a market that has passed: an earlier session, or a price that was out of bounds for so long that the
        current one is an honest one. A quote starts no ladder if its spread is too wide for an order."""
        con_id, orders = leg.instrument.con_id, self._config().orders
        quote = self._dry_run.usable(con_id)
        if quote is None or not self._dry_run.limits().spread.allows(leg.instrument, quote):
            return closing
        ladder = closing.ladders.get(con_id)
        if ladder is None:
            return closing.with_ladder(con_id, now, quote)
        bar = self._bars.of(closing, leg.instrument.label)
        used_up = bar is not None and bar.what == Bound.SLIPPAGE
        if used_up and bar is not None and now - bar.since >= timedelta(seconds=float(orders.reanchor_seconds)):
            why = f"its slippage was used up for {(now - bar.since).total_seconds():.0f} s"
        elif self._opened_since(leg, ladder.begun, now):
            why = "a new session has started"
        else:
            return closing
        started = closing.with_ladder(con_id, now, quote)
        self._access.journal.append(
            "ladder anew", *leg.key, {"why": why, "before": ladder.reference, "reference": quote.mid}
        )
        self._notices.notify(self._notices.author.anchored(closing, leg.instrument.label, ladder.reference, quote, why))
        self._bars.end_bound(closing, leg.instrument.label)
        return started

    def _opened_since(self, leg: Position, since: datetime, now: datetime) -> bool:
        """Whether the market was closed in between."""
        outside_rth = self._config().orders.outside_rth
        sessions = open_hours(self._calendar, leg.instrument, now, outside_rth=outside_rth)
        session = session_at(sessions, now)
        if session is None or session.begin <= since:
            return False
        return all(hours.end != session.begin for hours in sessions)
