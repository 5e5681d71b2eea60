"""The commands: exit status, and what the controller learns about a backup before the first change."""

from __future__ import annotations

import io
import json
import sqlite3
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.host_backup import hosts

from host_backup import cli, creating, encryption, facts
from host_service import backup_record as record
from host_service.backup_record import Record

WANTED = {
    "gateways": {"ib-gateway": "paper"},
    "managers": {"position-manager": "paper"},
    "accounts": {"position-manager": ["DU1234567"]},
}


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    hosts.back_up(hosts.build(tmp_path / "host"), tmp_path / "backup.age", tmp_path / "identity.txt")
    return tmp_path / "backup.age"


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stdin: str, *arguments: str) -> Any:
    """Exit status, and the decoded output or the error."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
    status = cli.main(arguments)
    output = capsys.readouterr()
    return status, json.loads(output.out) if status == 0 else output.err


def examine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], backup: Path, document: object, *more: str
) -> Any:
    identity = str(backup.parent / "identity.txt")
    return run(monkeypatch, capsys, json.dumps(document), "examine", str(backup), "--identity-file", identity, *more)


def test_a_backup_that_fits_is_decrypted_for_the_host(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = tmp_path / "plain.tar.gz"
    document = {"wanted": WANTED, "facts": json.loads(facts.HostFacts().to_json())}
    status, found = examine(monkeypatch, capsys, backup, document, "--plain", str(plain))
    assert (status, found["problems"], found["already"]) == (0, [], False)
    assert (found["id"], found["host"]) == ("sandbox-20261130T081500Z", "sandbox")
    assert oct(plain.stat().st_mode)[-3:] == "600"


def test_a_backup_of_another_instance_is_not_decrypted_for_the_host(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = tmp_path / "plain.tar.gz"
    document = {"wanted": {**WANTED, "gateways": {"ib-gateway": "live"}}}
    status, found = examine(monkeypatch, capsys, backup, document, "--plain", str(plain))
    assert status == 0
    assert "mode paper in the backup" in found["problems"][0]
    assert not plain.exists()


@pytest.mark.parametrize(("behind", "refused"), [(0, False), (2, False), (-2, True)])
def test_the_journals_of_host_and_backup_are_compared_by_their_events(
    behind: int,
    refused: bool,
    backup: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With the digests of real journals, as the host and the controller compute them."""
    root = tmp_path / "host"
    database = sqlite3.connect(root / hosts.JOURNAL.lstrip("/"))
    (last,) = database.execute("SELECT MAX(number) FROM events").fetchone()
    if behind > 0:
        database.execute("DROP TRIGGER events_are_kept")
        database.execute("DELETE FROM events WHERE number > ?", (last - behind,))
    for _ in range(-behind):
        database.execute("INSERT INTO events (time, kind, account, con_id, data) VALUES ('2027', 'x', 'DU', 1, '{}')")
    database.commit()
    database.close()
    host = facts.collect({hosts.JOURNAL: last}, lambda _: [], "", "", root)
    status, found = examine(monkeypatch, capsys, backup, {"facts": json.loads(host.to_json())})
    assert status == 0
    assert bool(found["problems"]) is refused
    if refused:
        assert f"event {last + 2}" in found["problems"][0]
        assert f"the backup's: {last} " in found["problems"][0]
    forced = {"facts": json.loads(host.to_json()), "older_journal": True}
    assert examine(monkeypatch, capsys, backup, forced)[1]["problems"] == []


def test_another_key_is_one_error(
    backup: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (backup.parent / "identity.txt").unlink()
    encryption.recipient_of(backup.parent / "identity.txt", create=True)
    status, error = examine(monkeypatch, capsys, backup, {})
    assert status == 1
    assert error.count("\n") == 1
    assert "cannot be decrypted" in error


@pytest.mark.parametrize(("fault", "reported", "status"), [("", True, 0), ("Full.", True, 78), ("Full.", False, 75)])
def test_the_exit_status_of_a_run(
    fault: str, reported: bool, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = creating.Outcome(Record(hosts.NOW, fault, None), reported)
    monkeypatch.setattr(creating, "run", lambda *_: done)
    assert cli.main(["create"]) == status


def test_the_status_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(record, "CONFIG", tmp_path / "host-backup.json")
    monkeypatch.setattr(record, "RECORD", tmp_path / "last.json")
    cli.main(["status"])
    assert capsys.readouterr().out == "last backup: not configured (host_backup_recipients)\n"
    record.CONFIG.write_text("{}")
    cli.main(["status"])
    assert capsys.readouterr().out == "last backup: none yet\n"
    good = record.Good(hosts.NOW, "/backups/a.age", 4096, ("s3://b/a.age",))
    done = Record(hosts.NOW, "", good)
    done.write(record.RECORD)
    cli.main(["status"])
    assert "2026-11-30 08:15 UTC" in capsys.readouterr().out
    replace(done, fault="The disk is full.").write(record.RECORD)
    assert run(monkeypatch, capsys, "", "status", "--json") == (
        0,
        {
            "last_backup": "2026-11-30T08:15:00+00:00",
            "file": "/backups/a.age",
            "stored": ["s3://b/a.age"],
            "fault": "The disk is full.",
        },
    )
