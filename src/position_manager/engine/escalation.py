"""Decisions whose position is still held: wider bounds for their orders, and repeated alerts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from position_manager.clock import Clock
from position_manager.engine.bars import Bars
from position_manager.engine.contract_locks import ContractLocks
from position_manager.engine.current_connection import CurrentConnection
from position_manager.engine.decisions import Decisions
from position_manager.engine.dry_run import CLOSED, DryRun
from position_manager.engine.guard import Guard
from position_manager.engine.journal_access import JournalAccess
from position_manager.engine.notices import Notices
from position_manager.journal.journal import Journal
from position_manager.model import Position
from position_manager.orders.closing import Closing
from position_manager.orders.intents import State
from position_manager.orders.ladder import LadderPolicy

_NOTIFIED = "told of closing "
"""Alerts and the escalation of a decision: a restart repeats neither. Journals have it under this name."""


class Escalation:
    """How often people were notified of a decision, and whether it was escalated."""

    def __init__(
        self,
        decisions: Decisions,
        dry_run: DryRun,
        bars: Bars,
        *,
        access: JournalAccess,
        clock: Clock,
        connection: CurrentConnection,
        guard: Guard,
        locks: ContractLocks,
        notices: Notices,
    ) -> None:
        self._access = access
        self._clock = clock
        self._connection = connection
        self._guard = guard
        self._locks = locks
        self._notices = notices
        self._decisions = decisions
        self._dry_run = dry_run
        self._bars = bars
        self._alerts: dict[str, int] = {}
        """How often people were notified that a position is still held after its decision."""
        self._escalated: set[str] = set()

    def restore(self, journal: Journal) -> None:
        """What former runs have notified people of. Raises JournalError."""
        for _, _, unit, (alerts, escalated) in journal.remembered(_NOTIFIED, _notified):
            self._alerts[unit] = alerts
            if escalated:
                self._escalated.add(unit)

    def erase(self, closing: Closing) -> None:
        """From disk only. Raises JournalError."""
        self._access.journal.drop(closing.account, 0, _NOTIFIED + closing.unit)

    def drop(self, closing: Closing) -> None:
        """The decision is no longer in effect: report it, if people were notified."""
        self._escalated.discard(closing.unit)
        if self._alerts.pop(closing.unit, 0):
            self._notices.notify(self._notices.author.held_no_longer(closing))

    def policy(self, closing: Closing, now: datetime) -> LadderPolicy:
        """The ladder, with the bounds of the escalation once it is time for it."""
        orders = self._guard.config.orders
        policy, more = orders.ladder(), orders.escalation
        if more is None or now - closing.decided < timedelta(seconds=float(more.after_seconds)):
            return policy
        if closing.unit not in self._escalated:
            self._escalated.add(closing.unit)
            data = {"unit": closing.unit, "max_slippage_percent": more.max_slippage_percent}
            with self._access.journal.transaction():
                self._access.journal.append("escalated", closing.account, next(iter(closing.legs)), data)
                self._store_notified(closing)
            self._notices.notify(self._notices.author.escalated(closing, more.max_slippage_percent))
        return replace(policy, max_slippage=more.max_slippage_percent / 100)

    def report_still_held(self, now: datetime) -> None:
        """Report, repeatedly, the positions that are still held long after the decision to close them, and what each
        waits for. While the market is closed or the connection is away nothing is reported."""
        every = timedelta(seconds=float(self._guard.config.orders.still_held_seconds))
        if not self._connection.ready:
            return
        for closing in self._decisions.closings.values():
            shown = (self._guard.positions.get((closing.account, con_id)) for con_id in closing.legs)
            held = [position for position in shown if position is not None and closing.surplus(position)]
            count = self._alerts.get(closing.unit, 0)
            if not held or now - closing.decided < every * (count + 1):
                continue
            if all(self._dry_run.refusal(leg, approved=bool(closing.prices)) == CLOSED for leg in held):
                continue
            # After a period without reports, one is enough.
            self._alerts[closing.unit] = int((now - closing.decided) / every)
            self._store_notified(closing)
            self._notices.notify(
                self._notices.author.still_held(
                    closing, now - closing.decided, [self._phase(closing, leg) for leg in held]
                )
            )

    def _store_notified(self, closing: Closing) -> None:
        notified = {"alerts": self._alerts.get(closing.unit, 0), "escalated": closing.unit in self._escalated}
        self._access.journal.remember(closing.account, 0, _NOTIFIED + closing.unit, notified)

    def _phase(self, closing: Closing, leg: Position) -> str:
        """What the close of a contract waits for."""
        label, now = leg.instrument.label, self._clock.now()
        if leg.key in self._locks.present:
            return f"{label}: locked: {self._locks.present[leg.key].reason}"
        intent = self._access.journal.open_intent(*leg.key)
        if intent is None:
            bar = self._bars.of(closing, label)
            return f"{label}: {leg.quantity} held, no order is at the broker{f', {bar.what}' if bar else ''}"
        age = 0 if intent.sent is None else (now - intent.sent).total_seconds()
        reason = f": {intent.reason}" if intent.reason else ""
        order_id = self._access.journal.intent(intent.lead).order_id if intent.lead else intent.order_id
        what = f"order {order_id} over {intent.remaining} at {intent.limit} is {intent.state} for {age:.0f} s{reason}"
        stuck = intent.state in (State.CANCELLING, State.UNKNOWN)
        return f"{label}: {what}{'. Cancel it in TWS or the Client Portal' if stuck else ''}"


def _notified(data: Mapping[str, int]) -> tuple[int, bool]:
    """How often people were notified of a decision, and whether it was escalated."""
    return int(data["alerts"]), bool(data["escalated"])
