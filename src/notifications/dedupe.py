"""Whether a message is sent, counted or suppressed. Pure: from the last sent message to what to remember."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

from notifications.message import Message


class Verdict(StrEnum):
    """What becomes of a message. The value is the name of its counter."""

    TELL = "accepted"
    COUNT = "repeated"
    """The same message was sent within the window."""
    UNTOLD = "recovery_untold"
    """The end of an incident that was never reported."""


@dataclass(frozen=True)
class Told:
    """A reported incident: when last (seconds since 1970), and how often it has come again since. Of several that
    end together: the first time, and all repeats."""

    at: float
    repeats: int = 0


@dataclass(frozen=True)
class Decision:
    """``message`` is what to send if the verdict is TELL; ``told`` what to remember for ``key``, None to forget it."""

    verdict: Verdict
    message: Message
    key: str
    told: Told | None


def key_of(message: Message) -> str:
    """Whose memory `decide` needs; empty for a message that is always sent."""
    return message.recovery_of or message.dedupe_key


def decide(message: Message, told: Told | None, now: float, window: float) -> Decision:
    """``window`` is in seconds. A clock that was set back ends the window."""
    key = key_of(message)
    if not key:
        return Decision(Verdict.TELL, message, key, None)
    if message.recovery_of:
        verdict = Verdict.TELL if told else Verdict.UNTOLD
        return Decision(verdict, _with_repeats(message, told), key, None)
    if told is not None and 0 <= now - told.at < window:
        return Decision(Verdict.COUNT, message, key, replace(told, repeats=told.repeats + 1))
    return Decision(Verdict.TELL, _with_repeats(message, told), key, Told(now))


def _with_repeats(message: Message, told: Told | None) -> Message:
    if told is None or told.repeats == 0:
        return message
    times = "once more" if told.repeats == 1 else f"{told.repeats} more times"
    since = datetime.fromtimestamp(told.at, UTC)
    return message.with_line(f"… {times} since {since:%Y-%m-%d %H:%M} UTC")
