"""The stand-in as an installation of the gateway: its jar, its options and the path to its Java."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from conformance.controller import UnavailableError
from conformance.fetch import CACHE
from conformance.flow import Flow, Image, LeftBehind

__all__ = ["VERSION", "Installation", "environment", "install", "jar", "leave_behind", "write_script"]

VERSION = "1045"
"""Major version of the gateway that the controllers are started with."""

_SOURCES = Path(__file__).parent / "windows"
# Small and quick to start; the collector with the fewest threads, because several run at a time.
_OPTIONS = ("-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")


class Installation:
    """Where the stand-in is installed: `root` is the directory that holds `ibgateway/<version>`."""

    def __init__(self, root: Path, java_home: Path) -> None:
        self.root = root
        self.java_home = java_home


def install(folder: Path, image: Image) -> Installation:
    """Install the stand-in below `folder`. Raises `UnavailableError` if there is no JDK."""
    program = folder / "ibgateway" / VERSION
    (program / "jars").mkdir(parents=True)
    if image is not Image.NO_PROGRAM:
        shutil.copy(jar(), program / "jars" / "stand-in.jar")
    (program / "ibgateway.vmoptions").write_text("\n".join(_OPTIONS) + "\n", encoding="utf-8")
    settings = program / ".install4j"
    settings.mkdir()
    java_home = _java_home()
    if image is not Image.NO_JAVA:
        (settings / "inst_jre.cfg").write_text(f"{java_home}\n", encoding="utf-8")
    (settings / "i4jparams.conf").write_text('<variable name="javaOptions" value="" />\n', encoding="utf-8")
    return Installation(folder, java_home)


def write_script(flow: Flow, file: Path) -> None:
    """Write the flow's steps as the stand-in reads them."""
    file.write_text("".join(f"{line}\n" for run in flow.runs for line in ("run", *run)), encoding="utf-8")


def leave_behind(kind: LeftBehind, settings_folder: Path) -> None:
    """Put into the settings directory what is there before the first start."""
    if kind is LeftBehind.AUTORESTART_FILE:
        session = settings_folder / "abcdef"
        session.mkdir()
        (session / "autorestart").touch()
    elif kind is LeftBehind.JTS_INI_FOLDER:
        (settings_folder / "jts.ini").mkdir()


def environment(script: Path, display: str, image: Image, folder: Path) -> dict[str, str]:
    """The whole environment of a controller. `folder` becomes the home directory."""
    return {
        "DISPLAY": display,
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "PATH": _path_without_java(folder / "bin") if image is Image.NO_JAVA else os.environ["PATH"],
        "STANDIN_SCRIPT": str(script),
        "TZ": "America/New_York",
    }


def _path_without_java(folder: Path) -> str:
    """A search path that has every program of the system except Java."""
    folder.mkdir()
    for program in Path("/usr/bin").iterdir():
        if not program.name.startswith("java"):
            (folder / program.name).symlink_to(program)
    return str(folder)


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise UnavailableError(f"{name} was not found; install a Java Development Kit with AWT (default-jdk).")
    return found


def _java_home() -> Path:
    return Path(_tool("javac")).resolve().parents[1]


def jar() -> Path:
    """The stand-in's jar, compiled once for each state of its sources."""
    sources = sorted(_SOURCES.rglob("*.java"))
    digest = hashlib.sha256()
    for source in sources:
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    jar = CACHE / f"stand-in-{digest.hexdigest()[:12]}.jar"
    if jar.is_file():
        return jar
    CACHE.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="build-", dir=CACHE))
    try:
        classes, built = work / "classes", work / "stand-in.jar"
        _run([_tool("javac"), "-Xlint:all", "-Werror", "--release", "17", "-d", str(classes), *map(str, sources)])
        _run([_tool("jar"), "--create", "--file", str(built), "-C", str(classes), "."])
        built.replace(jar)
    finally:
        shutil.rmtree(work)
    return jar


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise UnavailableError(f"{Path(command[0]).name} failed: {done.stdout}{done.stderr}")
