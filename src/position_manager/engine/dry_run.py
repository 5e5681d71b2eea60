"""What the gates would answer to an order now, as far as this is known without asking the broker. It sends nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from position_manager.brokers.broker import Broker
from position_manager.clock import Clock
from position_manager.config.schema import Config
from position_manager.engine.broker_view import BrokerView
from position_manager.engine.foreign_exits import ForeignExits
from position_manager.engine.guard import Guard, Key
from position_manager.engine.journal_access import JournalAccess
from position_manager.engine.sending_halts import SendingHalts
from position_manager.model import Market, Position, Quote
from position_manager.orders.caps import windows
from position_manager.orders.evidence import OpenOrder, Snapshot, resting
from position_manager.orders.gates import Limits
from position_manager.orders.intents import REF_PREFIX, closing_side
from position_manager.rules.groups import Unit
from position_manager.sessions.hours import Calendar, open_hours, session_at

CLOSED = "the market is closed"


class DryRun:
    """The gates without an order. It runs at each evaluation, so it stores what takes time to read."""

    def __init__(
        self,
        foreign: ForeignExits,
        *,
        access: JournalAccess,
        broker: Broker,
        calendar: Calendar,
        clock: Clock,
        guard: Guard,
        halts: SendingHalts,
        view: BrokerView,
    ) -> None:
        self._access = access
        self._broker = broker
        self._calendar = calendar
        self._clock = clock
        self._guard = guard
        self._halts = halts
        self._view = view
        self._foreign = foreign
        self._limits_of: tuple[Config, Limits] | None = None
        self._full: tuple[datetime, bool] | None = None
        self._rests_in: Snapshot | None = None
        self._others: dict[Key, list[OpenOrder]] = {}

    def refusal(self, leg: Position, *, approved: bool) -> str:
        """Why the gates would refuse another order now, as far as this is known without asking the broker."""
        now = self._clock.now()
        if self._halts.read():
            return "halted"
        outside_rth = self._guard.config.orders.outside_rth or approved
        if session_at(open_hours(self._calendar, leg.instrument, now, outside_rth=outside_rth), now) is None:
            return CLOSED
        caps = self._guard.config.limits().caps
        minute, day = windows(now)
        journal = self._access.journal
        sent = [journal.sent_since(since, closes_only=True) for since in (minute, day)]
        if sent[0] >= caps.orders_per_minute or sent[1] >= caps.orders_per_day:
            return "no more orders may be sent now"
        return ""

    def blocked(self, unit: Unit, market: Market) -> str | None:
        """Why a close of a unit would not pass the gates now, although its rules can be evaluated: a dry run of those
        gates that the unit's state does not show already. It runs for each unit at each evaluation, so it does not read
        from disk."""
        if not self._guard.config.mode.sends:
            return None
        if self._day_is_full():
            return "orders per day: no more orders may be sent today"
        caps, bound = self.limits().caps, self.limits().spread
        for leg in unit.legs:
            instrument, held = leg.instrument, leg.position.quantity
            quote, label = market.quotes.get(instrument.con_id), leg.instrument.label
            if (own := self.resting_of_others().get(leg.position.key)) is not None:
                cancelled = self._foreign.in_the_way(leg.position)
                stay = (order for order in own if order not in cancelled)
                covered = resting(stay, *leg.position.key, closing_side(held))
                if covered:
                    return f"quantity: orders of yours or of other programs rest for {covered} of {abs(held)} {label}"
            if quote is None or quote.bid is None or quote.ask is None:
                continue
            if len(unit.legs) == 1 and (excess := bound.excess(instrument, quote)):
                return f"spread: {excess}"
            # The price that closing would take at worst, with room for the ladder.
            price = quote.bid if held > 0 else quote.ask
            if not caps.slice_of(min(abs(held), Decimal(1)), price, instrument.multiplier):
                worth = price * instrument.multiplier
                return f"order notional: one {label} is worth {worth:.2f}, at most {caps.notional} may be sent"
        return None

    def limits(self) -> Limits:
        """Created once for each configuration."""
        config = self._guard.config
        if self._limits_of is None or self._limits_of[0] is not config:
            self._limits_of = config, config.limits()
        return self._limits_of[1]

    def _day_is_full(self) -> bool:
        """Whether the cap of a day is reached. Read at most once a second."""
        now = self._clock.now()
        if self._access.opened is None or self._access.fault is not None:
            return False
        if self._full is None or abs(now - self._full[0]) >= timedelta(seconds=1):
            sent = self._access.journal.sent_since(windows(now)[1], closes_only=True)
            self._full = now, sent >= self.limits().caps.orders_per_day
        return self._full[1]

    def resting_of_others(self) -> Mapping[Key, list[OpenOrder]]:
        """The orders that the last full sync showed and that are not ours, by holding."""
        if self._rests_in is not self._view.latest:
            self._rests_in = self._view.latest
            self._others = defaultdict(list)
            for order in self._view.latest.open_orders:
                if not order.ref.startswith(REF_PREFIX) or order.client_id != self._broker.client_id:
                    self._others[order.account, order.con_id].append(order)
        return self._others

    def usable(self, con_id: int) -> Quote | None:
        """The quote of a contract that an order may be priced from."""
        quote = self._guard.quote(con_id)
        usable = quote is not None and quote.problem(self._clock.now(), self._guard.config.quotes.max_age) is None
        return quote if usable else None
