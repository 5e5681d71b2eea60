"""The walk is a function of the moment, and its extremes are found without walking."""

from __future__ import annotations

from datetime import UTC, datetime
from math import log, sqrt
from statistics import stdev

import pytest

from gateway_simulator.trading.walk import BLOCK_STEPS, Walk, key_of, moment_of, scramble, step_at

MONDAY = step_at(datetime(2026, 11, 23, 15, tzinfo=UTC))


def apple(seed: int = 1) -> Walk:
    return Walk(key_of(seed, "AAPL"), 189.25, 0.26)


def test_moments_and_steps_turn_into_each_other() -> None:
    moment = datetime(2026, 11, 23, 15, 0, 0, 500_000, tzinfo=UTC)
    assert moment_of(step_at(moment)) == moment
    assert step_at(moment.replace(microsecond=749_999)) == step_at(moment)


def test_order_of_questions_changes_nothing() -> None:
    steps = [MONDAY + offset * 997 for offset in range(-500, 500)]
    walk = apple()
    forwards = {step: walk.price(step) for step in steps}
    assert all(walk.price(step) == forwards[step] for step in sorted(steps, key=lambda step: scramble(7, step)))
    assert apple().price(steps[0]) == forwards[steps[0]]


def test_walk_is_the_same_for_ever() -> None:
    assert apple().price(MONDAY) == pytest.approx(191.52040451105518, rel=1e-12)


def test_seeds_differ() -> None:
    assert apple(2).price(MONDAY) != pytest.approx(apple(1).price(MONDAY), rel=1e-4)


def test_walk_is_at_its_base_where_blocks_meet_and_does_not_jump_there() -> None:
    start = (MONDAY // BLOCK_STEPS) * BLOCK_STEPS
    walk = apple()
    assert walk.price(start) == walk.price(start + BLOCK_STEPS) == 189.25
    assert walk.price(start - 1) == pytest.approx(189.25, rel=1e-3)


def test_days_move_as_the_volatility_sets() -> None:
    walk, day = apple(), 4 * 86400
    prices = [walk.price(MONDAY - number * day) for number in range(1000)]
    moves = [log(late / early) for early, late in zip(prices[1:], prices, strict=False)]
    assert stdev(moves) * sqrt(365) == pytest.approx(0.26, rel=0.1)


@pytest.mark.parametrize("length", [1, 2, 3, 20, 241, 3000])
def test_extremes_are_those_of_all_steps(length: int) -> None:
    walk = apple()
    for start in range(MONDAY, MONDAY + 40 * 1013, 1013):
        prices = {step: walk.price(step) for step in range(start, start + length)}
        low, high = apple().extremes(start, start + length - 1)
        assert (prices[low], prices[high]) == (min(prices.values()), max(prices.values()))


def test_extremes_are_found_where_blocks_meet() -> None:
    walk, border = apple(), (MONDAY // BLOCK_STEPS) * BLOCK_STEPS
    prices = {step: walk.price(step) for step in range(border - 700, border + 900)}
    low, high = walk.extremes(border - 700, border + 899)
    assert (prices[low], prices[high]) == (min(prices.values()), max(prices.values()))


def test_scrambled_numbers_are_spread_evenly() -> None:
    numbers = [scramble(1, number) * 2.0**-64 for number in range(20_000)]
    tenths = [sum(each // 0.1 == tenth for each in numbers) for tenth in range(10)]
    assert all(1850 < count < 2150 for count in tenths)
