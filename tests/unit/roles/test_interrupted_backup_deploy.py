"""A deploy of the backups that was interrupted between the files and systemd is completed by the next one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

ROLES = Path(__file__).parents[3] / "roles"
TIMER, SERVICE = "ActiveState=active\nNeedDaemonReload=no\n", "ActiveState=inactive\nNeedDaemonReload=no\n"


@pytest.mark.parametrize(
    ("timer", "service", "active"),
    [
        (TIMER, SERVICE, True),
        (TIMER, SERVICE.replace("inactive", "activating"), True),
        (TIMER.replace("active", "inactive"), SERVICE, False),
        (TIMER.replace("=no", "=yes"), SERVICE, False),
        (TIMER, SERVICE.replace("=no", "=yes"), False),
    ],
)
def test_a_unit_that_systemd_has_yet_to_read_is_deployed_again(
    tmp_path: Path, timer: str, service: str, active: bool
) -> None:
    tasks = yaml.safe_load((ROLES / "ib_gateway/tasks/preflight_host.yml").read_text())
    script = tasks[0]["ansible.builtin.shell"]
    start = script.index('case "$(systemctl show')
    (tmp_path / "systemctl").write_text(f"#!/bin/sh\nprintf '%s' '{timer}\n{service}'\n")
    (tmp_path / "systemctl").chmod(0o755)
    done = subprocess.run(
        ["/bin/bash", "-euo", "pipefail", "-c", script[start : script.index("esac", start) + 4]],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ("backup-timer active\n" if active else "")


def test_the_next_deploy_lets_systemd_read_both_units() -> None:
    (deploy,) = yaml.safe_load((ROLES / "host_backup/tasks/deploy.yml").read_text())
    names = [service["name"] for service in deploy["host_resources"]["services"]]
    assert names == ["host-backup.service", "host-backup.timer"]
