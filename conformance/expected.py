"""What is right to conclude in each flow, and when.

A row: the flow; what is to be seen after certain lines (regular expression, in order: state, cause); what is to be seen
after a long silence, if that differs from the last line's; what the supervisor does.

States and causes are those of `gateway_watch`. A cause is a failure that is not yet overcome, so it can accompany a
state in which the gateway tries again.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["IBC", "Row"]

GOES_ON = ("goes on", None)


@dataclass(frozen=True)
class Row:
    """What is right in one flow.

    `lines`: (pattern, state, cause) in order. `silence`: (state, cause) after 15 minutes without a line. `outcome`:
    (what, cause) as in `tests/conformance/judge.py`. `warnings`: causes that do not stop the login. `limit`: how many
    runs in a row that end in the same way lead to a stop; None if none does.
    """

    lines: tuple[tuple[str, str, str | None], ...]
    outcome: tuple[str, str | None] = GOES_ON
    silence: tuple[str, str | None] | None = None
    warnings: tuple[str, ...] = ()
    limit: int | None = None


ATTEMPT = ("Login attempt", "logging_in", None)
COMPLETED = ("Login has completed$", "logged_in", None)
CONFIGURED = ("Configuration tasks completed", "ready", None)
IN = (ATTEMPT, COMPLETED, CONFIGURED)
PUSH = ("Second Factor Authentication initiated", "awaiting_2fa", None)
# Events of other windows come right after the push; they do not end the wait.
PUSH_WAITS = ("Authenticating...; event=Deactivated", "awaiting_2fa", None)
PUSH_CLOSED = ("Second Factor Authentication; event=Closed", "logging_in", None)
APPROVED = (ATTEMPT, PUSH, PUSH_CLOSED, COMPLETED, CONFIGURED)


def _refused(line: str, cause: str, *, limit: int | None = None, state: str = "failed") -> Row:
    """A refusal after which the supervisor restarts the gateway with a pause, before the controller tries again."""
    return Row((ATTEMPT, (line, state, cause)), ("restart", cause), (state, cause), limit=limit)


def _final(line: str, cause: str) -> Row:
    """Nothing improves before a person acts."""
    return Row(((line, "failed", cause),), ("stop", cause))


LOGINS = {
    "login_paper": Row(IN),
    "login_configured_first": Row((ATTEMPT, ("Configuration tasks", "logging_in", None), ("Login has", "ready", None))),
    "login_no_user": Row(
        (("Setting password", "logging_in", None),), ("stop", "empty_credentials"), ("failed", "empty_credentials")
    ),
    "login_no_password": Row(
        (("Setting password", "logging_in", None),), ("stop", "empty_credentials"), ("failed", "empty_credentials")
    ),
}

SECOND_FACTOR = {
    "twofa_approved": Row((ATTEMPT, PUSH, PUSH_WAITS, PUSH_CLOSED, COMPLETED, CONFIGURED)),
    "twofa_approved_no_relogin": Row(APPROVED),
    # Approvals 248 s and 886 s after the request were reported.
    "twofa_waits": Row((ATTEMPT, PUSH, PUSH_WAITS), silence=("awaiting_2fa", None)),
    "twofa_missed_relogin": Row(
        (
            *(ATTEMPT, PUSH, ("Re-login after", "relogin_wait", "twofa_missed")),
            *(("Login attempt: 2", "logging_in", "twofa_missed"), ("initiated", "awaiting_2fa", "twofa_missed")),
            *(COMPLETED, CONFIGURED),
        )
    ),
    # The controller does nothing more. But the dialog may have been approved late: then the login goes on.
    "twofa_missed_no_relogin": Row(
        (ATTEMPT, PUSH, ("not required", "failed", "twofa_missed")), ("restart", "twofa_missed")
    ),
    "twofa_late_relogin": Row(
        (ATTEMPT, PUSH, ("Re-login after", "relogin_wait", "twofa_missed"), COMPLETED, CONFIGURED)
    ),
    "twofa_late_no_relogin": Row((ATTEMPT, PUSH, ("not required", "failed", "twofa_missed"), COMPLETED, CONFIGURED)),
    "twofa_flicker": Row(
        (
            *(ATTEMPT, PUSH, PUSH_CLOSED, ("because login has not completed", "restarting", "twofa_slow_login")),
            *(("exit code=1111", "restarting", "twofa_slow_login"), ("initiated", "awaiting_2fa", "twofa_slow_login")),
            *(COMPLETED, CONFIGURED),
        )
    ),
    "twofa_flicker_second_dialog": Row((ATTEMPT, PUSH, PUSH_CLOSED, PUSH_CLOSED, COMPLETED, CONFIGURED)),
    "twofa_slow_login": Row(
        (
            *(ATTEMPT, PUSH, PUSH_CLOSED, ("because login has not completed", "restarting", "twofa_slow_login")),
            ("initiated", "awaiting_2fa", "twofa_slow_login"),
        ),
    ),
    "twofa_slow_login_exit": Row(
        (ATTEMPT, PUSH, PUSH_CLOSED, ("because login has not completed", "restarting", "twofa_slow_login")),
        ("exited", "twofa_slow_login"),
    ),
    "twofa_device_list": Row(
        (ATTEMPT, ("Selected second factor device: IB Key", "logging_in", None), PUSH, COMPLETED, CONFIGURED)
    ),
    "twofa_device_list_same_dialog": Row((ATTEMPT, COMPLETED, CONFIGURED)),
    "twofa_device_list_timer": Row(
        (
            *(ATTEMPT, PUSH, ("because login has not completed", "restarting", "twofa_slow_login")),
            ("initiated", "awaiting_2fa", "twofa_slow_login"),
        ),
    ),
    "twofa_device_unset": _final("You should specify", "twofa_device_unset"),
    "twofa_device_unknown": _final("could not find second factor device", "twofa_device_unknown"),
    "twofa_no_device_list": Row(
        (ATTEMPT, ("exit code=1101", "failed", "control_missing")), ("exited", "control_missing")
    ),
    "twofa_code": Row((ATTEMPT, PUSH), silence=("awaiting_2fa", None)),
}

REFUSALS = {
    "unrecognized_password": _refused("Unrecognized", "bad_credentials", limit=2),
    # The dialog's text is not in the log; it is not the rejection of a password.
    "login_failed_disconnected": Row(
        (ATTEMPT, ("Cold restart in progress", "restarting", "login_failed"), COMPLETED, CONFIGURED),
        ("restart", "login_failed"),
        limit=5,
    ),
    "login_failed_three_times": Row(
        (ATTEMPT, ("Cold restart in progress", "restarting", "login_failed")), ("restart", "login_failed"), limit=5
    ),
    "login_error_disconnected": Row(
        (ATTEMPT, ("Cold restart in progress", "restarting", "maintenance")), ("restart", "maintenance")
    ),
    "login_error_maintenance": Row(
        (ATTEMPT, ("Cold restart in progress", "restarting", "maintenance")), ("restart", "maintenance")
    ),
    "login_error_locked": Row(
        (ATTEMPT, ("Cold restart in progress", "restarting", "account_locked")), ("stop", "account_locked")
    ),
    # The controller takes it for the request to wait, and logs in again after 3 s.
    "login_error_locked_attempts": Row(
        (ATTEMPT, ("has been locked", "failed", "account_locked")), ("stop", "account_locked")
    ),
    "login_error_unknown": Row(
        (ATTEMPT, ("Cold restart in progress", "restarting", "login_error")), ("restart", "login_error"), limit=5
    ),
    "server_failed_network": Row(
        (ATTEMPT, ("Cold restart in progress", "restarting", "server_down")),
    ),
    "server_failed_disconnected": Row(
        (ATTEMPT, ("Cold restart in progress", "restarting", "maintenance")), ("restart", "maintenance")
    ),
    "server_failed_passkey": Row(
        (ATTEMPT, ("Cold restart in progress", "restarting", "passkey_required")),
        ("restart", "passkey_required"),
        limit=2,
    ),
    "server_failed_version": Row(
        (ATTEMPT, ("Cold restart in progress", "restarting", "version_unsupported")),
        ("restart", "version_unsupported"),
        limit=2,
    ),
    "server_failed_paper_users": Row(
        (ATTEMPT, ("Cold restart in progress", "restarting", "several_paper_users")),
        ("restart", "several_paper_users"),
        limit=2,
    ),
    "server_failed_html": Row((ATTEMPT,), ("restart", "passkey_required"), ("failed", "passkey_required"), limit=2),
    "too_many_attempts_relogin": Row(
        (
            *(ATTEMPT, ("Will re-login at", "relogin_wait", "rate_limited")),
            *(("Login attempt: 2", "logging_in", "rate_limited"), COMPLETED, CONFIGURED),
        )
    ),
    "too_many_attempts_no_relogin": Row(
        (ATTEMPT, ("Please wait", "relogin_wait", "rate_limited")),
        ("restart", "rate_limited"),
        ("failed", "rate_limited"),
    ),
}

LOST = ("Connecting to server...; event=Opened", "link_lost", None)

RUNNING = {
    "reconnect": Row(
        (*IN, LOST, ("Starting application...; event=Closed", "link_lost", None)), silence=("ready", None)
    ),
    "reconnect_attempts": Row(
        (
            *(*IN, LOST, ("Attempt 7: Authenticating...; event=Opened", "link_lost", None)),
            *(("Attempt 3: ", "link_lost", None), ("Attempt 3: ", "link_lost", None)),
        ),
        silence=("ready", None),
    ),
    "reconnect_relogin": Row(
        (*IN, LOST, ("Re-login to session", "restarting", None), COMPLETED), silence=("ready", None)
    ),
    "reconnect_relogin_failed": Row(
        (*IN, LOST, ("Cold restart in progress", "restarting", "login_failed"), COMPLETED, CONFIGURED),
        ("restart", "login_failed"),
    ),
    "reconnect_gives_up": Row((*IN, LOST, ("Shutdown progress", "restarting", None)), ("logged off", None)),
    "login_failed_in_session": Row(
        (*IN, ("Cold restart in progress", "restarting", "login_failed"), COMPLETED, CONFIGURED),
        ("restart", "login_failed"),
    ),
    "logoff": Row((*IN, ("Shutdown progress", "restarting", None)), ("logged off", None)),
    "crash_logged_in": Row((*IN, ("exit status 1", "restarting", None)), ("exited", "exited")),
    "crash_at_login": Row((ATTEMPT, ("exit status 1", "restarting", None)), ("exited", "exited")),
    "write_access": Row(IN, silence=("ready", None), warnings=("write_access_blocked",)),
}

KEPT = ("Re-starting session", "restarting", None)

RESTARTS = {
    "daily_restart": Row((*IN, ("Restart in progress; event=Opened", "restarting", None), KEPT, COMPLETED, CONFIGURED)),
    "command_restart": Row(
        (*IN, ("Restart in progress; event=Opened", "restarting", None), KEPT, COMPLETED, CONFIGURED)
    ),
    "command_pause": Row((*IN, ("Restart in progress; event=Opened", "restarting", None)), ("logged off", None)),
    "command_invalid": Row((*IN, ("invalid command received", "ready", None))),
    # Right credentials: a full login succeeds.
    "daily_restart_unrecognized": Row(
        (*IN, KEPT, ("Unrecognized", "failed", "token_refused")), ("restart", "token_refused")
    ),
    "daily_restart_relogin": Row(
        (*IN, KEPT, ("Re-login to session", "restarting", None), COMPLETED, CONFIGURED),
    ),
    "daily_restart_relogin_unrecognized": Row(
        (*IN, KEPT, ("Re-login to session", "restarting", None), ("Unrecognized", "failed", "token_refused")),
        ("restart", "token_refused"),
    ),
    "daily_restart_relogin_stuck": Row(
        (*IN, KEPT, ("Re-login to session", "restarting", None)),
        ("restart", "token_refused"),
        ("failed", "token_refused"),
    ),
    "stale_autorestart": Row((KEPT,), ("restart", "stale_autorestart"), ("failed", "stale_autorestart")),
}

MANUAL = ("scenario 1", "failed", "existing_session")
TAKEN_OVER = ("scenario 3", "logging_in", None)
YIELDED = ("exited", "session_yielded")

SESSIONS = {
    "existing_session_manual_at_login": Row((ATTEMPT, MANUAL), ("stop", "existing_session")),
    "existing_session_secondary_at_login": Row((ATTEMPT, ("scenario 2", "failed", "session_yielded")), YIELDED),
    "existing_session_primaryoverride_at_login": Row((ATTEMPT, TAKEN_OVER, COMPLETED, CONFIGURED)),
    "existing_session_primary_at_login": Row((ATTEMPT, TAKEN_OVER, COMPLETED, CONFIGURED)),
    # It exits 1100, because its settings were not done; the cause is that it gave way.
    "existing_session_primaryoverride_at_login_twice": Row(
        (ATTEMPT, TAKEN_OVER, ("scenario 4", "failed", "session_yielded")), YIELDED
    ),
    "existing_session_manual_logged_in": Row((*IN, MANUAL), ("stop", "existing_session")),
    "existing_session_secondary_logged_in": Row((*IN, ("scenario 2", "failed", "session_yielded")), YIELDED),
    "existing_session_primary_logged_in": Row((*IN, ("scenario 5", "ready", None))),
    "existing_session_primaryoverride_logged_in": Row((*IN, ("scenario 6", "failed", "session_yielded")), YIELDED),
    "handoff_primaryoverride": Row(
        (ATTEMPT, TAKEN_OVER, PUSH, ("Handoff dialog; error", "failed", "login_handoff")), ("stop", "login_handoff")
    ),
    "handoff_primary": Row(
        (*(ATTEMPT, TAKEN_OVER, PUSH), ("Disconnect Other", "logging_in", None), COMPLETED, CONFIGURED)
    ),
    "handoff_manual": Row((ATTEMPT, PUSH), ("stop", "login_handoff"), ("failed", "login_handoff")),
}

BLOCKED = ("blocked", "unknown_dialog")

DIALOGS = {
    "dialog_login_messages": Row((*IN, ("Login Messages", "ready", None)), silence=BLOCKED),
    "dialog_login_messages_at_login": Row((ATTEMPT, ("Login Messages", "logging_in", None)), silence=BLOCKED),
    "dialog_password_notice": Row((*IN, ("Password Notice", "ready", None)), silence=BLOCKED),
    "dialog_password_notice_dismissed": Row((*IN, ("Password Notice; event=Closed", "ready", None))),
    "dialog_upgrade": Row((ATTEMPT, ("needs to be upgraded", "logging_in", None)), silence=BLOCKED),
    "dialog_gateway": Row((ATTEMPT, ("Download the new version", "logging_in", None)), silence=BLOCKED),
    "dialog_no_title": Row((ATTEMPT, ("no title", "logging_in", None)), silence=BLOCKED),
}

NOT_CONFIGURED = ("restart", "not_configured")

CONFIGURATION = {
    "configuration_no_menu": Row((ATTEMPT, ("exit code=1100", "failed", "not_configured")), NOT_CONFIGURED, limit=2),
    "configuration_no_read_only": Row(
        (ATTEMPT, COMPLETED, ("Configuration tasks completed", "failed", "not_configured")), NOT_CONFIGURED, limit=2
    ),
    "configuration_interrupted": Row(
        (ATTEMPT, COMPLETED, ("exit code=1100", "failed", "controller_error")), ("exited", "controller_error"), limit=5
    ),
    "configuration_invalid_restart_time": Row(
        (ATTEMPT, COMPLETED, ("Configuration tasks completed", "failed", "not_configured")), NOT_CONFIGURED, limit=2
    ),
    "configuration_already_read_only": Row(IN),
}

STOPPED = ("stopped", None)

ENDS = {
    "no_login_window": Row(
        (("failed to display", "failed", "no_login_window"), ("will restart shortly", "restarting", "no_login_window"))
    ),
    "invalid_trading_mode": Row(
        (("exit code=1104", "failed", "controller_misconfigured"),), ("exited", "controller_misconfigured"), limit=2
    ),
    "invalid_cold_restart_time": Row(
        (("exit code=1105", "failed", "controller_misconfigured"),), ("exited", "controller_misconfigured"), limit=2
    ),
    "no_program": Row(
        (("exit code=1107", "failed", "gateway_entry_missing"),), ("exited", "gateway_entry_missing"), limit=2
    ),
    "no_java": Row((("suitable Java", "failed", "bad_image"),), ("stop", "bad_image")),
    "jts_ini_unusable": Row(
        (("exit code=1108", "failed", "settings_unwritable"),), ("exited", "settings_unwritable"), limit=3
    ),
    "stop_at_start": Row((("exit status 143", "restarting", None),), STOPPED),
    "stop_at_login": Row((ATTEMPT, ("exit status 143", "restarting", None)), STOPPED),
    "stop_at_twofa": Row((ATTEMPT, PUSH, ("exit status 143", "restarting", None)), STOPPED),
    "stop_running": Row((*IN, ("exit status 143", "restarting", None)), STOPPED),
    "stop_display_first": Row(IN, STOPPED),
}

IBC: dict[str, Row] = LOGINS | SECOND_FACTOR | REFUSALS | RUNNING | RESTARTS | SESSIONS | DIALOGS | CONFIGURATION | ENDS
