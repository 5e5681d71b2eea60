"""restore.yml as Ansible runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--tags", "manager"], "run it without --tags and --skip-tags. Nothing was changed."),
        (["--skip-tags", "backup"], "run it without --tags and --skip-tags. Nothing was changed."),
        ([], "Name the backup: ansible-playbook restore.yml -e backup=FILE."),
    ],
)
def test_a_restore_of_a_part_is_refused(tmp_path: Path, arguments: list[str], reason: str) -> None:
    """Else the manager would start with an empty journal, and the restore would be refused from then on."""
    inventory = tmp_path / "hosts.yml"
    inventory.write_text("{all: {children: {gateway_hosts: {hosts: {one: {ansible_connection: local}}}}}}")
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "restore.yml", "-i", inventory, *arguments],
        env=dict(os.environ) | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert reason in " ".join(output.split()), output
    assert "one" not in [line.split(":")[0].strip() for line in output.partition("PLAY RECAP")[2].splitlines()]
