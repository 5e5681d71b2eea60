"""The words and the order of the log, for every scenario, without a clock."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time

import pytest

from gateway_simulator.login.loginscript import (
    Answer,
    AskApproval,
    Broadcast,
    CloseApi,
    Hang,
    Happening,
    Ibc,
    LoginState,
    OpenApi,
    Pause,
    Raw,
    Reply,
    RunEnd,
    Serve,
    Show,
    after_run,
    gateway_run,
    launch_lines,
    stamp,
)
from gateway_simulator.settings import GatewaySettings, Scenario

NOW = datetime(2026, 11, 23, 1, 10, 50, 123456, tzinfo=UTC)  # a Monday
USER = GatewaySettings(user="user", password="secret", relogin=True, twofa_restart=True, read_only=False)


@dataclass
class Played:
    """What a run did; ``end`` None: it hangs or serves on."""

    lines: list[str] = field(default_factory=list)
    states: list[LoginState] = field(default_factory=list)
    api: list[tuple[str, ...] | None] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    pauses: float = 0.0
    hangs: bool = False
    end: RunEnd | None = None

    def say_in_order(self, *wanted: str) -> None:
        """Assert that the lines contain these texts in this order."""
        rest = iter(self.lines)
        for text in wanted:
            assert any(text in line for line in rest), f"{text!r} is missing, or out of order, in {self.lines}"


def play(
    settings: GatewaySettings = USER,
    *changes: tuple[str, str],
    restart: bool = False,
    happenings: tuple[Happening, ...] = (),
    missed: int = 1,
) -> Played:
    """Play a run; after ``missed`` unanswered 2FA dialogs the next one is approved."""
    scenario = Scenario()
    for key, value in changes:
        scenario = scenario.changed(key, value)
    played, waiting, reply = Played(), list(happenings), None
    script = gateway_run(settings, scenario, lambda: NOW, restart=restart)
    while True:
        try:
            step = script.send(reply)
        except StopIteration as finished:
            played.end = finished.value
            return played
        answer: Reply = None
        match step:
            case Ibc(text) | Raw(text):
                played.lines.append(text)
            case Show(state):
                played.states.append(state)
            case Pause(seconds):
                played.pauses += seconds
            case OpenApi(accounts):
                played.api.append(accounts)
            case CloseApi():
                played.api.append(None)
            case Broadcast(code):
                played.codes.append(code)
            case AskApproval(seconds, approved_after):
                if approved_after is not None:
                    answer = Answer(True, approved_after)
                elif missed:
                    missed -= 1
                    answer = Answer(False, seconds)
                else:
                    answer = Answer(True, 1.0)
            case Serve(seconds):
                if waiting:
                    answer = waiting.pop(0)
                elif seconds is None:
                    return played
            case Hang():
                played.hangs = True
                return played
        reply = answer


def test_good_login_says_the_contracts_lines_in_order() -> None:
    played = play(replace(USER, auto_restart=time(2, 0), cold_restart=time(13, 0)))
    played.say_in_order(
        "Gateway will be cold restarted at 2026/11/29 13:00",
        "Starting session: will exit if login dialog is not displayed within 60 seconds",
        "Login dialog WINDOW_OPENED: LoginState is LOGGED_OUT",
        "Setting user name",
        "Setting password",
        "Login attempt: 1",
        "Click button: Paper Log In",
        "detected frame entitled: Connecting to server...; event=Opened",
        "detected frame entitled: Authenticating...; event=Opened",
        "detected frame entitled: Starting application...; event=Closed",
        "Login has completed",
        "Auto restart time set to 02:00 AM",
        "Setting ReadOnlyApi",
        "Read-Only API checkbox is now set to: false",
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


def test_unset_read_only_api_is_not_configured() -> None:
    lines = play(replace(USER, read_only=None)).lines
    assert "Setting ReadOnlyApi" not in lines
    assert "Configuration tasks completed" in lines


@pytest.mark.parametrize("settings", [replace(USER, user=""), replace(USER, password="")])
def test_empty_credentials_hang_before_the_attempt(settings: GatewaySettings) -> None:
    played = play(settings)
    assert played.lines[-1] == "Setting password"
    assert played.hangs
    assert played.states[-1] is LoginState.HANGING


COLD = ("Cold restart in progress", "Click button: OK", "Login has not completed: exiting immediately")
DIALOG = "detected dialog entitled: {}; event=Opened"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("CREDENTIALS", "bad_a"), (DIALOG.format("Login failed"), "Login failed")),
        (("CREDENTIALS", "locked"), (DIALOG.format("Login Error"), "account has been locked")),
        (("SERVER", "down"), (DIALOG.format("IBKR Gateway"), "Connection to server failed")),
    ],
)
def test_login_error_restarts_cold_for_ever(change: tuple[str, str], words: tuple[str, ...]) -> None:
    played = play(USER, change)
    played.say_in_order("Login attempt: 1", *words, *COLD)
    assert played.end == RunEnd(0, cold_restart=True)
    assert played.api == []
    lines, again = after_run(played.end, USER, Scenario(), None)
    assert lines == ["IBC returned exit status 0", "IBC will cold-restart shortly", "IBC will restart shortly"]
    assert again


def test_bad_credentials_b_hang_on_a_dialog() -> None:
    played = play(USER, ("CREDENTIALS", "bad_b"))
    assert played.lines[-1] == DIALOG.format("Unrecognized Username or Password")
    assert played.hangs


def test_rate_limit_waits_and_logs_in_again_only_with_relogin() -> None:
    change = ("CREDENTIALS", "rate_limited"), ("RATE_LIMIT_SECONDS", "80")
    played = play(USER, *change)
    played.say_in_order(
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
    played.say_in_order(
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
    played.say_in_order(
        "Duration since login: 182 seconds",
        "Re-login after second factor authentication timeout in 5 second",
        "Login attempt: 2",
        "Re-login after second factor authentication timeout in 5 second",
        "Login attempt: 3",
        "Login has completed",
    )
    assert LoginState.RELOGIN_WAIT in played.states


def test_second_factor_missed_exits_without_relogin() -> None:
    settings = replace(USER, relogin=False)
    played = play(settings, ("TWOFA", "never"))
    assert played.lines[-1] == "Re-login after second factor authentication timeout not required"
    assert played.end == RunEnd(0)
    lines, again = after_run(RunEnd(0), settings, Scenario(), None)
    assert not again
    assert "Gateway finished" in lines


def test_slow_login_after_approval_ends_with_1111() -> None:
    played = play(USER, ("TWOFA", "approve_after:1"), ("SLOW_AFTER_2FA", "61"))
    played.say_in_order(
        "IBC closing because login has not completed after Second Factor Authentication",
        "Exiting after error with exit code=1111",
    )
    assert played.end == RunEnd(1111)
    assert after_run(played.end, USER, Scenario(), None)[1]
    lines, again = after_run(played.end, replace(USER, twofa_restart=False), Scenario(), None)
    assert lines[0] == "IBC returned exit status 87"
    assert not again


def test_login_a_little_slow_after_approval_succeeds() -> None:
    played = play(USER, ("TWOFA", "approve_after:1"), ("SLOW_AFTER_2FA", "59"))
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
    played.say_in_order("Second Factor Authentication; event=Opened", words)
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
        assert played.end == RunEnd(0)
        assert played.lines[-1] == DIALOG.format("Shutdown progress")
    else:
        assert played.end is None
        assert played.api == [("DU1234567",)]


@pytest.mark.parametrize("action", ["primaryoverride", "secondary"])
def test_login_handoff_ends_with_1110(action: str) -> None:
    existing = ("EXISTING_SESSION", "handoff")
    settings = replace(USER, existing_session_action=action)
    played = play(settings, existing)
    if action == "secondary":
        assert played.end == RunEnd(0), "a secondary session yields before it comes to that"
        return
    played.say_in_order(
        "(scenario 3)",
        DIALOG.format("Trading Login Handoff"),
        "Handoff dialog; error: ",
        "Exiting after error with exit code=1110",
    )
    assert played.end == RunEnd(1110)
    lines, again = after_run(played.end, settings, Scenario(), None)
    assert lines[0] == "IBC returned exit status 86"
    assert not again


def test_login_handoff_goes_on_when_primary() -> None:
    played = play(replace(USER, existing_session_action="primary"), ("EXISTING_SESSION", "handoff"))
    played.say_in_order("Trading Login Handoff", "Disconnect Other Session", "Login has completed")


@pytest.mark.parametrize(("setting", "again"), [("yes", False), ("loop", True)])
def test_no_login_window_ends_with_1112(setting: str, again: bool) -> None:
    change = ("NO_LOGIN_WINDOW", setting)
    played = play(USER, change, ("LOGIN_DIALOG_SECONDS", "12"))
    played.say_in_order(
        "is not displayed within 12 seconds",
        "IBC closing after TWS/Gateway failed to display login dialog",
        "Exiting after error with exit code=1112",
    )
    assert played.pauses == 12
    assert played.end == RunEnd(1112)
    lines, restarted = after_run(played.end, USER, Scenario().changed(*change), None)
    assert lines[0] == "IBC returned exit status 88"
    assert restarted is again


def test_daily_restart_keeps_the_session() -> None:
    played = play(USER, happenings=(Happening.DAILY_RESTART,))
    assert played.end == RunEnd(0, autorestart=True)
    assert played.api[:2] == [("DU1234567",), None]
    lines, again = after_run(played.end, USER, Scenario(), "/settings/x/autorestart")
    assert "autorestart file found at /settings/x/autorestart: authentication will not be required" in lines
    assert again
    resumed = play(USER, ("TWOFA", "never"), restart=True)
    resumed.say_in_order("Re-starting session", "Login dialog WINDOW_OPENED", "Login has completed")
    assert not any("Login attempt" in line or "Second Factor" in line for line in resumed.lines)


def test_refused_token_hangs_after_the_restart_only() -> None:
    played = play(USER, ("TOKEN_REFUSED", "yes"), restart=True)
    played.say_in_order("Re-starting session", "Re-login to session")
    assert played.hangs
    assert "Login has completed" in play(USER, ("TOKEN_REFUSED", "yes")).lines


@pytest.mark.parametrize(
    ("happening", "end"),
    [
        (Happening.COLD_RESTART, RunEnd(0, cold_restart=True)),
        (Happening.END_OF_WEEK, RunEnd(0)),
        (Happening.AUTO_LOGOFF, RunEnd(0)),
        (Happening.CRASH, RunEnd(1)),
    ],
)
def test_happenings_that_end_the_run(happening: Happening, end: RunEnd) -> None:
    played = play(USER, happenings=(happening,))
    assert played.end == end
    assert played.api[-1] is None


def test_crash_after_its_time() -> None:
    assert play(USER, ("CRASH_AFTER", "5")).end == RunEnd(1)


def test_server_goes_down_and_comes_back_while_logged_in() -> None:
    played = play(USER, happenings=(Happening.SERVER_DOWN, Happening.SERVER_UP))
    assert played.codes == [1100, 1102]
    assert played.end is None


def test_write_access_dialog() -> None:
    played = play(USER, happenings=(Happening.WRITE_ACCESS,))
    assert played.lines[-1] == DIALOG.format("API client needs write access action confirmation")


def test_launch_lines_name_the_autorestart_file_or_its_absence() -> None:
    assert "autorestart file not found: full authentication will be required" in launch_lines(USER, None, NOW)
    found = launch_lines(USER, "/s/x/autorestart", NOW)
    assert "autorestart file found at /s/x/autorestart: authentication will not be required" in found
    assert "Starting IBC version 3.24.1 on 2026-11-23 at 01:10:50" in found


def test_stamp_is_ibcs() -> None:
    assert stamp(NOW, "Login has completed") == "2026-11-23 01:10:50:123 IBC: Login has completed"
