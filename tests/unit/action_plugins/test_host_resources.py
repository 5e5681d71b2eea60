"""What the action plugin of host_resources reads on the controller and shows, by real runs of ansible-playbook."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
SECRET = "hunter2-correct-horse"
VARIABLES = {"password": SECRET, "ansible_python_interpreter": sys.executable}


class Project:
    """A playbook in a directory of its own, run with the settings of this project."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "templates").mkdir()
        (path / "files").mkdir()
        self.out = path / "out"
        self.out.mkdir()

    def run(self, tasks: Iterable[dict[str, Any]], *options: str, succeeds: bool = True) -> str:
        """The output of a play with these tasks on this machine."""
        play = {"hosts": "localhost", "gather_facts": False, "vars": VARIABLES, "tasks": list(tasks)}
        (self.path / "play.yml").write_text(json.dumps([play]))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        ran = subprocess.run(
            [PLAYBOOK, "-i", "localhost,", "-c", "local", self.path / "play.yml", *options],
            cwd=self.path,
            env=environment | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (ran.returncode == 0) is succeeds, ran.stdout + ran.stderr
        return ran.stdout + ran.stderr

    def file(self, name: str, **more: Any) -> dict[str, Any]:
        return {"path": str(self.out / name), "mode": "0640", **more}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_a_template_is_rendered_as_by_the_module_template(project: Project) -> None:
    (project.path / "templates/a.j2").write_text(
        "# {{ ansible_managed }}\n{% set name = item.name %}\n"
        "{% for n in [1, 2] %}\n{{ n }} {{ name }} \\d\n{% endfor %}\n\n"
    )
    (project.path / "templates/b.j2").write_text("{{ {'a': password} | to_nice_json }}\n")
    (project.path / "files/c").write_bytes(b"\0\xff{{ no template }}\n")
    own = [
        project.file("a", template="a.j2", vars={"item": {"name": "x"}}),
        project.file("b", template="b.j2"),
        project.file("c", source="c"),
        project.file("d", content="{{ password }}"),
    ]
    project.run([{"name": "Converge", "host_resources": {"files": own}}])
    theirs = [
        {"ansible.builtin.template": {"src": "a.j2", "dest": str(project.out / "a"), "mode": "0640"}},
        {"ansible.builtin.template": {"src": "b.j2", "dest": str(project.out / "b"), "mode": "0640"}},
        {"ansible.builtin.copy": {"src": "c", "dest": str(project.out / "c"), "mode": "0640"}},
        {"ansible.builtin.copy": {"content": "{{ password }}", "dest": str(project.out / "d"), "mode": "0640"}},
    ]
    output = project.run([{"name": "Copy", "vars": {"item": {"name": "x"}}, **task} for task in theirs])
    assert "ok=4    changed=0 " in output


def test_a_secret_is_in_no_output_whatever_is_asked_for(project: Project) -> None:
    (project.path / "templates/a.j2").write_text("token={{ password }}\n")
    files = [
        project.file("secret", content="{{ password }}", secret=True),
        project.file("rendered", template="a.j2", secret=True),
        project.file("shown", content="not a secret\n"),
    ]
    task = {"name": "Converge", "host_resources": {"files": files}, "register": "result"}
    show = {"name": "Show", "ansible.builtin.debug": {"var": "result"}}
    for options in (("-vvvv", "--check", "--diff"), ("-vvvv", "--diff"), ("-vvvv",)):
        output = project.run([task, show], *options)
        assert SECRET not in output
        assert "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER" in output
    assert (project.out / "secret").read_text() == SECRET
    assert (project.out / "rendered").read_text() == f"token={SECRET}\n"
    (project.out / "secret").write_text("another")
    rejecting = {**task, "host_resources": {"files": [{**files[0], "validate": "grep -c nothing %s"}]}}
    output = project.run([rejecting], "-vvvv", "--diff", succeeds=False)
    assert "grep rejects" in output
    assert SECRET not in output


def test_the_operator_sees_what_changed(project: Project) -> None:
    tasks = [{"name": "Converge", "host_resources": {"files": [project.file("a", content="text\n")]}}]
    assert f"    localhost: would create the file {project.out}/a\n" in project.run(tasks, "--check")
    output = project.run(tasks, "--diff")
    assert f"    localhost: create the file {project.out}/a\n" in output
    assert "+text\n" in output
    assert str(project.out) not in project.run(tasks, "--diff")


@pytest.mark.parametrize("entry", [{"content": "x", "template": "y"}, {}])
def test_a_file_has_one_source(project: Project, entry: dict[str, str]) -> None:
    tasks = [{"name": "Converge", "host_resources": {"files": [project.file("a", **entry)]}}]
    output = project.run(tasks, succeeds=False)
    assert "exactly one of content, template, source" in output
    assert str(project.out / "a") in output
