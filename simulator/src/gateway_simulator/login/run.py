"""What the parts of one run share: its settings, the windows, and the timers that IBC has started."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from gateway_simulator.login.startscript import EXIT_TWOFA_LOGIN_TIMED_OUT
from gateway_simulator.login.steps import Hang, Ibc, Lines, LoginState, Part, Pause, Raw, RunEnd, Script, Show, Step
from gateway_simulator.login.windows import Screen
from gateway_simulator.settings import GatewaySettings, Scenario

LOGIN_WINDOW = "IBKR Gateway"
MAIN_WINDOW = "IBKR Gateway"
CONNECTING = "Connecting to server..."
AUTHENTICATING = "Authenticating..."
STARTING_APPLICATION = "Starting application..."
SHUTDOWN = "Shutdown progress"
EXIT_UNHANDLED = 1100
RELOGIN_DELAY = 5.0
"""Seconds from a second factor that took too long to IBC's next login."""
_ERROR_RULE = "!" * 79


class Timer(Enum):
    """What IBC does after a time, whatever happens meanwhile."""

    EXIT = "exit unless the login has completed"
    RELOGIN = "log in again"


@dataclass
class Run:
    """One run of the gateway.

    ``now`` gives the time that announcements in the log count from. ``step`` is a fifth of START_SECONDS. ``attempt``
    counts the logins. ``splash`` is the title of the splash window, empty while there is none. ``completed`` IBC has
    noticed the end of the login.
    """

    settings: GatewaySettings
    scenario: Scenario
    now: Callable[[], datetime]
    screen: Screen
    attempt: int = 0
    splash: str = ""
    approved: bool = False
    completed: bool = False
    timers: list[tuple[float, Timer]] = field(default_factory=list)

    @property
    def step(self) -> float:
        return self.scenario.start_seconds / 5

    @property
    def tasks(self) -> int:
        """How many parts of the gateway's configuration IBC sets."""
        settings = self.settings
        return (settings.read_only is not None) + (
            settings.auto_restart is not None or settings.auto_logoff is not None
        )

    def next_timer(self) -> float | None:
        """Seconds until the first timer ends; None: there is none."""
        return min(seconds for seconds, _ in self.timers) if self.timers else None

    def passed(self, seconds: float) -> None:
        """Advance the timers."""
        self.timers = [(left - seconds, timer) for left, timer in self.timers]

    def fire(self) -> Part:
        """Carry out the timer that ends first."""
        due = min(self.timers, key=lambda each: each[0])
        self.timers.remove(due)
        if due[1] is Timer.RELOGIN:
            yield from self.attempt_login()
        elif not self.completed:
            yield from error("IBC closing because login has not completed after Second Factor Authentication")
            return (yield from exit_with(EXIT_TWOFA_LOGIN_TIMED_OUT))
        return None

    def wait(self, seconds: float) -> Part:
        """Wait, with the timers that end on the way."""
        while (due := self.next_timer()) is not None and due <= seconds:
            yield Pause(due)
            self.passed(due)
            seconds -= due
            if end := (yield from self.fire()):
                return end
        yield Pause(seconds)
        self.passed(seconds)
        return None

    def hang(self, note: str, dialog: str = "") -> Script:
        """Nothing happens any more, except for the timers; they can end the run."""
        yield Show(LoginState.HANGING, note, dialog)
        while (due := self.next_timer()) is not None:
            if end := (yield from self.wait(due)):
                return end
        yield Hang()
        raise AssertionError("a hanging run goes on")

    def attempt_login(self) -> Lines:
        """IBC fills the login form in and sends it."""
        self.attempt += 1
        if not self.completed:
            yield Show(LoginState.LOGGING_IN, f"Login attempt {self.attempt}")
        yield Ibc(f"Setting Trading mode = {self.settings.mode}")
        yield Ibc("Setting user name")
        yield Ibc("Setting password")
        yield Ibc(f"Login attempt: {self.attempt}")
        yield Ibc("Click button: Paper Log In" if self.settings.mode == "paper" else "Click button: Log In")

    def connect(self) -> Part:
        """The main window and the splash window open; the gateway connects to IBKR's servers."""
        if not self.splash:
            if self.attempt <= 1:
                yield from self.screen.open("frame", MAIN_WINDOW, *self._main_window_found())
            yield from self.screen.open("frame", CONNECTING)
            self.splash = CONNECTING
        return (yield from self.wait(self.step))

    def _main_window_found(self) -> list[Step]:
        found: list[Step] = [Ibc("Found Gateway main window")]
        if self.tasks:
            found += [Ibc("Got main window from future"), Ibc("Invoking config dialog menu")]
        return found

    def retitle(self, title: str) -> None:
        """The splash window shows the next stage, which IBC does not notice."""
        self.screen.retitle(self.splash, title)
        self.splash = title

    def close_splash(self) -> list[Step]:
        """The splash window closes, if it is open."""
        title, self.splash = self.splash, ""
        return self.screen.close(title) if title else []

    def yielded(self) -> Script:
        """The gateway ends during the login, before IBC has configured it.

        IBC waits for the configuration dialog, and its wait fails: exit 1100, unless there is nothing to configure.
        """
        yield from self.shut_down()
        if not self.tasks:
            return RunEnd(0, logged_off=True)
        yield Ibc("Setting ReadOnlyApi" if self.settings.read_only is not None else "Setting Auto restart time")
        yield from exception("null")
        return (yield from exit_with(EXIT_UNHANDLED))

    def shut_down(self) -> list[Step]:
        """The gateway logs out and ends."""
        return self.screen.open("dialog", SHUTDOWN)

    def cold_restart(self) -> Script:
        """IBC ends the gateway for a new login, as it does after a rejection that it recognizes."""
        yield Ibc("Cold restart in progress")
        yield Ibc("Click button: OK")
        yield Ibc("Login has not completed: exiting immediately")
        yield Show(LoginState.RESTARTING, "Cold restart")
        return RunEnd(0, cold_restart=True)


def error(text: str) -> Lines:
    """An error of IBC's in its frame."""
    yield Raw(_ERROR_RULE)
    yield Ibc(text)
    yield Raw(_ERROR_RULE)


def exception(message: str) -> Lines:
    """An exception in IBC's code in its frame."""
    yield Raw(_ERROR_RULE)
    yield Ibc("An exception has occurred:")
    yield Raw(message)
    yield Raw(_ERROR_RULE)


def exit_with(code: int) -> Script:
    """IBC ends with one of its exit codes."""
    yield Ibc(f"Exiting after error with exit code={code}")
    yield Show(LoginState.STOPPED, f"Exit code {code}")
    return RunEnd(code)
