"""What Prometheus scrapes, and every problem of the role's settings before the first change."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

PORTS = ("prometheus_port", "alertmanager_port", "node_exporter_port", "relay_port")
AT_LEAST = {"retention_days": 1, "retention_mb": 64, "scrape_seconds": 1}
DURATION = re.compile(r"[1-9][0-9]*(ms|s|m|h)|0s")

RELAY = "alert-relay.service"
RELEASE = "/opt/ib-gateway-ansible/current"

Instances = Sequence[Mapping[str, Any]]


def targets(gateways: Instances, managers: Instances) -> list[dict[str, Any]]:
    """The services to scrape: job, port and labels; those without metrics are left out."""
    kinds = (("gateway-watch", "gateway", gateways), ("position-manager", "manager", managers))
    return [
        {
            "job": job,
            "port": instance["metrics_port"],
            "labels": {label: instance["name"], "unit": instance["unit"]},
        }
        for job, label, instances in kinds
        for instance in instances
        # Of a gateway whose role does not define it there are none.
        if instance.get("metrics_port")
    ]


def credentials(gateways: Instances, managers: Instances) -> list[dict[str, str]]:
    """The files with the addresses of all services, and under which name alert-relay receives each."""
    kinds = (("gateway", "notify_urls", gateways), ("manager", "discord_url", managers))
    return [
        {"name": f"addresses-{kind}-{instance['name']}", "path": f"{instance['secrets_dir']}/{file}"}
        for kind, file, instances in kinds
        for instance in instances
    ]


def files_of(unit: str, files: Sequence[Mapping[str, str]], secrets: Sequence[Mapping[str, str]]) -> list[str]:
    """The paths that a unit reads at its start; of alert-relay also the addresses, and the release with its program."""
    own = [file["path"] for file in files if file["unit"] == unit]
    return [*own, *(secret["path"] for secret in secrets), RELEASE] if unit == RELAY else own


def problems(settings: Mapping[str, Any], gateways: Instances, managers: Instances) -> list[str]:
    """One sentence for each: the variable, its value, what to write."""
    found = [*_values(settings), *_ports(settings, gateways, managers)] if settings["enabled"] else []
    if settings["cloudwatch"] and not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-[0-9]", settings["cloudwatch_region"]):
        region = settings["cloudwatch_region"]
        found.append(f"monitoring_cloudwatch_region is {region!r}. Use the name of a region, such as us-east-1.")
    return found


def _values(settings: Mapping[str, Any]) -> Iterator[str]:
    for name, least in AT_LEAST.items():
        if settings[name] < least:
            yield f"monitoring_{name} is {settings[name]}. Use {least} or more."
    if settings["heartbeat_timeout"] < 2 * settings["scrape_seconds"]:
        yield (
            f"monitoring_heartbeat_timeout is {settings['heartbeat_timeout']}. Use at least twice "
            f"monitoring_scrape_seconds, which is {settings['scrape_seconds']}."
        )
    delay = settings["alert_delay"]
    if delay and not DURATION.fullmatch(delay):
        yield f"monitoring_alert_delay is {delay!r}. Use a duration such as 30s or 5m, or nothing."
    url = settings["heartbeat_url"]
    if url and not re.fullmatch(r"https://[^\s]+", url):
        yield "monitoring_heartbeat_url is no address that starts with https:// and has no space. Copy it again."


def _ports(settings: Mapping[str, Any], gateways: Instances, managers: Instances) -> Iterator[str]:
    used: dict[int, str] = {}
    for instance in (*gateways, *managers):
        for port, what in _ports_of(instance):
            used[port] = f"{what} of {instance['name']}"
    for name in PORTS:
        port = settings[name]
        if not 1024 <= port <= 65535:
            yield f"monitoring_{name} is {port}. Use a port from 1024 to 65535."
        elif port in used:
            yield f"monitoring_{name} is {port}, which is {used[port]}. Use a port of its own."
        used[port] = f"monitoring_{name}"


def _ports_of(instance: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    for api in instance.get("apis", ()):
        yield api["port"], "the API port"
    for setting, what in (("vnc_port", "the port of the screen"), ("metrics_port", "the port of the metrics")):
        if instance.get(setting):
            yield instance[setting], what


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        return {
            "monitoring_credentials": credentials,
            "monitoring_files_of": files_of,
            "monitoring_problems": problems,
            "monitoring_targets": targets,
        }
