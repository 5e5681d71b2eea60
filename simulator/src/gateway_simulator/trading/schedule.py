"""What is due next: the orders that meet the market, and the moments at which something happens."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from gateway_simulator.trading.account_book import AccountBook
from gateway_simulator.trading.book import Agenda, Book
from gateway_simulator.trading.catalog import Catalog
from gateway_simulator.trading.market import STEP
from gateway_simulator.trading.order_book import OrderBook
from gateway_simulator.trading.trading_time import EPOCH, TradingTime
from gateway_simulator.trading.tradinghours import TradingHours
from gateway_simulator.trading.working import WorkingOrder

COARSE_STEP = timedelta(minutes=1)


class Schedule:
    """Follows from the orders, the holdings and the trading hours. ``fine_span`` is how much of a pause is caught up
    step by step."""

    def __init__(
        self,
        catalog: Catalog,
        hours: TradingHours,
        fine_span: timedelta,
        time: TradingTime,
        orders: OrderBook,
        accounts: AccountBook,
    ) -> None:
        self._catalog = catalog
        self._hours = hours
        self._fine_span = fine_span
        self._time = time
        self._orders = orders
        self._accounts = accounts
        self._known: Agenda | None = None
        self._held: set[int] = set()
        self._moments: frozenset[datetime] = frozenset()

    def forget(self) -> None:
        """The orders have changed."""
        self._known = None

    def next_moment(self, start: datetime) -> datetime:
        """The next moment at which something is to be done: something due, or a market step for orders at work."""
        now, agenda = self._time.moment, self.agenda
        if not agenda.books and not agenda.conditional:
            return agenda.due
        step = STEP if now - start < self._fine_span else COARSE_STEP
        return min(agenda.due, EPOCH + ((now - EPOCH) // step + 1) * step)

    @property
    def agenda(self) -> Agenda:
        """What is to be done next, as it follows from the orders; recomputed after each event."""
        if self._known is None:
            books: dict[int, Book] = {}
            conditional = []
            for each in self._orders.working.values():
                if each.order.conditions and not each.conditions_met and each.transmitted and each.arrived:
                    conditional.append(each)
                if each.arrived and not each.waits_for_close and self._orders.is_at_work(each):
                    book = books.get(each.con_id)
                    if book is None:
                        book = books[each.con_id] = Book(each.con_id)
                    book.add(each)
            for book in books.values():
                book.buys.sort(key=lambda working: working.priority)
                book.sells.sort(key=lambda working: working.priority)
            self._known = Agenda(min(self.dues()), dict(sorted(books.items())), tuple(conditional))
        return self._known

    def dues(self) -> Iterable[datetime]:
        """When something is due besides market steps, the day's end always among it."""
        now = self._time.moment
        yield self._time.midnight()
        by_contract: dict[int, WorkingOrder] = {}
        for working in self._orders.working.values():
            if not working.transmitted:
                continue
            by_contract[working.con_id] = working
            if not working.arrived:
                yield working.arrives
            if working.begins is not None and working.begins > now:
                yield working.begins
            if working.ends is not None:
                yield working.ends
            if working.cancelled_at is not None:
                yield working.cancelled_at
        for working in by_contract.values():
            yield self._orders.session_of(working).until
        yield from self._expiries()

    def _expiries(self) -> frozenset[datetime]:
        """When contracts end that are held. Thousands have few moments in common, and each message asks for them."""
        held = self._accounts.held()
        if held != self._held:
            instruments = (self._catalog.get(con_id) for con_id in held)
            moments = (self._hours.expiry_moment(each) for each in instruments if each is not None)
            self._held, self._moments = held, frozenset(moment for moment in moments if moment is not None)
        return self._moments
