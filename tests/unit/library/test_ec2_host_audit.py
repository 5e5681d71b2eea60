"""The module ec2_host_audit as a process, before moto's server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.aws_endpoint import AwsEndpoint
from tests.module_process import answer_of
from tests.plugins import load

ROOT = Path(__file__).parents[3]
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
ONE = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": "*"}]}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[AwsEndpoint]:
    with AwsEndpoint() as running:
        yield running


def instance(endpoint: AwsEndpoint, name: str, *, good: bool) -> str:
    """An instance as provision.yml creates it, or with every fault."""
    ec2, iam = endpoint.client("ec2"), endpoint.client("iam")
    group = ec2.create_security_group(GroupName=name, Description=name)["GroupId"]
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "203.0.113.7/32"}]}
    if not good:
        rule = {"IpProtocol": "tcp", "FromPort": 4002, "ToPort": 4002, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))
    iam.put_role_policy(RoleName=name, PolicyName="host", PolicyDocument=json.dumps(ONE if good else ALL))
    iam.create_instance_profile(InstanceProfileName=name)
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    made = ec2.run_instances(
        ImageId="ami-0123456789abcdef0",
        InstanceType="t3.medium",
        MinCount=1,
        MaxCount=1,
        SecurityGroupIds=[group],
        IamInstanceProfile={"Name": name},
        MetadataOptions={"HttpTokens": "required" if good else "optional", "HttpPutResponseHopLimit": 1 if good else 2},
        BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 30, "Encrypted": good}}],
    )
    instance_id = str(made["Instances"][0]["InstanceId"])
    ec2.modify_instance_attribute(InstanceId=instance_id, DisableApiTermination={"Value": good})
    return instance_id


def audit(endpoint: AwsEndpoint, instance_id: str) -> dict[str, Any]:
    given = {"region": "us-east-1", "instance_id": instance_id}
    return answer_of("ec2_host_audit", given, endpoint.environment)


def test_a_host_as_provisioned_passes(endpoint: AwsEndpoint) -> None:
    answer = audit(endpoint, instance(endpoint, "good", good=True))
    assert {point["id"]: point["verdict"] for point in answer["points"]} == {
        "aws-imds": "passed",
        "aws-ingress": "passed",
        "aws-encryption": "passed",
        "aws-termination": "passed",
        "aws-role": "passed",
    }
    assert answer["changed"] is False


def test_every_fault_is_found_with_its_remedy(endpoint: AwsEndpoint) -> None:
    points = audit(endpoint, instance(endpoint, "bad", good=False))["points"]
    assert {point["verdict"] for point in points} == {"failed"}
    assert len(points) == 5
    assert all(point["remedy"] for point in points)


def test_a_denied_call_makes_its_point_unknown(endpoint: AwsEndpoint) -> None:
    instance_id = instance(endpoint, "denied", good=True)
    endpoint.change(fault={"action": "ec2:DescribeVolumes", "nth": 1, "code": "UnauthorizedOperation"})
    points = {point["id"]: point for point in audit(endpoint, instance_id)["points"]}
    assert points["aws-encryption"]["verdict"] == "unknown"
    assert points["aws-imds"]["verdict"] == "passed"


def test_a_missing_instance_is_one_error(endpoint: AwsEndpoint) -> None:
    answer = audit(endpoint, "i-0123456789abcdef0")
    assert answer["failed"]
    assert "i-0123456789abcdef0 cannot be inspected" in answer["msg"]
    assert "ec2_host_region" in answer["msg"]


@pytest.mark.parametrize("source", ["IpRanges", "Ipv6Ranges", "PrefixListIds", "UserIdGroupPairs"])
def test_a_port_beside_ssh_is_open_whoever_may_reach_it(source: str) -> None:
    entry = {"CidrIp": "203.0.113.7/32", "CidrIpv6": "2001:db8::7/128", "PrefixListId": "pl-1", "GroupId": "sg-2"}
    rule = {"IpProtocol": "tcp", "FromPort": 4002, "ToPort": 4002, source: [entry]}
    ingress = load("library/ec2_host_audit.py").ingress
    faults, _ = ingress([{"GroupId": "sg-1", "IpPermissions": [rule]}])
    assert faults == ["sg-1: tcp 4002-4002 is open"]
