"""Fetches the controllers from PyPI, pinned by their hashes, into a cache outside version control."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from conformance.controller import UnavailableError

__all__ = ["CACHE", "LOCK", "wheel"]

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".sandbox" / "conformance"
LOCK = ROOT / "requirements" / "conformance.lock"


def wheel(package: str) -> Path:
    """The folder with the unpacked wheel of a package that the lock names. Raises `UnavailableError`."""
    requirement = _locked(package)
    version = requirement.split()[0].partition("==")[2]
    folder = CACHE / f"{package}-{version}"
    if folder.is_dir():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="fetch-", dir=CACHE))
    try:
        _download(requirement, work)
        unpacked = work / "unpacked"
        with zipfile.ZipFile(next(work.glob("*.whl"))) as archive:
            archive.extractall(unpacked)
        for script in unpacked.rglob("*.sh"):
            script.chmod(0o755)
        _publish(unpacked, folder)
    finally:
        shutil.rmtree(work)
    return folder


def _locked(package: str) -> str:
    for line in LOCK.read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{package}=="):
            return line
    raise UnavailableError(f"{LOCK.name} does not name {package}.")


def _download(requirement: str, folder: Path) -> None:
    listed = folder / "requirement.txt"
    listed.write_text(f"{requirement}\n", encoding="utf-8")
    done = subprocess.run(  # noqa: S603
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"),
            *("--only-binary=:all:", "--require-hashes", "--requirement", str(listed), "--dest", str(folder)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise UnavailableError(f"{requirement.split()[0]} could not be downloaded: {done.stderr.strip()}")


def _publish(unpacked: Path, folder: Path) -> None:
    try:
        unpacked.rename(folder)
    except OSError:
        # Another process has been faster; its copy is as good.
        if not folder.is_dir():
            raise
