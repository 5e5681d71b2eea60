"""An event loop whose time jumps to the next timer instead of passing: a week of a program takes seconds."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any


class _Selector(selectors.BaseSelector):
    """The real selector, which never waits: time passes by as much as it was to wait."""

    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()
        self.passed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(None if timeout is None else 0)
        if not ready and timeout is not None:
            self.passed += max(0.0, timeout)
        return ready

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class VirtualLoop(asyncio.SelectorEventLoop):
    """Everything on it (timeouts, sleeps, timers) runs on its own time; `now` is that time as a clock."""

    def __init__(self, start: datetime) -> None:
        self._start = start
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.passed

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self.time())
