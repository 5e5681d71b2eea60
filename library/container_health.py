#!/usr/bin/python
"""Ansible module: wait until a container is healthy, or report why it will not be."""

from __future__ import annotations

import contextlib
import time
import traceback
from typing import Any

from ansible.module_utils import port_phase, waiting_module
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.port_phase import as_result, error_result, last_lines, present_state
from ansible.module_utils.waiting_module import Outcome

try:
    from gateway_watch import health
    from gateway_watch.engine import Engine, EngineError
    from gateway_watch.systemd_unit import UnitError
except ImportError:
    IMPORT_ERROR: str | None = traceback.format_exc()
else:
    IMPORT_ERROR = None

DOCUMENTATION = r"""
module: container_health
short_description: Wait until a Docker container is healthy, or report why it will not be
description:
  - Waits on the engine's event stream until the container's health check succeeds. Nothing is changed.
  - Fails at once, each with its own RV(failure), when waiting is of no use. There is no such container, it has no
    health check, it ended, the engine could not start it, it is restarted in a loop, it stays unhealthy longer than
    O(unhealthy_grace), its systemd unit has failed, or no engine answers.
author: ib-gateway-ansible
extends_documentation_fragment: [waiting, waiting.container, waiting.health]
options:
  timeout:
    description: Seconds to wait in all. V(0) checks once and fails if the container is not healthy.
    type: float
    default: 300
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

- name: Check once
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
    "timeout": {"type": "float", "default": 300},
    **port_phase.ARGUMENTS,
    **waiting_module.CONTAINER_ARGUMENTS,
    **waiting_module.ARGUMENTS,
}


async def follow(params: dict[str, Any], check_mode: bool) -> Outcome:
    """Wait until the container is healthy. Raises EngineError, UnitError and InvalidArgumentError."""
    engine = Engine()
    if check_mode:
        step = await present_state(engine, params)
        return Outcome(as_result(step, [], step.memory.started) | {"done": True})
    limits = health.Limits(params["timeout"], params["appear_timeout"], params["unhealthy_grace"])
    if params["cursor"]:
        memory = waiting_module.read_cursor(params["cursor"], health.Memory.from_dict)
    else:
        memory = await health.start(engine)
    progress: list[str] = []
    steps = health.wait_healthy(engine, params["name"], limits, memory, unit=params["unit"])
    async with contextlib.aclosing(steps):
        async for step in steps:
            progress += step.progress
            if step.done or params["until"] == "change":
                break
    result = as_result(step, progress, time.monotonic())
    if step.failure is None:
        return Outcome(result)
    result["log_lines"] = await last_lines(engine, step, params["log_lines"])
    return Outcome(result, waiting_module.failure_message(step.failure.text, step.failure))


async def wait(params: dict[str, Any], check_mode: bool) -> Outcome:
    """Check the arguments and wait. Raises InvalidArgumentError."""
    waiting_module.check_arguments(params, ("timeout", "appear_timeout", "unhealthy_grace", "log_lines"))
    try:
        return await follow(params, check_mode)
    except (EngineError, UnitError) as fault:
        return Outcome(error_result(fault), waiting_module.failure_message(str(fault), fault))


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    waiting_module.run_module(module, wait, package="gateway_watch", role="ib_gateway", import_error=IMPORT_ERROR)


if __name__ == "__main__":
    main()
