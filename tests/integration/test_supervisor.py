"""`gateway-watch run` as a process, with a real engine, a real container and a real notification socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from tests.engine import ROOT, docker, environment
from tests.integration.supervised import (
    ATTEMPT,
    DONE,
    LISTEN,
    LOGIN,
    NORMAL,
    STAMP,
    START,
    STAY,
    TWOFA,
    WEDNESDAY,
    WRONG_PASSWORD,
    Gateway,
    MakeGateway,
    notify,
    prints,
    script,
)
from tests.unit.notifications.webhook import SECRET, Answer, Webhook

from host_service import gateway_login


def test_a_normal_start_becomes_ready_and_its_log_reaches_the_journal(make: MakeGateway) -> None:
    gateway = make()
    gateway.create(NORMAL)
    process = gateway.start()
    gateway.systemd.wait_ready()
    assert "ready: logged in (paper) and listening" in gateway.systemd.statuses()
    docker("stop", "-t", "20", gateway.containers[0])
    status, output = gateway.finish(process)
    assert START in output
    assert output.index("Login has completed") < output.index("ready: logged in")
    # A planned logoff ends the same way: with 0, and Restart=always starts the gateway again.
    assert (status, gateway.running()) == (0, False)
    assert gateway.session()["twofa"] is False
    assert gateway.session()["since"] is not None


def test_those_who_use_the_gateway_are_informed_that_a_person_is_needed(make: MakeGateway, tmp_path: Path) -> None:
    reported = tmp_path / "run"
    reported.mkdir()
    gateway = make({"RUNTIME_DIRECTORY": str(reported)})
    gateway.create(script(prints(START, *LOGIN, *ATTEMPT, *TWOFA), STAY))
    process = gateway.start()
    gateway.systemd.wait_status("Approve")
    login = gateway_login.read(reported / gateway_login.NAME)
    assert login is not None
    assert (login.state, login.needs_person) == ("awaiting_2fa", True)
    assert "second factor" in login.text or "Approve" in login.text
    assert (reported / gateway_login.NAME).stat().st_mode & 0o777 == 0o644
    gateway.terminate(process)


def test_it_is_not_ready_before_the_container_is_healthy(make: MakeGateway) -> None:
    gateway = make()
    gateway.create(script(prints(START, *LOGIN, *ATTEMPT, *DONE), "sleep 2", prints("it listens now"), LISTEN, STAY))
    process = gateway.start()
    gateway.systemd.wait_ready()
    status, output = gateway.terminate(process)
    assert status == 0
    assert output.index("it listens now") < output.index("ready: logged in (paper) and listening")


def test_it_is_not_ready_before_the_login_is(make: MakeGateway) -> None:
    gateway = make()
    gateway.create(script(LISTEN, prints(START, *LOGIN, *ATTEMPT), "sleep 4", prints(*DONE), STAY))
    process = gateway.start()
    gateway.systemd.wait_ready()
    ready = gateway.systemd.messages.index("READY=1")
    reported = [n for n, message in enumerate(gateway.systemd.messages) if message.startswith("STATUS=logged in")]
    assert reported
    assert reported[0] < ready
    assert gateway.terminate(process)[0] == 0


def test_an_approval_is_awaited_past_the_start_timeout_with_a_countdown(make: MakeGateway) -> None:
    gateway = make(start_timeout=2)
    approved = (STAMP + "detected dialog entitled: Second Factor Authentication; event=Closed", *DONE)
    gateway.create(script(LISTEN, prints(START, *LOGIN, *ATTEMPT, *TWOFA), "sleep 8", prints(*approved), STAY))
    process = gateway.start()
    gateway.systemd.wait_ready()
    assert any(
        re.fullmatch(r"Approve the login in IBKR Mobile \(1\d\d s left\)", t) for t in gateway.systemd.statuses()
    )
    assert gateway.systemd.extended() >= 2
    assert gateway.session()["twofa"] is True
    assert gateway.terminate(process)[0] == 0
    cost = gateway.finish(gateway.start(["-m", "gateway_watch.cli", "restart-cost"]))
    assert (cost[0], "have IBKR Mobile at hand" in cost[1]) == (0, True)


def test_people_are_notified_of_an_approval_and_of_its_end(make: MakeGateway) -> None:
    with Webhook() as server:
        gateway = make()
        notify(gateway, server)
        approved = (STAMP + "detected dialog entitled: Second Factor Authentication; event=Closed", *DONE)
        gateway.create(script(LISTEN, prints(START, *LOGIN, *ATTEMPT, *TWOFA), "sleep 3", prints(*approved), STAY))
        process = gateway.start()
        server.wait(lambda: len(server.taken) == 2, 30)
        status, output = gateway.terminate(process)
    assert status == 0
    asked, done = (post.json for post in server.taken)
    assert asked["title"] == f"{gateway.name}: approve the login in IBKR Mobile"
    assert re.match(r"The dialog is open until \d\d:\d\d:\d\d \(America/New_York\)", asked["message"])
    assert done["title"] == f"{gateway.name}: logged in and listening again"
    assert SECRET not in output


def test_a_reminder_reaches_people_once_though_the_supervisor_is_started_again(make: MakeGateway) -> None:
    approved = (STAMP + "detected dialog entitled: Second Factor Authentication; event=Closed", *DONE)
    program = script(LISTEN, prints(START, *LOGIN, *ATTEMPT, *TWOFA, *approved), STAY)
    ahead = datetime(2026, 11, 28, 18, 30, tzinfo=UTC)  # 23 h 30 min before Sunday 13:00 in New York
    with Webhook() as server:
        # A check for reminders comes with each sign of life.
        gateway = make({"WATCHDOG_USEC": "2000000"})
        notify(gateway, server)
        journals = []
        for run in range(2):
            gateway.create(program)
            process = gateway.start(moment=ahead + 3 * run * timedelta(hours=1))
            gateway.systemd.wait(partial(_checked_twice, run + 1))
            server.wait(lambda: any("will be needed" in post.json["title"] for post in server.taken), 30)
            journals.append(gateway.terminate(process)[1])
        titles = [post.json["title"] for post in server.taken]
    (reminder,) = [title for title in titles if "will be needed" in title]
    sent = re.escape(f"{gateway.name}: an approval will be needed Sunday 13:00 (America/New_York), in 23 h ")
    assert re.fullmatch(sent + "(29|30) min", reminder)
    # The outbox would not repeat it within an hour; it is not even asked to.
    assert [journal.count("gateway-watch: reminder: ") for journal in journals] == [1, 0]


def _checked_twice(runs: int, messages: list[str]) -> bool:
    """Whether the run, the `runs`th to become ready, has shown twice since then that it is alive."""
    ready = [number for number, message in enumerate(messages) if message == "READY=1"]
    return len(ready) >= runs and messages[ready[runs - 1] :].count("WATCHDOG=1") >= 2


def test_people_are_notified_why_a_login_needs_them_before_the_supervisor_ends(make: MakeGateway) -> None:
    with Webhook([Answer(500)]) as server:
        gateway = make()
        notify(gateway, server)
        refused = script(prints(START, *LOGIN, *ATTEMPT, *WRONG_PASSWORD), STAY)
        status, output = gateway.run(refused)
        assert (status, gateway.run(refused)[0]) == (1, 78)
        assert [post.json["type"] for post in server.taken] == ["warning", "failure"]
        assert "2 times in a row; no further login is tried" in server.taken[1].json["title"]
        # A manual start has the same fault, and does not notify again.
        assert gateway.run(NORMAL)[0] == 78
        gateway.change_password()
        gateway.create(NORMAL)
        process = gateway.start()
        server.wait(lambda: len(server.taken) == 3, 30)
        gateway.terminate(process)
    assert "again" in server.taken[2].json["title"]
    assert "… once more since" in server.taken[2].json["message"]
    assert "notifications to json-" in output


def test_a_normal_start_notifies_nobody_and_a_wrong_address_stops_nothing(make: MakeGateway) -> None:
    with Webhook() as server:
        for address in ("", f"nonsense://{SECRET}\n"):
            gateway = make()
            notify(gateway, server, address)
            gateway.create(NORMAL)
            process = gateway.start()
            gateway.systemd.wait_ready()
            status, output = gateway.terminate(process)
            assert status == 0
            assert ("address 2 for notifications is invalid" in output) == bool(address)
            assert SECRET not in output
    assert server.tries == []


def test_a_start_that_hangs_is_ended_and_tried_again(make: MakeGateway) -> None:
    gateway = make(start_timeout=3)
    status, output = gateway.run(script(prints(START), STAY))
    assert (status, gateway.running()) == (1, False)
    assert "start_timeout: The gateway has been in the state starting" in output
    assert not (gateway.state / "breaker.json").exists()
    assert gateway.session()["last_cause"] == "start_timeout"


def test_two_refused_logins_open_the_breaker_which_a_new_password_closes(make: MakeGateway) -> None:
    gateway = make()
    refused = script(prints(START, *LOGIN, *ATTEMPT, *WRONG_PASSWORD), STAY)
    status, output = gateway.run(refused)
    assert (status, gateway.running()) == (1, False)
    assert output.count("Unrecognized Username") == 1
    status, output = gateway.run(refused)
    assert (status, gateway.running()) == (78, False)
    assert gateway.breaker()["open"]["cause"] == "bad_credentials"
    assert oct((gateway.state / "breaker.json").stat().st_mode & 0o777) == "0o600"
    assert "bad_credentials: " in gateway.systemd.statuses()[-1]
    assert "2 times in a row; no further login is tried" in gateway.systemd.statuses()[-1]

    status, output = gateway.run(NORMAL)
    assert (status, gateway.running(), START in output) == (78, False, False)
    assert gateway.systemd.statuses()[-1].startswith("Not started, because of bad_credentials")
    assert f"gateway-watch reset --instance {gateway.name}" in gateway.systemd.statuses()[-1]

    gateway.change_password()
    gateway.create(NORMAL)
    process = gateway.start()
    gateway.systemd.wait_ready()
    assert gateway.breaker() == {"bad_logins": 0, "refusals": {}, "last_bad_at": None, "open": None}
    assert gateway.terminate(process)[0] == 0


def test_refused_logins_are_counted_over_restarts_and_forgotten_by_a_login(make: MakeGateway) -> None:
    gateway = make()
    refused = script(prints(START, *LOGIN, *ATTEMPT, *WRONG_PASSWORD), STAY)
    assert gateway.run(refused)[0] == 1
    assert gateway.breaker()["bad_logins"] == 1

    gateway.create(NORMAL)
    process = gateway.start()
    gateway.systemd.wait_ready()
    assert gateway.breaker()["bad_logins"] == 0
    assert gateway.terminate(process)[0] == 0

    assert gateway.run(refused)[0] == 1
    assert gateway.run(refused)[0] == 78
    assert gateway.breaker()["bad_logins"] == 2


def test_what_a_person_must_fix_opens_the_breaker_at_once_until_a_reset(make: MakeGateway) -> None:
    gateway = make()
    fault = STAMP + "You should specify the required second factor device using the SecondFactorDevice setting"
    status, _ = gateway.run(script(prints(START, *LOGIN, *ATTEMPT, *TWOFA, fault), STAY))
    assert (status, gateway.running()) == (78, False)
    assert gateway.breaker()["open"]["cause"] == "twofa_device_unset"
    assert gateway.run(NORMAL)[0] == 78
    assert gateway.finish(gateway.start(["-m", "gateway_watch.cli", "reset"]))[0] == 0
    gateway.create(NORMAL)
    process = gateway.start()
    gateway.systemd.wait_ready()
    assert gateway.terminate(process)[0] == 0


def test_a_damaged_breaker_counts_as_open_and_names_the_fix(make: MakeGateway) -> None:
    gateway = make()
    (gateway.state / "breaker.json").write_text('{"bad_log')
    status, output = gateway.run(NORMAL)
    assert (status, START in output) == (78, False)
    assert "breaker.json cannot be read as a breaker" in gateway.systemd.statuses()[-1]
    assert f"gateway-watch reset --instance {gateway.name}" in gateway.systemd.statuses()[-1]


def test_a_crash_is_tried_again(make: MakeGateway) -> None:
    gateway = make()
    status, output = gateway.run(script(prints(START), "exit 3"))
    assert status == 1
    assert "The container ended with exit code 3 in the login state starting." in output


def test_a_planned_exit_after_ready_is_no_failure(make: MakeGateway) -> None:
    gateway = make()
    status, output = gateway.run(script(LISTEN, prints(START, *LOGIN, *ATTEMPT, *DONE), "sleep 5", "exit 0"))
    assert "READY=1" in gateway.systemd.messages
    assert (status, "planned logoff" in output) == (0, True)


def test_an_exit_with_0_before_ready_is_a_failed_start(make: MakeGateway) -> None:
    assert make().run(script(prints(START), "exit 0"))[0] == 1


def test_an_image_without_java_needs_a_person(make: MakeGateway) -> None:
    gateway = make()
    status, _ = gateway.run(script(prints(START), 'echo "Can\'t find suitable Java installation"', "exit 1"))
    assert status == 78
    assert gateway.breaker()["open"]["cause"] == "bad_image"


def test_a_container_that_cannot_start_reports_what_the_engine_reports(make: MakeGateway) -> None:
    gateway = make()
    gateway.create(NORMAL, "--entrypoint", "/bin/nothing")
    status, output = gateway.finish(gateway.start())
    assert status == 1
    assert "The engine could not start the container" in output
    assert "/bin/nothing" in gateway.systemd.statuses()[-1]


def test_a_container_without_health_check_is_refused(make: MakeGateway) -> None:
    gateway = make()
    gateway.create(NORMAL, "--no-healthcheck=false", "--health-cmd", "")
    status, output = gateway.finish(gateway.start())
    assert (status, gateway.running()) == (78, False)
    assert "no_health_check" in output


def test_no_container_at_all(make: MakeGateway) -> None:
    gateway = make()
    status, output = gateway.finish(gateway.start())
    assert status == 1
    assert "The engine has no such container" in output


def test_the_container_is_created_with_the_arguments_of_the_unit(make: MakeGateway) -> None:
    gateway = make()
    left_over = gateway.create(NORMAL)
    process = gateway.start(last=arguments(gateway))
    gateway.systemd.wait_ready()
    created = docker("inspect", "--format", "{{.Id}} {{.HostConfig.Memory}}", gateway.name).stdout.split()
    gateway.containers.append(created[0])
    assert created[0] != left_over
    assert created[1] == str(64 * 1024 * 1024)
    assert gateway.terminate(process)[0] == 0


def arguments(gateway: Gateway, *options: str) -> list[str]:
    """What the unit passes on to docker create."""
    health = ("--health-cmd", "test -e /tmp/listening", "--health-interval", "1s", "--network", "none")
    name = ("--create", "--name", gateway.name, "--memory", "64m", *health, *options)
    return [*name, gateway.image.id, "/bin/sh", "-c", NORMAL]


def test_a_container_that_cannot_be_created_is_notified_and_backed_off_from(make: MakeGateway, tmp_path: Path) -> None:
    with Webhook() as server:
        gateway = make({"INVOCATION_ID": "x", "PATH": systemctl(tmp_path, **UNIT | {"NRestarts": "1"})})
        notify(gateway, server)
        status, output = gateway.finish(gateway.start(last=arguments(gateway, "--volume", "not-absolute/x:y")))
        assert (status, "The container could not be created" in output) == (1, True)
        assert gateway.session()["last_cause"] == "create_failed"
        # The wait is before the attempt, so that no fast series of failures ends the unit for good.
        pause = output.index("1 starts in a row failed; the next one comes in 10 s")
        assert pause < output.index("The container could not be created")
        assert [post.json["title"] for post in server.taken] == [f"{gateway.name} ended and is started again"]
        assert "could not be created" in server.taken[0].json["message"]
    systemctl(tmp_path, **UNIT)
    process = gateway.start(last=arguments(gateway))
    gateway.systemd.wait_ready()
    gateway.containers.append(docker("inspect", "--format", "{{.Id}}", gateway.name).stdout.strip())
    assert gateway.terminate(process)[0] == 0


def test_a_creation_that_takes_long_gets_its_time_and_ends_at_a_stop(make: MakeGateway, tmp_path: Path) -> None:
    real = shutil.which("docker")
    slow = tmp_path / "docker"
    slow.write_text(f'#!/bin/sh\n[ "$1" = create ] && exec sleep 600\nexec {real} "$@"\n')
    slow.chmod(0o755)
    gateway = make({"WATCHDOG_USEC": "500000", "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    process = gateway.start(last=arguments(gateway))
    # An image that is fetched takes longer than systemd waits without a sign.
    gateway.systemd.wait(lambda messages: sum("EXTEND_TIMEOUT_USEC" in each for each in messages) > 2)
    status, output = gateway.terminate(process)
    assert (status, "stopped before the container was started" in output) == (0, True)
    assert "starting the container" not in output


def clients(process: subprocess.Popen[str]) -> dict[bytes, int]:
    """The docker clients of a supervisor by their command."""
    found = {}
    for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        # One that has just ended has no command line any more.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, IndexError):
            found[Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[1]] = int(pid)
    return found


def test_a_lost_connection_to_the_engine_ends_no_session(make: MakeGateway) -> None:
    gateway = make()
    later = [f"until test -e /tmp/go{number}; do sleep 1; done; echo line {number} after it" for number in (0, 1)]
    gateway.create(script(prints(START, *LOGIN, *ATTEMPT, *DONE), LISTEN, *later, STAY))
    process = gateway.start()
    gateway.systemd.wait_ready()
    lines = iter(process.stdout or ())
    # What a restart of the engine does to its clients: the attached one and the stream of events end. Then once more.
    for number, client in enumerate((b"start", b"logs")):
        # A check of the container, or the stream that starts again, may be under way.
        until = time.monotonic() + 30
        while set(found := clients(process)) != {client, b"events"}:
            assert time.monotonic() < until, found
            time.sleep(0.1)
        for pid in found.values():
            os.kill(pid, signal.SIGKILL)
        assert any("which still runs; its log is followed" in line for line in lines)
        assert docker("exec", gateway.name, "touch", f"/tmp/go{number}").returncode == 0  # noqa: S108 - in the container
        assert any(f"line {number} after it" in line for line in lines)
    assert gateway.running()
    assert gateway.terminate(process)[0] == 0
    assert not gateway.running()


def test_sigterm_while_starting_stops_the_container_in_good_order(make: MakeGateway) -> None:
    gateway = make()
    gateway.create(script(prints(START, *LOGIN, *ATTEMPT), STAY))
    process = gateway.start()
    gateway.systemd.wait_status("logging in")
    status, output = gateway.terminate(process)
    assert (status, gateway.running()) == (0, False)
    assert "Received SIGINT or SIGTERM" in output
    assert docker("inspect", "--format", "{{.State.ExitCode}}", gateway.containers[0]).stdout.strip() == "0"
    assert "STOPPING=1" in gateway.systemd.messages


def test_user_names_of_the_environment_do_not_reach_the_journal(make: MakeGateway) -> None:
    gateway = make()
    status, output = gateway.run(script("echo hello edmund77", "exit 1"), "--env", "TWS_USERID=edmund77")
    assert (status, "hello ***" in output, "edmund77" in output) == (1, True, False)


def test_a_user_name_in_a_text_of_ibkrs_reaches_neither_journal_nor_people(make: MakeGateway, tmp_path: Path) -> None:
    with Webhook() as server:
        gateway = make({"RUNTIME_DIRECTORY": str(tmp_path)})
        notify(gateway, server)
        text = (STAMP + "detected dialog entitled: Login Error; event=Opened", STAMP + "Login error message:")
        said = "The user edmund77 has to do something new"
        program = script(prints(START, *LOGIN, *ATTEMPT, *text, said), STAY)
        status, output = gateway.run(program, "--env", "TWS_USERID=edmund77")
    assert (status, gateway.session()["last_cause"]) == (1, "login_error")
    assert "IBKR's text: The user *** has to do something new" in output
    sent = [post.json["title"] + post.json["message"] for post in server.taken]
    assert any("The user *** has" in each for each in sent)
    written = [file.read_text() for file in (*gateway.state.rglob("*.json"), *tmp_path.glob("login.json"))]
    assert not any("edmund77" in each for each in (output, *gateway.systemd.messages, *sent, *written))


def systemctl(directory: Path, **properties: str) -> str:
    """A PATH whose systemctl answers with these properties: systemd itself cannot run here."""
    program = directory / "systemctl"
    lines = "".join(f"echo {key}={value}\n" for key, value in properties.items())
    program.write_text(f'#!/bin/sh\ncase "$*" in *--value*) echo {properties["NRestarts"]};; *) {lines};; esac\n')
    program.chmod(0o755)
    return f"{directory}:{os.environ['PATH']}"


UNIT = {"LoadState": "loaded", "ActiveState": "active", "SubState": "running", "Result": "success", "NRestarts": "0"}


def test_after_failed_starts_it_pauses_and_can_be_stopped_meanwhile(make: MakeGateway, tmp_path: Path) -> None:
    gateway = make({"INVOCATION_ID": "x", "PATH": systemctl(tmp_path, **UNIT | {"NRestarts": "3"})})
    gateway.create(NORMAL)
    process = gateway.start()
    gateway.systemd.wait_status("3 starts in a row failed; the next one comes in 40 s")
    gateway.systemd.wait(lambda messages: any(m.startswith("EXTEND_TIMEOUT_USEC=") for m in messages))
    status, output = gateway.terminate(process)
    assert (status, START in output) == (0, False)


def test_a_pause_that_lasts_into_the_quiet_hours_is_followed_by_no_request_in_them(
    make: MakeGateway, tmp_path: Path
) -> None:
    variables = {"INVOCATION_ID": "x", "PATH": systemctl(tmp_path, **UNIT | {"NRestarts": "1"})}
    gateway = make(variables, twofa_quiet_hours="12:00-13:00")
    approved = {"since": "2026-11-23T12:00:00+00:00", "twofa": True, "last_restart": None, "last_cause": "exited"}
    (gateway.state / "session.json").write_text(json.dumps(approved))
    gateway.create(NORMAL)
    process = gateway.start(moment=WEDNESDAY - timedelta(seconds=6))
    gateway.systemd.wait(lambda messages: any("Quiet hours" in each or "starting the" in each for each in messages))
    status, output = gateway.terminate(process)
    assert (status, START in output) == (0, False)
    assert output.index("the next one comes in 10 s") < output.index("Quiet hours: no approval is requested before")


def test_a_container_ended_by_the_units_own_stop_is_no_failure(make: MakeGateway, tmp_path: Path) -> None:
    gateway = make({"INVOCATION_ID": "x", "PATH": systemctl(tmp_path, **UNIT | {"ActiveState": "deactivating"})})
    gateway.create("\n".join([prints(START, *LOGIN, *ATTEMPT, *DONE), LISTEN, STAY]))
    process = gateway.start()
    gateway.systemd.wait_ready()
    docker("kill", gateway.containers[0])
    assert gateway.finish(process)[0] == 0


def test_an_api_that_stops_answering_is_restarted(make: MakeGateway) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(64)
        text = b"176\x0020261123 01:10:50 UTC\x00"
        writer.write(len(text).to_bytes(4, "big") + text)
        await writer.drain()
        asked.put_nowait(True)
        writer.close()

    asked: asyncio.Queue[bool] = asyncio.Queue()

    @asynccontextmanager
    async def api() -> AsyncIterator[int]:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        yield server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()

    async def scenario() -> tuple[int, str, Gateway]:
        async with api() as port:
            gateway = make(
                unanswering_minutes=3,
                apis=[{"mode": "paper", "host": "127.0.0.1", "port": port, "native_port": 4002}],
            )
            gateway.create(NORMAL)
            process = gateway.start(probe_seconds=0.3)
            await asyncio.to_thread(gateway.systemd.wait_ready)
            async with asyncio.timeout(30):
                for _ in range(5):
                    await asked.get()
            assert process.poll() is None
        return *await asyncio.to_thread(gateway.finish, process), gateway

    status, output, gateway = asyncio.run(scenario())
    assert (status, gateway.running()) == (1, False)
    assert "no answer from the API (1 of 3)" in output
    assert "api_unanswering: The API has not answered 3 probes in a row" in output


def test_the_status_screen_of_a_gateway_that_does_not_answer(make: MakeGateway) -> None:
    gateway = make(apis=[{"mode": "paper", "host": "127.0.0.1", "port": 1, "native_port": 4002}])
    gateway.create(NORMAL)
    process = gateway.start()
    gateway.systemd.wait_ready()
    shown = subprocess.run(
        [
            *(sys.executable, "-m", "gateway_watch.cli", "status", "--instance", gateway.name),
            *("--config-root", str(gateway.root / "etc")),
        ],
        check=False,
        env={**environment(), "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert shown.stderr == ""
    lines = shown.stdout.splitlines()
    assert len(lines) <= 30
    assert max(map(len, lines)) <= 100
    assert re.search(r"^Listening +yes: the container is healthy$", shown.stdout, re.MULTILINE)
    assert re.search(r"^Answering +NO: paper 127\.0\.0\.1:1 nothing listens", shown.stdout, re.MULTILINE)
    assert re.search(r"^Login +ready: ", shown.stdout, re.MULTILINE)
    assert shown.returncode == 1
    assert gateway.terminate(process)[0] == 0
