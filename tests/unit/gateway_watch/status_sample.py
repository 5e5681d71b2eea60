"""The status of a healthy gateway, for tests to change."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from gateway_watch.breaker import Breaker
from gateway_watch.engine import NEVER, Container, Version
from gateway_watch.login import LoginState, Snapshot
from gateway_watch.session import Session
from gateway_watch.session_calendar import SessionCalendar
from gateway_watch.status import Status
from gateway_watch.systemd_unit import UnitState
from gateway_watch.tiers import Tier

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
UNIT = UnitState("ib-gateway.service", "active", "running", "success", "ready: logged in (paper) and listening", 0)
CONTAINER = Container(
    id="abc",
    name="ib-gateway",
    image="ib-gateway:10.50.1f",
    status="running",
    exit_code=0,
    error="",
    oom_killed=False,
    started_at=AT - timedelta(hours=2),
    finished_at=NEVER,
    restart_count=0,
    health="healthy",
    identities=("edmund77",),
)
LOGIN = Snapshot(LoginState.READY, AT - timedelta(hours=2), "ready", "paper", None, None, 1, ())
HEALTHY = Status(
    name="ib-gateway",
    unit_name="ib-gateway.service",
    trading_mode="paper",
    at=AT,
    uptime_seconds=90_000.0,
    engine=Version("20.10.24", "20.10.24", "1.41"),
    unit=UNIT,
    container=CONTAINER,
    image=CONTAINER.image,
    login=LOGIN,
    breaker=Breaker(),
    tiers=(
        Tier("listening", True, "the container is healthy"),
        Tier("answering", True, "paper 127.0.0.1:4002 in 3 ms, server version 176"),
        Tier("verified", None, "not asked (--tiers asks)"),
        Tier("connected", True, "connected to IBKR, since 2026-11-23 18:00:00 UTC"),
    ),
    session=Session(AT - timedelta(days=1), True, AT - timedelta(hours=2)),
    calendar=SessionCalendar(time(2), time(13), ZoneInfo("America/New_York")),
    release="0.1.0",
    faults=(),
)
