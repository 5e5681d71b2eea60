"""The counter of module runs that the default molecule scenario holds to a number."""

from __future__ import annotations

from typing import Any

from tests.plugins import load

counted = load("molecule/shared/count_host_tasks.py").counted


def document(*results: dict[str, Any]) -> dict[str, Any]:
    tasks = [{"hosts": {"host": result, "other": result}} for result in results]
    return {"plays": [{"tasks": tasks}, {"tasks": []}], "stats": {"host": {"changed": 2}}}


def test_module_runs_are_counted_with_the_items_of_loops() -> None:
    item = {"ansible_loop_var": "item"}
    found = counted(
        document(
            {"action": "ansible.builtin.command"},
            {"action": "ansible.builtin.command", "skipped": True},
            {"action": "ansible.builtin.copy", "results": [item, item, {**item, "skipped": True}]},
            {"action": "ansible.builtin.copy", "results": [], "skipped": True},
            {"action": "host_commands", "results": [{"name": "a"}, {"name": "b"}]},
            {"action": "ansible.builtin.assert"},
            {"action": "ansible.builtin.include_tasks"},
            {"action": "ansible.builtin.command", "_ansible_delegated_vars": {}},
            {"action": "ansible.builtin.assert", "_ansible_delegated_vars": {}},
        ),
        "host",
    )
    assert found == {"on_host": 4, "on_controller": 1, "changed": 2}
