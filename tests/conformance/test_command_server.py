"""The real IBC with a gateway's windows: what the project's client sends restarts the gateway with its session."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from conformance.display import Display
from conformance.flows import FLOWS
from conformance.ibc import Ibc
from conformance.play import Recording, play

from gateway_watch import command_server
from gateway_watch.command_server import CommandError
from gateway_watch.engine import Engine, EngineError
from gateway_watch.signatures import load


class HereEngine(Engine):
    """Runs on this machine what is to be run in the container."""

    async def run(self, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *arguments[2:], stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        output, errors = await process.communicate()
        if process.returncode:
            raise EngineError(errors.decode())
        return output.decode()


@contextmanager
def quick_answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(command_server, "ANSWER_SECONDS", 2)
        yield


def _send(port: int, word: str) -> list[str]:
    server = load("ibc").command_server
    assert server is not None
    try:
        return [asyncio.run(command_server.send(HereEngine(), "", replace(server, port=port), word))]
    except CommandError as error:
        return [str(error)]


def _play(flow: str) -> Recording:
    program = Ibc()
    program.prepare()
    with Display() as display:
        return play(program, FLOWS[flow], display, _send)


def test_restart_sets_the_next_minute_and_the_session_goes_on() -> None:
    recording = _play("command_restart")
    (answer,) = recording.answers
    assert answer.startswith("OK RESTART at ")
    assert recording.exit_code is None
    text = "\n".join(line.text for line in recording.lines)
    assert f"Setting auto-restart time to {answer.removeprefix('OK RESTART at ')}" in text
    # The session's restart sets the time of the settings again.
    assert text.rindex("Auto restart time set to 02:00 AM") > text.index("Re-starting session")
    assert text.count("Login attempt") == 1


def test_pause_ends_the_controller_with_the_session_stored() -> None:
    recording = _play("command_pause")
    (answer,) = recording.answers
    assert answer.startswith("OK PAUSE at ")
    assert recording.exit_code == 0
    lines = [line.text for line in recording.lines]
    assert "IBC is paused" in lines
    assert any("autorestart file found at" in line for line in lines)


def test_unknown_command_is_refused_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with quick_answers(monkeypatch):
        recording = _play("command_invalid")
    assert recording.answers == ("the login controller refused it: Command invalid",)
    assert recording.exit_code is None
