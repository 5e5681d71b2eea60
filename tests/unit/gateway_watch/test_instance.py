"""instance.json: what is taken from it, and that each fault is named with its place and its remedy."""

from __future__ import annotations

import json
from datetime import time
from pathlib import Path
from typing import Any

import pytest
from tests.unit.gateway_watch.instance_files import DOCUMENT

from gateway_watch.instance import REMEDY, InstanceError, load, parse

PATH = Path("/etc/ib-gateway/ib-gateway/instance.json")


def test_a_correct_file() -> None:
    instance = parse(DOCUMENT, PATH)
    assert (instance.auto_restart_time, instance.cold_restart_time) == (time(2, 0), time(13, 0))
    assert instance.timezone.key == "America/New_York"
    assert [api.port for api in instance.apis] == [4002]
    assert instance.expected_accounts == ("DU1234567",)
    assert instance.breaker_file == Path("/var/lib/ib-gateway/ib-gateway/state/breaker.json")


def test_no_vnc_and_no_planned_restart_are_allowed() -> None:
    instance = parse(DOCUMENT | {"vnc": None, "auto_restart_time": None, "cold_restart_time": ""}, PATH)
    assert (instance.vnc, instance.auto_restart_time, instance.cold_restart_time) == (None, None, None)


API = DOCUMENT["apis"][0]
FAULTS = [
    ({"trading_mode": "demo"}, "trading_mode: 'demo' is none of paper, live, both"),
    ({"trading_mode": "live"}, "apis: trading_mode live needs live, not ['paper']"),
    ({"trading_mode": "both"}, "apis: trading_mode both needs live, paper, not ['paper']"),
    ({"apis": []}, "apis: must be a list of at least one API"),
    ({"apis": [API | {"port": 70000}]}, "apis: port: must be a port from 1 to 65535, not 70000"),
    ({"apis": [{"mode": "paper", "host": "127.0.0.1", "port": 1}]}, "apis: native_port: missing"),
    ({"vnc": {"host": "127.0.0.1"}}, "vnc: port: missing"),
    ({"unit": "ib-gateway"}, "unit: 'ib-gateway' must end in .service"),
    ({"container": "--rm"}, "container: '--rm' may hold letters, digits, dot, dash and underscore only"),
    ({"state_dir": "state"}, "state_dir: must be an absolute path, not 'state'"),
    ({"timezone": "New York"}, "timezone: 'New York' is no time zone that this host knows"),
    ({"auto_restart_time": "14:00"}, "auto_restart_time: must be a 12-hour time such as 02:00 AM, not '14:00'"),
    ({"cold_restart_time": "1 PM"}, "cold_restart_time: must be a 24-hour time such as 13:00, not '1 PM'"),
    ({"start_timeout": "300"}, "start_timeout: must be a whole number of at least 0, not '300'"),
    ({"max_bad_logins": 0}, "max_bad_logins: must be at least 1"),
    ({"client_id": True}, "client_id: must be a whole number of at least 0, not True"),
    ({"image": " "}, "image: must be a text that is not empty, not ' '"),
    ({"colour": 1}, "colour: nobody knows this setting"),
]


@pytest.mark.parametrize(("change", "fault"), FAULTS)
def test_a_fault_is_named(change: dict[str, Any], fault: str) -> None:
    with pytest.raises(InstanceError) as caught:
        parse(DOCUMENT | change, PATH)
    assert str(caught.value).startswith(f"{PATH} is wrong: {fault}")
    assert str(caught.value).endswith(REMEDY)


def test_all_faults_are_named_at_once() -> None:
    broken = {key: value for key, value in DOCUMENT.items() if key != "image"} | {"client_id": -1}
    with pytest.raises(InstanceError, match=r"client_id: .*; image: missing"):
        parse(broken, PATH)


def test_an_instance_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "instance.json").write_text("{}")
    with pytest.raises(InstanceError, match=r"does not exist\. Instances here: paper\."):
        load("live", tmp_path)


def test_a_file_of_another_instance_is_refused(tmp_path: Path) -> None:
    (tmp_path / "live").mkdir()
    (tmp_path / "live" / "instance.json").write_text(json.dumps(DOCUMENT))
    with pytest.raises(InstanceError, match="describes 'ib-gateway', but lies in the directory of 'live'"):
        load("live", tmp_path)


def test_a_name_cannot_leave_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(InstanceError, match="is no instance name"):
        load("../shadow", tmp_path)
