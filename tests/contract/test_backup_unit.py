"""The rendered units of the backup: accepted by a real systemd, hardened, and at a time that exists."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from tests.engine import docker, sandbox_image

ROLE = Path(__file__).parents[2] / "roles" / "host_backup"
PROGRAM = "/opt/ib-gateway-ansible/current/bin/host-backup"


def render(name: str, reaches_out: bool = False, **settings: Any) -> str:
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    environment = jinja2.Environment(  # noqa: S701 - a unit file, no HTML
        loader=jinja2.FileSystemLoader(ROLE / "templates"), undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    return environment.get_template(f"{name}.j2").render(
        ansible_managed="Ansible managed",
        __host_backup_program=PROGRAM,
        __host_backup_reaches_out=reaches_out,
        __host_backup_settings={name.removeprefix("host_backup_"): value for name, value in defaults.items()}
        | settings,
    )


def analyze(service: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze of the sandbox host's systemd on the units, in a container that is gone afterwards."""
    script = (
        f"mkdir -p {Path(PROGRAM).parent} && printf '#!/bin/sh\\n' > {PROGRAM} && chmod +x {PROGRAM} "
        "&& cd /etc/systemd/system && cat > host-backup.service "
        f"&& printf %s {shlex.quote(render('host-backup.timer'))} > host-backup.timer "
        f"&& systemd-analyze {shlex.join(arguments)}"
    )
    return docker("run", "--rm", "--interactive", "--entrypoint", "sh", sandbox_image(), "-c", script, stdin=service)


@pytest.mark.parametrize("reaches_out", [False, True])
def test_systemd_accepts_the_units_without_a_word(reaches_out: bool) -> None:
    units = ("./host-backup.service", "./host-backup.timer")
    result = analyze(render("host-backup.service", reaches_out), "verify", "--man=no", *units)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize("reaches_out", [False, True])
def test_the_exposure_is_at_most_two(reaches_out: bool) -> None:
    security = ("security", "--offline=true", "--threshold=20", "--no-pager", "./host-backup.service")
    result = analyze(render("host-backup.service", reaches_out), *security)
    assert result.returncode == 0, result.stdout


def test_a_loose_unit_is_seen_by_the_same_check() -> None:
    loose = render("host-backup.service").replace("ProtectSystem=strict\n", "").replace("CapabilityBoundingSet=", "#")
    security = ("security", "--offline=true", "--threshold=20", "--no-pager", "./host-backup.service")
    assert analyze(loose, *security).returncode != 0


def test_it_reads_the_state_of_others_and_writes_its_own_only() -> None:
    unit = render("host-backup.service")
    assert "CapabilityBoundingSet=CAP_DAC_READ_SEARCH\n" in unit
    assert "ReadWritePaths" not in unit
    assert "IPAddressDeny=any\n" in unit
    assert "IPAddressDeny" not in render("host-backup.service", reaches_out=True)


def test_the_timer_runs_each_night_at_the_time_of_the_setting() -> None:
    timer = render("host-backup.timer", time="04:30", zone="Europe/Berlin")
    assert "OnCalendar=*-*-* 04:30:00 Europe/Berlin\n" in timer
    assert "Persistent=true\n" in timer
    calendar = ("calendar", "--iterations=2", "*-*-* 03:15:00 America/New_York")
    assert analyze(render("host-backup.service"), *calendar).returncode == 0
