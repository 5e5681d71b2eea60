"""How the supervisor handles links, refusals, kept sessions and dialogs: real engine, real container.

Each test is a story that users reported, replayed with the lines that the real login controller prints.
"""

from __future__ import annotations

import re
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.engine import docker
from tests.integration.supervised import (
    ATTEMPT,
    DONE,
    LISTEN,
    LOGIN,
    LOGIN_FAILED,
    NORMAL,
    STAMP,
    START,
    STAY,
    TEMPLATE,
    TWOFA,
    WEDNESDAY,
    WRONG_PASSWORD,
    Gateway,
    MakeGateway,
    notify,
    prints,
    script,
)
from tests.unit.notifications.webhook import Webhook

from gateway_watch.soft_restart import Kind, Request, request_file, write_request

SATURDAY = datetime(2026, 11, 28, 6, 30, tzinfo=UTC)
"""Half past one at night in New York: IBKR's weekly maintenance, until 3:00."""

TO_PUSH = (START, *LOGIN, *ATTEMPT, *TWOFA)


def frame(title: str, event: str) -> str:
    return f"{STAMP}detected frame entitled: {title}; event={event}"


def dialog(title: str, event: str = "Opened") -> str:
    return f"{STAMP}detected dialog entitled: {title}; event={event}"


# --- row 1: a gateway that reconnects is left alone ------------------------------------------------------------


def test_a_link_that_is_lost_longer_than_the_start_timeout_restarts_nothing(make: MakeGateway) -> None:
    gateway = make(start_timeout=5)
    outage = (frame("Connecting to server...", "Opened"), frame("Attempt 7: Authenticating...", "Activated"))
    back = frame("Attempt 7: Authenticating...", "Closed")
    done = prints(START, *LOGIN, *ATTEMPT, *DONE)
    gateway.create(script(done, LISTEN, "sleep 3", prints(*outage), "sleep 10", prints(back), STAY))
    process = gateway.start()
    gateway.systemd.wait_status("the link to IBKR is lost; the gateway reconnects by itself (attempt 7)")
    gateway.systemd.wait_status("connected to IBKR again")
    session = gateway.session()
    status, output = gateway.terminate(process)
    assert (status, session["last_cause"]) == (0, None)
    assert "start_timeout" not in output
    # The session is the one that there was: no login, no restart.
    assert output.count("ready: logged in (paper) and listening") == 1


# --- row 2: refusals and maintenance ---------------------------------------------------------------------------


def test_login_failed_is_no_wrong_password_and_the_controller_does_not_repeat_it(make: MakeGateway) -> None:
    gateway = make()
    attempt = prints(START, *LOGIN, *ATTEMPT, *LOGIN_FAILED)
    status, output = gateway.run(script(attempt, "sleep 3", attempt, "sleep 3", attempt, STAY))
    assert (status, gateway.running()) == (1, False)
    assert gateway.breaker() == gateway.breaker() | {"bad_logins": 0, "refusals": {"login_failed": 1}, "open": None}
    assert gateway.session()["last_cause"] == "login_failed"
    assert "bad_credentials" not in output
    for _ in range(3):
        assert gateway.run(script(attempt, STAY))[0] == 1
    status, output = gateway.run(script(attempt, STAY))
    assert (status, gateway.breaker()["open"]["cause"]) == (78, "login_failed")
    assert "5 times in a row; no further login is tried" in output


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        (LOGIN_FAILED, "login_failed"),
        ((STAMP + "Login error message:", "Server disconnected, please try again"), "maintenance"),
        (WRONG_PASSWORD, "bad_credentials"),
    ],
)
def test_in_maintenance_a_proven_password_waits_and_logs_in_once_after_it(
    make: MakeGateway, lines: tuple[str, ...], cause: str
) -> None:
    gateway = make()
    gateway.create(NORMAL)
    process = gateway.start(moment=SATURDAY - timedelta(days=3))
    gateway.systemd.wait_ready()
    assert gateway.terminate(process)[0] == 0

    refused = script(prints(START, *LOGIN, *ATTEMPT, *lines, *LOGIN_FAILED[1:]), STAY)
    status, _ = gateway.run(refused, moment=SATURDAY)
    assert (status, gateway.session()["last_cause"]) == (1, cause)
    # Nothing was counted.
    assert not (gateway.state / "breaker.json").exists()

    # Nothing is tried while the maintenance lasts.
    gateway.create(NORMAL)
    process = gateway.start(moment=SATURDAY + timedelta(minutes=5))
    gateway.systemd.wait_status("during IBKR's maintenance; the next one comes after it, at 03:02 (America/New_York)")
    gateway.systemd.wait(lambda messages: any(m.startswith("EXTEND_TIMEOUT_USEC=") for m in messages))
    status, output = gateway.terminate(process)
    assert (status, START in output) == (0, False)

    # After it, once.
    process = gateway.start(moment=SATURDAY + timedelta(hours=2))
    gateway.systemd.wait(lambda messages: messages.count("READY=1") == 2)
    status, output = gateway.terminate(process)
    assert (status, output.count(START)) == (0, 1)


def test_a_password_that_never_worked_is_counted_in_maintenance_as_well(make: MakeGateway) -> None:
    gateway = make()
    refused = script(prints(START, *LOGIN, *ATTEMPT, *WRONG_PASSWORD), STAY)
    assert gateway.run(refused, moment=SATURDAY)[0] == 1
    assert gateway.run(refused, moment=SATURDAY)[0] == 78
    assert gateway.breaker()["open"]["cause"] == "bad_credentials"


def test_a_password_that_was_changed_is_not_proven_by_the_one_before(make: MakeGateway) -> None:
    gateway = make()
    gateway.create(NORMAL)
    process = gateway.start(moment=SATURDAY - timedelta(days=3))
    gateway.systemd.wait_ready()
    gateway.terminate(process)
    gateway.change_password()
    refused = script(prints(START, *LOGIN, *ATTEMPT, *WRONG_PASSWORD), STAY)
    assert gateway.run(refused, moment=SATURDAY)[0] == 1
    assert gateway.breaker()["bad_logins"] == 1


# --- row 3: the wait lasts as long as the dialog ----------------------------------------------------------------


def test_an_approval_is_awaited_though_the_splash_window_loses_its_focus(make: MakeGateway) -> None:
    gateway = make(start_timeout=2)
    focus = (frame("Authenticating...", "Lost focus"), frame("Authenticating...", "Deactivated"))
    closed = dialog("Second Factor Authentication", "Closed")
    gateway.create(script(LISTEN, prints(*TO_PUSH, *focus), "sleep 7", prints(closed, *DONE), STAY))
    process = gateway.start()
    gateway.systemd.wait_ready()
    status, output = gateway.terminate(process)
    assert (status, output.count(TWOFA[1])) == (0, 1)
    assert "start_timeout" not in output


# --- row 4: a session that was given up keeps its cause ----------------------------------------------------------


def test_a_session_given_to_another_login_is_no_planned_logoff(make: MakeGateway) -> None:
    gateway = make()
    given_up = (
        dialog("Existing session detected"),
        STAMP + "Other session may be primary, so end this session and let the other one proceed (scenario 6)",
        dialog("Shutdown progress"),
        "IBC returned exit status 0",
    )
    status, output = gateway.run(
        script(prints(START, *LOGIN, *ATTEMPT, *DONE), LISTEN, "sleep 3", prints(*given_up), "exit 0")
    )
    assert status == 1
    assert "planned logoff" not in output
    assert gateway.session()["last_cause"] == "session_yielded"


# --- row 5: kept sessions that IBKR refuses ---------------------------------------------------------------------

STORED_FILE = "/tmp/settings/x/autorestart"  # noqa: S108 - in the container
KEPT = (
    "IBC returned exit status 0",
    f"autorestart file found at {STORED_FILE}: authentication will not be required",
    STAMP + "Re-starting session",
    LOGIN[0],
)


def test_a_refusal_after_the_daily_restart_costs_one_full_login_and_no_count(make: MakeGateway) -> None:
    gateway = make()
    left = f"mkdir -p /tmp/settings/x; touch {STORED_FILE}"
    gateway.create(
        script(
            left,
            prints(START, *LOGIN, *ATTEMPT, *DONE),
            LISTEN,
            "sleep 3",
            prints(*KEPT, frame("Authenticating...", "Opened"), *WRONG_PASSWORD),
            STAY,
        )
    )
    process = gateway.start()
    status, output = gateway.finish(process)
    assert (status, gateway.session()["last_cause"]) == (1, "token_refused")
    assert not (gateway.state / "breaker.json").exists()
    assert f"removed {STORED_FILE} in the container" in output
    # The stopped container still has its files: the leftover is gone.
    gone = docker("cp", f"{gateway.containers[0]}:{STORED_FILE}", "-")
    assert gone.returncode != 0
    folder = docker("cp", f"{gateway.containers[0]}:/tmp/settings/x", "-")
    assert folder.returncode == 0


# --- row 9: permanent refusals behind a failed connection ---------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("Required PassKey is not supported, please upgrade to latest version GATEWAY", "passkey_required"),
        ("This version of the application is no longer supported", "version_unsupported"),
        ("Multiple Paper Trading users are linked to this user", "several_paper_users"),
    ],
)
def test_a_permanent_refusal_is_tried_twice_and_named(make: MakeGateway, text: str, cause: str) -> None:
    gateway = make()
    refused = (STAMP + f"Connection to server failed: {text}", *LOGIN_FAILED[1:])
    looping = script(prints(START, *LOGIN, *ATTEMPT, *refused), "sleep 3", prints(*LOGIN, *ATTEMPT, *refused), STAY)
    status, output = gateway.run(looping)
    assert (status, output.count("Login attempt: 1")) == (1, 1)
    status, output = gateway.run(looping)
    assert (status, gateway.breaker()["open"]["cause"]) == (78, cause)
    assert text in gateway.breaker()["open"]["text"]


# --- rows 7 and 10: exit codes ------------------------------------------------------------------------------------


def test_a_missing_login_window_is_left_to_the_start_script_until_its_limit(make: MakeGateway) -> None:
    gateway = make()
    missing = (
        STAMP + "Starting session: will exit if login dialog is not displayed within 60 seconds",
        STAMP + "IBC closing after TWS/Gateway failed to display login dialog",
        STAMP + "Exiting after error with exit code=1112",
        "IBC returned exit status 88",
        "IBC will restart shortly",
    )
    gateway.create(script(prints(START, *missing), "sleep 1", prints(*LOGIN, *ATTEMPT, *DONE), LISTEN, STAY))
    process = gateway.start()
    gateway.systemd.wait_ready()
    assert gateway.breaker()["refusals"] == {}
    assert gateway.terminate(process)[0] == 0

    status, output = gateway.run(script(prints(START), *(prints(*missing) for _ in range(6)), STAY))
    assert (status, gateway.breaker()["open"]["cause"]) == (78, "no_login_window")
    assert "5 times in a row; no further login is tried" in output


def test_an_exit_code_without_a_line_has_its_cause_and_its_limit(make: MakeGateway) -> None:
    gateway = make()
    broken = script(prints(START), "exit 83")
    assert gateway.run(broken)[0] == 1
    assert gateway.session()["last_cause"] == "gateway_entry_missing"
    status, output = gateway.run(broken)
    assert (status, gateway.breaker()["open"]["cause"]) == (78, "gateway_entry_missing")
    assert "exit code 1107" in output


# --- rows 11 and 12: dialogs and settings --------------------------------------------------------------------------


def test_a_login_without_its_settings_is_restarted_once_and_then_needs_a_person(make: MakeGateway) -> None:
    gateway = make()
    done = (DONE[0], STAMP + "could not find Read-Only API checkbox", DONE[1])
    unset = script(prints(START, *LOGIN, *ATTEMPT, *done), LISTEN, STAY)
    status, output = gateway.run(unset)
    assert (status, "READY=1" in gateway.systemd.messages) == (1, False)
    assert "not_configured: " in output
    status, _ = gateway.run(unset)
    assert (status, gateway.breaker()["open"]["cause"]) == (78, "not_configured")


def test_an_unknown_dialog_is_reported_and_ends_nothing(make: MakeGateway) -> None:
    gateway = make(start_timeout=2)
    gateway.create(
        script(
            prints(START, *LOGIN, *ATTEMPT, DONE[0], dialog("Login Messages"), DONE[1]),
            LISTEN,
            "sleep 36",
            prints(dialog("Login Messages", "Closed")),
            STAY,
        )
    )
    process = gateway.start()
    gateway.systemd.wait(
        lambda messages: any('the dialog "Login Messages" is open' in message for message in messages), 60
    )
    gateway.systemd.wait(
        lambda messages: any('the dialog "Login Messages" is closed' in message for message in messages), 60
    )
    status, output = gateway.terminate(process)
    assert status == 0
    assert re.search(r"unknown_dialog|no rule knows|is open", output)


def test_people_receive_an_unknown_dialog_even_if_no_picture_can_be_taken(make: MakeGateway) -> None:
    with Webhook() as server:
        gateway = make(vnc={"host": "127.0.0.1", "port": 1})
        (gateway.secrets / "vnc_password").write_text("secret12")
        notify(gateway, server)
        opened = dialog("Password Notice")
        gateway.create(script(prints(START, *LOGIN, *ATTEMPT, *DONE, opened), LISTEN, STAY))
        process = gateway.start()
        server.wait(lambda: bool(server.taken), 60)
        status, output = gateway.terminate(process)
    assert status == 0
    assert "no screenshot: " in output
    assert '"Password Notice"' in server.taken[0].json["title"]


# --- a restart that keeps the session --------------------------------------------------------------------------

SESSION_STORED = (
    dialog("Restart in progress"),
    "IBC returned exit status 0",
    "autorestart file found at /s/a/autorestart: authentication will not be required",
)
CONTINUED = (STAMP + "Re-starting session", *DONE)
AWAIT = "until test -e /tmp/restart; do sleep 1; done"


def request_restart(gateway: Gateway, kind: Kind) -> None:
    """Leave what `gateway-watch soft-restart` does for the supervisor, and let the gateway restart."""
    write_request(request_file(gateway.state), Request(kind, WEDNESDAY, WEDNESDAY + timedelta(minutes=7)))
    docker("exec", gateway.name, "touch", "/tmp/restart")  # noqa: S108 - in the container


def test_a_container_that_ends_for_its_replacement_is_no_failure(make: MakeGateway) -> None:
    gateway = make()
    with Webhook() as server:
        notify(gateway, server)
        login = prints(START, *LOGIN, *ATTEMPT, *DONE)
        gateway.create(script(login, LISTEN, AWAIT, prints(*SESSION_STORED, "IBC is paused")))
        process = gateway.start()
        gateway.systemd.wait_ready()
        before = gateway.session()
        request_restart(gateway, Kind.REPLACE)
        status, output = gateway.finish(process)
        assert status == 0
        assert "the gateway has stored its session and ended; systemd starts the new container" in output
        after = gateway.session()
        assert (after["since"], after["last_cause"]) == (before["since"], None)
        # The next start is no retry of a failed one.
        assert after["stable_restarts"] == 0
        gateway.create(script(prints(START, SESSION_STORED[-1], *CONTINUED), LISTEN, STAY))
        process = gateway.start(moment=WEDNESDAY + timedelta(minutes=1))
        gateway.systemd.wait(lambda messages: messages.count("READY=1") == 2)
        assert gateway.session()["since"] == before["since"]
        assert gateway.session()["last_restart"] > before["last_restart"]
        assert gateway.terminate(process)[0] == 0
        assert server.taken == []


def created(gateway: Gateway, *options: str) -> tuple[str, str]:
    """Start a supervisor that creates the container, whose program prints its template; its output and the labels."""
    health = ("--health-cmd", "test -e /tmp/listening", "--health-interval", "1s", "--network", "none")
    show = "while read -r line; do echo template: $line; done < /config.ini.tmpl"
    program = script(show, prints(START, *LOGIN, *ATTEMPT, *DONE), LISTEN, STAY)
    arguments = ("--create", "--name", gateway.name, *health, *options, gateway.image.id, "/bin/sh", "-c", program)
    process = gateway.start(last=arguments)
    gateway.systemd.wait_ready()
    gateway.containers.append(docker("inspect", "--format", "{{.Id}}", gateway.name).stdout.strip())
    labels = docker("inspect", "--format", "{{json .Config.Labels}} {{json .NetworkSettings.Ports}}", gateway.name)
    status, output = gateway.terminate(process)
    assert status == 0
    return output, labels.stdout


def test_a_container_is_created_with_the_command_server_on_loopback(make: MakeGateway) -> None:
    output, labels = created(make(soft_restart=True), "--env", "IBC_INI_TMPL=/config.ini.tmpl")
    for line in ("IbLoginId=${TWS_USERID}", *(f"{name}=127.0.0.1" for name in ("ControlFrom", "BindAddress"))):
        assert f"template: {line}" in output
    assert "template: CommandServerPort=7462" in output
    assert '"ib-gateway.command-server":"7462"' in labels
    assert labels.endswith(" {}\n")


@pytest.mark.parametrize(
    ("settings", "options", "reason"),
    [
        ({"soft_restart": False}, ("--env", "IBC_INI_TMPL=/config.ini.tmpl"), "ib_gateway_soft_restart is false"),
        ({"soft_restart": True}, (), "the image names no template of the controller's configuration"),
        (
            {"soft_restart": True},
            ("--env", "IBC_INI_TMPL=/config.ini.tmpl", "--volume", "{template}:/config.ini.tmpl:ro"),
            "The container could not be created",
        ),
    ],
)
def test_a_container_without_a_command_server_starts_all_the_same(
    make: MakeGateway, tmp_path: Path, settings: dict[str, bool], options: tuple[str, ...], reason: str
) -> None:
    (tmp_path / "own.tmpl").write_bytes(TEMPLATE)
    gateway = make(**settings)
    output, labels = created(gateway, *(option.format(template=tmp_path / "own.tmpl") for option in options))
    assert f"gateway-watch: each restart is a full login: {reason}" in output
    assert "template: CommandServerPort=0" in output
    assert "ib-gateway.command-server" not in labels


def test_a_container_that_ends_without_a_request_is_one_that_logged_off(make: MakeGateway) -> None:
    gateway = make()
    login = prints(START, *LOGIN, *ATTEMPT, *DONE)
    gateway.create(script(login, LISTEN, AWAIT, prints(*SESSION_STORED)))
    process = gateway.start()
    gateway.systemd.wait_ready()
    docker("exec", gateway.name, "touch", "/tmp/restart")  # noqa: S108 - in the container
    status, output = gateway.finish(process)
    assert status == 0
    assert "as on a planned logoff" in output


def test_an_api_that_does_not_answer_is_left_alone_while_a_requested_restart_is_in_progress(make: MakeGateway) -> None:
    with socket.create_server(("127.0.0.1", 0)) as dead:
        api = {"mode": "paper", "host": "127.0.0.1", "port": dead.getsockname()[1], "native_port": 4002}
        gateway = make(unanswering_minutes=2, apis=[api])
        gateway.create(NORMAL)
        requested = request_file(gateway.state)
        write_request(requested, Request(Kind.RESTART, WEDNESDAY, WEDNESDAY + timedelta(minutes=7)))
        process = gateway.start(probe_seconds=0.5)
        gateway.systemd.wait_ready()
        dead.settimeout(30)
        # The watch's own session and the probes: at least three of the latter.
        for _ in range(8):
            dead.accept()[0].close()
        assert process.poll() is None
        requested.unlink()
        dead.setblocking(False)
        status, output = gateway.finish(process)
    assert status == 1
    assert "api_unanswering" in output
    assert output.count("no answer from the API") == 2
