"""Guarded means that a close could be sent now: what would keep it from being sent counts as unprotected."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from tests.unit.position_manager.engine_world import (
    BEGIN,
    CONFIG,
    DISASTER,
    GROUP,
    HOURS,
    Manager,
    ManualClock,
    World,
    put,
    short_puts,
    vertical,
)
from tests.unit.position_manager.test_engine import play

from position_manager.engine.engine_status import status_of
from position_manager.model import Instrument, Kind
from position_manager.orders.intents import Side
from position_manager.reports.status import UnitStatus
from position_manager.rules.evaluation import Blind, Cause

STOP = {**CONFIG, "defaults": {"stop": {"percent_of_premium": 20}}}
SHARES = Instrument(42, "AAPL", Kind.STOCK, local_symbol="AAPL", liquid_hours=HOURS)
FUTURE = Instrument(42, "ES", Kind.FUTURE, Decimal(50), local_symbol="ESZ6", liquid_hours=HOURS)


def holding(instrument: Instrument, quantity: int, price: str) -> World:
    at = World(ManualClock(BEGIN))
    at.hold(instrument, quantity, price)
    at.quote(42, price, str(Decimal(price) + Decimal("0.02")))
    return at


def shown(manager: Manager) -> UnitStatus:
    (unit,) = status_of(manager.engine, "").units
    return unit


def a_future() -> tuple[World, str]:
    return holding(FUTURE, 1, "6000"), "order notional: one ESZ6 is worth 300000.00, at most 100000"


def an_own_exit() -> tuple[World, str]:
    at = holding(SHARES, 10, "100")
    at.foreign(42, Side.SELL, 10)
    return at, "quantity: orders of yours or of other programs rest for 10 of 10 AAPL"


def a_part_of_an_own_exit() -> tuple[World, str]:
    at = holding(SHARES, 10, "100")
    at.foreign(42, Side.SELL, 4)
    return at, "rest for 4 of 10 AAPL"


def a_wide_spread() -> tuple[World, str]:
    at = holding(put(42), 1, "2.00")
    at.quote(42, "2.00", "3.00")
    return at, "spread: 40.00% of the middle or 100 ticks"


@pytest.mark.parametrize("make", [a_future, an_own_exit, a_part_of_an_own_exit, a_wide_spread])
def test_what_would_be_blocked_is_unprotected_counted_and_notified(
    tmp_path: Path, make: Callable[[], tuple[World, str]]
) -> None:
    at, why = make()

    async def story(at: World, manager: Manager) -> None:
        bid, ask = at.quotes[42].bid, at.quotes[42].ask
        for _ in range(70):
            at.quote(42, str(bid), str(ask))
            await at.clock.advance(1)
        unit = shown(manager)
        assert unit.verdict == "unprotected"
        assert unit.text.startswith("guarded, but would be blocked by ")
        assert why in unit.text
        assert unit.stop is not None, "how far it is from its stop is shown all the same"
        assert unit.unprotected_seconds >= 60
        assert unit.unprotected_since is not None
        (reported,) = [message for message in manager.reported if message.kind == "unprotected"]
        assert why in reported.text()

    play(tmp_path, at, story, STOP)


def test_it_is_over_as_soon_as_nothing_blocks(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await at.clock.advance(5)
        assert shown(manager).verdict == "unprotected"
        at.orders[0].over = "Cancelled"
        await at.clock.advance(35)
        assert shown(manager).verdict == "guarded"

    play(tmp_path, an_own_exit()[0], story, STOP)


@pytest.mark.parametrize("quantity", [200, 250])
def test_a_close_that_is_larger_than_a_cap_goes_out_in_slices(tmp_path: Path, quantity: int) -> None:
    async def story(at: World, manager: Manager) -> None:
        assert shown(manager).verdict == "guarded"
        for _ in range(40):
            at.quote(42, "70.00", "70.02")
            for order in at.live(42):
                at.fill(order, int(order.remaining))
            await at.clock.advance(1)
        assert at.positions[42] == 0
        assert [order.quantity for order in at.received] == [100] * (quantity // 100) + [50] * (quantity % 100 > 0)

    play(tmp_path, holding(SHARES, quantity, "100"), story, STOP)


def test_a_blocked_unit_still_fires(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await at.clock.advance(5)
        for _ in range(4):
            at.quote(42, "70.00", "70.02")
            await at.clock.advance(1)
        (sent,) = at.received
        assert sent.quantity == 6, "what no other order covers"

    play(tmp_path, a_part_of_an_own_exit()[0], story, STOP)


def test_our_own_orders_block_nothing(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await at.clock.advance(40)
        assert at.live(42), "the disaster stop rests"
        assert shown(manager).verdict == "guarded"

    play(tmp_path, short_puts(), story, DISASTER)


def test_shadow_is_not_asked_what_it_could_send(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await at.clock.advance(5)
        assert shown(manager).verdict == "guarded"

    play(tmp_path, an_own_exit()[0], story, {**STOP, "mode": "shadow"})


def test_a_day_without_orders_left_blocks_every_unit(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        at.hold(put(43, 440), -1)
        at.quote(43, "2.45", "2.55")
        await at.clock.advance(31)
        await manager.engine.close("42", by="a test")
        await at.clock.advance(2)
        at.fill(at.live(42)[0], 2)
        await at.clock.advance(6)
        at.quote(43, "2.45", "2.55")
        (verdict,) = manager.engine.shared.guard.verdicts.values()
        assert isinstance(verdict, Blind)
        assert verdict.cause is Cause.BLOCKED
        assert "orders per day" in verdict.text

    play(tmp_path, short_puts(), story, {**CONFIG, "caps": {"orders_per_day": 1}})


def test_a_group_with_a_wing_that_is_worth_nothing_is_guarded(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        at.quote(43, "0.00", "0.05")
        at.quote(42, "2.45", "2.55")
        await at.clock.advance(1)
        (verdict,) = manager.engine.shared.guard.verdicts.values()
        assert not isinstance(verdict, Blind)

    at = vertical()
    at.average[43] = Decimal("0.10")
    play(tmp_path, at, story, GROUP)


# ----- closes and disaster stops


def test_disaster_stops_leave_the_caps_to_closes(tmp_path: Path) -> None:
    """They used up the orders of a minute, and real closes waited for 55 s."""

    async def story(at: World, manager: Manager) -> None:
        await at.clock.advance(6)
        stops = [order for order in at.received if order.stop]
        assert len(stops) == 5, "half of what a minute allows"
        for _ in range(2):
            for con_id in range(42, 54):
                at.quote(con_id, "3.75", "3.85")
            await at.clock.advance(1)
        for _ in range(5):
            await at.clock.advance(0.2)
        closes = [order for order in at.received if not order.stop]
        assert len(closes) == 10, "all that a minute allows"
        await at.clock.advance(65)

    at = World(ManualClock(BEGIN))
    for con_id in range(42, 54):
        at.hold(put(con_id, con_id * 10), -1)
        at.quote(con_id, "2.45", "2.55")
    play(tmp_path, at, story, DISASTER)


def test_a_disaster_stop_larger_than_a_cap_covers_what_one_order_may(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await at.clock.advance(120)
        (stop,) = at.received
        assert stop.quantity == 3, "and it is not replaced again and again"

    config = {**DISASTER, "caps": {"quantity": 3}}
    play(tmp_path, short_puts(-5), story, config)
