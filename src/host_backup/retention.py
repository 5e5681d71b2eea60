"""Which backups are removed. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from host_backup.errors import BackupError

SUFFIX = ".age"
_FORM = "%Y%m%dT%H%M%SZ"


def time_of(name: str, host: str) -> datetime | None:
    """When a backup of the host was created, from the name of its file; None for another file."""
    if not name.startswith(f"{host}-") or not name.endswith(SUFFIX):
        return None
    try:
        return datetime.strptime(name[len(host) + 1 : -len(SUFFIX)], _FORM).replace(tzinfo=UTC)
    except ValueError:
        return None


def superfluous(names: Iterable[str], host: str, now: datetime, count: int, days: int, created: str = "") -> list[str]:
    """The backups of a host to remove: all but the newest ``count``, and those older than ``days``. The newest one is
    retained in any case, and so are the one just ``created``, which is not the newest after the clock was ahead, and
    every file that is no backup of this host."""
    if count < 1 or days < 1:
        raise BackupError(f"A retention of {count} backups and {days} days is none.", "Set both to 1 or more.")
    times = {name: time for name in names if (time := time_of(name, host)) is not None}
    newest_first = sorted(times, key=lambda name: times[name], reverse=True)
    oldest = now - timedelta(days=days)
    return [
        name
        for index, name in enumerate(newest_first)
        if index and name != created and (index >= count or times[name] < oldest)
    ]
