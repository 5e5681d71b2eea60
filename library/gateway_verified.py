#!/usr/bin/python
"""Ansible module: wait from the login of an IB Gateway to a verified API in one process."""

from __future__ import annotations

from typing import Any

from ansible.module_utils import gateway_verification, handshake_phase, login_phase, port_phase, waiting_module
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.gateway_verification import IMPORT_ERROR
from ansible.module_utils.waiting_module import InvalidArgumentError, Outcome

DOCUMENTATION = r"""
module: gateway_verified
short_description: Wait from the login of an IB Gateway to a verified API, or report what failed
description:
  - Does in one process what M(gateway_login), M(container_health) and M(ib_handshake) do one after the other, with the
    same states, causes and remedies. Nothing is changed.
  - As soon as the login is ready, it reads in C(/proc) of the container's first process whether the gateway listens,
    every 50 ms, on any version of the engine, and starts the handshake at once. Where that cannot be observed (another
    machine, another namespace of processes), it waits for the engine's health check instead.
  - The engine's health check must agree afterwards, within its interval and its limits. If it does not, the task fails
    with V(health_disagrees).
  - The container is inspected once more at the end. If it has ended since, or another one runs, the task fails with
    V(exited).
  - A first connection that a gateway leaves without an answer costs no attempt. A second one is opened beside it after
    a quarter of a second.
author: ib-gateway-ansible
extends_documentation_fragment: [waiting, waiting.container, waiting.login, waiting.health, waiting.handshake]
options:
  login_timeout:
    description:
      - Seconds to wait for the login. It is extended once by O(twofa_timeout), when the first 2FA dialog is seen.
      - V(0) checks once and fails if the login is not ready.
    type: float
    default: 600
  start_timeout:
    description:
      - Seconds from the end of the login until the gateway listens. V(0) does not wait, and fails if the container is
        not healthy now.
    type: float
    default: 300
  apis:
    description:
      - The APIs to verify, each with its C(mode) (V(paper) or V(live)), C(host) and C(port) where it is published, and
        C(native_port), on which the gateway listens in its container.
    type: list
    elements: dict
    required: true
  handshake_timeout:
    description: Seconds one attempt may take in all.
    type: float
    default: 10
  connected_within:
    description:
      - Seconds within which the gateway's watch must report that the gateway is connected to IBKR. Without it, that is
        not checked.
    type: float
attributes:
  check_mode:
    support: full
    description:
      - Reports the present login and container without waiting, and does not fail because of them. The API is verified
        as in a normal run, because that changes nothing.
seealso:
  - module: gateway_login
  - module: container_health
  - module: ib_handshake
notes:
  - Messages show account numbers masked; RV(handshakes) holds them in full.
"""

EXAMPLES = r"""
- name: Verify a paper gateway that has just been started
  gateway_verified:
    name: ib-gateway
    unit: ib-gateway.service
    appear_timeout: 30
    apis:
      - {mode: paper, host: 127.0.0.1, port: 4002, native_port: 4002}
    connected_within: 60
  vars:
    ansible_python_interpreter: /opt/ib-gateway-ansible/current/bin/python

- name: Check once
  gateway_verified:
    name: ib-gateway
    login_timeout: 0
    start_timeout: 0
    retries: 1
    apis:
      - {mode: paper, host: 127.0.0.1, port: 4002, native_port: 4002}
  register: gateway
  failed_when: false
"""

RETURN = r"""
done:
  description: Whether the outcome is final. V(false) only with O(until=change).
  returned: always, unless the arguments were refused
  type: bool
verified:
  description: Whether all is verified.
  returned: always, unless the arguments were refused
  type: bool
phase:
  description: What is waited for, or what has failed. One of V(login), V(port), V(handshake), V(connection).
  returned: always, unless the arguments were refused
  type: str
  sample: handshake
cause:
  description:
    - Why it failed, empty if it did not. As RV(gateway_login#module:cause), RV(container_health#module:failure) or
      RV(ib_handshake#module:cause), or V(health_disagrees).
  returned: always, unless the arguments were refused
  type: str
  sample: bad_credentials
remedy:
  description: What to do about RV(cause), empty if there is none.
  returned: always, unless the arguments were refused
  type: str
log_lines:
  description: On failure, the last lines of the container's log that matter.
  returned: always, unless the arguments were refused
  type: list
  elements: str
waited:
  description: Seconds since the wait started.
  returned: always, unless the arguments were refused
  type: float
  sample: 41.3
ready_at:
  description: When the login became ready, by the log (ISO 8601, UTC).
  returned: once the login is ready
  type: str
  sample: "2026-11-23T06:00:52.345678+00:00"
verified_at:
  description: When the last API was verified (ISO 8601, UTC).
  returned: once all APIs are verified
  type: str
  sample: "2026-11-23T06:00:52.678901+00:00"
login:
  description: What M(gateway_login) returns, empty before its end.
  returned: always, unless the arguments were refused
  type: dict
port:
  description: What M(container_health) returns, empty before its end.
  returned: always, unless the arguments were refused
  type: dict
handshakes:
  description: What M(ib_handshake) returns for each API, with its C(mode) and C(port).
  returned: always, unless the arguments were refused
  type: list
  elements: dict
progress:
  description: Lines to show the operator about this call.
  returned: always, unless the arguments were refused
  type: list
  elements: str
  sample: ["ready", "listening on 4002 in the container", "answering with server version 178"]
cursor:
  description: Where the next call goes on, if not RV(done). Its form is private to the module.
  returned: if RV(done) is V(false)
  type: str
"""

ARGUMENTS: dict[str, dict[str, Any]] = {
    "login_timeout": {"type": "float", "default": 600},
    "start_timeout": {"type": "float", "default": 300},
    "apis": {"type": "list", "elements": "dict", "required": True},
    "handshake_timeout": {"type": "float", "default": 10},
    "connected_within": {"type": "float"},
    **login_phase.ARGUMENTS,
    **port_phase.ARGUMENTS,
    **handshake_phase.ARGUMENTS,
    **waiting_module.CONTAINER_ARGUMENTS,
    **waiting_module.ARGUMENTS,
}


def check_arguments(params: dict[str, Any]) -> None:
    """Check what the argument spec cannot, before anything is waited for. Raises InvalidArgumentError."""
    numbers = ("login_timeout", "twofa_timeout", "appear_timeout", "start_timeout", "unhealthy_grace", "log_lines")
    waiting_module.check_arguments(params, numbers)
    login_phase.check_controller(params["login_controller"])
    if not params["apis"]:
        raise InvalidArgumentError("apis is empty; name at least one API")
    for api in params["apis"]:
        for name in ("mode", "host", "port", "native_port"):
            if not api.get(name):
                raise InvalidArgumentError(f"apis: an entry has no {name}; each needs mode, host, port and native_port")
        if api["mode"] not in ("paper", "live"):
            raise InvalidArgumentError(f"apis: the mode is {api['mode']}; it must be paper or live")
        for name in ("port", "native_port"):
            if not str(api[name]).isdecimal():
                raise InvalidArgumentError(f"apis: {name} is {api[name]}; it must be a number from 1 to 65535")
        gateway_verification.planned(params, api, container_port=None, cursor=None)


async def wait(params: dict[str, Any], check_mode: bool) -> Outcome:
    """Check the arguments and verify the gateway. Raises InvalidArgumentError."""
    check_arguments(params)
    return await (gateway_verification.present(params) if check_mode else gateway_verification.follow(params))


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    waiting_module.run_module(module, wait, package="gateway_watch", role="ib_gateway", import_error=IMPORT_ERROR)


if __name__ == "__main__":
    main()
