"""Requests to approve a login, and what became of them: pure, from the changes of the login."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from gateway_watch.login import Change, LoginState

_IN = (LoginState.LOGGED_IN, LoginState.READY)


class Event(Enum):
    """What happened to a request. One that ends because the gateway is stopped is neither given nor missed."""

    REQUESTED = "requested"
    GIVEN = "given"
    MISSED = "missed"


class Approvals:
    """Of one run. Each login (paper, live) has requests of its own."""

    def __init__(self) -> None:
        self._open: set[str] = set()

    def on_change(self, change: Change, *, approvable: bool) -> Iterator[Event]:
        """``approvable``: a person answers the second factor, not a code."""
        if change.state is LoginState.AWAITING_2FA:
            if approvable and change.mode not in self._open:
                self._open.add(change.mode)
                yield Event.REQUESTED
        # A device that is chosen is no end of the request.
        elif change.mode in self._open and change.state is not LoginState.LOGGING_IN:
            self._open.discard(change.mode)
            yield Event.GIVEN if change.state in _IN else Event.MISSED
