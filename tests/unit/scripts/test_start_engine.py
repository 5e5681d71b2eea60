"""scripts/start_engine.py distinguishes a living engine from the remains of a killed one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from tests.plugins import load

SCRIPT = Path(__file__).parents[3] / "scripts/start_engine.py"


@pytest.fixture(scope="module")
def start_engine() -> ModuleType:
    return load("scripts/start_engine.py")


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process with the pid file on its command line, as the engine has it."""
    program = "import sys; print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program, str(tmp_path / "docker.pid")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout
        running.stdout.readline()
        yield running
        running.kill()


def test_a_living_engine_is_found(start_engine: ModuleType, tmp_path: Path, process: subprocess.Popen[bytes]) -> None:
    pid_file = tmp_path / "docker.pid"
    pid_file.write_text(str(process.pid))
    assert start_engine.living(pid_file, pid_file) == process.pid
    assert pid_file.exists()


def test_a_number_that_another_process_has_now_is_forgotten(start_engine: ModuleType, tmp_path: Path) -> None:
    pid_file = tmp_path / "docker.pid"
    pid_file.write_text(str(os.getpid()))
    assert start_engine.living(pid_file, pid_file) is None
    assert not pid_file.exists()


def test_a_dead_process_that_nobody_reaped_is_forgotten(
    start_engine: ModuleType, tmp_path: Path, process: subprocess.Popen[bytes]
) -> None:
    pid_file = tmp_path / "docker.pid"
    pid_file.write_text(str(process.pid))
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert start_engine.living(pid_file, pid_file) is None
    assert not pid_file.exists()


@pytest.mark.parametrize("content", ["", "no number\n"])
def test_a_broken_pid_file_is_forgotten(start_engine: ModuleType, tmp_path: Path, content: str) -> None:
    pid_file = tmp_path / "docker.pid"
    pid_file.write_text(content)
    assert start_engine.living(pid_file, pid_file) is None
    assert not pid_file.exists()


def test_no_pid_file_means_no_engine(start_engine: ModuleType, tmp_path: Path) -> None:
    assert start_engine.living(tmp_path / "docker.pid", tmp_path / "docker.pid") is None
