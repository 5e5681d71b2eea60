"""The metric that a host publishes, against a local server that speaks AWS's API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3  # type: ignore[import-untyped]  # it carries no types
import pytest
from tests.aws_endpoint import AwsEndpoint

from cloudwatch_metric.cli import TRY_AGAIN, main
from host_service import gateway_login
from host_service.gateway_login import GatewayLogin, IbkrLink

NOON = datetime(2026, 11, 25, 17, tzinfo=UTC)
HOST = "ib-gateway-prod-gateway"


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsEndpoint]:
    with AwsEndpoint() as aws:
        for name, value in aws.environment.items():
            if name.startswith("AWS_"):
                monkeypatch.setenv(name, value)
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
        yield aws


def test_a_host_publishes_whether_its_gateway_is_verified(
    endpoint: AwsEndpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = tmp_path / "cloudwatch-metric.json"
    document = {"host": HOST, "namespace": "ib-gateway", "region": "us-east-1", "gateways": ["ib-gateway"]}
    config.write_text(json.dumps(document))
    directory = tmp_path / "ib-gateway"
    directory.mkdir()

    def run() -> int:
        return main(["--config", str(config)], runtime=tmp_path, now=lambda: NOON)

    endpoint.change(calls=[])
    assert run() == 0
    gateway_login.write(directory, GatewayLogin("ready", False, "", IbkrLink("connected", NOON, "")))
    assert run() == 0
    assert set(endpoint.ask()["calls"]) == {"cloudwatch:PutMetricData"}, "the role of the host allows nothing else"

    client, now = endpoint.client("cloudwatch"), datetime.now(UTC)
    (metric,) = client.list_metrics(Namespace="ib-gateway")["Metrics"]
    assert metric["MetricName"] == "verified"
    assert metric["Dimensions"] == [{"Name": "Host", "Value": HOST}]
    points = client.get_metric_statistics(
        Namespace="ib-gateway",
        MetricName="verified",
        Dimensions=metric["Dimensions"],
        StartTime=now - timedelta(minutes=5),
        EndTime=now + timedelta(minutes=5),
        Period=600,
        Statistics=["Minimum", "Maximum", "SampleCount"],
    )["Datapoints"]
    assert [(point["Minimum"], point["Maximum"]) for point in points] == [(0, 1)]

    endpoint.change(fault={"action": "cloudwatch:PutMetricData", "code": "AccessDenied"})
    assert run() == TRY_AGAIN
    assert "AccessDenied" in caplog.text
