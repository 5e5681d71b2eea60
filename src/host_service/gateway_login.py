"""The state of the gateway's login, published by its supervisor for the services that use the gateway.

A small file in a directory that every user of the host may read, and that is gone with the service. It holds no
secret: a state in one word, and the line that people see in `systemctl status`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from host_service.statefile import write_json

NAME = "login.json"


@dataclass(frozen=True)
class IbkrLink:
    """Whether the gateway is connected to IBKR: ``state`` is connected, lost or unknown, ``since`` (aware) when that
    started, None at the start; ``text`` one line for people."""

    state: str
    since: datetime | None
    text: str


@dataclass(frozen=True)
class GatewayLogin:
    """``state`` is a `gateway_watch.signatures.LoginState`, or ``waiting`` while no login is tried; ``needs_person``
    whether it needs a person to continue; ``text`` one line for people; ``ibkr`` the connection to IBKR, None from
    a service that does not report it."""

    state: str
    needs_person: bool
    text: str
    ibkr: IbkrLink | None = None


def write(directory: Path, login: GatewayLogin) -> None:
    """Publish it. Raises OSError."""
    document: dict[str, Any] = {"state": login.state, "needs_person": login.needs_person, "text": login.text}
    if login.ibkr is not None:
        since = login.ibkr.since.isoformat() if login.ibkr.since else None
        document["ibkr"] = {"state": login.ibkr.state, "since": since, "text": login.ibkr.text}
    write_json(directory / NAME, document, mode=0o644)


def read(path: Path) -> GatewayLogin | None:
    """The state published last; None if there is none or it cannot be parsed."""
    try:
        document = json.loads(path.read_bytes())
        link = _link(document["ibkr"]) if "ibkr" in document else None
        return GatewayLogin(str(document["state"]), document["needs_person"] is True, str(document["text"]), link)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _link(document: Any) -> IbkrLink:
    since = document["since"]
    return IbkrLink(str(document["state"]), datetime.fromisoformat(since) if since else None, str(document["text"]))
