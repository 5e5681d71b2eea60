#!/usr/bin/python
"""Ansible module: wait until the position manager is READY or has no open order, or report why not."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule

try:
    from gateway_watch.systemd_unit import UnitError
    from position_manager.service import following
except ImportError:
    IMPORT_ERROR: str | None = traceback.format_exc()
else:
    IMPORT_ERROR = None

if TYPE_CHECKING:
    from position_manager.service.following import Seen, Verdict

DOCUMENTATION = r"""
module: manager_wait
short_description: Wait until the position manager is READY or has no open order, or report why not
description:
  - Asks systemd and the manager itself, over its control socket, until it has the state of O(goal). Changes nothing.
  - Fails at once when the manager has ended, and with the cause that the manager reports when O(timeout) is over.
  - Runs on the manager's host, as root, with the interpreter of the project's release.
author: ib-gateway-ansible
requirements:
  - C(position_manager), installed by the role C(ib_release); set C(ansible_python_interpreter) of the task to
    C(/opt/ib-gateway-ansible/current/bin/python)
  - systemd
  - Linux, Python 3.11 to 3.13
options:
  unit:
    description: The manager's systemd unit.
    type: str
    required: true
  socket:
    description: Path of the manager's control socket.
    type: path
    required: true
  goal:
    description:
      - V(ready) waits until the connection is READY, with positions, orders and executions synced.
      - V(idle) waits until no order of the manager is open. A manager that does not answer is not waited for.
    type: str
    choices: [ready, idle]
    default: ready
  timeout:
    description: Seconds to wait in all. V(0) checks once.
    type: float
    default: 180
  log_lines:
    description: How many of the unit's last log lines are returned on failure.
    type: int
    default: 15
  until:
    description:
      - V(done) waits in one call.
      - V(change) returns at each change. As long as RV(done) is V(false), call again with O(cursor) set to
        RV(cursor). The action plugin of the same name does so at a terminal, to show what happens meanwhile.
    type: str
    choices: [done, change]
    default: done
  cursor:
    description: What the call before returned in RV(cursor). Only of use with O(until=change).
    type: str
attributes:
  check_mode:
    support: full
    description: Reports the present state without waiting, and does not fail because of it.
  diff_mode:
    support: none
    description: Changes nothing, so there is no difference to show.
seealso:
  - module: ib_handshake
"""

EXAMPLES = r"""
- name: Wait until the position manager guards the positions
  manager_wait:
    unit: position-manager.service
    socket: /run/position-manager/position-manager/control.sock
  vars:
    ansible_python_interpreter: /opt/ib-gateway-ansible/current/bin/python

- name: Wait for open orders before a restart
  manager_wait:
    unit: position-manager.service
    socket: /run/position-manager/position-manager/control.sock
    goal: idle
    timeout: 120
"""

RETURN = r"""
done:
  description: Whether the outcome is final. V(false) only with O(until=change).
  returned: always, unless the arguments were refused
  type: bool
phase:
  description: The phase of the manager's connection, such as V(READY) or V(DOWN); empty if it does not answer.
  returned: always, unless the arguments were refused
  type: str
  sample: READY
open_orders:
  description: Orders of the manager whose end is not proven, one line each.
  returned: always, unless the arguments were refused
  type: list
  elements: str
waited:
  description: Seconds since the wait started.
  returned: always, unless the arguments were refused
  type: float
  sample: 1.3
failure:
  description:
    - Why the wait failed, empty if it did not. One of V(ended), V(not_ready), V(open_orders), V(unit_unknown).
  returned: always, unless the arguments were refused
  type: str
remedy:
  description: What to do about RV(failure), empty if there is none.
  returned: always, unless the arguments were refused
  type: str
log_lines:
  description: The unit's last log lines.
  returned: on failure
  type: list
  elements: str
progress:
  description: Lines to show the operator about this call.
  returned: always, unless the arguments were refused
  type: list
  elements: str
  sample: ["SYNCING", "READY in mode paper, positions synced: 3 guarded"]
cursor:
  description: Where the next call goes on, if not RV(done). Its form is private to the module.
  returned: if RV(done) is V(false)
  type: str
"""

ARGUMENTS: dict[str, dict[str, Any]] = {
    "unit": {"type": "str", "required": True},
    "socket": {"type": "path", "required": True},
    "goal": {"type": "str", "choices": ["ready", "idle"], "default": "ready"},
    "timeout": {"type": "float", "default": 180},
    "log_lines": {"type": "int", "default": 15},
    "until": {"type": "str", "choices": ["done", "change"], "default": "done"},
    "cursor": {"type": "str"},
}

POLL_SECONDS = 0.5
"""Pause between two queries: neither systemd's command line nor the socket offers a stream of changes."""


def problem_with(params: dict[str, Any]) -> str | None:
    """Faults of the arguments beyond their types."""
    for name in ("timeout", "log_lines"):
        if params[name] < 0:
            return f"{name} is {params[name]}; it must be 0 or more"
    if params["cursor"] is not None and params["until"] != "change":
        return "cursor is of use with until=change only; leave one of them out"
    return None


def read_cursor(text: str) -> tuple[float, str]:
    """When the wait started (monotonic seconds) and the line shown last. Raises ValueError for any other text."""
    try:
        began, line = json.loads(text)
        return float(began), str(line)
    except (TypeError, ValueError) as error:
        raise ValueError("cursor is not one that this module returned; call without it to begin anew") from error


def as_result(seen: Seen, verdict: Verdict, progress: list[str], waited: float) -> dict[str, Any]:
    """A query and its meaning in the form that is returned."""
    return {
        "changed": False,
        "done": verdict.done,
        "phase": seen.status.phase if seen.status else "",
        "open_orders": list(following.open_orders(seen.status)) if seen.status else [],
        "waited": round(waited, 1),
        "failure": verdict.failure.kind if verdict.failure else "",
        "remedy": verdict.failure.remedy if verdict.failure else "",
        "progress": progress,
    }


def last_lines(unit: str, count: int) -> list[str]:
    """The unit's last log lines, the manager's own without the braces."""
    if count == 0:
        return []
    command = ["journalctl", "--no-pager", "--output=cat", f"--lines={count}", f"--unit={unit}"]
    journal = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - no shell
    return [as_text(line) for line in journal.stdout.splitlines()]


def as_text(line: str) -> str:
    """A line of the log as people read it: the manager writes JSON."""
    try:
        event = json.loads(line)
        return f"{event['time']} {event['level']}: {event['event']}"
    except (ValueError, TypeError, KeyError):
        return line


async def run(params: dict[str, Any], check_mode: bool) -> tuple[dict[str, Any], str | None]:
    """Wait as asked. Returns the module's result, and the error message if it failed.

    Raises UnitError, and ValueError for a foreign cursor.
    """
    goal, unit, socket = following.Goal(params["goal"]), params["unit"], Path(params["socket"])
    began, told = read_cursor(params["cursor"]) if params["cursor"] else (time.monotonic(), "")
    progress: list[str] = []
    while True:
        seen = await following.read_unit(unit, socket)
        waited = time.monotonic() - began
        verdict = following.judge(goal, seen, waited, params["timeout"])
        if check_mode:
            return as_result(seen, verdict, [], waited) | {"done": True, "failure": "", "remedy": ""}, None
        if verdict.line != told:
            told = verdict.line
            progress.append(told)
        if verdict.done or (progress and params["until"] == "change"):
            break
        await asyncio.sleep(POLL_SECONDS)
    result = as_result(seen, verdict, progress, waited)
    if not verdict.done:
        result["cursor"] = json.dumps([began, told])
    if verdict.failure is None:
        return result, None
    result["log_lines"] = last_lines(unit, params["log_lines"])
    return result, f"{verdict.failure.text} [{verdict.failure.kind}] Remedy: {verdict.failure.remedy}"


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if IMPORT_ERROR is not None:
        module.fail_json(
            msg=f"The Python interpreter {sys.executable} has no position_manager. The role ib_release installs it: "
            "set ansible_python_interpreter of this task to /opt/ib-gateway-ansible/current/bin/python.",
            exception=IMPORT_ERROR,
        )
    problem = problem_with(module.params)
    if problem is not None:
        module.fail_json(msg=problem)
    try:
        result, error = asyncio.run(run(module.params, module.check_mode))
    except ValueError as refused:
        module.fail_json(msg=str(refused))
    except UnitError as fault:
        result = {"done": True, "phase": "", "open_orders": [], "waited": 0.0, "progress": [], "log_lines": []}
        module.fail_json(
            msg=f"{fault} [{fault.kind}] Remedy: {fault.remedy}", failure=fault.kind, remedy=fault.remedy, **result
        )
    if error is not None:
        module.fail_json(msg=error, **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
