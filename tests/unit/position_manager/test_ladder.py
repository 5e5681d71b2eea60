"""Limit prices: from the middle to the far side on the instrument's ticks, and never past a bound."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from position_manager.model import Instrument, Kind, Position, Quote, Right
from position_manager.orders.intents import Side
from position_manager.orders.ladder import (
    Bound,
    CapReached,
    LadderPolicy,
    Rung,
    legs_to_send,
    rung,
    step_at,
    to_tick,
)
from position_manager.rules.spread import SpreadBound, spread_of

NOW = datetime(2026, 11, 23, 15, tzinfo=UTC)
POLICY = LadderPolicy(
    steps=4,
    interval=timedelta(seconds=5),
    spread=SpreadBound(Decimal("0.20"), 0),
    max_slippage=Decimal("0.10"),
    slippage_ticks=0,
)
# Ticks of 0.01 below 3 and of 0.05 from there on.
OPTION = Instrument(
    42, "SPY", Kind.OPTION, Decimal(100), increments=((Decimal(0), Decimal("0.01")), (Decimal(3), Decimal("0.05")))
)


def quote(bid: str, ask: str) -> Quote:
    return Quote(NOW, Decimal(bid), Decimal(ask))


def at(seconds: int, side: Side, market: Quote, reference: str, policy: LadderPolicy = POLICY) -> Rung | CapReached:
    return rung(OPTION, side, market, Decimal(reference), NOW, NOW + timedelta(seconds=seconds), policy)


@pytest.mark.parametrize(
    ("side", "prices"),
    [
        (Side.SELL, ["2.50", "2.48", "2.45", "2.43", "2.40", "2.40"]),
        (Side.BUY, ["2.50", "2.52", "2.55", "2.57", "2.60", "2.60"]),
    ],
)
def test_from_the_middle_to_the_far_side(side: Side, prices: list[str]) -> None:
    for number, price in enumerate(prices):
        step = min(number, 4)
        assert at(5 * number, side, quote("2.40", "2.60"), "2.50") == Rung(step, Decimal(price))


def test_the_last_rung_follows_the_market_down_to_the_cap() -> None:
    assert at(60, Side.SELL, quote("2.26", "2.36"), "2.50") == Rung(4, Decimal("2.26"))
    hit = at(60, Side.SELL, quote("2.24", "2.34"), "2.50")
    assert hit == CapReached(Bound.SLIPPAGE, Decimal("2.24"), Decimal("2.250"))
    assert str(hit) == "slippage bound: 2.2400 is wanted, 2.2500 is allowed"
    assert at(60, Side.BUY, quote("2.65", "2.75"), "2.50") == Rung(4, Decimal("2.75"))
    assert isinstance(at(60, Side.BUY, quote("2.66", "2.76"), "2.50"), CapReached)


def test_icli_6_a_thin_option_is_not_swept() -> None:
    hit = at(60, Side.SELL, quote("0.10", "5.00"), "2.55")
    assert isinstance(hit, CapReached)
    assert hit.bound is Bound.SPREAD
    assert "1.9216 is wanted, 0.2000 is allowed" in str(hit)


@pytest.mark.parametrize(
    "market", [Quote(NOW, None, Decimal(1)), Quote(NOW, Decimal(1), None), Quote(NOW, Decimal(0), Decimal(0))]
)
def test_no_price_without_two_sides(market: Quote) -> None:
    assert spread_of(market) is None
    assert at(0, Side.SELL, market, "1") == CapReached(Bound.NO_PRICE)
    assert str(CapReached(Bound.NO_PRICE)) == "no two-sided quote: no price to send"


@pytest.mark.parametrize(
    ("price", "sell", "buy"),
    [
        ("2.505", "2.51", "2.50"),
        ("2.995", "3.00", "2.99"),
        ("3.01", "3.05", "3.00"),
        ("3.05", "3.05", "3.05"),
        ("0.001", "0.01", "0.01"),
    ],
)
def test_prices_are_on_ticks_and_rounded_in_our_favour(price: str, sell: str, buy: str) -> None:
    assert to_tick(OPTION, Side.SELL, Decimal(price)) == Decimal(sell)
    assert to_tick(OPTION, Side.BUY, Decimal(price)) == Decimal(buy)


def test_a_clock_that_jumps() -> None:
    assert step_at(NOW, NOW - timedelta(hours=1), POLICY) == 0
    assert step_at(NOW, NOW + timedelta(days=1), POLICY) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"interval": timedelta()}, "interval is 0 s"),
        ({"max_slippage": Decimal(0)}, "max_slippage is 0"),
    ],
)
def test_a_policy_that_is_none_names_its_field(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(POLICY, **change)  # type: ignore[arg-type]  # wrong on purpose


@given(
    bid=st.integers(1, 2000),
    width=st.integers(0, 500),
    reference=st.integers(1, 2500),
    seconds=st.integers(-10, 60),
    side=st.sampled_from(Side),
)
def test_no_price_is_ever_past_the_cap_or_the_far_side(
    bid: int, width: int, reference: int, seconds: int, side: Side
) -> None:
    market = Quote(
        NOW, to_tick(OPTION, Side.BUY, Decimal(bid) / 100), to_tick(OPTION, Side.SELL, Decimal(bid + width) / 100)
    )
    found = at(seconds, side, market, str(Decimal(reference) / 100))
    if isinstance(found, Rung):
        assert market.bid is not None
        assert market.ask is not None
        middle = Decimal(reference) / 100
        worst = middle * (1 + side.sign * POLICY.max_slippage)
        far = market.ask if side is Side.BUY else market.bid
        assert (found.price - worst) * side.sign <= 0
        assert (found.price - far) * side.sign <= 0
        assert found.price % OPTION.increment_at(found.price) == 0


def leg(con_id: int, quantity: int) -> Position:
    instrument = Instrument(con_id, "SPY", Kind.OPTION, Decimal(100), right=Right.PUT)
    return Position("DU1", instrument, Decimal(quantity), Decimal(1))


def test_short_legs_are_closed_first_so_that_no_naked_short_remains() -> None:
    long, short, gone = leg(1, 5), leg(2, -5), leg(3, 0)
    assert legs_to_send((long, short, gone)) == (short,)
    assert legs_to_send((long, leg(2, -1))) == (leg(2, -1),)
    assert legs_to_send((long, leg(2, 0))) == (long,)
    assert legs_to_send((gone,)) == ()


def test_an_option_of_a_few_cents_can_be_closed_at_its_far_side() -> None:
    """One tick of spread at 0.04 by 0.05 is 22 %, and the far side is 11 % from the middle."""
    policy, cheap = LadderPolicy(), quote("0.04", "0.05")
    last = rung(OPTION, Side.SELL, cheap, Decimal("0.045"), NOW, NOW + timedelta(seconds=20), policy)
    assert isinstance(last, Rung)
    assert last.price == Decimal("0.04")
    strict = replace(policy, spread=SpreadBound(ticks=0))
    assert isinstance(rung(OPTION, Side.SELL, cheap, Decimal("0.045"), NOW, NOW, strict), CapReached)


@given(
    st.integers(1, 2000),
    st.integers(0, 3),
    st.sampled_from(Side),
    st.sampled_from(["0.01", "0.05", "0.25"]),
)
def test_a_spread_of_few_ticks_can_be_closed_through_at_any_price(
    cents: int, ticks: int, side: Side, tick: str
) -> None:
    step = Decimal(tick)
    bid = cents * step
    market = quote(str(bid), str(bid + ticks * step))
    contract = replace(OPTION, increments=((Decimal(0), step),))
    assert market.mid is not None
    found = rung(contract, side, market, market.mid, NOW, NOW + timedelta(minutes=1), LadderPolicy())
    assert isinstance(found, Rung), f"{found} at {market.bid} by {market.ask}"
    assert found.price == (market.bid if side is Side.SELL else market.ask)
