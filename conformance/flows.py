"""The flows: what the gateway's windows do, step by step, and what the controller is set to.

The steps are those of the stand-in (conformance/windows/ibgateway/Player.java).
"""

from __future__ import annotations

from conformance.flow import Command, Flow, Image, LeftBehind, Settings, Stop, StopKind

__all__ = ["FLOWS", "named"]

Steps = tuple[str, ...]

PAPER = Settings()
LIVE = Settings(trading_mode="live")
NO_RELOGIN = Settings(trading_mode="live", relogin_after_twofa_timeout="no")

FORM: Steps = ("pause 0.3", "login-window")
OPEN: Steps = (*FORM, "await-login")
CONNECT: Steps = (
    "main-window",
    "splash Connecting to server...",
    "pause 0.3",
    "retitle Authenticating...",
    "pause 0.3",
)
LOAD: Steps = ("retitle Starting application...", "close-login", "pause 0.6", "close-splash", "enable-menu")
LOGIN: Steps = (*OPEN, *CONNECT, *LOAD)
APPROVED: Steps = ("push", "pause 1", "close-push")
PUSH_STANDS: Steps = ("push", "idle")
RESTARTED: Steps = (*FORM, "read-session", *CONNECT, *LOAD)
"""A start with an autorestart file: no login, no second factor."""
ANEW = ("cold-restart shortly", "Creating main window future")
"""The start script has started the gateway again, which waits for its windows."""
READY = ("Login has completed", "Configuration tasks completed", "Configuration; event=Closed")
SESSION: Steps = (*LOGIN, "pause 1.5")
"""Logged in, and the configuration done."""
EXISTING = "message Existing session detected | You are logged in elsewhere | Reconnect This Session,Exit Application"
HANDOFF = "message Trading Login Handoff | Hand over the session? | Disconnect Other Session,Cancel"
REFUSED: Steps = (*OPEN, *CONNECT, "close-splash")
UNRECOGNIZED = "message Unrecognized Username or Password | Unrecognized Username or Password | OK"
RELOGIN = "message Re-login is required | Your session has expired | Re-login"


def _login_failed(text: str) -> Steps:
    return (*REFUSED, f"message Login failed | {text} | OK", "idle")


def _login_error(text: str) -> Steps:
    return (*REFUSED, f"text Login Error | {text} | OK", "idle")


def _server_failed(text: str) -> Steps:
    return (*REFUSED, f"message IBKR Gateway | {text} | OK", "idle")


def _existing(number: int, action: str, *, about: str, logged_in: bool = False) -> Flow:
    moment = "after the login" if logged_in else "at the login"
    before = SESSION if logged_in else (*OPEN, *CONNECT)
    after = ("idle",) if logged_in else (*LOAD, "idle")
    ends = number in (2, 4, 6)
    steps = (*before, EXISTING, "await-answer", *((EXISTING, "await-answer") if number == 4 else ()), *after)
    name = f"existing_session_{action}_{'logged_in' if logged_in else 'at_login'}"
    until: tuple[str, ...] = ()
    if not ends:
        until = (rf"\(scenario {number}\)", *(READY[:2] if number == 3 else ()))
    return Flow(
        name if number != 4 else f"{name}_twice",
        f"Another session of the user {moment}; {about} (scenario {number}).",
        (steps,),
        until,
        Settings(existing_session_detected_action=action),
    )


_LOGINS = (
    Flow("login_paper", "Full login of the paper account.", ((*LOGIN, "idle"),), READY),
    Flow(
        "login_configured_first",
        "The settings are done before the login has completed.",
        ((*OPEN, *CONNECT, "retitle Starting application...", "enable-menu", "pause 1.5", "close-splash", "idle"),),
        ("Configuration tasks completed", "Login has completed"),
    ),
    Flow(
        "login_no_user",
        "The user name is empty: the form is not sent.",
        ((*FORM, "idle"),),
        ("Setting password",),
        Settings(user=""),
    ),
    Flow(
        "login_no_password",
        "The password is empty: the form is not sent.",
        ((*FORM, "idle"),),
        ("Setting password",),
        Settings(password=""),
    ),
)

_SECOND_FACTOR = (
    Flow(
        "twofa_approved",
        "The push is approved in time.",
        ((*OPEN, *CONNECT, *APPROVED, *LOAD, "idle"),),
        READY,
        LIVE,
    ),
    Flow(
        "twofa_approved_no_relogin",
        "The push is approved in time; relogin off.",
        ((*OPEN, *CONNECT, *APPROVED, *LOAD, "idle"),),
        READY,
        NO_RELOGIN,
    ),
    Flow(
        "twofa_waits",
        "The push stays open and nobody answers.",
        ((*OPEN, *CONNECT, *PUSH_STANDS),),
        ("initiated",),
        LIVE,
    ),
    Flow(
        "twofa_missed_relogin",
        "The push is missed; relogin on: a second one is approved.",
        ((*OPEN, *CONNECT, "push", "pause 5", "close-push", "await-login", *APPROVED, *LOAD, "idle"),),
        ("Re-login after", *READY),
        LIVE,
    ),
    Flow(
        "twofa_missed_no_relogin",
        "The push is missed; relogin off: the controller does nothing more.",
        ((*OPEN, *CONNECT, "push", "pause 5", "close-push", "idle"),),
        ("not required",),
        NO_RELOGIN,
    ),
    Flow(
        "twofa_late_relogin",
        "The push is approved after the controller's limit, relogin on: taken for missed, the login goes on.",
        ((*OPEN, *CONNECT, "push", "pause 5", "close-push", *LOAD, "idle"),),
        ("Re-login after", *READY),
        LIVE,
    ),
    Flow(
        "twofa_late_no_relogin",
        "The push is approved after the controller's limit, relogin off: taken for missed, the login goes on.",
        ((*OPEN, *CONNECT, "push", "pause 5", "close-push", *LOAD, "idle"),),
        ("not required", *READY),
        NO_RELOGIN,
    ),
    Flow(
        "twofa_flicker",
        "The dialog closes after 0.3 s and nothing follows: exit 1111, a new start and login.",
        (
            (*OPEN, *CONNECT, "push", "pause 0.3", "close-push", "idle"),
            (*OPEN, *CONNECT, *APPROVED, *LOAD, "idle"),
        ),
        ("exit code=1111", *READY),
        LIVE,
    ),
    Flow(
        "twofa_flicker_second_dialog",
        "The dialog closes after 0.3 s and opens again; that one is approved in time.",
        ((*OPEN, *CONNECT, "push", "pause 0.3", "close-push", "pause 0.3", *APPROVED, *LOAD, "idle"),),
        READY,
        LIVE,
    ),
    Flow(
        "twofa_slow_login",
        "Approved, but the login does not complete in the exit interval: exit 1111, a new start.",
        (
            (*OPEN, *CONNECT, *APPROVED, "retitle Starting application...", "idle"),
            (*OPEN, *CONNECT, *PUSH_STANDS),
        ),
        ("exit code=1111", "will restart shortly", "initiated"),
        LIVE,
    ),
    Flow(
        "twofa_slow_login_exit",
        "Approved, but the login does not complete in the exit interval; timeout action exit.",
        ((*OPEN, *CONNECT, *APPROVED, "retitle Starting application...", "idle"),),
        (),
        Settings(trading_mode="live", twofa_timeout_action="exit"),
    ),
    Flow(
        "twofa_device_list",
        "A list of devices; the push follows in a second dialog and is approved in time.",
        ((*OPEN, *CONNECT, "devices IB Key,Security Card | new", *APPROVED, *LOAD, "idle"),),
        READY,
        Settings(trading_mode="live", twofa_device="IB Key"),
    ),
    Flow(
        "twofa_device_list_same_dialog",
        "A list of devices; the push follows in the same dialog.",
        ((*OPEN, *CONNECT, "devices IB Key,Security Card | same", "pause 1", "close-push", *LOAD, "idle"),),
        READY,
        Settings(trading_mode="live", twofa_device="IB Key"),
    ),
    Flow(
        "twofa_device_list_timer",
        "A list of devices; the push is open in a second dialog when the first one's timer ends the gateway.",
        ((*OPEN, *CONNECT, "devices IB Key,Security Card | new", *PUSH_STANDS),),
        ("exit code=1111", "initiated"),
        Settings(trading_mode="live", twofa_device="IB Key", twofa_exit_interval=3),
    ),
    Flow(
        "twofa_device_unset",
        "A list of devices, and none is set.",
        ((*OPEN, *CONNECT, "devices IB Key,Security Card | new", "idle"),),
        ("You should specify",),
        LIVE,
    ),
    Flow(
        "twofa_device_unknown",
        "A list of devices without the one that is set.",
        ((*OPEN, *CONNECT, "devices IB Key,Security Card | new", "idle"),),
        ("could not find second factor device",),
        Settings(trading_mode="live", twofa_device="phone"),
    ),
    Flow(
        "twofa_no_device_list",
        "The dialog asks for a device and has no list: exit 1101.",
        ((*OPEN, *CONNECT, "text Second Factor Authentication | Select second factor device | OK", "idle"),),
        (),
        LIVE,
    ),
    Flow(
        "twofa_code",
        "The dialog asks for a code of an authenticator app.",
        ((*OPEN, *CONNECT, "code modal"),),
        ("initiated",),
        LIVE,
    ),
)

_REFUSALS = (
    Flow(
        "unrecognized_password",
        "Unrecognized Username or Password: a dialog that no handler knows.",
        ((*REFUSED, UNRECOGNIZED, "idle"),),
        ("Unrecognized",),
    ),
    Flow(
        "login_failed_disconnected",
        "Login failed: the servers are in maintenance; the second login succeeds.",
        (_login_failed("Server disconnected, please try again"), (*LOGIN, "idle")),
        ("cold-restart shortly", *READY),
    ),
    Flow(
        "login_failed_three_times",
        "Login failed, again and again.",
        (*[_login_failed("Server disconnected, please try again")] * 3, ("idle",)),
        ("cold-restart", "cold-restart", *ANEW),
    ),
    *(
        Flow(f"login_error_{name}", f"Login Error with a text: {about}.", (_login_error(text), ("idle",)), ANEW)
        for name, about, text in (
            ("disconnected", "the server has disconnected", "Server disconnected, please try again"),
            (
                "maintenance",
                "maintenance",
                "The system is currently unavailable due to maintenance.\\nPlease try again later.",
            ),
            (
                "locked",
                "the account is locked",
                "Your account has been locked. Contact Client Services.",
            ),
            ("unknown", "one that nobody has seen before", "Error code 4711"),
        )
    ),
    Flow(
        "login_error_locked_attempts",
        "Login Error whose text mentions too many failed attempts: taken for the dialog that asks to wait.",
        (
            (
                *REFUSED,
                "text Login Error | Your account has been locked after too many failed login attempts. Contact Client "
                "Services. | OK",
                "idle",
            ),
        ),
        ("Will re-login at", "Login attempt: 2"),
    ),
    *(
        Flow(
            f"server_failed_{name}",
            f"Connection to server failed: {about}.",
            (_server_failed(f"Connection to server failed: {text}"), ("idle",)),
            ANEW,
        )
        for name, about, text in (
            ("network", "the network", "Network is unreachable"),
            ("disconnected", "the servers", "Server disconnected, please try again"),
            ("passkey", "a passkey is required", "Required PassKey is not supported"),
            ("version", "the version is no longer supported", "This version is no longer supported. Please upgrade."),
            (
                "paper_users",
                "several paper users",
                "Multiple paper trading users are associated with this user. Log in with the paper user name.",
            ),
        )
    ),
    Flow(
        "server_failed_html",
        "Connection to server failed as HTML: not recognised, the dialog stays open.",
        (_server_failed("<html>Connection to server failed: Required PassKey is not supported</html>"),),
        ("Connection to server failed",),
    ),
    Flow(
        "too_many_attempts_relogin",
        "Too many failed attempts, relogin on: the controller waits and logs in again.",
        (
            (
                *REFUSED,
                "text  | Too many failed login attempts. Please wait 1 second before attempting to re-login "
                "again. | OK",
                "await-login",
                *CONNECT,
                *LOAD,
                "idle",
            ),
        ),
        ("Will re-login at", *READY),
    ),
    Flow(
        "too_many_attempts_no_relogin",
        "Too many failed attempts, relogin off: the dialog stays open.",
        (
            (
                *REFUSED,
                "text  | Too many failed login attempts. Please wait 4 minutes & 47 seconds before attempting to "
                "re-login again. | OK",
                "idle",
            ),
        ),
        ("Too many failed",),
        Settings(relogin_after_twofa_timeout="no"),
    ),
)

_RUNNING = (
    Flow(
        "reconnect",
        "The connection is lost in a running session and comes back by itself.",
        (
            (
                *SESSION,
                "splash Connecting to server...",
                "pause 0.5",
                "retitle Attempt 1: Authenticating...",
                "pause 2",
                "retitle Starting application...",
                "pause 0.3",
                "close-splash",
                "idle",
            ),
        ),
        (*READY, "Connecting to server", "Starting application...; event=Closed"),
    ),
    Flow(
        "reconnect_attempts",
        "The connection is lost in a running session; several attempts, the frame closes under the last title.",
        (
            (
                *SESSION,
                "splash Connecting to server...",
                "pause 0.3",
                "splash Attempt 7: Authenticating...",
                "pause 2",
                "splash Attempt 3: Authenticating (trying for another 42 seconds)...",
                "pause 0.5",
                "close-splash",
                "idle",
            ),
        ),
        (*READY, r"Attempt 3: .*; event=Closed"),
    ),
    Flow(
        "reconnect_relogin",
        "After a lost connection the gateway asks for a new login of the session, which succeeds.",
        (
            (
                *SESSION,
                "splash Connecting to server...",
                "pause 0.3",
                RELOGIN,
                "await-answer",
                "retitle Authenticating...",
                "pause 0.5",
                "retitle Starting application...",
                "pause 0.3",
                "close-splash",
                "idle",
            ),
        ),
        (*READY, "Re-login to session", "Starting application...; event=Closed"),
    ),
    Flow(
        "reconnect_relogin_failed",
        "The new login of the session ends with Login failed: cold restart.",
        (
            (
                *SESSION,
                "splash Connecting to server...",
                "pause 0.3",
                RELOGIN,
                "await-answer",
                "close-splash",
                "message Login failed | Server disconnected, please try again | OK",
                "idle",
            ),
            (*LOGIN, "idle"),
        ),
        (*READY, "cold-restart shortly", *READY),
    ),
    Flow(
        "reconnect_gives_up",
        "The gateway shuts down while it reconnects.",
        ((*SESSION, "splash Connecting to server...", "pause 0.5", "shutdown"),),
    ),
    Flow(
        "login_failed_in_session",
        "Login failed in a running session: the gateway is closed through its menu and starts again.",
        (
            (*SESSION, "message Login failed | Server disconnected, please try again | OK", "idle"),
            (*LOGIN, "idle"),
        ),
        (*READY, "exiting via", "cold-restart shortly", *READY),
    ),
    Flow("logoff", "The planned logoff of a running session.", ((*SESSION, "shutdown"),)),
    Flow("crash_logged_in", "The gateway's process dies in a running session.", ((*SESSION, "crash 1"),)),
    Flow("crash_at_login", "The gateway's process dies during the login.", ((*OPEN, *CONNECT, "crash 1"),)),
    Flow(
        "write_access",
        "An API client sends an order to a read-only API: the gateway asks for a confirmation.",
        ((*SESSION, "message API client needs write access action confirmation | Allow? | Yes,No", "idle"),),
        (*READY, "write access"),
        Settings(read_only_api="yes"),
    ),
)

_RESTARTS = (
    Flow(
        "daily_restart",
        "The daily restart: the session goes on.",
        ((*SESSION, "restart"), (*RESTARTED, "idle")),
        (*READY, "Re-starting session", *READY),
    ),
    Flow(
        "command_restart",
        "The command RESTART: the restart time is set to the next minute, and the session goes on.",
        ((*SESSION, "await-restart-time", "restart"), (*RESTARTED, "idle")),
        (*READY, "Setting auto-restart time", "Re-starting session", *READY),
        command=Command("Configuration; event=Closed", "RESTART"),
    ),
    Flow(
        "command_pause",
        "The command PAUSE: the gateway stores its session and ends, and the start script with it.",
        ((*SESSION, "await-restart-time", "restart"),),
        command=Command("Configuration; event=Closed", "PAUSE"),
    ),
    Flow(
        "command_invalid",
        "A command that the controller does not know.",
        ((*SESSION, "idle"),),
        (*READY, "invalid command received"),
        command=Command("Configuration; event=Closed", "REBOOT"),
    ),
    Flow(
        "daily_restart_unrecognized",
        "Right credentials are refused after the daily restart.",
        (
            (*SESSION, "restart"),
            (*FORM, "read-session", *CONNECT, "close-splash", UNRECOGNIZED, "idle"),
        ),
        (*READY, "Re-starting session", "Unrecognized"),
    ),
    Flow(
        "daily_restart_relogin",
        "After the daily restart the gateway asks for a new login of the session, which succeeds.",
        (
            (*SESSION, "restart"),
            (*FORM, "read-session", *CONNECT, RELOGIN, "await-answer", *LOAD, "idle"),
        ),
        (*READY, "Re-starting session", "Re-login to session", *READY),
    ),
    Flow(
        "daily_restart_relogin_unrecognized",
        "After the daily restart the new login of the session is refused with Unrecognized Username or Password.",
        (
            (*SESSION, "restart"),
            (*FORM, "read-session", *CONNECT, RELOGIN, "await-answer", "close-splash", UNRECOGNIZED, "idle"),
        ),
        (*READY, "Re-starting session", "Re-login to session", "Unrecognized"),
    ),
    Flow(
        "daily_restart_relogin_stuck",
        "After the daily restart the gateway asks for a new login of the session, and nothing follows.",
        (
            (*SESSION, "restart"),
            (*FORM, "read-session", *CONNECT, RELOGIN, "await-answer", "idle"),
        ),
        (*READY, "Re-starting session", "Re-login to session"),
    ),
    Flow(
        "stale_autorestart",
        "An autorestart file of a former session: the login form stays empty.",
        ((*FORM, "idle"),),
        ("Re-starting session", "WINDOW_OPENED"),
        left_behind=LeftBehind.AUTORESTART_FILE,
    ),
)

_SESSIONS = (
    _existing(1, "manual", about="a person must choose"),
    _existing(2, "secondary", about="this one gives way"),
    _existing(3, "primaryoverride", about="this one goes on"),
    _existing(3, "primary", about="this one goes on"),
    _existing(4, "primaryoverride", about="it insists, so this one gives way"),
    _existing(1, "manual", about="a person must choose", logged_in=True),
    _existing(2, "secondary", about="this one gives way", logged_in=True),
    _existing(5, "primary", about="this one goes on", logged_in=True),
    _existing(6, "primaryoverride", about="this one gives way", logged_in=True),
    Flow(
        "handoff_primaryoverride",
        "Trading Login Handoff with primaryoverride: exit 1110.",
        ((*OPEN, *CONNECT, EXISTING, "await-answer", *APPROVED, HANDOFF, "idle"),),
        (),
        LIVE,
    ),
    Flow(
        "handoff_primary",
        "Trading Login Handoff with primary: the other session is ended.",
        ((*OPEN, *CONNECT, EXISTING, "await-answer", *APPROVED, HANDOFF, "await-answer", *LOAD, "idle"),),
        READY,
        Settings(trading_mode="live", existing_session_detected_action="primary"),
    ),
    Flow(
        "handoff_manual",
        "Trading Login Handoff with manual: a person must choose.",
        ((*OPEN, *CONNECT, *APPROVED, HANDOFF, "idle"),),
        ("Trading Login Handoff dialog",),
        Settings(trading_mode="live", existing_session_detected_action="manual"),
    ),
)

_DIALOGS = (
    Flow(
        "dialog_login_messages",
        "Login Messages is open after the login: no handler knows it.",
        ((*SESSION, "message Login Messages | Please read this message | Resume Login", "idle"),),
        (*READY, "Login Messages"),
    ),
    Flow(
        "dialog_login_messages_at_login",
        "Login Messages is open before the login has completed.",
        ((*OPEN, *CONNECT, "message Login Messages | Please read this message | Resume Login", "idle"),),
        ("Login Messages",),
    ),
    Flow(
        "dialog_password_notice",
        "Password Notice, not dismissed.",
        ((*SESSION, "frame Password Notice | Your password will expire in 10 days | OK", "idle"),),
        (*READY, "Password Notice"),
    ),
    Flow(
        "dialog_password_notice_dismissed",
        "Password Notice, dismissed.",
        ((*SESSION, "frame Password Notice | Your password will expire in 10 days | OK", "await-answer", "idle"),),
        (*READY, "Password Notice; event=Closed"),
        Settings(dismiss_password_notice="yes"),  # noqa: S106
    ),
    Flow(
        "dialog_upgrade",
        "The gateway must be upgraded: a dialog that no handler knows.",
        ((*REFUSED, "message This version needs to be upgraded | Download the new version | OK", "idle"),),
        ("needs to be upgraded",),
    ),
    Flow(
        "dialog_gateway",
        "A dialog with Gateway in its title: its text is in the log, and it stays open.",
        ((*REFUSED, "message IB Gateway 10.45 needs to be upgraded | Download the new version | OK", "idle"),),
        ("Download the new version",),
    ),
    Flow(
        "dialog_no_title",
        "A dialog without a title is open during the login.",
        ((*OPEN, *CONNECT, "message  | Something new | Continue", "idle"),),
        ("no title",),
    ),
)

_CONFIGURATION = (
    Flow(
        "configuration_no_menu",
        "The main window has no menu entry for the settings: exit 1100.",
        ((*OPEN, "main-window without-settings", "idle"),),
    ),
    Flow(
        "configuration_no_read_only",
        "The configuration has no Read-Only box.",
        (("configuration without-read-only", *LOGIN, "idle"),),
        READY,
    ),
    Flow(
        "configuration_interrupted",
        "The gateway shuts down before the configuration is done: exit 1100.",
        ((*OPEN, *CONNECT, "retitle Starting application...", "close-login", "close-splash", "shutdown"),),
    ),
    Flow(
        "configuration_invalid_restart_time",
        "The hour of the daily restart is not understood.",
        ((*LOGIN, "idle"),),
        READY,
        Settings(auto_restart_time="25 o'clock"),
    ),
    Flow(
        "configuration_already_read_only",
        "The API is to be read-only and is so already.",
        ((*LOGIN, "idle"),),
        READY,
        Settings(read_only_api="yes"),
    ),
)

_ENDS = (
    Flow(
        "no_login_window",
        "The login window does not open: exit 1112, and the start script starts again.",
        (("idle",),),
        ("exit code=1112", "will restart shortly", "Creating main window future"),
        Settings(login_window_seconds=2),
    ),
    Flow("invalid_trading_mode", "The trading mode is unknown: exit 1104.", ((*LOGIN, "idle"),), (), Settings("demo")),
    Flow(
        "invalid_cold_restart_time",
        "The hour of the cold restart is not understood: exit 1105.",
        ((*LOGIN, "idle"),),
        (),
        Settings(cold_restart_time="noon"),
    ),
    Flow(
        "no_program",
        "The gateway's classes are missing: exit 1107.",
        ((*LOGIN, "idle"),),
        image=Image.NO_PROGRAM,
    ),
    Flow("no_java", "There is no Java in the image.", ((*LOGIN, "idle"),), image=Image.NO_JAVA),
    Flow(
        "jts_ini_unusable",
        "The gateway's settings file is a directory: exit 1108.",
        ((*LOGIN, "idle"),),
        left_behind=LeftBehind.JTS_INI_FOLDER,
    ),
    Flow("stop_at_start", "Stopped before the login window.", (("idle",),), stop=Stop("Starting Gateway$")),
    Flow("stop_at_login", "Stopped during the login.", ((*OPEN, *CONNECT, "idle"),), stop=Stop("Connecting to server")),
    Flow(
        "stop_at_twofa",
        "Stopped while the push is open.",
        ((*OPEN, *CONNECT, *PUSH_STANDS),),
        settings=LIVE,
        stop=Stop("initiated"),
    ),
    Flow(
        "stop_running",
        "Stopped in a running session.",
        ((*LOGIN, "idle"),),
        stop=Stop("Configuration; event=Closed"),
    ),
    Flow(
        "stop_display_first",
        "Stopped in a running session, the display before the controller, as the image does it.",
        ((*LOGIN, "idle"),),
        stop=Stop("Configuration; event=Closed", StopKind.DISPLAY_FIRST),
    ),
)

FLOWS = {
    flow.name: flow
    for flow in (
        *_LOGINS,
        *_SECOND_FACTOR,
        *_REFUSALS,
        *_RUNNING,
        *_RESTARTS,
        *_SESSIONS,
        *_DIALOGS,
        *_CONFIGURATION,
        *_ENDS,
    )
}


def named(names: list[str]) -> list[Flow]:
    """The flows of these names, or all. Raises KeyError."""
    return [FLOWS[name] for name in names] if names else list(FLOWS.values())
