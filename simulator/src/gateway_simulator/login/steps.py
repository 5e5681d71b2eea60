"""The steps of a login script, the replies to them, and what can happen to a gateway that has logged in."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum


class LoginState(Enum):
    """What the window and the control interface call the state of a gateway."""

    STARTING = "starting"
    LOGGING_IN = "logging_in"
    AWAITING_2FA = "awaiting_2fa"
    RELOGIN_WAIT = "relogin_wait"
    LOGGED_IN = "logged_in"
    RESTARTING = "restarting"
    HANGING = "hanging"
    STOPPED = "stopped"


class Happening(Enum):
    """What can come over a gateway that has logged in."""

    DAILY_RESTART = "daily restart"
    COLD_RESTART = "cold restart"
    AUTO_LOGOFF = "auto logoff"
    END_OF_WEEK = "end of week"
    CRASH = "crash"
    SERVER_DOWN = "server down"
    SERVER_UP = "server up"
    SERVER_UP_DATA_LOST = "server up, data lost"
    EXISTING_SESSION = "existing session"
    WRITE_ACCESS = "write access"
    DISMISS_DIALOG = "dismiss dialog"
    PAUSE = "pause"
    """The restart that the command PAUSE has requested: the start script does not start the gateway again."""


@dataclass(frozen=True)
class OpenDialog:
    """A dialog with this title opens in the running session and blocks the API."""

    title: str


@dataclass(frozen=True)
class RestartCommand:
    """IBC's command server has got RESTART or PAUSE (``verb``); it sets the restart time to ``at``."""

    verb: str
    at: str
    sender: str = "127.0.0.1"
    control_from: str = "127.0.0.1"


Event = Happening | OpenDialog | RestartCommand


@dataclass(frozen=True)
class Ibc:
    """A line of IBC; the runner puts the time and ``IBC:`` before it."""

    text: str


@dataclass(frozen=True)
class Raw:
    """A line as it is."""

    text: str


@dataclass(frozen=True)
class Pause:
    """Wait ``seconds``."""

    seconds: float


@dataclass(frozen=True)
class Show:
    """The state changes; ``dialog`` is the title of a dialog that is open on the screen, ``code`` it has a field."""

    state: LoginState
    note: str = ""
    dialog: str = ""
    code: bool = False


@dataclass(frozen=True)
class AskApproval:
    """The 2FA dialog is open for up to ``seconds``; reply: :class:`Answer`."""

    seconds: float
    approved_after: float | None


@dataclass(frozen=True)
class Answer:
    """The 2FA dialog closed ``seconds`` after it opened, by the user's approval or unanswered."""

    approved: bool
    seconds: float


@dataclass(frozen=True)
class ReadSession:
    """The gateway reads the autorestart file, which deletes it; reply: bool, False for one it cannot use.

    Such a file remains.
    """


@dataclass(frozen=True)
class AskSlot:
    """Reply: bool, whether IBKR still counts a session that did not log out."""


@dataclass(frozen=True)
class OpenApi:
    """Open the API port."""

    accounts: tuple[str, ...]


@dataclass(frozen=True)
class HoldApi:
    """Serve no new API client while ``held``; afterwards the scenario decides again."""

    held: bool


@dataclass(frozen=True)
class CloseApi:
    """Close the API port and its connections."""


@dataclass(frozen=True)
class Broadcast:
    """Send a system message to all API clients."""

    code: int
    text: str


@dataclass(frozen=True)
class Serve:
    """Continue until something happens, at most ``seconds`` (None: no limit); reply: an :data:`Event`
    or None when the time is over."""

    seconds: float | None = None


@dataclass(frozen=True)
class Hang:
    """Nothing happens any more; the runner waits until it is stopped."""


@dataclass(frozen=True)
class RunEnd:
    """How a run ended: IBC's exit code, and what it left for the start script and for IBKR.

    ``autorestart`` the gateway stored its session, ``paused`` and is not to be started again. ``logged_off`` IBKR knows
    that the session is over.
    """

    code: int
    cold_restart: bool = False
    autorestart: bool = False
    paused: bool = False
    logged_off: bool = False


Step = (
    Ibc
    | Raw
    | Pause
    | Show
    | AskApproval
    | ReadSession
    | AskSlot
    | OpenApi
    | HoldApi
    | CloseApi
    | Broadcast
    | Serve
    | Hang
)
Reply = Answer | Event | bool | None
Script = Generator[Step, Reply, RunEnd]
Part = Generator[Step, Reply, RunEnd | None]
Lines = Generator[Step, Reply, None]


def stamp(moment: datetime, text: str) -> str:
    """Prefix a line with IBC's time: ``2026-11-23 01:10:50:123 IBC: text``."""
    return f"{moment:%Y-%m-%d %H:%M:%S}:{moment.microsecond // 1000:03d} IBC: {text}"
