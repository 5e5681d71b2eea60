"""When orders may trade: in all trading hours with outside_rth, or at a price that a person approves, else not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.position_manager.engine_world import ACCOUNT, CONFIG, Manager, ManualClock, World
from tests.unit.position_manager.rule_fixtures import NOW, assess, held, quote, rules, stock
from tests.unit.position_manager.test_engine import play

from ib_connection.ib_library import Contract, ContractDetails
from position_manager.brokers.ib_contracts import ContractBook
from position_manager.engine.engine_status import status_of
from position_manager.journal import stored_instruments
from position_manager.journal.journal import Journal
from position_manager.journal.records import Stamp
from position_manager.model import Instrument, Kind
from position_manager.rules.evaluation import Blind, Cause, Close, Hold, QuotePolicy
from position_manager.sessions.hours import is_open, parse_liquid_hours, zone_of

CHICAGO = ZoneInfo("America/Chicago")
REGULAR = "20261122:CLOSED;20261123:0830-20261123:1500;20261124:0830-20261124:1500"
GLOBEX = "20261122:1700-20261123:1600;20261123:1700-20261124:1600;20261124:1700-20261125:1600"
FUTURE = Instrument(
    42,
    "ES",
    Kind.FUTURE,
    Decimal(50),
    expiry=date(2026, 12, 18),
    local_symbol="ESZ6",
    increments=((Decimal(0), Decimal("0.25")),),
    liquid_hours=parse_liquid_hours(REGULAR, CHICAGO),
    trading_hours=parse_liquid_hours(GLOBEX, CHICAGO),
)
STOP = {**CONFIG, "defaults": {"stop": {"loss_amount": 1000}}, "caps": {"notional": 1_000_000}}
OUTSIDE = {**STOP, "orders": {"outside_rth": True}}
NIGHT = datetime(2026, 11, 24, 2, tzinfo=CHICAGO).astimezone(UTC)
BREAK = datetime(2026, 11, 23, 16, 30, tzinfo=CHICAGO).astimezone(UTC)


def one_future(now: datetime) -> World:
    at = World(ManualClock(now))
    at.hold(FUTURE, 1, "6000")
    at.quote(42, "6000.00", "6000.25")
    return at


async def falls(at: World, seconds: int = 3) -> None:
    for _ in range(seconds):
        at.quote(42, "5970.00", "5970.25")
        await at.clock.advance(1)


def test_a_future_at_night_is_guarded_with_outside_rth(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await at.clock.advance(5)
        assert status_of(manager.engine, "").units[0].verdict == "guarded"
        await falls(at)
        (sent,) = at.received
        assert sent.quantity == 1
        assert at.outside_rth == [True]

    play(tmp_path, one_future(NIGHT), story, OUTSIDE)


@pytest.mark.parametrize(
    ("now", "opened"),
    [(NIGHT, ()), (datetime(2026, 11, 24, 9, tzinfo=CHICAGO).astimezone(UTC), ("ESZ6",))],
    ids=["night", "day"],
)
def test_the_status_names_what_is_held_in_its_regular_session(
    tmp_path: Path, now: datetime, opened: tuple[str, ...]
) -> None:
    async def story(at: World, manager: Manager) -> None:
        await at.clock.advance(5)
        assert status_of(manager.engine, "").open_markets == opened

    play(tmp_path, one_future(now), story, OUTSIDE)


@pytest.mark.parametrize(("now", "config"), [(NIGHT, STOP), (BREAK, OUTSIDE)], ids=["not allowed", "the daily break"])
def test_it_is_not_while_no_order_of_its_kind_would_trade(
    tmp_path: Path, now: datetime, config: dict[str, object]
) -> None:
    async def story(at: World, manager: Manager) -> None:
        await falls(at)
        assert not at.received
        (unit,) = manager.engine.shared.guard.units
        verdict = manager.engine.shared.guard.verdicts[unit.key]
        assert isinstance(verdict, Blind)
        assert verdict.cause is Cause.MARKET_CLOSED

    play(tmp_path, one_future(now), story, config)


def test_a_price_that_a_person_approves_trades_whenever_the_market_is_open(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await at.clock.advance(1)
        await manager.engine.close("ESZ6", by="a test", limit=Decimal("5990"))
        await at.clock.advance(1)
        (sent,) = at.received
        assert sent.limit == 5990
        assert at.outside_rth == [True], "or it would rest until the regular session"

    play(tmp_path, one_future(NIGHT), story, STOP)


def test_nor_while_it_is_closed(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await at.clock.advance(1)
        await manager.engine.close("ESZ6", by="a test", limit=Decimal("5990"))
        await at.clock.advance(1)
        assert not at.received
        assert "refused" in manager.kinds

    play(tmp_path, one_future(BREAK), story, STOP)


def test_time_rules_stay_with_the_regular_session() -> None:
    future = replace(FUTURE, con_id=1)
    policy = QuotePolicy(CHICAGO, outside_rth=True)
    before_close = rules(time={"before_close": "00:30"})
    night = datetime(2026, 11, 24, 2, tzinfo=CHICAGO)
    assert isinstance(assess(held(1, "6000", future), before_close, None, night, policy=policy)[0], Hold)
    late = datetime(2026, 11, 24, 14, 45, tzinfo=CHICAGO)
    assert isinstance(assess(held(1, "6000", future), before_close, None, late, policy=policy)[0], Close)


def test_without_trading_hours_the_regular_ones_hold() -> None:
    night, policy = NOW - timedelta(hours=8), QuotePolicy(CHICAGO, outside_rth=True)
    seen = quote("100", "100.1", night)
    verdict, _ = assess(held(1, "100", stock(1)), rules(stop={"percent_of_premium": 5}), seen, night, policy=policy)
    assert isinstance(verdict, Blind)
    assert verdict.cause is Cause.MARKET_CLOSED


@pytest.mark.parametrize(
    "text",
    [
        "20261123:0000-20261123:2400;20261124:0000-20261124:2400",
        "20261123:0000-20261123:2359;20261124:0000-20261124:2359",
        "20261123:0000-20261124:0000;20261124:0000-20261125:0000",
    ],
)
def test_what_trades_around_the_clock_is_open_at_midnight(text: str) -> None:
    sessions = parse_liquid_hours(text, CHICAGO)
    midnight = datetime(2026, 11, 24, tzinfo=CHICAGO)
    for seconds in range(-90, 91, 15):
        assert is_open(sessions, midnight + timedelta(seconds=seconds))


def test_both_kinds_of_hours_come_from_the_details_and_outlast_a_restart(tmp_path: Path) -> None:
    contract = Contract(secType="FUT", conId=42, symbol="ES", exchange="CME", localSymbol="ESZ6", multiplier="50")
    book, now = ContractBook(), NIGHT
    book.learn(
        ContractDetails(
            contract=contract, minTick=0.25, timeZoneId="US/Central", liquidHours=REGULAR, tradingHours=";" + GLOBEX
        ),
        now,
    )
    reported = book.instrument(contract)
    assert (reported.liquid_hours, reported.trading_hours) == (FUTURE.liquid_hours, FUTURE.trading_hours)
    journal = Journal(
        tmp_path / "journal.db", Stamp("paper", frozenset({ACCOUNT})), clock=lambda: now, new_id=lambda: "id"
    )
    journal.recover()
    stored_instruments.store_changes(journal, [reported], {}, now)
    known = stored_instruments.recall(journal, now)
    assert known == {42: reported}
    later = replace(reported, trading_hours=reported.trading_hours[1:])
    stored_instruments.store_changes(journal, [later], known, now)
    assert stored_instruments.recall(journal, now) == {42: later}
    journal.close()
    again = ContractBook()
    again.recall([later], now)
    assert again.instrument(contract).trading_hours == later.trading_hours


ZONES = st.sampled_from(["US/Central", "America/New_York", "Europe/London", "Asia/Tokyo", "JST", "MET", "UTC"])
MINUTES = st.integers(0, 24 * 60)


@given(
    ZONES, st.lists(st.tuples(MINUTES, st.integers(10, 22 * 60)), min_size=1, max_size=4), st.integers(0, 5 * 24 * 60)
)
def test_a_moment_is_inside_the_hours_just_as_the_clock_on_the_wall_shows(
    name: str, days: list[tuple[int, int]], minute: int
) -> None:
    """Sessions of any length, over midnight or not; in November, without a change of clocks."""
    zone, first = zone_of(name), datetime(2026, 11, 9)
    spans, parts = [], []
    for index, (start, length) in enumerate(days):
        begin = first + timedelta(days=2 * index, minutes=start)
        spans.append((begin, begin + timedelta(minutes=length)))
        parts.append(f"{begin:%Y%m%d:%H%M}-{begin + timedelta(minutes=length):%Y%m%d:%H%M}")
    shown = first + timedelta(minutes=minute)
    sessions = parse_liquid_hours(";".join(parts), zone)
    in_one = any(begin <= shown < end for begin, end in spans)
    assert is_open(sessions, shown.replace(tzinfo=zone).astimezone(UTC)) is in_one
