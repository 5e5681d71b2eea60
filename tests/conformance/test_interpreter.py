"""The Python that runs py-ib-controller: one of the machine, or Debian 13's without installing it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conformance import captured, fetch, interpreter
from conformance.display import Display
from conformance.ibcontroller import Ibcontroller
from conformance.ibcontroller_flows import IBCONTROLLER_FLOWS
from conformance.play import play
from tests.conformance.test_live import facts


def program(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


def test_a_python_that_does_not_run_or_is_too_old_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    program(tmp_path, "python3", "echo 3.11.2")
    program(tmp_path, "python3.13", "echo 'pyenv: python3.13: command not found' >&2; exit 127")
    expected = program(tmp_path, "python3.12", "echo 3.12.1")
    assert interpreter.installed() == interpreter.Python(expected, "3.12.1")
    expected.unlink()
    found = interpreter.installed()
    assert found is None or found.program.parent != tmp_path


def test_debians_own_python_runs_a_flow_of_the_real_controller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreter, "installed", lambda: None)
    controller, flow = Ibcontroller(), IBCONTROLLER_FLOWS["login_paper"]
    controller.prepare()
    python = controller.python()
    assert python.program.is_relative_to(fetch.CACHE)
    assert python.version.startswith("3.13.")
    assert python.program.resolve() != Path(sys.executable).resolve()
    with Display() as display:
        recording = play(controller, flow, display)
    live = captured.of_recording(recording, controller)
    assert facts(live) == facts(captured.read("ibcontroller", "login_paper"))
