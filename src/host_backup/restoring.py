"""Restores an unpacked backup on this host: check everything again, stage it, replace all directories, record it."""

from __future__ import annotations

import grp
import json
import os
import pwd
import shutil
import stat
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from host_backup import archive, creating, databases, decision, facts, swapping
from host_backup.errors import BackupError
from host_backup.manifest import Manifest
from host_service.statefile import write_json

SWAP = swapping.PENDING
STAGING = "restoring."
REPLACED = "replaced"
HALTS = ("HALT", "halt.json")
"""Of a manager: whoever halted it has not resumed it by restoring a backup."""
REFUSALS = ("breaker.json", "second-factor.json")
"""Of a gateway: what IB has refused and which codes were used since the backup still holds at IB."""


def restored(state: Path) -> str:
    """The id of the backup that was restored last, empty if there is none."""
    try:
        return str(json.loads((state / swapping.RESTORED).read_text(encoding="utf-8"))["id"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def pending(state: Path) -> str:
    """The id of a backup whose restore was interrupted while it replaced directories. Raises BackupError."""
    swap = swapping.read(state / SWAP)
    return swap.id if swap is not None else ""


def repair(state: Path, active: facts.Active, clock: Callable[[], datetime], root: Path = Path("/")) -> str:
    """Complete a restore that was killed, and remove what one has left; returns its id. Raises BackupError if something
    that it would replace runs meanwhile."""
    if not state.is_dir():
        return ""
    with creating.alone(state):
        return _repair(state, active, clock, root)


def _repair(state: Path, active: facts.Active, clock: Callable[[], datetime], root: Path) -> str:
    swap = swapping.read(state / SWAP)
    if swap is not None:
        running = active(facts.units(root))
        if running:
            raise BackupError(
                f"The restore of {swap.id} was interrupted, and {', '.join(running)} runs again meanwhile.",
                "Run restore.yml again with -e restore_over_running=true: it stops what runs and completes it.",
            )
        _finish(swap, state, clock)
    for left in state.glob(f"{STAGING}*"):
        shutil.rmtree(left)
    return swap.id if swap is not None else ""


def restore(
    plain: Path,
    state: Path,
    expected: facts.HostFacts,
    active: facts.Active,
    clock: Callable[[], datetime],
    root: Path = Path("/"),
    step: Callable[[str], None] = lambda _: None,
) -> Manifest:
    """``expected``: the host as it was when the restore was allowed. Raises BackupError, and then the host is as
    before. Killed at any point, `repair` completes it or removes what was staged."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with creating.alone(state):
        _repair(state, active, clock, root)
        running = active(facts.units(root))
        if running:
            raise BackupError(f"{', '.join(running)} runs.", "Run restore.yml again: it stops it first.")
        now = facts.collect({}, active, "", "", root)
        if _digests(now) != _digests(expected):
            raise BackupError("The journals have changed since the restore was checked.", "Run restore.yml again.")
        manifest = archive.manifest_of(plain)
        # The content of the directories is staged below the state directory: the same file system, or no exchange.
        staging = state / f"{STAGING}{manifest.id}"
        try:
            staging.mkdir(mode=0o700)
            archive.unpack(plain, staging)
            _own(manifest, staging)
            _retain(manifest, staging, root)
            swap = _swap(manifest, staging, state, clock, root)
            os.sync()
            step("staged")
            # Unpacking takes its time, and something may have been started meanwhile.
            if started := active(facts.units(root)):
                raise BackupError(f"{', '.join(started)} was started meanwhile.", "Run restore.yml again: it stops it.")
            swap.write(state / SWAP)
        except BaseException:
            # A kill leaves it; a failure does not.
            if not (state / SWAP).exists():
                shutil.rmtree(staging, ignore_errors=True)
            raise
        step("recorded")
        _finish(swap, state, clock, step)
        shutil.rmtree(staging)
        return manifest


def _finish(
    swap: swapping.Swap, state: Path, clock: Callable[[], datetime], step: Callable[[str], None] = lambda _: None
) -> None:
    swapping.complete(swap, step)
    write_json(state / swapping.RESTORED, {"id": swap.id, "at": clock().isoformat()})
    step("completed")
    (state / SWAP).unlink()


def _digests(found: facts.HostFacts) -> Mapping[str, tuple[str, str]]:
    return {path: (each.events_digest, each.content_digest) for path, each in found.journals.items()}


def _swap(manifest: Manifest, staging: Path, state: Path, clock: Callable[[], datetime], root: Path) -> swapping.Swap:
    name = f"{clock():%Y%m%dT%H%M%SZ}-by-{manifest.id}"
    names = (name, *(f"{name}.{number}" for number in range(2, 1000)))
    aside = next(free for each in names if not (free := state / REPLACED / each).exists())
    moves = []
    for path in decision.restored_targets(manifest):
        target, staged = root / path.lstrip("/"), staging / path.lstrip("/")
        if _device(target) != staged.stat().st_dev:
            raise BackupError(
                f"{target} and {state} are on different file systems, so nothing can be replaced in one step.",
                "Move /var/lib/host-backup to the file system of the state directories.",
            )
        moves.append(swapping.Move(target, staged, aside / path.lstrip("/"), staged.lstat().st_ino))
    return swapping.Swap(manifest.id, tuple(moves))


def _device(path: Path) -> int:
    while not path.exists():
        path = path.parent
    return path.stat().st_dev


def _own(manifest: Manifest, staging: Path) -> None:
    """Owners and modes, of the content before its directory. Raises BackupError for a user that does not exist."""
    for part in reversed(manifest.parts):
        if not part.state:
            continue
        place = staging / part.path.lstrip("/")
        owner, group = (
            _number(part.owner, lambda name: pwd.getpwnam(name).pw_uid),
            _number(part.group, lambda name: grp.getgrnam(name).gr_gid),
        )
        os.chown(place, owner, group)
        # The author of an archive needs a public key only: nothing in it may run as its owner.
        place.chmod(part.mode & 0o777)


def _retain(manifest: Manifest, staging: Path, root: Path) -> None:
    """Take over from the host what must not be forgotten with its state: halts, and newer refusals of logins."""
    for target in decision.restored_targets(manifest):
        there, staged = root / target.lstrip("/"), staging / target.lstrip("/")
        for name in HALTS if target.startswith("/var/lib/position-manager/") else REFUSALS:
            try:
                seen = (there / name).lstat()
            except (FileNotFoundError, NotADirectoryError):
                continue
            if name in REFUSALS and seen.st_mtime <= manifest.created.timestamp():
                continue
            if name in HALTS and (staged / name).exists():
                continue
            # Whatever else bears such a name counts as a halt, or as a breaker that cannot be read.
            (staged / name).write_bytes((there / name).read_bytes() if stat.S_ISREG(seen.st_mode) else b"")
            os.chown(staged / name, seen.st_uid, seen.st_gid)
            (staged / name).chmod(0o600 if not stat.S_ISREG(seen.st_mode) else stat.S_IMODE(seen.st_mode) & 0o777)


def _number(name: str, number_of: Callable[[str], int]) -> int:
    if name.isdigit():
        return int(name)
    try:
        return number_of(name)
    except KeyError as error:
        raise BackupError(
            f"The user or group {name} does not exist on this host.", "Run restore.yml, which creates it."
        ) from error


def verify(manifest: Manifest, root: Path = Path("/")) -> list[str]:
    """What of the restored journals is missing: after the start a journal may only have further events."""
    faults = []
    for journal in manifest.journals:
        file = root / journal.path.lstrip("/")
        try:
            found = databases.journal_facts(file, journal.path)
            if found.created != journal.created:
                faults.append(f"{journal.path} was created {found.created}, the backup's {journal.created}")
            elif found.last_event < journal.last_event:
                faults.append(
                    f"{journal.path} ends with event {found.last_event}, the backup's with {journal.last_event}"
                )
            elif databases.events_digest(file, journal.last_event) != journal.events_digest:
                faults.append(f"{journal.path} differs from the backup's before event {journal.last_event}")
        except BackupError as error:
            faults.append(str(error))
    return faults


def differences(manifest: Manifest, root: Path = Path("/")) -> list[str]:
    """Configuration files of the backup that the deploy has written otherwise, or not at all."""
    found = []
    for part in manifest.parts:
        file = root / part.path.lstrip("/")
        if not part.state and (not file.is_file() or archive.checksum(file) != part.sha256):
            found.append(part.path)
    return found
