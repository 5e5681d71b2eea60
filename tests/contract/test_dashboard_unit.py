"""The rendered units of the status page: accepted by a real systemd, hardened, and without a way to secrets."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from tests.engine import docker, sandbox_image

from host_backup import swapping

ROLE = Path(__file__).parents[2] / "roles" / "dashboard"
GATEWAYS = [
    {
        "name": name,
        "config_dir": f"/etc/ib-gateway/{name}",
        "state_dir": f"/var/lib/ib-gateway/{name}/state",
        "secrets_dir": f"/etc/ib-gateway/{name}/secrets",
    }
    for name in ("ib-gateway", "ib-gateway-live")
]
MANAGERS = [{"name": "position-manager", "state_dir": "/var/lib/position-manager/position-manager"}]
PAGE, SOCKET, SCREEN = "ib-dashboard.service", "ib-gateway-screen.socket", "ib-gateway-screen@.service"
TEMPLATES = {PAGE: "ib-dashboard.service.j2", SOCKET: "screen.socket.j2", SCREEN: "screen@.service.j2"}


def render(unit: str, **changes: Any) -> str:
    environment = jinja2.Environment(  # noqa: S701 - a unit file, no HTML
        loader=jinja2.FileSystemLoader(ROLE / "templates"), undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    given: dict[str, Any] = {
        "ansible_managed": "Ansible managed",
        "__dashboard_settings": {"port": 8765, "enabled": True},
        "__dashboard_release": "/opt/ib-gateway-ansible/current",
        "__dashboard_user": "ib-dashboard",
        "__dashboard_state_dir": "/var/lib/ib-dashboard",
        "__dashboard_screens_dir": "/run/ib-gateway-screen",
        "__dashboard_gateways": GATEWAYS,
        "__dashboard_managers": MANAGERS,
        "instance": GATEWAYS[0],
    }
    return environment.get_template(TEMPLATES[unit]).render(given | changes)


def analyze(units: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze of the sandbox host's systemd on units, in a container that is gone afterwards."""
    files = "".join(f"printf %s {shlex.quote(text)} > {shlex.quote(name)}; " for name, text in units.items())
    programs = "".join(
        f"printf '#!/bin/sh\\n' > /opt/ib-gateway-ansible/current/bin/{name}; "
        f"chmod +x /opt/ib-gateway-ansible/current/bin/{name}; "
        for name in ("ib-dashboard", "gateway-watch")
    )
    script = (
        f"mkdir -p /opt/ib-gateway-ansible/current/bin; cd /etc/systemd/system; {files}{programs}"
        f"useradd --system ib-dashboard; systemd-analyze {shlex.join(arguments)}"
    )
    return docker("run", "--rm", "--interactive", "--entrypoint", "sh", sandbox_image(), "-s", stdin=script)


UNITS = {unit: render(unit) for unit in TEMPLATES}


def test_systemd_accepts_the_units_without_a_word() -> None:
    result = analyze(UNITS, "verify", "--man=no", f"./{PAGE}", f"./{SOCKET}")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_a_broken_unit_is_seen_by_the_same_check() -> None:
    broken = UNITS | {PAGE: UNITS[PAGE].replace("Restart=always", "Restart=sometimes")}
    assert "sometimes" in analyze(broken, "verify", "--man=no", f"./{PAGE}").stderr


@pytest.mark.parametrize(("unit", "shown"), [(PAGE, PAGE), (SCREEN, "ib-gateway-screen@0.service")])
def test_the_exposure_is_at_most_two(unit: str, shown: str) -> None:
    # A template is rated by a name of its own.
    result = analyze({shown: UNITS[unit]}, "security", "--offline=true", "--threshold=20", "--no-pager", f"./{shown}")
    assert result.returncode == 0, result.stdout


def test_a_loose_unit_is_seen_by_the_same_check() -> None:
    loose = UNITS[PAGE].replace("ProtectSystem=strict\n", "").replace("CapabilityBoundingSet=CAP_DAC_READ_SEARCH\n", "")
    security = ("security", "--offline=true", "--threshold=20", "--no-pager", f"./{PAGE}")
    assert analyze({PAGE: loose}, *security).returncode != 0


def values(unit: str, key: str) -> list[str]:
    return [part for line in unit.splitlines() if line.startswith(f"{key}=") for part in line.partition("=")[2].split()]


def test_the_page_sees_the_files_that_it_shows_and_no_others() -> None:
    page = UNITS[PAGE]
    assert values(page, "TemporaryFileSystem") == ["/etc:ro", "/run:ro", "/var:ro"]
    assert sorted(path.lstrip("-") for path in values(page, "BindReadOnlyPaths")) == sorted(
        [
            "/etc/localtime",
            "/etc/machine-id",
            *(f"{gateway['config_dir']}/instance.json" for gateway in GATEWAYS),
            *(gateway["state_dir"] for gateway in GATEWAYS),
            *(manager["state_dir"] for manager in MANAGERS),
            "/run/ib-gateway",
            "/run/position-manager",
            "/run/ib-gateway-screen",
            "/run/systemd",
            "/run/dbus",
            "/run/log/journal",
            "/var/log/journal",
        ]
    )
    hidden = values(page, "InaccessiblePaths")
    assert {f"-{gateway['state_dir']}/screenshots" for gateway in GATEWAYS} <= set(hidden), "they show text"
    # What it can write.
    assert values(page, "BindPaths") == ["/var/lib/ib-dashboard"]
    assert values(page, "ReadWritePaths") == []
    assert "secrets" not in page and "docker" not in page and "LoadCredential" not in page


def test_a_release_without_the_page_does_not_restart_it_for_ever() -> None:
    assert values(UNITS[PAGE], "ConditionFileIsExecutable") == ["/opt/ib-gateway-ansible/current/bin/ib-dashboard"]
    program = values(UNITS[PAGE], "ExecStart")[0]
    assert program == "/opt/ib-gateway-ansible/current/bin/ib-dashboard"


def test_a_restore_restarts_the_page() -> None:
    """It replaces the directories of which the service has been given the former ones."""
    record = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())["__dashboard_restored"]
    backup = yaml.safe_load((ROLE.parent / "host_backup" / "vars" / "main.yml").read_text())
    assert record == f"{backup['__host_backup_state_dir']}/{swapping.RESTORED}"
    *_, task = yaml.safe_load((ROLE / "tasks" / "deploy.yml").read_text())
    assert "__dashboard_restored]" in task["host_resources"]["services"]


def test_the_page_can_read_and_do_nothing_else() -> None:
    page = UNITS[PAGE]
    assert values(page, "AmbientCapabilities") == values(page, "CapabilityBoundingSet") == ["CAP_DAC_READ_SEARCH"]
    # By a handle it would reach files that it does not see.
    assert "open_by_handle_at" in values(page, "SystemCallFilter")
    assert (values(page, "User"), values(page, "NoNewPrivileges")) == (["ib-dashboard"], ["true"])
    assert "SupplementaryGroups" not in page
    for unit in (page, UNITS[SCREEN]):
        assert (values(unit, "IPAddressDeny"), values(unit, "IPAddressAllow")) == (["any"], ["localhost"])


def test_the_password_of_the_screen_is_a_credential_of_its_program_alone() -> None:
    assert values(UNITS[SCREEN], "LoadCredential") == ["vnc_password:/etc/ib-gateway/ib-gateway/secrets/vnc_password"]
    assert values(UNITS[SCREEN], "CapabilityBoundingSet") == []
    assert values(UNITS[SOCKET], "DirectoryMode") == ["0700"]
