#!/usr/bin/python
"""Ansible module: wait until a container is healthy, or report why it will not be."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule

try:
    from gateway_watch import health, systemd_unit
    from gateway_watch.engine import Engine, EngineError, NoSuchContainerError
    from gateway_watch.systemd_unit import UnitError
except ImportError:
    IMPORT_ERROR: str | None = traceback.format_exc()
else:
    IMPORT_ERROR = None

if TYPE_CHECKING:
    from gateway_watch.health import Step

DOCUMENTATION = r"""
module: container_health
short_description: Wait until a Docker container is healthy, or report why it will not be
description:
  - Waits on the engine's event stream until the container's health check succeeds. Nothing is changed.
  - Fails at once, each with its own RV(failure), when waiting is of no use. There is no such container, it has no
    health check, it ended, the engine could not start it, it is restarted in a loop, it stays unhealthy longer than
    O(unhealthy_grace), its systemd unit has failed, or no engine answers.
  - Runs on the Docker host, with the interpreter of the project's release. It uses C(DOCKER_HOST) of the task's
    environment, if set.
author: ib-gateway-ansible
requirements:
  - C(gateway_watch), installed by the role C(ib_gateway); set C(ansible_python_interpreter) of the task to
    C(/opt/ib-gateway-ansible/current/bin/python)
  - the C(docker) command line
  - Linux, Python 3.11 to 3.13
options:
  name:
    description: The container's name.
    type: str
    required: true
  timeout:
    description: Seconds to wait in all. V(0) checks once and fails if the container is not healthy.
    type: float
    default: 300
  appear_timeout:
    description:
      - Seconds that a missing container may take to appear. V(0) fails at once if there is none.
      - With more than V(0), a container that had already ended when the wait started counts as absent.
    type: float
    default: 0
  unit:
    description:
      - The systemd unit that owns the container. Once it has failed, so does the task, with the status text of the
        unit. A container that the unit is just stopping counts as not there.
    type: str
  unhealthy_grace:
    description: Seconds that the container may be unhealthy before the task fails.
    type: float
    default: 30
  log_lines:
    description: How many of the container's last log lines are returned on failure.
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
  - module: gateway_login
  - module: ib_handshake
"""

EXAMPLES = r"""
- name: Wait until the gateway listens
  container_health:
    name: ib-gateway
    unit: ib-gateway.service
    appear_timeout: 30
  vars:
    ansible_python_interpreter: /opt/ib-gateway-ansible/current/bin/python

- name: Look once
  container_health:
    name: ib-gateway
    timeout: 0
  register: container
  failed_when: false
"""

RETURN = r"""
done:
  description: Whether the outcome is final. V(false) only with O(until=change).
  returned: always, unless the arguments were refused
  type: bool
status:
  description:
    - State of the container. One of V(healthy), V(starting), V(unhealthy), V(absent), a status of Docker's own such
      as V(created), or the same as RV(failure).
  returned: always, unless the arguments were refused
  type: str
  sample: healthy
waited:
  description: Seconds since the wait started.
  returned: always, unless the arguments were refused
  type: float
  sample: 41.3
container_id:
  description: The container's ID, empty if there is none.
  returned: always, unless the arguments were refused
  type: str
started_at:
  description: When the container started (ISO 8601, UTC), empty if it has not.
  returned: always, unless the arguments were refused
  type: str
  sample: "2026-11-23T06:00:12.345678+00:00"
health_log:
  description: The last runs of the health command, the oldest first.
  returned: always, unless the arguments were refused
  type: list
  elements: dict
  contains:
    ended:
      description: When it ended (ISO 8601, UTC).
      type: str
    exit_code:
      description: V(0) is healthy.
      type: int
    output:
      description: What it printed.
      type: str
published:
  description: Ports of the host, each with the port inside the container that it leads to.
  returned: always, unless the arguments were refused
  type: dict
  sample: {"4002": 4004, "5900": 5900}
failure:
  description:
    - Why the wait failed, empty if it did not. One of V(no_such_container), V(no_health_check), V(exited),
      V(start_failed), V(restarting_loop), V(unhealthy), V(timeout), V(unit_failed), V(unit_unknown), V(engine_away),
      V(docker_missing), V(engine_error).
  returned: always, unless the arguments were refused
  type: str
  sample: exited
remedy:
  description: What to do about RV(failure), empty if there is none.
  returned: always, unless the arguments were refused
  type: str
exit_code:
  description: The container's exit code.
  returned: if it ended
  type: int
log_lines:
  description: The container's last log lines, without the user name of the gateway; none without a container.
  returned: on failure
  type: list
  elements: str
progress:
  description: Lines to show the operator about this call.
  returned: always, unless the arguments were refused
  type: list
  elements: str
  sample: ["container started", "listening (healthy) after 41 s"]
cursor:
  description: Where the next call goes on, if not RV(done). Its form is private to the module.
  returned: if RV(done) is V(false)
  type: str
"""

ARGUMENTS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "timeout": {"type": "float", "default": 300},
    "appear_timeout": {"type": "float", "default": 0},
    "unit": {"type": "str"},
    "unhealthy_grace": {"type": "float", "default": 30},
    "log_lines": {"type": "int", "default": 15},
    "until": {"type": "str", "choices": ["done", "change"], "default": "done"},
    "cursor": {"type": "str"},
}


def problem_with(params: dict[str, Any]) -> str | None:
    """Faults of the arguments beyond their types."""
    for name in ("timeout", "appear_timeout", "unhealthy_grace", "log_lines"):
        if params[name] < 0:
            return f"{name} is {params[name]}; it must be 0 or more"
    if params["cursor"] is not None and params["until"] != "change":
        return "cursor is of use with until=change only; leave one of them out"
    return None


def read_cursor(text: str) -> health.Memory:
    """The memory of the call before. Raises ValueError for any other text."""
    try:
        return health.Memory.from_dict(json.loads(text))
    except (TypeError, ValueError) as error:
        raise ValueError("cursor is not one that this module returned; call without it to begin anew") from error


def as_result(step: Step, progress: list[str], monotonic: float) -> dict[str, Any]:
    """A step in the form that is returned."""
    container = step.container
    result: dict[str, Any] = {
        "changed": False,
        "done": step.done,
        "status": step.status,
        "waited": round(monotonic - step.memory.began, 1),
        "container_id": container.id if container else "",
        "started_at": container.started_at.isoformat() if container and container.has_started else "",
        "health_log": [
            {
                "ended": probe.ended.isoformat(),
                "exit_code": probe.exit_code,
                "output": container.mask(probe.output),
            }
            for probe in container.health_log
        ]
        if container
        else [],
        "published": {str(port): inside for port, inside in container.published.items()} if container else {},
        "failure": step.failure.kind if step.failure else "",
        "remedy": step.failure.remedy if step.failure else "",
        "progress": progress,
    }
    if container and container.ended:
        result["exit_code"] = container.exit_code
    if not step.done:
        result["cursor"] = json.dumps(step.memory.to_dict())
    return result


def without_an_answer(fault: EngineError | UnitError) -> dict[str, Any]:
    """What is returned when the engine or systemd could not be asked."""
    return {
        "done": True,
        "status": fault.kind,
        "waited": 0.0,
        "container_id": "",
        "started_at": "",
        "health_log": [],
        "published": {},
        "failure": fault.kind,
        "remedy": fault.remedy,
        "log_lines": [],
        "progress": [],
    }


async def last_lines(engine: Engine, step: Step, count: int) -> list[str]:
    """The container's last log lines, masked."""
    if step.container is None or count == 0:
        return []
    try:
        async with contextlib.aclosing(engine.logs(step.container.id, tail=count)) as lines:
            return [step.container.mask(line.text) async for line in lines]
    except NoSuchContainerError:
        # Its owner has removed it meanwhile, and the log with it.
        return []


async def look(engine: Engine, params: dict[str, Any]) -> Step:
    """The present state of the container."""
    limits = health.Limits(math.inf, 0, math.inf)
    memory = await health.begin(engine)
    unit = await systemd_unit.show(params["unit"]) if params["unit"] else None
    container = await engine.find(params["name"])
    memory = health.notice(memory, container, unit, limits, memory.began)
    return health.judge(params["name"], memory, container, unit, limits, memory.began)


async def run(params: dict[str, Any], check_mode: bool) -> tuple[dict[str, Any], str | None]:
    """Wait as asked. Returns the module's result, and the error message if it failed.

    Raises EngineError, UnitError, and ValueError for a foreign cursor.
    """
    engine = Engine()
    if check_mode:
        step = await look(engine, params)
        return as_result(step, [], step.memory.began) | {"done": True}, None
    limits = health.Limits(params["timeout"], params["appear_timeout"], params["unhealthy_grace"])
    memory = read_cursor(params["cursor"]) if params["cursor"] else await health.begin(engine)
    progress: list[str] = []
    steps = health.wait_healthy(engine, params["name"], limits, memory, unit=params["unit"])
    async with contextlib.aclosing(steps):
        async for step in steps:
            progress += step.progress
            if step.done or params["until"] == "change":
                break
    result = as_result(step, progress, time.monotonic())
    if step.failure is None:
        return result, None
    result["log_lines"] = await last_lines(engine, step, params["log_lines"])
    return result, f"{step.failure.text} [{step.failure.kind}] Remedy: {step.failure.remedy}"


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if IMPORT_ERROR is not None:
        module.fail_json(
            msg=f"The Python interpreter {sys.executable} has no gateway_watch. The role ib_gateway installs it: set "
            "ansible_python_interpreter of this task to /opt/ib-gateway-ansible/current/bin/python.",
            exception=IMPORT_ERROR,
        )
    problem = problem_with(module.params)
    if problem is not None:
        module.fail_json(msg=problem)
    try:
        result, error = asyncio.run(run(module.params, module.check_mode))
    except ValueError as refused:
        module.fail_json(msg=str(refused))
    except (EngineError, UnitError) as fault:
        module.fail_json(msg=f"{fault} [{fault.kind}] Remedy: {fault.remedy}", **without_an_answer(fault))
    if error is not None:
        module.fail_json(msg=error, **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
