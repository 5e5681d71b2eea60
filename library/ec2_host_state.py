#!/usr/bin/python
"""Ansible module: inspect an AWS account before hosts are created or corrected there, and change nothing."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from typing import Any

from ansible.module_utils.aws_module import BotoCoreError, ClientError, boto3, require_boto3
from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: ec2_host_state
short_description: Inspect an AWS account before hosts are created or corrected there
description:
  - Finds the hosts of an environment by their key pair, which unlike a tag cannot be lost, and reports how an
    existing host differs from the settings where only a new host could change that.
  - For hosts that are missing, it finds the newest image, compares the quota of vCPUs with what is in use, and asks AWS
    by dry runs whether it allows the creation of hosts, key pair and security group.
  - Fails with one sentence that names the fault and the remedy. Changes nothing.
author: ib-gateway-ansible
requirements:
  - boto3
options:
  region:
    description: The AWS region.
    type: str
    required: true
  key_name:
    description: The key pair of the hosts.
    type: str
    required: true
  public_key:
    description: The line of the public key file for the key pair.
    type: str
    required: true
  names:
    description: The Name tags of the wanted hosts.
    type: list
    elements: str
    required: true
  image_owner:
    description: The AWS account that publishes the image.
    type: str
    required: true
  image_name:
    description: The name pattern of the image.
    type: str
    required: true
  instance_type:
    description: The instance type of new hosts.
    type: str
    required: true
  volume_gb:
    description: The size of the root volume of new hosts.
    type: int
    required: true
attributes:
  check_mode:
    support: full
    description: Changes nothing in any mode.
"""

EXAMPLES = r"""
- name: Inspect the account
  ec2_host_state:
    region: us-east-1
    key_name: ib-gateway-prod
    public_key: "{{ lookup('ansible.builtin.file', '~/.ssh/id_ed25519.pub') }}"
    names: [ib-gateway-prod-gateway]
    image_owner: "099720109477"
    image_name: ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-*
    instance_type: t3.medium
    volume_gb: 30
"""

RETURN = r"""
account:
  description: The number of the account.
  returned: success
  type: str
  sample: "123456789012"
partition:
  description: The first part of the names of what is in the account.
  returned: success
  type: str
  sample: aws
topic:
  description: The C(arn) of the topic with the name of the key pair, and whether it C(exists).
  returned: success
  type: dict
hosts:
  description: The IDs of the hosts that exist, by their Name tags.
  returned: success
  type: dict
  sample: {ib-gateway-prod-gateway: i-0123456789abcdef0}
missing:
  description: The names of the hosts that do not exist yet.
  returned: success
  type: list
  elements: str
volumes:
  description: The root volumes of the hosts, each as C(id), C(host) and C(tags).
  returned: success
  type: list
  elements: dict
image:
  description: The newest image, as C(id) and C(device) of its root volume; empty if no host is missing.
  returned: success
  type: dict
  sample: {id: ami-0123456789abcdef0, device: /dev/sda1}
differences:
  description: What of an existing host differs from what is wanted, and only a new host would change.
  returned: success
  type: list
  elements: str
"""

ARGUMENTS: dict[str, dict[str, Any]] = {
    "region": {"type": "str", "required": True},
    "key_name": {"type": "str", "required": True},
    "public_key": {"type": "str", "required": True},
    "names": {"type": "list", "elements": "str", "required": True},
    "image_owner": {"type": "str", "required": True},
    "image_name": {"type": "str", "required": True},
    "instance_type": {"type": "str", "required": True},
    "volume_gb": {"type": "int", "required": True},
}

ALIVE = ["pending", "running", "stopping", "stopped"]
STANDARD_VCPUS = "L-1216C47A"
"""The quota of running on-demand instances of the families A, C, D, H, I, M, R, T and Z, in vCPUs."""


class UnfitError(Exception):
    """The account or the settings prevent the hosts; the text gives the reason and the remedy."""


def tag(resource: dict[str, Any], key: str) -> str:
    """The value of a tag, empty if the resource does not bear it."""
    return next((str(pair["Value"]) for pair in resource.get("Tags", []) if pair["Key"] == key), "")


def by_name(instances: list[dict[str, Any]], key_name: str) -> dict[str, dict[str, Any]]:
    """The instances by their Name tags. Raises UnfitError if one lacks its own: it would be created again."""
    names = [tag(instance, "Name") for instance in instances]
    if len(set(names)) < len(names) or not all(name.startswith(f"{key_name}-") for name in names):
        raise UnfitError(
            f"The hosts with key pair {key_name} are named {names}; each must have a Name tag of its own that "
            f"starts with {key_name}-. Set it on {', '.join(instance['InstanceId'] for instance in instances)}, or a "
            f"second host would be created in place of the one that lost it."
        )
    return dict(zip(names, instances, strict=True))


def vcpus(instance: dict[str, Any]) -> int:
    """The vCPUs of an instance that count for the quota of standard instances."""
    if instance["InstanceType"][0] not in "acdhimrtz" or instance["State"]["Name"] not in ("pending", "running"):
        return 0
    options = instance.get("CpuOptions", {})
    return int(options.get("CoreCount", 1)) * int(options.get("ThreadsPerCore", 1))


class Account:
    """What the module asks of one region."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.wanted = settings
        self.ec2 = boto3.client("ec2", region_name=settings["region"])

    def instances(self, filters: dict[str, list[str]]) -> list[dict[str, Any]]:
        """The matching instances, as the API returns them."""
        pages = self.ec2.get_paginator("describe_instances").paginate(
            Filters=[{"Name": name, "Values": values} for name, values in filters.items()]
        )
        return [instance for page in pages for group in page["Reservations"] for instance in group["Instances"]]

    def check_key(self) -> None:
        """Raises UnfitError if the key pair exists and is of another key, which its hosts would then let in."""
        pairs = self.ec2.describe_key_pairs(
            Filters=[{"Name": "key-name", "Values": [self.wanted["key_name"]]}], IncludePublicKey=True
        )["KeyPairs"]
        if pairs and pairs[0]["PublicKey"].split()[:2] != self.wanted["public_key"].split()[:2]:
            raise UnfitError(
                f"Key pair {self.wanted['key_name']} in AWS was created from another public key than the one "
                f"in ec2_host_public_key_file. Its hosts accept the first one only: name that file, or remove the key "
                f"pair if no host uses it (aws ec2 delete-key-pair --key-name {self.wanted['key_name']})."
            )

    def newest_image(self) -> dict[str, str]:
        """The image for new hosts. Raises UnfitError if there is none."""
        images = self.ec2.describe_images(
            Owners=[self.wanted["image_owner"]],
            Filters=[
                {"Name": "name", "Values": [self.wanted["image_name"]]},
                {"Name": "state", "Values": ["available"]},
            ],
        )["Images"]
        if not images:
            raise UnfitError(
                f"Owner {self.wanted['image_owner']} has no image named {self.wanted['image_name']} in "
                f"{self.wanted['region']}. Correct ec2_host_image_owner, ec2_host_image_name or ec2_host_region."
            )
        newest = max(images, key=lambda image: str(image["CreationDate"]))
        return {"id": newest["ImageId"], "device": newest["RootDeviceName"]}

    def has_topic(self, arn: str) -> bool:
        """Whether the topic exists."""
        try:
            boto3.client("sns", region_name=self.wanted["region"]).get_topic_attributes(TopicArn=arn)
        except ClientError as error:
            if error.response["Error"]["Code"] != "NotFound":
                raise
            return False
        return True

    def check_quota(self, count: int) -> None:
        """Raises UnfitError if that many more hosts exceed the quota of vCPUs."""
        kind = self.wanted["instance_type"]
        each = self.ec2.describe_instance_types(InstanceTypes=[kind])["InstanceTypes"][0]["VCpuInfo"]["DefaultVCpus"]
        quotas = boto3.client("service-quotas", region_name=self.wanted["region"])
        quota = quotas.get_service_quota(ServiceCode="ec2", QuotaCode=STANDARD_VCPUS)["Quota"]["Value"]
        used = sum(map(vcpus, self.instances({"instance-state-name": ["pending", "running"]})))
        if kind[0] in "acdhimrtz" and used + count * each > quota:
            raise UnfitError(
                f"{count} more {kind} need {count * each} vCPUs, but of the account's quota of {quota:.0f} vCPUs in "
                f"{self.wanted['region']}, {used} are in use. Have it raised: aws service-quotas "
                f"request-service-quota-increase --region {self.wanted['region']} --service-code ec2 --quota-code "
                f"{STANDARD_VCPUS} --desired-value {used + count * each}"
            )

    def check_permissions(self, image: str) -> None:
        """Raises UnfitError if AWS would refuse to create a host, its key pair or its security group."""
        name = self.wanted["key_name"]
        self.rehearse(
            self.ec2.run_instances, ImageId=image, InstanceType=self.wanted["instance_type"], MinCount=1, MaxCount=1
        )
        self.rehearse(self.ec2.import_key_pair, KeyName=name, PublicKeyMaterial=self.wanted["public_key"].encode())
        self.rehearse(self.ec2.create_security_group, GroupName=name, Description="rehearsal")

    def rehearse(self, call: Callable[..., Any], **arguments: Any) -> None:
        """Dry-runs a call. Raises ClientError if it were refused."""
        try:
            call(DryRun=True, **arguments)
        except ClientError as error:
            # Existing resources need not be created.
            if error.response["Error"]["Code"] not in (
                "DryRunOperation",
                "InvalidKeyPair.Duplicate",
                "InvalidGroup.Duplicate",
            ):
                raise

    def differences(self, hosts: dict[str, dict[str, Any]], volumes: dict[str, dict[str, Any]]) -> list[str]:
        """What of the hosts only a new host would change; the volumes by the hosts' names."""
        wanted, found = self.wanted, []
        images = {image["ImageId"]: image for image in self.images_of(hosts)}
        for name, instance in hosts.items():
            if name not in wanted["names"]:
                continue
            # A withdrawn image is no longer returned; the host continues to run.
            image = images.get(instance["ImageId"])
            if image and not fnmatch.fnmatchcase(image.get("Name", ""), wanted["image_name"]):
                found.append(f"{name} was created from image {image.get('Name')}, not of {wanted['image_name']}")
            volume = volumes.get(name)
            if volume and volume["Size"] != wanted["volume_gb"]:
                found.append(f"{name} has a root volume of {volume['Size']} GB, not of {wanted['volume_gb']}")
            if volume and not volume["Encrypted"]:
                found.append(f"{name} has a root volume that is not encrypted")
            if volume and volume["VolumeType"] != "gp3":
                found.append(f"{name} has a root volume of type {volume['VolumeType']}, not gp3")
        return found

    def images_of(self, hosts: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
        """The images of the hosts, as the API returns them."""
        ids = sorted({instance["ImageId"] for instance in hosts.values()})
        found: list[dict[str, Any]] = self.ec2.describe_images(Filters=[{"Name": "image-id", "Values": ids}])["Images"]
        return found

    def root_volumes(self, hosts: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """The root volumes by the hosts' names, as the API returns them."""
        names = {
            mapping["Ebs"]["VolumeId"]: name
            for name, instance in hosts.items()
            for mapping in instance["BlockDeviceMappings"]
            if mapping["DeviceName"] == instance["RootDeviceName"]
        }
        # Without an ID, AWS would return every volume.
        found = self.ec2.describe_volumes(VolumeIds=list(names))["Volumes"] if names else []
        return {names[volume["VolumeId"]]: volume for volume in found}


def check_region(name: str) -> None:
    """Raises UnfitError if AWS has no such region, which would be noticed only by an address that nobody answers."""
    session = boto3.session.Session()
    partitions = session.get_available_partitions()
    if not any(name in session.get_available_regions("ec2", partition) for partition in partitions):
        raise UnfitError(
            f"AWS has no region {name}. Correct ec2_host_region, in inventory/aws/aws_ec2.yml under regions."
        )


def account_state(settings: dict[str, Any]) -> dict[str, Any]:
    """The module's result. Raises UnfitError, ClientError and BotoCoreError."""
    check_region(settings["region"])
    caller = boto3.client("sts", region_name=settings["region"]).get_caller_identity()
    region = Account(settings)
    region.check_key()
    hosts = by_name(
        region.instances({"key-name": [settings["key_name"]], "instance-state-name": ALIVE}), settings["key_name"]
    )
    missing = [name for name in settings["names"] if name not in hosts]
    image: dict[str, str] = {}
    if missing:
        image = region.newest_image()
        region.check_quota(len(missing))
        region.check_permissions(image["id"])
    volumes = region.root_volumes(hosts)
    partition = caller["Arn"].split(":")[1]
    topic = f"arn:{partition}:sns:{settings['region']}:{caller['Account']}:{settings['key_name']}"
    return {
        "account": caller["Account"],
        "partition": partition,
        "topic": {"arn": topic, "exists": region.has_topic(topic)},
        "hosts": {name: instance["InstanceId"] for name, instance in hosts.items()},
        "missing": missing,
        "volumes": [
            {
                "id": volume["VolumeId"],
                "host": name,
                "tags": {pair["Key"]: pair["Value"] for pair in volume.get("Tags", [])},
            }
            for name, volume in volumes.items()
        ],
        "image": image,
        "differences": region.differences(hosts, volumes) if hosts else [],
    }


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    require_boto3(module)
    region = module.params["region"]
    try:
        found = account_state(module.params)
    except UnfitError as reason:
        module.fail_json(msg=f"{reason} Nothing has been changed.")
    except (ClientError, BotoCoreError) as error:
        module.fail_json(
            msg=f"AWS refused in region {region}: {error} Nothing has been changed. Check the credentials "
            f"(aws sts get-caller-identity), their permissions and ec2_host_region."
        )
    if more := sorted(found["hosts"].keys() - set(module.params["names"])):
        module.warn(f"{', '.join(more)} exist, but are not in ec2_host_names. They are left alone, and cost on.")
    for difference in found["differences"]:
        module.warn(f"{difference}. Only a new host would change that: remove this one, and provision again.")
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
