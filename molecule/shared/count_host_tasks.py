"""Print how many tasks of a playbook reached a host and changed it, from a JSON callback's document on stdin."""

import json
import sys

ON_THE_CONTROLLER = {
    "ansible.builtin.assert",
    "ansible.builtin.debug",
    "ansible.builtin.include_role",
    "ansible.builtin.include_tasks",
    "ansible.builtin.set_fact",
    "ansible.builtin.validate_argument_spec",
    "show_text",
}

(host,) = sys.argv[1:]
document = json.load(sys.stdin)
results = [
    result
    for play in document["plays"]
    for task in play["tasks"]
    if (result := task["hosts"].get(host)) and not result.get("skipped") and "_ansible_delegated_vars" not in result
]
reached = sum(result["action"] not in ON_THE_CONTROLLER for result in results)
changed = document["stats"][host]["changed"]
print(json.dumps({"reached": reached, "changed": changed}))  # noqa: T201 - its purpose
