"""The login controller's process: found by its command line, as the real Java process is, and ended by signals."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from gateway_simulator.container.children import ControllerProcess
from gateway_simulator.login.lifecycle import ControllerEnd

DEADLINE = 20.0


def found(mode: str, ini: Path) -> list[int]:
    """The processes that a search for the real program's entry point finds, with this configuration."""
    pids = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = process.read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended since
        if b"ibcalpha.ibc.IbcGateway" in command and command[-3:-1] == [str(ini).encode(), mode.encode()]:
            pids.append(int(process.parent.name))
    return pids


@pytest.mark.parametrize(
    ("number", "end", "goes_on"),
    [(signal.SIGTERM, ControllerEnd.TERMINATED, True), (signal.SIGKILL, ControllerEnd.KILLED, False)],
)
def test_process_is_found_and_a_terminated_one_waits_for_the_logout(
    number: signal.Signals, end: ControllerEnd, goes_on: bool, tmp_path: Path
) -> None:
    ini = tmp_path / "config.ini"

    async def scene() -> None:
        controller = await ControllerProcess.start(ini, "live")
        try:
            (pid,) = found("live", ini)
            assert found("paper", ini) == []
            os.kill(pid, number)
            async with asyncio.timeout(DEADLINE):
                assert await controller.ended() is end
            assert bool(found("live", ini)) is goes_on
        finally:
            await controller.stop()
        assert found("live", ini) == []

    asyncio.run(scene())


def test_process_ends_with_its_gateway(tmp_path: Path) -> None:
    ini = tmp_path / "config.ini"

    async def scene() -> None:
        controller = await ControllerProcess.start(ini, "paper")
        assert len(found("paper", ini)) == 1
        await controller.stop()
        assert found("paper", ini) == []

    asyncio.run(scene())
