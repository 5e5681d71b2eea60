"""What the baseline inspects on a host, and what it converges there."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from tests.plugins import load

ROOT = Path(__file__).parents[3]
VARIABLES: dict[str, Any] = yaml.safe_load((ROOT / "roles/host_baseline/vars/main.yml").read_text())
PROGRAMS = {
    # As it ends if a name is not known.
    "dpkg-query": (
        "printf 'package %s\\n' 'installed acl 2.3-1' 'config-files chrony 4.3' 'installed nftables 1.0'; exit 1"
    ),
    "swapon": "printf ' 1024\\n2048\\n'",
}
# sudo passes no such variable on, and has it in its own environment.
AS_SUDO = 'env --unset=SSH_CONNECTION bash -c "$SCRIPT" && true'


def script() -> str:
    """The inspection, as a play renders it."""
    environment = jinja2.Environment(autoescape=False)  # noqa: S701 - a script, not a page
    environment.filters["quote"] = shlex.quote
    return environment.from_string(VARIABLES["__host_baseline_inspection"]).render(
        __host_baseline_all_packages=["acl", "nftables"]
    )


def lines(directory: Path, **environment: str) -> list[str]:
    """The lines of the inspection on a machine with these programs."""
    for name, text in PROGRAMS.items():
        (directory / name).write_text(f"#!/bin/sh\n{text}\n")
        (directory / name).chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if name != "SSH_CONNECTION"}
    ran = subprocess.run(
        ["bash", "-c", AS_SUDO],
        env={
            **kept,
            "PATH": f"{directory}:{os.environ['PATH']}",
            "SCRIPT": f"set -euo pipefail\n{script()}",
            **environment,
        },
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout.splitlines()


def test_the_port_is_that_of_the_connection_before_sudo(tmp_path: Path) -> None:
    found = lines(tmp_path, SSH_CONNECTION="198.51.100.7 50000 10.0.0.1 2222")
    assert found == ["package acl 2.3-1", "package nftables 1.0", "swap 1024", "swap 2048", "port 2222"]


def test_another_kind_of_connection_has_no_port(tmp_path: Path) -> None:
    if any(b"SSH_CONNECTION=" in Path(f"/proc/{each}/environ").read_bytes() for each in ancestors()):
        pytest.skip("this test runs over ssh")
    assert [line for line in lines(tmp_path) if line.startswith("port")] == []


def ancestors() -> list[int]:
    found = [os.getpid()]
    while found[-1] > 1:
        status = Path(f"/proc/{found[-1]}/status").read_text()
        found.append(int(status.split("PPid:")[1].split()[0]))
    return [each for each in found if each > 1]


def test_only_the_wanted_parts_are_converged() -> None:
    resources = load("roles/host_baseline/filter_plugins/host_baseline_resources.py").resources
    found = resources(
        VARIABLES["__host_baseline_files"],
        VARIABLES["__host_baseline_commands"],
        VARIABLES["__host_baseline_units"],
        ["firewall", "journal"],
        "/records",
    )
    assert [file["path"] for file in found["files"]] == [
        "/etc/systemd/journald.conf.d/50-ib-gateway-ansible.conf",
        "/etc/host-firewall.nft",
        "/etc/systemd/system/host-firewall.service",
    ]
    assert [directory["path"] for directory in found["directories"]] == [
        "/etc",
        "/etc/systemd/journald.conf.d",
        "/etc/systemd/system",
        "/records",
    ]
    assert [(command["name"], command["record"]) for command in found["commands"]] == [
        ("firewall", "/records/firewall"),
        ("journal", "/records/journal"),
    ]
    assert found["commands"][0]["files"] == ["/etc/host-firewall.nft", "/etc/systemd/system/host-firewall.service"]
    assert found["services"] == [{"name": "host-firewall.service", "enabled": True, "state": "started"}]
