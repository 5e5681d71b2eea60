"""What is guarded as one, what it is worth, and which rules hold for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.position_manager.rule_fixtures import NOW, assess, held, option, quote, rules, stock

from position_manager.config.precedence import resolve
from position_manager.config.schema import Config
from position_manager.model import Position, Right
from position_manager.rules.evaluation import Blind, Cause, Close, Hold
from position_manager.rules.groups import Grouping, group_positions, single
from position_manager.rules.selectors import Group

LOW = option(1, "430")
HIGH = option(2, "440")
SPREAD = Group.model_validate({"legs": [{"con_id": 1, "ratio": 1}, {"con_id": 2, "ratio": -1}]})


def grouped(*positions: Position, **groups: Group) -> Grouping:
    return group_positions(positions, groups or {"spread": SPREAD})


def test_a_credit_spread_is_valued_as_one() -> None:
    unit = grouped(held(3, "1.00", LOW), held(-3, "2.20", HIGH)).units[0]
    assert (unit.group, unit.quantity, unit.direction, unit.entry) == ("spread", Decimal(3), -1, Decimal("1.20"))
    quotes = {1: quote("0.40", "0.50"), 2: quote("1.00", "1.10")}
    assert unit.price(quotes) == Decimal("0.70"), "the long leg's bid, the short leg's ask"
    assert unit.profit(quotes) == Decimal("150.00")


def test_a_debit_spread_is_long() -> None:
    unit = grouped(held(2, "3.00", LOW), held(-2, "1.80", HIGH)).units[0]
    assert (unit.direction, unit.entry) == (1, Decimal("1.20"))
    assert unit.profit({1: quote("3.50", "3.60"), 2: quote("1.40", "1.50")}) == Decimal("160.00")


def test_a_covered_call_counts_per_share() -> None:
    call = option(2, "110", Right.CALL)
    cover = Group.model_validate({"legs": [{"con_id": 90, "ratio": 100}, {"con_id": 2, "ratio": -1}]})
    unit = grouped(held(200, "100", stock()), held(-2, "3", call), cover=cover).units[0]
    assert (unit.quantity, unit.multiplier, unit.entry) == (Decimal(2), Decimal(100), Decimal(97))
    quotes = {90: quote("101", "101.1"), 2: quote("3.9", "4")}
    assert unit.profit(quotes) == Decimal(0)


def test_a_group_closes_by_its_net_price_on_new_quotes_of_every_leg() -> None:
    unit = grouped(held(1, "1.00", LOW), held(-1, "2.20", HIGH)).units[0]
    stop = rules(stop={"percent_of_premium": 100})
    later = NOW + timedelta(seconds=1)
    first = {1: quote("0.60", "0.70"), 2: quote("2.90", "3.00")}
    verdict, memory = assess(unit, stop, first)
    assert isinstance(verdict, Hold) and verdict.pending
    half = first | {2: quote("2.90", "3.00", later)}
    verdict, memory = assess(unit, stop, half, later, memory)
    assert isinstance(verdict, Hold), "the first leg still has its old quote"
    both = half | {1: quote("0.60", "0.70", later)}
    verdict, memory = assess(unit, stop, both, later, memory)
    assert isinstance(verdict, Close) and "net cost to close 2.4 is at or above 2.4" in verdict.text


def test_one_bad_leg_makes_a_group_blind() -> None:
    unit = grouped(held(1, "1.00", LOW), held(-1, "2.20", HIGH)).units[0]
    verdict, _ = assess(unit, rules(stop={"price": 9}), {1: quote("0.60", "0.70")})
    assert isinstance(verdict, Blind) and verdict.text == "SPY 2026-12-18 440P: no quote"


def test_the_delta_of_a_group_is_net() -> None:
    unit = grouped(held(1, "1.00", LOW), held(-1, "2.20", HIGH)).units[0]
    memory = None
    for second in (0, 1):
        now = NOW + timedelta(seconds=second)
        quotes = {1: quote("1", "1", now, delta=-0.25), 2: quote("2", "2", now, delta=-0.40)}
        verdict, memory = assess(unit, rules(delta={"above": "0.15"}), quotes, now, memory)
    assert isinstance(verdict, Close) and "|delta| 0.15" in verdict.text


def problems(grouping: Grouping) -> list[str]:
    return [problem.text for problem in grouping.problems]


def test_a_missing_long_leg_leaves_the_short_one_to_its_own_rules() -> None:
    grouping = grouped(held(-1, "2.20", HIGH))
    assert problems(grouping) == ["group spread in DU*****67 does not fit: leg 1 1 is missing"]
    assert [(unit.group, unit.problem) for unit in grouping.units] == [(None, None)]


def test_a_wrong_ratio_never_sells_the_cover_alone() -> None:
    grouping = grouped(held(1, "1", LOW), held(-2, "2", HIGH))
    assert (
        "the ratio is wrong: 1 of SPY 2026-12-18 430P for 1, -2 of SPY 2026-12-18 440P for -1" in problems(grouping)[0]
    )
    by_id = {unit.legs[0].instrument.con_id: unit for unit in grouping.units}
    assert by_id[2].problem is None and by_id[1].problem is not None
    verdict, _ = assess(by_id[1], rules(time={"dte": 99}), None)
    assert isinstance(verdict, Blind) and verdict.cause is Cause.BROKEN_GROUP


def test_long_legs_that_cover_nothing_have_their_own_rules() -> None:
    assert [unit.problem for unit in grouped(held(1, "1", LOW)).units] == [None]


def test_a_leg_held_the_wrong_way_round_does_not_fit() -> None:
    assert "the ratio is wrong" in problems(grouped(held(-1, "1", LOW), held(1, "2", HIGH)))[0]


def test_a_pattern_that_fits_two_contracts_does_not_fit() -> None:
    group = Group.model_validate({"legs": [{"symbol": "SPY", "right": "P", "ratio": -1}]})
    text = problems(grouped(held(-1, "1", LOW), held(-1, "2", HIGH), puts=group))[0]
    assert text.endswith("leg SPY P -1 fits SPY 2026-12-18 430P, SPY 2026-12-18 440P")


def test_a_leg_belongs_to_one_group() -> None:
    by_field = Group.model_validate({"legs": [{"symbol": "SPY", "strike": 440, "ratio": -1}]})
    grouping = grouped(held(1, "1", LOW), held(-1, "2", HIGH), one=SPREAD, two=by_field)
    assert [unit.group for unit in grouping.units] == ["one"]
    assert problems(grouping)[0].endswith("SPY 2026-12-18 440P is a leg of group one")


def test_legs_in_two_currencies_do_not_fit() -> None:
    grouping = grouped(held(1, "1", LOW), held(-1, "2", replace(HIGH, currency="EUR")))
    assert "different currencies" in problems(grouping)[0]


def test_accounts_are_apart() -> None:
    other = replace(held(-1, "2", HIGH), account="DU7654321")
    grouping = grouped(held(1, "1", LOW), other)
    assert len(grouping.problems) == 2 and all(unit.group is None for unit in grouping.units)


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(-3, 3)), max_size=6, unique_by=lambda item: item[0]))
@settings(deadline=None)
def test_every_position_is_in_exactly_one_unit(holdings: list[tuple[int, int]]) -> None:
    positions = [held(quantity, "1", option(con_id, str(400 + con_id))) for con_id, quantity in holdings]
    straddle = Group.model_validate(
        {"legs": [{"symbol": "SPY", "strike": 403, "ratio": -1}, {"con_id": 2, "ratio": 1}]}
    )
    grouping = group_positions(positions, {"spread": SPREAD, "straddle": straddle})
    legs = sorted(leg.instrument.con_id for unit in grouping.units for leg in unit.legs)
    assert legs == sorted(con_id for con_id, quantity in holdings if quantity)
    assert all(unit.quantity > 0 for unit in grouping.units)


# ----- precedence


def config(**sections: Any) -> Config:
    return Config.model_validate({"mode": "sim", **sections})


LEVELS: dict[str, Any] = {
    "defaults": {"stop": {"price": 1}, "target": {"price": 9}, "time": {"dte": 1}, "breakeven": {"after_percent": 10}},
    "underlyings": {"SPY": {"stop": {"price": 2}, "target": {"price": 8}, "time": "off"}},
    "groups": {"spread": {"legs": [{"con_id": 1, "ratio": 1}], "stop": {"price": 3}, "target": {"price": 7}}},
    "positions": [
        {"match": {"symbol": "SPY"}, "stop": {"price": 5}},
        {"match": {"symbol": "SPY", "right": "P"}, "stop": {"price": 4}},
        {"match": {"con_id": 7}, "stop": {"price": 6}},
    ],
}


def test_the_most_precise_level_wins_rule_by_rule() -> None:
    settings_ = config(**LEVELS)
    unit = group_positions([held(1, "1", LOW)], settings_.groups).units[0]
    resolved = resolve(unit, settings_)
    assert resolved.origins == {
        "stop": "positions[1].stop",
        "target": "groups.spread.target",
        "time": "underlyings.SPY.time",
        "breakeven": "defaults.breakeven",
    }
    expected = rules(stop={"price": 4}, target={"price": 7}, breakeven={"after_percent": 10})
    assert resolved.rules == expected and resolved.ignored == ()


def test_entries_for_single_contracts_do_not_count_in_a_group() -> None:
    settings_ = config(**LEVELS | {"groups": {"spread": SPREAD.model_dump(exclude_none=True)}})
    unit = group_positions([held(1, "1", LOW), held(-1, "2", HIGH)], settings_.groups).units[0]
    resolved = resolve(unit, settings_)
    assert resolved.origins["stop"] == "underlyings.SPY.stop"
    assert resolved.ignored == ("positions[0]", "positions[1]")


def test_a_side_and_a_local_symbol_select() -> None:
    entry = {"match": {"local_symbol": "SPY 261218P00430000", "side": "short"}, "stop": {"price": 4}}
    named = replace(LOW, local_symbol="SPY   261218P00430000")
    for quantity, expected in ((-1, {"stop": "positions[0].stop"}), (1, {})):
        assert resolve(single(held(quantity, "1", named)), config(positions=[entry])).origins == expected
