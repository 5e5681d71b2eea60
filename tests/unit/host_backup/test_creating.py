"""A run of the backup: what is stored, removed, recorded and reported, also when it fails."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import yaml
from tests.unit.host_backup import hosts
from tests.unit.notifications.webhook import Webhook

from host_backup import creating, encryption, notifying
from host_backup.errors import BackupError
from host_backup.settings import S3
from host_service import backup_record as record
from notifications.message import Message, Severity

ROOT = Path(__file__).parents[3]


class Night:
    """Runs on a host, with a clock that only a test moves; collects what is reported."""

    def __init__(self, root: Path) -> None:
        self.root = hosts.build(root / "host")
        self.state = self.root / "var/lib/host-backup"
        self.identity = root / "identity.txt"
        self.now = hosts.NOW
        self.messages: list[Message] = []
        self.uploads: list[tuple[str, str]] = []
        self.free = 1 << 40
        self.delivers = True
        self.upload_fault: BackupError | None = None
        self.configure()

    def configure(self, **changes: object) -> None:
        self.config = hosts.configure(self.root, encryption.recipient_of(self.identity, create=True), **changes)

    def _report(self, message: Message) -> bool:
        self.messages.append(message)
        return self.delivers

    def _upload(self, file: Path, place: S3) -> str:
        if self.upload_fault is not None:
            raise self.upload_fault
        self.uploads.append((place.bucket, place.key(file.name)))
        return f"s3://{place.bucket}/{place.key(file.name)}"

    def run(self) -> creating.Outcome:
        actions = creating.Actions(self._clock, self._report, self._upload, lambda _: self.free)
        return creating.run(self.config, self.state, actions, self.root)

    def _clock(self) -> datetime:
        return self.now

    @property
    def files(self) -> list[str]:
        directory = self.state / "backups"
        return sorted(path.name for path in directory.iterdir()) if directory.exists() else []

    @property
    def record(self) -> record.Record | None:
        return record.read(self.state / "last.json")


@pytest.fixture
def night(tmp_path: Path) -> Night:
    return Night(tmp_path)


def test_a_run_creates_a_backup_and_records_it(night: Night) -> None:
    done = night.run()
    assert done.record.fault == ""
    assert night.files == ["sandbox-20261130T081500Z.age"]
    assert night.record == done.record
    good = done.record.good
    assert good is not None
    assert list(good.journals) == [hosts.JOURNAL]
    assert good.journals[hosts.JOURNAL] > 0
    assert night.messages == []
    assert record.line(done.record, night.now + timedelta(hours=5)).startswith(
        "last backup: 2026-11-30 08:15 UTC (5 h ago), "
    )


def test_a_clock_that_was_ahead_does_not_have_the_new_backup_removed(night: Night) -> None:
    night.configure(retain_count=1)
    night.now = hosts.NOW + timedelta(days=365)
    night.run()
    night.now = hosts.NOW
    assert night.run().record.fault == ""
    assert "sandbox-20261130T081500Z.age" in night.files


def test_a_host_that_is_restored_in_part_is_not_backed_up(night: Night) -> None:
    """Its directories are of two times, and it would count as the newest backup."""
    night.run()
    before = night.files
    night.now += timedelta(days=1)
    (night.state / "restore.json").write_text("{}")
    assert "restored in part" in night.run().record.fault
    assert night.files == before
    assert night.messages[-1].kind == "backup_failed"


def test_old_backups_are_removed_only_after_a_new_one_is_complete(night: Night) -> None:
    for day in range(4):
        night.now = hosts.NOW + timedelta(days=day)
        night.run()
    assert night.files == [f"sandbox-202612{day:02}T081500Z.age" for day in (1, 2, 3)]
    night.now += timedelta(days=365)
    night.upload_fault = BackupError("The bucket is gone.", "Create it.")
    night.configure(s3={"bucket": "b", "prefix": "p", "region": ""})
    night.run()
    assert set(night.files) > {f"sandbox-202612{day:02}T081500Z.age" for day in (1, 2, 3)}


def fill_disk(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    night.free = 50 << 20


def fail_write(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)


def damage_journal(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    (night.root / hosts.JOURNAL.lstrip("/")).write_bytes(b"")


def break_settings(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    night.config.write_text("{}")


def lose_journal(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in (night.root / hosts.MANAGER.lstrip("/")).glob("journal-*"):
        file.unlink()


def replace_journal(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    """By an empty one, which a manager without a journal creates."""
    database = sqlite3.connect(night.root / hosts.JOURNAL.lstrip("/"))
    triggers = database.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'events'")
    for (trigger,) in triggers.fetchall():
        database.execute(f"DROP TRIGGER {trigger}")
    database.execute("DELETE FROM events")
    database.commit()
    database.close()


def lose_bucket(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    night.configure(s3={"bucket": "b", "prefix": "p", "region": ""})
    night.upload_fault = BackupError("sandbox could not be stored in s3://b/p.", "Check the bucket.")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (fill_disk, "The disk is full: .* has 50 MB free"),
        (fail_write, "The disk is full"),
        (damage_journal, "journal-paper.db is no database any more"),
        (lose_journal, "journal-paper.db ended with event [0-9]+ in the last backup, and is missing"),
        (replace_journal, "journal-paper.db ended with event [0-9]+ in the last backup, and ends with event 0"),
        (break_settings, "host-backup.json is invalid"),
        (lose_bucket, "could not be stored in s3://b/p"),
    ],
)
def test_a_failure_is_recorded_and_reported_and_the_earlier_backup_stays(
    fault: Callable[[Night, pytest.MonkeyPatch], None], reason: str, night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = night.run().record.good
    night.now += timedelta(days=1)
    fault(night, monkeypatch)
    done = night.run()
    assert done.record.good == good
    assert night.record == done.record
    assert "sandbox-20261130T081500Z.age" in night.files
    assert fault is lose_bucket or night.files == ["sandbox-20261130T081500Z.age"]
    assert not list(night.state.glob("creating.*"))
    assert not list(night.state.glob("backups/.*"))
    (message,) = night.messages
    assert message.kind == "backup_failed"
    assert message.severity is Severity.ALERT
    assert re.search(reason, message.lines[0])
    assert message.lines[1]
    assert "2026-11-30 08:15 UTC" in message.lines[2]
    assert "FAILED" in record.line(done.record, night.now)


@pytest.mark.parametrize("accept", ["restored", "removed on purpose"])
def test_a_journal_that_was_replaced_on_purpose_is_backed_up(
    accept: str, night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    night.run()
    replace_journal(night, monkeypatch)
    night.now += timedelta(days=1)
    assert "rm " in night.run().record.fault
    if accept == "restored":
        at = night.now.isoformat()
        hosts.write(night.root, "/var/lib/host-backup/restored.json", json.dumps({"id": "x", "at": at}))
    else:
        (night.state / "last.json").unlink()
    night.now += timedelta(days=1)
    assert not night.run().record.fault


def test_the_end_of_a_failure_is_reported_once(night: Night) -> None:
    night.free = 0
    assert night.run().record.fault
    night.free = 1 << 40
    night.now += timedelta(days=1)
    assert not night.run().record.fault
    night.now += timedelta(days=1)
    night.run()
    assert [message.kind for message in night.messages] == ["backup_failed", "backup_works"]
    assert night.messages[1].recovery_of == night.messages[0].dedupe_key


def test_a_report_that_waits_is_known(night: Night) -> None:
    night.free, night.delivers = 0, False
    assert not night.run().reported


def test_a_backup_is_stored_in_s3_below_its_prefix(night: Night) -> None:
    night.configure(s3={"bucket": "backups", "prefix": "/ib-gateway/sandbox/", "region": "us-east-1"})
    done = night.run()
    assert night.uploads == [("backups", "ib-gateway/sandbox/sandbox-20261130T081500Z.age")]
    assert done.record.good is not None
    assert done.record.good.stored == ("s3://backups/ib-gateway/sandbox/sandbox-20261130T081500Z.age",)


def test_what_a_killed_run_has_left_is_removed(night: Night) -> None:
    hosts.write(night.root, "/var/lib/host-backup/creating.x/files/a", "left")
    hosts.write(night.root, "/var/lib/host-backup/backups/.sandbox-1.age.new", "left")
    night.run()
    assert night.files == ["sandbox-20261130T081500Z.age"]
    assert not list(night.state.glob("creating.*"))


@pytest.mark.parametrize(("hours", "stays"), [(1, True), (25, False)])
def test_a_decrypted_backup_of_a_killed_restore_is_removed(night: Night, hours: int, stays: bool) -> None:
    """A younger one may be in use."""
    variables = yaml.safe_load((ROOT / "roles/host_backup/vars/main.yml").read_text())
    name = variables["__host_backup_incoming"].rpartition("/")[2]
    left = hosts.write(night.root, f"/var/lib/host-backup/{name}", "the settings of a gateway")
    copied = (night.now - timedelta(hours=hours)).timestamp()
    os.utime(left, (copied, copied))
    assert not night.run().record.fault
    assert left.exists() is stays


def test_two_runs_do_not_work_at_the_same_time(night: Night) -> None:
    with creating.alone(night.state):
        assert "Another backup or restore is running" in night.run().record.fault


def test_the_message_arrives_at_every_address_of_the_host_with_a_full_disk(tmp_path: Path) -> None:
    """With a real outbox and a real HTTP server; the outbox is not on the disk that is full."""
    night = Night(tmp_path)
    with Webhook() as webhook:
        address = webhook.api.replace("http://", "json://")
        hosts.write(night.root, "/etc/ib-gateway/ib-gateway/secrets/notify_urls", f"{address}\n")
        (night.root / "etc/position-manager/secrets/position-manager/discord_url").unlink()
        message = notifying.failed("sandbox", "The disk is full.", "Free space.", "There is none.", hosts.NOW)
        assert notifying.report(message, tmp_path / "run" / "outbox.sqlite3", night.root)
        (post,) = webhook.taken
        assert post.json["title"] == "The backup of sandbox failed"
        assert "Free space." in post.json["message"]


def test_without_an_address_the_journal_is_the_report(tmp_path: Path) -> None:
    message = notifying.works_again("sandbox", "", hosts.NOW)
    assert notifying.report(message, tmp_path / "outbox.sqlite3", tmp_path)
    assert not (tmp_path / "outbox.sqlite3").exists()


def test_a_record_that_cannot_be_read_does_not_prevent_a_backup(night: Night) -> None:
    hosts.write(night.root, "/var/lib/host-backup/last.json", json.dumps({"at": "x"}))
    assert not night.run().record.fault
