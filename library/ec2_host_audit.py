#!/usr/bin/python
"""Ansible module: audit one EC2 host from outside, by the API. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ansible.module_utils.aws_module import BotoCoreError, ClientError, boto3, require_boto3
from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: ec2_host_audit
short_description: Audit one EC2 host from outside, by the API
description:
  - Checks security groups, the instance metadata service, encryption, termination protection and the policies of the
    instance's role. Each point has what is expected, what was found and the remedy.
  - A call that AWS denies makes its point unknown. Changes nothing.
author: ib-gateway-ansible
requirements:
  - boto3
options:
  region:
    description: The AWS region.
    type: str
    required: true
  instance_id:
    description: The instance.
    type: str
    required: true
attributes:
  check_mode:
    support: full
    description: Changes nothing in any mode.
  diff_mode:
    support: none
    description: Changes nothing.
"""

EXAMPLES = r"""
- name: Inspect the host's resources in AWS
  ec2_host_audit:
    region: us-east-1
    instance_id: i-0123456789abcdef0
  register: audit
"""

RETURN = r"""
points:
  description: The points, in the form in which C(host-audit --more) reads them.
  returned: success
  type: list
  elements: dict
  sample:
    - id: aws-imds
      title: Instance metadata service
      level: must
      verdict: passed
      expected: tokens required (IMDSv2), hop limit 1
      found: tokens required, hop limit 1
      remedy: ""
      subject: i-0123456789abcdef0
      tags: [live-readiness]
"""

ARGUMENTS: dict[str, dict[str, Any]] = {
    "region": {"type": "str", "required": True},
    "instance_id": {"type": "str", "required": True},
}

PROVISION = "Run provision.yml, which restores it."
EVERYBODY = ("0.0.0.0/0", "::/0")


Found = tuple[list[str], str]
"""The faults, and what was found if there is none."""


class Definition(NamedTuple):
    """What is the same for every result of a point; all of them are musts."""

    id: str
    title: str
    expected: str
    remedy: str = PROVISION

    def result(self, verdict: str, found: str, remedy: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "title": self.title,
            "level": "must",
            "verdict": verdict,
            "expected": self.expected,
            "found": found,
            "remedy": remedy,
            "tags": ["live-readiness"],
        }

    def of(self, faults: list[str], found: str) -> dict[str, Any]:
        """Failed with the faults, or passed with what was found."""
        return self.result("failed", "; ".join(faults), self.remedy) if faults else self.result("passed", found, "")

    def unknown(self, reason: str) -> dict[str, Any]:
        """It could not be checked."""
        return self.result("unknown", reason, "Allow the operator the call, or check it in the AWS console.")


METADATA = Definition("aws-imds", "Instance metadata service", "tokens required (IMDSv2), hop limit 1")
INGRESS = Definition("aws-ingress", "Security groups", "ssh only, never from everybody")
ENCRYPTION = Definition(
    "aws-encryption",
    "EBS encryption",
    "every volume is encrypted",
    "A volume cannot be encrypted in place: create the host again from an encrypted copy of its snapshot.",
)
TERMINATION = Definition("aws-termination", "Termination protection", "on")
ROLE = Definition("aws-role", "Policies of the host's role", "no wildcard action")


def ingress(groups: list[dict[str, Any]]) -> Found:
    """No rule lets everybody in, and none opens more than ssh."""
    faults = []
    for group in groups:
        for rule in group["IpPermissions"]:
            ports = f"{rule.get('FromPort', 'all')}-{rule.get('ToPort', 'all')}"
            sources = [entry["CidrIp"] for entry in rule.get("IpRanges", ())]
            sources += [entry["CidrIpv6"] for entry in rule.get("Ipv6Ranges", ())]
            sources += [entry["PrefixListId"] for entry in rule.get("PrefixListIds", ())]
            sources += [entry["GroupId"] for entry in rule.get("UserIdGroupPairs", ())]
            faults += [f"{group['GroupId']}: {ports} open to everybody" for source in sources if source in EVERYBODY]
            if sources and (rule.get("FromPort"), rule.get("ToPort")) != (22, 22):
                faults.append(f"{group['GroupId']}: {rule['IpProtocol']} {ports} is open")
    return list(dict.fromkeys(faults)), f"{sum(len(group['IpPermissions']) for group in groups)} rules"


def metadata(options: dict[str, Any]) -> Found:
    """The metadata service requires tokens, and answers no container."""
    faults = []
    if options.get("HttpTokens") != "required":
        faults.append(f"tokens are {options.get('HttpTokens')}")
    limit = options.get("HttpPutResponseHopLimit")
    if limit != 1:
        faults.append(f"hop limit {limit}: containers reach it")
    return faults, "tokens required, hop limit 1"


def volumes(found: list[dict[str, Any]]) -> Found:
    """Every volume is encrypted."""
    return [f"{volume['VolumeId']} is not encrypted" for volume in found if not volume["Encrypted"]], (
        f"{len(found)} volumes"
    )


def role(documents: list[tuple[str, dict[str, Any]]]) -> Found:
    """No statement of the role's policies allows every action or everything of a service."""
    faults = []
    for name, document in documents:
        statements = document["Statement"]
        for statement in statements if isinstance(statements, list) else [statements]:
            actions = statement.get("Action", statement.get("NotAction", []))
            for action in actions if isinstance(actions, list) else [actions]:
                if statement["Effect"] == "Allow" and ("NotAction" in statement or action.endswith("*")):
                    faults.append(f"{name} allows {'all but ' if 'NotAction' in statement else ''}{action}")
    return faults, f"{len(documents)} policies"


class Account:
    """The calls for one instance."""

    def __init__(self, region: str) -> None:
        self.ec2 = boto3.client("ec2", region_name=region)
        self.iam = boto3.client("iam", region_name=region)

    def instance(self, instance_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][
            0
        ]
        return found

    def groups(self, instance: dict[str, Any]) -> list[dict[str, Any]]:
        ids = [group["GroupId"] for group in instance["SecurityGroups"]]
        found: list[dict[str, Any]] = self.ec2.describe_security_groups(GroupIds=ids)["SecurityGroups"]
        return found

    def volumes(self, instance: dict[str, Any]) -> list[dict[str, Any]]:
        ids = [mapping["Ebs"]["VolumeId"] for mapping in instance["BlockDeviceMappings"]]
        found: list[dict[str, Any]] = self.ec2.describe_volumes(VolumeIds=ids)["Volumes"]
        return found

    def protected(self, instance_id: str) -> bool:
        answer = self.ec2.describe_instance_attribute(InstanceId=instance_id, Attribute="disableApiTermination")
        return bool(answer["DisableApiTermination"]["Value"])

    def policies(self, instance: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        """The inline policies of the instance's role, and of attached ones those of the account itself."""
        profile = instance.get("IamInstanceProfile")
        if profile is None:
            return []
        name = profile["Arn"].rpartition("/")[2]
        roles = self.iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]["Roles"]
        found = []
        for each in roles:
            for policy in self.iam.list_role_policies(RoleName=each["RoleName"])["PolicyNames"]:
                answer = self.iam.get_role_policy(RoleName=each["RoleName"], PolicyName=policy)
                found.append((policy, answer["PolicyDocument"]))
            for attached in self.iam.list_attached_role_policies(RoleName=each["RoleName"])["AttachedPolicies"]:
                arn = attached["PolicyArn"]
                version = self.iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
                answer = self.iam.get_policy_version(PolicyArn=arn, VersionId=version)
                found.append((attached["PolicyName"], answer["PolicyVersion"]["Document"]))
        return found


def points(account: Account, instance_id: str) -> Iterator[dict[str, Any]]:
    """Every point. Raises ClientError if even the instance cannot be described."""
    instance = account.instance(instance_id)
    checks: tuple[tuple[Definition, Callable[[], Found]], ...] = (
        (METADATA, lambda: metadata(instance["MetadataOptions"])),
        (INGRESS, lambda: ingress(account.groups(instance))),
        (ENCRYPTION, lambda: volumes(account.volumes(instance))),
        (TERMINATION, lambda: ([] if account.protected(instance_id) else ["off"], "on")),
        (ROLE, lambda: role(account.policies(instance))),
    )
    for definition, check in checks:
        try:
            yield definition.of(*check())
        except ClientError as error:
            yield definition.unknown(str(error))


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    require_boto3(module)
    instance_id = module.params["instance_id"]
    try:
        found = list(points(Account(module.params["region"]), instance_id))
    except (ClientError, BotoCoreError) as error:
        module.fail_json(
            msg=f"The instance {instance_id} cannot be inspected: {error} Check the credentials (aws sts "
            "get-caller-identity), their permissions and ec2_host_region."
        )
    module.exit_json(changed=False, points=[each | {"subject": instance_id} for each in found])


if __name__ == "__main__":
    main()
