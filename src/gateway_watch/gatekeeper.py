"""The login gate of one gateway: its files, and what is shown and sent about a hold.

`login-gate.json` is written by the supervisor only, `login-asked.json` by the command `approve-now` only, so neither
overwrites the other. The supervisor removes the latter after a login.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from gateway_watch import soft_restart
from gateway_watch.instance import Instance
from gateway_watch.login import Change, LoginState, modes_of
from gateway_watch.login_gate import SESSION_YIELDED, Asked, Gate, Hold, HoldKind, Rules, released
from gateway_watch.session import Session
from host_service.statefile import write_json
from notifications.message import Message, Severity

POLL_SECONDS = 1.0
"""How soon a waiting supervisor notices a person's request."""

_ASKS_AGAIN = (LoginState.RELOGIN_WAIT, LoginState.RESTARTING, LoginState.STARTING)
_IN = (LoginState.LOGGED_IN, LoginState.READY)


def gate_file(instance: Instance) -> Path:
    return instance.state_dir / "login-gate.json"


def asked_file(instance: Instance) -> Path:
    return instance.state_dir / "login-asked.json"


def read_gate(path: Path) -> Gate:
    """The gate as last written. A missing or damaged file is an open gate: it limits messages, not orders."""
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
        held = document["hold"]
        until = held["until"] if held else None
        hold = held and Hold(
            HoldKind(held["kind"]),
            datetime.fromisoformat(held["since"]),
            datetime.fromisoformat(until) if until else None,
        )
        return Gate(tuple(datetime.fromisoformat(push) for push in document["pushes"]), hold)
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return Gate()


def write_gate(path: Path, gate: Gate) -> None:
    """Replace the file. Raises OSError."""
    hold = gate.hold
    held = hold and {
        "kind": hold.kind.value,
        "since": hold.since.isoformat(),
        "until": hold.until.isoformat() if hold.until else None,
    }
    write_json(path, {"pushes": [push.isoformat() for push in gate.pushes], "hold": held})


def read_asked(path: Path) -> Asked | None:
    """When a person last requested a login; None if nobody has, or if the file cannot be read."""
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
        return Asked(datetime.fromisoformat(document["at"]), document["yielded"] is True)
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def ask(instance: Instance, now: datetime, *, yielded: bool) -> Hold | None:
    """Request the login; return the hold that this ends, None if there is none. Raises OSError."""
    asked = Asked(now, yielded)
    write_json(asked_file(instance), {"at": now.isoformat(), "yielded": yielded})
    hold = read_gate(gate_file(instance)).hold
    return hold if hold is not None and released(hold, asked, now) else None


def describe(hold: Hold, instance: Instance) -> str:
    """A hold in one line, with the command that ends it."""
    until = f" at {_clock(hold.until, instance)}" if hold.until else ""
    command = f"gateway-watch approve-now --instance {instance.name}"
    match hold.kind:
        case HoldKind.APPROVAL:
            again = f"The next request comes{until}. To get it sooner" if until else "When you are ready to approve"
            return f"Waiting for a person: nobody approved the login. {again}: {command}"
        case HoldKind.QUIET_HOURS:
            return f"Quiet hours: no approval is requested before {until[4:]}. To get the request now: {command}"
        case HoldKind.YIELDED:
            return (
                f"The user is logged in elsewhere, and that session is left alone. The gateway returns{until}. "
                f"To return now, which ends the other session: {command}"
            )


def message(hold: Hold, instance: Instance) -> Message:
    """What people are sent, once for each hold."""
    titles = {
        HoldKind.APPROVAL: f"{instance.name}: approve when you are ready",
        HoldKind.QUIET_HOURS: f"{instance.name}: approve when you are ready (quiet hours)",
        HoldKind.YIELDED: f"{instance.name}: the user is logged in elsewhere, the gateway waits",
    }
    return Message(
        f"login_held_{hold.kind.value}",
        Severity.WARNING if hold.kind is HoldKind.YIELDED else Severity.ALERT,
        titles[hold.kind],
        hold.since,
        (describe(hold, instance), "From your own machine: ansible-playbook approve-now.yml"),
        (("Instance", instance.name), ("Mode", instance.trading_mode)),
        dedupe_key=f"gateway/held/{hold.kind.value}/{hold.since:%Y-%m-%dT%H:%M:%S}",
    )


class Gatekeeper:
    """Follows the logins of a run and holds them where the rules require it."""

    def __init__(self, instance: Instance, now: Callable[[], datetime], say: Callable[[str], None]) -> None:
        self._instance = instance
        self._now = now
        self._say = say
        # An authenticator app's code needs no approval on a phone at night.
        quiet = None if instance.totp else instance.twofa_quiet_hours
        self._rules = Rules(instance.twofa_pushes_per_hour, quiet, timedelta(minutes=instance.yield_minutes))
        self._gate = read_gate(gate_file(instance))
        self._awaiting: set[str] = set()
        self._requested: set[str] = set()
        self._missing = set(modes_of(instance.trading_mode))

    @property
    def hold(self) -> Hold | None:
        return self._gate.hold

    def at_start(self, session: Session) -> tuple[Hold | None, bool]:
        """The hold that forbids a start now, and whether it is a new one."""
        before = self._gate.hold
        hold = self._gate.at_start(
            self._rules,
            self._requested_start(),
            self._now(),
            last_cause=session.last_cause,
            twofa=session.twofa is True,
        )
        if hold is None and before is not None:
            self._store_gate(Gate())
        elif hold is not None and hold != before:
            self._store_gate(Gate(self._gate.pushes, hold))
        return hold, hold is not None and hold != before

    def over(self) -> str | None:
        """Why the hold is over; None while it lasts."""
        hold = self._gate.hold
        why = "there is none" if hold is None else released(hold, self._asked(), self._now())
        if why is not None:
            self._store_gate(Gate())
        return why

    def on_change(self, change: Change) -> Hold | None:
        """The hold that ends this run, if the gateway is about to request an approval that must not be requested."""
        if change.cause is not None and change.cause.id == SESSION_YIELDED:
            # An earlier request is not a request to take the session back.
            self._forget_request()
        if change.state is LoginState.AWAITING_2FA:
            if change.mode not in self._awaiting:
                self._awaiting.add(change.mode)
                self._requested.add(change.mode)
                self._store_gate(self._gate.pushed(self._now()))
            return None
        # A dialog that flickers, or a device that is chosen, is no further request.
        if change.state is not LoginState.LOGGING_IN:
            self._awaiting.discard(change.mode)
        if change.state in _IN:
            self._missing.discard(change.mode)
            # Of two logins the one without a second factor answers no request of the other.
            if change.mode in self._requested or not self._missing:
                self._logged_in()
        if change.state not in _ASKS_AGAIN:
            return None
        hold = self._gate.before_next_push(self._rules, self._asked(), self._now())
        if hold is not None:
            self._store_gate(Gate(self._gate.pushes, hold))
        return hold

    def _requested_start(self) -> Asked | None:
        """What a person has requested last, a soft restart too: a container that starts for it continues its session,
        also in the quiet hours."""
        asked = self._asked()
        request = soft_restart.read_request(soft_restart.request_file(self._instance.state_dir))
        if request is None or not request.in_progress(self._now()):
            return asked
        return asked if asked is not None and asked.at >= request.asked else Asked(request.asked, yielded=False)

    def _asked(self) -> Asked | None:
        return read_asked(asked_file(self._instance))

    def _logged_in(self) -> None:
        """A login has been reached: the request is done, and does not apply later."""
        if self._gate != Gate():
            self._store_gate(self._gate.logged_in())
        self._forget_request()

    def _forget_request(self) -> None:
        try:
            asked_file(self._instance).unlink(missing_ok=True)
        except OSError as error:
            self._say(f"gateway-watch: {asked_file(self._instance)} could not be removed: {error}")

    def _store_gate(self, gate: Gate) -> None:
        self._gate = gate
        try:
            write_gate(gate_file(self._instance), gate)
        except OSError as error:
            self._say(f"gateway-watch: the login gate could not be written, a restart forgets it: {error}")


def _clock(moment: datetime | None, instance: Instance) -> str:
    return "" if moment is None else f"{moment.astimezone(instance.timezone):%H:%M} ({instance.timezone.key})"
