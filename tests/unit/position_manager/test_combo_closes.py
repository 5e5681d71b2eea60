"""Groups closed by one combination order, and leg by leg when that does not work: never twice, whatever happens."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import Callable, Coroutine, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.position_manager.engine_world import (
    ACCOUNT,
    BEGIN,
    COMBO,
    COMBO_PARTS,
    Manager,
    ManualClock,
    Order,
    World,
    put,
    vertical,
)

from position_manager.brokers.broker import CodeReceived
from position_manager.engine.engine_status import status_of
from position_manager.journal.reader import JournalReader
from position_manager.orders.intents import Side, State
from position_manager.reports.explain import explain

Story = Callable[[World, Manager], Coroutine[Any, Any, Manager | None]]


def play(
    directory: Path, story: Story, quantity: int = 2, config: Mapping[str, object] = COMBO, at: World | None = None
) -> None:
    """A story with verticals: short the 450 puts at 2.50, long the 440 puts at 1.50, a credit of 1.00."""

    async def whole() -> None:
        world = at or vertical(quantity)
        manager = Manager(world, directory, config)
        await manager.start()
        await world.clock.advance(1)
        await (await story(world, manager) or manager).end()

    asyncio.run(whole())


def requote(at: World, short: tuple[str, str] = ("3.15", "3.20"), long: tuple[str, str] = ("1.75", "1.80")) -> None:
    at.quote(42, *short)
    at.quote(43, *long)


async def breach(at: World) -> Order:
    """The stop fires; the combination that rests."""
    for _ in range(2):
        requote(at)
        await at.clock.advance(1)
    (order,) = at.live(42)
    assert at.live(43) == [order] and order.legs
    return order


async def go_on(at: World, seconds: int, fills: bool = False) -> None:
    for _ in range(seconds // 2):
        requote(at)
        await at.clock.advance(2)
        for order in [*at.live(42), *at.live(43)] if fills else []:
            if order.client_id == 100 and not order.over and not order.sent.stop:
                at.fill(order, int(order.remaining), "1.80")


def closed_once(at: World, manager: Manager) -> None:
    assert not any(at.positions.values()), at.positions
    assert not manager.engine.shared.locks.present
    assert not manager.engine.shared.access.journal.open_intents()


def test_one_order_closes_all_legs(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        order = await breach(at)
        (unit,) = status_of(manager.engine, "").units
        assert unit.verdict == "closing" and unit.text.endswith("(by a combination)")
        (sent,) = at.combos
        assert (sent.side, sent.quantity, sent.legs) == (Side.BUY, Decimal(2), ((42, Decimal(1)), (43, Decimal(-1))))
        assert Decimal("1.35") <= sent.limit <= Decimal("1.45")
        at.fill(order, 2)
        await go_on(at, 10)
        closed_once(at, manager)
        assert not at.received and "position_closed" in manager.kinds

    play(tmp_path, story)


RATIOS: Mapping[str, object] = {
    **COMBO,
    "groups": {
        "back": {
            "legs": [{"con_id": 42, "ratio": 2}, {"con_id": 43, "ratio": -1}],
            "stop": {"loss_amount": 30},
            "close": "combo",
        }
    },
}


def with_ratios() -> World:
    """Two groups of RATIOS: two long 450 puts for each short 440 put."""
    at = World(ManualClock(BEGIN))
    at.hold(put(42), 4)
    at.hold(put(43, 440), -2, "1.50")
    return at


async def fall(at: World, times: int = 3, seconds: int = 1) -> None:
    """The stop of RATIOS fires."""
    for _ in range(times):
        requote(at, ("2.00", "2.05"), ("1.50", "1.55"))
        await at.clock.advance(seconds)


def test_a_debit_is_sold_and_ratios_are_kept(tmp_path: Path) -> None:
    """What is held is sold for what it brings."""
    at = with_ratios()

    async def story(at: World, manager: Manager) -> None:
        await fall(at)
        (sent,) = at.combos
        assert (sent.side, sent.quantity, sent.legs) == (Side.SELL, Decimal(2), ((42, Decimal(2)), (43, Decimal(-1))))
        assert sent.limit == Decimal("2.53")
        at.fill(at.live(42)[0], 2)
        await at.clock.advance(8)
        closed_once(at, manager)

    play(tmp_path, story, config=RATIOS, at=at)


def test_a_part_of_a_combination_with_ratios_is_proven_in_contracts(tmp_path: Path) -> None:
    """The completed order counts combinations, the executions of its legs contracts."""
    at = with_ratios()

    async def story(at: World, manager: Manager) -> None:
        await fall(at)
        (order,) = at.live(42)
        at.fill(order, 1)
        at.end(order)
        await fall(at, times=10, seconds=2)
        first = [manager.engine.shared.access.journal.intents(ACCOUNT, con_id)[0] for con_id in (42, 43)]
        assert [(intent.state, intent.filled) for intent in first] == [
            (State.CANCELLED, Decimal(2)),
            (State.CANCELLED, Decimal(1)),
        ]
        assert {sent.con_id for sent in at.received} == {43}, "the short leg first"

    play(tmp_path, story, config=RATIOS, at=at)


def test_the_price_walks_within_its_bounds_one_order_at_a_time(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await breach(at)
        await go_on(at, 24)
        limits = [sent.limit for sent in at.combos]
        assert limits == sorted(limits) and len(limits) > 2 and limits[-1] == Decimal("1.45")
        assert len(at.live(42)) == 1 and not at.received

    play(tmp_path, story)


def test_after_its_time_the_rest_is_closed_leg_by_leg(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        at.fill(await breach(at), 1)
        await go_on(at, 40)
        assert "leg_by_leg" in manager.kinds
        assert {sent.con_id for sent in at.received} == {42}, "the short leg first"
        await go_on(at, 10, fills=True)
        closed_once(at, manager)

    play(tmp_path, story)


def test_legs_wait_until_the_end_of_the_combination_is_proven(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        order = await breach(at)
        at.cancels_at_once = False
        await go_on(at, 50)
        assert order.cancelling and not at.received
        at.fill(order, 1)
        at.cancels_at_once = True
        at.end(order)
        await go_on(at, 14, fills=True)
        closed_once(at, manager)

    play(tmp_path, story)


@pytest.mark.parametrize("code", [201, 110, 312])
def test_a_combination_that_the_broker_refuses_is_closed_leg_by_leg(tmp_path: Path, code: int) -> None:
    async def story(at: World, manager: Manager) -> None:
        order = await breach(at)
        at.end(order, "Inactive" if code == 201 else "Cancelled", code)
        await go_on(at, 20, fills=True)
        closed_once(at, manager)
        assert len(at.combos) == 1 and "leg_by_leg" in manager.kinds

    play(tmp_path, story)


def test_a_refusal_before_the_acknowledgement_locks_nothing(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        at.swallow = True
        for _ in range(2):
            requote(at)
            await at.clock.advance(1)
        at.swallow = False
        at.emit(CodeReceived(201, "Order rejected", at.combos[0].order_id))
        for _ in range(50):
            requote(at)
            await at.clock.advance(2)
        await go_on(at, 20, fills=True)
        closed_once(at, manager)

    play(tmp_path, story)


@pytest.mark.parametrize("filled", [0, 1, 2])
@pytest.mark.parametrize("moment", ["before send", "after combo", "resting"])
def test_kill_9_closes_nothing_twice(tmp_path: Path, filled: int, moment: str) -> None:
    async def story(at: World, manager: Manager) -> Manager:
        dead = asyncio.Event()

        def dies(now: str) -> None:
            if now == moment:
                dead.set()
                at.on_send = lambda _moment: None
                raise asyncio.CancelledError

        at.on_send = dies
        for _ in range(2):
            requote(at)
            await at.clock.advance(1)
        assert dead.is_set() or moment == "resting"
        await manager.kill()
        for order in at.live(42):
            if filled:
                at.fill(order, filled)
        again = Manager(at, tmp_path, COMBO, seed=1)
        await again.start()
        for _ in range(60):
            requote(at)
            await at.clock.advance(2)
        await go_on(at, 20, fills=True)
        closed_once(at, again)
        return again

    play(tmp_path, story)


def test_a_reconnect_finds_the_legs_that_traded_meanwhile(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        order = await breach(at)
        at.lag = True
        at.fill(order, 1)
        manager.broker.drop()
        await at.clock.advance(3)
        at.catch_up()
        await go_on(at, 20)
        journal = manager.engine.shared.access.journal
        filled = {con_id: next(i.filled for i in journal.intents(ACCOUNT, con_id)) for con_id in (42, 43)}
        assert filled == {42: Decimal(1), 43: Decimal(1)}
        await go_on(at, 60, fills=True)
        closed_once(at, manager)

    play(tmp_path, story)


def test_combinations_of_a_person_count_as_what_rests(tmp_path: Path) -> None:
    """A person's own combination that rests for all of a leg leaves nothing to send, for the legs either."""

    async def story(at: World, manager: Manager) -> None:
        own = at.foreign(42, Side.BUY, 2)
        own.legs = ((42, Side.BUY, Decimal(1)), (43, Side.SELL, Decimal(1)))
        manager.engine.shared.agenda.sync_soon()
        for _ in range(20):
            requote(at)
            await at.clock.advance(2)
        assert not at.combos and not at.received
        assert manager.kinds.count("refused") == 2, "once of the combination, once of the leg"
        (unit,) = manager.engine.shared.guard.units
        assert own.remaining == 2 and unit.group == "vertical"

    play(tmp_path, story)


def test_a_disaster_stop_of_a_leg_makes_way_first(tmp_path: Path) -> None:
    config = {**COMBO, "disaster_stop": {"percent_of_premium": 200, "short_legs_percent": 300}}

    async def story(at: World, manager: Manager) -> None:
        await at.clock.advance(6)
        (stop,) = at.live(42)
        assert stop.sent.stop
        for _ in range(4):
            requote(at)
            await at.clock.advance(1)
        assert stop.over == "Cancelled" and len(at.combos) == 1
        at.fill(at.live(42)[0], 2)
        await go_on(at, 10)
        closed_once(at, manager)

    play(tmp_path, story, config=config)


def test_a_wide_leg_holds_the_combination_back_and_then_the_legs_go(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await manager.engine.close("vertical", by="a test")
        for _ in range(25):
            at.quote(42, "2.45", "2.55")
            at.quote(43, "1.00", "2.00")
            await at.clock.advance(2)
        assert not at.combos
        assert {sent.con_id for sent in at.received} == {42}

    play(tmp_path, story)


def test_a_part_of_a_group_is_closed_by_a_combination(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        for _ in range(3):
            requote(at, ("1.38", "1.40"), ("0.80", "0.82"))
            await at.clock.advance(1)
        (sent,) = at.combos
        assert sent.quantity == 2
        at.fill(next(order for order in at.live(43)), 2)
        for _ in range(10):
            requote(at, ("1.38", "1.40"), ("0.80", "0.82"))
            await at.clock.advance(2)
        assert at.positions == {42: Decimal(-2), 43: Decimal(2)} and len(at.combos) == 1
        (unit,) = manager.engine.shared.guard.units
        assert manager.engine.shared.guard.levels_done(unit) == (1,)

    play(tmp_path, story, quantity=4, config=COMBO_PARTS)


def test_explain_shows_the_combination_of_each_leg(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        at.fill(await breach(at), 2)
        await go_on(at, 6)
        journal = manager.engine.shared.access.journal
        for con_id in (42, 43):
            (intent,) = journal.intents(ACCOUNT, con_id)
            assert intent.state is State.FILLED
            text = explain(journal, f"contract:{con_id}")
            assert "in a combination" in text and f"order {at.combos[0].order_id} of client 100" in text

    play(tmp_path, story)


def test_a_journal_of_a_release_without_combinations_is_taken_up(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> Manager:
        await manager.kill()
        with sqlite3.connect(tmp_path / "journal.db") as db:
            db.execute("DROP TABLE combinations")
        db.close()
        with JournalReader(tmp_path / "journal.db") as reader:
            assert reader.open_intents() == () and reader.sent_since(BEGIN) == 0
        again = Manager(at, tmp_path, COMBO, seed=1)
        await again.start()
        at.fill(await breach(at), 2)
        await go_on(at, 6)
        closed_once(at, again)
        return again

    play(tmp_path, story)


ACTIONS = (
    *("breach", "breach", "calm", "fill one", "fill all", "kill", "drop", "slow cancels", "cancels"),
    *("the broker ends it", "refused", "lag", "catch up", "time", "a person buys one back"),
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    quantity=st.integers(1, 4),
    parts=st.booleans(),
    actions=st.lists(st.sampled_from(ACTIONS), min_size=3, max_size=14).map(lambda more: ["breach", *more]),
)
def test_whatever_happens_each_leg_is_closed_once(quantity: int, parts: bool, actions: list[str]) -> None:
    """Random histories of a group; the world checks each order and each execution, the end is a closed group."""
    config = COMBO_PARTS if parts else COMBO

    async def act(at: World, manager: Manager, action: str, directory: Path) -> Manager:
        live = [order for order in at.orders if not order.over and order.client_id == 100 and not order.sent.stop]
        match action:
            case "breach" | "calm":
                for _ in range(3):
                    requote(at) if action == "breach" else requote(at, ("2.45", "2.50"), ("1.48", "1.52"))
                    await at.clock.advance(1)
            case "fill one" | "fill all" if live:
                at.fill(live[-1], 1 if action == "fill one" else int(live[-1].remaining), "1.80")
            case "kill":
                await manager.kill()
                manager = Manager(at, directory, config, seed=manager.seed + 1)
                await manager.start()
            case "drop":
                manager.broker.drop()
            case "slow cancels":
                at.cancels_at_once = False
            case "cancels":
                at.cancels_at_once = True
                for order in at.orders:
                    if order.cancelling and not order.over:
                        at.end(order)
            case "the broker ends it" if live:
                at.end(live[-1])
            case "refused" if live and live[-1].legs and not live[-1].filled:
                at.end(live[-1], "Inactive", 201)
            case "lag" | "catch up":
                at.lag = action == "lag"
                if not at.lag:
                    at.catch_up()
            case "time":
                await at.clock.advance(12)
            case "a person buys one back" if not live and not at.unseen and not manager.engine.shared.in_flight:
                if (
                    manager.engine.ready
                    and at.positions[42] < 0
                    and not manager.engine.shared.access.journal.open_intents()
                ):
                    at.fill(at.foreign(42, Side.BUY, 1), 1)
        await at.clock.advance(1)
        return manager

    async def whole(directory: Path) -> None:
        at = vertical(quantity)
        manager = Manager(at, directory, config)
        await manager.start()
        for action in actions:
            manager = await act(at, manager, action, directory)
        at.catch_up()
        manager = await act(at, manager, "cancels", directory)
        await go_on(at, 200, fills=True)
        journal = manager.engine.shared.access.journal
        truth = {order.sent.ref: order.filled for order in at.orders if order.sent.ref}
        for con_id in (42, 43):
            for intent in journal.intents(ACCOUNT, con_id):
                assert intent.filled == truth[intent.ref] * intent.per_unit, intent
        locked = manager.engine.shared.locks.present
        # What a person has left of a group, or an order that traded while it was being withdrawn, is guarded by the
        # rules of single positions.
        alone = "calm" in actions or any(order.client_id == 0 for order in at.orders)
        assert locked or alone or not any(at.positions.values()), (at.positions, manager.engine.closer.closings)
        assert locked or not [intent for intent in journal.open_intents() if intent.lead]
        await manager.end()

    shared = Path("/dev/shm")  # noqa: S108 - only to be fast: the directory has a name of its own
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as directory:
        asyncio.run(whole(Path(directory)))
