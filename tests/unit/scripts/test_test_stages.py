"""`scripts/test` runs every test of the configuration, in two parts."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_each_test_path_is_in_one_part() -> None:
    script = (ROOT / "scripts/test").read_text()
    parts = [re.search(rf"^{name}=\((.*)\)$", script, re.MULTILINE) for name in ("LIGHT", "HEAVY")]
    paths = [path for part in parts if part for path in part[1].split()]
    configured = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["testpaths"]
    assert sorted(paths) == sorted(configured)
    for name in ("LIGHT", "HEAVY"):
        assert f'python -m pytest "${{{name}[@]}}"' in script
