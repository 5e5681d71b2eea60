"""Whether a deploy may continue: the service is READY with its positions synced, or it has no open order.

`judge` decides from what is known at one moment and touches nothing; `read_unit` collects that, from systemd and over
the control socket. The Ansible module manager_wait calls them in turn.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from gateway_watch import systemd_unit
from gateway_watch.systemd_unit import UnitState
from position_manager.connection_state import Phase
from position_manager.refused import RefusedError
from position_manager.reports.status import Status
from position_manager.service.control import AskStatus, ControlError, NotRunningError, ask

PERSON_NEEDED = 78
"""The exit code after which systemd does not start the service again."""

ANSWER_SECONDS = 5.0

REMEDIES = {
    Phase.DOWN: "The gateway is away. See why: ansible-playbook verify.yml; the manager connects by itself once it is "
    "back.",
    Phase.SOCKET: "The gateway answers, and its session is not verified. See why: ansible-playbook verify.yml",
    Phase.SYNCING: "The gateway has not reported all positions, orders and executions. Check its log: "
    "ansible-playbook logs.yml -e service=gateway",
    Phase.LINK_LOST: "The gateway has lost IBKR's servers, and waits for them. Nothing is to be done but to wait.",
    Phase.AUTH_NEEDED: "Approve the gateway's login, then deploy again. See: ansible-playbook status.yml",
    Phase.MAINTENANCE: "The gateway restarts as planned. Deploy again in 15 minutes.",
    Phase.HALTED: "Fix the cause, then end the halt on the host: sudo position-manager resume",
}


class Goal(StrEnum):
    """What is waited for. ``idle``: no order of its own is open, or it does not run at all."""

    READY = "ready"
    IDLE = "idle"


@dataclass(frozen=True)
class Seen:
    """One check: the unit, and the service's own status, or why there is none. ``runs``: it listens at its socket."""

    unit: UnitState
    status: Status | None
    silence: str = ""
    runs: bool = True


@dataclass(frozen=True)
class Failure:
    """Why the wait is over without success: an id, one line, what to do."""

    kind: str
    text: str
    remedy: str


@dataclass(frozen=True)
class Verdict:
    """``line`` is the state, for the operator."""

    done: bool
    line: str
    failure: Failure | None = None


def open_orders(status: Status) -> tuple[str, ...]:
    """The open intents, one line each."""
    return tuple(
        f"{intent.side} {intent.quantity} {intent.label}, {intent.filled} filled, {intent.state} ({intent.rule})"
        for intent in status.intents
    )


def judge(goal: Goal, seen: Seen, waited: float, timeout: float) -> Verdict:
    """The result of one check after so many seconds of waiting."""
    return _ready(seen, waited, timeout) if goal is Goal.READY else _idle(seen, waited, timeout)


def _ready(seen: Seen, waited: float, timeout: float) -> Verdict:
    unit, status = seen.unit, seen.status
    if unit.failed or unit.sub == "auto-restart":
        return _ended(unit)
    if status is None:
        line = f"{unit.active}: {seen.silence}"
        text = f"{unit.name} is {unit.active} and does not report its status: {seen.silence}."
        remedy = f"Read its last lines; if it does not run, start it with: sudo systemctl start {unit.name}"
    elif status.phase != Phase.READY or status.last_sync is None:
        line = f"{status.phase}: {status.why}" if status.why else status.phase
        why = status.why or "it reports no cause"
        text = f"{unit.name} is not READY but {status.phase}, since {status.since:%H:%M:%S} UTC: {why}."
        remedy = REMEDIES.get(Phase(status.phase), REMEDIES[Phase.SYNCING])
    elif unit.active != "active":
        line = f"READY, but systemd was not notified yet ({unit.active})"
        text, remedy = f"{unit.name} is READY, and for systemd {unit.active}.", "Read its last lines, and restart it."
    else:
        return Verdict(True, _positions(status))
    if waited < timeout:
        return Verdict(False, line)
    return Verdict(True, line, Failure("not_ready", f"{text} Waited {waited:.0f} s.", remedy))


def _positions(status: Status) -> str:
    held = Counter(unit.verdict for unit in status.units)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(held.items()))
    return f"READY in mode {status.mode}, positions synced: {counts or 'none held'}"


def _ended(unit: UnitState) -> Verdict:
    if unit.cause is not None:
        text, remedy = f"{unit.name} cannot start: {unit.cause.text}.", unit.cause.remedy
        return Verdict(True, f"{unit.active}: cannot start", Failure("ended", text, remedy))
    reason = unit.status_text.rstrip(".") or "it reported nothing"
    text = f"{unit.name} ended with exit code {unit.exit_status} ({unit.result}): {reason}."
    if unit.exit_status == PERSON_NEEDED:
        remedy = "Fix what its last lines report, then deploy again: it does not start by itself any more."
    else:
        remedy = "Read its last lines; systemd starts it again."
    return Verdict(True, f"{unit.active}: ended", Failure("ended", text, remedy))


def _idle(seen: Seen, waited: float, timeout: float) -> Verdict:
    if seen.status is None:
        # A service that does not answer cannot be waited for, and a restart fixes it.
        return Verdict(True, f"nothing to wait for: {seen.silence}" if not seen.runs else f"not asked: {seen.silence}")
    orders = open_orders(seen.status)
    if not orders:
        return Verdict(True, "no order is open")
    line = f"{len(orders)} open: {'; '.join(orders)}"
    if waited < timeout:
        return Verdict(False, line)
    return Verdict(
        True,
        line,
        Failure(
            "open_orders",
            f"Still open after {waited:.0f} s: {'; '.join(orders)}. Nothing was restarted.",
            "Wait until they are filled or cancelled and deploy again, or deploy with -e "
            "position_manager_restart_with_open_intents=true: what came of them is then asked of the broker.",
        ),
    )


async def read_unit(unit: str, socket: Path) -> Seen:
    """The current state. Raises UnitError."""
    state = await systemd_unit.show(unit)
    try:
        answer = await asyncio.to_thread(ask, socket, AskStatus(), ANSWER_SECONDS)
    except NotRunningError as error:
        return Seen(state, None, str(error), runs=False)
    except (ControlError, RefusedError) as error:
        return Seen(state, None, str(error))
    return Seen(state, answer.status, "" if answer.status else "it answered without a status")
