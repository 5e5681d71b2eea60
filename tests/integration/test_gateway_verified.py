"""The module gateway_verified and the health command of the role, against the simulator in real containers."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest
from tests.engine import ROOT, docker, environment
from tests.module_process import answer_of
from tests.plugins import load

LISTENS = "grep -qE '^ *[0-9]+: [0-9A-F]+:0FA2 [0-9A-F]+:0000 0A' /proc/net/tcp"

Start = Callable[..., tuple[str, int]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a simulated paper gateway with a health command; its container, and the port of its API."""
    image = json.loads((ROOT / ".sandbox/images.json").read_text())["simulator"]
    started: list[str] = []

    def run(
        *, health: str = LISTENS, interval: str = "1s", limit: str = "2s", inside: int = 4004, **simulator: object
    ) -> tuple[str, int]:
        variables = {
            "TRADING_MODE": "paper",
            "TWS_USERID": "janedoe",
            "TWS_PASSWORD": "word",
            "READ_ONLY_API": "no",
            "GATEWAY_SIMULATOR_START_SECONDS": 1,
        } | {f"GATEWAY_SIMULATOR_{name}": value for name, value in simulator.items()}
        settings = [part for name, value in variables.items() for part in ("--env", f"{name}={value}")]
        check = ("--health-cmd", health, "--health-interval", interval, "--health-timeout", limit)
        created = docker(
            *("run", "--detach", "--name", f"verified-{uuid.uuid4().hex[:8]}"),
            *("--publish", f"127.0.0.1::{inside}", *settings, *check, image),
        )
        assert created.returncode == 0, created.stderr
        started.append(created.stdout.strip())
        port = int(docker("port", started[-1], f"{inside}/tcp").stdout.rpartition(":")[2])
        return started[-1], port

    yield run
    for container in started:
        docker("rm", "--force", container)


def verify(name: str, port: int, **arguments: Any) -> dict[str, Any]:
    given = {
        "name": name,
        "apis": [{"mode": "paper", "host": "127.0.0.1", "port": port, "native_port": 4002}],
        "login_timeout": 20,
        "start_timeout": 20,
        "handshake_timeout": 4,
        "delay": 1,
    } | arguments
    return answer_of("gateway_verified", given, environment() | {"PYTHONPATH": str(ROOT / "src")})


def verify_at_a_terminal(name: str, port: int, **arguments: Any) -> tuple[dict[str, Any], list[list[str]]]:
    """Call after call, as the action plugin does; the last answer, and the lines of each call."""
    answer = verify(name, port, until="change", **arguments)
    shown = [answer["progress"]]
    while not answer["done"]:
        assert len(shown) < 20, shown
        answer = verify(name, port, until="change", cursor=answer["cursor"], **arguments)
        shown.append(answer["progress"])
    return answer, shown


def test_login_port_and_handshake_are_one_wait(start: Start) -> None:
    name, port = start()

    answer = verify(name, port)

    assert (answer["verified"], answer["cause"], answer["changed"]) == (True, "", False)
    assert answer["login"]["state"] == "ready"
    assert answer["port"]["status"] == "healthy"
    (handshake,) = answer["handshakes"]
    assert (handshake["mode"], handshake["accounts"]) == ("paper", ["DU1234567"])
    lines = answer["progress"]
    order = ["ready", "answering with server version 178", "verified in attempt 1/5: DU*****67, next order id 1"]
    assert [line for line in lines if line in order] == order
    assert datetime.fromisoformat(answer["ready_at"]) < datetime.fromisoformat(answer["verified_at"])
    # What is returned is masked, but for the accounts, which only a handshake's result holds in full.
    assert "janedoe" not in json.dumps({key: value for key, value in answer.items() if key != "invocation"})


def test_the_api_is_verified_before_the_engine_has_checked_the_port(start: Start) -> None:
    """The first check comes after 6 s; the gateway listens after about one."""
    name, port = start(interval="6s")

    answer = verify(name, port)

    assert answer["verified"]
    assert "listening on 4002 in the container" in answer["progress"]
    (checked,) = [entry for entry in answer["port"]["health_log"] if entry["exit_code"] == 0]
    assert datetime.fromisoformat(answer["verified_at"]) < datetime.fromisoformat(checked["ended"])


def test_a_health_check_that_disagrees_is_an_error_with_its_cause(start: Start) -> None:
    name, port = start(health="echo no such file; exit 1", interval="1s")

    answer = verify(name, port)

    assert answer["failed"]
    assert (answer["phase"], answer["cause"], answer["verified"]) == ("port", "health_disagrees", False)
    assert "4002" in answer["msg"]
    assert "Last check: no such file (exit code 1)" in answer["msg"]
    assert answer["remedy"] in answer["msg"]


def test_a_first_connection_without_an_answer_costs_no_attempt(start: Start) -> None:
    name, port = start(FIRST_CONNECT="silent")

    answer = verify(name, port)

    assert answer["verified"]
    assert "the first connection got no answer, connection 2 did" in answer["progress"]
    assert [attempt["cause"] for attempt in answer["handshakes"][0]["attempts"]] == [""]


@pytest.mark.parametrize(
    ("simulator", "arguments", "phase", "cause"),
    [
        ({"CREDENTIALS": "bad_a"}, {}, "login", "bad_credentials"),
        ({"CONNECT": "silent"}, {"retries": 1}, "handshake", "silent_before_version"),
        ({}, {"expected_accounts": ["DU7654321"]}, "handshake", "unexpected_account"),
    ],
)
def test_each_phase_fails_by_its_name_and_cause(
    start: Start, simulator: dict[str, str], arguments: dict[str, Any], phase: str, cause: str
) -> None:
    name, port = start(**simulator)

    answer = verify(name, port, **arguments)

    assert answer["failed"]
    assert (answer["phase"], answer["cause"]) == (phase, cause)
    assert f"[{cause}]" in answer["msg"]
    assert answer["remedy"] in answer["msg"]
    assert bool(answer["log_lines"]) is (phase == "login")


def test_a_published_native_port_is_recognised(start: Start) -> None:
    name, port = start(inside=4002)
    assert verify(name, port, retries=1)["cause"] == "native_port_published"


def test_a_container_that_ends_before_it_listens_fails_in_the_phase_of_the_port(start: Start) -> None:
    name, port = start(interval="30s")
    # No gateway listens there, so nothing but the end of the container can end the wait.
    apis = [{"mode": "paper", "host": "127.0.0.1", "port": port, "native_port": 4999}]
    waiting = verify(name, port, apis=apis, until="change")
    while waiting["phase"] == "login":
        waiting = verify(name, port, apis=apis, until="change", cursor=waiting["cursor"])
    assert docker("kill", name).returncode == 0

    answer = verify(name, port, apis=apis, until="change", cursor=waiting["cursor"])

    assert (answer["phase"], answer["cause"]) == ("port", "exited")
    assert answer["log_lines"]


def test_a_container_that_ends_during_the_handshake_is_the_cause_of_its_failure(start: Start) -> None:
    name, port = start(CONNECT="silent")

    def end_when_healthy() -> None:
        wait_until_healthy(name)
        docker("kill", name)

    with ThreadPoolExecutor() as pool:
        ended = pool.submit(end_when_healthy)
        answer = verify(name, port, retries=2)
        ended.result()

    assert (answer["phase"], answer["cause"], answer["verified"]) == ("port", "exited", False)
    assert answer["handshakes"][0]["cause"]
    assert answer["log_lines"]


def test_without_a_start_the_present_state_counts(start: Start) -> None:
    name, port = start(interval="30s")
    assert verify(name, port, start_timeout=1)["phase"] == "port"

    answer = verify(name, port, login_timeout=0, start_timeout=0, retries=1)

    assert (answer["phase"], answer["cause"]) == ("port", "timeout")
    assert "is not healthy after 0 s: it is starting" in answer["msg"]


def test_the_operator_sees_each_state_once_through_the_retries(start: Start) -> None:
    """The calls go on where the one before ended: no line is shown twice, no attempt is repeated."""
    name, port = start(CONNECT="accept_and_close")

    answer, shown = verify_at_a_terminal(name, port, retries=2, delay=2)

    lines = [line for call in shown for line in call]
    assert answer["cause"] == "closed_by_peer"
    assert [line.partition(" failed")[0] for line in lines if "attempt" in line and "failed" in line] == [
        "attempt 1/2",
        "attempt 2/2",
    ]
    # The first failure is shown while the second attempt is still to come.
    (first,) = [number for number, call in enumerate(shown) if any(line.startswith("attempt 1/2") for line in call)]
    assert first < len(shown) - 1
    assert lines.count("ready") == 1
    assert [attempt["number"] for attempt in answer["handshakes"][0]["attempts"]] == [1, 2]


def test_check_mode_reports_the_present_state_and_verifies_the_api(start: Start) -> None:
    name, port = start()
    assert verify(name, port)["verified"]
    answer = verify(name, port, _ansible_check_mode=True)
    assert (answer["verified"], answer["login"]["state"], answer["port"]["status"]) == (True, "ready", "healthy")
    missing = verify("verified-never", port, _ansible_check_mode=True, retries=1)
    assert missing["login"]["state"] == "absent"


def test_the_check_of_the_role_reports_the_port_as_soon_as_it_opens(start: Start) -> None:
    """On an engine without a start interval: one check waits until the port is open, where others would have failed."""
    instances = load("roles/ib_gateway/filter_plugins/ib_gateway_instances.py")
    command = instances.health_command(
        {"trading_mode": "paper", "api_port_paper": 4002, "health_interval": 60}, waits=True
    )
    name, _ = start(health=command, interval="1s", limit="60s", START_SECONDS=3)
    health = wait_until_healthy(name)
    assert [entry["ExitCode"] for entry in health["Log"]] == [0]


def wait_until_healthy(name: str) -> dict[str, Any]:
    until = time.monotonic() + 15
    while (health := health_of(name))["Status"] != "healthy" and time.monotonic() < until:
        time.sleep(0.2)
    assert health["Status"] == "healthy"
    return health


def health_of(name: str) -> dict[str, Any]:
    health: dict[str, Any] = json.loads(docker("inspect", "--format", "{{json .State.Health}}", name).stdout)
    return health
