"""The rendered units of the monitoring: accepted by a real systemd, hardened, on the loopback interface only."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from tests import prometheus
from tests.engine import docker

ROLE = Path(__file__).parents[2] / "roles/monitoring"
PROGRAM = "/opt/ib-gateway-ansible/current/bin/alert-relay"
METRIC = "/opt/ib-gateway-ansible/current/bin/cloudwatch-metric"
DAEMONS = ("prometheus", "prometheus-alertmanager", "prometheus-node-exporter")


def render(name: str) -> str:
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    environment = jinja2.Environment(  # noqa: S701 - a unit file, no HTML
        loader=jinja2.FileSystemLoader(ROLE / "templates"), undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    values: dict[str, Any] = {
        "ansible_managed": "Ansible managed",
        "__monitoring_dir": "/etc/ib-gateway-monitoring",
        "__monitoring_program": PROGRAM,
        "__monitoring_credentials": [{"name": "addresses-gateway-a", "path": "/etc/ib-gateway/a/secrets/notify_urls"}],
        "__monitoring_targets": [{"labels": {"unit": "ib-gateway.service"}}],
        "__monitoring_other_units": ["docker.service"],
        "__monitoring_plain": {name.removeprefix("monitoring_"): value for name, value in defaults.items()},
    }
    return environment.get_template(f"{name}.j2").render(values)


def analyze(files: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze of the sandbox host on units and drop-ins, with the packages' own units beside them."""
    lines = [
        # Not dpkg-deb --extract, which would replace the link /lib.
        "for package in /var/cache/apt/archives/prometheus*.deb; do "
        "dpkg-deb --fsys-tarfile $package | tar --extract --directory=/ --keep-directory-symlink; done",
        f"mkdir -p {Path(PROGRAM).parent}",
        f"install -m 0755 /dev/null {PROGRAM}",
        f"install -m 0755 /dev/null {METRIC}",
        "useradd --system prometheus",
        "mkdir -p /var/lib/prometheus",
    ]
    for path, text in files.items():
        lines.append(f"mkdir -p {Path(path).parent} && printf %s {shlex.quote(text)} > {path}")
    script = " && ".join((*lines, f"systemd-analyze {shlex.join(arguments)}"))
    return docker("run", "--rm", "--entrypoint", "sh", prometheus.image(), "-c", script)


def units() -> dict[str, str]:
    drop_ins = {f"/etc/systemd/system/{name}.service.d/ib-gateway.conf": render(f"{name}.conf") for name in DAEMONS}
    own = ("alert-relay.service", "cloudwatch-metric.service", "cloudwatch-metric.timer")
    return drop_ins | {f"/etc/systemd/system/{name}": render(name) for name in own}


def test_systemd_accepts_the_units_without_a_word() -> None:
    names = [f"{name}.service" for name in (*DAEMONS, "alert-relay", "cloudwatch-metric")]
    done = analyze(units(), "verify", "--man=no", *names, "cloudwatch-metric.timer")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_exposure_of_each_is_at_most_two() -> None:
    services = [f"{name}.service" for name in (*DAEMONS, "alert-relay", "cloudwatch-metric")]
    done = analyze(units(), "security", "--offline=true", "--threshold=20", "--no-pager", *services)
    assert done.returncode == 0, done.stdout


def test_a_loose_unit_is_seen_by_the_same_check() -> None:
    loose = render("alert-relay.service").replace("ProtectSystem=strict\n", "").replace("DynamicUser=true\n", "")
    loose = loose.replace("CapabilityBoundingSet=\n", "")
    done = analyze(
        {"/etc/systemd/system/alert-relay.service": loose},
        "security",
        "--offline=true",
        "--threshold=20",
        "--no-pager",
        "alert-relay.service",
    )
    assert done.returncode == 1
    assert "Overall exposure level for alert-relay.service" in done.stdout


@pytest.mark.parametrize("name", DAEMONS)
def test_each_daemon_listens_and_talks_on_the_loopback_interface_only(name: str) -> None:
    text = render(f"{name}.conf")
    assert "--web.listen-address=127.0.0.1:" in text
    assert "IPAddressDeny=any\nIPAddressAllow=localhost\n" in text
    # Set again after the package's own command.
    assert "ExecStart=\nExecStart=/usr/bin/" in text


def test_what_prometheus_stores_is_bounded_in_time_and_size() -> None:
    text = render("prometheus.conf")
    assert "--storage.tsdb.retention.time=30d" in text
    assert "--storage.tsdb.retention.size=1024MB" in text
