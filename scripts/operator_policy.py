"""The IAM policy of the person who runs the playbooks in AWS, made of the calls that they make.

`operator_policy.py CALLS` reads a JSON list of calls, such as `["ec2:RunInstances", …]`, and prints the policy;
docs/operator-policy.json is what it printed for all of provision.yml, drift and crashes included, site.yml and
teardown.yml. The tests fail when a call is not covered by it.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

POLICY = Path(__file__).parents[1] / "docs/operator-policy.json"
ACCOUNT = "ACCOUNT_ID"
"""To be replaced by the number of the account."""

IMPLIED = frozenset(
    {
        # Not calls of their own: what AWS asks for when a role is given to a host or a plan, a vault is made, and
        # snapshots are taken for the first time in an account.
        "iam:PassRole",
        "iam:CreateServiceLinkedRole",
        "backup-storage:MountCapsule",
        "kms:CreateGrant",
        "kms:Decrypt",
        "kms:DescribeKey",
        "kms:GenerateDataKey",
        "kms:RetireGrant",
        # Tags are given in the call that makes a thing.
        "backup:TagResource",
        "ec2:CreateTags",
        "iam:TagInstanceProfile",
        "iam:TagRole",
        "sns:TagResource",
        # Calls of the AWS command line, where ec2_host_access opens no port.
        "ssm:StartSession",
        "ec2-instance-connect:OpenTunnel",
    }
)
NAMED: dict[str, tuple[str, ...]] = {
    "iam": (f"arn:aws:iam::{ACCOUNT}:role/ib-gateway-*", f"arn:aws:iam::{ACCOUNT}:instance-profile/ib-gateway-*"),
    "sns": (f"arn:aws:sns:*:{ACCOUNT}:ib-gateway-*",),
    "cloudwatch": (f"arn:aws:cloudwatch:*:{ACCOUNT}:alarm:ib-gateway-*",),
    "backup": (f"arn:aws:backup:*:{ACCOUNT}:backup-vault:ib-gateway-*", f"arn:aws:backup:*:{ACCOUNT}:backup-plan:*"),
}
"""Services in which things bear the project's names."""
ONLY_OURS = frozenset(
    {
        "ec2:AuthorizeSecurityGroupIngress",
        "ec2:DeleteKeyPair",
        "ec2:DeleteSecurityGroup",
        "ec2:ModifyInstanceAttribute",
        "ec2:ModifyInstanceMetadataOptions",
        "ec2:ReleaseAddress",
        "ec2:RevokeSecurityGroupIngress",
        "ec2:StartInstances",
        "ec2:StopInstances",
        "ec2:TerminateInstances",
    }
)
"""What may be done only to things that bear the tag of the project."""
ANYWHERE = frozenset({"iam:CreateServiceLinkedRole", "sns:ListTopics", "cloudwatch:DescribeAlarms"})
"""AWS knows no narrower resource for these."""


def policy(calls: Iterable[str]) -> dict[str, Any]:
    """The least that allows the calls, as a policy document."""
    groups: dict[str, set[str]] = defaultdict(set)
    for action in {*calls, *IMPLIED}:
        service, _, verb = action.partition(":")
        if action in ONLY_OURS:
            groups["ours"].add(action)
        elif service in NAMED and action not in ANYWHERE and not (service == "backup" and verb.startswith("List")):
            groups[service].add(action)
        elif verb.startswith(("Describe", "Get", "List")) and not service.startswith("kms"):
            groups["looking"].add(action)
        else:
            groups["making"].add(action)
    statements: list[dict[str, Any]] = [
        {"Sid": "Looking", "Effect": "Allow", "Action": sorted(groups["looking"]), "Resource": "*"},
        {"Sid": "Making", "Effect": "Allow", "Action": sorted(groups["making"]), "Resource": "*"},
        {
            "Sid": "OnlyOurs",
            "Effect": "Allow",
            "Action": sorted(groups["ours"]),
            "Resource": "*",
            "Condition": {"StringEquals": {"aws:ResourceTag/project": "ib-gateway"}},
        },
    ]
    statements += [
        {
            "Sid": f"Named{service.capitalize()}",
            "Effect": "Allow",
            "Action": sorted(groups[service]),
            "Resource": list(arns),
        }
        for service, arns in NAMED.items()
    ]
    return {"Version": "2012-10-17", "Statement": statements}


def actions(document: dict[str, Any]) -> set[str]:
    """All actions that a policy document allows."""
    return {action for statement in document["Statement"] for action in statement["Action"]}


def uncovered(calls: Iterable[str]) -> set[str]:
    """The calls that docs/operator-policy.json does not allow."""
    # Anybody may ask who he is.
    return set(calls) - actions(json.loads(POLICY.read_text())) - {"sts:GetCallerIdentity"}


def main() -> None:
    calls = json.loads(Path(sys.argv[1]).read_text())
    sys.stdout.write(json.dumps(policy(calls), indent=2) + "\n")


if __name__ == "__main__":
    main()
