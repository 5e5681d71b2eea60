"""The modules container_health, gateway_login and gateway_verified as processes, up to where they need an engine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tests.module_process import answer_of

ROOT = Path(__file__).parents[3]
MODULES = ("container_health", "gateway_login", "gateway_verified")
TIMEOUTS = {
    "container_health": ("timeout", "appear_timeout", "log_lines"),
    "gateway_login": ("timeout", "appear_timeout", "log_lines"),
    "gateway_verified": ("login_timeout", "start_timeout", "appear_timeout", "log_lines"),
}
API = {"mode": "paper", "host": "127.0.0.1", "port": 4002, "native_port": 4002}


def call(name: str, arguments: dict[str, Any], *flags: str, **environment: str) -> dict[str, Any]:
    needed = {"apis": [API]} if name == "gateway_verified" else {}
    given = {"name": "wtest-none", **needed, **arguments}
    return answer_of(name, given, {**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment}, *flags, seconds=30)


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, keys in TIMEOUTS.items() for key in keys])
def test_a_negative_number_is_refused(name: str, key: str) -> None:
    answer = call(name, {key: -1})
    assert answer["failed"]
    assert f"{key} is -1" in answer["msg"]


@pytest.mark.parametrize("name", MODULES)
def test_a_cursor_without_change_is_refused(name: str) -> None:
    assert "cursor requires until=change" in call(name, {"cursor": "{}"})["msg"]


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("cursor", ["nonsense", "{}", "[]", '{"started": 1}'])
def test_a_foreign_cursor_is_refused(name: str, cursor: str) -> None:
    answer = call(name, {"cursor": cursor, "until": "change"})
    assert answer["failed"]
    assert "cursor is not one that this module returned" in answer["msg"]


@pytest.mark.parametrize("name", ["gateway_login", "gateway_verified"])
def test_an_unknown_login_controller_is_refused_with_the_known_ones(name: str) -> None:
    message = call(name, {"login_controller": "other"})["msg"]
    assert "login_controller: No signatures for login controller 'other'; known: ibc" in message


@pytest.mark.parametrize("checks", [False, True])
@pytest.mark.parametrize("name", MODULES)
def test_an_engine_that_is_away_is_a_failure_of_its_own(name: str, checks: bool, tmp_path: Path) -> None:
    answer = call(name, {"_ansible_check_mode": checks}, DOCKER_HOST=f"unix://{tmp_path}/none.sock")
    assert answer["failed"]
    assert "[engine_away]" in answer["msg"]
    assert "systemctl start docker" in answer["remedy"]


@pytest.mark.parametrize("name", MODULES)
def test_an_interpreter_without_the_package_names_who_installs_it(name: str, tmp_path: Path) -> None:
    # -S leaves site-packages out; only Ansible's own code is put back.
    import ansible

    (tmp_path / "ansible").symlink_to(Path(ansible.__file__).parent)
    answer = call(name, {}, "-S", PYTHONPATH=str(tmp_path))
    assert answer["failed"]
    assert "has no gateway_watch" in answer["msg"]
    assert "The role ib_gateway installs it" in answer["msg"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"apis": []}, "apis is empty"),
        ({"apis": [{"mode": "paper", "host": "127.0.0.1", "port": 4002}]}, "an entry has no native_port"),
        ({"apis": [API | {"mode": "both"}]}, "the mode is both"),
        ({"apis": [API | {"port": "four"}]}, "port is four"),
        ({"apis": [API | {"port": 70000}]}, "port is 70000"),
        ({"client_id": 0}, "client_id is 0"),
        ({"retries": 0}, "retries is 0"),
    ],
)
def test_wrong_arguments_of_a_verification_are_refused_before_the_wait(arguments: dict[str, Any], message: str) -> None:
    answer = call("gateway_verified", arguments)
    assert answer["failed"]
    assert message in answer["msg"]
