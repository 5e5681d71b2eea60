"""The programs of a soak: the gateway simulator, the position manager and a webhook, and the time that they share."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from bench.simulator import ROOT, free_port, memory
from bench.soak import virtual
from bench.soak.scenario import SYMBOLS

PATIENCE = 60.0
"""Seconds of the machine after which something that does not come is an error."""
CONFIG = """\
mode: paper
poll_seconds: 30
gateway: {port: %s, cold_restart_time: "13:00"}
underlyings:
%scaps: {orders_per_minute: 1000, orders_per_day: 100000}
"""
UNIT = ROOT / "roles/position_manager/templates/position-manager.service.j2"
RULE = "  %s: {stop: {percent_of_premium: 10}}\n"


def allocator() -> dict[str, str]:
    """The settings of the C library's allocator that the manager's unit has."""
    found = re.findall(r"^Environment=(MALLOC_\w+)=(\S+)$", UNIT.read_text(), re.MULTILINE)
    return dict(found)


class SoakError(Exception):
    """A program of the soak does not do what the soak needs; the text has the reason."""


@dataclass(frozen=True)
class Post:
    """A notification that was received."""

    at: datetime
    title: str
    text: str


@dataclass
class Webhook:
    """Accepts notifications, unless it is ``down``."""

    port: int = 0
    down: bool = False
    refused: int = 0
    posts: list[Post] = field(default_factory=list)

    async def on_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
            body = json.loads(await reader.readexactly(length))
            if self.down:
                self.refused += 1
            else:
                self.posts += [
                    Post(datetime.fromisoformat(each["timestamp"]), each["title"], each.get("description", ""))
                    for each in body["embeds"]
                ]
            status = b"503 Service Unavailable" if self.down else b"200 OK"
            writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
            await writer.drain()
        writer.close()


class Gateway:
    """The simulator as a process, and its control interface. Orders, positions and prices outlive the process."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.port, self.control_port = free_port(), free_port()
        self.journal = directory / "brokerage.jsonl"
        self._directory = directory
        self._seed = seed
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def memory(self) -> float:
        """MiB."""
        if self._process is None:
            return 0.0
        return memory(self._process.pid)

    async def start(self, now: datetime) -> None:
        """Start it, and wait until it is logged in."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("GATEWAY_SIMULATOR_", "TWS_"))}
        # Of its own: a manager sends nothing while another one on the machine guards the same account.
        account = f"DU{os.getpid():07}"
        settings = {"START_SECONDS": "6", "TIME_SCALE": "0.02", "TWOFA": "none", "ACCOUNTS": account}
        with (self._directory / "gateway.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "gateway_simulator.main", "--no-display", "--seed", str(self._seed)),
                *("--port", str(self.port), "--control-port", str(self.control_port), "--trading-hours", "exchange"),
                # Its limit counts seconds of the machine.
                *("--messages-per-second", "0"),
                *("--clock", "held", "--clock-start", now.isoformat()),
                *("--state-file", str(self._directory / "state.json"), "--journal-file", str(self.journal)),
                env={
                    **kept,
                    **{f"GATEWAY_SIMULATOR_{key}": value for key, value in settings.items()},
                    "TZ": "America/New_York",
                    "TWS_SETTINGS_PATH": str(self._directory / "settings"),
                    "PYTHONPATH": str(ROOT / "simulator/src"),
                },
                stdout=log,
                stderr=log,
            )
        async with asyncio.timeout(PATIENCE):
            while self._writer is None:
                if not self.running:
                    raise SoakError("the simulator ended; see gateway.log")
                try:
                    self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.control_port)
                except ConnectionError:
                    await asyncio.sleep(0.02)
        await self.reach("logged_in")

    async def command(self, name: str, *arguments: str) -> Any:
        """A command, which must succeed; its result."""
        answer = await self.ask(name, *arguments)
        if not answer["ok"]:
            raise SoakError(f"{name} {' '.join(arguments)}: {answer['error']}")
        return answer["result"]["paper"]

    async def ask(self, name: str, *arguments: str) -> dict[str, Any]:
        """The answer to a command."""
        if self._reader is None or self._writer is None:
            raise SoakError(f"{name}: the simulator does not run")
        self._writer.write(json.dumps({"command": name, "arguments": arguments, "mode": None}).encode() + b"\n")
        answer: dict[str, Any] = json.loads(await self._reader.readline())
        return answer

    async def reach(self, *states: str) -> None:
        """Wait until its login is in one of some states."""
        async with asyncio.timeout(PATIENCE):
            while (await self.command("status"))["state"] not in states:  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.01)

    async def end(self, *, crash: bool) -> None:
        """End it: by itself, or by the kernel."""
        if self._process is None:
            return
        if crash and self.running:
            await self.command("crash")
        elif self.running:
            self._process.kill()
        async with asyncio.timeout(PATIENCE):
            await self._process.wait()
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None


class Manager:
    """The position manager as a process, in the same directories each time, on the soak's time."""

    def __init__(self, directory: Path, gateway: Gateway) -> None:
        self.journal = directory / "state" / "journal-paper.db"
        self.answer: dict[str, Any] = {}
        """What it answered last."""
        self._directory = directory
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._connected = asyncio.Event()
        self._start: datetime | None = None
        (directory / "pm.yml").write_text(CONFIG % (gateway.port, "".join(RULE % symbol for symbol in SYMBOLS)))
        for name in ("state", "run"):
            (directory / name).mkdir()

    @property
    def running(self) -> bool:
        return self._process is not None

    @property
    def phase(self) -> str:
        """Of its connection; empty if it does not run."""
        return str(self.answer.get("phase", "")) if self.running else ""

    async def on_clock(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._connected.set()

    async def start(self, now: datetime, socket: Path, webhook: int) -> None:
        self._connected.clear()
        self._start = now
        paths = ("--config", "pm.yml", "--state", "state", "--runtime", "run")
        with (self._directory / "manager.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "bench.soak.virtual", "run", *paths),
                cwd=self._directory,
                env={
                    **{key: value for key, value in os.environ.items() if key != "NOTIFY_SOCKET"},
                    **allocator(),
                    "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "src", ROOT / "simulator/src", ROOT))),
                    virtual.SOCKET: str(socket),
                    virtual.START: str(now.timestamp()),
                    virtual.WEBHOOK: f"http://127.0.0.1:{webhook}/api/webhooks",
                },
                stdout=log,
                stderr=log,
            )
        async with asyncio.timeout(PATIENCE):
            await self._connected.wait()
        await self.sync()

    async def sync(self, now: datetime | None = None) -> None:
        """Set its time, and wait until it has nothing left to do at that time."""
        if self._start is None:
            raise SoakError("the position manager does not run")
        self.answer = await self._command({} if now is None else {"to": (now - self._start).total_seconds()})

    async def _command(self, command: dict[str, Any]) -> dict[str, Any]:
        if self._reader is None or self._writer is None:
            raise SoakError("the position manager does not run")
        self._writer.write(json.dumps(command).encode() + b"\n")
        async with asyncio.timeout(PATIENCE):
            line = await self._reader.readline()
        if not line:
            raise SoakError("the position manager ended by itself; see manager.log")
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def memory(self) -> tuple[float, int]:
        """MiB that it uses, and the blocks of its objects."""
        answer = await self._command({"weigh": True})
        return float(answer["memory"]), int(answer["blocks"])

    def seconds_to_next(self, now: datetime) -> float | None:
        """Seconds until it has something to do by itself."""
        due = self.answer.get("next")
        if due is None or self._start is None:
            return None
        return max(0.0, float(due) - (now - self._start).total_seconds())

    async def kill(self) -> None:
        """kill -9."""
        if self._process is None:
            return
        self._process.kill()
        await self._process.wait()
        self._gone()

    async def stop(self) -> None:
        """As systemd stops it: what is left to notify is delivered."""
        if self._process is None:
            return
        self._process.terminate()
        with contextlib.suppress(ConnectionError, SoakError):
            await self.sync()
        async with asyncio.timeout(PATIENCE):
            await self._process.wait()
        self._gone()

    def _gone(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._process = self._reader = self._writer = None
        self.answer = {}


@dataclass
class World:
    """All of it at one moment. Time moves by `step` only, when nobody has anything left to do."""

    now: datetime
    gateway: Gateway
    manager: Manager
    webhook: Webhook
    socket: Path

    async def start_manager(self) -> None:
        await self.manager.start(self.now, self.socket, self.webhook.port)

    async def settle(self) -> None:
        """Until neither program has anything left to do at this time."""
        while self.manager.running:
            await self.manager.sync()
            before = self.manager.answer["events"]
            if self.gateway.running:
                # Twice: the first shares a turn of its loop with what the manager has sent.
                await self.gateway.ask("clock")
                await self.gateway.ask("clock")
            await self.manager.sync()
            if self.manager.answer["events"] == before:
                return

    async def step(self, seconds: float, steps: int) -> None:
        """Let so many seconds pass at once; streams see so many ``steps`` of the market."""
        self.now += timedelta(seconds=seconds)
        # First what it does by itself: so a loss of the connection is seen before the next attempt to connect.
        if self.manager.running:
            await self.manager.sync(self.now)
        if self.gateway.running:
            await self.gateway.ask("advance", f"{seconds:.6f}", str(steps))
        await self.settle()


@asynccontextmanager
async def world(directory: Path, start: datetime, seed: int) -> AsyncIterator[World]:
    """A world in which nothing runs yet but the webhook."""
    webhook = Webhook()
    server = await asyncio.start_server(webhook.on_client, "127.0.0.1", 0)
    webhook.port = server.sockets[0].getsockname()[1]
    gateway = Gateway(directory, seed)
    manager = Manager(directory, gateway)
    socket = directory / "clock"
    clock = await asyncio.start_unix_server(manager.on_clock, socket)
    try:
        yield World(start, gateway, manager, webhook, socket)
    finally:
        await manager.kill()
        await gateway.end(crash=False)
        for each in (server, clock):
            each.close()
