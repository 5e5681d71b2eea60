"""check-config: what contradicts itself in partial targets, steps, strike stops, disaster stops and combinations."""

from __future__ import annotations

from pathlib import Path

import pytest

from position_manager.config.errors import ConfigError
from position_manager.config.loading import load

VERTICAL = "legs: [{con_id: 42, ratio: -1}, {con_id: 43, ratio: 1}]"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "defaults: {partial_targets: {levels: [{percent_of_premium: 40}]}}",
            "defaults.partial_targets.levels[0]: must have exactly one of close_percent, close_quantity; it has none",
        ),
        (
            "defaults: {partial_targets: {levels: [{close_percent: 50}]}}",
            "defaults.partial_targets.levels[0]: must have exactly one of percent_of_premium, price, underlying_price,",
        ),
        (
            "defaults: {partial_targets: {levels: [{percent_of_premium: 40, close_percent: 100}]}}",
            "defaults.partial_targets.levels[0].close_percent: must be less than 100; it is '100'",
        ),
        (
            "defaults: {partial_targets: {levels: []}}",
            "defaults.partial_targets.levels: tuple should have at least 1 item",
        ),
        (
            "defaults: {partial_targets: {levels: [{percent_of_premium: 40, close_percent: 50},"
            " {percent_of_premium: 40, close_percent: 50}]}}",
            "defaults.partial_targets: levels must be in the order of profit: each percent_of_premium more than",
        ),
        (
            "defaults: {partial_targets: {levels: [{price: 4, close_quantity: 1}, {price: 5, close_quantity: 1},"
            " {price: 3, close_quantity: 1}]}}",
            "defaults.partial_targets: levels must be in the order of profit: their prices must all rise, or all fall",
        ),
        (
            "defaults: {target: {percent_of_premium: 40},"
            " partial_targets: {levels: [{percent_of_premium: 40, close_percent: 50}]}}",
            "defaults.partial_targets.levels[0].percent_of_premium: must be less than the target's (40)",
        ),
        (
            "positions: [{match: {symbol: A, side: long}, target: {price: 4},"
            " partial_targets: {levels: [{price: 5, close_quantity: 1}]}}]",
            "positions[0].partial_targets.levels[0].price: must be below the target's price (4)",
        ),
        (
            "positions: [{match: {symbol: A, side: short}, stop: {price: 4},"
            " partial_targets: {levels: [{price: 5, close_quantity: 1}]}}]",
            "positions[0].partial_targets.levels[0].price: must be below the stop's price (4) for a short position",
        ),
        (
            "positions: [{match: {symbol: A, side: short},"
            " partial_targets: {levels: [{percent_of_premium: 100, close_quantity: 1}]}}]",
            "positions[0].partial_targets.levels[0].percent_of_premium: must be less than 100 for a short position",
        ),
        (
            "defaults: {target: {percent_of_premium: 40, steps: [{from_dte: 1, price: 4}]}}",
            "defaults.target: must have exactly one of percent_of_premium, price, underlying_price, profit_amount,",
        ),
        (
            "defaults: {target: {steps: [{from_dte: 1, from_days_held: 1, price: 4}]}}",
            "defaults.target.steps[0]: must have exactly one of from_dte, from_days_held",
        ),
        (
            "defaults: {target: {steps: [{from_dte: 21, price: 4}, {from_dte: 45, price: 3}]}}",
            "defaults.target: steps must be in the order of time: each from_dte less than the one before",
        ),
        (
            "defaults: {target: {steps: [{from_days_held: 9, price: 4}, {from_days_held: 9, price: 3}]}}",
            "defaults.target: steps must be in the order of time: each from_days_held more than the one before",
        ),
        (
            "defaults: {target: {steps: [{from_days_held: 9, price: 4}, {from_dte: 9, price: 3}]}}",
            "defaults.target: steps must all have from_dte, or all from_days_held",
        ),
        (
            "positions: [{match: {symbol: A, side: long}, stop: {price: 4},"
            " target: {steps: [{from_dte: 9, price: 3}]}}]",
            "positions[0].target.steps[0].price: must be above the stop's price (4) for a long position",
        ),
        (
            "defaults: {strike_stop: {touched: true, in_the_money_amount: 2}}",
            "defaults.strike_stop: must have exactly one of touched, out_of_the_money_amount, out_of_the_money_percent",
        ),
        ("defaults: {strike_stop: {touched: false}}", "defaults.strike_stop.touched: must be True"),
        (
            "positions: [{match: {symbol: A, side: long}, strike_stop: {touched: true}}]",
            "positions[0].strike_stop: is for short options, and there is none here",
        ),
        (
            "positions: [{match: {symbol: A, kind: STK}, strike_stop: {touched: true}}]",
            "positions[0].strike_stop: is for short options, and there is none here",
        ),
        (
            "groups: {g: {legs: [{con_id: 1, ratio: 1}, {con_id: 2, ratio: 1}], strike_stop: {touched: true}}}",
            "groups.g.strike_stop: is for short options, and there is none here",
        ),
        (
            "groups: {g: {legs: [{con_id: 1, ratio: 1}], close: combo}}",
            "groups.g.close: combo needs 2 to 4 legs; there are 1",
        ),
        (
            "groups: {g: {legs: [{symbol: A, kind: STK, ratio: 100}, {con_id: 2, ratio: -1}], close: combo}}",
            "groups.g.close: combo is for groups of options only",
        ),
        (
            "groups: {g: {legs: [{con_id: 1, ratio: 1}, {con_id: 2, ratio: -1}], combo_seconds: 30}}",
            "groups.g.combo_seconds: goes with close: combo",
        ),
        (
            "groups: {g: {legs: [{con_id: 1, ratio: 1}, {con_id: 2, ratio: -1}], close: combo, combo_seconds: 5}}",
            "groups.g.combo_seconds: must be greater than or equal to 10; it is '5'",
        ),
        (
            "groups: {g: {legs: [{con_id: 1, ratio: 1}, {con_id: 2, ratio: -1}], close: bag}}",
            "groups.g.close: must be 'legs' or 'combo'; it is 'bag'",
        ),
        (
            "disaster_stop: {percent_of_premium: 200, short_legs_percent: 300}",
            "disaster_stop.short_legs_percent: is for groups with short legs, and there is none",
        ),
    ],
)
def test_every_contradiction_is_named(tmp_path: Path, text: str, fault: str) -> None:
    file = tmp_path / "pm.yml"
    file.write_text(f"mode: sim\n{text}\n")
    with pytest.raises(ConfigError) as caught:
        load(file)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{file}:2: {fault}"), line


@pytest.mark.parametrize(
    "text",
    [
        "partial_targets: {levels: [{percent_of_premium: 30, close_percent: 50}, {price: 9, close_quantity: 1}]}",
        'partial_targets: "off"',
        "target: {steps: [{from_days_held: 0, percent_of_premium: 50}, {from_days_held: 9, profit_amount: 9}]}",
        "strike_stop: {out_of_the_money_percent: 1}",
        'strike_stop: "off"',
    ],
)
def test_what_is_right_is_taken(tmp_path: Path, text: str) -> None:
    file = tmp_path / "pm.yml"
    file.write_text(f"mode: sim\ndefaults: {{{text}}}\ngroups: {{g: {{{VERTICAL}, strike_stop: {{touched: true}}}}}}\n")
    load(file)
