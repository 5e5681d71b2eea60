"""Long legs of a group that are worth next to nothing are left to expire, and nothing sells them afterwards."""

from __future__ import annotations

import random
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import pytest
from tests.unit.position_manager.engine_world import ACCOUNT, GROUP, Manager, World, vertical
from tests.unit.position_manager.test_engine import breach_of_the_group, play, play_without_end

from position_manager.engine.engine_status import status_of
from position_manager.orders.evidence import Execution
from position_manager.orders.intents import Fill, Side
from position_manager.reports.explain import explain

WINGS: Mapping[str, object] = {**GROUP, "worthless_wings": {"ticks": 3}}
WORTHLESS = ("0.01", "0.04")


async def wait(at: World, seconds: int, bid: str | None, ask: str, *, fills: bool = True) -> None:
    """Time in which the short leg is bought back, and the wing is quoted so."""
    for _ in range(seconds):
        at.quote(42, "3.00", "3.10")
        at.quote(43, bid, ask)
        for order in [order for order in at.orders if not order.over and order.client_id == 100 and fills]:
            at.fill(order, int(order.remaining), str(order.sent.limit))
        await at.clock.advance(1)


def wing_orders(at: World) -> list[Decimal]:
    return [order.quantity for order in at.received if order.con_id == 43]


@pytest.mark.parametrize(("bid", "ask"), [WORTHLESS, ("0.00", "0.05"), (None, "0.05")])
def test_a_worthless_wing_is_left_and_stays_left(tmp_path: Path, bid: str | None, ask: str) -> None:
    async def first(at: World, manager: Manager) -> None:
        await breach_of_the_group(at)
        await wait(at, 60, bid, ask)
        assert at.positions == {42: 0, 43: 1}
        assert wing_orders(at) == []
        assert not manager.engine.closer.closings
        ((closed),) = [message for message in manager.reported if message.kind == "position_closed"]
        assert "Left to expire: SPY 2026-12-21 440P" in closed.text()
        ((unit),) = status_of(manager.engine, "f").units
        assert (unit.verdict, unit.text[:15]) == ("guarded", "left to expire:")
        assert "Left to expire" in explain(manager.engine.shared.access.journal, "43")
        await manager.kill()

    async def second(at: World, manager: Manager) -> None:
        await wait(at, 60, bid, ask)
        assert wing_orders(at) == [], "after a restart too"
        assert [message for message in manager.reported if message.kind == "unprotected"] == []
        await manager.engine.close("43", by="ann")
        await wait(at, 3, "0.03", "0.04")
        assert at.positions[43] == 0, "a person may still sell it"

    at = vertical()
    play_without_end(tmp_path, at, first, WINGS)
    play(tmp_path, at, second, WINGS)


@pytest.mark.parametrize("why", ["off", "worth more", "by hand", "a bad print"])
def test_any_other_wing_is_sold(tmp_path: Path, why: str) -> None:
    async def story(at: World, manager: Manager) -> None:
        if why == "by hand":
            await manager.engine.close("vertical", by="ann")
        else:
            await breach_of_the_group(at)
        if why == "a bad print":
            for _ in range(20):
                await wait(at, 1, "0.01", "0.03")
                await wait(at, 2, "1.45", "1.55")
        await wait(at, 30, *(("0.06", "0.07") if why == "worth more" else ("0.03", "0.04")))
        assert at.positions == {42: 0, 43: 0}
        assert not any("Left to expire" in message.text() for message in manager.reported)

    play(tmp_path, vertical(), story, GROUP if why == "off" else {**WINGS, "worthless_wings": {"ticks": 5}})


def test_the_short_leg_is_always_bought_back_first(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await breach_of_the_group(at)
        await wait(at, 60, *WORTHLESS, fills=False)
        assert manager.engine.closer.closings
        assert wing_orders(at) == []
        await wait(at, 30, *WORTHLESS)
        assert at.positions == {42: 0, 43: 1}

    play(tmp_path, vertical(), story, WINGS)


@pytest.mark.parametrize("settings", [WINGS, GROUP], ids=["wings", "no wings"])
@pytest.mark.parametrize("quote", [WORTHLESS, ("1.45", "1.55")], ids=["worthless", "worth something"])
def test_a_list_without_the_short_leg_after_a_restart_ends_no_decision(
    tmp_path: Path, quote: tuple[str, str], settings: Mapping[str, object]
) -> None:
    async def first(at: World, manager: Manager) -> None:
        await breach_of_the_group(at)
        await wait(at, 3, *quote, fills=False)
        await manager.kill()

    async def second(at: World, manager: Manager) -> None:
        await wait(at, 12, *quote, fills=False)
        assert manager.engine.closer.closings
        assert wing_orders(at) == [], "it covers the short leg"
        at.unlisted = set()
        await wait(at, 120, *quote)
        assert at.positions == {42: 0, 43: 1 if (quote, settings) == (WORTHLESS, WINGS) else 0}

    at = vertical()
    play_without_end(tmp_path, at, first, settings)
    for order in at.live(42):
        at.end(order)
    at.unlisted = {42}
    play(tmp_path, at, second, settings)


def test_a_percentage_is_one_of_the_group_s_premium(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await breach_of_the_group(at)
        # The group brought 1.00: 4 % of it are 0.04.
        await wait(at, 10, "0.04", "0.05")
        assert at.positions == {42: 0, 43: 0}

    play(tmp_path, vertical(), story, {**GROUP, "worthless_wings": {"percent_of_premium": 4}})


def test_its_rules_hold_again_when_it_is_worth_something(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await breach_of_the_group(at)
        await wait(at, 30, *WORTHLESS)
        await wait(at, 30, "0.10", "0.12")
        assert wing_orders(at) == []
        await wait(at, 10, "0.30", "0.32")
        assert "wing_worth_again" in manager.kinds
        assert at.positions[43] == 0, "its stop of half of the premium"

    play(tmp_path, vertical(), story, WINGS)


def test_no_disaster_stop_rests_for_it_and_an_account_stop_passes_it_by(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await breach_of_the_group(at)
        await wait(at, 90, *WORTHLESS)
        at.worth[ACCOUNT] = ("90000", "50000", "20000")
        await wait(at, 90, *WORTHLESS)
        assert "account_stop" in manager.kinds
        assert wing_orders(at) == []

    at = vertical()
    at.worth[ACCOUNT] = ("100000", "50000", "20000")
    account = {"daily_loss": {"percent": 5, "action": "close"}}
    play(tmp_path, at, story, {**WINGS, "disaster_stop": {"percent_of_premium": 90}, "account_stops": account})


def test_the_same_contract_bought_again_is_guarded(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await breach_of_the_group(at)
        await wait(at, 30, *WORTHLESS)
        at.fill(at.foreign(43, Side.SELL, 1), 1)
        await wait(at, 60, *WORTHLESS)
        assert not at.positions[43]
        at.positions[43] = Decimal(1)
        fill = Fill("by hand", Decimal(1), Decimal("1.50"), at.clock.now())
        at.executions.append(Execution(ACCOUNT, 43, Side.BUY, fill, at.new_perm_id(), ""))
        await wait(at, 60, "0.10", "0.12")
        assert at.positions[43] == 0, "its stop, although it is worth little more than the bound"

    play(tmp_path, vertical(), story, WINGS)


@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_no_short_leg_is_left_and_nothing_is_sold_twice(tmp_path: Path, seed: int) -> None:
    """Random quotes, kills and lost sessions: `World.take` refuses what could close twice."""
    chance = random.Random(f"wings {seed}")  # noqa: S311 - histories that can be repeated

    async def whole(at: World, manager: Manager) -> None:
        await breach_of_the_group(at)
        for _ in range(12):
            kind = chance.choice(["kill", "drop", "fine", "fine"])
            if kind == "kill":
                await manager.kill()
                manager = Manager(at, tmp_path, WINGS, chance.randrange(1000, 9999))
                await manager.start()
            elif kind == "drop":
                manager.broker.drop()
            bid, ask = chance.choice([WORTHLESS, (None, "0.03"), ("0.30", "0.32"), ("1.45", "1.55")])
            await wait(at, chance.randint(1, 12), bid, ask, fills=chance.random() < 0.6)
        await wait(at, 120, *WORTHLESS)
        assert at.positions[42] == 0
        assert at.positions[43] in (0, 1)
        assert not manager.engine.closer.closings
        await manager.end()

    play_without_end(tmp_path, vertical(), whole, WINGS)
