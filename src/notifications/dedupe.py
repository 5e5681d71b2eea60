"""Whether a message is sent, counted or suppressed. Pure: from the last sent message to what to remember."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

from notifications.message import Message


class Verdict(StrEnum):
    """How a message is handled. The value is the name of its counter."""

    SEND = "accepted"
    COUNT = "repeated"
    """The same message was sent within the window."""
    UNREPORTED = "recovery_untold"
    """The end of an incident that was never reported."""


@dataclass(frozen=True)
class Reported:
    """A reported incident: when last (seconds since 1970), and how often it has come again since. Of several that
    end together: the first time, and all repeats."""

    at: float
    repeats: int = 0


@dataclass(frozen=True)
class Decision:
    """``message`` is sent if the verdict is SEND; ``reported`` is what to store for ``key``, None to remove it."""

    verdict: Verdict
    message: Message
    key: str
    reported: Reported | None


def key_of(message: Message) -> str:
    """Whose memory `decide` needs; empty for a message that is always sent."""
    return message.recovery_of or message.dedupe_key


def decide(message: Message, reported: Reported | None, now: float, window: float) -> Decision:
    """``window`` is in seconds. A clock that was set back ends the window."""
    key = key_of(message)
    if not key:
        return Decision(Verdict.SEND, message, key, None)
    if message.recovery_of:
        verdict = Verdict.SEND if reported else Verdict.UNREPORTED
        return Decision(verdict, _with_repeats(message, reported), key, None)
    if reported is not None and 0 <= now - reported.at < window:
        return Decision(Verdict.COUNT, message, key, replace(reported, repeats=reported.repeats + 1))
    return Decision(Verdict.SEND, _with_repeats(message, reported), key, Reported(now))


def _with_repeats(message: Message, reported: Reported | None) -> Message:
    if reported is None or reported.repeats == 0:
        return message
    times = "once more" if reported.repeats == 1 else f"{reported.repeats} more times"
    since = datetime.fromtimestamp(reported.at, UTC)
    return message.with_line(f"… {times} since {since:%Y-%m-%d %H:%M} UTC")
