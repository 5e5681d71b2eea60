"""Plays flows: one on its display, or several at a time."""

from __future__ import annotations

import contextlib
import queue
import re
import socket
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from conformance.controller import Controller, Launch, Line
from conformance.display import Display
from conformance.flow import Flow, StopKind
from conformance.process import ControllerProcess

__all__ = ["FlowError", "Recording", "play", "play_all"]

Send = Callable[[int, str], list[str]]
"""Sends a command to a port of 127.0.0.1 and returns the lines of the answer."""

ANSWER_SECONDS = 1.0

AT_A_TIME = 6
"""Flows that run beside each other; most of their time they wait."""

QUIET = 0.6
"""A flow that has reached its last mark is over once the log has been quiet for so many seconds."""


class FlowError(Exception):
    """A flow took another course than its marks say; the message has the log."""


@dataclass(frozen=True)
class Recording:
    """What a controller printed during a flow.

    `exit_code` is that of its start script; None if it would have gone on and the runner ended it. `answers` are what
    its command server answered to the flow's command.
    """

    flow: Flow
    lines: tuple[Line, ...]
    exit_code: int | None
    launch: Launch
    answers: tuple[str, ...] = ()


def send_command(port: int, word: str) -> list[str]:
    """Send a command to a command server on 127.0.0.1; return the lines of its answer. It leaves the connection open
    after some answers."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS) as connection:
        connection.sendall(f"{word}\n".encode())
        with contextlib.suppress(TimeoutError):
            while part := connection.recv(4096):
                answer += part
    return answer.decode().splitlines()


def play(controller: Controller, flow: Flow, display: Display, send: Send = send_command) -> Recording:
    """Run one flow. `display` is used by no other meanwhile; `send` sends its command. Raises `FlowError`."""
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        launch = controller.launch(flow, Path(folder).resolve(), display.name)
        process = ControllerProcess(launch)
        try:
            return _follow(flow, process, display, launch, send)
        finally:
            process.kill()


def play_all(
    controller: Controller, flows: Iterable[Flow], at_a_time: int = AT_A_TIME
) -> Iterator[Recording | FlowError]:
    """Run flows, `at_a_time` beside each other; yield a recording or the failure of each, in the order of the flows."""
    controller.prepare()
    with ExitStack() as stack:
        displays: queue.SimpleQueue[Display] = queue.SimpleQueue()
        for _ in range(at_a_time):
            displays.put(stack.enter_context(Display()))
        pool = stack.enter_context(ThreadPoolExecutor(at_a_time))
        yield from pool.map(lambda flow: _play_on_one_of(controller, flow, displays), flows)


def _play_on_one_of(controller: Controller, flow: Flow, displays: queue.SimpleQueue[Display]) -> Recording | FlowError:
    if flow.stop is not None and flow.stop.kind is StopKind.DISPLAY_FIRST:
        with Display() as own:
            return _attempt(controller, flow, own)
    display = displays.get()
    try:
        return _attempt(controller, flow, display)
    finally:
        displays.put(display)


def _attempt(controller: Controller, flow: Flow, display: Display) -> Recording | FlowError:
    try:
        return play(controller, flow, display)
    except FlowError as error:
        return error


def _follow(flow: Flow, process: ControllerProcess, display: Display, launch: Launch, send: Send) -> Recording:
    lines: list[Line] = []
    marks = list(flow.until)
    stop = flow.stop
    command, answers = flow.command, list[str]()
    end = time.monotonic() + flow.seconds
    while True:
        over = bool(flow.until) and not marks
        try:
            line = process.line(QUIET if over else end - time.monotonic())
        except TimeoutError:
            if over:
                return Recording(flow, tuple(lines), None, launch, tuple(answers))
            raise FlowError(_complaint(flow, lines, f"waits for {marks[0] if marks else 'its end'}")) from None
        if line is None:
            if marks:
                raise FlowError(_complaint(flow, lines, f"ended before {marks[0]}"))
            return Recording(flow, tuple(lines), process.wait(10), launch, tuple(answers))
        lines.append(line)
        if marks and re.search(marks[0], line.text):
            del marks[0]
        if stop is not None and re.search(stop.after, line.text):
            if stop.kind is StopKind.DISPLAY_FIRST:
                display.stop()
            process.terminate()
            stop = None
        if command is not None and launch.command_port is not None and re.search(command.after, line.text):
            answers += send(launch.command_port, command.word)
            command = None


def _complaint(flow: Flow, lines: list[Line], what: str) -> str:
    log = "\n".join(f"{line.at:7.2f} {line.text}" for line in lines)
    return f"flow {flow.name}: {what}. Its log:\n{log}"
