"""The flows of py-ib-controller: the scenarios of conformance/flows.py with this controller's marks, and its own.

Its log has windows that open, not windows that close, and none of the titles that change.
"""

from __future__ import annotations

from dataclasses import replace

from conformance.flow import Flow, Settings, Stop
from conformance.flows import CONNECT, FLOWS, FORM, LOAD, LOGIN, OPEN, PUSH_STANDS, REFUSED, SESSION, UNRECOGNIZED
from conformance.ibcontroller import IbcontrollerSettings

__all__ = ["IBCONTROLLER_FLOWS"]

READY = ("IBController > login completed$", "APPLYING_SETTINGS -> READY")
ANEW = ("relaunching with a full fresh login", "LAUNCHING -> LOGGING_IN")
"""The controller has started the gateway again, which waits for its windows."""
TWOFA = "second factor authentication in progress"

# The limit for an approval and the login after it is the sum: enough on a busy machine where the login completes, and
# short where it is to pass.
PAPER = Settings(twofa_seconds=17, twofa_exit_interval=3)
LIVE = replace(PAPER, trading_mode="live")
QUICK = replace(PAPER, twofa_seconds=5)
QUICK_LIVE = replace(QUICK, trading_mode="live")
EXIT = replace(QUICK_LIVE, twofa_timeout_action="exit")
NO_RELOGIN = replace(QUICK_LIVE, relogin_after_twofa_timeout="no")


def _shared(
    name: str, until: tuple[str, ...] = (), settings: Settings | None = None, about: str = "", limit: Settings = PAPER
) -> Flow:
    """The scenario of that name with this controller's marks. Without `settings` its own, with the times of `limit`."""
    flow = FLOWS[name]
    own = replace(flow.settings, twofa_seconds=limit.twofa_seconds, twofa_exit_interval=limit.twofa_exit_interval)
    return replace(flow, until=until, settings=settings or own, about=about or flow.about)


def _once(flow: Flow) -> Flow:
    """The flow with an idle second start, which the controller begins by itself."""
    return replace(flow, runs=(*flow.runs, ("idle",)))


def _stopped(name: str, after: str) -> Flow:
    flow = _shared(name)
    assert flow.stop is not None  # noqa: S101 - of these scenarios
    return replace(flow, stop=Stop(after, flow.stop.kind))


def _with(**variables: str | None) -> IbcontrollerSettings:
    return IbcontrollerSettings(twofa_seconds=3, twofa_exit_interval=3, extra=tuple(variables.items()))


_TOO_MANY = "Too many failed login attempts. Please wait 1 second before attempting to re-login again."
_NON_BROKERAGE = "message Warning | This is not a brokerage account | I understand and accept"
_SECOND = (*OPEN, *CONNECT, "push", "pause 1", "close-push", *LOAD, "idle")

_LOGINS = (
    _shared("login_paper", READY),
    _shared("login_no_user", about="The user name is empty: exit 78."),
    _shared("login_no_password", about="The password's file is empty: exit 78."),
)

_SECOND_FACTOR = (
    _shared("twofa_approved", (TWOFA, *READY)),
    _shared("twofa_approved_no_relogin", (TWOFA, *READY)),
    _shared("twofa_waits", (TWOFA,)),
    Flow(
        "twofa_missed_restart",
        "The push is missed; timeout action restart: the gateway starts again, the second push is approved.",
        ((*OPEN, *CONNECT, *PUSH_STANDS), _SECOND),
        (TWOFA, "mfa_timeout_action=restart", TWOFA, *READY),
        QUICK_LIVE,
    ),
    Flow(
        "twofa_missed_no_relogin",
        "The push is missed; timeout action restart, relogin off: it starts again all the same.",
        ((*OPEN, *CONNECT, *PUSH_STANDS), _SECOND),
        (TWOFA, "mfa_timeout_action=restart", TWOFA, *READY),
        NO_RELOGIN,
    ),
    Flow(
        "twofa_missed_exit",
        "The push is missed; timeout action exit: exit 75.",
        ((*OPEN, *CONNECT, *PUSH_STANDS),),
        settings=EXIT,
    ),
    Flow(
        "twofa_missed_closed_exit",
        "The dialog closes unanswered and nothing follows; timeout action exit, relogin off: exit 75 at the limit.",
        ((*OPEN, *CONNECT, "push", "pause 3", "close-push", "idle"),),
        settings=replace(NO_RELOGIN, twofa_timeout_action="exit"),
    ),
    Flow(
        "twofa_flicker",
        "The dialog closes after 0.3 s and nothing follows: a new start after the exit interval.",
        ((*OPEN, *CONNECT, "push", "pause 0.3", "close-push", "idle"), _SECOND),
        (TWOFA, "mfa_timeout_action=restart", TWOFA, *READY),
        QUICK_LIVE,
    ),
    _shared("twofa_flicker_second_dialog", (TWOFA, *READY), LIVE),
    Flow(
        "twofa_slow_login",
        "Approved, but the login does not complete in the exit interval: a new start.",
        ((*OPEN, *CONNECT, "push", "pause 1", "close-push", "idle"), (*OPEN, *CONNECT, *PUSH_STANDS)),
        (TWOFA, "mfa_timeout_action=restart", TWOFA),
        QUICK_LIVE,
    ),
    _shared("twofa_slow_login_exit", settings=EXIT, about="The same with timeout action exit: exit 75."),
    Flow(
        "twofa_device_list",
        "A list of devices, which this controller cannot answer: the push is missed, exit 75.",
        ((*OPEN, *CONNECT, "devices IB Key,Security Card | new", *PUSH_STANDS),),
        settings=EXIT,
    ),
    _shared("twofa_code", (TWOFA,)),
    Flow(
        "twofa_code_exit",
        "A code of an authenticator app, which nobody enters: exit 75.",
        ((*OPEN, *CONNECT, "code modeless"),),
        settings=EXIT,
    ),
)

_REFUSALS = (
    _shared("unrecognized_password", about="Unrecognized Username or Password: exit 77."),
    _shared("login_failed_disconnected", (*ANEW, *READY)),
    _shared("login_failed_three_times", (ANEW[0], ANEW[0], *ANEW)),
    *(_shared(f"login_error_{name}", ANEW) for name in ("disconnected", "maintenance", "locked", "unknown")),
    _once(
        _shared("login_error_locked_attempts", ANEW, about="Login Error whose text mentions too many failed attempts.")
    ),
    *(
        _shared(f"server_failed_{name}", ANEW)
        for name in ("network", "disconnected", "passkey", "version", "paper_users")
    ),
    Flow(
        "server_failed_paper_users_known",
        "Connection to server failed: several paper users, in the words that the controller knows: exit 77.",
        (
            (
                *REFUSED,
                "message Gateway | Connection to server failed: User x has multiple Paper Trading users associated "
                "with it | OK",
                "idle",
            ),
        ),
        settings=PAPER,
    ),
    _once(
        _shared("server_failed_html", ANEW, about="Connection to server failed as HTML: recognised like the others.")
    ),
    Flow(
        "too_many_attempts_relogin",
        "Too many failed attempts, relogin on: the controller waits and logs in again.",
        (
            (
                *(*OPEN, *CONNECT),
                f"text  | {_TOO_MANY} | OK",
                *("await-login", *CONNECT, *LOAD, "idle"),
            ),
        ),
        ("retrying in", *READY),
        PAPER,
    ),
    _shared("too_many_attempts_no_relogin", about="Too many failed attempts, relogin off: exit 77."),
)

_RUNNING = (
    _shared("reconnect", (*READY, "'Connecting to server...'")),
    _shared("reconnect_attempts", (*READY, "'Attempt 3: ")),
    _shared(
        "reconnect_relogin",
        (*READY, "Re-login is required"),
        about="After a lost connection the gateway asks for a new login of the session; nobody answers.",
    ),
    _shared("reconnect_gives_up"),
    _shared("login_failed_in_session", (*READY, *ANEW, *READY)),
    Flow(
        "unrecognized_in_session",
        "Unrecognized Username or Password in a running session: exit 77.",
        ((*SESSION, UNRECOGNIZED, "idle"),),
        settings=PAPER,
    ),
    _shared("logoff"),
    _shared("crash_logged_in"),
    _shared("crash_at_login"),
    _shared("write_access", (*READY, "write access")),
)

_RESTARTS = (
    _shared("daily_restart", (*READY, "restart_expected", *READY)),
    _shared("daily_restart_unrecognized", about="Right credentials are refused after the daily restart: exit 77."),
    _shared(
        "daily_restart_relogin_stuck",
        about="After the daily restart the gateway asks for a new login of the session; nobody answers: exit 69.",
        limit=QUICK,
    ),
    Flow(
        "stale_autorestart",
        "An autorestart file of a former session: a first start ignores it and logs in.",
        ((*LOGIN, "idle"),),
        READY,
        PAPER,
        left_behind=FLOWS["stale_autorestart"].left_behind,
    ),
    Flow(
        "stale_autorestart_after_crash",
        "An autorestart file of a former session when the gateway dies: the form stays as it is, exit 69.",
        ((*SESSION, "crash 1"), (*FORM, "idle")),
        settings=QUICK,
        left_behind=FLOWS["stale_autorestart"].left_behind,
    ),
)

_SESSIONS = (
    _shared(
        "existing_session_manual_at_login", about="A person must choose the session; exit 69 at the limit.", limit=QUICK
    ),
    _shared("existing_session_secondary_at_login"),
    _shared("existing_session_primaryoverride_at_login", READY),
    _shared("existing_session_primary_at_login", READY),
    _shared("existing_session_primaryoverride_at_login_twice"),
    _shared("existing_session_manual_logged_in", (*READY, "leaving for the user")),
    _shared("existing_session_secondary_logged_in"),
    _shared("existing_session_primary_logged_in", (*READY, "primary, continuing")),
    _shared("existing_session_primaryoverride_logged_in"),
    Flow(
        "handoff",
        "Trading Login Handoff, which this controller does not know: exit 69 at the limit.",
        ((*OPEN, *CONNECT, "message Trading Login Handoff | Hand over? | Disconnect Other Session,Cancel", "idle"),),
        settings=QUICK,
    ),
)

_DIALOGS = (
    _shared("dialog_login_messages", (*READY, "Login Messages")),
    _shared(
        "dialog_login_messages_at_login",
        about="Login Messages is open before the login has completed: exit 69.",
        limit=QUICK,
    ),
    _shared("dialog_password_notice", (*READY, "Password Notice")),
    _shared("dialog_upgrade", about="The gateway must be upgraded: a dialog that no rule knows, exit 69.", limit=QUICK),
    _shared("dialog_no_title", about="A dialog without a title is open during the login: exit 69.", limit=QUICK),
    Flow(
        "dialog_non_brokerage",
        "The warning about a paper account, which a rule dismisses.",
        ((*OPEN, *CONNECT, _NON_BROKERAGE, "await-answer", *LOAD, "idle"),),
        ("dismissed non_brokerage_account", *READY),
        PAPER,
    ),
)

_CONFIGURATION = (
    Flow(
        "configuration_no_menu",
        "The main window has no menu entry for the settings.",
        ((*OPEN, "main-window without-settings", *CONNECT, *LOAD, "idle"),),
        READY,
        QUICK,
    ),
    _shared("configuration_no_read_only", READY),
    _shared("configuration_invalid_restart_time", READY),
    _shared("configuration_already_read_only", READY),
)

_ENDS = (
    _shared(
        "no_login_window",
        ("login frame never appeared -- relaunching", "LAUNCHING -> LOGGING_IN"),
        about="The login window does not open: the controller starts the gateway again, without limit.",
    ),
    _shared("invalid_trading_mode", about="The trading mode is unknown: exit 78."),
    _shared(
        "invalid_cold_restart_time", (*READY, "invalid cold_restart_time"), about="The cold restart's hour is ignored."
    ),
    _shared(
        "no_program",
        ("login frame never appeared -- relaunching", "LAUNCHING -> LOGGING_IN"),
        replace(PAPER, login_window_seconds=2),
        about="The gateway's classes are missing: taken for a login window that does not open.",
    ),
    _shared("no_java", about="There is no Java in the image: exit 78."),
    _shared("jts_ini_unusable", about="The gateway's settings file is a directory: exit 1."),
    Flow(
        "no_installation",
        "There is no gateway in the image: exit 78.",
        (("idle",),),
        settings=_with(IBC_TWS_PATH="/none"),
    ),
    Flow(
        "password_file_missing",
        "The password's file is missing: exit 78.",
        (("idle",),),
        settings=_with(IBC_PASSWORD_FILE="{folder}/missing"),  # noqa: S106
    ),
    Flow(
        "empty_file_variable",
        "A variable for a file is set to nothing, which is not the same as not set: exit 78.",
        (("idle",),),
        settings=_with(IBC_PASSWORD_FILE="", IBC_PASSWORD="testpassword"),  # noqa: S106
    ),
    Flow(
        "empty_variables",
        "Other variables that are set to nothing are the same as not set.",
        ((*LOGIN, "idle"),),
        READY,
        _with(IBC_READ_ONLY_API="", IBC_COLD_RESTART_TIME="", IBC_JAVA_HEAP_SIZE=""),
    ),
    Flow(
        "login_form_unknown",
        "The login window has another form: a control is missing, exit 69.",
        (("frame IBKR Gateway | Choose an account | OK", "idle"),),
        settings=PAPER,
    ),
    Flow(
        "heap_without_unit",
        "The heap's size has no unit: the JVM does not start, exit 69.",
        (("idle",),),
        settings=_with(IBC_JAVA_HEAP_SIZE="768"),
    ),
    Flow(
        "run_directory_unusable",
        "The directory for the sockets cannot be created: exit 1.",
        (("idle",),),
        settings=_with(IBC_APP_DIR="{folder}/script"),
    ),
    _stopped("stop_at_start", "LAUNCHING -> LOGGING_IN"),
    _stopped("stop_at_login", "'Connecting to server...'"),
    _stopped("stop_at_twofa", "'Second Factor Authentication'"),
    _stopped("stop_running", READY[1]),
)

IBCONTROLLER_FLOWS = {
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
