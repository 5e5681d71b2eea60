"""`scripts/test` runs every test of the configuration, and ends what does not end."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest

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
    output = run(tmp_path, f"{leaves}; {ended}")
    assert "a: what it had left running was ended\n" in output
    assert output.endswith("ended\nfailed: \n")


def test_what_does_not_end_is_ended_with_its_name(tmp_path: Path) -> None:
    output = run(tmp_path, "endless() { echo begun; sleep 100; }; start a endless; finish a", limit=2)
    assert "begun" in output
    assert "a: not done 2 s after the start" in output
    assert "killed" not in output
    assert output.endswith("failed: a\n")


def test_what_does_not_end_when_it_is_asked_to_is_killed(tmp_path: Path) -> None:
    deaf = "deaf() { trap '' TERM; echo begun; sleep 100; sleep 100; }; GRACE=1; start a deaf; finish a"
    output = run(tmp_path, deaf, limit=2)
    assert "a: still there 1 s after SIGTERM, killed\n" in output
    assert output.endswith("a: ended with status 137\nfailed: a\n")


def test_an_end_before_it_is_asked_for_is_no_error(tmp_path: Path) -> None:
    output = run(tmp_path, "bad() { return 3; }; start a bad; tail --pid=${STARTED[a]} --follow /dev/null; end a")
    assert output.endswith("a: ended with status 3\nfailed: \n")


@pytest.mark.parametrize("limit", [" ", "soon", "0", "09", "1.5", "-5", "a[$(echo 1)]"])
def test_a_limit_that_is_no_number_is_refused_before_anything_starts(limit: str) -> None:
    environment = {**os.environ, "IB_GATEWAY_ANSIBLE_TEST_LIMIT": limit}
    done = subprocess.run(
        [ROOT / "scripts/test", "lint"], capture_output=True, text=True, env=environment, check=False, timeout=20
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"ERROR: IB_GATEWAY_ANSIBLE_TEST_LIMIT is '{limit}'. Give whole seconds, such as 9000, or unset it.\n"
    )
