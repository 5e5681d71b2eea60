"""Whether a gateway listens in its container, read from the kernel without a connection and without the engine's help.

`/proc/PID/net/tcp` shows the sockets of the network namespace of the process PID. Nothing is executed in the container,
and the gateway does not notice it. The engine's health check reports the same fact later, at its next run.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

LISTEN = "0A"
"""The state of a listening socket in /proc/net/tcp."""

MARGIN_SECONDS = 2.0
"""How much longer than its interval and its limit the engine's health check may take on a busy host."""

# The engine's own values where a container names none.
DEFAULT_INTERVAL = DEFAULT_TIMEOUT = 30.0

PROC = Path("/proc")
DEFAULT_CONTAINER = "ib-gateway"


@dataclass(frozen=True)
class Disagreement:
    """The cause of a gateway that listens in a container that the engine does not report as healthy."""

    kind: str
    text: str
    remedy: str

    def remedy_for(self, container: str) -> str:
        """The remedy, for this container in place of the default one."""
        return self.remedy.replace(f" {DEFAULT_CONTAINER}`", f" {container}`")


HEALTH_DISAGREES = Disagreement(
    "health_disagrees",
    "the gateway listens and its API is verified, but the engine's health check does not report the container as "
    "healthy",
    f"Run `docker inspect --format '{{{{json .State.Health}}}}' {DEFAULT_CONTAINER}` on the host: the output "
    "of the last check shows why it fails. If it does not run at all, restart the engine (`systemctl restart docker`). "
    "If its command was changed, deploy again with site.yml.",
)
"""The one cause that only the module gateway_verified reports."""


@dataclass(frozen=True)
class Watched:
    """What the observation of a container needs: its first process, and the interval and limit of its health check in
    seconds."""

    pid: int
    interval: float
    timeout: float

    @property
    def agrees_within(self) -> float:
        """Seconds within which the engine's health check must report what is observed now: the pause after a check
        that just missed it, and the next check."""
        return self.interval + self.timeout + MARGIN_SECONDS


WATCHED_FORMAT = "{{.State.Pid}} {{json .Config.Healthcheck}}"
"""For `docker container inspect --format`; the answer is read by `watched`."""


def watched(answer: str) -> Watched:
    """The answer of the engine to WATCHED_FORMAT. Raises ValueError for any other text."""
    pid, _, document = answer.strip().partition(" ")
    check = json.loads(document) or {}
    return Watched(
        int(pid),
        check.get("Interval", 0) / 1e9 or DEFAULT_INTERVAL,
        check.get("Timeout", 0) / 1e9 or DEFAULT_TIMEOUT,
    )


def listening_ports(table: str) -> frozenset[int]:
    """The ports on which a socket of this table (`/proc/net/tcp` or `tcp6`) listens."""
    rows = (line.split() for line in table.splitlines()[1:])
    return frozenset(int(row[1].rpartition(":")[2], 16) for row in rows if len(row) > 3 and row[3] == LISTEN)


def is_of_container(cgroups: str, container_id: str) -> bool:
    """Whether the process with these cgroups (`/proc/PID/cgroup`) runs in the container: the engine can count its
    processes in another namespace than this one, where the same number names another process."""
    return bool(container_id) and container_id in cgroups


def observe(
    pid: int,
    container_id: str,
    ports: Iterable[int],
    read: Callable[[Path], str] = Path.read_text,
    proc: Path = PROC,
) -> bool | None:
    """Whether the container listens on all these ports now; None if that cannot be observed from here."""
    process = proc / str(pid)
    try:
        if pid < 1 or not is_of_container(read(process / "cgroup"), container_id):
            return None
        open_ports = listening_ports(read(process / "net/tcp"))
    except OSError:
        # The process has ended, belongs to another machine, or may not be inspected by this user.
        return None
    # A kernel without IPv6 has no such file.
    with contextlib.suppress(OSError):
        open_ports |= listening_ports(read(process / "net/tcp6"))
    return set(ports) <= open_ports
