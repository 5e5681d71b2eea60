"""The engine that is asked for is checked before anything changes, and its own repository's packages are pinned."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
PLAY = """\
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: Say what is installed
      ansible.builtin.set_fact:
        packages: "{{ installed }}"
        cacheable: true
    - name: Look at what would be done
      ansible.builtin.include_role:
        name: docker_engine
"""

PINS = """\
- hosts: localhost
  gather_facts: false
  vars_files: [ROOT/roles/docker_engine/defaults/main.yml, ROOT/roles/docker_engine/vars/main.yml]
  tasks:
    - name: Say what is installed
      ansible.builtin.set_fact:
        packages: "{{ installed }}"
        cacheable: true
    - name: Show what would be installed
      ansible.builtin.debug:
        msg: "pinned: {{ __docker_engine_is_pinned }}, wanted: {{ __docker_engine_wanted.docker | join(' ') }}."
""".replace("ROOT", str(ROOT))


def check(directory: Path, installed: dict[str, str], text: str = PLAY, **settings: Any) -> tuple[int, str]:
    """A play in check mode on a machine with these packages: exit code and output, its lines joined."""
    play = directory / "play.yml"
    play.write_text(text)
    packages = {name: [{"name": name, "version": version}] for name, version in installed.items()}
    done = subprocess.run(
        ["ansible-playbook", str(play), "--check", "-e", json.dumps({"installed": packages, **settings})],
        check=False,
        cwd=ROOT,
        env=os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_ROLES_PATH": str(ROOT / "roles")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())


@pytest.mark.parametrize(
    ("installed", "settings"),
    [
        ({}, {"docker_engine_source": "docker", "docker_engine_version": "latest"}),
        ({"docker.io": "20.10.24+dfsg1-1"}, {"docker_engine_source": "docker"}),
        ({"docker-ce": "5:28.5.2-1~debian.12~bookworm"}, {}),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, installed: dict[str, str], settings: dict[str, str]) -> None:
    code, output = check(tmp_path, installed, **settings)
    assert code != 0
    assert "Nothing has been changed" in output


def test_packages_of_docker_s_own_are_pinned(tmp_path: Path) -> None:
    installed = {"docker-ce": "5:28.5.1-1~debian.12~bookworm"}
    chosen = {"docker_engine_source": "docker", "docker_engine_version": "28.5.1"}
    _, output = check(tmp_path, installed, PINS, **chosen)
    wanted = "docker-ce=5:28.5.1-* docker-ce-cli=5:28.5.1-* containerd.io iptables"
    assert f"pinned: True, wanted: {wanted}." in output, output
    _, output = check(tmp_path, installed, PINS, **chosen | {"docker_engine_version": "28.5.2"})
    assert "pinned: False, wanted: docker-ce=5:28.5.2-*" in output, output
