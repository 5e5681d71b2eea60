"""Stops of short options by the distance of the underlying to the strike, alone and in a group."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import pytest
from tests.unit.position_manager.engine_world import GROUP, Manager, vertical
from tests.unit.position_manager.rule_fixtures import ACCOUNT, assess, held, option, quote, rules, stock

from position_manager.model import Position, Right
from position_manager.orders.intents import Side
from position_manager.rules.evaluation import Blind, Cause, Close, Hold, Rule
from position_manager.rules.groups import Leg, Unit

CALL = option(2, "470", Right.CALL)


@pytest.mark.parametrize(
    ("rule", "put_level", "call_level"),
    [
        ({"touched": True}, "450", "470"),
        ({"out_of_the_money_amount": 5}, "455", "465"),
        ({"out_of_the_money_percent": 1}, "454.5", "465.3"),
        ({"in_the_money_amount": 2}, "448", "472"),
        ({"in_the_money_percent": 2}, "441", "479.4"),
    ],
)
def test_levels_of_puts_and_calls(rule: Mapping[str, object], put_level: str, call_level: str) -> None:
    rule_set = rules(strike_stop=rule)
    for instrument, level, step in ((option(1), put_level, "0.01"), (CALL, call_level, "-0.01")):
        for seen, closes in ((Decimal(level), True), (Decimal(level) + Decimal(step), False)):
            quoted = quote("2.50", "2.50", underlying=seen)
            verdict, _ = assess(held(-1, instrument=instrument), rule_set, {instrument.con_id: quoted})
            assert isinstance(verdict, Hold) and bool(verdict.pending) is closes, (seen, verdict)
            assert verdict.stop is not None and verdict.stop.level == Decimal(level)


def iron_condor() -> Unit:
    legs = [
        (held(1, "0.50", option(1, "440")), 1),
        (held(-1, "1.50", option(2, "450")), -1),
        (held(-1, "1.50", option(3, "470", Right.CALL)), -1),
        (held(1, "0.50", option(4, "480", Right.CALL)), 1),
    ]
    return Unit(ACCOUNT, "condor", tuple(Leg(position, Decimal(ratio)) for position, ratio in legs), "condor")


@pytest.mark.parametrize(("underlying", "named"), [("450", "450P"), ("470", "470C"), ("460", None), ("440", "450P")])
def test_each_short_leg_of_a_group_counts(underlying: str, named: str | None) -> None:
    quotes = {con_id: quote("1", "1", underlying=Decimal(underlying)) for con_id in (1, 2, 3, 4)}
    verdict, _ = assess(iron_condor(), rules(strike_stop={"touched": True}), quotes)
    assert isinstance(verdict, Hold)
    assert bool(verdict.pending) is (named is not None)
    assert named is None or named in verdict.pending[0]


def test_a_leg_is_judged_by_its_own_underlying() -> None:
    """Legs on different futures have different underlyings."""
    prices = {1: "440", 2: "460", 3: "460", 4: "440"}
    quotes = {con_id: quote("1", "1", underlying=Decimal(price)) for con_id, price in prices.items()}
    verdict, _ = assess(iron_condor(), rules(strike_stop={"touched": True}), quotes)
    assert isinstance(verdict, Hold) and not verdict.pending


def test_without_a_price_of_the_underlying_the_unit_is_unprotected() -> None:
    verdict, _ = assess(held(-1), rules(strike_stop={"touched": True}), quote("2.50", "2.50"))
    assert isinstance(verdict, Blind) and verdict.cause is Cause.NO_UNDERLYING


@pytest.mark.parametrize("position", [held(1), held(-1, instrument=stock(1))])
def test_it_does_not_apply_without_a_short_option(position: Position) -> None:
    verdict, _ = assess(position, rules(strike_stop={"touched": True}), quote("2.50", "2.50"))
    assert isinstance(verdict, Blind) and verdict.cause is Cause.NO_RULES


def test_a_group_is_closed_when_its_short_strike_is_touched(tmp_path: Path) -> None:
    config = {**GROUP, "groups": {"vertical": {**GROUP["groups"]["vertical"], "strike_stop": {"touched": True}}}}

    async def story() -> None:
        at = vertical()
        manager = Manager(at, tmp_path, config)
        await manager.start()
        for underlying in ("451", "450.5", "450", "449.9"):
            at.quote(42, "2.45", "2.55", underlying=Decimal(underlying))
            at.quote(43, "1.45", "1.55", underlying=Decimal(underlying))
            await at.clock.advance(1)
        (order,) = at.live(42)
        assert order.sent.side is Side.BUY and not at.live(43)
        assert any(str(Rule.STRIKE) in message.title for message in manager.reported)
        at.fill(order, 1, "2.55")
        at.quote(43, "1.45", "1.55", underlying=Decimal("449"))
        await at.clock.advance(2)
        (order,) = at.live(43)
        at.fill(order, 1, "1.45")
        await at.clock.advance(5)
        assert not any(at.positions.values())
        await manager.end()

    asyncio.run(story())


def test_a_leg_of_a_broken_group_has_the_stop_of_single_positions(tmp_path: Path) -> None:
    config = {**GROUP, "defaults": {"strike_stop": {"touched": True}}}

    async def story() -> None:
        at = vertical()
        at.positions[43] = Decimal(2)
        manager = Manager(at, tmp_path, config)
        await manager.start()
        for _ in range(3):
            at.quote(42, "2.45", "2.55", underlying=Decimal(449))
            await at.clock.advance(1)
        assert [sent.con_id for sent in at.received] == [42]
        await manager.end()

    asyncio.run(story())


def test_one_confirmed_touch_closes() -> None:
    rule_set, memory, verdict = rules(strike_stop={"touched": True}), None, None
    for second in range(2):
        now = quote("1", "1").time.replace(second=second)
        verdict, memory = assess(held(-1), rule_set, quote("1", "1", now, underlying=Decimal(449)), now, memory)
    assert isinstance(verdict, Close)
    assert verdict.text.startswith("strike_stop: underlying 449 is at or below 450 (the strike of short SPY 2026-12-18")
