"""The books of the simulated broker: what is held, which orders there are, what was executed. Pure.

Each change returns new books and the broker's events about it; the caller stores the new books before it sends any
event. An order is in the books once it is accepted, and stays there until its day is over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import pairwise

from pydantic import TypeAdapter

from position_manager.brokers.broker import (
    BrokerEvent,
    CodeReceived,
    CommissionReceived,
    ExecutionReceived,
    OrderReceived,
    PositionReceived,
)
from position_manager.brokers.sim_market import EXCHANGE_ZONE, Anchor, Market, expiry_of
from position_manager.config.sim import Sim, SimPosition
from position_manager.journal.records import ComboToSend, OrderToSend
from position_manager.model import ZERO, Hours, Instrument, Kind, Position, Right
from position_manager.orders.evidence import CompletedOrder, Execution, OpenOrder
from position_manager.orders.intents import Fill, Side

FIRST_CON_ID = 1001
FIRST_PERM_ID = 1_000_001
SUBMITTED, PENDING_CANCEL, FILLED, CANCELLED = "Submitted", "PendingCancel", "Filled", "Cancelled"
COMMISSIONS = {Kind.STOCK: Decimal("0.005"), Kind.OPTION: Decimal("0.65")}
"""Of one share or contract; 2.25 for futures and options on them."""
SESSION_DAYS = 8
"""How many sessions are reported, yesterday's first: the simulated market never closes."""


@dataclass(frozen=True)
class Holding:
    """A signed quantity, and what one unit of it cost or brought."""

    quantity: Decimal
    average_price: Decimal


@dataclass(frozen=True)
class SimOrder:
    """An accepted order. ``over`` is the status it ended with, at ``ended``; empty while it is live."""

    order_id: int
    client_id: int
    perm_id: int
    ref: str
    con_id: int
    side: Side
    quantity: Decimal
    limit: Decimal
    tif: str
    oca_group: str
    placed: datetime
    filled: Decimal = ZERO
    over: str = ""
    ended: datetime | None = None
    legs: tuple[tuple[int, Decimal], ...] = ()
    """Of a combination: contract ids and the signed number of contracts in one; its own ``con_id`` is 0."""

    @property
    def remaining(self) -> Decimal:
        return self.quantity - self.filled


@dataclass(frozen=True)
class SimExecution:
    """An execution of an accepted order."""

    exec_id: str
    perm_id: int
    order_id: int
    con_id: int
    side: Side
    quantity: Decimal
    price: Decimal
    time: datetime
    ref: str


@dataclass(frozen=True)
class Books:
    """All that outlasts the process. ``origin``: the configuration that they started with, at ``began``; ``cash``: what
    all trades and settlements since then have brought, commissions taken off."""

    origin: str
    began: datetime
    holdings: Mapping[int, Holding]
    anchors: Mapping[str, Anchor]
    orders: tuple[SimOrder, ...] = ()
    executions: tuple[SimExecution, ...] = ()
    cash: Decimal = ZERO
    next_order_id: int = 1
    next_perm_id: int = FIRST_PERM_ID
    executed: int = 0

    @property
    def live(self) -> tuple[SimOrder, ...]:
        return tuple(order for order in self.orders if not order.over)


BOOKS = TypeAdapter(Books)

Change = tuple[Books, tuple[BrokerEvent, ...]]


def day_of(moment: datetime) -> date:
    """The exchange's day."""
    return moment.astimezone(EXCHANGE_ZONE).date()


def origin(sim: Sim) -> str:
    """What of a configuration books cannot change any more."""
    return sim.model_dump_json(exclude={"latency_ms", "cash"}, exclude_none=True)


def instruments(sim: Sim, first_day: date, today: date) -> dict[int, Instrument]:
    """The contracts of a configuration that first ran on ``first_day``, with the sessions around ``today``."""
    midnight = datetime.combine(today, time(), EXCHANGE_ZONE)
    days = [midnight + timedelta(days=number) for number in range(-1, SESSION_DAYS)]
    hours = tuple(Hours(begin, end) for begin, end in pairwise(days))
    return {
        FIRST_CON_ID + index: _instrument(FIRST_CON_ID + index, position, first_day, hours)
        for index, position in enumerate(sim.positions)
    }


def _instrument(con_id: int, held: SimPosition, first_day: date, hours: tuple[Hours, ...]) -> Instrument:
    expiry = held.expires(first_day)
    local = held.symbol
    if expiry is not None:
        local = f"{held.symbol:<6}{expiry:%y%m%d}"
    if held.right is not None and held.strike is not None:
        local += f"{held.right.value}{int(held.strike * 1000):08d}"
    ticks = {
        Kind.OPTION: ((ZERO, Decimal("0.01")), (Decimal(3), Decimal("0.05"))),
        Kind.FUTURE: ((ZERO, Decimal("0.25")),),
        Kind.FUTURE_OPTION: ((ZERO, Decimal("0.05")),),
    }.get(held.kind, ((ZERO, Decimal("0.01")),))
    return Instrument(
        con_id,
        held.symbol,
        held.kind,
        held.size,
        expiry=expiry,
        strike=held.strike or ZERO,
        right=held.right,
        local_symbol=local,
        trading_class=held.symbol,
        increments=ticks,
        liquid_hours=hours,
    )


def opened(market: Market) -> Books:
    """The books at the start."""
    anchors, first_day = market.anchors(), day_of(market.began)
    holdings = {}
    known = instruments(market.sim, first_day, first_day)
    for instrument, position in zip(known.values(), market.sim.positions, strict=True):
        middle = market.quote(instrument, 0, anchors, market.began).mid or ZERO
        holdings[instrument.con_id] = Holding(Decimal(position.quantity), position.average_price or middle)
    return Books(origin(market.sim), market.began, holdings, anchors)


def accepted(books: Books, order: OrderToSend, instrument: Instrument | None, tif: str, now: datetime) -> Change:
    """An order arrives: taken with a permId, or refused with a code."""
    refusal = _refusal(books, order, instrument, now)
    if refusal is not None:
        return books, (CodeReceived(*refusal, order.order_id),)
    taken = SimOrder(
        order.order_id,
        order.client_id,
        books.next_perm_id,
        order.ref,
        order.con_id,
        order.side,
        order.quantity,
        order.limit,
        tif,
        order.oca_group,
        now,
    )
    after = replace(
        books,
        orders=(*books.orders, taken),
        next_order_id=order.order_id + 1,
        next_perm_id=books.next_perm_id + 1,
    )
    return after, (_shown(taken),)


def combo_accepted(
    books: Books, order: ComboToSend, instruments: Mapping[int, Instrument], tif: str, now: datetime
) -> Change:
    """A combination arrives: taken with a permId, or refused with a code."""
    known = [instruments.get(con_id) for con_id, _ in order.legs]
    if order.order_id < books.next_order_id:
        return books, (CodeReceived(103, "Duplicate order id", order.order_id),)
    if any(leg is None or (leg.expiry is not None and leg.expiry < day_of(now)) for leg in known) or len(known) < 2:
        return books, (CodeReceived(201, "Order rejected - reason: a leg is not known or has expired", order.order_id),)
    taken = SimOrder(
        order.order_id,
        order.client_id,
        books.next_perm_id,
        order.ref,
        0,
        order.side,
        order.quantity,
        order.limit,
        tif,
        "",
        now,
        legs=order.legs,
    )
    after = replace(
        books,
        orders=(*books.orders, taken),
        next_order_id=order.order_id + 1,
        next_perm_id=books.next_perm_id + 1,
    )
    return after, (_shown(taken),)


def combo_executed(
    books: Books, perm_id: int, quantity: Decimal, prices: Mapping[int, Decimal], account: str, seed: int,
    instruments: Mapping[int, Instrument], now: datetime,
) -> Change:  # fmt: skip
    """Trade this many combinations of a live order: each leg by executions of its own, all in one step."""
    order = next(order for order in books.live if order.perm_id == perm_id)
    events: tuple[BrokerEvent, ...] = ()
    for con_id, ratio in order.legs:
        side = Side.BUY if ratio * order.side.sign > 0 else Side.SELL
        part = abs(ratio) * quantity
        leg = replace(order, con_id=con_id, side=side, quantity=part, filled=ZERO, legs=(), oca_group="")
        alone = replace(books, orders=tuple(leg if one.perm_id == perm_id else one for one in books.orders))
        alone, more = executed(alone, perm_id, part, prices[con_id], account, seed, instruments[con_id], now)
        books = replace(alone, orders=books.orders)
        events += tuple(event for event in more if not isinstance(event, OrderReceived))
    filled = replace(order, filled=order.filled + quantity)
    if not filled.remaining:
        filled = replace(filled, over=FILLED, ended=now)
    books = replace(books, orders=tuple(filled if one.perm_id == perm_id else one for one in books.orders))
    return books, (*events, _shown(filled))


def _refusal(books: Books, order: OrderToSend, instrument: Instrument | None, now: datetime) -> tuple[int, str] | None:
    if order.order_id < books.next_order_id:
        return 103, "Duplicate order id"
    if instrument is None:
        return 200, "No security definition has been found for the request"
    if instrument.expiry is not None and instrument.expiry < day_of(now):
        return 201, "Order rejected - reason: the contract has expired"
    if order.quantity <= 0:
        return 201, "Order rejected - reason: the quantity must be above zero"
    if order.limit <= 0 or order.limit % instrument.increment_at(order.limit):
        return 110, "The price does not conform to the minimum price variation for this contract"
    return None


def executed(books: Books, perm_id: int, quantity: Decimal, price: Decimal, account: str, seed: int,
             instrument: Instrument, now: datetime) -> Change:  # fmt: skip
    """A live order trades. The others of its OCA group are cancelled.

    Raises ValueError for more than remains of it.
    """
    order = next(order for order in books.live if order.perm_id == perm_id)
    if not 0 < quantity <= order.remaining:
        raise ValueError(f"order {perm_id} has {order.remaining} left, not {quantity}")
    before = books.holdings.get(order.con_id, Holding(ZERO, ZERO))
    signed = order.side.sign * quantity
    commission = quantity * COMMISSIONS.get(instrument.kind, Decimal("2.25"))
    closed = min(quantity, abs(before.quantity)) if before.quantity * signed < 0 else ZERO
    gain = (price - before.average_price) * -order.side.sign * closed * instrument.multiplier
    number = books.executed + 1
    execution = SimExecution(
        f"{seed:08x}.{number:08x}.01.01",
        perm_id, order.order_id, order.con_id, order.side, quantity, price, now, order.ref,
    )  # fmt: skip
    filled = replace(order, filled=order.filled + quantity)
    if not filled.remaining:
        filled = replace(filled, over=FILLED, ended=now)
    after = replace(
        books,
        orders=tuple(filled if one.perm_id == perm_id else one for one in books.orders),
        executions=(*books.executions, execution),
        holdings={**books.holdings, order.con_id: _traded(before, signed, price)},
        cash=books.cash - signed * price * instrument.multiplier - commission,
        executed=number,
    )
    events: tuple[BrokerEvent, ...] = (
        ExecutionReceived(execution_of(execution, account), order.order_id),
        _shown(filled),
        CommissionReceived(execution.exec_id, commission, gain - commission if closed else None, instrument.currency),
        PositionReceived(account, order.con_id, after.holdings[order.con_id].quantity),
    )
    for other in after.live:
        if order.oca_group and other.oca_group == order.oca_group and other.perm_id != perm_id:
            after, more = cancelled(after, other.perm_id, "an order of its OCA group was executed", now)
            events += more
    return after, events


def _traded(before: Holding, signed: Decimal, price: Decimal) -> Holding:
    quantity = before.quantity + signed
    if before.quantity * signed >= 0:
        spent = abs(before.quantity) * before.average_price + abs(signed) * price
        average = (spent / abs(quantity)).quantize(Decimal("0.000001"), ROUND_HALF_EVEN)
        return Holding(quantity, average)
    return Holding(quantity, before.average_price if before.quantity * quantity >= 0 else price)


def cancelled(books: Books, perm_id: int, why: str, now: datetime) -> Change:
    """A live order ends without trading any more."""
    over = next(replace(order, over=CANCELLED, ended=now) for order in books.live if order.perm_id == perm_id)
    after = replace(books, orders=tuple(over if one.perm_id == perm_id else one for one in books.orders))
    return after, (_shown(over), CodeReceived(202, f"Order Canceled - reason: {why}", over.order_id))


def cancel_asked(books: Books, order_id: int, now: datetime) -> Change:
    """A cancel arrives: the order ends, unless it is over already."""
    order = next((order for order in books.orders if order.order_id == order_id), None)
    if order is None:
        return books, (CodeReceived(10147, f"OrderId {order_id} that needs to be cancelled is not found.", order_id),)
    if order.over:
        text = f"OrderId {order_id} that needs to be cancelled cannot be cancelled, state: {order.over}."
        return books, (CodeReceived(10148, text, order_id),)
    return cancelled(books, order.perm_id, "asked for by the client", now)


def day_turned(books: Books, market: Market, known: Mapping[int, Instrument], account: str, now: datetime) -> Change:
    """What a new day does: orders of the day end, what has expired is settled in cash, and the books of the days
    before are closed. The same day once more changes nothing."""
    today, events = day_of(now), list[BrokerEvent]()
    expired = {key: found for key, found in known.items() if found.expiry is not None and found.expiry < today}
    for order in books.live:
        touched = {order.con_id, *(con_id for con_id, _ in order.legs)}
        if (order.tif == "DAY" and day_of(order.placed) < today) or touched & expired.keys():
            books, more = cancelled(books, order.perm_id, "its day is over", now)
            events += more
    for con_id, instrument in expired.items():
        held = books.holdings[con_id]
        if held.quantity:
            value = _settlement(market, books, instrument)
            events.append(PositionReceived(account, con_id, ZERO))
            books = replace(
                books,
                holdings={**books.holdings, con_id: Holding(ZERO, held.average_price)},
                cash=books.cash + held.quantity * value * instrument.multiplier,
            )
    orders = tuple(order for order in books.orders if order.ended is None or day_of(order.ended) >= today)
    executions = tuple(execution for execution in books.executions if day_of(execution.time) >= today)
    if (len(orders), len(executions)) != (len(books.orders), len(books.executions)):
        books = replace(books, orders=orders, executions=executions)
    return books, tuple(events)


def _settlement(market: Market, books: Books, instrument: Instrument) -> Decimal:
    """What one unit of an expired contract is worth."""
    tick = market.tick_at(expiry_of(instrument))
    price = Decimal(str(round(market.underlying(instrument.symbol, tick, books.anchors), 2)))
    if instrument.right is None:
        return price
    return max(ZERO, (price - instrument.strike) * (1 if instrument.right is Right.CALL else -1))


def _shown(order: SimOrder) -> OrderReceived:
    return OrderReceived(order.order_id, order.perm_id, order.over or SUBMITTED, order.ref)


def positions(books: Books, known: Mapping[int, Instrument], account: str) -> Iterator[Position]:
    """What is held, with every contract's details."""
    for con_id, instrument in known.items():
        held = books.holdings[con_id]
        if held.quantity:
            yield Position(account, instrument, held.quantity, held.average_price)


def open_orders(order: SimOrder, account: str, cancelling: bool) -> tuple[OpenOrder, ...]:
    """As the port shows it: a combination leg by leg."""
    whole = open_order(order, account, cancelling)
    return tuple(
        replace(
            whole,
            con_id=con_id,
            side=Side.BUY if ratio * order.side.sign > 0 else Side.SELL,
            remaining=abs(ratio) * order.remaining,
        )
        for con_id, ratio in order.legs
    ) or (whole,)


def open_order(order: SimOrder, account: str, cancelling: bool) -> OpenOrder:
    return OpenOrder(
        account,
        order.con_id,
        order.side,
        order.remaining,
        order.perm_id,
        PENDING_CANCEL if cancelling else SUBMITTED,
        order.ref,
        order.client_id,
        order.order_id,
    )


def completed_order(order: SimOrder) -> CompletedOrder:
    return CompletedOrder(order.perm_id, order.over, order.filled, order.ref)


def execution_of(done: SimExecution, account: str) -> Execution:
    fill = Fill(done.exec_id, done.quantity, done.price, done.time)
    return Execution(account, done.con_id, done.side, fill, done.perm_id, done.ref)
