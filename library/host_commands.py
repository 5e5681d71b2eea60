#!/usr/bin/python
"""Ansible module: run several programs on a host at the same time, in one call."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: host_commands
short_description: Run several programs on a host at the same time, in one call
description:
  - Runs programs that only read, at the same time and in one round trip, and returns the result of each by its name.
author: ib-gateway-ansible
options:
  commands:
    description: The programs.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the result.
        type: str
        required: true
      argv:
        description: The program with its arguments. No shell is involved.
        type: list
        elements: str
        required: true
      accepted:
        description: Exit statuses that are no error. A program that is not installed has 127.
        type: list
        elements: int
        default: [0]
attributes:
  check_mode:
    support: full
    description: The programs must only read; they run in check mode as well.
  diff_mode:
    support: none
    description: It changes nothing.
"""

EXAMPLES = r"""
- name: Read the state of two units
  host_commands:
    commands:
      - {name: engine, argv: [systemctl, is-active, docker.service], accepted: [0, 3]}
      - {name: clock, argv: [systemctl, is-active, chrony.service], accepted: [0, 3]}
"""

RETURN = r"""
results:
  description: The results in the order of the programs.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the program's result.
      type: str
    rc:
      description: Its exit status.
      type: int
    stdout:
      description: Its standard output, without white space at the end.
      type: str
    stderr:
      description: Its standard error, likewise.
      type: str
"""

ARGUMENTS: dict[str, dict[str, Any]] = {
    "commands": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "name": {"type": "str", "required": True},
            "argv": {"type": "list", "elements": "str", "required": True},
            "accepted": {"type": "list", "elements": "int", "default": [0]},
        },
    },
}
NOT_STARTED = 126
NOT_INSTALLED = 127


def result_of(command: dict[str, Any]) -> dict[str, Any]:
    """Run one program to its end."""
    try:
        argv = command["argv"]
        ended = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False)  # noqa: S603 - no shell
    except OSError as error:
        # As a shell does.
        status = NOT_INSTALLED if isinstance(error, FileNotFoundError) else NOT_STARTED
        return {"name": command["name"], "rc": status, "stdout": "", "stderr": str(error)}
    return {
        "name": command["name"],
        "rc": ended.returncode,
        "stdout": ended.stdout.rstrip(),
        "stderr": ended.stderr.rstrip(),
    }


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    commands = module.params["commands"]
    with ThreadPoolExecutor(max_workers=max(len(commands), 1)) as pool:
        results = list(pool.map(result_of, commands))
    failed = [
        f"{result['name']} ended with exit status {result['rc']}: {result['stderr'] or result['stdout']}"
        for command, result in zip(commands, results, strict=True)
        if result["rc"] not in command["accepted"]
    ]
    if failed:
        module.fail_json(msg=" ".join(failed), results=results)
    module.exit_json(changed=False, results=results)


if __name__ == "__main__":
    main()
