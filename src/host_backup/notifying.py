"""Messages about backups, over the addresses of every service of the host.

The outbox is in memory (`/run`), because a full disk is one of the things to report.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from notifications import send
from notifications.delivery import AddressError, read_addresses
from notifications.message import Message, Severity
from unit_recovery.targets import address_files

OUTBOX = Path("/run/host-backup/notifications.sqlite3")
SECONDS = 60.0
KEY = "backup"
_log = logging.getLogger(__name__)

Report = Callable[[Message], bool]
"""Sends a message; False if it waits in the outbox for a later call."""


def failed(host: str, text: str, remedy: str, last: str, now: datetime) -> Message:
    return Message(
        "backup_failed",
        Severity.ALERT,
        f"The backup of {host} failed",
        now,
        (text, remedy, last),
        dedupe_key=KEY,
    )


def works_again(host: str, last: str, now: datetime) -> Message:
    return Message("backup_works", Severity.INFO, f"The backup of {host} works again", now, (last,), recovery_of=KEY)


def report(message: Message, outbox: Path = OUTBOX, root: Path = Path("/")) -> bool:
    """Deliver to every address of the host; without any, the journal is the only report."""
    addresses = list(dict.fromkeys(_addresses(root)))
    if not addresses:
        _log.warning("nobody is notified: no address is configured on this host")
        return True
    outbox.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return send.send(message, outbox, addresses, _log.error, SECONDS) != send.UNDELIVERED


def _addresses(root: Path) -> Iterator[str]:
    for file in address_files("", root):
        try:
            yield from read_addresses(file)
        except AddressError as error:
            _log.error("%s", error)
