"""IBC's command server over a real socket: RESTART and PAUSE restart the gateway with its session."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from simulator.tests.login_player import USER
from simulator.tests.test_lifecycle import Log, fast

from gateway_simulator.clock import SystemClock
from gateway_simulator.control import describe
from gateway_simulator.login import autorestart
from gateway_simulator.login.lifecycle import Gateway
from gateway_simulator.login.steps import Happening, LoginState
from gateway_simulator.settings import CommandServerSettings, Scenario, SettingsError, read_command_server, read_zone


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@asynccontextmanager
async def commanded(scenario: Scenario, path: Path) -> AsyncIterator[tuple[Gateway, Log, asyncio.Task[int]]]:
    """A gateway with a command server, logged in."""
    server = CommandServerSettings(free_port(), "127.0.0.1", "127.0.0.1")
    log = Log()
    gateway = Gateway(
        replace(USER, settings_path=path, command_server=server),
        scenario,
        clock=SystemClock(read_zone({})),
        host="127.0.0.1",
        port=0,
        write_line=log.write_line,
        show=log.show,
    )
    run = asyncio.create_task(gateway.run())
    try:
        await log.shown(LoginState.LOGGED_IN)
        yield gateway, log, run
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


async def send(gateway: Gateway, command: str, lines: int) -> list[str]:
    server = gateway.settings.command_server
    assert server is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(f"{command}\n".encode())
    answer = [(await reader.readline()).decode().rstrip() for _ in range(lines)]
    writer.close()
    return answer


def test_restart_keeps_the_session_and_counts_no_login(tmp_path: Path) -> None:
    async def story() -> None:
        async with commanded(fast(), tmp_path) as (gateway, log, _run):
            assert describe(gateway)["logins"] == 1
            progress, at = await send(gateway, "restart", 2)
            assert progress == "OK RESTART in progress"
            assert at.startswith("OK RESTART at ")
            await log.wait_for_line("IBC: Re-starting session")
            await log.until(lambda: gateway.view.run == 2 and gateway.view.state is LoginState.LOGGED_IN)
            assert describe(gateway)["logins"] == 1
            assert any(
                f"Setting auto-restart time to {at.removeprefix('OK RESTART at ')}" in each for each in log.lines
            )

    asyncio.run(story())


def test_pause_ends_the_gateway_with_its_session_stored(tmp_path: Path) -> None:
    async def story() -> None:
        async with commanded(fast(), tmp_path) as (gateway, log, run):
            assert (await send(gateway, "PAUSE", 2))[0] == "OK PAUSE in progress"
            assert await run == 0
            assert "IBC is paused" in log.lines
            assert autorestart.find(tmp_path) is not None
        # The next container continues the session.
        async with commanded(fast(), tmp_path) as (gateway, log, run):
            assert any("authentication will not be required" in line for line in log.lines)
            assert describe(gateway)["logins"] == 1
            gateway.happen(Happening.COLD_RESTART)
            await log.until(lambda: gateway.view.run == 2 and gateway.view.state is LoginState.LOGGED_IN)
            assert describe(gateway)["logins"] == 2

    asyncio.run(story())


def test_refused_command_restarts_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        async with commanded(fast(RESTART_COMMAND="refused"), tmp_path) as (gateway, log, _run):
            assert await send(gateway, "RESTART", 2) == ["ERROR RESTART already in progress", ""]
            assert gateway.view.run == 1
            assert any("RESTART already in progress" in line for line in log.lines)

    asyncio.run(story())


def test_second_command_is_refused_while_one_is_in_progress(tmp_path: Path) -> None:
    async def story() -> None:
        async with commanded(fast(TIME_SCALE="1", START_SECONDS="0"), tmp_path) as (gateway, _log, _run):
            assert (await send(gateway, "RESTART", 1)) == ["OK RESTART in progress"]
            assert (await send(gateway, "PAUSE", 1)) == ["ERROR PAUSE already in progress"]

    asyncio.run(story())


def test_unknown_command_leaves_the_connection_open(tmp_path: Path) -> None:
    async def story() -> None:
        async with commanded(fast(RESTART_COMMAND="ignored"), tmp_path) as (gateway, _log, _run):
            server = gateway.settings.command_server
            assert server is not None
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"REBOOT\nPAUSE\n")
            answer = (await reader.read()).decode().splitlines()
            assert answer[:2] == ["ERROR Command invalid", "OK PAUSE in progress"]
            writer.close()
            assert gateway.view.run == 1

    asyncio.run(story())


def test_template_decides_whether_there_is_a_command_server() -> None:
    assert read_command_server("#CommandServerPort=7462\nCommandServerPort=0\n") is None
    assert read_command_server("") is None
    found = read_command_server("CommandServerPort=7462\nBindAddress=127.0.0.1\nControlFrom=127.0.0.1\n")
    assert found == CommandServerSettings(7462, "127.0.0.1", "127.0.0.1")
    with pytest.raises(SettingsError, match="CommandServerPort"):
        read_command_server("CommandServerPort=x")
