#!/usr/bin/python
"""Ansible module: verify the IB API of a gateway by a real connection."""

from __future__ import annotations

from typing import Any

from ansible.module_utils import handshake_phase, waiting_module
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.handshake_phase import (
    IMPORT_ERROR,
    Plan,
    as_result,
    attempts_of,
    failure_message,
    planned,
)
from ansible.module_utils.waiting_module import Outcome

DOCUMENTATION = r"""
module: ib_handshake
short_description: Verify that an IB Gateway's API accepts a client
description:
  - Connects to the API of an IB Gateway as a trading program does, with C(ib_insync), and disconnects again.
    It never sends an order.
  - Before each attempt the raw version handshake probes the port, so that a port behind which nothing answers is
    recognised within two seconds. Between two attempts the probe goes on each second, and the next attempt starts as
    soon as the gateway answers.
  - Every attempt is returned with its cause. A client ID that is in use is answered with the next ID at once. What
    waiting cannot resolve (accounts of the wrong kind, accounts that are not expected, a read-only API where orders are
    needed) ends the task at the first attempt.
  - Runs on the host that publishes the port, with the interpreter of the project's release.
author: ib-gateway-ansible
extends_documentation_fragment: [waiting, waiting.handshake]
requirements:
  - C(ib_connection) and C(ib_insync), installed by the role C(ib_gateway); set C(ansible_python_interpreter) of the
    task to C(/opt/ib-gateway-ansible/current/bin/python)
  - Linux, Python 3.11 to 3.13
options:
  host:
    description: Where the API is published.
    type: str
    default: 127.0.0.1
  port:
    description: The published port, C(4002) for paper and C(4001) for live unless the role is configured otherwise.
    type: int
    required: true
  timeout:
    description: Seconds one attempt may take in all.
    type: float
    default: 10
  trading_mode:
    description:
      - The kind that every account must be of. Numbers of paper accounts start with C(D), those of live ones do not.
    type: str
    choices: [paper, live]
    required: true
  container_healthy:
    description:
      - Whether the gateway's container is known to be healthy. A port that is silent although the gateway listens in
        its container leads, as a rule, to the gateway's native port, and the cause is named so.
    type: bool
    default: false
  container_port:
    description:
      - The port inside the container that O(port) leads to, if it is known. It settles whether silence comes from a
        published native port (4001, 4002) or from a dead API behind the relay (4003, 4004), and takes precedence over
        O(container_healthy).
    type: int
  until:
    description:
      - V(done) runs all attempts in one call.
      - V(change) returns after each attempt. As long as RV(done) is V(false), call again with O(cursor) set to
        RV(cursor). The action plugin of the same name does so at a terminal, to show each attempt as it ends.
attributes:
  check_mode:
    support: full
    description: Changes nothing, so it does the same in check mode.
  diff_mode:
    support: none
    description: Changes nothing, so there is no difference to show.
seealso:
  - module: container_health
  - module: gateway_login
notes:
  - Messages show account numbers masked; RV(accounts) and RV(attempts) hold them in full.
"""

EXAMPLES = r"""
- name: Verify the paper API
  ib_handshake:
    port: 4002
    trading_mode: paper
  vars:
    ansible_python_interpreter: /opt/ib-gateway-ansible/current/bin/python

- name: Verify a live API for reading, held to one account
  ib_handshake:
    port: 4001
    trading_mode: live
    expected_accounts:
      - U1234567
    orders_needed: false

- name: Check once, without waiting for a start
  ib_handshake:
    port: 4002
    trading_mode: paper
    retries: 1
    timeout: 5
  register: api
  failed_when: false
"""

RETURN = r"""
done:
  description: Whether the outcome is final. V(false) only with O(until=change).
  returned: always, unless the arguments were refused
  type: bool
verified:
  description: Whether the last attempt succeeded.
  returned: always, unless the arguments were refused
  type: bool
cause:
  description: Why the last attempt failed, empty if it succeeded.
  returned: always, unless the arguments were refused
  type: str
  sample: silent_before_version
detail:
  description: What exactly the last attempt met.
  returned: always, unless the arguments were refused
  type: str
  sample: server version 178, next order id 1
remedy:
  description: The remedy of the cause, empty if there is none.
  returned: always, unless the arguments were refused
  type: str
server_version:
  description: The server version of the text protocol that the gateway answered the probe with.
  returned: if the gateway answered
  type: int
  sample: 178
accounts:
  description: The accounts that the session holds.
  returned: always, unless the arguments were refused
  type: list
  elements: str
  sample: [DU1234567]
next_order_id:
  description: The next valid order ID for RV(client_id).
  returned: if the gateway sent it
  type: int
  sample: 1
clock_difference:
  description: The gateway's clock minus the host's in seconds, exact to one second. Positive if the gateway is ahead.
  returned: if the gateway answered with a time in a zone that is known
  type: float
  sample: 0.0
client_id:
  description: The client ID of the last attempt.
  returned: always, unless the arguments were refused
  type: int
  sample: 9000
read_only:
  description: Whether the API refuses orders.
  returned: if O(orders_needed=true) and the session came so far
  type: bool
elapsed:
  description: Seconds since the first attempt started, the delays included.
  returned: always, unless the arguments were refused
  type: float
  sample: 1.042
attempts:
  description: Every attempt so far, the first one first, also on failure.
  returned: always, unless the arguments were refused
  type: list
  elements: dict
  contains:
    number:
      description: Counts from 1.
      type: int
    cause:
      description: Why it failed, empty if it succeeded.
      type: str
    detail:
      description: What exactly it met.
      type: str
    elapsed:
      description: Seconds it took.
      type: float
    client_id:
      description: The client ID it used.
      type: int
    server_version:
      description: As RV(server_version), or null.
      type: int
    accounts:
      description: The accounts, as far as it learned them.
      type: list
      elements: str
    next_order_id:
      description: As RV(next_order_id), or null.
      type: int
    clock_difference:
      description: As RV(clock_difference), or null.
      type: float
    read_only:
      description: As RV(read_only), or null.
      type: bool
progress:
  description: Lines to show the operator about the attempts of this call.
  returned: always, unless the arguments were refused
  type: list
  elements: str
  sample: ["attempt 1/5 failed because nothing listens on the port (127.0.0.1:4002 refused the connection)"]
cursor:
  description: Where the next call goes on, if not RV(done). Its form is private to the module.
  returned: if RV(done) is V(false)
  type: str
"""

ARGUMENTS: dict[str, dict[str, Any]] = {
    "host": {"type": "str", "default": "127.0.0.1"},
    "port": {"type": "int", "required": True},
    "timeout": {"type": "float", "default": 10},
    "trading_mode": {"type": "str", "choices": ["paper", "live"], "required": True},
    "container_healthy": {"type": "bool", "default": False},
    "container_port": {"type": "int"},
    **handshake_phase.ARGUMENTS,
    **waiting_module.ARGUMENTS,
}


async def follow(plan: Plan, *, one_change: bool) -> Outcome:
    """Run all attempts, or one of them."""
    progress: list[str] = []
    async for attempt, lines in attempts_of(plan):  # noqa: B007 - the last one is used after the loop
        progress += lines
        if one_change:
            break
    result = as_result(plan, attempt, progress)
    if attempt.next is not None:
        return Outcome(result | {"cursor": plan.cursor(attempt.next)})
    return Outcome(result, failure_message(plan, attempt, result["elapsed"]) if attempt.result.cause else None)


async def wait(params: dict[str, Any], _check_mode: bool) -> Outcome:
    """Check the arguments and verify the API. Raises InvalidArgumentError."""
    return await follow(planned(params), one_change=params["until"] == "change")


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    waiting_module.run_module(module, wait, package="ib_connection", role="ib_gateway", import_error=IMPORT_ERROR)


if __name__ == "__main__":
    main()
