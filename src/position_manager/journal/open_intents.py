"""The open intents in memory, for the one process that writes the journal."""

from __future__ import annotations

from position_manager.journal.records import Key
from position_manager.orders.intents import OPEN, Intent


class OpenIntents:
    """Intents that are not over, oldest first; of a contract there is one at most."""

    def __init__(self) -> None:
        self.by_id: dict[str, Intent] = {}
        self.by_key: dict[Key, Intent] = {}
        self.by_order: dict[tuple[int, int], Intent] = {}
        """By client id and order id, once there is an order."""

    def learn(self, intent: Intent) -> None:
        key, order = (intent.account, intent.con_id), (intent.client_id, intent.order_id)
        if intent.state in OPEN:
            self.by_id[intent.id] = self.by_key[key] = intent
            if intent.order_id:
                self.by_order[order] = intent
        elif self.by_id.pop(intent.id, None) is not None:
            del self.by_key[key]
            self.by_order.pop(order, None)
