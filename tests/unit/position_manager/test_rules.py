"""What closes, what holds and what is blind."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.position_manager.rule_fixtures import (
    ACCOUNT,
    NEW_YORK,
    NOW,
    POLICY,
    assess,
    held,
    option,
    quote,
    rules,
    run,
    stock,
)

from position_manager.model import Kind, Quote
from position_manager.rules.evaluation import Blind, Cause, Close, Hold, Memory, Rule, Verdict
from position_manager.rules.groups import Leg, Unit, single
from position_manager.sessions.hours import parse_liquid_hours


def last(unit: Any, rule_set: Any, *prices: str) -> Verdict:
    return run(unit, rule_set, prices)[-1][0]


# The table in the documentation of the rules: rule, price that closes a long and one that does not, the same short.
TABLE = [
    ({"stop": {"percent_of_premium": 50}}, Rule.STOP, ("1.25", "1.26"), ("3.75", "3.74")),
    ({"stop": {"percent_of_premium": 100}}, Rule.STOP, None, ("5.00", "4.99")),
    ({"stop": {"loss_amount": 80}}, Rule.STOP, ("1.70", "1.71"), ("3.30", "3.29")),
    ({"stop": {"price": "1.00"}}, Rule.STOP, ("1.00", "1.01"), ("1.00", "0.99")),
    ({"target": {"percent_of_premium": 60}}, Rule.TARGET, ("4.00", "3.99"), ("1.00", "1.01")),
    ({"target": {"profit_amount": 80}}, Rule.TARGET, ("3.30", "3.29"), ("1.70", "1.71")),
]


@pytest.mark.parametrize(("given_rules", "rule", "long", "short"), TABLE)
def test_prices_of_the_table(given_rules: Any, rule: Rule, long: Any, short: Any) -> None:
    for quantity, prices in ((1, long), (-1, short)):
        if prices is not None:
            closing, holding = prices
            verdict = last(held(quantity), rules(**given_rules), closing, closing)
            assert isinstance(verdict, Close) and verdict.rule is rule, verdict
            assert isinstance(last(held(quantity), rules(**given_rules), holding, holding), Hold)


def test_a_worthless_long_option_has_lost_all() -> None:
    stop, memory = rules(stop={"percent_of_premium": 100}), Memory()
    for second in (0, 1):
        now = NOW + timedelta(seconds=second)
        verdict, memory = assess(held(1), stop, quote("0", "0.05", now), now, memory)
    assert isinstance(verdict, Close)


def test_amounts_count_the_whole_holding() -> None:
    stop = rules(stop={"loss_amount": 300})
    assert isinstance(last(held(-2), stop, "4.00", "4.00"), Close)
    assert isinstance(last(held(-1), stop, "4.00", "4.00"), Hold)


def test_the_side_that_it_would_trade_on_counts() -> None:
    stop = rules(stop={"percent_of_premium": 50})
    wide = [quote("1.00", "4.00", NOW + timedelta(seconds=s)) for s in (0, 1)]
    for quantity in (1, -1):
        memory = None
        for seen in wide:
            verdict, memory = assess(held(quantity), stop, seen, seen.time, memory)
        assert isinstance(verdict, Close), quantity
    assert isinstance(last(held(1), stop, "2.50", "2.50"), Hold)


def test_the_text_has_the_numbers() -> None:
    verdict = last(held(1), rules(stop={"percent_of_premium": 50}), "1.20", "1.10")
    assert verdict == Close(
        Rule.STOP,
        "stop: bid 1.1 is at or below 1.25 (50 % of the premium 2.5 lost), on 2 quotes in a row, at 10:00:01 EST",
    )


def test_distances() -> None:
    verdict = last(held(1), rules(stop={"percent_of_premium": 50}, target={"price": 4}), "2.00")
    assert isinstance(verdict, Hold) and verdict.stop is not None and verdict.target is not None
    assert (verdict.stop.distance, verdict.stop.percent) == (Decimal("0.75"), Decimal("37.5"))
    assert (verdict.target.distance, verdict.target.percent) == (Decimal(2), Decimal(100))


# ----- quotes


def test_one_quote_evaluated_often_never_confirms() -> None:
    memory = None
    for second in range(5):
        now = NOW + timedelta(seconds=second)
        verdict, memory = assess(held(1), rules(stop={"price": 2}), quote("1", "1"), now, memory)
        assert isinstance(verdict, Hold) and len(verdict.pending) == 1


def test_a_better_quote_between_starts_again() -> None:
    steps = run(held(1), rules(stop={"price": 2}), ["1", "3", "1", "1"])
    assert [type(verdict) for verdict, _ in steps] == [Hold, Hold, Hold, Close]


def test_a_blind_moment_between_starts_again() -> None:
    stop = rules(stop={"price": 2})
    _, memory = assess(held(1), stop, quote("1", "1"))
    assert memory.sightings
    verdict, memory = assess(held(1), stop, None, NOW + timedelta(seconds=1), memory)
    assert isinstance(verdict, Blind) and not memory.sightings


def test_quotes_too_far_apart_do_not_confirm_each_other() -> None:
    stop, later = rules(stop={"price": 2}), NOW + POLICY.confirm_within + timedelta(seconds=1)
    _, memory = assess(held(1), stop, quote("1", "1"))
    assert isinstance(assess(held(1), stop, quote("1", "1", later), later, memory)[0], Hold)
    in_time = NOW + POLICY.confirm_within
    assert isinstance(assess(held(1), stop, quote("1", "1", in_time), in_time, memory)[0], Close)


def test_another_stop_in_the_file_is_another_sighting() -> None:
    _, memory = assess(held(1), rules(stop={"price": 2}), quote("1", "1"))
    later = NOW + timedelta(seconds=1)
    assert isinstance(assess(held(1), rules(stop={"price": 3}), quote("1", "1", later), later, memory)[0], Hold)


BAD = {
    "missing": None,
    "no bid": quote(None, "1"),
    "delayed": quote("1", "1", live=False),
    "halted": quote("1", "1", halted=True),
    "stale": quote("1", "1", NOW - POLICY.max_age - timedelta(seconds=1)),
    "of the future": quote("1", "1", NOW + timedelta(seconds=60)),
    "crossed": quote("1.1", "1"),
    "last price only": quote(None, None, last=Decimal(1)),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_no_price_rule_acts_on_a_bad_quote(bad: Quote | None) -> None:
    _, memory = assess(held(1), rules(stop={"price": 2}), quote("1", "1", NOW - timedelta(seconds=30)),
                     NOW - timedelta(seconds=30))  # fmt: skip
    verdict, _ = assess(held(1), rules(stop={"price": 2}), bad, NOW, memory)
    assert isinstance(verdict, Blind) and verdict.cause is Cause.NO_QUOTE
    assert verdict.text.startswith("SPY 2026-12-18 450P: ")


def test_rules_by_time_need_no_quote() -> None:
    assert assess(held(1), rules(time={"dte": 1}), None)[0] == Hold()
    assert isinstance(assess(held(1), rules(time={"dte": 25}), None)[0], Close)


# ----- underlying, delta


def test_the_underlying_closes_in_the_written_direction() -> None:
    def after(value: str | None, **bounds: int) -> Verdict:
        memory = None
        for second in (0, 1):
            now = NOW + timedelta(seconds=second)
            price = None if value is None else Decimal(value)
            seen = quote("2", "2", now, underlying=price)
            verdict, memory = assess(held(-1), rules(stop={"underlying_price": bounds}), seen, now, memory)
        return verdict

    assert isinstance(after("445", below=445), Close)
    assert isinstance(after("446", below=445), Hold)
    assert isinstance(after("446", above=446), Close)
    blind = after(None, below=445)
    assert isinstance(blind, Blind) and blind.cause is Cause.NO_UNDERLYING


def test_a_stock_is_its_own_underlying() -> None:
    stop = rules(stop={"underlying_price": {"below": 90}})
    share = held(10, "100", stock(1))
    assert isinstance(last(share, stop, "90", "90"), Close)
    assert isinstance(last(share, stop, "91", "91"), Hold)


@pytest.mark.parametrize(
    ("delta", "expected"), [(-0.41, Close), (-0.4, Close), (-0.39, Hold), (0.1, Close), (0.11, Hold)]
)
def test_delta_is_absolute(delta: float, expected: type) -> None:
    memory = None
    for second in (0, 1):
        now = NOW + timedelta(seconds=second)
        bounds = rules(delta={"above": "0.4", "below": "0.1"})
        verdict, memory = assess(held(-1), bounds, quote("2", "2", now, delta=delta), now, memory)
    assert isinstance(verdict, expected), verdict


@pytest.mark.parametrize("delta", [None, float("nan")])
def test_without_a_delta_the_stop_still_closes(delta: float | None) -> None:
    both, memory = rules(delta={"above": "0.4"}, stop={"price": 3}), None
    for second, price, expected in ((0, "2", Blind), (1, "3", Blind), (2, "3", Close)):
        now = NOW + timedelta(seconds=second)
        verdict, memory = assess(held(-1), both, quote(price, price, now, delta=delta), now, memory)
        assert isinstance(verdict, expected), verdict


def test_delta_and_days_to_expiry_do_not_apply_to_stock() -> None:
    verdict, _ = assess(held(1, "100", stock(1)), rules(delta={"above": "0.4"}, time={"dte": 5}), quote("99", "99"))
    assert isinstance(verdict, Blind) and verdict.cause is Cause.NO_RULES


# ----- trailing and breakeven


@pytest.mark.parametrize(
    ("quantity", "prices"),
    [
        (1, ["3.50", "3.50", "4.00", "4.00", "3.51", "3.50", "3.50"]),
        (-1, ["1.50", "1.50", "1.00", "1.00", "1.49", "1.5", "1.5"]),
    ],
)
def test_trailing_follows_the_best_price(quantity: int, prices: list[str]) -> None:
    steps = run(held(quantity), rules(trailing={"activate_percent": 40, "distance_percent": 20}), prices)
    assert [memory.trail is not None for _, memory in steps] == [False] + [True] * 6
    assert [type(verdict) for verdict, _ in steps] == [Hold] * 6 + [Close]
    assert steps[-1][1].trail == Decimal(prices[-1])


def test_one_spike_is_no_best_price() -> None:
    steps = run(held(1), rules(trailing={"activate_percent": 40, "distance_percent": 20}), ["2.5", "9", "2.5", "2.5"])
    assert all(isinstance(verdict, Hold) for verdict, _ in steps)
    assert steps[-1][1].best == Decimal("2.5")


def test_breakeven_arms_and_stays_armed() -> None:
    rule = rules(breakeven={"after_percent": 40})
    steps = run(held(1), rule, ["2.4", "2.4", "3.5", "3.5", "2.51", "2.5", "2.4"])
    assert [type(verdict) for verdict, _ in steps] == [Hold] * 6 + [Close]
    assert isinstance(steps[-1][0], Close) and steps[-1][0].rule is Rule.BREAKEVEN


def test_memory_of_the_other_direction_is_forgotten() -> None:
    trailing = rules(trailing={"activate_percent": 40, "distance_percent": 20})
    memory = run(held(1), trailing, ["4", "4"])[-1][1]
    assert memory.trail is not None
    assert run(held(-1), trailing, ["4"], memory)[-1][1] == replace(
        Memory(direction=-1), recent=(Decimal(4),), recent_at=NOW
    )


# ----- time


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK)


TIMES = [
    ({"before_close": "00:15"}, "2026-11-23T15:44:59", Hold),
    ({"before_close": "00:15"}, "2026-11-23T15:45:00", Close),
    ({"before_close": "00:15"}, "2026-11-24T12:45:00", Close),
    ({"at": "15:45"}, "2026-11-23T15:44:59", Hold),
    ({"at": "15:45"}, "2026-11-23T15:45:00", Close),
    ({"at": "15:45"}, "2026-11-24T12:44:59", Hold),  # closes at 13:00
    ({"at": "15:45"}, "2026-11-24T12:45:00", Close),
    ({"at": "08:00"}, "2026-11-23T09:30:00", Close),
    ({"dte": 25}, "2026-11-23T09:30:00", Close),
    ({"dte": 24}, "2026-11-23T15:59:59", Hold),
    ({"dte": 25, "at": "12:00"}, "2026-11-23T11:59:59", Hold),
    ({"dte": 25, "at": "12:00"}, "2026-11-23T12:00:00", Close),
    ({"dte": 25, "at": "12:00"}, "2026-11-24T09:30:00", Close),  # late, so at once
    ({"date": "2026-11-24"}, "2026-11-23T15:59:59", Hold),
    ({"date": "2026-11-24"}, "2026-11-24T09:30:00", Close),
]


@pytest.mark.parametrize(("rule", "moment", "expected"), TIMES)
def test_time_rules(rule: Any, moment: str, expected: type) -> None:
    assert isinstance(assess(held(1), rules(time=rule), None, at(moment))[0], expected)


def test_a_session_from_the_evening_before() -> None:
    hours = parse_liquid_hours("20261123:1800-20261124:1700", NEW_YORK)
    future = replace(stock(1), kind=Kind.FUTURE, liquid_hours=hours)
    for moment, expected in (("2026-11-23T19:00", Hold), ("2026-11-24T15:44", Hold), ("2026-11-24T15:45", Close)):
        assert isinstance(assess(held(1, "100", future), rules(time={"at": "15:45"}), None, at(moment))[0], expected)


@pytest.mark.parametrize("moment", ["2026-11-23T09:29:59", "2026-11-23T16:00:00", "2026-11-24T00:00:00"])
def test_a_closed_market_is_blind(moment: str) -> None:
    verdict, _ = assess(held(1), rules(time={"dte": 99}, stop={"price": 2}), quote("1", "1", at(moment)), at(moment))
    assert isinstance(verdict, Blind) and verdict.cause is Cause.MARKET_CLOSED


def test_unknown_hours_are_blind() -> None:
    unknown = held(1, "2.5", option(liquid_hours=()))
    verdict, _ = assess(unknown, rules(stop={"price": 2}), quote("1", "1"))
    assert isinstance(verdict, Blind) and verdict.cause is Cause.HOURS_UNKNOWN


# ----- rules that cannot be evaluated


@pytest.mark.parametrize(
    ("quantity", "given_rules"),
    [
        (1, {"stop": {"price": 3}, "target": {"price": 2}}),
        (-1, {"stop": {"price": 2}, "target": {"price": 3}}),
        (1, {"stop": {"price": 3}, "target": {"percent_of_premium": 10}}),
        (1, {"stop": {"percent_of_premium": 150}}),
        (1, {"stop": {"loss_amount": 251}}),
    ],
)
def test_contradictions_close_nothing(quantity: int, given_rules: Any) -> None:
    verdict = last(held(quantity), rules(**given_rules), "2.5", "2.5", "2.5")
    assert isinstance(verdict, Blind) and verdict.cause is Cause.CONTRADICTION


def test_no_premium_no_percent() -> None:
    verdict = last(held(1, "0"), rules(stop={"percent_of_premium": 50}), "1", "1")
    assert isinstance(verdict, Blind) and verdict.cause is Cause.NO_PREMIUM


def test_no_rules() -> None:
    verdict, _ = assess(held(1), rules(stop="off"), quote("1", "1"))
    assert isinstance(verdict, Blind) and verdict.cause is Cause.NO_RULES


def test_a_unit_with_a_problem_is_blind() -> None:
    verdict, _ = assess(single(held(1), "why"), rules(time={"dte": 99}), quote("1", "1"))
    assert verdict == Blind(Cause.BROKEN_GROUP, "why")


# ----- properties

PRICES = st.decimals("0.01", "20", places=2)
RULES = st.fixed_dictionaries(
    {},
    optional={
        "stop": st.one_of(
            st.fixed_dictionaries({"percent_of_premium": st.integers(1, 100)}),
            st.fixed_dictionaries({"price": PRICES}),
            st.fixed_dictionaries({"loss_amount": st.integers(1, 200)}),
        ),
        "target": st.fixed_dictionaries({"percent_of_premium": st.integers(1, 300)}),
        "trailing": st.fixed_dictionaries(
            {"activate_percent": st.integers(20, 90), "distance_percent": st.integers(1, 19)}
        ),
        "breakeven": st.fixed_dictionaries({"after_percent": st.integers(1, 90)}),
    },
)
PATHS = st.lists(PRICES, min_size=1, max_size=12)


@given(st.sampled_from([1, -1]), RULES, PATHS, st.decimals("0", "5", places=2))
@settings(deadline=None, max_examples=200)
def test_a_worse_price_never_unfires_a_stop(
    quantity: int, given_rules: Any, path: list[Decimal], worse: Decimal
) -> None:
    rule_set = rules(**{name: rule for name, rule in given_rules.items() if name != "target"})
    steps = run(held(quantity), rule_set, path)
    if isinstance(steps[-1][0], Close):
        lower = max(Decimal("0.01"), path[-1] - worse) if quantity > 0 else path[-1] + worse
        assert isinstance(run(held(quantity), rule_set, [*path[:-1], lower])[-1][0], Close)


@given(st.sampled_from([1, -1]), PATHS, PATHS, st.integers(1, 5), st.decimals("0.5", "9", places=2))
@settings(deadline=None, max_examples=200)
def test_a_trailing_stop_never_loosens(
    quantity: int, path: list[Decimal], more: list[Decimal], factor: int, average: Decimal
) -> None:
    """Neither by prices nor by a change of the holding's size or average price."""
    rule_set = rules(trailing={"activate_amount": 40, "distance_amount": 20})
    first = run(held(quantity * 3), rule_set, path)
    after = run(held(quantity * factor, str(average)), rule_set, more, replace(first[-1][1], recent_at=None))
    trails = [memory.trail for _, memory in first + after]
    active = [trail for trail in trails if trail is not None]
    assert all((later - earlier) * quantity >= 0 for earlier, later in itertools.pairwise(active))
    assert trails[len(trails) - len(active) :] == active, "once active it stays"


@given(RULES.filter(lambda given_rules: "price" not in given_rules.get("stop", {})), PATHS)
@settings(deadline=None, max_examples=200)
def test_long_and_short_mirror_each_other(given_rules: Any, path: list[Decimal]) -> None:
    """Prices mirrored at the premium of 25 let a short position behave like a long one."""
    mirrored = [50 - price for price in path]
    long = run(held(1, "25"), rules(**given_rules), path)
    short = run(held(-1, "25"), rules(**given_rules), mirrored)
    for (one, _), (two, _) in zip(long, short, strict=True):
        assert type(one) is type(two)
        if isinstance(one, Close) and isinstance(two, Close):
            assert one.rule is two.rule
        if isinstance(one, Hold) and isinstance(two, Hold):
            assert (one.stop is None) == (two.stop is None) and len(one.pending) == len(two.pending)
            if one.target is not None and two.target is not None:
                assert one.target.distance == two.target.distance


@given(st.sampled_from([1, -1, 3, -3]), RULES, PATHS)
@settings(deadline=None)
def test_a_group_of_one_leg_is_the_position(quantity: int, given_rules: Any, path: list[Decimal]) -> None:
    ratio = Decimal(1 if quantity > 0 else -1)
    group = Unit(ACCOUNT, "one", (Leg(held(quantity), ratio),), "one")
    assert run(group, rules(**given_rules), path) == run(held(quantity), rules(**given_rules), path)


@given(st.sampled_from([1, -1]), RULES, PATHS)
@settings(deadline=None)
def test_the_same_market_twice_changes_nothing(quantity: int, given_rules: Any, path: list[Decimal]) -> None:
    verdict, memory = run(held(quantity), rules(**given_rules), path)[-1]
    now = NOW + timedelta(seconds=len(path) - 1)
    seen = quote(path[-1], path[-1], now)
    assert assess(held(quantity), rules(**given_rules), seen, now, memory) == (verdict, memory)


@given(st.sampled_from([1, -1]), RULES, PATHS)
@settings(deadline=None)
def test_memory_survives_the_journal(quantity: int, given_rules: Any, path: list[Decimal]) -> None:
    for _, memory in run(held(quantity), rules(**given_rules), path):
        assert Memory.from_json(memory.to_json()) == memory


@given(st.sampled_from([1, -1]), RULES, PATHS)
@settings(deadline=None)
def test_last_prices_close_nothing(quantity: int, given_rules: Any, path: list[Decimal]) -> None:
    memory = None
    for second, price in enumerate(path):
        now = NOW + timedelta(seconds=second)
        verdict, memory = assess(held(quantity), rules(**given_rules), quote(None, None, now, last=price), now, memory)
        assert isinstance(verdict, Blind)


def test_what_is_no_memory() -> None:
    with pytest.raises(ValueError, match="no memory of rules"):
        Memory.from_json('{"direction": "up"}')


def test_a_hold_has_the_distance_of_each_rule_and_is_not_another_one_for_it() -> None:
    verdict, _ = assess(
        held(1), rules(stop={"percent_of_premium": 50}, target={"percent_of_premium": 80}), quote("2.50", "2.60")
    )
    assert isinstance(verdict, Hold)
    assert [(each.rule, each.level) for each in verdict.distances] == [
        (Rule.STOP, Decimal("1.25")),
        (Rule.TARGET, Decimal("4.50")),
    ]
    assert (verdict.stop, verdict.target) == verdict.distances
    assert replace(verdict, distances=()) == verdict
