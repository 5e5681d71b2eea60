"""A host of files in a directory, whose programs print what a test sets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from host_audit.host import Entry, Host, UnreadableError


class FakeHost(Host):
    """Files are real ones below `root`; `outputs` maps a program's name and first arguments to what it prints."""

    def __init__(self, root: Path, outputs: dict[str, str] | None = None) -> None:
        super().__init__(root)
        self.outputs = outputs or {}

    def run(self, *command: str, ok: object = (0,)) -> str:
        line = " ".join(command)
        for start, output in self.outputs.items():
            if f"{line} ".startswith(f"{start} "):
                return output
        raise UnreadableError(f"{command[0]} is not installed")

    def lines(self, *command: str) -> Iterator[str]:
        yield from self.run(*command).splitlines()

    def entry(self, path: str | Path) -> Entry:
        # Every file belongs to root, whoever runs the tests.
        return replace(super().entry(path), uid=0)

    def write(self, path: str, text: str, mode: int = 0o600) -> Path:
        file = self.path(path)
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.write_text(text, encoding="utf-8")
        file.chmod(mode)
        return file
