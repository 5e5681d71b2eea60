"""provision.yml against a local server that speaks AWS's API: from nothing, broken off, after drift, with bad input."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]  # it carries no types
import pytest
from botocore.exceptions import ClientError  # type: ignore[import-untyped]
from tests.aws_endpoint import AwsEndpoint
from tests.plugins import load

ROOT = Path(__file__).parents[2]
NAME = "ib-gateway-prod-gateway"
BROKEN_AFTER = (
    "iam:CreateRole",
    "iam:CreateInstanceProfile",
    "ec2:CreateSecurityGroup",
    "ec2:RunInstances",
    "ec2:AllocateAddress",
    "sns:CreateTopic",
    "backup:CreateBackupPlan",
)
READING = re.compile(r".*:(Describe|Get|List)")


ec2_host_state = load("library/ec2_host_state.py")
operator_policy = load("scripts/operator_policy.py")


class Account:
    """An empty account, and provision.yml with a key of its own."""

    def __init__(self, endpoint: AwsEndpoint, directory: Path) -> None:
        self.endpoint = endpoint
        self.key = directory / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)
        self.ec2 = endpoint.client("ec2")

    def provision(self, *options: str, without: tuple[str, ...] = (), **settings: Any) -> tuple[int, str]:
        """The exit code and the output, its lines joined."""
        variables = {
            "ec2_host_public_key_file": f"{self.key}.pub",
            "ec2_host_admin_cidrs": ["203.0.113.7/32"],
            "ec2_host_elastic_ip": True,
        } | settings
        environment = self.endpoint.environment | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
        before = len(self.endpoint.ask()["calls"])
        done = subprocess.run(
            ["ansible-playbook", "-i", "inventory/aws", "provision.yml", "-e", json.dumps(variables), *options],
            check=False,
            cwd=ROOT,
            env={name: value for name, value in environment.items() if name not in without},
            capture_output=True,
            text=True,
            timeout=120,
        )
        called = self.endpoint.ask()["calls"][before:]
        assert operator_policy.uncovered(called) == set(), "docs/operator-policy.json is not enough"
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    def changes(self, *options: str, **settings: Any) -> int:
        """How many tasks changed something, or would."""
        code, output = self.provision(*options, **settings)
        assert code == 0, output
        found = re.search(r"changed=(\d+)", output)
        assert found
        return int(found[1])

    def instances(self) -> list[Any]:
        answer = self.ec2.describe_instances(Filters=[{"Name": "instance-state-name", "Values": ["running"]}])
        return [instance for reservation in answer["Reservations"] for instance in reservation["Instances"]]

    def group(self) -> Any:
        filters = [{"Name": "group-name", "Values": ["ib-gateway-prod"]}]
        (group,) = self.ec2.describe_security_groups(Filters=filters)["SecurityGroups"]
        return group

    def inventory(self) -> dict[str, int]:
        """How many there are of each kind of thing."""
        client = self.endpoint.client
        backup = client("backup")
        plans = backup.list_backup_plans()["BackupPlansList"]
        return {
            "instances": len(self.instances()),
            "volumes": len(self.ec2.describe_volumes()["Volumes"]),
            "keys": len(self.ec2.describe_key_pairs()["KeyPairs"]),
            "groups": len(self.ec2.describe_security_groups()["SecurityGroups"]) - 1,
            "addresses": len(self.ec2.describe_addresses()["Addresses"]),
            "roles": len(client("iam").list_roles()["Roles"]),
            "profiles": len(client("iam").list_instance_profiles()["InstanceProfiles"]),
            "topics": len(client("sns").list_topics()["Topics"]),
            "alarms": len(client("cloudwatch").describe_alarms()["MetricAlarms"]),
            "vaults": len(backup.list_backup_vaults()["BackupVaultList"]),
            "plans": len(plans),
            "selections": sum(
                len(backup.list_backup_selections(BackupPlanId=plan["BackupPlanId"])["BackupSelectionsList"])
                for plan in plans
            ),
        }


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    with AwsEndpoint() as endpoint:
        yield Account(endpoint, tmp_path)


def test_all_is_made_once_and_drift_is_corrected(account: Account) -> None:
    nothing = account.inventory()
    account.endpoint.change(calls=[])
    code, output = account.provision("--check")
    assert code == 0, output
    assert "ib-gateway-prod-gateway would be created in us-east-1 as t3.medium" in output
    # A dry run makes these calls to rehearse them.
    rehearsed = {"ec2:RunInstances", "ec2:ImportKeyPair", "ec2:CreateSecurityGroup"}
    assert {call for call in account.endpoint.ask()["calls"] if not READING.match(call)} <= rehearsed
    assert account.inventory() == nothing

    # Each run dies as it has created one of the things that take more than one call, and what comes before it.
    for action in BROKEN_AFTER:
        account.endpoint.change(
            fault={"action": action, "after": True, "lasting": True, "code": "UnauthorizedOperation"}
        )
        code, output = account.provision()
        assert code != 0, action
    account.endpoint.change(fault=None)
    code, output = account.provision()
    assert code == 0, output
    assert "A month of ib-gateway-prod costs about 37." in output
    once = account.inventory()
    assert once == dict.fromkeys(once, 1) | {"roles": 2, "alarms": 2}

    (host,) = account.instances()
    (volume,) = account.ec2.describe_volumes()["Volumes"]
    assert (volume["Encrypted"], volume["VolumeType"], volume["Size"]) == (True, "gp3", 30)
    assert host["ImageId"] == "ami-0123456789abcdef0"
    assert (host["MetadataOptions"]["HttpTokens"], host["MetadataOptions"]["HttpPutResponseHopLimit"]) == (
        "required",
        1,
    )
    for attribute, value in (("disableApiTermination", True), ("instanceInitiatedShutdownBehavior", "stop")):
        reported = account.ec2.describe_instance_attribute(InstanceId=host["InstanceId"], Attribute=attribute)
        assert reported[attribute[0].upper() + attribute[1:]]["Value"] == value
    alarms = account.endpoint.client("cloudwatch").describe_alarms()["MetricAlarms"]
    assert {alarm["MetricName"]: alarm["AlarmActions"][0] for alarm in alarms} == {
        "StatusCheckFailed_System": "arn:aws:automate:us-east-1:ec2:recover",
        "StatusCheckFailed_Instance": "arn:aws:automate:us-east-1:ec2:reboot",
    }
    policy = account.endpoint.client("iam").get_role_policy(RoleName="ib-gateway-prod", PolicyName="host")
    for statement in policy["PolicyDocument"]["Statement"]:
        assert not any("*" in action for action in statement["Action"]), statement
    account.endpoint.client("cloudwatch").delete_alarms(AlarmNames=[f"{NAME}-system"])
    account.ec2.authorize_security_group_ingress(
        GroupId=account.group()["GroupId"], IpProtocol="tcp", FromPort=4001, ToPort=4001, CidrIp="0.0.0.0/0"
    )
    account.ec2.modify_instance_metadata_options(
        InstanceId=host["InstanceId"],
        HttpTokens="optional",
        HttpPutResponseHopLimit=1,
        HttpEndpoint="enabled",
        HttpProtocolIpv6="disabled",
        InstanceMetadataTags="disabled",
    )
    account.ec2.delete_tags(Resources=[host["InstanceId"], volume["VolumeId"]], Tags=[{"Key": "environment"}])
    # Its rules, the host, its volume and its alarm; nothing else.
    assert account.changes() == 4
    assert account.changes() == 0
    assert account.changes("--check") == 0

    (corrected,) = account.instances()
    assert corrected["InstanceId"] == host["InstanceId"]
    assert corrected["MetadataOptions"]["HttpTokens"] == "required"
    (volume,) = account.ec2.describe_volumes()["Volumes"]
    for resource in (corrected, volume):
        assert {"Key": "environment", "Value": "prod"} in resource["Tags"]
    (rule,) = account.group()["IpPermissions"]
    assert (rule["FromPort"], [network["CidrIp"] for network in rule["IpRanges"]]) == (22, ["203.0.113.7/32"])
    assert account.inventory() == once

    # A second host, and no port open any more. The image that was newest is not taken for the first one.
    second: dict[str, Any] = {
        "ec2_host_names": ["gateway", "second"],
        "ec2_host_access": "ssm",
        "ec2_host_admin_cidrs": [],
        "ec2_host_verified_alarm": True,
    }
    code, output = account.provision(**second, ec2_host_image_name="ubuntu/*-server-20250101")
    assert code == 0, output
    assert f"{NAME} was created from image" in output
    assert account.group()["IpPermissions"] == []
    made = {instance["InstanceId"]: instance["ImageId"] for instance in account.instances()}
    assert made.pop(host["InstanceId"]) == "ami-0123456789abcdef0"
    assert list(made.values()) == ["ami-0123456789abcdef1"]

    # Each with an alarm of the verified gateway, on request.
    assert "alarm and metric verified 0.84" in output
    names = [f"{name}-verified" for name in (NAME, "ib-gateway-prod-second")]
    verified = account.endpoint.client("cloudwatch").describe_alarms(AlarmNames=names)["MetricAlarms"]
    assert sorted(alarm["AlarmName"] for alarm in verified) == names
    for alarm in verified:
        assert (alarm["Namespace"], alarm["MetricName"]) == ("ib-gateway", "verified")
        assert alarm["Dimensions"] == [{"Name": "Host", "Value": alarm["AlarmName"].removesuffix("-verified")}]
        assert (alarm["Period"], alarm["EvaluationPeriods"], alarm["TreatMissingData"]) == (60, 10, "breaching")
        assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("LessThanThreshold", 1)
        assert alarm["AlarmActions"] == alarm["OKActions"]
        assert alarm["AlarmActions"][0].endswith(":ib-gateway-prod")
    # A host may publish the metric of this alarm, and nothing in another namespace.
    (metrics,) = [
        statement
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Action"] == ["cloudwatch:PutMetricData"]
    ]
    assert metrics["Condition"] == {"StringEquals": {"cloudwatch:namespace": "ib-gateway"}}


def test_bad_input_is_refused_before_anything_is_made(account: Account) -> None:
    for cidrs in ([], ["0.0.0.0/0"]):
        code, output = account.provision(ec2_host_admin_cidrs=cidrs)
        assert code != 0
        assert "must list the IPv4 networks" in output
    code, output = account.provision(without=("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
    assert code != 0
    assert "Unable to locate credentials Nothing has been changed. Check the credentials" in output
    # IAM does not report in advance whether a role may be created: so it is created first.
    account.endpoint.change(fault={"action": "iam:CreateRole", "code": "AccessDenied"})
    code, output = account.provision()
    assert code != 0
    assert "AccessDenied" in output
    assert set(account.inventory().values()) == {0}


def test_what_the_account_is_not_fit_for_is_reported(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in account.endpoint.environment.items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    settings = {
        "region": "us-east-1",
        "key_name": "ib-gateway-prod",
        "public_key": account.key.with_suffix(".pub").read_text(),
        "names": [NAME],
        "image_owner": "099720109477",
        "image_name": "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-*",
        "instance_type": "t3.medium",
        "volume_gb": 30,
    }

    def refusal(**changes: Any) -> str:
        with pytest.raises(ec2_host_state.UnfitError) as refused:
            ec2_host_state.account_state(settings | changes)
        return str(refused.value)

    assert ec2_host_state.account_state(settings)["missing"] == [NAME]
    assert "AWS has no region us-east-9" in refusal(region="us-east-9")
    assert "has no image named nothing-*" in refusal(image_name="nothing-*")
    account.endpoint.change(vcpus=3)
    assert ec2_host_state.account_state(settings)["missing"] == [NAME]
    names = [NAME, f"{NAME}-2"]
    assert "2 more t3.medium need 4 vCPUs, but of the account's quota of 3 vCPUs in us-east-1, 0" in refusal(
        names=names
    )
    for action, code in (("RunInstances", "VcpuLimitExceeded"), ("ImportKeyPair", "UnauthorizedOperation")):
        account.endpoint.change(fault={"action": f"ec2:{action}", "code": code})
        with pytest.raises(ClientError, match=code):
            ec2_host_state.account_state(settings)
    account.ec2.import_key_pair(KeyName="ib-gateway-prod", PublicKeyMaterial=settings["public_key"])
    assert ec2_host_state.account_state(settings)["missing"] == [NAME]
    other = account.key.with_name("other")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    assert "was created from another public key" in refusal(public_key=other.with_suffix(".pub").read_text())
    account.ec2.run_instances(ImageId="ami-0123456789abcdef0", MinCount=1, MaxCount=1, KeyName="ib-gateway-prod")
    assert "or a second host would be created in place of the one that lost it" in refusal()
