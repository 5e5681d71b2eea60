"""What happened, for the clients and in the journal."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from gateway_simulator.trading import events
from gateway_simulator.trading.journal import journal_line
from gateway_simulator.trading.trading_time import TradingTime

JOURNAL_LINES = 5_000


class Reports:
    """``journal`` has the last lines; ``on_line`` is called with each, ``on_order`` after each event of an order."""

    def __init__(self, time: TradingTime, on_order: Callable[[], None]) -> None:
        self._time = time
        self._on_order = on_order
        self.journal: deque[str] = deque(maxlen=JOURNAL_LINES)
        self.on_line: Callable[[str], None] | None = None
        self._pending: list[events.Event] = []

    def report(self, *happened: events.Event) -> None:
        """Record what happened, in this order."""
        for event in happened:
            if isinstance(event, events.OrderOpened | events.OrderStatusChanged):
                self._on_order()
            self._pending.append(event)
            line = journal_line(event, self._time.moment)
            self.journal.append(line)
            if self.on_line is not None:
                self.on_line(line)

    def drain(self) -> list[events.Event]:
        """Return what happened since the last call."""
        happened, self._pending = self._pending, []
        return happened
