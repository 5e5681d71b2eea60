"""Attempts at a verified connection in the form that the modules ib_handshake and gateway_verified return."""

from __future__ import annotations

import json
import logging
import time
import traceback
from collections.abc import AsyncGenerator
from dataclasses import asdict, dataclass
from typing import Any

from ansible.module_utils import waiting_module
from ansible.module_utils.waiting_module import InvalidArgumentError

try:
    from ib_connection.accounts import AccountKind, masked_list
    from ib_connection.handshake import Target
    from ib_connection.retry import Attempt, Next, RetryPolicy, attempts, first
except ImportError:
    IMPORT_ERROR: str | None = traceback.format_exc()
else:
    IMPORT_ERROR = None


ARGUMENTS: dict[str, dict[str, Any]] = {
    "client_id": {"type": "int", "default": 9000},
    "expected_accounts": {"type": "list", "elements": "str", "default": []},
    "orders_needed": {"type": "bool", "default": True},
    "retries": {"type": "int", "default": 5},
    "delay": {"type": "float", "default": 5},
}
"""The options of the documentation fragment waiting.handshake."""


def system_clock() -> float:
    """Seconds that mean the same in every process of the host, also in the next call."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def check_arguments(params: dict[str, Any]) -> None:
    """Check what the argument spec cannot. Raises InvalidArgumentError."""
    if not 1 <= params["port"] <= 65535:
        raise InvalidArgumentError(f"port is {params['port']}; it must be from 1 to 65535")
    if params["client_id"] < 1:
        raise InvalidArgumentError(
            f"client_id is {params['client_id']}; it must be 1 or more (0 would take over orders placed by hand)"
        )
    waiting_module.check_arguments(params)


def as_report(attempt: Attempt) -> dict[str, Any]:
    """An attempt in the form that is returned."""
    result = attempt.result
    return {
        "number": attempt.number,
        "cause": result.cause.id if result.cause else "",
        "detail": result.detail,
        "elapsed": round(result.elapsed, 3),
        "client_id": result.client_id,
        "server_version": result.server_version,
        "accounts": list(result.accounts),
        "next_order_id": result.next_order_id,
        "clock_difference": result.clock_difference,
        "read_only": result.read_only,
    }


def as_lines(attempt: Attempt, policy: RetryPolicy) -> list[str]:
    """An attempt as the operator sees it."""
    result = attempt.result
    name = f"attempt {attempt.number}/{policy.retries}"
    if result.cause is None:
        return [
            f"answering with server version {result.server_version}",
            f"verified in {name}: {masked_list(result.accounts)}, next order id {result.next_order_id}",
        ]
    return [f"{name} failed because {result.cause.text} ({result.detail})"]


def failure_message(plan: Plan, attempt: Attempt, elapsed: float) -> str:
    """The one error: what is wrong, what was tried, what to do."""
    cause = attempt.result.cause
    assert cause is not None  # noqa: S101 - called for a failed attempt only
    count = "1 attempt" if len(plan.reports) == 1 else f"{len(plan.reports)} attempts"
    before = [report["cause"] for report in plan.reports[:-1]]
    history = f", before it: {', '.join(before)}" if set(before) - {cause.id} else ""
    return (
        f"The API on {plan.target.host}:{plan.target.port} is not verified: {cause.text} [{cause.id}]. "
        f"{attempt.result.detail}. "
        f"Tried: {count} in {elapsed:.1f} s{history}. Remedy: {cause.remedy}"
    )


@dataclass
class Plan:
    """What a call has to do: ``started`` when the first attempt started, ``reports`` the attempts of earlier calls,
    ``coming`` the next attempt."""

    target: Target
    policy: RetryPolicy
    started: float
    reports: list[dict[str, Any]]
    coming: Next

    def cursor(self, following: Next) -> str:
        """Where the next call goes on; read again by ``planned``."""
        return json.dumps({"started": self.started, "attempts": self.reports, "next": asdict(following)})


def progress_of(state: Any) -> tuple[float, list[dict[str, Any]], Next]:
    """A cursor's content, as ``Plan.cursor`` writes it."""
    return float(state["started"]), list(state["attempts"]), Next(**state["next"])


def planned(params: dict[str, Any]) -> Plan:
    """The plan for these arguments. Raises InvalidArgumentError."""
    check_arguments(params)
    try:
        policy = RetryPolicy(retries=params["retries"], delay=params["delay"], timeout=params["timeout"])
    except ValueError as error:
        raise InvalidArgumentError(str(error)) from error
    now = system_clock()
    plan = Plan(
        Target(
            host=params["host"],
            port=params["port"],
            mode=AccountKind(params["trading_mode"]),
            expected_accounts=tuple(params["expected_accounts"]),
            orders_needed=params["orders_needed"],
            container_healthy=params["container_healthy"],
            container_port=params["container_port"],
        ),
        policy,
        started=now,
        reports=[],
        coming=first(params["client_id"], now),
    )
    if params["cursor"] is not None:
        plan.started, plan.reports, plan.coming = waiting_module.read_cursor(params["cursor"], progress_of)
    return plan


async def attempts_of(plan: Plan) -> AsyncGenerator[tuple[Attempt, list[str]], None]:
    """Run the attempts that are left, and yield each as it ends, with its lines for the operator."""
    # What ib_insync logs would reach the module's output; what matters of it is in the result.
    logging.getLogger("ib_insync").addHandler(logging.NullHandler())
    logging.getLogger("ib_insync").propagate = False
    async for attempt in attempts(plan.target, plan.policy, plan.coming, clock=system_clock):
        plan.reports.append(as_report(attempt))
        if attempt.next is not None:
            plan.coming = attempt.next
        yield attempt, as_lines(attempt, plan.policy)


def as_result(plan: Plan, attempt: Attempt, progress: list[str]) -> dict[str, Any]:
    """The attempts so far, of which this is the last one, in the form that is returned."""
    cause = attempt.result.cause
    last = {name: value for name, value in plan.reports[-1].items() if name != "number" and value is not None}
    return last | {
        "changed": False,
        "done": attempt.next is None,
        "verified": cause is None,
        "remedy": cause.remedy if cause else "",
        "elapsed": round(system_clock() - plan.started, 3),
        "attempts": plan.reports,
        "progress": progress,
    }
