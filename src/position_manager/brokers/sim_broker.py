"""The broker of mode sim: a market and an account in this process, behind the same port as a gateway.

Requests arrive after a latency, and so do answers. An accepted order is on disk before it is acknowledged, an execution
before it is reported, so a killed process finds at its next start what a broker would have kept. What was on its way
when the process died never arrived.

The exchange works while a session is open; what is due when one opens again is done first. The same seed, and the same
requests at the same times, give the same executions.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from pydantic import ValidationError

from host_service.statefile import write_json
from ib_connection.causes import REFUSED
from position_manager.account.assignment import Dividend
from position_manager.account.values import AccountValues
from position_manager.brokers import sim_books as books_module
from position_manager.brokers.broker import (
    BrokerError,
    BrokerEvent,
    ConnectError,
    Disconnected,
    QuoteReceived,
    Reread,
    Session,
)
from position_manager.brokers.sim_account import values_of
from position_manager.brokers.sim_books import BOOKS, Books, Change, SimOrder
from position_manager.brokers.sim_market import Anchor, Market
from position_manager.clock import Clock
from position_manager.config.sim import Sim
from position_manager.journal.records import ComboToSend, OrderToSend
from position_manager.model import ZERO, Instrument, Position
from position_manager.orders.evidence import CompletedOrder, Execution, OpenOrder
from position_manager.orders.intents import Side

_log = logging.getLogger(__name__)


class SimStateError(Exception):
    """The file of the simulated broker cannot be used; the message states which, why, and the remedy."""


@dataclass(frozen=True)
class _OrderOnItsWay:
    due: datetime
    order: OrderToSend | ComboToSend
    tif: str


@dataclass(frozen=True)
class _CancelOnItsWay:
    due: datetime
    order_id: int


@dataclass(frozen=True)
class _FirstQuotes:
    """Instruments that are newly watched are quoted at once, whatever the grid."""

    due: datetime
    con_ids: frozenset[int]


_OnItsWay = _OrderOnItsWay | _CancelOnItsWay | _FirstQuotes


class SimBroker:
    """Implements the contract of `position_manager.brokers.broker.Broker`. ``path``: where its books are stored."""

    def __init__(self, sim: Sim, path: Path, *, clock: Clock, client_id: int) -> None:
        """Raises SimStateError if there is a file that is not of this configuration, or is damaged."""
        self.client_id = client_id
        self.name = "the simulated broker"
        self._sim = sim
        self._path = path
        self._clock = clock
        books = _read(path, sim)
        self._market = Market(sim, clock.now() if books is None else books.began)
        self._books = books_module.opened(self._market) if books is None else books
        self._on_event: Callable[[BrokerEvent], None] = lambda _event: None
        self._live: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._on_its_way: deque[_OnItsWay] = deque()
        self._watched: frozenset[int] = frozenset()
        self._tick: int | None = None
        self._day: date | None = None
        self._known: dict[int, Instrument] = {}
        self._known_on: date | None = None
        self._next_id = self._books.next_order_id
        self._away_until = clock.now()

    @property
    def books(self) -> Books:
        """What the broker knows to be true."""
        return self._books

    # ----- the session

    def listen(self, on_event: Callable[[BrokerEvent], None]) -> None:
        self._on_event = on_event

    async def connect(self) -> Session:
        await self.close()
        now = self._clock.now()
        if now < self._away_until:
            left = (self._away_until - now).total_seconds()
            raise ConnectError(REFUSED, f"the simulated broker is away for {left:.0f} s more")
        await self._wait()
        try:
            self._store_books(self._books)
        except OSError as error:
            raise ConnectError(REFUSED, f"{self._path} cannot be written: {error.strerror}") from error
        self._next_id = max(self._next_id, self._books.next_order_id)
        self._wake.clear()
        self._tick = self._day = None
        self._live = asyncio.create_task(self._exchange())
        self._live.add_done_callback(self._ended)
        return Session((self._sim.account,), self._next_id)

    async def close(self) -> None:
        live, self._live, self._watched = self._live, None, frozenset()
        if live is not None:
            live.cancel()
            await asyncio.gather(live, return_exceptions=True)

    def drop(self, why: str, away: timedelta = timedelta()) -> None:
        """End the session as a gateway does that goes away, and refuse new ones for a while."""
        self._away_until = self._clock.now() + away
        if self._live is None:
            return
        live, self._live, self._watched = self._live, None, frozenset()
        live.cancel()
        self._on_event(Disconnected(why))

    def _ended(self, live: asyncio.Task[None]) -> None:
        if live.cancelled() or live is not self._live:
            return
        error = live.exception()
        why = f"the simulated broker failed: {error}"
        _log.error(why, exc_info=error)
        self.drop(why)

    async def _wait(self) -> None:
        await self._clock.wait(asyncio.Event(), self._sim.latency)

    async def _answer(self, what: str) -> None:
        session = self._live
        if session is not None:
            await self._wait()
        if session is None or session is not self._live:
            raise BrokerError(f"{what}: there is no session with {self.name}")

    # ----- questions

    def know(self, instruments: Collection[Instrument]) -> None:
        """It has them all itself."""

    async def positions(self) -> tuple[Position, ...]:
        await self._answer("positions")
        return tuple(books_module.positions(self._books, self._instruments(), self._sim.account))

    async def open_orders(self) -> tuple[OpenOrder, ...]:
        await self._answer("open orders")
        return self._open_orders()

    async def completed_orders(self) -> tuple[CompletedOrder, ...]:
        await self._answer("completed orders")
        return tuple(books_module.completed_order(order) for order in self._books.orders if order.over)

    async def executions(self) -> tuple[Execution, ...]:
        await self._answer("executions")
        return tuple(books_module.execution_of(done, self._sim.account) for done in self._books.executions)

    async def read_again(self, account: str, con_id: int) -> Reread:
        time = self._clock.now()
        await self._answer("position and open orders")
        held = self._books.holdings.get(con_id) if account == self._sim.account else None
        return Reread(time, ZERO if held is None else held.quantity, self._open_orders())

    async def account_values(self) -> tuple[AccountValues, ...]:
        time = self._clock.now()
        await self._answer("account values")
        return (values_of(self._books, self._market, self._instruments(), time),)

    async def dividend(self, con_id: int) -> Dividend | None:
        """Nothing simulated pays one."""
        await self._answer("dividends")
        return None

    async def read_legs_again(self, account: str, con_ids: Collection[int]) -> Mapping[int, Reread]:
        time = self._clock.now()
        await self._answer("positions and open orders")
        orders, holdings = self._open_orders(), self._books.holdings if account == self._sim.account else {}
        return {
            con_id: Reread(time, holdings[con_id].quantity if con_id in holdings else ZERO, orders)
            for con_id in con_ids
        }

    async def ping(self) -> None:
        await self._answer("time")

    def _open_orders(self) -> tuple[OpenOrder, ...]:
        ending = {item.order_id for item in self._on_its_way if isinstance(item, _CancelOnItsWay)}
        return tuple(
            shown
            for order in self._books.live
            for shown in books_module.open_orders(order, self._sim.account, order.order_id in ending)
        )

    # ----- requests

    def watch(self, instruments: Collection[Instrument], *, resubscribe: bool = False) -> None:
        wanted = frozenset(instrument.con_id for instrument in instruments)
        fresh = wanted if resubscribe else wanted - self._watched
        self._watched = wanted
        if fresh:
            self._put(_FirstQuotes(self._due(), fresh))

    def renew(self, con_ids: Collection[int]) -> None:
        fresh = self._watched & frozenset(con_ids)
        if fresh:
            self._put(_FirstQuotes(self._due(), fresh))

    def next_order_id(self) -> int:
        return self._next_id

    def send(self, order: OrderToSend, instrument: Instrument, *, tif: str, outside_rth: bool) -> None:
        """The simulated market never closes: ``outside_rth`` changes nothing."""
        self._must_live()
        self._next_id = max(self._next_id, order.order_id + 1)
        self._put(_OrderOnItsWay(self._due(), order, tif))

    def send_combo(
        self, order: ComboToSend, instruments: Mapping[int, Instrument], *, tif: str, outside_rth: bool
    ) -> None:
        self._must_live()
        self._next_id = max(self._next_id, order.order_id + 1)
        self._put(_OrderOnItsWay(self._due(), order, tif))

    def cancel(self, order_id: int) -> None:
        self._must_live()
        self._put(_CancelOnItsWay(self._due(), order_id))

    async def cancel_of_other(self, order: OpenOrder) -> None:
        raise BrokerError("there are no other clients in mode sim")

    def set_price(self, symbol: str, price: Decimal) -> None:
        """Move an underlying to a price; from there it walks on. Raises ValueError for what has no price here, OSError
        if the price cannot be stored."""
        if symbol not in self._books.anchors:
            raise ValueError(f"{symbol} has no simulated price; these have: {', '.join(self._books.anchors)}")
        if price <= 0:
            raise ValueError(f"a price must be above 0; it is {price}")
        anchor = Anchor(self._market.tick_at(self._clock.now()), price)
        self._store_books(replace(self._books, anchors={**self._books.anchors, symbol: anchor}))
        self._tick = None
        self._wake.set()

    def _must_live(self) -> None:
        if self._live is None:
            raise BrokerError(f"there is no session with {self.name}: nothing was sent")

    def _due(self) -> datetime:
        return self._clock.now() + self._sim.latency

    def _put(self, item: _OnItsWay) -> None:
        self._on_its_way.append(item)
        self._wake.set()

    # ----- the exchange

    async def _exchange(self) -> None:
        while True:
            self._turn(self._clock.now())
            await self._clock.wait(self._wake, self._next_due() - self._clock.now())
            self._wake.clear()

    def _next_due(self) -> datetime:
        tick = self._market.time_of(self._market.tick_at(self._clock.now()) + 1)
        return min([tick, *(item.due for item in list(self._on_its_way)[:1])])

    def _turn(self, now: datetime) -> None:
        """All that is due now, in the order in which it became due."""
        tick, latency = self._market.tick_at(now), self._sim.latency
        if self._day != books_module.day_of(now):
            known = self._instruments()
            self._commit(books_module.day_turned(self._books, self._market, known, self._sim.account, now))
            self._day = books_module.day_of(now)
        # A clock that was set back must not hold up what is on its way.
        while self._on_its_way and (self._on_its_way[0].due <= now or self._on_its_way[0].due - now > latency):
            self._arrive(self._on_its_way[0], tick, now)
        if tick != self._tick:
            self._match(self._books.live, tick, now)
            self._quote(self._watched, tick, now)
            self._tick = tick

    def _arrive(self, item: _OnItsWay, tick: int, now: datetime) -> None:
        """Pending requests take effect. They have arrived once that is stored."""
        match item:
            case _OrderOnItsWay(_, order, tif):
                known = self._instruments() if order.account == self._sim.account else {}
                if isinstance(order, ComboToSend):
                    self._commit(books_module.combo_accepted(self._books, order, known, tif, now))
                else:
                    self._commit(books_module.accepted(self._books, order, known.get(order.con_id), tif, now))
                self._on_its_way.popleft()
                self._match([one for one in self._books.live if one.order_id == order.order_id], tick, now)
            case _CancelOnItsWay(_, order_id):
                self._commit(books_module.cancel_asked(self._books, order_id, now))
                self._on_its_way.popleft()
            case _FirstQuotes(_, con_ids):
                self._on_its_way.popleft()
                self._quote(con_ids & self._watched, tick, now)

    def _instruments(self) -> dict[int, Instrument]:
        """The contracts, with the sessions around today."""
        today = books_module.day_of(self._clock.now())
        if today != self._known_on:
            self._known = books_module.instruments(self._sim, books_module.day_of(self._books.began), today)
            self._known_on = today
        return self._known

    def _match(self, orders: Collection[SimOrder], tick: int, now: datetime) -> None:
        """Limit orders that the market has reached trade at its price, as far as its size goes."""
        taken: dict[tuple[int, Side], Decimal] = {}
        for order in orders:
            if order.legs:
                self._match_combo(order, tick, now)
                continue
            instrument, key = self._instruments()[order.con_id], (order.con_id, order.side)
            quote = self._market.quote(instrument, tick, self._books.anchors, now)
            price, size = (quote.ask, quote.ask_size) if order.side is Side.BUY else (quote.bid, quote.bid_size)
            quantity = min(order.remaining, size - taken.get(key, ZERO))
            if not price or (order.limit - price) * order.side.sign < 0 or quantity <= 0:
                continue
            # An order of its OCA group may just have ended it.
            if any(one.perm_id == order.perm_id for one in self._books.live):
                taken[key] = taken.get(key, ZERO) + quantity
                fill, account, seed = (order.perm_id, quantity, price), self._sim.account, self._sim.seed
                self._commit(books_module.executed(self._books, *fill, account, seed, instrument, now))

    def _match_combo(self, order: SimOrder, tick: int, now: datetime) -> None:
        """A combination trades at the far sides of all its legs, as far as the smallest size goes."""
        known, prices, quantity, net = self._instruments(), dict[int, Decimal](), order.remaining, ZERO
        for con_id, ratio in order.legs:
            quote = self._market.quote(known[con_id], tick, self._books.anchors, now)
            buys = ratio * order.side.sign > 0
            price, size = (quote.ask, quote.ask_size) if buys else (quote.bid, quote.bid_size)
            if price is None:
                return
            prices[con_id], net = price, net + ratio * price
            quantity = min(quantity, size // abs(ratio))
        if quantity > 0 and (order.limit - net) * order.side.sign >= 0:
            fill, account, seed = (order.perm_id, quantity, prices), self._sim.account, self._sim.seed
            self._commit(books_module.combo_executed(self._books, *fill, account, seed, known, now))

    def _quote(self, con_ids: Collection[int], tick: int, now: datetime) -> None:
        known = self._instruments()
        for con_id in sorted(con_ids & known.keys()):
            expiry = known[con_id].expiry
            if expiry is None or expiry >= books_module.day_of(now):
                quote = self._market.quote(known[con_id], tick, self._books.anchors, now)
                self._on_event(QuoteReceived(con_id, quote))

    def _commit(self, change: Change) -> None:
        """Store the new books, put them into effect, report the events: in this order."""
        books, events = change
        if books is not self._books:
            self._store_books(books)
        for event in events:
            self._on_event(event)

    def _store_books(self, books: Books) -> None:
        write_json(self._path, BOOKS.dump_python(books, mode="json"))
        self._books = books


def _read(path: Path, sim: Sim) -> Books | None:
    remedy = f"To start again, stop the position manager and move {path} and its journal away."
    try:
        books = BOOKS.validate_python(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SimStateError(f"{path} cannot be read: {error.strerror}. Check its owner and permissions.") from error
    except (ValueError, ValidationError) as error:
        raise SimStateError(f"{path} does not hold the books of a simulated broker. {remedy}") from error
    if books.origin != books_module.origin(sim):
        raise SimStateError(f"{path} started with another section sim of the configuration. {remedy}")
    return books
