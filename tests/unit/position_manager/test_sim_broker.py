"""The simulated broker behind the port: orders, fills, cancels, groups, days, and what outlasts the process."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.position_manager.engine_world import ManualClock, settle

from position_manager.brokers.broker import (
    BrokerError,
    BrokerEvent,
    CodeReceived,
    CommissionReceived,
    ConnectError,
    Disconnected,
    ExecutionReceived,
    OrderReceived,
    PositionReceived,
    QuoteReceived,
)
from position_manager.brokers.sim_broker import SimBroker, SimStateError
from position_manager.config.sim import Sim
from position_manager.journal.records import OrderToSend
from position_manager.orders.intents import Side

BEGIN = datetime(2026, 11, 23, 15, tzinfo=UTC)
SHORT_PUT, CALL, SHARES = 1001, 1002, 1005
ACCOUNT = "DU0000001"
STILL: dict[str, Any] = {
    "underlyings": {
        "SPY": {"price": 450, "volatility_percent": 0},
        "AAPL": {"price": 190, "volatility_percent": 0},
    }
}
"""Prices that move only when a test moves them: options have their intrinsic value."""


def order(con_id: int, side: Side, quantity: int, limit: str, order_id: int = 1, group: str = "") -> OrderToSend:
    return OrderToSend(
        ACCOUNT, con_id, side, Decimal(quantity), Decimal(limit), f"pm:{order_id:04}", order_id, 100, group or "g"
    )


class Desk:
    """A client of the broker that records what it receives. What is not in the directory dies with it."""

    def __init__(self, directory: Path, sim: Sim, clock: ManualClock) -> None:
        self.sim, self.clock = sim, clock
        self.path = directory / "sim.json"
        self.broker = SimBroker(sim, self.path, clock=clock, client_id=100)
        self.heard: list[BrokerEvent] = []
        self.broker.listen(self.on_event)

    def on_event(self, event: BrokerEvent) -> None:
        self.heard.append(event)

    async def connect(self) -> None:
        await self._in_time(self.broker.connect())

    async def ask(self, what: str, *values: object) -> Any:
        return await self._in_time(getattr(self.broker, what)(*values))

    async def _in_time(self, question: Any) -> Any:
        task = asyncio.ensure_future(question)
        await settle()
        if not task.done():
            await self.clock.advance(0.05)
        return await task

    def send(self, sent: OrderToSend, tif: str = "DAY") -> None:
        known = self.broker._instruments()
        self.broker.send(sent, known[sent.con_id], tif=tif, outside_rth=False)

    def of(self, kind: type[BrokerEvent]) -> list[BrokerEvent]:
        return [event for event in self.heard if isinstance(event, kind)]

    @property
    def statuses(self) -> list[str]:
        return [event.status for event in self.heard if isinstance(event, OrderReceived)]

    @property
    def codes(self) -> list[int]:
        return [event.code for event in self.heard if isinstance(event, CodeReceived)]

    def quantity(self, con_id: int) -> Decimal:
        return self.broker.books.holdings[con_id].quantity


async def opened(directory: Path, clock: ManualClock | None = None, **sim: object) -> Desk:
    desk = Desk(directory, Sim.model_validate(sim or STILL), clock or ManualClock(BEGIN))
    await desk.connect()
    return desk


@pytest.mark.asyncio
async def test_positions_come_with_their_contracts_and_open_hours(tmp_path: Path) -> None:
    desk = await opened(tmp_path)
    held = {position.instrument.con_id: position for position in await desk.ask("positions")}
    assert [(p.account, p.quantity) for p in held.values()] == [
        (ACCOUNT, Decimal(quantity)) for quantity in (-2, 1, -3, 3, 100)
    ]
    for day in (0, 1, 5):
        now = BEGIN + timedelta(days=day, hours=9)
        assert any(hours.begin <= now < hours.end for hours in held[SHORT_PUT].instrument.liquid_hours)
    assert held[SHARES].average_price == Decimal("190")
    assert await desk.ask("open_orders") == () and await desk.ask("executions") == ()


@pytest.mark.asyncio
async def test_an_order_that_the_market_reaches_is_filled_once_and_all_is_reported(tmp_path: Path) -> None:
    desk = await opened(tmp_path)
    desk.broker.set_price("SPY", Decimal(430))
    desk.send(order(SHORT_PUT, Side.BUY, 2, "11.00"))
    assert desk.heard == []
    await desk.clock.advance(0.04)
    assert desk.heard == [] and desk.broker.books.orders == ()
    await desk.clock.advance(30)
    kinds = [type(event) for event in desk.heard]
    assert kinds[0] is OrderReceived and desk.statuses[0] == "Submitted" and desk.statuses[-1] == "Filled"
    fills = [event.execution.fill for event in desk.heard if isinstance(event, ExecutionReceived)]
    # Intrinsic value 10, a spread of 2 %, in steps of 0.05.
    assert sum(fill.quantity for fill in fills) == 2 and {fill.price for fill in fills} == {Decimal("10.10")}
    assert len({fill.exec_id for fill in fills}) == len(fills)
    assert desk.quantity(SHORT_PUT) == 0
    assert desk.heard[-1] == PositionReceived(ACCOUNT, SHORT_PUT, Decimal(0))
    commissions = [event for event in desk.heard if isinstance(event, CommissionReceived)]
    assert sum(event.commission for event in commissions) == Decimal("1.30")
    # Sold at half a tick (worth nothing then), bought back at 10.10.
    assert sum(event.realized or 0 for event in commissions) == -(Decimal("10.10") - Decimal("0.005")) * 200 - Decimal(
        "1.30"
    )
    (done,) = await desk.ask("completed_orders")
    assert (done.status, done.filled, done.ref) == ("Filled", Decimal(2), "pm:0001")
    assert await desk.ask("open_orders") == ()
    assert len(await desk.ask("executions")) == len(fills)


@pytest.mark.asyncio
async def test_an_order_rests_until_the_market_comes(tmp_path: Path) -> None:
    desk = await opened(tmp_path)
    desk.send(order(SHARES, Side.SELL, 100, "195.00"))
    await desk.clock.advance(60)
    assert desk.statuses == ["Submitted"]
    (resting,) = await desk.ask("open_orders")
    assert (resting.remaining, resting.status, resting.client_id) == (Decimal(100), "Submitted", 100)
    desk.broker.set_price("AAPL", Decimal(196))
    await desk.clock.advance(0)
    assert desk.statuses[-1] == "Filled"
    event = desk.of(ExecutionReceived)[-1]
    assert isinstance(event, ExecutionReceived)
    fill = event.execution.fill
    assert fill.price == Decimal("195.98")


@pytest.mark.asyncio
async def test_a_large_order_is_filled_in_parts_at_the_size_of_the_market(tmp_path: Path) -> None:
    positions = [{"symbol": "AAPL", "quantity": 9000}]
    desk = await opened(tmp_path, **STILL, positions=positions)
    desk.send(order(1001, Side.SELL, 9000, "189.00"))
    await desk.clock.advance(60)
    fills = [event.execution.fill.quantity for event in desk.heard if isinstance(event, ExecutionReceived)]
    assert len(fills) > 3 and sum(fills) == 9000 and max(fills) <= 2000
    held = [event.quantity for event in desk.heard if isinstance(event, PositionReceived)]
    assert held == sorted(held, reverse=True) and held[-1] == 0


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (order(SHORT_PUT, Side.BUY, 1, "3.01"), 110),
        (order(SHORT_PUT, Side.BUY, 0, "3.05"), 201),
        (replace(order(SHORT_PUT, Side.BUY, 1, "3.05"), account="DU9999999"), 200),
        (order(SHORT_PUT, Side.BUY, 1, "3.05", order_id=0), 103),
    ],
)
async def test_what_is_refused_is_not_in_the_books(tmp_path: Path, sent: OrderToSend, code: int) -> None:
    desk = await opened(tmp_path)
    desk.send(sent)
    await desk.clock.advance(1)
    assert desk.codes == [code] and desk.statuses == []
    assert desk.broker.books.orders == ()


@pytest.mark.asyncio
async def test_one_fill_cancels_the_others_of_its_group(tmp_path: Path) -> None:
    desk = await opened(tmp_path)
    desk.send(order(SHARES, Side.SELL, 100, "195.00", 1, "a"))
    desk.send(order(SHARES, Side.SELL, 100, "196.00", 2, "a"))
    desk.send(order(SHARES, Side.SELL, 1, "197.00", 3, "b"))
    await desk.clock.advance(1)
    desk.broker.set_price("AAPL", Decimal(198))
    await desk.clock.advance(0)
    over = {one.order_id: (one.over, int(one.filled)) for one in desk.broker.books.orders}
    assert over == {1: ("Filled", 100), 2: ("Cancelled", 0), 3: ("Filled", 1)}
    assert desk.codes == [202]
    assert desk.quantity(SHARES) == -1


@pytest.mark.asyncio
async def test_a_cancel_arrives_before_the_market(tmp_path: Path) -> None:
    desk = await opened(tmp_path)
    desk.send(order(SHARES, Side.SELL, 100, "195.00"))
    await desk.clock.advance(1)
    desk.broker.cancel(1)
    (ending,) = desk.broker._open_orders()
    assert ending.status == "PendingCancel"
    await desk.clock.advance(0.05)
    assert (desk.statuses, desk.codes) == (["Submitted", "Cancelled"], [202])
    desk.broker.set_price("AAPL", Decimal(200))
    await desk.clock.advance(5)
    assert desk.quantity(SHARES) == 100


@pytest.mark.asyncio
async def test_a_fill_may_win_the_race_with_a_cancel(tmp_path: Path) -> None:
    desk = await opened(tmp_path)
    desk.send(order(SHARES, Side.SELL, 100, "195.00"))
    await desk.clock.advance(1)
    desk.broker.cancel(1)
    await desk.clock.advance(0.02)
    desk.broker.set_price("AAPL", Decimal(200))
    await desk.clock.advance(1)
    assert (desk.statuses, desk.codes) == (["Submitted", "Filled"], [10148])
    assert desk.quantity(SHARES) == 0


@pytest.mark.asyncio
async def test_what_cannot_be_cancelled(tmp_path: Path) -> None:
    desk = await opened(tmp_path)
    desk.broker.cancel(77)
    await desk.clock.advance(1)
    assert desk.codes == [10147]


@pytest.mark.asyncio
async def test_quotes_of_what_is_watched_come_at_once_and_at_every_tick(tmp_path: Path) -> None:
    desk = await opened(tmp_path, seed=7)
    known = desk.broker._instruments()
    desk.broker.watch([known[SHORT_PUT], known[SHARES]])
    await desk.clock.advance(0.05)
    assert [event.con_id for event in desk.heard if isinstance(event, QuoteReceived)] == [SHORT_PUT, SHARES]
    desk.heard.clear()
    desk.broker.watch([known[SHARES]])
    await desk.clock.advance(3)
    quotes = [event for event in desk.heard if isinstance(event, QuoteReceived)]
    assert {event.con_id for event in quotes} == {SHARES} and len(quotes) == 3
    desk.broker.watch([known[SHARES]], resubscribe=True)
    await desk.clock.advance(0.05)
    assert len(desk.of(QuoteReceived)) == 4
    assert quotes[-1].quote.problem(desk.clock.now(), timedelta(seconds=10)) is None


@pytest.mark.asyncio
async def test_a_session_ends_once_and_none_starts_while_the_broker_is_away(tmp_path: Path) -> None:
    desk = await opened(tmp_path)
    desk.send(order(SHARES, Side.SELL, 100, "189.00"))
    desk.broker.drop("drill", timedelta(seconds=30))
    desk.broker.drop("drill", timedelta(seconds=30))
    assert desk.heard == [Disconnected("drill")]
    with pytest.raises(BrokerError, match="no session"):
        await desk.broker.positions()
    with pytest.raises(BrokerError, match="nothing was sent"):
        desk.send(order(SHARES, Side.SELL, 100, "189.00", 2))
    with pytest.raises(BrokerError, match="no session"):
        desk.broker.cancel(1)
    with pytest.raises(ConnectError, match="away for 30 s"):
        await desk.connect()
    await desk.clock.advance(31)
    await desk.connect()
    await desk.clock.advance(20)
    # What was on its way when the session ended arrived.
    assert desk.quantity(SHARES) == 0


@pytest.mark.asyncio
async def test_a_question_is_not_answered_by_a_later_session(tmp_path: Path) -> None:
    desk = await opened(tmp_path)
    asked = asyncio.ensure_future(desk.broker.positions())
    await settle()
    desk.broker.drop("gone")
    await desk.connect()
    with pytest.raises(BrokerError, match="no session"):
        await asked


@pytest.mark.asyncio
async def test_orders_of_the_day_and_its_books_end_with_it(tmp_path: Path) -> None:
    desk = await opened(tmp_path)
    desk.send(order(SHARES, Side.SELL, 40, "189.00"))
    desk.send(order(SHARES, Side.SELL, 30, "195.00", 2), tif="DAY")
    desk.send(order(SHARES, Side.SELL, 30, "196.00", 3, "other"), tif="GTC")
    await desk.clock.advance(5)
    # Midnight in New York.
    desk.clock._now = datetime(2026, 11, 24, 4, 59, 58, tzinfo=UTC)
    desk.broker._wake.set()
    await desk.clock.advance(1)
    assert len(await desk.ask("executions")) == len(desk.of(ExecutionReceived)) == 1
    await desk.clock.advance(2)
    assert await desk.ask("executions") == ()
    assert [one.order_id for one in desk.broker.books.live] == [3]


@pytest.mark.asyncio
async def test_what_expires_is_settled_in_cash(tmp_path: Path) -> None:
    desk = await opened(tmp_path)
    desk.broker.set_price("SPY", Decimal(430))
    before = desk.broker.books.cash
    desk.send(order(SHORT_PUT, Side.BUY, 2, "0.05"), tif="GTC")
    await desk.clock.advance(1)
    desk.clock._now = datetime(2026, 12, 26, 5, 0, tzinfo=UTC)
    desk.broker._wake.set()
    await desk.clock.advance(0.05)
    gone = [event for event in desk.heard if isinstance(event, PositionReceived)]
    assert [event.con_id for event in gone] == [1001, 1002, 1003, 1004] and {event.quantity for event in gone} == {0}
    # Two short puts at 440 and three at 435: 10 and 5 each; the puts at 425 and the call end worthless.
    assert desk.broker.books.cash - before == -(2 * 10 + 3 * 5) * 100
    assert [p.instrument.con_id for p in await desk.ask("positions")] == [SHARES]
    assert desk.statuses == ["Submitted", "Cancelled"]


# ----- what outlasts the process


class Witness(Desk):
    """Reads the file whenever it receives an event, and stores a copy of its content."""

    copies: list[Path]

    def on_event(self, event: BrokerEvent) -> None:
        super().on_event(event)
        kept = json.loads(self.path.read_text())
        if isinstance(event, OrderReceived):
            (found,) = [one for one in kept["orders"] if one["perm_id"] == event.perm_id]
            assert (found["over"] or "Submitted") == event.status
        elif isinstance(event, ExecutionReceived):
            assert event.execution.fill.exec_id in {one["exec_id"] for one in kept["executions"]}
        elif isinstance(event, PositionReceived):
            assert Decimal(kept["holdings"][str(event.con_id)]["quantity"]) == event.quantity
        else:
            return
        copy = self.path.parent / f"copy{len(self.heard)}"
        copy.mkdir()
        shutil.copy(self.path, copy / self.path.name)
        self.copies.append(copy)


@pytest.mark.asyncio
async def test_a_killed_process_finds_at_every_step_what_was_reported_to_it(tmp_path: Path) -> None:
    sim = Sim.model_validate({**STILL, "positions": [{"symbol": "AAPL", "quantity": 5000}]})
    desk = Witness(tmp_path, sim, ManualClock(BEGIN))
    desk.copies = []
    await desk.connect()
    desk.send(order(1001, Side.SELL, 3000, "189.00", 1, "a"))
    await desk.clock.advance(0.5)
    desk.send(order(1001, Side.SELL, 500, "300.00", 2, "b"))
    await desk.clock.advance(0.5)
    desk.broker.cancel(2)
    await desk.clock.advance(60)
    assert len(desk.copies) > 8
    held = [event.quantity for event in desk.heard if isinstance(event, PositionReceived)]
    assert held[-1] == 2000
    for copy in desk.copies:
        again = await opened(copy, ManualClock(desk.clock.now()), **sim.model_dump())
        books = again.broker.books
        filled = sum(done.quantity for done in books.executions)
        assert books.holdings[1001].quantity == 5000 - filled
        await again.clock.advance(60)
        # Whatever the moment: the first order is executed in full and once, the second never.
        assert again.quantity(1001) == 2000
        assert sum(done.quantity for done in again.broker.books.executions) == 3000
        perm_ids = [one.perm_id for one in again.broker.books.orders]
        assert len(set(perm_ids)) == len(perm_ids)
        assert again.broker.next_order_id() == books.next_order_id
        await again.broker.close()


@pytest.mark.asyncio
async def test_what_was_on_its_way_when_the_process_died_never_arrived(tmp_path: Path) -> None:
    desk = await opened(tmp_path)
    desk.send(order(SHARES, Side.SELL, 100, "189.00"))
    desk.broker._live.cancel()  # type: ignore[union-attr]
    again = await opened(tmp_path, desk.clock)
    await again.clock.advance(10)
    assert again.quantity(SHARES) == 100 and again.broker.books.orders == ()
    assert again.broker.next_order_id() == 1


@pytest.mark.asyncio
async def test_a_disk_that_is_full_ends_the_session_and_nothing_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "state"
    directory.mkdir()
    desk = await opened(directory)
    shutil.rmtree(directory)
    desk.send(order(SHARES, Side.SELL, 100, "189.00"))
    await desk.clock.advance(1)
    assert desk.statuses == [] and desk.of(ExecutionReceived) == []
    (gone,) = desk.heard
    assert isinstance(gone, Disconnected) and "No such file" in gone.why
    with pytest.raises(ConnectError, match="cannot be written"):
        await desk.connect()
    directory.mkdir()
    await desk.connect()
    await desk.clock.advance(10)
    assert desk.statuses[0] == "Submitted" and desk.quantity(SHARES) == 0


@pytest.mark.asyncio
async def test_books_of_another_configuration_are_refused(tmp_path: Path) -> None:
    desk = await opened(tmp_path, seed=1)
    await desk.broker.close()
    Desk(tmp_path, Sim(seed=1, latency_ms=Decimal(9)), desk.clock)
    with pytest.raises(SimStateError, match="started with another section sim"):
        Desk(tmp_path, Sim(seed=2), desk.clock)
    desk.path.write_text(desk.path.read_text()[:-40])
    with pytest.raises(SimStateError, match="does not hold the books of a simulated broker"):
        Desk(tmp_path, Sim(seed=1), desk.clock)


def test_a_price_that_makes_no_sense(tmp_path: Path) -> None:
    broker = SimBroker(Sim(), tmp_path / "sim.json", clock=ManualClock(BEGIN), client_id=100)
    with pytest.raises(ValueError, match="XYZ has no simulated price; these have: SPY, AAPL"):
        broker.set_price("XYZ", Decimal(1))
    with pytest.raises(ValueError, match="must be above 0"):
        broker.set_price("SPY", Decimal(0))


# ----- whatever is asked

STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("send"),
            st.sampled_from([SHORT_PUT, CALL, SHARES]),
            st.sampled_from(list(Side)),
            st.integers(1, 3000),
            st.integers(1, 30),
            st.sampled_from("abc"),
        ),
        st.tuples(st.just("cancel"), st.integers(1, 6)),
        st.tuples(st.just("price"), st.sampled_from(["SPY", "AAPL"]), st.integers(1, 600)),
        st.tuples(st.just("time"), st.sampled_from([0.01, 0.05, 1.0, 7.5])),
        st.tuples(st.just("drop")),
    ),
    max_size=12,
)


async def play(directory: Path, steps: Iterable[tuple[object, ...]], *, restarting: bool = False) -> Desk:
    desk = await opened(directory, seed=3)
    sent = 0
    for step in steps:
        match step:
            case ("send", int(con_id), Side() as side, int(quantity), int(part), str(group)):
                sent += 1
                limit = part * 10 if con_id == SHARES else Decimal(part) / 2
                desk.send(order(con_id, side, quantity, str(limit), sent, group))
            case ("cancel", int(order_id)):
                desk.broker.cancel(order_id)
            case ("price", str(symbol), int(price)):
                desk.broker.set_price(symbol, Decimal(price))
                await settle()
            case ("time", float(seconds)):
                await desk.clock.advance(seconds)
            case ("drop",):
                desk.broker.drop("gone")
                await desk.connect()
        if restarting and not desk.broker._on_its_way:
            heard, clock = desk.heard, desk.clock
            await desk.broker.close()
            desk = Desk(directory, desk.sim, clock)
            desk.heard = heard
            desk.broker.listen(desk.on_event)
            await desk.connect()
        elif restarting:
            await desk.clock.advance(0.05)
    await desk.clock.advance(5)
    await desk.broker.close()
    return desk


@pytest.mark.asyncio
@given(STEPS)
@settings(deadline=None, max_examples=25)
async def test_nothing_is_made_or_lost(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[object, ...]]
) -> None:
    desk = await play(tmp_path_factory.mktemp("sim"), steps)
    books = desk.broker.books
    known = desk.broker._instruments()
    fills = [event.execution for event in desk.heard if isinstance(event, ExecutionReceived)]
    commissions = [event.commission for event in desk.heard if isinstance(event, CommissionReceived)]
    for con_id in known:
        moved = sum(fill.side.sign * fill.fill.quantity for fill in fills if fill.con_id == con_id)
        position = desk.sim.positions[con_id - 1001].quantity
        assert books.holdings[con_id].quantity == position + moved
        assert books.holdings[con_id].average_price >= 0
    spent = sum(fill.side.sign * fill.fill.quantity * fill.fill.price * known[fill.con_id].multiplier for fill in fills)
    assert books.cash == -spent - sum(commissions)
    for one in books.orders:
        own = [fill.fill for fill in fills if fill.perm_id == one.perm_id]
        assert sum(fill.quantity for fill in own) == one.filled <= one.quantity
        assert all((one.limit - fill.price) * one.side.sign >= 0 for fill in own)
        assert (one.over == "Filled") == (one.filled == one.quantity)
        # No order trades after another of its group has traded, once both were there.
        for other in books.orders:
            if other.oca_group == one.oca_group and other.perm_id > one.perm_id:
                later = [f.fill for f in fills if f.perm_id == other.perm_id and f.fill.time > other.placed]
                assert not (later and any(fill.time > max(later[0].time, other.placed) for fill in own))
    exec_ids = [fill.fill.exec_id for fill in fills]
    assert len(set(exec_ids)) == len(exec_ids)


@pytest.mark.asyncio
@given(STEPS)
@settings(deadline=None, max_examples=15)
async def test_the_same_requests_give_the_same_executions(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[object, ...]]
) -> None:
    one = await play(tmp_path_factory.mktemp("sim"), steps)
    two = await play(tmp_path_factory.mktemp("sim"), steps)
    assert one.heard == two.heard
    assert one.broker.books == two.broker.books


@pytest.mark.asyncio
@given(STEPS)
@settings(deadline=None, max_examples=15)
async def test_restarts_lose_nothing(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[object, ...]]) -> None:
    desk = await play(tmp_path_factory.mktemp("sim"), steps, restarting=True)
    books = desk.broker.books
    reported = [event.execution.fill.exec_id for event in desk.heard if isinstance(event, ExecutionReceived)]
    assert sorted(reported) == sorted(done.exec_id for done in books.executions)
    filled = {one.perm_id: one.filled for one in books.orders}
    assert {p for p, f in filled.items() if f} == {done.perm_id for done in books.executions}
