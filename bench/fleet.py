"""A fleet: what each host costs the controller: ``python -m bench.fleet``, from the root, after ``make setup``.

`status.yml` and a `site.yml` that changes nothing, both of this project, on fleets of two kinds. Sandbox hosts: this
clone's host is deployed, and copied with everything in it. Hosts at the level of the connection: ssh is replaced by a
program that gives the answers which that host gave (`fleet_ssh.py`), so that the controller does all of its work and no
host any; this machine could not carry so many. A run counts if every host has ended as the recorded one did, with
nothing changed. What was created is removed at the end, and what a killed run left at the start of the next.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jinja2
import yaml

from bench.__main__ import PARTS
from bench.simulator import ROOT

SANDBOX_HOSTS = (1, 8, 4, 2)
"""What the time is too short for is left out, so the largest come first."""
FORKS = 20
"""Of ansible.cfg."""
REPLAYED, SANDBOXES = "replayed", "sandbox hosts"
OTHER_FORKS = (2, 5)
STATE = ROOT / ".sandbox"
SSH = ROOT / "bench/fleet_ssh.py"
RECAP = re.compile(r"^(\S+) +: ok=\d+ +changed=(\d+) +unreachable=(\d+) +failed=(\d+)", re.MULTILINE)
CLEANING = 15.0
"""Seconds of the part for the removal of what was created."""


class FleetError(RuntimeError):
    """A run failed, or a host did not end as it should; its output is the message."""


@dataclass(frozen=True)
class Cost:
    """Seconds of a run, those of the controller's processors, those of its main process, and the most MiB at once."""

    seconds: float
    processor: float
    main: float
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


def own_time(process: int) -> float:
    """Seconds of processor of this process itself."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def timed(command: Sequence[str], environment: Mapping[str, str]) -> tuple[Cost, str]:
    """Run one of Ansible's programs: what it cost, and its output. Raises FleetError."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "FLEET_", "SANDBOX_"))
    }
    kept["PATH"] = f"{Path(sys.executable).parent}:{kept['PATH']}"
    used, started = of_children(), time.monotonic()
    process = subprocess.Popen(  # noqa: S603 - arguments of ours
        command,
        cwd=ROOT,
        env={**kept, "ANSIBLE_NOCOLOR": "1", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    most, main, done = 0.0, 0.0, threading.Event()

    def watch() -> None:
        nonlocal most, main
        pause = 0.1
        # At most a fiftieth of a core: what is shared by many processes takes long to be added up.
        while not done.wait(pause):
            before = time.thread_time()
            most = max(most, resident(process.pid))
            with contextlib.suppress(OSError):
                main = own_time(process.pid)
            pause = max(0.1, 50 * (time.thread_time() - before))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        output, _ = process.communicate()
        passed = time.monotonic() - started
    finally:
        done.set()
        watcher.join()
        if process.poll() is None:
            process.terminate()
            process.wait()
    if process.returncode:
        raise FleetError(f"{' '.join(command)}\n{output[-4000:]}")
    return Cost(passed, of_children() - used, main, most), output


@dataclass(frozen=True)
class Fleet:
    """Hosts of an inventory, and how they are reached."""

    inventory: Path
    names: Sequence[str]
    environment: Mapping[str, str]

    def play(self, playbook: str, forks: int = FORKS, *options: str, converge: bool = False) -> Cost:
        """Run a playbook: what it cost. Raises FleetError if a host lacks or has failed, or, unless the run is to
        converge it, if something was changed on it."""
        command = ["ansible-playbook", "-i", str(self.inventory), playbook, *ALWAYS.get(playbook, ()), *options]
        cost, output = timed(command, {**self.environment, "ANSIBLE_FORKS": str(forks)})
        found = {name: tuple(map(int, counts)) for name, *counts in RECAP.findall(output)}
        for name in [*self.names, *found]:
            changed, *ended = found.get(name, (0, 1))
            if any(ended) or (changed and not converge):
                raise FleetError(f"{playbook}: {name} has not ended as it should\n{output[-4000:]}")
        return cost


# Whether the engine is inspected a second time depends on how long ago the first time was: here it always is, so that a
# replayed host is called as the recorded one.
ALWAYS = {"site.yml": ("-e", json.dumps({"host_inspected_by_play": False}))}
Variables = Mapping[str, str]


def inventory(directory: Path, group: str, hosts: Mapping[str, Variables], variables: Variables) -> Path:
    """An inventory like inventory/sandbox, with its variables, of these hosts."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    shutil.copytree(ROOT / "inventory/sandbox/group_vars", directory / "group_vars")
    if group != "sandbox_hosts":
        (directory / "group_vars/sandbox_hosts.yml").rename(directory / f"group_vars/{group}.yml")
    controller = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    children = {
        group: {"hosts": hosts, "vars": {"ansible_python_interpreter": "/usr/bin/python3", **variables}},
        "gateway_hosts": {"children": {group: {}}},
        **{name: {} for name in ("hosts_to_be", "aws_account", "role_gateway")},
    }
    path = directory / "hosts.yml"
    path.write_text(json.dumps({"all": {"hosts": {"localhost": controller}, "children": children}}))
    return path


# --- hosts at the level of the connection


@dataclass(frozen=True)
class Recording:
    """What the host answers to a playbook."""

    playbook: str
    answers: Path
    backup: str
    """/etc/host-backup.json, of which the host answers the hash: the only one that depends on the host's name."""

    @property
    def calls(self) -> dict[str, int]:
        """How often the host was called for each module."""
        return counted(self.answers, "sandbox")


def counted(directory: Path, host: str) -> dict[str, int]:
    """How often a host was called for each module, as `fleet_ssh.py` has counted it."""
    names = {path: path.name.removeprefix(f"{host}.") for path in directory.glob(f"{host}.*")}
    return {name: path.stat().st_size for path, name in names.items() if name != "own"}


def recorded(playbook: str, directory: Path) -> Recording:
    """Run it on this clone's host, again if that changed something, and keep what the host answers."""
    for attempt in (1, 2):
        answers = directory / f"{playbook}.{attempt}"
        answers.mkdir(mode=0o700)
        recording = {"ANSIBLE_SSH_EXECUTABLE": str(SSH), "FLEET_RECORD": str(answers)}
        fleet = Fleet(ROOT / "inventory/sandbox/hosts.yml", ["sandbox"], recording)
        try:
            fleet.play(playbook)
        except FleetError:
            if attempt == 2:
                raise
        else:
            return Recording(
                playbook, answers, docker("exec", container_of("sandbox"), "cat", "/etc/host-backup.json") + "\n"
            )
    raise AssertionError


def replayed(recording: Recording, hosts: int, forks: int = FORKS, *options: str) -> Cost:
    """Run it on so many hosts that answer as the recorded one."""
    names = [f"host{number:03}" for number in range(1, hosts + 1)]
    # .sandbox/NAME: two levels below the root, as inventory/sandbox is, whose variables refer to the root.
    path = inventory(STATE / "fleet", "replayed", {name: {} for name in names}, {})
    with tempfile.TemporaryDirectory(dir=STATE / "fleet-answers") as directory:
        turns = Path(directory)
        for name in names:
            own = (recording.backup, recording.backup.replace('"host": "sandbox"', f'"host": "{name}"'))
            (turns / f"{name}.own").write_text(" ".join(hashlib.sha256(each.encode()).hexdigest() for each in own))
        environment = {
            "ANSIBLE_SSH_EXECUTABLE": str(SSH),
            "FLEET_ANSWERS": str(recording.answers),
            "FLEET_TURNS": directory,
        }
        cost = Fleet(path, names, environment).play(recording.playbook, forks, *options)
        for name in names:
            if counted(turns, name) != recording.calls:
                raise FleetError(f"{recording.playbook}: {name} was called otherwise than the recorded host")
    return cost


# --- sandbox hosts


def container_of(name: str) -> str:
    """The container of a host, as the role sandbox_host names it."""
    return f"{name}-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]}"


IMAGE = "ibga/" + container_of("fleet")
"""Everything of this clone's host but its engine's data."""


def docker(*arguments: str) -> str:
    """The output of one of its commands. Raises FleetError."""
    address = (STATE / "engine.env").read_text().strip().partition("=")[2]
    ran = subprocess.run(  # noqa: S603 - arguments of ours
        ["docker", *arguments],  # noqa: S607 - the one that the set-up uses
        env={**os.environ, "DOCKER_HOST": address},
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        raise FleetError(f"docker {' '.join(arguments)}\n{ran.stderr}")
    return ran.stdout.strip()


def volume(container: str) -> str:
    """The volume with the data of its engine."""
    mounts = json.loads(docker("container", "inspect", "--format", "{{json .Mounts}}", container))
    return str(next(each["Name"] for each in mounts if each["Destination"] == "/var/lib/docker"))


def options_of(name: str) -> tuple[list[str], str]:
    """The options with which the role sandbox_host creates a host of this name, and the label that it then expects."""
    variables = yaml.safe_load((ROOT / "roles/sandbox_host/vars/main.yml").read_text())
    images = json.loads((STATE / "images.json").read_text())
    key = STATE / name / "id_ed25519"
    known = {"sandbox_host_name": name, "__sandbox_host_images": images, "__sandbox_host_key": str(key)}
    templates = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701 - not HTML
    options = [templates.from_string(each).render(known) for each in variables["__sandbox_host_run_options"]]
    public = key.with_suffix(".pub").read_text().rstrip()
    # Joined by two characters: Ansible leaves backslashes in a template as they are.
    return options, hashlib.sha256("\\n".join([images["sandbox_host"], public, *options]).encode()).hexdigest()


def remove_all() -> None:
    """Remove every copy of this clone's host and its image, also those of a run that was killed."""
    ours = f"--filter=label=ib-gateway-ansible.root={ROOT}"
    # What copies first: a volume that it still uses would remain.
    for name in ("fleet-copy", "fleet-"):
        if containers := docker("ps", "--all", "--quiet", ours, f"--filter=name=^{name}").split():
            docker("rm", "--force", "--volumes", *containers)
    if paused := docker("ps", "--quiet", ours, "--filter=status=paused").split():
        docker("unpause", *paused)
    if docker("images", "--quiet", IMAGE):
        docker("rmi", "--force", IMAGE)
    for directory in STATE.glob("fleet*"):
        shutil.rmtree(directory)


def copy_host(names: Sequence[str]) -> None:
    """Start a host of each name with everything that this clone's host has, which stops for a moment."""
    source = container_of("sandbox")
    docker("pause", source)
    try:
        image = docker("commit", source, IMAGE)
        containers = []
        for name in names:
            directory = STATE / name
            directory.mkdir(mode=0o700)
            for file in ("id_ed25519", "id_ed25519.pub"):
                # The copy has the user's key of the first host.
                shutil.copy2(STATE / "sandbox" / file, directory / file)
            options, label = options_of(name)
            labels = {"root": str(ROOT), "config": label}
            labelled = [f"--label=ib-gateway-ansible.{key}={value}" for key, value in labels.items()]
            containers.append(docker("create", f"--name={container_of(name)}", *labelled, *options, image))
        targets = [f"--volume={volume(each)}:/to/{number}" for number, each in enumerate(containers)]
        copy = "for each in /to/*; do cp -a /from/. $each & done; wait"
        mounts = [f"--volume={volume(source)}:/from:ro", *targets]
        rights = ["--cap-add=ALL", "--cap-drop=SYS_RESOURCE"]
        named = [f"--name={container_of('fleet-copy')}", f"--label=ib-gateway-ansible.root={ROOT}"]
        docker("run", "--rm", *named, *rights, *mounts, "--entrypoint=sh", image, "-c", copy)
    finally:
        docker("unpause", source)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda each: docker("start", each), containers))


def sandboxes(names: Sequence[str]) -> Fleet:
    """Sandbox hosts of these names."""
    hosts = {name: {"sandbox_host_name": name, "ansible_host": "sandbox"} for name in names}
    arguments = "-F {{ inventory_dir | dirname | dirname }}/.sandbox/{{ sandbox_host_name }}/ssh_config"
    path = inventory(STATE / "fleet", "sandbox_hosts", hosts, {"ansible_ssh_common_args": arguments})
    return Fleet(path, names, {})


# --- the rows

Row = dict[str, object]


class Rows:
    """The rows so far, and until when further runs may take."""

    def __init__(self, seconds: float) -> None:
        self.found: list[Row] = []
        self._until = time.monotonic() + seconds
        self._a_host: dict[tuple[str, str], float] = {}

    def fitting(self, fleet: str, playbook: str) -> int:
        """How many hosts there is time for, from the last run of the playbook on such a fleet."""
        left = self._until - time.monotonic()
        return max(0, int(left / self._a_host[fleet, playbook])) if (fleet, playbook) in self._a_host else sys.maxsize

    def add(self, fleet: str, hosts: int, forks: int, runs: Mapping[str, Callable[[], Cost]]) -> None:
        """Measure the runs of a row, those for which there is time."""
        row: Row = {"fleet": fleet, "hosts": hosts, "forks": forks}
        most = 0.0
        for playbook, run in runs.items():
            if self.fitting(fleet, playbook) < hosts or time.monotonic() > self._until:
                sys.stderr.write(f"{fleet}, {hosts} hosts, {playbook}: no time left\n")
                continue
            cost = run()
            # A single replayed host keeps one core busy, several keep all.
            shared = 1.1 * cost.processor / (os.cpu_count() or 1) if fleet == REPLAYED else cost.seconds
            self._a_host[fleet, playbook] = shared / hosts
            most = max(most, cost.mebibytes)
            a_host: float | str = 1000 * cost.seconds / hosts
            # A point of the plot, or not.
            a_host = a_host if fleet == REPLAYED and forks == FORKS else f"{a_host:.0f}"
            row[f"{playbook} s"] = cost.seconds
            row[f"{playbook} ms a host"] = a_host
            row[f"{playbook} processor ms a host"] = 1000 * cost.processor / hosts
            row[f"{playbook} main process %"] = 100 * cost.main / cost.seconds
            sys.stderr.write(f"{fleet}, {hosts} hosts, {forks} forks, {playbook}: {cost}\n")
        if most:
            self.found.append({**row, "MiB": most, "MiB a host": most / hosts})


def measured(rows: Rows) -> list[Row]:
    """The rows of both kinds of fleet."""
    # Removed at the end, and if this is killed by the next run or `make clean`: the answers may contain secrets.
    answers = STATE / "fleet-answers"
    answers.mkdir(mode=0o700)
    status, site = (recorded(playbook, answers) for playbook in ("status.yml", "site.yml"))
    rows.add(REPLAYED, 1, FORKS, {"status.yml": partial(replayed, status, 1), "site.yml": partial(replayed, site, 1)})
    for hosts in (50, 200):
        rows.add(REPLAYED, hosts, FORKS, {"status.yml": partial(replayed, status, hosts)})
    for forks in OTHER_FORKS:
        rows.add(REPLAYED, 50, forks, {"status.yml": partial(replayed, status, 50, forks)})
    # Of what is left, two thirds are for the sandbox hosts.
    hosts = min(50, rows.fitting(REPLAYED, "site.yml") // 3)
    if hosts > 1:
        rows.add(REPLAYED, hosts, FORKS, {"site.yml": partial(replayed, site, hosts)})
    names = [f"fleet-{number}" for number in range(1, max(SANDBOX_HOSTS) + 1)]
    copy_host(names)
    at_once = ("-e", "hosts_at_once=100%")
    fleet = sandboxes(names)
    # Their ssh configuration, and all on them that depends on a host's name.
    fleet.play("playbooks/host.yml", converge=True)
    fleet.play("site.yml", FORKS, *at_once, "--tags", "backup", converge=True)
    for hosts in SANDBOX_HOSTS:
        fleet = sandboxes(names[:hosts])
        runs = {
            "status.yml": partial(fleet.play, "status.yml", FORKS),
            "site.yml": partial(fleet.play, "site.yml", FORKS, *at_once),
        }
        rows.add(SANDBOXES, hosts, FORKS, runs)
    return sorted(rows.found, key=lambda row: (str(row["fleet"]), int(str(row["hosts"])), int(str(row["forks"]))))


def rows(seconds: float | None = None) -> list[Row]:
    """Every row for which there is time, by default that of the part of `make bench`. What was created is removed, also
    when this is ended."""
    if seconds is None:
        seconds = next(part.seconds for part in PARTS if part.module == "bench.fleet") - CLEANING

    def end(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    remove_all()
    try:
        return measured(Rows(seconds))
    finally:
        remove_all()
        signal.signal(signal.SIGTERM, before)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the rows."""
    parser = argparse.ArgumentParser(prog="python -m bench.fleet", description=__doc__)
    parser.add_argument("--seconds", type=float, help="how long to measure; 1000 for every row on two cores")
    options = parser.parse_args(arguments)
    for each in rows(options.seconds):
        sys.stdout.write(json.dumps(each) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
