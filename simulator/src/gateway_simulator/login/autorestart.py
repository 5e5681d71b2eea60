"""The autorestart file: what carries a session over a restart without a new login.

The gateway writes it just before it ends for its daily restart. IBC's start script searches for it exactly one
directory below the settings directory; the next run reads it, which deletes it. A file that the gateway cannot use
remains, and IBC leaves the login form alone for as long as it does.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

_SESSION = "the simulator's session token\n"
_STALE = "a session that has ended\n"


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


def write(settings_path: Path, user: str, *, stale: bool = False) -> Path:
    """Create the file for a user and return its path; OSError where the directory cannot be written.

    A ``stale`` one names a session that the gateway cannot use.
    """
    path = settings_path / hashlib.sha256(user.encode()).hexdigest()[:16] / "autorestart"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_STALE if stale else _SESSION, encoding="ascii")
    return path


def read(settings_path: Path | None) -> bool:
    """Read the file and delete it; False for one that is not a session of the simulator's, which remains."""
    path = find(settings_path)
    if path is None or path.read_bytes() != _SESSION.encode("ascii"):
        return False
    path.unlink()
    return True
