"""Owners and modes of files, and secrets where none may be."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from host_audit.host import Entry, Host, UnreadableError
from host_audit.point import LIVE, Definition, Point, must

CONTAINER_USER = 1000
GATEWAYS, MANAGERS = Path("/etc/ib-gateway"), Path("/etc/position-manager")
SHORTEST_SECRET = 6
"""Shorter values would be found by chance."""

MODES = must("modes", "File modes", "secrets are readable by root and the container's user only", "Run site.yml.", LIVE)
STATE_MODES = must("state-modes", "State directories", "state and journals are closed to other users", "Run site.yml.")
CONTENT_REMEDY = "Change the secret (rotate-credentials.yml), and find out which program or person wrote it there."
IN_INSPECT = must("secrets-inspect", "Secrets in docker inspect", "no password or token", CONTENT_REMEDY, LIVE)
IN_PROCESSES = must(
    "secrets-processes", "Secrets in arguments and environments", "no password or token", CONTENT_REMEDY, LIVE
)
IN_JOURNAL = must("secrets-journal", "Secrets in the journal", "no password or token", CONTENT_REMEDY, LIVE)
IN_UNITS = must("secrets-units", "Secrets in units and configuration", "no password or token", CONTENT_REMEDY, LIVE)
_TOKEN = re.compile(r"[^\s/:@?&]{16,}")


@dataclass(frozen=True)
class Secret:
    """A secret's value and where it belongs. The value never leaves this process."""

    name: str
    value: str


def check(host: Host) -> Iterator[Point]:
    yield MODES.of(_open_secrets(host), "as expected")
    yield STATE_MODES.of(_open_states(host), "as expected")
    try:
        secrets = secrets_of(host)
    except UnreadableError as error:
        for definition in (IN_INSPECT, IN_PROCESSES, IN_JOURNAL, IN_UNITS):
            yield definition.unknown(str(error))
        return
    yield _search(IN_INSPECT, secrets, lambda: _inspections(host))
    yield IN_PROCESSES.of(_processes_with(host, secrets), f"none of {len(secrets)} secrets")
    yield _search(IN_JOURNAL, secrets, lambda: _journal(host))
    yield _search(IN_UNITS, secrets, lambda: _units(host))


def secrets_of(host: Host) -> tuple[Secret, ...]:
    """Passwords, and the tokens in notification addresses. Raises UnreadableError."""
    found = []
    for root in (GATEWAYS, MANAGERS):
        for path in host.matching(root, "**/secrets/*") + host.matching(root, "**/credentials/*"):
            # The user name is in docker inspect by design: the image has no file variable for it.
            if not host.path(path).is_file() or path.name == "login.env":
                continue
            for line in host.read(path).splitlines():
                values = _TOKEN.findall(line) if "://" in line else [line]
                found += [Secret(path.name, value) for value in values if len(value) >= SHORTEST_SECRET]
    return tuple(found)


def _open_secrets(host: Host) -> Iterator[str]:
    for root in (GATEWAYS, MANAGERS):
        for path in host.below(root):
            if "secrets" in path.parts:
                entry = host.entry(path)
                directory = host.path(path).is_dir()
                owners = (0, CONTAINER_USER) if path.name.startswith(("tws_password", "vnc_password")) else (0,)
                if entry.mode & 0o077 or entry.uid not in owners:
                    yield _described(entry) + (" (directory)" if directory else "")


def _open_states(host: Host) -> Iterator[str]:
    for path in host.matching("/var/lib/ib-gateway", "*/state") + host.matching("/var/lib/ib-gateway", "*/settings"):
        entry = host.entry(path)
        if entry.mode & 0o077:
            yield _described(entry)
    for path in host.matching("/var/lib/position-manager", "*"):
        entry = host.entry(path)
        if entry.mode & 0o077:
            yield _described(entry)


def _described(entry: Entry) -> str:
    return f"{entry.path}: mode {entry.octal}, uid {entry.uid}"


def _search(
    definition: Definition, secrets: tuple[Secret, ...], texts: Callable[[], Iterator[tuple[str, str]]]
) -> Point:
    try:
        found = [f"{secret.name} in {place}" for place, text in texts() for secret in secrets if secret.value in text]
    except UnreadableError as error:
        return definition.unknown(str(error))
    return definition.of(dict.fromkeys(found), f"none of {len(secrets)} secrets")


def _inspections(host: Host) -> Iterator[tuple[str, str]]:
    names = host.run("docker", "ps", "--all", "--format", "{{.Names}}").split()
    for name in names:
        yield name, host.run("docker", "container", "inspect", name)


def _journal(host: Host) -> Iterator[tuple[str, str]]:
    for line in host.lines("journalctl", "--no-pager", "--output=cat", "--since=-7d"):
        yield "the journal of the last 7 days", line


def _units(host: Host) -> Iterator[tuple[str, str]]:
    paths = host.matching("/etc/systemd/system", "*.service") + host.matching("/etc/ib-gateway", "*/container.env")
    paths += host.matching("/etc/ib-gateway", "*/instance.json") + host.matching("/etc/position-manager", "*.yml")
    for path in paths:
        yield str(path), host.read(path)


def _processes_with(host: Host, secrets: tuple[Secret, ...]) -> Iterator[str]:
    """Arguments and environments of all processes; one that has ended meanwhile has none."""
    for process in host.matching("/proc", "[0-9]*"):
        for name in ("cmdline", "environ"):
            try:
                text = host.read(process / name).replace("\0", "\n")
            except UnreadableError:
                continue
            for secret in secrets:
                if secret.value in text:
                    yield f"{secret.name} in {name} of process {process.name}"
