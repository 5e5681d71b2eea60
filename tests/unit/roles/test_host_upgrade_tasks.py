"""The tasks of upgrades: what they give the module, and how they restart."""

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


def test_a_rollback_interrupts_no_session_of_the_user_elsewhere() -> None:
    """That session may be why the upgrade failed. The variable is what the handlers of a deploy set too."""
    (block,) = yaml.safe_load((ROLE / "tasks/back.yml").read_text())
    (restart,) = (task for task in block["block"] if task["name"] == "Restart each changed gateway")
    (handler,) = (
        handler
        for handler in yaml.safe_load((ROLE.parent / "ib_gateway/handlers/main.yml").read_text())
        if handler["name"] == "Restart ib-gateway"
    )
    assert restart["vars"] == {"__ib_gateway_deploys": True}
    assert handler["vars"]["__ib_gateway_deploys"] is True
    text = (ROLE.parent / "ib_gateway/tasks/restart.yml").read_text()
    assert "'--unless-yielded' if __ib_gateway_deploys" in text


def test_an_upgrade_checks_the_host_before_it_changes_it() -> None:
    """The role of the gateway does it too, but with the release switched already."""
    tasks = yaml.safe_load((ROLE / "tasks/upgrade.yml").read_text())
    names = [task["name"] for task in tasks]
    check = tasks[names.index("Check the host before the first change")]
    assert check["ansible.builtin.include_role"] == {"name": "ib_gateway", "tasks_from": "preflight_host"}
    assert names.index(check["name"]) < names.index("Upgrade and verify")
    assert {"switch", "resume"} == {step for step in ("switch", "resume", "go_back") if step in check["when"]}
