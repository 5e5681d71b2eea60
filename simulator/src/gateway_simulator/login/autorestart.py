"""The autorestart file: what carries a session over a restart without a new login.

The gateway writes it just before it ends for its daily restart, and takes it away once the new run has
logged in. IBC's start script looks for it exactly one directory below the settings directory.
"""

from __future__ import annotations

import hashlib
from pathlib import Path


def find(settings_path: Path | None) -> Path | None:
    """Return the autorestart file. With more than one, all are deleted, as IBC's script does: None."""
    if settings_path is None:
        return None
    found = sorted(settings_path.glob("*/autorestart"))
    if len(found) == 1:
        return found[0]
    for path in found:
        path.unlink()
    return None


def write(settings_path: Path, user: str) -> Path:
    """Write the file for a user and return its path; OSError where the directory cannot be written."""
    path = settings_path / hashlib.sha256(user.encode()).hexdigest()[:16] / "autorestart"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("the simulator's session token\n", encoding="ascii")
    return path


def remove(settings_path: Path | None) -> None:
    """Take the file away, if there is one."""
    path = find(settings_path)
    if path is not None:
        path.unlink()
