"""The Docker engine that the set-up chose, for tests that need a real one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def environment() -> dict[str, str]:
    """The environment with DOCKER_HOST as the set-up wrote it, unless the caller chose an engine."""
    values = dict(os.environ)
    chosen = ROOT / ".sandbox" / "engine.env"
    if "DOCKER_HOST" not in values and chosen.exists():
        values["DOCKER_HOST"] = chosen.read_text().strip().removeprefix("DOCKER_HOST=")
    return values


def docker(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", *arguments], input=stdin, capture_output=True, text=True, check=False, env=environment(), timeout=120
    )


def sandbox_image() -> str:
    """The newest image of the sandbox host. Raises if the set-up did not build it: the test must not be skipped."""
    listed = docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "ibga/sandbox-host")
    images = listed.stdout.split()
    if not images:
        raise RuntimeError(f"no image ibga/sandbox-host; run `make setup` first. {listed.stderr}")
    return images[0]
