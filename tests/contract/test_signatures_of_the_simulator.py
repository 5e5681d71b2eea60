"""Every signature of the gateway's log is produced by the simulator, and each failure is recognised from its log.

So a word that only one of the two knows is found: the simulator's, which nobody would recognise, or the file's, which
no gateway would ever log.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.engine import docker

from gateway_watch import signatures
from gateway_watch.engine import parse_time
from gateway_watch.login import LoginTracker, modes_of

ROOT = Path(__file__).parents[2]
SECONDS = 40
"""What one scenario may take; each takes a few."""
TIMED = re.compile(r"^(\S+Z) (.*)$")


@dataclass(frozen=True)
class Scenario:
    """A container with `environment` (GATEWAY_SIMULATOR_ left out of its own settings) until `until` is in its log.

    `then` are control commands, given one by one, each followed by a wait for its own line.
    """

    environment: dict[str, str]
    until: str
    cause: str | None = None
    then: tuple[tuple[tuple[str, ...], str], ...] = ()
    simulator: dict[str, str] = field(default_factory=dict)
    stop: bool = False


PAPER = {
    "TRADING_MODE": "paper",
    "TWS_USERID": "user",
    "TWS_PASSWORD": "word",
    "RELOGIN_AFTER_TWOFA_TIMEOUT": "yes",
    "TWOFA_TIMEOUT_ACTION": "restart",
    "EXISTING_SESSION_DETECTED_ACTION": "primaryoverride",
    "READ_ONLY_API": "no",
    "TIME_ZONE": "America/New_York",
    "TZ": "America/New_York",
    "TWS_SETTINGS_PATH": "/home/ibgateway/tws_settings",
}
LIVE = PAPER | {"TRADING_MODE": "live"}
READY = "Configuration tasks completed"

SCENARIOS = {
    "a good day": Scenario(
        PAPER,
        READY,
        then=(
            (("restart-daily",), r"autorestart file found(.|\n)*Configuration tasks completed"),
            (("write-access",), "write access"),
            (("server-down",), "entitled: Attempt 1: "),
            (("server-up",), "Attempt 1: .*; event=Closed"),
            (("restart-cold",), r"(Re-starting|[Cc]old.restart)(.|\n)*Configuration tasks completed"),
        ),
        stop=True,
    ),
    "approved": Scenario(LIVE, READY, simulator={"TWOFA": "approve_after:2"}),
    "missed": Scenario(LIVE, "timeout in", "twofa_missed", simulator={"TWOFA": "never", "TWOFA_SECONDS": "3"}),
    "missed for good": Scenario(
        LIVE | {"RELOGIN_AFTER_TWOFA_TIMEOUT": "no", "TWOFA_TIMEOUT_ACTION": "exit"},
        "not required",
        "twofa_missed",
        simulator={"TWOFA": "never", "TWOFA_SECONDS": "3"},
    ),
    "slow after the approval": Scenario(
        LIVE | {"TWOFA_EXIT_INTERVAL": "2"},
        "1111|after Second Factor Authentication",
        "twofa_slow_login",
        simulator={"TWOFA": "approve_after:1", "SLOW_AFTER_2FA": "60"},
    ),
    "no device chosen": Scenario(LIVE, "You should specify", "twofa_device_unset", simulator={"TWOFA": "device_unset"}),
    "no such device": Scenario(
        LIVE | {"TWOFA_DEVICE": "phone"},
        "could not find",
        "twofa_device_unknown",
        simulator={"TWOFA": "device_unknown"},
    ),
    "devices": Scenario(
        LIVE | {"TWOFA_DEVICE": "IB Key"},
        READY,
        simulator={"TWOFA": "approve_after:1", "TWOFA_DEVICES": "Security Card,IB Key"},
    ),
    "dialog closes early": Scenario(
        LIVE | {"TWOFA_EXIT_INTERVAL": "2"}, "1111", "twofa_slow_login", simulator={"TWOFA": "close_after:0.3"}
    ),
    **{
        f"wrong password {word}": Scenario(
            PAPER, "entitled: Unrecognized", "bad_credentials", simulator={"CREDENTIALS": word}
        )
        for word in ("wrong", "bad_a", "bad_b")
    },
    "locked": Scenario(PAPER, "(?i)locked", "account_locked", simulator={"CREDENTIALS": "locked"}),
    "locked after too many attempts": Scenario(
        PAPER,
        "Will re-login at",
        "account_locked",
        simulator={"REFUSAL": "login_error", "REFUSAL_TEXT": "This user is locked: too many failed login attempts."},
    ),
    "maintenance": Scenario(PAPER, "Cold restart in progress", "login_failed", simulator={"SERVER": "maintenance"}),
    "login failed": Scenario(PAPER, "Cold restart in progress", "login_failed", simulator={"REFUSAL": "login_failed"}),
    **{
        f"{refusal}: {text}": Scenario(PAPER, until, cause, simulator={"REFUSAL": refusal, "REFUSAL_TEXT": text})
        for refusal, text, until, cause in (
            ("login_error", "Error code 4711", "cold-restart shortly", "login_error"),
            ("login_error", "Server disconnected, please try again", "cold-restart shortly", "maintenance"),
            ("connection_failed", "Network is unreachable", "cold-restart shortly", "server_down"),
            ("connection_failed", "Required PassKey is not supported", "cold-restart shortly", "passkey_required"),
            (
                "connection_failed",
                "This version is no longer supported.",
                "cold-restart shortly",
                "version_unsupported",
            ),
            (
                "connection_failed",
                "Multiple Paper Trading users associated with this user",
                "cold-restart shortly",
                "several_paper_users",
            ),
            ("connection_failed_html", "Required PassKey is not supported", "IBC: <html>", "passkey_required"),
            ("upgrade", "This version", "needs to be upgraded", "unknown_dialog"),
        )
    },
    "too many": Scenario(PAPER, "Will re-login at", "rate_limited", simulator={"CREDENTIALS": "rate_limited"}),
    "servers down": Scenario(
        PAPER,
        "Connection to server failed",
        "server_down",
        simulator={"SERVER": "down", "REFUSAL_TEXT": "Network is unreachable"},
    ),
    "no login window": Scenario(
        PAPER,
        "1112",
        "no_login_window",
        simulator={"NO_LOGIN_WINDOW": "yes", "LOGIN_DIALOG_SECONDS": "2"},
    ),
    **{
        f"existing session {number}": Scenario(
            PAPER, rf"\(scenario {number}\)", cause, simulator={"EXISTING_SESSION": str(number)}
        )
        for number, cause in enumerate(
            ("existing_session", "session_yielded", None, "session_yielded", None, "session_yielded"), 1
        )
    },
    "handoff": Scenario(PAPER, "1110", "login_handoff", simulator={"EXISTING_SESSION": "handoff"}),
    "handoff as primary": Scenario(
        PAPER | {"EXISTING_SESSION_DETECTED_ACTION": "primary"}, READY, simulator={"EXISTING_SESSION": "handoff"}
    ),
    "token refused": Scenario(
        PAPER,
        READY,
        "token_refused",
        then=((("restart-daily",), "Re-login to session"),),
        simulator={"TOKEN_REFUSED": "yes"},
    ),
    "token unrecognized": Scenario(
        PAPER,
        READY,
        "token_refused",
        then=((("restart-daily",), "entitled: Unrecognized"),),
        simulator={"TOKEN_REFUSED": "unrecognized"},
    ),
    "stale file": Scenario(
        PAPER,
        READY,
        "stale_autorestart",
        then=((("restart-daily",), r"Re-starting session(.|\n)*WINDOW_OPENED"),),
        simulator={"STALE_AUTORESTART": "yes"},
    ),
    "read-only not found": Scenario(PAPER, READY, "not_configured", simulator={"CONFIGURATION": "no_read_only"}),
    "no settings menu": Scenario(PAPER, "code=1100", "not_configured", simulator={"CONFIGURATION": "no_menu"}),
    "login messages": Scenario(PAPER, "Login Messages", "unknown_dialog", simulator={"DIALOG": "Login Messages"}),
    **{
        f"exit code {code}": Scenario(PAPER, f"code={code}", cause, simulator={"EXIT_CODE": str(code)})
        for code, cause in (
            (1100, "controller_error"),
            (1101, "control_missing"),
            (1102, "controller_misconfigured"),
            (1103, "controller_misconfigured"),
            (1104, "controller_misconfigured"),
            (1105, "controller_misconfigured"),
            (1106, "controller_misconfigured"),
            (1107, "gateway_entry_missing"),
            (1108, "settings_unwritable"),
            (1109, "settings_unwritable"),
            (1110, "login_handoff"),
        )
    },
    "no Java": Scenario(PAPER, "find suitable Java", "bad_image", simulator={"JAVA_MISSING": "yes"}),
    "no such mode": Scenario(PAPER | {"TRADING_MODE": "demo"}, "Invalid TRADING_MODE", "invalid_trading_mode"),
    "two passwords": Scenario(PAPER | {"TWS_PASSWORD_FILE": "/run/word"}, "TWS_PASSWORD", "password_set_twice"),
    "no credentials": Scenario(PAPER | {"TWS_USERID": "", "TWS_PASSWORD": ""}, "Setting password", "empty_credentials"),
}


IN_IBC_3_25_ONLY = {"twofa_device_chosen", "restart_time_invalid"}
"""Lines that the simulated version does not have; those captured from the real one hold them."""


def image() -> str:
    name: str = json.loads((ROOT / ".sandbox/images.json").read_text())["simulator"]
    return name


def wait_for(container: str, pattern: str, deadline: float) -> None:
    """Until the log has the pattern; docker has no event for a line, so its log is read again and again."""
    while True:
        log = docker("logs", container)
        if re.search(pattern, log.stdout + log.stderr):
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"no {pattern!r} in:\n{log.stdout}{log.stderr}")
        time.sleep(0.2)


def run(scenario: Scenario) -> list[tuple[str, str]]:
    """(time, line) of the container's log."""
    settings = scenario.environment | {
        f"GATEWAY_SIMULATOR_{name}": value for name, value in ({"START_SECONDS": "1"} | scenario.simulator).items()
    }
    arguments = [part for name, value in settings.items() for part in ("--env", f"{name}={value}")]
    name = f"sigtest-{uuid.uuid4().hex[:12]}"
    created = docker("run", "--detach", "--name", name, *arguments, image())
    assert created.returncode == 0, created.stderr
    container = created.stdout.strip()
    deadline = time.monotonic() + SECONDS
    try:
        wait_for(container, scenario.until, deadline)
        for command, pattern in scenario.then:
            done = docker("exec", container, "gateway-simulatorctl", *command)
            assert done.returncode == 0, done.stderr
            wait_for(container, pattern, deadline)
        if scenario.stop:
            docker("stop", "-t", "20", container)
        log = docker("logs", "--timestamps", container)
    finally:
        docker("rm", "--force", container)
    lines = (log.stdout + log.stderr).splitlines()
    return sorted(found.groups() for line in lines if (found := TIMED.match(line)))  # type: ignore[misc]  # groups() does not know their number


@pytest.fixture(scope="module")
def logs() -> Iterator[dict[str, list[tuple[str, str]]]]:
    with ThreadPoolExecutor(5) as pool:
        yield dict(zip(SCENARIOS, pool.map(run, SCENARIOS.values()), strict=True))


def test_every_signature_is_logged_by_the_simulator(logs: dict[str, list[tuple[str, str]]]) -> None:
    known = signatures.load("ibc")
    said = {signature.id for log in logs.values() for _, line in log for signature, _ in known.matches(line)}
    assert {signature.id for signature in known.signatures} - said == IN_IBC_3_25_ONLY


@pytest.mark.parametrize("name", [name for name, scenario in SCENARIOS.items() if scenario.cause])
def test_the_failure_is_recognised_from_the_log(name: str, logs: dict[str, list[tuple[str, str]]]) -> None:
    mode = SCENARIOS[name].environment["TRADING_MODE"]
    tracker = LoginTracker(modes=modes_of(mode if mode in ("paper", "live", "both") else "paper"), twofa_timeout=180)
    causes = [
        change.cause.id for time, line in logs[name] for change in tracker.feed(parse_time(time), line) if change.cause
    ]
    while not causes and (deadline := tracker.deadline()):
        # Silence is a sign too: as if nothing came after the last line.
        causes += [change.cause.id for change in tracker.after(deadline) if change.cause]
    assert causes[:1] == [SCENARIOS[name].cause]
