"""Where the services of a host publish and store what the page shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from host_service import gateway_login
from position_manager.paths import Paths


@dataclass(frozen=True)
class GatewayPlace:
    """A gateway: its instance.json, and where gateway-watch publishes its login."""

    name: str
    instance_file: Path
    login_file: Path


@dataclass(frozen=True)
class ManagerPlace:
    """A position manager. `unit` is empty for one that systemd does not run."""

    name: str
    paths: Paths
    unit: str = ""


@dataclass(frozen=True)
class Host:
    """The directories of a host. What is deployed later is found without a restart."""

    gateway_config: Path = Path("/etc/ib-gateway")
    gateway_runtime: Path = Path("/run/ib-gateway")
    manager_state: Path = Path("/var/lib/position-manager")
    manager_runtime: Path = Path("/run/position-manager")

    def gateways(self) -> Sequence[GatewayPlace]:
        """Ascending by name. Raises OSError."""
        return [
            GatewayPlace(file.parent.name, file, self.gateway_runtime / file.parent.name / gateway_login.NAME)
            for file in sorted(self.gateway_config.glob("*/instance.json"))
        ]

    def managers(self) -> Sequence[ManagerPlace]:
        """Ascending by name. Raises OSError."""
        if not self.manager_state.is_dir():
            return []
        return [
            ManagerPlace(
                path.name,
                Paths(Path("/etc/position-manager") / f"{path.name}.yml", path, self.manager_runtime / path.name),
                f"{path.name}.service",
            )
            for path in sorted(self.manager_state.iterdir())
            if path.is_dir()
        ]


@dataclass(frozen=True)
class OneManager:
    """A position manager without a host around it, such as one in mode sim on a laptop."""

    place: ManagerPlace

    def gateways(self) -> Sequence[GatewayPlace]:
        return []

    def managers(self) -> Sequence[ManagerPlace]:
        return [self.place]
