"""What becomes of orders: each type to its end, brackets, OCA groups, changes, cancels, and the codes of refusals."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from simulator.tests.trading_desk import AAPL, ACCOUNT, Desk, accepted, order, reported, waiting

from gateway_simulator.trading import events
from gateway_simulator.trading.model import Contract, ContractQuery, ExecutionFilter, Halted, OrderStatus

BOUGHT = ["fill 1 10@189.1", "opened 1 Filled", "status 1 Filled 10", "commission 1 1", "position AAPL 110", "account"]


def test_a_market_order_is_acknowledged_and_fills_at_the_far_side_after_the_latency() -> None:
    desk = Desk()
    assert desk.place(order(1)) == accepted(1)
    assert desk.wait(0.049) == []
    assert desk.wait(0.001) == BOUGHT
    (execution,) = desk.brokerage.find_executions(ExecutionFilter(), desk.now)
    assert (execution.side, execution.time, execution.exchange) == ("BOT", desk.now, "NASDAQ")
    assert execution.contract.exchange == "NASDAQ"
    assert desk.account.cash == Decimal(100_000) - Decimal("1891") - 1
    assert desk.brokerage.orders == []
    assert [each.status for each in desk.brokerage.completed_orders] == [OrderStatus.FILLED]


def test_without_latency_the_answer_holds_the_fill() -> None:
    desk = Desk(latency=timedelta(0))
    assert desk.place(order(1)) == [*accepted(1), *BOUGHT]


def test_a_limit_order_rests_until_the_far_side_reaches_it() -> None:
    desk = Desk()
    desk.place(order(1, order_type="LMT", limit_price="188.50"))
    assert desk.wait(5) == []
    desk.price("188.40", "188.51")
    assert desk.wait() == []
    desk.price("188.39", "188.49")
    assert desk.wait() == ["fill 1 10@188.49", *BOUGHT[1:]]


def test_a_large_order_takes_what_is_shown_at_each_step_and_pays_more_each_time() -> None:
    desk = Desk()
    desk.account.cash = Decimal(10_000_000)
    desk.place(order(1, quantity=5000))
    fills = [line for line in desk.wait(5) if line.startswith("fill")]
    assert sum(int(line.split()[2].split("@")[0]) for line in fills) == 5000
    assert [line.split("@")[1] for line in fills[:3]] == ["189.1", "189.11", "189.12"]
    done = desk.brokerage.find_order(1, 1)
    assert done is not None
    assert len(desk.brokerage.executions) > 2
    paid = sum((each.shares * each.price for each in desk.brokerage.executions), Decimal(0))
    assert done.average_fill_price == (paid / 5000).quantize(Decimal("1e-10"))
    assert sum((each.commission for each in desk.brokerage.executions), Decimal(0)) == 25


def test_what_one_order_takes_the_next_does_not_get_and_the_better_limit_comes_first() -> None:
    desk = Desk()
    desk.account.cash = Decimal(10_000_000)
    desk.place(
        order(1, quantity=5000, order_type="LMT", limit_price="188"),
        order(2, quantity=5000, order_type="LMT", limit_price="188.5"),
    )
    desk.wait()
    desk.price("187", "187.5")
    shown = desk.brokerage.market.quote(AAPL, desk.now).ask_size
    assert 0 < shown < 5000
    happened = reported(desk.brokerage.advance(desk.now))
    assert [line for line in happened if line.startswith("fill")] == [f"fill 2 {shown}@187.5"]
    assert reported(desk.brokerage.advance(desk.now)) == []


@pytest.mark.parametrize(
    ("terms", "reached", "price"),
    [
        ({"action": "SELL", "order_type": "STP", "aux_price": "185"}, ("184.90", "185.10", "185.00"), "184.9"),
        ({"action": "BUY", "order_type": "STP", "aux_price": "195"}, ("194.90", "195.10", "195.00"), "195.1"),
        ({"action": "BUY", "order_type": "MIT", "aux_price": "185"}, ("184.90", "185.10", "185.00"), "185.1"),
        ({"action": "SELL", "order_type": "MIT", "aux_price": "195"}, ("194.90", "195.10", "195.00"), "194.9"),
        (
            {"action": "SELL", "order_type": "STP LMT", "aux_price": "185", "limit_price": "184.5"},
            ("184.90", "185.10", "185.00"),
            "184.9",
        ),
        (
            {"action": "BUY", "order_type": "LIT", "aux_price": "185", "limit_price": "185.2"},
            ("184.90", "185.10", "185.00"),
            "185.1",
        ),
    ],
)
def test_a_triggered_order_waits_for_its_price(
    terms: dict[str, Any], reached: tuple[str, str, str], price: str
) -> None:
    desk = Desk()
    assert desk.place(order(1, **terms)) == waiting(1, "trigger")
    assert desk.wait() == []
    bid, ask, last = reached
    desk.price(bid, ask, last)
    happened = desk.wait()
    assert happened[:2] == ["opened 1 Submitted", "status 1 Submitted 0"]
    assert happened[2:5] == [f"fill 1 10@{price}", "opened 1 Filled", "status 1 Filled 10"]


def test_a_stop_limit_that_the_market_jumped_over_rests_at_its_limit() -> None:
    desk = Desk()
    desk.place(order(1, "SELL", order_type="STP LMT", aux_price="185", limit_price="184.5"))
    desk.wait()
    desk.price("180", "180.1")
    assert desk.wait() == ["opened 1 Submitted", "status 1 Submitted 0"]
    desk.price("184.5", "184.6")
    assert desk.wait()[0] == "fill 1 10@184.5"


def test_a_trailing_stop_follows_the_price_up_and_never_down() -> None:
    desk = Desk()
    desk.place(order(1, "SELL", order_type="TRAIL", trailing_percent="10", trail_stop_price="170"))
    desk.price("200", "200.1")
    desk.wait()
    assert desk.brokerage.orders[0].trail_stop_price == Decimal(180)
    desk.price("181", "181.1")
    assert desk.wait() == []
    assert desk.brokerage.orders[0].trail_stop_price == Decimal(180)
    desk.price("179.9", "180", "179.95")
    assert "fill 1 10@179.9" in desk.wait()


def test_a_trailing_limit_keeps_its_limit_off_its_stop() -> None:
    desk = Desk()
    desk.place(order(1, "BUY", order_type="TRAIL LIMIT", aux_price="5", limit_price_offset="0.5"))
    desk.price("180", "180.1")
    desk.wait()
    (held,) = desk.brokerage.orders
    assert (held.trail_stop_price, held.limit_price) == (Decimal(185), Decimal("185.5"))
    desk.price("186", "186.1")
    assert desk.wait() == ["opened 1 Submitted", "status 1 Submitted 0"]
    desk.price("185", "185.4")
    assert desk.wait()[0] == "fill 1 10@185.4"


def test_an_options_stop_needs_the_quote_twice_in_a_row() -> None:
    desk = Desk()
    option = desk.option()
    name = str(option.contract.con_id)
    desk.price("4.00", "4.20", name=name)
    desk.hold(option, 1, "400")
    stop = order(1, "SELL", 1, "STP", aux_price="3.00", contract=option.contract)
    desk.place(stop)
    desk.wait()
    desk.price("2.50", "2.90", name=name)
    assert desk.wait(0.1) == []
    assert "fill 1 1@2.5" in desk.wait(0.2)


@pytest.mark.parametrize(
    ("order_type", "last", "ending"),
    [
        ("MOC", "191", ["fill 1 10@191", "opened 1 Filled", "status 1 Filled 10"]),
        ("LOC", "189.5", ["fill 1 10@189.5", "opened 1 Filled", "status 1 Filled 10"]),
        ("LOC", "191", ["status 1 Cancelled 0", "error 1 202"]),
    ],
)
def test_orders_for_the_close_trade_at_its_price_or_end(order_type: str, last: str, ending: list[str]) -> None:
    desk = Desk("exchange")
    limit = "190" if order_type == "LOC" else None
    assert desk.place(order(1, order_type=order_type, limit_price=limit)) == accepted(1)
    desk.price("189.4", "191.1", last)
    close = datetime(2026, 11, 23, 21, 0, tzinfo=UTC)
    assert desk.until(close - timedelta(seconds=1)) == []
    assert desk.until(close)[: len(ending)] == ending


def test_immediate_or_cancel_takes_what_there_is_and_fill_or_kill_nothing_less_than_all() -> None:
    desk = Desk()
    desk.account.cash = Decimal(10_000_000)
    desk.place(order(1, quantity=5000, time_in_force="IOC"))
    happened = desk.wait()
    shown = desk.brokerage.executions[0].shares
    assert 0 < shown < 5000
    assert happened[0] == f"fill 1 {shown}@189.1"
    assert happened[-2:] == [f"status 1 Cancelled {shown}", "error 1 202"]
    desk.place(order(2, quantity=5000, time_in_force="FOK"))
    assert desk.wait() == ["opened 2 Inactive", "status 2 Inactive 0"]
    desk.place(order(3, order_type="LMT", limit_price="180", time_in_force="IOC"))
    assert desk.wait() == ["status 3 PendingCancel 0", "status 3 Cancelled 0", "error 3 202"]


def test_a_day_order_ends_with_the_day_and_the_day_is_forgotten_at_midnight() -> None:
    desk = Desk()
    desk.place(order(1), order(2, order_type="LMT", limit_price="100"))
    desk.place(order(3, order_type="LMT", limit_price="100", time_in_force="GTC"))
    desk.wait()
    assert len(desk.brokerage.executions) == len(desk.brokerage.completed_orders) == 1
    midnight = datetime(2026, 11, 24, 5, 0, tzinfo=UTC)
    assert desk.brokerage.next_due(desk.now) == midnight
    assert desk.until(midnight) == ["status 2 Cancelled 0", "error 2 202", "account"]
    assert (desk.brokerage.executions, desk.brokerage.completed_orders) == ([], [])
    assert [each.order_id for each in desk.brokerage.orders] == [3]
    assert desk.brokerage.pnl(ACCOUNT, desk.now)[0] == 0
    assert desk.place(order(2))[0] == "error 2 103"


@pytest.mark.parametrize("till", ["20261123 10:00:30 US/Eastern", "20261123-15:00:30"])
def test_good_till_date_ends_at_its_moment(till: str) -> None:
    desk = Desk()
    desk.place(order(1, order_type="LMT", limit_price="100", time_in_force="GTD", good_till_date=till))
    assert desk.wait(29.9) == []
    assert desk.wait(0.1) == ["status 1 Cancelled 0", "error 1 202"]


def test_good_after_time_holds_an_order_back() -> None:
    desk = Desk()
    assert desk.place(order(1, good_after_time="20261123-15:01:00"))[0] == "opened 1 PreSubmitted"
    assert desk.wait(59) == []
    assert desk.wait(1)[:3] == ["opened 1 Submitted", "status 1 Submitted 0", "fill 1 10@189.1"]


def test_a_closed_market_holds_the_order_and_reports_until_when() -> None:
    evening = datetime(2026, 11, 23, 22, 0, tzinfo=UTC)
    desk = Desk("exchange", evening)
    happened = desk.brokerage.place(1, order(1), desk.now)
    assert reported(happened) == [*waiting(1), "error 1 399"]
    warning = happened[-1]
    assert isinstance(warning, events.OrderError)
    assert "BUY 10 AAPL" in warning.text
    assert "2026-11-24 09:30:00 US/Eastern" in warning.text
    opening = datetime(2026, 11, 24, 14, 30, tzinfo=UTC)
    desk.until(opening - timedelta(seconds=1))
    assert [each.status for each in desk.brokerage.orders] == [OrderStatus.PRE_SUBMITTED]
    assert desk.until(opening) == ["opened 1 Submitted", "status 1 Submitted 0", *BOUGHT]


def test_outside_regular_hours_an_order_trades_if_it_may() -> None:
    desk = Desk("exchange", datetime(2026, 11, 23, 22, 0, tzinfo=UTC))
    assert desk.place(order(1, outside_rth=True)) == accepted(1)
    assert desk.wait() == BOUGHT


def test_a_halt_fills_nothing() -> None:
    desk = Desk()
    desk.brokerage.market.halt("AAPL", Halted.VOLATILITY)
    desk.place(order(1))
    assert desk.wait() == []
    desk.brokerage.market.resume("AAPL")
    assert desk.wait() == BOUGHT


# Brackets and OCA groups.


def bracket(desk: Desk, entry: str = "188") -> list[str]:
    return desk.place(
        order(1, order_type="LMT", limit_price=entry, transmit=False),
        order(2, "SELL", order_type="LMT", limit_price="195", parent_id=1, transmit=False),
        order(3, "SELL", order_type="STP", aux_price="180", parent_id=1),
    )


def test_a_bracket_is_handed_in_with_its_last_order() -> None:
    desk = Desk()
    parent = order(1, order_type="LMT", limit_price="188", transmit=False)
    assert desk.place(parent) == []
    assert desk.brokerage.orders == []
    assert desk.place(order(2, "SELL", order_type="STP", aux_price="180", parent_id=1)) == [
        *accepted(1),
        *waiting(2, "child"),
    ]


def test_the_entry_of_a_bracket_sets_its_children_to_work_and_one_ends_the_other() -> None:
    desk = Desk()
    bracket(desk)
    entry, profit, loss = desk.brokerage.orders
    assert profit.oca_group == loss.oca_group == str(entry.perm_id)
    assert profit.parent_perm_id == entry.perm_id
    desk.price("187", "187.9")
    assert desk.wait() == [
        "fill 1 10@187.9",
        *BOUGHT[1:],
        "opened 2 Submitted",
        "status 2 Submitted 0",
        "opened 3 PreSubmitted trigger",
        "status 3 PreSubmitted 0 trigger",
    ]
    desk.price("179", "179.5")
    happened = desk.wait()
    assert happened[2:5] == ["fill 3 10@179", "opened 3 Filled", "status 3 Filled 10"]
    assert happened[-2:] == ["status 2 Cancelled 0", "error 2 202"]
    assert desk.held() == 100


def test_a_cancelled_parent_takes_its_children_with_it() -> None:
    desk = Desk()
    bracket(desk)
    assert desk.cancel(1) == [
        "status 1 PendingCancel 0",
        "status 1 Cancelled 0",
        "error 1 202",
        "status 2 Cancelled 0",
        "error 2 202",
        "status 3 Cancelled 0",
        "error 3 202",
    ]
    assert desk.brokerage.orders == []


def test_a_rejected_parent_takes_its_children_with_it() -> None:
    desk = Desk()
    happened = desk.place(
        order(1, quantity=100_000, transmit=False),
        order(2, "SELL", 100_000, "STP", aux_price="180", parent_id=1),
    )
    assert happened == ["error 1 201", "status 1 Inactive 0", "status 2 Cancelled 0", "error 2 202"]


def oca(order_id: int, limit: str, oca_type: int, quantity: int = 100) -> Any:
    return order(order_id, "SELL", quantity, "LMT", limit_price=limit, oca_group="exit", oca_type=oca_type)


def test_type_1_cancels_the_others_at_the_first_fill() -> None:
    desk = Desk()
    desk.place(oca(1, "195", 1), oca(2, "200", 1), oca(3, "201", 1), client_id=1)
    desk.price("205", "205.1")
    happened = desk.wait()
    assert [line for line in happened if line.startswith("fill")] == ["fill 1 100@205"]
    assert [each.order_id for each in desk.brokerage.completed_orders] == [1, 2, 3]
    assert desk.held() == 0


def test_type_1_cancels_the_others_at_a_partial_fill_too() -> None:
    desk = Desk()
    desk.account.cash = Decimal(10_000_000)
    desk.place(oca(1, "195", 1, 2000), oca(2, "210", 1, 2000))
    desk.price("205", "205.1")
    happened = desk.wait(0.1)
    assert [line.split("@")[0][:6] for line in happened if "fill" in line] == ["fill 1"]
    assert happened[-2:] == ["status 2 Cancelled 0", "error 2 202"]
    assert [each.order_id for each in desk.brokerage.orders] == [1]


@pytest.mark.parametrize("oca_type", [2, 3])
def test_types_2_and_3_reduce_the_others_by_the_share_that_was_filled(oca_type: int) -> None:
    desk = Desk()
    desk.account.cash = Decimal(10_000_000)
    desk.place(oca(1, "195", oca_type, 2000), oca(2, "210", oca_type, 1000))
    desk.price("205", "205.1")
    shown = desk.brokerage.market.quote(AAPL, desk.now).bid_size
    assert 0 < shown < 2000
    happened = reported(desk.brokerage.advance(desk.now + timedelta(milliseconds=100)))
    assert happened[0] == f"fill 1 {shown}@205"
    assert happened[-2:] == ["opened 2 Submitted", "status 2 Submitted 0"]
    other = desk.brokerage.find_order(1, 2)
    assert other is not None
    assert other.quantity == 1000 - shown / 2


def test_no_order_joins_a_group_that_was_filled() -> None:
    desk = Desk()
    desk.place(oca(1, "180", 1))
    desk.wait()
    assert desk.held() == 0
    assert desk.place(oca(2, "180", 1, 50)) == ["error 2 201", "status 2 Inactive 0"]


# Changes and cancels.


def test_a_change_keeps_the_permanent_id_and_takes_effect_after_the_latency() -> None:
    desk = Desk()
    desk.place(order(1, order_type="LMT", limit_price="180"))
    desk.wait()
    before = desk.brokerage.orders[0]
    assert desk.place(order(1, quantity=20, order_type="LMT", limit_price="190")) == [
        "opened 1 Submitted",
        "status 1 Submitted 0",
    ]
    assert desk.brokerage.orders[0].perm_id == before.perm_id
    assert desk.wait(0.049) == []
    assert desk.wait(0.001)[:3] == ["fill 1 20@189.1", "opened 1 Filled", "status 1 Filled 20"]


def test_a_change_to_what_is_filled_ends_the_order_and_one_below_it_is_refused() -> None:
    desk = Desk()
    desk.account.cash = Decimal(10_000_000)
    desk.place(order(1, quantity=5000, order_type="LMT", limit_price="189.1"))
    desk.wait(0.1)
    filled = int(desk.brokerage.executions[0].shares)
    assert desk.place(order(1, quantity=filled - 100, order_type="LMT", limit_price="189.1")) == ["error 1 134"]
    assert len(desk.brokerage.orders) == 1
    assert desk.place(order(1, quantity=filled, order_type="LMT", limit_price="189.1")) == [
        f"status 1 Filled {filled}",
    ]


@pytest.mark.parametrize("change", [{"action": "SELL"}, {"contract": Contract(272093, "MSFT")}, {"parent_id": 7}])
def test_a_change_into_another_order_is_refused(change: dict[str, Any]) -> None:
    desk = Desk()
    desk.place(order(1, order_type="LMT", limit_price="180"))
    assert desk.place(order(1, **{"order_type": "LMT", "limit_price": "181", **change})) == ["error 1 105"]
    assert desk.brokerage.orders[0].limit_price == 180


def test_ids_belong_to_a_client_and_are_used_once() -> None:
    desk = Desk()
    desk.place(order(7))
    desk.wait()
    assert desk.place(order(7)) == ["error 7 104"]
    assert desk.place(order(6)) == ["error 6 103"]
    assert desk.place(order(6), client_id=2) == accepted(6)
    assert [desk.brokerage.next_order_id(client_id) for client_id in (1, 2, 3)] == [8, 7, 1]


def test_an_id_of_a_refused_order_may_be_used_again() -> None:
    desk = Desk()
    assert desk.place(order(1, order_type="LMT", limit_price="180.001")) == ["error 1 110"]
    assert desk.place(order(1, order_type="LMT", limit_price="180.01")) == accepted(1)


def test_cancels_are_answered_by_what_the_order_is() -> None:
    desk = Desk()
    desk.place(order(1), order(2, quantity=100_000), order(3, order_type="LMT", limit_price="180"))
    desk.wait()
    assert desk.cancel(1) == ["error 1 10148"]
    assert desk.cancel(2) == ["error 2 161"]
    assert desk.cancel(3, client_id=2) == ["error 3 10147"]
    assert desk.cancel(3) == ["status 3 PendingCancel 0", "status 3 Cancelled 0", "error 3 202"]
    assert desk.cancel(3) == ["error 3 10148"]


def test_an_order_may_fill_while_its_cancel_is_on_its_way() -> None:
    desk = Desk(cancel_latency=timedelta(seconds=2))
    desk.place(*(order(number, order_type="LMT", limit_price="180") for number in (1, 2, 3)))
    desk.wait()
    assert desk.cancel(1) == ["status 1 PendingCancel 0"]
    assert desk.cancel(1) == ["error 1 10148"]
    desk.wait()
    assert desk.cancel(2) == ["status 2 PendingCancel 0"]
    assert desk.wait(0.9) == []
    assert desk.wait(0.2) == ["status 1 Cancelled 0", "error 1 202"]
    desk.price("179.50", "179.90")
    reported = [line for line in desk.wait(0.5) if line.startswith(("fill", "status", "error"))]
    assert reported == [
        "fill 2 10@179.9",
        "status 2 Filled 10",
        "fill 3 10@179.9",
        "status 3 Filled 10",
    ]
    assert desk.wait(5) == []
    assert desk.cancel(2) == ["error 2 10148"]


def test_what_is_filled_in_part_while_its_cancel_is_on_its_way_ends_with_that_part() -> None:
    desk = Desk(cancel_latency=timedelta(seconds=0.3))
    desk.place(order(1, quantity=1000, order_type="LMT", limit_price="180"))
    desk.wait()
    desk.cancel(1)
    desk.price("179.50", "179.90")
    happened = [line for line in desk.wait(3) if line.startswith("status")]
    assert happened[-1].startswith("status 1 Cancelled ")
    assert all(line.startswith("status 1 PendingCancel ") for line in happened[:-1])
    assert 0 < int(happened[-1].split()[-1]) < 1000
    assert desk.held() == 100 + int(happened[-1].split()[-1])


def test_a_global_cancel_ends_the_orders_of_every_client() -> None:
    desk = Desk()
    desk.place(order(1, order_type="LMT", limit_price="180"), client_id=1)
    desk.place(order(5, order_type="LMT", limit_price="180"), client_id=2)
    happened = reported(desk.brokerage.global_cancel(1, desk.now))
    assert [line for line in happened if "Cancelled" in line] == ["status 1 Cancelled 0", "status 5 Cancelled 0"]
    assert desk.brokerage.orders == []


# Refusals.


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        ({"order_id": 0}, 321),
        ({"action": "HOLD"}, 321),
        ({"quantity": 0}, 434),
        ({"quantity": -1}, 321),
        ({"quantity": "NaN"}, 321),
        ({"quantity": "0.5"}, 388),
        ({"quantity": "1.5"}, 10243),
        ({"cash_quantity": Decimal(100)}, 10244),
        ({"order_type": "PEG BEST"}, 387),
        ({"order_type": "FEELINGS"}, 321),
        ({"order_type": "LMT"}, 321),
        ({"order_type": "LMT", "limit_price": "0"}, 321),
        ({"order_type": "LMT", "limit_price": "1e40"}, 321),
        ({"order_type": "PEG MID", "aux_price": "1e40"}, 321),
        ({"order_type": "LMT", "limit_price": "-1"}, 321),
        ({"order_type": "LMT", "limit_price": "1.001"}, 110),
        ({"order_type": "STP"}, 321),
        ({"order_type": "STP LMT", "aux_price": "180"}, 321),
        ({"order_type": "TRAIL"}, 321),
        ({"order_type": "TRAIL", "aux_price": "1", "trailing_percent": "1"}, 321),
        ({"order_type": "TRAIL", "trailing_percent": "100"}, 321),
        ({"order_type": "TRAIL LIMIT", "aux_price": "1"}, 321),
        ({"order_type": "STP", "aux_price": "180", "trigger_method": 5}, 321),
        ({"time_in_force": "FOREVER"}, 111),
        ({"order_type": "STP", "aux_price": "180", "time_in_force": "IOC"}, 111),
        ({"order_type": "MOC", "time_in_force": "GTC"}, 113),
        ({"time_in_force": "GTD", "good_till_date": "tomorrow"}, 337),
        ({"time_in_force": "GTD", "good_till_date": "20261123 15:59:00 Mars/Base"}, 337),
        ({"time_in_force": "GTD", "good_till_date": "20261122-10:00:00"}, 334),
        ({"good_after_time": "20261341 10:00:00"}, 337),
        ({"account": "DU9"}, 436),
        ({"parent_id": 77}, 135),
        ({"oca_group": "a", "oca_type": 4}, 321),
        ({"contract": Contract(0, "NOSUCH")}, 200),
        ({"contract": Contract(AAPL, "AAPL", exchange="")}, 321),
        ({"contract": Contract(0, "AAPL", sec_type="BAG")}, 321),
        ({"contract": Contract(0, "AAPL", sec_type="OPT", right="C", strike=Decimal(190))}, 200),
        ({"contract": Contract(0, "SPX", sec_type="IND", exchange="CBOE")}, 387),
    ],
)
def test_an_order_that_cannot_be_is_refused_and_leaves_no_trace(terms: dict[str, Any], code: int) -> None:
    desk = Desk()
    before = desk.brokerage.numbers.counters
    placed = order(**{"order_id": 1, **terms})
    assert desk.place(placed) == [f"error {placed.order_id} {code}"]
    assert desk.brokerage.orders == desk.brokerage.completed_orders == []
    assert desk.brokerage.numbers.counters == before
    assert desk.brokerage.next_order_id(1) == 1


def test_an_account_must_be_named_among_several() -> None:
    desk = Desk()
    desk.brokerage.add_account(type(desk.account)("DU2", cash=Decimal(5000)))
    assert desk.place(order(1)) == ["error 1 435"]
    assert desk.place(order(1, account="DU2")) == accepted(1)


def test_prices_that_the_type_does_not_have_are_not_checked() -> None:
    desk = Desk()
    assert desk.place(order(1, limit_price="0", aux_price="0.001")) == accepted(1)


def test_what_margin_does_not_cover_is_rejected_and_exists_as_inactive() -> None:
    desk = Desk()
    assert desk.place(order(1, quantity=100_000)) == ["error 1 201", "status 1 Inactive 0"]
    assert desk.brokerage.find_order(1, 1) is desk.brokerage.completed_orders[0]
    naked = desk.option("C", 190, "TSLA")
    assert desk.place(order(2, "SELL", 1000, contract=naked.contract))[0] == "error 2 201"
    assert desk.place(order(3, "SELL", 100)) == ["opened 3 Submitted", "status 3 Submitted 0"]


def test_a_position_can_be_closed_whatever_the_margin() -> None:
    desk = Desk()
    desk.account.cash = Decimal(-1_000_000)
    assert desk.place(order(1, "SELL", 100)) == ["opened 1 Submitted", "status 1 Submitted 0"]
    assert desk.place(order(2, "SELL", 101))[0] == "error 2 201"


def test_a_what_if_order_reports_its_impact_and_places_nothing() -> None:
    desk = Desk()
    (preview,) = desk.brokerage.place(1, order(1, quantity=100, what_if=True), desk.now)
    assert isinstance(preview, events.OrderPreviewed)
    impact = preview.impact
    mark = desk.brokerage.market.quote(AAPL, desk.now).mark
    assert mark is not None
    assert impact.initial_margin_change == 50 * mark
    assert impact.equity_with_loan_change == 100 * (mark - Decimal("189.10")) - 1
    assert impact.initial_margin_after == impact.initial_margin_before + impact.initial_margin_change
    assert impact.commission == 1
    assert desk.brokerage.orders == []
    assert desk.brokerage.next_order_id(1) == 1
    assert desk.account.cash == 100_000


# Expiry.


def expired(right: str, strike: int, quantity: int, price: str) -> tuple[Desk, list[str]]:
    """Create a desk that held options into their expiry with AAPL at a price; return it and what it reported then."""
    desk = Desk()
    option = desk.option(right, strike)
    desk.hold(option, quantity, "300")
    desk.price(price, price)
    moment = desk.brokerage.hours.expiry_moment(option)
    assert moment is not None
    desk.until(moment - timedelta(seconds=1))
    return desk, desk.until(moment)


@pytest.mark.parametrize(
    ("right", "strike", "quantity", "price", "shares"),
    [
        ("C", 190, 2, "200", 200),
        ("C", 190, -1, "200", -100),
        ("P", 190, 1, "180", -100),
        ("P", 190, -1, "180", 100),
        ("C", 190, 2, "190", 0),
        ("P", 190, -3, "190", 0),
    ],
)
def test_options_end_in_shares_or_worthless(right: str, strike: int, quantity: int, price: str, shares: int) -> None:
    desk, happened = expired(right, strike, quantity, price)
    assert desk.held() == 100 + shares
    assert desk.account.cash == 100_000 - shares * strike
    assert len(desk.account.positions) == (2 if 100 + shares else 1)
    positions = ["position AAPL 0", *([f"position AAPL {100 + shares}"] if shares else [])]
    assert happened == [*positions, "account"]
    assert desk.brokerage.executions == []


def test_an_index_option_is_paid_out() -> None:
    desk = Desk()
    option = desk.option("C", 6000, "SPX")
    desk.hold(option, 1, "5000")
    underlying = option.underlying
    assert underlying is not None
    desk.brokerage.market.set_price("SPX", desk.now, last=Decimal("6012.34"))
    moment = desk.brokerage.hours.expiry_moment(option)
    assert moment is not None
    desk.until(moment)
    assert desk.account.cash == 100_000 + Decimal("1234.00")


def test_orders_on_an_expired_contract_end_and_new_ones_are_rejected() -> None:
    desk = Desk()
    option = desk.option()
    desk.price("200", "200.1")
    resting = order(1, "BUY", 1, "LMT", limit_price="0.01", contract=option.contract, time_in_force="GTC")
    desk.place(resting)
    moment = desk.brokerage.hours.expiry_moment(option)
    assert moment is not None
    desk.until(moment - timedelta(seconds=1))
    assert desk.until(moment) == ["status 1 Cancelled 0", "error 1 202"]
    assert desk.place(order(2, "BUY", 1, contract=option.contract)) == ["error 2 201", "status 2 Inactive 0"]


def test_a_future_pays_its_gain_when_it_is_closed() -> None:
    desk = Desk()
    futures = desk.brokerage.catalog.find(ContractQuery(symbol="ES", sec_type="FUT"))
    future = min(futures, key=lambda each: each.contract.expiry)
    name = str(future.contract.con_id)
    desk.price("5999.75", "6000.00", name=name)
    desk.place(order(1, "BUY", 1, contract=future.contract))
    desk.wait()
    assert desk.account.cash == 100_000
    desk.price("6010.00", "6010.25", name=name)
    desk.place(order(2, "SELL", 1, contract=future.contract))
    desk.wait()
    assert desk.account.cash == 100_000 + 500 - Decimal("4.50")


# The whole.


def test_the_same_requests_give_the_same_journal_however_often_time_is_passed_on() -> None:
    journals = []
    for pause in (0.1, 1.0, 20.0):
        desk = Desk()
        bracket(desk, entry="188.95")
        desk.brokerage.market.release("AAPL", desk.now)
        desk.place(order(4, "SELL", 500, "TRAIL", aux_price="0.05", contract=Contract(272093, "MSFT")))
        end = desk.now + timedelta(seconds=20)
        while desk.now < end:
            desk.until(min(desk.now + timedelta(seconds=pause), end))
        journals.append(list(desk.brokerage.journal))
    assert len(journals[0]) > 10
    assert journals[0] == journals[1] == journals[2]


def test_every_line_of_the_journal_reaches_the_sink() -> None:
    desk = Desk()
    lines: list[str] = []
    desk.brokerage.on_line = lines.append
    desk.place(order(1))
    desk.wait()
    assert lines == list(desk.brokerage.journal)
    assert '"event":"OrderFilled"' in lines[4]
    assert '"time":"2026-11-23T15:00:00.050000+00:00"' in lines[4]


def test_a_cancel_that_is_held_stays_on_its_way_until_it_is_released() -> None:
    desk = Desk()
    desk.place(order(1, "SELL", 5, "LMT", limit_price="700"))
    desk.brokerage.hold_cancels(desk.now, held=True)
    assert desk.cancel(1) == ["status 1 PendingCancel 0"]
    assert desk.wait(4000) == []
    assert reported(desk.brokerage.hold_cancels(desk.now, held=False)) == ["status 1 Cancelled 0", "error 1 202"]
    desk.place(order(2, "SELL", 5, "LMT", limit_price="700"))
    assert "status 2 Cancelled 0" in desk.cancel(2)
