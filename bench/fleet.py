"""A fleet: what each host costs the controller: ``python -m bench.fleet``, from the root.

Hosts at the level of the connection: an inventory of many names, each on this machine, on which a play runs what
`status.yml` asks of a host: modules as processes of their own, Ansible's workers, results. More hosts than forks share
them; the rows with other forks show what the setting moves.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.simulator import ROOT

HOSTS = (1, 4, 8, 50, 200)
FORKS = 20
OTHER_FORKS = (2, 5, 10, 40)
TASKS = 6
"""Module runs on each host: as many as `status.yml` needs."""
PLAY = """\
- name: Ask each host for its status
  hosts: fleet
  gather_facts: false
  tasks:
    - name: Run a module of the size of status
      ansible.builtin.stat: {path: "/etc/hostname", get_checksum: true}
      loop: "{{ range(%d) | list }}"
"""


@dataclass(frozen=True)
class Cost:
    """Seconds of the run, and the most MiB that the controller's processes used at once."""

    seconds: float
    mebibytes: float


def resident(controller: int) -> float:
    """MiB of the controller and its workers, which lead sessions of their own; memory that they share is divided among
    them. What runs on the hosts is not counted."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    total = 0.0
    for process in (controller, *(child for child, parent in parents.items() if parent == controller)):
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{process}/smaps_rollup").read_text()
            found = re.search(r"^Pss: +(\d+) kB", text, re.MULTILINE)
            total += int(found[1]) / 1024 if found else 0.0
    return total


def timed(command: Sequence[str], forks: int) -> Cost:
    """Run a command; RuntimeError with its output if it fails."""
    started = time.monotonic()
    process = subprocess.Popen(  # noqa: S603 - arguments of ours
        command,
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_FORKS": str(forks), "ANSIBLE_NOCOLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    most, done = 0.0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.3):
            most = max(most, resident(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    output, _ = process.communicate()
    passed = time.monotonic() - started
    done.set()
    watcher.join()
    if process.returncode:
        raise RuntimeError(output[-2000:])
    return Cost(passed, most)


def connection_level(hosts: int, forks: int) -> Cost:
    """A play over so many names."""
    python = sys.executable
    with tempfile.TemporaryDirectory() as name:
        inventory, play = Path(name, "hosts.yml"), Path(name, "play.yml")
        names: dict[str, object] = {f"host{number:03}": {} for number in range(hosts)}
        variables = {"ansible_connection": "local", "ansible_python_interpreter": python}
        inventory.write_text(json.dumps({"fleet": {"hosts": names, "vars": variables}}))
        play.write_text(PLAY % TASKS)
        command = [str(Path(python).with_name("ansible-playbook")), "-i", str(inventory), str(play)]
        return timed(command, forks)


def row(what: str, hosts: int, forks: int, cost: Cost) -> dict[str, object]:
    """A row of the table."""
    return {
        "what": what,
        "hosts": hosts,
        "forks": forks,
        "seconds": cost.seconds,
        "seconds a host": cost.seconds / hosts,
        "controller MiB": cost.mebibytes,
        "controller MiB a host": cost.mebibytes / hosts,
    }


def rows() -> list[dict[str, object]]:
    """For each number of hosts, and for other numbers of forks at the largest but one."""
    found = [row("status, connection level", hosts, FORKS, connection_level(hosts, FORKS)) for hosts in HOSTS]
    return found + [row("status, other forks", 50, forks, connection_level(50, forks)) for forks in OTHER_FORKS]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the rows."""
    parser = argparse.ArgumentParser(prog="python -m bench.fleet", description=__doc__)
    parser.parse_args(arguments)
    for each in rows():
        sys.stdout.write(json.dumps(each) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
