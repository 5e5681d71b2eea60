"""Partial targets: a part at a level, the rest by the other rules; each level once in the life of a position."""

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
from tests.unit.position_manager.engine_world import BEGIN, CONFIG, Manager, ManualClock, World, put
from tests.unit.position_manager.rule_fixtures import assess, held, option, quote, rules, run

from position_manager.brokers.broker import PositionReceived
from position_manager.config.schema import Config
from position_manager.engine.engine_status import status_of
from position_manager.model import Position
from position_manager.orders.intents import Side
from position_manager.replay.replay import replay
from position_manager.replay.tape import Tick
from position_manager.rules.evaluation import Close, Hold, Memory, Rule

HALF = {"levels": [{"percent_of_premium": 40, "close_percent": 50}]}
CONFIGURED: Mapping[str, object] = {
    **CONFIG,
    "defaults": {
        "stop": {"percent_of_premium": 50},
        "target": {"percent_of_premium": 60},
        "partial_targets": HALF,
    },
}


def play(
    directory: Path,
    story: Callable[[World, Manager], Coroutine[Any, Any, Manager | None]],
    quantity: int = -4,
    config: Mapping[str, object] = CONFIGURED,
) -> None:
    """A story with puts that were sold at 2.50: half is bought back at 1.50, all at 1.00."""

    async def whole() -> None:
        at = World(ManualClock(BEGIN))
        at.hold(put(42), quantity)
        at.quote(42, "2.45", "2.55")
        manager = Manager(at, directory, config)
        await manager.start()
        last = await story(at, manager) or manager
        await last.end()

    asyncio.run(whole())


async def at_the_level(at: World, bid: str = "1.40", ask: str = "1.50") -> None:
    for _ in range(2):
        at.quote(42, bid, ask)
        await at.clock.advance(1)


async def take_the_level(at: World) -> None:
    """The level is reached, and what it sends is executed."""
    await at_the_level(at)
    (order,) = at.live(42)
    at.fill(order, int(order.remaining), "1.45")
    await at.clock.advance(5)


async def executes(at: World, bid: str, ask: str) -> None:
    """Time in which each order is executed within three seconds."""
    for _ in range(12):
        at.quote(42, bid, ask)
        await at.clock.advance(3)
        for order in at.live(42):
            at.fill(order, int(order.remaining), ask)


async def stays(at: World, seconds: int = 40) -> None:
    for _ in range(seconds // 4):
        at.quote(42, "1.40", "1.50")
        await at.clock.advance(4)


def test_half_is_closed_at_the_level_and_the_rest_at_the_target(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await at_the_level(at)
        (order,) = at.live(42)
        assert (order.sent.side, order.sent.quantity) == (Side.BUY, Decimal(2))
        at.fill(order, 2, "1.45")
        await stays(at)
        assert at.positions[42] == -2 and len(at.received) == 1
        (unit,) = status_of(manager.engine, "").units
        assert any(text.endswith("; done: 1") for text in unit.rules), unit.rules
        assert "closed_in_part" in manager.kinds and "position_closed" not in manager.kinds
        for _ in range(2):
            at.quote(42, "0.90", "1.00")
            await at.clock.advance(1)
        (order,) = at.live(42)
        assert order.sent.quantity == 2
        at.fill(order, 2, "0.95")
        await at.clock.advance(5)
        assert "position_closed" in manager.kinds

    play(tmp_path, story)


def test_a_rung_after_a_partial_fill_asks_for_what_the_level_lacks(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await at_the_level(at)
        at.fill(at.live(42)[0], 1, "1.45")
        await stays(at, 8)
        (order,) = at.live(42)
        assert order.remaining == 1 and len(at.received) > 1
        at.fill(order, 1, "1.50")
        await stays(at)
        assert at.positions[42] == -2

    play(tmp_path, story)


@pytest.mark.parametrize("filled", [0, 1, 2])
def test_kill_9_does_not_repeat_a_level(tmp_path: Path, filled: int) -> None:
    async def story(at: World, manager: Manager) -> Manager:
        await at_the_level(at)
        (order,) = at.live(42)
        if filled:
            at.fill(order, filled, "1.45")
        await manager.kill()
        again = Manager(at, tmp_path, CONFIGURED, seed=1)
        await again.start()
        for _ in range(10):
            at.quote(42, "1.40", "1.50")
            await at.clock.advance(3)
            for open_order in at.live(42):
                at.fill(open_order, int(open_order.remaining), "1.50")
        await stays(at)
        assert at.positions[42] == -2
        assert not again.engine.shared.locks.present
        return again

    play(tmp_path, story)


@pytest.mark.parametrize("killed", [False, True])
def test_a_level_whose_decision_cannot_be_written_is_not_done(tmp_path: Path, killed: bool) -> None:
    async def story(at: World, manager: Manager) -> Manager:
        blocker = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        await at_the_level(at)
        assert not at.received
        blocker.execute("ROLLBACK")
        blocker.close()
        if killed:
            await manager.kill()
            manager = Manager(at, tmp_path, CONFIGURED, seed=1)
            await manager.start()
        await at.clock.advance(6)
        await take_the_level(at)
        await stays(at)
        assert at.positions[42] == -2
        return manager

    play(tmp_path, story)


def test_a_person_who_sells_a_part_does_not_repeat_it(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await take_the_level(at)
        at.fill(at.foreign(42, Side.BUY, 1), 1)
        await stays(at)
        assert at.positions[42] == -1 and len(at.received) == 1

    play(tmp_path, story)


def test_a_split_does_not_repeat_it(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> Manager:
        await take_the_level(at)
        at.positions[42], at.average[42] = Decimal(-4), Decimal("1.25")
        at.emit(PositionReceived("DU1234567", 42, Decimal(-4)))
        for _ in range(30):
            at.quote(42, "0.70", "0.74")
            await at.clock.advance(4)
        assert manager.engine.shared.locks.present
        manager.engine.release("42", by="a test")
        for _ in range(10):
            at.quote(42, "0.70", "0.74")
            await at.clock.advance(4)
        assert len(at.received) == 1 and at.positions[42] == -4
        assert not manager.engine.shared.locks.present
        await manager.kill()
        again = Manager(at, tmp_path, CONFIGURED, seed=1)
        await again.start()
        for _ in range(10):
            at.quote(42, "0.70", "0.74")
            await at.clock.advance(4)
        assert len(at.received) == 1
        return again

    play(tmp_path, story)


def test_another_position_has_its_levels_again(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await take_the_level(at)
        at.fill(at.foreign(42, Side.BUY, 2), 2)
        await at.clock.advance(10)
        at.positions[42] = Decimal(0)
        sold = at.foreign(42, Side.SELL, 4)
        at.fill(sold, 4, "2.50")
        await at.clock.advance(10)
        await take_the_level(at)
        assert at.positions[42] == -2 and len(at.received) == 2

    play(tmp_path, story)


def test_a_position_that_was_opened_again_while_nobody_watched_has_its_levels_again(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> Manager:
        await take_the_level(at)
        await manager.kill()
        at.fill(at.foreign(42, Side.BUY, 2), 2)
        at.fill(at.foreign(42, Side.SELL, 4), 4, "2.50")
        again = Manager(at, tmp_path, CONFIGURED, seed=1)
        await again.start()
        await at.clock.advance(10)
        await take_the_level(at)
        assert at.positions[42] == -2
        return again

    play(tmp_path, story)


def test_half_of_one_contract_is_none_and_moves_the_stop_all_the_same(tmp_path: Path) -> None:
    parts = {**HALF, "then_breakeven": True}
    config = {**CONFIG, "defaults": {"stop": {"percent_of_premium": 50}, "partial_targets": parts}}

    async def story(at: World, manager: Manager) -> None:
        await at_the_level(at)
        await stays(at, 8)
        assert not at.received
        assert "partial_target_passed" in manager.kinds
        for _ in range(2):
            at.quote(42, "2.45", "2.55")
            await at.clock.advance(1)
        (order,) = at.live(42)
        assert order.sent.quantity == 1
        assert any("breakeven" in message.title for message in manager.reported)

    play(tmp_path, story, quantity=-1, config=config)


def test_without_the_option_the_stop_stays_where_it_is(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await take_the_level(at)
        for _ in range(3):
            at.quote(42, "2.55", "2.60")
            await at.clock.advance(1)
        assert len(at.received) == 1

    play(tmp_path, story)


def test_a_stop_closes_all_while_a_part_is_being_closed(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await at_the_level(at)
        at.fill(at.live(42)[0], 1, "1.45")
        for _ in range(3):
            at.quote(42, "3.75", "3.85")
            await at.clock.advance(1)
        assert any(message.title.endswith(": stop") for message in manager.reported), "it does not wait for the part"
        await executes(at, "3.75", "3.85")
        assert at.positions[42] == 0
        assert "position_closed" in manager.kinds

    play(tmp_path, story)


def test_a_level_that_recovers_before_a_fill_is_left_for_later(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await at_the_level(at)
        for _ in range(8):
            at.quote(42, "2.00", "2.10")
            await at.clock.advance(1)
        assert not at.live(42) and "closing_withdrawn" in manager.kinds
        await take_the_level(at)
        assert at.positions[42] == -2

    play(tmp_path, story)


def test_a_level_that_recovers_after_a_fill_is_done(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await at_the_level(at)
        at.fill(at.live(42)[0], 1, "1.45")
        for _ in range(8):
            at.quote(42, "2.00", "2.10")
            await at.clock.advance(1)
        assert not at.live(42)
        sent = len(at.received)
        await stays(at)
        assert at.positions[42] == -3 and len(at.received) == sent

    play(tmp_path, story)


def test_a_person_s_close_means_all_of_it(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await at_the_level(at)
        await manager.engine.close("42", by="a test")
        await executes(at, "1.40", "1.50")
        assert at.positions[42] == 0

    play(tmp_path, story)


def test_shadow_counts_the_level_and_watches_on(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await at_the_level(at)
        await stays(at)
        assert not at.received
        assert manager.kinds.count("shadow") == 1
        for _ in range(2):
            at.quote(42, "0.90", "1.00")
            await at.clock.advance(1)
        assert manager.kinds.count("shadow") == 2

    play(tmp_path, story, config={**CONFIGURED, "mode": "shadow"})


def test_a_group_is_closed_in_part_and_stays_a_group(tmp_path: Path) -> None:
    """Four verticals at a credit of 1.00: two are bought back at 0.60, and the others are guarded as a group again."""
    group = {
        "legs": [{"con_id": 42, "ratio": -1}, {"con_id": 43, "ratio": 1}],
        "stop": {"percent_of_premium": 100},
        "target": "off",
        "partial_targets": HALF,
        "trailing": {"activate_percent": 30, "distance_percent": 25},
    }

    async def whole() -> None:
        at = World(ManualClock(BEGIN))
        at.hold(put(42), -4)
        at.hold(put(43, 440), 4, "1.50")
        at.quote(42, "2.45", "2.55")
        at.quote(43, "1.45", "1.55")
        manager = Manager(at, tmp_path, {**CONFIG, "groups": {"vertical": group}})
        await manager.start()
        for _ in range(16):
            at.quote(42, "1.38", "1.40")
            at.quote(43, "0.80", "0.82")
            await at.clock.advance(1)
            for order in [*at.live(42), *at.live(43)]:
                at.fill(order, int(order.remaining), "1.00")
        assert (at.positions[42], at.positions[43]) == (Decimal(-2), Decimal(2))
        assert [sent.con_id for sent in at.received] == [42, 43], "the short leg first"
        (unit,) = manager.engine.shared.guard.units
        memory = manager.engine.shared.guard._memories[unit.key]
        assert (unit.group, memory.levels) == ("vertical", (1,))
        assert memory.trail is not None, "its trailing stop is not forgotten"
        await manager.end()

    asyncio.run(whole())


ACTIONS = ("level", "calm", "beyond", "fill one", "fill all", "kill", "person", "slow cancels", "cancels", "time")


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    quantity=st.integers(1, 5),
    actions=st.lists(st.sampled_from(ACTIONS), min_size=4, max_size=16).map(lambda more: ["level", *more, "level"]),
)
def test_whatever_happens_a_level_is_closed_once(quantity: int, actions: list[str]) -> None:
    """Random histories of one position whose level is reached again and again."""

    async def act(at: World, manager: Manager, action: str, directory: Path) -> Manager:
        live = [order for order in at.live(42) if order.client_id == 100]
        match action:
            case "level" | "calm" | "beyond":
                prices = {"level": ("1.40", "1.50"), "calm": ("2.45", "2.55"), "beyond": ("1.30", "1.38")}[action]
                for _ in range(3):
                    at.quote(42, *prices)
                    await at.clock.advance(1)
            case "fill one" | "fill all" if live:
                at.fill(live[0], 1 if action == "fill one" else int(live[0].remaining), "1.50")
            case "kill":
                await manager.kill()
                manager = Manager(at, directory, CONFIGURED, seed=manager.seed + 1)
                await manager.start()
            case "person" if not live and not manager.engine.shared.in_flight and abs(at.positions[42]) > 1:
                at.fill(at.foreign(42, Side.BUY, 1), 1)
            case "slow cancels":
                at.cancels_at_once = False
            case "cancels":
                at.cancels_at_once = True
                for order in live:
                    if order.cancelling:
                        at.end(order)
            case "time":
                await at.clock.advance(8)
        await at.clock.advance(1)
        return manager

    async def whole(directory: Path) -> None:
        at = World(ManualClock(BEGIN))
        at.hold(put(42), -quantity)
        at.quote(42, "2.45", "2.55")
        manager = Manager(at, directory, CONFIGURED)
        await manager.start()
        for action in actions:
            manager = await act(at, manager, action, directory)
        journal = manager.engine.shared.access.journal
        of_the_level = [i for i in journal.intents("DU1234567", 42) if i.rule == Rule.PARTIAL]
        traded = sum((intent.filled for intent in of_the_level), Decimal(0))
        fired = [r for r in journal.events(instrument=("DU1234567", 42)) if r.kind == "rule fired"]
        assert traded <= max((Decimal(r.data["part"]) for r in fired), default=0), f"{traded} traded"
        executed = [r.number for r in journal.events(instrument=("DU1234567", 42)) if r.kind == "Executed"]
        assert len([r for r in fired if r.number > min(executed, default=r.number)]) == 0, "decided again after a fill"
        await manager.end()

    shared = Path("/dev/shm")  # noqa: S108 - only to be fast: the directory has a name of its own
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as directory:
        asyncio.run(whole(Path(directory)))


# ----- the rules alone


@pytest.mark.parametrize(
    ("quantity", "level", "part"),
    [
        (4, {"close_percent": 50}, 2),
        (5, {"close_percent": 50}, 2),
        (1, {"close_percent": 99}, 0),
        (3, {"close_quantity": 2}, 2),
        (1, {"close_quantity": 2}, 1),
    ],
)
def test_parts_are_rounded_down(quantity: int, level: Mapping[str, int], part: int) -> None:
    rule_set = rules(partial_targets={"levels": [{"percent_of_premium": 40, **level}]})
    verdict, _ = run(held(quantity), rule_set, ["3.50", "3.50"])[-1]
    assert isinstance(verdict, Close) and verdict.rule is Rule.PARTIAL and verdict.level == 1
    assert verdict.part == part


def test_levels_come_in_order_and_the_target_before_them() -> None:
    levels = [{"percent_of_premium": 20, "close_percent": 50}, {"percent_of_premium": 40, "close_percent": 50}]
    rule_set = rules(partial_targets={"levels": levels}, target={"percent_of_premium": 60})
    first, _ = run(held(4), rule_set, ["3.50", "3.50"])[-1]
    assert isinstance(first, Close) and first.level == 1
    done = Memory(direction=1, levels=(1,))
    second, _ = run(held(2), rule_set, ["3.50", "3.50"], done)[-1]
    assert isinstance(second, Close) and second.level == 2 and second.part == 1
    all_done, _ = run(held(1), rule_set, ["3.50", "3.50"], Memory(direction=1, levels=(1, 2)))[-1]
    assert isinstance(all_done, Hold)
    beyond, _ = run(held(4), rule_set, ["4.00", "4.00"])[-1]
    assert isinstance(beyond, Close) and beyond.rule is Rule.TARGET


def test_a_level_at_a_loss_does_not_arm_breakeven() -> None:
    """A level by the price of the underlying may be reached while the option has lost: there is no gain to keep."""
    level = {"underlying_price": {"above": 400}, "close_percent": 50}
    rule_set = rules(partial_targets={"levels": [level], "then_breakeven": True})
    verdict, _ = run(held(2), rule_set, ["2.40", "2.40", "2.40"], Memory(direction=1, levels=(1,)))[-1]
    assert isinstance(verdict, Hold)


def test_status_shows_the_nearest_level() -> None:
    rule_set = rules(partial_targets=HALF, target={"percent_of_premium": 60})
    verdict, _ = assess(held(2), rule_set, quote("3.00", "3.00"))
    assert isinstance(verdict, Hold) and verdict.target is not None
    assert (verdict.target.rule, verdict.target.level) == (Rule.PARTIAL, Decimal("3.5"))


def test_replay_counts_the_parts() -> None:
    config = Config.model_validate({"mode": "sim", "defaults": {"partial_targets": HALF, "target": {"price": 4}}})
    position: Position = held(4, instrument=option(1, liquid_hours=()))
    ticks = [
        Tick("a", quote(price, price, BEGIN.replace(second=second)))
        for second, price in enumerate(["3.50", "3.50", "3.60", "4.00", "4.00"])
    ]
    (outcome,) = replay({"a": position}, ticks, config)
    (part,) = outcome.parts
    assert part.close.part == 2 and part.profit == 200
    assert outcome.closed is not None and outcome.closed.rule is Rule.TARGET
    assert outcome.profit == 200 + 300
