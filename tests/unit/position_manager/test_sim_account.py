"""What the simulated account is worth, and that it follows prices and trades."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from position_manager.account.values import AccountValues
from position_manager.brokers import sim_books
from position_manager.brokers.sim_account import values_of
from position_manager.brokers.sim_market import Anchor, Market
from position_manager.config.sim import Sim

BEGIN = datetime(2026, 11, 23, 15, tzinfo=UTC)


def account(kind: str, quantity: int, price: str, cash: int = 50_000, at: int = 100) -> AccountValues:
    """After the price of what is held has moved from 100."""
    option = {"strike": 90, "right": "P"} if kind == "OPT" else {}
    sim = Sim.model_validate(
        {
            "cash": cash,
            "underlyings": {"X": {"price": at, "volatility_percent": 0}},
            "positions": [{"symbol": "X", "kind": kind, "quantity": quantity, "average_price": 100, **option}],
        }
    )
    market = Market(sim, BEGIN)
    books = replace(sim_books.opened(market), anchors={"X": Anchor(0, Decimal(price))})
    day = sim_books.day_of(BEGIN)
    return values_of(books, market, sim_books.instruments(sim, day, day), BEGIN)


@pytest.mark.parametrize(
    ("kind", "quantity", "price", "net", "excess"),
    [
        ("STK", 100, "100", 60_000, 57_500),
        ("STK", 100, "80", 58_000, 56_000),
        ("STK", -100, "80", 42_000, 40_000),
        ("FUT", 1, "100", 50_000, 49_500),
        ("FUT", 1, "80", 49_000, 48_600),
    ],
)
def test_what_it_is_worth(kind: str, quantity: int, price: str, net: int, excess: int) -> None:
    found = account(kind, quantity, price)
    assert found.net_liquidation == pytest.approx(net, abs=20)
    assert found.cash == 50_000
    assert found.excess_liquidity == pytest.approx(excess, abs=20)


def test_a_short_option_needs_margin_and_a_long_one_is_none() -> None:
    short, long = account("OPT", -1, "80"), account("OPT", 1, "80")
    assert short.net_liquidation == pytest.approx(49_000, abs=50)
    assert short.excess_liquidity == pytest.approx(49_000 - 1_600, abs=50)
    assert long.net_liquidation == pytest.approx(51_000, abs=50)
    assert long.excess_liquidity == pytest.approx(50_000, abs=50)


def test_a_release_that_knew_no_cash_wrote_books_that_still_fit() -> None:
    assert sim_books.origin(Sim(cash=Decimal(5))) == sim_books.origin(Sim())
    assert "cash" not in sim_books.origin(Sim())
