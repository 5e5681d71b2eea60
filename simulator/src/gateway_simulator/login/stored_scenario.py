"""What outlives the container in the settings directory: IBKR's side of the scenario, and a session it still counts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from gateway_simulator.settings import IBKR_SIDE, PREFIX, Scenario, SettingsError

SCENARIO_FILE = "simulator-scenario.json"
LOGINS_FILE = "simulator-logins.json"
SESSION_FILE = "simulator-session.json"


class StoredScenario:
    """Changes of IBKR's side of the scenario, for the next container with the same GATEWAY_SIMULATOR_ variables.

    Without a ``directory`` nothing is stored. OSError where it cannot be written.
    """

    def __init__(self, directory: Path | None, environ: Mapping[str, str]) -> None:
        self._path = directory / SCENARIO_FILE if directory else None
        own = sorted((name, value) for name, value in environ.items() if name.startswith(PREFIX))
        self._variables = sha256(json.dumps(own).encode()).hexdigest()

    def apply(self, scenario: Scenario) -> tuple[Scenario, tuple[str, ...]]:
        """Return the scenario with the stored changes, and their names.

        Changes stored under other variables are deleted.
        """
        document = _read(self._path)
        changes = document.get("changes")
        if self._path is None or not document:
            return scenario, ()
        if document.get("variables") != self._variables or not isinstance(changes, dict):
            self._path.unlink()
            return scenario, ()
        for key, value in changes.items():
            try:
                scenario = scenario.changed(str(key), str(value))
            except SettingsError:
                return scenario, ()
        return scenario, tuple(changes)

    def store(self, key: str, value: str) -> bool:
        """Store a change, if it is one of IBKR's side; return whether it outlives the container."""
        name = key.upper().removeprefix(PREFIX)
        if self._path is None or name not in IBKR_SIDE:
            return False
        document = _read(self._path)
        changes = document.get("changes") if document.get("variables") == self._variables else None
        known = changes if isinstance(changes, dict) else {}
        self._path.write_text(json.dumps({"variables": self._variables, "changes": {**known, name: value}}))
        return True


class Slot:
    """The session that IBKR counts for this user: taken by a login, and given back by a logout only.

    After an end without a logout IBKR counts it for ``seconds`` more. Without a ``directory`` nothing is stored.
    """

    def __init__(self, directory: Path | None) -> None:
        self._path = directory / SESSION_FILE if directory else None

    def take(self) -> None:
        """A login has succeeded."""
        self._write(None)

    def give_back(self) -> None:
        """The session has logged out."""
        if self._path is not None and self._path.exists():
            self._path.unlink()

    def abandon(self, now: datetime) -> None:
        """The gateway has ended without a logout."""
        if self._path is not None and self._path.exists() and _read(self._path).get("ended") is None:
            self._write(now)

    def is_taken(self, now: datetime, seconds: float) -> bool:
        """Whether IBKR still counts an earlier session.

        One whose gateway was killed ends for IBKR at the first query.
        """
        if self._path is None or not self._path.exists():
            return False
        self.abandon(now)
        ended = _read(self._path).get("ended")
        return isinstance(ended, int | float) and now.timestamp() < ended + seconds

    def _write(self, ended: datetime | None) -> None:
        if self._path is not None:
            self._path.write_text(json.dumps({"ended": ended.timestamp() if ended else None}))


class LoginCount:
    """How often this user has logged in in full, over all containers with this settings directory."""

    def __init__(self, directory: Path | None) -> None:
        self._path = directory / LOGINS_FILE if directory else None
        count = _read(self._path).get("logins")
        self.value = count if isinstance(count, int) else 0

    def add(self) -> None:
        """Another full login has succeeded. OSError where the count cannot be stored."""
        self.value += 1
        if self._path is not None:
            self._path.write_text(json.dumps({"logins": self.value}))


def _read(path: Path | None) -> dict[str, Any]:
    """The JSON object in a file; empty where there is none."""
    if path is None:
        return {}
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
