"""A host below a directory, as a deploy leaves it, with a real journal and a real key."""

from __future__ import annotations

import json
import os
import pwd
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from tests.unit.position_manager import journal_samples

from host_backup import archive, encryption, settings
from host_backup.manifest import Manifest

NOW = datetime(2026, 11, 30, 8, 15, tzinfo=UTC)
SETTINGS = "/var/lib/ib-gateway/ib-gateway/settings"
STATE = "/var/lib/ib-gateway/ib-gateway/state"
MANAGER = "/var/lib/position-manager/position-manager"
JOURNAL = f"{MANAGER}/journal-paper.db"
SECRETS = ("hunter2-of-the-vault", "discord://id/t0ken")


def write(root: Path, path: str, content: str, mode: int = 0o600) -> Path:
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    file.chmod(mode)
    return file


def build(root: Path, *, journal: bool = True) -> Path:
    """Every file that a host has; returns its root."""
    write(root, f"{SETTINGS}/jts.ini", "[Logon]\n")
    write(root, f"{SETTINGS}/encrypted/autorestart", "token of the session")
    write(root, f"{SETTINGS}/launcher.log", "much text")
    write(root, f"{STATE}/breaker.json", '{"refusals": {}}')
    write(root, f"{STATE}/second-factor.json", "{}")
    write(root, f"{STATE}/screenshots/now.png", "a picture")
    database = sqlite3.connect(root / f"{STATE}/notifications.sqlite3".lstrip("/"))
    database.execute("CREATE TABLE messages (id INTEGER PRIMARY KEY, body TEXT)")
    database.execute("INSERT INTO messages (body) VALUES ('waits')")
    database.commit()
    database.close()
    write(root, f"{MANAGER}/HALT", "")
    write(root, f"{MANAGER}/days/2026-11-23.json", "{}", 0o640)
    if journal:
        journal_samples.write(root / JOURNAL.lstrip("/"))
    write(root, "/etc/ib-gateway/ib-gateway/instance.json", json.dumps({"trading_mode": "paper", "image": "ib:10.50"}))
    write(root, "/etc/ib-gateway/ib-gateway/container.env", "TRADING_MODE=paper\n")
    write(root, "/etc/ib-gateway/ib-gateway/secrets/tws_password", SECRETS[0])
    write(root, "/etc/position-manager/position-manager.yml", "mode: paper\n")
    write(root, "/etc/position-manager/secrets/position-manager/discord_url", SECRETS[1])
    return root


def configure(root: Path, recipient: str, **changes: object) -> Path:
    """The settings of the backups; returns their file."""
    document = {
        "host": "sandbox",
        "recipients": [recipient],
        "directory": str(root / "var/lib/host-backup/backups"),
        "retain_count": 3,
        "retain_days": 30,
        "max_age_hours": 50,
        "s3": None,
    }
    return write(root, "/etc/host-backup.json", json.dumps(document | changes))


def back_up(root: Path, target: Path, identity: Path, now: datetime = NOW) -> Manifest:
    recipients = encryption.recipients([encryption.recipient_of(identity, create=True)])
    work = root / "var/lib/host-backup"
    work.mkdir(parents=True, exist_ok=True)
    return archive.create(target, work, settings.source("sandbox", root), recipients, now, root)


def contents(root: Path) -> dict[str, bytes]:
    """Every file below a directory."""
    return {str(file.relative_to(root)): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}


def own_uid() -> str:
    """As a part names the owner of files that a test writes."""
    uid = os.getuid()
    return pwd.getpwuid(uid).pw_name if 0 < uid < archive.FIRST_OWN_UID else str(uid)
