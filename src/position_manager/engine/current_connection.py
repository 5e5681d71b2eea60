"""The present state of the connection to the broker."""

from __future__ import annotations

from datetime import datetime

from position_manager import connection_state as link
from position_manager.connection_state import Connection


class CurrentConnection:
    """Only events move it (`connection_state.after`)."""

    def __init__(self, state: Connection) -> None:
        self._state = state

    @property
    def state(self) -> Connection:
        return self._state

    @property
    def ready(self) -> bool:
        """Whether the connection may send."""
        return self._state.may_send

    def after(self, event: link.Event, now: datetime, patience: link.Patience) -> tuple[link.Action, ...]:
        """Apply an event; what follows from it."""
        self._state, actions = link.after(self._state, event, now, patience)
        return tuple(actions)
