"""The file of a backup: age around a compressed tar, the manifest first, then each part under its own path.

`create` reads the host, `open_plain` checks all of it before anything is used: format, checksums, every database.
"""

from __future__ import annotations

import grp
import hashlib
import io
import os
import pwd
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from host_backup import databases, encryption, layout
from host_backup.errors import BackupError
from host_backup.manifest import NAME, GatewayFacts, JournalFacts, ManagerFacts, Manifest, Part, parse
from host_service.statefile import sync_directory

FIRST_OWN_UID = 1000
"""Below are system users, whose numbers differ between hosts."""
LONGEST_MANIFEST = 64 << 20
_CHUNK = 1 << 20
_UNUSABLE = "The backup is damaged: use another one."


@dataclass(frozen=True)
class Source:
    """What a backup contains beside the files: the host's name in the inventory and the release that runs there."""

    host: str
    release: str
    gateways: tuple[GatewayFacts, ...]
    managers: tuple[ManagerFacts, ...]


def create(
    target: Path, work: Path, source: Source, recipients: list[object], now: datetime, root: Path = Path("/")
) -> Manifest:
    """Write the encrypted backup of a host to ``target``, which appears whole; intermediate files in ``work``, which
    only root may read. Raises BackupError and OSError, and then leaves nothing behind."""
    with tempfile.TemporaryDirectory(dir=work, prefix="creating.") as temporary:
        staged = Path(temporary)
        parts, journals, left_out = _stage(staged, root)
        manifest = Manifest(
            source.host,
            now,
            source.release,
            source.gateways,
            source.managers,
            tuple(journals),
            tuple(parts),
            tuple(left_out),
        )
        plain = staged / "plain.tar.gz"
        _pack(plain, manifest, staged / "files")
        shutil.rmtree(staged / "files")
        encrypted = target.with_name(f".{target.name}.new")
        try:
            with plain.open("rb") as reader, encrypted.open("xb") as writer:
                os.fchmod(writer.fileno(), 0o600)
                encryption.encrypt(reader, writer, recipients)
                writer.flush()
                os.fsync(writer.fileno())
            encrypted.replace(target)
        finally:
            encrypted.unlink(missing_ok=True)
    sync_directory(target.parent)
    return manifest


def _stage(staged: Path, root: Path) -> tuple[list[Part], list[JournalFacts], list[str]]:
    parts: list[Part] = []
    journals: list[JournalFacts] = []
    left_out: list[str] = []
    for found in layout.entries(root):
        place = staged / "files" / found.path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            seen = found.file.stat()
            if found.directory:
                place.mkdir(exist_ok=True)
                parts.append(_part(found, seen, place))
                continue
            database = databases.is_database(found.file)
            if not database:
                shutil.copyfile(found.file, place)
        except FileNotFoundError:
            # It was replaced or removed meanwhile, as a running gateway does.
            left_out.append(f"{found.path}: it disappeared while it was copied")
            continue
        if database:
            try:
                databases.copy(found.file, place)
            except BackupError as error:
                if "/journal-" in found.path:
                    raise
                # Messages are worth less than the journal.
                left_out.append(f"{found.path}: {error}")
                place.unlink(missing_ok=True)
                continue
            if databases.is_journal(place):
                journals.append(databases.journal_facts(place, found.path))
        elif "/journal-" in found.path and found.path.endswith(".db"):
            raise BackupError(
                f"{found.path} is no database any more ({seen.st_size} bytes).",
                "Do not delete it: check open orders at the broker, then restore an earlier backup.",
            )
        parts.append(_part(found, seen, place))
    return parts, journals, left_out


def _part(found: layout.Found, seen: os.stat_result, place: Path) -> Part:
    return Part(
        path=found.path,
        state=found.state,
        mode=stat.S_IMODE(seen.st_mode),
        owner=_name(seen.st_uid, lambda uid: pwd.getpwuid(uid).pw_name),
        group=_name(seen.st_gid, lambda gid: grp.getgrgid(gid).gr_name),
        directory=found.directory,
        size=0 if found.directory else place.stat().st_size,
        sha256="" if found.directory else checksum(place),
    )


def _name(number: int, name_of: Callable[[int], str]) -> str:
    if 0 < number < FIRST_OWN_UID:
        try:
            return name_of(number)
        except KeyError:
            pass
    return str(number)


def checksum(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _pack(plain: Path, manifest: Manifest, files: Path) -> None:
    with tarfile.open(plain, "w:gz", compresslevel=6) as tar:
        text = manifest.to_json().encode()
        entry = tarfile.TarInfo(NAME)
        entry.size, entry.mode = len(text), 0o600
        tar.addfile(entry, io.BytesIO(text))
        for part in manifest.parts:
            if not part.directory:
                entry = tarfile.TarInfo("files" + part.path)
                entry.size, entry.mode = part.size, 0o600
                with (files / part.path.lstrip("/")).open("rb") as file:
                    tar.addfile(entry, file)


@contextmanager
def decrypted(file: Path, identities: list[object], work: Path | None = None) -> Iterator[Path]:
    """The plain archive, for the time of the block, in a directory that only its owner may read. Raises BackupError."""
    with tempfile.TemporaryDirectory(dir=work, prefix="backup.") as temporary:
        plain = Path(temporary) / "plain.tar.gz"
        try:
            with file.open("rb") as reader, plain.open("xb") as writer:
                encryption.decrypt(reader, writer, identities, str(file))
        except OSError as error:
            raise BackupError(f"{file} cannot be read: {error.strerror}.", "Name the file of a backup.") from error
        yield plain


def manifest_of(plain: Path) -> Manifest:
    """The manifest alone, which is the first member. Raises BackupError."""
    with _open(plain) as tar:
        return _manifest(tar)


def unpack(plain: Path, directory: Path) -> Manifest:
    """Unpack every part below a directory and check it: paths, checksums, completeness, every database, and that the
    journals are those of the manifest. Raises BackupError."""
    with _open(plain) as tar:
        manifest = _manifest(tar)
        expected = {part.path: part for part in manifest.parts}
        missing = {part.path for part in manifest.parts if not part.directory}
        for entry in _members(tar):
            path = entry.name.removeprefix("files")
            part = expected.get(path)
            if part is None or path not in missing or not entry.isreg() or ".." in Path(path).parts:
                raise BackupError(f"The backup holds {entry.name!r}, which its manifest does not name.", _UNUSABLE)
            if entry.size != part.size:
                raise BackupError(f"{path} in the backup has not the size of its manifest.", _UNUSABLE)
            place = directory / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            with _member(tar, entry) as content, place.open("xb") as file:
                os.fchmod(file.fileno(), 0o600)
                shutil.copyfileobj(content, file, _CHUNK)
            if checksum(place) != part.sha256:
                raise BackupError(f"The checksum of {path} in the backup does not match.", _UNUSABLE)
            missing.discard(path)
    if missing:
        raise BackupError(f"The backup lacks {', '.join(sorted(missing))}.", _UNUSABLE)
    for part in manifest.parts:
        if part.directory:
            (directory / part.path.lstrip("/")).mkdir(parents=True, exist_ok=True)
    for journal in manifest.journals:
        _check_journal(directory / journal.path.lstrip("/"), journal)
    return manifest


def _check_journal(path: Path, expected: JournalFacts) -> None:
    work = path.with_name(path.name + ".check")
    try:
        databases.copy(path, work)
        found = databases.journal_facts(work, expected.path)
    finally:
        work.unlink(missing_ok=True)
    if found != expected:
        raise BackupError(f"{expected.path} in the backup is not the journal of its manifest.", _UNUSABLE)


def _open(plain: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(plain, "r:gz")
    except (OSError, tarfile.TarError, EOFError) as error:
        raise BackupError(f"The decrypted backup is no archive ({error}).", _UNUSABLE) from error


def _manifest(tar: tarfile.TarFile) -> Manifest:
    entry = next(_members(tar), None)
    if entry is None or entry.name != NAME:
        raise BackupError("The archive has no manifest, so it is no backup of a host.", _UNUSABLE)
    if entry.size > LONGEST_MANIFEST:
        raise BackupError(f"The manifest has {entry.size} bytes.", _UNUSABLE)
    with _member(tar, entry) as file:
        manifest = parse(file.read())
    _check_paths(manifest)
    return manifest


def _check_paths(manifest: Manifest) -> None:
    """A public key suffices to encrypt an archive, so it does not prove its author: nothing in it leads elsewhere."""
    files = {part.path for part in manifest.parts if part.state and not part.directory}
    for part in manifest.parts:
        outside = (
            not part.path.startswith("/") or part.path.startswith("//") or os.path.normpath(part.path) != part.path
        )
        if outside or "\0" in part.path or (part.state and layout.targets(part.path) is None):
            raise BackupError(f"The manifest names {part.path!r}, which is no place for a backup.", _UNUSABLE)
    for journal in manifest.journals:
        if journal.path not in files:
            raise BackupError(f"The manifest has no file for the journal {journal.path!r}.", _UNUSABLE)


def _members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Those after the one that was read last. Raises BackupError."""
    try:
        while (entry := tar.next()) is not None:
            yield entry
    except (OSError, tarfile.TarError, EOFError) as error:
        raise BackupError(f"The archive cannot be read to its end ({error}).", _UNUSABLE) from error


@contextmanager
def _member(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> Iterator[BinaryIO]:
    try:
        content = tar.extractfile(entry)
        if content is None:
            raise BackupError(f"The backup holds {entry.name!r}, which is no file.", _UNUSABLE)
        with content:
            yield content  # type: ignore[misc]  # an IO[bytes] that reads
    except (OSError, tarfile.TarError, EOFError) as error:
        raise BackupError(f"The archive ends in {entry.name} ({error}).", _UNUSABLE) from error
