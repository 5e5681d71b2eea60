"""How many messages a client may send, and how often it may ask for history: pure counting, by times that are given."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum, auto

WINDOW = 1.0
"""Seconds over which messages are counted."""
MAX_BREACHES = 3
"""Breaches of the message rate after which a session ends."""

HISTORY_WINDOW = 600.0
MAX_HISTORY_REQUESTS = 60
SAME_REQUEST_WINDOW = 15.0
SHORT_WINDOW = 2.0
MAX_SHORT_REQUESTS = 5
"""At most 60 requests in 10 minutes, no identical one within 15 s, fewer than 6 for one contract within 2 s."""


class Verdict(Enum):
    """What becomes of a message."""

    SERVE = auto()
    REJECT = auto()
    """The message is over the limit; the client has been notified in this second."""
    WARN = auto()
    """It is the first one too many in this second."""
    DISCONNECT = auto()


class MessagePacer:
    """Limits one client's messages with a token bucket: ``limit`` at once, refilled at ``limit`` per second; 0: none.

    A client that throttles itself to less than the limit is never rejected, whatever the bursts in which its messages
    arrive. ``received`` counts the messages of the last second, rejected ones included.
    """

    def __init__(self) -> None:
        self.breaches = 0
        self.received = 0
        self._times: deque[float] = deque()
        self._tokens: float | None = None
        self._refilled_at = 0.0
        self._warned_at: float | None = None

    def judge(self, now: float, limit: int) -> Verdict:
        """Count a message at a time in seconds and decide what becomes of it."""
        if not limit:
            return Verdict.SERVE
        while self._times and now - self._times[0] >= WINDOW:
            self._times.popleft()
        self._times.append(now)
        self.received = len(self._times)
        if self._tokens is None:
            self._tokens = float(limit)
        else:
            self._tokens = min(float(limit), self._tokens + (now - self._refilled_at) * limit / WINDOW)
        self._refilled_at = now
        if self._tokens >= 1:
            self._tokens -= 1
            return Verdict.SERVE
        if self._warned_at is not None and now - self._warned_at < WINDOW:
            return Verdict.REJECT
        self._warned_at = now
        self.breaches += 1
        return Verdict.DISCONNECT if self.breaches >= MAX_BREACHES else Verdict.WARN


@dataclass(frozen=True)
class HistoryAsked:
    """A request for history as the pacing sees it: when (seconds), what exactly, and of which contract and kind."""

    time: float
    request: object
    subject: object


class HistoryPacer:
    """Counts one gateway's requests for history."""

    def __init__(self) -> None:
        self._asked: deque[HistoryAsked] = deque()

    def violation(self, asked: HistoryAsked) -> str:
        """Count a request; return why it comes too soon, or nothing. A rejected one does not count."""
        while self._asked and asked.time - self._asked[0].time >= HISTORY_WINDOW:
            self._asked.popleft()
        if len(self._asked) >= MAX_HISTORY_REQUESTS:
            return f"more than {MAX_HISTORY_REQUESTS} requests within 10 minutes"
        recent = [each for each in self._asked if asked.time - each.time < SAME_REQUEST_WINDOW]
        if any(each.request == asked.request for each in recent):
            return f"the same request within {SAME_REQUEST_WINDOW:g} seconds"
        short = [each for each in recent if asked.time - each.time < SHORT_WINDOW and each.subject == asked.subject]
        if len(short) >= MAX_SHORT_REQUESTS:
            return f"more than {MAX_SHORT_REQUESTS} requests for one contract within {SHORT_WINDOW:g} seconds"
        self._asked.append(asked)
        return ""
