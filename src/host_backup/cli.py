"""`host-backup`: create and restore encrypted backups of this host.

`create`, `status`, `inspect`, `repair`, `restore` and `verify` run on the host, `examine` on the controller, which
holds the secret key. Documents are read from standard input, as JSON.

Exit status: 0 on success, 1 on an error. Of `create`: 78 if the backup failed and that was reported, 75 if the report
waits for its delivery; a later call sends it.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from host_backup import (
    archive,
    creating,
    databases,
    decision,
    encryption,
    facts,
    manifest,
    notifying,
    restoring,
    storage,
)
from host_backup.errors import BackupError
from host_service import backup_record as record

NEEDS_A_PERSON = 78
TRY_AGAIN = 75


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="host-backup", description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("create", help="create a backup, store it, remove superfluous ones")
    status = commands.add_parser("status", help="one line about the last backup")
    status.add_argument("--json", action="store_true", help="as JSON")
    commands.add_parser("inspect", help="what a restore must know of this host; reads the backup's manifest")
    commands.add_parser("repair", help="complete a restore that was interrupted")
    restore = commands.add_parser("restore", help="restore a decrypted backup; reads the output of inspect")
    restore.add_argument("archive", type=Path)
    commands.add_parser("verify", help="compare this host with the backup's manifest")
    examine = commands.add_parser("examine", help="check a backup with the secret key; reads what to compare it with")
    examine.add_argument("file", help="the file, or s3://BUCKET/KEY")
    examine.add_argument("--identity-file", type=Path, required=True, help="age's secret key")
    examine.add_argument("--plain", type=Path, help="write the decrypted archive here, if the restore may proceed")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("botocore").setLevel(logging.WARNING)
    run: dict[str, Callable[[argparse.Namespace], int]] = {
        "create": _create,
        "status": _status,
        "inspect": _inspect,
        "repair": _repair,
        "restore": _restore,
        "verify": _verify,
        "examine": _examine,
    }
    try:
        return run[options.command](options)
    except BackupError as error:
        sys.stderr.write(f"{error}\n")
    except OSError as error:
        sys.stderr.write(f"{error.filename or ''}: {error.strerror or error}. Check the file and its disk.\n")
    return 1


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _create(_: argparse.Namespace) -> int:
    done = creating.run(record.CONFIG, record.STATE, creating.Actions(_now, notifying.report))
    sys.stdout.write(record.line(done.record, _now()) + "\n")
    if not done.record.fault:
        return 0
    return NEEDS_A_PERSON if done.reported else TRY_AGAIN


def _status(options: argparse.Namespace) -> int:
    found = record.overview(_now())
    text = json.dumps(found.document, indent=2) if options.json else f"last backup: {found.text}"
    sys.stdout.write(text + "\n")
    return 0


def _inspect(_: argparse.Namespace) -> int:
    events = {journal.path: journal.last_event for journal in manifest.parse(sys.stdin.read()).journals}
    found = facts.collect(events, facts.active_units, restoring.restored(record.STATE), restoring.pending(record.STATE))
    sys.stdout.write(found.to_json() + "\n")
    return 0


def _repair(_: argparse.Namespace) -> int:
    repaired = restoring.repair(record.STATE, facts.active_units, _now)
    sys.stdout.write(f"The restore of {repaired} was completed.\n" if repaired else "Nothing to repair.\n")
    return 0


def _restore(options: argparse.Namespace) -> int:
    expected = facts.parse(sys.stdin.read())
    done = restoring.restore(options.archive, record.STATE, expected, facts.active_units, _now)
    sys.stdout.write(f"{done.id} is restored.\n")
    return 0


def _verify(_: argparse.Namespace) -> int:
    expected = manifest.parse(sys.stdin.read())
    faults = restoring.verify(expected)
    document = {
        "faults": faults,
        "journals": [
            f"{each.path}: equal to the backup up to event {each.last_event}"
            for each in expected.journals
            if not faults
        ],
        "different_configuration": restoring.differences(expected),
    }
    sys.stdout.write(json.dumps(document) + "\n")
    return 1 if faults else 0


def _examine(options: argparse.Namespace) -> int:
    """Prints the manifest and, as far as they are given, how the backup fits the settings and the host."""
    document: dict[str, Any] = json.loads(sys.stdin.read() or "{}")
    identities = encryption.read_identities(options.identity_file)
    with tempfile.TemporaryDirectory(prefix="backup.") as temporary:
        file = Path(options.file).expanduser()
        if options.file.startswith("s3://"):
            file = Path(temporary) / "fetched"
            storage.download(options.file, file)
        with archive.decrypted(file, identities, Path(temporary)) as plain:
            files = Path(temporary) / "files"
            checked = archive.unpack(plain, files)
            found: dict[str, Any] = {"id": checked.id, "host": checked.host, "manifest": checked.to_json()}
            problems: list[str] = []
            if "wanted" in document:
                problems += decision.misfits(checked, _wanted(document["wanted"]))
            if "facts" in document:
                decided = _decide(checked, files, document)
                problems += decided.refusals
                found |= {"steps": decided.steps, "already": decided.already}
            if options.plain is not None and not problems:
                options.plain.touch(mode=0o600, exist_ok=True)
                options.plain.write_bytes(plain.read_bytes())
    sys.stdout.write(json.dumps(found | {"problems": problems}) + "\n")
    return 0


def _wanted(document: dict[str, Any]) -> decision.Wanted:
    accounts = {name: tuple(map(str, accounts)) for name, accounts in document["accounts"].items()}
    return decision.Wanted(dict(document["gateways"]), dict(document["managers"]), accounts)


def _decide(checked: manifest.Manifest, files: Path, document: dict[str, Any]) -> decision.Decision:
    host = facts.parse(json.dumps(document["facts"]))
    prefixes = {}
    for journal in checked.journals:
        if journal.path in host.journals:
            last = min(journal.last_event, host.journals[journal.path].last_event)
            prefixes[journal.path] = databases.events_digest(files / journal.path.lstrip("/"), last)
    forced = decision.Forced(bool(document.get("over_running")), bool(document.get("older_journal")))
    return decision.decide(checked, prefixes, host, forced)


if __name__ == "__main__":
    sys.exit(main())
