"""After a stop: what is opened again on the same underlying."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from tests.unit.position_manager.engine_world import (
    ACCOUNT,
    BEGIN,
    CONFIG,
    DISASTER,
    Manager,
    ManualClock,
    World,
    breach,
    put,
    short_puts,
)
from tests.unit.position_manager.test_engine import drive, follow, play, play_without_end

from position_manager.engine.engine_status import status_of
from position_manager.model import Instrument, Kind
from position_manager.orders.evidence import Execution
from position_manager.orders.intents import Fill, Side
from position_manager.refused import RefusedError
from position_manager.reports.explain import explain

STOCK = Instrument(90, "SPY", Kind.STOCK, local_symbol="SPY", liquid_hours=put(1).liquid_hours)
OTHER = Instrument(91, "AAPL", Kind.STOCK, local_symbol="AAPL", liquid_hours=put(1).liquid_hours)


def config(action: str = "notify", minutes: float = 10) -> Mapping[str, object]:
    return {**CONFIG, "cooldown": {"minutes": minutes, "action": action}, "caps": {"quantity": 1000}}


async def stopped(at: World) -> None:
    """The stop of the puts fires and is filled."""
    await breach(at)
    await follow(at, 3)
    assert at.positions[42] == 0


async def open_(at: World, instrument: Instrument, quantity: int, *, bought: bool = True) -> None:
    """A person opens a position by hand; without an execution it was assigned."""
    at.hold(instrument, quantity, "2.50")
    at.quote(instrument.con_id, "2.45", "2.55")
    if bought:
        side = Side.BUY if quantity > 0 else Side.SELL
        fill = Fill(f"hand{len(at.executions)}", Decimal(abs(quantity)), Decimal("2.50"), at.clock.now())
        at.executions.append(Execution(ACCOUNT, instrument.con_id, side, fill, at.new_perm_id(), ""))
    manager_sees = 45
    for _ in range(manager_sees):
        at.quote(instrument.con_id, "2.45", "2.55")
        await at.clock.advance(1)


def alerts(manager: Manager) -> list[str]:
    return [f"{message.title} {message.text()}" for message in manager.reported if message.kind == "cooldown"]


def sent(at: World, con_id: int) -> int:
    return len([order for order in at.received if order.con_id == con_id])


def test_what_is_opened_after_a_stop_is_alerted_about_once(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await stopped(at)
        ((cooling),) = status_of(manager.engine, "f").cooldowns
        assert (cooling.symbol, cooling.rule, cooling.action) == ("SPY", "stop", "notify")
        await open_(at, put(43, 440), -1)
        await follow(at, 60)
        (reported,) = alerts(manager)
        assert "-1 SPY 2026-12-21 440P opened in a cooldown of SPY" in reported
        assert "It stays open: the cooldown only notifies" in reported
        assert sent(at, 43) == 0
        await open_(at, OTHER, 5)
        assert len(alerts(manager)) == 1, "another underlying"
        assert "Opened in a cooldown" in explain(manager.engine.shared.access.journal, "43")

    play(tmp_path, short_puts(), story, config())


@pytest.mark.parametrize("action", ["notify", "close"])
def test_the_same_contract_again_is_another_position(tmp_path: Path, action: str) -> None:
    async def story(at: World, manager: Manager) -> None:
        await stopped(at)
        before = sent(at, 42)
        await open_(at, put(42), -2)
        assert len(alerts(manager)) == 1
        assert (sent(at, 42) > before) is (action == "close")
        if action == "close":
            assert "It is being closed" in alerts(manager)[0]
            await follow(at, 5, "2.45", "2.55")
            assert at.positions[42] == 0
            count = sent(at, 42)
            await follow(at, 60, "2.45", "2.55")
            assert sent(at, 42) == count

    play(tmp_path, short_puts(), story, config(action))


def test_after_its_time_and_after_a_person_has_ended_it_nothing_is_done(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await stopped(at)
        with pytest.raises(RefusedError, match="there is: account, SPY"):
            manager.engine.rearm("QQQ", by="ann")
        assert manager.engine.rearm("SPY", by="ann") == "The cooldown of SPY is over."
        await open_(at, put(43, 440), -1)
        assert alerts(manager) == []
        for _ in range(3):
            at.quote(43, "3.75", "3.85")
            await at.clock.advance(1)
        at.fill(at.live(43)[0], 1)
        await at.clock.advance(610)
        assert status_of(manager.engine, "f").cooldowns == ()
        await open_(at, put(44, 430), -1)
        assert alerts(manager) == []

    play(tmp_path, short_puts(), story, config("close"))


def test_a_target_and_a_close_by_hand_start_none(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await manager.engine.close("42", by="ann")
        await follow(at, 3, "2.45", "2.55")
        assert at.positions[42] == 0
        assert status_of(manager.engine, "f").cooldowns == ()

    play(tmp_path, short_puts(), story, config())


def test_the_disaster_stop_starts_one(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await at.clock.advance(10)
        (resting,) = at.live(42)
        at.fill(resting, 2)
        await at.clock.advance(5)
        assert [each.rule for each in status_of(manager.engine, "f").cooldowns] == ["disaster stop"]

    play(tmp_path, short_puts(), story, {**DISASTER, "cooldown": {"minutes": 5}})


@pytest.mark.parametrize("why", ["assigned", "covers", "halted"])
def test_what_must_not_be_closed_is_only_alerted_about(tmp_path: Path, why: str) -> None:
    async def story(at: World, manager: Manager) -> None:
        await stopped(at)
        if why == "halted":
            (tmp_path / "HALT").touch()
        await open_(at, STOCK, -200 if why == "assigned" else 100, bought=why != "assigned")
        (reported,) = alerts(manager)
        expected = {
            "assigned": "it may have been assigned",
            "covers": "it may cover SPY 2026-12-21 440P",
            "halted": "halted",
        }
        assert expected[why] in reported
        (tmp_path / "HALT").unlink(missing_ok=True)
        await at.clock.advance(60)
        assert sent(at, 90) == 0

    at = short_puts()
    if why == "covers":
        at.hold(put(43, 440), -1)
        at.quote(43, "2.45", "2.55")
    play(tmp_path, at, story, config("close"))


def test_it_outlasts_a_kill_and_what_was_opened_meanwhile_is_found(tmp_path: Path) -> None:
    async def first(at: World, manager: Manager) -> None:
        await stopped(at)
        await manager.kill()

    async def second(at: World, manager: Manager) -> None:
        await at.clock.advance(5)
        assert len(alerts(manager)) == 1
        assert sent(at, 43) >= 1
        await manager.kill()

    async def third(at: World, manager: Manager) -> None:
        await at.clock.advance(30)
        assert alerts(manager) == [], "once"

    at = short_puts()
    play_without_end(tmp_path, at, first, config("close"))
    at.hold(put(43, 440), -1)
    at.quote(43, "2.45", "2.55")
    fill = Fill("hand", Decimal(1), Decimal("2.50"), at.clock.now())
    at.executions.append(Execution(ACCOUNT, 43, Side.SELL, fill, at.new_perm_id(), ""))
    play_without_end(tmp_path, at, second, config("close"))
    play(tmp_path, at, third, config("close"))


@pytest.mark.parametrize("when", ["before the first list", "while away"])
def test_what_was_held_before_a_stop_that_is_filled_around_a_restart_is_not_closed(tmp_path: Path, when: str) -> None:
    """It was bought on the same day, and is not known to the manager again when it hears of the fill."""

    async def first(at: World, manager: Manager) -> None:
        await breach(at)
        await at.clock.advance(1)
        await manager.kill()
        if when == "while away":
            at.hold(put(43, 440), -1)
            sold(at)
            await at.clock.advance(5)
            at.fill(at.live(42)[0], 2)

    async def second(at: World, manager: Manager) -> None:
        await at.clock.advance(60)
        assert at.positions[42] == 0
        assert manager.engine.cooldowns.under_way()
        assert sent(at, 43) == 0

    def sold(at: World) -> None:
        fill = Fill("hand", Decimal(1), Decimal("2.50"), at.clock.now())
        at.executions.append(Execution(ACCOUNT, 43, Side.SELL, fill, at.new_perm_id(), ""))

    def fill_now(question: str) -> None:
        if question == "positions" and (resting := at.live(42)):
            at.fill(resting[0], 2)

    at = short_puts()
    if when == "before the first list":
        at.hold(put(43, 440), -1)
        sold(at)
    at.quote(43, "2.45", "2.55")
    play_without_end(tmp_path, at, first, config("close"))
    if when == "before the first list":
        at.on_ask = fill_now
    play_without_end(tmp_path, at, second, config("close"))


@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_what_was_held_before_is_never_closed(tmp_path: Path, seed: int) -> None:
    """Random histories. What a cooldown closes was opened in it, and is closed once (`World.take`)."""
    chance = random.Random(f"cooldown {seed}")  # noqa: S311 - histories that can be repeated

    async def story() -> None:
        at = World(ManualClock(BEGIN))
        at.hold(put(42), -2)
        at.hold(put(43, 440), -1)
        for con_id in (42, 43):
            at.quote(con_id, "2.45", "2.55")
        manager = Manager(at, tmp_path, config("close"), seed)
        await manager.start()
        await stopped(at)
        for number in range(6):
            kind = chance.choice(["kill", "drop", "open", "open", "nothing"])
            if kind == "kill":
                await manager.kill()
                manager = Manager(at, tmp_path, config("close"), chance.randrange(1000, 9999))
                await manager.start()
            elif kind == "drop":
                manager.broker.drop()
            elif kind == "open":
                await open_(at, replace(put(50 + number, 300 + number)), -1)
            for _ in range(chance.randint(1, 60)):
                for con_id in at.instruments:
                    at.quote(con_id, "2.45", "2.55")
                for order in [o for o in at.orders if not o.over and o.client_id == 100 and chance.random() < 0.5]:
                    at.fill(order, int(order.remaining), str(order.sent.limit))
                await at.clock.advance(1)
        assert at.positions[43] == -1
        assert sent(at, 43) == 0
        await manager.end()

    drive(story)
