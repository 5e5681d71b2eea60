"""`scripts/test` runs every test of the configuration, and ends what does not end."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_each_test_is_in_one_part() -> None:
    script = (ROOT / "scripts/test").read_text()
    parts = dict(re.findall(r"^  tests (\S+) (.+)$", script, re.MULTILINE))
    words = shlex.split(" ".join(parts.values()))
    # One part has the files that another one leaves out.
    left_out = [word.removeprefix("--ignore-glob=") for word in words if word.startswith("--")]
    paths = [word for word in words if not word.startswith("--") and word not in left_out]
    assert left_out
    assert set(left_out) < set(words)
    configured = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["testpaths"]
    assert sorted(paths) == sorted(configured)
    assert all(f"\n  finish {name}\n" in script for name in parts)


def run(directory: Path, commands: str, limit: int = 60) -> str:
    """The output of commands with the stages' functions, their logs in a directory."""
    script = f"""
    set -euo pipefail
    exec 2>&1
    . {ROOT}/scripts/lib.sh
    . {ROOT}/scripts/stages.sh
    STATE={directory} LIMIT={limit}
    {commands}
    echo "failed: ${{FAILED[*]}}"
    """
    done = subprocess.run(["bash", "-c", script], stdout=subprocess.PIPE, text=True, check=True, timeout=50)
    return done.stdout


def test_output_is_shown_and_a_failure_is_counted(tmp_path: Path) -> None:
    output = run(tmp_path, "good() { echo fine; }; bad() { return 3; }; start a good; start b bad; finish a; finish b")
    assert "fine" in output
    assert output.endswith("failed: b\n")


def test_a_process_that_is_left_over_delays_nothing_and_is_ended(tmp_path: Path) -> None:
    leaves = "leaves() { sleep 100 & echo $!; }; start a leaves; finish a"
    ended = 'timeout 20 tail --pid="$(cat "$STATE/stage-a.log")" --follow /dev/null && echo ended'
    assert run(tmp_path, f"{leaves}; {ended}").endswith("ended\nfailed: \n")


def test_what_does_not_end_is_ended_with_its_name(tmp_path: Path) -> None:
    output = run(tmp_path, "endless() { echo begun; sleep 100; }; start a endless; finish a", limit=2)
    assert "begun" in output
    assert "a: not done 2 s after the start" in output
    assert output.endswith("failed: a\n")
