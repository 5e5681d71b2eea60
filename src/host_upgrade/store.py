"""The files of upgrades on a host: the state with everything for the way back, and the last records. For root only."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .model import Record, State, UnusableStateError

ROOT = Path("/var/lib/ib-gateway-ansible/upgrade")
KEPT_RECORDS = 20

Write = Callable[[Path, bytes], None]
"""Replaces a file in one step, readable by its owner only: `host_service.statefile.write_bytes`."""


class Store:
    """The directory with `state.json` and `records/`."""

    def __init__(self, root: Path, write: Write) -> None:
        self.root = root
        self._write = write

    @property
    def state_file(self) -> Path:
        return self.root / "state.json"

    def read(self) -> State | None:
        """The state; None before the first upgrade. Raises UnusableStateError."""
        return read_state(self.root)

    def write(self, state: State) -> None:
        """Replace the state in one step. Raises OSError."""
        self._create(self.root)
        self._write_json(self.state_file, state.to_json())

    def clear(self) -> None:
        """Remove the state; the records remain. Raises OSError."""
        self.state_file.unlink(missing_ok=True)

    def add(self, record: Record, kept: int = KEPT_RECORDS) -> Path:
        """Store a record, and remove the oldest beyond ``kept``. Stored again, it replaces itself. Raises OSError."""
        directory = self.root / "records"
        self._create(directory)
        path = directory / f"{record.started:%Y%m%dT%H%M%SZ}.json"
        self._write_json(path, record.to_json())
        for old in _record_files(self.root)[:-kept]:
            old.unlink(missing_ok=True)
        return path

    def _create(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o700)

    def _write_json(self, path: Path, document: Mapping[str, Any]) -> None:
        self._write(path, (json.dumps(document, indent=2) + "\n").encode())


def read_state(root: Path) -> State | None:
    """The state below ``root``; None if there is none. Raises UnusableStateError."""
    path = root / "state.json"
    try:
        return State.from_json(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except PermissionError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnusableStateError(
            f"{path} cannot be read ({error!r}). Without it there is no way back: move it away, and run site.yml."
        ) from error


def last_record(root: Path) -> Record | None:
    """The newest record below ``root``; None if there is none. Raises UnusableStateError."""
    files = _record_files(root)
    if not files:
        return None
    try:
        return Record.from_json(json.loads(files[-1].read_bytes()))
    except PermissionError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnusableStateError(f"{files[-1]} cannot be read ({error!r}). Remove it.") from error


def summary(root: Path = ROOT) -> str | None:
    """The last upgrade in one line; None if there was none, or for a user who may not read it."""
    try:
        state, record = read_state(root), last_record(root)
    except UnusableStateError as error:
        return str(error)
    except PermissionError:
        return None
    if state is not None and state.in_progress:
        return (
            f"{state.kind} of {state.started:%Y-%m-%d %H:%M} UTC is in progress or was interrupted ({state.phase}): "
            "run upgrade.yml or site.yml, unless it runs now"
        )
    return None if record is None else record.line


def _record_files(root: Path) -> list[Path]:
    """The oldest first."""
    return sorted((root / "records").glob("*.json"))
