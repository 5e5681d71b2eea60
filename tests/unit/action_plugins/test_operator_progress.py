"""What the operator sees of a waiting module, by real runs of ansible-playbook at a terminal and without one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pexpect
import pytest

ROOT = Path(__file__).parents[3]
PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
ANSIBLE = Path(sys.executable).with_name("ansible")

# Waits as the project's modules do: `count` changes, one every `pace` seconds.
MODULE = """#!/usr/bin/python
from __future__ import annotations
import json, time
from ansible.module_utils.basic import AnsibleModule

module = AnsibleModule({
    "count": {"type": "int", "default": 2}, "pace": {"type": "float", "default": 0},
    "text": {"type": "str", "default": ""},
    "broken": {"type": "bool", "default": False}, "cursorless": {"type": "bool", "default": False},
    "password": {"type": "str", "default": "", "no_log": True},
    "until": {"default": "done"}, "cursor": {"type": "str"},
}, supports_check_mode=True)
p = module.params
calls = json.loads(p["cursor"])["calls"] if p["cursor"] else 0
lines = []
while True:
    calls += 1
    time.sleep(p["pace"])
    lines.append(f"change {calls} {p['text']}{p['password']}")
    if calls == p["count"] or p["until"] == "change":
        break
done = calls == p["count"]
result = {"changed": False, "done": done, "progress": lines, "calls": calls}
result |= {"text": p["text"], "check": module.check_mode}
if not done and not p["cursorless"]:
    result["cursor"] = json.dumps({"calls": calls})
if done and p["broken"]:
    module.fail_json(msg="the module's own message", **result)
module.exit_json(**result)
"""

ACTION = (ROOT / "action_plugins/ib_handshake.py").read_text()


@dataclass
class Project:
    """A project of its own with a module `waiting`, its action plugin, and a playbook."""

    path: Path

    def write(self, task: str, play: str = "") -> None:
        (self.path / "play.yml").write_text(
            f"- hosts: gateway-host\n  gather_facts: false\n{play}  tasks:\n    - name: Wait for it\n      {task}\n"
            "      register: outcome\n"
            "    - name: Keep the outcome\n      ansible.builtin.copy:\n"
            '        content: "{{ outcome | to_json }}"\n'
            f"        dest: {self.path}/outcome.json\n        mode: '0600'\n      check_mode: false\n"
        )

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        return kept | {"ANSIBLE_CONFIG": str(self.path / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}

    @property
    def outcome(self) -> dict[str, object]:
        outcome: dict[str, object] = json.loads((self.path / "outcome.json").read_text())
        return outcome

    def at_terminal(self, *arguments: str, **environment: str) -> tuple[int, list[tuple[float, str]]]:
        """Exit status, and each line with the seconds since the start at which it was there."""
        return at_terminal([str(PLAYBOOK), "play.yml", *arguments], self.path, self.environment | environment)

    def piped(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PLAYBOOK, "play.yml", *arguments],
            cwd=self.path,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def at_terminal(command: list[str], path: Path, environment: dict[str, str]) -> tuple[int, list[tuple[float, str]]]:
    started = time.monotonic()
    child = pexpect.spawn(
        command[0], command[1:], cwd=str(path), env=environment, encoding="utf-8", timeout=60, dimensions=(50, 250)
    )
    lines = []
    while line := child.readline():
        lines.append((time.monotonic() - started, line.rstrip("\r\n")))
    child.close()
    assert child.exitstatus is not None, f"ended by signal {child.signalstatus}"
    return child.exitstatus, lines


def shown(lines: list[tuple[float, str]]) -> list[str]:
    """The lines of progress among a terminal's lines."""
    return [line for _, line in lines if re.match(r" {4}gateway-host: ", line)]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "library").mkdir()
    (tmp_path / "library/waiting.py").write_text(MODULE)
    (tmp_path / "action_plugins").mkdir()
    base = ROOT / "action_plugins/operator_progress.py"
    (tmp_path / "action_plugins/operator_progress.py").write_text(base.read_text())
    (tmp_path / "action_plugins/waiting.py").write_text(ACTION)
    (tmp_path / "hosts").write_text(
        f"gateway-host ansible_connection=local ansible_python_interpreter={sys.executable}\n"
    )
    (tmp_path / "ansible.cfg").write_text(
        "[defaults]\ninventory = hosts\nlibrary = library\naction_plugins = action_plugins\n"
    )
    return Project(tmp_path)


def test_each_change_is_shown_when_it_happens(project: Project) -> None:
    project.write("waiting: {count: 3, pace: 1}")
    status, lines = project.at_terminal()
    assert status == 0
    assert shown(lines) == [f"    gateway-host: change {number} " for number in (1, 2, 3)]
    times = [at for at, line in lines if "gateway-host: change" in line]
    assert times[2] - times[0] > 1.5, "the lines came together"
    assert project.outcome["calls"] == 3
    assert project.outcome["done"] is True


def test_change_is_on_the_screen_within_two_seconds(project: Project) -> None:
    project.write("waiting: {count: 2, pace: 1}")
    _, lines = project.at_terminal()
    task = next(at for at, line in lines if "TASK [Wait for it]" in line)
    first = next(at for at, line in lines if "change 1" in line)
    assert first - task < 1 + 2


def test_pipe_stays_quiet_and_calls_once(project: Project) -> None:
    project.write("waiting: {count: 3}")
    run = project.piped()
    assert run.returncode == 0, run.stdout
    assert "gateway-host: change" not in run.stdout + run.stderr
    assert project.outcome["progress"] == ["change 1 ", "change 2 ", "change 3 "]


@pytest.mark.parametrize(
    "callback", ["ansible.builtin.minimal", "ansible.posix.json", "ansible.posix.jsonl", "oneline"]
)
def test_callback_for_programs_stays_quiet_at_a_terminal(project: Project, callback: str) -> None:
    project.write("waiting: {count: 2}")
    status, lines = project.at_terminal(ANSIBLE_STDOUT_CALLBACK=callback)
    assert status == 0
    assert shown(lines) == []
    assert project.outcome["progress"] == ["change 1 ", "change 2 "], "called more than once"


def test_json_at_a_terminal_can_be_parsed(project: Project) -> None:
    project.write("waiting: {count: 2}")
    _, lines = project.at_terminal(ANSIBLE_STDOUT_CALLBACK="ansible.posix.json")
    assert json.loads("\n".join(line for _, line in lines))["stats"]["gateway-host"]["ok"] == 2


def test_ad_hoc_command_stays_quiet(project: Project) -> None:
    status, lines = at_terminal(
        [str(ANSIBLE), "-m", "waiting", "-a", "count=2", "all"], project.path, project.environment
    )
    assert status == 0
    assert shown(lines) == []


def test_no_log_is_honoured(project: Project) -> None:
    project.write("waiting: {count: 2, text: hidden-word}\n      no_log: true")
    status, lines = project.at_terminal("-vvv")
    assert status == 0
    assert shown(lines) == []
    assert not [line for _, line in lines if "change 1" in line]


def test_argument_with_no_log_is_masked(project: Project) -> None:
    project.write("waiting: {count: 2, password: hidden-word}")
    _, lines = project.at_terminal()
    assert len(shown(lines)) == 2
    assert not [line for _, line in lines if "hidden-word" in line]


def test_arguments_are_not_templated_twice(project: Project) -> None:
    project.write('waiting: {count: 2, text: "{{ tricky }}"}', '  vars: {tricky: !unsafe "{{ 6 * 7 }}"}\n')
    project.at_terminal()
    assert project.outcome["text"] == "{{ 6 * 7 }}"


@pytest.mark.parametrize("check", [True, False])
def test_check_mode_is_passed_on(project: Project, check: bool) -> None:
    project.write("waiting: {count: 2}")
    _, lines = project.at_terminal(*(["--check"] if check else []))
    assert len(shown(lines)) == 2
    assert project.outcome["check"] is check


def test_failure_is_the_modules_own(project: Project) -> None:
    project.write("waiting: {count: 2, broken: true}\n      ignore_errors: true")
    _, lines = project.at_terminal()
    assert len(shown(lines)) == 2, "the last change was not shown"
    assert project.outcome["failed"] is True
    assert project.outcome["msg"] == "the module's own message"
    assert project.outcome["calls"] == 2


def test_module_that_cannot_be_called_again_is_an_error_not_a_loop(project: Project) -> None:
    project.write("waiting: {count: 3, cursorless: true}")
    status, lines = project.at_terminal()
    assert status == 2
    assert any("without a cursor" in line for _, line in lines)


def test_unreachable_host_ends_it(project: Project) -> None:
    (project.path / "hosts").write_text("gateway-host ansible_host=127.0.0.1 ansible_port=1 ansible_ssh_retries=0\n")
    project.write("waiting: {count: 2}")
    status, lines = project.at_terminal()
    assert status == 4
    assert shown(lines) == []


def test_user_who_sets_until_keeps_it(project: Project) -> None:
    project.write("waiting: {count: 3, until: change}")
    _, lines = project.at_terminal()
    assert shown(lines) == []
    assert project.outcome["calls"] == 1


@pytest.mark.parametrize("pipelining", ["0", "1"])
def test_nothing_is_left_on_the_host(project: Project, pipelining: str) -> None:
    remote = project.path / "remote"
    project.write("waiting: {count: 2}")
    _, lines = project.at_terminal(ANSIBLE_PIPELINING=pipelining, ANSIBLE_REMOTE_TMP=str(remote))
    assert len(shown(lines)) == 2
    assert not remote.exists() or list(remote.iterdir()) == []


def test_control_characters_do_not_reach_the_terminal(project: Project) -> None:
    project.write(r'waiting: {count: 2, text: "\e[2Jgone\r"}')
    _, lines = project.at_terminal()
    assert shown(lines)[0] == "    gateway-host: change 1 [2Jgone"
