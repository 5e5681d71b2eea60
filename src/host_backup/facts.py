"""What a restore must know of the host before it may change anything."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from host_backup import databases
from host_backup.errors import BackupError
from host_backup.manifest import JournalFacts

JOURNALS = "var/lib/position-manager/*/journal-*.db"
Active = Callable[[Iterable[str]], list[str]]
"""Those of some units that run, start or stop."""


@dataclass(frozen=True)
class HostFacts:
    """``journals`` by path; ``prefixes``: the digest of a journal's events up to the last one that both it and the
    backup have; ``unreadable`` journals with the reason; ``restored``: the backup that was restored last; ``pending``:
    one whose restore did not end; ``free``: bytes on the file system of the state, None if an earlier release does not
    report them."""

    running: tuple[str, ...] = ()
    journals: Mapping[str, JournalFacts] = field(default_factory=dict)
    prefixes: Mapping[str, str] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    restored: str = ""
    pending: str = ""
    free: int | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self))


_FACTS = TypeAdapter(HostFacts)


def parse(text: str) -> HostFacts:
    """Raises BackupError."""
    try:
        return _FACTS.validate_json(text)
    except ValidationError as error:
        raise BackupError(f"The facts of the host cannot be read: {error}.", "Run site.yml --tags release.") from error


def collect(
    events: Mapping[str, int], active: Active, restored: str, pending: str, root: Path = Path("/")
) -> HostFacts:
    """Of this host. ``events``: the last event of each journal in the backup, by path."""
    journals: dict[str, JournalFacts] = {}
    prefixes: dict[str, str] = {}
    unreadable: dict[str, str] = {}
    for file in sorted(root.glob(JOURNALS)):
        path = "/" + str(file.relative_to(root))
        try:
            journals[path] = databases.journal_facts(file, path)
            if path in events:
                prefixes[path] = databases.events_digest(file, min(events[path], journals[path].last_event))
        except BackupError as error:
            unreadable[path] = str(error)
    place = next(path for path in (root / "var/lib", root / "var", root) if path.is_dir())
    free = shutil.disk_usage(place).free
    return HostFacts(tuple(active(units(root))), journals, prefixes, unreadable, restored, pending, free)


def units(root: Path = Path("/")) -> list[str]:
    """The services of the instances that are configured on the host, managers first."""
    managers = [f"{path.stem}.service" for path in sorted(root.glob("etc/position-manager/*.yml"))]
    gateways = [f"{path.parent.name}.service" for path in sorted(root.glob("etc/ib-gateway/*/instance.json"))]
    return managers + gateways


def active_units(names: Iterable[str]) -> list[str]:
    """By systemd. Raises BackupError if it does not answer."""
    found = []
    for name in names:
        done = subprocess.run(  # noqa: S603 - a fixed program
            ["/usr/bin/systemctl", "show", "--property=ActiveState", "--value", "--", name],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise BackupError(f"systemd does not answer about {name}: {done.stderr.strip()}.", "Check the host.")
        if done.stdout.strip() not in ("inactive", "failed"):
            found.append(name)
    return found
