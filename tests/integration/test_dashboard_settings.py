"""Invalid settings of the status page, and a port of it or of the monitoring that is taken, are reported before the
first change."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLAY = """\
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: Check the settings of the status page
      ansible.builtin.include_role:
        name: dashboard
        tasks_from: "{{ item }}"
      loop: [preflight, preflight_host]
"""
GATEWAY = {
    "name": "ib-gateway",
    "apis": [{"port": 4002}],
    "vnc_port": 5900,
    "metrics_port": 9402,
    "config_dir": "/etc/ib-gateway/ib-gateway",
}
FREE = ["socket LISTEN 0 128 0.0.0.0:22 0.0.0.0:*", "socket LISTEN 0 128 127.0.0.1:18765 0.0.0.0:*"]
TAKEN = "socket LISTEN 0 5 127.0.0.1:8765 0.0.0.0:*"


def check(directory: Path, lines: list[str], settings: dict[str, object], text: str = PLAY) -> tuple[int, str]:
    """Exit code and output, its lines joined; `lines` are what was found on the host."""
    play = directory / "play.yml"
    play.write_text(text)
    given = {
        "__ib_gateway_resolved": [GATEWAY],
        "__position_manager_resolved": [{"name": "position-manager", "metrics_port": 9464}],
        "__ib_gateway_host": {"stdout_lines": lines},
        **settings,
    }
    done = subprocess.run(
        ["ansible-playbook", str(play), "-e", json.dumps(given)],
        check=False,
        cwd=ROOT,
        env=os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_ROLES_PATH": str(ROOT / "roles")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())


@pytest.mark.parametrize(
    ("lines", "settings", "problem"),
    [
        (FREE, {"dashboard_port": "4002"}, "dashboard_port is 4002, which a gateway or a position manager"),
        (FREE, {"dashboard_port": 9402}, "dashboard_port is 9402, which a gateway or a position manager"),
        (FREE, {"dashboard_port": 9090, "monitoring_enabled": "true"}, "dashboard_port is 9090, which the monitoring"),
        # The page itself listens on another port, and moves to one that is taken.
        ([*FREE, TAKEN, "dashboard 8766"], {}, "Another program listens on port 8765 of localhost"),
    ],
)
def test_a_port_that_cannot_be_used_is_named(
    tmp_path: Path, lines: list[str], settings: dict[str, object], problem: str
) -> None:
    code, output = check(tmp_path, lines, settings)
    assert code != 0 and problem in output and "Nothing was changed." in output, output


@pytest.mark.parametrize(
    ("lines", "settings"),
    [
        ([*FREE, TAKEN, "dashboard 8765"], {}),
        ([*FREE, TAKEN], {"dashboard_enabled": "false"}),
        (FREE, {"dashboard_port": 9090, "monitoring_enabled": "false"}),
    ],
)
def test_a_port_that_is_free_or_its_own_is_accepted(
    tmp_path: Path, lines: list[str], settings: dict[str, object]
) -> None:
    code, output = check(tmp_path, lines, settings)
    assert code == 0, output


def test_a_host_has_the_same_port_with_and_without_a_limit(tmp_path: Path) -> None:
    """Otherwise the page of another host, whose tunnel is open, would answer."""
    inventory, play = tmp_path / "hosts.yml", tmp_path / "play.yml"
    inventory.write_text("gateway_hosts: {hosts: {one: {}, two: {}}}\n")
    play.write_text(
        "- hosts: gateway_hosts\n  connection: local\n  gather_facts: false\n  tasks:\n"
        "    - ansible.builtin.include_role: {name: dashboard, tasks_from: status}\n"
    )
    done = subprocess.run(
        ["ansible-playbook", "-i", str(inventory), str(play), "--limit", "two"],
        check=False,
        cwd=ROOT,
        env=os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_ROLES_PATH": str(ROOT / "roles")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "two: status page at http://127.0.0.1:8766/" in done.stdout, done.stdout + done.stderr


def test_the_port_of_the_tunnel_is_also_read_from_an_inventory(tmp_path: Path) -> None:
    """status.yml prints the address with it."""
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(
        "gateway_hosts: {hosts: {one: {ansible_connection: local}}, vars: {dashboard_tunnel_port: 87}}\n"
    )
    done = subprocess.run(
        ["ansible-playbook", "-i", str(inventory), str(ROOT / "dashboard.yml")],
        check=False,
        cwd=ROOT,
        env=os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    output = " ".join((done.stdout + done.stderr).split())
    assert done.returncode != 0 and "dashboard_tunnel_port is '87'" in output, output


@pytest.mark.parametrize(
    ("lines", "enabled", "problem"),
    [
        ([*FREE, "socket LISTEN 0 128 *:9090 *:*"], "true", "Another program listens on a port of the monitoring"),
        ([*FREE, "socket LISTEN 0 128 [::1]:9095 [::]:*"], "true", "monitoring_relay_port"),
        ([*FREE, "socket LISTEN 0 128 *:9090 *:*", "monitoring present"], "true", ""),
        ([*FREE, "socket LISTEN 0 128 *:9090 *:*"], "false", ""),
        ([*FREE, "socket LISTEN 0 128 *:19090 *:*"], "true", ""),
    ],
)
def test_a_port_of_the_monitoring_that_is_taken_is_named(
    tmp_path: Path, lines: list[str], enabled: str, problem: str
) -> None:
    play = PLAY.replace("dashboard", "monitoring").replace("[preflight, preflight_host]", "[preflight_host]")
    code, output = check(tmp_path, lines, {"monitoring_enabled": enabled}, play)
    assert (code != 0) is bool(problem) and problem in output, output
