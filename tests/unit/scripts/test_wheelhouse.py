"""scripts/wheelhouse chooses for the host's Python, whatever Python the controller has."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
from tests.plugins import load

SCRIPT = Path(__file__).parents[3] / "scripts/wheelhouse"
LOCK = """\
numpy==2.4.6 ; python_full_version < '3.12' \\
    --hash=sha256:aa \\
    --hash=sha256:bb
numpy==2.5.5 ; python_full_version >= '3.12' \\
    --hash=sha256:cc
colorama==0.4.6 ; sys_platform == 'win32' \\
    --hash=sha256:dd
six==1.17.0 \\
    --hash=sha256:ee
"""


@pytest.fixture(scope="module")
def wheelhouse() -> ModuleType:
    return load("scripts/wheelhouse")


@pytest.mark.parametrize(
    ("python", "numpy"),
    [
        ("3.11.2", "numpy==2.4.6 --hash=sha256:aa --hash=sha256:bb"),
        ("3.12.3", "numpy==2.5.5 --hash=sha256:cc"),
        ("3.13.5", "numpy==2.5.5 --hash=sha256:cc"),
    ],
)
def test_markers_are_those_of_the_host(wheelhouse: ModuleType, python: str, numpy: str) -> None:
    target = wheelhouse.Target(python, "x86_64", "2.36")
    assert wheelhouse.requirements(LOCK, target) == f"{numpy}\nsix==1.17.0 --hash=sha256:ee\n"


def test_wheels_newer_than_the_c_library_of_the_host_are_not_taken(wheelhouse: ModuleType) -> None:
    platforms = wheelhouse.Target("3.11.2", "aarch64", "2.36").platforms
    assert platforms[0] == "manylinux_2_36_aarch64"
    assert platforms[-1] == "manylinux_2_17_aarch64"


def test_the_release_is_named_for_what_it_runs_on(wheelhouse: ModuleType) -> None:
    names = {
        wheelhouse.release_name(wheelhouse.Target(python, machine, glibc))
        for python in ("3.11.2", "3.11.9", "3.12.3")
        for machine in ("x86_64", "aarch64")
        for glibc in ("2.36", "2.39")
    }
    # A patch release of Python is the same target.
    assert len(names) == 8


def test_the_wheel_holds_the_page(wheelhouse: ModuleType, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    wheelhouse.build_wheel(tmp_path, wheels)
    (wheel,) = wheels.iterdir()
    with zipfile.ZipFile(wheel) as opened:
        held = {name for name in opened.namelist() if name.startswith("dashboard/static/")}
    files = ("index.html", "app.js", "page.css", "icon.svg")
    assert held == {f"dashboard/static/{name}{suffix}" for name in files for suffix in ("", ".gz")}


def test_a_page_that_is_not_built_from_these_sources_is_not_released(
    wheelhouse: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def run(command: list[str | Path], *, check: bool) -> subprocess.CompletedProcess[bytes]:
        asked.extend(command)
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(sys, "argv", ["wheelhouse", "--python=3.11.2", "--machine=x86_64", "--glibc=2.36"])
    with pytest.raises(SystemExit, match=r"not built from these sources\. Run: make setup"):
        wheelhouse.main()
    assert asked == [SCRIPT.with_name("page"), "check"]
