"""Warnings about early assignment: what is a risk, when people are notified, and that nothing is closed for it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from tests.unit.position_manager.engine_world import BEGIN, Manager, ManualClock, World, put
from tests.unit.position_manager.test_engine import drive, play, play_without_end

from position_manager.account.assignment import AssignmentWarnings, Dividend, Risk, judge, next_dividend
from position_manager.engine.engine_status import status_of
from position_manager.model import Quote, Right
from position_manager.reports.explain import explain

TODAY = BEGIN.date()
CALL = replace(put(42), right=Right.CALL, local_symbol="SPY   261221C00450000")
RULES = AssignmentWarnings()
EX_IN_TWO_DAYS = Dividend(TODAY + timedelta(days=2), Decimal("1.85"), "the settings")


def quote(bid: str, ask: str, underlying: str | None) -> Quote:
    return Quote(BEGIN, Decimal(bid), Decimal(ask), underlying=None if underlying is None else Decimal(underlying))


@pytest.mark.parametrize(
    ("right", "seen", "dividend", "risks"),
    [
        (Right.CALL, quote("20.00", "20.06", "470"), None, [Risk.TIME_VALUE]),
        (Right.CALL, quote("20.40", "20.60", "470"), None, []),
        (Right.CALL, quote("0.01", "0.02", "440"), None, []),
        (Right.CALL, quote("0.01", "0.02", "450"), None, []),
        (Right.PUT, quote("20.00", "20.06", "430"), None, [Risk.TIME_VALUE]),
        (Right.PUT, quote("19.90", "19.95", "430"), None, [Risk.TIME_VALUE]),
        (Right.CALL, quote("20.40", "20.60", "470"), EX_IN_TWO_DAYS, [Risk.EX_DIVIDEND]),
        (Right.CALL, quote("22.40", "22.60", "470"), EX_IN_TWO_DAYS, []),
        (Right.CALL, quote("22.40", "22.60", "470"), replace(EX_IN_TWO_DAYS, amount=None), [Risk.EX_DIVIDEND]),
        (Right.CALL, quote("1.40", "1.60", "440"), EX_IN_TWO_DAYS, []),
        (Right.CALL, None, EX_IN_TWO_DAYS, [Risk.EX_DIVIDEND]),
        (Right.CALL, quote("20.40", "20.60", None), EX_IN_TWO_DAYS, [Risk.EX_DIVIDEND]),
        (Right.CALL, None, replace(EX_IN_TWO_DAYS, ex_date=TODAY + timedelta(days=4)), []),
        (Right.CALL, None, replace(EX_IN_TWO_DAYS, ex_date=TODAY), []),
        (Right.PUT, None, EX_IN_TWO_DAYS, []),
        (Right.CALL, quote("20.00", "20.02", "470"), EX_IN_TWO_DAYS, [Risk.TIME_VALUE, Risk.EX_DIVIDEND]),
    ],
)
def test_what_is_a_risk(right: Right, seen: Quote | None, dividend: Dividend | None, risks: list[Risk]) -> None:
    found = judge(replace(CALL, right=right), seen, dividend, TODAY, RULES)
    assert [each.risk for each in found] == risks


def test_the_next_dividend_is_listed_or_reported_and_never_guessed() -> None:
    listed = AssignmentWarnings.model_validate(
        {
            "dividends": {
                "SPY": [{"ex_date": "2026-09-18"}, {"ex_date": "20261218", "amount": "1.85"}, {"ex_date": "2027-03-19"}]
            }
        }
    )
    reported = Dividend(TODAY + timedelta(days=3), None, "IB")
    found = next_dividend(CALL, TODAY, listed, reported)
    assert found == Dividend(TODAY.replace(month=12, day=18), Decimal("1.85"), "the settings")
    assert next_dividend(CALL, TODAY, RULES, reported) == reported
    assert next_dividend(CALL, TODAY, RULES, None) is None
    after = replace(reported, ex_date=TODAY + timedelta(days=200))
    assert next_dividend(CALL, TODAY, RULES, after) is None, "it has expired by then"
    assert next_dividend(replace(CALL, symbol="QQQ"), TODAY, listed, None) is None


def short_call() -> World:
    at = World(ManualClock(BEGIN))
    at.hold(CALL, -2, "20")
    return at


def config(**warnings: object) -> Mapping[str, object]:
    return {"mode": "paper", "defaults": {"stop": {"percent_of_premium": 500}}, "assignment_warnings": warnings}


async def trade_at(at: World, bid: str, ask: str, underlying: str, seconds: int = 45) -> None:
    for _ in range(seconds):
        at.quote(42, bid, ask, underlying=Decimal(underlying))
        await at.clock.advance(1)


def reported(manager: Manager) -> list[str]:
    return [f"{message.title} {message.text()}" for message in manager.reported if message.kind == "assignment_risk"]


def test_it_is_notified_once_a_day_and_nothing_is_closed(tmp_path: Path) -> None:
    async def first(at: World, manager: Manager) -> None:
        await trade_at(at, "20.00", "20.06", "470", 20)
        await trade_at(at, "20.50", "20.60", "470", 20)
        assert reported(manager) == [], "gone again too soon"
        await trade_at(at, "20.00", "20.06", "470", 90)
        (warned,) = reported(manager)
        assert "-2 SPY 2026-12-21 450C may be assigned: early assignment" in warned
        assert "20.00 in the money at 470.00, middle 20.030, time value 0.030 per unit, bound 0.05" in warned
        ((shown),) = status_of(manager.engine, "f").exposures
        assert len(shown.warnings) == 1
        assert shown.dividend == "no ex-dividend date is known; list it in assignment_warnings.dividends"
        assert "Early assignment" in explain(manager.engine.shared.access.journal, "42")
        await manager.kill()

    async def second(at: World, manager: Manager) -> None:
        await trade_at(at, "20.00", "20.06", "470", 60)
        assert reported(manager) == [], "once a day, over restarts too"
        assert at.received == []

    at = short_call()
    play_without_end(tmp_path, at, first, config())
    play(tmp_path, at, second, config())


def test_the_next_day_it_is_notified_again(tmp_path: Path) -> None:
    async def story() -> None:
        at = World(ManualClock(BEGIN))
        at.hold(replace(CALL, liquid_hours=put(1, always=True).liquid_hours), -2, "20")
        manager = Manager(at, tmp_path, config())
        await manager.start()
        await trade_at(at, "20.00", "20.06", "470", 60)
        at.clock.jump(timedelta(days=1))
        await trade_at(at, "20.00", "20.06", "470", 60)
        assert len(reported(manager)) == 2
        await manager.end()

    drive(story)


def test_what_the_broker_reports_is_asked_for_seldom_and_warned_of(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        at.dividends[42] = Dividend(TODAY + timedelta(days=1), Decimal("1.85"), "IB's next dividend date")
        await trade_at(at, "20.40", "20.60", "470", 60)
        assert reported(manager) == []
        at.fail.clear()
        await trade_at(at, "20.40", "20.60", "470", 660)
        (warned,) = reported(manager)
        assert "1.85 a share on 2026-11-24 (IB's next dividend date), in 1 days" in warned
        await trade_at(at, "20.40", "20.60", "470", 700)
        assert at.dividends_asked == [42, 42], "after ten minutes, as it was not answered, and then every six hours"

    at = short_call()
    at.fail.add("dividends")
    play(tmp_path, at, story, config())


@pytest.mark.parametrize("why", ["listed", "european", "put", "long", "not wanted"])
def test_who_is_not_asked(tmp_path: Path, why: str) -> None:
    async def story(at: World, manager: Manager) -> None:
        await trade_at(at, "20.00", "20.06", "430" if why == "put" else "470", 60)
        assert at.dividends_asked == []
        assert bool(reported(manager)) is (why in ("listed", "put", "not wanted"))

    at = World(ManualClock(BEGIN))
    at.hold(replace(CALL, right=Right.PUT) if why == "put" else CALL, 2 if why == "long" else -2, "20")
    settings: dict[str, object] = {
        "listed": {"dividends": {"SPY": [{"ex_date": "2026-12-18"}]}},
        "european": {"european": ["SPY"]},
        "not wanted": {"ask_broker": False},
    }
    play(tmp_path, at, story, {**config(), "assignment_warnings": settings.get(why, {})})


@pytest.mark.parametrize("seed", range(6))
def test_stale_and_wide_quotes_warn_of_no_time_value(tmp_path: Path, seed: int) -> None:
    """Random quotes that no rule may act on: delayed, halted, one-sided, too wide, or too old."""
    chance = random.Random(f"assignment {seed}")  # noqa: S311 - histories that can be repeated

    async def story(at: World, manager: Manager) -> None:
        for _ in range(60):
            kind = chance.choice(["delayed", "halted", "one-sided", "wide", "old"])
            if kind == "old":
                at.fail.add("time")
                at.quote(42, "20.00", "20.02", underlying=Decimal(470))
                await at.clock.advance(chance.randint(31, 60))
                at.quote(42, None, "20.02")
                at.fail.clear()
                continue
            at.quote(
                42,
                None if kind == "one-sided" else "10.00" if kind == "wide" else "20.00",
                "30.02" if kind == "wide" else "20.02",
                underlying=Decimal(470),
                live=kind != "delayed",
                halted=kind == "halted",
            )
            await at.clock.advance(chance.randint(1, 10))
        assert reported(manager) == []

    play(tmp_path, short_call(), story, config())


def test_without_the_section_nothing_is_asked_or_shown(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await trade_at(at, "20.00", "20.06", "470", 60)
        assert (reported(manager), at.dividends_asked, status_of(manager.engine, "f").exposures) == ([], [], ())

    play(tmp_path, short_call(), story, {"mode": "paper", "defaults": {"stop": {"percent_of_premium": 500}}})
