"""One run of the backup: create, store, remove superfluous ones, record, report."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from host_backup import archive, encryption, layout, notifying, retention, settings, storage, swapping
from host_backup.errors import BackupError
from host_backup.settings import S3, Settings
from host_service import backup_record as record
from host_service.backup_record import Good, Record

SPARE_BYTES = 100 << 20
"""That must be left for everything else on the host while a backup is created."""
INCOMING = "incoming.tar.gz"
"""Where the role host_backup copies a decrypted backup to."""
INCOMING_SECONDS = 24 * 3600
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Actions:
    """What a run does outside of its files."""

    clock: Callable[[], datetime]
    report: notifying.Report
    upload: Callable[[Path, S3], str] = storage.upload
    free: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free


@dataclass(frozen=True)
class Outcome:
    """``fault`` is empty for a complete backup; ``reported``: nothing waits for delivery."""

    record: Record
    reported: bool = True


def run(configuration: Path, state: Path, actions: Actions, root: Path = Path("/")) -> Outcome:
    """Create a backup; a failure is recorded, reported and leaves the earlier backups as they are."""
    previous = _previous(state)
    host = "this host"
    try:
        loaded = settings.load(configuration)
        host = loaded.host
        with alone(state):
            _remove_incoming(state, actions.clock())
            _check_restored(state)
            good = _create(loaded, state, actions, root, previous)
    except (BackupError, OSError) as error:
        failure = error if isinstance(error, BackupError) else _of_system(error)
        return _failed(host, failure, previous, state, actions)
    done = Record(good.at, "", good)
    try:
        done.write(state / record.RECORD.name)
    except OSError as error:
        return _failed(host, _of_system(error), previous, state, actions)
    if previous is not None and previous.fault:
        return Outcome(done, actions.report(notifying.works_again(host, record.line(done, good.at), good.at)))
    return Outcome(done)


def _create(loaded: Settings, state: Path, actions: Actions, root: Path, previous: Record | None) -> Good:
    now = actions.clock()
    recipients = encryption.recipients(loaded.recipients)
    loaded.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in loaded.directory.glob(".*.new"):
        left.unlink()
    _check_space(loaded.directory, state, actions, root)
    target = loaded.directory / f"{loaded.host}-{now:%Y%m%dT%H%M%SZ}{retention.SUFFIX}"
    manifest = archive.create(target, state, settings.source(loaded.host, root), recipients, now, root)
    for left_out in manifest.left_out:
        _log.warning("left out: %s", left_out)
    journals = {journal.path: journal.last_event for journal in manifest.journals}
    try:
        _check_journals(journals, previous.good if previous is not None else None, state)
    except BackupError:
        target.unlink()
        raise
    stored = (actions.upload(target, loaded.s3),) if loaded.s3 is not None else ()
    names = [path.name for path in loaded.directory.iterdir()]
    for name in retention.superfluous(names, loaded.host, now, loaded.retain_count, loaded.retain_days, target.name):
        (loaded.directory / name).unlink(missing_ok=True)
    return Good(now, str(target), target.stat().st_size, stored, journals)


def _check_journals(journals: Mapping[str, int], last: Good | None, state: Path) -> None:
    """A journal only grows. The retention would in time remove every backup of one that was lost."""
    if last is None or swapping.restored_at(state) > last.at:
        return
    for path, event in last.journals.items():
        found = journals.get(path)
        if found is None or found < event:
            now = "is missing" if found is None else f"ends with event {found}"
            raise BackupError(
                f"{path} ended with event {event} in the last backup, and {now}.",
                f"Restore that backup, {last.file}. If this was done on purpose: rm {state / record.RECORD.name}",
            )


def _remove_incoming(state: Path, now: datetime) -> None:
    """A decrypted backup that a killed restore.yml has left; one in use is younger."""
    incoming = state / INCOMING
    with contextlib.suppress(FileNotFoundError):
        if now.timestamp() - incoming.stat().st_mtime > INCOMING_SECONDS:
            incoming.unlink()


def _check_restored(state: Path) -> None:
    """A backup of a host that is restored in part would hold directories of two times."""
    if (state / swapping.PENDING).exists():
        raise BackupError(
            "A restore was interrupted, and this host is restored in part.",
            "Run restore.yml or site.yml again: it completes it.",
        )


def _check_space(directory: Path, state: Path, actions: Actions, root: Path) -> None:
    """A copy, its archive and the encrypted archive are there at the same time, at most."""
    content = sum(_size(found.file) for found in layout.entries(root) if not found.directory)
    for path in (directory, state):
        needed, free = 3 * content + SPARE_BYTES, actions.free(path)
        if free < needed:
            raise BackupError(
                f"The disk is full: {path} has {free >> 20} MB free, a backup needs {needed >> 20} MB.",
                "Free space: journalctl --vacuum-size=200M, docker image prune; or enlarge the disk.",
            )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _of_system(error: OSError) -> BackupError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return BackupError("The disk is full.", "Free space: journalctl --vacuum-size=200M, docker image prune.")
    where = f"{error.filename}: " if error.filename else ""
    return BackupError(f"{where}{error.strerror or error}.", "Check the file, its directory and the disk.")


def _failed(host: str, failure: BackupError, previous: Record | None, state: Path, actions: Actions) -> Outcome:
    now = actions.clock()
    _log.error("%s", failure)
    done = Record(now, str(failure), previous.good if previous is not None else None)
    try:
        done.write(state / record.RECORD.name)
    except OSError as error:
        _log.error("the failure could not be recorded: %s", error)
    last = record.line(Record(now, "", done.good), now) if done.good is not None else "There is no earlier backup."
    return Outcome(done, actions.report(notifying.failed(host, failure.text, failure.remedy, last, now)))


def _previous(state: Path) -> Record | None:
    try:
        return record.read(state / record.RECORD.name)
    except (OSError, ValueError) as error:
        _log.error("the last record cannot be read: %s", error)
        return None


@contextmanager
def alone(state: Path) -> Iterator[None]:
    """One run at a time; one that was killed leaves its intermediate files, which are removed here."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(state / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BackupError("Another backup or restore is running.", "Wait until it has ended.") from error
        for left in state.glob("creating.*"):
            shutil.rmtree(left)
        yield
    finally:
        os.close(handle)
