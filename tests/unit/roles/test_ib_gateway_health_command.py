"""The health command that waits for the port, run by a shell with programs that play the container."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.plugins import load

instances = load("roles/ib_gateway/filter_plugins/ib_gateway_instances.py")

INTERVAL = 3


@dataclass
class Container:
    """`opens_after`: the port is open once so many sleeps have passed, None for never."""

    folder: Path
    opens_after: int | None = 0

    @property
    def marker(self) -> Path:
        return self.folder / "listened"

    def check(self, mode: str = "paper") -> tuple[int, list[str]]:
        """Run one check; its exit status, and the sleeps in it."""
        slept = self.folder / "slept"
        slept.write_text("")
        opens = 10**6 if self.opens_after is None else self.opens_after
        for name, text in (
            ("grep", f'echo "$@" >> {self.folder}/asked; test "$(wc -l < {slept})" -ge {opens}'),
            ("sleep", f'echo "$1" >> {slept}'),
        ):
            (self.folder / name).write_text(f"#!/bin/sh\n{text}\n")
            (self.folder / name).chmod(0o755)
        setting = {"trading_mode": mode, "api_port_paper": 4002, "api_port_live": 4001, "health_interval": INTERVAL}
        command = instances.health_command(setting, waits=True).replace(instances.LISTENED, str(self.marker))
        ended = subprocess.run(["/bin/sh", "-c", command], env={"PATH": f"{self.folder}:/usr/bin:/bin"}, check=False)
        return ended.returncode, slept.read_text().split()


@pytest.fixture
def container(tmp_path: Path) -> Container:
    return Container(tmp_path)


def test_a_check_succeeds_as_soon_as_the_port_opens(container: Container) -> None:
    container.opens_after = 4
    assert container.check() == (0, ["0.2"] * 4)
    assert container.marker.exists()


def test_a_check_fails_once_it_has_waited_nearly_the_interval(container: Container) -> None:
    """With the second between two checks, as often as without waiting: the engine counts its retries."""
    container.opens_after = None
    status, sleeps = container.check()
    assert status == 1
    assert sum(map(float, sleeps)) == pytest.approx(INTERVAL - 1)
    assert not container.marker.exists()


def test_a_check_after_one_that_succeeded_waits_first(container: Container) -> None:
    container.check()
    assert container.check() == (0, [str(INTERVAL - 1)])


def test_a_port_that_has_closed_fails_and_is_waited_for_again(container: Container) -> None:
    container.check()
    container.opens_after = None
    assert container.check() == (1, [str(INTERVAL - 1)])
    container.opens_after = 2
    assert container.check() == (0, ["0.2"] * 2)


def test_both_ports_are_checked_with_both_logins(container: Container) -> None:
    container.check("both")
    asked = (container.folder / "asked").read_text()
    assert ":0FA1 " in asked
    assert ":0FA2 " in asked


def test_a_marker_that_cannot_be_written_fails_no_check(container: Container) -> None:
    (container.folder / "touch").write_text("#!/bin/sh\nexit 1\n")
    (container.folder / "touch").chmod(0o755)
    assert container.check() == (0, [])
