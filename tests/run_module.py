"""Run a module of library/ in this process, with the project's module_utils: `run_module.py PATH`."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from ansible import module_utils

module_utils.__path__.append(str(Path(__file__).parents[1] / "module_utils"))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
