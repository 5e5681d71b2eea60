"""A diagnostic bundle to send to somebody else: states, logs and versions, without secrets.

User names, passwords, notification addresses and account numbers are masked in every text. Screenshots are left out:
they cannot be masked.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path

from gateway_watch.instance import Instance
from ib_connection.accounts import masked

_ACCOUNT = re.compile(r"(?<![A-Za-z0-9])(?:DU|DF|DI|U|F|I)\d{4,9}(?![A-Za-z0-9])")
_ADDRESS = re.compile(r"(?<![\w+.-])([a-z][a-z0-9+.-]*://)(?!127\.0\.0\.1)[^\s\"']+", re.IGNORECASE)
_SHORTEST_SECRET = 3
_ASSIGNMENT = re.compile(r"^[A-Z_]+=(.+)$", re.MULTILINE)

STATE_FILES = (
    "breaker.json",
    "session.json",
    "login-gate.json",
    "login-asked.json",
    "link-restart.json",
    "second-factor.json",
    "reminders.json",
    "soft-restart.json",
)


def secrets_of(instance: Instance) -> frozenset[str]:
    """Every value in the instance's secret files. Raises OSError."""
    found: set[str] = set()
    for file in sorted(path for path in instance.secrets_dir.glob("*") if path.is_file()):
        text = file.read_text(encoding="utf-8", errors="replace")
        found.update(line.strip() for line in text.splitlines())
        found.update(value.strip() for value in _ASSIGNMENT.findall(text))
    return frozenset(value for value in found if len(value) >= _SHORTEST_SECRET)


def masker(secrets: Iterable[str]) -> Callable[[str], str]:
    """A function that masks secrets, account numbers and addresses in a text."""
    longest_first = sorted(secrets, key=len, reverse=True)

    def mask(text: str) -> str:
        for secret in longest_first:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", text)
        text = _ADDRESS.sub(r"\1***", text)
        return _ACCOUNT.sub(lambda found: masked(found.group()), text)

    return mask


def inspection(document: str) -> str:
    """`docker container inspect` without the environment's values."""
    containers = json.loads(document)
    for container in containers:
        config = container.get("Config", {})
        config["Env"] = [entry.partition("=")[0] for entry in config.get("Env") or ()]
    return json.dumps(containers, indent=2)


def state_texts(instance: Instance) -> dict[str, str]:
    """The state files and the configuration, as far as they are there."""
    paths = [instance.config_dir / "instance.json", instance.login_file]
    paths += [instance.state_dir / name for name in STATE_FILES]
    return {f"state/{path.name}": path.read_text(encoding="utf-8", errors="replace") for path in paths if path.exists()}


def write(path: Path, texts: Mapping[str, str], mask: Callable[[str], str], at: datetime) -> None:
    """Write the archive with mode 0600, every text masked, completely or not at all. Raises OSError; FileExistsError if
    it is there already."""
    with path.open("xb") as file:
        path.chmod(0o600)
        try:
            with tarfile.open(fileobj=file, mode="w:gz") as archive:
                for name, text in texts.items():
                    content = mask(text).encode()
                    entry = tarfile.TarInfo(f"{path.name.removesuffix('.tar.gz')}/{name}")
                    entry.size, entry.mode, entry.mtime = len(content), 0o600, int(at.timestamp())
                    archive.addfile(entry, io.BytesIO(content))
            file.flush()
        except OSError:
            path.unlink()
            raise
