"""The settings of a host's backups, and its instances from the host's other configuration."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from host_backup.archive import Source
from host_backup.errors import BackupError
from host_backup.manifest import GatewayFacts, ManagerFacts

_DEPLOY = "Run site.yml again: it writes the file from the inventory."
CURRENT_RELEASE = "opt/ib-gateway-ansible/current"


@dataclass(frozen=True)
class S3:
    """Where backups are stored in S3."""

    bucket: str
    prefix: str
    region: str

    def key(self, name: str) -> str:
        return "/".join(part for part in (self.prefix.strip("/"), name) if part)


@dataclass(frozen=True)
class Settings:
    """``host`` is the name in the inventory, ``directory`` where the backups are stored on the host."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    host: str
    recipients: list[str]
    directory: Path
    retain_count: int
    retain_days: int
    max_age_hours: int
    s3: S3 | None = None


_SETTINGS = TypeAdapter(Settings)


def load(path: Path) -> Settings:
    """Raises BackupError."""
    try:
        return _SETTINGS.validate_json(path.read_bytes())
    except OSError as error:
        raise BackupError(
            f"{path} cannot be read: {error.strerror}.",
            "Backups are not configured on this host: set host_backup_recipients and run site.yml.",
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        raise BackupError(
            f"{path} is invalid at {'.'.join(map(str, first['loc']))}: {first['msg']}.", _DEPLOY
        ) from error


def source(host: str, root: Path = Path("/")) -> Source:
    """The instances that are configured on the host. Raises BackupError."""
    gateways = []
    for path in sorted(root.glob("etc/ib-gateway/*/instance.json")):
        document = _read(path)
        gateways.append(
            GatewayFacts(path.parent.name, str(document.get("trading_mode", "")), str(document.get("image", "")))
        )
    managers = [
        ManagerFacts(path.stem, str(_read(path).get("mode", "")))
        for path in sorted(root.glob("etc/position-manager/*.yml"))
    ]
    try:
        release = (root / CURRENT_RELEASE).readlink().name
    except OSError:
        release = ""
    return Source(host, release, tuple(gateways), tuple(managers))


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        document = json.loads(text) if path.suffix == ".json" else YAML(typ="safe").load(text)
    except (OSError, ValueError, YAMLError) as error:
        raise BackupError(f"{path} cannot be read: {' '.join(str(error).split())}.", _DEPLOY) from error
    if not isinstance(document, dict):
        raise BackupError(f"{path} is no mapping.", _DEPLOY)
    return document
