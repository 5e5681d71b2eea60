#!/usr/bin/python
"""Ansible module: follow an IB Gateway's login until it is ready, or report why it failed."""

from __future__ import annotations

import contextlib
import traceback
from typing import Any

from ansible.module_utils import login_phase, waiting_module
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.login_phase import as_result, error_result, login_wait, warnings_of
from ansible.module_utils.waiting_module import Outcome

try:
    from gateway_watch import health
    from gateway_watch.engine import Engine, EngineError
    from gateway_watch.login_wait import LoginMemory
    from gateway_watch.systemd_unit import UnitError
except ImportError:
    IMPORT_ERROR: str | None = traceback.format_exc()
else:
    IMPORT_ERROR = None

DOCUMENTATION = r"""
module: gateway_login
short_description: Follow an IB Gateway's login until it is ready, or report why it failed
description:
  - Reads the log of the gateway's container since its start and derives the login state. Follows the log
    until the login is ready. Nothing is changed.
  - A failure that needs manual intervention (such as V(bad_credentials)), and one after which the gateway hangs or
    ends, fails the task at once with its cause and remedy. A failure that the gateway resolves by trying again
    (V(server_down), V(rate_limited), V(twofa_slow_login), and V(twofa_missed) with
    C(RELOGIN_AFTER_TWOFA_TIMEOUT=yes)) is shown as progress, and fails the task with that cause when the time is over.
  - A file of signatures for each login controller, part of C(gateway_watch), defines the meaning of the lines.
author: ib-gateway-ansible
extends_documentation_fragment: [waiting, waiting.container, waiting.login]
options:
  timeout:
    description:
      - Seconds to wait in all. V(0) checks once and fails if the login is not ready.
      - It is extended once by O(twofa_timeout), when the first 2FA dialog is seen.
    type: float
    default: 600
  log_lines:
    description: How many of the last log lines that mean something are returned.
  until:
    description:
      - V(done) waits in one call.
      - V(change) returns at each change, and about every 10 s with the countdown while a 2FA approval is awaited. As
        long as RV(done) is V(false), call again with O(cursor) set to RV(cursor). The action plugin of the same name
        does so at a terminal, to show each step.
seealso:
  - module: container_health
  - module: ib_handshake
"""

EXAMPLES = r"""
- name: Follow the login of a gateway that has just been started
  gateway_login:
    name: ib-gateway
    unit: ib-gateway.service
    appear_timeout: 30
  vars:
    ansible_python_interpreter: /opt/ib-gateway-ansible/current/bin/python

- name: Check the login state
  gateway_login:
    name: ib-gateway
    timeout: 0
  register: login
  failed_when: false
"""

RETURN = r"""
done:
  description: Whether the outcome is final. V(false) only with O(until=change).
  returned: always, unless the arguments were refused
  type: bool
state:
  description:
    - State of the login. One of V(absent), V(starting), V(logging_in), V(awaiting_2fa), V(relogin_wait),
      V(logged_in), V(ready), V(restarting), V(failed).
  returned: always, unless the arguments were refused
  type: str
  sample: awaiting_2fa
text:
  description: One line about the state.
  returned: always, unless the arguments were refused
  type: str
cause:
  description:
    - Why the login fails or failed last, empty if it does not. An ID of the signature file's causes, or one of the
      values of RV(container_health#module:failure).
  returned: always, unless the arguments were refused
  type: str
  sample: bad_credentials
remedy:
  description: What to do about RV(cause), empty if there is none.
  returned: always, unless the arguments were refused
  type: str
seconds_since_start:
  description: Seconds since the container started.
  returned: if it has started
  type: float
  sample: 38.2
started_at:
  description: When the container started (ISO 8601, UTC).
  returned: if it has started
  type: str
  sample: "2026-11-23T06:00:12.345678+00:00"
container_id:
  description: The container's ID, empty if there is none.
  returned: always, unless the arguments were refused
  type: str
waited:
  description: Seconds since the wait started.
  returned: always, unless the arguments were refused
  type: float
twofa_seconds_left:
  description: Remaining seconds of the 2FA dialog.
  returned: if RV(state) is V(awaiting_2fa)
  type: int
  sample: 172
attempts:
  description: Login attempts in this run of the container.
  returned: always, unless the arguments were refused
  type: int
events:
  description: What happened in this run of the container, the oldest first.
  returned: always, unless the arguments were refused
  type: list
  elements: dict
  contains:
    time:
      description: When it happened (ISO 8601, UTC).
      type: str
    mode:
      description: Whose login it was, C(paper) or C(live).
      type: str
    state:
      description: The state of that login from then on, as in RV(state).
      type: str
    cause:
      description: As in RV(cause), empty if it was no failure.
      type: str
    text:
      description: One line about it.
      type: str
log_lines:
  description: The last lines of the log that mean something.
  returned: always, unless the arguments were refused
  type: list
  elements: str
progress:
  description: Lines to show the operator about this call.
  returned: always, unless the arguments were refused
  type: list
  elements: str
  sample: ["logging in (attempt 1)", "Approve the login in IBKR Mobile (172 s left)"]
cursor:
  description: Where the next call goes on, if not RV(done). Its form is private to the module.
  returned: if RV(done) is V(false)
  type: str
"""

ARGUMENTS: dict[str, dict[str, Any]] = {
    "timeout": {"type": "float", "default": 600},
    **login_phase.ARGUMENTS,
    **waiting_module.CONTAINER_ARGUMENTS,
    **waiting_module.ARGUMENTS,
}


def check_arguments(params: dict[str, Any]) -> None:
    """Check what the argument spec cannot. Raises InvalidArgumentError."""
    waiting_module.check_arguments(params, ("timeout", "twofa_timeout", "appear_timeout", "log_lines"))
    login_phase.check_controller(params["login_controller"])


async def follow(params: dict[str, Any], check_mode: bool) -> Outcome:
    """Follow the login until it is ready. Raises EngineError, UnitError and InvalidArgumentError."""
    engine = Engine()
    limits = health.Limits(params["timeout"], params["appear_timeout"])
    if params["cursor"]:
        memory = waiting_module.read_cursor(params["cursor"], LoginMemory.from_dict)
    else:
        memory = LoginMemory(await health.start(engine))
    login = login_wait(engine, params, limits, memory)
    progress: list[str] = []
    if check_mode:
        step = await login.inspect()
    else:
        async with contextlib.aclosing(login.steps()) as steps:
            async for step in steps:
                progress += step.progress
                if step.done or params["until"] == "change":
                    break
    result = as_result(step, progress)
    failure = None if check_mode else step.failure
    error = waiting_module.failure_message(failure.text, failure) if failure else None
    return Outcome(result, error, tuple(warnings_of(step)))


async def wait(params: dict[str, Any], check_mode: bool) -> Outcome:
    """Check the arguments and wait. Raises InvalidArgumentError."""
    check_arguments(params)
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
