"""The services that an upgrade does not verify are restarted after it, if they run another release."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import jinja2
import pytest
import yaml

TASKS = Path(__file__).parents[2] / "roles" / "host_upgrade" / "tasks" / "restart_observers.yml"
SYSTEMCTL = """\
#!/bin/sh
case "$1" in
  is-active) [ "$3" != "{inactive}.service" ] ;;
  show) echo "Mon 2026-11-30 06:41:15.123456 UTC" ;;
  restart) echo "$2" >> {record}; [ "$2" != "{broken}.service" ] ;;
esac
"""


def restarted(
    directory: Path, *, switched: bool, programs: tuple[str, ...], inactive: str = "", broken: str = ""
) -> tuple[list[str], list[str]]:
    """The units that the task restarts on a host whose services were started at 06:41:15, and what it reports."""
    release = directory / "releases" / "new"
    (release / "bin").mkdir(parents=True)
    for name in programs:
        (release / "bin" / name).touch(mode=0o755)
    (directory / "current").symlink_to(release)
    moment = 1796020875 + (60 if switched else -60)
    os.utime(directory / "current", (moment, moment), follow_symlinks=False)
    record = directory / "restarted"
    record.touch()
    systemctl = directory / "systemctl"
    systemctl.write_text(SYSTEMCTL.format(record=record, inactive=inactive, broken=broken))
    systemctl.chmod(0o755)
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)  # noqa: S701 - a script, no HTML
    environment.filters["quote"] = shlex.quote
    task, _ = yaml.safe_load(TASKS.read_text())
    script = environment.from_string(task["ansible.builtin.shell"]).render(ib_release_dir=str(directory))
    done = subprocess.run(
        ["/bin/bash", "-c", script],
        check=True,
        env={"PATH": f"{directory}:{os.environ['PATH']}"},
        timeout=30,
        capture_output=True,
        text=True,
    )
    return record.read_text().split(), done.stdout.splitlines()


BOTH = ("ib-dashboard", "alert-relay")


@pytest.mark.parametrize(
    ("switched", "programs", "inactive", "expected"),
    [
        (True, BOTH, "", ["ib-dashboard.service", "alert-relay.service"]),
        (False, BOTH, "", []),
        (True, BOTH, "alert-relay", ["ib-dashboard.service"]),
        # The page ends with its unit's condition; without the receiver nobody would be notified.
        (True, (), "", ["ib-dashboard.service"]),
    ],
)
def test_what_runs_another_release_is_restarted(
    tmp_path: Path, switched: bool, programs: tuple[str, ...], inactive: str, expected: list[str]
) -> None:
    assert restarted(tmp_path, switched=switched, programs=programs, inactive=inactive)[0] == expected


def test_one_that_does_not_start_ends_neither_the_upgrade_nor_the_restart_of_the_other(tmp_path: Path) -> None:
    units, lines = restarted(tmp_path, switched=True, programs=BOTH, broken="ib-dashboard")
    assert units == ["ib-dashboard.service", "alert-relay.service"]
    assert lines == ["failed ib-dashboard", "restarted alert-relay"]
