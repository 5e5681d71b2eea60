"""`scripts/images` builds both images side by side, and `scripts/setup` the Python packages beside them; each reports
what cannot be built. The engine, what builds the page and the list of installed packages are stand-ins."""

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


BUILD_PAGE = """\
import os, sys
sys.exit(os.environ["FAIL"] == "page")
"""


def run(
    directory: Path, script: str, *arguments: str, fail: str = "", **locks: str
) -> subprocess.CompletedProcess[str]:
    """Run a script in a copy of what it reads, with ``locks`` of Python packages: controller and tests."""
    root, fake = directory / "clone", directory / "engine"
    if not root.exists():
        for name in ("scripts", "images", "simulator/src", "dashboard_web"):
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
        (root / "dashboard_web/node_modules").mkdir()
        for name in ("Dockerfile", "config.ini.tmpl", "pyproject.toml"):
            shutil.copy(ROOT / "simulator" / name, root / "simulator" / name)
        (root / ".sandbox").mkdir()
        (root / ".sandbox/engine.env").write_text("DOCKER_HOST=unix:///nowhere\n")
        (root / "requirements").mkdir()
        fake.mkdir()
    (root / "scripts/build_page.py").write_text(BUILD_PAGE)
    for name in ("controller", "tests"):
        (root / f"requirements/{name}.lock").write_text(locks.get(name, ""))
    for name, text in (
        *(("docker", DOCKER), ("dpkg-query", DPKG)),
        *((name, "#!/bin/bash\n") for name in ("node", "npm", "chromium")),
    ):
        (fake / name).write_text(text)
        (fake / name).chmod(0o755)
    path = f"{fake}:{os.environ['PATH']}"
    return subprocess.run(
        [root / "scripts" / script, *arguments],
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
    steps = {line.split("\t")[0] for line in (state / "setup.times.new").read_text().splitlines()}
    assert steps == {
        "base image",
        "image of the sandbox host",
        "image of the simulator",
        "archive of the simulator",
    }


@pytest.mark.parametrize(
    ("before", "new", "after"),
    [
        ("", "packages\t0\n", "packages\t0\n"),
        ("packages\t9\n", "packages\t0\nimages\t0\n", "packages\t9\n"),
        ("packages\t9\n", "packages\t0\nimages\t10\n", "packages\t0\nimages\t10\n"),
    ],
)
def test_a_set_up_with_nothing_to_do_retains_the_record_of_one_that_had(
    tmp_path: Path, before: str, new: str, after: str
) -> None:
    if before:
        (tmp_path / "setup.times").write_text(before)
    (tmp_path / "setup.times.new").write_text(new)
    subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f'. "{ROOT}/scripts/lib.sh"; STATE={tmp_path}; store_times'], check=True
    )
    assert (tmp_path / "setup.times").read_text() == after
    assert not (tmp_path / "setup.times.new").exists()


@pytest.mark.parametrize(
    ("fail", "message"),
    [
        ("host", "The image ibga/sandbox-host"),
        ("simulator", "The image gateway-simulator"),
        ("save", "The archive of gateway-simulator"),
    ],
)
def test_what_cannot_be_built_ends_the_script(tmp_path: Path, fail: str, message: str) -> None:
    done = run(tmp_path, "images", fail=fail)
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
    assert (clone / ".venv/.stamp-controller").exists()
    assert not (clone / ".venv/.stamp-tests").exists()
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
    done = run(tmp_path, "setup", fail=fail, controller=lock)
    assert done.returncode != 0
    assert message in done.stderr
    if fail != "host":
        assert done.stderr.splitlines()[-1] == "ERROR: The set-up has failed; see the error above.", "after the images"


def test_the_packages_of_the_tests_are_installed_for_the_tests_only(tmp_path: Path) -> None:
    assert run(tmp_path, "setup", tests="=== nothing").returncode == 0
    done = run(tmp_path, "setup", "tests", tests="=== nothing")
    assert done.returncode != 0
    assert "The Python packages could not be installed" in done.stderr
    assert run(tmp_path, "setup", "tests").returncode == 0
    assert (tmp_path / "clone/.venv/.stamp-tests").exists()


def test_the_environment_is_created_again_once_one_of_its_locks_changes(tmp_path: Path) -> None:
    left = tmp_path / "clone/.venv/left"
    assert run(tmp_path, "setup", "tests").returncode == 0
    for locks, remains in (({}, True), ({"tests": "# changed"}, False), ({"controller": "# changed"}, False)):
        left.touch()
        # Whatever was set up before: what a former lock has installed must not stay.
        assert run(tmp_path, "setup", **locks).returncode == 0
        assert left.exists() == remains
        assert run(tmp_path, "setup", "tests", **locks).returncode == 0
