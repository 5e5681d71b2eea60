"""The engine from the first connection to the proven close, over a broker in memory and a clock of the test's own."""

from __future__ import annotations

import asyncio
import itertools
import resource
import sqlite3
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.unit.position_manager.engine_world import (
    ACCOUNT,
    BEGIN,
    CONFIG,
    DISASTER,
    GROUP,
    HOURS,
    SECOND,
    Manager,
    ManualClock,
    World,
    breach,
    put,
    settle,
    short_puts,
    vertical,
)

from ib_connection.causes import CLIENT_ID_IN_USE
from position_manager.brokers.broker import CodeReceived
from position_manager.config.schema import Config
from position_manager.connection_state import Phase, Step
from position_manager.engine.rule_loop import SLICE
from position_manager.model import Hours
from position_manager.orders.intents import Side, State
from position_manager.refused import RefusedError

SHORT = put(42)
Story = Callable[[World, Manager], Coroutine[Any, Any, None]]


def drive(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story())


def test_a_stop_is_carried_out_once_and_reported(tmp_path: Path) -> None:
    async def story() -> None:
        at = short_puts()
        manager = Manager(at, tmp_path)
        await manager.start()
        assert manager.engine.shared.connection.state.phase is Phase.READY
        assert manager.broker.watched == {42}
        at.quote(42, "3.70", "3.80")
        await settle()
        assert not at.received, "one quote is no trigger"
        await at.clock.advance(1)
        at.quote(42, "3.71", "3.81")
        await settle()
        (sent,) = at.received
        assert (sent.side, sent.quantity, sent.con_id, sent.client_id) == (Side.BUY, Decimal(2), 42, 100)
        assert sent.limit == Decimal("3.76")
        assert sent.ref.startswith("pm:")
        (order,) = at.ours(42)
        at.fill(order, 2)
        await settle()
        assert at.positions[42] == 0
        await at.clock.advance(120)
        assert len(at.received) == 1
        assert not manager.engine.closer.closings
        await manager.end()
        wanted = ["connected", "rule_fired", "order_working", "order_filled", "position_closed", "stopped"]
        assert [kind for kind in manager.kinds if kind in wanted] == wanted

    drive(story)


def test_the_ladder_steps_to_the_far_side_by_new_orders(tmp_path: Path) -> None:
    async def story() -> None:
        at = short_puts()
        manager = Manager(at, tmp_path)
        await manager.start()
        for _ in range(2):
            at.quote(42, "3.70", "3.80")
            await at.clock.advance(1)
        for _ in range(30):
            await at.clock.advance(1)
            at.quote(42, "3.70", "3.80")
        limits = [order.limit for order in at.received]
        assert limits == [Decimal("3.75"), Decimal("3.76"), Decimal("3.77"), Decimal("3.78"), Decimal("3.80")]
        assert len({order.ref for order in at.received}) == 5
        assert len({order.oca_group for order in at.received}) == 1
        at.fill(at.ours(42)[-1], 1)
        await at.clock.advance(1)
        at.fill(at.ours(42)[-1], 1)
        await at.clock.advance(60)
        assert at.positions[42] == 0
        assert len(at.received) == 5
        await manager.end()

    drive(story)


def test_what_is_left_after_a_part_goes_into_the_next_order(tmp_path: Path) -> None:
    async def story() -> None:
        at = short_puts(-3)
        manager = Manager(at, tmp_path)
        await manager.start()
        for _ in range(2):
            at.quote(42, "3.70", "3.80")
            await at.clock.advance(1)
        at.fill(at.ours(42)[0], 1)
        for _ in range(8):
            await at.clock.advance(1)
            at.quote(42, "3.70", "3.80")
        assert [order.quantity for order in at.received] == [3, 2]
        first = manager.engine.shared.access.journal.intents(ACCOUNT, 42)[0]
        assert first.state is State.CANCELLED
        assert first.filled == 1
        await manager.end()

    drive(story)


@pytest.mark.parametrize("moment", ["before send", "after send"])
def test_killed_around_the_send_it_closes_once(tmp_path: Path, moment: str) -> None:
    class Killed(BaseException):
        pass

    async def story() -> None:
        at = short_puts()
        manager = Manager(at, tmp_path)

        def die(now: str) -> None:
            if now == moment:
                at.on_send = lambda _moment: None
                raise Killed

        at.on_send = die
        await manager.start()
        for _ in range(2):
            at.quote(42, "3.70", "3.80")
            await at.clock.advance(1)
        await manager.kill()
        again = Manager(at, tmp_path, seed=1)
        await again.start()
        for _ in range(100):
            await at.clock.advance(1)
            at.quote(42, "3.70", "3.80")
            for order in at.live(42):
                at.fill(order, int(order.remaining))
        assert at.positions[42] == 0
        assert sum(order.filled for order in at.orders) == 2
        await again.end()

    drive(story)


def play(directory: Path, at: World, story: Story, config: Mapping[str, object] = CONFIG) -> None:
    """A story that starts with a manager that guards what is held, and ends with its orderly stop."""

    async def whole() -> None:
        manager = Manager(at, directory, config)
        await manager.start()
        await story(at, manager)
        await manager.end()

    asyncio.run(whole())


def play_without_end(directory: Path, at: World, story: Story, config: Mapping[str, object] = CONFIG) -> None:
    """A story that ends or kills the manager itself."""

    async def whole() -> None:
        manager = Manager(at, directory, config)
        await manager.start()
        await story(at, manager)

    asyncio.run(whole())


async def follow(at: World, seconds: int, bid: str = "3.75", ask: str = "3.85", *, fills: bool = True) -> None:
    """Time in which the market goes on, and takes what rests."""
    for _ in range(seconds):
        at.quote(42, bid, ask)
        for order in at.live(42) if fills else ():
            if order.client_id == 100:
                at.fill(order, int(order.remaining))
        await at.clock.advance(1)


# ----- groups


async def breach_of_the_group(at: World) -> None:
    for _ in range(2):
        at.quote(42, "3.00", "3.10")
        at.quote(43, "1.45", "1.55")
        await at.clock.advance(1)


def test_a_group_buys_its_short_leg_back_before_it_sells_the_long_one(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await breach_of_the_group(at)
        assert [order.con_id for order in at.received] == [42]
        at.fill(at.ours(42)[0], 1)
        await at.clock.advance(2)
        assert [order.con_id for order in at.received] == [42], "a part of the short leg is still open"
        for _ in range(12):
            at.quote(42, "3.00", "3.10")
            at.quote(43, "1.45", "1.55")
            for order in at.live(42):
                at.fill(order, int(order.remaining))
            await at.clock.advance(1)
        assert at.received[-1].con_id == 43
        assert (at.received[-1].side, at.received[-1].quantity) == (Side.SELL, Decimal(2))
        at.fill(at.live(43)[0], 2)
        await at.clock.advance(30)
        assert at.positions == {42: 0, 43: 0}
        assert manager.kinds.count("position_closed") == 1

    play(tmp_path, vertical(2), story, GROUP)


def test_a_group_that_is_half_closed_is_finished_after_a_restart(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await breach_of_the_group(at)
        at.fill(at.ours(42)[0], 1)
        await manager.kill()
        again = Manager(at, tmp_path, GROUP, seed=1)
        await again.start()
        await at.clock.advance(2)
        at.quote(43, "1.45", "1.55")
        await at.clock.advance(1)
        assert [order.con_id for order in at.received] == [42, 43]
        at.fill(at.live(43)[0], 1)
        await at.clock.advance(30)
        assert at.positions == {42: 0, 43: 0}
        assert not again.engine.closer.closings
        await again.end()

    play_without_end(tmp_path, vertical(), story, GROUP)


def test_the_long_leg_is_not_sold_while_the_short_one_is_locked(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await breach_of_the_group(at)
        (order,) = at.ours(42)
        at.end(order, "Inactive", 201)
        await at.clock.advance(60)
        assert (ACCOUNT, 42) in manager.engine.shared.locks.present
        assert "locked" in manager.kinds
        assert [order.con_id for order in at.received] == [42]

    play(tmp_path, vertical(), story, GROUP)


# ----- halts, locks, people


def test_a_halt_of_the_configuration_survives_a_restart(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        at.emit(CodeReceived(321, "Error validating request.-'bW' : cause - No trading permissions for this account."))
        await at.clock.advance(6)
        assert manager.engine.shared.connection.state.phase is Phase.HALTED
        await manager.kill()
        again = Manager(at, tmp_path, seed=1)
        await again.start()
        await at.clock.advance(30)
        assert again.engine.shared.connection.state.phase is Phase.HALTED
        await breach(at, times=3)
        assert not at.received
        with pytest.raises(RefusedError, match="HALTED"):
            await again.engine.close("42", by="a person")
        assert again.engine.shared.halts.record.resume()
        await at.clock.advance(6)
        assert again.engine.ready
        assert "resumed" in again.kinds
        await breach(at, times=3)
        assert at.received
        await again.end()

    play_without_end(tmp_path, short_puts(), story)


def test_a_kill_switch_that_appears_while_an_order_is_on_its_way_stops_it(tmp_path: Path) -> None:
    """The file is checked in the last moment, not at the next loop."""

    async def story(at: World, manager: Manager) -> None:
        def touch(question: str) -> None:
            if question == "open orders" and manager.engine.shared.in_flight:
                (tmp_path / "HALT").touch()

        at.on_ask = touch
        await breach(at)
        assert (tmp_path / "HALT").exists()
        assert not at.received
        await at.clock.advance(6)
        assert manager.kinds.count("halted") == 1
        at.on_ask = lambda _question: None
        (tmp_path / "HALT").unlink()
        await follow(at, 12)
        assert manager.kinds.count("resumed") == 1
        assert at.positions[42] == 0

    play(tmp_path, short_puts(), story)


def test_an_order_that_is_rejected_locks_until_a_person_releases_it(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        at.acknowledges = False
        await breach(at)
        at.end(at.ours(42)[0], "Inactive", 201)
        at.acknowledges = True
        await follow(at, 60, fills=False)
        assert len(at.received) == 1, "never tried again blindly"
        with pytest.raises(RefusedError, match="locked"):
            await manager.engine.close("42", by="a person")
        with pytest.raises(RefusedError, match="Nothing that is called"):
            manager.engine.release("43", by="a person")
        assert "released" in manager.engine.release("SPY 2026-12-21 450P", by="a person")
        await follow(at, 10)
        assert at.positions[42] == 0
        assert len(at.received) == 2

    play(tmp_path, short_puts(), story)


def test_a_bound_that_is_reached_is_reported_once_and_an_approved_price_closes(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await follow(at, 40, "3.00", "5.00")
        assert "rule_fired" not in manager.kinds, "a price with such a spread is not believed"
        await manager.engine.close("42", by="a person")
        await follow(at, 10, "3.00", "5.00")
        assert not at.received
        assert manager.kinds.count("cap_reached") == 1
        (verdict,) = manager.engine.shared.guard.verdicts.values()
        assert "spread" in str(verdict), "what keeps it from being closed counts as unprotected"
        await manager.engine.close("42", by="a person", limit=Decimal("4.507"))
        await at.clock.advance(1)
        (sent,) = at.received
        assert sent.limit == Decimal("4.50"), "on a tick, in our favour"
        await manager.engine.close("42", by="a person", limit=Decimal("4.80"))
        await at.clock.advance(2)
        assert [order.limit for order in at.received] == [Decimal("4.50"), Decimal("4.80")]
        at.fill(at.live(42)[0], 2)
        await at.clock.advance(30)
        assert at.positions[42] == 0

    play(tmp_path, short_puts(), story)


def test_an_honest_market_does_not_stay_out_of_bounds_for_ever(tmp_path: Path) -> None:
    """The stop fires at 3.80; then the market is at 5.00, with a spread of nothing, for good."""

    async def story(at: World, manager: Manager) -> None:
        await follow(at, 3, fills=False)
        assert len(at.received) == 1
        await follow(at, 290, "4.98", "5.00", fills=False)
        assert manager.kinds.count("cap_reached") == 1
        assert "ladder_restarted" not in manager.kinds
        await follow(at, 40, "4.98", "5.00", fills=False)
        assert manager.kinds.count("ladder_restarted") == 1
        assert at.received[-1].limit >= Decimal("4.98")
        await follow(at, 2, "4.98", "5.00")
        assert at.positions[42] == 0
        assert max(order.limit for order in at.received) <= Decimal("5.00")

    play(tmp_path, short_puts(), story)


def test_the_reference_is_none_of_a_quote_that_no_order_is_sent_at(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        at.quote(42, "1.00", "9.00")
        said = await manager.engine.close("42", by="a person")
        assert "nothing can be sent now: spread" in said
        await at.clock.advance(1)
        assert not at.received
        await follow(at, 25, "3.70", "3.80")
        assert at.positions[42] == 0
        assert at.received[0].limit == Decimal("3.75"), "its middle, not that of the wide quote"

    play(tmp_path, short_puts(), story)


def test_the_reference_does_not_survive_the_night(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await follow(at, 3, fills=False)
        at.end(at.live(42)[0])
        tomorrow = HOURS[0].begin + timedelta(days=1)
        await at.clock.advance((tomorrow - at.clock.now()).total_seconds() + 1)
        await follow(at, 40, "4.98", "5.00")
        assert manager.kinds.count("ladder_restarted") == 1
        assert at.positions[42] == 0

    at = short_puts()
    later = Hours(HOURS[0].begin + timedelta(days=1), HOURS[0].end + timedelta(days=1))
    at.instruments[42] = replace(at.instruments[42], liquid_hours=(*HOURS, later))
    play(tmp_path, at, story)


def test_a_close_that_cannot_act_reports_it(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await follow(at, 3, fills=False)
        await follow(at, 40, "4.98", "5.00", fills=False)
        said = await manager.engine.close("42", by="a person")
        assert "is being closed" in said, "whoever asks now means the market of now"
        await follow(at, 25, "4.98", "5.00")
        assert at.positions[42] == 0

    play(tmp_path, short_puts(), story)


def test_nor_one_in_a_closed_market(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await at.clock.advance(6 * 3600 + 1)
        assert "nothing can be sent now: the market is closed" in await manager.engine.close("42", by="a person")
        assert "nothing can be sent now: the market is closed" in await manager.engine.close("42", by="a person")

    play(tmp_path, short_puts(), story)


def test_a_person_may_close_and_take_it_back(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await manager.engine.close("SPY 2026-12-21 450P", by="a person")
        await at.clock.advance(1)
        (order,) = at.ours(42)
        manager.engine.release("42", by="a person")
        await follow(at, 60, "2.45", "2.55", fills=False)
        assert order.over == "Cancelled"
        assert len(at.received) == 1
        assert "closing_withdrawn" in manager.kinds
        await follow(at, 10)
        assert at.positions[42] == 0, "its rules hold again"

    play(tmp_path, short_puts(), story)


def test_shadow_sends_nothing_for_a_person_either(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await follow(at, 20, fills=False)
        with pytest.raises(RefusedError, match="sends nothing"):
            await manager.engine.close("42", by="a person")
        assert not at.received
        assert manager.kinds.count("shadow") == 1
        assert not manager.engine.closer.closings

    play(tmp_path, short_puts(), story, {**CONFIG, "mode": "shadow"})


# ----- gates


@pytest.mark.parametrize(
    ("more", "gate"),
    [
        ({"caps": {"quantity": "0.5"}}, "order quantity"),
        ({"caps": {"notional": 300}}, "order notional"),
    ],
    ids=["quantity", "notional"],
)
def test_a_gate_that_refuses_is_reported_once_and_passes_later(
    tmp_path: Path, more: Mapping[str, object], gate: str
) -> None:
    async def story(at: World, manager: Manager) -> None:
        await follow(at, 40)
        assert not at.received
        (reported,) = (message for message in manager.reported if message.kind == "refused")
        assert gate in reported.text()
        assert manager.engine.shared.guard.counts
        manager.engine.reload(Config.model_validate(CONFIG))
        await follow(at, 12)
        assert at.positions[42] == 0
        assert len(at.received) == 1

    play(tmp_path, short_puts(), story, {**CONFIG, **more})


def test_the_orders_of_a_minute_are_bounded_for_all_positions_together(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        for _ in range(5):
            for con_id in range(42, 47):
                at.quote(con_id, "3.75", "3.85")
            await at.clock.advance(1)
        assert len(at.received) == 3
        assert manager.kinds.count("refused") == 2
        for _ in range(70):
            for con_id in range(42, 47):
                at.quote(con_id, "3.75", "3.85")
                for order in at.live(con_id):
                    at.fill(order, int(order.remaining))
            await at.clock.advance(1)
        assert set(at.positions.values()) == {0}
        sent = [
            intent.sent
            for con_id in range(42, 47)
            for intent in manager.engine.shared.access.journal.intents(ACCOUNT, con_id)
        ]
        for time in sent:
            assert time is not None
            assert sum(other is not None and time - timedelta(minutes=1) < other <= time for other in sent) <= 3

    at = short_puts()
    for con_id in range(43, 47):
        at.hold(put(con_id, 400 + con_id), -2)
        at.quote(con_id, "2.45", "2.55")
    play(tmp_path, at, story, {**CONFIG, "caps": {"orders_per_minute": 3}})


def test_a_market_that_closes_under_a_ladder_leaves_it_to_the_next_session(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await at.clock.advance(6 * 3600 - 10)
        await breach(at)
        assert len(at.received) == 1
        at.end(at.ours(42)[0])
        at.clock.jump(timedelta(seconds=30))
        await follow(at, 60, fills=False)
        assert len(at.received) == 1

    play(tmp_path, short_puts(), story)


# ----- a journal that cannot be written


@contextmanager
def full(directory: Path) -> Iterator[None]:
    """The journal's files cannot grow any more: what a full disk does to them, for this process alone."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((directory / "journal.db-wal").stat().st_size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """Another program writes to the journal and does not end."""
    other = sqlite3.connect(directory / "journal.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


@pytest.mark.parametrize("trouble", [full, held])
def test_nothing_is_sent_while_the_journal_cannot_be_written(tmp_path: Path, trouble: Callable[[Path], Any]) -> None:
    async def story(at: World, manager: Manager) -> None:
        with trouble(tmp_path):
            await follow(at, 30)
            assert not at.received
            assert manager.kinds.count("journal_fault") == 1
            assert manager.engine.ready, "the connection is as it was"
            (count,) = manager.engine.shared.guard.counts.values()
            assert count.seconds["halted"] >= 25
        await follow(at, 20)
        assert manager.kinds.count("journal_works") == 1
        assert at.positions[42] == 0
        assert len(at.received) == 1

    play(tmp_path, short_puts(), story)


@pytest.mark.parametrize("trouble", [full, held])
def test_what_happens_to_an_order_meanwhile_is_found_out_later(tmp_path: Path, trouble: Callable[[Path], Any]) -> None:
    async def story(at: World, manager: Manager) -> None:
        await breach(at)
        with trouble(tmp_path):
            at.fill(at.ours(42)[0], 1)
            await follow(at, 20, fills=False)
            assert len(at.received) == 1
        await follow(at, 30)
        assert at.positions[42] == 0
        assert sum(order.filled for order in at.orders) == 2
        assert not manager.engine.shared.locks.present
        assert all(
            intent.state in (State.FILLED, State.CANCELLED)
            for intent in manager.engine.shared.access.journal.intents(ACCOUNT, 42)
        )

    play(tmp_path, short_puts(), story)


# ----- the connection


@pytest.mark.parametrize("step", list(Step))
def test_a_sync_of_which_one_step_fails_is_no_sync(tmp_path: Path, step: Step) -> None:
    async def story(at: World, manager: Manager) -> None:
        assert not manager.engine.ready
        await follow(at, 60)
        assert not manager.engine.ready
        assert not at.received
        assert "connected" not in manager.kinds
        at.fail = set()
        await follow(at, 15)
        assert at.positions[42] == 0

    at = short_puts()
    at.fail = {step.value}
    play(tmp_path, at, story)


@pytest.mark.parametrize("step", list(Step))
@pytest.mark.parametrize("order", [False, True], ids=["idle", "order resting"])
def test_a_session_that_ends_in_a_step_of_a_sync_is_started_again(tmp_path: Path, step: Step, order: bool) -> None:
    async def story(at: World, manager: Manager) -> None:
        if order:
            await breach(at)

        def drop(question: str) -> None:
            if question == step.value and not manager.engine.shared.in_flight:
                at.on_ask = lambda _question: None
                manager.broker.drop()

        at.on_ask = drop
        await at.clock.advance(31)
        await at.clock.advance(10)
        assert manager.engine.ready
        assert manager.kinds.count("connection_lost") == 1
        await follow(at, 20)
        assert at.positions[42] == 0
        assert sum(order.filled for order in at.orders) == 2

    play(tmp_path, short_puts(), story)


@pytest.mark.parametrize("code", [0, 1100], ids=["disconnect", "1100"])
def test_a_session_that_ends_while_the_position_is_read_again_sends_nothing(tmp_path: Path, code: int) -> None:
    async def story(at: World, manager: Manager) -> None:
        def ends(question: str) -> None:
            if question == "open orders" and manager.engine.shared.in_flight:
                at.on_ask = lambda _question: None
                if code:
                    at.emit(CodeReceived(code, "lost"))
                else:
                    manager.broker.drop()

        at.on_ask = ends
        await breach(at, times=1)
        at.quote(42, "3.75", "3.85")
        await settle()
        assert manager.engine.shared.connection.state.phase is (Phase.LINK_LOST if code else Phase.DOWN)
        assert not at.received
        at.emit(CodeReceived(1102, "restored"))
        await follow(at, 20)
        assert at.positions[42] == 0
        assert len(at.received) == 1

    play(tmp_path, short_puts(), story)


@pytest.mark.parametrize("state", [State.SENDING, State.WORKING, State.PARTIAL, State.CANCELLING])
@pytest.mark.parametrize("how", ["disconnect", "1100 and 1102", "kill"])
def test_in_each_state_of_an_order_the_connection_may_go(tmp_path: Path, state: State, how: str) -> None:
    async def story(at: World, manager: Manager) -> None:
        at.acknowledges = state is not State.SENDING
        at.cancels_at_once = state is not State.CANCELLING
        await breach(at)
        (order,) = at.ours(42)
        if state is State.PARTIAL:
            at.fill(order, 1)
        if state is State.CANCELLING:
            await follow(at, 6, fills=False)
        await settle()
        (intent,) = manager.engine.shared.access.journal.intents(ACCOUNT, 42)
        assert intent.state is state
        if how == "kill":
            await manager.kill()
            manager = Manager(at, tmp_path, seed=1)
            await manager.start()
        elif how == "disconnect":
            manager.broker.drop()
        else:
            at.emit(CodeReceived(1100, "lost"))
            await at.clock.advance(20)
            at.emit(CodeReceived(1102, "restored"))
        at.cancels_at_once = at.acknowledges = True
        if order.cancelling:
            at.end(order)
        await follow(at, 40)
        assert at.positions[42] == 0
        assert sum(order.filled for order in at.orders) == 3
        assert not manager.engine.shared.locks.present
        await manager.end()

    play_without_end(tmp_path, short_puts(-3), story)


def test_a_client_id_in_use_is_tried_again_and_then_a_person_is_called(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await at.clock.advance(100)
        assert "page" not in manager.kinds
        await at.clock.advance(60)
        (page,) = (message for message in manager.reported if message.kind == "page")
        assert "client id" in page.text()
        await at.clock.advance(120)
        assert manager.kinds.count("page") == 1
        at.up = True
        await at.clock.advance(60)
        assert manager.engine.ready

    at = short_puts()
    at.up, at.refusal = False, CLIENT_ID_IN_USE
    play(tmp_path, at, story)


@pytest.mark.parametrize("hours", [-26, -2, 2, 26])
@pytest.mark.parametrize("resting", [False, True], ids=["idle", "order resting"])
def test_a_clock_that_is_set_prevents_no_close(tmp_path: Path, hours: int, resting: bool) -> None:
    async def story(at: World, manager: Manager) -> None:
        if resting:
            await breach(at)
        at.clock.jump(timedelta(hours=hours))
        await at.clock.advance(40)
        await follow(at, 30)
        assert at.positions[42] == 0
        assert sum(order.filled for order in at.orders) == 2
        assert manager.engine.ready

    at = short_puts()
    at.instruments[42] = put(42, always=True)
    play(tmp_path, at, story)


# ----- what is held


def test_a_position_that_another_client_opens_is_guarded_at_once(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        at.hold(put(43, 440), 0)
        at.fill(at.foreign(43, Side.SELL, 1), 1)
        await at.clock.advance(1)
        assert "position_opened" in manager.kinds
        assert manager.broker.watched == {42, 43}
        for _ in range(2):
            at.quote(43, "3.75", "3.85")
            await at.clock.advance(1)
        assert [order.con_id for order in at.received] == [43]

    play(tmp_path, short_puts(), story)


def test_the_same_contract_in_two_accounts_is_closed_in_each(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        with pytest.raises(RefusedError, match="several positions"):
            await manager.engine.close("42", by="a person")
        await breach(at)
        assert sorted((order.account, order.quantity) for order in at.received) == [
            (ACCOUNT, Decimal(2)),
            (SECOND, Decimal(1)),
        ]
        assert len({order.oca_group for order in at.received}) == 2
        at.fill(at.live(42)[0], 2)
        await at.clock.advance(1)
        at.fill(at.live(42, SECOND)[0], 1)
        await at.clock.advance(30)
        assert at.positions[42] == at.second[42] == 0
        assert len(at.received) == 2
        assert not any(
            account in message.title + message.text() for message in manager.reported for account in (ACCOUNT, SECOND)
        )

    at = short_puts()
    at.second[42] = Decimal(-1)
    play(tmp_path, at, story)


def test_an_account_that_is_not_to_be_guarded_is_left_alone(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await breach(at, times=4)
        assert [order.account for order in at.received] == [ACCOUNT]
        at.fill(at.live(42)[0], 2)
        await at.clock.advance(40)
        assert at.second[42] == -1
        assert len(at.received) == 1

    at = short_puts()
    at.second[42] = Decimal(-1)
    play(tmp_path, at, story, {**CONFIG, "accounts": [ACCOUNT]})


# ----- what outlasts a restart


def test_a_trailing_stop_goes_on_where_it_was_after_a_restart(tmp_path: Path) -> None:
    config = {**CONFIG, "defaults": {"trailing": {"activate_percent": 40, "distance_percent": 20}}}

    async def story(at: World, manager: Manager) -> None:
        await breach(at, "0.95", "1.00", times=3)
        await at.clock.advance(31)
        await manager.kill()
        again = Manager(at, tmp_path, config, seed=1)
        await again.start()
        await breach(at, "1.45", "1.55", times=1)
        assert not at.received, "one quote is no trigger, after a restart neither"
        await breach(at, "1.45", "1.55", times=1)
        assert at.received
        await again.end()

    play_without_end(tmp_path, short_puts(), story, config)


def test_new_rules_hold_from_the_next_quote_on(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await breach(at, "2.75", "2.85", times=3)
        assert not at.received
        tighter = {**CONFIG, "defaults": {"stop": {"percent_of_premium": 10}}}
        manager.engine.reload(Config.model_validate(tighter))
        await breach(at, "2.75", "2.85")
        assert "reloaded" in manager.kinds
        assert len(at.received) == 1

    play(tmp_path, short_puts(), story)


def test_a_disaster_stop_that_is_switched_off_is_cancelled(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await at.clock.advance(6)
        (resting,) = at.ours(42)
        manager.engine.reload(Config.model_validate(CONFIG))
        await at.clock.advance(6)
        assert resting.over == "Cancelled"
        assert len(at.received) == 1

    play(tmp_path, short_puts(), story, DISASTER)


def test_every_second_of_a_long_story_is_counted(tmp_path: Path) -> None:
    """What is unprotected by cause, what nobody watched, and the rest, is the time in which it was held."""

    async def story(at: World, manager: Manager) -> None:
        async def quoted(seconds: int) -> None:
            for _ in range(seconds):
                at.quote(42, "2.45", "2.55")
                await at.clock.advance(1)

        await quoted(20)
        at.emit(CodeReceived(1100, "lost"))
        await at.clock.advance(7)
        at.emit(CodeReceived(1102, "restored"))
        await quoted(20)
        manager.broker.drop()
        at.up = False
        await at.clock.advance(13)
        at.up = True
        await at.clock.advance(60)
        assert manager.engine.ready
        away = (manager.engine.link_status.since - at.clock.now()).total_seconds() + 13 + 60
        await quoted(35)
        (unit,) = manager.engine.shared.guard.units
        seconds = manager.engine.shared.guard.counts[unit.key].seconds
        assert seconds["not connected"] == pytest.approx(7 + away)
        assert set(seconds) <= {"not connected", "no usable quote"}
        await manager.kill()
        await at.clock.advance(100)
        again = Manager(at, tmp_path, seed=1)
        await again.start()
        await quoted(10)
        (unit,) = again.engine.shared.guard.units
        unwatched = again.engine.shared.guard.counts[unit.key].seconds["not watched"]
        assert 100 <= unwatched <= 100 + 30, "since it was last written down"
        await again.end()

    play_without_end(tmp_path, short_puts(), story)


def many(count: int) -> World:
    """An account that holds so many different puts."""
    at = World(ManualClock(BEGIN))
    for con_id in range(1, count + 1):
        at.hold(put(con_id, 400 + con_id, always=True), 1)
        at.quote(con_id, "2.50", "2.60")
    return at


def test_what_the_broker_reports_does_not_wait_for_an_evaluation_of_all_that_is_held(tmp_path: Path) -> None:
    async def story() -> None:
        at = many(95)
        manager = Manager(at, tmp_path)
        await manager.start()
        shared, slices = manager.engine.shared, list[int]()
        await at.clock.advance(4.999)
        loops = manager.loops
        at.clock._pass(at.clock.now() + timedelta(seconds=0.001))
        shared.agenda.wake()
        while manager.loops == loops:
            await asyncio.sleep(0)
            slices.append(sum(count.looked_at == at.clock.now() for count in shared.guard.counts.values()))
            if len(slices) == 5:
                shared.in_flight.add([("an order is on its way", 0)])
        looked = [after - before for before, after in itertools.pairwise([0, *slices])]
        assert sum(looked) == 95
        assert max(looked[:5]) == SLICE
        assert max(looked[5:]) == 1
        await manager.end()

    drive(story)


def test_a_quote_in_the_middle_of_a_loop_is_acted_on_at_once(tmp_path: Path) -> None:
    async def story() -> None:
        at = many(95)
        manager = Manager(at, tmp_path, {**CONFIG, "quotes": {"confirmations": 1}})
        await manager.start()
        await at.clock.advance(1)
        manager.engine._loop.start()
        loops = manager.loops
        await asyncio.sleep(0)
        at.quote(95, "1.00", "1.10")
        for _ in range(40):
            await asyncio.sleep(0)
            if at.received:
                break
        assert manager.loops == loops, "the whole loop came first"
        assert at.received[0].con_id == 95
        await manager.end()

    drive(story)
