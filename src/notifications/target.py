"""What a target of messages is, and what becomes of one attempt to deliver to it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from notifications.message import Message


class Result(Enum):
    SENT = auto()
    RETRY = auto()
    """It may work later."""
    REFUSED = auto()
    """This message will never be taken."""
    GONE = auto()
    """The target will never take a message again: it is gone, or its credentials are wrong."""


@dataclass(frozen=True)
class Outcome:
    """``pause`` is how many seconds the target asked to be left alone, None if it did not. ``detail`` is one phrase."""

    result: Result
    detail: str = ""
    pause: float | None = None


class Target(Protocol):
    """A destination of messages. ``name`` distinguishes it from others, without its address."""

    name: str

    def parts(self, message: Message) -> int:
        """How many sends a message takes, at least one."""

    def send(self, message: Message, part: int) -> Outcome:
        """Deliver one part (from 0), and wait for the answer. Never raises for a failure of the target."""


def of_status(status: int, pause: float | None = None) -> Outcome:
    """What an HTTP status means for a delivery."""
    if 200 <= status < 300:
        return Outcome(Result.SENT, pause=pause)
    if 300 <= status < 400:
        # Followed, it would be asked without the text.
        return Outcome(Result.GONE, f"HTTP {status}, a redirect to another address")
    if status in (401, 403, 404, 410):
        return Outcome(Result.GONE, f"HTTP {status}")
    if status in (408, 425, 429) or status >= 500:
        return Outcome(Result.RETRY, f"HTTP {status}", pause)
    return Outcome(Result.REFUSED, f"HTTP {status}")
