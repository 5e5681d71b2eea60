"""The age of a quote is the age of that quote: what proves that a quiet one is still valid is specific and bounded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.position_manager.engine_world import BEGIN, CONFIG, HOURS, Manager, ManualClock, World, put, settle
from tests.unit.position_manager.rule_fixtures import ACCOUNT, NOW, held, option, quote
from tests.unit.position_manager.test_engine import play

from position_manager.brokers.broker import CodeReceived
from position_manager.config.schema import Config
from position_manager.engine.engine_status import status_of
from position_manager.engine.guard import Guard
from position_manager.model import Hours, Quote
from position_manager.rules.evaluation import Blind, Cause, Hold
from position_manager.sessions.hours import BrokerCalendar

STOP = {**CONFIG, "defaults": {"stop": {"percent_of_premium": 20}}}
COMPETING = (10197, "No market data during competing live session")


def long_put() -> World:
    at = World(ManualClock(BEGIN))
    at.hold(put(42), 1, "10.00")
    at.quote(42, "9.90", "10.10")
    return at


def shown(manager: Manager) -> str:
    (unit,) = status_of(manager.engine, "").units
    return unit.verdict


@pytest.mark.parametrize("code", [10197, 354, 10089, 10168, 10186, 200, 101, 321, 460])
def test_a_contract_without_live_quotes_is_unprotected_from_that_moment_on(tmp_path: Path, code: int) -> None:
    async def story(at: World, manager: Manager) -> None:
        await at.clock.advance(10)
        assert shown(manager) == "guarded"
        assert manager.engine.quotes_fresh
        at.refused_quotes[42] = (code, "no live quotes")
        at.emit(CodeReceived(code, "no live quotes", 0, 42))
        for _ in range(75):
            assert shown(manager) == "unprotected"
            assert not manager.engine.quotes_fresh, "the heartbeat must stay away"
            await at.clock.advance(1)
        assert manager.kinds.count("quotes_suspended") == 1
        assert manager.kinds.count("unprotected") == 1
        assert 42 in at.renewed, "it is asked for again"
        assert not manager.engine.shared.halts.read(), "what concerns one contract halts no account"
        (unit,) = manager.engine.shared.guard.units
        assert manager.engine.shared.guard.counts[unit.key].in_session >= 75
        at.refused_quotes.clear()
        at.quote(42, "7.00", "7.10")
        await at.clock.advance(2)
        at.quote(42, "7.00", "7.10")
        await settle()
        assert manager.kinds.count("quotes_restored") == 1
        assert at.received, "the stop holds again on the first live quotes"

    play(tmp_path, long_put(), story, STOP)


@pytest.mark.parametrize("code", [10090, 2104, 2119])
def test_a_notice_that_leaves_bid_and_ask_live_suspends_nothing(tmp_path: Path, code: int) -> None:
    async def story(at: World, manager: Manager) -> None:
        at.emit(CodeReceived(code, "a part is not subscribed", 0, 42))
        await at.clock.advance(10)
        assert shown(manager) == "guarded"

    play(tmp_path, long_put(), story, STOP)


def test_a_quiet_quote_is_asked_for_again_and_is_believed_for_a_bounded_time(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        at.first_quotes = False
        await at.clock.advance(290)
        assert at.renewed == [42], "once half of the time is over"
        assert shown(manager) == "guarded"
        await at.clock.advance(20)
        assert shown(manager) == "unprotected", "the broker answers, but nothing proves this quote any more"
        at.first_quotes = True
        await at.clock.advance(150)
        assert shown(manager) == "guarded"

    play(tmp_path, long_put(), story, STOP)


def test_a_quiet_quote_that_is_reported_again_goes_on_being_guarded(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        for _ in range(200):
            await at.clock.advance(5)
            assert shown(manager) == "guarded"
        assert len(at.renewed) <= 1000 // 150 + 1, "no more often than is needed"

    play(tmp_path, long_put(), story, STOP)


@pytest.mark.parametrize(
    ("lost", "back"),
    [
        ((1100, "lost"), (1102, "restored, data maintained")),
        ((2103, "Market data farm connection is broken:usfarm"), (2104, "Market data farm connection is OK:usfarm")),
    ],
)
def test_a_quote_from_before_an_outage_is_proven_by_a_new_one_alone(
    tmp_path: Path, lost: tuple[int, str], back: tuple[int, str]
) -> None:
    async def story(at: World, manager: Manager) -> None:
        await at.clock.advance(10)
        at.first_quotes = False
        at.emit(CodeReceived(*lost))
        await at.clock.advance(30)
        at.emit(CodeReceived(*back))
        await at.clock.advance(30)
        assert manager.engine.ready
        assert shown(manager) == "unprotected"
        assert at.renewed, "it is asked for again"
        at.first_quotes = True
        await at.clock.advance(31)
        assert shown(manager) == "guarded"

    play(tmp_path, long_put(), story, STOP)


def test_refused_quotes_are_requested_again_after_a_pause_only(tmp_path: Path) -> None:
    """Requested at once, the answer would be the same, without end."""

    async def story(at: World, manager: Manager) -> None:
        await at.clock.advance(10)
        at.refused_quotes[42] = COMPETING
        at.emit(CodeReceived(*COMPETING, 0, 42))
        await at.clock.advance(25)
        assert at.renewed == []
        await at.clock.advance(10)
        assert at.renewed == [42]
        await at.clock.advance(60)
        assert len(at.renewed) <= 3

    play(tmp_path, long_put(), story, STOP)


def test_nothing_is_asked_for_again_while_the_market_is_closed(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await at.clock.advance(6 * 3600 + 5)
        at.renewed.clear()
        await at.clock.advance(3600)
        assert shown(manager) == "unprotected"
        assert at.renewed == []

    at = long_put()
    tomorrow = Hours(HOURS[0].begin + timedelta(days=1), HOURS[0].end + timedelta(days=1))
    at.instruments[42] = replace(at.instruments[42], liquid_hours=(*HOURS, tomorrow))
    play(tmp_path, at, story, STOP)


# ----- every history of ticks, notices, outages and answers

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["tick", "notice", "doubt", "answer", "answer", "answer", "nothing"]), st.integers(1, 120)
    ),
    max_size=30,
)


@contextmanager
def guarded() -> Iterator[Guard]:
    config = Config.model_validate({"mode": "sim", "defaults": {"stop": {"percent_of_premium": 50}}})
    guard = Guard(config, BrokerCalendar(), timedelta(seconds=15))
    guard.hold([held(1, "2.50", option(1))])
    yield guard


@settings(max_examples=500, deadline=None)
@given(EVENTS)
def test_no_history_makes_an_unproven_quote_count(events: list[tuple[str, int]]) -> None:
    with guarded() as guard:
        (unit,) = guard.units
        now, proven_by, answered = NOW, None, None
        limit, quiet = guard.config.quotes.max_age, guard.config.quotes.quiet
        for what, seconds in events:
            now += timedelta(seconds=seconds)
            match what:
                case "tick":
                    guard.on_quote(1, Quote(now, Decimal("2.40"), Decimal("2.60")))
                    proven_by = tick = now
                    valid = True
                case "notice":
                    guard.suspend(1, "10197")
                    proven_by = None
                case "doubt":
                    guard.doubt()
                    valid = False
                case "answer":
                    guard.alive_at = answered = now
            guard.evaluate_unit(unit, now, lambda _unit: None)
            verdict = guard.verdicts[unit.key]
            # The specification, expressed in another way than the code does.
            good = proven_by is not None and (
                now - tick <= limit
                or (valid and answered is not None and now - answered <= limit and answered - tick <= quiet)
            )
            if good:
                assert isinstance(verdict, Hold), f"{verdict} at {now - NOW}"
            else:
                assert isinstance(verdict, Blind), f"guarded at {now - NOW}"
                assert verdict.cause is Cause.NO_QUOTE


def test_the_quiet_time_must_be_at_least_the_age_of_a_quote() -> None:
    with pytest.raises(ValueError, match="quiet_seconds"):
        Config.model_validate({"mode": "sim", "quotes": {"max_age_seconds": 100, "quiet_seconds": 50}})


def test_a_suspended_quote_stays_unusable_however_often_the_broker_answers() -> None:
    with guarded() as guard:
        guard.on_quote(1, quote("2.40", "2.60"))
        guard.suspend(1, "10197")
        for second in range(0, 60, 5):
            guard.alive_at = NOW + timedelta(seconds=second)
            seen = guard.quote(1)
            assert seen is not None
            assert seen.problem(guard.alive_at, timedelta(seconds=10)) is not None
        assert guard.suspended == {1: "10197"}
        assert ACCOUNT in guard.units[0].key
