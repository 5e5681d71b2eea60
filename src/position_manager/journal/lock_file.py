"""The lock file beside a journal: one process writes it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import BinaryIO

from position_manager.journal.errors import JournalError, JournalLockedError


def hold_lock(path: Path) -> BinaryIO:
    """Lock the file beside the journal; the lock ends with the process, however it ends."""
    lock = path.with_name(path.name + ".lock")
    try:
        file = lock.open("a+b")
    except OSError as error:
        raise JournalError(
            f"journal {path}: {lock} cannot be opened: {error.strerror}. Check its owner and permissions."
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        holder = file.read(20).decode(errors="replace").strip() or "unknown"
        file.close()
        raise JournalLockedError(
            f"journal {path}: another position manager (process {holder}) writes it. Stop that one first."
        ) from error
    file.truncate(0)
    file.write(f"{os.getpid()}\n".encode())
    file.flush()
    return file
