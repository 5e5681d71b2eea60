"""The faults that molecule stages know when IBKR's own maintenance excuses a gateway without a link."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

FAULTS = Path(__file__).parents[3] / "molecule" / "monitoring" / "faults.py"
SOURCES = Path(__file__).parents[3] / "src"


def test_the_program_that_asks_for_the_reset_runs() -> None:
    program = runpy.run_path(str(FAULTS))["EXCUSED"]
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(SOURCES)}
    )
    assert done.stdout in ("True\n", "False\n")
