"""Whether a deploy with --tags covers everything that an upgrade changes, so that it may end an interrupted one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.plugins.filter import mathstuff
from jinja2.nativetypes import NativeEnvironment

ROLE = Path(__file__).parents[3] / "roles/host_upgrade"


def value(run: list[str], skip: list[str]) -> Any:
    variables: dict[str, Any] = yaml.safe_load((ROLE / "vars/main.yml").read_text())
    (task,) = yaml.safe_load((ROLE / "tasks/ended.yml").read_text())
    environment = NativeEnvironment()
    environment.filters.update(mathstuff.FilterModule().filters())
    given = {
        "ansible_run_tags": run,
        "ansible_skip_tags": skip,
        "__host_upgrade_tags": variables["__host_upgrade_tags"],
    }
    whole = environment.from_string(variables["__host_upgrade_whole"]).render(given)
    return environment.from_string(task["upgrade_step"]["verified"]).render(__host_upgrade_whole=whole)


@pytest.mark.parametrize(
    ("run", "skip", "whole"),
    [
        (["all"], [], True),
        (["all"], ["status", "host"], True),
        (["release", "gateway", "manager"], [], True),
        (["release"], [], False),
        (["gateway"], [], False),
        (["release", "gateway"], [], False),
        (["all"], ["manager"], False),
    ],
)
def test_only_a_deploy_of_everything_ends_an_interrupted_upgrade(run: list[str], skip: list[str], whole: bool) -> None:
    assert value(run, skip) is whole
