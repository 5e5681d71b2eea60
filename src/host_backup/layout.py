"""What belongs to a backup. Pure apart from listing directories.

State, which is restored: everything below the state directories, except what the tables below name. Configuration, for
comparison: the files that a deploy writes from the inventory. **Secrets are not in it**: they come from the vault,
which has its own backup, and an old password must not come back with an old backup.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

STATE_ROOTS = ("/var/lib/ib-gateway", "/var/lib/position-manager")
"""Each directory in them belongs to one instance; those of removed instances are retained, and so in the backup."""

CONFIGURATION = (
    "/etc/ib-gateway/*/instance.json",
    "/etc/ib-gateway/*/container.env",
    "/etc/position-manager/*.yml",
    "/etc/host-backup.json",
)

LEFT_OUT = {
    "*-wal": "part of a database that is copied as a whole",
    "*-shm": "part of a database that is copied as a whole",
    "*.lock": "a lock of a running process",
    "*.db.new": "an unfinished journal",
    ".*.tmp": "an unfinished file",
    "*.log": "a log",
    "*.log.*": "a log",
    "*.ibgzenc": "a log of the gateway",
    "*.hprof": "a dump of memory",
    "core": "a dump of memory",
}
LEFT_OUT_DIRECTORIES = {"screenshots": "pictures of the screen"}


@dataclass(frozen=True)
class Found:
    """One file or directory to copy: its path on the host, and where it is for this process."""

    path: str
    file: Path
    state: bool
    directory: bool


def targets(path: str) -> str | None:
    """The directory that is replaced as a whole when this path is restored; None if it is no state.

    An instance of the gateway has two, so that its directory, which the unit names, stays. One of the manager is one.
    """
    parts = Path(path).parts[1:]
    if parts[:3] == ("var", "lib", "ib-gateway") and len(parts) >= 5:
        return "/" + "/".join(parts[:5])
    if parts[:3] == ("var", "lib", "position-manager") and len(parts) >= 4:
        return "/" + "/".join(parts[:4])
    return None


def reason_to_leave_out(name: str, *, directory: bool) -> str:
    """Empty for what is copied."""
    if directory:
        return LEFT_OUT_DIRECTORIES.get(name, "")
    return next((reason for pattern, reason in LEFT_OUT.items() if fnmatch(name, pattern)), "")


def entries(root: Path = Path("/")) -> Iterator[Found]:
    """Everything to copy, directories before their content. Raises OSError."""
    for name in STATE_ROOTS:
        for file in _below(root / name.lstrip("/")):
            path = "/" + str(file.relative_to(root))
            if targets(path) is not None:
                yield Found(path, file, state=True, directory=file.is_dir())
    for pattern in CONFIGURATION:
        for file in sorted(root.glob(pattern.lstrip("/"))):
            if file.is_file():
                yield Found("/" + str(file.relative_to(root)), file, state=False, directory=False)


def _below(directory: Path) -> Iterator[Path]:
    if not directory.is_dir():
        return
    for file in sorted(directory.iterdir()):
        # A link may lead out of the state, and back into other places on another host.
        if file.is_symlink() or not (file.is_dir() or file.is_file()):
            continue
        if reason_to_leave_out(file.name, directory=file.is_dir()):
            continue
        yield file
        if file.is_dir():
            yield from _below(file)
