"""The policies, of the operator and of the hosts: no action is a pattern, and what can be bounded is bounded."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.plugins import load

ROOT = Path(__file__).parents[3]
operator_policy = load("scripts/operator_policy.py")

OPERATOR = json.loads((ROOT / "docs/operator-policy.json").read_text())
# A placeholder replaces what the template fills in; every optional statement is included.
HOST = json.loads(
    re.sub(
        r"\{\{ ',' if .*?\}\}|\{%.*?%\}|\{\{.*?\}\}",
        lambda found: "," if "','" in found[0] else "" if found[0].startswith("{%") else "X",
        (ROOT / "roles/ec2_host/templates/policy.json.j2").read_text(),
    )
)


@pytest.mark.parametrize("document", [OPERATOR, HOST])
def test_no_action_is_a_pattern(document: dict[str, Any]) -> None:
    for statement in document["Statement"]:
        assert statement["Effect"] == "Allow"
        assert not [action for action in statement["Action"] if "*" in action or "?" in action]
        assert len(statement["Action"]) == len(set(statement["Action"]))


def test_what_ends_or_changes_a_thing_is_bounded_to_ours() -> None:
    for statement in OPERATOR["Statement"]:
        bounded = statement["Resource"] != "*" or "Condition" in statement
        for action in statement["Action"]:
            changes = re.match(r".*:(Delete|Terminate|Stop|Modify|Release|Revoke|Put|Detach|Attach)", action)
            assert bounded or not changes, f"{action} of anything"


def test_the_written_policy_is_the_one_that_is_made_of_its_calls() -> None:
    calls = operator_policy.actions(OPERATOR) - operator_policy.IMPLIED
    assert operator_policy.policy(calls) == OPERATOR
    assert operator_policy.uncovered([*calls, "sts:GetCallerIdentity"]) == set()
    assert operator_policy.uncovered(["ec2:CreateVpc"]) == {"ec2:CreateVpc"}
