"""One bad print closes nothing: quotes that confirm span a time, their spread is believed, and a decision whose
condition has plainly gone is withdrawn before its first fill."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.position_manager.engine_world import (
    CONFIG,
    GROUP,
    Manager,
    World,
    breach,
    short_puts,
    vertical,
)
from tests.unit.position_manager.rule_fixtures import NEW_YORK, NOW, assess, held, option, quote, rules
from tests.unit.position_manager.test_engine import play

from position_manager.model import Quote
from position_manager.orders.intents import Side
from position_manager.rules.evaluation import Blind, Cause, Close, Hold, Memory, QuotePolicy
from position_manager.rules.groups import Unit, group_positions
from position_manager.rules.selectors import Group
from position_manager.rules.spread import SpreadBound
from position_manager.sessions.hours import parse_liquid_hours

SECOND = timedelta(seconds=1)
STRICT = QuotePolicy(NEW_YORK, spread=SpreadBound())


async def bad_print(at: World, messages: int, bid: str, ask: str) -> None:
    """It lasts 0.15 s, with so many tick messages."""
    for _ in range(messages):
        at.quote(42, bid, ask)
        await at.clock.advance(0.15 / messages)


@pytest.mark.parametrize("messages", range(1, 11))
def test_a_bad_print_that_lasts_for_a_moment_closes_nothing(tmp_path: Path, messages: int) -> None:
    async def story(at: World, manager: Manager) -> None:
        for _ in range(5):
            await bad_print(at, messages, "3.75", "3.85")
            at.quote(42, "2.45", "2.55")
            await at.clock.advance(3)
        assert not at.received
        assert "rule_fired" not in manager.kinds
        await breach(at)
        assert at.received, "a price that stays does"

    play(tmp_path, short_puts(), story)


@pytest.mark.parametrize("messages", [1, 2, 10])
def test_nor_is_it_a_best_price(tmp_path: Path, messages: int) -> None:
    config = {**CONFIG, "defaults": {"trailing": {"activate_percent": 40, "distance_percent": 20}}}

    async def story(at: World, manager: Manager) -> None:
        for _ in range(5):
            await bad_print(at, messages, "0.50", "0.55")
            for _ in range(5):
                at.quote(42, "2.45", "2.55")
                await at.clock.advance(1)
        assert not at.received
        await breach(at, "1.00", "1.05", times=4)
        await breach(at, "1.60", "1.65", times=3)
        assert at.received, "one that stays is"

    play(tmp_path, short_puts(), story, config)


def test_a_spread_that_no_order_would_be_sent_at_triggers_nothing_and_is_reported(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await breach(at, "2.00", "4.00", times=70)
        assert not at.received
        (verdict,) = manager.engine.shared.guard.verdicts.values()
        assert isinstance(verdict, Blind)
        assert verdict.cause is Cause.WIDE_SPREAD
        assert manager.kinds.count("unprotected") == 1
        await breach(at)
        assert at.received

    play(tmp_path, short_puts(), story)


def test_one_wide_leg_closes_no_group(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        for _ in range(10):
            at.quote(42, "2.45", "2.55")
            at.quote(43, "0.20", "2.80")
            await at.clock.advance(1)
        assert not manager.engine.closer.closings
        assert not at.received

    play(tmp_path, vertical(), story, GROUP)


def spread_with_a_wing() -> Unit:
    """Short the 450 put at 2.50, long the 430 put at 0.10."""
    group = Group.model_validate({"legs": [{"con_id": 1, "ratio": -1}, {"con_id": 2, "ratio": 1}]})
    legs = [held(-1, "2.50", option(1)), held(1, "0.10", option(2, "430"))]
    (unit,) = group_positions(legs, {"spread": group}).units
    return unit


def test_a_wing_that_is_worth_nothing_prevents_no_stop() -> None:
    unit, memory = spread_with_a_wing(), Memory()
    for second in range(2):
        now = NOW + second * SECOND
        quotes = {1: quote("4.90", "5.00", now), 2: quote("0.00", "0.05", now)}
        verdict, memory = assess(unit, rules(stop={"loss_amount": 100}), quotes, now, memory, STRICT)
    assert isinstance(verdict, Close)


@pytest.mark.parametrize(
    ("hours", "now", "opened"),
    [
        ("20261123:0930-20261123:1600", "09:30:10", True),
        ("20261123:0930-20261123:1600", "09:30:31", False),
        ("20261122:0000-20261123:0000;20261123:0000-20261124:0000", "00:00:10", False),
        ("20261123:0900-20261123:1130;20261123:1230-20261123:1600", "12:30:10", True),
    ],
)
def test_price_rules_rest_after_an_opening(hours: str, now: str, opened: bool) -> None:
    policy = QuotePolicy(NEW_YORK, grace=timedelta(seconds=30))
    moment = datetime.fromisoformat(f"2026-11-23T{now}").replace(tzinfo=NEW_YORK)
    contract = option(liquid_hours=parse_liquid_hours(hours, NEW_YORK))
    seen = quote("2.40", "2.50", moment)
    verdict, _ = assess(held(1, "2.50", contract), rules(stop={"percent_of_premium": 50}), seen, moment, policy=policy)
    assert isinstance(verdict, Blind if opened else Hold)
    time = rules(time={"before_close": "12:00"}, stop={"percent_of_premium": 50})
    assert isinstance(assess(held(1, "2.50", contract), time, seen, moment, policy=policy)[0], Close) is (
        not hours.startswith("20261122")
    ), "time rules do not rest"


# ----- a condition that is gone


def calm(at: World) -> None:
    at.quote(42, "2.45", "2.55")


async def decided(at: World) -> None:
    await breach(at)
    assert len(at.received) == 1


def test_a_decision_whose_condition_has_plainly_gone_is_withdrawn_before_its_first_fill(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await decided(at)
        for _ in range(8):
            calm(at)
            await at.clock.advance(1)
        assert manager.kinds.count("closing_withdrawn") == 1
        assert not manager.engine.closer.closings
        await at.clock.advance(5)
        assert not at.live(42), "its order is cancelled"
        assert at.positions[42] == -2
        await breach(at)
        assert manager.kinds.count("rule_fired") == 2, "its rules hold again"

    play(tmp_path, short_puts(), story)


async def one_is_filled(at: World) -> None:
    at.fill(at.ours(42)[-1], 1)
    for _ in range(20):
        calm(at)
        await at.clock.advance(1)


async def it_is_back_for_a_moment(at: World) -> None:
    for _ in range(5):
        calm(at)
        await at.clock.advance(2)
        at.quote(42, "3.75", "3.85")
        await at.clock.advance(2)


async def it_is_a_little_back(at: World) -> None:
    for _ in range(20):
        at.quote(42, "3.55", "3.65")
        await at.clock.advance(1)


async def it_is_back_on_a_spread_that_nobody_believes(at: World) -> None:
    for _ in range(20):
        at.quote(42, "1.00", "2.55")
        await at.clock.advance(1)


@pytest.mark.parametrize(
    "happens",
    [one_is_filled, it_is_back_for_a_moment, it_is_a_little_back, it_is_back_on_a_spread_that_nobody_believes],
)
def test_otherwise_a_decision_remains(tmp_path: Path, happens: Callable[[World], Awaitable[None]]) -> None:
    async def story(at: World, manager: Manager) -> None:
        await decided(at)
        await happens(at)
        assert "closing_withdrawn" not in manager.kinds
        assert manager.engine.closer.closings

    play(tmp_path, short_puts(), story)


def test_what_a_person_has_decided_remains_however_good_the_price_is(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await manager.engine.close("42", by="a test")
        for _ in range(20):
            calm(at)
            await at.clock.advance(1)
        assert manager.engine.closer.closings

    play(tmp_path, short_puts(), story)


def test_a_decision_of_a_rule_that_a_person_has_joined_remains_too(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await decided(at)
        await manager.engine.close("42", by="a test")
        for _ in range(20):
            calm(at)
            await at.clock.advance(1)
        assert "closing_withdrawn" not in manager.kinds
        assert manager.engine.closer.closings

    play(tmp_path, short_puts(), story)


def test_after_a_withdrawal_an_order_that_was_faster_closes_no_more_than_is_held(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        at.cancels_at_once = False
        await decided(at)
        for _ in range(8):
            calm(at)
            await at.clock.advance(1)
        assert "closing_withdrawn" in manager.kinds
        (order,) = at.live(42)
        at.fill(order, 2)
        await at.clock.advance(30)
        assert at.positions[42] == 0
        assert len(at.received) == 1
        assert order.sent.side is Side.BUY

    play(tmp_path, short_puts(), story)


# ----- every sequence of quotes

STEP = st.tuples(
    st.sampled_from([0.01, 0.05, 0.2, 0.5, 1.0, 2.0]),
    st.sampled_from(["good", "bad", "bad", "bad", "wide and bad"]),
)
SHOWN = {"good": ("2.40", "2.50"), "bad": ("1.00", "1.05"), "wide and bad": ("0.50", "2.50")}


def quotes_of(steps: list[tuple[float, str]]) -> list[tuple[datetime, str, Quote]]:
    now, made = NOW, []
    for seconds, kind in steps:
        now += timedelta(seconds=seconds)
        made.append((now, kind, quote(*SHOWN[kind], now)))
    return made


@settings(max_examples=500, deadline=None)
@given(st.lists(STEP, min_size=1, max_size=25))
def test_a_stop_fires_exactly_when_believed_quotes_beyond_it_span_the_time(steps: list[tuple[float, str]]) -> None:
    unit, rule, memory = held(1, "2.50"), rules(stop={"percent_of_premium": 50}), Memory()
    since: datetime | None = None
    for now, kind, seen in quotes_of(steps):
        verdict, memory = assess(unit, rule, seen, now, memory, STRICT)
        since = (since or now) if kind == "bad" else None
        spans = since is not None and now - since >= SECOND
        assert isinstance(verdict, Close) is spans, f"{kind} after {now - NOW}"


@settings(max_examples=500, deadline=None)
@given(st.lists(STEP, min_size=1, max_size=25))
def test_a_best_price_is_one_that_believed_quotes_have_held_for_the_time(steps: list[tuple[float, str]]) -> None:
    """For a short unit the low price is the good one. No best is better than each second of quotes allows."""
    unit, rule, memory = held(-1, "2.50"), rules(trailing={"activate_percent": 40, "distance_percent": 20}), Memory()
    since: datetime | None = None
    held_for_long = False
    for now, kind, seen in quotes_of(steps):
        _, memory = assess(unit, rule, seen, now, memory, STRICT)
        if kind != "wide and bad":
            since = (since or now) if kind == "bad" else None
        held_for_long = held_for_long or (since is not None and now - since >= SECOND)
        if memory.best is not None and memory.best < 2:
            assert held_for_long, f"best {memory.best} after {now - NOW}"
