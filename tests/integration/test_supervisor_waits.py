"""What `gateway-watch run` does without a login, at a stop, and while IBKR is away: a real engine and a real API."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.engine import environment
from tests.integration.supervised import (
    ATTEMPT,
    CONTROLLER,
    DONE,
    LISTEN,
    LOGIN,
    STAMP,
    START,
    STAY,
    TWOFA,
    Gateway,
    MakeGateway,
    prints,
    script,
)
from tests.unit.notifications.webhook import SECRET, Webhook

from gateway_simulator.api.behaviour import ApiBehaviour, ConnectMode
from gateway_simulator.api.server import ApiServer
from gateway_simulator.trading.sample import sample_brokerage
from gateway_watch.engine import Engine
from gateway_watch.health import Limits, Memory
from gateway_watch.login_wait import LoginMemory, LoginOptions, LoginWait
from host_service import gateway_login


def notify(gateway: Gateway, server: Webhook) -> None:
    """Configure the gateway's notifications for a real server, as a deploy does."""
    file = gateway.secrets / "notify_urls"
    file.write_text(f"json://watch:{SECRET}@127.0.0.1:{server.port}/\n")
    file.chmod(0o600)


def systemctl(directory: Path, **properties: str) -> str:
    """A PATH whose systemctl answers with these properties: systemd itself cannot run here."""
    shown = {"LoadState": "loaded", "Result": "success", "StatusText": "", "ExecMainStatus": "0"} | properties
    program = directory / "systemctl"
    program.write_text("#!/bin/sh\n" + "".join(f"echo '{key}={value}'\n" for key, value in shown.items()))
    program.chmod(0o755)
    return f"{directory}:{os.environ['PATH']}"


NORMAL = script(prints(START, *LOGIN, *ATTEMPT, *DONE), LISTEN, STAY)
MISSED = STAMP + "Re-login after second factor authentication timeout in 5 second"
ASK_AGAIN = prints(*ATTEMPT, *TWOFA, MISSED)


def test_the_controller_ends_before_the_container_is_stopped(make: MakeGateway) -> None:
    gateway = make()
    gateway.create(script(CONTROLLER, prints(START, *LOGIN, *ATTEMPT), STAY))
    process = gateway.start()
    gateway.systemd.wait_status("logging in")
    status, output = gateway.terminate(process)
    assert (status, gateway.running()) == (0, False)
    assert "gateway-watch: stop: the controller has ended\n" in output
    lines = ["the controller logs out", "it is logged out", "Received SIGINT or SIGTERM"]
    assert [line for line in output.splitlines() if any(text in line for text in lines)] == [
        *lines[:2],
        ".> Received SIGINT or SIGTERM",
    ]


def test_the_stop_command_ends_a_container_that_ends_with_its_controller(make: MakeGateway) -> None:
    gateway = make()
    gateway.create(
        script(CONTROLLER, prints(START, *LOGIN, *ATTEMPT), "wait $controller", prints("all is over"), "exit 143")
    )
    process = gateway.start()
    gateway.systemd.wait_status("logging in")
    stop = gateway.finish(gateway.start(["-m", "gateway_watch.cli", "stop"]))
    assert (stop[0], "the controller has ended" in stop[1]) == (0, True)
    assert gateway.running() is False
    _, output = gateway.finish(process)
    assert "all is over" in output
    assert "Received SIGINT" not in output
    # There is nothing left to stop, which is no fault.
    again = gateway.finish(gateway.start(["-m", "gateway_watch.cli", "stop"]))
    assert (again[0], "does not run" in again[1]) == (0, True)


def test_spent_approvals_end_the_login_and_a_person_starts_the_next(make: MakeGateway) -> None:
    with Webhook() as server:
        gateway = make(twofa_pushes_per_hour=2)
        notify(gateway, server)
        never = "\n".join([prints(START, *LOGIN), ASK_AGAIN, "sleep 1", ASK_AGAIN, STAY])
        program = f"if test -e /tmp/again; then\n{prints(START, *LOGIN, *ATTEMPT, *DONE)}\n{LISTEN}\n{STAY}\nfi"
        gateway.create(script(program, "touch /tmp/again", never))
        process = gateway.start()
        command = f"gateway-watch approve-now --instance {gateway.name}"
        gateway.systemd.wait(lambda messages: any("login_held_approval" in each for each in messages))
        extended = gateway.systemd.extended()
        # systemd sees no exit, which before READY=1 would be a failed start, and is asked for more time.
        gateway.systemd.wait(lambda messages: sum("EXTEND" in each for each in messages) > extended + 1)
        assert process.poll() is None
        assert not gateway.running()
        assert gateway.systemd.statuses()[-1].startswith("Waiting for a person: nobody approved the login")
        assert gateway.systemd.statuses()[-1].endswith(command)
        asked = gateway.finish(gateway.start(["-m", "gateway_watch.cli", "approve-now"]))
        assert (asked[0], "is tried now" in asked[1]) == (0, True)
        gateway.systemd.wait_ready()
        status, output = gateway.terminate(process)
    assert status == 0
    assert output.count("Second Factor Authentication initiated") == 2
    titles = [post.json["title"] for post in server.taken]
    assert sum(title == f"{gateway.name}: approve when you are ready" for title in titles) == 1
    assert not any("restarted" in title for title in titles)
    assert not (gateway.state / "breaker.json").exists()


def held(gateway: Gateway) -> None:
    """Leave one request unanswered, and stop the unit while it waits for a person."""
    gateway.create(script(prints(START, *LOGIN), ASK_AGAIN, STAY))
    process = gateway.start()
    gateway.systemd.wait_status("login_held_approval")
    assert gateway.terminate(process)[0] == 0


def test_asking_for_a_stopped_gateway_names_its_start(make: MakeGateway, tmp_path: Path) -> None:
    gateway = make({"PATH": systemctl(tmp_path, ActiveState="inactive", SubState="dead")}, twofa_pushes_per_hour=1)
    held(gateway)
    asked = gateway.finish(gateway.start(["-m", "gateway_watch.cli", "approve-now"]))
    assert (asked[0], f"at its next start: systemctl start {gateway.name}.service" in asked[1]) == (0, True)


def test_a_stop_during_the_wait_keeps_the_wait_for_the_next_start(make: MakeGateway) -> None:
    gateway = make(twofa_pushes_per_hour=1)
    held(gateway)
    for _ in range(2):
        gateway.create(NORMAL)
        process = gateway.start()
        # What the journal shows is of this run alone; the socket has the words of the one before too.
        assert process.stdout is not None
        assert "Waiting for a person" in process.stdout.readline()
        status, output = gateway.terminate(process)
        assert (status, START in output) == (0, False)


def test_a_yielded_session_is_left_alone_until_a_person_asks(make: MakeGateway, tmp_path: Path) -> None:
    runtime = tmp_path / "run"
    runtime.mkdir()
    gateway = make({"RUNTIME_DIRECTORY": str(runtime)})
    (gateway.state / "session.json").write_text(
        json.dumps({"since": None, "twofa": None, "last_restart": None, "last_cause": "session_yielded"})
    )
    gateway.create(NORMAL)
    # The command has the real clock, and a request that is newer than the wait must not be older.
    process = gateway.start(moment=datetime.now(UTC))
    gateway.systemd.wait_status("The user is logged in elsewhere")
    login = gateway_login.read(runtime / gateway_login.NAME)
    assert login is not None
    assert (login.state, login.needs_person) == ("waiting", True)
    ask = ["-m", "gateway_watch.cli", "approve-now"]
    # A deploy is no reason to take the session from whoever has it.
    asked = gateway.finish(gateway.start([*ask, "--unless-yielded"]))
    assert (asked[0], "left alone" in asked[1]) == (0, True)
    assert gateway.finish(gateway.start(ask))[0] == 0
    gateway.systemd.wait_ready()
    assert gateway.terminate(process)[0] == 0
    assert gateway.session()["last_cause"] is None


@asynccontextmanager
async def api(behaviour: ApiBehaviour) -> AsyncIterator[ApiServer]:
    server = ApiServer(sample_brokerage(), behaviour)
    await server.start("127.0.0.1", 0)
    try:
        yield server
    finally:
        await server.stop()


def ready(make: MakeGateway, runtime: Path, port: int) -> tuple[Gateway, subprocess.Popen[str]]:
    gateway = make(
        {"RUNTIME_DIRECTORY": str(runtime)},
        unanswering_minutes=2,
        apis=[{"mode": "paper", "host": "127.0.0.1", "port": port, "native_port": 4002}],
    )
    gateway.create(NORMAL)
    process = gateway.start(probe_seconds=0.3)
    gateway.systemd.wait_ready()
    return gateway, process


async def line(process: subprocess.Popen[str], wanted: str) -> None:
    """Read the journal up to a line that holds `wanted`."""
    assert process.stdout is not None
    seen = ""
    async with asyncio.timeout(60):
        while wanted not in seen:
            seen = await asyncio.to_thread(process.stdout.readline)
            assert seen, f"the supervisor ended before: {wanted}"


def reported(runtime: Path) -> tuple[str, str]:
    """The states of the login and of the connection to IBKR, as others read them."""
    login = gateway_login.read(runtime / gateway_login.NAME)
    assert login is not None
    assert login.ibkr is not None
    return login.state, login.ibkr.state


@pytest.mark.asyncio
async def test_a_lost_connection_is_shown_and_nothing_is_restarted(make: MakeGateway, tmp_path: Path) -> None:
    runtime = tmp_path / "run"
    runtime.mkdir()
    async with api(ApiBehaviour()) as server:
        gateway, process = await asyncio.to_thread(ready, make, runtime, server.port)
        await line(process, "paper API: connected to IBKR")
        assert server.clients == [9100]
        server.lose_connection()
        await line(process, "the link to IBKR is lost")
        assert reported(runtime) == ("link_lost", "lost")
        server.restore_connection(data_lost=False)
        await line(process, "gateway-watch: connected to IBKR again\n")
        assert reported(runtime) == ("ready", "connected")
        status, _ = await asyncio.to_thread(gateway.terminate, process)
    assert status == 0
    assert [entry.event for entry in server.journal].count("started") == 1


@pytest.mark.asyncio
async def test_new_sessions_that_hang_do_not_end_one_that_works(make: MakeGateway, tmp_path: Path) -> None:
    runtime = tmp_path / "run"
    runtime.mkdir()
    behaviour = ApiBehaviour()
    async with api(behaviour) as server:
        gateway, process = await asyncio.to_thread(ready, make, runtime, server.port)
        await line(process, "paper API: connected to IBKR")
        behaviour.connect = ConnectMode.SILENT
        await line(process, "New connections to the API get no answer")
        await line(process, "no answer from the API (4 of 2)")
        assert process.poll() is None
        # Without the session that works it is restarted as ever.
        await server.disconnect_clients()
        status, output = await asyncio.to_thread(gateway.finish, process)
    assert (status, "api_unanswering" in output) == (1, True)


@pytest.mark.asyncio
async def test_an_api_that_is_read_only_against_its_setting_is_restarted_once(
    make: MakeGateway, tmp_path: Path
) -> None:
    runtime = tmp_path / "run"
    runtime.mkdir()
    behaviour = ApiBehaviour(read_only=True)
    async with api(behaviour) as server:
        gateway, process = await asyncio.to_thread(ready, make, runtime, server.port)
        status, output = await asyncio.to_thread(gateway.finish, process)
        assert (status, gateway.session()["last_cause"]) == (1, "read_only_against_setting")
        assert "It is restarted once" in output
        assert gateway.session()["read_only_restarted"] is True

        # A restart that has not helped is not repeated: each one would cost a login.
        await asyncio.to_thread(gateway.create, NORMAL)
        process = await asyncio.to_thread(gateway.start)
        await line(process, "A restart has not changed that.")
        assert process.poll() is None

        behaviour.read_only = False
        await server.disconnect_clients()
        await line(process, "the API accepts orders again")
        assert gateway.session()["read_only_restarted"] is False
        status, _ = await asyncio.to_thread(gateway.terminate, process)
    assert status == 0


@pytest.mark.asyncio
async def test_an_api_that_is_meant_to_be_read_only_is_not_asked_for_orders(make: MakeGateway, tmp_path: Path) -> None:
    behaviour = ApiBehaviour(read_only=True)
    async with api(behaviour) as server:
        gateway = make(
            read_only_api=True,
            apis=[{"mode": "paper", "host": "127.0.0.1", "port": server.port, "native_port": 4002}],
        )
        await asyncio.to_thread(gateway.create, NORMAL)
        process = await asyncio.to_thread(gateway.start)
        await line(process, "paper API: connected to IBKR")
        status, output = await asyncio.to_thread(gateway.terminate, process)
    assert (status, "refuses orders" in output) == (0, False)
    assert not any(entry.event == "refused" for entry in server.journal)


@pytest.mark.asyncio
async def test_a_deploy_that_waits_shows_the_reason_of_the_unit(
    make: MakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "Waiting for a person: nobody approved the login. gateway-watch approve-now --instance ib-gateway"
    monkeypatch.setenv("PATH", systemctl(tmp_path, ActiveState="activating", SubState="start", StatusText=said))
    gateway = make()
    await asyncio.to_thread(gateway.create, NORMAL)
    memory = LoginMemory(Memory(started=time.monotonic(), events_since=time.time()))
    wait = LoginWait(
        Engine(host=environment().get("DOCKER_HOST")),
        gateway.name,
        Limits(timeout=2, appear=30),
        LoginOptions(),
        memory,
        unit=f"{gateway.name}.service",
    )
    progress: list[str] = []
    failure = None
    async for step in wait.steps():
        progress += step.progress
        failure = step.failure
    assert progress.count(said) == 1
    assert failure is not None
    assert failure.text.endswith(said)
