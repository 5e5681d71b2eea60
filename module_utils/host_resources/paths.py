"""What is at a path, read without following a link that an untrusted user may have placed. Changes nothing."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath

LINKS = 40
"""As many links as the kernel follows in one path."""


def kind(path: str) -> str:
    """What is at the path itself: absent, directory, file, link or other."""
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "absent"
    if stat.S_ISLNK(mode):
        return "link"
    if stat.S_ISDIR(mode):
        return "directory"
    return "file" if stat.S_ISREG(mode) else "other"


def untrusted_link(path: str, *, itself: bool = False) -> str | None:
    """The first symbolic link on the way to the path, or at it, that belongs neither to root nor to this user."""
    return _untrusted_link(PurePosixPath(path), itself, LINKS)


def _untrusted_link(path: PurePosixPath, itself: bool, left: int) -> str | None:
    way = [*reversed(path.parents), *([path] if itself else [])]
    for step in way:
        if kind(str(step)) != "link":
            continue
        if left == 0 or os.lstat(step).st_uid not in (0, os.geteuid()):
            return str(step)
        target = PurePosixPath(os.path.normpath(step.parent / Path(step).readlink()))
        if (found := _untrusted_link(target, True, left - 1)) is not None:
            return found
    return None


def missing_directories(path: str) -> list[str]:
    """The directories on the way to the path, and itself, that do not exist; the uppermost first."""
    way = [*reversed(PurePosixPath(path).parents), PurePosixPath(path)]
    return [str(step) for step in way if not Path(step).exists()]


def not_a_directory(path: str) -> str | None:
    """The first thing on the way to the path that exists and is no directory."""
    for step in reversed(PurePosixPath(path).parents):
        if Path(step).exists() and not Path(step).is_dir():
            return str(step)
    return None


def newest_file(paths: tuple[str, ...]) -> float | None:
    """The modification time of the newest regular file at or under the paths; None without any."""
    times: list[float] = []
    for path in paths:
        if kind(path) == "file":
            times.append(os.lstat(path).st_mtime)
        for directory, _, names in os.walk(path):
            files = (f"{directory}/{name}" for name in names)
            times += [os.lstat(file).st_mtime for file in files if kind(file) == "file"]
    return max(times, default=None)
