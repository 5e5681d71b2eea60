"""Where the gateway's login stands, told by the service that watches it to those that use the gateway.

A small file in a directory that every user of the host may read, and that is gone with the service. It holds no
secret: a state in one word, and the line that people see in `systemctl status`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from host_service.statefile import write_json

NAME = "login.json"


@dataclass(frozen=True)
class GatewayLogin:
    """``state`` is a `gateway_watch.signatures.LoginState`; ``needs_person`` whether it goes on only when a person
    acts; ``text`` one line for people."""

    state: str
    needs_person: bool
    text: str


def write(directory: Path, login: GatewayLogin) -> None:
    """Tell it. Raises OSError."""
    document = {"state": login.state, "needs_person": login.needs_person, "text": login.text}
    write_json(directory / NAME, document, mode=0o644)


def read(path: Path) -> GatewayLogin | None:
    """What was told last; None if nobody tells, or if it cannot be understood."""
    try:
        document = json.loads(path.read_bytes())
        return GatewayLogin(str(document["state"]), document["needs_person"] is True, str(document["text"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
