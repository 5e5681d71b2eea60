"""A position manager on the page, from the status that a real one reports."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.unit.position_manager import status_samples as samples

from dashboard import managers
from position_manager.orders.intents import Fill, Intent, Side, State
from position_manager.reports.status import Status
from position_manager.rules.evaluation import Distance, Rule

D = Decimal
NOW = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)


def reported(status: Status) -> dict[str, Any]:
    """As it comes over the socket."""
    document: dict[str, Any] = json.loads(status.to_json())
    return document


def test_every_unit_is_shown_with_numbers() -> None:
    found = managers.section("pm", reported(samples.READY))
    assert set(found["positions"]) == {unit.key for unit in samples.READY.units}
    put = found["positions"][samples.PUT.key]
    assert (put["entry"], put["price"], put["profit"], put["quantity"]) == (2.5, 2.8, -60.0, -2.0)
    assert put["rules"]["stop"] == {"text": "percent_of_premium 50", "origin": "defaults.stop"}
    assert put["legs"]["1"]["bid"] == 2.75


def test_a_release_that_reports_no_marks_still_has_the_nearest_ones() -> None:
    bar = managers.section("pm", reported(samples.READY))["positions"][samples.PUT.key]["bars"]["price"]
    assert (bar["now"], bar["entry"]) == (2.8, 2.5)
    assert {name: (mark["kind"], mark["level"]) for name, mark in bar["marks"].items()} == {
        "stop": ("stop", 3.75),
        "target": ("target", 0.5),
    }


def test_each_rule_is_a_mark_on_the_bar_of_what_it_evaluates() -> None:
    marks = (
        Distance(Rule.STOP, "bid", D(100), D(90), D(10), D(10)),
        Distance(Rule.TRAILING, "bid", D(100), D(97), D(3), D(3)),
        Distance(Rule.BREAKEVEN, "bid", D(100), D(95), D(5), D(5)),
        Distance(Rule.PARTIAL, "bid", D(100), D(110), D(10), D(10)),
        Distance(Rule.PARTIAL, "bid", D(100), D(120), D(20), D(20)),
        Distance(Rule.STRIKE, "the underlying", D(450), D(440), D(10), None),
    )
    status = replace(samples.READY, units=(replace(samples.STOCK, marks=marks),))
    bars = managers.section("pm", reported(status))["positions"][samples.STOCK.key]["bars"]
    assert {name: mark["kind"] for name, mark in bars["price"]["marks"].items()} == {
        "stop": "stop",
        "trailing": "trailing",
        "breakeven": "breakeven",
        "partial_targets": "target",
        "partial_targets 2": "target",
    }
    assert bars["the underlying"]["entry"] is None
    assert bars["the underlying"]["marks"]["strike_stop"]["percent"] is None


def test_a_bar_of_another_value_has_no_present_value_while_no_rule_is_evaluated() -> None:
    marks = (
        Distance(Rule.STOP, "bid", D(100), D(90), D(10), D(10)),
        Distance(Rule.BREAKEVEN, "bid", D(100), D(100), D(0), D(0)),
        Distance(Rule.STRIKE, "the underlying", D(450), D(440), D(10), None),
    )
    status = replace(samples.READY, units=(replace(samples.STOCK, marks=marks),))
    bars = managers.section("pm", reported(status))["positions"][samples.STOCK.key]["bars"]
    retained = managers.retained_bars(bars, 80.0)
    stop, breakeven = (retained["price"]["marks"][name] for name in ("stop", "breakeven"))
    assert (retained["price"]["now"], stop["level"], stop["distance"], stop["percent"]) == (80.0, 90.0, -10.0, -12.5)
    assert (breakeven["level"], breakeven["distance"]) == (100.0, None), "on which side it closes is not known"
    underlying = retained["the underlying"]
    assert (underlying["now"], underlying["marks"]["strike_stop"]["distance"]) == (None, None)
    assert underlying["marks"]["strike_stop"]["level"] == 440.0


def test_the_time_of_a_quote_does_not_change_while_the_quote_is_the_same() -> None:
    later = replace(
        samples.READY,
        time=samples.READY.time + timedelta(seconds=3),
        units=(replace(samples.PUT, legs=(replace(samples.PUT.legs[0], age=4.25),)),),
    )
    times = [
        managers.section("pm", reported(status))["positions"][samples.PUT.key]["legs"]["1"]["quoted_at"]
        for status in (samples.READY, later)
    ]
    assert times[0] == times[1]


def test_two_accounts_that_are_masked_alike_are_both_shown() -> None:
    status = replace(samples.READY, units=(samples.STOCK, samples.STOCK))
    keys = list(managers.section("pm", reported(status))["positions"])
    assert keys == [samples.STOCK.key, f"{samples.STOCK.key} #2"]


def test_a_currency_without_a_price_has_no_open_profit() -> None:
    assert managers.profit_today(reported(replace(samples.READY, units=(samples.PUT, samples.STOCK))))["open"] == {
        "USD": -1087.0
    }
    assert managers.profit_today(reported(replace(samples.READY, units=(samples.PUT, samples.CONDOR))))["open"] == {}


def intent(number: int, seconds: float, **changes: Any) -> Intent:
    given: dict[str, Any] = {
        "id": f"{number:026}",
        "account": "DU1234567",
        "con_id": 1,
        "side": Side.SELL,
        "quantity": D(10),
        "position": D(10),
        "rule": "stop",
        "oca_group": "g",
        "created": NOW + timedelta(seconds=seconds),
        "state": State.CANCELLED,
        "order_id": number,
        "limit": D(100) - number,
    }
    return Intent(**given | changes)


def test_the_ladder_has_the_orders_that_lead_to_the_present_one() -> None:
    newest = (
        intent(1, -3600),
        intent(2, 0),
        intent(3, 2, con_id=2),
        intent(4, 5),
        intent(5, 10, state=State.WORKING, fills=(Fill("x", D(4), D("95"), NOW),)),
        intent(6, 12, con_id=2),
    )
    assert [(rung["limit"], rung["state"], rung["filled"]) for rung in managers.ladder(newest, f"{5:026}")] == [
        (98.0, "CANCELLED", 0.0),
        (96.0, "CANCELLED", 0.0),
        (95.0, "WORKING", 4.0),
    ]


def test_the_ladder_of_a_second_close_starts_anew() -> None:
    filled = (Fill("x", D(10), D("96"), NOW),)
    newest = (intent(1, 0), intent(2, 5, state=State.FILLED, fills=filled), intent(3, 60), intent(4, 65))
    assert [rung["state"] for rung in managers.ladder(newest, f"{4:026}")] == ["CANCELLED", "CANCELLED"]


def test_a_manager_names_its_gateway() -> None:
    found = managers.section("pm", reported(replace(samples.READY, gateway="gateway-two")))
    assert found["gateway"] == "gateway-two"
    assert managers.section("pm", reported(samples.READY))["gateway"] is None


def test_an_order_is_shown_without_its_account() -> None:
    fills = (Fill("x", D(4), D(95), NOW), Fill("y", D(6), D(96), NOW))
    found = managers.order(intent(5, 0, state=State.FILLED, fills=fills, perm_id=9), "MSFT")
    assert (found["account"], found["average"], found["filled"], found["done"]) == ("DU*****67", 95.6, 10.0, True)
    assert managers.order(intent(0, 0, state=State.PLANNED, limit=D(0)), "MSFT")["limit"] is None
