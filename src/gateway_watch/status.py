"""The status of one gateway: collected once, shown as JSON or on one screen with the next step at its end."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from textwrap import wrap
from typing import Any

from gateway_watch import gatekeeper, gateway_versions, moments, systemd_unit, tiers
from gateway_watch.breaker import Breaker, BreakerFile, BreakerFileError
from gateway_watch.engine import Container, Engine, EngineError, Version
from gateway_watch.gateway_versions import Support
from gateway_watch.health import Limits, Memory
from gateway_watch.instance import Instance
from gateway_watch.login import LoginState, Snapshot
from gateway_watch.login_wait import LoginMemory, LoginOptions, LoginWait
from gateway_watch.run_files import remembered_session
from gateway_watch.session import Session
from gateway_watch.session_calendar import Kind, SessionCalendar
from gateway_watch.systemd_unit import UnitError, UnitState
from gateway_watch.tiers import Tier
from host_service import backup_record as record
from host_service import firing_alerts
from host_service.backup_record import Overview
from host_service.firing_alerts import FiringAlerts
from host_service.release import release
from host_upgrade import store

WIDTH = 100
LABEL = 12


@dataclass(frozen=True)
class Status:
    """Everything known at `at` (UTC). None means not available; `faults` give the reason."""

    name: str
    unit_name: str
    trading_mode: str
    at: datetime
    uptime_seconds: float | None
    engine: Version | None
    unit: UnitState | None
    container: Container | None
    image: str
    login: Snapshot | None
    breaker: Breaker | None
    tiers: tuple[Tier, ...]
    session: Session
    calendar: SessionCalendar
    release: str
    faults: tuple[str, ...]
    totp: bool = False
    """Whether gateway-watch answers the second factor itself."""
    support: Support | None = None
    """The end of the gateway's version, once it is near."""
    support_matters: bool = True
    """Whether a version that has ended is a fault."""
    last_upgrade: str | None = None
    """The last upgrade of the host in one line; None if there was none."""
    hold: str | None = None
    """Why no login is tried, with the command that ends this; None while nothing is held."""
    backup: Overview | None = None
    """The last backup of the host."""
    alerts: FiringAlerts | None = None
    """The alerts of the host that fire; None without the monitoring."""

    @property
    def next_approval(self) -> datetime | None:
        """When a person must approve a login, as planned; None if none must, or if it is not known yet."""
        return self.calendar.next_full_login(self.at).astimezone(self.calendar.zone) if self.session.twofa else None

    @property
    def session_end(self) -> datetime:
        """When IBKR ends the week's session."""
        return self.calendar.next_session_end(self.at)

    @property
    def next_restart(self) -> tuple[datetime, Kind] | None:
        """The next planned restart, and which kind it is."""
        return self.calendar.next_restart(self.at)

    @property
    def ok(self) -> bool:
        """Whether every tier that was asked is reached, and IB still lets the version log in."""
        return all(tier.ok is not False for tier in self.tiers) and not self.image_ended

    @property
    def image_ended(self) -> bool:
        """Whether IB does not let the image's version log in any more, and nobody has allowed it all the same."""
        return self.support is not None and self.support.over and self.support_matters


async def collect(
    instance: Instance, engine: Engine, *, verified: bool, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Status:
    """Inspect everything. What is not available becomes one of the `faults`, not an error."""
    faults: list[str] = []
    version, container, login, unit, breaker = None, None, None, None, None
    try:
        version = await engine.version()
        container = await engine.find(instance.container)
        if container is not None and container.has_started:
            login = await _login(instance, engine)
    except EngineError as error:
        faults.append(f"{error} {error.remedy}")
    try:
        unit = await systemd_unit.show(instance.unit)
    except UnitError as error:
        faults.append(f"{error} {error.remedy}")
    try:
        breaker = BreakerFile(instance.breaker_file, instance.name).read()
    except BreakerFileError as error:
        faults.append(str(error))
    at = now()
    return Status(
        name=instance.name,
        unit_name=instance.unit,
        trading_mode=instance.trading_mode,
        at=at,
        uptime_seconds=_uptime(Path("/proc/uptime")),
        engine=version,
        unit=unit,
        container=container,
        image=container.image if container else instance.image,
        login=login,
        breaker=breaker,
        tiers=await tiers.inspect(instance, container, verified=verified),
        session=remembered_session(instance),
        calendar=instance.calendar,
        release=release(),
        faults=tuple(faults),
        totp=instance.totp,
        support=gateway_versions.support(instance.image, at.date()),
        support_matters=not instance.desupported_image_allowed,
        hold=_hold(instance),
        last_upgrade=store.summary(),
        backup=record.overview(at),
        alerts=await asyncio.to_thread(firing_alerts.read),
    )


def next_step(status: Status) -> str | None:
    """The one thing to do now; None if there is nothing."""
    breaker, login, unit = status.breaker, status.login, status.unit
    if breaker is not None and breaker.opening is not None:
        reset = f"gateway-watch reset --instance {status.name} && systemctl start {status.unit_name}"
        return f"{breaker.opening.remedy} If nothing has to be changed: {reset}"
    if unit is not None and unit.cause is not None:
        name = status.unit_name
        sooner = f"systemctl reset-failed {name} && systemctl start {name}"
        return f"{unit.cause.line} The unit is started again by itself; sooner: {sooner}"
    if unit is not None and unit.failed:
        said = unit.status_text or f"result {unit.result}"
        return f"{said} Then: systemctl start {status.unit_name}"
    if unit is not None and unit.active == "inactive":
        return f"The unit is stopped: systemctl start {status.unit_name}"
    if status.hold is not None:
        return status.hold
    if login is not None and login.state is LoginState.AWAITING_2FA:
        if status.totp:
            return f"Wait: the code is entered. If it is not: journalctl -eu {status.unit_name}"
        return f"Approve the login in IBKR Mobile ({login.twofa_seconds_left} s left)."
    if login is not None and login.cause is not None:
        return login.cause.remedy
    if status.faults:
        return status.faults[0]
    if status.container is None:
        return f"systemctl start {status.unit_name}, then follow it: journalctl -fu {status.unit_name}"
    failed = next((tier for tier in status.tiers if tier.ok is False), None)
    if failed is not None:
        return failed.remedy
    return f"{status.support.text}. {status.support.remedy}" if status.support is not None else None


def to_json(status: Status) -> dict[str, Any]:
    """The status as JSON-able values. The container's environment is no part of it."""
    container, login, engine, breaker = status.container, status.login, status.engine, status.breaker
    return {
        "name": status.name,
        "trading_mode": status.trading_mode,
        "at": status.at.isoformat(),
        "ok": status.ok,
        "next_step": next_step(status),
        "faults": list(status.faults),
        "host": {"uptime_seconds": status.uptime_seconds},
        "engine": asdict(engine) if engine else None,
        "unit": asdict(status.unit) if status.unit else None,
        "container": {
            "id": container.id,
            "status": container.status,
            "health": container.health,
            "exit_code": container.exit_code,
            "started_at": container.started_at.isoformat() if container.has_started else None,
        }
        if container
        else None,
        "image": status.image,
        "support": {
            "version": status.support.version,
            "desupported_on": status.support.desupported_on.isoformat(),
            "days_left": status.support.days_left,
            "over": status.support.over,
        }
        if status.support
        else None,
        "login": {
            "state": login.state.value,
            "since": _iso(login.since),
            "text": login.text,
            "mode": login.mode,
            "cause": login.cause.id if login.cause else None,
            "twofa_seconds_left": login.twofa_seconds_left,
            "attempts": login.attempts,
            "warnings": [cause.id for cause in login.warnings],
        }
        if login
        else None,
        "breaker": {
            "open": breaker.opening is not None,
            "bad_logins": breaker.bad_logins,
            "cause": breaker.opening.cause if breaker.opening else None,
            "at": _iso(breaker.since),
        }
        if breaker
        else None,
        "hold": status.hold,
        "tiers": {tier.name: asdict(tier) for tier in status.tiers},
        "session": {
            "since": _iso(status.session.since),
            "twofa": status.session.twofa,
            "last_restart": _iso(status.session.last_restart),
            "last_cause": status.session.last_cause,
            "last_screenshot": status.session.last_screenshot,
            "end": status.session_end.isoformat(),
        },
        "last_upgrade": status.last_upgrade,
        "next_restart": _iso(status.next_restart[0]) if status.next_restart else None,
        "next_approval": _iso(status.next_approval),
        "calendar": {kind.value: _iso(status.calendar.next(kind, status.at)) for kind in Kind},
        "backup": status.backup.document if status.backup else None,
        "alerts": status.alerts.document if status.alerts else None,
        "versions": {"release": status.release, "python": platform.python_version()},
    }


def render(status: Status) -> str:
    """One screen of plain text, at most 30 lines."""
    rows = [
        ("Host", _host(status)),
        ("Unit", _unit(status)),
        ("Container", _container(status)),
        ("Image", f"{status.image}{f' - {status.support.text}' if status.support else ''}"),
        ("Login", _login_line(status)),
        ("Breaker", _breaker(status)),
        *((tier.name.capitalize(), f"{_word(tier)} {tier.text}") for tier in status.tiers),
        ("Session", _session(status)),
        ("Restart", _restart(status)),
        ("Approval", _approval(status)),
        ("Session end", _moment(status.session_end, status.at)),
        *([("Last backup", status.backup.text)] if status.backup else []),
        *([("Alerts", status.alerts.text)] if status.alerts else []),
        ("Versions", f"ib-gateway-ansible {status.release}, Python {platform.python_version()}"),
        *((("Upgrade", status.last_upgrade),) if status.last_upgrade else ()),
    ]
    head = f"{status.name} ({status.trading_mode}): {'in order' if status.ok else 'NOT IN ORDER'}"
    lines = [f"{head:<{WIDTH - 23}}{status.at:%Y-%m-%d %H:%M:%S} UTC"]
    for label, text in rows:
        lines += _row(label, text, 2)
    if step := next_step(status):
        lines += ["", *_row("Next step", step, 5)]
    return "\n".join(lines)


async def _login(instance: Instance, engine: Engine) -> Snapshot | None:
    options = LoginOptions(
        instance.trading_mode, float(instance.twofa_timeout), log_lines=0, controller=instance.login_controller
    )
    memory = LoginMemory(Memory(started=0.0, events_since=0.0))
    return (await LoginWait(engine, instance.container, Limits(), options, memory).inspect()).snapshot


def _hold(instance: Instance) -> str | None:
    hold = gatekeeper.read_gate(gatekeeper.gate_file(instance)).hold
    return gatekeeper.describe(hold, instance) if hold is not None else None


def _row(label: str, text: str, most: int) -> list[str]:
    lines = wrap(text, WIDTH - LABEL, max_lines=most, placeholder=" …") or [""]
    return [f"{label if number == 0 else '':<{LABEL}}{line}" for number, line in enumerate(lines)]


def _word(tier: Tier) -> str:
    return {True: "yes:", False: "NO:", None: "-"}[tier.ok]


def _host(status: Status) -> str:
    up = "uptime unknown" if status.uptime_seconds is None else f"up {moments.span(status.uptime_seconds)}"
    return f"{up}, Docker {status.engine.server}" if status.engine else f"{up}, NO DOCKER ENGINE ANSWERS"


def _unit(status: Status) -> str:
    unit = status.unit
    if unit is None:
        return f"{status.unit_name} unknown to systemd"
    return f"{unit.name} {unit.active} ({unit.sub}){': ' if unit.reason else ''}{unit.reason}"


def _container(status: Status) -> str:
    container = status.container
    if container is None:
        return "none"
    health = f", {container.health}" if container.running and container.health else ""
    since = f", since {_moment(container.started_at, status.at)}" if container.has_started else ""
    return f"{container.status}{health}{since}"


def _login_line(status: Status) -> str:
    login = status.login
    if login is None:
        return "unknown"
    since = f", since {_moment(login.since, status.at)}" if login.since else ""
    cause = f" - {login.cause.text}" if login.cause else ""
    warnings = "".join(f" - {warning.text}" for warning in login.warnings)
    return f"{login.state}: {login.text}{since}{cause}{warnings}"


def _breaker(status: Status) -> str:
    breaker = status.breaker
    if breaker is None:
        return "UNREADABLE"
    if breaker.opening is None:
        return f"closed, refused logins in a row: {breaker.bad_logins}"
    return f"OPEN since {_moment(breaker.opening.at, status.at)}: {breaker.opening.text}"


def _session(status: Status) -> str:
    kept = status.session
    if kept.since is None:
        return "none yet"
    how = {True: "approved by 2FA", False: "without 2FA", None: ""}[kept.twofa]
    again = f"; last (re)start {_moment(kept.last_restart, status.at)}" if kept.last_restart else ""
    return f"since {_moment(kept.since, status.at)} {how}{again}"


def _restart(status: Status) -> str:
    if status.next_restart is None:
        return "none planned"
    moment, kind = status.next_restart
    return f"{'with a full login' if kind is Kind.COLD_RESTART else 'daily'}: {moments.ahead(moment, status.at)}"


def _approval(status: Status) -> str:
    if status.next_approval is not None:
        return f"next approval needed: {moments.ahead(status.next_approval, status.at)}"
    if status.totp:
        return "none needed: the codes of the authenticator app are entered"
    return "none needed: the login has no second factor" if status.session.twofa is False else "unknown before a login"


def _moment(moment: datetime, now: datetime) -> str:
    seconds = (moment - now).total_seconds()
    distance = f"in {moments.span(seconds)}" if seconds > 0 else f"{moments.span(-seconds)} ago"
    return f"{moment:%a %Y-%m-%d %H:%M %Z} ({distance})"


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _uptime(file: Path) -> float | None:
    try:
        return float(file.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return None
