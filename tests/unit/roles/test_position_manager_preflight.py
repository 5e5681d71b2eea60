"""The preflight of the position_manager role: each wrong setting is named with its remedy, rules included."""

from __future__ import annotations

from datetime import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from tests import plugins

from position_manager.config.loading import load
from position_manager.config.schema import Config, Gateway

ROLE = Path(__file__).parents[3] / "roles" / "position_manager"


instances_module = plugins.load("roles/position_manager/filter_plugins/position_manager_instances.py")
preflight = plugins.load("roles/position_manager/filter_plugins/position_manager_preflight.py")

DEFAULTS: dict[str, Any] = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
OF_THE_HOST = yaml.safe_load((ROLE / "vars/main.yml").read_text())["__position_manager_of_the_host"]
SHARED = {name.removeprefix("position_manager_") for name in DEFAULTS} - set(OF_THE_HOST)
API = {"host": "127.0.0.1", "native_port": 4002, "relay_port": 4004}
PAPER = {"mode": "paper", "port": 4002, **API}
LIVE = {"mode": "live", "port": 4001, **API}


def gateway(name: str = "ib-gateway", trading_mode: str = "paper", *apis: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "trading_mode": trading_mode,
        "apis": list(apis or (PAPER,)),
        "vnc_port": 5900,
        "metrics_port": 9402,
        "client_id": 9000,
        "watch_client_id": 9100,
        "expected_accounts": [],
        "auto_restart_time": "11:45 PM",
        "cold_restart_time": "13:00",
        "timezone": "Europe/Berlin",
    }


def resolve(instances: object = None, gateways: Any = None, **settings: Any) -> list[dict[str, Any]]:
    chosen = {"position-manager": {}} if instances is None else instances
    shared = {name: DEFAULTS[f"position_manager_{name}"] for name in SHARED} | settings
    at = [gateway()] if gateways is None else gateways
    resolved: list[dict[str, Any]] = instances_module.resolve(chosen, shared, at, secrets=True)
    return resolved


def problems(instances: object = None, gateways: Any = None, **settings: Any) -> list[str]:
    at = [gateway()] if gateways is None else gateways
    found: list[str] = preflight.problems(resolve(instances, at, **settings), at)
    return found


def written(tmp_path: Path, instance: dict[str, Any]) -> Config:
    """The instance's configuration as the manager reads it from the host."""
    file = tmp_path / f"{instance['name']}.yml"
    file.write_text(preflight.as_yaml(instance["document"]))
    return load(file)


def test_the_defaults_have_no_problem() -> None:
    assert problems() == []


LIVE_GATEWAY = [gateway("ib-gateway", "live", LIVE)]


@pytest.mark.parametrize(
    ("setting", "value", "variable", "remedy"),
    [
        ("mode", "demo", "position_manager_mode", "sim, shadow, paper, live"),
        ("mode", "live", "position_manager_mode", "position_manager_enabled: false"),
        ("gateway", "other", "position_manager_gateway", "It names: ib-gateway"),
        ("live_confirmed", True, "position_manager_live_confirmed", "mode live only"),
        ("discord_url", "no address", "position_manager_discord_url", "discord://"),
        ("discord_url", "discord://1/a\n", "position_manager_discord_url", "line break"),
        ("heartbeat_url", "discord://1/a", "position_manager_heartbeat_url", "https://"),
        ("metrics_port", 80, "position_manager_metrics_port", "1024"),
        ("metrics_port", "9464", "position_manager_metrics_port", "0 for none"),
        ("metrics_port", 4002, "position_manager_metrics_port", "the API of ib-gateway"),
        ("metrics_port", 5900, "position_manager_metrics_port", "the screen of ib-gateway"),
        ("metrics_port", 9402, "position_manager_metrics_port", "the metrics of ib-gateway"),
        ("config", ["stop"], "position_manager_config", "no mapping"),
        ("config", {"mode": "paper"}, "position_manager_config", "position_manager_mode"),
        ("config", {"gateway": {"port": 4001}}, "position_manager_config", "position_manager_gateway"),
        ("config", {"gateway": {"client_id": 9000}}, "position_manager_config", "the verification of ib-gateway"),
        ("config", {"gateway": {"client_id": 9100}}, "position_manager_config", "the supervisor of ib-gateway"),
        ("config", {"notifications": {"discord_url_file": "/x"}}, "position_manager_config", "discord_url"),
        ("config", {"defaults": {"stopp": {"price": 1}}}, "defaults.stopp", "did you mean stop"),
        ("config", {"defaults": {"stop": {"loss_amount": -1}}}, "defaults.stop.loss_amount", "greater than 0"),
        ("config", {"underlyings": {"SPY": {"stop": False}}}, "underlyings.SPY.stop", '"off", in quotes'),
        ("expected_accounts", ["U1234567"], "expected_accounts[0]", "paper"),
    ],
)
def test_a_wrong_setting_is_named_with_its_remedy(setting: str, value: Any, variable: str, remedy: str) -> None:
    found = problems(**{setting: value})
    assert any(variable in problem and remedy in problem for problem in found), found


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ("positions: [{match: {symbol: ON}, stop: off}]", ["config.positions[0].match.symbol is true", 'symbol: "ON"']),
        ("positions: [{match: {symbol: 0700}}]", ["match.symbol is the number 448", "in quotes"]),
        ("underlyings: {ON: {stop: {price: 1}}}", ["config.underlyings has the key true", '"ON"']),
        ("underlyings: {7203: {stop: {price: 1}}}", ["config.underlyings has the key the number 7203", '"7203"']),
        ("defaults: {time: {at: 15:45, dte: 1}}", ["config.defaults.time.at is the number 945", 'at: "15:45"']),
        ("defaults: {time: {before_close: 1:15}}", ["config.defaults.time.before_close", 'before_close: "01:15"']),
        ("defaults: {time: {at: '15:45-05:00'}}", ["defaults.time.at", "hours.timezone"]),
        ("defaults: {time: {at: '15:45Z'}}", ["defaults.time.at", "hours.timezone"]),
    ],
)
def test_what_yaml_changes_in_rules_is_refused_with_the_form_to_write(rules: str, words: list[str]) -> None:
    found = preflight.problems(resolve(config=yaml.safe_load(rules)), [gateway()])
    assert [problem for problem in found if all(word in problem for word in words)], found


@pytest.mark.parametrize("expiry", ["20261218", "2026-12-18", '"20261218"'])
def test_an_expiry_may_have_the_broker_s_form(expiry: str) -> None:
    rules = f"positions: [{{match: {{symbol: SPY, kind: OPT, expiry: {expiry}}}, stop: {{percent_of_premium: 50}}}}]"
    assert preflight.problems(resolve(config=yaml.safe_load(rules)), [gateway()]) == []


def test_every_fault_of_the_rules_is_reported_at_once() -> None:
    found = problems(config={"defaults": {"stop": {"loss_amount": -1}}, "caps": {"quantity": 0}, "polls": 3})
    assert len(found) == 3


@pytest.mark.parametrize("secret", ["hunter 2", "s3cret"])
def test_no_problem_shows_a_secret(secret: str) -> None:
    text = " ".join(problems(discord_url=secret, heartbeat_url=secret, config={"expected": 1}))
    assert "hunter" not in text
    assert "s3cret" not in text


def test_no_problem_shows_an_account() -> None:
    (problem,) = problems(expected_accounts=["U1234567"])
    assert "U1234567" not in problem


def test_live_is_accepted_once_it_is_confirmed_and_knows_its_accounts(tmp_path: Path) -> None:
    assert any("Set it to true" in problem for problem in problems(gateways=LIVE_GATEWAY, mode="live"))
    (problem,) = problems(gateways=LIVE_GATEWAY, mode="live", live_confirmed=True)
    assert "position_manager_expected_accounts" in problem
    settings = {"mode": "live", "live_confirmed": True, "expected_accounts": ["U1234567"]}
    assert problems(gateways=LIVE_GATEWAY, **settings) == []
    (instance,) = resolve(gateways=LIVE_GATEWAY, **settings)
    config = written(tmp_path, instance)
    assert (config.mode, config.port, config.expected_accounts) == ("live", 4001, ("U1234567",))


def test_the_accounts_of_the_gateway_hold_where_they_fit_the_mode(tmp_path: Path) -> None:
    both = gateway("ib-gateway", "both", LIVE, PAPER) | {"expected_accounts": ["U1234567", "DU1234567"]}
    (paper,) = resolve(gateways=[both])
    (live,) = resolve(gateways=[both], mode="live", live_confirmed=True)
    assert written(tmp_path, paper).expected_accounts == ("DU1234567",)
    assert written(tmp_path, live).expected_accounts == ("U1234567",)


def test_each_mode_finds_the_port_of_its_gateway(tmp_path: Path) -> None:
    both = [gateway("ib-gateway", "both", {**LIVE, "port": 7001}, {**PAPER, "port": 7002})]
    assert written(tmp_path, resolve(gateways=both)[0]).port == 7002
    assert written(tmp_path, resolve(gateways=both, mode="shadow")[0]).port == 7001
    assert written(tmp_path, resolve(mode="shadow")[0]).port == 4002
    assert resolve(gateways=[], mode="sim")[0]["api"] is None
    assert problems(gateways=[], mode="sim") == []


def test_what_is_configured_is_merged_with_what_is_derived(tmp_path: Path) -> None:
    config = {
        "gateway": {"client_id": 7},
        "heartbeat": {"every_seconds": 30},
        "defaults": {"stop": {"percent_of_premium": 50}, "time": {"dte": 1, "at": "15:45"}},
        "underlyings": {"SPY": {"delta": {"above": 0.6}}},
    }
    (instance,) = resolve(config=config, heartbeat_url="https://example.org/x", discord_url="discord://1/a")
    read = written(tmp_path, instance)
    assert (read.gateway.client_id, read.gateway.port, read.metrics.port) == (7, 4002, 9464)
    assert read.gateway.login_file == Path("/run/ib-gateway/ib-gateway/login.json")
    assert read.heartbeat is not None
    assert str(read.heartbeat.url_file) == "/run/credentials/position-manager.service/heartbeat_url"
    assert read.heartbeat.every_seconds == 30
    assert str(read.notifications.discord_url_file) == "/run/credentials/position-manager.service/discord_url"
    assert str(read.underlyings["SPY"].delta).startswith("above=Decimal('0.6')")


def test_two_managers_at_one_gateway_need_their_own_client_and_port() -> None:
    found = problems({"position-manager": {}, "position-manager-two": {}})
    assert [("metrics_port" in problem, "client_id" in problem) for problem in found] == [(True, False), (False, True)]
    assert all("instance position-manager-two" in problem for problem in found)
    other = {"metrics_port": 9465, "config": {"gateway": {"client_id": 101}}}
    assert problems({"position-manager": {}, "position-manager-two": other}) == []


@pytest.mark.parametrize("name", ["manager", "position-manager_live", "position-manager-Live", "position-manager-"])
def test_an_instance_is_named_after_its_program(name: str) -> None:
    (problem,) = problems({name: {}})
    assert repr(name) in problem


def test_an_unknown_setting_of_an_instance_is_refused_with_the_allowed_ones() -> None:
    with pytest.raises(AnsibleFilterError, match=r"position-manager has unknown settings: mod; allowed are: .*mode"):
        resolve({"position-manager": {"mod": "live"}})


def test_an_instance_cannot_stay_and_go() -> None:
    (found,) = preflight.problems(resolve(), [gateway()], ["position-manager"])
    assert "position_manager_removed_instances names position-manager" in found
    (found,) = preflight.problems(resolve(), [gateway()], ["../etc"])
    assert "'../etc'" in found


def test_a_secret_that_was_taken_away_does_not_stay_on_the_host() -> None:
    (reported,) = resolve(discord_url="discord://1/a")
    files = {Path(file["path"]).name: file["content"] for file in instances_module.secret_files([reported])}
    assert files == {"discord_url": "discord://1/a\n", "heartbeat_url": ""}


def test_no_secret_is_left_in_what_loops_show() -> None:
    shared = {name: DEFAULTS[f"position_manager_{name}"] for name in SHARED} | {"discord_url": "discord://1/t0ken"}
    assert "t0ken" not in repr(instances_module.resolve({"position-manager": {}}, shared, [gateway()]))


def test_every_setting_that_an_instance_may_override_has_a_default_of_the_role() -> None:
    role_wide = {
        "enabled",
        "instances",
        "kept_journals",
        "removed_instances",
        "ready_timeout",
        "restart_patience",
        "restart_with_open_intents",
    }
    assert set(OF_THE_HOST) == role_wide
    assert {f"position_manager_{name}" for name in role_wide} < set(DEFAULTS)


def test_the_restart_of_the_gateway_is_handed_over() -> None:
    (instance,) = resolve()
    gateway_section = instance["document"]["gateway"]
    assert (gateway_section["restart_time"], gateway_section["restart_timezone"]) == ("23:45", "Europe/Berlin")
    text = preflight.as_yaml(instance["document"])
    assert "restart_time: '23:45'" in text
    for written, expected in (("12:00 AM", "00:00"), ("12:30 PM", "12:30"), ("02:00 AM", "02:00")):
        (instance,) = resolve(gateways=[gateway() | {"auto_restart_time": written}])
        assert instance["document"]["gateway"]["restart_time"] == expected
    (found,) = preflight.problems(resolve(config={"gateway": {"restart_time": "02:00"}}), [gateway()])
    assert "position_manager_gateway" in found


def test_the_sunday_restart_of_the_gateway_is_handed_over_with_its_zone() -> None:
    (instance,) = resolve(gateways=[gateway() | {"cold_restart_time": "09:30"}])
    section = instance["document"]["gateway"]
    assert (section["cold_restart_time"], section["restart_timezone"]) == ("09:30", "Europe/Berlin")
    text = preflight.as_yaml(instance["document"])
    assert "cold_restart_time: 09:30" in text.replace("'", "")
    assert Gateway.model_validate(yaml.safe_load(text)["gateway"]).cold_restart_time == time(9, 30)
    (instance,) = resolve(gateways=[gateway() | {"cold_restart_time": ""}])
    assert "cold_restart_time" not in instance["document"]["gateway"]
    (found,) = preflight.problems(resolve(config={"gateway": {"cold_restart_time": "02:00"}}), [gateway()])
    assert "position_manager_gateway" in found
