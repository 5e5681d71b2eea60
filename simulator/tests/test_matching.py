"""Triggers, trailing stops and fills, each against one quote."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from simulator.tests.trading_desk import MONDAY_MORNING, order

from gateway_simulator.trading import matching
from gateway_simulator.trading.matching import Fill, ShownSizes
from gateway_simulator.trading.model import Contract, Halted, Instrument, Quote
from gateway_simulator.trading.working import WorkingOrder

D = Decimal
CENT = D("0.01")
STOCK = Instrument(Contract(1, "ABC"), "ABC INC")
OPTION = Instrument(Contract(2, "ABC", sec_type="OPT", right="C", strike=D(100), multiplier="100"), "ABC INC")
QUOTE = Quote(MONDAY_MORNING, D(99), D(101), D(100), D(300), D(200), D(1), D(1), None, None, None, None, D(100))


def working(instrument: Instrument = STOCK, **terms: Any) -> WorkingOrder:
    return WorkingOrder(order(1, **terms), instrument, 1, MONDAY_MORNING, arrived=True)


def quote(bid: str, ask: str, last: str) -> Quote:
    return replace(QUOTE, bid=D(bid), ask=D(ask), last=D(last))


@pytest.mark.parametrize(
    ("method", "instrument", "action", "prices", "reached"),
    [
        (0, STOCK, "BUY", ("90", "91", "100"), True),
        (0, STOCK, "BUY", ("100", "101", "99"), False),
        (0, OPTION, "BUY", ("100", "101", "99"), True),
        (0, OPTION, "BUY", ("99", "100", "100"), False),
        (0, OPTION, "SELL", ("98", "100", "101"), True),
        (0, OPTION, "SELL", ("98", "101", "99"), False),
        (1, STOCK, "SELL", ("98", "100", "101"), True),
        (2, OPTION, "SELL", ("100", "102", "100"), True),
        (4, STOCK, "BUY", ("100", "101", "99"), True),
        (7, STOCK, "BUY", ("100", "101", "99"), True),
        (7, STOCK, "BUY", ("99", "101", "100"), True),
        (7, STOCK, "BUY", ("99", "101", "99"), False),
        (8, STOCK, "SELL", ("99", "101", "105"), True),
        (8, STOCK, "SELL", ("99", "102", "95"), False),
    ],
)
def test_the_method_sets_which_price_triggers_a_stop(
    method: int, instrument: Instrument, action: str, prices: tuple[str, str, str], reached: bool
) -> None:
    stop = working(instrument, action=action, order_type="STP", aux_price=100, trigger_method=method)
    assert matching.is_reached(stop, quote(*prices)) is reached


@pytest.mark.parametrize(
    ("method", "instrument", "steps"), [(0, STOCK, 1), (0, OPTION, 2), (1, STOCK, 2), (3, STOCK, 2)]
)
def test_double_methods_need_two_steps(method: int, instrument: Instrument, steps: int) -> None:
    stop = working(instrument, order_type="STP", aux_price=100, trigger_method=method)
    assert matching.steps_needed(stop) == steps


@pytest.mark.parametrize(
    ("terms", "last", "stop"),
    [
        ({"action": "SELL", "aux_price": 5}, "100", "95"),
        ({"action": "BUY", "aux_price": 5}, "100", "105"),
        ({"action": "SELL", "aux_price": 5, "trail_stop_price": 97}, "100", "97"),
        ({"action": "SELL", "aux_price": 5, "trail_stop_price": 90}, "100", "95"),
        ({"action": "BUY", "aux_price": 5, "trail_stop_price": 103}, "100", "103"),
        ({"action": "SELL", "trailing_percent": "3.333"}, "100", "96.66"),
        ({"action": "BUY", "trailing_percent": "3.333"}, "100", "103.34"),
    ],
)
def test_a_trailing_stop_moves_in_its_favour_only(terms: dict[str, Any], last: str, stop: str) -> None:
    trailing = working(order_type="TRAIL", **terms)
    assert matching.trailed_stop(trailing, quote("99", "101", last), CENT) == D(stop)


@pytest.mark.parametrize(
    ("terms", "left", "fill"),
    [
        ({"quantity": 100}, 200, Fill(D(100), D(101))),
        ({"quantity": 500}, 200, Fill(D(200), D(101))),
        ({"quantity": 500, "action": "SELL"}, 300, Fill(D(300), D(99))),
        ({"quantity": 100}, 0, None),
        ({"order_type": "LMT", "limit_price": "100.99"}, 200, None),
        ({"order_type": "LMT", "limit_price": "101"}, 200, Fill(D(10), D(101))),
        ({"order_type": "LMT", "limit_price": "110"}, 200, Fill(D(10), D(101))),
        ({"order_type": "LMT", "limit_price": "99.01", "action": "SELL"}, 200, None),
        ({"quantity": 500, "time_in_force": "FOK"}, 499, None),
        ({"quantity": 500, "time_in_force": "FOK"}, 500, Fill(D(500), D(101))),
        ({"quantity": 500, "all_or_none": True}, 499, None),
        ({"quantity": 500, "min_quantity": 300}, 299, None),
        ({"quantity": 500, "min_quantity": 300}, 300, Fill(D(300), D(101))),
        ({"quantity": 500, "min_quantity": 300, "filled": D(300)}, 10, Fill(D(10), D(101))),
    ],
)
def test_an_order_fills_at_the_far_side_up_to_the_size_shown(
    terms: dict[str, Any], left: int, fill: Fill | None
) -> None:
    assert matching.fill_of(working(**terms), QUOTE, D(left), CENT, 1) == fill


def test_slippage_grows_with_each_step_and_never_touches_a_limit() -> None:
    market, limited = working(quantity=500), working(quantity=500, order_type="LMT", limit_price="101")
    market.slips = limited.slips = 3
    for each, price in ((market, "101.06"), (limited, "101")):
        fill = matching.fill_of(each, QUOTE, D(10), CENT, 2)
        assert fill is not None
        assert fill.price == D(price)
    cheap = working(quantity=500, action="SELL")
    cheap.slips = 3
    fill = matching.fill_of(cheap, quote("0.02", "0.03", "0.02"), D(10), CENT, 1)
    assert fill is not None
    assert fill.price == CENT


def test_without_a_far_side_nothing_fills() -> None:
    assert matching.fill_of(working(), replace(QUOTE, ask=None), D(100), CENT, 1) is None
    assert matching.auction_fill(working(order_type="MOC"), replace(QUOTE, last=None)) is None
    assert matching.auction_fill(working(order_type="MOC"), replace(QUOTE, halted=Halted.GENERAL)) is None


def test_a_size_is_shown_once_a_step_and_again_with_a_new_quote() -> None:
    shown = ShownSizes()
    shown.take(1, QUOTE, D(150), buys=True, step=7)
    assert shown.left(1, QUOTE, buys=True, step=7) == 50
    assert shown.left(1, QUOTE, buys=False, step=7) == 300
    assert shown.left(2, QUOTE, buys=True, step=7) == 200
    assert shown.left(1, QUOTE, buys=True, step=8) == 200
    assert shown.left(1, replace(QUOTE, ask=D(102)), buys=True, step=7) == 200
    assert ShownSizes(shown.all()).left(1, QUOTE, buys=True, step=7) == 50
