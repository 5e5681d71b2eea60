"""docs/metrics.md lists the metrics that the services export, each of them, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from prometheus_client.core import Metric
from tests.unit.gateway_watch.test_metrics import NOON, Gateway, start
from tests.unit.position_manager import status_samples
from tests.unit.position_manager.test_metrics import SAMPLE

from gateway_watch import session
from gateway_watch.clock_error import ClockError
from gateway_watch.metrics import collecting, specs
from gateway_watch.session import Session
from host_service.backup_record import Good, Record
from host_service.metric_families import Kind, MetricSpec
from position_manager.reports.status import AccountRuleStatus, AccountStatus
from position_manager.service import metrics
from position_manager.service.metrics import Files

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()


def documented(section: str) -> dict[str, str]:
    """Name and type of each row of the table below a title."""
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", text, re.MULTILINE))


def exported(families: Iterable[Metric]) -> dict[str, str]:
    suffixes = {"counter": "_total", "info": "_info"}
    return {family.name + suffixes.get(family.type, ""): family.type for family in families}


def test_each_metric_of_a_gateway_is_in_the_table_and_can_be_exported(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, image="ghcr.io/gnzsnz/ib-gateway:10.45.1j")
    start(gateway)
    gateway.recorder.on_clock(ClockError(0.1))
    gateway.notified = {"sent": 1}
    session.write(gateway.instance.session_file, Session(since=NOON, twofa=True, last_restart=NOON))
    Record(NOON, "", Good(NOON - timedelta(hours=1), "host.age", 1, ())).write(tmp_path / "last.json")
    assert exported(collecting.collect(gateway.source)) == documented("Gateway")


def test_each_metric_of_a_manager_is_in_the_table_and_can_be_exported(tmp_path: Path) -> None:
    account = AccountStatus(
        "DU*****67", "USD", Decimal(1), Decimal(1), 1.0, Decimal(1), Decimal(1), 0,
        (AccountRuleStatus("daily_loss", "close", "guarded", ""),),
    )  # fmt: skip
    status = replace(status_samples.READY, account_stops=(account,), open_markets=("AAPL",))
    (tmp_path / "journal.db").touch()
    files = Files(lambda _mode: tmp_path / "journal.db", tmp_path / "outbox.db")
    found = exported(metrics.collect(replace(SAMPLE, status=status), files))
    assert found == documented("Position manager")


@pytest.mark.parametrize("spec", [*specs.SPECS, *metrics.SPECS], ids=lambda spec: spec.name)
def test_names_follow_the_conventions_of_prometheus(spec: MetricSpec) -> None:
    assert re.fullmatch(r"(gateway_watch|position_manager|host_backup|process)_[a-z0-9_]+", spec.name)
    assert (spec.kind is Kind.COUNTER) == spec.name.endswith("_total")
    assert (spec.kind is Kind.INFO) == spec.name.endswith("_info")
    assert not re.search(r"_(minutes|hours|days|milliseconds|ms|kilobytes|percent|count|sum|bucket)(_|$)", spec.name)
    assert re.fullmatch(r"[A-Z0-9].*[.a-z]", spec.text, re.DOTALL)
    for label in spec.labels:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", label.name) and label.name not in ("instance", "job", "account", "le")
        assert label.values or label.text


def test_no_name_is_in_two_tables() -> None:
    names = [spec.name for spec in (*specs.SPECS, *metrics.SPECS) if not spec.name.startswith("process_")]
    assert len(names) == len(set(names))
