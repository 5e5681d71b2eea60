"""The services' units."""

from __future__ import annotations

import re
from collections.abc import Iterator

from host_audit.host import Host, UnreadableError
from host_audit.point import LIVE, Point, must, should
from host_audit.points.manager import names as manager_names

MOST_EXPOSURE = 2.0
RUNNING = must("running", "Services", "run, and start at boot", "systemctl status UNIT; site.yml starts it.", LIVE)
EXPOSURE = should(
    "exposure", "Exposure of the units", f"at most {MOST_EXPOSURE} by systemd-analyze security", "Run site.yml."
)
RESTARTS = should(
    "restarts", "Restarts of the units", "fewer than 3 since the start of the host", "journalctl -eu UNIT shows why."
)
PAGE = should(
    "dashboard", "Status page", "runs, and can only read", "systemctl status ib-dashboard; site.yml starts it."
)
PAGE_UNIT = "ib-dashboard.service"
READS = "cap_dac_read_search"


def units(host: Host) -> list[str]:
    gateways = [f"{path.parent.name}.service" for path in host.matching("/etc/ib-gateway", "*/instance.json")]
    return gateways + [f"{name}.service" for name in manager_names(host)]


def check(host: Host) -> Iterator[Point]:
    for unit in units(host):
        try:
            output = host.run("systemctl", "show", "--property=ActiveState,SubState,UnitFileState,NRestarts", unit)
        except UnreadableError as error:
            yield RUNNING.unknown(str(error), unit)
            continue
        values = dict(line.partition("=")[::2] for line in output.splitlines())
        faults = []
        if values.get("ActiveState") != "active":
            faults.append(f"{values.get('ActiveState')} ({values.get('SubState')})")
        if values.get("UnitFileState") != "enabled":
            faults.append(f"{values.get('UnitFileState') or 'not installed'}: it does not start at boot")
        yield RUNNING.of(faults, "active, enabled", unit)
        restarts = int(values.get("NRestarts") or 0)
        yield RESTARTS.of([str(restarts)] if restarts >= 3 else [], str(restarts), unit)
        yield _exposure(host, unit)
    if host.exists(f"/etc/systemd/system/{PAGE_UNIT}"):
        yield _page(host)
        yield _exposure(host, PAGE_UNIT)


def _page(host: Host) -> Point:
    """The page has no way to act only with these limits of its unit."""
    properties = "ActiveState,User,CapabilityBoundingSet,ProtectSystem"
    try:
        output = host.run("systemctl", "show", f"--property={properties}", PAGE_UNIT)
    except UnreadableError as error:
        return PAGE.unknown(str(error))
    values = dict(line.partition("=")[::2] for line in output.splitlines())
    wanted = {"ActiveState": "active", "CapabilityBoundingSet": READS, "ProtectSystem": "strict"}
    faults = [
        f"{name} is {values.get(name)}, not {value}" for name, value in wanted.items() if values.get(name) != value
    ]
    if values.get("User") in (None, "", "root"):
        faults.append("it runs as root")
    return PAGE.of(faults, f"runs as {values.get('User')}")


def _exposure(host: Host, unit: str) -> Point:
    try:
        output = host.run("systemd-analyze", "security", "--no-pager", unit)
    except UnreadableError as error:
        return EXPOSURE.unknown(str(error), unit)
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", output)
    if found is None:
        return EXPOSURE.unknown("systemd-analyze reports no level", unit)
    return EXPOSURE.of([found[1]] if float(found[1]) > MOST_EXPOSURE else [], found[1], unit)
