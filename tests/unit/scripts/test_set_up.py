"""`scripts/images` builds both images side by side, and `scripts/setup` the Python packages beside them; each reports
what cannot be built. The engine, Node.js and the list of installed packages are stand-ins."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCKER = """\
#!/bin/bash
case "$1 $2" in
  "image inspect") [ -e "$FAKE/${@: -1}" ] || case "${@: -1}" in ibga/base:*) echo sha256:base ;; *) exit 1 ;; esac ;;
  "build --build-arg")
    kind=host; [[ "$5" == gateway-simulator:* ]] && kind=simulator
    touch "$FAKE/$kind-started"
    # Only if the other is built meanwhile does this one end.
    for _ in $(seq 100); do [ -e "$FAKE/host-started" ] && [ -e "$FAKE/simulator-started" ] && break; sleep 0.05; done
    [ -e "$FAKE/host-started" ] && [ -e "$FAKE/simulator-started" ] || exit 9
    [ "$FAIL" != "$kind" ] || { echo "no space left for $kind" >&2; exit 1; }
    ;;
  "save --output") [ "$FAIL" != save ] || exit 1; echo archive > "$3" ;;
esac
"""


DPKG = """\
#!/bin/bash
for name in "$@"; do echo "installed $name"; done
"""


NODE = """\
#!/bin/bash
[ "$FAIL" != page ] || [[ "$1" != *build.mjs ]] || exit 1
"""


def run(directory: Path, script: str, fail: str = "", lock: str = "") -> subprocess.CompletedProcess[str]:
    """Run a script in a copy of what it reads, with a ``lock`` of Python packages."""
    root, fake = directory / "clone", directory / "engine"
    for name in ("scripts", "images", "simulator/src", "dashboard_web"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    (root / "dashboard_web/node_modules").mkdir()
    for name in ("Dockerfile", "config.ini.tmpl", "pyproject.toml"):
        shutil.copy(ROOT / "simulator" / name, root / "simulator" / name)
    (root / ".sandbox").mkdir()
    (root / ".sandbox/engine.env").write_text("DOCKER_HOST=unix:///nowhere\n")
    (root / "requirements").mkdir()
    (root / "requirements/controller.lock").write_text(lock)
    fake.mkdir()
    for name, text in (("docker", DOCKER), ("dpkg-query", DPKG), ("node", NODE), ("npm", NODE)):
        (fake / name).write_text(text)
        (fake / name).chmod(0o755)
    path = f"{fake}:{os.environ['PATH']}"
    return subprocess.run(
        [root / "scripts" / script],
        env={**os.environ, "PATH": path, "FAKE": str(fake), "FAIL": fail, "DOCKER_HOST": "unix:///nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_both_images_are_built_at_the_same_time(tmp_path: Path) -> None:
    done = run(tmp_path, "images")
    assert done.returncode == 0, done.stderr
    state = tmp_path / "clone/.sandbox"
    assert len(list((state / "images").glob("*.tar"))) == 1
    assert (state / "images.json").exists()
    steps = {line.split("\t")[0] for line in (state / "setup.times").read_text().splitlines()}
    assert steps == {
        "base image",
        "image of the sandbox host",
        "image of the simulator",
        "archive of the simulator",
    }


@pytest.mark.parametrize(
    ("fail", "message"),
    [
        ("host", "The image ibga/sandbox-host"),
        ("simulator", "The image gateway-simulator"),
        ("save", "The archive of gateway-simulator"),
    ],
)
def test_what_cannot_be_built_ends_the_script(tmp_path: Path, fail: str, message: str) -> None:
    done = run(tmp_path, "images", fail)
    assert done.returncode != 0
    assert message in done.stderr
    assert not (tmp_path / "clone/.sandbox/images.json").exists()
    # What was built stays for the next run, complete.
    archives = list((tmp_path / "clone/.sandbox").glob("images/*.tar"))
    assert len(archives) == (1 if fail == "host" else 0)


def test_the_set_up_needs_both_the_python_packages_and_the_images(tmp_path: Path) -> None:
    done = run(tmp_path, "setup")
    assert done.returncode == 0, done.stderr
    clone = tmp_path / "clone"
    assert (clone / ".venv/.stamp").exists()
    assert (clone / ".sandbox/images.json").exists()
    record = (clone / ".sandbox/setup.times").read_text()
    assert "Python packages\t" in record
    assert "engine and images\t" in record
    assert "the dashboard's page\t" in record


@pytest.mark.parametrize(
    ("fail", "lock", "message"),
    [
        ("", "=== nothing", "The Python packages could not be installed"),
        ("page", "", "The page could not be built"),
        ("host", "", "The image ibga/sandbox-host"),
    ],
)
def test_the_set_up_fails_if_either_fails(tmp_path: Path, fail: str, lock: str, message: str) -> None:
    done = run(tmp_path, "setup", fail, lock)
    assert done.returncode != 0
    assert message in done.stderr
