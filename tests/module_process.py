"""A module of library/ as a process, as Ansible runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SECONDS = 60


def command(name: str, *flags: str) -> list[str]:
    """The command line that runs the module; `flags` are Python's own."""
    return [sys.executable, *flags, str(ROOT / "tests/run_module.py"), str(ROOT / "library" / f"{name}.py")]


def answer_of(
    name: str, arguments: Mapping[str, Any], environment: Mapping[str, str], *flags: str, seconds: float = SECONDS
) -> dict[str, Any]:
    """The module's answer on standard output to arguments on standard input; `flags` are Python's own."""
    ended = subprocess.run(
        command(name, *flags),
        input=json.dumps({"ANSIBLE_MODULE_ARGS": dict(arguments)}),
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert ended.stdout, ended.stderr
    answer: dict[str, Any] = json.loads(ended.stdout)
    return answer
