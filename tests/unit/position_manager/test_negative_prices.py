"""A future may trade at 0 and below, as oil did: it is quoted, guarded, and closed within its bounds all the same."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.position_manager.engine_world import BEGIN, HOURS, Manager, ManualClock, World, put
from tests.unit.position_manager.test_blocked import shown
from tests.unit.position_manager.test_engine import play

from ib_connection.ib_library import Contract, Ticker
from position_manager.brokers.ib_broker import _average
from position_manager.brokers.ib_words import quote_of
from position_manager.model import Instrument, Kind, Quote
from position_manager.orders.caps import Caps
from position_manager.orders.intents import Side
from position_manager.orders.ladder import LadderPolicy, Rung, rung, to_tick
from position_manager.refused import RefusedError
from position_manager.rules.spread import SpreadBound

OIL = Instrument(42, "CL", Kind.FUTURE, Decimal(1000), local_symbol="CLK0", liquid_hours=HOURS)
STOP = {"mode": "paper", "defaults": {"stop": {"loss_amount": 5000}}}


def oil(average: str, bid: str, ask: str, quantity: int = 1) -> World:
    at = World(ManualClock(BEGIN))
    at.hold(OIL, quantity, average)
    at.quote(42, bid, ask)
    return at


async def falls_to(at: World, bid: str, ask: str, seconds: int = 3) -> None:
    for _ in range(seconds):
        at.quote(42, bid, ask)
        await at.clock.advance(1)


def test_a_future_that_falls_below_zero_is_closed_there(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        assert shown(manager).verdict == "guarded"
        await falls_to(at, "-4.05", "-4.00")
        assert at.received
        assert at.received[0].limit == Decimal("-4.02")

    play(tmp_path, oil("1.00", "0.98", "1.00"), story, STOP)


@pytest.mark.parametrize(("bid", "ask"), [("-0.01", "0.01"), ("0.00", "0.01"), ("-0.01", "0.00"), ("-37.70", "-37.63")])
def test_one_that_is_quoted_around_zero_stays_guarded(tmp_path: Path, bid: str, ask: str) -> None:
    async def story(at: World, manager: Manager) -> None:
        await falls_to(at, bid, ask)
        unit = shown(manager)
        assert unit.verdict == "guarded", unit.text

    play(tmp_path, oil(bid, bid, ask), story, STOP)


def test_one_that_was_bought_below_zero_has_its_sign(tmp_path: Path) -> None:
    assert _average(Contract(secType="FUT", multiplier="1000"), Decimal(-37630)) == Decimal("-37.63")
    assert _average(Contract(secType="OPT", multiplier="100"), Decimal(-250)) == Decimal("2.50")

    async def story(at: World, manager: Manager) -> None:
        await falls_to(at, "-43.00", "-42.95")
        assert at.received, "5,370 are lost"

    play(tmp_path, oil("-37.63", "-37.63", "-37.60"), story, STOP)


def test_a_person_may_approve_a_price_below_zero_for_a_future_only(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        at.hold(put(43), -1)
        at.quote(43, "2.45", "2.55")
        await at.clock.advance(31)
        with pytest.raises(RefusedError, match="only a future may trade at 0 or below"):
            await manager.engine.close("43", by="a test", limit=Decimal(-1))
        await manager.engine.close("CLK0", by="a test", limit=Decimal(-5))
        await at.clock.advance(1)
        assert [order.limit for order in at.received] == [Decimal(-5)]

    play(
        tmp_path, oil("1.00", "-4.00", "-3.95"), story, {"mode": "paper", "defaults": {"stop": {"loss_amount": 90000}}}
    )


def ticker(kind: str, bid: float, size: float) -> Ticker:
    nothing = Ticker(contract=Contract(secType=kind))
    nothing.bid, nothing.bidSize, nothing.ask, nothing.askSize = bid, size, bid + 0.05, 3
    return nothing


@given(st.sampled_from(["FUT", "OPT", "STK", "FOP"]), st.integers(-300, 300), st.sampled_from([0.0, 5.0]))
def test_a_price_below_zero_is_one_for_a_future_and_minus_one_without_a_size_is_none(
    kind: str, cents: int, size: float
) -> None:
    quote = quote_of(ticker(kind, cents / 100, size), BEGIN, live=True, magnifier=1)
    future = kind == "FUT"
    is_none = cents < 0 and (not future or (cents == -100 and size == 0))
    assert (quote.bid is None) is is_none


@given(
    st.integers(-5000, 5000), st.integers(0, 60), st.sampled_from(list(Side)), st.integers(0, 40), st.integers(-40, 40)
)
def test_the_ladder_stays_between_the_middle_and_the_far_side_whatever_the_sign(
    bid: int, width: int, side: Side, seconds: int, moved: int
) -> None:
    tick = Decimal("0.01")
    quote = Quote(BEGIN, bid * tick, (bid + width) * tick)
    policy, reference = LadderPolicy(), (quote.mid or Decimal(0)) + moved * tick
    found = rung(OIL, side, quote, reference, BEGIN, BEGIN + timedelta(seconds=seconds), policy)
    if isinstance(found, Rung):
        assert bid * tick <= found.price <= (bid + width) * tick
        slip = max(abs(reference) * policy.max_slippage, 2 * tick)
        assert (reference - found.price) * -side.sign <= slip
    allowed = SpreadBound().allows(OIL, quote)
    wide = width * tick > abs(quote.mid or Decimal(0)) / 5 and width > 3
    assert allowed is (not wide and not (quote.bid == quote.ask == 0))
    assert to_tick(OIL, side, bid * tick) == bid * tick


@given(st.integers(-9000, 9000), st.integers(1, 50))
def test_a_cap_counts_the_amount_of_a_price_below_zero(cents: int, quantity: int) -> None:
    caps, price = Caps(notional=Decimal(50_000)), Decimal(cents) / 100
    part = caps.slice_of(Decimal(quantity), price, OIL.multiplier)
    assert part == caps.slice_of(Decimal(quantity), -price, OIL.multiplier)
    assert part * abs(price) * OIL.multiplier <= caps.notional
