"""A restore on a host: equal afterwards, refused before it changes anything, and completed when it was killed."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tests.unit.host_backup import hosts

from host_backup import archive, databases, encryption, facts, restoring
from host_backup.errors import BackupError
from host_backup.manifest import Manifest

STATE = "var/lib/host-backup"
STEPS = 2 + 2 * 3 + 1
"""Staged, recorded, each of three directories in place and its former content aside, completed."""


class KilledError(BaseException):
    """The process ends here."""


def nothing(_: Iterable[str]) -> list[str]:
    return []


def clock() -> datetime:
    return hosts.NOW


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """The decrypted backup of a host."""
    identity = tmp_path / "identity.txt"
    hosts.back_up(hosts.build(tmp_path / "from"), tmp_path / "backup.age", identity)
    target = tmp_path / "plain.tar.gz"
    with archive.decrypted(tmp_path / "backup.age", encryption.read_identities(identity)) as found:
        target.write_bytes(found.read_bytes())
    return target


def fresh(tmp_path: Path) -> Path:
    root = tmp_path / "to"
    root.mkdir()
    return root


def older(tmp_path: Path) -> Path:
    """A host with other content in each of the three directories."""
    root = hosts.build(fresh(tmp_path))
    database = sqlite3.connect(root / hosts.JOURNAL.lstrip("/"))
    database.execute("UPDATE counters SET order_id = 1")
    database.commit()
    database.close()
    hosts.write(root, f"{hosts.SETTINGS}/jts.ini", "[Former]\n")
    hosts.write(root, f"{hosts.MANAGER}/simulated.json", "former")
    return root


def restore(plain: Path, root: Path, step: Callable[[str], object] | None = None) -> Manifest:
    expected = facts.collect({}, nothing, "", "", root)
    more: dict[str, Any] = {"step": step} if step is not None else {}
    return restoring.restore(plain, root / STATE, expected, nothing, clock, root, **more)


def state_of(root: Path) -> dict[str, bytes]:
    return {path: content for path, content in hosts.contents(root / "var/lib").items() if "host-backup" not in path}


def expected_state(tmp_path: Path) -> dict[str, bytes]:
    left_out = ("launcher.log", "screenshots", ".lock", "host-backup", "journal-paper.db", "notifications.sqlite3")
    found = hosts.contents(tmp_path / "from/var/lib")
    return {path: content for path, content in found.items() if not any(name in path for name in left_out)}


def check_equal(plain: Path, root: Path, tmp_path: Path) -> None:
    found = {path: content for path, content in state_of(root).items() if not path.endswith((".db", ".sqlite3"))}
    assert found == expected_state(tmp_path)
    manifest = archive.manifest_of(plain)
    assert databases.journal_facts(root / hosts.JOURNAL.lstrip("/"), hosts.JOURNAL) == manifest.journals[0]
    assert restoring.verify(manifest, root) == []


@pytest.mark.parametrize("host", [fresh, older])
def test_the_state_is_equal_afterwards(host: Callable[[Path], Path], plain: Path, tmp_path: Path) -> None:
    root = host(tmp_path)
    done = restore(plain, root)
    check_equal(plain, root, tmp_path)
    assert restoring.restored(root / STATE) == done.id
    assert restoring.pending(root / STATE) == ""
    assert not list((root / STATE).glob("restoring.*"))
    for path, mode in ((hosts.JOURNAL, 0o600), (f"{hosts.MANAGER}/days/2026-11-23.json", 0o640)):
        original = (tmp_path / "from" / path.lstrip("/")).stat()
        restored = (root / path.lstrip("/")).stat()
        assert (restored.st_mode, restored.st_uid) == (original.st_mode, original.st_uid)
        assert mode == 0o600 or restored.st_mode & 0o777 == mode


def test_what_is_replaced_is_stored_aside(plain: Path, tmp_path: Path) -> None:
    root = older(tmp_path)
    before = state_of(root)
    restore(plain, root)
    (aside,) = (root / STATE / "replaced").iterdir()
    assert aside.name == "20261130T081500Z-by-sandbox-20261130T081500Z"
    kept = hosts.contents(aside / "var/lib")
    assert kept["ib-gateway/ib-gateway/settings/jts.ini"] == b"[Former]\n"
    assert kept == before


@pytest.mark.parametrize(
    ("host", "killed_at"),
    # On a fresh host nothing is moved aside.
    [*((fresh, number) for number in range(STEPS - 3)), *((older, number) for number in range(STEPS))],
)
def test_a_restore_killed_at_any_step_is_completed_or_undone(
    killed_at: int, host: Callable[[Path], Path], plain: Path, tmp_path: Path
) -> None:
    root = host(tmp_path)
    before = state_of(root)
    steps: list[str] = []

    def step(name: str) -> None:
        steps.append(name)
        if len(steps) > killed_at:
            raise KilledError

    with pytest.raises(KilledError):
        restore(plain, root, step)
    # At every moment each directory that was there is there: a service never starts without its journal.
    for path in {hosts.SETTINGS, hosts.STATE, hosts.MANAGER} if before else ():
        assert (root / path.lstrip("/")).is_dir()
    assert not before or (root / hosts.JOURNAL.lstrip("/")).is_file()
    restoring.repair(root / STATE, nothing, clock, root)
    assert not (root / STATE / "restore.json").exists()
    assert not list((root / STATE).glob("restoring.*"))
    if killed_at == 0:
        assert state_of(root) == before
    else:
        check_equal(plain, root, tmp_path)
    # The next run of the same restore ends in the same state.
    restore(plain, root)
    check_equal(plain, root, tmp_path)


def test_a_kill_is_not_completed_under_a_running_service(plain: Path, tmp_path: Path) -> None:
    root = older(tmp_path)

    def step(name: str) -> None:
        if name == "recorded":
            raise KilledError

    with pytest.raises(KilledError):
        restore(plain, root, step)
    before = state_of(root)
    with pytest.raises(BackupError, match=r"position-manager.service runs again.*restore_over_running"):
        restoring.repair(root / STATE, lambda _: ["position-manager.service"], clock, root)
    assert state_of(root) == before
    assert restoring.pending(root / STATE)


def test_a_running_service_is_never_restored_over(plain: Path, tmp_path: Path) -> None:
    root = older(tmp_path)
    before = state_of(root)
    expected = facts.collect({}, nothing, "", "", root)
    with pytest.raises(BackupError, match=r"ib-gateway\.service runs"):
        restoring.restore(plain, root / STATE, expected, lambda _: ["ib-gateway.service"], clock, root)
    assert state_of(root) == before


def test_a_journal_that_changed_since_the_check_is_not_replaced(plain: Path, tmp_path: Path) -> None:
    root = older(tmp_path)
    expected = facts.collect({}, nothing, "", "", root)
    database = sqlite3.connect(root / hosts.JOURNAL.lstrip("/"))
    database.execute("INSERT INTO events (time, kind, account, con_id, data) VALUES ('2026', 'x', 'DU', 1, '{}')")
    database.commit()
    database.close()
    before = state_of(root)
    with pytest.raises(BackupError, match="journals have changed since"):
        restoring.restore(plain, root / STATE, expected, nothing, clock, root)
    assert state_of(root) == before


def test_a_service_that_starts_while_the_backup_is_unpacked_is_not_restored_over(plain: Path, tmp_path: Path) -> None:
    root = older(tmp_path)
    before = state_of(root)
    staged: list[str] = []
    expected = facts.collect({}, nothing, "", "", root)

    def active(_: Iterable[str]) -> list[str]:
        return ["position-manager.service"] if staged else []

    with pytest.raises(BackupError, match=r"position-manager\.service was started meanwhile"):
        restoring.restore(plain, root / STATE, expected, active, clock, root, staged.append)
    assert state_of(root) == before
    assert not list((root / STATE).glob("restor*"))


@pytest.mark.parametrize("name", ["HALT", "halt.json"])
def test_a_manager_that_was_halted_since_the_backup_stays_halted(name: str, tmp_path: Path) -> None:
    identity, target = tmp_path / "identity.txt", tmp_path / "plain.tar.gz"
    source = hosts.build(tmp_path / "from")
    (source / f"{hosts.MANAGER}/HALT".lstrip("/")).unlink()
    hosts.back_up(source, tmp_path / "backup.age", identity)
    with archive.decrypted(tmp_path / "backup.age", encryption.read_identities(identity)) as found:
        target.write_bytes(found.read_bytes())
    root = older(tmp_path)
    (root / f"{hosts.MANAGER}/HALT".lstrip("/")).unlink()
    hosts.write(root, f"{hosts.MANAGER}/{name}", "{}")
    restore(target, root)
    assert (root / f"{hosts.MANAGER}/{name}".lstrip("/")).read_text() == "{}"


@pytest.mark.parametrize(("hours", "kept"), [(1, True), (-1, False)])
def test_refusals_of_logins_since_the_backup_are_not_forgotten(
    hours: int, kept: bool, plain: Path, tmp_path: Path
) -> None:
    root = older(tmp_path)
    time = hosts.NOW.timestamp() + 3600 * hours
    for name in ("breaker.json", "second-factor.json"):
        os.utime(hosts.write(root, f"{hosts.STATE}/{name}", "of the host"), (time, time))
    restore(plain, root)
    for name in ("breaker.json", "second-factor.json"):
        assert ((root / f"{hosts.STATE}/{name}".lstrip("/")).read_text() == "of the host") is kept


def test_no_restored_file_runs_as_its_owner(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = archive.manifest_of(plain)
    parts = tuple(replace(part, mode=part.mode | 0o6000) for part in found.parts)
    monkeypatch.setattr(archive, "manifest_of", lambda _: replace(found, parts=parts))
    root = fresh(tmp_path)
    restore(plain, root)
    assert not [file for file in (root / "var/lib").rglob("*") if file.stat().st_mode & 0o6000]


def test_a_damaged_archive_changes_nothing(plain: Path, tmp_path: Path) -> None:
    root = older(tmp_path)
    before = state_of(root)
    plain.write_bytes(plain.read_bytes()[:-200])
    with pytest.raises(BackupError):
        restore(plain, root)
    assert state_of(root) == before
    assert not list((root / STATE).glob("restor*"))


def test_a_missing_user_is_named(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = archive.unpack

    def unpack(file: Path, directory: Path) -> Manifest:
        manifest = found(file, directory)
        return replace(manifest, parts=tuple(replace(part, owner="nobody-like-this") for part in manifest.parts))

    monkeypatch.setattr(archive, "unpack", unpack)
    monkeypatch.setattr(archive, "manifest_of", lambda file: unpack(file, tmp_path / "second"))
    root = fresh(tmp_path)
    with pytest.raises(BackupError, match="nobody-like-this does not exist"):
        restore(plain, root)
    assert state_of(root) == {}


def test_a_journal_that_goes_on_is_verified_and_one_that_differs_is_not(plain: Path, tmp_path: Path) -> None:
    root = fresh(tmp_path)
    manifest = restore(plain, root)
    database = sqlite3.connect(root / hosts.JOURNAL.lstrip("/"))
    database.execute("INSERT INTO events (time, kind, account, con_id, data) VALUES ('2027', 'x', 'DU', 1, '{}')")
    database.commit()
    assert restoring.verify(manifest, root) == []
    database.execute("DROP TRIGGER events_stay")
    database.execute("UPDATE events SET time = '2020' WHERE number = 3")
    database.commit()
    database.close()
    assert "differs from the backup's" in restoring.verify(manifest, root)[0]
    (root / hosts.JOURNAL.lstrip("/")).unlink()
    assert restoring.verify(manifest, root) != []


def test_another_journal_with_the_same_events_is_not_verified(plain: Path, tmp_path: Path) -> None:
    root = fresh(tmp_path)
    manifest = restore(plain, root)
    database = sqlite3.connect(root / hosts.JOURNAL.lstrip("/"))
    database.execute("UPDATE stamp SET created = '2020'")
    database.commit()
    database.close()
    assert "was created 2020, the backup's" in restoring.verify(manifest, root)[0]


def test_directories_on_another_file_system_are_not_replaced(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No exchange in one step is possible there."""
    root = older(tmp_path)
    before = state_of(root)
    monkeypatch.setattr(restoring, "_device", lambda _: -1)
    with pytest.raises(BackupError, match="are on different file systems"):
        restore(plain, root)
    assert state_of(root) == before
    assert not list((root / STATE).glob("restor*"))


def test_configuration_that_differs_is_listed_and_not_restored(plain: Path, tmp_path: Path) -> None:
    root = fresh(tmp_path)
    hosts.write(root, "/etc/position-manager/position-manager.yml", "mode: paper\n")
    hosts.write(root, "/etc/ib-gateway/ib-gateway/container.env", "TRADING_MODE=live\n")
    manifest = restore(plain, root)
    assert sorted(restoring.differences(manifest, root)) == [
        "/etc/ib-gateway/ib-gateway/container.env",
        "/etc/ib-gateway/ib-gateway/instance.json",
    ]
    assert (root / "etc/ib-gateway/ib-gateway/container.env").read_text() == "TRADING_MODE=live\n"
