"""Each role's README has the link to its variables, and an example that the role's argument spec accepts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

ROOT = Path(__file__).parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())


def readme(role: str) -> str:
    return (ROOT / "roles" / role / "README.md").read_text()


def options_of(role: str) -> dict[str, Any]:
    specs = yaml.safe_load((ROOT / "roles" / role / "meta/argument_specs.yml").read_text())
    options: dict[str, Any] = specs["argument_specs"]["main"].get("options", {})
    return options


@pytest.mark.parametrize("role", ROLES)
def test_it_describes_the_role_and_links_its_variables(role: str) -> None:
    text = readme(role)
    assert text.startswith(f"# {role}\n\n")
    assert f"](../../docs/variables.md#{role})" in text
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (ROOT / "roles" / role / target).exists(), target


@pytest.mark.parametrize("role", ROLES)
def test_its_example_is_a_play_with_settings_that_the_role_accepts(role: str) -> None:
    (example,) = re.findall(r"^```yaml\n(.*?)^```$", readme(role), re.MULTILINE | re.DOTALL)
    (play,) = yaml.safe_load(example)
    if "roles" in play:
        assert play["roles"] == [{"role": role}]
    else:
        included = [task["ansible.builtin.include_role"] for task in play["tasks"]]
        assert {entry["name"] for entry in included} == {role}
        assert all((ROOT / "roles" / role / f"tasks/{entry['tasks_from']}.yml").is_file() for entry in included)
    options = options_of(role)
    assert set(play["vars"]) <= set(options)
    given = ArgumentSpecValidator({name: options[name] for name in play["vars"]}).validate(play["vars"])
    assert given.error_messages == []
    for overrides in play["vars"].get(f"{role}_instances", {}).values():
        assert {f"{role}_{setting}" for setting in overrides} <= set(options)


@pytest.mark.parametrize("role", ROLES)
def test_the_entry_points_that_it_lists_exist(role: str) -> None:
    for row in re.findall(r"^\| (`.*?) \|", readme(role), re.MULTILINE):
        for name in re.findall(r"`(\w+)`", row):
            assert (ROOT / "roles" / role / "tasks" / f"{name}.yml").is_file(), name
