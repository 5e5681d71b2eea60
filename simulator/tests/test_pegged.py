"""Orders whose price follows the quote, and orders for the opening."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from ib_insync import Order, Stock
from simulator.tests.api_client import running_server
from simulator.tests.insync_client import Client
from simulator.tests.trading_desk import MONDAY_MORNING, Desk, accepted, order, waiting

from gateway_simulator.trading.model import Contract

SUNDAY_NIGHT = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
MONDAY_OPENING = datetime(2026, 11, 23, 14, 30, tzinfo=UTC)
EURO = Contract(0, "EUR", "CASH", exchange="IDEALPRO", currency="USD")


def quoted() -> Desk:
    """A desk at which Apple is quoted 189.00 to 189.10."""
    desk = Desk()
    desk.price("189.00", "189.10", "189.05")
    return desk


@pytest.mark.parametrize(
    ("action", "kind", "terms", "price"),
    [
        ("BUY", "MIDPRICE", {}, "189.05"),
        ("SELL", "MIDPRICE", {}, "189.05"),
        ("BUY", "MIDPRICE", {"limit_price": "189.04"}, None),
        ("BUY", "MIDPRICE", {"limit_price": "189.20"}, "189.05"),
        ("SELL", "MIDPRICE", {"limit_price": "189.06"}, None),
        ("BUY", "PEG MID", {}, "189.05"),
        ("BUY", "PEG MID", {"aux_price": "0.01"}, None),
        ("BUY", "PEG MKT", {}, "189.1"),
        ("BUY", "PEG MKT", {"aux_price": "0.02"}, "189.08"),
        ("SELL", "PEG MKT", {"aux_price": "0.02"}, "189.02"),
        ("BUY", "PEG MKT", {"aux_price": "0.08"}, None),
        ("BUY", "REL", {}, None),
        ("BUY", "REL", {"aux_price": "0.05"}, "189.05"),
        ("BUY", "REL", {"aux_price": "0.07"}, "189.07"),
        ("SELL", "REL", {"aux_price": "0.07"}, "189.03"),
        ("SELL", "REL", {"aux_price": "0.02"}, None),
        ("BUY", "REL", {"aux_price": "0.07", "limit_price": "189.06"}, "189.06"),
        ("BUY", "REL", {"aux_price": "5"}, "189.1"),
    ],
)
def test_the_price_of_a_pegged_order(action: str, kind: str, terms: dict[str, Any], price: str | None) -> None:
    desk = quoted()
    assert desk.place(order(1, action, 10, kind, **terms)) == accepted(1)
    fills = [line for line in desk.wait(0.25) if line.startswith("fill")]
    assert fills == ([] if price is None else [f"fill 1 10@{price}"])


def test_a_pegged_order_follows_the_quote_and_stops_at_its_cap() -> None:
    desk = quoted()
    desk.place(order(1, "BUY", 10, "MIDPRICE", limit_price="188"))
    assert desk.wait() == []
    desk.price("187.90", "188.10")
    assert desk.wait()[0] == "fill 1 10@188"


def test_a_pegged_order_takes_at_most_what_is_shown() -> None:
    desk = quoted()
    desk.account.cash = Decimal(10**7)
    desk.place(order(1, "BUY", 3000, "MIDPRICE"))
    desk.wait(0.25)
    placed = desk.brokerage.find_order(1, 1)
    assert placed is not None
    assert 0 < placed.filled < 3000


@pytest.mark.parametrize(
    ("kind", "contract", "code"),
    [("REL", EURO, 114), ("MIDPRICE", EURO, 387), ("PEG BEST", Contract(0, "AAPL"), 387), ("PEG STK", EURO, 387)],
)
def test_what_cannot_be_pegged_is_refused(kind: str, contract: Contract, code: int) -> None:
    assert quoted().place(order(1, "BUY", 20_000, kind, contract=contract)) == [f"error 1 {code}"]


def test_a_market_order_for_the_opening_trades_at_the_first_price() -> None:
    desk = Desk(hours="exchange", now=SUNDAY_NIGHT)
    assert desk.place(order(1, quantity=20, time_in_force="OPG"))[:4] == waiting(1)
    desk.until(MONDAY_OPENING.replace(minute=29, second=59))
    desk.price("190.00", "190.10", "190.04")
    assert desk.until(MONDAY_OPENING)[:3] == [
        "opened 1 Submitted",
        "status 1 Submitted 0",
        "fill 1 20@190.04",
    ]


@pytest.mark.parametrize(("limit", "status"), [("190.04", "Filled"), ("190.03", "Cancelled")])
def test_a_limit_order_for_the_opening_trades_there_or_never(limit: str, status: str) -> None:
    desk = Desk(hours="exchange", now=SUNDAY_NIGHT)
    desk.price("190.00", "190.10", "190.04")
    desk.place(order(1, order_type="LMT", limit_price=limit, time_in_force="OPG"))
    desk.until(MONDAY_OPENING.replace(second=1))
    done = desk.brokerage.find_order(1, 1)
    assert done is not None
    assert done.status.value == status


def test_an_order_for_the_opening_that_comes_after_it_waits_for_the_next() -> None:
    desk = Desk(hours="exchange", now=MONDAY_MORNING)
    assert desk.place(order(1, time_in_force="OPG"))[:4] == waiting(1)
    assert "fill" not in " ".join(desk.until(MONDAY_OPENING.replace(day=24, minute=29)))
    assert "fill" in " ".join(desk.until(MONDAY_OPENING.replace(day=24)))


@pytest.mark.parametrize(
    "terms",
    [
        {"order_type": "STP", "aux_price": "180"},
        {"order_type": "MIDPRICE"},
        {"contract": EURO, "quantity": 20_000},
    ],
)
def test_what_has_no_opening_is_refused(terms: dict[str, Any]) -> None:
    assert quoted().place(order(1, time_in_force="OPG", **terms)) == ["error 1 111"]


@pytest.mark.asyncio
async def test_ib_insync_trades_at_the_middle(nothing_undecodable: None) -> None:
    async with running_server() as server, Client() as client:
        ib = await client.connect(server)
        server.brokerage.market.set_price("AAPL", server.floor.clock.utc(), bid=Decimal(189), ask=Decimal("189.01"))
        wanted = Order(action="BUY", totalQuantity=10, orderType="MIDPRICE")
        trade = ib.placeOrder(Stock("AAPL", "SMART", "USD"), wanted)
        await client.until(lambda: trade.orderStatus.status == "Submitted")
        server.floor.move(1)
        await client.until(lambda: trade.orderStatus.status == "Filled" and trade.fills)
        assert trade.fills[0].execution.price == 189.005
