"""The rendered unit of the position manager: accepted by a real systemd, hardened, and free of secrets."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from tests.engine import docker, sandbox_image
from tests.plugins import load

ROLE = Path(__file__).parents[2] / "roles" / "position_manager"
SECRETS = {"discord_url": "discord://1/t0ken", "heartbeat_url": "https://example.org/s3cret"}
GATEWAY = {
    "name": "ib-gateway",
    "client_id": 9000,
    "auto_restart_time": "02:00 AM",
    "cold_restart_time": "13:00",
    "timezone": "America/New_York",
    "expected_accounts": ["DU1234567"],
    "apis": [{"mode": "paper", "host": "127.0.0.1", "port": 4002}],
}


def role_filters() -> Any:
    return load("roles/position_manager/filter_plugins/position_manager_instances.py")


def render(**settings: Any) -> str:
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    shared = {name.removeprefix("position_manager_"): value for name, value in defaults.items()} | SECRETS | settings
    (instance,) = role_filters().resolve({"position-manager": {}}, shared, [GATEWAY], secrets=True)
    environment = jinja2.Environment(  # noqa: S701 - a unit file, no HTML
        loader=jinja2.FileSystemLoader(ROLE / "templates"), undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    return environment.get_template("position-manager.service.j2").render(
        item=instance,
        ansible_managed="Ansible managed",
        __position_manager_release="/opt/ib-gateway-ansible/current",
        __position_manager_user="position-manager",
    )


VARIANTS: dict[str, dict[str, Any]] = {
    "told": {},
    "alone": {"discord_url": "", "heartbeat_url": ""},
    "sim": {"mode": "sim", "metrics_port": 0},
}


def analyze(unit: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze of the sandbox host's systemd on the unit, in a container that is gone afterwards."""
    script = (
        "mkdir -p /opt/ib-gateway-ansible/current/bin && cd /etc/systemd/system && cat > position-manager.service "
        "&& printf '#!/bin/sh\\n' > /opt/ib-gateway-ansible/current/bin/position-manager "
        "&& chmod +x /opt/ib-gateway-ansible/current/bin/position-manager "
        "&& printf '[Service]\\nExecStart=/bin/true\\n' > ib-gateway.service "
        "&& useradd --system position-manager "
        f"&& systemd-analyze {shlex.join(arguments)}"
    )
    return docker("run", "--rm", "--interactive", "--entrypoint", "sh", sandbox_image(), "-c", script, stdin=unit)


@pytest.mark.parametrize("variant", VARIANTS)
def test_systemd_accepts_the_unit_without_a_word(variant: str) -> None:
    result = analyze(render(**VARIANTS[variant]), "verify", "--man=no", "./position-manager.service")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_a_broken_unit_is_seen_by_the_same_check() -> None:
    broken = render().replace("Restart=always", "Restart=sometimes")
    assert "sometimes" in analyze(broken, "verify", "--man=no", "./position-manager.service").stderr


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_exposure_is_at_most_two(variant: str) -> None:
    security = ("security", "--offline=true", "--threshold=20", "--no-pager", "./position-manager.service")
    result = analyze(render(**VARIANTS[variant]), *security)
    assert result.returncode == 0, result.stdout


def test_a_loose_unit_is_seen_by_the_same_check() -> None:
    loose = render().replace("ProtectSystem=strict\n", "").replace("CapabilityBoundingSet=\n", "")
    security = ("security", "--offline=true", "--threshold=20", "--no-pager", "./position-manager.service")
    assert analyze(loose, *security).returncode != 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_secrets_are_credentials_and_nowhere_else(variant: str) -> None:
    unit = render(**VARIANTS[variant])
    assert "t0ken" not in unit
    assert "s3cret" not in unit
    assert "DU1234567" not in unit
    assert [line for line in unit.splitlines() if line.startswith(("Environment", "PassEnvironment"))] == [
        "Environment=MPLCONFIGDIR=/var/cache/position-manager/position-manager",
        "Environment=MALLOC_TRIM_THRESHOLD_=131072",
    ]
    assert [line for line in unit.splitlines() if line.startswith("LoadCredential")] == [
        f"LoadCredential={name}:/etc/position-manager/secrets/position-manager/{name}"
        for name in ("discord_url", "heartbeat_url")
    ]


def test_the_unit_reaches_the_internet_only_to_notify_somebody() -> None:
    assert "IPAddressDeny" not in render(heartbeat_url="")
    assert "IPAddressDeny" not in render(discord_url="")
    assert "IPAddressDeny=any\nIPAddressAllow=localhost\n" in render(discord_url="", heartbeat_url="")


def test_it_starts_after_its_gateway_and_does_not_end_with_it() -> None:
    lines = render().splitlines()
    assert any(line.startswith("After=") and "ib-gateway.service" in line.split() for line in lines)
    assert any(line.startswith("Wants=") and "ib-gateway.service" in line.split() for line in lines)
    assert not any(line.startswith(("Requires=", "BindsTo=", "PartOf=", "Requisite=")) for line in lines)
    assert "ib-gateway" not in render(mode="sim").replace("/opt/ib-gateway-ansible", "")


def test_a_unit_that_cannot_start_is_reported_and_recovered() -> None:
    unit, _, service = render().partition("[Service]")
    for line in ("StartLimitIntervalSec=150", "StartLimitBurst=6", "OnFailure=unit-recovery@%N.service"):
        assert f"{line}\n" in unit
    assert "Restart=always\nRestartSec=5\n" in service
    # Pauses that grow by themselves would keep the unit below the limit, and nobody would be notified.
    assert "RestartSteps" not in service
