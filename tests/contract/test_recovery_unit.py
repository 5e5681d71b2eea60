"""The unit that reports and recovers the others: accepted by a real systemd, hardened, named by each unit of a role."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import jinja2
import pytest
from tests.engine import docker, sandbox_image

ROLES = Path(__file__).parents[2] / "roles"
NAME = "unit-recovery@.service"
WITHOUT_RECOVERY = {
    "ib-dashboard.service.j2": "StartLimitIntervalSec=0",  # systemd restarts it for ever, so it never fails
    "screen@.service.j2": "StandardInput=socket",  # the page reports its failure; the next click starts another
    "cloudwatch-metric.service.j2": "counts missing data as a fault",  # the alarm reports it
}
"""Units that are not to be recovered, with the line of the unit that shows why."""


def render() -> str:
    environment = jinja2.Environment(  # noqa: S701 - a unit file, no HTML
        loader=jinja2.FileSystemLoader(ROLES / "ib_release/templates"), undefined=jinja2.StrictUndefined
    )
    return environment.get_template(f"{NAME}.j2").render(
        ansible_managed="Ansible managed",
        ib_release_dir="/opt/ib-gateway-ansible",
        __ib_release_recovery_dir="/usr/local/lib/ib-gateway-ansible",
    )


def analyze(unit: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze of the sandbox host's systemd on the unit, in a container that is gone afterwards."""
    script = (
        f"cd /etc/systemd/system && cat > {NAME} && cp {NAME} unit-recovery@x.service "
        "&& printf '[Service]\\nExecStart=/bin/true\\n' > x.service "
        f"&& systemd-analyze {shlex.join(arguments)}"
    )
    return docker("run", "--rm", "--interactive", "--entrypoint", "sh", sandbox_image(), "-c", script, stdin=unit)


def test_systemd_accepts_the_unit_without_a_word() -> None:
    result = analyze(render(), "verify", "--man=no", "./unit-recovery@x.service")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_it_needs_no_part_of_a_release_and_no_directory_on_disk() -> None:
    unit = render()
    assert "ExecStart=/usr/bin/python3 -m unit_recovery %i.service\n" in unit
    for needed in ("LoadCredential", "ReadWritePaths", "User=", "StateDirectory", "ExecStartPre", "ProtectSystem"):
        assert needed not in unit
    assert "RuntimeDirectoryPreserve=yes\n" in unit


def test_who_stops_a_unit_stops_its_recovery() -> None:
    assert "PartOf=%i.service\n" in render()


@pytest.mark.parametrize("template", sorted(ROLES.glob("*/templates/*.service.j2")), ids=lambda path: path.stem)
def test_each_unit_of_a_role_names_it(template: Path) -> None:
    unit = template.read_text()
    if template.name == f"{NAME}.j2":
        assert "\nOnFailure=" not in unit
    elif template.name in WITHOUT_RECOVERY:
        assert "OnFailure=" not in unit and WITHOUT_RECOVERY[template.name] in unit
    else:
        assert "OnFailure=unit-recovery@%N.service\n" in unit


def test_a_reboot_in_its_window_is_never_repeated_and_a_firewall_is() -> None:
    baseline = ROLES / "host_baseline/templates"
    assert "Restart=" not in (baseline / "weekend-reboot.service.j2").read_text()
    assert "Restart=on-failure\n" in (baseline / "host-firewall.service.j2").read_text()
