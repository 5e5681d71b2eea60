"""What one run of the gateway under IBC says and does, as a sequence of steps; no I/O and no clock.

:func:`gateway_run` is a generator. It yields steps, the runner carries each out and sends its reply
back: for :class:`AskApproval` an :class:`Answer`, for :class:`Serve` a :class:`Happening`, for all others
None. The value it returns is how the run ended. Around the runs stands IBC's start script:
:func:`launch_lines` before a run, :func:`after_run` behind it.

The words are those of IBC 3.24 with IB Gateway 10.45; they are facts about that program.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from hashlib import sha256

from gateway_simulator.login.schedule import next_sunday
from gateway_simulator.settings import (
    Credentials,
    ExistingSession,
    GatewaySettings,
    LoginWindow,
    Scenario,
    Server,
    TwoFaKind,
)
from gateway_simulator.trading.sample import DEFAULT_ACCOUNTS

IBC_VERSION = "3.24.1"
GATEWAY_VERSION = "10.45.1j"

EXIT_INVALID_STATE = 1110
EXIT_TWOFA_LOGIN_TIMED_OUT = 1111
EXIT_NO_LOGIN_DIALOG = 1112
EXIT_CRASHED = 1

RELOGIN_DELAY = 5.0
EXISTING_SESSION_DELAY = 3.0
"""Seconds between a finished login and the other session's arrival, scenarios 5 and 6."""
API_OPEN = "The API port is open"
_ERROR_RULE = "!" * 80


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
    EXISTING_SESSION = "existing session"
    WRITE_ACCESS = "write access"


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
    """The state changes; ``dialog`` is the title of a dialog that stands on the screen."""

    state: LoginState
    note: str = ""
    dialog: str = ""


@dataclass(frozen=True)
class AskApproval:
    """The 2FA dialog stands for up to ``seconds``; reply: :class:`Answer`."""

    seconds: float
    approved_after: float | None


@dataclass(frozen=True)
class Answer:
    """The 2FA dialog closed ``seconds`` after it opened, by the user's approval or unanswered."""

    approved: bool
    seconds: float


@dataclass(frozen=True)
class OpenApi:
    """Open the API port; with it the autorestart file has served and goes."""

    accounts: tuple[str, ...]


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
    """Go on until something happens, at most ``seconds`` (None: no limit); reply: :class:`Happening`
    or None when the time is over."""

    seconds: float | None = None


@dataclass(frozen=True)
class Hang:
    """Nothing happens any more; the runner waits until it is stopped."""


@dataclass(frozen=True)
class RunEnd:
    """How a run ended: IBC's exit code, and what it left for the start script."""

    code: int
    cold_restart: bool = False
    autorestart: bool = False


Step = Ibc | Raw | Pause | Show | AskApproval | OpenApi | CloseApi | Broadcast | Serve | Hang
Reply = Answer | Happening | None
Script = Generator[Step, Reply, RunEnd]
Part = Generator[Step, Reply, RunEnd | None]


def stamp(moment: datetime, text: str) -> str:
    """Put IBC's time before a line: ``2026-11-23 01:10:50:123 IBC: text``."""
    return f"{moment:%Y-%m-%d %H:%M:%S}:{moment.microsecond // 1000:03d} IBC: {text}"


def accounts_of(settings: GatewaySettings, scenario: Scenario) -> tuple[str, ...]:
    """Return the accounts that the gateway manages."""
    return scenario.accounts or tuple(DEFAULT_ACCOUNTS[settings.mode])


def launch_lines(settings: GatewaySettings, autorestart_path: str | None, moment: datetime) -> list[str]:
    """Return what IBC's start script says before the first run of the gateway."""
    return [
        "",
        "=" * 80,
        "",
        f"Starting IBC version {IBC_VERSION} on {moment:%Y-%m-%d} at {moment:%H:%M:%S}",
        "",
        "Arguments:",
        "",
        f"TWS version = {GATEWAY_VERSION}",
        "Program = Gateway",
        f"--tws-settings-path = {settings.settings_path or ''}",
        "--user =",
        "--pw =",
        "",
        *autorestart_lines(autorestart_path),
        "",
        "Determining the location of java executable",
        "",
    ]


def autorestart_lines(path: str | None) -> list[str]:
    """Return what the start script says when it has looked for the autorestart file."""
    if path is None:
        return ["Finding autorestart file", "autorestart file not found: full authentication will be required"]
    return ["Finding autorestart file", f"autorestart file found at {path}: authentication will not be required"]


def after_run(
    end: RunEnd, settings: GatewaySettings, scenario: Scenario, autorestart_path: str | None
) -> tuple[list[str], bool]:
    """Return what the start script says after a run, and whether it starts the gateway again."""
    lines = [f"IBC returned exit status {end.code % 256}"]
    if end.cold_restart:
        lines.append("IBC will cold-restart shortly")
        again = True
    elif end.code == EXIT_NO_LOGIN_DIALOG:
        again = scenario.no_login_window is LoginWindow.MISSING_LOOP
    else:
        lines += autorestart_lines(autorestart_path)
        again = autorestart_path is not None or (end.code == EXIT_TWOFA_LOGIN_TIMED_OUT and settings.twofa_restart)
    return [*lines, *(["IBC will restart shortly"] if again else ["Gateway finished", ""])], again


def gateway_run(settings: GatewaySettings, scenario: Scenario, now: Callable[[], datetime], *, restart: bool) -> Script:
    """Play one run of the gateway.

    ``now`` gives the time that announcements in the log count from. ``restart``: an autorestart file
    was found, so the session goes on without a login.
    """
    step = scenario.start_seconds / 5
    yield Show(LoginState.STARTING)
    yield Raw("Starting Gateway with this command:")
    yield Ibc(f"version: {IBC_VERSION}")
    if settings.cold_restart is not None:
        at = next_sunday(now(), settings.cold_restart)
        yield Ibc(f"Gateway will be cold restarted at {at:%Y/%m/%d %H:%M}")
    yield Ibc(f"TWS Settings directory is: {settings.settings_path or ''}")
    if restart:
        yield Ibc("Re-starting session")
    else:
        yield Ibc(
            "Starting session: will exit if login dialog is not displayed within "
            f"{scenario.login_dialog_seconds:g} seconds"
        )
    yield Ibc("Starting Gateway")
    if scenario.no_login_window is not LoginWindow.SHOWN and not restart:
        yield Pause(scenario.login_dialog_seconds)
        yield from _error("IBC closing after TWS/Gateway failed to display login dialog")
        return (yield from _exit_with(EXIT_NO_LOGIN_DIALOG))
    yield Pause(2 * step)
    yield from _window("frame", "IBKR Gateway", "Opened")
    yield Ibc("Login dialog WINDOW_OPENED: LoginState is LOGGED_OUT")

    part = _resume(scenario, step) if restart else _log_in(settings, scenario, now, step)
    end = yield from part
    if end is not None:
        return end
    return (yield from _logged_in(settings, scenario, step))


def _resume(scenario: Scenario, step: float) -> Part:
    """Go on with the session of the autorestart file."""
    yield Show(LoginState.LOGGING_IN, "Continuing the session")
    yield from _connecting(step)
    if scenario.token_refused:
        yield from _window("dialog", "Re-login is required", "Opened")
        yield Ibc("Re-login to session")
        yield Ibc("Click button: Re-login")
        yield Show(LoginState.HANGING, "The session's token was refused", "Re-login is required")
        yield Hang()
    if scenario.server is Server.DOWN:
        return (yield from _server_down())
    yield from _authenticating(step)
    return None


def _log_in(settings: GatewaySettings, scenario: Scenario, now: Callable[[], datetime], step: float) -> Part:
    """Log in with user name, password and, where asked for, the second factor."""
    attempt = 0
    rate_limited = scenario.credentials is Credentials.RATE_LIMITED
    while True:
        attempt += 1
        yield Show(LoginState.LOGGING_IN, f"Login attempt {attempt}")
        yield Ibc(f"Setting Trading mode = {settings.mode}")
        yield Ibc("Setting user name")
        yield Ibc("Setting password")
        if not settings.user or not settings.password:
            missing = "password" if settings.user else "user name"
            yield Show(LoginState.HANGING, f"The login dialog waits for the {missing}", "IBKR Gateway")
            yield Hang()
        yield Ibc(f"Login attempt: {attempt}")
        yield Ibc("Click button: Paper Log In" if settings.mode == "paper" else "Click button: Log In")
        yield from _connecting(step)
        if scenario.server is Server.DOWN:
            return (yield from _server_down())
        if rate_limited:
            rate_limited = False
            yield from _rate_limited(settings, scenario, now, attempt)
            continue
        yield from _authenticating(step)
        known = scenario.password_sha256 in ("", sha256(settings.password.encode()).hexdigest())
        end = yield from _refused_credentials(scenario.credentials if known else Credentials.BAD_A)
        if end is None:
            end = yield from _existing_session_at_login(settings, scenario.existing_session)
        if end is not None:
            return end
        if scenario.twofa.kind is TwoFaKind.NONE:
            break
        yield from _open_second_factor(settings, scenario)
        answer = yield from _second_factor(scenario)
        since_login = answer.seconds + 2 * step
        yield Ibc(f"Duration since login: {math.floor(since_login)} seconds")
        if answer.approved:
            end = yield from _after_approval(settings, scenario)
            if end is not None:
                return end
            break
        if not settings.relogin:
            yield Ibc("Re-login after second factor authentication timeout not required")
            yield Show(LoginState.STOPPED, "The second factor was not answered")
            return RunEnd(0)
        yield Ibc(f"Re-login after second factor authentication timeout in {RELOGIN_DELAY:.0f} second")
        yield Show(LoginState.RELOGIN_WAIT, "The second factor was not answered")
        yield Pause(RELOGIN_DELAY)
    return (yield from _handoff(settings, scenario.existing_session))


def _refused_credentials(credentials: Credentials) -> Part:
    if credentials is Credentials.BAD_A:
        yield from _window("dialog", "Login failed", "Opened")
        yield Ibc("Login failed")
        return (yield from _cold_restart_at_login())
    if credentials is Credentials.LOCKED:
        yield from _window("dialog", "Login Error", "Opened")
        yield Ibc("Login error message:")
        yield Raw("Your account has been locked after too many failed login attempts. Contact Client Services.")
        return (yield from _cold_restart_at_login())
    if credentials is Credentials.BAD_B:
        title = "Unrecognized Username or Password"
        yield from _window("dialog", title, "Opened")
        yield Show(LoginState.HANGING, "IBC does not know this dialog", title)
        yield Hang()
    return None


def _rate_limited(
    settings: GatewaySettings, scenario: Scenario, now: Callable[[], datetime], attempt: int
) -> Generator[Step, Reply, None]:
    wait = scenario.rate_limit_seconds
    minutes, seconds = divmod(wait, 60)
    words = f"{minutes} minutes & {seconds} seconds" if minutes else f"{seconds} seconds"
    message = f"Too many failed login attempts. Please wait {words} before attempting to re-login again."
    yield from _window("dialog", "** no title **", "Opened")
    yield Ibc(message)
    if not settings.relogin:
        yield Show(LoginState.HANGING, message, "Too many failed login attempts")
        yield Hang()
    pause = wait + 3
    again = now() + timedelta(seconds=pause)
    milliseconds = again.microsecond // 1000
    yield Ibc(f"Will re-login at {again:%Y-%m-%d %H:%M:%S}:{milliseconds:03d}; login number: {attempt + 1}")
    yield Ibc("Click button: OK")
    yield Show(LoginState.RELOGIN_WAIT, message)
    yield Pause(pause)


def _open_second_factor(settings: GatewaySettings, scenario: Scenario) -> Generator[Step, Reply, None]:
    title = "Second Factor Authentication"
    yield from _window("dialog", title, "Opened")
    complaint = {
        TwoFaKind.DEVICE_UNSET: "You should specify the required second factor device using the "
        "SecondFactorDevice setting in config.ini",
        TwoFaKind.DEVICE_UNKNOWN: f"could not find second factor device '{settings.twofa_device}' in the list",
    }.get(scenario.twofa.kind)
    if complaint:
        yield from _error(complaint)
        yield Show(LoginState.HANGING, complaint, title)
        yield Hang()


def _second_factor(scenario: Scenario) -> Generator[Step, Reply, Answer]:
    title = "Second Factor Authentication"
    yield Ibc("Second Factor Authentication initiated")
    yield Show(LoginState.AWAITING_2FA, "Approve the login on your device", title)
    after = scenario.twofa.seconds if scenario.twofa.kind is TwoFaKind.APPROVE_AFTER else None
    answer = yield AskApproval(scenario.twofa_seconds, after)
    if not isinstance(answer, Answer):
        raise TypeError(f"the reply to AskApproval must be an Answer, not {answer!r}")
    yield from _window("dialog", title, "Closed")
    return answer


def _after_approval(settings: GatewaySettings, scenario: Scenario) -> Part:
    yield Show(LoginState.LOGGING_IN, "Second factor approved")
    if settings.relogin:
        yield Ibc(f"If login has not completed, IBC will exit in {settings.twofa_exit_interval} seconds")
        if scenario.slow_after_2fa >= settings.twofa_exit_interval:
            yield Pause(settings.twofa_exit_interval)
            yield from _error("IBC closing because login has not completed after Second Factor Authentication")
            return (yield from _exit_with(EXIT_TWOFA_LOGIN_TIMED_OUT))
    yield Pause(scenario.slow_after_2fa)
    return None


def _existing_session_at_login(settings: GatewaySettings, existing: ExistingSession) -> Part:
    action = settings.existing_session_action
    match existing:
        case ExistingSession.SCENARIO_1 | ExistingSession.SCENARIO_2:
            first = int(existing.value)
        case ExistingSession.SCENARIO_3 | ExistingSession.SCENARIO_4:
            first = 3
        case ExistingSession.LOGIN | ExistingSession.LOGIN_TWICE | ExistingSession.HANDOFF:
            first = {"manual": 1, "secondary": 2}.get(action, 3)
        case _:
            return None
    end = yield from _existing_session(first)
    if end is None and existing in (ExistingSession.SCENARIO_4, ExistingSession.LOGIN_TWICE):
        end = yield from _existing_session(4)
    return end


def _existing_session_when_logged_in(settings: GatewaySettings, existing: ExistingSession) -> Part:
    by_action = {"manual": 1, "secondary": 2, "primary": 5, "primaryoverride": 6}
    forced = {ExistingSession.SCENARIO_5: 5, ExistingSession.SCENARIO_6: 6}
    return (yield from _existing_session(forced.get(existing, by_action[settings.existing_session_action])))


def _existing_session(scenario: int) -> Part:
    words, button = {
        1: ("User must choose whether to continue with this session", None),
        2: ("End this session and let the other session proceed", "Exit Application"),
        3: ("Don't know the type of the other session, so continue this one", "Reconnect This Session"),
        4: (
            "Other session must be primary or primary override, so end this session and let the other one proceed",
            "Exit Application",
        ),
        5: ("Continue this session and let the other session exit", "Reconnect This Session"),
        6: ("Other session may be primary, so end this session and let the other one proceed", "Exit Application"),
    }[scenario]
    title = "Existing session detected"
    yield from _window("dialog", title, "Opened")
    yield Ibc(f"{words} (scenario {scenario})")
    if button is None:
        yield Show(LoginState.HANGING, words, title)
        yield Hang()
    yield Ibc(f"Click button: {button}")
    if button == "Exit Application":
        yield Show(LoginState.STOPPED, "Yielded to the other session")
        yield from _shut_down()
        return RunEnd(0)
    yield from _window("dialog", title, "Closed")
    return None


def _handoff(settings: GatewaySettings, existing: ExistingSession) -> Part:
    if existing is not ExistingSession.HANDOFF:
        return None
    title = "Trading Login Handoff"
    # IBC itself prints the empty braces here: its text is never put in.
    yield from _window("dialog", title, "Opened")
    action = settings.existing_session_action
    if action == "manual":
        yield Ibc(f"{title} dialog; {{}}")
        yield Show(LoginState.HANGING, "Choose which session goes on", title)
        yield Hang()
    if action == "primary":
        yield Ibc(f"{title} dialog; {{}}")
        yield Ibc("Click button: Disconnect Other Session")
        return None
    yield from _error(f"{title} dialog; error: {{}}")
    return (yield from _exit_with(EXIT_INVALID_STATE))


def _logged_in(settings: GatewaySettings, scenario: Scenario, step: float) -> Script:
    accounts = accounts_of(settings, scenario)
    yield Show(LoginState.LOGGING_IN, "Starting application...")
    yield from _window("frame", "Starting application...", "Opened")
    yield Pause(step)
    yield OpenApi(accounts)
    yield from _window("frame", "Starting application...", "Closed")
    yield Ibc("Login has completed")
    yield from _configure(settings)
    yield Show(LoginState.LOGGED_IN, API_OPEN)
    early = scenario.existing_session in (
        ExistingSession.LOGGED_IN,
        ExistingSession.SCENARIO_5,
        ExistingSession.SCENARIO_6,
    )
    happening: Reply
    if early:
        happening = yield Serve(EXISTING_SESSION_DELAY)
        happening = happening or Happening.EXISTING_SESSION
    else:
        happening = yield Serve(scenario.crash_after)
        happening = happening or Happening.CRASH
    while True:
        end = yield from _on_happening(happening, settings, scenario)
        if end is not None:
            yield CloseApi()
            return end
        happening = yield Serve()


def _on_happening(happening: Reply, settings: GatewaySettings, scenario: Scenario) -> Part:
    match happening:
        case Happening.DAILY_RESTART:
            yield Show(LoginState.RESTARTING, "Daily restart")
            yield CloseApi()
            yield from _shut_down()
            return RunEnd(0, autorestart=True)
        case Happening.COLD_RESTART:
            yield Show(LoginState.RESTARTING, "Cold restart")
            yield Ibc("Login has completed: exiting via [File, Close] menu")
            yield CloseApi()
            yield from _shut_down()
            return RunEnd(0, cold_restart=True)
        case Happening.END_OF_WEEK | Happening.AUTO_LOGOFF:
            yield Show(LoginState.STOPPED, "Logged off")
            yield CloseApi()
            yield from _shut_down()
            return RunEnd(0)
        case Happening.CRASH:
            yield Show(LoginState.STOPPED, "Crashed")
            return RunEnd(EXIT_CRASHED)
        case Happening.SERVER_DOWN:
            yield Broadcast(1100, "Connectivity between IBKR and Trader Workstation has been lost.")
            yield from _window("frame", "Connecting to server...", "Opened")
            yield Show(LoginState.LOGGED_IN, "Connection to IBKR lost", "Connecting to server...")
        case Happening.SERVER_UP:
            yield Broadcast(
                1102,
                "Connectivity between IBKR and Trader Workstation has been restored - data maintained.",
            )
            yield from _window("frame", "Connecting to server...", "Closed")
            yield Show(LoginState.LOGGED_IN, API_OPEN)
        case Happening.EXISTING_SESSION:
            return (yield from _existing_session_when_logged_in(settings, scenario.existing_session))
        case Happening.WRITE_ACCESS:
            title = "API client needs write access action confirmation"
            yield from _window("dialog", title, "Opened")
            yield Show(LoginState.LOGGED_IN, "An API client sent an order to a read-only API", title)
    return None


def _configure(settings: GatewaySettings) -> Generator[Step, Reply, None]:
    yield Ibc("Getting config dialog")
    for name, moment in (("Auto restart", settings.auto_restart), ("Auto logoff", settings.auto_logoff)):
        if moment is not None:
            yield Ibc(f"Setting {name} time")
            yield Ibc(f"{name} time set to {moment:%I:%M %p}")
    if settings.read_only is not None:
        yield Ibc("Setting ReadOnlyApi")
        yield Ibc(f"Read-Only API checkbox is now set to: {'true' if settings.read_only else 'false'}")
    yield Ibc("Configuration tasks completed")
    yield Ibc("Click button: OK")


def _connecting(step: float) -> Generator[Step, Reply, None]:
    yield from _window("frame", "Connecting to server...", "Opened")
    yield Pause(step)


def _authenticating(step: float) -> Generator[Step, Reply, None]:
    yield from _window("frame", "Authenticating...", "Opened")
    yield Pause(step)


def _server_down() -> Part:
    yield from _window("dialog", "IBKR Gateway", "Opened")
    yield Ibc("Connection to server failed: Server disconnected, please try again")
    return (yield from _cold_restart_at_login())


def _cold_restart_at_login() -> Script:
    yield Ibc("Cold restart in progress")
    yield Ibc("Click button: OK")
    yield Ibc("Login has not completed: exiting immediately")
    yield Show(LoginState.RESTARTING, "Cold restart")
    return RunEnd(0, cold_restart=True)


def _shut_down() -> Generator[Step, Reply, None]:
    yield from _window("dialog", "Shutdown progress", "Opened")


def _exit_with(code: int) -> Script:
    yield Ibc(f"Exiting after error with exit code={code}")
    yield Show(LoginState.STOPPED, f"Exit code {code}")
    return RunEnd(code)


def _error(text: str) -> Generator[Step, Reply, None]:
    yield Raw(_ERROR_RULE)
    yield Ibc(text)
    yield Raw(_ERROR_RULE)


def _window(kind: str, title: str, event: str) -> Generator[Step, Reply, None]:
    yield Ibc(f"detected {kind} entitled: {title}; event={event}")
