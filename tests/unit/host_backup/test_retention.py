"""Which backups are removed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from host_backup.errors import BackupError
from host_backup.retention import superfluous, time_of

NOW = datetime(2026, 11, 30, 8, 15, tzinfo=UTC)


def name(days: int, host: str = "sandbox") -> str:
    return f"{host}-{NOW - timedelta(days=days):%Y%m%dT%H%M%SZ}.age"


def test_the_newest_stay_by_count_and_by_age() -> None:
    names = [name(days) for days in (0, 1, 2, 3, 40)]
    assert superfluous(names, "sandbox", NOW, 10, 30) == [name(40)]
    assert superfluous(names, "sandbox", NOW, 2, 30) == [name(2), name(3), name(40)]
    assert superfluous(names, "sandbox", NOW, 10, 60) == []


def test_the_newest_one_always_stays() -> None:
    assert superfluous([name(100), name(200)], "sandbox", NOW, 1, 1) == [name(200)]


def test_other_files_stay() -> None:
    others = ["notes.txt", "sandbox-2026.age", name(200, "other"), f".{name(200)}.new", "sandbox-live-x.age"]
    assert superfluous([name(0), *others], "sandbox", NOW, 1, 1) == []
    assert time_of(name(3), "sandbox") == NOW - timedelta(days=3)


@pytest.mark.parametrize(("count", "days"), [(0, 30), (14, 0), (-1, 1)])
def test_a_retention_of_nothing_is_refused(count: int, days: int) -> None:
    with pytest.raises(BackupError, match="is none"):
        superfluous([name(0)], "sandbox", NOW, count, days)
