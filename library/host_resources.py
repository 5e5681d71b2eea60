#!/usr/bin/python
"""Ansible module: converge a whole set of resources of a host in one call."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule

if TYPE_CHECKING:
    from module_utils.host_resources import model
    from module_utils.host_resources.converge import ConvergeError, Convergence, Outcome
    from module_utils.host_resources.systemd import SystemdError
else:
    from ansible.module_utils.host_resources import model
    from ansible.module_utils.host_resources.converge import ConvergeError, Convergence, Outcome
    from ansible.module_utils.host_resources.systemd import SystemdError

DOCUMENTATION = r"""
module: host_resources
short_description: Converge a set of directories, files, links and services in one call
description:
  - A task, or a loop item, costs a round trip to the host and the start of a Python interpreter. This module takes all
    resources of a role and converges them in one call.
  - Everything is checked before the first change, and all problems are reported together.
  - >-
    The order of the changes: users, directories, files, links, removals, C(systemctl daemon-reload) if a file under
    C(/etc/systemd/system) changed, commands, services.
  - >-
    A file is written beside its place with its final owner and mode, and moved there. A symbolic link in the place of a
    file is replaced, never followed. A link on the way to a path must belong to root or to the connecting user.
author: ib-gateway-ansible
requirements:
  - Linux with systemd, Python 3.11 to 3.13
options:
  users:
    description: System users, each with a group of its name, without a home directory or a login shell.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the user and of the group.
        type: str
        required: true
  directories:
    description: Directories that must exist, parents first. Missing parents get the same attributes.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path.
        type: str
        required: true
      owner: &owner
        description: Name or number of the owner. By default it is left as it is.
        type: str
      group: &group
        description: Name or number of the group. By default it is left as it is.
        type: str
      mode: &mode
        description: Mode in four octal digits, in quotes.
        type: str
        required: true
  files:
    description: Files that must exist with this content.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path.
        type: str
        required: true
      owner: *owner
      group: *group
      mode: *mode
      content:
        description: The content as text. Exactly one of O(files[].content), O(files[].template) and O(files[].source).
        type: str
      template:
        description: A template on the controller, found as by the module template.
        type: str
      source:
        description: A file on the controller, found as by the module copy.
        type: str
      vars:
        description: Further variables of the template.
        type: dict
      secret:
        description: Whether the content, and a diff of it, must not appear in any output or log.
        type: bool
        default: false
      validate:
        description:
          - A command that checks a content before anything is changed. C(%s) is replaced by the path of a copy.
          - In check mode it is skipped, because an earlier task may be to install or replace the program.
        type: str
  links:
    description: Symbolic links that must exist. Only a link is replaced by one.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path of the link.
        type: str
        required: true
      target:
        description: What it points to.
        type: str
        required: true
  absent:
    description: Paths of files, links and whole directories to remove.
    type: list
    elements: str
    default: []
  commands:
    description: >-
      Commands that apply files, for example by a reload. They run if the files differ from those that were applied
      last, so that the next call completes one that was interrupted.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name, for the result and the output.
        type: str
        required: true
      files:
        description: Paths of the files.
        type: list
        elements: str
        required: true
      commands:
        description: The commands, run in this order without a shell.
        type: list
        elements: str
        required: true
      record:
        description: File on the host with the digests of the files that were applied last.
        type: str
        required: true
  services:
    description: systemd's units. One that is only to be stopped or disabled need not exist.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name with its type, such as C(docker.service).
        type: str
        required: true
      enabled:
        description: Whether it starts at boot. By default it is left as it is.
        type: bool
      state:
        description: State of the unit. By default it is left as it is.
        type: str
        choices: [started, stopped]
      block:
        description: Whether to wait until a start or a stop is complete.
        type: bool
        default: true
      inputs:
        description:
          - Files, and directories of files, that it reads at its start.
          - It is outdated if the content of one of them changes in this call, or is newer than its start.
          - An owner or a mode that changes alone does not count, nor does one of a directory.
        type: list
        elements: str
        default: []
      outdated:
        description:
          - What to do if it is outdated. V(report) names it in RV(outdated) and leaves the restart to a handler; a unit
            that does not run is started. V(leave) leaves that start to the handler as well. V(restart) restarts it.
        type: str
        choices: [report, leave, restart]
        default: report
      program:
        description: The program of its process, or a directory of it; links are resolved. Another one is outdated.
        type: str
      reload_inputs:
        description: Files, and directories of files, that a reload reads. Needs O(services[].loaded).
        type: list
        elements: str
        default: []
      loaded:
        description: A file whose modification time is the time of the last load of O(services[].reload_inputs).
        type: str
  contents:
    description: The contents of O(files), as the action plugin passes them to the host. Not set in a task.
    type: str
    no_log: true
attributes:
  check_mode:
    support: full
    description: Lists the same changes without any. Services of a package that is not installed count as to be started.
  diff_mode:
    support: full
    description: One diff for each file and each changed attribute; of a secret file only that it differs.
notes:
  - The action plugin of the same name reads templates and files on the controller.
"""

EXAMPLES = r"""
- name: Converge the gateway's files and its unit
  host_resources:
    directories:
      - {path: /etc/example, owner: root, group: root, mode: "0755"}
    files:
      - {path: /etc/example/settings.json, mode: "0644", content: "{}\n"}
      - {path: /etc/example/password, mode: "0600", content: "{{ example_password }}", secret: true}
      - {path: /etc/systemd/system/example.service, mode: "0644", template: example.service.j2}
    services:
      - name: example.service
        enabled: true
        state: started
        inputs: [/etc/systemd/system/example.service, /etc/example]
  register: example
"""

RETURN = r"""
changed_items:
  description: >-
    What changed, or would in check mode: the paths of directories, files, links and removals, the names of services,
    C(user NAME) and C(apply NAME).
  returned: always
  type: list
  elements: str
changes:
  description: The changes in their order, one line each, for the operator.
  returned: always
  type: list
  elements: str
outdated:
  description: Services with an input whose content changed or is newer than their start, or with another program.
  returned: always
  type: list
  elements: str
reload_due:
  description: Running services, not outdated, with a reload input that changed or is newer than their last load.
  returned: always
  type: list
  elements: str
problems:
  description: Why nothing was changed, one sentence each. Empty if the call failed later.
  returned: on failure
  type: list
  elements: str
"""

PLACE: dict[str, dict[str, Any]] = {
    "path": {"type": "str", "required": True},
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "mode": {"type": "str", "required": True},
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "users": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"name": {"type": "str", "required": True}},
    },
    "directories": {"type": "list", "elements": "dict", "default": [], "options": PLACE},
    "files": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            **PLACE,
            "content": {"type": "str"},
            "template": {"type": "str"},
            "source": {"type": "str"},
            "vars": {"type": "dict"},
            "secret": {"type": "bool", "default": False},
            "validate": {"type": "str"},
        },
    },
    "links": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"path": {"type": "str", "required": True}, "target": {"type": "str", "required": True}},
    },
    "absent": {"type": "list", "elements": "str", "default": []},
    "commands": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "files": {"type": "list", "elements": "str", "required": True},
            "commands": {"type": "list", "elements": "str", "required": True},
            "record": {"type": "str", "required": True},
        },
    },
    "services": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "enabled": {"type": "bool"},
            "state": {"type": "str", "choices": ["started", "stopped"]},
            "block": {"type": "bool", "default": True},
            "inputs": {"type": "list", "elements": "str", "default": []},
            "outdated": {"type": "str", "choices": ["report", "leave", "restart"], "default": "report"},
            "program": {"type": "str"},
            "reload_inputs": {"type": "list", "elements": "str", "default": []},
            "loaded": {"type": "str"},
        },
    },
    "contents": {"type": "str", "no_log": True},
}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    # A file that is being created is nobody else's to read.
    os.umask(0o077)
    try:
        convergence = Convergence(module, model.read(module.params))
    except model.InvalidContentsError as error:
        module.fail_json(msg=str(error), problems=[str(error)], **_result(Outcome()))
    outcome = convergence.outcome
    try:
        problems = convergence.problems()
        if not problems:
            convergence.converge()
    except (ConvergeError, SystemdError, OSError) as error:
        done = f" Changed before: {', '.join(outcome.items)}." if outcome.items else " Nothing was changed."
        module.fail_json(msg=f"{error}{done}", problems=[], **_result(convergence.outcome))
    if problems:
        module.fail_json(
            msg=f"{' '.join(problems)} Nothing was changed.", problems=problems, **_result(convergence.outcome)
        )
    module.exit_json(diff=outcome.diff, **_result(convergence.outcome))


def _result(outcome: Outcome) -> dict[str, Any]:
    return {
        "changed": bool(outcome.items),
        "changed_items": outcome.items,
        "changes": outcome.changes,
        "outdated": outcome.outdated,
        "reload_due": outcome.reload_due,
    }


if __name__ == "__main__":
    main()
