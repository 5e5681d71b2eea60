"""Prometheus's own linter accepts what the services export: names, units, help texts."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from prometheus_client.core import Metric
from tests import prometheus, scraping
from tests.unit.gateway_watch.scraped_gateway import Gateway, start
from tests.unit.position_manager.test_metrics import SAMPLE

from gateway_watch.metrics import collecting
from position_manager.service import metrics
from position_manager.service.metrics import Files


def of_a_gateway(directory: Path) -> Sequence[Metric]:
    gateway = Gateway(directory)
    start(gateway)
    return collecting.collect(gateway.source)


def of_a_manager(directory: Path) -> Sequence[Metric]:
    return metrics.collect(SAMPLE, Files(lambda _mode: directory / "journal.db", directory / "outbox.db"))


@pytest.mark.parametrize("families", [of_a_gateway, of_a_manager])
def test_promtool_accepts_the_metrics(families: Callable[[Path], Sequence[Metric]], tmp_path: Path) -> None:
    text = scraping.plain(list(families(tmp_path)))
    done = subprocess.run(
        [prometheus.programs() / "promtool", "check", "metrics"],
        input=text,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
