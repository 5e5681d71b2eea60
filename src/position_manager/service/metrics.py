"""Metrics for Prometheus, on 127.0.0.1: created from a `Status` on request, not counted separately.

docs/metrics.md is generated from `SPECS`. No label holds an account, a contract or a unit; `status` shows those.
"""

from __future__ import annotations

import platform
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from prometheus_client.core import Metric

from host_service import metrics_server, process_metrics
from host_service.metric_families import Kind, Label, MetricSpec, Samples
from notifications import outbox
from position_manager.account.stops import Verdict
from position_manager.config.schema import Mode
from position_manager.connection_state import Phase
from position_manager.orders.intents import OPEN
from position_manager.reports.status import Status
from position_manager.service.order_counts import OUTCOMES, RULES, STAGES, OrderCounts

_VERDICTS = ("guarded", "unprotected", "closing", "closed in shadow")
_CURRENCY = Label("currency", text="its code")


def _gauge(name: str, text: str, *labels: Label) -> MetricSpec:
    return MetricSpec(f"position_manager_{name}", Kind.GAUGE, text, labels)


def _counter(name: str, text: str, *labels: Label) -> MetricSpec:
    return MetricSpec(f"position_manager_{name}", Kind.COUNTER, text, labels)


SPECS = (
    MetricSpec(
        "position_manager_info",
        Kind.INFO,
        "The release and the mode.",
        (
            Label("version", text="of the release"),
            Label("python", text="its version"),
            Label("mode", tuple(mode.value for mode in Mode)),
        ),
    ),
    _gauge("ready", "1 while orders may be sent."),
    _gauge("phase", "1 for the state of the connection.", Label("phase", tuple(phase.value for phase in Phase))),
    _gauge("degraded_farms", "Data farms that are down."),
    _gauge("halts", "Reasons for which nothing is sent until a person acts."),
    _gauge("locks", "Instruments that wait for a person."),
    _gauge("new_accounts", "Accounts of the session that nobody has accepted: nothing in them is guarded."),
    _gauge("last_sync_age_seconds", "Since the last full sync that ended well; no sample before the first."),
    _counter("connection_losses_total", "How often the connection to the gateway was lost."),
    _gauge("positions", "Contracts that are held."),
    _gauge("open_markets", "Contracts that are held and whose regular session is open."),
    _gauge("units", "Guarded units by verdict.", Label("verdict", _VERDICTS)),
    _gauge("unprotected_seconds", "Unprotected time in trading hours, of the unit with the most."),
    _gauge("unprotected_for_seconds", "For how long a unit has been unprotected now, the longest; 0: none is."),
    _gauge("profit", "Profit of all units at present prices.", _CURRENCY),
    _gauge("realized_profit", "Profit realised today.", _CURRENCY),
    _gauge("net_liquidation", "What the accounts with stops of their own are worth.", _CURRENCY),
    _gauge("account_stops", "Stops of accounts by verdict.", Label("verdict", tuple(each.value for each in Verdict))),
    _gauge("quote_age_seconds", "Age of the oldest quote of what is held and trades now; no sample without a quote."),
    _gauge("quotes_missing", "Contracts that are held, trade now and have no quote."),
    _gauge("open_intents", "Closes that are not over.", Label("state", tuple(sorted(state.value for state in OPEN)))),
    _gauge("orders_last_day", "Orders recorded for sending in the last 24 hours."),
    _counter(
        "decisions_total",
        "Decisions to close a unit; in shadow those that would have been taken.",
        Label("rule", RULES),
    ),
    _counter(
        "orders_total", "Orders that were sent, and what became of them.", Label("outcome", tuple(OUTCOMES.values()))
    ),
    MetricSpec(
        "position_manager_order_round_trip_seconds",
        Kind.HISTOGRAM,
        "From the moment an order was recorded for sending until the broker acknowledged it, and until it was filled.",
        (Label("stage", STAGES),),
    ),
    MetricSpec(
        "position_manager_journal_write_seconds",
        Kind.HISTOGRAM,
        "How long one transaction of the journal took, with its write to the disk. Nothing waits in a queue for it.",
    ),
    _gauge("journal_size_bytes", "The journal with its write-ahead log."),
    _counter("notifications_total", "Messages to people.", Label("result", ("sent", "retried", "failed", "lost"))),
    _gauge("notifications_pending", "Deliveries that wait in the outbox."),
    _counter("loops_total", "Completed rule loops."),
    _gauge("last_loop_age_seconds", "Since the last completed rule loop."),
    *process_metrics.SPECS,
)


@dataclass(frozen=True)
class Sample:
    """All numbers at one moment. ``notifications``: counts by result. ``losses``: how often the connection was lost.
    ``loops``: completed rule loops, the last of them at ``looped_at``."""

    status: Status
    notifications: Mapping[str, int]
    losses: int
    loops: int
    looped_at: datetime | None
    orders: OrderCounts = field(default_factory=OrderCounts)


@dataclass(frozen=True)
class Files:
    """What is read beside the sample: the journal of the mode, and the outbox."""

    journal: Callable[[str], Path]
    outbox: Path


def served(port: int | None, sample: Callable[[], Sample], files: Files) -> AbstractContextManager[int | None]:
    """Serve the numbers on 127.0.0.1; see `metrics_server.served`. ``sample`` is called in the server's thread."""
    return metrics_server.served(port, lambda: collect(sample(), files))


def collect(sample: Sample, files: Files) -> list[Metric]:
    """All samples of one scrape."""
    samples = Samples(SPECS)
    status = sample.status
    _add_connection(samples, status)
    _add_units(samples, status)
    _add_accounts(samples, status)
    _add_orders(samples, status, sample.orders)
    _set(samples, "connection_losses_total", sample.losses)
    _set(samples, "loops_total", sample.loops)
    _set(samples, "last_loop_age_seconds", _age(status, sample.looped_at))
    for result, count in sample.notifications.items():
        _set(samples, "notifications_total", count, result=result)
    # A file that cannot be read has no sample; whoever writes it reports that.
    with suppress(OSError, sqlite3.Error):
        _set(samples, "notifications_pending", outbox.pending(files.outbox))
    with suppress(OSError):
        _set(samples, "journal_size_bytes", _size(files.journal(status.mode)))
    with suppress(OSError):
        process_metrics.add_process(samples)
    return list(samples.families())


def _add_connection(samples: Samples, status: Status) -> None:
    _set(samples, "info", 1, version=status.version, python=platform.python_version(), mode=status.mode)
    _set(samples, "ready", status.phase == Phase.READY)
    samples.choose("position_manager_phase", "phase", status.phase)
    _set(samples, "degraded_farms", len(status.degraded))
    _set(samples, "halts", len(status.halts))
    _set(samples, "locks", len(status.locks))
    _set(samples, "new_accounts", len(status.new_accounts))
    _set(samples, "last_sync_age_seconds", _age(status, status.last_sync))


def _add_units(samples: Samples, status: Status) -> None:
    legs = [leg for unit in status.units for leg in unit.legs]
    _set(samples, "positions", len(legs))
    _set(samples, "open_markets", None if status.open_markets is None else len(status.open_markets))
    _count(samples, "units", "verdict", _VERDICTS, (unit.verdict for unit in status.units))
    _set(samples, "unprotected_seconds", max((unit.unprotected_seconds for unit in status.units), default=0.0))
    since = [unit.unprotected_since for unit in status.units if unit.unprotected_since is not None]
    _set(samples, "unprotected_for_seconds", _age(status, min(since)) if since else 0.0)
    profits = ((unit.currency, unit.profit) for unit in status.units if unit.profit is not None)
    _sum(samples, "profit", profits)
    # A market that is closed sends no quotes, while that of another position can be open.
    trading = [leg.age for leg in legs if status.open_markets is None or leg.label in status.open_markets]
    ages = [age for age in trading if age is not None]
    _set(samples, "quote_age_seconds", max(ages, default=None))
    _set(samples, "quotes_missing", len(trading) - len(ages))


def _add_accounts(samples: Samples, status: Status) -> None:
    worth = ((each.currency, each.net_liquidation) for each in status.account_stops if each.net_liquidation is not None)
    _sum(samples, "net_liquidation", worth)
    _sum(samples, "realized_profit", status.realized.items())
    verdicts = (rule.verdict for account in status.account_stops for rule in account.rules)
    _count(samples, "account_stops", "verdict", tuple(each.value for each in Verdict), verdicts)


def _add_orders(samples: Samples, status: Status, orders: OrderCounts) -> None:
    _count(
        samples, "open_intents", "state", sorted(state.value for state in OPEN), (each.state for each in status.intents)
    )
    _set(samples, "orders_last_day", status.orders_today)
    for rule, count in orders.decisions.items():
        _set(samples, "decisions_total", count, rule=rule)
    for outcome, count in orders.orders.items():
        _set(samples, "orders_total", count, outcome=outcome)
    for stage, distribution in orders.trips.items():
        samples.observe("position_manager_order_round_trip_seconds", distribution, stage=stage)
    samples.observe("position_manager_journal_write_seconds", orders.writes)


def _set(samples: Samples, name: str, value: float | None, **labels: str) -> None:
    samples.set(f"position_manager_{name}", value, **labels)


def _count(samples: Samples, name: str, label: str, known: Iterable[str], values: Iterable[str]) -> None:
    """How many there are of each value; 0 of those that are known and not there."""
    for value, count in Counter({**dict.fromkeys(known, 0), **Counter(values)}).items():
        _set(samples, name, count, **{label: value})


def _sum(samples: Samples, name: str, amounts: Iterable[tuple[str, Decimal]]) -> None:
    """By currency."""
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for currency, amount in amounts:
        sums[currency] += amount
    for currency, amount in sums.items():
        _set(samples, name, float(amount), currency=currency)


def _age(status: Status, moment: datetime | None) -> float | None:
    return None if moment is None else (status.time - moment).total_seconds()


def _size(journal: Path) -> int:
    """With what is not merged into the file yet."""
    wal = journal.with_name(f"{journal.name}-wal")
    return journal.stat().st_size + (wal.stat().st_size if wal.exists() else 0)
