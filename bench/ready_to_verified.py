"""How soon a gateway that has become ready is verified, and what `restart.yml` adds to the bare restart.

``python -m bench.ready_to_verified`` measures both side by side with the old way, prints a table for each, and ends
with 1 if a target is missed. It needs the engine and the images of the set-up (`make setup`); the second part also the
sandbox host (`make deploy`).

Ready is the moment of the login controller's line in the container's log; verified is a connection with ``ib_insync``
that was accepted. Each start is a container of its own for each way, both started together, so that no way meets a
gateway that another one has woken:

- the old way: a shell loop that asks `docker inspect` for `healthy` every 5 s, then a program that connects, with 5
  attempts 5 s apart of 10 s each, against a container with the health check of that script (every 10 s)
- the three modules gateway_login, container_health and ib_handshake one after the other, against the same health check
- the module gateway_verified, against the health check of the role

With ``--against COMMIT``, the three modules and the playbook of the restart are those of that commit.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.util import module_from_spec, spec_from_file_location
from itertools import pairwise
from pathlib import Path
from typing import Any

import jinja2
import yaml
from ansible.plugins.loader import filter_loader
from ansible.plugins.test.core import version_compare

from bench.simulator import ROOT
from gateway_watch.engine import parse_time

SEED = 17
SHORTEST, LONGEST = 5.0, 60.0
"""Seconds that the gateway takes to start."""
AT_ONCE = 8
"""So many starts run side by side, each with a container for each way: most of their time they wait."""
OLD, MODULES, NEW = "docker health, then connect", "three modules in sequence", "gateway_verified"
TARGET_SECONDS, TARGET_TIMES, TARGET_RESTART = 1.0, 8.0, 3.0
READY = "Configuration tasks completed"
PATIENCE = 180.0

OLD_CHECK = 'grep -qE "^ *[0-9]+: [0-9A-F]+:0FA2 [0-9A-F]+:0000 0A" /proc/net/tcp /proc/net/tcp6'
OLD_WAIT = "until [ \"$(docker inspect --format '{{.State.Health.Status}}' %s)\" = healthy ]; do sleep 5; done"
OLD_CONNECT = """
import sys, time
from ib_insync import IB
for attempt in range(5):
    ib = IB()
    try:
        ib.connect("127.0.0.1", int(sys.argv[1]), clientId=100, timeout=10)
        print(time.time())
        ib.disconnect()
        break
    except Exception as error:
        print(repr(error), file=sys.stderr)
        time.sleep(5)
else:
    sys.exit(1)
"""


@dataclass(frozen=True)
class Start:
    """One start of a gateway: how long it takes, and whether it leaves its first connection without an answer."""

    seconds: float
    silent: bool


@dataclass(frozen=True)
class Restart:
    """Seconds of a bare restart until the API answers, and of `restart.yml`."""

    bare: float
    playbook: float

    @property
    def added(self) -> float:
        return self.playbook - self.bare


def drawn(count: int, *, silent: bool) -> list[Start]:
    """The starts of a run, the same in each."""
    source = random.Random(SEED)  # noqa: S311 - a sample, no secret
    return [Start(source.uniform(SHORTEST, LONGEST), silent) for _ in range(count)]


def environment() -> dict[str, str]:
    """The environment that reaches the engine of the set-up."""
    values = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    file = ROOT / ".sandbox/engine.env"
    if "DOCKER_HOST" not in values and file.exists():
        values["DOCKER_HOST"] = file.read_text().strip().removeprefix("DOCKER_HOST=")
    return values


async def answer(*command: str, stdin: str | None = None, more: dict[str, str] | None = None) -> str:
    """The standard output of a program. Raises RuntimeError with its errors if it fails."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment() | (more or {}),
    )
    try:
        out, errors = await process.communicate(stdin.encode() if stdin is not None else b"")
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        raise RuntimeError(f"{command[:3]} failed: {errors.decode()[-500:]}{out.decode()[-500:]}")
    return out.decode()


@contextlib.asynccontextmanager
async def container(start: Start, health: Sequence[str]) -> AsyncIterator[tuple[str, int]]:
    """A simulated paper gateway; its name, and the port of its API."""
    image = json.loads((ROOT / ".sandbox/images.json").read_text())["simulator"]
    name = f"bench-verified-{uuid.uuid4().hex[:8]}"
    variables = {
        "TRADING_MODE": "paper",
        "TWS_USERID": "bench",
        "TWS_PASSWORD": "bench",
        "READ_ONLY_API": "no",
        "GATEWAY_SIMULATOR_START_SECONDS": f"{start.seconds:.2f}",
        "GATEWAY_SIMULATOR_FIRST_CONNECT": "silent" if start.silent else "normal",
    }
    settings = [part for key, value in variables.items() for part in ("--env", f"{key}={value}")]
    options = ("--publish", "127.0.0.1::4004", "--health-start-period", "60s", "--health-retries", "5")
    await answer("docker", "run", "--detach", "--name", name, *options, *health, *settings, image)
    try:
        published = await answer("docker", "port", name, "4004/tcp")
        yield name, int(published.rpartition(":")[2])
    finally:
        await answer("docker", "rm", "--force", name)


async def ready_at(name: str) -> float:
    """When the gateway became ready, by its log."""
    lines = (await answer("docker", "logs", "--timestamps", name)).splitlines()
    stamp = next(line.partition(" ")[0] for line in lines if READY in line)
    return parse_time(stamp).timestamp()


async def module(tree: Path, module_name: str, /, **arguments: Any) -> dict[str, Any]:
    """The answer of a module of a tree, as a task would get it."""
    out = await answer(
        *(sys.executable, str(tree / "tests/run_module.py"), str(tree / "library" / f"{module_name}.py")),
        stdin=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        more={"PYTHONPATH": str(tree / "src")},
    )
    found: dict[str, Any] = json.loads(out)
    return found


async def in_the_old_way(start: Start) -> float:
    health = ("--health-cmd", OLD_CHECK, "--health-interval", "10s", "--health-timeout", "5s")
    async with container(start, health) as (name, port):
        await answer("sh", "-c", OLD_WAIT % name)
        verified = float(await answer(sys.executable, "-c", OLD_CONNECT, str(port)))
        return verified - await ready_at(name)


async def with_the_modules(start: Start, tree: Path) -> float:
    health = ("--health-cmd", OLD_CHECK, "--health-interval", "10s", "--health-timeout", "5s")
    async with container(start, health) as (name, port):
        await module(tree, "gateway_login", name=name, timeout=PATIENCE)
        await module(tree, "container_health", name=name, timeout=PATIENCE)
        await module(tree, "ib_handshake", port=port, trading_mode="paper", container_port=4004)
        return time.time() - await ready_at(name)


async def in_one_wait(start: Start, health: Sequence[str]) -> float:
    async with container(start, health) as (name, port):
        apis = [{"mode": "paper", "host": "127.0.0.1", "port": port, "native_port": 4002}]
        found = await module(ROOT, "gateway_verified", name=name, login_timeout=PATIENCE, apis=apis)
        return datetime.fromisoformat(found["verified_at"]).timestamp() - await ready_at(name)


def health_of_the_role(engine: str) -> list[str]:
    """The options of the health check that the role gives a container on this version of the engine."""
    role = ROOT / "roles/ib_gateway"
    filter_loader.add_directory(str(ROOT / "filter_plugins"))
    spec = spec_from_file_location("role_filters", role / "filter_plugins/ib_gateway_instances.py")
    if spec is None or spec.loader is None:
        raise RuntimeError("the filters of the role ib_gateway cannot be read")
    filters = module_from_spec(spec)
    spec.loader.exec_module(filters)
    defaults = yaml.safe_load((role / "defaults/main.yml").read_text())
    shared = {name.removeprefix("ib_gateway_"): value for name, value in defaults.items()}
    (instance,) = filters.resolve({"ib-gateway": {}}, shared)
    # The filters give an instance with secrets these two.
    instance |= {"notifies": False, "totp": False}
    templates = jinja2.Environment(  # noqa: S701 - a unit file, no HTML
        loader=jinja2.FileSystemLoader(role / "templates"), trim_blocks=True
    )
    templates.filters.update(filters.FilterModule().filters())
    templates.tests["version"] = version_compare
    unit = templates.get_template("ib-gateway.service.j2").render(
        item={"instance": instance}, __ib_gateway_engine_version=engine, __ib_gateway_release="/"
    )
    # systemd writes a dollar sign twice.
    words = shlex.split(unit[unit.index("ExecStart=") : unit.index("ExecStop=")].replace("$$", "$"), comments=True)
    return [part for word, value in pairwise(words) if word.startswith("--health-") for part in (word, value)]


async def measure_starts(count: int, tree: Path, show: Callable[[str], None]) -> dict[str, dict[str, list[float]]]:
    """Seconds from ready to verified, by kind of the first connection and way."""
    engine = (await answer("docker", "version", "--format", "{{.Server.Version}}")).strip()
    health = health_of_the_role(engine)
    found: dict[str, dict[str, list[float]]] = {
        _kind(silent): {way: [] for way in (OLD, MODULES, NEW)} for silent in (False, True)
    }
    place = asyncio.Semaphore(AT_ONCE)
    ended = 0

    async def measure_start(start: Start) -> None:
        nonlocal ended
        async with place:
            taken = await asyncio.gather(
                in_the_old_way(start), with_the_modules(start, tree), in_one_wait(start, health)
            )
        for way, seconds in zip((OLD, MODULES, NEW), taken, strict=True):
            found[_kind(start.silent)][way].append(seconds)
        ended += 1
        if ended % AT_ONCE == 0:
            show(f"{ended} of {2 * count} starts")

    async with asyncio.TaskGroup() as group:
        # By turns, so that both kinds meet the same machine.
        for pair in zip(drawn(count, silent=False), drawn(count, silent=True), strict=True):
            for start in pair:
                group.create_task(measure_start(start))
    return found


def _kind(silent: bool) -> str:
    return "silent" if silent else "answered"


BARE = """
import asyncio, subprocess, sys, time
from ib_connection.probe import probe
start = time.monotonic()
subprocess.run(["systemctl", "stop", "ib-gateway.service"], check=True)
subprocess.run(["systemctl", "start", "--no-block", "ib-gateway.service"], check=True)
while not asyncio.run(probe("127.0.0.1", 4002, timeout=1)).answered:
    if time.monotonic() - start > 180:
        sys.exit("the API does not answer")
    time.sleep(0.05)
print(time.monotonic() - start)
"""


async def sandbox() -> str | None:
    """The sandbox host of this clone, if it is deployed and runs."""
    names = await answer("docker", "ps", "--format", "{{.Names}}", "--filter", f"label=ib-gateway-ansible.root={ROOT}")
    return next((name for name in names.split() if not name.startswith("molecule-")), None)


async def measure_restarts(
    count: int, trees: Mapping[str, Path], show: Callable[[str], None]
) -> dict[str, list[Restart]]:
    """Restarts by turns: bare, then by the playbook of each tree. Empty without a deployed sandbox host."""
    host = await sandbox()
    found: dict[str, list[Restart]] = {name: [] for name in trees}
    if host is None:
        return {}
    for number in range(count):
        for name, tree in trees.items():
            python = "/opt/ib-gateway-ansible/current/bin/python"
            bare = float(await answer("docker", "exec", "--interactive", host, python, "-", stdin=BARE))
            # Whatever the bare restart has left to do must not be counted for the playbook.
            await answer("docker", "exec", host, "systemctl", "start", "ib-gateway.service")
            await asyncio.sleep(5)
            started = time.monotonic()
            await answer(
                *(str(Path(sys.executable).with_name("ansible-playbook")), str(tree / "restart.yml")),
                *("--tags", "gateway", "--extra-vars", "ib_gateway_soft_restart=false"),
                more={"ANSIBLE_CONFIG": str(tree / "ansible.cfg")},
            )
            found[name].append(Restart(bare, time.monotonic() - started))
            await asyncio.sleep(5)
            show(f"restart {number + 1} of {count}, {name}: {found[name][-1].added:.1f} s more than the bare one")
    return found


@contextlib.contextmanager
def tree_of(commit: str | None) -> Iterator[Path]:
    """The tree of a commit, with the set-up of this one; without a commit, this tree itself."""
    if commit is None:
        yield ROOT
        return
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        git = ("git", "-C", str(ROOT))
        subprocess.run([*git, "worktree", "add", "--quiet", "--detach", str(tree), commit], check=True)  # noqa: S603 - arguments of ours
        try:
            for name in (".sandbox", ".venv"):
                (tree / name).symlink_to(ROOT / name)
            yield tree
        finally:
            subprocess.run([*git, "worktree", "remove", "--force", str(tree)], check=True)  # noqa: S603 - arguments of ours


@dataclass(frozen=True)
class Result:
    """What was measured: `starts` by kind of the first connection and way, `restarts` by tree."""

    starts: dict[str, dict[str, list[float]]]
    restarts: dict[str, list[Restart]]

    @property
    def missed(self) -> list[str]:
        """The targets that were not reached."""
        found = []
        for kind, rows in self.starts.items():
            new, old = statistics.median(rows[NEW]), statistics.median(rows[OLD])
            if new > TARGET_SECONDS:
                found.append(f"first connection {kind}: {new:.2f} s from ready to verified, at most {TARGET_SECONDS:g}")
            if old < TARGET_TIMES * new:
                found.append(
                    f"first connection {kind}: {old / new:.1f} times below the old way, {TARGET_TIMES:g} wanted"
                )
        if "now" in self.restarts:
            added = statistics.median(restart.added for restart in self.restarts["now"])
            if added > TARGET_RESTART:
                found.append(f"restart.yml adds {added:.1f} s to the bare restart, at most {TARGET_RESTART:g}")
        return found

    def rows(self) -> list[tuple[str, ...]]:
        """From ready to verified: first connection, way, median, least, most, and how often the old way's median."""
        return [
            (
                kind,
                way,
                f"{statistics.median(seconds):.2f}",
                f"{min(seconds):.2f}",
                f"{max(seconds):.2f}",
                f"{statistics.median(rows[OLD]) / statistics.median(seconds):.1f}",
            )
            for kind, rows in self.starts.items()
            for way, seconds in rows.items()
        ]

    def restart_rows(self) -> list[tuple[str, ...]]:
        """Restarts: tree, median of the bare ones, of the playbook, and of what it adds."""
        return [
            (
                name,
                f"{statistics.median(each.bare for each in restarts):.1f}",
                f"{statistics.median(each.playbook for each in restarts):.1f}",
                f"{statistics.median(each.added for each in restarts):.1f}",
            )
            for name, restarts in self.restarts.items()
        ]


HEAD = ("first connection", "way", "median, s", "least", "most", "old way's median / this")
RESTART_HEAD = ("restart.yml of", "bare restart, s", "restart.yml --tags gateway, s", "added, s")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ("---",) * len(head), *rows))


async def measure(
    starts: int, restarts: int, commit: str | None, show: Callable[[str], None] = lambda _line: None
) -> Result:
    """Measure both parts; `starts` or `restarts` 0 leaves one out."""
    with tree_of(commit) as tree:
        trees = {"now": ROOT} if commit is None else {commit: tree, "now": ROOT}
        return Result(
            await measure_starts(starts, tree, show) if starts else {},
            await measure_restarts(restarts, trees, show) if restarts else {},
        )


def report(result: Result) -> str:
    """The page's part about this measurement."""
    parts = []
    if result.starts:
        count = len(next(iter(result.starts.values()))[NEW])
        parts.append(
            f"From ready to verified, {count} starts that take {SHORTEST:g} to {LONGEST:g} s, for each kind of the "
            f"very first connection:\n\n{table(HEAD, result.rows())}"
        )
    if result.restarts:
        parts.append(
            f"A restart with a full login, by turns, {len(result.restarts['now'])} of each; the bare one is stop, "
            f"start and wait until the API answers:\n\n{table(RESTART_HEAD, result.restart_rows())}"
        )
    else:
        parts.append("Restarts were not measured; they need a sandbox host of this clone (`make deploy` creates it).")
    return "\n\n".join(parts) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.ready_to_verified", description="Measure ready to verified.")
    parser.add_argument("--against", metavar="COMMIT", help="take the modules and the playbook before from this commit")
    parser.add_argument("--repeats", type=int, default=20, metavar="N", help="starts of each kind (20; 0 for none)")
    parser.add_argument("--restarts", type=int, default=5, metavar="N", help="restarts of the sandbox's gateway (5)")
    options = parser.parse_args(arguments)
    result = asyncio.run(
        measure(options.repeats, options.restarts, options.against, lambda line: print(line, file=sys.stderr))  # noqa: T201
    )
    sys.stdout.write(report(result))
    for text in result.missed:
        sys.stderr.write(f"MISSED: {text}\n")
    return 1 if result.missed else 0


if __name__ == "__main__":
    sys.exit(main())
