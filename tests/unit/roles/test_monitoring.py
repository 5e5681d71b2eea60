"""The role monitoring: what it scrapes, whose addresses it uses, and which settings it rejects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.plugins import load

ROOT = Path(__file__).parents[3]
settings_module = load("roles/monitoring/filter_plugins/monitoring_settings.py")
DEFAULTS = {
    name.removeprefix("monitoring_"): value
    for name, value in yaml.safe_load((ROOT / "roles/monitoring/defaults/main.yml").read_text()).items()
}
GATEWAY: dict[str, Any] = {
    "name": "ib-gateway",
    "unit": "ib-gateway.service",
    "apis": [{"port": 4002}],
    "vnc_port": 5900,
    "metrics_port": 9402,
    "secrets_dir": "/etc/ib-gateway/ib-gateway/secrets",
}
MANAGER: dict[str, Any] = {
    "name": "position-manager",
    "unit": "position-manager.service",
    "metrics_port": 9464,
    "secrets_dir": "/etc/position-manager/secrets/position-manager",
}


def problems(**changes: Any) -> list[str]:
    found: list[str] = settings_module.problems(DEFAULTS | {"enabled": True} | changes, [GATEWAY], [MANAGER])
    return found


def test_the_defaults_are_accepted() -> None:
    assert problems() == []


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("retention_days", 0, "Use 1 or more"),
        ("retention_mb", 10, "Use 64 or more"),
        ("scrape_seconds", 0, "Use 1 or more"),
        ("heartbeat_timeout", 20, "at least twice"),
        ("alert_delay", "soon", "Use a duration"),
        ("alert_delay", "5", "Use a duration"),
        ("heartbeat_url", "http://heartbeat.example/token", "https://"),
        ("prometheus_port", 80, "from 1024"),
        ("prometheus_port", 4002, "which is the API port of ib-gateway"),
        ("relay_port", 9464, "which is the port of the metrics of position-manager"),
        ("relay_port", 9093, "which is monitoring_alertmanager_port"),
        ("alertmanager_port", 5900, "which is the port of the screen of ib-gateway"),
    ],
)
def test_a_setting_that_cannot_work_is_named(setting: str, value: object, reason: str) -> None:
    found = problems(**{setting: value})
    assert len(found) == 1
    assert found[0].startswith("monitoring_")
    assert reason in found[0]
    assert "token" not in found[0]
    # Nothing is checked while the role does nothing.
    assert problems(**{setting: value, "enabled": False}) == []


def test_the_metric_needs_a_region_with_and_without_prometheus() -> None:
    for enabled in (False, True):
        assert problems(cloudwatch=True, cloudwatch_region="us-gov-west-1", enabled=enabled) == []
        (found,) = problems(cloudwatch=True, cloudwatch_region="", enabled=enabled)
        assert found.startswith("monitoring_cloudwatch_region is ''. Use the name of a region")


def test_each_service_with_metrics_is_scraped_and_names_its_unit() -> None:
    off = MANAGER | {"name": "second", "metrics_port": 0}
    assert settings_module.targets([GATEWAY], [MANAGER, off]) == [
        {"job": "gateway-watch", "port": 9402, "labels": {"gateway": "ib-gateway", "unit": "ib-gateway.service"}},
        {
            "job": "position-manager",
            "port": 9464,
            "labels": {"manager": "position-manager", "unit": "position-manager.service"},
        },
    ]


def test_the_relay_receives_the_addresses_of_every_service_and_is_restarted_with_others() -> None:
    secrets = settings_module.credentials([GATEWAY], [MANAGER])
    assert [secret["path"] for secret in secrets] == [
        "/etc/ib-gateway/ib-gateway/secrets/notify_urls",
        "/etc/position-manager/secrets/position-manager/discord_url",
    ]
    files = [{"unit": "alert-relay.service", "path": "/a"}, {"unit": "prometheus.service", "path": "/b"}]
    assert settings_module.files_of("prometheus.service", files, secrets) == ["/b"]
    assert settings_module.files_of("alert-relay.service", files, secrets) == [
        "/a",
        *(secret["path"] for secret in secrets),
        settings_module.RELEASE,
    ]


def test_the_services_of_the_packages_are_limited_to_the_loopback_before_they_are_installed() -> None:
    """A deploy that is interrupted between both, and a boot, would let them listen on every address."""
    tasks = yaml.safe_load((ROOT / "roles/monitoring/tasks/deploy.yml").read_text())
    names = [task["name"] for task in tasks]
    limited = names.index("Limit the services of the packages to 127.0.0.1")
    assert limited < names.index("Install the packages")
    assert {task["loop"] for task in tasks[limited]["block"]} == {"{{ __monitoring_unit_settings }}"}
