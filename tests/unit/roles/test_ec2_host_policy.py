"""The policy of the hosts' role: what a host may do in the account, and with a bucket for backups not more than add."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2
import pytest

TEMPLATES = Path(__file__).parents[3] / "roles/ec2_host/templates"


def policy(bucket: str) -> dict[str, dict[str, Any]]:
    """The statements by their ids."""
    environment = jinja2.Environment(  # noqa: S701 - a JSON document, no HTML
        loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    text = environment.get_template("policy.json.j2").render(
        ec2_host_region="us-east-1",
        ec2_host_environment="prod",
        ec2_host_backup_bucket=bucket,
        __ec2_host_project="ib-gateway",
        __ec2_host_prefix="ib-gateway-prod",
        __ec2_host_state={"account": "123456789012"},
    )
    return {statement["Sid"]: statement for statement in json.loads(text)["Statement"]}


def test_a_host_may_add_backups_of_its_environment_and_nothing_else() -> None:
    assert policy("my-backups")["AddBackups"] == {
        "Sid": "AddBackups",
        "Effect": "Allow",
        "Action": ["s3:PutObject"],
        "Resource": "arn:aws:s3:::my-backups/ib-gateway/ib-gateway-prod-*",
    }


@pytest.mark.parametrize("bucket", ["", "my-backups"])
def test_nothing_else_changes_with_a_bucket(bucket: str) -> None:
    actions = {action for statement in policy(bucket).values() for action in statement["Action"]}
    assert {action for action in actions if action.startswith("s3:")} == ({"s3:PutObject"} if bucket else set())
    assert not [action for action in actions if "*" in action]
