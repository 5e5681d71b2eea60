"""What the guard skips for units that are at rest, and that its verdicts are the same for all that."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.position_manager.rule_fixtures import ACCOUNT, HOURS, NOW, held, option, quote

from position_manager.config.schema import Config
from position_manager.engine import guard as guarding
from position_manager.engine.guard import Guard
from position_manager.journal.journal import Journal
from position_manager.journal.records import Stamp
from position_manager.model import Market
from position_manager.rules.evaluation import Blind, Close, Hold, Memory, evaluate
from position_manager.sessions.hours import BrokerCalendar

PATIENCE = timedelta(seconds=15)
LEGS = (option(1, "450"), option(2, "440"))
GROUP = {"spread": {"legs": [{"con_id": 1, "ratio": -1}, {"con_id": 2, "ratio": 1}]}}


def made(defaults: dict[str, Any], *, grouped: bool = False) -> Guard:
    """A guard of two options, each by itself or as a spread with the same rules."""
    config = Config.model_validate({"mode": "sim", "defaults": defaults, "groups": GROUP if grouped else {}})
    guard = Guard(config, BrokerCalendar(), PATIENCE)
    guard.hold([held(-1, "2.50", LEGS[0]), held(1, "1.00", LEGS[1])])
    assert len(guard.units) == (1 if grouped else 2)
    return guard


def evaluations(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """The times at which rules are evaluated from now on."""
    times: list[datetime] = []

    def counted(unit: Any, rules: Any, market: Market, *more: Any) -> Any:
        times.append(market.now)
        return evaluate(unit, rules, market, *more)

    monkeypatch.setattr(guarding, "evaluate", counted)
    return times


def evaluate_at(guard: Guard, seconds: range) -> None:
    """In a market in which nothing moves, with a living broker."""
    for second in seconds:
        guard.alive_at = NOW + timedelta(seconds=second)
        for unit in guard.units:
            guard.evaluate_unit(unit, guard.alive_at, lambda _unit: None)


def test_rules_are_not_evaluated_again_while_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    guard = made({"stop": {"percent_of_premium": 100}, "target": {"percent_of_premium": 50}})
    guard.quotes = {1: quote("2.40", "2.60"), 2: quote("0.90", "1.10")}
    evaluate_at(guard, range(0, 15, 5))
    times = evaluations(guard, monkeypatch)
    # For as long as quotes are believed that do not change.
    evaluate_at(guard, range(15, 300, 5))
    assert times == []
    assert {type(verdict) for verdict in guard.verdicts.values()} == {Hold}
    assert [count.total for count in guard.counts.values()] == [0, 0]


def test_a_position_of_another_size_is_evaluated_anew_and_only_that(monkeypatch: pytest.MonkeyPatch) -> None:
    guard = made({"stop": {"percent_of_premium": 100}, "target": {"percent_of_premium": 50}})
    guard.quotes = {1: quote("2.40", "2.60"), 2: quote("0.90", "1.10")}
    evaluate_at(guard, range(0, 15, 5))
    times = evaluations(guard, monkeypatch)
    assert guard.push(ACCOUNT, 1, Decimal(-2))
    evaluate_at(guard, range(15, 30, 5))
    assert times == [NOW + timedelta(seconds=15)]


def test_a_stop_fires_in_a_market_that_is_quoted_again_and_again_as_it_was() -> None:
    guard = made({"stop": {"percent_of_premium": 100}})
    for tenth in range(60):
        now = NOW + timedelta(seconds=tenth / 10)
        guard.alive_at = now
        guard.quotes = {1: quote("2.40", "2.60", now), 2: quote("0.90", "1.10", now)}
        if tenth == 23:
            # New rules, for which these very prices are enough.
            guard.config = Config.model_validate({"mode": "sim", "defaults": {"stop": {"percent_of_premium": 2}}})
        for unit in guard.units:
            guard.evaluate_unit(unit, now, lambda _unit: None)
    verdicts = [guard.verdicts[unit.key] for unit in guard.units]
    assert [type(verdict) for verdict in verdicts] == [Close, Close]


@pytest.mark.parametrize(
    "change",
    [
        {1: quote("2.39", "2.60")},
        {1: quote("2.40", "2.61")},
        {1: quote("2.40", "2.60", live=False)},
        {1: quote("2.40", "2.60", halted=True)},
        {1: quote("2.40", "2.60", delta=0.5)},
        {1: quote("2.40", "2.60", underlying=Decimal(449))},
    ],
)
def test_they_are_as_soon_as_a_quote_changes(monkeypatch: pytest.MonkeyPatch, change: dict[int, Any]) -> None:
    guard = made({"stop": {"percent_of_premium": 100}})
    guard.quotes = {1: quote("2.40", "2.60"), 2: quote("0.90", "1.10")}
    evaluate_at(guard, range(0, 30, 5))
    times = evaluations(guard, monkeypatch)
    guard.quotes.update(change)
    evaluate_at(guard, range(30, 35, 5))
    assert len(times) == 1


def test_they_are_as_soon_as_they_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    guard = made({"stop": {"percent_of_premium": 100}})
    guard.quotes = {1: quote("2.40", "2.60"), 2: quote("0.90", "1.10")}
    evaluate_at(guard, range(0, 30, 5))
    times = evaluations(guard, monkeypatch)
    guard.config = Config.model_validate({"mode": "sim", "defaults": {"stop": {"percent_of_premium": 90}}})
    evaluate_at(guard, range(30, 35, 5))
    assert len(times) == 2


def test_they_are_when_a_broker_is_silent_and_when_the_market_has_closed() -> None:
    guard = made({"stop": {"percent_of_premium": 100}})
    guard.quotes = {1: quote("2.40", "2.60"), 2: quote("0.90", "1.10")}
    evaluate_at(guard, range(0, 30, 5))
    for moment, cause in ((NOW + timedelta(seconds=60), "no usable quote"), (HOURS[0].end, "market closed")):
        for unit in guard.units:
            guard.evaluate_unit(unit, moment, lambda _unit: None)
            verdict = guard.verdicts[unit.key]
            assert isinstance(verdict, Blind)
            assert verdict.cause == cause


def test_they_are_when_the_clock_was_set_back_to_before_the_opening() -> None:
    guard = made({"stop": {"percent_of_premium": 100}})
    guard.quotes = {1: quote("2.40", "2.60"), 2: quote("0.90", "1.10")}
    evaluate_at(guard, range(0, 30, 5))
    early = HOURS[0].begin - timedelta(minutes=1)
    guard.quotes = {1: quote("2.40", "2.60", early), 2: quote("0.90", "1.10", early)}
    guard.alive_at = early
    for unit in guard.units:
        guard.evaluate_unit(unit, early, lambda _unit: None)
        verdict = guard.verdicts[unit.key]
        assert isinstance(verdict, Blind)
        assert verdict.cause == "market closed"


def test_a_group_whose_legs_show_different_underlyings_is_never_at_rest() -> None:
    guard = made({"stop": {"underlying_price": {"below": 450}}}, grouped=True)
    (unit,) = guard.units
    high: dict[str, Any] = {"bid": "2.40", "ask": "2.60", "underlying": Decimal(451)}
    low: dict[str, Any] = {"bid": "0.90", "ask": "1.10", "underlying": Decimal(449)}
    for second in range(0, 60, 5):
        now = NOW + timedelta(seconds=second)
        # The newest quote decides where the underlying is: at first that of the higher leg, in the end the other.
        last = second == 55
        guard.quotes = {
            1: quote(at=now - timedelta(seconds=int(last)), **high),
            2: quote(at=now - timedelta(seconds=int(not last)), **low),
        }
        guard.evaluate_unit(unit, now, lambda _unit: None)
    verdict = guard.verdicts[unit.key]
    assert isinstance(verdict, Hold)
    assert "underlying 449" in verdict.pending[0]


def test_what_must_last_is_written_in_parts_and_what_is_gone_meanwhile_is_left_out(tmp_path: Path) -> None:
    guard = made({"stop": {"percent_of_premium": 100}})
    guard.quotes = {1: quote("2.40", "2.60"), 2: quote("0.90", "1.10")}
    evaluate_at(guard, range(0, 30, 5))
    stamp = Stamp("sim", frozenset({ACCOUNT}))
    journal = Journal(tmp_path / "journal.db", stamp, clock=lambda: NOW, new_id=lambda: "id")
    journal.recover()
    parts = guard.store_in_parts(journal, 1)
    next(parts)
    assert {con_id for _, con_id, _ in journal.memory()} == {1}
    guard.hold([held(-1, "2.50", LEGS[0])])
    assert list(parts) == [None]
    assert {con_id for _, con_id, _ in journal.memory()} == {1}
    journal.close()


PRICES = st.sampled_from([Decimal(price) for price in ("0.80", "1.00", "1.20", "2.40", "2.60", "3.80", "5.20")])
QUOTES = st.builds(
    lambda price, spread, live, halted, delta, underlying: {
        "bid": price,
        "ask": price + spread,
        "live": live,
        "halted": halted,
        "delta": delta,
        "underlying": underlying,
    },
    PRICES,
    st.sampled_from([Decimal("0.00"), Decimal("0.10")]),
    st.sampled_from([True, True, True, False]),
    st.sampled_from([False, False, False, True]),
    st.sampled_from([None, 0.2, 0.6]),
    st.sampled_from([None, Decimal(449), Decimal(451)]),
)
STEPS = st.lists(
    st.tuples(
        # Mostly quiet, with a broker that is alive.
        # Also several evaluations within the time that one confirmation takes.
        st.sampled_from([5, 5, 5, 5, 1, 20, -3, 0.4, 0.4]),
        st.sampled_from([True, True, True, False]),
        st.one_of(st.just({}), st.just({}), st.just({}), st.dictionaries(st.sampled_from([1, 2]), QUOTES)),
        # What is quoted again as it was.
        st.sets(st.sampled_from([1, 2])),
    ),
    max_size=40,
)
RULES = st.fixed_dictionaries(
    {"stop": st.sampled_from([{"percent_of_premium": 50}, {"loss_amount": 30}, {"underlying_price": {"below": 450}}])},
    optional={
        "target": st.sampled_from([{"percent_of_premium": 50}, {"profit_amount": 20}, {"price": "0.9"}]),
        "trailing": st.just({"activate_percent": 20, "distance_percent": 10}),
        "breakeven": st.just({"after_percent": 10}),
        "delta": st.just({"above": 0.5}),
        "time": st.sampled_from([{"at": "10:01"}, {"before_close": "00:10"}]),
    },
)


@settings(max_examples=1000, deadline=None)
@given(RULES, st.booleans(), st.integers(1, 3), STEPS)
def test_at_rest_it_returns_and_remembers_what_an_evaluation_would(
    rules: dict[str, Any], grouped: bool, confirmations: int, steps: list[Any]
) -> None:
    guard = made(rules, grouped=grouped)
    guard.config = guard.config.model_copy(
        update={"quotes": guard.config.quotes.model_copy(update={"confirmations": confirmations})}
    )
    guard.quotes = {
        1: quote("2.40", "2.60", underlying=Decimal(451)),
        2: quote("0.90", "1.10", underlying=Decimal(449)),
    }
    now, memories = NOW, {unit.key: Memory() for unit in guard.units}
    for seconds, alive, quotes, again in steps:
        now += timedelta(seconds=seconds)
        for con_id, fields in quotes.items():
            guard.quotes[con_id] = quote(at=now, **fields)
        for con_id in again - quotes.keys():
            guard.quotes[con_id] = guard.quotes[con_id].valid_at(now)
        guard.alive_at = now if alive else guard.alive_at
        for unit in guard.units:
            market, resolved = guard.market(unit, now), guard.rules[unit.key]
            verdict, memories[unit.key] = evaluate(
                unit, resolved.rules, market, memories[unit.key], guard._policy, BrokerCalendar()
            )
            guard.evaluate_unit(unit, now, lambda _unit: None)
            assert guard.verdicts[unit.key] == verdict
            assert guard._memories[unit.key] == memories[unit.key]


def test_a_unit_without_marks_is_no_damaged_row(tmp_path: Path) -> None:
    stamp = Stamp("sim", frozenset({ACCOUNT}))
    journal = Journal(tmp_path / "journal.db", stamp, clock=lambda: NOW, new_id=lambda: "id")
    journal.recover()
    guard = made({})
    guard.store(journal)
    assert journal.memory() == {}
    unit = guard.units[0]
    for rule in ("memory of", "unprotected of"):
        # As an earlier version has stored it.
        journal.remember(ACCOUNT, 1, f"{rule} {unit.key}", "")
    again = made({})
    again.restore(journal)
    assert again.levels_done(unit) == ()
    assert not again.counts
    journal.close()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(("DU1", "DU2")), st.integers(1, 4), st.integers(-2, 2)), max_size=12),
    st.booleans(),
)
@example([("DU1", 1, 0), ("DU2", 1, 0)], False)
def test_what_is_pushed_leads_to_the_same_units_as_a_full_sync(
    pushed: list[tuple[str, int, int]], grouped: bool
) -> None:
    own = [{"match": {"con_id": 3}, "stop": {"percent_of_premium": 10}}]
    config = Config.model_validate(
        {
            "mode": "sim",
            "defaults": {"stop": {"percent_of_premium": 100}},
            "positions": own,
            "groups": GROUP if grouped else {},
        }
    )
    instruments = [option(con_id, str(400 + con_id)) for con_id in range(1, 5)]
    positions = [held(1, "2.50", instrument) for instrument in instruments]
    start = [replace(position, account=account) for account in ("DU1", "DU2") for position in positions]
    episodes = {position.key: f"episode of {position.key}" for position in start}
    guard, anew = (Guard(config, BrokerCalendar(), PATIENCE) for _ in range(2))
    for each in (guard, anew):
        each.count(episodes)
        each.farms_down(frozenset({"usopt"}))
    guard.hold(start)
    for account, con_id, quantity in pushed:
        guard.push(account, con_id, Decimal(quantity))
        for unit in guard.units:
            guard.evaluate_unit(unit, NOW, lambda _unit: None)
    anew.hold(guard.positions.values())
    assert (guard.units, guard.problems, guard.rules) == (anew.units, anew.problems, anew.rules)
    assert guard._episode_of == anew._episode_of
    assert guard.blinded == anew.blinded
    assert all(list(guard.units_of(con_id)) == list(anew.units_of(con_id)) for con_id in range(1, 5))
    assert all(guard.guards(unit) and guard.unit(unit.key) is unit for unit in guard.units)
    assert guard.verdicts.keys() == guard.counts.keys() == {unit.key for unit in guard.units} or not pushed
