"""site.yml and restart.yml never change all gateways of a fleet at once, and stop at the first failure."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
HOSTS = ("one", "two", "three", "four")


def play(inventory: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", inventory, *arguments],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_SSH_RETRIES": "0", "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def run(directory: Path, playbook: str, *options: str, hosts: tuple[str, ...] = HOSTS) -> str:
    """The output of a playbook that fails: nothing listens at the address of its hosts."""
    inventory = directory / "hosts.yml"
    names = "".join(f"        {host}: {{ansible_host: 127.0.0.1, ansible_port: 1}}\n" for host in hosts)
    inventory.write_text(f"all:\n  children:\n    gateway_hosts:\n      hosts:\n{names}")
    done = play(inventory, ROOT / playbook, "--tags", "gateway", *options)
    assert done.returncode != 0, done.stdout
    return done.stdout + done.stderr


def reached(directory: Path, *options: str, hosts: tuple[str, ...] = HOSTS) -> list[str]:
    """The hosts that a restart reaches for until the first of them fails."""
    output = run(directory, "restart.yml", *options, hosts=hosts)
    return sorted(re.findall(r"^fatal: \[(\w+)\]: UNREACHABLE", output, re.MULTILINE))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), 2),
        (("-e", "hosts_at_once=1"), 1),
        (("-e", "hosts_at_once=100%"), 4),
        (("-e", '{"hosts_at_once": [1, "100%"]}'), 1),
    ],
)
def test_at_most_so_many_hosts_are_changed_before_the_first_of_them_is_verified(
    tmp_path: Path, options: tuple[str, ...], expected: int
) -> None:
    assert len(reached(tmp_path, *options)) == expected


@pytest.mark.parametrize(
    ("playbook", "value"),
    [
        *(("restart.yml", value) for value in ("0", "-1", "0%", "half", "50 %", "1.5", "[]", "[1, 0]", "null")),
        ("site.yml", "0"),
        ("site.yml", "half"),
    ],
)
def test_another_number_is_one_error_before_the_first_change(tmp_path: Path, playbook: str, value: str) -> None:
    """Ansible takes 0 and -1 as all at once, and reads other texts only after the hosts were created."""
    given = value if value.startswith("[") or value == "null" else json.dumps(value)
    output = run(tmp_path, playbook, "-e", f'{{"hosts_at_once": {given}}}')
    assert "UNREACHABLE" not in output
    assert output.count("FAILED!") == 1, output
    words = " ".join(output.split())
    assert f"hosts_at_once is {given}; it must be a number of hosts from 1 on" in words, output
    assert "Nothing was changed." in words
    # No play follows that of the check.
    last = re.findall(r"^TASK \[(.*?)\]", output, re.MULTILINE)[-1]
    assert last == "Check how many hosts may be changed at a time"


def test_a_fleet_of_one_is_deployed(tmp_path: Path) -> None:
    assert reached(tmp_path, hosts=("one",)) == ["one"]


def test_a_host_that_is_cut_off_ends_the_play_although_its_batch_has_another(tmp_path: Path) -> None:
    """As by a firewall that is deployed: the other half of the fleet must not get the same."""
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    gone = {"ansible_host": "127.0.0.1", "ansible_port": 1}
    hosts = {"one": gone, "two": here, "three": here, "four": here}
    (tmp_path / "hosts.yml").write_text(json.dumps({"all": {"hosts": hosts}}))
    document = {
        "hosts": "all",
        "gather_facts": False,
        "serial": "50%",
        "max_fail_percentage": 0,
        "tasks": [
            {"ansible.builtin.command": "true"},
            {"ansible.builtin.import_tasks": str(ROOT / "playbooks/tasks/all_reached.yml")},
        ],
    }
    (tmp_path / "play.yml").write_text(json.dumps([document]))
    done = play(tmp_path / "hosts.yml", tmp_path / "play.yml")
    assert "one failed or cannot be reached, so the hosts after two are not changed" in " ".join(done.stdout.split())
    assert re.findall(r"^changed: \[(\w+)\]", done.stdout, re.MULTILINE) == ["two"]


@pytest.mark.parametrize("name", ["site.yml", "restart.yml"])
def test_each_play_that_changes_gateways_is_limited(name: str) -> None:
    plays = [play for play in yaml.safe_load((ROOT / "playbooks" / name).read_text()) if play.get("become")]
    assert plays
    for play in plays:
        assert "hosts_at_once" in play["serial"]
        assert play["max_fail_percentage"] == 0
        last = play.get("post_tasks", play["tasks"])[-1]
        assert last["ansible.builtin.import_tasks"] == "tasks/all_reached.yml"
        assert "when" not in last
