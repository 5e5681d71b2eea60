"""What the supervisor remembers of the gateway's session, over restarts: `<state directory>/session.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from host_service.statefile import write_json


@dataclass(frozen=True)
class Session:
    """Times are UTC.

    `since` is the last full login and `twofa` whether that one needed an approval; None before the first one.
    `last_restart` is when the gateway last became ready, after a full login or with its kept session.
    `last_cause` is why the supervisor last ended a run, None after a good start; `last_screenshot` is a path.
    `stable_restarts` is what systemd's count of restarts was when a start last lasted. `read_only_restarted`: the
    gateway has been restarted because its API refused orders, and has not accepted any since. `codes`: the last full
    login's second factor was answered with codes of an authenticator app.
    """

    since: datetime | None = None
    twofa: bool | None = None
    last_restart: datetime | None = None
    last_cause: str | None = None
    last_screenshot: str | None = None
    stable_restarts: int | None = None
    read_only_restarted: bool = False
    codes: bool = False

    def became_ready(self, now: datetime, *, full_login: bool, twofa: bool, codes: bool = False) -> Session:
        """After a login; one that was not full continues the session that there was."""
        session = replace(self, last_restart=now, last_cause=None)
        anew = full_login or self.since is None
        return replace(session, since=now, twofa=twofa, codes=codes) if anew else session

    def without_codes(self) -> Session:
        """For a gateway that has no codes any more: what they answered needs an approval the next time."""
        return replace(self, twofa=True, codes=False) if self.codes else self

    def restart_cost(self, name: str) -> str:
        """What a restart of the running gateway will ask of the operator; empty if nothing is known to be asked."""
        if not self.twofa or self.since is None:
            return ""
        return (
            f"The session of {name} was approved by 2FA at {self.since:%Y-%m-%d %H:%M} UTC. "
            "This restart ends it: have IBKR Mobile at hand to approve the next login."
        )


def read(path: Path) -> Session:
    """The session as last written. A missing or damaged file is an empty one: nothing unsafe follows from it."""
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
        for key in ("since", "last_restart"):
            document[key] = None if document[key] is None else datetime.fromisoformat(document[key])
        return Session(**document)
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return Session()


def write(path: Path, session: Session) -> None:
    """Replace the file. Raises OSError."""
    times = {"since": session.since, "last_restart": session.last_restart}
    write_json(path, asdict(session) | {key: time and time.isoformat() for key, time in times.items()})
