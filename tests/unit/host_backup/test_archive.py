"""The encrypted file: what is in it, what never is, and every way in which it can be unusable."""

from __future__ import annotations

import io
import sqlite3
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.host_backup import hosts

from host_backup import archive, encryption, manifest
from host_backup.errors import BackupError


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    return tmp_path / "identity.txt"


@pytest.fixture
def backup(tmp_path: Path, identity: Path) -> Path:
    target = tmp_path / "backup.age"
    hosts.back_up(hosts.build(tmp_path / "host"), target, identity)
    return target


def unpack(backup: Path, identity: Path, directory: Path) -> manifest.Manifest:
    with archive.decrypted(backup, encryption.read_identities(identity)) as plain:
        return archive.unpack(plain, directory)


def test_a_backup_holds_the_state_and_the_configuration_and_no_secret(
    backup: Path, identity: Path, tmp_path: Path
) -> None:
    found = unpack(backup, identity, tmp_path / "out")
    files = {part.path for part in found.parts if part.state and not part.directory}
    assert files == {
        f"{hosts.SETTINGS}/jts.ini",
        f"{hosts.SETTINGS}/encrypted/autorestart",
        f"{hosts.STATE}/breaker.json",
        f"{hosts.STATE}/second-factor.json",
        f"{hosts.STATE}/notifications.sqlite3",
        f"{hosts.MANAGER}/HALT",
        f"{hosts.MANAGER}/days/2026-11-23.json",
        hosts.JOURNAL,
    }
    assert {part.path for part in found.parts if not part.state} == {
        "/etc/ib-gateway/ib-gateway/instance.json",
        "/etc/ib-gateway/ib-gateway/container.env",
        "/etc/position-manager/position-manager.yml",
    }
    unpacked = b"".join(hosts.contents(tmp_path / "out").values())
    for secret in hosts.SECRETS:
        assert secret.encode() not in unpacked
    assert b"token of the session" in unpacked
    assert b"token of the session" not in backup.read_bytes()
    assert oct(backup.stat().st_mode)[-3:] == "600"
    assert [path.name for path in backup.parent.glob(".*")] == []
    assert list((tmp_path / "host/var/lib/host-backup").iterdir()) == []


def test_the_manifest_names_the_host_its_instances_and_its_journals(
    backup: Path, identity: Path, tmp_path: Path
) -> None:
    found = unpack(backup, identity, tmp_path / "out")
    assert found.id == "sandbox-20261130T081500Z"
    assert [(each.name, each.trading_mode, each.image) for each in found.gateways] == [
        ("ib-gateway", "paper", "ib:10.50")
    ]
    assert [(each.name, each.mode) for each in found.managers] == [("position-manager", "paper")]
    assert [each.path for each in found.journals] == [hosts.JOURNAL]
    assert manifest.parse(found.to_json()) == found


def test_only_the_identity_of_a_recipient_opens_it(backup: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    encryption.recipient_of(other, create=True)
    with pytest.raises(BackupError, match="cannot be decrypted"):
        unpack(backup, other, tmp_path / "out")


@pytest.mark.parametrize("damage", ["shortened", "changed"])
def test_a_damaged_file_is_refused(damage: str, backup: Path, identity: Path, tmp_path: Path) -> None:
    content = bytearray(backup.read_bytes())
    if damage == "shortened":
        del content[-100:]
    else:
        content[len(content) // 2] ^= 1
    backup.write_bytes(content)
    with pytest.raises(BackupError, match="cannot be decrypted"):
        unpack(backup, identity, tmp_path / "out")


def repack(plain: Path, change: dict[str, bytes | None], extra: dict[str, bytes] | None = None) -> None:
    """Replace members of a plain archive by others, or leave them out."""
    with tarfile.open(plain) as tar:
        members = {entry.name: file.read() for entry in tar if (file := tar.extractfile(entry)) is not None}
    with tarfile.open(plain, "w:gz") as tar:
        for name, content in (members | change | (extra or {})).items():
            if content is not None:
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({f"files{hosts.SETTINGS}/jts.ini": b"[Login]\n"}, "checksum of .*jts.ini"),
        ({f"files{hosts.SETTINGS}/jts.ini": b"0" * 9999}, "jts.ini in the backup has not the size"),
        ({f"files{hosts.STATE}/breaker.json": None}, "lacks .*breaker.json"),
        ({"files/etc/shadow": b"root::"}, "files/etc/shadow.*does not name"),
        ({"files/var/lib/../../etc/shadow": b"root::"}, "does not name"),
        ({"manifest.json": b"{"}, "manifest cannot be read"),
        ({"manifest.json": b'{"format": 99}'}, "format 99"),
    ],
)
def test_what_does_not_match_the_manifest_is_refused(
    change: dict[str, bytes | None], reason: str, backup: Path, identity: Path, tmp_path: Path
) -> None:
    with archive.decrypted(backup, encryption.read_identities(identity)) as plain:
        repack(plain, change)
        with pytest.raises(BackupError, match=reason):
            archive.unpack(plain, tmp_path / "out")


@pytest.mark.parametrize(
    "path", ["/../outside", "/var/lib/position-manager/../../outside", "outside", "//outside", "/var/lib/other/x"]
)
def test_a_manifest_that_leads_out_of_the_state_is_refused(
    path: str, backup: Path, identity: Path, tmp_path: Path
) -> None:
    """Whoever knows the public key can write an archive, and a directory has no content whose checksum is wrong."""
    with archive.decrypted(backup, encryption.read_identities(identity)) as plain:
        found = archive.manifest_of(plain)
        directory = next(part for part in found.parts if part.directory)
        changed = replace(found, parts=(*found.parts, replace(directory, path=path)))
        repack(plain, {"manifest.json": changed.to_json().encode()})
        with pytest.raises(BackupError, match="no place for a backup"):
            archive.unpack(plain, tmp_path / "out")
        with pytest.raises(BackupError, match="no place for a backup"):
            archive.manifest_of(plain)
    assert not list(tmp_path.rglob("outside"))


def test_a_journal_without_a_file_is_refused(backup: Path, identity: Path, tmp_path: Path) -> None:
    with archive.decrypted(backup, encryption.read_identities(identity)) as plain:
        found = archive.manifest_of(plain)
        changed = replace(found, journals=(replace(found.journals[0], path="/../journal-paper.db"),))
        repack(plain, {"manifest.json": changed.to_json().encode()})
        with pytest.raises(BackupError, match="no file for the journal"):
            archive.unpack(plain, tmp_path / "out")


def test_a_journal_other_than_that_of_the_manifest_is_refused(backup: Path, identity: Path, tmp_path: Path) -> None:
    """Even with a correct checksum: the decision what is older depends on the manifest."""
    with archive.decrypted(backup, encryption.read_identities(identity)) as plain:
        found = archive.manifest_of(plain)
        changed = replace(found, journals=(replace(found.journals[0], last_event=10_000),))
        repack(plain, {"manifest.json": changed.to_json().encode()})
        with pytest.raises(BackupError, match="is not the journal of its manifest"):
            archive.unpack(plain, tmp_path / "out")


def test_another_file_is_no_backup(identity: Path, tmp_path: Path) -> None:
    encryption.recipient_of(identity, create=True)
    (tmp_path / "other").write_text("something else")
    with pytest.raises(BackupError, match="cannot be decrypted"):
        unpack(tmp_path / "other", identity, tmp_path / "out")
    with pytest.raises(BackupError, match="cannot be read"):
        unpack(tmp_path / "missing", identity, tmp_path / "out")


def test_a_damaged_journal_fails_the_backup_and_leaves_nothing(tmp_path: Path, identity: Path) -> None:
    root = hosts.build(tmp_path / "host")
    journal = root / hosts.JOURNAL.lstrip("/")
    for content in (b"", b"no database at all"):
        journal.write_bytes(content)
        with pytest.raises(BackupError, match=r"journal-paper\.db is no database any more"):
            hosts.back_up(root, tmp_path / "backup.age", identity)
        assert list(tmp_path.glob("*.age*")) == []
        assert list((root / "var/lib/host-backup").iterdir()) == []


def test_a_damaged_outbox_does_not_prevent_the_backup_of_the_journal(tmp_path: Path, identity: Path) -> None:
    root = hosts.build(tmp_path / "host")
    outbox = root / f"{hosts.STATE}/notifications.sqlite3".lstrip("/")
    outbox.write_bytes(outbox.read_bytes()[:5000])
    found = hosts.back_up(root, tmp_path / "backup.age", identity)
    assert [text.partition(":")[0] for text in found.left_out] == [f"{hosts.STATE}/notifications.sqlite3"]
    assert [journal.path for journal in found.journals] == [hosts.JOURNAL]


def test_a_link_is_not_followed(tmp_path: Path, identity: Path) -> None:
    root = hosts.build(tmp_path / "host")
    secret = hosts.write(tmp_path, "/elsewhere", "outside")
    (root / f"{hosts.SETTINGS}/link".lstrip("/")).symlink_to(secret)
    found = hosts.back_up(root, tmp_path / "backup.age", identity)
    assert not [part for part in found.parts if part.path.endswith("link")]


def test_the_outbox_is_copied_as_a_database(backup: Path, identity: Path, tmp_path: Path) -> None:
    unpack(backup, identity, tmp_path / "out")
    outbox = sqlite3.connect(tmp_path / "out" / f"{hosts.STATE}/notifications.sqlite3".lstrip("/"))
    assert outbox.execute("SELECT body FROM messages").fetchall() == [("waits",)]
