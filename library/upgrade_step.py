#!/usr/bin/python
"""Ansible module: the steps of an upgrade that preserve the way back, decide and record."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule

if TYPE_CHECKING:
    from host_audit.host import Host, UnreadableError
    from host_service.statefile import write_bytes
    from host_upgrade.inspection import Inspection
    from host_upgrade.model import UnusableStateError
    from host_upgrade.operations import Plan, UpgradeError, Upgrades, Wanted
    from host_upgrade.store import Store
else:
    # Carried to the host with the module, whatever release is there.
    try:
        from ansible.module_utils.host_audit.host import Host, UnreadableError
        from ansible.module_utils.host_service.statefile import write_bytes
        from ansible.module_utils.host_upgrade.inspection import Inspection
        from ansible.module_utils.host_upgrade.model import UnusableStateError
        from ansible.module_utils.host_upgrade.operations import UpgradeError, Upgrades, Wanted
        from ansible.module_utils.host_upgrade.store import Store
    except ImportError:
        from host_audit.host import Host, UnreadableError
        from host_service.statefile import write_bytes
        from host_upgrade.inspection import Inspection
        from host_upgrade.model import UnusableStateError
        from host_upgrade.operations import UpgradeError, Upgrades, Wanted
        from host_upgrade.store import Store

DOCUMENTATION = r"""
module: upgrade_step
short_description: Decide, prepare, undo and record an upgrade of a host's gateway images and release
description:
  - The steps of an upgrade between which the roles change the host. The state in O(state_dir) is written before
    each change, so that a run that is killed is completed or undone by the next one.
  - Restarts nothing. It runs on the host as root with the host's own Python, because the release is replaced.
author: ib-gateway-ansible
requirements:
  - the C(docker) command line
  - Linux, Python 3.11 to 3.13
options:
  operation:
    description:
      - V(plan) decides what to do and why it must not be done. Changes nothing.
      - V(start) saves the units and settings without secrets, and records that an upgrade is in progress.
      - V(restore) restores them and the previous release, and names the units to restart.
      - V(finish) stores the record. Without an upgrade in progress it does nothing.
    type: str
    choices: [plan, start, restore, finish]
    required: true
  command:
    description: The playbook for which O(operation=plan) decides.
    type: str
    choices: [upgrade, rollback, deploy]
    default: upgrade
  release:
    description: Name of the release that is wanted. Empty if it is not deployed.
    type: str
    default: ""
  gateways:
    description:
      - The gateways as the settings have them, with C(name), C(image), C(image_archive), C(trading_mode) and C(apis).
    type: list
    elements: dict
    required: true
  managers:
    description: Names of the position managers.
    type: list
    elements: str
    default: []
  removed:
    description: Names of the gateways and position managers that a deploy removes.
    type: list
    elements: str
    default: []
  parts:
    description: With O(command=deploy), what is deployed of V(image) and V(release).
    type: list
    elements: str
    default: []
  in_trading_hours:
    description: Whether an upgrade may start while the regular session of a held position is open.
    type: bool
    default: false
  rejected_allowed:
    description: Whether a deploy may install what was rolled back, also instead of completing an interrupted rollback.
    type: bool
    default: false
  reason:
    description: Why it is rolled back, for the record.
    type: str
    default: ""
  verified:
    description: With O(operation=finish), whether the result is verified, all of it.
    type: bool
    default: true
  kept_records:
    description: How many records are retained.
    type: int
    default: 20
  release_dir:
    description: Directory of the releases.
    type: path
    default: /opt/ib-gateway-ansible
  state_dir:
    description: Directory of the state and the records.
    type: path
    default: /var/lib/ib-gateway-ansible/upgrade
attributes:
  check_mode:
    support: partial
    description: V(plan) does the same; the others do nothing.
  diff_mode:
    support: none
    description: The files of an upgrade are shown by the roles that write them.
"""

EXAMPLES = r"""
- name: Decide what an upgrade would do
  upgrade_step:
    operation: plan
    release: 0123456789ab
    gateways:
      - name: ib-gateway
        image: ghcr.io/gnzsnz/ib-gateway:10.50.1f
        image_archive: ""
        trading_mode: paper
        apis: [{mode: paper, port: 4002}]
    managers: [position-manager]
"""

RETURN = r"""
step:
  description:
    - What to do. One of V(nothing), V(switch), V(resume), V(go_back), V(finish_rollback), V(deploy) and V(refuse).
  returned: with O(operation=plan)
  type: str
text:
  description: The plan or the result, for the operator. May be empty.
  returned: always, unless the step failed
  type: str
problems:
  description: Why it must not be done, one sentence each.
  returned: with O(operation=plan)
  type: list
  elements: str
fetch:
  description: Images that are not on the host yet.
  returned: with O(operation=plan)
  type: list
  elements: str
present:
  description: The deployed images by gateway, and the current release.
  returned: always, unless the step failed
  type: dict
phase:
  description:
    - The phase of the last upgrade, empty if there was none. V(switching) and V(rolling_back) are in progress or were
      interrupted; V(verified) and V(rolled_back) have ended.
  returned: always, unless the step failed
  type: str
before:
  description: The previous images by gateway, and the previous release; empty without a state.
  returned: always, unless the step failed
  type: dict
after:
  description: Likewise what the upgrade installs.
  returned: always, unless the step failed
  type: dict
reason:
  description: Why it was rolled back, empty if it was not.
  returned: always, unless the step failed
  type: str
restart:
  description: The units to restart, without their type.
  returned: always, unless the step failed
  type: list
  elements: str
record:
  description: What was stored.
  returned: with O(operation=finish), if an upgrade was in progress
  type: dict
"""

ARGUMENTS: dict[str, dict[str, Any]] = {
    "operation": {"type": "str", "choices": ["plan", "start", "restore", "finish"], "required": True},
    "command": {"type": "str", "choices": ["upgrade", "rollback", "deploy"], "default": "upgrade"},
    "release": {"type": "str", "default": ""},
    "gateways": {"type": "list", "elements": "dict", "required": True},
    "managers": {"type": "list", "elements": "str", "default": []},
    "removed": {"type": "list", "elements": "str", "default": []},
    "parts": {"type": "list", "elements": "str", "default": []},
    "in_trading_hours": {"type": "bool", "default": False},
    "rejected_allowed": {"type": "bool", "default": False},
    "reason": {"type": "str", "default": ""},
    "verified": {"type": "bool", "default": True},
    "kept_records": {"type": "int", "default": 20},
    "release_dir": {"type": "path", "default": "/opt/ib-gateway-ansible"},
    "state_dir": {"type": "path", "default": "/var/lib/ib-gateway-ansible/upgrade"},
}


def plan(upgrades: Upgrades, wanted: Wanted, params: dict[str, Any]) -> Plan:
    """The plan of the command. Raises UnusableStateError."""
    if params["command"] == "upgrade":
        return upgrades.plan_upgrade(wanted, in_trading_hours=params["in_trading_hours"])
    if params["command"] == "rollback":
        return upgrades.plan_rollback(wanted)
    return upgrades.plan_deploy(wanted, params["parts"], rejected_allowed=params["rejected_allowed"])


def run(params: dict[str, Any]) -> dict[str, Any]:
    """One step. Raises UpgradeError, UnusableStateError, OSError, and KeyError for a gateway without all its keys."""
    host = Host()
    store = Store(Path(params["state_dir"]), write_bytes)
    inspection = Inspection(host, UnreadableError, Path(params["release_dir"]))
    upgrades = Upgrades(host, inspection, store, write_bytes, lambda: datetime.now(UTC))
    wanted = Wanted(params["release"], params["gateways"], params["managers"], params["removed"])
    result: dict[str, Any] = {"changed": False, "text": ""}
    if params["operation"] == "plan":
        found = plan(upgrades, wanted, params)
        result |= {
            "step": str(found.step),
            "text": found.text,
            "problems": list(found.problems),
            "fetch": list(found.fetch),
        }
    elif params["operation"] == "start":
        upgrades.start(wanted)
        result["changed"] = True
    elif params["operation"] == "restore":
        upgrades.restore(wanted, params["reason"])
        result["changed"] = True
    else:
        record = upgrades.finish(wanted, verified=params["verified"], kept=params["kept_records"])
        if record is not None:
            result |= {"changed": True, "text": record.line, "record": record.to_json()}
    state = store.read()
    return result | {
        "present": inspection.deployment(wanted.names).to_json(),
        "phase": str(state.phase) if state else "",
        "before": state.before.to_json() if state else {},
        "after": state.after.to_json() if state else {},
        "reason": state.reason if state else "",
        "restart": list(state.restart) if state else [],
    }


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if module.check_mode and module.params["operation"] != "plan":
        module.exit_json(changed=True, text="", present={}, phase="", before={}, after={}, reason="", restart=[])
    try:
        result = run(module.params)
    except KeyError as missing:
        module.fail_json(msg=f"An entry of gateways has no key {missing}.")
    except (UpgradeError, UnusableStateError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
