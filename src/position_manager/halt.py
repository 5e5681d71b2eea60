"""What stops all sending until a person has acted: the kill-switch file, and the sticky HALT.

Both are files beside the journal, since they must hold when the journal cannot be read. Whatever cannot be read
counts as a halt.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from host_service.statefile import write_json
from ib_connection.codes import is_read_only_refusal


@dataclass(frozen=True)
class Halt:
    """Why nothing is sent, since when (None if the file does not state it), and what ends it."""

    reason: str
    since: datetime | None
    remedy: str


def is_read_only_halt(reason: str) -> bool:
    """Whether a HALT was for an API that is read-only. Its reason is the code and the text of IB's message."""
    code, _, text = reason.partition(" ")
    return code.isdigit() and is_read_only_refusal(int(code), text)


class KillSwitch:
    """A file whose mere existence stops all sending: `touch` needs no running program."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Halt | None:
        try:
            self._path.lstat()
        except FileNotFoundError:
            return None
        except OSError as error:
            return Halt(f"kill switch {self._path} cannot be checked: {error.strerror}", None, "make it readable")
        return Halt(f"kill switch {self._path} exists", None, f"rm {self._path}")


class HaltRecord:
    """The sticky HALT: written by the program, ended by a person only (`position-manager resume`)."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Halt | None:
        remedy = "position-manager resume"
        try:
            document = json.loads(self._path.read_bytes())
            since = datetime.fromisoformat(document["since"])
            if since.tzinfo is None:
                raise ValueError(f"since {document['since']!r} has no time zone")
            return Halt(str(document["reason"]), since, remedy)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = f"{self._path} cannot be read ({type(error).__name__}: {error})"
            return Halt(reason, None, remedy)

    def write(self, reason: str, now: datetime) -> None:
        """Halt. The first reason stays until a person resumes; one that can end by itself gives way to another one.
        Raises OSError."""
        present = self.read()
        if present is None or is_read_only_halt(present.reason):
            write_json(self._path, {"reason": reason, "since": now.isoformat()})

    def resume(self) -> bool:
        """A person ends it; whether there was a halt. Raises OSError."""
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        return True


@dataclass(frozen=True)
class Halts:
    """All that stops sending: the kill switch and the sticky HALT."""

    switch: KillSwitch
    record: HaltRecord

    def read(self) -> tuple[Halt, ...]:
        return tuple(halt for halt in (self.switch.read(), self.record.read()) if halt is not None)
