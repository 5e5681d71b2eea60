"""Both waiting modules against containers of a real engine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.module_process import answer_of

ROOT = Path(__file__).parents[2]
IBC = "2026-11-23 01:00:00:123 IBC: "
IMAGE = "wtest-busybox:1"

Start = Callable[..., str]


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """The environment that reaches the engine of the set-up."""
    values = dict(os.environ, PYTHONPATH=str(ROOT / "src"))
    file = ROOT / ".sandbox" / "engine.env"
    if "DOCKER_HOST" not in values and file.is_file():
        values |= dict(line.split("=", 1) for line in file.read_text().splitlines() if "=" in line)
    return values


def docker(environment: dict[str, str], *arguments: str) -> str:
    result = subprocess.run(["docker", *arguments], env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def busybox(folder: Path) -> Path:
    """A static busybox: the system's, or the one in Debian's package."""
    if found := shutil.which("busybox"):
        return Path(found)
    subprocess.run(["apt-get", "download", "busybox-static"], cwd=folder, check=True, capture_output=True)
    (package,) = folder.glob("busybox-static_*.deb")
    subprocess.run(["dpkg-deb", "-x", str(package), str(folder / "x")], check=True)
    return next(path for path in (folder / "x").rglob("bin/busybox") if path.is_file())


@pytest.fixture(scope="module")
def image(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    if not docker(environment, "images", "--quiet", IMAGE):
        folder = tmp_path_factory.mktemp("image")
        with tarfile.open(folder / "image.tar", "w") as archive:
            archive.add(busybox(folder), "bin/busybox")
            for applet in ("sh", "sleep", "echo", "test", "touch", "rm"):
                link = tarfile.TarInfo(f"bin/{applet}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                archive.addfile(link)
        docker(environment, "import", str(folder / "image.tar"), IMAGE)
    return IMAGE


@pytest.fixture
def start(environment: dict[str, str], image: str) -> Iterator[Start]:
    """Starts a container that runs a shell script; returns its name. All are removed at the end."""
    started: list[str] = []

    def run(script: str, *options: str, name: str | None = None) -> str:
        name = name or f"wtest-{uuid.uuid4().hex[:8]}"
        started.append(docker(environment, "run", "--detach", "--name", name, *options, image, "/bin/sh", "-c", script))
        return name

    yield run
    for container in started:
        subprocess.run(["docker", "rm", "--force", container], env=environment, capture_output=True, check=False)


@pytest.fixture
def call(environment: dict[str, str]) -> Callable[..., dict[str, Any]]:
    def run(module: str, **arguments: Any) -> dict[str, Any]:
        return answer_of(module, arguments, environment)

    return run


Call = Callable[..., dict[str, Any]]
CHECK = ("--health-cmd", "/bin/test -e /ok", "--health-interval", "1s", "--health-retries", "2")


def test_health_is_waited_for_and_reported(start: Start, call: Call) -> None:
    name = start("sleep 2; touch /ok; sleep 60", *CHECK)

    answer = call("container_health", name=name, timeout=20)

    assert (answer["status"], answer["failure"]) == ("healthy", "")
    assert 1 <= answer["waited"] < 10
    assert answer["progress"][0] == "container started"
    assert answer["progress"][-1].startswith("listening (healthy) after ")
    assert answer["health_log"][-1]["exit_code"] == 0
    assert answer["started_at"].startswith("20")


@pytest.mark.parametrize(
    ("script", "options", "arguments", "failure"),
    [
        ("sleep 60", (), {}, "no_health_check"),
        ("echo last words; sleep 1; exit 7", CHECK, {}, "exited"),
        ("exit 7", (*CHECK, "--restart", "always"), {}, "restarting_loop"),
        ("sleep 60", CHECK, {"unhealthy_grace": 1}, "unhealthy"),
        ("sleep 60", ("--health-cmd", "/bin/test -e /ok", "--health-interval", "30s"), {"timeout": 2}, "timeout"),
    ],
)
def test_each_failure_comes_early_and_by_its_name(
    start: Start, call: Call, script: str, options: tuple[str, ...], arguments: dict[str, Any], failure: str
) -> None:
    name = start(script, *options)
    begun = time.monotonic()

    answer = call("container_health", name=name, **{"timeout": 30, **arguments})

    assert answer["failed"]
    assert answer["failure"] == failure
    assert f"[{failure}]" in answer["msg"]
    assert answer["remedy"]
    assert time.monotonic() - begun < 10
    if failure == "exited":
        assert (answer["exit_code"], answer["log_lines"]) == (7, ["last words"])


def test_a_missing_container_fails_at_once(call: Call) -> None:
    begun = time.monotonic()
    answer = call("container_health", name="wtest-never")
    assert answer["failure"] == "no_such_container"
    assert time.monotonic() - begun < 5


def test_a_container_that_appears_in_time_is_found(start: Start, call: Call, environment: dict[str, str]) -> None:
    name = f"wtest-{uuid.uuid4().hex[:8]}"
    first = call("container_health", name=name, appear_timeout=20, until="change")
    assert (first["done"], first["status"]) == (False, "absent")

    start("touch /ok; sleep 60", *CHECK, name=name)
    begun = time.monotonic()
    answer = call("container_health", name=name, appear_timeout=20, until="change", cursor=first["cursor"])
    while not answer["done"]:
        answer = call("container_health", name=name, appear_timeout=20, until="change", cursor=answer["cursor"])

    assert answer["status"] == "healthy"
    assert time.monotonic() - begun < 10


def test_check_mode_checks_without_waiting_or_failing(start: Start, call: Call) -> None:
    name = start("sleep 60", *CHECK[:2], "--health-interval", "30s")
    answer = call("container_health", name=name, _ansible_check_mode=True)
    assert (answer["status"], answer["failure"], answer.get("failed", False)) == ("starting", "", False)
    missing = call("container_health", name="wtest-never", _ansible_check_mode=True)
    assert (missing["status"], missing.get("failed", False)) == ("no_such_container", False)
    login = call("gateway_login", name=name, _ansible_check_mode=True)
    assert (login["state"], login["cause"]) == ("starting", "")
    assert call("gateway_login", name="wtest-never", _ansible_check_mode=True)["state"] == "absent"


REJECTED = "detected dialog entitled: Unrecognized Username or Password; event=Opened"
LOGIN = f"""
echo '.> Starting IBC in paper mode, with params:'
echo '{IBC}Login dialog WINDOW_OPENED: LoginState is LOGGED_OUT'
echo '{IBC}Setting password'; echo '{IBC}Login attempt: 1 of janedoe'
"""
DONE = f"echo '{IBC}Login has completed'; echo '{IBC}Configuration tasks completed'; sleep 60"


def test_a_login_is_followed_to_ready_and_masked(start: Start, call: Call) -> None:
    name = start(f"{LOGIN} sleep 2; {DONE}", "--env", "TWS_USERID=janedoe", "--env", "TRADING_MODE=paper")

    answer = call("gateway_login", name=name, timeout=20)

    assert (answer["state"], answer["cause"], answer["attempts"]) == ("ready", "", 1)
    assert answer["progress"][-1] == "ready"
    assert [event["state"] for event in answer["events"]][-2:] == ["logged_in", "ready"]
    assert "janedoe" not in json.dumps({key: answer[key] for key in answer if key != "invocation"})
    assert any("Login attempt: 1 of ***" in line for line in answer["log_lines"])


def test_each_change_comes_by_itself_with_the_countdown(start: Start, call: Call) -> None:
    name = start(f"{LOGIN} sleep 1; echo '{IBC}Second Factor Authentication initiated'; sleep 12; {DONE}")
    lines: list[str] = []
    answer = call("gateway_login", name=name, timeout=5, until="change")
    while not answer["done"]:
        lines += answer["progress"]
        answer = call("gateway_login", name=name, timeout=5, until="change", cursor=answer["cursor"])

    # The dialog has extended the 5 s.
    assert answer["state"] == "ready"
    assert [line for line in lines if line.startswith("Approve")] == [
        "Approve the login in IBKR Mobile (180 s left)",
        "Approve the login in IBKR Mobile (170 s left)",
    ]
    assert len(lines) == len(set(lines))


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        (f"{LOGIN} echo '{IBC}{REJECTED}'; sleep 60", "bad_credentials"),
        (f"{LOGIN} echo '{IBC}Connection to server failed: Server error'; sleep 60", "server_down"),
        ("echo '.> Invalid TRADING_MODE: foo'; exit 1", "invalid_trading_mode"),
        (f"{LOGIN} sleep 2; exit 5", "exited"),
        (f"{LOGIN} sleep 60", "timeout"),
    ],
)
def test_a_failed_login_has_its_cause(start: Start, call: Call, script: str, cause: str) -> None:
    name = start(script)
    answer = call("gateway_login", name=name, timeout=4)
    assert answer["failed"]
    assert answer["cause"] == cause
    assert f"[{cause}]" in answer["msg"]
    assert answer["remedy"]
    # Faults that the gateway fixes by itself are waited for; the rest are not.
    assert (answer["waited"] >= 4) is (cause in {"server_down", "timeout"})


def test_lines_of_an_earlier_run_do_not_count(start: Start, call: Call, environment: dict[str, str]) -> None:
    name = start(f"if test -e /again; then {LOGIN} {DONE}; fi; touch /again; echo '{IBC}Login failed'; exit 1")
    docker(environment, "wait", name)
    docker(environment, "start", name)

    answer = call("gateway_login", name=name, timeout=20)

    assert (answer["state"], answer["cause"]) == ("ready", "")
