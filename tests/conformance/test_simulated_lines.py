"""The simulator's login script logs what the real IBC logged in the same flow."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import time
from pathlib import Path

import pytest
from conformance import captured
from conformance.controller import Line
from simulator.tests.login_player import USER, Played, play

from gateway_simulator.login.startscript import after_run
from gateway_simulator.login.steps import Event, Happening, OpenDialog, RestartCommand
from gateway_simulator.settings import CommandServerSettings, GatewaySettings

PAPER = replace(
    USER,
    auto_restart=time(2, 0),
    existing_session_action="primaryoverride",
    twofa_exit_interval=6,
    settings_path=Path("<settings>"),
)
LIVE = replace(PAPER, mode="live")
NO_RELOGIN = replace(LIVE, relogin=False)
DEVICE = replace(LIVE, twofa_device="IB Key")
PUSH = ("TWOFA", "approve_after:1")
DEVICES = ("TWOFA_DEVICES", "IB Key,Security Card")
START = "Starting Gateway with this command:"
FILE = "<settings>/abcdef/autorestart"


@dataclass(frozen=True)
class Simulated:
    """One run: the image's variables, settings of the scenario, what happens in the session.

    ``restart`` with the autorestart file, which is one that can be used with ``token``. ``missed`` second factors
    before one is approved.
    """

    settings: GatewaySettings = PAPER
    changes: tuple[tuple[str, str], ...] = ()
    events: tuple[Event, ...] = ()
    restart: bool = False
    token: bool = True
    missed: int = 1

    def lines(self) -> list[str]:
        """What the run and the start script behind it log."""
        played: Played = play(
            self.settings,
            ("ACCOUNTS", "DU1234567"),
            *self.changes,
            happenings=self.events,
            restart=self.restart,
            token=self.token,
            missed=self.missed,
        )
        if played.end is None:
            return played.log
        return [*played.log, *after_run(played.end, self.settings, FILE if played.end.autorestart else None)[0]]


def refused(kind: str, text: str = "") -> Simulated:
    return Simulated(changes=(("REFUSAL", kind), ("REFUSAL_TEXT", text)))


def existing(action: str, when: str) -> tuple[Simulated, ...]:
    return (Simulated(replace(PAPER, existing_session_action=action), (("EXISTING_SESSION", when),)),)


def handed_off(action: str) -> tuple[Simulated, ...]:
    return (Simulated(replace(LIVE, existing_session_action=action), (("EXISTING_SESSION", "handoff"), PUSH)),)


def restarted(refusal: str = "no") -> tuple[Simulated, ...]:
    return (
        Simulated(events=(Happening.DAILY_RESTART,)),
        Simulated(restart=True, changes=(("TOKEN_REFUSED", refusal),)),
    )


def commanded(verb: str, happening: Happening) -> tuple[Simulated, ...]:
    settings = replace(PAPER, command_server=CommandServerSettings(7462, "127.0.0.1", "127.0.0.1"))
    events = (RestartCommand(verb, "<next minute>"), happening)
    return (Simulated(settings, events=events), Simulated(settings, restart=True))


WELL = Simulated()
FLOWS: dict[str, tuple[Simulated, ...]] = {
    "login_paper": (WELL,),
    "login_no_user": (Simulated(replace(PAPER, user="")),),
    "login_no_password": (Simulated(replace(PAPER, password="")),),
    "twofa_approved": (Simulated(LIVE, (PUSH,)),),
    "twofa_approved_no_relogin": (Simulated(NO_RELOGIN, (PUSH,)),),
    "twofa_waits": (Simulated(LIVE, (("TWOFA", "never"),)),),
    "twofa_missed_relogin": (Simulated(LIVE, (("TWOFA", "never"),)),),
    "twofa_missed_no_relogin": (Simulated(NO_RELOGIN, (("TWOFA", "never"),)),),
    "twofa_late_relogin": (Simulated(LIVE, (("TWOFA", "approve_after:300"), ("TWOFA_SECONDS", "400"))),),
    "twofa_late_no_relogin": (Simulated(NO_RELOGIN, (("TWOFA", "approve_after:300"), ("TWOFA_SECONDS", "400"))),),
    "twofa_flicker": (Simulated(LIVE, (("TWOFA", "close_after:0.3"),)), Simulated(LIVE, (PUSH,))),
    "twofa_slow_login_exit": (Simulated(replace(LIVE, twofa_restart=False), (PUSH, ("SLOW_AFTER_2FA", "9"))),),
    "twofa_device_list": (Simulated(DEVICE, (PUSH, DEVICES)),),
    "twofa_device_list_same_dialog": (Simulated(DEVICE, (PUSH, DEVICES, ("TWOFA_SAME_DIALOG", "yes"))),),
    "twofa_device_list_timer": (
        Simulated(DEVICE, (("TWOFA", "never"), DEVICES)),
        Simulated(DEVICE, (("TWOFA", "never"), DEVICES)),
    ),
    "twofa_device_unset": (Simulated(LIVE, (PUSH, DEVICES)),),
    "twofa_device_unknown": (Simulated(replace(LIVE, twofa_device="phone"), (PUSH, DEVICES)),),
    "twofa_no_device_list": (Simulated(LIVE, (("EXIT_CODE", "1101"),)),),
    "twofa_code": (Simulated(LIVE, (("TWOFA", "code"),)),),
    "unrecognized_password": (Simulated(changes=(("CREDENTIALS", "bad_a"),)),),
    "login_failed_disconnected": (refused("login_failed"), WELL),
    "login_failed_three_times": (*[Simulated(changes=(("SERVER", "maintenance"),))] * 3, WELL),
    "login_error_disconnected": (refused("login_error"), WELL),
    "login_error_locked": (Simulated(changes=(("CREDENTIALS", "locked"),)), WELL),
    "login_error_locked_attempts": (
        refused(
            "login_error", "Your account has been locked after too many failed login attempts. Contact Client Services."
        ),
    ),
    "login_error_unknown": (refused("login_error", "Error code 4711"), WELL),
    "server_failed_disconnected": (Simulated(changes=(("SERVER", "down"),)), WELL),
    "server_failed_network": (refused("connection_failed", "Network is unreachable"), WELL),
    "server_failed_passkey": (refused("connection_failed", "Required PassKey is not supported"), WELL),
    "server_failed_version": (
        refused("connection_failed", "This version is no longer supported. Please upgrade."),
        WELL,
    ),
    "too_many_attempts_no_relogin": (
        Simulated(replace(PAPER, relogin=False), (("CREDENTIALS", "rate_limited"), ("RATE_LIMIT_SECONDS", "287"))),
    ),
    "reconnect_gives_up": (Simulated(events=(Happening.SERVER_DOWN, Happening.END_OF_WEEK)),),
    "logoff": (Simulated(events=(Happening.AUTO_LOGOFF,)),),
    "crash_logged_in": (Simulated(events=(Happening.CRASH,)),),
    "write_access": (Simulated(replace(PAPER, read_only=True), events=(Happening.WRITE_ACCESS,)),),
    "daily_restart": restarted(),
    "command_restart": commanded("RESTART", Happening.DAILY_RESTART),
    "command_pause": commanded("PAUSE", Happening.PAUSE)[:1],
    "daily_restart_unrecognized": restarted("unrecognized"),
    "daily_restart_relogin_unrecognized": restarted("relogin_unrecognized"),
    "daily_restart_relogin_stuck": restarted("yes"),
    "stale_autorestart": (Simulated(restart=True, token=False),),
    "existing_session_manual_at_login": existing("manual", "login"),
    "existing_session_secondary_at_login": existing("secondary", "login"),
    "existing_session_primary_at_login": existing("primary", "login"),
    "existing_session_primaryoverride_at_login": existing("primaryoverride", "login"),
    "existing_session_primaryoverride_at_login_twice": existing("primaryoverride", "login_twice"),
    "existing_session_manual_logged_in": existing("manual", "logged_in"),
    "existing_session_secondary_logged_in": existing("secondary", "logged_in"),
    "existing_session_primary_logged_in": existing("primary", "logged_in"),
    "existing_session_primaryoverride_logged_in": existing("primaryoverride", "logged_in"),
    "no_login_window": (Simulated(changes=(("NO_LOGIN_WINDOW", "yes"), ("LOGIN_DIALOG_SECONDS", "2"))),) * 2,
    "handoff_manual": handed_off("manual"),
    "handoff_primary": handed_off("primary"),
    "handoff_primaryoverride": handed_off("primaryoverride"),
    "invalid_trading_mode": (Simulated(changes=(("EXIT_CODE", "1104"),)),),
    "invalid_cold_restart_time": (Simulated(changes=(("EXIT_CODE", "1105"),)),),
    "jts_ini_unusable": (Simulated(changes=(("EXIT_CODE", "1108"),)),),
    "configuration_already_read_only": (Simulated(replace(PAPER, read_only=True)),),
    "twofa_slow_login": (Simulated(LIVE, (PUSH, ("SLOW_AFTER_2FA", "9"))), Simulated(LIVE, (("TWOFA", "never"),))),
    "server_failed_paper_users": (
        refused(
            "connection_failed",
            "Multiple paper trading users are associated with this user. Log in with the paper user name.",
        ),
        WELL,
    ),
    "no_program": (Simulated(changes=(("EXIT_CODE", "1107"),)),),
    "dialog_login_messages": (Simulated(changes=(("DIALOG", "Login Messages"),)),),
    "dialog_password_notice": (Simulated(events=(OpenDialog("Password Notice"),)),),
    "dialog_upgrade": (refused("upgrade", "This version"),),
    "configuration_no_read_only": (Simulated(changes=(("CONFIGURATION", "no_read_only"),)),),
}
"""By the name of the real flow: what the simulator plays."""

NOT_SIMULATED = (
    # What the start script and IBC write about the machine and its files.
    r"jts\.ini|(?:Found|Can't find) setting: |using default (?:settings|login|trading mode)|trading mode from settings",
    # IBC 3.25 only; the image has 3.24.
    r"Selected second factor device: ",
    r"version: N",
    r"stand-in: ",
    r"<ibc>",
    # The gateway ends before IBC has noticed it, or after.
    r"Restart in progress; event=Closed",
    r"^$",
)
_LEFT_OUT = re.compile("|".join(NOT_SIMULATED))
# The tasks of the configuration run beside the login, and beside each other.
_BESIDE = re.compile(
    r"onfig dialog|main window|Main window|Configuration|ReadOnlyApi|Read-Only|Auto restart|Click button: OK|"
    r"Login has not completed: exiting|Cold restart in progress|^!+$|entitled: Second Factor.*Closed"
)


def comparable(lines: Iterable[Line]) -> list[list[str]]:
    """For each run of the gateway its lines without times, focus and what is left out."""
    runs: list[list[str]] = []
    for text in captured.essential(lines):
        if text == START:
            runs.append([])
        elif runs and not _LEFT_OUT.search(text):
            plain = text.removeprefix("<time> IBC: ").partition(". Available devices")[0]
            plain = re.sub(r"Will re-login at [N:. -]+;", "Will re-login at <time>;", plain)
            runs[-1].append(re.sub(r"-Drestart=\w+", "-Drestart=N", plain))
    return runs


@pytest.mark.parametrize("name", FLOWS)
def test_simulator_logs_the_lines_of_the_real_ibc(name: str) -> None:
    real = comparable(captured.read("ibc", name).lines)
    simulated = [comparable([Line(0.0, text) for text in each.lines()])[0] for each in FLOWS[name]]
    assert len(real) == len(simulated)
    for number, (expected, got) in enumerate(zip(real, simulated, strict=True), 1):
        # The last real run was left while it went on.
        logged = got[: len(expected)] if number == len(real) else got
        assert in_order(logged) == in_order(expected)
        assert sorted(logged) == sorted(expected)


def in_order(lines: list[str]) -> list[str]:
    """The lines whose order is no race."""
    return [line for line in lines if not _BESIDE.search(line)]
