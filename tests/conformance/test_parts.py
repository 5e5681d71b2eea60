"""The parts of the conformance runner that the matrix relies on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conformance import captured, fetch
from conformance.captured import Captured
from conformance.controller import Line, UnavailableError
from conformance.display import Display
from conformance.flow import Flow
from conformance.ibc import Ibc
from conformance.play import FlowError, play


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(captured, "FOLDER", tmp_path)
    return tmp_path


LINES = (
    Line(0.0, "autorestart file not found"),
    Line(0.0, "<time> IBC: detected frame entitled: X; event=Focused"),
    Line(4.0, "<time> IBC: Duration since login: 4 seconds"),
)


@pytest.mark.parametrize("code", [None, 0, 76])
def test_captured_lines_are_read_as_they_were_written(folder: Path, code: int | None) -> None:
    entry = Captured("flow", "What happens.", "IBC 1", LINES, code)
    assert captured.write(Ibc(), entry)
    assert captured.read("ibc", "flow") == entry
    assert captured.read_all("ibc") == [entry]


def test_a_file_changes_only_by_more_than_a_race(folder: Path) -> None:
    assert captured.write(Ibc(), Captured("flow", "What happens.", "IBC 1", LINES, 0))
    raced = (Line(0.0, LINES[0].text), Line(9.0, "<time> IBC: Duration since login: 9 seconds"))
    assert not captured.write(Ibc(), Captured("flow", "What happens.", "IBC 1", raced, 0))
    assert captured.write(Ibc(), Captured("flow", "What happens.", "IBC 1", raced, 1))


def test_a_file_of_another_form_is_refused(folder: Path) -> None:
    (folder / "ibc").mkdir()
    (folder / "ibc" / "flow.log").write_text("some\nlines\nof a log\n")
    with pytest.raises(ValueError, match=r"flow\.log: not the form"):
        captured.read("ibc", "flow")


def test_the_recording_loses_its_machine_and_its_times() -> None:
    controller, flow = Ibc(), Flow("flow", "What happens.", (("crash 7",),))
    controller.prepare()
    with Display() as display:
        recording = play(controller, flow, display)
    assert recording.exit_code == 7
    assert str(recording.launch.folder) in "".join(line.text for line in recording.lines)
    texts = [line.text for line in captured.of_recording(recording, controller).lines]
    assert str(recording.launch.folder) not in "".join(texts)
    assert "<time> IBC: Starting Gateway" in texts
    assert "IBC returned exit status 7" in texts


def test_an_unknown_step_ends_the_gateway() -> None:
    with Display() as display:
        recording = play(Ibc(), Flow("flow", "What happens.", (("dance",),)), display)
    assert recording.exit_code == 99
    assert any(
        "stand-in: java.lang.IllegalArgumentException: unknown step: dance" in line.text for line in recording.lines
    )


def test_a_flow_that_takes_another_course_is_an_error_with_its_log() -> None:
    flow = Flow("flow", "What happens.", (("crash 0",),), ("Login has completed",))
    with (
        Display() as display,
        pytest.raises(FlowError, match=r"flow flow: ended before Login has completed(.|\n)*exit status 0"),
    ):
        play(Ibc(), flow, display)


def test_a_flow_that_goes_on_too_long_is_an_error() -> None:
    flow = Flow("flow", "What happens.", (("idle",),), ("Login has completed",), seconds=3)
    with Display() as display, pytest.raises(FlowError, match="waits for Login has completed"):
        play(Ibc(), flow, display)


def test_nothing_is_left_running() -> None:
    """The start script and the gateway's process end with the flow, not with the display; their files are removed."""
    with Display() as display:
        recording = play(Ibc(), Flow("flow", "What happens.", (("idle",),), ("Creating main window future",)), display)
        listed = subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True)
    assert not recording.launch.folder.exists()
    assert str(recording.launch.folder) not in listed.stdout


def test_a_package_without_a_pin_is_not_fetched() -> None:
    with pytest.raises(UnavailableError, match="does not name requests"):
        fetch.wheel("requests")
