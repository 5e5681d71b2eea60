"""Decisions that meet: parts, combinations, disaster stops, account stops, halts and people at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.unit.position_manager.engine_world import (
    ACCOUNT,
    COMBO,
    COMBO_PARTS,
    CONFIG,
    HALF,
    PARTS,
    Manager,
    World,
    put,
    short_puts,
    vertical,
)

from position_manager.brokers.broker import OrderReceived, PositionReceived
from position_manager.config.schema import Config
from position_manager.model import Instrument, Kind
from position_manager.orders.intents import Side

Story = Callable[[World, Manager], Coroutine[Any, Any, None]]
DAILY: Mapping[str, object] = {
    "account_stops": {"daily_loss": {"percent": 5, "action": "close"}},
    "caps": {"quantity": 1000, "notional": 10_000_000},
}


def play(directory: Path, at: World, story: Story, config: Mapping[str, object]) -> None:
    async def whole() -> None:
        at.worth[ACCOUNT] = ("100000", "50000", "20000")
        manager = Manager(at, directory, config)
        await manager.start()
        await at.clock.advance(1)
        await story(at, manager)
        await manager.end()

    asyncio.run(whole())


async def go_on(
    at: World, seconds: int, quotes: Mapping[int, tuple[str, str]], *, fills: frozenset[int] = frozenset()
) -> None:
    """Time in which the market goes on, and takes what rests for these contracts."""
    for _ in range(seconds):
        for con_id, (bid, ask) in quotes.items():
            at.quote(con_id, bid, ask)
        await at.clock.advance(1)
        for con_id in fills:
            for order in at.live(con_id):
                if order.client_id == 100 and not order.sent.stop:
                    at.fill(order, int(order.remaining), "1.40")


def lose(at: World) -> None:
    at.worth[ACCOUNT] = ("90000", "50000", "20000")


STOCK = Instrument(90, "SPY", Kind.STOCK, local_symbol="SPY", liquid_hours=put(1).liquid_hours)
CALM = {42: ("2.48", "2.50"), 43: ("1.48", "1.50")}
LEVEL = {42: ("1.40", "1.50")}
GROUP_LEVEL = {42: ("1.38", "1.40"), 43: ("0.80", "0.82")}
ROOMY_PARTS: Mapping[str, Any] = {
    **CONFIG,
    "groups": {
        "vertical": {
            "legs": [{"con_id": 42, "ratio": -1}, {"con_id": 43, "ratio": 1}],
            "stop": {"percent_of_premium": 100},
            "target": "off",
            "partial_targets": HALF,
        }
    },
}


def test_an_account_stop_closes_all_of_what_is_closed_in_part(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await go_on(at, 60, {42: ("2.45", "2.55")})
        await go_on(at, 3, LEVEL)
        (order,) = at.live(42)
        assert order.sent.quantity == 2
        lose(at)
        await go_on(at, 60, LEVEL)
        assert "account_stop" in manager.kinds
        (closing,) = manager.engine.closer.closings.values()
        assert closing.rule == "account daily loss" and not closing.leaves, "it does not wait for the part"
        await go_on(at, 60, LEVEL, fills=frozenset({42}))
        assert at.positions[42] == 0
        assert sum(execution.fill.quantity for execution in at.executions) == 4

    play(tmp_path, short_puts(-4), story, {**PARTS, **DAILY})


def test_an_account_stop_does_not_wait_for_a_part_whose_last_leg_cannot_be_sold(tmp_path: Path) -> None:
    """Of four verticals two short legs are bought back; nobody bids for the long ones."""

    async def story(at: World, manager: Manager) -> None:
        await go_on(at, 60, CALM)
        await go_on(at, 2, GROUP_LEVEL)
        wide = {42: ("1.38", "1.40"), 43: ("0.05", "2.00")}
        await go_on(at, 5, wide, fills=frozenset({42}))
        assert at.positions == {42: -2, 43: 4}
        lose(at)
        await go_on(at, 60, wide)
        assert "account_stop" in manager.kinds
        await go_on(at, 40, wide, fills=frozenset({42}))
        assert at.positions[42] == 0, "the short leg is closed"
        await go_on(at, 60, GROUP_LEVEL, fills=frozenset({43}))
        assert at.positions[43] == 0
        assert not manager.engine.shared.locks.present

    play(tmp_path, vertical(4), story, {**ROOMY_PARTS, **DAILY})


def test_an_account_stop_closes_the_rest_after_a_part_by_a_combination(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await go_on(at, 60, CALM)
        for _ in range(12):
            await go_on(at, 1, GROUP_LEVEL)
            if at.combos:
                break
        (order,) = at.live(43)
        at.fill(order, 1)
        lose(at)
        await go_on(at, 60, GROUP_LEVEL)
        assert "account_stop" in manager.kinds
        (closing,) = manager.engine.closer.closings.values()
        assert closing.rule == "account daily loss" and not closing.leaves
        await go_on(at, 90, GROUP_LEVEL, fills=frozenset({42, 43}))
        assert not any(at.positions.values()), at.positions
        assert not manager.engine.shared.locks.present

    play(tmp_path, vertical(4), story, {**COMBO_PARTS, **DAILY})


def test_a_disaster_stop_rests_on_while_a_halt_holds_the_combination_back(tmp_path: Path) -> None:
    config = {**COMBO, "disaster_stop": {"percent_of_premium": 200, "short_legs_percent": 300}}

    async def story(at: World, manager: Manager) -> None:
        await at.clock.advance(6)
        (stop,) = at.live(42)
        assert stop.sent.stop
        (tmp_path / "HALT").write_text("by a test")
        await go_on(at, 20, {42: ("3.15", "3.20"), 43: ("1.75", "1.80")})
        assert "position_closing" in manager.kinds or manager.engine.closer.closings
        assert not at.combos
        assert not stop.over, "nothing can be sent in its place"

    play(tmp_path, vertical(2), story, config)


def test_a_combination_that_rests_is_not_cancelled_for_one_that_may_not_be_sent(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await go_on(at, 3, {42: ("3.15", "3.20"), 43: ("1.75", "1.80")})
        (order,) = at.live(42)
        (tmp_path / "HALT").write_text("by a test")
        await go_on(at, 60, {42: ("3.15", "3.20"), 43: ("1.75", "1.80")})
        assert not order.over

    play(tmp_path, vertical(2), story, COMBO)


def test_a_clock_that_was_set_back_does_not_repeat_a_level(tmp_path: Path) -> None:
    config = {**PARTS, "disaster_stop": {"percent_of_premium": 200}}

    async def story(at: World, manager: Manager) -> None:
        await go_on(at, 60, {42: ("2.45", "2.55")})
        at.cancels_at_once = False
        await go_on(at, 2, LEVEL)
        (stop,) = at.live(42)
        assert stop.cancelling
        at.clock.jump(timedelta(seconds=-30))
        at.cancels_at_once = True
        at.end(stop)
        await go_on(at, 10, LEVEL)
        (order,) = at.live(42)
        assert not order.sent.stop
        at.fill(order, 1, "1.45")
        await go_on(at, 40, {42: ("2.00", "2.10")})
        assert "closing_withdrawn" in manager.kinds
        await go_on(at, 60, LEVEL, fills=frozenset({42}))
        assert at.positions[42] == -3

    play(tmp_path, short_puts(-4), story, config)


def test_what_is_withdrawn_while_its_order_is_cleared_is_not_sent(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        def asked(question: str) -> None:
            if question == "open orders" and manager.engine.closer.closings and manager.engine.shared.in_flight:
                at.on_ask = lambda _question: None
                for closing in list(manager.engine.closer.closings.values()):
                    manager.engine.closer.withdraw(closing, "by a test")

        at.on_ask = asked
        await go_on(at, 2, {42: ("3.75", "3.85"), 43: ("2.00", "2.05")})
        await go_on(at, 1, {42: ("2.45", "2.55"), 43: ("1.45", "1.55")})
        assert "closing_withdrawn" in manager.kinds
        assert not at.orders

    for directory, world, config in (
        (tmp_path / "one", short_puts(), PARTS),
        (tmp_path / "combo", vertical(2), COMBO),
    ):
        directory.mkdir()
        play(directory, world, story, config)


def test_a_person_who_reduces_a_group_leg_by_leg_does_not_repeat_a_level(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await go_on(at, 5, CALM)
        await go_on(at, 30, GROUP_LEVEL, fills=frozenset({42, 43}))
        assert at.positions == {42: -4, 43: 4}
        for con_id, side in ((42, Side.BUY), (43, Side.SELL)):
            at.fill(at.foreign(con_id, side, 1), 1)
            await go_on(at, 5, {42: ("2.00", "2.02"), 43: ("1.24", "1.26")})
        await go_on(at, 60, GROUP_LEVEL, fills=frozenset({42, 43}))
        assert at.positions == {42: -3, 43: 3}
        (unit,) = manager.engine.shared.guard.units
        assert manager.engine.shared.guard.levels_done(unit) == (1,)

    play(tmp_path, vertical(8), story, ROOMY_PARTS)


def test_the_legs_of_a_group_in_another_order_repeat_no_level(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await go_on(at, 30, GROUP_LEVEL, fills=frozenset({42, 43}))
        assert at.positions == {42: -4, 43: 4}
        group = ROOMY_PARTS["groups"]["vertical"]
        turned = {**ROOMY_PARTS, "groups": {"vertical": {**group, "legs": group["legs"][::-1]}}}
        manager.engine.reload(Config.model_validate(turned))
        await go_on(at, 60, GROUP_LEVEL, fills=frozenset({42, 43}))
        assert at.positions == {42: -4, 43: 4}

    play(tmp_path, vertical(8), story, ROOMY_PARTS)


def test_an_account_stop_closes_what_a_partial_assignment_has_left(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        quotes = {42: ("2.45", "2.55"), 90: ("449.99", "450.01")}
        await go_on(at, 60, {42: ("2.45", "2.55")})
        lose(at)
        await go_on(at, 45, {42: ("2.45", "2.55")})
        assert at.live(42)
        at.cancels_at_once = True
        at.hold(STOCK, 200, "450")
        at.positions[42] = Decimal(-2)
        at.emit(PositionReceived(ACCOUNT, 42, Decimal(-2)))
        at.emit(PositionReceived(ACCOUNT, 90, Decimal(200)))
        await go_on(at, 120, quotes)
        await go_on(at, 60, quotes, fills=frozenset({42}))
        assert not manager.engine.shared.locks.present
        assert at.positions[42] == 0

    play(tmp_path, short_puts(-4), story, {**CONFIG, **DAILY})


def test_a_strike_stop_starts_a_cooldown(tmp_path: Path) -> None:
    config = {
        **CONFIG,
        "defaults": {"strike_stop": {"touched": True}},
        "cooldown": {"minutes": 30, "action": "notify"},
    }

    async def story(at: World, manager: Manager) -> None:
        for _ in range(4):
            at.quote(42, "2.45", "2.55", underlying=Decimal("449"))
            await at.clock.advance(1)
        (order,) = at.live(42)
        at.fill(order, 2)
        await at.clock.advance(2)
        assert manager.engine.cooldowns.under_way()

    play(tmp_path, short_puts(), story, config)


def test_an_assignment_is_no_opening_in_a_cooldown(tmp_path: Path) -> None:
    config = {**CONFIG, "cooldown": {"minutes": 30, "action": "notify"}}

    async def story(at: World, manager: Manager) -> None:
        await go_on(at, 3, {42: ("3.75", "3.85")})
        at.fill(at.live(42)[0], 2, "3.80")
        manager.engine.release("42", by="a test")
        await go_on(at, 5, {42: ("2.45", "2.55")})
        assert manager.engine.cooldowns.under_way()
        assert at.positions[42] == -2
        at.hold(STOCK, 100, "450")
        at.positions[42] = Decimal(-1)
        at.emit(PositionReceived(ACCOUNT, 42, Decimal(-1)))
        at.emit(PositionReceived(ACCOUNT, 90, Decimal(100)))
        await go_on(at, 60, {42: ("2.45", "2.55"), 90: ("449.99", "450.01")})
        opened = [message.title for message in manager.reported if "opened in a cooldown" in message.title]
        assert len(opened) == 1 and "450P" not in opened[0], "only the stock is new"

    play(tmp_path, short_puts(-4), story, config)


def test_a_worthless_wing_is_left_when_a_part_becomes_all(tmp_path: Path) -> None:
    config = {**ROOMY_PARTS, **DAILY, "worthless_wings": {"ticks": 3}}

    async def story(at: World, manager: Manager) -> None:
        await go_on(at, 60, CALM)
        worthless = {42: ("0.48", "0.50"), 43: ("0.01", "0.02")}
        await go_on(at, 3, worthless)
        assert at.live(42)[0].sent.quantity == 2
        lose(at)
        await go_on(at, 60, worthless)
        await go_on(at, 60, worthless, fills=frozenset({42, 43}))
        assert at.positions == {42: 0, 43: 4}

    play(tmp_path, vertical(4), story, config)


@pytest.mark.parametrize("close", ["alone", "combination"])
def test_an_order_that_was_not_acknowledged_when_its_decision_was_withdrawn_is_cancelled(
    tmp_path: Path, close: str
) -> None:
    async def story(at: World, manager: Manager) -> None:
        at.acknowledges = False
        await go_on(at, 2, {42: ("3.75", "3.85"), 43: ("2.00", "2.05")})
        (order,) = at.live(42)
        manager.engine.release("42" if close == "alone" else "vertical", by="a test")
        at.acknowledges = True
        at.emit(OrderReceived(order.sent.order_id, order.perm_id, "Submitted", order.sent.ref))
        await go_on(at, 10, {42: ("2.48", "2.50"), 43: ("1.48", "1.50")})
        assert order.over == "Cancelled"

    at, rules = (short_puts(), CONFIG) if close == "alone" else (vertical(2), COMBO)
    play(tmp_path, at, story, rules)


def test_a_stop_does_not_wait_at_the_price_of_a_part_by_a_combination(tmp_path: Path) -> None:
    group = {**ROOMY_PARTS["groups"]["vertical"], "close": "combo", "combo_seconds": 600}

    async def story(at: World, manager: Manager) -> None:
        await go_on(at, 5, CALM)
        await go_on(at, 3, GROUP_LEVEL)
        (part,) = at.live(43)
        assert part.sent.quantity == 2
        await go_on(at, 25, {42: ("3.95", "4.00"), 43: ("1.75", "1.80")})
        (order,) = at.live(43)
        assert order.sent.quantity == 4 and order.sent.limit > 2

    play(tmp_path, vertical(4), story, {**ROOMY_PARTS, "groups": {"vertical": group}})
