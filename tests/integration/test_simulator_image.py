"""The simulator's image as a container of a real engine, where its variables act on files and processes."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engine import docker, environment

ROOT = Path(__file__).parents[2]
SCRIPTS = ("START_SCRIPTS", "X_SCRIPTS", "IBC_SCRIPTS")
START_SCRIPT_LINES = {
    "START_SCRIPTS": ".> Starting Xvfb server",
    "X_SCRIPTS": ".> API_PORT set to: 4002",
    "IBC_SCRIPTS": "Login has completed",
}
"""What the log shows after each kind of script has run."""


FIND_CONTROLLER = r"""
for process in /proc/[0-9]*; do
  if tr '\0' ' ' < "$process/cmdline" | grep -q ' [i]bcalpha\.ibc\.IbcGateway '; then echo "${process#/proc/}"; fi
done
"""


def image() -> str:
    name: str = json.loads((ROOT / ".sandbox/images.json").read_text())["simulator"]
    return name


@pytest.fixture
def container(tmp_path: Path) -> Iterator[str]:
    """A gateway with one script of each kind, and START_SCRIPTS with one that fails; not started."""
    for kind in SCRIPTS:
        directory = tmp_path / kind
        directory.mkdir()
        (directory / "20_hello.sh").write_text(f"echo hello from {kind} on $DISPLAY\n")
    (tmp_path / "START_SCRIPTS" / "10_fails.sh").write_text("exit 3\n")
    variables = {
        "TRADING_MODE": "paper",
        "TWS_USERID": "user",
        "TWS_PASSWORD": "word",
        "GATEWAY_SIMULATOR_START_SECONDS": "1",
        **{kind: kind for kind in SCRIPTS},
    }
    settings = [part for name, value in variables.items() for part in ("--env", f"{name}={value}")]
    created = docker("create", "--name", f"scripts-{uuid.uuid4().hex[:12]}", *settings, image())
    assert created.returncode == 0, created.stderr
    name = created.stdout.strip()
    for kind in SCRIPTS:
        assert docker("cp", str(tmp_path / kind), f"{name}:/home/ibgateway/").returncode == 0
    yield name
    docker("rm", "--force", name)


def log_until(container: str, last: str) -> list[str]:
    """The container's log up to the line that ends with ``last``."""
    lines: list[str] = []
    command = ["timeout", "30", "docker", "logs", "--follow", container]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as follow:
        assert follow.stdout is not None
        for line in follow.stdout:
            lines.append(line.rstrip())
            if lines[-1].endswith(last):
                follow.terminate()
                return lines
    raise AssertionError(f"the log never said {last!r}: {lines}")


def test_the_users_scripts_run_at_their_places_and_a_failed_one_stops_nothing(container: str) -> None:
    assert docker("start", container).returncode == 0
    lines = log_until(container, "Login has completed")
    for kind, after in START_SCRIPT_LINES.items():
        said = next(number for number, line in enumerate(lines) if line.startswith(f"hello from {kind} on :1"))
        assert said < next(number for number, line in enumerate(lines) if line.endswith(after)), lines
    failed = lines.index("> Running /home/ibgateway/START_SCRIPTS/10_fails.sh")
    assert lines[failed + 1] == "File /home/ibgateway/START_SCRIPTS/10_fails.sh not found."


@pytest.fixture
def logging_in() -> Iterator[str]:
    """A container whose next login meets the session of one that did not log out; not started."""
    variables = {
        "TRADING_MODE": "paper",
        "TWS_USERID": "user",
        "TWS_PASSWORD": "word",
        "EXISTING_SESSION_DETECTED_ACTION": "primary",
        "GATEWAY_SIMULATOR_START_SECONDS": "1",
        "GATEWAY_SIMULATOR_EXISTING_SESSION": "after_hard_stop",
    }
    settings = [part for name, value in variables.items() for part in ("--env", f"{name}={value}")]
    created = docker("create", "--name", f"stopped-{uuid.uuid4().hex[:12]}", *settings, image())
    assert created.returncode == 0, created.stderr
    name = created.stdout.strip()
    yield name
    docker("rm", "--force", name)


def sessions_met(container: str, logins: int) -> int:
    """Start the container; return how often its logins, of which this is the nth, have met an earlier session."""
    assert docker("start", container).returncode == 0
    command = ["timeout", "30", "docker", "logs", "--follow", container]
    met = 0
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as follow:
        assert follow.stdout is not None
        for line in follow.stdout:
            met += line.endswith("(scenario 3)\n")
            logins -= line.endswith("Login has completed\n")
            if not logins:
                follow.terminate()
                return met
    raise AssertionError("the login never completed")


def test_only_a_controller_that_is_terminated_before_the_container_logs_out(logging_in: str) -> None:
    assert sessions_met(logging_in, 1) == 0
    assert docker("stop", "-t", "30", logging_in).returncode == 0
    assert sessions_met(logging_in, 2) == 1, "the image ends the display first: no logout"
    (pid,) = docker("exec", logging_in, "sh", "-c", FIND_CONTROLLER).stdout.split()
    assert docker("exec", logging_in, "sh", "-c", f"kill -TERM {pid}").returncode == 0
    assert docker("wait", logging_in).stdout.strip() == "143"
    log = docker("logs", logging_in).stdout.splitlines()
    assert sum(line.endswith("detected dialog entitled: Shutdown progress; event=Opened") for line in log) == 1
    assert log.index("IBC returned exit status 143") < len(log)
    assert sessions_met(logging_in, 3) == 1, "this login met none"


def test_container_is_deaf_to_a_stop_before_it_has_started_everything() -> None:
    deaf = docker(
        "run", "--detach", "--env", "TRADING_MODE=paper", "--env", "GATEWAY_SIMULATOR_STOP_DEAF_SECONDS=300", image()
    )
    assert deaf.returncode == 0, deaf.stderr
    name = deaf.stdout.strip()
    try:
        log_until(name, ".> Starting Xvfb server")
        assert docker("stop", "-t", "1", name).returncode == 0
        assert docker("wait", name).stdout.strip() == "137", "the engine had to kill it"
    finally:
        docker("rm", "--force", name)


def test_wrong_password_set_while_it_runs_is_wrong_in_the_next_container() -> None:
    variables = {
        "TRADING_MODE": "paper",
        "TWS_USERID": "user",
        "TWS_PASSWORD": "word",
        "TWS_SETTINGS_PATH": "/settings",
        "GATEWAY_SIMULATOR_START_SECONDS": "1",
    }
    settings = [part for name, value in variables.items() for part in ("--env", f"{name}={value}")]
    volume = f"settings-{uuid.uuid4().hex[:12]}"
    opened = docker(
        "run", "--rm", "--user", "0", "--volume", f"{volume}:/settings", image(), "chown", "1000", "/settings"
    )
    assert opened.returncode == 0, opened.stderr
    try:
        for last in ("IBC: Login has completed", "entitled: Unrecognized Username or Password; event=Opened"):
            started = docker("run", "--detach", "--volume", f"{volume}:/settings", *settings, image())
            assert started.returncode == 0, started.stderr
            name = started.stdout.strip()
            try:
                log_until(name, last)
                done = docker("exec", name, "gateway-simulatorctl", "set", "CREDENTIALS", "bad_a")
                assert done.stdout == (
                    "paper: CREDENTIALS is bad_a from the next start of the gateway on, in the next container too\n"
                )
            finally:
                docker("rm", "--force", name)
    finally:
        docker("volume", "rm", volume)
