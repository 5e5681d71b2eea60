"""The input of the gates for an order in one contract, as it is at this moment."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from position_manager.brokers.broker import Reread
from position_manager.clock import Clock
from position_manager.engine.current_connection import CurrentConnection
from position_manager.engine.guard import Guard
from position_manager.engine.journal_access import JournalAccess
from position_manager.halt import Halt
from position_manager.model import ZERO, Position
from position_manager.orders.caps import Sent, windows
from position_manager.orders.evidence import OpenOrder, resting
from position_manager.orders.gates import Facts
from position_manager.orders.intents import closing_side
from position_manager.sessions.hours import Calendar, open_hours


class GateFacts:
    """Collects what the journal, the connection, the configuration and the market show."""

    def __init__(
        self,
        *,
        access: JournalAccess,
        calendar: Calendar,
        clock: Clock,
        connection: CurrentConnection,
        guard: Guard,
    ) -> None:
        self._access = access
        self._calendar = calendar
        self._clock = clock
        self._connection = connection
        self._guard = guard

    def of(
        self,
        leg: Position,
        decided: Decimal,
        reread: Reread,
        *,
        leaves: Decimal,
        limit: Decimal,
        halts: tuple[Halt, ...],
        open_orders: Iterable[OpenOrder],
        approved: bool = False,
        waits: bool = False,
    ) -> Facts:
        """``leaves``: how much of the position is not closed."""
        journal, config, link, now = (
            self._access.journal,
            self._guard.config,
            self._connection.state,
            self._clock.now(),
        )
        account, con_id = leg.key
        lock, blocking, holding = journal.lock(*leg.key), journal.open_intent(*leg.key), journal.holding(*leg.key)
        # At a price that a person has approved it trades whenever the market is open.
        outside_rth = config.orders.outside_rth or approved
        return Facts(
            now=now,
            ready=link.may_send,
            link=link.phase,
            halts=halts,
            mode=config.mode.value,
            sending_mode=config.mode.sends,
            lock=None if lock is None else lock.reason,
            open_intent=None if blocking is None else blocking.state,
            instrument=leg.instrument,
            decided=decided,
            wanted=max(ZERO, min(abs(decided), abs(reread.quantity)) - leaves) if leaves else abs(decided),
            position=reread.quantity,
            read_at=reread.time,
            expected=None if holding is None else holding.quantity,
            resting=resting(open_orders, account, con_id, closing_side(decided)),
            limit=limit,
            sent=Sent(*(journal.sent_since(since, closes_only=not waits) for since in windows(now))),
            quote=self._guard.quote(con_id),
            hours=open_hours(self._calendar, leg.instrument, now, outside_rth=outside_rth),
            approved=approved,
            waits=waits,
        )
