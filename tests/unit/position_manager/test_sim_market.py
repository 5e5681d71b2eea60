"""The simulated market: the same for the same seed, and fit to be traded on."""

from __future__ import annotations

import math
import statistics
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from position_manager.brokers.sim_books import instruments
from position_manager.brokers.sim_market import Anchor, Market, expiry_of, option_price, two_sided
from position_manager.config.sim import Sim
from position_manager.model import Instrument, Kind, Right

BEGAN = datetime(2026, 11, 23, 15, tzinfo=UTC)
SIM = Sim()
KNOWN = instruments(SIM, date(2026, 11, 23), date(2026, 11, 23))


def market(seed: int = 1) -> Market:
    return Market(Sim(seed=seed), BEGAN)


def test_the_same_seed_is_the_same_market_in_any_order() -> None:
    one, two = market(), market()
    ticks = [0, 1, 5, 70_000, 3, 65_535, 65_536]
    first = {tick: one.underlying("SPY", tick, one.anchors()) for tick in ticks}
    assert {tick: two.underlying("SPY", tick, two.anchors()) for tick in sorted(ticks)} == first
    other = market(seed=2)
    assert other.underlying("SPY", 5, other.anchors()) != first[5]
    assert first[0] == 450


@pytest.mark.parametrize("gap", [1, 3, 64, 1000])
def test_it_moves_as_far_as_its_volatility_sets(gap: int) -> None:
    one = market()
    prices = [one.underlying("SPY", tick, one.anchors()) for tick in range(65_000, 65_000 + 2000 * gap, gap)]
    steps = [math.log(later / before) for before, later in pairwise(prices)]
    expected = 0.15 * math.sqrt(gap / (365 * 86_400))
    assert statistics.pstdev(steps) == pytest.approx(expected, rel=0.08)


def test_a_scripted_price_holds_and_walks_on() -> None:
    one = market()
    anchors = {**one.anchors(), "SPY": Anchor(100, Decimal(400))}
    assert one.underlying("SPY", 100, anchors) == 400
    walked = one.underlying("SPY", 101, one.anchors()) / one.underlying("SPY", 100, one.anchors())
    assert one.underlying("SPY", 101, anchors) == pytest.approx(400 * walked)


def test_an_option_is_priced_by_black_and_scholes() -> None:
    # By tables of the normal distribution: 42 * N(0.4157) - 40 * N(0.2743) = 42 * 0.66118 - 40 * 0.60806.
    price, delta = option_price(Right.CALL, 42, 40, 0.2 * math.sqrt(0.5))
    assert price == pytest.approx(3.4472, abs=1e-3)
    assert delta == pytest.approx(0.6612, abs=1e-3)
    assert option_price(Right.PUT, 42, 40, 0) == (0, 0)
    assert option_price(Right.PUT, 38, 40, 0) == (2, -1)


@given(st.floats(1, 1000), st.floats(1, 1000), st.floats(0.001, 2))
def test_a_call_less_a_put_is_the_forward(underlying: float, strike: float, deviation: float) -> None:
    call, call_delta = option_price(Right.CALL, underlying, strike, deviation)
    put, put_delta = option_price(Right.PUT, underlying, strike, deviation)
    assert call - put == pytest.approx(underlying - strike, abs=1e-6)
    assert call_delta - put_delta == pytest.approx(1)
    assert 0 <= call_delta <= 1


@given(st.floats(0, 2000), st.sampled_from(sorted(KNOWN)), st.floats(0, 0.1))
def test_bid_and_ask_are_on_ticks_and_apart(middle: float, con_id: int, part: float) -> None:
    instrument = KNOWN[con_id]
    bid, ask = two_sided(instrument, middle, part)
    assert 0 <= bid < ask
    assert bid % instrument.increment_at(bid) == 0 and ask % instrument.increment_at(ask) == 0
    assert float(bid) <= middle + 1e-6 and middle <= float(ask) + 1e-6


def test_a_quote_of_an_option_reports_delta_and_underlying() -> None:
    one, put = market(), KNOWN[1001]
    quote = one.quote(put, 10, one.anchors(), BEGAN)
    assert put.label == "SPY 2026-12-25 440P" and put.local_symbol == "SPY   261225P00440000"
    assert quote.delta is not None and -0.5 < quote.delta < -0.1
    assert quote.underlying is not None and abs(quote.underlying - 450) < 1
    assert quote.bid is not None and quote.ask is not None and quote.ask - quote.bid <= Decimal("0.15")
    assert min(quote.bid_size, quote.ask_size) >= 1
    share = one.quote(KNOWN[1005], 10, one.anchors(), BEGAN)
    assert (share.delta, share.underlying) == (None, None)
    assert share.ask is not None and share.bid is not None and share.ask - share.bid <= Decimal("0.06")


def test_an_option_is_worth_its_intrinsic_value_at_the_end() -> None:
    one, call = market(), KNOWN[1002]
    assert expiry_of(call).isoformat() == "2026-12-25T16:00:00-05:00"
    tick = one.tick_at(expiry_of(call))
    anchors = {"SPY": Anchor(tick, Decimal(460)), "AAPL": Anchor(0, Decimal(190))}
    quote = one.quote(call, tick, anchors, expiry_of(call))
    assert (quote.bid, quote.ask, quote.delta) == (Decimal("4.95"), Decimal("5.05"), 1.0)


def test_what_never_expires() -> None:
    assert expiry_of(Instrument(1, "X", Kind.STOCK)) - BEGAN > timedelta(days=365_000)
