"""What an option is worth: the formula of Black, Scholes and Merton, its derivatives, and the volatility it implies.

With S the underlying's price, K the strike, T the years left, r the rate, q the dividend yield, s the volatility and
N the cumulative normal distribution::

    d1 = (ln(S/K) + (r - q + s*s/2) T) / (s sqrt(T)),    d2 = d1 - s sqrt(T)
    call = S exp(-qT) N(d1) - K exp(-rT) N(d2),          put = K exp(-rT) N(-d2) - S exp(-qT) N(-d1)

All options are priced as European ones. That an American one may be exercised early is only heeded in that no price
lies below the intrinsic value. The volatility of a strike smiles::

    s = base * (1 - 0.1 m + 0.05 m*m),    m = ln(K/S) / (base sqrt(T)), kept within -3 and 3

so puts below the market are dearer than calls above it, and far strikes dearer than near ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import erf, exp, log, pi, sqrt

from gateway_simulator.trading.model import OptionComputation

RATE = 0.04
"""The rate without risk, a share of 1 a year, continuously compounded."""
SKEW, CURVATURE, FARTHEST = 0.1, 0.05, 3.0
LEAST_YEARS = 1 / (365 * 86400)
LEAST_VOLATILITY, MOST_VOLATILITY = 0.001, 10.0
PRICE_TOLERANCE = 1e-7


@dataclass(frozen=True)
class Terms:
    """What the formula needs but the volatility. ``years`` left are at least a second."""

    right: str
    spot: float
    strike: float
    years: float
    dividend_yield: float = 0.0
    rate: float = RATE

    @property
    def intrinsic(self) -> float:
        """What the option brings if exercised at once."""
        return max(self.sign * (self.spot - self.strike), 0.0)

    @property
    def sign(self) -> int:
        """1 for a call, -1 for a put."""
        return 1 if self.right == "C" else -1


def smile(base_volatility: float, spot: float, strike: float, years: float) -> float:
    """Return the volatility of a strike, a share of 1 a year."""
    distance = log(strike / spot) / (base_volatility * sqrt(max(years, LEAST_YEARS)))
    distance = max(-FARTHEST, min(FARTHEST, distance))
    return base_volatility * (1 - SKEW * distance + CURVATURE * distance * distance)


def price(terms: Terms, volatility: float) -> float:
    """Return the option's price per unit of the underlying, never below the intrinsic value."""
    return max(_european(terms, volatility)[0], terms.intrinsic)


def compute(terms: Terms, volatility: float, option_price: float | None = None) -> OptionComputation:
    """Return price and greeks at a volatility; ``option_price`` replaces the model's price where it is known."""
    years = max(terms.years, LEAST_YEARS)
    sign, spread = terms.sign, volatility * sqrt(years)
    worth, d1, d2 = _european(terms, volatility)
    carried = exp(-terms.dividend_yield * years)
    discount = exp(-terms.rate * years)
    density = exp(-d1 * d1 / 2) / sqrt(2 * pi)
    decay = -terms.spot * carried * density * volatility / (2 * sqrt(years))
    interest = -sign * terms.rate * terms.strike * discount * _normal(sign * d2)
    dividend = sign * terms.dividend_yield * terms.spot * carried * _normal(sign * d1)
    return OptionComputation(
        implied_volatility=volatility,
        delta=sign * carried * _normal(sign * d1),
        price=max(worth, terms.intrinsic) if option_price is None else option_price,
        present_value_dividend=terms.spot * (1 - carried),
        gamma=carried * density / (terms.spot * spread),
        vega=terms.spot * carried * density * sqrt(years) / 100,
        theta=(decay + interest + dividend) / 365,
        underlying_price=terms.spot,
    )


def implied_volatility(terms: Terms, option_price: float, guess: float = 0.3) -> float | None:
    """Return the volatility at which the formula gives a price, or None if none does.

    No volatility gives a price that is at or below the discounted intrinsic value, or that no option can have.
    Newton's steps, kept within a bracket that every step narrows.
    """
    low, high = LEAST_VOLATILITY, MOST_VOLATILITY
    volatility = min(max(guess, low), high)
    root_years = sqrt(max(terms.years, LEAST_YEARS))
    carried = terms.spot * exp(-terms.dividend_yield * max(terms.years, LEAST_YEARS)) * root_years / sqrt(2 * pi)
    for _ in range(100):
        worth, d1, _ = _european(terms, volatility)
        error = worth - option_price
        if abs(error) < PRICE_TOLERANCE:
            break
        low, high = (low, volatility) if error > 0 else (volatility, high)
        if high - low < 1e-10:
            return None
        vega = carried * exp(-d1 * d1 / 2)
        step = volatility - error / vega if vega > 1e-12 else low
        volatility = step if low < step < high else (low + high) / 2
    return volatility if LEAST_VOLATILITY < volatility < MOST_VOLATILITY else None


def _european(terms: Terms, volatility: float) -> tuple[float, float, float]:
    """Price, d1 and d2 by the formula."""
    years = max(terms.years, LEAST_YEARS)
    spread = volatility * sqrt(years)
    d1 = (log(terms.spot / terms.strike) + (terms.rate - terms.dividend_yield) * years) / spread + spread / 2
    d2 = d1 - spread
    sign = terms.sign
    forward = terms.spot * exp(-terms.dividend_yield * years) * _normal(sign * d1)
    return sign * (forward - terms.strike * exp(-terms.rate * years) * _normal(sign * d2)), d1, d2


def _normal(value: float) -> float:
    """The cumulative normal distribution."""
    return (1 + erf(value / sqrt(2))) / 2
