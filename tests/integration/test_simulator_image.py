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
"""What the log says after each kind of script has run."""


@pytest.fixture
def container(tmp_path: Path) -> Iterator[str]:
    """A gateway with one script of each kind, and START_SCRIPTS with one that fails; not started."""
    image = json.loads((ROOT / ".sandbox/images.json").read_text())["simulator"]
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
    created = docker("create", "--name", f"scripts-{uuid.uuid4().hex[:12]}", *settings, image)
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
    lines = log_until(container, "Configuration tasks completed")
    for kind, after in START_SCRIPT_LINES.items():
        said = next(number for number, line in enumerate(lines) if line.startswith(f"hello from {kind} on :1"))
        assert said < next(number for number, line in enumerate(lines) if line.endswith(after)), lines
    failed = lines.index("> Running /home/ibgateway/START_SCRIPTS/10_fails.sh")
    assert lines[failed + 1] == "File /home/ibgateway/START_SCRIPTS/10_fails.sh not found."
