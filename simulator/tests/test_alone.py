"""The program alone on a machine: one command, and a client trades with it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from ib_insync import IB, MarketOrder, Stock

import gateway_simulator
from gateway_simulator import ctl

pytestmark = pytest.mark.asyncio

DEADLINE = 20.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def program(*options: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, int, int]]:
    """The program in a process of its own: the process, the API's port and that of the control interface."""
    port, control = free_port(), free_port()
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("GATEWAY_SIMULATOR_", "TWS_"))}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "gateway_simulator.main", "--port", str(port), "--control-port", str(control), "--no-display"),
        *options,
        env=kept | {"PYTHONPATH": str(Path(gateway_simulator.__file__).parents[1])},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process, port, control
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def ready(process: asyncio.subprocess.Process) -> None:
    assert process.stdout is not None
    async with asyncio.timeout(DEADLINE):
        while b"Configuration tasks completed" not in (await process.stdout.readline()):
            assert not process.stdout.at_eof()


async def test_one_command_serves_a_client_that_trades(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    options = ("--clock", "held", "--clock-start", "2026-11-23T15:00:00", "--seed", "3", "--state-file", str(state))
    async with program(*options, "--accounts", "DU7654321") as (process, port, control):
        await ready(process)
        ib = IB()  # type: ignore[no-untyped-call]  # ib_insync's, untyped
        await ib.connectAsync("127.0.0.1", port, clientId=1, timeout=5)
        assert ib.managedAccounts() == ["DU7654321"]
        trade = ib.placeOrder(Stock("AAPL", "SMART", "USD"), MarketOrder("BUY", 10))
        async with asyncio.timeout(DEADLINE):
            while trade.orderStatus.status != "Submitted":
                await ib.updateEvent
            assert (await asyncio.to_thread(ctl.request, control, "advance", ["2"]))["ok"]
            while trade.orderStatus.status != "Filled":
                await ib.updateEvent
        ib.disconnect()  # type: ignore[no-untyped-call]  # ib_insync's, untyped
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), DEADLINE) == 143
    assert state.stat().st_mode & 0o777 == 0o600


async def test_it_is_ready_within_a_second_of_its_start() -> None:
    async with program() as (process, port, _):
        assert process.stdout is not None
        await asyncio.wait_for(process.stdout.readline(), DEADLINE)  # Python has started
        started = asyncio.get_running_loop().time()
        await ready(process)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"API\0\0\0\0\x09v157..178")
        assert b"178" in await asyncio.wait_for(reader.read(100), DEADLINE)
        assert asyncio.get_running_loop().time() - started < 1
        writer.close()


@pytest.mark.parametrize(
    ("options", "status", "reason"),
    [
        (("--clock-speed", "0"), 2, "GATEWAY_SIMULATOR_CLOCK_SPEED is '0': it must be more than 0"),
        (("--tape", "/no/such/tape.csv"), 1, "/no/such/tape.csv"),
    ],
)
async def test_an_option_that_cannot_be_ends_it_with_the_reason(
    options: tuple[str, ...], status: int, reason: str
) -> None:
    async with program(*options) as (process, _, _):
        _, err = await asyncio.wait_for(process.communicate(), DEADLINE)
        assert process.returncode == status
        assert reason in err.decode()
        assert "Traceback" not in err.decode()
