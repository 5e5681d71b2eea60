"""Replaces directories by others, so that each is there at every moment, and a kill is completed by the next run."""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from host_backup.errors import BackupError
from host_service.statefile import sync_directory, write_json

PENDING = "restore.json"
"""File below the state directory: the swap that did not end."""
RESTORED = "restored.json"
"""Likewise: the id of the backup that was restored last, and when."""
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@dataclass(frozen=True)
class Move:
    """``staged`` takes the place of ``target``, whose former content goes to ``aside``. ``inode`` is that of staged."""

    target: Path
    staged: Path
    aside: Path
    inode: int


@dataclass(frozen=True)
class Swap:
    """All moves of one restore; ``id`` is the backup's."""

    id: str
    moves: tuple[Move, ...]

    def write(self, path: Path) -> None:
        """Raises OSError."""
        moves = [{key: str(value) for key, value in asdict(move).items()} for move in self.moves]
        write_json(path, {"id": self.id, "moves": moves})


def read(path: Path) -> Swap | None:
    """The swap that did not end; None if there is none. Raises BackupError."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        moves = (
            Move(Path(move["target"]), Path(move["staged"]), Path(move["aside"]), int(move["inode"]))
            for move in document["moves"]
        )
        return Swap(str(document["id"]), tuple(moves))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackupError(f"{path} cannot be read ({error}).", "Compare the directories it names by hand.") from error


def restored_at(state: Path) -> datetime:
    """When a backup was restored last; the earliest time if none was."""
    try:
        return datetime.fromisoformat(json.loads((state / RESTORED).read_text(encoding="utf-8"))["at"])
    except (OSError, ValueError, KeyError, TypeError):
        return datetime.min.replace(tzinfo=UTC)


def complete(swap: Swap, step: Callable[[str], None] = lambda _: None) -> None:
    """Do what is left of the moves; safe to repeat after a kill at any point. ``step`` is called after each, for tests.
    Raises BackupError and OSError."""
    for move in swap.moves:
        if _inode(move.target) != move.inode:
            if _inode(move.staged) != move.inode:
                raise BackupError(
                    f"Neither {move.target} nor {move.staged} is what was restored.", "Restore the backup again."
                )
            move.target.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
            if os.path.lexists(move.target):
                exchange(move.staged, move.target)
            else:
                move.staged.rename(move.target)
            step(f"in place: {move.target}")
        if os.path.lexists(move.staged):
            move.aside.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            move.staged.rename(move.aside)
            step(f"aside: {move.aside}")
        for directory in (move.target.parent, move.aside.parent):
            if directory.is_dir():
                sync_directory(directory)


def exchange(one: Path, other: Path) -> None:
    """Exchange what two names refer to, in one step. Raises OSError."""
    library = ctypes.CDLL(None, use_errno=True)
    done = library.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    if done != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(one), None, str(other))


def _inode(path: Path) -> int | None:
    try:
        return path.lstat().st_ino
    except FileNotFoundError:
        return None
