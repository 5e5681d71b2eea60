"""Exit orders of other clients that rest where the manager closes: `orders.foreign_exits: cancel` cancels them first.

Only what would close the same position and no more is cancelled: same account, contract and side, and not larger than
what is held. While a cancel is requested and not proven, nothing is sent for that contract. The proof is a full sync
that started after the cancel, in which the order is no longer open and is among the completed ones. A restarted gateway
may not list it any more: it is over too once full syncs have not found it for as long as they search an own order.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from position_manager.brokers.broker import Broker, BrokerError
from position_manager.clock import Clock
from position_manager.config.schema import Config
from position_manager.engine.agenda import Agenda
from position_manager.engine.broker_view import BrokerView
from position_manager.engine.guard import Key
from position_manager.engine.journal_access import JournalAccess
from position_manager.engine.known_instruments import KnownInstruments
from position_manager.engine.notices import Notices
from position_manager.engine.tasks import Tasks
from position_manager.model import Position
from position_manager.orders.evidence import LIVE_STATUSES, OpenOrder, Patience, Search
from position_manager.orders.intents import REF_PREFIX, closing_side

_log = logging.getLogger(__name__)

ASK_AGAIN = timedelta(seconds=15)
"""A cancel that is not proven after this time is asked for again."""


def exits(orders: Iterable[OpenOrder], held: Position, client_id: int) -> tuple[OpenOrder, ...]:
    """The orders of other clients that would close this position, and no more than it. Those of another position
    manager are never among them. Pure."""
    return tuple(
        order
        for order in orders
        if (order.account, order.con_id) == held.key
        and order.client_id != client_id
        and not order.ref.startswith(REF_PREFIX)
        and order.side is closing_side(held.quantity)
        and 0 < order.remaining <= abs(held.quantity)
        and order.perm_id
        and order.status in LIVE_STATUSES
    )


@dataclass
class _Asked:
    """A cancel that is not proven; ``sent``: whether it was asked for, which it is from ``at`` on. ``absent``: the full
    syncs that found the order nowhere, up to that of ``seen``."""

    order: OpenOrder
    at: datetime
    sent: bool = False
    absent: Search = field(default_factory=Search)
    seen: datetime | None = None


class ForeignExits:
    """What was asked for and is not proven yet, by holding and permId."""

    def __init__(
        self,
        *,
        access: JournalAccess,
        agenda: Agenda,
        broker: Broker,
        clock: Clock,
        config: Callable[[], Config],
        instruments: KnownInstruments,
        notices: Notices,
        tasks: Tasks,
        view: BrokerView,
    ) -> None:
        self._access = access
        self._agenda = agenda
        self._broker = broker
        self._clock = clock
        self._config = config
        self._instruments = instruments
        self._notices = notices
        self._tasks = tasks
        self._view = view
        self._asked: dict[Key, dict[int, _Asked]] = {}
        self._refused: set[int] = set()
        """Orders whose cancel could not be asked for: they are left alone, as with `keep`."""

    @property
    def wanted(self) -> bool:
        config = self._config()
        return config.mode.sends and config.orders.foreign_exits == "cancel"

    def in_the_way(self, held: Position) -> tuple[OpenOrder, ...]:
        """Those that the last full sync showed and that are to be cancelled for a close."""
        if not self.wanted:
            return ()
        found = exits(self._view.latest.open_orders, held, self._broker.client_id)
        return tuple(order for order in found if order.perm_id not in self._refused)

    def link_lost(self) -> None:
        """No absence counts across a lost link."""
        for of_holding in self._asked.values():
            for one in of_holding.values():
                one.absent = Search()

    def clear(self, held: Position, why: str) -> str:
        """Have them cancelled before a close; what it still waits for, in words, empty if nothing is in the way."""
        now = self._clock.now()
        asked = self._asked.setdefault(held.key, {})
        for perm_id, one in list(asked.items()):
            if one.sent and self._is_over(one):
                del asked[perm_id]
                self._record(one.order, "exit order of another client is over", {})
        for order in self.in_the_way(held):
            before = asked.get(order.perm_id)
            if before is None or (before.sent and abs(now - before.at) >= ASK_AGAIN):
                asked[order.perm_id] = _Asked(order, now)
                if before is None:
                    self._record(order, "cancel of an exit order of another client", {"why": why})
                    label = self._instruments.label(order.con_id)
                    self._notices.notify(
                        self._notices.author.foreign_cancelled(label, order.account, _words(order), why)
                    )
                self._tasks.spawn(self._cancel(held.key, asked[order.perm_id]))
        if not asked:
            del self._asked[held.key]
            return ""
        if self._agenda.sync_at is None:
            self._agenda.plan_sync(now + timedelta(seconds=1))
        return "waits for the proven cancel of " + ", ".join(_words(one.order) for one in asked.values())

    def _is_over(self, one: _Asked) -> bool:
        seen = self._view.latest
        if seen.time < one.at:
            return False
        if any(order.perm_id == one.order.perm_id for order in seen.open_orders):
            one.absent = Search()
            return False
        if one.seen != seen.time:
            one.seen, one.absent = seen.time, one.absent.again(seen)
        completed = any(order.perm_id == one.order.perm_id for order in seen.completed)
        return completed or one.absent.exhausted(seen.time, Patience())

    async def _cancel(self, key: Key, one: _Asked) -> None:
        order = one.order
        try:
            await self._broker.cancel_of_other(order)
        except BrokerError as error:
            _log.warning("the order of client %s was not cancelled: %s", order.client_id, error)
            if self._asked.get(key, {}).get(order.perm_id) is one:
                del self._asked[key][order.perm_id]
            self._refused.add(order.perm_id)
            self._record(order, "exit order of another client not cancelled", {"why": str(error)})
            self._notices.notify(
                self._notices.author.foreign_stays(
                    self._instruments.label(order.con_id), order.account, _words(order), str(error)
                )
            )
        else:
            one.at, one.sent = self._clock.now(), True
        self._agenda.sync_soon()
        self._agenda.advance_by(self._clock.now())

    def _record(self, order: OpenOrder, kind: str, more: dict[str, str]) -> None:
        self._access.journal.append(kind, order.account, order.con_id, {"order": _words(order), **more})


def _words(order: OpenOrder) -> str:
    whose = f"client {order.client_id}" if order.client_id else "a person"
    return f"{order.side} {order.remaining} of {whose} (permId {order.perm_id})"
