"""Documentation that the waiting modules share; the arguments are in module_utils/waiting_module.py."""

from __future__ import annotations


class ModuleDocFragment:
    """The fragments waiting and waiting.container."""

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
"""
