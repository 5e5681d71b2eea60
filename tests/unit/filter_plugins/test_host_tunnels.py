"""The port of each host on the controller, and the command that opens a tunnel, as tunnel.yml runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.plugins import load

ROOT = Path(__file__).parents[3]
host_number = load("filter_plugins/host_tunnels.py").host_number


@pytest.mark.parametrize(
    ("groups", "play_hosts", "number"),
    [
        ({"gateway_hosts": ["one", "two"]}, ["two"], 1),
        ({"gateway_hosts": ["to-be", "two"], "hosts_to_be": ["to-be"]}, ["two"], 0),
        ({}, ["one", "two"], 1),
    ],
)
def test_a_host_has_the_same_number_in_each_play(
    groups: dict[str, list[str]], play_hosts: list[str], number: int
) -> None:
    assert host_number("two", groups, play_hosts) == number


SSH = """#!/bin/sh
# The control socket exists already, so that no tunnel is opened.
for word in "$@"; do echo "[$word]"; done >> "$CALLS"
"""


def test_tunnel_yml_uses_the_connection_of_the_host_with_its_own_port(tmp_path: Path) -> None:
    """With --limit as without it: otherwise the screen of another host, whose tunnel is open, would answer."""
    (tmp_path / "ssh").write_text(SSH)
    (tmp_path / "ssh").chmod(0o755)
    (tmp_path / "hosts.yml").write_text(
        "gateway_hosts:\n  hosts:\n    one: {}\n"
        "    two:\n      ansible_host: 192.0.2.2\n      ansible_port: 2222\n      ansible_user: deployer\n"
        "      ansible_ssh_private_key_file: ~/a key\n"
        "      ansible_ssh_common_args: -o ProxyCommand='{{ program }} %h'\n      program: connect\n"
    )
    done = subprocess.run(
        [
            *(Path(sys.executable).with_name("ansible-playbook"), "-i", tmp_path / "hosts.yml", ROOT / "tunnel.yml"),
            *("--limit", "two", "-e", "tunnel=open", "-e", f"ansible_python_interpreter={sys.executable}", "-v"),
        ],
        cwd=ROOT,
        env={
            **os.environ,
            **{"PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLS": str(tmp_path / "calls"), "HOME": str(tmp_path)},
            **{"ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_HOME": str(tmp_path / "home of ansible")},
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (tmp_path / "calls").read_text().splitlines() == [
        *("[-o]", "[ProxyCommand=connect %h]", "[-p]", "[2222]", "[-l]", "[deployer]", "[-i]", f"[{tmp_path}/a key]"),
        *("[-o]", "[BatchMode=yes]", "[-o]", f'[ControlPath="{tmp_path}/home of ansible/tunnel-%C"]', "[192.0.2.2]"),
        *("[-O]", "[check]"),
    ], done.stdout + done.stderr
    # Nobody listens there, so the play ends with the port of the second host.
    assert "The screen does not answer on 127.0.0.1:5910." in " ".join(done.stdout.split())
