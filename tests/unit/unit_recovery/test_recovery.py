"""A unit that cannot start: reported, started again after a pause that grows, and reported again when it runs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from notifications.message import Message, Severity
from unit_recovery.causes import KINDS, LastStart, StartCause
from unit_recovery.recovery import Actions, Memory, MemoryFile, failed, log_line, recover, recovered

UNIT = "ib-gateway.service"
FAILED = LastStart("loaded", "failed", "failed", "exit-code", 243)
WAITS = replace(FAILED, active="activating", sub="auto-restart")
ACTIVE = LastStart("loaded", "active", "running", "success", 0)
STOPPED = LastStart("loaded", "inactive", "dead", "success", 0)
CAUSE = StartCause("credential_missing", "missing credential file: /x", KINDS["credential_missing"].remedy)
SOURCE = Path(__file__).parents[3] / "src" / "unit_recovery"


@dataclass
class World:
    """A host whose unit is in the given states, one after the other, the last for ever."""

    states: list[LastStart]
    starts: list[bool] = field(default_factory=list)
    delivered: bool = True
    causes: list[StartCause | None] = field(default_factory=lambda: [CAUSE])
    now: float = 1_795_990_000.0
    events: list[str] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)

    def show(self) -> LastStart:
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def cause(self) -> StartCause | None:
        return self.causes.pop(0) if len(self.causes) > 1 else self.causes[0]

    def start(self) -> bool:
        self.events.append("start")
        return self.starts.pop(0)

    def report(self, document: dict[str, object]) -> bool:
        message = Message.from_json(json.dumps(document))
        self.events.append(message.kind)
        self.messages.append(message)
        return self.delivered

    def sleep(self, seconds: float) -> None:
        self.events.append(f"{seconds:g} s")
        self.now += seconds

    def run(self, file: Path) -> list[str]:
        actions = Actions(self.show, self.cause, self.start, self.report, clock=lambda: self.now, sleep=self.sleep)
        recover(UNIT, actions, MemoryFile(file, self.events.append))
        return self.events


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "failures.json"


def test_a_message_in_the_journal_consists_of_whole_sentences() -> None:
    now = datetime(2026, 11, 29, 12, tzinfo=UTC)
    line = log_line(failed(UNIT, CAUSE, now, 15))
    assert line.startswith(f"{UNIT} cannot start: missing credential file: /x. {CAUSE.remedy} It is started again at")
    assert log_line(recovered(UNIT, now)) == f"{UNIT} runs again."


def test_a_failed_unit_is_reported_and_runs_again_once_the_cause_is_gone(file: Path) -> None:
    world = World([FAILED, FAILED], starts=[True])
    assert world.run(file) == ["credential_missing", "15 s", "start", "unit_recovered"]
    first, last = world.messages
    assert first.severity is Severity.ALERT
    assert first.title == "ib-gateway.service cannot start: missing credential file: /x"
    assert first.lines[0] == CAUSE.remedy
    assert "started again at" in first.lines[1]
    assert first.dedupe_key.startswith(f"{last.recovery_of}/")


def test_the_pauses_grow_over_separate_runs_and_start_again_after_an_hour(file: Path) -> None:
    pauses = []
    now = 1_795_990_000.0
    for _ in range(7):
        # The start fails, and systemd itself tries the next ones until the unit has failed again.
        world = World([FAILED, FAILED, WAITS], starts=[False], now=now)
        world.run(file)
        pauses.append(world.now - now)
        now = world.now + 30
    assert pauses == [15, 30, 60, 120, 240, 300, 300]
    assert World([FAILED, FAILED, WAITS], starts=[False], now=now + 3600).run(file)[1:3] == ["15 s", "start"]


def test_a_pause_ends_once_what_was_missing_is_there_again(file: Path) -> None:
    file.write_text('{"failures": 9, "at": 1795990000.0}')
    world = World([FAILED, FAILED], starts=[True], causes=[CAUSE, CAUSE, None])
    assert world.run(file) == ["credential_missing", "15 s", "15 s", "start", "unit_recovered"]
    assert "once that is there again" in world.messages[0].lines[1]


@pytest.mark.parametrize("state", [WAITS, STOPPED, replace(FAILED, exit_status=78), ACTIVE])
def test_nothing_is_done_for_a_unit_that_did_not_fail_for_good_or_needs_a_person(state: LastStart, file: Path) -> None:
    assert World([state]).run(file) == []


def test_a_unit_that_somebody_stopped_meanwhile_is_not_started(file: Path) -> None:
    assert World([FAILED, STOPPED]).run(file) == ["credential_missing", "15 s"]


def test_a_unit_that_somebody_started_meanwhile_is_reported_as_running(file: Path) -> None:
    assert World([FAILED, ACTIVE]).run(file) == ["credential_missing", "15 s", "unit_recovered"]


def test_a_start_that_fails_for_good_at_once_is_handled_in_the_same_run(file: Path) -> None:
    world = World([FAILED, FAILED, FAILED, FAILED], starts=[False, True])
    first, second = (["credential_missing", *pause, "start"] for pause in (["15 s"], ["15 s", "15 s"]))
    assert world.run(file) == [*first, *second, "unit_recovered"]


def test_a_unit_that_runs_once_is_reported_and_not_started(file: Path) -> None:
    once = replace(FAILED, restarts=False)
    world = World([once])
    assert world.run(file) == ["credential_missing"]
    assert world.messages[0].lines[1] == "It is not started again by itself."
    undelivered = World([once], delivered=False).run(file)
    assert set(undelivered) == {"credential_missing", "300 s"}
    assert undelivered.count("credential_missing") == 12


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"failures": "x", "at": 0}'])
def test_a_memory_that_cannot_be_read_holds_no_unit_down(content: bytes, file: Path) -> None:
    file.write_bytes(content)
    events = World([FAILED, FAILED], starts=[True]).run(file)
    assert events[-2:] == ["start", "unit_recovered"]
    assert MemoryFile(file, events.append).read() == Memory()


def test_a_memory_that_cannot_be_written_holds_no_unit_down(tmp_path: Path) -> None:
    events = World([FAILED, FAILED], starts=[True]).run(tmp_path / "gone" / "failures.json")
    assert "start" in events
    assert events[-1] == "unit_recovered"


def test_it_needs_nothing_but_the_standard_library(tmp_path: Path, copied: Callable[[Path], Path]) -> None:
    """The host's Python runs a copy outside of the release, which may be damaged."""
    program = (
        "import unit_recovery.__main__, sys; files = [str(getattr(m, '__file__', '')) for m in sys.modules.values()]; "
        "print([file for file in files if 'site-packages' in file ])"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env={"PYTHONPATH": str(copied(tmp_path))},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


@pytest.fixture
def copied() -> Callable[[Path], Path]:
    def copy(directory: Path) -> Path:
        package = directory / "copy" / "unit_recovery"
        package.mkdir(parents=True)
        for module in SOURCE.glob("*.py"):
            (package / module.name).write_bytes(module.read_bytes())
        return package.parent

    return copy
