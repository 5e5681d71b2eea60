"""What a deploy that changes nothing takes: ``python -m bench.no_change_deploy``, from the root, after ``make setup``.

``site.yml`` on a sandbox host that it has converged, ``--repeats`` times in turn with another commit's on a host of its
own, and with ``ansible -m ping``; on this machine, and through a proxy that adds a round trip. The other commit is
checked out below .sandbox/bench, and its host is deployed there once. The medians and their ratios count.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from bench.delaying_proxy import delaying_proxy
from bench.simulator import ROOT

BEFORE = "5c54de5"
"""The last commit in which each loop item was a module run of its own."""
ROUND_TRIPS = (0.0, 0.08)
"""Seconds that are added to each round trip."""
RECAP = re.compile(r"^sandbox +: ok=(\d+) +changed=(\d+) +unreachable=(\d+) +failed=(\d+) +skipped=(\d+)", re.MULTILINE)
PING = "ansible -m ping"
PATIENCE = 1800.0


class DeployError(RuntimeError):
    """A deploy failed, or changed something; its output is the message."""


@dataclass(frozen=True)
class Side:
    """A checkout of the project with a sandbox host of its own."""

    name: str
    root: Path

    def run(self, *command: str, port: int | None = None) -> str:
        """The output of one of Ansible's programs in this checkout. Raises DeployError."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        environment["ANSIBLE_NOCOLOR"] = "1"
        options = [] if port is None else [f"--ssh-extra-args=-o Port={port}"]
        ran = subprocess.run(  # noqa: S603 - a program of Ansible with fixed arguments
            [*command, *options],
            cwd=self.root,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        if ran.returncode != 0:
            raise DeployError(f"{self.name}: {' '.join(command)}\n{ran.stdout}{ran.stderr}")
        return ran.stdout

    def deploy(self, port: int | None = None) -> tuple[int, int]:
        """Run site.yml: how many tasks there were, and how many changed something. Raises DeployError."""
        output = self.run("ansible-playbook", "site.yml", port=port)
        found = RECAP.search(output)
        if found is None:
            raise DeployError(f"{self.name}: no recap of the host sandbox\n{output}")
        ok, changed, _, _, skipped = map(int, found.groups())
        return ok + skipped, changed

    def ping(self, port: int | None = None) -> None:
        self.run("ansible", "sandbox", "-m", "ansible.builtin.ping", port=port)

    @property
    def ssh_port(self) -> int:
        """The port of the sandbox host."""
        settings = (self.root / ".sandbox/sandbox/ssh_config").read_text()
        return int(re.findall(r"^\s*Port (\d+)$", settings, re.MULTILINE)[0])


@dataclass
class Row:
    """One kind of run: its times, the seconds of the controller's processors, and the number of tasks."""

    name: str
    round_trip: float
    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    tasks: int = 0

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def time(self, side: Side, port: int | None) -> None:
        """Measure one run. Raises DeployError, also if it changed something."""
        used, start = _processor(), time.monotonic()
        if self.name == PING:
            side.ping(port)
        else:
            self.tasks, changed = side.deploy(port)
            if changed:
                raise DeployError(f"{side.name}: a deploy that was to change nothing changed {changed} tasks.")
        self.seconds.append(time.monotonic() - start)
        self.processor.append(_processor() - used)
        late = f"+ {self.round_trip * 1000:.0f} ms"
        print(f"{late}, {self.name}: {self.seconds[-1]:.1f} s", file=sys.stderr)  # noqa: T201 - progress


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def checkout(commit: str) -> Side:
    """The other commit below .sandbox/bench, with the images of this one."""
    root = ROOT / ".sandbox/bench" / commit
    if not root.exists():
        _git("worktree", "prune")
        _git("worktree", "add", "--detach", str(root), commit)
    (root / ".sandbox").mkdir(exist_ok=True)
    for name in ("engine.env", "images.json"):
        shutil.copy(ROOT / ".sandbox" / name, root / ".sandbox" / name)
    releases = ROOT / ".sandbox/releases"
    if releases.exists() and not (root / ".sandbox/releases").exists():
        # The wheels of both are mostly the same.
        shutil.copytree(releases, root / ".sandbox/releases")
    page = root / "scripts/page"
    if page.exists():
        subprocess.run([page], check=True)  # noqa: S603 - of this project
    return Side(commit, root)


def _git(*arguments: str) -> None:
    subprocess.run(["git", "-C", ROOT, *arguments], check=True, capture_output=True)  # noqa: S603, S607


def remove(side: Side) -> None:
    """Remove the host and the checkout of the other commit."""
    side.run("ansible-playbook", "teardown.yml")
    _git("worktree", "remove", "--force", str(side.root))


def measure(before: Side, here: Side, repeats: int) -> list[Row]:
    """Converge both hosts, then measure in turn. Raises DeployError."""
    for side in (before, here):
        side.deploy()
    rows = []
    for round_trip in ROUND_TRIPS:
        ping, old, new = (Row(name, round_trip) for name in (PING, before.name, here.name))
        rows += [ping, old, new]
        with (
            delaying_proxy(before.ssh_port, round_trip) if round_trip else nullcontext() as far_before,
            delaying_proxy(here.ssh_port, round_trip) if round_trip else nullcontext() as far_here,
        ):
            # The first connection of each is not counted.
            before.ping(far_before)
            here.ping(far_here)
            for _ in range(repeats):
                ping.time(here, far_here)
                old.time(before, far_before)
                new.time(here, far_here)
    return rows


def table(rows: Sequence[Row]) -> list[str]:
    """The result as a table in Markdown."""
    lines = [
        "| round trip | run | median s | all s | processor s | tasks | of the commit before | pings |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for start in range(0, len(rows), 3):
        ping, old, _ = group = rows[start : start + 3]
        for row in group:
            ratio = "" if row is ping else f"{row.median / old.median:.2f}"
            lines.append(
                f"| + {row.round_trip * 1000:.0f} ms | {row.name} | {row.median:.1f} "
                f"| {', '.join(f'{each:.1f}' for each in row.seconds)} | {statistics.median(row.processor):.1f} "
                f"| {row.tasks or ''} | {ratio} | {row.median / ping.median:.1f} |"
            )
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.no_change_deploy", description=__doc__)
    parser.add_argument("--against", default=BEFORE, help="the other commit (%(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each kind (%(default)s)")
    parser.add_argument("--remove", action="store_true", help="remove the other commit's host and checkout at the end")
    options = parser.parse_args(arguments)
    before, here = checkout(options.against), Side("here", ROOT)
    try:
        rows = measure(before, here, options.repeats)
    except DeployError as error:
        sys.exit(str(error))
    print(f"site.yml that changes nothing; {os.cpu_count()} cores, {platform.system()} on {platform.machine()}\n")  # noqa: T201
    print("\n".join(table(rows)))  # noqa: T201
    if options.remove:
        remove(before)


if __name__ == "__main__":
    main()
