"""The words and the order of the log, for every scenario, without a clock."""

from __future__ import annotations

from dataclasses import replace
from datetime import time
from hashlib import sha256

import pytest
from simulator.tests.login_player import NOW, USER, play

from gateway_simulator.login.loginscript import terminated_run
from gateway_simulator.login.startscript import after_run, launch_lines
from gateway_simulator.login.steps import (
    Happening,
    Ibc,
    LoginState,
    OpenDialog,
    Pause,
    RunEnd,
    stamp,
)
from gateway_simulator.login.windows import Screen
from gateway_simulator.settings import GatewaySettings


def test_good_login_logs_the_contracts_lines_in_order() -> None:
    played = play(replace(USER, auto_restart=time(2, 0), cold_restart=time(13, 0)))
    played.logs_in_order(
        "Gateway will be cold restarted at 2026/11/29 13:00",
        "Starting session: will exit if login dialog is not displayed within 60 seconds",
        "Login dialog WINDOW_OPENED: LoginState is LOGGED_OUT",
        "Setting user name",
        "Setting password",
        "Login attempt: 1",
        "Click button: Paper Log In",
        "detected frame entitled: Connecting to server...; event=Opened",
        "detected frame entitled: Starting application...; event=Closed",
        "Login has completed",
        "Setting ReadOnlyApi",
        "Read-Only API checkbox is now set to: false",
        "Auto restart time set to 02:00 AM",
        "Configuration tasks completed",
    )
    assert played.states == [
        LoginState.STARTING,
        LoginState.LOGGING_IN,
        LoginState.LOGGING_IN,
        LoginState.LOGGED_IN,
    ]
    assert played.api == [("DU1234567",)]
    assert played.pauses == pytest.approx(6), "START_SECONDS is spread over the steps"
    assert "secret" not in "".join(played.lines)


def test_live_gateway_has_its_own_button_and_account() -> None:
    played = play(replace(USER, mode="live"))
    assert "Click button: Log In" in played.lines
    assert played.api == [("U1234567",)]


def test_accounts_of_the_wrong_kind_can_be_simulated() -> None:
    assert play(USER, ("ACCOUNTS", "U7654321")).api == [("U7654321",)]


def test_what_is_not_set_is_not_configured() -> None:
    lines = play(replace(USER, read_only=None, auto_restart=time(2, 0))).lines
    assert "Setting ReadOnlyApi" not in lines
    assert "Configuration tasks completed" in lines
    lines = play(replace(USER, read_only=None)).lines
    assert not any("Configuration" in line or "config dialog menu" in line for line in lines), (
        "no task, so not a line of them"
    )


@pytest.mark.parametrize("settings", [replace(USER, user=""), replace(USER, password="")])
def test_empty_credentials_hang_before_the_attempt(settings: GatewaySettings) -> None:
    played = play(settings)
    assert played.lines[-1] == "Setting password"
    assert not any("Login attempt" in line for line in played.lines)
    assert played.hangs
    assert played.states[-1] is LoginState.HANGING


COLD = ("Cold restart in progress", "Click button: OK", "Login has not completed: exiting immediately")
DIALOG = "detected dialog entitled: {}; event=Opened"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("REFUSAL", "login_failed"), (DIALOG.format("Login failed"), "Login failed")),
        (("REFUSAL", "login_error"), (DIALOG.format("Login Error"), "Login error message:", "Server disconnected")),
        (("REFUSAL", "connection_failed"), (DIALOG.format("IBKR Gateway"), "Connection to server failed: Server")),
        (("SERVER", "maintenance"), (DIALOG.format("Login failed"), "Login failed")),
        (("CREDENTIALS", "locked"), (DIALOG.format("Login Error"), "account has been locked")),
        (("SERVER", "down"), (DIALOG.format("IBKR Gateway"), "Connection to server failed")),
    ],
)
def test_login_error_restarts_cold_for_ever(change: tuple[str, str], words: tuple[str, ...]) -> None:
    played = play(USER, change)
    played.logs_in_order("Login attempt: 1", *words, *COLD)
    assert played.end == RunEnd(0, cold_restart=True)
    assert played.api == []
    lines, again = after_run(played.end, USER, None)
    assert lines[:3] == ["IBC returned exit status 0", "IBC will cold-restart shortly", "IBC will restart shortly"]
    assert again


@pytest.mark.parametrize("refusal", ["login_error", "connection_failed", "connection_failed_html"])
@pytest.mark.parametrize(
    "text", ["Required PassKey is not supported", "Multiple Paper Trading users associated with this user"]
)
def test_refusal_has_any_text(refusal: str, text: str) -> None:
    played = play(USER, ("REFUSAL", refusal), ("REFUSAL_TEXT", text))
    assert any(text in line for line in played.lines)


@pytest.mark.parametrize(
    ("refusal", "last"),
    [
        ("connection_failed_html", "<html>Connection to server failed: Server disconnected, please try again</html>"),
        ("upgrade", DIALOG.format("IB Gateway 10.45 needs to be upgraded")),
    ],
)
def test_dialogs_that_ibc_does_not_know_hang(refusal: str, last: str) -> None:
    played = play(USER, ("REFUSAL", refusal))
    assert last in played.lines
    assert played.hangs
    assert "Cold restart in progress" not in played.lines


@pytest.mark.parametrize("credentials", ["wrong", "bad_a", "bad_b"])
def test_wrong_password_hangs_on_a_dialog(credentials: str) -> None:
    played = play(USER, ("CREDENTIALS", credentials))
    assert DIALOG.format("Unrecognized Username or Password") in played.lines
    assert "Login failed" not in played.lines
    assert played.hangs


def test_password_that_is_not_the_known_one_is_wrong() -> None:
    known = sha256(b"secret").hexdigest()
    assert "Login has completed" in play(USER, ("PASSWORD_SHA256", known)).lines
    played = play(replace(USER, password="other"), ("PASSWORD_SHA256", known))
    assert DIALOG.format("Unrecognized Username or Password") in played.lines


def test_rate_limit_waits_and_logs_in_again_only_with_relogin() -> None:
    change = ("CREDENTIALS", "rate_limited"), ("RATE_LIMIT_SECONDS", "80")
    played = play(USER, *change)
    played.logs_in_order(
        "Login attempt: 1",
        "Too many failed login attempts. Please wait 1 minutes & 20 seconds before attempting to re-login again.",
        "Will re-login at 2026-11-23 01:12:13:123; login number: 2",
        "Login attempt: 2",
        "Login has completed",
    )
    assert played.pauses > 83
    stuck = play(replace(USER, relogin=False), *change)
    assert stuck.hangs
    assert not any("Will re-login" in line for line in stuck.lines)


def test_second_factor_approved() -> None:
    played = play(USER, ("TWOFA", "approve_after:20"))
    played.logs_in_order(
        "detected dialog entitled: Second Factor Authentication; event=Opened",
        "Second Factor Authentication initiated",
        "detected dialog entitled: Second Factor Authentication; event=Closed",
        "Duration since login: 22 seconds",
        "If login has not completed, IBC will exit in 60 seconds",
        "detected frame entitled: Starting application...; event=Closed",
        "Login has completed",
    )
    assert LoginState.AWAITING_2FA in played.states


def test_second_factor_missed_logs_in_again_with_relogin() -> None:
    played = play(USER, ("TWOFA", "never"), missed=2)
    played.logs_in_order(
        "Duration since login: 182 seconds",
        "Re-login after second factor authentication timeout in 5 second",
        "Login attempt: 2",
        "Re-login after second factor authentication timeout in 5 second",
        "Login attempt: 3",
        "Login has completed",
    )
    assert LoginState.RELOGIN_WAIT in played.states


def test_second_factor_missed_stays_without_relogin() -> None:
    played = play(replace(USER, relogin=False), ("TWOFA", "never"))
    played.logs_in_order("Re-login after second factor authentication timeout not required")
    assert played.hangs
    assert played.end is None


@pytest.mark.parametrize(("relogin", "words"), [(True, "timeout in 5 second"), (False, "timeout not required")])
def test_approval_after_ibcs_limit_is_taken_for_missed_but_the_login_goes_on(relogin: bool, words: str) -> None:
    changes = ("TWOFA", "approve_after:880"), ("TWOFA_SECONDS", "886")
    played = play(replace(USER, relogin=relogin), *changes)
    played.logs_in_order("Duration since login: 882 seconds", words, "Login has completed")
    later = played.lines[played.lines.index("Login has completed") :]
    assert ("Login attempt: 2" in later) is relogin, "IBC logs in again, though it is logged in"
    assert played.states[-1] is LoginState.LOGGED_IN


def test_approval_at_the_last_second_counts_as_missed() -> None:
    changes = ("TWOFA", "approve_after:179"), ("START_SECONDS", "10")
    play(USER, *changes).logs_in_order("Duration since login: 183", "timeout in 5 second", "Login has completed")
    played = play(USER, ("TWOFA", "approve_after:175"), ("START_SECONDS", "10"))
    played.logs_in_order("Duration since login: 179", "If login has not completed", "Login has completed")


def test_dialog_that_closes_early_ends_with_1111_or_hangs() -> None:
    flicker = ("TWOFA", "close_after:0.3")
    played = play(USER, flicker)
    played.logs_in_order("initiated", "event=Closed", "IBC will exit in 60 seconds", "exit code=1111")
    assert played.end == RunEnd(1111)
    played = play(replace(USER, relogin=False), flicker)
    assert played.hangs
    assert not any("Re-login" in line or "If login" in line for line in played.lines)


def test_device_list_closes_and_its_timer_ends_a_login_that_waits() -> None:
    settings = replace(USER, twofa_device="IB Key")
    devices = ("TWOFA_DEVICES", "Security Card, IB Key")
    opened = DIALOG.format("Second Factor Authentication")
    played = play(settings, devices, ("TWOFA", "approve_after:20"))
    assert played.lines.count(opened) == 2
    played.logs_in_order(
        opened, "Click button: OK", "IBC will exit in 60 seconds", opened, "initiated", "has completed"
    )
    played = play(settings, devices, ("TWOFA", "approve_after:90"))
    played.logs_in_order("IBC will exit in 60 seconds", "initiated", "exit code=1111")
    assert "Login has completed" not in played.lines
    same = play(settings, devices, ("TWOFA", "approve_after:20"), ("TWOFA_SAME_DIALOG", "yes"))
    assert same.lines.count(opened) == 1
    assert "Second Factor Authentication initiated" not in same.lines
    assert "Login has completed" in same.lines
    assert play(replace(USER, twofa_device="Phone"), devices, ("TWOFA", "never")).hangs
    unset = play(USER, devices, ("TWOFA", "never"))
    unset.logs_in_order("You should specify the required second factor device")


def test_code_is_asked_for_with_the_lines_of_a_push() -> None:
    played = play(USER, ("TWOFA", "code"), missed=0)
    played.logs_in_order("Second Factor Authentication initiated", "Login has completed")
    assert LoginState.AWAITING_2FA in played.states


def test_slow_login_after_approval_ends_with_1111() -> None:
    played = play(USER, ("TWOFA", "approve_after:1"), ("SLOW_AFTER_2FA", "61"))
    played.logs_in_order(
        "IBC closing because login has not completed after Second Factor Authentication",
        "Exiting after error with exit code=1111",
    )
    assert played.end == RunEnd(1111)
    assert after_run(played.end, USER, None)[1]
    lines, again = after_run(played.end, replace(USER, twofa_restart=False), None)
    assert lines[0] == "IBC returned exit status 87"
    assert not again


def test_login_a_little_slow_after_approval_succeeds() -> None:
    played = play(USER, ("TWOFA", "approve_after:1"), ("SLOW_AFTER_2FA", "58"))
    assert "Login has completed" in played.lines


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("device_unset", "You should specify the required second factor device"),
        ("device_unknown", "could not find second factor device 'My phone' in the list"),
    ],
)
def test_second_factor_device_hangs(kind: str, words: str) -> None:
    played = play(replace(USER, twofa_device="My phone"), ("TWOFA", kind))
    played.logs_in_order("Second Factor Authentication; event=Opened", words)
    assert played.hangs
    assert "Second Factor Authentication initiated" not in played.lines


@pytest.mark.parametrize(
    ("existing", "action", "scenarios", "fate"),
    [
        ("login", "manual", [1], "hangs"),
        ("login", "secondary", [2], "ends"),
        ("login", "primary", [3], "logs in"),
        ("login", "primaryoverride", [3], "logs in"),
        ("login_twice", "primaryoverride", [3, 4], "ends"),
        ("logged_in", "manual", [1], "hangs"),
        ("logged_in", "secondary", [2], "ends"),
        ("logged_in", "primary", [5], "logs in"),
        ("logged_in", "primaryoverride", [6], "ends"),
        ("1", "primary", [1], "hangs"),
        ("2", "primary", [2], "ends"),
        ("3", "manual", [3], "logs in"),
        ("4", "manual", [3, 4], "ends"),
        ("5", "manual", [5], "logs in"),
        ("6", "manual", [6], "ends"),
    ],
)
def test_existing_session(existing: str, action: str, scenarios: list[int], fate: str) -> None:
    played = play(replace(USER, existing_session_action=action), ("EXISTING_SESSION", existing))
    found = [line for line in played.lines if "(scenario" in line]
    assert [int(line[-2]) for line in found] == scenarios
    assert played.lines.count(DIALOG.format("Existing session detected")) == len(scenarios)
    if fate == "hangs":
        assert played.hangs
    elif fate == "ends":
        played.logs_in_order("Click button: Exit Application", DIALOG.format("Shutdown progress"))
        if "Login has completed" in played.lines:
            assert played.end == RunEnd(0, logged_off=True)
        else:
            # IBC was about to configure the gateway.
            played.logs_in_order("Shutdown progress", "Setting ReadOnlyApi", "An exception has occurred:", "code=1100")
            assert played.end == RunEnd(1100)
    else:
        assert played.end is None
        assert played.api == [("DU1234567",)]


def test_session_yielded_at_the_login_ends_with_0_if_nothing_is_to_be_configured() -> None:
    settings = replace(USER, read_only=None, existing_session_action="secondary")
    played = play(settings, ("EXISTING_SESSION", "login"))
    assert played.end == RunEnd(0, logged_off=True)
    assert after_run(played.end, settings, None)[0][0] == "IBC returned exit status 0"


def test_session_that_ibkr_still_counts_is_met_at_the_login() -> None:
    settings = replace(USER, existing_session_action="primaryoverride")
    knob = ("EXISTING_SESSION", "after_hard_stop")
    assert "(scenario 3)" not in "".join(play(settings, knob).lines)
    play(settings, knob, slot=True).logs_in_order("(scenario 3)", "Login has completed")


@pytest.mark.parametrize("action", ["primaryoverride", "secondary"])
def test_login_handoff_ends_with_1110(action: str) -> None:
    existing = ("EXISTING_SESSION", "handoff")
    settings = replace(USER, existing_session_action=action)
    played = play(settings, existing)
    if action == "secondary":
        assert played.end == RunEnd(1100), "a secondary session yields before it comes to that"
        return
    played.logs_in_order(
        "(scenario 3)",
        DIALOG.format("Trading Login Handoff"),
        "Handoff dialog; error: ",
        "Exiting after error with exit code=1110",
    )
    assert played.end == RunEnd(1110)
    lines, again = after_run(played.end, settings, None)
    assert lines[0] == "IBC returned exit status 86"
    assert not again


def test_login_handoff_goes_on_when_primary() -> None:
    played = play(replace(USER, existing_session_action="primary"), ("EXISTING_SESSION", "handoff"))
    played.logs_in_order("Trading Login Handoff", "Disconnect Other Session", "Login has completed")


@pytest.mark.parametrize("setting", ["yes", "loop"])
def test_no_login_window_ends_with_1112_and_starts_again(setting: str) -> None:
    change = ("NO_LOGIN_WINDOW", setting)
    played = play(USER, change, ("LOGIN_DIALOG_SECONDS", "12"))
    played.logs_in_order(
        "is not displayed within 12 seconds",
        "IBC closing after TWS/Gateway failed to display login dialog",
        "Exiting after error with exit code=1112",
    )
    assert played.pauses == 12
    assert played.end == RunEnd(1112)
    lines, again = after_run(played.end, USER, None)
    assert lines[:2] == ["IBC returned exit status 88", "IBC will restart shortly"]
    assert again


@pytest.mark.parametrize("code", range(1100, 1113))
def test_exit_code_by_the_knob(code: int) -> None:
    played = play(USER, ("EXIT_CODE", str(code)))
    assert played.end == RunEnd(code)
    assert played.lines[-1] == f"Exiting after error with exit code={code}"
    assert after_run(played.end, USER, None)[0][0] == f"IBC returned exit status {code - 1024}"


def test_daily_restart_keeps_the_session() -> None:
    played = play(USER, happenings=(Happening.DAILY_RESTART,))
    assert played.end == RunEnd(0, autorestart=True, logged_off=True)
    assert DIALOG.format("Restart in progress") in played.lines
    assert played.api[:2] == [("DU1234567",), None]
    lines, again = after_run(played.end, USER, "/settings/x/autorestart")
    assert "autorestart file found at /settings/x/autorestart: authentication will not be required" in lines
    assert again
    resumed = play(USER, ("TWOFA", "never"), restart=True)
    resumed.logs_in_order("Re-starting session", "Login dialog WINDOW_OPENED", "Login has completed")
    assert not any("Login attempt" in line or "Second Factor" in line for line in resumed.lines)


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        ("yes", ("Re-login to session", "Click button: Re-login")),
        ("unrecognized", (DIALOG.format("Unrecognized Username or Password"),)),
        ("relogin_unrecognized", ("Click button: Re-login", DIALOG.format("Unrecognized Username or Password"))),
    ],
)
def test_refused_token_hangs_after_the_restart_only(refused: str, words: tuple[str, ...]) -> None:
    played = play(USER, ("TOKEN_REFUSED", refused), restart=True)
    played.logs_in_order("Re-starting session", *words)
    assert played.hangs
    assert not any("Login attempt" in line for line in played.lines)
    assert "Login has completed" in play(USER, ("TOKEN_REFUSED", refused)).lines


def test_autorestart_file_that_cannot_be_used_leaves_the_login_form_alone() -> None:
    played = play(USER, restart=True, token=False)
    opened = played.lines.index("Login dialog WINDOW_OPENED: LoginState is LOGGED_OUT")
    assert all(line.endswith(("event=Activated", "event=Focused")) for line in played.lines[opened + 1 :])
    assert played.hangs


@pytest.mark.parametrize(
    ("happening", "end"),
    [
        (Happening.COLD_RESTART, RunEnd(0, cold_restart=True, logged_off=True)),
        (Happening.END_OF_WEEK, RunEnd(0, logged_off=True)),
        (Happening.AUTO_LOGOFF, RunEnd(0, logged_off=True)),
        (Happening.CRASH, RunEnd(1)),
    ],
)
def test_happenings_that_end_the_run(happening: Happening, end: RunEnd) -> None:
    played = play(USER, happenings=(happening,))
    assert played.end == end
    assert played.api[-1] is None


def test_crash_after_its_time() -> None:
    assert play(USER, ("CRASH_AFTER", "5")).end == RunEnd(1)


@pytest.mark.parametrize(("back", "code"), [(Happening.SERVER_UP, 1102), (Happening.SERVER_UP_DATA_LOST, 1101)])
def test_server_goes_down_and_comes_back_while_logged_in(back: Happening, code: int) -> None:
    played = play(USER, happenings=(Happening.SERVER_DOWN, Happening.SERVER_DOWN, back, back))
    assert played.codes == [1100, code]
    assert played.end is None
    frame = "detected frame entitled: Connecting to server...; event="
    session = played.lines[played.lines.index("Configuration tasks completed") :]
    assert [line for line in session if frame in line and line.endswith(("Opened", "Closed"))] == [
        f"{frame}Opened",
        f"{frame}Closed",
    ]
    assert played.lines.count("Login has completed") == 1


def test_gateway_counts_its_attempts_to_reconnect() -> None:
    played = play(USER, happenings=(Happening.SERVER_DOWN,))
    frames = [line for line in played.lines if "Attempt" in line and line.endswith(("Opened", "Closed"))]
    assert [line.removeprefix("detected frame entitled: ") for line in frames[:6]] == [
        "Attempt 1: Authenticating...; event=Opened",
        "Attempt 2: Authenticating...; event=Opened",
        "Attempt 1: Authenticating...; event=Closed",
        "Attempt 3: Authenticating (trying for another 60 seconds)...; event=Opened",
        "Attempt 2: Authenticating...; event=Closed",
        "Attempt 4: Authenticating (trying for another 50 seconds)...; event=Opened",
    ]


def test_write_access_dialog() -> None:
    played = play(USER, happenings=(Happening.WRITE_ACCESS,))
    assert DIALOG.format("API client needs write access action confirmation") in played.lines


@pytest.mark.parametrize("title", ["Login Messages", "Password Notice", "IB Gateway has news"])
def test_dialog_that_ibc_does_not_know_holds_the_api(title: str) -> None:
    kind = "frame" if title == "Password Notice" else "dialog"
    opened = f"detected {kind} entitled: {title}; event=Opened"
    played = play(USER, ("DIALOG", title))
    played.logs_in_order("Login has completed", "Configuration tasks completed", opened)
    assert played.held
    assert (f"The text of {title}" in played.lines) is ("Gateway" in title)
    played = play(USER, happenings=(OpenDialog(title), Happening.DISMISS_DIALOG))
    played.logs_in_order(opened, f"{title}; event=Closed")
    assert not played.held


@pytest.mark.parametrize(
    ("configuration", "present", "absent"),
    [
        ("no_read_only", "could not find Read-Only API checkbox", "Read-Only API checkbox is now set to: false"),
        ("no_menu", "getConfigDialog could not find 'Configure > Settings' menu item", "Login has completed"),
        ("no_dialog", "Login has completed", "Configuration tasks completed"),
    ],
)
def test_configuration_that_is_not_applied(configuration: str, present: str, absent: str) -> None:
    played = play(USER, ("CONFIGURATION", configuration))
    assert present in played.lines
    assert absent not in played.lines
    assert played.end == (RunEnd(1100) if configuration == "no_menu" else None)


def test_windows_take_and_lose_the_focus() -> None:
    lines = play(USER, ("TWOFA", "approve_after:1")).lines
    dialog = "detected dialog entitled: Second Factor Authentication; event="
    splash = "detected frame entitled: Authenticating...; event="
    start = lines.index(f"{dialog}Opened")
    assert lines[start : start + 12] == [
        f"{dialog}Opened",
        "Second Factor Authentication initiated",
        f"{splash}Lost focus",
        f"{splash}Deactivated",
        f"{dialog}Activated",
        f"{dialog}Focused",
        f"{dialog}Lost focus",
        f"{dialog}Deactivated",
        f"{dialog}Closed",
        "Duration since login: 3 seconds",
        "If login has not completed, IBC will exit in 60 seconds",
        f"{splash}Activated",
    ]


@pytest.mark.parametrize("logged_in", [True, False])
def test_terminated_controller_logs_out_if_it_is_logged_in(logged_in: bool) -> None:
    steps: list[object] = []
    script = terminated_run(Screen(), 2.0, logged_in=logged_in)
    try:
        while True:
            steps.append(next(script))
    except StopIteration as finished:
        end = finished.value
    assert end == RunEnd(143, logged_off=True)
    assert (Ibc(DIALOG.format("Shutdown progress")) in steps) is logged_in
    assert (Pause(2.0) in steps) is logged_in
    assert after_run(end, USER, None) == (
        ["IBC returned exit status 143", "Finding autorestart file", NOT_FOUND, "", "Gateway finished", ""],
        False,
    )


NOT_FOUND = "autorestart file not found: full authentication will be required"


def test_launch_lines_name_the_autorestart_file_or_its_absence() -> None:
    assert "autorestart file not found: full authentication will be required" in launch_lines(USER, None, NOW)
    found = launch_lines(USER, "/s/x/autorestart", NOW)
    assert "autorestart file found at /s/x/autorestart: authentication will not be required" in found
    assert "AUTORESTART_OPTION is -Drestart=x" in found
    assert "Starting IBC version  on 2026-11-23 at 01:10:50" in found


def test_stamp_is_ibcs() -> None:
    assert stamp(NOW, "Login has completed") == "2026-11-23 01:10:50:123 IBC: Login has completed"
