"""The programs of the distribution's packages, as the sandbox host installs them: from its image, which holds them."""

from __future__ import annotations

import json
import subprocess
from functools import lru_cache
from pathlib import Path

from tests.engine import ROOT, docker, environment, sandbox_image

SCRIPT = (
    "for package in /var/cache/apt/archives/prometheus*.deb; do dpkg-deb --extract $package /tmp/x; done; "
    "tar --create --file=- --directory=/tmp/x/usr/bin ."
)


@lru_cache
def programs() -> Path:
    """The directory with prometheus, promtool, prometheus-alertmanager and amtool; extracted once for each image."""
    chosen = image()
    identity = docker("image", "inspect", "--format", "{{.Id}}", chosen).stdout.strip().removeprefix("sha256:")
    found = ROOT / ".sandbox" / f"prometheus-{identity[:12]}"
    if not found.exists():
        packed = subprocess.run(
            ["docker", "run", "--rm", "--network=none", "--entrypoint", "sh", chosen, "-c", SCRIPT],
            capture_output=True,
            check=True,
            env=environment(),
            timeout=120,
        ).stdout
        new = found.with_suffix(".new")
        new.mkdir(exist_ok=True)
        subprocess.run(["tar", "--extract", "--directory", new], input=packed, check=True, timeout=60)
        new.rename(found)
    return found


def run(program: str, *arguments: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run one of the programs to its end."""
    return subprocess.run(
        [programs() / program, *arguments], capture_output=True, text=True, check=False, cwd=cwd, timeout=60
    )


def image() -> str:
    """The image that the set-up of this clone built."""
    chosen = ROOT / ".sandbox" / "images.json"
    return str(json.loads(chosen.read_text())["sandbox_host"]) if chosen.exists() else sandbox_image()
