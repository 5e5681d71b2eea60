"""The configuration file: what is taken, and every fault with its line."""

from __future__ import annotations

import json
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import position_manager
from position_manager.config.errors import ConfigError
from position_manager.config.loading import load, reload
from position_manager.config.schema import Config, Mode
from position_manager.rules.rule_set import RuleSet, Stop, TimeRule

EXAMPLE = Path(position_manager.__file__).with_name("example.yml")


def write(path: Path, text: str) -> Path:
    file = path / "pm.yml"
    file.write_text(text)
    return file


def faults(path: Path, text: str) -> list[str]:
    """The lines of the error, without the file's path."""
    file = write(path, text)
    with pytest.raises(ConfigError) as caught:
        load(file)
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"{file}:") for line in lines)
    return [line.removeprefix(f"{file}:") for line in lines]


def test_the_example_has_every_key() -> None:
    config = load(EXAMPLE)
    given_keys = config.model_dump(exclude_unset=True).keys()
    assert given_keys == Config.model_fields.keys() - {"sim"}  # it goes with mode sim only, see below
    assert config.mode is Mode.PAPER and config.port == 4002
    assert config.defaults.stop == Stop(percent_of_premium=Decimal(50))
    assert config.groups["SPY condor"].time == TimeRule(dte=21, at=time(15, 45))
    assert config.groups["SPY condor"].trailing == "off"
    time_rule = config.defaults.time
    assert isinstance(time_rule, TimeRule) and time_rule.before_close == timedelta(minutes=30)
    assert config.limits().spread.fraction == Decimal("0.2") and config.orders.ladder().steps == 4


def test_the_least_file(tmp_path: Path) -> None:
    config = load(write(tmp_path, "mode: sim\n"))
    assert (config.poll_seconds, config.quotes.confirmations, config.orders.outside_rth) == (Decimal(30), 2, False)


@pytest.mark.parametrize("expiry", ["20261218", '"20261218"', "2026-12-18"])
def test_an_expiry_may_have_the_broker_s_form(tmp_path: Path, expiry: str) -> None:
    rule = f"positions: [{{match: {{symbol: ON, expiry: {expiry}}}, time: {{date: {expiry}, at: 15:45}}}}]"
    (entry,) = load(write(tmp_path, f"mode: sim\n{rule}\n")).positions
    assert (entry.match.symbol, entry.match.expiry) == ("ON", date(2026, 12, 18))
    assert entry.time == TimeRule(date=date(2026, 12, 18), at=time(15, 45))


@pytest.mark.parametrize("at", ["15:45Z", "15:45-05:00", "15:45+00:00"])
def test_a_zone_at_a_time_is_refused(tmp_path: Path, at: str) -> None:
    (fault,) = faults(tmp_path, f'mode: sim\ndefaults:\n  time: {{at: "{at}"}}\n')
    assert fault.startswith("3: defaults.time.at: must be a time of day without a zone")
    assert "hours.timezone" in fault


@pytest.mark.parametrize(
    ("quotes", "taken"),
    [
        ("{confirm_within_seconds: 1}", False),
        ("{confirm_within_seconds: 2}", True),
        ("{confirm_within_seconds: 1, confirmations: 3}", True),
        ("{confirm_within_seconds: 1, confirmations: 1}", True),
        ("{confirm_within_seconds: 59, confirm_seconds: 60}", False),
    ],
)
def test_confirmations_that_could_never_follow_each_other_are_refused(tmp_path: Path, quotes: str, taken: bool) -> None:
    text = f"mode: sim\nquotes: {quotes}\n"
    if taken:
        load(write(tmp_path, text))
    else:
        (fault,) = faults(tmp_path, text)
        assert "confirm_within_seconds" in fault and "at least twice" in fault


def test_numbers_are_exact(tmp_path: Path) -> None:
    config = load(write(tmp_path, "mode: sim\ndefaults: {stop: {price: 0.1}}\n"))
    assert isinstance(config.defaults.stop, Stop) and config.defaults.stop.price == Decimal("0.1")


def test_every_fault_at_once(tmp_path: Path) -> None:
    text = """\
mode: live
mode: paper
pol_seconds: 3
accounts: [U7654321, nonsense]
poll_seconds: true
defaults:
  stop: {percent_of_premium: x, prize: 4}
  trailing: {activate_percent: 20, distance_percent: 30}
  target:
underlyings:
  SPY: {stop: {price: 1, loss_amount: 2}, time: {at: 1545, before_close: 15}}
positions:
  - match: {symbol: SPY, side: long}
    stop: {price: 5}
    target: {price: 4}
  - match: {symbol: SPY, side: long}
groups: {x: {legs: [{con_id: 5, ratio: 0}]}}
"""
    found = faults(tmp_path, text)
    assert [line.split(": ")[0] + " " + line.split(": ")[1] for line in found] == [
        "1 expected_accounts",
        "1 live_confirmed",
        "2 mode",
        "3 pol_seconds",
        "4 accounts[1]",
        "5 poll_seconds",
        "7 defaults.stop.percent_of_premium",
        "7 defaults.stop.prize",
        "8 defaults.trailing",
        "9 defaults.target",
        "11 underlyings.SPY.stop",
        "11 underlyings.SPY.time.at",
        "11 underlyings.SPY.time.before_close",
        "14 positions[0].stop.price",
        "16 positions[1].match",
        "17 groups.x.legs[0]",
    ]
    assert "did you mean poll_seconds?" in found[3]
    assert "7654321" not in "\n".join(found) and "nonsense" not in "\n".join(found)


ONE_FAULT = [
    ("mode: demo", "1: mode: must be 'sim', 'shadow', 'paper' or 'live'; it is 'demo'"),
    ("poll_seconds: 30", "1: mode: is missing and has no default"),
    ("mode: sim\ndefaults: {stopp: {price: 1}}", "did you mean stop? Allowed: stop, target, trailing, time, delta"),
    ("mode: sim\ndefaults: {stop: {}}", "2: defaults.stop: must have exactly one of percent_of_premium, price,"),
    ("mode: sim\ndefaults: {stop: on}", "2: defaults.stop: must be keys with values: percent_of_premium, price"),
    (
        "mode: sim\ndefaults: {stop: {loss_amount: -1}}",
        "2: defaults.stop.loss_amount: must be greater than 0; it is '-1'",
    ),
    ("mode: sim\ndefaults: {stop: {price: .nan}}", "2: defaults.stop.price: "),
    (
        "mode: sim\ndefaults: {stop: {underlying_price: 5}}",
        "defaults.stop.underlying_price: must be keys with values: below",
    ),
    ("mode: sim\ndefaults: {stop: {underlying_price: {below: 5, above: 5}}}", "below (5) must be less than above (5)"),
    ("mode: sim\ndefaults: {time: {dte: 1, date: 2026-12-01}}", "2: defaults.time: must have dte or date, not both"),
    ("mode: sim\ndefaults: {time: {before_close: '24:00'}}", 'more than "00:00" and less than "24:00"'),
    ("mode: sim\ndefaults: {delta: {above: 0.2, below: 0.3}}", "defaults.delta: below (0.3) must be less than above"),
    ("mode: sim\ndefaults: {stop: {price: 2}, target: {price: 2}}", "is the target's price too (2)"),
    (
        "mode: sim\ndefaults:\n  stop: {underlying_price: {below: 9}}\n  target: {underlying_price: {below: 8}}",
        "4: defaults.target.underlying_price: has below, as the stop has",
    ),
    (
        "mode: sim\ndefaults:\n  stop: {underlying_price: {below: 9}}\n  target: {underlying_price: {above: 8}}",
        "3: defaults.stop.underlying_price: overlaps the target's",
    ),
    (
        "mode: sim\npositions:\n- match: {con_id: 5, side: long}\n  stop: {percent_of_premium: 101}",
        "4: positions[0].stop: percent_of_premium must be at most 100 for a long position",
    ),
    (
        "mode: sim\npositions:\n- match: {con_id: 5, symbol: X}",
        "3: positions[0].match: must have exactly one of con_id",
    ),
    (
        "mode: sim\npositions:\n- match: {con_id: 5, right: P}",
        "3: positions[0].match: kind, expiry, strike and right go",
    ),
    (
        "mode: sim\ndefaults: {stop: {percent_of_premium: 200}}\ndisaster_stop: {percent_of_premium: 200}",
        "2: defaults.stop.percent_of_premium: must be less than that of disaster_stop (200)",
    ),
    ("mode: sim\naccount_stops: {ask_seconds: 5}", "2: account_stops: must have at least one of daily_loss, drawdown"),
    ("mode: sim\naccount_stops: {daily_loss: {action: close}}", "account_stops.daily_loss: must have exactly one of"),
    (
        "mode: sim\naccount_stops: {drawdown: {percent: 5, amount: 6, action: close}}",
        "2: account_stops.drawdown: must have exactly one of percent, amount",
    ),
    ("mode: sim\naccount_stops: {drawdown: {percent: 5}}", "2: account_stops.drawdown.action: is missing"),
    (
        "mode: sim\naccount_stops: {daily_loss: {percent: 100, action: halt}}",
        "2: account_stops.daily_loss.percent: must be less than 100; it is '100'",
    ),
    (
        "mode: sim\naccount_stops: {margin_cushion: {below_percent: 5, action: sell}}",
        "2: account_stops.margin_cushion.action: must be 'close', 'halt' or 'notify'; it is 'sell'",
    ),
    (
        "mode: sim\naccount_stops: {daily_loss: {amount: 5, action: halt}, ask_seconds: 40}",
        "2: account_stops: max_age_seconds (60) must be at least twice ask_seconds (40)",
    ),
    ("mode: sim\ncooldown: {action: close}", "2: cooldown.minutes: is missing"),
    ("mode: sim\ncooldown: {minutes: 0}", "2: cooldown.minutes: must be greater than 0; it is '0'"),
    ("mode: sim\ncooldown: {minutes: 5, action: halt}", "2: cooldown.action: must be 'notify' or 'close'"),
    (
        "mode: sim\nassignment_warnings: {dividends: {SPY: [{amount: 2}]}}",
        "2: assignment_warnings.dividends.SPY[0].ex_date: is missing",
    ),
    (
        "mode: sim\nassignment_warnings: {dividends: {SPX: [{ex_date: 2026-12-18}]}, european: [SPX]}",
        "2: assignment_warnings: must not have SPX in both",
    ),
    ("mode: sim\nassignment_warnings: {time_value: 1}", "did you mean time_value_below?"),
    ("mode: sim\nworthless_wings: {}", "2: worthless_wings: must have exactly one of ticks, percent_of_premium"),
    ("mode: sim\nworthless_wings: {ticks: 0}", "2: worthless_wings.ticks: must be greater than or equal to 1"),
    ("mode: sim\nworthless_wings: {percent_of_premium: 30}", "percent_of_premium: must be less than or equal to 25"),
    ("mode: live\nexpected_accounts: [U1234567]", "1: live_confirmed: must be true for mode live"),
    ("mode: live\nlive_confirmed: true", "1: expected_accounts: must name the accounts for mode live"),
    ("mode: paper\nlive_confirmed: true", "2: live_confirmed: goes with mode live only; the mode is paper"),
    ("mode: paper\naccounts: [U1234567]", "2: accounts[0]: U1****67 is no paper account, but the mode is paper"),
    ("mode: paper\naccounts: [DU1234567, DU1234567]", "2: accounts[1]: DU*****67 is listed twice"),
    ("mode: paper\naccounts: [DU1234567]\nexpected_accounts: [DU1234568]", "2: accounts[0]: DU*****67 is not among"),
    (
        "mode: sim\ngroups:\n  a: {legs: [{con_id: 5, ratio: 1}]}\n  b: {legs: [{con_id: 5, ratio: 1}]}",
        "4: groups.b.legs[0]: is the same contract as groups.a.legs[0]",
    ),
    ("mode: sim\ngroups:\n  a: {legs: []}", "3: groups.a.legs: "),
    ("mode: sim\nhours: {timezone: Mars/Base}", "2: hours.timezone: must be a time zone's name, such as"),
    ("mode: sim\nheartbeat: {url_file: url}", "2: heartbeat.url_file: must be a path that begins with /"),
    ("mode: sim\ngateway: {client_id: 0}", "2: gateway.client_id: must be greater than or equal to 1; it is '0'"),
    ("mode: sim\ndefaults: &a\n  stop: *a", "3: defaults.stop: refers to itself"),
    ("mode: [", "is not YAML: "),
    ("- a", "1: the whole file: must be keys with values, at least: mode"),
    ("", "1: the whole file: must be keys with values, at least: mode"),
]


@pytest.mark.parametrize(("text", "expected"), ONE_FAULT, ids=[expected[:40] for _, expected in ONE_FAULT])
def test_one_fault_is_one_line(tmp_path: Path, text: str, expected: str) -> None:
    found = faults(tmp_path, text)
    assert len(found) == 1 and expected in found[0], found


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(tmp_path / "none.yml")
    (tmp_path / "latin.yml").write_bytes(b"mode: sim # \xe9\n")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load(tmp_path / "latin.yml")


def test_live_with_all_that_it_needs(tmp_path: Path) -> None:
    config = load(write(tmp_path, "mode: live\nlive_confirmed: true\nexpected_accounts: [U1234567]\n"))
    assert config.port == 4001


def test_reload_takes_all_or_nothing(tmp_path: Path) -> None:
    old = load(write(tmp_path, "mode: sim\n"))
    new = reload(old, write(tmp_path, "mode: sim\npoll_seconds: 10\n"))
    assert isinstance(new, Config) and new.poll_seconds == 10 and old.poll_seconds == 30
    refused = reload(old, write(tmp_path, "mode: sim\npoll_seconds: 10\nquotes: {confirmations: 0}\n"))
    assert isinstance(refused, ConfigError) and "quotes.confirmations" in str(refused)
    other = reload(old, write(tmp_path, "poll_seconds: 10\nmode: paper\n"))
    assert isinstance(other, ConfigError) and ":2: mode: cannot change while running" in str(other)
    metrics = reload(old, write(tmp_path, "mode: sim\nmetrics: {port: 9464}\n"))
    assert isinstance(metrics, ConfigError) and ":2: metrics: cannot change while running" in str(metrics)


RULE_LEVEL = st.fixed_dictionaries(
    {},
    optional={
        "stop": st.one_of(
            st.just("off"),
            st.fixed_dictionaries({"loss_amount": st.decimals("0.01", "9999", places=2).map(str)}),
            st.fixed_dictionaries({"underlying_price": st.fixed_dictionaries({"below": st.integers(1, 900)})}),
        ),
        "trailing": st.fixed_dictionaries(
            {"activate_percent": st.integers(50, 90), "distance_amount": st.integers(1, 40)}
        ),
        "time": st.fixed_dictionaries(
            {"dte": st.integers(0, 60)},
            optional={"at": st.times().map(lambda moment: moment.strftime("%H:%M"))},
        ),
        "delta": st.fixed_dictionaries({"above": st.decimals("0.1", "0.9", places=2).map(str)}),
        "breakeven": st.fixed_dictionaries({"after_percent": st.integers(1, 99)}),
    },
)


@given(RULE_LEVEL, st.dictionaries(st.sampled_from(["SPY", "QQQ", "ES"]), RULE_LEVEL))
@settings(deadline=None, max_examples=30)
def test_a_configuration_written_out_is_read_back(
    tmp_path_factory: Any, defaults: dict[str, Any], underlyings: dict[str, Any]
) -> None:
    file = tmp_path_factory.mktemp("round") / "pm.yml"
    file.write_text(json.dumps({"mode": "sim", "defaults": defaults, "underlyings": underlyings}))
    config = load(file)
    assert config.defaults == RuleSet.model_validate(defaults)
    file.write_text(json.dumps(config.model_dump(mode="json", exclude_none=True)))
    assert load(file) == config


def test_the_example_written_out_is_read_back(tmp_path: Path) -> None:
    config = load(EXAMPLE)
    file = write(tmp_path, json.dumps(config.model_dump(mode="json", exclude_none=True)))
    assert load(file) == config
