"""What the last full sync has shown."""

from __future__ import annotations

from position_manager.orders.evidence import Snapshot


class BrokerView:
    """The broker's books at one moment. Each full sync replaces them."""

    def __init__(self, latest: Snapshot) -> None:
        self._latest = latest

    @property
    def latest(self) -> Snapshot:
        return self._latest

    def replace(self, snapshot: Snapshot) -> None:
        self._latest = snapshot
