"""Print how many module runs of a playbook reached a host and the controller, and how many tasks changed the host.

Reads the document of a JSON callback from stdin. Each item of a loop is a run of its own.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

WITHOUT_A_MODULE = {
    "ansible.builtin.add_host",
    "ansible.builtin.assert",
    "ansible.builtin.debug",
    "ansible.builtin.fail",
    "ansible.builtin.group_by",
    "ansible.builtin.include_role",
    "ansible.builtin.include_tasks",
    "ansible.builtin.set_fact",
    "ansible.builtin.validate_argument_spec",
    "show_text",
}


def runs(result: dict[str, Any]) -> int:
    """Module runs of one task on one host."""
    if result["action"] in WITHOUT_A_MODULE:
        return 0
    items = result.get("results")
    # A module may return a list of this name itself; the items of a loop are named.
    if isinstance(items, list) and all(isinstance(item, dict) and "ansible_loop_var" in item for item in items):
        return sum(not item.get("skipped") for item in items)
    return int(not result.get("skipped"))


def results(document: dict[str, Any], host: str) -> Iterator[dict[str, Any]]:
    """The results of all tasks for the host."""
    for play in document["plays"]:
        for task in play["tasks"]:
            if host in task["hosts"]:
                yield task["hosts"][host]


def counted(document: dict[str, Any], host: str) -> dict[str, int]:
    """Module runs on the host and on the controller, and changed tasks."""
    found = list(results(document, host))
    delegated = [result for result in found if "_ansible_delegated_vars" in result]
    return {
        "on_host": sum(runs(result) for result in found if result not in delegated),
        "on_controller": sum(runs(result) for result in delegated),
        "changed": document["stats"][host]["changed"],
    }


if __name__ == "__main__":
    print(json.dumps(counted(json.load(sys.stdin), sys.argv[1])))  # noqa: T201 - its purpose
