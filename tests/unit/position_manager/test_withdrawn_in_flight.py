"""A decision that is withdrawn while the broker is still asked for it: no order may follow from it any more."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.unit.position_manager import test_partial_targets as parts
from tests.unit.position_manager.engine_world import (
    ACCOUNT,
    COMBO,
    DISASTER,
    Manager,
    World,
    breach,
    settle,
    short_puts,
    vertical,
)
from tests.unit.position_manager.test_engine import play


def answers_late(manager: Manager, monkeypatch: pytest.MonkeyPatch, question: str) -> Callable[[], None]:
    """The broker answers what is asked before an order only after the returned function is called."""
    answered, ask = asyncio.Event(), getattr(manager.broker, question)

    async def late(*asked: Any) -> Any:
        await answered.wait()
        return await ask(*asked)

    monkeypatch.setattr(manager.broker, question, late)
    return answered.set


def test_a_close_that_a_person_withdraws_while_the_broker_is_asked_is_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(at: World, manager: Manager) -> None:
        await at.clock.advance(5)
        answer = answers_late(manager, monkeypatch, "read_again")
        await breach(at)
        assert manager.engine.shared.in_flight and manager.engine.closer.closings
        at.quote(42, "2.45", "2.55")
        assert "no longer being closed" in manager.engine.release("42", by="a test")
        answer()
        await settle()
        assert not at.received, "people were told that it is not closed"
        assert not manager.engine.shared.in_flight
        assert manager.engine.shared.access.journal.open_intent(ACCOUNT, 42) is None
        assert "refused" not in manager.kinds and not manager.engine.closer.bars.present
        await breach(at, times=4)
        assert len(at.received) == 1, "its rules hold again"

    play(tmp_path, short_puts(), story)


def test_a_level_that_is_let_go_while_the_broker_is_asked_is_not_closed_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The level is not done after all: an order that leaves for it all the same would close a part for nothing, and
    the level would close another one."""

    async def story(at: World, manager: Manager) -> None:
        answer = answers_late(manager, monkeypatch, "read_again")
        await parts.at_the_level(at)
        assert manager.engine.shared.in_flight
        for _ in range(90):
            at.quote(42, "2.45", "2.55")
            await at.clock.advance(1)
        assert not manager.engine.closer.closings, "its condition is gone"
        answer()
        await settle()
        assert not at.received
        monkeypatch.undo()
        await parts.take_the_level(at)
        await parts.stays(at)
        assert at.positions[42] == -2

    parts.play(tmp_path, story)


def test_a_combination_that_is_withdrawn_while_the_broker_is_asked_is_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(at: World, manager: Manager) -> None:
        await at.clock.advance(5)
        answer = answers_late(manager, monkeypatch, "read_legs_again")
        for _ in range(2):
            at.quote(42, "3.75", "3.85")
            at.quote(43, "1.95", "2.05")
            await at.clock.advance(1)
        assert manager.engine.shared.in_flight
        at.quote(42, "2.45", "2.55")
        manager.engine.release("vertical", by="a test")
        answer()
        await settle()
        assert not at.combos and not at.received
        assert not manager.engine.shared.in_flight

    play(tmp_path, vertical(), story, COMBO)


def test_a_disaster_stop_makes_way_for_a_stop_that_fires_while_the_broker_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the close would wait for the cancel of an order that nobody needs."""

    async def whole() -> None:
        at = short_puts()
        manager = Manager(at, tmp_path, DISASTER)
        answer = answers_late(manager, monkeypatch, "read_again")
        await manager.start()
        await at.clock.advance(3)
        assert manager.engine.shared.in_flight and not at.received
        await breach(at)
        assert manager.engine.closer.closings
        answer()
        await settle()
        assert [order.stop for order in at.received] == [0], "the close, and nothing before it"
        await manager.end()

    asyncio.run(whole())


def test_an_order_of_a_decision_that_was_widened_meanwhile_still_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It closes less than is wanted now, and the rest follows."""

    async def story(at: World, manager: Manager) -> None:
        answer = answers_late(manager, monkeypatch, "read_again")
        await parts.at_the_level(at)
        await manager.engine.close("42", by="a test")
        answer()
        await settle()
        assert [order.quantity for order in at.received] == [Decimal(2)]

    parts.play(tmp_path, story)


def test_a_level_that_has_traded_stays_done_although_the_clock_was_set_back(tmp_path: Path) -> None:
    """The order is then older than its decision."""

    async def story(at: World, manager: Manager) -> None:
        await parts.at_the_level(at)
        at.clock.jump(timedelta(minutes=-10))
        at.end(at.live(42)[0])
        for _ in range(20):
            at.quote(42, "1.40", "1.50")
            await at.clock.advance(1)
        (order,) = at.live(42)
        assert len(at.received) > 1, "an order in its place"
        at.fill(order, 1, "1.50")
        for _ in range(90):
            at.quote(42, "2.45", "2.55")
            await at.clock.advance(1)
        assert not manager.engine.closer.closings and not at.live(42)
        await parts.stays(at)
        assert at.positions[42] == -3
        assert not at.live(42), "the level would be closed a second time"

    parts.play(tmp_path, story)


def test_an_engine_that_stops_before_the_answer_leaves_nothing_on_its_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[Manager] = []

    async def story(at: World, manager: Manager) -> None:
        stopped.append(manager)
        await at.clock.advance(5)
        answers_late(manager, monkeypatch, "read_again")
        await breach(at)
        # As if it was cancelled before its first step.
        manager.engine.shared.in_flight.add([(ACCOUNT, 43)])
        assert not gc.isenabled()

    play(tmp_path, short_puts(), story)
    assert not stopped[0].engine.shared.in_flight
    assert gc.isenabled()
