"""ib_insync as this project loads it: without numpy, which stays whole for whoever needs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ib_connection

SOURCE = Path(ib_connection.__file__).parents[1]


def run(program: str) -> str:
    """What a fresh interpreter prints."""
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.strip()


@pytest.mark.parametrize("module", ["ib_connection.handshake", "position_manager.brokers.ib_broker"])
def test_numpy_is_not_loaded(module: str) -> None:
    assert run(f"import sys, {module}; print('eventkit' in sys.modules, 'numpy' in sys.modules)") == "True False"


def test_the_logs_load_no_rich_and_leave_it_whole() -> None:
    program = "import sys; from position_manager.service import logs; print('rich' in sys.modules)"
    assert run(program) == "False"
    assert run("from position_manager.service import logs; from rich.text import Text; print(Text('a'))") == "a"


def test_numpy_can_be_loaded_afterwards() -> None:
    assert run("import ib_connection.ib_library, numpy; print(numpy.arange(3).sum())") == "3"


def test_a_numpy_that_is_there_already_is_left_alone() -> None:
    program = "import sys, numpy; import ib_connection.ib_library; print(sys.modules['numpy'] is numpy)"
    assert run(program) == "True"
    assert run(f"{program}; import eventkit.ops.array as array; print(array.np is numpy)").endswith("True")
