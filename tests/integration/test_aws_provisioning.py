"""provision.yml against a local server that speaks AWS's API: from nothing, again, after drift, and with bad input."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]
import pytest

ROOT = Path(__file__).parents[2]
NAME = "ib-gateway-prod-gateway"
IMAGE = {
    "ami_id": "ami-0123456789abcdef0",
    "name": "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20260101",
    "owner_id": "099720109477",
    "description": "noble",
    "image_type": "machine",
    "architecture": "x86_64",
    "state": "available",
    "public": True,
    "root_device_type": "ebs",
    "root_device_name": "/dev/sda1",
    "virtualization_type": "hvm",
    "hypervisor": "xen",
    "creation_date": "2026-01-01T00:00:00.000Z",
    "platform": None,
    "sriov": "simple",
}


class Account:
    def __init__(self, url: str, directory: Path) -> None:
        self.key = directory / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_SHARED_CREDENTIALS_FILE": str(directory / "none"),
            "AWS_CONFIG_FILE": str(directory / "none"),
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        }
        self.ec2: Any = boto3.client(
            "ec2", "us-east-1", endpoint_url=url, aws_access_key_id="testing", aws_secret_access_key="testing"
        )

    def provision(self, *options: str, without: tuple[str, ...] = (), **settings: Any) -> tuple[int, str]:
        variables = {
            "ec2_host_public_key_file": f"{self.key}.pub",
            "ec2_host_admin_cidrs": ["203.0.113.7/32"],
        } | settings
        done = subprocess.run(
            ["ansible-playbook", "-i", "inventory/aws", "provision.yml", "-e", json.dumps(variables), *options],
            check=False,
            cwd=ROOT,
            env={name: value for name, value in self.environment.items() if name not in without},
            capture_output=True,
            text=True,
            timeout=120,
        )
        return done.returncode, done.stdout + done.stderr

    def changes(self, *options: str, **settings: Any) -> int:
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


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    images = tmp_path / "images.json"
    images.write_text(json.dumps([IMAGE]))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [Path(sys.executable).with_name("moto_server"), "-H", "127.0.0.1", "-p", str(port)],
        env=os.environ | {"MOTO_AMIS_PATH": str(images)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 30
        while True:
            assert server.poll() is None
            assert time.monotonic() < deadline
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
        yield Account(f"http://127.0.0.1:{port}", tmp_path)
    finally:
        server.terminate()
        server.wait(10)


def test_a_host_is_made_once_and_drift_is_corrected(account: Account) -> None:
    assert account.changes("--check") > 0
    assert account.instances() == []
    assert account.changes() == 5
    assert account.changes() == 0

    (host,) = account.instances()
    volume = account.ec2.describe_volumes()["Volumes"][0]
    assert (volume["Encrypted"], volume["VolumeType"]) == (True, "gp3")
    assert host["MetadataOptions"]["HttpTokens"] == "required"
    assert host["MetadataOptions"]["HttpPutResponseHopLimit"] == 1

    group = account.group()
    account.ec2.authorize_security_group_ingress(
        GroupId=group["GroupId"], IpProtocol="tcp", FromPort=4001, ToPort=4001, CidrIp="0.0.0.0/0"
    )
    account.ec2.modify_instance_metadata_options(
        InstanceId=host["InstanceId"],
        HttpTokens="optional",
        HttpPutResponseHopLimit=1,
        HttpEndpoint="enabled",
        HttpProtocolIpv6="disabled",
        InstanceMetadataTags="disabled",
    )
    account.ec2.delete_tags(Resources=[host["InstanceId"]], Tags=[{"Key": "environment"}])
    assert account.changes() == 2
    assert account.changes() == 0

    (corrected,) = account.instances()
    assert corrected["InstanceId"] == host["InstanceId"]
    assert corrected["MetadataOptions"]["HttpTokens"] == "required"
    assert {"Key": "environment", "Value": "prod"} in corrected["Tags"]
    (rule,) = account.group()["IpPermissions"]
    assert rule["FromPort"] == 22
    assert [network["CidrIp"] for network in rule["IpRanges"]] == ["203.0.113.7/32"]

    account.ec2.delete_tags(Resources=[host["InstanceId"]], Tags=[{"Key": "Name"}])
    code, output = account.provision()
    assert code != 0
    assert "lost it" in output
    assert len(account.instances()) == 1


def test_bad_input_is_refused_before_anything_is_made(account: Account) -> None:
    for cidrs in ([], ["0.0.0.0/0"], ["203.0.113.300/32"]):
        code, output = account.provision(ec2_host_admin_cidrs=cidrs)
        assert code != 0
        assert "must list the IPv4 networks" in output
    code, output = account.provision(without=("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
    assert code != 0
    assert "Nothing has been made. Check the credentials" in " ".join(output.split())
    code, output = account.provision(ec2_host_image_name="nothing-*")
    assert code != 0
    assert "has no image named" in output
    assert account.ec2.describe_key_pairs()["KeyPairs"] == []
