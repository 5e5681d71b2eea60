"""A deploy of a part does not start what a restore has only replaced in part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2.nativetypes import NativeEnvironment

SITE = Path(__file__).parents[3] / "playbooks/site.yml"


def check() -> dict[str, Any]:
    """The task of site.yml."""
    tasks = [task for play in yaml.safe_load(SITE.read_text()) for task in play.get("pre_tasks", ())]
    (found,) = (task for task in tasks if task["name"] == "Check that an interrupted restore is completed first")
    return dict(found)


def evaluate(expression: str, **given: object) -> bool:
    return bool(NativeEnvironment().from_string("{{ " + expression + " }}").render(given))


@pytest.mark.parametrize(
    ("run", "skip", "passes"),
    [
        (["all"], [], True),
        (["all"], ["status"], True),
        (["backup", "gateway"], [], True),
        (["gateway"], [], False),
        (["manager", "release"], [], False),
        (["all"], ["backup"], False),
    ],
)
def test_only_with_the_backup_role_is_an_interrupted_restore_completed(
    run: list[str], skip: list[str], passes: bool
) -> None:
    conditions = check()["ansible.builtin.assert"]["that"]
    found = [evaluate(condition, ansible_run_tags=run, ansible_skip_tags=skip) for condition in conditions]
    assert all(found) is passes


def test_it_concerns_what_is_started_on_a_host_with_such_a_restore() -> None:
    task = check()
    assert task["tags"] == ["gateway", "manager"]
    for lines, needed in ((["backup-restore interrupted"], True), (["memory 1"], False)):
        assert evaluate(task["when"], __ib_gateway_host={"stdout_lines": lines}) is needed
