"""What the modules that wait share: arguments, checks, the cursor, and how their task ends.

Such a module waits in one call (``until: done``), or returns at each change with a cursor for the next call
(``until: change``). The action plugin operator_progress calls it in the second way at a terminal.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

Memory = TypeVar("Memory")

RELEASE_PYTHON = "/opt/ib-gateway-ansible/current/bin/python"

ARGUMENTS: dict[str, dict[str, Any]] = {
    "until": {"type": "str", "choices": ["done", "change"], "default": "done"},
    "cursor": {"type": "str"},
}
"""The options of the documentation fragment waiting."""

CONTAINER_ARGUMENTS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "appear_timeout": {"type": "float", "default": 0},
    "unit": {"type": "str"},
    "log_lines": {"type": "int", "default": 15},
}
"""The options of the documentation fragment waiting.container."""


class InvalidArgumentError(ValueError):
    """An argument that its type allows and the module does not; the message is for the operator."""


class Failure(Protocol):
    """Why a wait failed: a failure, or an exception, of the packages in the release."""

    @property
    def kind(self) -> str: ...

    @property
    def remedy(self) -> str: ...


class Outcome(NamedTuple):
    """How a call ends: the module's result, the error message if it failed, and warnings."""

    result: dict[str, Any]
    error: str | None = None
    warnings: tuple[str, ...] = ()


def check_arguments(params: Mapping[str, Any], not_negative: tuple[str, ...] = ()) -> None:
    """Check what the argument spec cannot. Raises InvalidArgumentError."""
    for name in not_negative:
        if params[name] < 0:
            raise InvalidArgumentError(f"{name} is {params[name]}; it must be 0 or more")
    if params["cursor"] is not None and params["until"] != "change":
        raise InvalidArgumentError("cursor requires until=change; leave one of them out")


def read_cursor(text: str, read: Callable[[Any], Memory]) -> Memory:
    """The memory of the previous call. Raises InvalidArgumentError for any other text."""
    try:
        return read(json.loads(text))
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidArgumentError(
            "cursor is not one that this module returned; call without it to start again"
        ) from error


def failure_message(text: str, failure: Failure) -> str:
    """The task's error message."""
    return f"{text} [{failure.kind}] Remedy: {failure.remedy}"


def run_module(
    module: Any,
    wait: Callable[[dict[str, Any], bool], Coroutine[Any, Any, Outcome]],
    *,
    package: str,
    role: str,
    import_error: str | None,
) -> None:
    """Run a module: `wait` gets the arguments and whether it is check mode, and may raise InvalidArgumentError.

    `import_error` is the traceback of the import of `package`, which `role` installs on the host.
    """
    if import_error is not None:
        module.fail_json(
            msg=f"The Python interpreter {sys.executable} has no {package}. The role {role} installs it: set "
            f"ansible_python_interpreter of this task to {RELEASE_PYTHON}.",
            exception=import_error,
        )
    try:
        outcome = asyncio.run(wait(module.params, module.check_mode))
    except InvalidArgumentError as error:
        module.fail_json(msg=str(error))
    for warning in outcome.warnings:
        module.warn(warning)
    if outcome.error is not None:
        module.fail_json(msg=outcome.error, **outcome.result)
    module.exit_json(**outcome.result)
