"""What one run of the gateway under IBC logs and does, as a sequence of steps; no I/O and no clock.

:func:`gateway_run` is a generator. It yields steps, the runner carries each out and sends its reply
back: for :class:`AskApproval` an :class:`Answer`, for :class:`Serve` an event, for :class:`ReadSession` and
:class:`AskSlot` a bool, for all others None. The value it returns is how the run ended. IBC's start script is in
:mod:`startscript`.

The words and their order are those of IBC 3.24 and 3.25 with IB Gateway 10.45, measured with the real IBC.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from gateway_simulator.login.linkloss import LinkLoss
from gateway_simulator.login.refusals import rate_limited, refused, unrecognized
from gateway_simulator.login.run import (
    AUTHENTICATING,
    EXIT_UNHANDLED,
    LOGIN_WINDOW,
    STARTING_APPLICATION,
    Run,
    error,
    exception,
    exit_with,
)
from gateway_simulator.login.schedule import next_sunday
from gateway_simulator.login.secondfactor import TITLE as SECOND_FACTOR
from gateway_simulator.login.secondfactor import second_factor
from gateway_simulator.login.sessions import EXIT_INVALID_STATE, at_login, handoff, when_logged_in
from gateway_simulator.login.startscript import EXIT_NO_LOGIN_DIALOG, EXIT_TWOFA_LOGIN_TIMED_OUT, IBC_VERSION
from gateway_simulator.login.steps import (
    CloseApi,
    Happening,
    HoldApi,
    Ibc,
    Lines,
    LoginState,
    OpenApi,
    OpenDialog,
    Part,
    Pause,
    Raw,
    ReadSession,
    Reply,
    RestartCommand,
    RunEnd,
    Script,
    Serve,
    Show,
    Step,
)
from gateway_simulator.login.windows import Screen
from gateway_simulator.settings import (
    Configuration,
    Credentials,
    ExistingSession,
    GatewaySettings,
    LoginWindow,
    Scenario,
    Server,
    TokenRefused,
    TwoFaKind,
)
from gateway_simulator.trading.sample import DEFAULT_ACCOUNTS

EXIT_CRASHED = 1
EXIT_TERMINATED = 143
EXISTING_SESSION_DELAY = 3.0
"""Seconds between a finished login and the other session's arrival, scenarios 5 and 6."""
API_OPEN = "The API port is open"
RELOGIN = "Re-login is required"
FRAMES = frozenset({"Password Notice"})
"""Windows that are frames rather than dialogs."""
EXITS_AT_START = {
    1102: "Incorrect number of arguments passed. quitting...",
    1103: 'ini file "config.ini" either does not exist, or is a directory.  quitting...',
    1104: "Invalid Trading Mode argument or .ini file setting: null",
    1105: "Invalid ColdRestartTime setting: 'noon'; format should be: <hh:mm>   eg 13:00",
    1106: "Failed to create TWS settings directory at: tws_settings; a file of that name already exists",
    1108: "jts.ini already exists but is a directory",
    1109: "Problem writing to jts.ini: No space left on device",
}
"""IBC's errors before the first login, by their exit code."""


def accounts_of(settings: GatewaySettings, scenario: Scenario) -> tuple[str, ...]:
    """Return the accounts that the gateway manages."""
    return scenario.accounts or tuple(DEFAULT_ACCOUNTS[settings.mode])


def gateway_run(
    settings: GatewaySettings,
    scenario: Scenario,
    now: Callable[[], datetime],
    *,
    restart: bool,
    screen: Screen | None = None,
) -> Script:
    """Play one run of the gateway.

    ``now`` gives the time that announcements in the log count from. ``restart``: the start script found an
    autorestart file, so IBC leaves the login to the gateway. ``screen`` gets the windows.
    """
    run = Run(settings, scenario, now, screen or Screen())
    yield Show(LoginState.STARTING)
    if (end := (yield from _start(run, restart=restart))) is not None:
        return end
    end = yield from (_resume(run) if restart else _log_in(run))
    if end is not None:
        return end
    return (yield from _logged_in(run))


def terminated_run(screen: Screen, logout_seconds: float, *, logged_in: bool) -> Script:
    """End a run because the controller's process got SIGTERM: a gateway that is logged in logs out."""
    if logged_in:
        yield Show(LoginState.STOPPED, "Logging out")
        yield from screen.open("dialog", "Shutdown progress")
        yield CloseApi()
        yield Pause(logout_seconds)
    yield Show(LoginState.STOPPED, "Terminated")
    return RunEnd(EXIT_TERMINATED, logged_off=True)


def _start(run: Run, *, restart: bool) -> Part:
    """From the start of the process to the login window."""
    settings, scenario, screen = run.settings, run.scenario, run.screen
    yield Raw("Starting Gateway with this command:")
    yield Raw("")
    yield Ibc(f"version: {IBC_VERSION}")
    if scenario.exit_code in (1102, 1103):
        return (yield from _exit_at_start(scenario.exit_code))
    yield Ibc("using default main window manager")
    yield Ibc(f"using default trading mode manager: constructor parameter args: tradingMode={settings.mode}")
    yield Ibc("using default config dialog manager")
    yield from _start_command_server(settings)
    if scenario.exit_code == 1105:
        return (yield from _exit_at_start(scenario.exit_code))
    if settings.cold_restart is not None:
        at = next_sunday(run.now(), settings.cold_restart)
        yield Ibc(f"Gateway will be cold restarted at {at:%Y/%m/%d %H:%M}")
    if scenario.exit_code == 1106:
        return (yield from _exit_at_start(scenario.exit_code))
    yield Ibc(f"TWS Settings directory is: {settings.settings_path or ''}")
    if restart:
        yield Ibc("Re-starting session")
    else:
        yield Ibc(
            "Starting session: will exit if login dialog is not displayed within "
            f"{scenario.login_dialog_seconds:g} seconds"
        )
    if scenario.exit_code in (1108, 1109):
        return (yield from _exit_at_start(scenario.exit_code))
    yield Ibc("Starting Gateway")
    if scenario.exit_code == 1107:
        yield from exception("ibgateway/GWClient")
        return (yield from exit_with(1107))
    yield from _await_configuration(run)
    missing = scenario.no_login_window is not LoginWindow.SHOWN or scenario.exit_code == EXIT_NO_LOGIN_DIALOG
    if missing and not restart:
        yield Pause(scenario.login_dialog_seconds)
        yield from error("IBC closing after TWS/Gateway failed to display login dialog")
        return (yield from exit_with(EXIT_NO_LOGIN_DIALOG))
    yield Pause(2 * run.step)
    yield from screen.open("frame", LOGIN_WINDOW, Ibc("Login dialog WINDOW_OPENED: LoginState is LOGGED_OUT"))
    if scenario.exit_code == 1104:
        return (yield from _exit_at_start(scenario.exit_code))
    return None


def _start_command_server(settings: GatewaySettings) -> Lines:
    server = settings.command_server
    if server is None:
        yield Ibc("CommandServer is not started because the port is not configured")
        return
    yield Ibc(f"CommandServer is starting with port {server.port}")
    yield Ibc(f"CommandServer listening on address: {server.address} port: {server.port}")
    yield Ibc("CommandServer started and is ready to accept commands")


def _exit_at_start(code: int) -> Script:
    yield from error(EXITS_AT_START[code])
    return (yield from exit_with(code))


def _await_configuration(run: Run) -> Lines:
    """IBC's tasks for the gateway's configuration start, and wait for its windows."""
    for number in range(run.tasks):
        yield Ibc("Getting config dialog")
        yield Ibc("Waiting for config dialog future to complete" if number else "Creating config dialog future")
        if not number:
            yield Ibc("Getting main window")
            yield Ibc("Creating main window future")


def _resume(run: Run) -> Part:
    """Continue the session of the autorestart file; IBC does not use the login form."""
    if not (yield ReadSession()):
        return (yield from run.hang("The autorestart file cannot be used", LOGIN_WINDOW))
    yield Show(LoginState.LOGGING_IN, "Continuing the session")
    if end := (yield from run.connect()):
        return end
    if run.scenario.server is not Server.UP:
        return (yield from refused(run))
    run.retitle(AUTHENTICATING)
    match run.scenario.token_refused:
        case TokenRefused.YES:
            yield from _relogin(run)
            return (yield from run.hang("The session's token was refused"))
        case TokenRefused.RELOGIN_UNRECOGNIZED:
            yield from _relogin(run)
            return (yield from unrecognized(run))
        case TokenRefused.UNRECOGNIZED:
            return (yield from unrecognized(run))
        case TokenRefused.NO:
            return (yield from run.wait(run.step))


def _relogin(run: Run) -> Lines:
    yield from run.screen.open("dialog", RELOGIN, Ibc("Re-login to session"), Ibc("Click button: Re-login"))
    yield from run.screen.close(RELOGIN)


def _log_in(run: Run) -> Part:
    """Log in with user name, password and, where requested, the second factor."""
    settings, scenario = run.settings, run.scenario
    if not settings.user or not settings.password:
        yield Show(LoginState.LOGGING_IN, "Login attempt 1")
        yield Ibc(f"Setting Trading mode = {settings.mode}")
        yield Ibc("Setting user name")
        yield Ibc("Setting password")
        missing = "password" if settings.user else "user name"
        return (yield from run.hang(f"The login dialog waits for the {missing}", LOGIN_WINDOW))
    yield from run.attempt_login()
    end = yield from run.connect()
    if end is None and scenario.credentials is Credentials.RATE_LIMITED and scenario.server is Server.UP:
        end = yield from rate_limited(run)
    while end is None:
        end = yield from _attempt(run)
        if end is not None or run.approved or scenario.twofa.kind is TwoFaKind.NONE:
            break
    return end or (yield from handoff(run))


def _attempt(run: Run) -> Part:
    """IBKR's answer to a login that has been sent."""
    scenario = run.scenario
    if scenario.configuration is Configuration.NO_MENU and run.tasks:
        yield from error("getConfigDialog could not find 'Configure > Settings' menu item")
        return (yield from _configuration_fails(run))
    if end := (yield from refused(run)):
        return end
    run.retitle(AUTHENTICATING)
    if end := (yield from run.wait(run.step)):
        return end
    if end := (yield from _exit_at_login(run)):
        return end
    if run.attempt == 1 and (end := (yield from at_login(run))):
        return end
    if scenario.twofa.kind is TwoFaKind.NONE:
        return None
    return (yield from second_factor(run))


def _exit_at_login(run: Run) -> Part:
    """The exit codes that come during the login."""
    screen = run.screen
    match run.scenario.exit_code:
        case 1100:
            return (yield from _configuration_fails(run))
        case 1101:
            yield from screen.open("dialog", SECOND_FACTOR, *error("could not find second factor device list."))
            return (yield from exit_with(1101))
        case 1110:
            yield from screen.open("dialog", "Trading Login Handoff", *error("Trading Login Handoff dialog; error: {}"))
            return (yield from exit_with(EXIT_INVALID_STATE))
        case 1111:
            yield from error("IBC closing because login has not completed after Second Factor Authentication")
            return (yield from exit_with(EXIT_TWOFA_LOGIN_TIMED_OUT))
    return None


def _configuration_fails(run: Run) -> Script:
    yield Ibc("Setting ReadOnlyApi" if run.settings.read_only is not None else "Setting Auto restart time")
    yield from exception("null")
    return (yield from exit_with(EXIT_UNHANDLED))


def _logged_in(run: Run) -> Script:
    yield Show(LoginState.LOGGING_IN, STARTING_APPLICATION)
    run.retitle(STARTING_APPLICATION)
    if end := (yield from run.wait(run.step)):
        return end
    yield from run.screen.close(LOGIN_WINDOW)
    yield OpenApi(accounts_of(run.settings, run.scenario))
    yield from run.close_splash()
    run.completed = True
    yield Ibc("Login has completed")
    yield from _configure(run)
    yield Show(LoginState.LOGGED_IN, API_OPEN)
    return (yield from Session(run).serve())


class Session:
    """A session that has logged in, until it ends."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._link = LinkLoss(run.screen)
        self._dialog = ""

    def serve(self) -> Script:
        """Continue until something ends the run."""
        run = self._run
        first, after = self._first_event()
        if run.scenario.dialog:
            yield from self._open_dialog(run.scenario.dialog)
        while True:
            waits = (after, run.next_timer(), self._link.next_attempt)
            due = min((each for each in waits if each is not None), default=None)
            event = yield Serve(due)
            if event is not None:
                after = None
            elif due == after:
                event, after = first, None
            elif due is not None:
                run.passed(due)
                after = None if after is None else after - due
                yield from self._due(due)
                continue
            end = yield from self._on_event(event)
            if end is not None:
                yield CloseApi()
                return end

    def _due(self, seconds: float) -> Lines:
        """The timer or the attempt that was due has come."""
        left = self._run.next_timer()
        if left is not None and left <= 0:
            yield from self._run.fire()
        else:
            yield from self._link.attempt()

    def _first_event(self) -> tuple[Happening, float | None]:
        """What the scenario lets happen, and after how many seconds."""
        scenario = self._run.scenario
        early = (ExistingSession.LOGGED_IN, ExistingSession.SCENARIO_5, ExistingSession.SCENARIO_6)
        if scenario.existing_session in early:
            return Happening.EXISTING_SESSION, EXISTING_SESSION_DELAY
        return Happening.CRASH, scenario.crash_after

    def _on_event(self, event: Reply) -> Part:
        run = self._run
        match event:
            case Happening.DAILY_RESTART | Happening.PAUSE:
                yield Show(LoginState.RESTARTING, "Daily restart")
                yield CloseApi()
                yield from run.screen.open("dialog", "Restart in progress")
                yield from run.screen.close("Restart in progress")
                return RunEnd(0, autorestart=True, paused=event is Happening.PAUSE, logged_off=True)
            case Happening.COLD_RESTART:
                yield Show(LoginState.RESTARTING, "Cold restart")
                yield Ibc("Login has completed: exiting via [File, Close] menu")
                yield Ibc("Main window already found")
                yield CloseApi()
                yield from run.shut_down()
                return RunEnd(0, cold_restart=True, logged_off=True)
            case Happening.END_OF_WEEK | Happening.AUTO_LOGOFF:
                yield Show(LoginState.STOPPED, "Logged off")
                yield CloseApi()
                yield from run.shut_down()
                return RunEnd(0, logged_off=True)
            case Happening.CRASH:
                yield Show(LoginState.STOPPED, "Crashed")
                return RunEnd(EXIT_CRASHED)
            case Happening.SERVER_DOWN:
                yield from self._link.lose()
            case Happening.SERVER_UP:
                yield from self._link.restore(data_lost=False)
                yield self._shown()
            case Happening.SERVER_UP_DATA_LOST:
                yield from self._link.restore(data_lost=True)
                yield self._shown()
            case Happening.EXISTING_SESSION:
                return (yield from when_logged_in(run))
            case Happening.WRITE_ACCESS:
                title = "API client needs write access action confirmation"
                yield from run.screen.open("dialog", title)
                yield Show(LoginState.LOGGED_IN, "An API client sent an order to a read-only API", title)
            case OpenDialog(title):
                yield from self._open_dialog(title)
            case RestartCommand():
                yield from self._set_restart_time(event)
            case Happening.DISMISS_DIALOG:
                yield from self._close_dialog()
        return None

    def _set_restart_time(self, command: RestartCommand) -> Lines:
        """IBC sets the gateway's restart time to the next minute."""
        run = self._run
        yield from command_lines(command.verb, command.sender, command.control_from)
        for text in ("Getting main window", "Main window already found"):
            yield Ibc(text)
        yield Ibc(f"Setting auto-restart time to {command.at}")
        for text in ("Getting config dialog", "Creating config dialog future", "Closing command channel"):
            yield Ibc(text)
        for text in ("Getting main window", "Main window already found", "Invoking config dialog menu"):
            yield Ibc(text)
        title = f"{accounts_of(run.settings, run.scenario)[0]} Trader Workstation Configuration"
        yield from run.screen.open("dialog", title)
        for text in ("Got config dialog from future", "Setting Auto restart time"):
            yield Ibc(text)
        yield Ibc(f"Auto restart time set to {command.at}")
        yield Ibc("Configuration tasks completed")
        yield Ibc("Click button: OK")
        yield from run.screen.close(title)

    def _shown(self) -> Show:
        return Show(LoginState.LOGGED_IN, API_OPEN, self._dialog)

    def _open_dialog(self, title: str) -> Lines:
        yield from self._close_dialog()
        self._dialog = title
        # IBC logs the text of a dialog with this word in its title, and knows none of the others.
        text = [Ibc(f"The text of {title}")] if "Gateway" in title else []
        yield from self._run.screen.open("frame" if title in FRAMES else "dialog", title, *text)
        yield HoldApi(True)
        yield Show(LoginState.LOGGED_IN, "A dialog blocks the API", title)

    def _close_dialog(self) -> Lines:
        if self._dialog:
            yield from self._run.screen.close(self._dialog)
            self._dialog = ""
            yield HoldApi(False)
            yield self._shown()


def command_lines(command: str, sender: str, control_from: str) -> list[Step]:
    """Return what IBC logs when it gets a restart command over its command server."""
    return [
        Ibc(f"CommandServer: ControlFrom setting = {control_from}"),
        Ibc(f"CommandServer accepted connection from: /{sender}"),
        Ibc(f"CommandServer received command: {command}"),
        Ibc(f"RestartTask: pauseOnly = {str(command == 'PAUSE').lower()}"),
        Ibc(f"RestartTask: verb = {command}"),
    ]


def _configure(run: Run) -> Lines:
    """IBC sets the gateway's configuration, if there is any to set."""
    settings, screen = run.settings, run.screen
    configuration = run.scenario.configuration
    if not run.tasks or configuration is Configuration.NO_DIALOG:
        return
    title = f"{accounts_of(settings, run.scenario)[0]} Trader Workstation Configuration"
    yield from screen.open("dialog", title)
    for _ in range(run.tasks):
        yield Ibc("Got config dialog from future")
    if settings.read_only is not None:
        yield Ibc("Setting ReadOnlyApi")
        if configuration is Configuration.NO_READ_ONLY:
            yield from error("could not find Read-Only API checkbox")
        else:
            # A fresh gateway is read-only.
            state = "already set to: true" if settings.read_only else "now set to: false"
            yield Ibc(f"Read-Only API checkbox is {state}")
    for name, moment in (("Auto restart", settings.auto_restart), ("Auto logoff", settings.auto_logoff)):
        if moment is not None:
            yield Ibc(f"Setting {name} time")
            yield Ibc(f"{name} time set to {moment:%I:%M %p}")
    yield Ibc("Configuration tasks completed")
    yield Ibc("Click button: OK")
    yield from screen.close(title)
