"""An order at work: what the brokerage stores about it besides what clients see."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from gateway_simulator.trading.model import ZERO, Instrument, Order, OrderStatus

STOPS = ("STP", "STP LMT", "TRAIL", "TRAIL LIMIT")
TOUCHES = ("MIT", "LIT")
TRIGGERED = STOPS + TOUCHES
"""Order types that wait for a price before they trade."""
TRAILING = ("TRAIL", "TRAIL LIMIT")
LIMITED = ("LMT", "STP LMT", "TRAIL LIMIT", "LIT", "LOC")
ON_CLOSE = ("MOC", "LOC")
PEGGED = frozenset({"REL", "MIDPRICE", "PEG MID", "PEG MKT"})
"""Order types whose price follows the quote; their limit price is the worst that they take."""
ORDER_TYPES = ("MKT", "LMT", *TRIGGERED, *ON_CLOSE, *sorted(PEGGED))
COMBINED_TYPES = ("MKT", "LMT")
"""The order types that a combination may have."""
UNPLAYED_TYPES = (
    *("LOO", "MOO", "LWH", "MTL", "VOL", "BOX TOP", "PASSV REL"),
    *("REL + LMT", "REL + MKT", "LMT + MKT", "MKT PRT", "STP PRT"),
    *("PEG BEST", "PEG BENCH", "PEG PRIM", "PEG STK"),
    *("SNAP MID", "SNAP MKT", "SNAP PRIM", "DCA", "TRAIL MIT", "TRAIL LIT"),
)
"""Order types that IB has and the simulator does not play."""
AT_ONCE = ("IOC", "FOK")
"""Times in force under which an order trades when it arrives, or not at all."""

AT_OPENING = "OPG"
"""The time in force under which an order trades at the opening of the regular session, or not at all."""

FINAL = (OrderStatus.FILLED, OrderStatus.CANCELLED, OrderStatus.INACTIVE)


@dataclass(eq=False)
class WorkingOrder:
    """An order that is not done.

    ``sequence`` is its place in time priority. It reaches the market at ``arrives``, and may not trade before
    ``begins``; ``ends`` is when its time in force does, ``cancelled_at`` when a cancel takes effect. ``reached`` counts
    the market steps in a row at which its trigger price was reached, ``slips`` those at which the market paid it out
    in part. ``con_id`` is the instrument's key in the market. An order that was never transmitted is known to nobody
    but its client.
    """

    order: Order
    instrument: Instrument
    sequence: int
    arrives: datetime
    begins: datetime | None = None
    ends: datetime | None = None
    transmitted: bool = True
    arrived: bool = False
    triggered: bool = False
    reached: int = 0
    slips: int = 0
    conditions_met: bool = False
    cancelled_at: datetime | None = None
    con_id: int = field(init=False)
    buys: bool = field(init=False)

    def __post_init__(self) -> None:
        self.con_id = self.instrument.key
        self.buys = self.order.action == "BUY"

    @property
    def contract_ids(self) -> set[int]:
        """The contracts that it trades: its own, or the legs of a combination."""
        return {leg.con_id for leg in self.order.contract.combo_legs} or {self.con_id}

    @property
    def key(self) -> tuple[int, int]:
        """The ids of the order's client and of the order."""
        return self.order.client_id, self.order.order_id

    @property
    def waits_for_trigger(self) -> bool:
        """Whether the order's trigger price has yet to be reached."""
        return self.order.order_type in TRIGGERED and not self.triggered

    @property
    def waits_for_conditions(self) -> bool:
        """Whether the order rests until its conditions are met."""
        return bool(self.order.conditions) and not self.conditions_met and not self.order.conditions_cancel

    @property
    def is_pegged(self) -> bool:
        """Whether the order's price follows the quote."""
        return self.order.order_type in PEGGED

    @property
    def waits_for_close(self) -> bool:
        """Whether the order trades at the session's end only."""
        return self.order.order_type in ON_CLOSE

    @property
    def limit(self) -> Decimal | None:
        """The price the order trades at or better; None when any will do."""
        return self.order.limit_price if self.order.order_type in LIMITED else None

    @property
    def priority(self) -> tuple[int, Decimal, int]:
        """The order's place among those of its side: any price first, then the best limit, then the oldest."""
        limit = self.limit
        if limit is None:
            return 0, ZERO, self.sequence
        return 1, -limit if self.buys else limit, self.sequence

    def change(self, **changes: Any) -> Order:
        """Replace fields of the order; return it as it is now."""
        self.order = replace(self.order, **changes)
        return self.order
