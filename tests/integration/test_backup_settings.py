"""Invalid settings of the backups are reported together, before the first change; the lookup creates a key once."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLAY = """\
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: Check the settings of the backups
      ansible.builtin.include_role:
        name: host_backup
        tasks_from: preflight
"""


def check(directory: Path, **settings: object) -> tuple[int, str]:
    """Exit code and output, its lines joined."""
    play = directory / "play.yml"
    play.write_text(PLAY)
    done = subprocess.run(
        ["ansible-playbook", str(play), "-e", json.dumps(settings)],
        check=False,
        cwd=ROOT,
        env=os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_ROLES_PATH": str(ROOT / "roles")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_every_invalid_setting_is_named(tmp_path: Path) -> None:
    code, output = check(
        tmp_path,
        host_backup_recipients=["age1short"],
        host_backup_time="3:15",
        host_backup_zone="New York",
        host_backup_retain_count=0,
        host_backup_max_age_hours=12,
    )
    assert code != 0
    for problem in (
        "no public keys of age (age1…): age1short",
        "host_backup_time is 3:15",
        "host_backup_zone is New York",
        "must be 1 or more",
        "host_backup_max_age_hours is 12",
        "Nothing was changed",
    ):
        assert problem in output, output


def test_the_lookup_creates_the_key_of_the_recipients(tmp_path: Path) -> None:
    identity = tmp_path / "identity.txt"
    lookup = "{{ lookup('age_recipient', '" + str(identity) + "', create=true) }}"
    code, output = check(tmp_path, host_backup_recipients=[lookup])
    assert code == 0, output
    assert oct(identity.stat().st_mode)[-3:] == "600"
    assert "AGE-SECRET-KEY" not in output
