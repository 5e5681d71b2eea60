"""The login tracker, replayed line by line."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest

from gateway_watch.login import MODES, LoginState, LoginTracker, modes_of, replay

START = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)
SCRIPT = (".>", "Forking", "IBC ", "Starting IBC", "autorestart", "error:")

TO_PASSWORD = [
    ".> Starting IBC/IB gateway",
    ".> Starting IBC in paper mode, with params:",
    "autorestart file not found: full authentication will be required",
    "Starting session: will exit if login dialog is not displayed within 60 seconds",
    "Login dialog WINDOW_OPENED: LoginState is LOGGED_OUT",
    "Setting user name",
    "Setting password",
]
ATTEMPT = [
    "Login attempt: 1",
    "Click button: Paper Log In",
    "detected frame entitled: Connecting to server...; event=Opened",
    "detected frame entitled: Authenticating...; event=Opened",
]
TWOFA = [
    "detected dialog entitled: Second Factor Authentication; event=Opened",
    "Second Factor Authentication initiated",
]
LOADED = ["detected frame entitled: Starting application...; event=Closed", "Login has completed"]
CONFIGURED = ["Read-Only API checkbox is now set to: false", "Configuration tasks completed"]
LOGIN = TO_PASSWORD + ATTEMPT


def stamped(lines: Iterable[str], begin: datetime = START) -> list[tuple[datetime, str]]:
    """The lines one second apart, those of IBC with its prefix."""
    return [
        (
            begin + timedelta(seconds=second),
            line if line.startswith(SCRIPT) else f"2026-11-23 01:00:00:123 IBC: {line}",
        )
        for second, line in enumerate(lines)
    ]


def tracker_after(lines: list[str], mode: str = "paper") -> tuple[LoginTracker, datetime]:
    tracker = LoginTracker(modes_of(mode))
    replay(tracker, stamped(lines))
    return tracker, START + timedelta(seconds=len(lines) - 1)


def test_a_good_login_goes_through_its_states_to_ready() -> None:
    tracker = LoginTracker()
    changes = replay(tracker, stamped(LOGIN + LOADED + CONFIGURED))

    states = list(dict.fromkeys(change.state for change in changes))
    assert states == [LoginState.STARTING, LoginState.LOGGING_IN, LoginState.LOGGED_IN, LoginState.READY]
    assert all(change.cause is None for change in changes)
    assert changes[-1].time == START + timedelta(seconds=len(LOGIN + LOADED + CONFIGURED) - 1)
    assert tracker.snapshot(START).attempts == 1


def test_settings_done_before_the_login_make_it_ready_when_it_completes() -> None:
    tracker, _ = tracker_after([*LOGIN, *CONFIGURED])
    assert tracker.snapshot(START).state is LoginState.LOGGING_IN

    changes = replay(tracker, stamped(LOADED, START + timedelta(minutes=1)))

    assert changes[-1].state is LoginState.READY


def test_a_login_without_settings_to_make_is_ready_after_silence() -> None:
    tracker, last = tracker_after(LOGIN + LOADED)
    assert tracker.deadline() == last + timedelta(seconds=20)

    assert tracker.after(last + timedelta(seconds=19.9)) == []
    (change,) = tracker.after(last + timedelta(seconds=20))

    assert change.state is LoginState.READY
    assert tracker.deadline() is None


def test_the_seconds_of_2fa_count_from_the_time_of_its_line() -> None:
    tracker, initiated = tracker_after(LOGIN + TWOFA)

    assert tracker.snapshot(initiated).twofa_seconds_left == 180
    assert tracker.snapshot(initiated + timedelta(seconds=8)).twofa_seconds_left == 172
    assert tracker.snapshot(initiated + timedelta(seconds=500)).twofa_seconds_left == 0


def test_each_2fa_request_counts_from_zero() -> None:
    tracker, _ = tracker_after(LOGIN + TWOFA)
    again = START + timedelta(seconds=200)
    repeat = ["Re-login after second factor authentication timeout in 5 second", *TO_PASSWORD[-2:], *ATTEMPT, *TWOFA]

    replay(tracker, stamped(repeat, again))

    snapshot = tracker.snapshot(again + timedelta(seconds=len(repeat) - 1))
    assert (snapshot.state, snapshot.twofa_seconds_left) == (LoginState.AWAITING_2FA, 180)
    assert snapshot.cause is not None
    assert (snapshot.cause.id, snapshot.cause.final) == ("twofa_missed", False)


def test_a_login_overcomes_an_earlier_failure() -> None:
    tracker, _ = tracker_after([*LOGIN, "Connection to server failed: Server error", "Cold restart in progress"])
    assert tracker.snapshot(START).cause is not None

    replay(tracker, stamped([*LOGIN, *LOADED], START + timedelta(minutes=1)))

    assert tracker.snapshot(START).cause is None


@pytest.mark.parametrize(
    ("lines", "seconds", "cause"),
    [
        (TO_PASSWORD, 10, "empty_credentials"),
        ([*LOGIN, "detected dialog entitled: Existing session detected; event=Opened"], 10, "existing_session"),
        ([*LOGIN, "detected dialog entitled: Trading Login Handoff; event=Opened"], 20, "login_handoff"),
        (["Re-starting session", "Re-login to session"], 60, "token_refused"),
        (
            [*LOGIN, "Too many failed login attempts. Please wait 53 seconds before attempting to re-login again."],
            10,
            "rate_limited",
        ),
    ],
)
def test_silence_after_these_lines_is_a_hang(lines: list[str], seconds: float, cause: str) -> None:
    tracker, last = tracker_after(lines)

    assert tracker.after(last + timedelta(seconds=seconds - 0.1)) == []
    (change,) = tracker.after(last + timedelta(seconds=seconds))

    assert change.state is LoginState.FAILED
    assert change.cause is not None
    assert (change.cause.id, change.cause.final) == (cause, True)
    assert change.time == last + timedelta(seconds=seconds)


def test_a_line_in_time_ends_the_silence() -> None:
    tracker, last = tracker_after(TO_PASSWORD)

    replay(tracker, stamped(["Login attempt: 1"], last + timedelta(seconds=9)))

    assert tracker.after(last + timedelta(seconds=60)) == []


def test_a_handoff_that_the_robot_answers_goes_on() -> None:
    handoff = ["detected dialog entitled: Trading Login Handoff; event=Opened", "Trading Login Handoff dialog; {}"]
    tracker, last = tracker_after([*LOGIN, *handoff])

    replay(tracker, stamped(["Click button: Disconnect Other Session"], last + timedelta(seconds=1)))

    assert tracker.after(last + timedelta(minutes=5)) == []
    snapshot = tracker.snapshot(last)
    assert (snapshot.state, snapshot.cause) == (LoginState.LOGGING_IN, None)


def test_silence_is_noticed_in_a_log_that_is_read_later() -> None:
    tracker, last = tracker_after(TO_PASSWORD)

    changes = tracker.feed(last + timedelta(minutes=5), "2026-11-23 01:05:00:000 IBC: Login attempt: 1")

    assert [change.state for change in changes] == [LoginState.FAILED, LoginState.LOGGING_IN]
    # Somebody typed the password over VNC: what hung moves again.
    assert tracker.snapshot(START).cause is None


@pytest.mark.parametrize(
    ("line", "cause", "final", "state"),
    [
        ("Login failed", "login_failed", False, LoginState.FAILED),
        (
            "detected dialog entitled: Unrecognized Username or Password; event=Opened",
            "bad_credentials",
            True,
            LoginState.FAILED,
        ),
        (
            "Re-login after second factor authentication timeout in 5 second",
            "twofa_missed",
            False,
            LoginState.RELOGIN_WAIT,
        ),
        (
            "Re-login after second factor authentication timeout not required",
            "twofa_missed",
            True,
            LoginState.FAILED,
        ),
        (
            "IBC closing because login has not completed after Second Factor Authentication",
            "twofa_slow_login",
            False,
            LoginState.RESTARTING,
        ),
        ("Exiting after error with exit code=1111", "twofa_slow_login", False, LoginState.FAILED),
        (
            "You should specify the required second factor device using the SecondFactorDevice setting in config.ini",
            "twofa_device_unset",
            True,
            LoginState.FAILED,
        ),
        (
            "could not find second factor device 'IB Key' in the list",
            "twofa_device_unknown",
            True,
            LoginState.FAILED,
        ),
        (
            "User must choose whether to continue with this session (scenario 1)",
            "existing_session",
            True,
            LoginState.FAILED,
        ),
        ("End this session (scenario 2)", "session_yielded", True, LoginState.FAILED),
        ("Other session must be primary (scenario 4)", "session_yielded", True, LoginState.FAILED),
        ("Other session may be primary (scenario 6)", "session_yielded", True, LoginState.FAILED),
        ("Trading Login Handoff dialog; error: {}", "login_handoff", True, LoginState.FAILED),
        ("Exiting after error with exit code=1110", "login_handoff", True, LoginState.FAILED),
        ("Exiting after error with exit code=1112", "no_login_window", False, LoginState.FAILED),
        ("Exiting after error with exit code=1107", "gateway_entry_missing", True, LoginState.FAILED),
        (".> Invalid TRADING_MODE: foo", "invalid_trading_mode", True, LoginState.FAILED),
        (
            "error: both TWS_PASSWORD and TWS_PASSWORD_FILE are set (but are exclusive)",
            "password_set_twice",
            True,
            LoginState.FAILED,
        ),
        (r"Error: Can\'t find suitable Java installation", "bad_image", True, LoginState.FAILED),
    ],
)
def test_each_failure_has_its_cause(line: str, cause: str, final: bool, state: LoginState) -> None:
    tracker, last = tracker_after(LOGIN)

    changes = replay(tracker, stamped([line], last + timedelta(seconds=1)))

    (change,) = changes
    assert change.cause is not None
    assert (change.cause.id, change.cause.final, change.state) == (cause, final, state)
    assert change.line.endswith(line)
    snapshot = tracker.snapshot(last)
    assert snapshot.cause == change.cause


def test_a_refusal_is_not_forgotten_while_the_gateway_restarts() -> None:
    tracker, _ = tracker_after([*LOGIN, "Login failed", "Cold restart in progress", "IBC will cold-restart shortly"])

    snapshot = tracker.snapshot(START)

    assert snapshot.state is LoginState.RESTARTING
    assert snapshot.cause is not None
    assert snapshot.cause.id == "login_failed"


def test_a_blocked_api_is_a_warning_and_no_failure() -> None:
    tracker, last = tracker_after([*LOGIN, *LOADED, *CONFIGURED])

    (change,) = replay(tracker, stamped(["API client needs write access action confirmation"], last))

    snapshot = tracker.snapshot(last)
    assert (change.state, snapshot.state, snapshot.cause) == (LoginState.READY, LoginState.READY, None)
    assert [cause.id for cause in snapshot.warnings] == ["write_access_blocked"]


def test_a_daily_restart_keeps_the_session() -> None:
    tracker, _ = tracker_after([*LOGIN, *CONFIGURED, *LOADED])
    assert tracker.snapshot(START).state is LoginState.READY
    restart = [
        "IBC returned exit status 0",
        "autorestart file found at /settings/x/autorestart: authentication will not be required",
        "Re-starting session",
        "Login dialog WINDOW_OPENED: LoginState is LOGGED_OUT",
        *LOADED,
    ]

    changes = replay(tracker, stamped(restart, START + timedelta(hours=1)))
    assert changes[0].state is LoginState.RESTARTING
    # What was set before the restart does not count as ready in the new session.
    assert tracker.snapshot(START).state is LoginState.LOGGED_IN

    replay(tracker, stamped(CONFIGURED, START + timedelta(hours=1, minutes=1)))
    assert tracker.snapshot(START).state is LoginState.READY
    assert tracker.snapshot(START).attempts == 1


def test_both_logins_are_distinguished() -> None:
    live = [line.replace("in paper mode", "in live mode").replace("Paper Log", "Log") for line in LOGIN]
    tracker, last = tracker_after([*live, *TWOFA], "both")
    paper = [line for line in [*LOGIN, *LOADED, *CONFIGURED] if line != ".> Starting IBC/IB gateway"]

    changes = replay(tracker, stamped(paper, last + timedelta(seconds=1)))

    assert {change.mode for change in changes} == {"paper"}
    snapshot = tracker.snapshot(last)
    assert (snapshot.state, snapshot.mode) == (LoginState.AWAITING_2FA, "live")

    approved = ["detected dialog entitled: Second Factor Authentication; event=Closed", *LOADED, *CONFIGURED]
    changes = replay(tracker, stamped(approved, last + timedelta(minutes=1)))

    assert {change.mode for change in changes} == {"live"}
    assert tracker.snapshot(last).state is LoginState.READY


def test_a_line_goes_to_the_login_that_it_fits() -> None:
    live = [line.replace("in paper mode", "in live mode").replace("Paper Log", "Log") for line in LOGIN]
    tracker, last = tracker_after(live, "both")
    paper = [*LOGIN[1:], *LOADED, *CONFIGURED]
    replay(tracker, stamped(paper, last + timedelta(seconds=1)))

    # The paper login spoke last, but it is ready and needs no second login.
    changes = replay(tracker, stamped([*LOADED, *CONFIGURED], last + timedelta(minutes=1)))

    assert {change.mode for change in changes} == {"live"}
    assert tracker.snapshot(last).state is LoginState.READY


def test_both_are_not_ready_before_the_second_has_started() -> None:
    live = [line.replace("in paper mode", "in live mode").replace("Paper Log", "Log") for line in LOGIN]
    tracker, last = tracker_after([*live, *LOADED, *CONFIGURED], "both")

    assert tracker.snapshot(last).state is LoginState.STARTING


def test_lines_that_mean_nothing_change_nothing() -> None:
    tracker, last = tracker_after(LOGIN)
    before = tracker.snapshot(last)

    assert replay(tracker, stamped(["Forking :::4002 onto 0.0.0.0:4004 > trading mode paper", ""], last)) == []
    assert tracker.snapshot(last) == before


def test_an_unknown_trading_mode_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=f"'demo' is none of {', '.join(MODES)}"):
        modes_of("demo")
