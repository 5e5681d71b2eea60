"""What is right to conclude in each flow of py-ib-controller, and when; conformance/expected.py has the form."""

from __future__ import annotations

from conformance.expected import Row

__all__ = ["IBCONTROLLER"]

WINDOW = ("'IBKR Gateway'$", "logging_in", None)
ATTEMPT = ("credentials submitted", "logging_in", None)
COMPLETED = ("login: IBController > login completed$", "logged_in", None)
CONFIGURED = ("APPLYING_SETTINGS -> READY", "ready", None)
IN = (WINDOW, ATTEMPT, COMPLETED, CONFIGURED)
PUSH = ("second factor authentication in progress", "awaiting_2fa", None)
NO_2FA = "^error: login did not complete within .*, no 2FA dialog seen"
NO_APPROVAL = "^error: login did not complete within .* of the 2FA dialog appearing"
# The controller starts again by itself; the cause remains until a login has completed.
MISSED = ("mfa_timeout_action=restart -- relaunching", "restarting", "twofa_missed")
SLOW = ("mfa_timeout_action=restart -- relaunching", "restarting", "twofa_slow_login")


def _again(cause: str) -> tuple[tuple[str, str, str | None], ...]:
    """The second login after a failure, its push included."""
    return (("credentials submitted", "logging_in", cause), ("second factor", "awaiting_2fa", cause))


def _prevented(line: str, cause: str, *, limit: int | None, state: str = "failed") -> Row:
    """A refusal after which the controller would log in again at once: the supervisor restarts it with a pause."""
    return Row((ATTEMPT, (line, state, cause)), ("restart", cause), ("starting", cause), limit=limit)


def _exited(line: str, cause: str) -> Row:
    """The controller ends by itself; systemd starts it again with a pause."""
    return Row(((line, "failed", cause),), ("exited", cause))


def _final(line: str, cause: str) -> Row:
    """Nothing improves before a person acts."""
    return Row(((line, "failed", cause),), ("stop", cause))


LOGINS = {
    "login_paper": Row(IN),
    "login_no_user": _final("^error: credentials not found", "empty_credentials"),
    "login_no_password": _final("^error: credentials not found", "empty_credentials"),
}

SECOND_FACTOR = {
    "twofa_approved": Row((WINDOW, ATTEMPT, PUSH, COMPLETED, CONFIGURED)),
    "twofa_approved_no_relogin": Row((WINDOW, ATTEMPT, PUSH, COMPLETED, CONFIGURED)),
    "twofa_waits": Row((ATTEMPT, PUSH), silence=("awaiting_2fa", None)),
    "twofa_missed_restart": Row((ATTEMPT, PUSH, MISSED, *_again("twofa_missed"), COMPLETED, CONFIGURED)),
    "twofa_missed_no_relogin": Row((ATTEMPT, PUSH, MISSED, *_again("twofa_missed"), COMPLETED, CONFIGURED)),
    "twofa_missed_exit": Row((PUSH, (NO_APPROVAL, "failed", "twofa_missed")), ("exited", "twofa_missed")),
    "twofa_missed_closed_exit": Row((PUSH, (NO_APPROVAL, "failed", "twofa_missed")), ("exited", "twofa_missed")),
    "twofa_flicker": Row((ATTEMPT, PUSH, SLOW, *_again("twofa_slow_login"), COMPLETED, CONFIGURED)),
    "twofa_flicker_second_dialog": Row((ATTEMPT, PUSH, COMPLETED, CONFIGURED)),
    "twofa_slow_login": Row((ATTEMPT, PUSH, SLOW, *_again("twofa_slow_login"))),
    "twofa_slow_login_exit": Row(
        (PUSH, ("^error: .* of second factor authentication completing", "failed", "twofa_slow_login")),
        ("exited", "twofa_slow_login"),
    ),
    "twofa_device_list": Row((PUSH, (NO_APPROVAL, "failed", "twofa_missed")), ("exited", "twofa_missed")),
    "twofa_code": Row((ATTEMPT, PUSH), silence=("awaiting_2fa", None)),
    "twofa_code_exit": Row((PUSH, (NO_APPROVAL, "failed", "twofa_missed")), ("exited", "twofa_missed")),
}

REFUSALS = {
    # Exit code 77, which the controller means as "do not retry": once is tried again, the second one opens the breaker.
    "unrecognized_password": Row(
        (ATTEMPT, ("login rejected", "failed", "bad_credentials")), ("exited", "bad_credentials"), limit=2
    ),
    "login_failed_disconnected": Row(
        (ATTEMPT, ("login failed -- transient", "failed", "login_failed"), COMPLETED, CONFIGURED),
        ("restart", "login_failed"),
        limit=5,
    ),
    "login_failed_three_times": _prevented("login failed -- transient", "login_failed", limit=5),
    "login_error_disconnected": _prevented("cycle aborted", "maintenance", limit=None),
    "login_error_maintenance": _prevented("cycle aborted", "maintenance", limit=None),
    "login_error_locked": Row(
        (ATTEMPT, ("cycle aborted", "failed", "account_locked")),
        ("stop", "account_locked"),
        ("starting", "account_locked"),
    ),
    "login_error_unknown": _prevented("cycle aborted", "login_error", limit=5),
    "login_error_locked_attempts": Row(
        (ATTEMPT, ("cycle aborted", "failed", "account_locked")), ("stop", "account_locked")
    ),
    # The controller's own next try is enough.
    "server_failed_network": Row(
        (ATTEMPT, ("cycle aborted", "restarting", "server_down")), silence=("starting", "server_down")
    ),
    "server_failed_disconnected": _prevented("cycle aborted", "maintenance", limit=None, state="restarting"),
    "server_failed_passkey": _prevented("cycle aborted", "passkey_required", limit=2, state="restarting"),
    "server_failed_version": _prevented("cycle aborted", "version_unsupported", limit=2, state="restarting"),
    "server_failed_paper_users": _prevented("cycle aborted", "several_paper_users", limit=2, state="restarting"),
    "server_failed_paper_users_known": Row(
        (ATTEMPT, ("cycle aborted", "restarting", "several_paper_users")), ("restart", "several_paper_users"), limit=2
    ),
    "server_failed_html": _prevented("cycle aborted", "passkey_required", limit=2, state="restarting"),
    "too_many_attempts_relogin": Row(
        (
            *(ATTEMPT, ("retrying in", "relogin_wait", "relogin_later")),
            *(("credentials submitted", "logging_in", "relogin_later"), COMPLETED, CONFIGURED),
        )
    ),
    # Exit code 77 without a refused password.
    "too_many_attempts_no_relogin": Row(
        (ATTEMPT, ("relogin disabled, stopping", "failed", "rate_limited")), ("restart", "rate_limited")
    ),
}

RUNNING = {
    # That the window closes is not in the log, so the state is the API's to report.
    "reconnect": Row((*IN, ("'Connecting to server...'", "ready", None))),
    "reconnect_attempts": Row((*IN, ("'Attempt 3: ", "ready", None))),
    "reconnect_relogin": Row(
        (*IN, ("Re-login is required", "restarting", None)), ("restart", "token_refused"), ("failed", "token_refused")
    ),
    "reconnect_gives_up": Row((*IN, ("'Shutdown progress'", "restarting", None)), ("logged off", None)),
    "login_failed_in_session": Row(
        (*IN, ("login failed -- transient", "failed", "login_failed"), COMPLETED, CONFIGURED),
        ("restart", "login_failed"),
    ),
    "unrecognized_in_session": Row(
        (*IN, ("login rejected", "failed", "bad_credentials")), ("exited", "bad_credentials")
    ),
    "logoff": Row((*IN, ("'Shutdown progress'", "restarting", None)), ("logged off", None)),
    "crash_logged_in": Row((*IN, ("returncode=1", "restarting", "gateway_ended")), ("exited", "gateway_ended")),
    "crash_at_login": Row(
        (ATTEMPT, ("PROCESS_EXITED during", "restarting", "gateway_ended")), ("exited", "gateway_ended")
    ),
    "write_access": Row((*IN, ("write access", "ready", None)), warnings=("write_access_blocked",)),
}

KEPT = ("skipping credential fill", "restarting", None)
RESTARTS = {
    "daily_restart": Row((*IN, ("'Restart in progress'", "restarting", None), KEPT, COMPLETED, CONFIGURED)),
    # Exit code 77 although the credentials are right: one full login, without a count.
    "daily_restart_unrecognized": Row(
        (*IN, KEPT, ("login rejected", "failed", "token_refused")), ("exited", "token_refused")
    ),
    "daily_restart_relogin_stuck": Row(
        (*IN, KEPT, ("Re-login is required", "restarting", None), (NO_2FA, "failed", "token_refused")),
        ("exited", "token_refused"),
    ),
    "stale_autorestart": Row(IN),
    "stale_autorestart_after_crash": Row(
        (*IN, ("returncode=1", "restarting", "gateway_ended"), (NO_2FA, "failed", "token_refused")),
        ("exited", "token_refused"),
    ),
}

SESSIONS = {
    "existing_session_manual_at_login": _final("leaving for the user", "existing_session"),
    "existing_session_secondary_at_login": _exited("secondary, ending", "session_yielded"),
    "existing_session_primaryoverride_at_login": Row((ATTEMPT, ("first attempt", "logging_in", None), *IN[2:])),
    "existing_session_primary_at_login": Row((ATTEMPT, ("first attempt", "logging_in", None), *IN[2:])),
    "existing_session_primaryoverride_at_login_twice": _exited("second attempt, ending", "session_yielded"),
    "existing_session_manual_logged_in": Row(
        (*IN, ("leaving for the user", "failed", "existing_session")), ("stop", "existing_session")
    ),
    "existing_session_secondary_logged_in": _exited("secondary, ending", "session_yielded"),
    "existing_session_primary_logged_in": Row((*IN, ("primary, continuing", "ready", None))),
    "existing_session_primaryoverride_logged_in": _exited("primaryoverride, ending", "session_yielded"),
    # With the limits of a deployment the dialog is reported after 20 s, long before the controller gives up.
    "handoff": Row(
        (ATTEMPT, ("'Trading Login Handoff'", "logging_in", None), (NO_2FA, "failed", "login_hung")),
        ("exited", "login_hung"),
    ),
}

DIALOGS = {
    "dialog_login_messages": Row((*IN, ("'Login Messages'", "ready", None)), warnings=("unknown_dialog",)),
    "dialog_login_messages_at_login": _exited(NO_2FA, "login_hung"),
    "dialog_password_notice": Row((*IN, ("'Password Notice'", "ready", None)), warnings=("unknown_dialog",)),
    "dialog_upgrade": _exited(NO_2FA, "login_hung"),
    "dialog_no_title": _exited(NO_2FA, "login_hung"),
    "dialog_non_brokerage": Row((ATTEMPT, ("dismissed non_brokerage_account", "logging_in", None), *IN[2:])),
}

CONFIGURATION = {
    "configuration_no_menu": Row(
        (COMPLETED, ("READY", "failed", "not_configured")), ("restart", "not_configured"), limit=2
    ),
    "configuration_no_read_only": Row(
        (COMPLETED, ("READY", "failed", "not_configured")), ("restart", "not_configured"), limit=2
    ),
    "configuration_invalid_restart_time": Row(
        (COMPLETED, ("READY", "failed", "not_configured")), ("restart", "not_configured"), limit=2
    ),
    "configuration_already_read_only": Row(IN),
}

ENDS = {
    "no_login_window": Row(
        (("never appeared -- relaunching", "restarting", "no_login_window"),), silence=("starting", "no_login_window")
    ),
    "no_program": Row((("never appeared -- relaunching", "restarting", "no_login_window"),)),
    "invalid_trading_mode": _final("^error: Could not convert value 'demo'", "controller_misconfigured"),
    "invalid_cold_restart_time": Row((*IN, ("invalid cold_restart_time", "ready", None))),
    "no_java": _final("^error: no bundled java executable", "bad_image"),
    "no_installation": _final("^error: no gateway installation", "bad_image"),
    "jts_ini_unusable": Row((), ("exited", "controller_error")),
    "run_directory_unusable": Row((), ("exited", "controller_error")),
    "password_file_missing": _final("^error: IBC_PASSWORD_FILE=", "controller_misconfigured"),
    "empty_file_variable": _final("^error: IBC_PASSWORD_FILE=", "controller_misconfigured"),
    "empty_variables": Row(IN),
    "login_form_unknown": _exited("^error: no component with accessible name", "control_missing"),
    "heap_without_unit": _exited("^error: agent process exited", "gateway_not_started"),
    "stop_at_start": Row((), ("stopped", None)),
    "stop_at_login": Row((ATTEMPT,), ("stopped", None)),
    "stop_at_twofa": Row((ATTEMPT, PUSH), ("stopped", None)),
    "stop_running": Row(IN, ("stopped", None)),
}

IBCONTROLLER = {
    **LOGINS,
    **SECOND_FACTOR,
    **REFUSALS,
    **RUNNING,
    **RESTARTS,
    **SESSIONS,
    **DIALOGS,
    **CONFIGURATION,
    **ENDS,
}
