"""status.yml shows what it can: one program that fails hides nothing of the others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_a_manager_without_a_status_does_not_hide_the_gateways(tmp_path: Path) -> None:
    gateways = [{"name": f"gateway {name}", "argv": ["echo", f"status of {name}"]} for name in ("one", "two")]
    manager = {"name": "manager m", "argv": ["sh", "-c", "echo the reason >&2; exit 2"], "accepted": [0, 1, 3]}
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars": {
            "ansible_python_interpreter": sys.executable,
            "__ib_gateway_status_commands": gateways,
            "__position_manager_status_commands": [manager],
        },
        "tasks": [{"ansible.builtin.import_tasks": str(ROOT / "roles/ib_gateway/tasks/status.yml")}],
    }
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    done = subprocess.run(
        [
            *(Path(sys.executable).with_name("ansible-playbook"), "-i", "localhost,", "-c", "local"),
            tmp_path / "play.yml",
        ],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "status of one\n\nstatus of two\n" in done.stdout
    assert "manager m ended with exit status 2: the reason" in done.stdout + done.stderr
