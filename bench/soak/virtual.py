"""An event loop whose time is set from outside, and the position manager's service on it.

``python -m bench.soak.virtual run …`` is ``position-manager run …`` in a process whose clock, timeouts and timers
follow the commands on a socket; the gateway's socket, the journal and the notifications are real.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import selectors
import socket
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from notifications.delivery import targets_of
from notifications.service import Notifications
from notifications.target import Target
from position_manager import cli
from position_manager.clock import SystemClock
from position_manager.config.schema import Config
from position_manager.service import service

SOCKET, START, WEBHOOK = "SOAK_SOCKET", "SOAK_START", "SOAK_WEBHOOK"
"""Variables: where the clock is set from, its first moment (seconds since 1970), where notifications are posted."""
DISCORD = "discord://4242/soak"
QUIET_TURNS = 4
"""Turns of the loop without anything to do, after which it is idle."""


class _Selector(selectors.BaseSelector):
    """The real selector, which waits for files only: time does not pass by itself."""

    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()
        self.own = -1
        self.events = 0
        """How many events of other files than the clock's socket it has reported."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(None if timeout is None or timeout > 0 else 0)
        self.events += sum(key.fd != self.own for key, _ in ready)
        return ready

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class CommandedLoop(asyncio.SelectorEventLoop):
    """Its time is that of the last command. Commands and answers are lines of JSON: ``{"to": SECONDS}`` sets the
    time; each is answered when nothing is left to do at that time, with what ``describe`` returns. ``{"weigh": true}``
    is answered with the process's memory and its blocks too."""

    def __init__(self, commands: socket.socket, describe: Any) -> None:
        self._time = 0.0
        self._commands = commands
        self._describe = describe
        self._files = _Selector()
        self._files.own = commands.fileno()
        self._read = b""
        self._weigh = False
        super().__init__(self._files)
        commands.setblocking(False)
        self.add_reader(commands, self._command)

    def time(self) -> float:
        return self._time

    def _command(self) -> None:
        data = self._commands.recv(65536)
        if not data:
            # Whoever sets the time is gone: so is time.
            os._exit(70)
        self._read += data
        while b"\n" in self._read:
            line, _, self._read = self._read.partition(b"\n")
            command = json.loads(line)
            if "to" in command:
                self._time = max(self._time, float(command["to"]))
            self._weigh = "weigh" in command
            self.call_soon(self._answer_when_idle, QUIET_TURNS, self._files.events)

    def _answer_when_idle(self, turns: int, events: int) -> None:
        scheduled: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]  # the loop's own
        waiting = [timer.when() for timer in scheduled if not timer.cancelled()]
        due = min(waiting, default=None)
        busy = bool(self._ready) or self._files.events != events or (due is not None and due <= self._time)  # type: ignore[attr-defined]  # the loop's own
        left = QUIET_TURNS if busy else turns - 1
        if left:
            self.call_soon(self._answer_when_idle, left, self._files.events)
            return
        # Its objects first: they are counted once those that nothing refers to are gone.
        memory = {"blocks": blocks(), "memory": resident()} if self._weigh else {}
        answer = {"next": due, "events": self._files.events, **self._describe(), **memory}
        self._commands.sendall(json.dumps(answer).encode() + b"\n")


class _Policy(asyncio.DefaultEventLoopPolicy):
    def __init__(self, loop: CommandedLoop) -> None:
        super().__init__()
        self._commanded = loop

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return self._commanded


class _Clock(SystemClock):
    """The wall clock that belongs to the loop's time."""

    def __init__(self, loop: CommandedLoop, start: datetime) -> None:
        self._loop = loop
        self._start = start

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._loop.time())


def blocks() -> int:
    """How many pieces of memory the objects of this process have."""
    gc.collect()
    return sys.getallocatedblocks()


def resident() -> float:
    """MiB of this process that lie in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main(arguments: Sequence[str]) -> int:
    """The service, with its clock replaced; returns its exit status."""
    commands = socket.socket(socket.AF_UNIX)
    commands.connect(os.environ[SOCKET])
    start = datetime.fromtimestamp(float(os.environ[START]), UTC)
    created: list[service.Service] = []

    def describe() -> dict[str, Any]:
        if not created:
            return {"phase": ""}
        return {"phase": str(created[0].engine.shared.connection.state.phase)}

    class Watched(service.Service):
        def __init__(self, *values: Any, **more: Any) -> None:
            super().__init__(*values, **more)
            created.append(self)

    loop = CommandedLoop(commands, describe)
    clock = _Clock(loop, start)

    def targets(_config: Config) -> tuple[Target, ...]:
        return tuple(targets_of([DISCORD], discord_api=os.environ[WEBHOOK]))

    def people(path: Path, addressed: Any) -> Notifications:
        return Notifications(path, addressed, clock=lambda: clock.now().timestamp())

    # The only places at which the service creates them.
    vars(service).update(SystemClock=lambda: clock, Service=Watched, _targets=targets, Notifications=people)
    asyncio.set_event_loop_policy(_Policy(loop))
    return cli.main(list(arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
