"""The module host_commands as Ansible runs it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tests.module_process import answer_of


def call(*commands: dict[str, Any], check: bool = False) -> dict[str, Any]:
    return answer_of("host_commands", {"commands": list(commands), "_ansible_check_mode": check}, os.environ)


def test_each_result_has_the_name_of_its_program() -> None:
    both = {"argv": ["sh", "-c", "echo out; echo err >&2; exit 3"], "accepted": [0, 3]}
    answer = call({"name": "a", "argv": ["echo", "$HOME"]}, {"name": "b", **both}, check=True)
    assert answer["results"] == [
        {"name": "a", "rc": 0, "stdout": "$HOME", "stderr": ""},
        {"name": "b", "rc": 3, "stdout": "out", "stderr": "err"},
    ]
    assert answer["changed"] is False


def test_the_programs_run_at_the_same_time(tmp_path: Path) -> None:
    """Each waits for what the other writes."""
    for name in ("a", "b"):
        os.mkfifo(tmp_path / name)
    there = {"name": "there", "argv": ["sh", "-c", f"echo 1 > {tmp_path}/a; cat {tmp_path}/b"]}
    back = {"name": "back", "argv": ["sh", "-c", f"cat {tmp_path}/a; echo 2 > {tmp_path}/b"]}
    assert [result["stdout"] for result in call(there, back)["results"]] == ["2", "1"]


def test_a_status_that_is_not_accepted_is_an_error_with_all_results() -> None:
    answer = call({"name": "fine", "argv": ["true"]}, {"name": "wrong", "argv": ["sh", "-c", "echo why >&2; exit 2"]})
    assert answer["msg"] == "wrong ended with exit status 2: why"
    assert [result["rc"] for result in answer["results"]] == [0, 2]


def test_a_program_that_is_not_installed_has_its_own_status() -> None:
    missing = {"name": "missing", "argv": ["/no/such/program"]}
    assert call(missing)["failed"]
    assert call({**missing, "accepted": [0, 127]})["results"][0]["rc"] == 127


def test_a_program_that_cannot_be_started_is_not_taken_for_a_missing_one(tmp_path: Path) -> None:
    (tmp_path / "program").write_text("#!/bin/sh\n")
    answer = call({"name": "a", "argv": [str(tmp_path / "program")], "accepted": [0, 127]})
    assert answer["failed"]
    assert "Permission denied" in answer["msg"]
