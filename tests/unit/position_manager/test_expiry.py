"""Options that vanish on the evening on which they expire, and days that are those of the exchange."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.position_manager.engine_world import ACCOUNT, CONFIG, Manager, ManualClock, World, put

from position_manager.config.schema import Config
from position_manager.journal.reader import JournalReader
from position_manager.model import Hours, Instrument, Kind, Market, Position
from position_manager.rules.evaluation import Blind, Close, Memory, QuotePolicy, evaluate
from position_manager.rules.groups import single
from position_manager.rules.rule_set import RuleSet
from position_manager.sessions.hours import BrokerCalendar, is_past_expiry

NEW_YORK, TOKYO, BERLIN = ZoneInfo("America/New_York"), ZoneInfo("Asia/Tokyo"), ZoneInfo("Europe/Berlin")
TODAY = date(2026, 11, 23)
CLOSE = datetime(2026, 11, 23, 16, tzinfo=NEW_YORK)
SESSION = (Hours(datetime(2026, 11, 23, 9, 30, tzinfo=NEW_YORK), CLOSE),)
SHARES = Instrument(9, "SPY", Kind.STOCK, local_symbol="SPY", liquid_hours=SESSION)


def expiring(con_id: int, strike: int = 450) -> Instrument:
    return replace(put(con_id, strike), expiry=TODAY, liquid_hours=SESSION)


def an_account(*held: tuple[Instrument, int]) -> World:
    at = World(ManualClock(CLOSE.astimezone(UTC) - timedelta(minutes=2)))
    for instrument, quantity in held:
        at.hold(instrument, quantity)
        at.quote(instrument.con_id, "2.45", "2.55", underlying=Decimal("448.50"))
    return at


def evening(
    directory: Path, at: World, happens: Mapping[int, int], *, later: Mapping[int, int] | None = None
) -> Manager:
    """The market closes, and minutes later the list of positions has changed; then once more, after a restart of the
    manager."""

    async def whole() -> Manager:
        manager = Manager(at, directory, CONFIG)
        await manager.start()
        for changes in (happens, later):
            if changes is None:
                break
            await at.clock.advance(240)
            for con_id, quantity in changes.items():
                at.positions[con_id] = Decimal(quantity)
            await at.clock.advance(100)
            if changes is happens and later is not None:
                await manager.end()
                manager = Manager(at, directory, CONFIG, seed=1)
                await manager.start()
        await manager.end()
        return manager

    return asyncio.run(whole())


def test_a_short_put_that_vanishes_on_its_evening_has_expired_and_locks_nothing(tmp_path: Path) -> None:
    manager = evening(tmp_path, an_account((expiring(42), -2)), {42: 0})
    (reported,) = [message for message in manager.reported if message.kind == "position_closed"]
    assert reported.title.endswith("-2 to 0, expired")
    assert "1.50 in the money (underlying 448.50)" in reported.text()
    assert "If it is assigned" in reported.text()
    assert not manager.engine.shared.locks.present


def test_what_is_assigned_at_once_is_reported_as_such(tmp_path: Path) -> None:
    at = an_account((expiring(42), -2), (SHARES, 100))
    manager = evening(tmp_path, at, {42: 0, 9: 300})
    texts = [message.text() for message in manager.reported if message.kind.startswith("position_")]
    assert any("It was assigned" in text for text in texts)
    assert not manager.engine.shared.locks.present


@pytest.mark.parametrize("shares", [0, 100])
def test_shares_that_come_in_the_night_are_explained_by_the_option(tmp_path: Path, shares: int) -> None:
    """One of two options was assigned, the other one has expired; the manager was restarted in between."""
    held = [(expiring(42), -2), (expiring(43, 440), -1), *([(SHARES, shares)] if shares else [])]
    at = an_account(*held)
    at.instruments[9] = SHARES
    manager = evening(tmp_path, at, {42: 0, 43: 0}, later={9: shares + 200})
    assert not manager.engine.shared.locks.present
    moved = [message for message in manager.reported if "assigned or exercised" in message.title]
    assert [f"{shares} to {shares + 200}" in message.title for message in moved] == [True]
    with JournalReader(tmp_path / "journal.db") as journal:
        holding = journal.holding(ACCOUNT, 9)
        assert holding is not None
        assert holding.quantity == shares + 200
        assert [key[1] for key in journal.memory() if key[2] == "expired option"] == [43]


def test_one_that_vanishes_before_the_close_is_still_locked(tmp_path: Path) -> None:
    async def whole() -> None:
        at = an_account((expiring(42), -2))
        manager = Manager(at, tmp_path, CONFIG)
        await manager.start()
        at.positions[42] = Decimal(0)
        await at.clock.advance(300)
        assert manager.engine.shared.locks.present
        await manager.end()

    asyncio.run(whole())


ZONES = st.sampled_from([NEW_YORK, TOKYO, BERLIN, ZoneInfo("America/Chicago"), ZoneInfo("Australia/Sydney")])


@given(ZONES, ZONES, st.integers(-72 * 60, 72 * 60))
def test_an_expiry_is_past_from_the_close_at_its_own_exchange_on(
    exchange: ZoneInfo, rules: ZoneInfo, minutes: int
) -> None:
    end = datetime.combine(TODAY, time(16), exchange)
    option = replace(put(1), expiry=TODAY, liquid_hours=(Hours(end - timedelta(hours=6), end),))
    now = end.astimezone(UTC) + timedelta(minutes=minutes)
    assert is_past_expiry(option, now, rules) is (minutes >= 0)


@given(ZONES, ZONES, st.integers(0, 30), st.integers(-20, 20))
def test_days_to_expiry_are_those_of_the_exchange(
    exchange: ZoneInfo, rules: ZoneInfo, dte: int, days_before: int
) -> None:
    """Whatever the zone of the rules is: in Tokyo it is tomorrow while New York has its evening."""
    today = TODAY
    opening = datetime.combine(today, time(9), exchange)
    session = (Hours(opening, opening + timedelta(hours=6)),)
    option = replace(put(1), expiry=today + timedelta(days=dte + days_before), liquid_hours=session)
    unit = single(Position(ACCOUNT, option, Decimal(-1), Decimal("2.50")))
    rule = RuleSet.model_validate({"time": {"dte": dte}})
    now = opening + timedelta(minutes=5)
    verdict, _ = evaluate(unit, rule, Market(now), Memory(), QuotePolicy(rules), BrokerCalendar())
    assert isinstance(verdict, Close) is (days_before <= 0)


@pytest.mark.parametrize(("timezone", "due"), [("exchange", True), ("America/New_York", False)])
def test_times_of_day_may_be_those_of_the_exchange(timezone: str, due: bool) -> None:
    hours = Config.model_validate({"mode": "paper", "hours": {"timezone": timezone}}).hours
    opening = datetime(2026, 11, 23, 9, tzinfo=BERLIN)
    option = replace(put(1), liquid_hours=(Hours(opening, opening + timedelta(hours=8, minutes=30)),))
    unit = single(Position(ACCOUNT, option, Decimal(-1), Decimal("2.50")))
    policy = QuotePolicy(hours.zone, exchange_times=timezone == "exchange")
    rule = RuleSet.model_validate({"time": {"at": "10:00"}})
    # 10:30 in Berlin is 04:30 in New York; 10:00 there is 16:00 in Berlin.
    now = opening + timedelta(hours=1, minutes=30)
    verdict, _ = evaluate(unit, rule, Market(now), Memory(), policy, BrokerCalendar())
    assert not isinstance(verdict, Blind)
    assert isinstance(verdict, Close) is due
