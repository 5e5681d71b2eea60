"""Messages as Discord shows them: embeds within Discord's limits, posted to a webhook.

Apprise reads the webhook's address and settings (name, avatar, thread). The post itself is done here, because Apprise's
plugin answers 429 by one more post at once, sleeps where nothing can wake it, does not read Retry-After, and reports no
more than that it failed.

What is guaranteed: at least once. A part of a message is posted again only if its answer did not arrive, and then
Discord may show it twice: its webhooks take no idempotency key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC
from pathlib import Path
from typing import Any

import requests
from apprise.plugins.discord import NotifyDiscord

from notifications.message import Message, Severity
from notifications.target import Outcome, Result, of_status

TITLE_LENGTH = 256
DESCRIPTION_LENGTH = 2000
FIELDS = 25
FIELD_NAME_LENGTH = 256
FIELD_VALUE_LENGTH = 1024
EMBED_LENGTH = 6000
ATTACHMENT_BYTES = 8 * 1024 * 1024

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 15.0

_COLOURS = {Severity.INFO: 0x3BA55D, Severity.WARNING: 0xFAA61A, Severity.ALERT: 0xED4245}
_MARKDOWN = re.compile(r"([\\*_~`|>#\[\]])")

Embed = dict[str, Any]


class DiscordTarget:
    """One webhook. Its address is in no text that this gives out."""

    def __init__(self, name: str, plugin: NotifyDiscord, *, api: str = NotifyDiscord.notify_url) -> None:
        """``name`` is how the target is called in texts; ``api`` is where Discord's webhooks are."""
        self.name = name
        self._plugin = plugin
        self._url = f"{api}/{plugin.webhook_id}/{plugin.webhook_token}"

    def __repr__(self) -> str:
        return f"DiscordTarget({self.name!r})"

    def parts(self, message: Message) -> int:
        """How many posts the message takes."""
        return len(embeds(message))

    def send(self, message: Message, part: int) -> Outcome:
        """Post one part (from 0). The picture goes with the last."""
        all_parts = embeds(message)
        embed = all_parts[part]
        picture = message.attachment if part == len(all_parts) - 1 else None
        content = None if picture is None else _read(picture)
        if picture is not None and content is None:
            embed["footer"] = {"text": f"The picture {picture.name} could not be attached."}
        if content is None or picture is None:
            return self._post({"embeds": [embed]}, None)
        embed["image"] = {"url": f"attachment://{picture.name}"}
        return self._post({"embeds": [embed]}, (picture.name, content))

    def _post(self, payload: dict[str, Any], picture: tuple[str, bytes] | None) -> Outcome:
        plugin = self._plugin
        # No text of ours may call people; a ping is for those whom the address names.
        payload["allowed_mentions"] = {"parse": []}
        if plugin.ping:
            ping = plugin.ping_payload(" ".join(plugin.ping))
            payload |= {"content": ping["content"], "allowed_mentions": ping["allow_mentions"]}
        if plugin.user:
            payload["username"] = plugin.user
        if plugin.avatar_url:
            payload["avatar_url"] = plugin.avatar_url
        # With wait the answer comes only when Discord has stored the message.
        query = {"wait": "true"} | ({"thread_id": plugin.thread_id} if plugin.thread_id else {})
        body: dict[str, Any] = {"json": payload}
        if picture is not None:
            name, content = picture
            body = {"data": {"payload_json": json.dumps(payload)}, "files": {"files[0]": (name, content, "image/png")}}
        try:
            answer = requests.post(
                self._url,
                params=query,
                **body,
                timeout=(CONNECT_SECONDS, ANSWER_SECONDS),
                verify=plugin.verify_certificate,
                allow_redirects=False,
                stream=True,
            )
        except (requests.RequestException, OSError) as error:
            # The error's own text holds the address.
            return Outcome(Result.RETRY, f"no answer ({type(error).__name__})")
        with answer:
            return of_status(answer.status_code, _pause(answer.headers, answer.status_code))


def embeds(message: Message) -> list[Embed]:
    """The message as embeds, one for each post, none above Discord's limits."""
    title = _cut(_escaped(message.title), TITLE_LENGTH)
    parts: list[Embed] = [{"description": text} for text in _pieces("\n".join(message.lines), DESCRIPTION_LENGTH)]
    parts = parts or [{}]
    for name, value in message.fields:
        for number, piece in enumerate(_pieces(value, FIELD_VALUE_LENGTH) or ["—"]):
            shown = _escaped(name) if number == 0 else f"{_escaped(name)} (continued)"
            entry = {"name": _cut(shown, FIELD_NAME_LENGTH), "value": piece, "inline": len(piece) <= 40}
            last = parts[-1]
            fields = last.get("fields", [])
            if len(fields) == FIELDS or TITLE_LENGTH + _length(last) + _length(entry) > EMBED_LENGTH:
                parts.append({"fields": [entry]})
            else:
                last["fields"] = [*fields, entry]
    for number, part in enumerate(parts, start=1):
        part["title"] = title if len(parts) == 1 else f"{_cut(title, TITLE_LENGTH - 12)} ({number}/{len(parts)})"
        part["color"] = _COLOURS[message.severity]
        part["timestamp"] = message.time.astimezone(UTC).isoformat()
    return parts


def _length(part: Mapping[str, Any]) -> int:
    """How many characters of an embed or a field count for the limit of a whole embed."""
    own = sum(len(part.get(key, "")) for key in ("name", "value", "description"))
    return own + sum(_length(entry) for entry in part.get("fields", []))


def _escaped(text: str) -> str:
    """The text without markup, which Discord would read in its characters (those of a masked account number)."""
    return _MARKDOWN.sub(r"\\\1", text)


def _cut(escaped: str, length: int) -> str:
    if len(escaped) <= length:
        return escaped
    return f"{_pieces_of_escaped(escaped, length - 1)[0]}…"


def _pieces(text: str, length: int) -> list[str]:
    """A text, escaped, in pieces; divided between lines where that is possible."""
    return [piece for piece in _pieces_of_escaped(_escaped(text), length) if piece.strip()]


def _pieces_of_escaped(text: str, length: int) -> list[str]:
    pieces = []
    while len(text) > length:
        cut = text.rfind("\n", 1, length + 1)
        if cut < 0:
            cut = length
            # A backslash belongs to the sign behind it.
            while cut > 1 and (cut - len(text[:cut].rstrip("\\"))) % 2:
                cut -= 1
        pieces.append(text[:cut])
        text = text[cut:].removeprefix("\n")
    return [*pieces, text] if text else pieces


def _read(picture: Path) -> bytes | None:
    """The file, or None if it is gone or too large."""
    try:
        content = picture.read_bytes()
    except OSError:
        return None
    return content if len(content) <= ATTACHMENT_BYTES else None


def _pause(headers: Mapping[str, str], status: int) -> float | None:
    """How long Discord asks to wait before the next post; None if it does not."""
    names = ["X-RateLimit-Reset-After"] if headers.get("X-RateLimit-Remaining") == "0" or status == 429 else []
    names += ["Retry-After"] if status in (429, 503) else []
    asked = [seconds for name in names if (seconds := _seconds(headers.get(name))) is not None]
    return max(asked, default=None)


def _seconds(value: str | None) -> float | None:
    if value is None or not re.fullmatch(r"\d{1,9}(\.\d+)?", value.strip()):
        return None
    return float(value)
