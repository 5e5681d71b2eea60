"""Numbers for Prometheus, on 127.0.0.1: created from a `Status` on request, not counted separately."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from position_manager.connection_state import Phase
from position_manager.reports.status import Status, UnitStatus

_NAME = "position_manager"


class MetricsError(Exception):
    """The numbers cannot be served; the message states why."""


@dataclass(frozen=True)
class Sample:
    """All numbers at one moment. ``notifications``: counts by result. ``losses``: how often the connection was lost.
    ``loops``: completed rule loops, the last of them at ``looped_at``."""

    status: Status
    notifications: Mapping[str, int]
    losses: int
    loops: int
    looped_at: datetime | None


class StatusCollector(Collector):
    """Turns samples into metrics. Accounts stay masked, so units with identical labels are added up."""

    def __init__(self, sample: Callable[[], Sample]) -> None:
        """``sample`` is called in the server's thread."""
        self._sample = sample

    def describe(self) -> list[Metric]:
        """Nothing: names are not checked at registration, as no sample is available yet."""
        return []

    def collect(self) -> Iterator[Metric]:
        sample = self._sample()
        yield from _connection(sample.status, sample.losses)
        yield from _guarded(sample.status)
        yield from _work(sample)


def _connection(status: Status, losses: int) -> Iterator[Metric]:
    yield _gauge("info", "The release and the mode.", 1, version=status.version, mode=status.mode)
    yield _gauge("ready", "1 while orders may be sent.", float(status.phase == Phase.READY))
    phase = GaugeMetricFamily(f"{_NAME}_phase", "1 for the state of the connection.", labels=["phase"])
    for each in Phase:
        phase.add_metric([each.value], float(status.phase == each))
    yield phase
    yield _gauge("degraded_farms", "Data farms that are down.", len(status.degraded))
    yield _gauge("halts", "Reasons for which nothing is sent until a person acts.", len(status.halts))
    if status.last_sync is not None:
        age = (status.time - status.last_sync).total_seconds()
        yield _gauge("last_sync_age_seconds", "Since the last full sync that ended well.", age)
    yield from _accounts(status)
    yield _counter("connection_losses", "How often the connection was lost.", losses)


def _accounts(status: Status) -> Iterator[Metric]:
    """Of accounts with stops of their own."""
    worth = GaugeMetricFamily(f"{_NAME}_net_liquidation", "What an account is worth.", labels=["account", "currency"])
    stops = GaugeMetricFamily(
        f"{_NAME}_account_stop", "Stops of accounts by verdict.", labels=["account", "rule", "verdict"]
    )
    # Two accounts may be identical once masked.
    sums: dict[tuple[str, ...], float] = defaultdict(float)
    counts: dict[tuple[str, ...], int] = defaultdict(int)
    for account in status.account_stops:
        if account.net_liquidation is not None:
            sums[account.account, account.currency] += float(account.net_liquidation)
        for rule in account.rules:
            counts[account.account, rule.rule, rule.verdict] += 1
    for place, amount in sums.items():
        worth.add_metric(place, amount)
    for stop, count in counts.items():
        stops.add_metric(stop, count)
    if status.account_stops:
        yield worth
        yield stops


def _guarded(status: Status) -> Iterator[Metric]:
    legs = [leg for unit in status.units for leg in unit.legs]
    yield _gauge("positions", "Contracts that are held.", len(legs))
    units = GaugeMetricFamily(f"{_NAME}_units", "Guarded units by verdict.", labels=["verdict"])
    for verdict, count in _summed(status.units, lambda unit: (unit.verdict,), lambda unit: 1).items():
        units.add_metric(verdict, count)
    yield units
    unprotected = GaugeMetricFamily(
        f"{_NAME}_unprotected_seconds", "Unprotected time of a unit in trading hours.", labels=["account", "unit"]
    )
    for unit, seconds in _summed(status.units, _place, lambda unit: unit.unprotected_seconds).items():
        unprotected.add_metric(unit, seconds)
    yield unprotected
    profit = GaugeMetricFamily(f"{_NAME}_profit", "Profit at present prices.", labels=["account", "unit", "currency"])
    valued = (unit for unit in status.units if unit.profit is not None)
    for place, money in _summed(valued, lambda u: (*_place(u), u.currency), lambda u: float(u.profit or 0)).items():
        profit.add_metric(place, money)
    yield profit
    ages = [leg.age for leg in legs if leg.age is not None]
    if ages:
        yield _gauge("quote_age_seconds", "Age of the oldest quote of what is held.", max(ages))
    yield _gauge("quotes_missing", "Contracts that are held and have no quote.", len(legs) - len(ages))


def _work(sample: Sample) -> Iterator[Metric]:
    status = sample.status
    intents = GaugeMetricFamily(f"{_NAME}_open_intents", "Closes that are not over.", labels=["state"])
    states: dict[str, int] = defaultdict(int)
    for intent in status.intents:
        states[intent.state] += 1
    for state, count in states.items():
        intents.add_metric([state], count)
    yield intents
    yield _gauge("locks", "Instruments that wait for a person.", len(status.locks))
    yield _gauge("orders_last_day", "Orders written down for sending in the last 24 hours.", status.orders_today)
    realized = GaugeMetricFamily(f"{_NAME}_realized_profit", "Profit realised today.", labels=["currency"])
    for currency, money in status.realized.items():
        realized.add_metric([currency], float(money))
    yield realized
    notifications = CounterMetricFamily(f"{_NAME}_notifications", "Messages to people.", labels=["result"])
    for result, count in sample.notifications.items():
        notifications.add_metric([result], count)
    yield notifications
    yield _counter("loops", "Completed rule loops.", sample.loops)
    if sample.looped_at is not None:
        age = (status.time - sample.looped_at).total_seconds()
        yield _gauge("last_loop_age_seconds", "Since the last completed rule loop.", age)


def _place(unit: UnitStatus) -> tuple[str, ...]:
    return unit.account, unit.name


def _summed(units: Iterable[UnitStatus], labels: Callable[[UnitStatus], tuple[str, ...]],
            value: Callable[[UnitStatus], float]) -> dict[tuple[str, ...], float]:  # fmt: skip
    """One value for each set of labels: Prometheus refuses all numbers if two have the same."""
    sums: dict[tuple[str, ...], float] = defaultdict(float)
    for unit in units:
        sums[labels(unit)] += value(unit)
    return sums


def _gauge(name: str, text: str, value: float, **labels: str) -> Metric:
    family = GaugeMetricFamily(f"{_NAME}_{name}", text, labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"{_NAME}_{name}", text, value=value)


@contextmanager
def served(port: int | None, sample: Callable[[], Sample]) -> Iterator[int | None]:
    """Serve the numbers on 127.0.0.1 while the context lasts, without a port not at all (0: any free one). Gives the
    port. Raises MetricsError if it is taken."""
    if port is None:
        yield None
        return
    registry = CollectorRegistry()
    registry.register(StatusCollector(sample))
    ProcessCollector(registry=registry)
    try:
        server, thread = start_http_server(port, addr="127.0.0.1", registry=registry)
    except OSError as error:
        raise MetricsError(f"metrics cannot be served on 127.0.0.1:{port}: {error.strerror}") from error
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
