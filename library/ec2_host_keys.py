#!/usr/bin/python
"""Ansible module: pin the ssh host keys of EC2 instances, from their console output."""

from __future__ import annotations

import base64
import binascii
import os
import re
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.aws_module import BotoCoreError, ClientError, boto3, require_boto3
from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: ec2_host_keys
short_description: Pin the ssh host keys of EC2 instances, from their console output
description:
  - A new instance prints its public host keys on its console, which only AWS can read. They are written to a
    known_hosts file under the instance's ID, so that ssh never has to trust an unknown key.
  - An instance that has a key in the file is left alone, and AWS is not asked.
  - Runs on the controller, with the credentials that boto3 finds. AWS announces no new console output, so the consoles
    are read every few seconds until the keys are there.
author: ib-gateway-ansible
requirements:
  - boto3
options:
  instance_ids:
    description: The IDs of the instances. Use them as ssh's C(HostKeyAlias).
    type: list
    elements: str
    required: true
  known_hosts:
    description: The file that the keys are added to. It is created if missing, readable by its owner only.
    type: path
    required: true
  region:
    description: The AWS region of the instances.
    type: str
    required: true
  timeout:
    description: Seconds that the instances may take to print their keys. V(0) reads once.
    type: float
    default: 300
attributes:
  check_mode:
    support: full
    description: Reads the consoles, and writes nothing.
  diff_mode:
    support: full
    description: Shows the lines that are added.
"""

EXAMPLES = r"""
- name: Pin the key of a new host
  ec2_host_keys:
    instance_ids: [i-0123456789abcdef0]
    known_hosts: ~/.ssh/known_hosts_ib_gateway
    region: us-east-1
"""

RETURN = r"""
added:
  description: The lines that were added to the file.
  returned: always, unless the task failed
  type: list
  elements: str
  sample: ["i-0123456789abcdef0 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHr4…"]
"""

ARGUMENTS: dict[str, dict[str, Any]] = {
    "instance_ids": {"type": "list", "elements": "str", "required": True},
    "known_hosts": {"type": "path", "required": True},
    "region": {"type": "str", "required": True},
    "timeout": {"type": "float", "default": 300},
}

READ_INTERVAL = 3.0
"""Seconds between two reads of the consoles."""

BLOCK = re.compile(r"-----BEGIN SSH HOST KEY KEYS-----(.*?)-----END SSH HOST KEY KEYS-----", re.DOTALL)
KEY = re.compile(r"\b(ssh-ed25519|ecdsa-sha2-nistp(?:256|384|521)|ssh-rsa) (AAAA[0-9A-Za-z+/]+={0,2})")


def host_keys(console: str) -> list[str]:
    """The host keys that cloud-init last printed in full, each as `kind base64`; none if it has not yet."""
    blocks = BLOCK.findall(console)
    found = KEY.findall(blocks[-1]) if blocks else []
    return [f"{kind} {blob}" for kind, blob in found if is_key(kind, blob)]


def is_key(kind: str, blob: str) -> bool:
    """Whether the blob names its own kind, which a line that the console cut or mixed with another does not."""
    try:
        raw = base64.b64decode(blob, validate=True)
    except binascii.Error:
        return False
    return raw[4 : 4 + int.from_bytes(raw[:4])] == kind.encode() and len(raw) > 4 + len(kind)


def pinned(text: str) -> set[str]:
    """The names that a known_hosts file has a key for."""
    return {name for line in text.splitlines() if line.strip() for name in line.split()[0].split(",")}


def read_console(client: Any, instance_id: str) -> str:
    """The console output of an instance as of now, empty if there is none yet. Raises ClientError, BotoCoreError."""
    try:
        answer = client.get_console_output(InstanceId=instance_id, Latest=True)
    except ClientError as error:
        # Instances that are not built on Nitro have only the output that AWS keeps after a boot.
        if error.response["Error"]["Code"] != "UnsupportedOperation":
            raise
        answer = client.get_console_output(InstanceId=instance_id)
    return str(answer.get("Output", ""))


def wait_for_keys(client: Any, wanted: list[str], timeout: float) -> dict[str, list[str]]:
    """The keys of each instance that printed them within the time (seconds). Raises ClientError and BotoCoreError."""
    deadline = time.monotonic() + timeout
    found: dict[str, list[str]] = {}
    while True:
        for instance_id in wanted:
            if instance_id not in found and (keys := host_keys(read_console(client, instance_id))):
                found[instance_id] = keys
        if len(found) == len(wanted) or time.monotonic() + READ_INTERVAL > deadline:
            return found
        time.sleep(READ_INTERVAL)


def add_lines(file: Path, before: str, lines: list[str]) -> None:
    """Add lines to the file in one write. Raises OSError."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = "".join(f"{line}\n" for line in lines)
    if before and not before.endswith("\n"):
        text = f"\n{text}"
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    require_boto3(module)
    file = Path(module.params["known_hosts"])
    before = file.read_text() if file.exists() else ""
    wanted = sorted(set(module.params["instance_ids"]) - pinned(before))
    if not wanted:
        module.exit_json(changed=False, added=[])
    try:
        client = boto3.client("ec2", region_name=module.params["region"])
        found = wait_for_keys(client, wanted, 0 if module.check_mode else module.params["timeout"])
    except (ClientError, BotoCoreError) as error:
        module.fail_json(msg=f"AWS did not show the console of {', '.join(wanted)}: {error}")
    missing = [instance_id for instance_id in wanted if instance_id not in found]
    if missing and not module.check_mode:
        module.fail_json(
            msg=f"The console of {', '.join(missing)} shows no ssh host keys. They are printed at the first boot only: "
            f"for an older host, copy its lines from the file {file.name} of the controller that created it, or read "
            f"/etc/ssh/ssh_host_ed25519_key.pub on it by another way (aws ssm start-session) and add the line "
            f"'{missing[0]} ssh-ed25519 AAAA…' to {file}. If it is new, read its console: "
            f"aws ec2 get-console-output --latest --output text --instance-id {missing[0]}"
        )
    added = [f"{instance_id} {key}" for instance_id in wanted for key in found.get(instance_id, [])]
    if not module.check_mode:
        add_lines(file, before, added)
    after = before + "".join(f"{line}\n" for line in added)
    diff = {"before_header": str(file), "after_header": str(file), "before": before, "after": after}
    module.exit_json(changed=True, added=added, diff=diff)


if __name__ == "__main__":
    main()
