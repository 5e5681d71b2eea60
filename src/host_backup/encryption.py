"""age encryption (https://age-encryption.org) for public keys: the host holds recipients, and can read no backup."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

# It carries no types.
import pyrage  # type: ignore[import-untyped]  # it carries no types

from host_backup.errors import BackupError

_IDENTITY = re.compile(r"AGE-SECRET-KEY-1[0-9A-Z]+")


def recipients(texts: Iterable[str]) -> list[Any]:
    """Public keys, as age1…. Raises BackupError that names an invalid one."""
    found = []
    for text in texts:
        try:
            found.append(pyrage.x25519.Recipient.from_str(text.strip()))
        except pyrage.RecipientError as error:
            raise BackupError(
                f"The recipient {text!r} is no age public key ({error}).",
                "Set host_backup_recipients to keys of the form age1…, as the lookup age_recipient returns them.",
            ) from error
    if not found:
        raise BackupError("No recipient is set, so nobody could decrypt the backup.", "Set host_backup_recipients.")
    return found


def identities(text: str, source: str) -> list[Any]:
    """The secret keys in a text, such as a file of age-keygen with its comments. Raises BackupError."""
    try:
        found = [pyrage.x25519.Identity.from_str(line) for line in _IDENTITY.findall(text)]
    except pyrage.IdentityError as error:
        raise BackupError(f"{source} holds an invalid age identity ({error}).", "Restore the file.") from error
    if not found:
        raise BackupError(f"{source} holds no age identity (AGE-SECRET-KEY-1…).", "Name the file with the secret key.")
    return found


def read_identities(path: Path) -> list[Any]:
    """Raises BackupError."""
    try:
        return identities(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise BackupError(
            f"The identity {path} cannot be read: {reason}.",
            "Set host_backup_identity_file to the secret key for one of the recipients.",
        ) from error


def recipient_of(path: Path, create: bool = False) -> str:
    """The public key of the identity in a file; with ``create`` a missing file is created first, mode 0600. Raises
    BackupError."""
    if create and not path.exists():
        identity = pyrage.x25519.Identity.generate()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return recipient_of(path)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(f"# public key: {identity.to_public()}\n{identity}\n")
            file.flush()
            os.fsync(file.fileno())
    return str(read_identities(path)[0].to_public())


def encrypt(plain: BinaryIO, encrypted: BinaryIO, to: list[Any]) -> None:
    """Raises BackupError if either file cannot be read or written, such as on a full disk."""
    try:
        pyrage.encrypt_io(plain, encrypted, to)
    except pyrage.EncryptError as error:
        raise BackupError(f"The backup could not be encrypted: {error}.", "Free space on its file system.") from error


def decrypt(encrypted: BinaryIO, plain: BinaryIO, keys: list[Any], name: str) -> None:
    """Raises BackupError for another key, and for a damaged or shortened file."""
    try:
        pyrage.decrypt_io(encrypted, plain, keys)
    except (pyrage.DecryptError, OSError) as error:
        # It reports a damaged file as an OSError without a number.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise BackupError(
            f"{name} cannot be decrypted ({error}).",
            "Use the identity of one of its recipients; if it is the right one, the file is damaged: use another one.",
        ) from error
