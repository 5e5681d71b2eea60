"""A wait for a gateway's login in the form that the modules gateway_login and gateway_verified return."""

from __future__ import annotations

import json
import time
import traceback
from typing import TYPE_CHECKING, Any

from ansible.module_utils.waiting_module import InvalidArgumentError

try:
    from gateway_watch.login_wait import LoginOptions, LoginWait
    from gateway_watch.signatures import SignatureFileError, load
except ImportError:
    IMPORT_ERROR: str | None = traceback.format_exc()
else:
    IMPORT_ERROR = None

if TYPE_CHECKING:
    from gateway_watch.engine import Engine, EngineError
    from gateway_watch.health import Limits
    from gateway_watch.login_wait import LoginMemory, LoginStep
    from gateway_watch.systemd_unit import UnitError


ARGUMENTS: dict[str, dict[str, Any]] = {
    "twofa_timeout": {"type": "float", "default": 180},
    "totp": {"type": "bool", "default": False},
    "trading_mode": {"type": "str", "choices": ["paper", "live", "both"]},
    "login_controller": {"type": "str", "default": "ibc"},
}
"""The options of the documentation fragment waiting.login."""


def check_controller(name: str) -> None:
    """Raises InvalidArgumentError for a login controller without signatures."""
    try:
        load(name)
    except SignatureFileError as error:
        raise InvalidArgumentError(f"login_controller: {error}") from error


def login_wait(engine: Engine, params: dict[str, Any], limits: Limits, memory: LoginMemory) -> LoginWait:
    """The wait that these arguments of a module describe."""
    options = LoginOptions(
        trading_mode=params["trading_mode"],
        twofa_timeout=params["twofa_timeout"],
        log_lines=params["log_lines"],
        controller=params["login_controller"],
        # A host with an older release does not know it, and has no codes.
        **({"totp": True} if params["totp"] else {}),
    )
    return LoginWait(engine, params["name"], limits, options, memory, unit=params["unit"])


def warnings_of(step: LoginStep) -> list[str]:
    """What the operator is warned of once the login is ready or has failed."""
    return [f"{cause.text} {cause.remedy}" for cause in step.snapshot.warnings] if step.done else []


def as_result(step: LoginStep, progress: list[str]) -> dict[str, Any]:
    """A step in the form that is returned."""
    container, snapshot = step.container, step.snapshot
    problem = step.failure or snapshot.cause
    started = container.started_at if container is not None and container.has_started else None
    result: dict[str, Any] = {
        "changed": False,
        "done": step.done,
        "state": str(snapshot.state) if container is not None else "absent",
        "text": snapshot.text,
        "cause": "",
        "remedy": problem.remedy if problem else "",
        "container_id": container.id if container is not None else "",
        "waited": round(time.monotonic() - step.memory.container.started, 1),
        "attempts": snapshot.attempts,
        "events": [
            {
                "time": change.time.isoformat(),
                "mode": change.mode,
                "state": str(change.state),
                "cause": change.cause.id if change.cause else "",
                "text": change.text,
            }
            for change in step.changes
        ],
        "log_lines": list(step.lines),
        "progress": progress,
    }
    if step.failure is not None:
        result["cause"] = step.failure.kind
    elif snapshot.cause is not None:
        result["cause"] = snapshot.cause.id
    if started is not None:
        result["started_at"] = started.isoformat()
        result["seconds_since_start"] = round((step.time - started).total_seconds(), 1)
    if snapshot.twofa_seconds_left is not None:
        result["twofa_seconds_left"] = snapshot.twofa_seconds_left
    if not step.done:
        result["cursor"] = json.dumps(step.memory.to_dict())
    return result


def error_result(fault: EngineError | UnitError) -> dict[str, Any]:
    """The result when neither the engine nor systemd could be queried."""
    return {
        "done": True,
        "state": "absent",
        "text": str(fault),
        "cause": fault.kind,
        "remedy": fault.remedy,
        "container_id": "",
        "waited": 0.0,
        "attempts": 0,
        "events": [],
        "log_lines": [],
        "progress": [],
    }
