"""What the variables mean, and that bad ones are rejected with their name, value and remedy."""

from __future__ import annotations

from datetime import UTC, datetime, time
from pathlib import Path

import pytest

from gateway_simulator.api.behaviour import MarketDataAccess
from gateway_simulator.settings import (
    Connect,
    Credentials,
    Scenario,
    SettingsError,
    TwoFa,
    TwoFaKind,
    read_control_port,
    read_gateway,
    read_scenario,
    read_secret,
    read_zone,
    trading_modes,
)


def test_scenario_without_variables_logs_in_quickly_and_well() -> None:
    scenario = read_scenario({"PATH": "/bin", "TWS_USERID": "user"})
    assert scenario == Scenario()
    assert scenario.credentials is Credentials.GOOD
    assert scenario.start_seconds == 6


def test_scenario_reads_every_kind_of_value() -> None:
    scenario = read_scenario(
        {
            "GATEWAY_SIMULATOR_TWOFA": "approve_after:20",
            "GATEWAY_SIMULATOR_CLIENT_IDS_IN_USE": "1,9000",
            "GATEWAY_SIMULATOR_CONNECT": "dead",
            "GATEWAY_SIMULATOR_ACCOUNTS": "U111111,DU222222",
            "GATEWAY_SIMULATOR_MANAGED_ACCOUNTS": "no",
            "GATEWAY_SIMULATOR_CRASH_AFTER": "2.5",
            "GATEWAY_SIMULATOR_READ_ONLY": "yes",
            "GATEWAY_SIMULATOR_CONTROL_PORT": "4011",
        }
    )
    assert scenario.twofa == TwoFa(TwoFaKind.APPROVE_AFTER, 20)
    assert scenario.client_ids_in_use == {1, 9000}
    assert scenario.connect is Connect.DEAD
    assert scenario.accounts == ("U111111", "DU222222")
    assert scenario.managed_accounts is False
    assert scenario.crash_after == 2.5
    assert scenario.read_only is True


def test_scenario_can_be_written_down_and_read_again() -> None:
    scenario = Scenario().changed("TWOFA", "approve_after:7").changed("client_ids_in_use", "5,3")
    scenario = scenario.changed("GATEWAY_SIMULATOR_EXISTING_SESSION", "4").changed("TIME_SCALE", "0.5")
    scenario = scenario.changed("TWOFA_DEVICES", "Phone, IB Key").changed("EXIT_CODE", "1101")
    again = Scenario()
    for key, value in scenario.as_text().items():
        again = again.changed(key, value)
    assert again == scenario


@pytest.mark.parametrize(
    ("key", "value", "remedy"),
    [
        ("TWOFA", "approve_after", "approve_after:SECONDS"),
        ("TWOFA", "approve_after:soon", "number of seconds"),
        ("TWOFA", "never:3", "it must be none"),
        ("CREDENTIALS", "unknown", "good, wrong, bad_a, bad_b, locked, rate_limited"),
        ("EXIT_CODE", "1113", "from 1100 to 1112"),
        ("DIALOG", "two\nlines", "one line of text"),
        ("TWOFA", "close_after", "close_after:SECONDS"),
        ("TOKEN_REFUSED", "perhaps", "no, yes, unrecognized, relogin_unrecognized"),
        ("START_SECONDS", "-1", "number of seconds, 0 or more"),
        ("START_SECONDS", "nan", "number of seconds, 0 or more"),
        ("TIME_SCALE", "0", "more than 0"),
        ("CLIENT_IDS_IN_USE", "1;2", "separated by commas"),
        ("ACCOUNTS", "me", "for example DU1234567"),
        ("MANAGED_ACCOUNTS", "maybe", "yes or no"),
        ("RATE_LIMIT_SECONDS", "5000", "under 3600"),
    ],
)
def test_scenario_refuses_a_bad_value(key: str, value: str, remedy: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_scenario({f"GATEWAY_SIMULATOR_{key}": value})
    assert f"GATEWAY_SIMULATOR_{key} is {value!r}" in str(caught.value)
    assert remedy in str(caught.value)


def test_scenario_refuses_an_unknown_key_and_names_the_known() -> None:
    with pytest.raises(SettingsError, match=r"GATEWAY_SIMULATOR_TWO_FA is not a setting.*TWOFA"):
        read_scenario({"GATEWAY_SIMULATOR_TWO_FA": "none"})


@pytest.mark.parametrize(("value", "modes"), [("paper", ("paper",)), ("live", ("live",)), ("both", ("live", "paper"))])
def test_trading_modes(value: str, modes: tuple[str, ...]) -> None:
    assert trading_modes({"TRADING_MODE": value}) == modes


@pytest.mark.parametrize("environ", [{}, {"TRADING_MODE": "demo"}])
def test_trading_mode_must_be_known(environ: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=r"^\.> Invalid TRADING_MODE: (demo)?$"):
        trading_modes(environ)


def test_secret_from_variable_or_file_but_not_both(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("from file\n")
    assert read_secret({"P": "direct"}, "P") == "direct"
    assert read_secret({"P_FILE": str(file)}, "P") == "from file"
    assert read_secret({}, "P") == ""
    with pytest.raises(SettingsError, match="both P and P_FILE are set"):
        read_secret({"P": "direct", "P_FILE": str(file)}, "P")
    with pytest.raises(SettingsError, match=r"P_FILE is .*cannot be read"):
        read_secret({"P_FILE": str(tmp_path / "none")}, "P")


def test_gateway_reads_the_images_variables(tmp_path: Path) -> None:
    settings = read_gateway(
        {
            "TWS_USERID": "user",
            "TWS_PASSWORD": "secret",
            "READ_ONLY_API": "no",
            "RELOGIN_AFTER_TWOFA_TIMEOUT": "yes",
            "TWOFA_TIMEOUT_ACTION": "restart",
            "TWOFA_EXIT_INTERVAL": "90",
            "EXISTING_SESSION_DETECTED_ACTION": "primaryoverride",
            "AUTO_RESTART_TIME": "02:00 AM",
            "AUTO_LOGOFF_TIME": "11:45 PM",
            "TWS_COLD_RESTART": "13:30",
            "TWS_SETTINGS_PATH": str(tmp_path),
        },
        "paper",
    )
    assert (settings.native_port, settings.relay_port) == (4002, 4004)
    assert settings.read_only is False
    assert settings.relogin
    assert settings.twofa_restart
    assert settings.twofa_exit_interval == 90
    assert settings.auto_restart == time(2, 0)
    assert settings.auto_logoff is None, "AUTO_RESTART_TIME wins"
    assert settings.cold_restart == time(13, 30)
    assert settings.settings_path == tmp_path
    assert "secret" not in repr(settings)


def test_both_modes_have_their_own_credentials_and_directories() -> None:
    environ = {
        "TWS_USERID": "live-user",
        "TWS_PASSWORD": "a",
        "TWS_USERID_PAPER": "paper-user",
        "TWS_PASSWORD_PAPER": "b",
        "TWS_SETTINGS_PATH": "/settings/tws",
    }
    live, paper = (read_gateway(environ, mode, dual=True) for mode in ("live", "paper"))
    assert (live.user, live.password, str(live.settings_path)) == ("live-user", "a", "/settings/tws_live")
    assert (paper.user, paper.password, str(paper.settings_path)) == ("paper-user", "b", "/settings/tws_paper")
    assert read_gateway(environ, "paper").user == "live-user", "alone, paper has no half of its own"


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("AUTO_RESTART_TIME", "14:00", "12 hours"),
        ("AUTO_LOGOFF_TIME", "soon", "12 hours"),
        ("TWS_COLD_RESTART", "01:00 PM", "24 hours"),
        ("EXISTING_SESSION_DETECTED_ACTION", "first", "primaryoverride"),
        ("TWOFA_TIMEOUT_ACTION", "wait", "exit or restart"),
        ("TWOFA_EXIT_INTERVAL", "1m", "whole number"),
        ("READ_ONLY_API", "perhaps", "yes or no"),
    ],
)
def test_gateway_refuses_a_bad_variable(name: str, value: str, remedy: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_gateway({name: value}, "paper")
    assert f"{name} is {value!r}" in str(caught.value)
    assert remedy in str(caught.value)


def test_zone_and_control_port() -> None:
    assert read_zone({"TZ": "America/New_York", "TIME_ZONE": "UTC"}).key == "America/New_York"
    assert read_zone({}).key == "UTC"
    with pytest.raises(SettingsError, match="TZ is 'Mars/Base': there is no such time zone"):
        read_zone({"TZ": "Mars/Base"})
    assert read_control_port({}) == 4010
    with pytest.raises(SettingsError, match="GATEWAY_SIMULATOR_CONTROL_PORT is '70000'"):
        read_control_port({"GATEWAY_SIMULATOR_CONTROL_PORT": "70000"})


def test_the_trading_settings_are_read_and_written() -> None:
    scenario = read_scenario(
        {
            "GATEWAY_SIMULATOR_SEED": "7",
            "GATEWAY_SIMULATOR_CLOCK": "held",
            "GATEWAY_SIMULATOR_CLOCK_START": "2026-11-23T14:30:00-05:00",
            "GATEWAY_SIMULATOR_LATENCY_MS": "0",
            "GATEWAY_SIMULATOR_MARKET_DATA": "none",
            "GATEWAY_SIMULATOR_MASTER_CLIENT_ID": "0",
            "GATEWAY_SIMULATOR_STATE_FILE": "/state.json",
            "GATEWAY_SIMULATOR_FAULTS": "stall 3 in:placeOrder; disconnect middle out:orderStatus:Filled nth=2;",
        }
    )
    assert (scenario.seed, scenario.latency_ms, scenario.master_client_id) == (7, 0, 0)
    assert scenario.clock_start == datetime(2026, 11, 23, 19, 30, tzinfo=UTC)
    assert scenario.market_data is MarketDataAccess.NONE
    assert scenario.state_file == Path("/state.json")
    assert [str(rule) for rule in scenario.faults] == [
        "stall 3 in:placeOrder",
        "disconnect middle out:orderStatus:Filled nth=2",
    ]
    again = Scenario()
    for key, value in scenario.as_text().items():
        again = again.changed(key, value)
    assert again == scenario


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("SEED", "-1", "whole number from 0"),
        ("SEED", "one", "whole number"),
        ("CLOCK", "stopped", "one of real, held"),
        ("CLOCK_START", "noon", "now or a date with time"),
        ("CLOCK_SPEED", "0", "more than 0"),
        ("TRADING_HOURS", "never", "one of always, exchange"),
        ("LATENCY_MS", "60001", "from 0 to 60000"),
        ("MARKET_DATA", "free", "one of live"),
        ("MARKET_DATA_LINES", "many", "from 0 to 100000"),
        ("MASTER_CLIENT_ID", "all", "whole number"),
        ("HISTORICAL_PACING", "1", "yes or no"),
        ("FAULTS", "stall 3 in:placeOrder; explode", "at least three words"),
    ],
)
def test_a_trading_setting_that_cannot_be_is_refused(key: str, value: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=f"GATEWAY_SIMULATOR_{key} is .*{reason}"):
        Scenario().changed(key, value)


def test_the_images_master_client_id_is_read() -> None:
    assert read_gateway({"TWS_MASTER_CLIENT_ID": "12"}, "paper").master_client_id == 12
    assert read_gateway({}, "paper").master_client_id is None
    with pytest.raises(SettingsError, match="TWS_MASTER_CLIENT_ID is 'x'"):
        read_gateway({"TWS_MASTER_CLIENT_ID": "x"}, "paper")
