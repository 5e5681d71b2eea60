"""scripts/page builds the page once from the same sources, and reports a failed installation."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
NPM = 'mkdir -p "$3/node_modules"; echo installed >> "$3/node_modules/log"'
BUILD = """\
from pathlib import Path

page = Path("src/dashboard/static/index.html")
page.parent.mkdir(parents=True, exist_ok=True)
with page.open("a") as file:
    file.write("built\\n")
"""


class Clone:
    """The page's sources and scripts in a directory, with programs in the place of npm and of what builds it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "scripts").mkdir()
        for name in ("page", "lib.sh"):
            shutil.copy(ROOT / "scripts" / name, root / "scripts" / name)
        shutil.copytree(ROOT / "dashboard_web", root / "dashboard_web", ignore=shutil.ignore_patterns("node_modules"))
        (root / "bin").mkdir()
        self.program("npm", NPM)
        self.program("node", "exit 0")
        self.builder(BUILD)

    def builder(self, text: str) -> None:
        (self.root / "scripts/build_page.py").write_text(text)

    def program(self, name: str, text: str) -> None:
        path = self.root / "bin" / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def page(self, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [self.root / "scripts/page", *arguments],
            cwd=self.root,
            env=os.environ | {"PATH": f"{self.root / 'bin'}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stderr

    def builds(self) -> int:
        return len((self.root / "src/dashboard/static/index.html").read_text().splitlines())

    def change(self) -> None:
        with (self.root / "dashboard_web/src/page.css").open("a") as file:
            file.write("/* changed */\n")


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_it_is_built_again_once_its_sources_change(clone: Clone) -> None:
    assert clone.page("check")[0] == 1
    assert clone.page()[0] == 0
    assert clone.page() == (0, "")
    assert clone.page("check") == (0, "")
    assert clone.builds() == 1
    clone.change()
    assert clone.page("check")[0] == 1, "as after a git pull"
    assert clone.page()[0] == 0
    assert clone.builds() == 2
    assert clone.page("check")[0] == 0


def test_npm_is_needed_for_the_tests_only_and_once(clone: Clone) -> None:
    assert clone.page()[0] == 0
    log = clone.root / "dashboard_web/node_modules/log"
    assert not log.exists()
    for _ in range(2):
        assert clone.page("tests")[0] == 0
        assert log.read_text() == "installed\n"
    assert clone.builds() == 1


def test_a_failed_installation_is_one_error_with_what_npm_reported(clone: Clone) -> None:
    clone.program("npm", "echo 'npm error network' >&2; exit 1")
    code, errors = clone.page("tests")
    assert code == 1
    assert errors.splitlines()[1:] == [
        "npm error network",
        "ERROR: The npm packages of the page could not be installed; see npm's message above.",
    ]
    clone.program("npm", NPM)
    assert clone.page("tests")[0] == 0


def test_a_failed_build_is_repeated(clone: Clone) -> None:
    clone.builder('raise SystemExit("no bundler")')
    code, errors = clone.page()
    assert code == 1
    assert errors.endswith("no bundler\nERROR: The page could not be built; see the message above.\n")
    assert clone.page("check")[0] == 1
    clone.builder(BUILD)
    assert clone.page()[0] == 0
    assert clone.builds() == 1


def test_a_build_that_is_killed_is_repeated(clone: Clone) -> None:
    # The builder is one of the sources, so what kills it is a file beside them.
    clone.builder(BUILD + 'import os\nif Path("killed").exists():\n    os.kill(os.getpid(), 9)\n')
    assert clone.page()[0] == 0
    (clone.root / "src/dashboard/static/index.html").unlink()
    (clone.root / "killed").touch()
    assert clone.page()[0] == 1
    assert clone.page("check")[0] == 1, "the same sources as before, and a part of their page"
    (clone.root / "killed").unlink()
    assert clone.page()[0] == 0
    assert clone.page("check")[0] == 0
