"""The conversion of settings: what is accepted, what is refused with which words, and secrets that are no templates."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.plugins import load

ROOT = Path(__file__).parents[3]


role_settings = load("lookup_plugins/role_settings.py")


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        *(("bool", word, True) for word in ("yes", "Yes", "true", "True", "on", "1", 1, True)),
        *(("bool", word, False) for word in ("no", "No", "false", "False", "off", "0", 0, False)),
        ("int", "600", 600),
        ("int", " 600 ", 600),
        ("int", "-1", -1),
        ("int", 600, 600),
        ("list", "DU1234567", ["DU1234567"]),
        ("list", "DU1234567, DU7654321", ["DU1234567", "DU7654321"]),
        ("list", '["DU1234567", "DU7654321"]', ["DU1234567", "DU7654321"]),
        ("list", "", []),
        ("list", ("a", "b"), ["a", "b"]),
        ("list", "mailto://h?to=a,b,json://h/x", ["mailto://h?to=a,b", "json://h/x"]),
        ("dict", '{"ib-gateway": {"vnc_port": 5901}}', {"ib-gateway": {"vnc_port": 5901}}),
        ("str", "0123", "0123"),
    ],
)
def test_a_value_is_converted_to_the_declared_type(kind: str, value: Any, expected: Any) -> None:
    found = role_settings.converted(value, {"type": kind})
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ({"type": "bool"}, "maybe", ["'maybe'", "true or false"]),
        ({"type": "bool"}, "", ["true or false"]),
        ({"type": "bool"}, 2, ["2", "true or false"]),
        ({"type": "int"}, "10 minutes", ["'10 minutes'", "whole number"]),
        ({"type": "int"}, "0600", ["'0600'", "whole number"]),
        ({"type": "int"}, 1.5, ["1.5", "whole number"]),
        ({"type": "int"}, True, ["True", "whole number"]),
        ({"type": "int"}, None, ["no value", "remove the line"]),
        ({"type": "list"}, {"a": 1}, ["{'a': 1}", "after a hyphen"]),
        ({"type": "list"}, "[DU1", ["valid JSON"]),
        ({"type": "list"}, ["a", True], ["entry 2", "boolean", "quotes"]),
        ({"type": "list", "elements": "int"}, "22,ssh", ["entry 2", "'ssh'", "whole number"]),
        ({"type": "dict"}, "a=b", ["'a=b'", "JSON"]),
        ({"type": "str"}, 342391, ["number (342391)", "quotes"]),
        ({"type": "str"}, True, ["boolean", "quotes"]),
        ({"type": "str", "choices": ["ssh", "ssm"]}, "telnet", ["'telnet'", "ssh, ssm"]),
    ],
)
def test_what_cannot_be_converted_is_refused_with_the_form_to_write(
    option: dict[str, Any], value: Any, words: list[str]
) -> None:
    with pytest.raises(role_settings.UnusableError) as error:
        role_settings.converted(value, option)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("value", [342391, 3.25, ["hidden-part"], {"hidden": "part"}])
def test_a_private_value_is_not_shown(value: Any) -> None:
    with pytest.raises(role_settings.UnusableError) as error:
        role_settings.converted(value, {"type": "str"}, private=True)
    assert not any(part in str(error.value) for part in ("342391", "3.25", "hidden"))


def problems(directory: Path, variables: str, *arguments: str) -> list[str]:
    """The problems of settings that are in a file of variables, which is YAML as people write it."""
    (directory / "vars.yml").write_text(variables)
    (directory / "play.yml").write_text(
        json.dumps(
            [
                {
                    "hosts": "localhost",
                    "connection": "local",
                    "gather_facts": False,
                    "vars_files": [f"{directory}/vars.yml"],
                    "vars": {"roles_read": ["ib_gateway", "position_manager"]},
                    "tasks": [
                        {
                            "ansible.builtin.copy": {
                                "content": "{{ [lookup('role_settings', *roles_read, problems=true)] | to_json }}",
                                "dest": f"{directory}/out.json",
                                "mode": "0600",
                            }
                        }
                    ],
                }
            ]
        )
    )
    ansible_playbook(directory, *arguments)
    (found,) = json.loads((directory / "out.json").read_text())
    return list(found)


def ansible_playbook(directory: Path, *arguments: str) -> str:
    """The output of the play of a directory."""
    done = subprocess.run(
        ["ansible-playbook", str(directory / "play.yml"), *arguments],
        check=False,
        cwd=ROOT,
        env=os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


TEMPLATED = """
ib_gateway_password: 'ab{#x#}cd'
ib_gateway_password_paper: 'pas{{ 1 }}s'
ib_gateway_userid: 'u{%s'
ib_gateway_vnc_password: 01234567
position_manager_heartbeat_url: 'https://hc.example/{{ ping }}{#x'
ping: abc
"""
LITERAL = """
vault_password: !unsafe 'p{#s{{s}}'
ib_gateway_password: "{{ vault_password }}"
ib_gateway_password_paper: !unsafe 'pas{{ 1 }}s'
ib_gateway_userid: demo
ib_gateway_vnc_password: "01234567"
ib_gateway_notify_urls: ["discord://{{ id }}/{{ token }}"]
id: "1"
token: abc
"""


def test_a_secret_with_a_template_marker_is_refused_however_it_was_written(tmp_path: Path) -> None:
    found = problems(tmp_path, TEMPLATED, "-e", "ib_gateway_userid_paper=pap{#e#}r")
    by_name = {problem.partition(" ")[0]: problem for problem in found}
    marked = ("password", "password_paper", "userid", "userid_paper")
    for name in (*(f"ib_gateway_{name}" for name in marked), "position_manager_heartbeat_url"):
        assert "template marker" in by_name[name]
        assert "!unsafe" in by_name[name]
    assert "number" in by_name["ib_gateway_vnc_password"]
    assert "quotes" in by_name["ib_gateway_vnc_password"]
    assert len(by_name) == 6
    assert not any(part in problem for problem in found for part in ("342391", "x#", "pas{{", "u{%s", "{#e#}"))


def test_a_secret_that_is_meant_as_it_is_written_has_no_problem(tmp_path: Path) -> None:
    assert problems(tmp_path, LITERAL) == []


def test_a_reference_leads_to_the_text_that_it_names(tmp_path: Path) -> None:
    found = problems(tmp_path, "vault_password: 'ab{#x#}cd'\nib_gateway_password: \"{{ vault_password }}\"\n")
    assert len(found) == 1
    assert found[0].startswith("ib_gateway_password holds a template marker")


def test_a_secret_of_one_instance_is_checked_too(tmp_path: Path) -> None:
    instances = "ib_gateway_instances: {ib-gateway: {password: 'ab{#x#}cd', vnc_port: abc}}"
    found = problems(tmp_path, instances)
    assert [problem.partition(")")[0] for problem in found] == [
        "ib_gateway_password (instance ib-gateway",
        "ib_gateway_vnc_port (instance ib-gateway",
    ]


def test_a_setting_that_refers_to_what_changes_is_read_again(tmp_path: Path) -> None:
    """Within one task, whose settings are otherwise read once, and from task to task."""
    shown = "{{ lookup('role_settings', 'host_backup').time }}"
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars": {"host_backup_time": "{{ hour }}:00"},
        "tasks": [
            {
                "ansible.builtin.debug": {"msg": f"loop {shown} {shown}"},
                "loop": ["01", "02"],
                "loop_control": {"loop_var": "hour"},
            },
            {"ansible.builtin.set_fact": {"hour": "03"}},
            {"ansible.builtin.include_tasks": f"{{{{ '{tmp_path}/' ~ {shown.strip('{} ')}[:2] ~ '.yml' }}}}"},
            {"ansible.builtin.set_fact": {"hour": "04"}},
            {"ansible.builtin.include_tasks": f"{{{{ '{tmp_path}/' ~ {shown.strip('{} ')}[:2] ~ '.yml' }}}}"},
            {"ansible.builtin.debug": {"msg": f"own {shown}"}, "vars": {"host_backup_time": "05:00"}},
        ],
    }
    for hour in ("03", "04"):
        (tmp_path / f"{hour}.yml").write_text(
            json.dumps([{"ansible.builtin.debug": {"msg": f"included at {hour} {shown}"}}])
        )
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    found = re.findall(r"msg: (.*:00)", ansible_playbook(tmp_path))
    assert found == [
        "loop 01:00 01:00",
        "loop 02:00 02:00",
        "included at 03 03:00",
        "included at 04 04:00",
        "own 05:00",
    ]


def test_what_a_task_has_learned_of_its_host_is_not_overlooked() -> None:
    value = object()
    read = {"host_backup_time": value}
    assert role_settings._same(read, {**read, "ansible_ssh_host": "h", "ansible_shell_type": "sh"})
    assert not role_settings._same(read, {**read, "ansible_distribution": "Debian"})
    assert not role_settings._same(read, {"host_backup_time": object()})
    assert not role_settings._same(read, {})
