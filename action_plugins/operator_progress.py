"""What a waiting module shows the operator at the terminal while its task runs.

Base of the action plugins container_health, gateway_login, gateway_verified, ib_handshake and manager_wait. Their
modules wait in two ways: `until: done` runs through in one call; `until: change` returns at the next change with
`done: false`, `progress` (lines for the operator) and `cursor` (where the next call goes on). At a terminal this
action calls the module again and again in the second way and shows the lines; anywhere else it calls it once in the
first.
"""

from __future__ import annotations

import os
from typing import Any

from ansible import constants, context
from ansible.errors import AnsibleActionFail
from ansible.plugins.action.normal import ActionModule as NormalAction
from ansible.utils.display import Display

# A worker's own stdout is /dev/null, but the strategy loads this class in the main process before it forks the
# worker, so what is found out here belongs to the process that owns the terminal. Were the class first loaded
# in a worker, the answer would be no and the task quiet.
STDOUT_IS_TERMINAL = os.isatty(1)

# Callbacks whose output people read. Any other may print a document that a further line would break.
READABLE_CALLBACKS = frozenset({"default", "yaml", "debug", "unixy"})


def output_is_for_people() -> bool:
    """Whether the callback shows tasks in a form that bears more lines; any other may print one document."""
    return str(constants.DEFAULT_STDOUT_CALLBACK).rpartition(".")[2] in READABLE_CALLBACKS


def operator_watches() -> bool:
    """Whether stdout is a terminal on which a playbook's tasks are shown to a person."""
    ad_hoc = "module_name" in context.CLIARGS
    return STDOUT_IS_TERMINAL and not ad_hoc and output_is_for_people()


def as_line(host: str, text: str) -> str:
    """One line under the task. What could move the cursor or change colours (it may come from a log) is dropped."""
    return f"    {host}: " + "".join(character for character in text if character.isprintable())


class ActionModule(NormalAction):
    """Runs the module of its own name and shows its progress if the operator watches.

    The task's result is what the module's last call returned. A task with `no_log`, with `async`, or with `until`
    or `cursor` among its arguments is left as it is.
    """

    output_is_for_people = staticmethod(output_is_for_people)
    as_line = staticmethod(as_line)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        arguments = dict(self._task.args)
        if (
            not operator_watches()
            or self._task.no_log
            or self._task.async_val
            or not arguments.keys().isdisjoint({"until", "cursor"})
        ):
            plain: dict[str, Any] = super().run(tmp, task_vars)
            return plain
        host = (task_vars or {}).get("inventory_hostname", "localhost")
        display = Display()
        follow: dict[str, Any] = {"until": "change"}
        while True:
            result: dict[str, Any] = self._execute_module(module_args={**arguments, **follow}, task_vars=task_vars)
            for line in result.get("progress", []):
                display.display(as_line(host, line), color=constants.COLOR_VERBOSE)
            if result.get("failed") or result.get("done", True):
                return result
            if "cursor" not in result:
                raise AnsibleActionFail(
                    f"The module {self._task.action} returned done: false without a cursor, so it cannot be "
                    "called again. This is a bug of the module."
                )
            follow["cursor"] = result["cursor"]
