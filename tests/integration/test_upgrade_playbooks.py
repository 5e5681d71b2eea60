"""upgrade.yml and rollback.yml as Ansible runs them: one host at a time, and none after the first failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "ansible_connection": "local",
    "ansible_python_interpreter": "/usr/bin/python3",
    "ansible_become": False,
    "ib_gateway_userid": "user",
    "ib_gateway_password": "password",
    "ib_gateway_vnc_password": "s3cret-1",
    "ib_gateway_instances": {"not-deployed-anywhere": {}},
    "position_manager_enabled": False,
}
"""Hosts on which nothing is deployed, so that both playbooks fail before their first change."""


@pytest.mark.parametrize(
    ("playbook", "reason"),
    [("upgrade.yml", "is not deployed on this host"), ("rollback.yml", "No upgrade is recorded on this host")],
)
def test_the_second_host_is_not_touched_after_the_first_failed(tmp_path: Path, playbook: str, reason: str) -> None:
    hosts = {
        "gateway_hosts": {"hosts": {"first": {}, "second": {}}, "vars": SETTINGS},
        "aws_account": {},
        "hosts_to_be": {},
        "role_gateway": {},
    }
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"all": {"children": hosts}}))
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), playbook, "-i", inventory],
        env=dict(os.environ) | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert reason in output, output
    recap = dict(line.split(":", 1) for line in output.partition("PLAY RECAP")[2].splitlines() if ":" in line)
    failed = {name.strip(): "failed=1" in counts for name, counts in recap.items()}
    assert failed == {"first": True, "second": False}, output
    # Only the settings of the second were checked.
    reached = [line for line in output.splitlines() if "[second]" in line]
    started = output.index("one at a time]")
    assert reached
    assert "[second]" not in output[started:]
