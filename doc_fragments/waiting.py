"""Documentation that the waiting modules share; the arguments are in module_utils: waiting_module.py and *_phase.py.

Ansible has no such fragments for the RETURN section.
"""

from __future__ import annotations


class ModuleDocFragment:
    """The fragments waiting, waiting.container, waiting.login, waiting.health and waiting.handshake."""

    DOCUMENTATION = r"""
options:
  until:
    description:
      - V(done) waits in one call.
      - V(change) returns at each change. As long as RV(done) is V(false), call again with O(cursor) set to
        RV(cursor). The action plugin of the same name does so at a terminal, to show what happens meanwhile.
    type: str
    choices: [done, change]
    default: done
  cursor:
    description: What the previous call returned in RV(cursor). Requires O(until=change).
    type: str
attributes:
  check_mode:
    support: full
    description: Reports the present state without waiting, and does not fail because of it.
  diff_mode:
    support: none
    description: Changes nothing, so there is no difference to show.
"""

    CONTAINER = r"""
requirements:
  - C(gateway_watch), installed by the role C(ib_gateway); set C(ansible_python_interpreter) of the task to
    C(/opt/ib-gateway-ansible/current/bin/python)
  - Linux, Python 3.11 to 3.13
  - the C(docker) command line
options:
  name:
    description: The container's name.
    type: str
    required: true
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
  log_lines:
    description: How many of the container's last log lines are returned on failure.
    type: int
    default: 15
notes:
  - Runs on the Docker host, with the interpreter of the project's release. It uses C(DOCKER_HOST) of the task's
    environment, if set.
  - User names in the container's environment are masked in whatever is returned of the log.
"""

    LOGIN = r"""
options:
  twofa_timeout:
    description: Seconds that the 2FA dialog is open. The countdown is computed from the time of its line in the log.
    type: float
    default: 180
  totp:
    description: Whether the watch on the host answers the second factor itself, so that nobody is asked to approve.
    type: bool
    default: false
  trading_mode:
    description:
      - The logins to expect. With V(both), all is ready when both logins are. Without it, C(TRADING_MODE) of the
        container is taken.
    type: str
    choices: [paper, live, both]
  login_controller:
    description: The login robot in the image, whose signatures are to be used.
    type: str
    default: ibc
"""

    HEALTH = r"""
options:
  unhealthy_grace:
    description: Seconds that the container may be unhealthy before the task fails.
    type: float
    default: 30
"""

    HANDSHAKE = r"""
options:
  client_id:
    description:
      - The client ID of the first attempt. It must be V(1) or more, because ID V(0) takes over orders placed by hand.
    type: int
    default: 9000
  expected_accounts:
    description: The accounts that the session must hold, exactly. An empty list accepts any account of the right kind.
    type: list
    elements: str
    default: []
  orders_needed:
    description:
      - Whether the API must allow orders. If V(false), open and completed orders are not asked for, and a read-only
        API is good enough.
    type: bool
    default: true
  retries:
    description: Attempts at an API in all, the first one included.
    type: int
    default: 5
  delay:
    description: Seconds from the end of an attempt until the next one starts at the latest.
    type: float
    default: 5
"""
