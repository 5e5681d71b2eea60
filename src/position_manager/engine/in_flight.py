"""Holdings for which an order is on its way to the socket."""

from __future__ import annotations

import gc
from collections.abc import Iterable

from position_manager.engine.guard import Key


class InFlight:
    """True while there is any: the disk then waits, and so does Python's garbage collection."""

    def __init__(self) -> None:
        self._keys: set[Key] = set()

    def __bool__(self) -> bool:
        return bool(self._keys)

    def __contains__(self, key: Key) -> bool:
        return key in self._keys

    def add(self, keys: Iterable[Key]) -> None:
        self._keys.update(keys)
        if self._keys:
            gc.disable()

    def remove(self, keys: Iterable[Key]) -> None:
        self._keys.difference_update(keys)
        if not self._keys:
            gc.enable()

    def clear(self) -> None:
        """Nothing is on its way any more: what would have sent it has been cancelled."""
        self.remove(list(self._keys))
