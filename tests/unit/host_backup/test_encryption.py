"""Keys: created once with a private mode, read with their comments, and refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from host_backup import encryption
from host_backup.errors import BackupError


def test_a_key_is_created_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "identity.txt"
    first = encryption.recipient_of(path, create=True)
    assert first.startswith("age1")
    assert oct(path.stat().st_mode)[-3:] == "600"
    assert encryption.recipient_of(path, create=True) == first == encryption.recipient_of(path)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match=r"identity.txt cannot be read.*host_backup_identity_file"):
        encryption.recipient_of(tmp_path / "identity.txt")


def test_a_file_without_a_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "identity.txt").write_text("# public key: age1\n")
    with pytest.raises(BackupError, match="holds no age identity"):
        encryption.read_identities(tmp_path / "identity.txt")


@pytest.mark.parametrize(("texts", "reason"), [([], "No recipient"), (["age1x"], "'age1x' is no age public key")])
def test_a_recipient_that_cannot_be_used_is_named(texts: list[str], reason: str) -> None:
    with pytest.raises(BackupError, match=reason):
        encryption.recipients(texts)
