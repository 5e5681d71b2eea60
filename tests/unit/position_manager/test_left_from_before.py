"""Small causes with large effects: corrected costs, pence in place of pounds, levels near zero, the order of legs in a
file, late ticks, and alerts over a restart."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.position_manager.engine_world import (
    ACCOUNT,
    BEGIN,
    CONFIG,
    HOURS,
    Manager,
    ManualClock,
    World,
    breach,
    put,
    vertical,
)
from tests.unit.position_manager.test_engine import play
from tests.unit.position_manager.test_episodes import TRAILING, long_put, rise, stay

from position_manager.brokers.broker import BrokerEvent
from position_manager.brokers.ib_broker import IbBroker
from position_manager.config.schema import Config
from position_manager.model import Instrument, Kind, Market, Position, Quote
from position_manager.refused import RefusedError
from position_manager.rules.evaluation import Memory, QuotePolicy, clearly_gone
from position_manager.rules.groups import single
from position_manager.rules.rule_set import RuleSet
from position_manager.sessions.hours import BrokerCalendar

# ----- a corrected cost


@pytest.mark.parametrize("restart", [False, True])
def test_a_corrected_cost_ends_no_episode(tmp_path: Path, restart: bool) -> None:
    """The trailing stop of a position that is the same stays, over a restart too."""

    async def whole() -> None:
        at = long_put()
        manager = Manager(at, tmp_path, TRAILING)
        await manager.start()
        await rise(at)
        if restart:
            await manager.kill()
        at.average[42] = Decimal("2.41")
        if restart:
            manager = Manager(at, tmp_path, TRAILING, seed=1)
            await manager.start()
        await stay(at, 40)
        assert at.received, "its trailing stop was at 3.50"
        assert not any("closed and opened again" in message.title for message in manager.reported)
        await manager.end()

    asyncio.run(whole())


def test_over_a_midnight_in_which_nobody_watched_a_changed_cost_is_another_position(tmp_path: Path) -> None:
    async def whole() -> None:
        at = long_put()
        manager = Manager(at, tmp_path, TRAILING)
        await manager.start()
        await rise(at)
        await manager.kill()
        at.average[42] = Decimal("2.41")
        at.clock.jump(timedelta(hours=10))
        manager = Manager(at, tmp_path, TRAILING, seed=1)
        await manager.start()
        await stay(at, 40)
        assert not at.received
        await manager.end()

    asyncio.run(whole())


# ----- a price in pence

PENCE = Instrument(42, "BARC", Kind.STOCK, currency="GBP", local_symbol="BARC", liquid_hours=HOURS, magnifier=100)


def shares_in_pence() -> World:
    at = World(ManualClock(BEGIN))
    at.hold(PENCE, 100, "3.37")
    at.quote(42, "3.40", "3.41")
    return at


def test_an_approved_price_in_pence_is_refused_and_the_one_in_pounds_named(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        with pytest.raises(RefusedError, match=r"in GBP here: it is at 3.405, and 340 .* Did you mean 3.4\?"):
            await manager.engine.close("BARC", by="a test", limit=Decimal(340))
        assert not at.received
        await manager.engine.close("BARC", by="a test", limit=Decimal("3.30"))
        await at.clock.advance(1)
        assert [order.limit for order in at.received] == [Decimal("3.30")]
        with pytest.raises(RefusedError, match="Did you mean"):
            await manager.engine.close("BARC", by="a test", limit=Decimal(335))

    play(tmp_path, shares_in_pence(), story)


def test_without_a_quote_the_cost_distinguishes_pence_from_pounds(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        with pytest.raises(RefusedError, match=r"it is at 3.37, and 340"):
            await manager.engine.close("BARC", by="a test", limit=Decimal(340))

    at = shares_in_pence()
    at.quotes.clear()
    play(tmp_path, at, story)


# ----- a level near zero


@given(st.integers(0, 6), st.integers(0, 12), st.sampled_from([-1, 1]))
def test_a_condition_is_plainly_gone_only_two_ticks_from_its_level(level: int, seen: int, side: int) -> None:
    """With 5 % of a level of 0.02 a price that has not moved would be gone."""
    tick = Decimal("0.01")
    price = level * tick + seen * tick * side
    if price < 0:
        return
    unit = single(Position(ACCOUNT, put(1), Decimal(side), Decimal("2.50")))
    quote = Quote(BEGIN, price, price + tick) if side > 0 else Quote(BEGIN, max(Decimal(0), price - tick), price)
    if quote.problem(BEGIN, timedelta(seconds=10)) is not None:
        return
    rules = RuleSet.model_validate({"stop": {"price": str(level * tick)}}) if level else None
    if rules is None:
        return
    policy = QuotePolicy(Config.model_validate(CONFIG).hours.zone)
    gone = clearly_gone(
        unit, rules, Market(BEGIN, {1: quote}), Memory(), policy, BrokerCalendar(), "stop", Decimal("0.05")
    )
    assert (gone is not None) is (seen > 2)


# ----- the order of legs


def of_legs(*ids: int) -> Mapping[str, object]:
    ratios = {42: -1, 43: 1}
    legs = [{"con_id": con_id, "ratio": ratios[con_id]} for con_id in ids]
    return {**CONFIG, "defaults": {}, "groups": {"vertical": {"legs": legs, "breakeven": {"after_percent": 40}}}}


@pytest.mark.parametrize("order", [(42, 43), (43, 42)])
def test_legs_in_another_order_are_the_same_position(tmp_path: Path, order: tuple[int, int]) -> None:
    """Breakeven was armed; then somebody sorts the legs in the file."""

    async def whole() -> None:
        at = vertical()
        manager = Manager(at, tmp_path, of_legs(42, 43))
        await manager.start()
        for _ in range(4):
            at.quote(42, "1.70", "1.72")
            at.quote(43, "1.48", "1.50")
            await at.clock.advance(1)
        await manager.end()
        at.quote(42, "2.60", "2.62")
        again = Manager(at, tmp_path, of_legs(*order), seed=1)
        await again.start()
        for _ in range(5):
            at.quote(42, "2.60", "2.62")
            at.quote(43, "1.48", "1.50")
            await at.clock.advance(1)
        assert at.received, "the gain is gone"
        await again.end()

    asyncio.run(whole())


# ----- a late tick


@pytest.mark.parametrize("waits", [True, False])
def test_a_tick_of_the_subscription_before_proves_nothing(waits: bool) -> None:
    broker, heard = IbBroker(Config.model_validate({"mode": "paper"}), ManualClock(BEGIN)), list[BrokerEvent]()
    broker.listen(heard.append)
    session: Any = object()
    broker._ib = session
    broker._wanted = {42: put(42)}
    broker._renewing = {42}
    broker._to_watch = deque([42] if waits else [])
    nan = float("nan")
    ticker: Any = SimpleNamespace(
        bid=2.4, ask=2.5, last=nan, bidSize=1, askSize=1, halted=nan, marketDataType=1, modelGreeks=None
    )
    broker._ticked(session, 42, ticker)
    assert bool(heard) is not waits
    assert (42 in broker._renewing) is waits


# ----- alerts over a restart


def test_a_restart_repeats_neither_an_alert_nor_the_escalation(tmp_path: Path) -> None:
    config = {**CONFIG, "orders": {"escalation": {"after_seconds": 60, "max_slippage_percent": 30}}}

    async def whole() -> None:
        at = World(ManualClock(BEGIN))
        at.hold(put(42), -2)
        at.quote(42, "2.45", "2.55")
        manager = Manager(at, tmp_path, config)
        await manager.start()
        await breach(at, times=130)
        assert manager.kinds.count("still_held") == 1
        assert manager.kinds.count("escalated") == 1
        await manager.kill()
        again = Manager(at, tmp_path, config, seed=1)
        await again.start()
        await breach(at, times=60)
        assert "still_held" not in again.kinds
        assert "escalated" not in again.kinds
        await breach(at, times=70)
        assert again.kinds.count("still_held") == 1, "the next one is due"
        await again.end()

    asyncio.run(whole())
