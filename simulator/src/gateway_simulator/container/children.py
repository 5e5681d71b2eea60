"""The programs beside the gateway in its container: X server, VNC server, relays, windows."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from gateway_simulator.container import controller
from gateway_simulator.container.controller import ENTRY_POINT, STARTED, TERMINATED
from gateway_simulator.login.lifecycle import ControllerEnd, View

DISPLAY = ":1"
LOCK = Path("/tmp/.X1-lock")  # noqa: S108 - where X servers put it
STOP_SECONDS = 3.0
RELAY_RESTART_SECONDS = 5.0

Process = asyncio.subprocess.Process


class ChildError(Exception):
    """A program of the container could not be started."""


def remove_stale_lock() -> None:
    """Remove the display's lock that a killed container left, for it is started again with its files."""
    LOCK.unlink(missing_ok=True)


async def start_xvfb() -> Process:
    """Start the X server and return when it takes clients."""
    remove_stale_lock()
    ready, announce = os.pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            "Xvfb", DISPLAY, "-displayfd", str(announce), "-nolisten", "tcp", "-screen", "0", "1024x768x24",
            stdin=asyncio.subprocess.DEVNULL, pass_fds=(announce,),
        )  # fmt: skip
    except OSError as error:
        os.close(ready)
        raise ChildError(f"Xvfb cannot be started: {error}") from error
    finally:
        os.close(announce)
    with os.fdopen(ready, "rb") as pipe:
        # The read ends when Xvfb writes its display number or dies.
        number = await asyncio.to_thread(pipe.readline)
    if not number:
        raise ChildError(f"Xvfb ended with exit status {await process.wait()} before it was ready")
    return process


async def start_x11vnc(password: str) -> Process:
    """Start the VNC server on port 5900. The password goes through a file that x11vnc deletes."""
    handle, path = tempfile.mkstemp(prefix="vnc-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(password + "\n")
    try:
        return await asyncio.create_subprocess_exec(
            "x11vnc", "-display", DISPLAY, "-forever", "-shared", "-noipv6", "-rfbport", "5900",
            "-ncache_cr", "-quiet", "-passwdfile", f"rm:{path}", stdin=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
    except OSError as error:
        os.unlink(path)  # noqa: PTH108 - a path from mkstemp
        raise ChildError(f"x11vnc cannot be started: {error}") from error


async def run_script(script: Path, environment: dict[str, str]) -> int:
    """Run a shell script of the user's to its end, with its output in the log; return its exit status."""
    process = await asyncio.create_subprocess_exec(
        "bash", str(script), stdin=asyncio.subprocess.DEVNULL, env=environment
    )
    try:
        return await process.wait()
    finally:
        await stop(process)


async def run_relay(relay_port: int, native_port: int, mode: str, write_line: Callable[[str], None]) -> None:
    """Run the relay from all interfaces to the native port, again and again, until cancelled."""
    while True:
        write_line(f"Forking :::{native_port} onto 0.0.0.0:{relay_port} > trading mode {mode} ")
        try:
            process = await asyncio.create_subprocess_exec(
                "socat", f"TCP-LISTEN:{relay_port},fork,reuseaddr", f"TCP:127.0.0.1:{native_port}",
                stdin=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        except OSError as error:
            raise ChildError(f"socat cannot be started: {error}") from error
        try:
            await process.wait()
        finally:
            await stop(process)
        await asyncio.sleep(RELAY_RESTART_SECONDS)


class ControllerProcess:
    """The login controller's process of one run of a gateway; see :mod:`controller`."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, ini: Path, mode: str) -> ControllerProcess:
        """Start the process and return when SIGTERM reaches its handler."""
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", controller.__file__,
                "java", "-cp", "IBC.jar", ENTRY_POINT, str(ini), mode,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
        except OSError as error:
            raise ChildError(f"the login controller's process cannot be started: {error}") from error
        started = cls(process)
        if await started._line() != STARTED:
            raise ChildError(f"the login controller's process ended with status {await process.wait()}")
        return started

    async def _line(self) -> bytes:
        stream = self._process.stdout
        return await stream.readline() if stream is not None else b""

    async def ended(self) -> ControllerEnd:
        """Wait until somebody terminates the process (it continues until :meth:`stop`) or kills it."""
        line = await self._line()
        if line == TERMINATED or await self._process.wait() == -signal.SIGTERM:
            return ControllerEnd.TERMINATED
        return ControllerEnd.KILLED

    async def stop(self) -> None:
        """End the process and wait for its exit."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
        except TimeoutError:
            await stop(self._process)


class Window:
    """The gateway's window: a process of its own that receives each view of the gateway."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def read_codes(self, enter: Callable[[str], None]) -> None:
        """Yield each code that is entered into the window, until it is closed."""
        stream = self._process.stdout
        while stream is not None and (line := await stream.readline()):
            enter(line.decode().strip())

    @classmethod
    async def open(cls, slot: int, environment: dict[str, str]) -> Window:
        """Open the window in the given place of the screen, 0 or 1."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway_simulator.container.window", str(slot),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=environment,
        )  # fmt: skip
        return cls(process)

    def show(self, view: View) -> None:
        """Draw a view. A window that has been closed is left alone."""
        stream = self._process.stdin
        if stream is None or stream.is_closing() or self._process.returncode is not None:
            return
        stream.write(json.dumps(view_message(view)).encode() + b"\n")

    async def close(self) -> None:
        """Close the window."""
        await stop(self._process)


def view_message(view: View) -> dict[str, object]:
    """Return what is sent to the window process; ``approval_until`` in seconds since 1970."""
    return {
        "mode": view.mode,
        "state": view.state.value,
        "note": view.note,
        "dialog": view.dialog,
        "accounts": list(view.accounts),
        "code": view.code,
        "wrong_codes": view.wrong_codes,
        "approval_until": view.approval_until.timestamp() if view.approval_until else None,
    }


async def stop(process: Process) -> None:
    """End a process with SIGTERM, and with SIGKILL if it does not go within some seconds."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
