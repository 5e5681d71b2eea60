"""The host as the audit reads it: files below a root, and the output of programs. Nothing is written."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS = 30.0


class UnreadableError(Exception):
    """Something cannot be read; the message names it and the reason."""


@dataclass(frozen=True)
class Entry:
    """Owner and mode of a file or directory."""

    path: Path
    mode: int
    uid: int

    @property
    def octal(self) -> str:
        return f"{self.mode:04o}"


class Host:
    """This machine. Tests give another `root`, and programs of their own on the PATH."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def path(self, path: str | Path) -> Path:
        """Where a path of the host is for this process."""
        return self._root / str(path).lstrip("/")

    def run(self, *command: str, ok: Sequence[int] = (0,)) -> str:
        """What a program prints on standard output. Raises UnreadableError if it is missing or fails."""
        program = shutil.which(command[0])
        if program is None:
            raise UnreadableError(f"{command[0]} is not installed")
        try:
            done = subprocess.run(  # noqa: S603 - fixed commands, arguments from the host's own configuration
                [program, *command[1:]], capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UnreadableError(f"{command[0]}: {error}") from error
        if done.returncode not in ok:
            reason = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
            raise UnreadableError(f"{command[0]}: {reason}")
        return done.stdout

    def lines(self, *command: str) -> Iterator[str]:
        """The lines that a program prints, one by one: a journal may exceed the memory. Raises UnreadableError."""
        program = shutil.which(command[0])
        if program is None:
            raise UnreadableError(f"{command[0]} is not installed")
        with (
            subprocess.Popen(  # noqa: S603 - fixed commands
                [program, *command[1:]], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace"
            ) as process
        ):
            assert process.stdout is not None  # noqa: S101 - for the type checker
            yield from process.stdout
        if process.returncode != 0:
            raise UnreadableError(f"{command[0]}: exit status {process.returncode}")

    def json(self, *command: str) -> Any:
        """The decoded JSON that a program prints. Raises UnreadableError."""
        output = self.run(*command)
        try:
            return json.loads(output)
        except ValueError as error:
            raise UnreadableError(f"{command[0]} printed no JSON: {error}") from error

    def read(self, path: str | Path) -> str:
        """The text of a file. Raises UnreadableError."""
        try:
            return self.path(path).read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise UnreadableError(f"{path}: {(error.strerror or str(error)).lower()}") from error

    def read_json(self, path: str | Path) -> Any:
        try:
            return json.loads(self.read(path))
        except ValueError as error:
            raise UnreadableError(f"{path} is no JSON: {error}") from error

    def exists(self, path: str | Path) -> bool:
        return self.path(path).exists()

    def entry(self, path: str | Path) -> Entry:
        """Raises UnreadableError."""
        try:
            found = self.path(path).lstat()
        except OSError as error:
            raise UnreadableError(f"{path}: {(error.strerror or str(error)).lower()}") from error
        return Entry(Path(path), stat.S_IMODE(found.st_mode), found.st_uid)

    def below(self, directory: str | Path) -> list[Path]:
        """Every file and directory below a directory, as paths of the host; empty if it is missing."""
        start = self.path(directory)
        return [Path("/") / path.relative_to(self._root) for path in sorted(start.rglob("*"))]

    def matching(self, directory: str | Path, pattern: str) -> list[Path]:
        return [Path("/") / path.relative_to(self._root) for path in sorted(self.path(directory).glob(pattern))]
