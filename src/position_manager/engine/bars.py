"""What prevents decisions from being carried out: reported once, and shown in the status."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from position_manager.clock import Clock
from position_manager.config.schema import Config
from position_manager.engine.agenda import Agenda
from position_manager.engine.journal_access import JournalAccess
from position_manager.engine.notices import Notices
from position_manager.engine.sending import NotSentError
from position_manager.model import Position
from position_manager.orders.closing import Closing
from position_manager.orders.ladder import Bound, CapReached

TRY_AGAIN = timedelta(seconds=5)
"""After a refusal by the gates, or a bound that was reached."""


@dataclass(frozen=True)
class Bar:
    """What prevents a contract from being closed: a bound of the ladder, or gates. ``reported``: whether
    people were notified."""

    what: str
    since: datetime
    reported: bool


class Bars:
    """By unit and label of the contract. ``write_pending`` writes the decisions that are not on disk yet."""

    def __init__(
        self,
        write_pending: Callable[[], None],
        *,
        access: JournalAccess,
        agenda: Agenda,
        clock: Clock,
        config: Callable[[], Config],
        notices: Notices,
    ) -> None:
        self._access = access
        self._agenda = agenda
        self._clock = clock
        self._config = config
        self._notices = notices
        self._write_pending = write_pending
        self.present: dict[tuple[str, str], Bar] = {}

    def text(self, closing: Closing) -> str | None:
        """What prevents a decision from being carried out."""
        return next((bar.what for (unit, _), bar in self.present.items() if unit == closing.unit), None)

    def of(self, closing: Closing, label: str) -> Bar | None:
        """What prevents a contract of a decision from being closed."""
        return self.present.get((closing.unit, label))

    def is_bound(self, closing: Closing, label: str) -> bool:
        """Whether a bound of the ladder prevents it."""
        bar = self.of(closing, label)
        return bar is not None and bar.what in set(Bound)

    def end(self, closing: Closing, label: str) -> None:
        """Nothing prevents it any more."""
        self.present.pop((closing.unit, label), None)

    def end_bound(self, closing: Closing, label: str) -> None:
        """No bound of the ladder prevents it any more."""
        if self.is_bound(closing, label):
            self.end(closing, label)

    def drop(self, closing: Closing) -> None:
        """The decision is no longer in effect."""
        for key in [key for key in self.present if key[0] == closing.unit]:
            del self.present[key]

    def on_waiting(self, closing: Closing, label: str, waits: str) -> None:
        """A close waits for the proven cancels of others' exits; with an empty text no more."""
        bar = self.of(closing, label)
        if waits and (bar is None or bar.what != waits):
            self.present[closing.unit, label] = Bar(waits, self._clock.now(), reported=True)
        elif not waits and bar is not None and bar.what.startswith("waits for the proven cancel"):
            self.end(closing, label)

    def on_refused(self, closing: Closing, leg: Position, error: NotSentError) -> None:
        """Gates refused an order."""
        label = leg.instrument.label
        gates = ", ".join(check.gate for check in error.clearance.refusals)
        bar = self.of(closing, label)
        if bar is None or bar.what != gates:
            self.present[closing.unit, label] = Bar(gates, self._clock.now(), reported=True)
            self._access.journal.append("refused", *leg.key, error.clearance.evidence())
            self._notices.notify(self._notices.author.refused(closing, label, gates, str(error)))

    def on_combo(self, closing: Closing, what: CapReached | NotSentError | None) -> None:
        """What prevents a combination from being sent; each cause is reported once."""
        key = (closing.unit, closing.name)
        now, bar = self._clock.now(), self.present.get(key)
        if what is None:
            self.present.pop(key, None)
            return
        gates = [check.gate for check in what.clearance.refusals] if isinstance(what, NotSentError) else []
        word = what.bound if isinstance(what, CapReached) else ", ".join(dict.fromkeys(gates))
        if bar is not None and bar.what == word:
            return
        self.present[key] = Bar(word, now, reported=True)
        for con_id in closing.legs:
            if isinstance(what, NotSentError):
                self._access.journal.append("refused", closing.account, con_id, what.clearance.evidence())
            else:
                self._access.journal.append("bound reached", closing.account, con_id, {"bound": str(what)})
        if isinstance(what, NotSentError):
            self._notices.notify(self._notices.author.refused(closing, closing.name, word, str(what)))

    def on_bound(self, closing: Closing, leg: Position, cap: CapReached) -> None:
        """Report a bound once. A price that is missing may come with the next tick, as after a start: it is reported
        when it has been missing for as long as a quote may be old."""
        key = (closing.unit, leg.instrument.label)
        now, bar = self._clock.now(), self.present.get(key)
        self._agenda.advance_by(now + TRY_AGAIN)
        if bar is None or bar.what != cap.bound:
            bar = Bar(cap.bound, now, reported=False)
        if not bar.reported and (cap.bound is not Bound.NO_PRICE or now - bar.since >= self._config().quotes.max_age):
            bar = replace(bar, reported=True)
            self._write_pending()
            self._access.journal.append("bound reached", *leg.key, {"bound": str(cap)})
            self._notices.notify(self._notices.author.capped(closing, key[1], cap))
        self.present[key] = bar
