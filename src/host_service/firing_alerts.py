"""The alerts of the host that fire, as Alertmanager on 127.0.0.1 knows them."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

CONFIG = Path("/etc/ib-gateway-monitoring/monitoring.json")
WATCHDOG = "Watchdog"
SECONDS = 2.0


@dataclass(frozen=True)
class FiringAlerts:
    """``names`` with their severity; ``fault`` is why they are not known, empty if they are."""

    names: tuple[tuple[str, str], ...]
    fault: str = ""

    @property
    def text(self) -> str:
        """One line for people."""
        if self.fault:
            return f"UNKNOWN: {self.fault}"
        shown = ", ".join(f"{name} ({severity})" for name, severity in self.names)
        return f"{len(self.names)} firing: {shown}" if shown else "none firing"

    @property
    def document(self) -> dict[str, Any]:
        """For programs."""
        names = [{"name": name, "severity": severity} for name, severity in self.names]
        return {"firing": names, "fault": self.fault or None}


def read(config: Path = CONFIG) -> FiringAlerts | None:
    """None on a host without the monitoring."""
    try:
        port = int(json.loads(config.read_bytes())["alertmanager_port"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        return FiringAlerts((), f"{config} cannot be read ({type(error).__name__})")
    url = f"http://127.0.0.1:{port}/api/v2/alerts?active=true&silenced=false&inhibited=false"
    try:
        # No proxy: the address is on this host.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=SECONDS) as answer:
            return of(json.loads(answer.read()))
    except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
        return FiringAlerts((), f"Alertmanager does not answer ({type(error).__name__})")


def of(alerts: list[dict[str, Any]]) -> FiringAlerts:
    """Of the answer to GET /api/v2/alerts: each name once, critical ones first."""
    found = {(alert["labels"]["alertname"], alert["labels"].get("severity", "none")) for alert in alerts}
    names = sorted((entry for entry in found if entry[0] != WATCHDOG), key=lambda entry: (entry[1], entry[0]))
    alive = any(name == WATCHDOG for name, _ in found)
    return FiringAlerts(tuple(names), "" if alive else "Prometheus sends no heartbeat")
