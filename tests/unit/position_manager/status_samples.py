"""A possible state of a position manager: one of each kind of unit, a lock, an open intent, a halt."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from position_manager.reports.status import IntentStatus, LegStatus, LockStatus, Status, UnitStatus
from position_manager.rules.evaluation import Distance, Rule

NOW = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)
D = Decimal


def ago(**span: float) -> datetime:
    return NOW - timedelta(**span)


PUT = UnitStatus(
    account="DU*****67",
    key="DU*****67 contract 1",
    name="SPY 2026-12-18 450P",
    group=None,
    quantity=D(-2),
    entry=D("2.50"),
    price=D("2.80"),
    profit=D("-60.00"),
    currency="USD",
    verdict="guarded",
    text="",
    rules=(
        "stop: percent_of_premium 50 (defaults.stop)",
        "target: percent_of_premium 80 (defaults.target)",
    ),
    stop=Distance(Rule.STOP, "ask", D("2.80"), D("3.75"), D("0.95"), D("33.92857142857")),
    target=Distance(Rule.TARGET, "ask", D("2.80"), D("0.50"), D("2.30"), D("82.142857142")),
    unprotected_seconds=12.4,
    unprotected_since=None,
    legs=(LegStatus(1, "SPY 2026-12-18 450P", D(-2), D("2.75"), D("2.80"), 1.25),),
)
CONDOR = UnitStatus(
    account="DU*****67",
    key="DU*****67 group SPY condor",
    name="SPY condor",
    group="SPY condor",
    quantity=D(1),
    entry=D("1.20"),
    price=None,
    profit=None,
    currency="USD",
    verdict="unprotected",
    text="no usable quote: SPY 2026-12-18 420P: stale: bid 0.55, ask 0.60, 42.0 s old",
    rules=("stop: percent_of_premium 100 (groups.SPY condor.stop)",),
    stop=None,
    target=None,
    unprotected_seconds=4321.0,
    unprotected_since=ago(seconds=42),
    legs=(
        LegStatus(11, "SPY 2026-12-18 420P", D(1), D("0.55"), D("0.60"), 42.0),
        LegStatus(12, "SPY 2026-12-18 430P", D(-1), None, None, None),
    ),
)
STOCK = UnitStatus(
    account="DU*****67",
    key="DU*****67 contract 90",
    name="AAPL",
    group=None,
    quantity=D(100),
    entry=D("190.25"),
    price=D("179.98"),
    profit=D("-1027.00"),
    currency="USD",
    verdict="closing",
    text="stop: bid 179.98 is at or below 180 (price 180)",
    rules=("stop: price 180 (positions[1].stop)",),
    stop=None,
    target=None,
    unprotected_seconds=0.0,
    unprotected_since=None,
    legs=(LegStatus(90, "AAPL", D(100), D("179.98"), D("180.00"), 0.4),),
)
INTENT = IntentStatus(
    id="01KAQ0000000000000000000AB",
    account="DU*****67",
    con_id=90,
    label="AAPL",
    side="SELL",
    quantity=D(100),
    filled=D(40),
    limit=D("179.95"),
    state="PARTIAL",
    rule="stop",
    reason="",
    created=ago(seconds=3),
)
LOCK = LockStatus("DU*****67", 77, "QQQ 2026-12-18 400C", "LOCKED: 2 live orders, 0 of 1 executed", ago(minutes=5))
HALT = "kill switch /var/lib/position-manager/main/HALT exists (to end it: rm /var/lib/position-manager/main/HALT)"

READY = Status(
    time=NOW,
    version="0.1.0",
    mode="paper",
    accounts=("DU*****67",),
    phase="READY",
    since=ago(hours=2, minutes=14),
    why="",
    halts=(),
    degraded=(),
    last_sync=ago(seconds=11),
    units=(PUT, CONDOR, STOCK),
    intents=(INTENT,),
    locks=(),
    orders_today=3,
    realized={"USD": D("125.50")},
    config="/etc/position-manager/position-manager.yml",
)
TROUBLE = Status(
    time=NOW,
    version="0.1.0",
    mode="live",
    accounts=("U1****21", "U7****99"),
    phase="DOWN",
    since=ago(seconds=95),
    why="refused: nothing listens at 127.0.0.1:4001",
    halts=(HALT,),
    degraded=("usfarm",),
    last_sync=None,
    units=(),
    intents=(),
    locks=(LOCK,),
    orders_today=0,
    realized={},
    config="/etc/position-manager/position-manager.yml",
)
