#!/usr/bin/python
"""Ansible module: wait until the position manager is READY or has no open order, or report why not."""

from __future__ import annotations

import asyncio
import importlib
import json
import subprocess
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.module_utils import waiting_module
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.waiting_module import Outcome

try:
    from gateway_watch.systemd_unit import UnitError

    try:
        from position_manager.service import following
    except ImportError:
        # A release from before 0.1.0, which is asked for its open orders before it is replaced.
        following = importlib.import_module("position_manager.reports.following")
        vars(following)["read_unit"] = vars(following)["look"]
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
extends_documentation_fragment: [waiting]
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
    **waiting_module.ARGUMENTS,
}

POLL_SECONDS = 0.5
"""Pause between two queries: neither systemd's command line nor the socket offers a stream of changes."""


def progress_of(state: Any) -> tuple[float, str]:
    """A cursor's content: when the wait started (monotonic seconds), and the line shown last."""
    started, line = state
    return float(started), str(line)


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


async def follow(params: dict[str, Any], check_mode: bool) -> Outcome:
    """Wait until the manager has the state of `goal`. Raises UnitError and InvalidArgumentError."""
    goal, unit, socket = following.Goal(params["goal"]), params["unit"], Path(params["socket"])
    started, shown = time.monotonic(), ""
    if params["cursor"]:
        started, shown = waiting_module.read_cursor(params["cursor"], progress_of)
    progress: list[str] = []
    while True:
        seen = await following.read_unit(unit, socket)
        waited = time.monotonic() - started
        verdict = following.judge(goal, seen, waited, params["timeout"])
        if check_mode:
            return Outcome(as_result(seen, verdict, [], waited) | {"done": True, "failure": "", "remedy": ""})
        if verdict.line != shown:
            shown = verdict.line
            progress.append(shown)
        if verdict.done or (progress and params["until"] == "change"):
            break
        await asyncio.sleep(POLL_SECONDS)
    result = as_result(seen, verdict, progress, waited)
    if not verdict.done:
        result["cursor"] = json.dumps([started, shown])
    if verdict.failure is None:
        return Outcome(result)
    result["log_lines"] = last_lines(unit, params["log_lines"])
    return Outcome(result, waiting_module.failure_message(verdict.failure.text, verdict.failure))


async def wait(params: dict[str, Any], check_mode: bool) -> Outcome:
    """Check the arguments and wait. Raises InvalidArgumentError."""
    waiting_module.check_arguments(params, ("timeout", "log_lines"))
    try:
        return await follow(params, check_mode)
    except UnitError as fault:
        result = {"done": True, "phase": "", "open_orders": [], "waited": 0.0, "progress": [], "log_lines": []}
        return Outcome(
            result | {"failure": fault.kind, "remedy": fault.remedy}, waiting_module.failure_message(str(fault), fault)
        )


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    waiting_module.run_module(module, wait, package="position_manager", role="ib_release", import_error=IMPORT_ERROR)


if __name__ == "__main__":
    main()
