"""What the runner needs of a login controller."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from conformance.flow import Flow

__all__ = ["TIME", "Controller", "Launch", "Line", "UnavailableError"]

TIME = "<time>"
"""Replaces a date with a time in masked lines."""


class UnavailableError(Exception):
    """A controller cannot run here; the message says what is missing."""


@dataclass(frozen=True)
class Line:
    """A line of the log and when it came, in seconds since the start."""

    at: float
    text: str


@dataclass(frozen=True)
class Launch:
    """How a controller is started: its command, its whole environment, its working directory.

    `command_port` is where its command server listens on 127.0.0.1, None if it has none.
    `masks` are texts of this machine (paths, the most specific first) and what the captured lines show instead.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    masks: tuple[tuple[str, str], ...]
    command_port: int | None = None


class Controller(Protocol):
    """A login controller that can be run against the stand-in."""

    @property
    def name(self) -> str:
        """The folder of its captured lines, and the name of its signature file."""

    @property
    def version(self) -> str:
        """What was run, for the head of the captured lines."""

    def prepare(self) -> None:
        """Fetch and build what its runs share. Raises `UnavailableError`."""

    def launch(self, flow: Flow, folder: Path, display: str) -> Launch:
        """Write the flow's files into the empty `folder`; `display` is the X display (":5")."""

    def mask(self, lines: Iterable[Line]) -> Iterator[Line]:
        """The lines without the times of their day (TIME instead) and without what depends on the machine."""
