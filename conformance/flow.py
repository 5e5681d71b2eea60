"""What a flow is: the windows to show, the controller's settings, and where it ends."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Command", "Flow", "Image", "LeftBehind", "Settings", "Stop", "StopKind"]


@dataclass(frozen=True)
class Settings:
    """Settings of a controller, under the names of the image's variables where there is one.

    `twofa_seconds` is how long the second factor's dialog may stay open before the controller takes its end for a
    timeout; `login_window_seconds` how long the login window may take. Both have no variable in the image (180
    and 60); they are shortened here.
    """

    trading_mode: str = "paper"
    user: str = "testuser"
    password: str = "testpassword"  # noqa: S105
    twofa_timeout_action: str = "restart"
    relogin_after_twofa_timeout: str = "yes"
    twofa_exit_interval: int = 6
    twofa_device: str = ""
    existing_session_detected_action: str = "primaryoverride"
    read_only_api: str = "no"
    auto_restart_time: str = "02:00 AM"
    cold_restart_time: str = ""
    bypass_warning: str = ""
    twofa_seconds: int = 4
    login_window_seconds: int = 60
    dismiss_password_notice: str = "no"  # noqa: S105


class StopKind(StrEnum):
    """How a running controller is stopped."""

    TERM = "term"
    """SIGTERM to the controller's start script."""
    DISPLAY_FIRST = "display_first"
    """The display ends before SIGTERM, as on the image's own stop."""


@dataclass(frozen=True)
class Stop:
    """Stop the controller after a line that matches `after` (a regular expression)."""

    after: str
    kind: StopKind = StopKind.TERM


@dataclass(frozen=True)
class Command:
    """Send a command to the controller's command server after a line that matches `after` (a regular expression)."""

    after: str
    word: str


class LeftBehind(StrEnum):
    """What is in the settings directory before the first start."""

    NOTHING = "nothing"
    AUTORESTART_FILE = "autorestart_file"
    JTS_INI_FOLDER = "jts_ini_folder"
    """A directory where the gateway's own settings file belongs."""


class Image(StrEnum):
    """How complete the installation of the gateway is."""

    COMPLETE = "complete"
    NO_JAVA = "no_java"
    NO_PROGRAM = "no_program"
    """The gateway's own classes are missing."""


@dataclass(frozen=True)
class Flow:
    """One course of events.

    `runs` are the stand-in's steps, one tuple for each start of the gateway's process (the last one repeats).
    `until` are regular expressions: the flow is over once lines have matched all of them in this order and the
    log has been quiet for a moment; if it is empty, once the controller has ended by itself (or by `stop`).
    """

    name: str
    about: str
    runs: tuple[tuple[str, ...], ...]
    until: tuple[str, ...] = ()
    settings: Settings = Settings()
    stop: Stop | None = None
    command: Command | None = None
    left_behind: LeftBehind = LeftBehind.NOTHING
    image: Image = Image.COMPLETE
    seconds: float = 45.0
