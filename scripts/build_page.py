#!/usr/bin/env python3
"""Build the dashboard's page from dashboard_web/ into src/dashboard/static, with nothing but Python's own library.

The bundler is a program of its own, so that neither Node.js nor npm is needed. It and the libraries of the page are the
npm packages that package-lock.json names, each checked against its hash there; those that npm has installed already are
used as they are. NPM_CONFIG_REGISTRY names another registry, as it does for npm.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WEB = ROOT / "dashboard_web"
MODULES = WEB / "node_modules"
TARGET = ROOT / "src/dashboard/static"
REGISTRY = "https://registry.npmjs.org"
BUNDLER = {"x86_64": "@esbuild/linux-x64", "aarch64": "@esbuild/linux-arm64"}
OPTIONS = (
    "--bundle",
    "--jsx=automatic",
    "--jsx-import-source=preact",
    "--legal-comments=none",
    "--log-level=warning",
    "--format=esm",
    "--target=es2022,chrome109,firefox115,safari16",
    "--minify",
)
AS_THEY_ARE = ("index.html", "icon.svg")
SECONDS = 60


class BuildError(Exception):
    """The page cannot be built; the text has the reason."""


def fetch(name: str, version: str, integrity: str) -> bytes:
    """The archive of a package, whose hash is that of the lock."""
    registry = os.environ.get("NPM_CONFIG_REGISTRY") or REGISTRY
    address = f"{registry.rstrip('/')}/{name}/-/{name.rpartition('/')[2]}-{version}.tgz"
    try:
        with urllib.request.urlopen(address, timeout=SECONDS) as answer:  # noqa: S310 - the registry's address
            archive: bytes = answer.read()
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise BuildError(
            f"{address} cannot be fetched: {error}. Check the network; NPM_CONFIG_REGISTRY names another registry"
        ) from error
    if not integrity.startswith("sha512-"):
        raise BuildError(f"package-lock.json has no SHA-512 hash of {name}")
    if base64.b64decode(integrity.removeprefix("sha512-")) != hashlib.sha512(archive).digest():
        raise BuildError(
            f"{address} is not the package that package-lock.json names: its hash differs. Check what answers there; "
            "NPM_CONFIG_REGISTRY names another registry"
        )
    return archive


def unpack(archive: bytes, directory: Path) -> None:
    """Write a package's files to a directory, which has all of them or does not exist."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent) as temporary:
        new = Path(temporary) / directory.name
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isreg() else None
                # The first directory is that of the package.
                path = new.joinpath(*Path(member.name).parts[1:])
                if content is None or ".." in path.parts:
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.read())
                path.chmod(0o755 if member.mode & 0o100 else 0o644)
        shutil.rmtree(directory, ignore_errors=True)
        new.rename(directory)


def is_installed(name: str, version: str) -> bool:
    """Whether the package is there in this version."""
    description = MODULES / name / "package.json"
    return description.exists() and json.loads(description.read_text()).get("version") == version


def install(bundler: str) -> None:
    """Install what the page consists of, and the bundler."""
    packages = json.loads((WEB / "package-lock.json").read_text())["packages"]
    for name in (*packages[""]["dependencies"], bundler):
        package = packages[f"node_modules/{name}"]
        if not is_installed(name, package["version"]):
            unpack(fetch(name, package["version"], package["integrity"]), MODULES / name)


def build(bundler: str) -> None:
    """Write the page, and each file a second time compressed: the server sends that one, so that it costs no time of
    the host. The output depends on the sources alone: the release of a host is named by the hash of what is in it."""
    sources = WEB / "src"
    shutil.rmtree(TARGET, ignore_errors=True)
    TARGET.mkdir(parents=True)
    entries = [f"app={sources / 'main.tsx'}", f"page={sources / 'page.css'}"]
    command = [str(MODULES / bundler / "bin/esbuild"), *OPTIONS, f"--outdir={TARGET}", *entries]
    if subprocess.run(command, cwd=WEB, check=False).returncode != 0:  # noqa: S603 - fixed arguments
        raise BuildError("the bundler failed, see above")
    for name in AS_THEY_ARE:
        shutil.copyfile(sources / name, TARGET / name)
    for path in sorted(TARGET.iterdir()):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 9, mtime=0))


def main() -> None:
    bundler = BUNDLER.get(platform.machine())
    if bundler is None:
        sys.exit(f"ERROR: There is no bundler of the page for {platform.machine()}.")
    try:
        install(bundler)
        build(bundler)
    # OSError: what was fetched or built cannot be written or run, for example with a full disk.
    except (BuildError, OSError) as error:
        # A part of a page must not pass for one.
        shutil.rmtree(TARGET, ignore_errors=True)
        sys.exit(f"ERROR: {error}")


if __name__ == "__main__":
    main()
