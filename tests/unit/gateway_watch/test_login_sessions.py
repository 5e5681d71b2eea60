"""What happens around a login, as the real controller's lines show it: windows, texts, links, kept sessions.

The lines are those that IBC 3.24.1 and 3.25.0 print; the conformance tests run the controllers themselves.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from tests.unit.gateway_watch.test_login import CONFIGURED, LOADED, LOGIN, TWOFA, stamped, tracker_after

from gateway_watch.login import LoginState, LoginTracker, replay

READY = [*LOGIN, *LOADED, *CONFIGURED]
KEPT = [
    "IBC returned exit status 0",
    "autorestart file found at /settings/x/autorestart: authentication will not be required",
    "Re-starting session",
    "Login dialog WINDOW_OPENED: LoginState is LOGGED_OUT",
]


LAST_TRY = "Attempt 3: Authenticating (trying for another 60 seconds)..."


def frame(title: str, event: str = "Opened") -> str:
    return f"detected frame entitled: {title}; event={event}"


def dialog(title: str, event: str = "Opened") -> str:
    return f"detected dialog entitled: {title}; event={event}"


def ready() -> tuple[LoginTracker, datetime]:
    tracker, last = tracker_after(READY)
    assert tracker.snapshot(last).state is LoginState.READY
    return tracker, last


def state_after(tracker: LoginTracker, last: datetime, *lines: str) -> tuple[LoginState, datetime]:
    replay(tracker, stamped(lines, last + timedelta(seconds=1)))
    now = last + timedelta(seconds=len(lines))
    return tracker.snapshot(now).state, now


# --- the link to IBKR ---------------------------------------------------------------------------------------


def test_a_gateway_that_reconnects_has_lost_its_link_and_is_not_logging_in() -> None:
    tracker, last = ready()

    state, now = state_after(
        tracker,
        last,
        frame("Connecting to server..."),
        frame("Connecting to server...", "Lost focus"),
        frame("Attempt 7: Authenticating...", "Activated"),
        frame("Attempt 3: Authenticating (trying for another 27 seconds)...", "Focused"),
    )

    assert state is LoginState.LINK_LOST
    assert tracker.snapshot(now).cause is None
    # However long it takes: silence has no meaning while the gateway tries.
    assert tracker.deadline() is None
    assert tracker.snapshot(now + timedelta(hours=5)).state is LoginState.LINK_LOST


def test_the_link_is_back_when_the_last_splash_window_has_closed() -> None:
    tracker, last = ready()
    _, now = state_after(
        tracker,
        last,
        frame("Connecting to server..."),
        frame("Authenticating..."),
        frame("Connecting to server...", "Closed"),
    )
    assert tracker.after(now + timedelta(minutes=5)) == []

    _, now = state_after(tracker, now, frame("Starting application...", "Closed"))
    (change,) = tracker.after(now + timedelta(seconds=2))

    assert (change.state, change.text) == (LoginState.READY, "connected to IBKR again")


def test_each_attempt_has_a_window_of_its_own_and_the_outage_goes_on() -> None:
    tracker, last = ready()
    titles = ["Connecting to server...", "Attempt 1: Authenticating...", LAST_TRY]
    now = last
    for before, after in zip([None, *titles[:-1]], titles, strict=True):
        lines = [frame(after), *([frame(before, "Closed")] if before else [])]
        state, now = state_after(tracker, now, *lines)
        assert (state, tracker.after(now + timedelta(minutes=1))) == (LoginState.LINK_LOST, [])
    _, now = state_after(tracker, now, frame(LAST_TRY, "Closed"))
    assert [change.state for change in tracker.after(now + timedelta(seconds=2))] == [LoginState.READY]


def test_a_closed_window_is_no_link_while_the_api_reports_none() -> None:
    tracker, last = ready()
    _, now = state_after(tracker, last, frame("Connecting to server..."))
    assert tracker.link(now, connected=False) == []
    state, now = state_after(tracker, now, frame("Connecting to server...", "Closed"))
    assert (state, tracker.after(now + timedelta(hours=1))) == (LoginState.LINK_LOST, [])
    assert [change.state for change in tracker.link(now, connected=True)] == [LoginState.READY]


def test_a_link_that_nobody_reports_any_more_is_judged_by_the_windows() -> None:
    tracker, last = ready()
    tracker.link(last, connected=False)
    assert tracker.link(last, connected=None) == []
    assert [change.state for change in tracker.after(last + timedelta(seconds=2))] == [LoginState.READY]


def test_a_window_that_closes_and_opens_again_is_one_outage() -> None:
    tracker, last = ready()
    _, now = state_after(tracker, last, frame("Connecting to server..."), frame("Connecting to server...", "Closed"))

    state, now = state_after(tracker, now, frame("Connecting to server..."))

    assert state is LoginState.LINK_LOST
    assert tracker.after(now + timedelta(minutes=5)) == []


@pytest.mark.parametrize("event", ["Lost focus", "Deactivated", "Closed", "State changed"])
def test_what_ends_a_splash_window_is_no_lost_link(event: str) -> None:
    tracker, last = ready()
    assert state_after(tracker, last, frame("Connecting to server...", event))[0] is LoginState.READY


def test_the_api_reports_the_link_as_well() -> None:
    tracker, last = ready()

    (lost,) = tracker.link(last, connected=False)
    assert (lost.state, tracker.link(last, connected=False)) == (LoginState.LINK_LOST, [])
    (back,) = tracker.link(last + timedelta(minutes=3), connected=True)

    assert back.state is LoginState.READY
    assert tracker.link(last, connected=True) == []


def test_a_login_is_not_ready_because_the_api_reports_a_link() -> None:
    tracker, last = tracker_after(LOGIN)
    assert tracker.link(last, connected=True) == []
    assert tracker.snapshot(last).state is LoginState.LOGGING_IN


# --- the second factor --------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", ["Lost focus", "Deactivated", "Activated", "Focused", "Opened"])
@pytest.mark.parametrize("title", ["Authenticating...", "Connecting to server...", "Attempt 2: Authenticating..."])
def test_no_event_of_a_splash_window_ends_the_wait_for_an_approval(title: str, event: str) -> None:
    tracker, last = tracker_after([*LOGIN, *TWOFA])

    state, now = state_after(tracker, last, frame(title, event))

    assert state is LoginState.AWAITING_2FA
    assert tracker.snapshot(now + timedelta(seconds=886)).state is LoginState.AWAITING_2FA


def test_a_hang_is_not_erased_by_events_of_windows() -> None:
    tracker, last = tracker_after([*LOGIN, dialog("Unrecognized Username or Password")])

    state, now = state_after(
        tracker, last, frame("Authenticating...", "Lost focus"), frame("Authenticating...", "Activated")
    )

    cause = tracker.snapshot(now).cause
    assert state is LoginState.FAILED
    assert cause is not None
    assert cause.id == "bad_credentials"


def test_a_closed_dialog_is_not_called_an_approval() -> None:
    tracker, last = tracker_after([*LOGIN, *TWOFA])
    lines = [
        dialog("Second Factor Authentication", "Closed"),
        "Duration since login: 0 seconds",
        "If login has not completed, IBC will exit in 60 seconds",
    ]
    changes = replay(tracker, stamped(lines, last + timedelta(seconds=1)))
    assert not any("approved" in change.text for change in changes)


# --- refusals and their texts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("Server disconnected, please try again", "maintenance"),
        ("The system is unavailable due to scheduled maintenance.", "maintenance"),
        ("Your account has been locked after too many failures", "account_locked"),
        ("Required PassKey is not supported, please upgrade to latest version GATEWAY", "passkey_required"),
        ("This version is no longer supported. Please upgrade", "version_unsupported"),
        ("Multiple Paper Trading users are associated with this user", "several_paper_users"),
        ("Connection timed out", "server_down"),
        ("Something that IBKR invented yesterday", "login_error"),
        ("", "login_error"),
    ],
)
def test_the_text_of_a_login_error_decides(text: str, cause: str) -> None:
    tracker, last = tracker_after([*LOGIN, dialog("Login Error"), "Login error message:"])
    replay(tracker, [(last, text)])

    (change, *_) = replay(tracker, stamped(["Cold restart in progress"], last))

    assert change.cause is not None
    assert (change.cause.id, change.state) == (cause, LoginState.FAILED)
    assert text in change.text


@pytest.mark.parametrize(
    ("line", "rest", "cause"),
    [
        ("Connection to server failed: Server error", [], "server_down"),
        ("Connection to server failed:", ["    Required PassKey is not supported"], "passkey_required"),
        ("Connection to server failed: This version is no longer supported", [], "version_unsupported"),
        ("Connection to server failed", [], "server_refused"),
        ("Connection to server failed: Something new", [], "server_refused"),
    ],
)
def test_the_text_of_a_failed_connection_decides(line: str, rest: list[str], cause: str) -> None:
    tracker, last = tracker_after([*LOGIN, line])
    replay(tracker, [(last, text) for text in rest])

    (change, *_) = replay(tracker, stamped(["Cold restart in progress"], last))

    assert change.cause is not None
    assert change.cause.id == cause


def test_a_text_without_a_further_line_is_concluded_after_two_seconds() -> None:
    html = "<html>Connection to server failed: <b>Required PassKey</b> is not supported</html>"
    tracker, last = tracker_after([*LOGIN, dialog("Gateway"), html])
    assert tracker.deadline() == last + timedelta(seconds=2)

    (change,) = tracker.after(last + timedelta(seconds=2))

    assert change.cause is not None
    assert (change.cause.id, change.cause.final) == ("passkey_required", True)
    assert "Required PassKey is not supported" in change.text
    assert "<" not in change.text


# --- kept sessions --------------------------------------------------------------------------------------------


def test_a_leftover_file_is_noticed_by_the_login_window_that_stays_empty() -> None:
    tracker, last = tracker_after([*READY, *KEPT])
    assert tracker.after(last + timedelta(seconds=119)) == []

    (change,) = tracker.after(last + timedelta(seconds=120))

    assert change.cause is not None
    assert (change.state, change.cause.id, change.cause.person) == (LoginState.FAILED, "stale_autorestart", False)
    assert tracker.session_files == ["/settings/x/autorestart"]


def test_a_refusal_after_a_daily_restart_is_not_a_wrong_password() -> None:
    tracker, last = tracker_after([*READY, *KEPT, frame("Connecting to server..."), frame("Authenticating...")])

    replay(tracker, stamped([dialog("Unrecognized Username or Password")], last))

    cause = tracker.snapshot(last).cause
    assert cause is not None
    assert (cause.id, cause.person) == ("token_refused", False)


def test_a_refusal_after_a_relogin_is_not_a_wrong_password() -> None:
    tracker, last = ready()
    lines = [dialog("Re-login is required"), "Re-login to session", dialog("Unrecognized Username or Password")]
    replay(tracker, stamped(lines, last))
    cause = tracker.snapshot(last).cause
    assert cause is not None
    assert cause.id == "token_refused"


def test_a_full_login_after_a_kept_one_counts_refusals_again() -> None:
    tracker, last = tracker_after([*READY, *KEPT, "IBC returned exit status 0", *LOGIN])
    replay(tracker, stamped([dialog("Unrecognized Username or Password")], last))
    cause = tracker.snapshot(last).cause
    assert cause is not None
    assert cause.id == "bad_credentials"


# --- dialogs that no rule knows -------------------------------------------------------------------------------


@pytest.mark.parametrize("title", ["Login Messages", "Password Notice", "IB Gateway needs to be upgraded"])
def test_an_unknown_dialog_blocks_after_thirty_seconds_and_until_it_is_closed(title: str) -> None:
    tracker, last = ready()
    _, opened = state_after(tracker, last, dialog(title))
    assert tracker.after(opened + timedelta(seconds=29)) == []

    (change,) = tracker.after(opened + timedelta(seconds=30))
    snapshot = tracker.snapshot(opened + timedelta(minutes=5))

    assert (change.state, snapshot.state) == (LoginState.BLOCKED, LoginState.BLOCKED)
    assert snapshot.cause is not None
    assert (snapshot.cause.id, snapshot.cause.final) == ("unknown_dialog", True)
    assert f'"{title}"' in snapshot.text

    (closed,) = replay(tracker, stamped([dialog(title, "Closed")], opened + timedelta(minutes=6)))
    assert closed.state is LoginState.READY
    assert tracker.snapshot(opened).cause is None


def test_the_text_of_a_dialog_is_reported_where_the_log_has_it() -> None:
    tracker, last = ready()
    _, opened = state_after(tracker, last, dialog("Gateway"), "<html>Trusted <b>address</b> added</html>")
    (change,) = tracker.after(opened + timedelta(seconds=30))
    assert change.text == 'the dialog "Gateway" with the text "Trusted address added" is open'


@pytest.mark.parametrize("title", ["Second Factor Authentication", "DU1 Trader Workstation Configuration"])
def test_a_dialog_that_a_rule_knows_is_no_unknown_one(title: str) -> None:
    tracker, last = ready()
    _, opened = state_after(tracker, last, dialog(title))
    assert not any(change.state is LoginState.BLOCKED for change in tracker.after(opened + timedelta(hours=1)))


def test_a_dialog_that_is_closed_in_time_is_not_reported() -> None:
    tracker, last = ready()
    _, now = state_after(tracker, last, dialog("Tip of the day"), dialog("Tip of the day", "Closed"))
    assert tracker.after(now + timedelta(hours=1)) == []


# --- settings that were not applied ---------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["could not find Read-Only API checkbox", "getConfigDialog could not find Configure"])
@pytest.mark.parametrize("order", ["before", "after"])
def test_a_gateway_without_its_settings_is_not_ready(line: str, order: str) -> None:
    done = ["Configuration tasks completed"]
    lines = [*LOGIN, line, *done, *LOADED] if order == "before" else [*LOGIN, *LOADED, line, *done]
    tracker, last = tracker_after(lines)

    snapshot = tracker.snapshot(last)

    assert snapshot.state is LoginState.FAILED
    assert snapshot.cause is not None
    assert snapshot.cause.id == "not_configured"


def test_a_gateway_whose_settings_never_complete_is_not_ready_either() -> None:
    tracker, last = tracker_after([*LOGIN, *LOADED, "getConfigDialog could not find Configure"])
    (change,) = tracker.after(last + timedelta(seconds=20))
    assert change.state is LoginState.FAILED


# --- sessions given up -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", [4, 6])
def test_a_yielded_session_keeps_its_cause_until_the_end(scenario: int) -> None:
    tracker, last = ready()
    lines = [
        dialog("Existing session detected"),
        f"Other session must be primary (scenario {scenario})",
        dialog("Shutdown progress"),
        "IBC returned exit status 0",
    ]
    replay(tracker, stamped(lines, last))
    cause = tracker.snapshot(last).cause
    assert cause is not None
    assert cause.id == "session_yielded"
