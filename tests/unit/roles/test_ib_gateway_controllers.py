"""The login controllers that the ib_gateway role knows: their variables, and settings that one of them lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.plugins import load

ROLE = Path(__file__).parents[3] / "roles" / "ib_gateway"


instances_module = load("roles/ib_gateway/filter_plugins/ib_gateway_instances.py")
preflight = load("roles/ib_gateway/filter_plugins/ib_gateway_preflight.py")

SHARED: dict[str, Any] = {
    name.removeprefix("ib_gateway_"): value
    for name, value in yaml.safe_load((ROLE / "defaults/main.yml").read_text()).items()
} | {"userid": "demo", "password": "pass\\word", "vnc_password": "s3cret-1"}
IMAGE = SHARED["image"]
BOTH: dict[str, Any] = {
    "trading_mode": "both",
    "live_confirmed": True,
    "userid_paper": "second",
    "password_paper": "other\\word",
}
IBCONTROLLER: dict[str, Any] = {"login_controller": "ibcontroller", "read_only_root": False}


def resolve(detected: dict[str, str] | None = None, **settings: Any) -> dict[str, Any]:
    (instance,) = instances_module.resolve({"gw": {}}, SHARED | settings, secrets=True, detected=detected)
    resolved: dict[str, Any] = instance
    return resolved


def environment(**settings: Any) -> dict[str, str]:
    variables: dict[str, str] = instances_module.environment(resolve(**settings))
    return variables


def secret(name: str, **settings: Any) -> str:
    files = instances_module.secret_files([resolve(**settings)])
    content: str = next(file["content"] for file in files if file["path"].endswith(f"/{name}"))
    return content


def test_the_choices_are_the_data_files() -> None:
    spec = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    files = sorted(file.stem for file in (ROLE / "files/controllers").glob("*.yml"))
    assert files == ["ibc", "ibcontroller"]
    assert spec["ib_gateway_login_controller"]["choices"] == ["auto", *files]
    (problem,) = preflight.problems([resolve(login_controller="other")])
    assert problem.endswith(f"is 'other'. Use one of: auto, {', '.join(files)}.")


def test_every_controller_has_the_same_fields() -> None:
    fields = [set(data) for data in instances_module.controllers().values()]
    assert fields[0] == fields[1]
    assert all(set(data["refused_settings"]) <= set(SHARED) for data in instances_module.controllers().values())


def test_the_variables_of_ibc() -> None:
    assert environment(login_controller="ibc") == {
        "TRADING_MODE": "paper",
        "READ_ONLY_API": "no",
        "TWS_PASSWORD_FILE": "/run/secrets/tws_password",
        "VNC_SERVER_PASSWORD_FILE": "/run/secrets/vnc_password",
        "TWOFA_TIMEOUT_ACTION": "restart",
        "TWOFA_EXIT_INTERVAL": str(SHARED["twofa_exit_interval"]),
        "RELOGIN_AFTER_TWOFA_TIMEOUT": "yes",
        "EXISTING_SESSION_DETECTED_ACTION": "primaryoverride",
        "AUTO_RESTART_TIME": "02:00 AM",
        "TWS_COLD_RESTART": "13:00",
        "TIME_ZONE": "America/New_York",
        "TZ": "America/New_York",
        "TWS_SETTINGS_PATH": "/home/ibgateway/settings/tws",
        "IBC_INI": "/run/ibc/config.ini",
    }


def test_the_variables_of_ibcontroller() -> None:
    assert environment(**IBCONTROLLER, twofa_seconds=180, twofa_exit_interval=60) == {
        "IBC_TRADING_MODE": "paper",
        "IBC_READ_ONLY_API": "no",
        "IBC_PASSWORD_FILE": "/run/secrets/tws_password",
        "VNC_SERVER_PASSWORD_FILE": "/run/secrets/vnc_password",
        "IBC_MFA_TIMEOUT_ACTION": "restart",
        "IBC_MFA_TIMEOUT": "240",
        "IBC_MFA_EXIT_INTERVAL": "60",
        "IBC_RELOGIN_AFTER_MFA_TIMEOUT": "yes",
        "IBC_EXISTING_SESSION_ACTION": "primaryoverride",
        "IBC_AUTO_RESTART_TIME": "02:00 AM",
        "IBC_COLD_RESTART_TIME": "13:00",
        "IBC_TIME_ZONE": "America/New_York",
        "TZ": "America/New_York",
        "IBC_TWS_SETTINGS_PATH": "/home/ibgateway/settings/tws",
        "IBC_JAVA_HEAP_SIZE": "768m",
        "IBC_APP_DIR": "/run/ibcontroller",
        "IBC_LOG_SINK": "std",
        "IBC_LOG_MAX_BYTES": "1048576",
        "IBC_LOG_BACKUP_COUNT": "1",
    }


@pytest.mark.parametrize(
    ("controller", "user", "password"),
    [("ibc", "TWS_USERID", "TWS_PASSWORD"), ("ibcontroller", "IBC_USERID", "IBC_PASSWORD")],
)
def test_both_trading_modes_have_two_users(controller: str, user: str, password: str) -> None:
    settings: dict[str, Any] = {**BOTH, "login_controller": controller}
    assert environment(**settings)[f"{password}_PAPER_FILE"] == "/run/secrets/tws_password_paper"
    assert f"{password}_PAPER_FILE" not in environment(login_controller=controller)
    assert secret("login.env", **settings) == f"{user}=demo\n{user}_PAPER=second\n"


def test_the_heap_of_ibc_is_left_out_as_long_as_it_is_the_images() -> None:
    assert "JAVA_HEAP_SIZE" not in environment(login_controller="ibc")
    assert environment(login_controller="ibc", java_heap_mb=1024)["JAVA_HEAP_SIZE"] == "1024"


@pytest.mark.parametrize(
    ("controller", "variable"), [("ibc", "TWOFA_DEVICE"), ("ibcontroller", "IBC_COLD_RESTART_TIME")]
)
def test_an_empty_value_is_left_out(controller: str, variable: str) -> None:
    empty = environment(login_controller=controller, twofa_device="", cold_restart_time="")
    assert variable not in empty
    assert all(empty.values())
    assert environment(login_controller=controller, extra_environment={"X_SCRIPTS": ""})["X_SCRIPTS"] == ""


def test_a_password_is_escaped_for_ibc_only() -> None:
    assert secret("tws_password", login_controller="ibc") == "pass\\\\word"
    assert secret("tws_password", **IBCONTROLLER) == "pass\\word"
    assert secret("tws_password_paper", **BOTH, **IBCONTROLLER) == "other\\word"


def test_what_is_in_memory() -> None:
    ibcontroller = "/run/ibcontroller:uid=1000,gid=1000,mode=0700"
    assert instances_module.tmpfs(resolve(**IBCONTROLLER)) == [ibcontroller]
    ibc = instances_module.tmpfs(resolve(login_controller="ibc"))
    assert [directory.partition(":")[0] for directory in ibc] == ["/tmp", "/run/ibc"]  # noqa: S108 - in the container
    assert instances_module.tmpfs(resolve(login_controller="ibc", read_only_root=False)) == []


def test_auto_is_what_was_detected_and_nothing_else() -> None:
    assert resolve(login_controller="auto")["login_controller"] == "auto"
    assert resolve({IMAGE: "ibcontroller"}, login_controller="auto")["login_controller"] == "ibcontroller"
    assert resolve({IMAGE: "ibcontroller"}, login_controller="ibc")["login_controller"] == "ibc"
    assert resolve({"other:1": "ibcontroller"}, login_controller="auto")["login_controller"] == "auto"


def test_the_watch_reads_the_signatures_of_the_detected_controller() -> None:
    written = instances_module.instance_file(resolve({IMAGE: "ibcontroller"}, login_controller="auto"))
    assert written["login_controller"] == "ibcontroller"
    assert instances_module.instance_file(resolve(login_controller="auto"))["login_controller"] == "ibc"


def test_the_detection_is_asked_for_each_image_once() -> None:
    instances = [resolve(login_controller="auto"), resolve(login_controller="auto"), resolve(**IBCONTROLLER)]
    asked = instances_module.detection(instances)
    assert asked["images"] == [{"name": IMAGE, "controller": "auto"}, {"name": IMAGE, "controller": "ibcontroller"}]
    assert set(asked["controllers"]) == {"ibc", "ibcontroller"}


def test_the_defaults_fit_ibc_and_ibcontroller_needs_a_writable_root() -> None:
    assert preflight.controller_problems([resolve(login_controller="ibc")]) == []
    assert preflight.controller_problems([resolve(**IBCONTROLLER)]) == []
    (problem,) = preflight.controller_problems([resolve(login_controller="ibcontroller")])
    assert "ib_gateway_read_only_root (instance gw) is True" in problem
    assert "Set ib_gateway_read_only_root to false" in problem


@pytest.mark.parametrize(
    ("settings", "variable", "remedy"),
    [
        ({"twofa_device": "IB Key"}, "ib_gateway_twofa_device", "one second factor device"),
        ({"password": " blank"}, "ib_gateway_password", "Change the password"),
        ({**BOTH, "password_paper": "blank "}, "ib_gateway_password_paper", "Change the password"),
        ({"extra_environment": {"BYPASS_WARNING": "yes"}}, "BYPASS_WARNING", "over VNC"),
        ({"extra_environment": {"TWS_MASTER_CLIENT_ID": "1"}}, "TWS_MASTER_CLIENT_ID", "over VNC"),
        ({"extra_environment": {"ALLOW_BLIND_TRADING": "yes"}}, "ALLOW_BLIND_TRADING", "over VNC"),
        ({"extra_environment": {"SAVE_TWS_SETTINGS": "08:00"}}, "SAVE_TWS_SETTINGS", "Remove"),
        ({"extra_environment": {"TWS_COLD_RESTART": "08:00"}}, "TWS_COLD_RESTART", "does not read"),
        ({"extra_environment": {"IBC_SETTINGS_FILE": ""}}, "IBC_SETTINGS_FILE", "not the same as not setting it"),
        ({"extra_environment": {"IBC_MFA_TIMEOUT": "9"}}, "IBC_MFA_TIMEOUT", "ib_gateway_twofa_seconds"),
        ({"extra_environment": {"IBC_PASSWORD": "x"}}, "IBC_PASSWORD", "ib_gateway_password"),
        ({"extra_environment": {"IBC_APP_DIR": "/x"}}, "IBC_APP_DIR", "leave it out"),
    ],
)
def test_what_ibcontroller_lacks_is_named_with_what_to_do(settings: dict[str, Any], variable: str, remedy: str) -> None:
    found = preflight.controller_problems([resolve(**IBCONTROLLER, **settings)])
    assert len(found) == 1
    assert variable in found[0]
    assert remedy in found[0]
    # One list, before anything changes, if the controller is named; after the image is there, if it is detected.
    assert found[0] in preflight.problems([resolve(**IBCONTROLLER, **settings)])
    detected = resolve({IMAGE: "ibcontroller"}, login_controller="auto", read_only_root=False, **settings)
    assert preflight.controller_problems([detected]) == found


def test_a_variable_of_the_other_controller_is_refused_for_ibc() -> None:
    (problem,) = preflight.controller_problems(
        [resolve(login_controller="ibc", extra_environment={"IBC_MFA_TIMEOUT": "9"})]
    )
    assert "the login controller IBC does not read" in problem


def test_variables_that_pass_are_not_mentioned() -> None:
    extra = {"IBC_ACCEPT_INCOMING_CONNECTIONS": "accept", "IBC_LOG_LEVEL": "debug"}
    assert preflight.controller_problems([resolve(**IBCONTROLLER, extra_environment=extra)]) == []
    bypass = {"BYPASS_WARNING": "yes", "TWS_ACCEPT_INCOMING": "accept", "CUSTOM_CONFIG": ""}
    assert preflight.controller_problems([resolve(login_controller="ibc", extra_environment=bypass)]) == []


def test_no_problem_shows_a_password() -> None:
    found = preflight.controller_problems([resolve(**IBCONTROLLER, password=" hunter2")])
    assert len(found) == 1
    assert "hunter2" not in found[0]
