"""restore.yml as Ansible runs it, and each playbook that needs all of its steps."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.host_backup import hosts

ROOT = Path(__file__).parents[2]


TWO_HOSTS = "{all: {children: {gateway_hosts: {hosts: {one: {ansible_connection: local}, sandbox: {}}}}}}"


def run_restore(directory: Path, *arguments: str) -> tuple[int, str]:
    return run("restore.yml", directory, *arguments)


def run(playbook: str, directory: Path, *arguments: str) -> tuple[int, str]:
    """The exit status and the output of a playbook on two hosts."""
    inventory = directory / "hosts.yml"
    inventory.write_text(TWO_HOSTS)
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), playbook, "-i", inventory, *arguments],
        env=dict(os.environ) | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def check_refused(status: int, output: str, reason: str, *, by: str = "localhost") -> None:
    assert status != 0
    assert reason in " ".join(output.split()), output
    recap = [line.split(":")[0].strip() for line in output.partition("PLAY RECAP")[2].splitlines() if ":" in line]
    # The check that all steps run is a task of the first host.
    assert set(recap) in ({by}, {by, "one"}), output
    assert "Check that each setting of each role" not in output


@pytest.mark.parametrize("playbook", ["restore.yml", "backup.yml", "upgrade.yml", "rollback.yml"])
@pytest.mark.parametrize("arguments", [("--tags", "manager"), ("--skip-tags", "backup")], ids=" ".join)
def test_a_part_of_it_is_refused(tmp_path: Path, playbook: str, arguments: tuple[str, ...]) -> None:
    """A restore would start the manager with an empty journal; the others would do nothing, and succeed."""
    found = run(playbook, tmp_path, *arguments)
    check_refused(*found, "run it without --tags and --skip-tags. Nothing was changed.", by="one")


def test_a_restore_needs_a_backup(tmp_path: Path) -> None:
    check_refused(*run_restore(tmp_path), "Name the backup: ansible-playbook restore.yml -e backup=FILE.")


def test_a_limit_without_this_machine_is_refused(tmp_path: Path) -> None:
    """It skips the checks on the controller, and the hosts would be deployed without the restored state."""
    found = run_restore(tmp_path, "--limit", "one", "-e", "backup=/nowhere.age")
    check_refused(*found, "Write --limit one,localhost, or omit it. Nothing was changed.", by="one")


@pytest.fixture
def backup(tmp_path: Path) -> tuple[str, ...]:
    """The arguments that name a backup of the host sandbox and its key."""
    identity, file = tmp_path / "identity.txt", tmp_path / "backup.age"
    hosts.back_up(hosts.build(tmp_path / "host"), file, identity)
    return ("-e", f"backup={file}", "-e", f"host_backup_identity_file={identity}")


def test_a_limit_without_the_host_of_the_backup_is_refused(tmp_path: Path, backup: tuple[str, ...]) -> None:
    """Only the others would be deployed, and nothing restored."""
    found = run_restore(tmp_path, "--limit", "one,localhost", *backup)
    check_refused(*found, "is restored on sandbox, which --limit one,localhost excludes.")


def test_the_former_host_is_not_deployed_beside_the_new_one(tmp_path: Path, backup: tuple[str, ...]) -> None:
    """Both would log in with the same user."""
    found = run_restore(tmp_path, "-e", "restore_host=one", *backup)
    check_refused(*found, "sandbox would be deployed and started beside one, which takes its place.")


@pytest.mark.parametrize(
    ("limit", "more"), [("s*,localhost", ()), ("one,localhost", ("-e", "restore_host=one"))], ids=["same", "moved"]
)
def test_a_limit_to_the_restored_host_is_possible(
    tmp_path: Path, backup: tuple[str, ...], limit: str, more: tuple[str, ...]
) -> None:
    _, output = run_restore(tmp_path, "--limit", limit, *more, *backup)
    assert "sandbox-20261130T081500Z: decrypted" in output, output
    assert "Check that each setting of each role" in output
