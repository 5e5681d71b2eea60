"""The numbers for Prometheus, read over HTTP as Prometheus reads them."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families
from tests.unit.position_manager import status_samples as samples

from position_manager.reports.status import AccountRuleStatus, AccountStatus
from position_manager.service.metrics import MetricsError, Sample, served

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]

SAMPLE = Sample(samples.READY, {"sent": 5, "failed": 1}, losses=2, loops=99, looped_at=samples.ago(seconds=4))


def scraped(sample: Callable[[], Sample]) -> Series:
    with served(0, sample) as port:
        text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
    found: Series = {}
    for family in text_string_to_metric_families(text):
        for point in family.samples:
            key = point.name.removeprefix("position_manager_"), frozenset(point.labels.items())
            assert key not in found, f"{key} is there twice: Prometheus would refuse all of it"
            found[key] = point.value
    return found


def value(found: Series, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


def test_the_numbers_of_a_manager_at_work() -> None:
    found = scraped(lambda: SAMPLE)
    expected = {
        "ready": 1, "positions": 4, "halts": 0, "locks": 0, "degraded_farms": 0, "last_sync_age_seconds": 11,
        "connection_losses_total": 2, "quote_age_seconds": 42, "quotes_missing": 1, "orders_last_day": 3,
        "loops_total": 99, "last_loop_age_seconds": 4,
    }  # fmt: skip
    assert {name: value(found, name) for name in expected} == expected
    assert value(found, "info", version="0.1.0", mode="paper") == 1
    assert value(found, "phase", phase="READY") == 1 and value(found, "phase", phase="DOWN") == 0
    assert {v: value(found, "units", verdict=v) for v in ("guarded", "unprotected", "closing")} == {
        "guarded": 1, "unprotected": 1, "closing": 1,
    }  # fmt: skip
    assert value(found, "unprotected_seconds", account="DU*****67", unit="SPY condor") == 4321
    assert value(found, "profit", account="DU*****67", unit="AAPL", currency="USD") == -1027
    assert value(found, "open_intents", state="PARTIAL") == 1
    assert value(found, "realized_profit", currency="USD") == 125.5
    assert value(found, "notifications_total", result="sent") == 5
    assert found["process_resident_memory_bytes", frozenset()] > 0


def test_what_is_not_known_is_left_out() -> None:
    found = scraped(lambda: replace(SAMPLE, status=samples.TROUBLE, looped_at=None))
    names = {name for name, _ in found}
    assert not names & {"last_sync_age_seconds", "quote_age_seconds", "last_loop_age_seconds"}
    assert (value(found, "ready"), value(found, "locks"), value(found, "halts")) == (0, 1, 1)


def test_units_of_accounts_that_look_alike_are_added_up() -> None:
    other = replace(samples.PUT, key="another account", unprotected_seconds=7.6, profit=Decimal(10))
    found = scraped(lambda: replace(SAMPLE, status=replace(samples.READY, units=(samples.PUT, other))))
    place = {"account": "DU*****67", "unit": "SPY 2026-12-18 450P"}
    assert value(found, "unprotected_seconds", **place) == pytest.approx(20)
    assert value(found, "profit", **place, currency="USD") == -50


def test_only_this_host_can_read_them() -> None:
    with served(0, lambda: SAMPLE) as port:
        assert port is not None
        with socket.socket() as other, pytest.raises(ConnectionRefusedError):
            # Another address of this host: served on all of them it would answer.
            other.connect(("127.0.0.2", port))


def test_a_port_that_is_taken_is_reported() -> None:
    with served(0, lambda: SAMPLE) as port:
        text = f"metrics cannot be served on 127.0.0.1:{port}: Address already in use"
        with pytest.raises(MetricsError, match=text), served(port, lambda: SAMPLE):
            pass


def test_without_a_port_there_are_none() -> None:
    with served(None, lambda: SAMPLE) as port:
        assert port is None


def test_the_stops_of_accounts_that_look_alike_are_added_up() -> None:
    account = AccountStatus(
        "DU*****67", "USD", Decimal(94900), Decimal(1), 1.0, Decimal(100000), Decimal(100000), 2,
        (AccountRuleStatus("daily_loss", "close", "fired", "lost"),),
    )  # fmt: skip
    status = replace(samples.READY, account_stops=(account, account))
    found = scraped(lambda: replace(SAMPLE, status=status))
    assert value(found, "net_liquidation", account="DU*****67", currency="USD") == 189800
    assert value(found, "account_stop", account="DU*****67", rule="daily_loss", verdict="fired") == 2
