"""Where messages go: targets built from Apprise's addresses (URLs).

Discord has a target of its own (see `notifications.discord`). Every other service is Apprise's: of a failure it reports
the HTTP status in its log only, which is read here; a service that speaks no HTTP is tried again whatever the failure.
Apprise does not expose Retry-After, so the worker's own growing pauses apply there.

What this package does because of Apprise 2.2 (each has a test in tests/integration/test_notification_services.py):

- A text without a declared format is sent as the service's default format, which is HTML for mail and Telegram: lines
  run together and text in angle brackets disappears. The format is declared as plain text, and Apprise converts it.
- With its default overflow mode a text above the service's limit is sent in one piece and refused. Apprise's mode
  "split" can cut within an HTML entity, and a retry repeats all pieces. The text is split here, as it is converted.
- Redirects are followed with a GET, which loses the text and is answered 200. They are turned off for each address.
- An address with several recipients is one call that fails if one of them fails. It becomes a target for each.

An address is a secret. None is in a name, an error, a log line or a repr of this package.
"""

from __future__ import annotations

import hashlib
import logging
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from apprise import Apprise, AppriseResult, NotifyFormat, NotifyType
from apprise.conversion import convert_between
from apprise.plugins.base import NotifyBase
from apprise.plugins.discord import NotifyDiscord

from notifications.discord import DiscordTarget
from notifications.message import Message, Severity
from notifications.target import Outcome, Result, Target, of_status

_TYPES = {Severity.INFO: NotifyType.INFO, Severity.WARNING: NotifyType.WARNING, Severity.ALERT: NotifyType.FAILURE}
_WEBHOOK = re.compile(
    r"https?://(?:(?:canary|ptb)\.)?discord(?:app)?\.com/api/(?:v\d+/)?webhooks/"
    r"(?P<id>\d+)/(?P<token>[A-Za-z0-9_-]+)/?(?P<query>\?.*)?",
    re.IGNORECASE,
)
_THREAD = re.compile(r"([?&])thread_id=")
_STATUS = re.compile(r"\berror=(\d{3})\b")


class AddressError(ValueError):
    """An address, or the file they are in, cannot be used; the message names the line but never the address."""


_RECIPIENTS = (
    *("targets", "users", "groups", "channels", "rooms", "topics", "devices", "members", "dm_users"),
    *("phone", "target_phones", "target_groups"),
)
"""The attributes in which Apprise's plugins keep those that a message goes to, each a list."""

_MARKUP_LENGTH = 40
"""What Apprise adds around a title that it puts into the body, and the number of a part."""


class AppriseTarget:
    """One recipient of any service that Apprise knows."""

    def __init__(self, name: str, plugin: NotifyBase) -> None:
        self.name = name
        self._plugin = plugin
        self._apprise = Apprise()
        self._apprise.add(plugin)

    def __repr__(self) -> str:
        return f"AppriseTarget({self.name!r})"

    def parts(self, message: Message) -> int:
        """How many sends the message takes within the service's limit."""
        return len(self._texts(message))

    def send(self, message: Message, part: int) -> Outcome:
        """Send one part (from 0). The picture goes with the last."""
        texts = self._texts(message)
        last = part == len(texts) - 1
        picture, text = (message.attachment if last else None), texts[part]
        if picture is not None and not picture.is_file():
            text += f"\n(The picture {picture.name} could not be attached.)"
            picture = None
        result = self._apprise.notify(
            body=text,
            title=message.title if len(texts) == 1 else f"{message.title} ({part + 1}/{len(texts)})",
            body_format=NotifyFormat.TEXT,
            notify_type=NotifyType.SUCCESS if message.recovery_of else _TYPES[message.severity],
            attach=str(picture) if picture else None,
        )
        return _outcome(result)

    def _texts(self, message: Message) -> list[str]:
        plugin = self._plugin
        shown = plugin.resolve_format(NotifyFormat.TEXT)

        def length(text: str) -> int:
            # Some services count as UTF-16 does; no service counts less than characters.
            converted: str = convert_between(NotifyFormat.TEXT, shown, text)  # type: ignore[no-untyped-call]
            return len(converted.encode("utf-16-le")) // 2

        most, lines = plugin.body_maxlen - _MARKUP_LENGTH, plugin.body_max_line_count or None
        if plugin.title_maxlen <= 0:
            most -= length(message.title)
            lines = None if lines is None else max(1, lines - 1)
        # Room for the note about a picture.
        if message.attachment is not None:
            most -= length(message.attachment.name) + _MARKUP_LENGTH
        return pieces(message.text(), max(most, 1), length, lines)


def pieces(text: str, most: int, length: Callable[[str], int], lines: int | None = None) -> list[str]:
    """A text in pieces of at most ``most`` by ``length``, and of at most so many lines; divided between lines where
    that is possible. At least one piece, and none without a character."""
    found: list[list[str]] = [[]]
    for line in text.split("\n"):
        for fragment in _fragments(line, most, length):
            full = lines is not None and len(found[-1]) >= lines
            if found[-1] and (full or length("\n".join((*found[-1], fragment))) > most):
                found.append([])
            found[-1].append(fragment)
    return ["\n".join(piece) for piece in found if any(piece)] or [text]


def _fragments(line: str, most: int, length: Callable[[str], int]) -> Iterator[str]:
    """One line, cut where it is too long."""
    while length(line) > most:
        low, high = 1, len(line)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if length(line[:middle]) <= most else (low, middle - 1)
        yield line[:low]
        line = line[low:]
    yield line


def _outcome(result: AppriseResult) -> Outcome:
    if result:
        return Outcome(Result.SENT)
    statuses = [int(found[1]) for entry in result.logs() if (found := _STATUS.search(entry.message))]
    return of_status(statuses[-1]) if statuses and statuses[-1] >= 300 else Outcome(Result.RETRY, "no answer")


def read_addresses(path: Path) -> tuple[str, ...]:
    """The addresses in a file, one a line; empty lines and those that start with # do not count.

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
    """The targets of all addresses. Raises AddressError for the first that cannot be used."""
    targets, faults = usable_targets(addresses, discord_api=discord_api)
    if faults:
        raise AddressError(faults[0])
    return targets


def usable_targets(
    addresses: Iterable[str], *, discord_api: str = NotifyDiscord.notify_url
) -> tuple[tuple[Target, ...], tuple[str, ...]]:
    """The targets of the addresses that can be used, one for each recipient, and a sentence for each address that
    cannot: a wrong address silences no other."""
    found: dict[str, Target] = {}
    faults: list[str] = []
    for number, address in enumerate(addresses, start=1):
        try:
            found |= {target.name: target for target in _targets(number, address, discord_api)}
        except AddressError as error:
            faults.append(str(error))
    return tuple(found.values()), tuple(faults)


def _targets(number: int, address: str, discord_api: str) -> Iterator[Target]:
    _quiet(logging.CRITICAL)
    plugin = _discord(address) or Apprise.instantiate(address)
    # From here on `_outcome` reads its warnings.
    _quiet(logging.WARNING)
    if not isinstance(plugin, NotifyBase):
        raise AddressError(
            f"address {number} for notifications is invalid: Apprise knows no such service, or a part of it is missing "
            "or wrong. Allowed are for instance discord://ID/TOKEN, the address of a Discord webhook, or any URL that "
            "Apprise's documentation describes."
        )
    # A redirect would be followed without the text.
    plugin.redirects = False
    if isinstance(plugin, NotifyDiscord):
        name = f"discord-{_fingerprint(address)}"
        yield DiscordTarget(name, plugin, api=discord_api)
        return
    name = f"{address.partition(':')[0].lower()}-{_fingerprint(address)}"
    recipients = _recipients(plugin)
    if len(recipients) <= 1:
        yield AppriseTarget(name, plugin)
        return
    for number, recipient in enumerate(recipients, start=1):
        # Instantiated again: a plugin remembers to whom it has delivered, and each target has a thread of its own.
        single = Apprise.instantiate(address)
        if isinstance(single, NotifyBase):
            single.redirects = False
            yield AppriseTarget(f"{name}-{number}", _only(single, *recipient, with_copies=number == 1))


def _recipients(plugin: NotifyBase) -> list[tuple[str, Any]]:
    """To whom an address leads: the plugin's attribute and the entry in it."""
    lists = ((name, getattr(plugin, name, None)) for name in _RECIPIENTS)
    return [(name, entry) for name, found in lists if isinstance(found, list) for entry in found]


def _only(plugin: NotifyBase, attribute: str, recipient: Any, *, with_copies: bool) -> NotifyBase:
    """The plugin with one recipient. Those who get a copy of a mail get one, not one for each recipient."""
    for name in {name for name, _ in _recipients(plugin)}:
        setattr(plugin, name, [recipient] if name == attribute else [])
    for copied in ("cc", "bcc"):
        if not with_copies and hasattr(plugin, copied):
            setattr(plugin, copied, set())
    return plugin


def _discord(address: str) -> NotifyDiscord | None:
    """The webhook that an address names, or None. Apprise would load its plugins for all services to find that out,
    which takes more memory than all the rest of a service's notifications. It also does not know Discord's test clients
    (ptb, canary), versions of the API, and the parameter thread_id, all of which Discord itself writes."""
    if address.lower().startswith(f"{NotifyDiscord.secure_protocol}://"):
        settings = NotifyDiscord.parse_url(_THREAD.sub(r"\1thread=", address))
    elif webhook := _WEBHOOK.fullmatch(address):
        query = _THREAD.sub(r"\1thread=", webhook["query"] or "")
        settings = NotifyDiscord.parse_url(
            f"{NotifyDiscord.secure_protocol}://{webhook['id']}/{webhook['token']}/{query}"
        )
    else:
        return None
    try:
        return NotifyDiscord(**settings) if settings else None
    except TypeError:
        # So it reports what is wrong with an address; Apprise itself then reports that it knows none like it.
        return None


def _fingerprint(address: str) -> str:
    return hashlib.sha256(address.encode()).hexdigest()[:8]


def _quiet(apprise: int) -> None:
    """Exclude addresses from logs: urllib3 writes them below WARNING, Apprise too, and at WARNING those that it cannot
    read. The relevant part is reported here."""
    for name, level in (("apprise", apprise), ("urllib3", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.propagate = False
        if not logger.handlers:
            # Without one, Python itself would print warnings to stderr.
            logger.addHandler(logging.NullHandler())
