"""Where messages go: targets made from Apprise's addresses (URLs).

Discord has a target of its own (see `notifications.discord`). Every other service is Apprise's: of a failure it tells
the HTTP status in its log only, which is read here; a service that speaks no HTTP is tried again whatever the failure.
Apprise tells nothing of Retry-After, so there the worker's own growing pauses must do.

An address is a secret. None is in a name, an error, a log line or a repr of this package.
"""

from __future__ import annotations

import hashlib
import logging
import re
import stat
from collections.abc import Iterable
from pathlib import Path

from apprise import Apprise, AppriseResult, NotifyType
from apprise.plugins.base import NotifyBase
from apprise.plugins.discord import NotifyDiscord

from notifications.discord import DiscordTarget
from notifications.message import Message, Severity
from notifications.target import Outcome, Result, Target, of_status

_TYPES = {Severity.INFO: NotifyType.INFO, Severity.WARNING: NotifyType.WARNING, Severity.ALERT: NotifyType.FAILURE}
_STATUS = re.compile(r"\berror=(\d{3})\b")


class AddressError(ValueError):
    """An address, or the file they are in, cannot be used; the message tells the line but never the address."""


class AppriseTarget:
    """Any service that Apprise knows."""

    def __init__(self, name: str, plugin: NotifyBase) -> None:
        self.name = name
        self._apprise = Apprise()
        self._apprise.add(plugin)

    def __repr__(self) -> str:
        return f"AppriseTarget({self.name!r})"

    def parts(self, message: Message) -> int:
        """One: Apprise itself splits what is too long for a service."""
        return 1

    def send(self, message: Message, part: int) -> Outcome:
        picture, text = message.attachment, message.text()
        if picture is not None and not picture.is_file():
            text += f"\n(The picture {picture.name} could not be attached.)"
            picture = None
        result = self._apprise.notify(
            body=text,
            title=message.title,
            notify_type=NotifyType.SUCCESS if message.recovery_of else _TYPES[message.severity],
            attach=str(picture) if picture else None,
        )
        return _outcome(result)


def _outcome(result: AppriseResult) -> Outcome:
    if result:
        return Outcome(Result.SENT)
    statuses = [int(found[1]) for entry in result.logs() if (found := _STATUS.search(entry.message))]
    return of_status(statuses[-1]) if statuses and statuses[-1] >= 300 else Outcome(Result.RETRY, "no answer")


def read_addresses(path: Path) -> tuple[str, ...]:
    """The addresses in a file, one a line; empty lines and those that begin with # do not count.

    Raises AddressError if it cannot be read or others may read it.
    """
    try:
        others = stat.S_IMODE(path.stat().st_mode) & 0o077
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise AddressError(f"{path}: the addresses for notifications cannot be read: {reason}.") from error
    if others & 0o037:
        raise AddressError(f"{path}: others may read or change the addresses for notifications. chmod 600 {path}")
    lines = (line.strip() for line in text.splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


def targets_of(addresses: Iterable[str], *, discord_api: str = NotifyDiscord.notify_url) -> tuple[Target, ...]:
    """A target for each address. Raises AddressError for one that Apprise does not know."""
    found: dict[str, Target] = {}
    for number, address in enumerate(addresses, start=1):
        _quiet(logging.CRITICAL)
        plugin = _discord(address) or Apprise.instantiate(address)
        # From here on `_outcome` reads its warnings.
        _quiet(logging.WARNING)
        if not isinstance(plugin, NotifyBase):
            raise AddressError(
                f"address {number} for notifications is none that Apprise knows. "
                "Allowed are for instance discord://ID/TOKEN, the address of a Discord webhook, or any URL that "
                "Apprise's documentation describes."
            )
        if isinstance(plugin, NotifyDiscord):
            name = f"discord-{_fingerprint(address)}"
            found[name] = DiscordTarget(name, plugin, api=discord_api)
        else:
            name = f"{address.partition(':')[0]}-{_fingerprint(address)}"
            found[name] = AppriseTarget(name, plugin)
    return tuple(found.values())


def _discord(address: str) -> NotifyDiscord | None:
    """The webhook that an address names, or None. Apprise would load its plugins for all services to find that out,
    which takes more memory than all the rest of a service's notifications."""
    if address.lower().startswith(f"{NotifyDiscord.secure_protocol}://"):
        settings = NotifyDiscord.parse_url(address)
    else:
        settings = NotifyDiscord.parse_native_url(address)
    try:
        return NotifyDiscord(**settings) if settings else None
    except TypeError:
        # So it tells what is wrong with an address; Apprise itself then says that it knows none like it.
        return None


def _fingerprint(address: str) -> str:
    return hashlib.sha256(address.encode()).hexdigest()[:8]


def _quiet(apprise: int) -> None:
    """Keep addresses out of logs: urllib3 writes them below WARNING, Apprise too, and at WARNING those that it cannot
    read. What matters of it is told here."""
    for name, level in (("apprise", apprise), ("urllib3", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.propagate = False
        if not logger.handlers:
            # Without one, Python itself would print warnings to stderr.
            logger.addHandler(logging.NullHandler())
