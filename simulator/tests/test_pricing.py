"""The option model against published values and against its own definitions."""

from __future__ import annotations

from math import exp

import pytest

from gateway_simulator.trading.pricing import RATE, Terms, compute, implied_volatility, price, smile

HULL = Terms("C", 42.0, 40.0, 0.5, rate=0.1)


def test_prices_are_those_of_the_textbook() -> None:
    # J. Hull, Options, Futures and Other Derivatives: S=42, K=40, r=0.1, s=0.2, T=0.5.
    assert price(HULL, 0.2) == pytest.approx(4.76, abs=0.005)
    assert price(Terms("P", 42.0, 40.0, 0.5, rate=0.1), 0.2) == pytest.approx(0.81, abs=0.005)


def test_greeks_are_those_of_the_textbook() -> None:
    # The same book's delta hedging example: S=49, K=50, r=0.05, s=0.2, T=20 weeks.
    greeks = compute(Terms("C", 49.0, 50.0, 0.3846, rate=0.05), 0.2)
    assert greeks.delta == pytest.approx(0.522, abs=0.001)
    assert greeks.gamma == pytest.approx(0.066, abs=0.001)
    assert greeks.vega == pytest.approx(0.121, abs=0.001)
    assert greeks.theta * 365 == pytest.approx(-4.31, abs=0.01)


def test_dividends_are_discounted_from_the_spot() -> None:
    # The book's index option: S=930, K=900, r=0.08, q=0.03, s=0.2, two months.
    terms = Terms("C", 930.0, 900.0, 2 / 12, dividend_yield=0.03, rate=0.08)
    assert price(terms, 0.2) == pytest.approx(51.83, abs=0.01)
    assert compute(terms, 0.2).present_value_dividend == pytest.approx(930 * (1 - exp(-0.03 / 6)))


@pytest.mark.parametrize("strike", [60.0, 100.0, 140.0])
@pytest.mark.parametrize("years", [0.02, 0.5, 2.0])
def test_put_and_call_are_in_parity(strike: float, years: float) -> None:
    call, put = (compute(Terms(right, 100.0, strike, years, 0.01), 0.4) for right in ("C", "P"))
    forward = 100.0 * exp(-0.01 * years) - strike * exp(-RATE * years)
    european_put = put.price if put.price > strike - 100.0 else call.price - forward
    assert call.price - european_put == pytest.approx(forward, abs=1e-9)
    assert call.delta - put.delta == pytest.approx(exp(-0.01 * years))


@pytest.mark.parametrize("right", ["C", "P"])
@pytest.mark.parametrize("strike", [80.0, 100.0, 125.0])
@pytest.mark.parametrize("volatility", [0.05, 0.3, 1.5])
def test_volatility_is_found_again_from_the_price(right: str, strike: float, volatility: float) -> None:
    terms = Terms(right, 100.0, strike, 0.25)
    worth = price(terms, volatility)
    found = implied_volatility(terms, worth)
    if worth - price(terms, 0.002) < 1e-4:  # then every low volatility gives this price
        assert found is None or price(terms, found) == pytest.approx(worth, abs=1e-6)
    else:
        assert found == pytest.approx(volatility, abs=1e-4)


@pytest.mark.parametrize("worth", [19.0, 100.5, 1000.0])
def test_price_that_no_volatility_gives_has_none(worth: float) -> None:
    assert implied_volatility(Terms("C", 100.0, 80.0, 0.25), worth) is None


def test_no_option_is_worth_less_than_its_exercise() -> None:
    deep = Terms("P", 50.0, 100.0, 2.0)
    assert price(deep, 0.1) == compute(deep, 0.1).price == 50.0


def test_greeks_are_the_slopes_of_the_price() -> None:
    up, down, years = 100.01, 99.99, 0.4

    def at(spot: float = 100.0, volatility: float = 0.3, left: float = years) -> float:
        return price(Terms("P", spot, 105.0, left, 0.02), volatility)

    greeks = compute(Terms("P", 100.0, 105.0, years, 0.02), 0.3)
    assert greeks.delta == pytest.approx((at(up) - at(down)) / 0.02, abs=1e-5)
    assert greeks.gamma == pytest.approx((at(up) - 2 * at() + at(down)) / 0.0001, abs=1e-4)
    assert greeks.vega == pytest.approx((at(volatility=0.301) - at(volatility=0.299)) / 0.2, abs=1e-5)
    assert greeks.theta == pytest.approx((at(left=years - 1e-5) - at(left=years + 1e-5)) / 2e-5 / 365, abs=1e-5)


def test_far_strikes_have_more_volatility_and_puts_more_than_calls() -> None:
    far_put, middle, far_call = (smile(0.25, 100.0, strike, 0.25) for strike in (75.0, 100.0, 133.0))
    assert far_put > far_call > middle == 0.25
    assert smile(0.25, 100.0, 1.0, 0.001) == pytest.approx(0.25 * (1 + 0.3 + 0.45))


def test_last_second_is_priced_at_the_intrinsic_value() -> None:
    assert price(Terms("C", 101.0, 100.0, 0.0), 0.3) == pytest.approx(1.0, abs=0.01)
    assert price(Terms("C", 99.0, 100.0, 0.0), 0.3) == pytest.approx(0.0, abs=0.01)
