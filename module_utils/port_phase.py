"""A wait for a container's health in the form that the modules container_health and gateway_verified return."""

from __future__ import annotations

import contextlib
import json
import math
import traceback
from typing import TYPE_CHECKING, Any

try:
    from gateway_watch import health, systemd_unit
    from gateway_watch.engine import NoSuchContainerError
except ImportError:
    IMPORT_ERROR: str | None = traceback.format_exc()
else:
    IMPORT_ERROR = None

if TYPE_CHECKING:
    from gateway_watch.engine import Engine, EngineError
    from gateway_watch.health import Step
    from gateway_watch.systemd_unit import UnitError


ARGUMENTS: dict[str, dict[str, Any]] = {"unhealthy_grace": {"type": "float", "default": 30}}
"""The options of the documentation fragment waiting.health."""


def as_result(step: Step, progress: list[str], monotonic: float) -> dict[str, Any]:
    """A step in the form that is returned."""
    container = step.container
    result: dict[str, Any] = {
        "changed": False,
        "done": step.done,
        "status": step.status,
        "waited": round(monotonic - step.memory.started, 1),
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


def error_result(fault: EngineError | UnitError) -> dict[str, Any]:
    """The result when neither the engine nor systemd could be queried."""
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


async def present_state(engine: Engine, params: dict[str, Any]) -> Step:
    """The present state of the container."""
    limits = health.Limits(math.inf, 0, math.inf)
    memory = await health.start(engine)
    unit = await systemd_unit.show(params["unit"]) if params["unit"] else None
    container = await engine.find(params["name"])
    memory = health.notice(memory, container, unit, limits, memory.started)
    return health.judge(params["name"], memory, container, unit, limits, memory.started)
