"""The files that an upgrade replaces: saved before it, restored by a rollback. What is equal is not touched."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from .decision import GatewayFacts
from .inspection import Host, gateway_facts
from .model import SavedFile


def gateway_files(name: str) -> list[tuple[str, str]]:
    """Paths of a gateway's files without secrets, each with its owner."""
    paths = (
        f"/etc/ib-gateway/{name}/container.env",
        instance_file(name),
        f"/etc/systemd/system/{name}.service",
    )
    return [(path, name) for path in paths]


def instance_file(gateway: str) -> str:
    return f"/etc/ib-gateway/{gateway}/instance.json"


def saved_gateways(files: Iterable[SavedFile]) -> list[GatewayFacts]:
    """The gateways as they were, from their saved files."""
    return [
        gateway_facts(file.owner, json.loads(file.content))
        for file in files
        if file.path == instance_file(file.owner) and file.content
    ]


def manager_files(name: str) -> list[tuple[str, str]]:
    """Likewise of a position manager."""
    return [(f"/etc/systemd/system/{name}.service", name), (manager_configuration(name), name)]


def manager_configuration(name: str) -> str:
    return f"/etc/position-manager/{name}.yml"


def save(host: Host, paths: Iterable[tuple[str, str]]) -> tuple[SavedFile, ...]:
    """The files as they are. Raises OSError."""
    return tuple(_save(host, path, owner) for path, owner in paths)


def _save(host: Host, path: str, owner: str) -> SavedFile:
    place = host.path(path)
    try:
        content = place.read_text(encoding="utf-8")
    except FileNotFoundError:
        return SavedFile(path, owner, None)
    found = place.stat()
    return SavedFile(path, owner, content, stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)


def differing(host: Host, files: Sequence[SavedFile]) -> list[SavedFile]:
    """Those whose content is another one now."""
    return [file for file in files if _content(host, file.path) != file.content]


def _content(host: Host, path: str) -> str | None:
    try:
        return host.path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def restore(host: Host, files: Iterable[SavedFile], write: Callable[[Path, bytes, int], None]) -> None:
    """Give each file its saved content, mode and owner. Raises OSError."""
    for file in files:
        place = host.path(file.path)
        if file.content is None:
            place.unlink(missing_ok=True)
            continue
        write(place, file.content.encode(), file.mode)
        if (place.stat().st_uid, place.stat().st_gid) != (file.uid, file.gid):
            os.chown(place, file.uid, file.gid)


def link(path: Path, target: str) -> bool:
    """Point a link to a target in one step; whether that changes it. Raises OSError."""
    with contextlib.suppress(OSError):
        if str(path.readlink()) == target:
            return False
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(path)
    return True
