"""A Python that is newer than the project's oldest: one of this machine, or Debian's own without installing it.

py-ib-controller needs Python 3.12. Where none is installed (Debian 12), the packages of Debian 13's Python are
extracted into the cache, without root and in a few seconds, and its own dynamic loader starts it there.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from conformance.controller import UnavailableError
from conformance.fetch import CACHE, ROOT

__all__ = ["Python", "extracted", "find", "installed", "packages"]

NAMES = ("python3", "python3.13", "python3.12")
"""What is tried on the search path; a name can exist and still not run (pyenv)."""

SUITE = "trixie"
PACKAGES = "python3.13-minimal,libpython3.13-stdlib"
SECONDS = 300
"""Time for one download; on a usual line it takes 5 s."""


@dataclass(frozen=True)
class Python:
    """A Python of at least 3.12: its program, which runs by its path alone, and its version, such as 3.13.5."""

    program: Path
    version: str


def find() -> Python:
    """The machine's own Python if there is one, otherwise Debian 13's. Raises `UnavailableError`."""
    return installed() or extracted()


def installed() -> Python | None:
    """The first Python on the search path that runs and is new enough."""
    for name in NAMES:
        found = shutil.which(name)
        if found is not None and (version := _version(Path(found))) is not None:
            return Python(Path(found), version)
    return None


def _version(program: Path) -> str | None:
    """Its version; None if it does not run, or is too old or too new for the locked packages."""
    code = "import asyncio, ssl, sys; print(sys.version.split()[0])"
    done = subprocess.run([program, "-I", "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    version = done.stdout.strip()
    return version if done.returncode == 0 and re.match(r"3\.1[23]\.", version) else None


def extracted() -> Python:
    """Debian 13's Python in the cache. Raises `UnavailableError`."""
    folder = CACHE / f"python-{SUITE}"
    if not folder.is_dir():
        _extract(folder)
    program = folder / "python3"
    version = _version(program)
    if version is None:
        raise UnavailableError(f"{program} does not run; remove {folder} to have it fetched again.")
    return Python(program, version)


def _extract(folder: Path) -> None:
    tool = shutil.which("mmdebstrap")
    if tool is None:
        raise UnavailableError("There is no Python 3.12 or 3.13, and no mmdebstrap. Run: scripts/setup tests")
    CACHE.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="python-", dir=CACHE))
    try:
        # Nothing of the packages is run, so neither root nor user namespaces are needed.
        command = [tool, "--quiet", "--mode=chrootless", "--variant=extract", f"--include={PACKAGES}", SUITE]
        _run([*command, str(work / "root")], "Debian's Python could not be fetched")
        (loader,) = (work / "root").glob("usr/lib/*-linux-gnu/ld-linux-*.so.*")
        # The loader and the libraries must be of one release: the system's are older.
        root = folder / "root"
        library, python = root / "usr" / "lib" / loader.parent.name, root / "usr" / "bin" / "python3.13"
        words = [library / loader.name, "--library-path", library, "--argv0", python, python]
        script = work / "python3"
        script.write_text(f'#!/bin/sh\nexec {shlex.join(map(str, words))} "$@"\n', encoding="utf-8")
        script.chmod(0o755)
        _publish(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def packages(python: Python, lock: str) -> Path:
    """A directory for PYTHONPATH with the packages of requirements/`lock`.lock. Raises `UnavailableError`."""
    file = ROOT / "requirements" / f"{lock}.lock"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
    folder = CACHE / f"{lock}-{digest}-python{python.version.rpartition('.')[0]}"
    if folder.is_dir():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="packages-", dir=CACHE))
    try:
        command = [sys.executable, "-m", "pip", "--python", str(python.program), "install", "--quiet"]
        command += ["--disable-pip-version-check", "--only-binary=:all:", "--require-hashes"]
        _run([*command, "--requirement", str(file), "--target", str(work / "site")], f"{file.name} is not installed")
        _publish(work / "site", folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def _run(command: list[str], failure: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"{failure}: no answer within {SECONDS} s.") from error
    if done.returncode != 0:
        raise UnavailableError(f"{failure}: {(done.stderr or done.stdout).strip()}")


def _publish(made: Path, folder: Path) -> None:
    try:
        made.rename(folder)
    except OSError:
        # Another process was faster; its copy is as good.
        if not folder.is_dir():
            raise
