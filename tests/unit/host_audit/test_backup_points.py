"""The points about backups: green on a fresh host and after a backup, red when the last one is too old or gone."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from tests.unit.host_audit.programs import FakeHost
from tests.unit.host_backup import hosts

from host_audit.point import Point, Verdict
from host_audit.points import backup
from host_service.backup_record import Good, Record

NOW = hosts.NOW
FILE = "/var/lib/host-backup/backups/sandbox-20261130T081500Z.age"


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    hosts.configure(tmp_path, "age1x")
    return FakeHost(tmp_path, {"systemctl is-active": "active\n"})


def points(host: FakeHost, after: timedelta = timedelta()) -> dict[str, Point]:
    return {point.id: point for point in backup.check(host, NOW + after)}


def recorded(host: FakeHost, fault: str = "", file: str = FILE) -> None:
    host.write(FILE, "a backup")
    path = host.path("/var/lib/host-backup/last.json")
    Record(NOW, fault, Good(NOW, file, 96 << 10, ())).write(path)


def test_a_recent_backup_passes(host: FakeHost) -> None:
    recorded(host)
    found = points(host, timedelta(hours=50))
    assert {point.verdict for point in found.values()} == {Verdict.PASSED}
    assert "2026-11-30 08:15 UTC (50 h ago), 96 KB" in found["backup-age"].found


def test_an_old_backup_fails_with_the_remedy(host: FakeHost) -> None:
    recorded(host)
    age = points(host, timedelta(hours=51))["backup-age"]
    assert age.is_failed_must
    assert "at most 50 h are allowed" in age.found
    assert "backup.yml" in age.remedy


def test_a_fresh_host_has_time_for_its_first_backup(host: FakeHost) -> None:
    configured = host.path("/etc/host-backup.json").stat().st_mtime
    since = timedelta(seconds=configured - NOW.timestamp())
    assert points(host, since + timedelta(hours=49))["backup-age"].verdict is Verdict.PASSED
    assert points(host, since + timedelta(hours=51))["backup-age"].verdict is Verdict.FAILED


def test_a_failed_run_is_a_warning_while_the_last_backup_is_recent(host: FakeHost) -> None:
    recorded(host, fault="The disk is full.")
    found = points(host)
    assert found["backup-run"].verdict is Verdict.FAILED
    assert not found["backup-run"].is_failed_must
    assert found["backup-age"].verdict is Verdict.PASSED


def test_a_backup_whose_file_is_gone_fails(host: FakeHost) -> None:
    recorded(host)
    host.path(FILE).unlink()
    assert points(host)["backup-age"].is_failed_must


def test_a_timer_that_does_not_run_is_a_warning(host: FakeHost) -> None:
    host.outputs = {"systemctl is-active": "inactive\n"}
    assert points(host)["backup-configured"].found == "host-backup.timer is inactive"


def test_without_a_configuration_it_is_a_warning(tmp_path: Path) -> None:
    found = points(FakeHost(tmp_path))
    assert found["backup-configured"].verdict is Verdict.FAILED
    assert found["backup-age"].verdict is Verdict.SKIPPED


def test_a_record_that_cannot_be_read_is_no_backup(host: FakeHost) -> None:
    host.write("/var/lib/host-backup/last.json", "{}")
    assert points(host)["backup-age"].is_failed_must
