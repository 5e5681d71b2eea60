"""The connection to IBKR is lost in a running session: the gateway tries to get it back by itself."""

from __future__ import annotations

from gateway_simulator.login.run import CONNECTING
from gateway_simulator.login.steps import Broadcast, Lines, LoginState, Show
from gateway_simulator.login.windows import Screen

FIRST_ATTEMPT = 5.0
NEXT_ATTEMPT = 10.0
"""Seconds between two attempts."""
COUNTDOWN = 60.0
"""Seconds for which an attempt lasts by its own log line."""


class LinkLoss:
    """The frame that shows the attempts, and the messages to API clients."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._frame = ""
        self._attempts = 0

    @property
    def next_attempt(self) -> float | None:
        """Seconds from one frame to the next; None: the connection is not lost."""
        if not self._frame:
            return None
        return NEXT_ATTEMPT if self._attempts else FIRST_ATTEMPT

    def lose(self) -> Lines:
        """The connection goes; nothing happens if it is lost already."""
        if self._frame:
            return
        yield Broadcast(1100, "Connectivity between IBKR and Trader Workstation has been lost.")
        self._frame, self._attempts = CONNECTING, 0
        yield from self._screen.open("frame", CONNECTING)
        yield self._shown()

    def attempt(self) -> Lines:
        """The gateway tries again, in another frame."""
        self._attempts += 1
        left = COUNTDOWN - (self._attempts - 3) * NEXT_ATTEMPT % COUNTDOWN
        stage = (
            "Authenticating..." if self._attempts < 3 else f"Authenticating (trying for another {left:g} seconds)..."
        )
        frame = f"Attempt {self._attempts}: {stage}"
        yield from self._screen.replace(self._frame, frame)
        self._frame = frame
        yield self._shown()

    def restore(self, *, data_lost: bool) -> Lines:
        """The connection is back; nothing happens if it was not lost. No second login follows."""
        if not self._frame:
            return
        yield from self._screen.close(self._frame)
        self._frame = ""
        text = "Connectivity between IBKR and Trader Workstation has been restored"
        if data_lost:
            yield Broadcast(1101, f"{text} - data lost.")
        else:
            yield Broadcast(1102, f"{text} - data maintained.")

    def _shown(self) -> Show:
        return Show(LoginState.LOGGED_IN, "Connection to IBKR lost", self._frame)
