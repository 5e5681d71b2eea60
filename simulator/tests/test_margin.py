"""Margins and commissions by their documented formulas."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from gateway_simulator.trading.commissions import CommissionSchedule
from gateway_simulator.trading.margin import requirement
from gateway_simulator.trading.model import Contract, Position

STOCK = Contract(1, "ABC")
CALL = Contract(2, "ABC", sec_type="OPT", right="C", strike=Decimal(100), multiplier="100")
PUT = Contract(3, "ABC", sec_type="OPT", right="P", strike=Decimal(100), multiplier="100")
HIGHER = Contract(5, "ABC", sec_type="OPT", right="C", strike=Decimal(110), multiplier="100")
CALL = replace(CALL, expiry="20261218")
HIGHER, SOONER = replace(HIGHER, expiry="20261218"), replace(HIGHER, con_id=6, expiry="20261211")
FUTURE = Contract(4, "ES", sec_type="FUT", multiplier="50")
D = Decimal


@pytest.mark.parametrize(
    ("held", "underlying", "initial", "maintenance"),
    [
        ([(STOCK, 100, "50")], "50", "2500", "1250"),
        ([(STOCK, -100, "50")], "50", "2500", "1500"),
        ([(CALL, 3, "5")], "100", "0", "0"),
        # Premium 5, at the money: 20 % of the underlying.
        ([(CALL, -1, "5")], "100", "2500", "2500"),
        # 15 out of the money: 20 % of 85 less 15 is 2, so 10 % of the underlying counts.
        ([(CALL, -1, "1")], "85", "950", "950"),
        ([(PUT, -1, "5")], "95", "2400", "2400"),
        # 30 out of the money: 10 % of the strike.
        ([(PUT, -2, "1")], "130", "2200", "2200"),
        # One of two calls is covered.
        ([(STOCK, 150, "100"), (CALL, -2, "5")], "100", "10000", "6250"),
        ([(STOCK, 200, "100"), (CALL, -2, "5")], "100", "10000", "5000"),
        ([(FUTURE, -1, "6000")], "0", "18000", "15000"),
        # A spread needs at most its width; what is left over counts alone, and so does one whose cover ends sooner.
        ([(CALL, -1, "5"), (HIGHER, 1, "2")], "100", "1000", "1000"),
        ([(CALL, 1, "5"), (HIGHER, -1, "2")], "100", "0", "0"),
        ([(CALL, -2, "5"), (HIGHER, 1, "2")], "100", "3500", "3500"),
        ([(CALL, -1, "5"), (SOONER, 1, "2")], "100", "2500", "2500"),
        ([(CALL, -1, "5"), (PUT, 1, "5")], "100", "2500", "2500"),
    ],
)
def test_what_holdings_need(
    held: list[tuple[Contract, int, str]], underlying: str, initial: str, maintenance: str
) -> None:
    positions = [Position(contract, D(quantity), D(1), D(price)) for contract, quantity, price in held]
    needed = requirement(positions, {2: D(underlying), 3: D(underlying)})
    assert (needed.initial, needed.maintenance) == (D(initial), D(maintenance))


def test_an_option_whose_underlying_has_no_price_counts_as_at_the_money() -> None:
    assert requirement([Position(CALL, D(-1), D(1), D(5))], {}).initial == 2500


@pytest.mark.parametrize(
    ("contract", "quantity", "price", "cost"),
    [
        (STOCK, 100, "50", "1"),
        (STOCK, 1000, "50", "5"),
        (STOCK, 10, "5", "0.5"),
        (CALL, 1, "5", "1"),
        (CALL, 10, "5", "6.5"),
        (FUTURE, 2, "6000", "4.5"),
    ],
)
def test_what_an_order_costs(contract: Contract, quantity: int, price: str, cost: str) -> None:
    assert CommissionSchedule().of_order(contract, D(quantity), D(price)) == D(cost)


def test_the_fills_of_an_order_share_its_cost() -> None:
    schedule = CommissionSchedule()
    fills = [D(50), D(100), D(250)]
    filled, paid = D(0), []
    for quantity in fills:
        paid.append(schedule.of_fill(STOCK, filled, D(50) if filled else D(0), quantity, D(50)))
        filled += quantity
    assert paid == [1, 0, 1]
    assert sum(paid) == schedule.of_order(STOCK, D(400), D(50))
