"""Whether a restart can keep the gateway's session, decided from what is known at one moment, without any I/O.

A soft restart is the gateway's own daily restart, requested now: the gateway stores its session in the settings
directory, ends, and continues the session at its next start. A full login ends the session instead.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from gateway_watch.session_calendar import SessionCalendar
from gateway_watch.signatures import LoginState
from host_service.statefile import write_json

BEFORE_SESSION_END = timedelta(minutes=10)
BEFORE_PLANNED = timedelta(minutes=5)
"""A session that ends so soon would not survive, and a planned restart so near would meet the requested one."""

END_SECONDS = 150.0
"""The gateway restarts at the next full minute; so long after the request it must have ended."""


SETTLE_SECONDS = 15.0
"""A command that comes while IBC still sets the gateway's configuration ends it with exit code 1100 (measured with
3.25.0: the dialog closes a moment after the configuration is reported as done)."""


def settles_in(ready: datetime | None, now: datetime) -> float:
    """How many seconds a command must wait, for a gateway that became ready at `ready`."""
    return max(0.0, SETTLE_SECONDS - (now - ready).total_seconds()) if ready is not None and ready <= now else 0.0


@dataclass(frozen=True)
class Facts:
    """What the decision depends on. Moments are aware.

    `enabled` is the setting; `commanded` whether the login controller has a command for it; `trading_mode` that of the
    settings and `container_mode` that of the running container, None without one; `server_runs` whether that container
    was created with the command server. `login` is the state that the supervisor reports, `connected` whether it
    reports the connection to IBKR as intact (None: not reported). `since` is the last full login, `credentials` the
    newest change of user name or password.
    """

    enabled: bool
    controller: str
    commanded: bool
    trading_mode: str
    running: bool
    container_mode: str | None
    server_runs: bool
    login: str | None
    connected: bool | None
    since: datetime | None
    credentials: datetime | None
    calendar: SessionCalendar


@dataclass(frozen=True)
class Plan:
    """Whether the restart keeps the session, and the reason if not."""

    soft: bool
    reason: str = ""


def unavailable(*, enabled: bool, controller: str, commanded: bool, trading_mode: str, daily: time | None) -> str:
    """Why no gateway with these settings can be restarted softly; empty if it can. It decides whether the command
    server is enabled at all."""
    if not enabled:
        return "ib_gateway_soft_restart is false"
    if not commanded:
        return f"the login controller {controller} has no command for a restart"
    if trading_mode == "both":
        return "with the trading mode both, the two gateways of the container would share one command port"
    if daily is None:
        return (
            "ib_gateway_auto_restart_time is empty, so nothing would reset the gateway's restart time, which the "
            "command sets"
        )
    return ""


def decide(facts: Facts, now: datetime) -> Plan:
    """Whether a restart at `now` keeps the session."""
    reason = unavailable(
        enabled=facts.enabled,
        controller=facts.controller,
        commanded=facts.commanded,
        trading_mode=facts.trading_mode,
        daily=facts.calendar.daily,
    )
    reason = reason or _not_ready(facts) or _changed(facts) or _ends(facts, now)
    return Plan(not reason, reason)


def _not_ready(facts: Facts) -> str:
    if not facts.running:
        return "the gateway does not run"
    if facts.login != LoginState.READY:
        return f"the gateway is not logged in and ready (its login is {facts.login or 'unknown'})"
    if facts.connected is False:
        return "the gateway has lost its connection to IBKR"
    if not facts.server_runs:
        return "the running container was started without the login controller's command server"
    return ""


def _changed(facts: Facts) -> str:
    if facts.container_mode != facts.trading_mode:
        return f"the trading mode changes from {facts.container_mode or 'unknown'} to {facts.trading_mode}"
    if facts.since is None:
        return "no login of this session is on record"
    if facts.credentials is not None and facts.credentials > facts.since:
        return "the user name or the password has changed since the last login"
    return ""


def _ends(facts: Facts, now: datetime) -> str:
    if facts.since is not None and facts.calendar.next_session_end(facts.since) - BEFORE_SESSION_END <= now:
        return "the week's session has ended or is about to end (Sunday 1:00 AM in New York)"
    planned = facts.calendar.next_restart(now)
    if planned is not None and planned[0] - now <= BEFORE_PLANNED:
        return f"a planned restart comes at {planned[0]:%H:%M} ({facts.calendar.zone.key})"
    return ""


class Kind(StrEnum):
    """What is requested: the gateway's restart in its container, or its end, after which the container is replaced."""

    RESTART = "restart"
    REPLACE = "replace"


@dataclass(frozen=True)
class Request:
    """A soft restart that was requested at `asked` and is in progress until the gateway is ready again, at the latest
    until `until`."""

    kind: Kind
    asked: datetime
    until: datetime

    def in_progress(self, now: datetime) -> bool:
        return self.asked <= now < self.until


def request_file(state_dir: Path) -> Path:
    return state_dir / "soft-restart.json"


def lock_file(state_dir: Path) -> Path:
    """Locked by the process that carries a request out: of two at the same time one is rejected."""
    return state_dir / "soft-restart.lock"


OUTCOMES = "soft_restarts"


def outcomes_file(state_dir: Path) -> Path:
    """How often each outcome has occurred (the counter `OUTCOMES`), counted by the process that holds the lock."""
    return state_dir / "soft-restart-outcomes.json"


def read_request(path: Path) -> Request | None:
    """The last request; None if there is none. A file that cannot be read is none: the supervisor then takes the
    restart for an unplanned one, which is reported."""
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
        moments = [datetime.fromisoformat(document[name]) for name in ("asked", "until")]
        if any(moment.tzinfo is None for moment in moments):
            return None
        return Request(Kind(document["kind"]), *moments)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def requested(state_dir: Path, now: datetime) -> Kind | None:
    """The kind of the soft restart that is in progress; None if there is none."""
    request = read_request(request_file(state_dir))
    return request.kind if request is not None and request.in_progress(now) else None


def write_request(path: Path, request: Request) -> None:
    """Replace the file. Raises OSError."""
    moments = {"asked": request.asked.isoformat(), "until": request.until.isoformat()}
    write_json(path, {"kind": request.kind.value, **moments})


class Outcome(StrEnum):
    """How a soft restart ended."""

    KEPT = "kept"
    REFUSED = "refused"
    """The controller refused the command, or did not acknowledge it: the gateway runs as before."""
    NOT_RESTARTED = "not_restarted"
    """Acknowledged, but the gateway has not ended in time."""
    NOT_REPLACED = "not_replaced"
    """The gateway runs in the container that was to be replaced, as after a planned restart that came first."""
    FULL_LOGIN = "full_login"
    """The gateway has started again and logs in anew."""
    NOT_READY = "not_ready"
    """The gateway has ended and is not ready in time."""

    @property
    def full_login_needed(self) -> bool:
        """Whether the gateway still runs with its old settings, so that a restart with a full login must follow."""
        return self in (Outcome.REFUSED, Outcome.NOT_RESTARTED, Outcome.NOT_REPLACED)


_ASKS = (LoginState.AWAITING_2FA, LoginState.FAILED, LoginState.RELOGIN_WAIT, "waiting")


@dataclass(frozen=True)
class Seen:
    """What is seen of a gateway that restarts: the state of its login (None while no supervisor reports one), when it
    last became ready, and its last full login."""

    login: str | None
    ready: datetime | None
    since: datetime | None


def conclude(
    before: Seen, seen: Seen, *, asked: datetime, left: bool, seconds: float, ready_seconds: float
) -> Outcome | None:
    """How the restart that was asked for `seconds` ago has ended; None while it goes on. `left`: the gateway has been
    seen in another state than ready."""
    if seen.ready is not None and seen.ready > asked:
        return Outcome.KEPT if seen.since == before.since else Outcome.FULL_LOGIN
    if left and seen.login in _ASKS:
        return Outcome.FULL_LOGIN
    if not left and seconds >= END_SECONDS:
        return Outcome.NOT_RESTARTED
    if seconds >= END_SECONDS + ready_seconds:
        return Outcome.NOT_READY
    return None
