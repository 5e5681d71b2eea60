"""The connection as people see it. It decides nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass
class LinkStatus:
    """``since``: the start of the present phase; ``why``: why it is not ready; ``losses``: how often it was lost."""

    since: datetime
    why: str = "starting"
    losses: int = 0
