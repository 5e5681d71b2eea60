"""The host as it is: what runs, what an upgrade needs, which tiers are reached. Changes nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from .decision import Disk, GatewayFacts, ImageFacts, ManagerFacts
from .model import Deployment, Tiers

UNITS = Path("/etc/systemd/system")
UNFINISHED_RESTORE = Path("/var/lib/host-backup/restore.json")
"""Of `host_backup.restoring`: the moves of a restore that did not end."""
PROGRAMS = ("python", "gateway-watch", "position-manager")


class Host(Protocol):
    """`host_audit.host.Host`."""

    def path(self, path: str | Path) -> Path: ...

    def run(self, *command: str, ok: Sequence[int] = (0,)) -> str: ...


def gateway_facts(name: str, document: Mapping[str, Any]) -> GatewayFacts:
    """A gateway from the content of its instance.json."""
    ports = {str(api["mode"]): int(api["port"]) for api in document.get("apis", ())}
    read_only = document.get("read_only_api")
    return GatewayFacts(
        name, str(document.get("trading_mode", "")), ports, read_only=None if read_only is None else bool(read_only)
    )


class Inspection:
    """Reads one host. ``failure``: what ``host`` raises for a program that is missing or fails."""

    def __init__(self, host: Host, failure: type[Exception], releases: Path) -> None:
        self._host = host
        self._failure = failure
        self.releases = releases

    def release(self) -> str:
        """The name of the current release; empty if there is none."""
        try:
            return self._host.path(self.releases / "current").readlink().name
        except OSError:
            return ""

    def running_release(self, unit: str) -> str:
        """The release from which a unit's main process was started; empty if it does not run."""
        try:
            process = self._host.run("systemctl", "show", "--property=MainPID", "--value", f"{unit}.service").strip()
            program = self._host.path(f"/proc/{process}/cmdline").read_bytes().partition(b"\0")[0].decode()
            return Path(program).relative_to(self.releases / "releases").parts[0]
        except (self._failure, OSError, ValueError, IndexError):
            return ""

    def is_complete(self, release: str) -> bool:
        """Whether a release is installed as a whole."""
        directory = self._host.path(self.releases / "releases" / release)
        programs = (directory / "bin" / program for program in PROGRAMS)
        return (
            bool(release) and (directory / ".complete").exists() and all(os.access(file, os.X_OK) for file in programs)
        )

    def restore_is_unfinished(self) -> bool:
        """Whether the restore of a backup was interrupted, so that some state is restored and some is not."""
        return self._host.path(UNFINISHED_RESTORE).exists()

    def deployment(self, gateways: Iterable[str]) -> Deployment:
        return Deployment(self.release(), {name: self._image(name) for name in gateways})

    def _image(self, gateway: str) -> str:
        """The deployed image; empty if its two files differ, which an unfinished deploy leaves."""
        image = str(self._instance(gateway).get("image", ""))
        try:
            unit = self._host.path(UNITS / f"{gateway}.service").read_text(encoding="utf-8")
        except OSError:
            return ""
        return image if image and image in unit.split() else ""

    def runs_other(self, gateway: str, image: str) -> bool:
        """Whether the gateway's container was created from another image than the deployed one, which a deploy leaves
        that ended before its restarts. Not known without a container."""
        try:
            container = ("docker", "container", "inspect", "--format", "{{.Config.Image}} {{.Image}}", gateway)
            name, _, identity = self._host.run(*container).strip().partition(" ")
            return (
                name not in ("", image)
                and identity != self._host.run("docker", "image", "inspect", "--format", "{{.Id}}", image).strip()
            )
        except self._failure:
            return False

    def _instance(self, gateway: str) -> Mapping[str, Any]:
        try:
            document = json.loads(self._host.path(f"/etc/ib-gateway/{gateway}/instance.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return document if isinstance(document, dict) else {}

    def gateway(self, name: str) -> GatewayFacts:
        document = self._instance(name)
        return replace(gateway_facts(name, document), cost=self._cost(name)) if document else GatewayFacts(name)

    def _cost(self, name: str) -> str:
        program = self._program("gateway-watch")
        try:
            self._host.run(program, "soft-restart", "--plan", "--instance", name)
        except self._failure:
            # Only a full login is possible, or the release has no such command.
            try:
                return self._host.run(program, "restart-cost", "--instance", name).strip()
            except self._failure:
                return ""
        return f"The restart of {name} keeps its session: no approval is expected."

    def _program(self, name: str) -> str:
        return str(self._host.path(self.releases / "current" / "bin" / name))

    def image(self, name: str, archive: str = "") -> ImageFacts:
        """An image, and where it can be had from if it is not on the host."""
        if self._image_size(name) is not None:
            return ImageFacts(name, on_host=True)
        if archive:
            path = self._host.path(archive)
            return ImageFacts(name, False, archive, path.stat().st_size if path.is_file() else None)
        return ImageFacts(name, False, refusal=self._refusal(name))

    def used_image_bytes(self, images: Iterable[str]) -> int:
        return max((size for size in map(self._image_size, images) if size is not None), default=0)

    def _image_size(self, name: str) -> int | None:
        if not name:
            return None
        try:
            return int(self._host.run("docker", "image", "inspect", "--format", "{{.Size}}", name))
        except (self._failure, ValueError):
            return None

    def _refusal(self, name: str) -> str:
        """Why the registry does not have the image; empty if it does, or if this client cannot ask for it."""
        try:
            self._host.run("docker", "manifest", "inspect", name)
        except self._failure as error:
            text = str(error)
            return "" if "is not a docker command" in text or "experimental" in text else text
        return ""

    def disk(self, path: Path) -> Disk:
        """The file system of a directory, or of the nearest one above it that exists."""
        place = self._host.path(path)
        while not place.exists():
            place = place.parent
        space = os.statvfs(place)
        return Disk(str(path), place.stat().st_dev, space.f_bavail * space.f_frsize)

    def image_directory(self) -> Path:
        try:
            return Path(self._host.run("docker", "info", "--format", "{{.DockerRootDir}}").strip() or "/var/lib/docker")
        except self._failure:
            return Path("/var/lib/docker")

    def manager(self, name: str) -> ManagerFacts | None:
        """A position manager; None if it does not run, and so guards nothing."""
        status = self._manager_status(name)
        if not status.get("phase"):
            running = self.succeeds("systemctl", "is-active", "--quiet", f"{name}.service")
            return ManagerFacts(name, None, None) if running else None
        markets = status.get("open_markets")
        return ManagerFacts(name, len(status.get("units") or ()), None if markets is None else tuple(markets))

    def has_unit(self, name: str) -> bool:
        """Whether something with that name is deployed."""
        return self._host.path(UNITS / f"{name}.service").exists()

    def _manager_status(self, name: str) -> Mapping[str, Any]:
        # 1: it is not healthy.
        return self._json(self._program("position-manager"), "status", "--json", "--instance", name)

    def tiers(self, gateways: Iterable[str], managers: Iterable[str]) -> Tiers:
        """Each tier of each gateway, and the phase of each manager; empty where it cannot be had."""
        found: dict[str, Mapping[str, Any]] = {}
        for name in gateways:
            status = self._json(self._program("gateway-watch"), "status", "--json", "--tiers", "--instance", name)
            tiers = status.get("tiers") or {}
            found[name] = {tier: entry.get("ok") for tier, entry in tiers.items()}
        for name in managers:
            found[name] = {"phase": self._manager_status(name).get("phase") or "not running"}
        return found

    def succeeds(self, *command: str) -> bool:
        """Whether a program ends with exit status 0."""
        try:
            self._host.run(*command)
        except self._failure:
            return False
        return True

    def _json(self, *command: str) -> Mapping[str, Any]:
        try:
            document = json.loads(self._host.run(*command, ok=(0, 1)))
        except (self._failure, ValueError):
            return {}
        return document if isinstance(document, dict) else {}
