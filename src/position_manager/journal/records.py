"""What is in a journal, beside the intents: whom it belongs to, orders to send, locks, holdings, events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from ib_connection.accounts import masked_list
from position_manager.model import ZERO
from position_manager.orders.intents import Side

Key = tuple[str, int]
"""Account and contract id."""
Evidence = Mapping[str, Any]
"""What `explain` shows of a moment: anything that JSON can hold; Decimals and aware datetimes too, as text."""


@dataclass(frozen=True)
class Stamp:
    """Whom a journal belongs to: the mode (`paper`, `live`, …) and its accounts. A session may have more of them: those
    are new, and must be accepted (`Journal.accept`)."""

    mode: str
    accounts: frozenset[str]

    def __str__(self) -> str:
        return f"mode {self.mode}, accounts {masked_list(sorted(self.accounts))}"


@dataclass(frozen=True)
class OrderToSend:
    """An order that is on disk, with all that the broker adapter needs. Only `Journal.record_sending` creates one.

    ``stop`` is the trigger of a stop-limit, 0 for a plain limit. ``oca_group`` with ocaType 1 (cancel the rest, with
    overfill protection) holds every close of one episode of a position together at the broker.
    """

    account: str
    con_id: int
    side: Side
    quantity: Decimal
    limit: Decimal
    ref: str
    order_id: int
    client_id: int
    oca_group: str
    oca_type: int = 1
    stop: Decimal = ZERO


@dataclass(frozen=True)
class LegToSend:
    """A leg of a combination: what is closed of it. ``position`` is the one just read, ``per_unit`` how many contracts
    one combination has."""

    con_id: int
    side: Side
    position: Decimal
    quantity: Decimal
    per_unit: Decimal


@dataclass(frozen=True)
class ComboToSend:
    """A combination order that is on disk. Only `Journal.record_combo` creates one.

    ``side`` and ``limit`` are those of the combination, which consists of ``legs``: contract id and signed number of
    contracts in one combination (negative: sold when the combination is bought). ``quantity`` counts combinations.
    """

    account: str
    symbol: str
    currency: str
    side: Side
    quantity: Decimal
    limit: Decimal
    legs: tuple[tuple[int, Decimal], ...]
    ref: str
    order_id: int
    client_id: int


@dataclass(frozen=True)
class Lock:
    """An instrument on which nothing is sent until a person releases it."""

    account: str
    con_id: int
    reason: str
    since: datetime


@dataclass(frozen=True)
class Holding:
    """What a position is expected to be, all proven executions counted, and the OCA group of closes of that size.

    ``episode`` names one life of the position, from its opening until it is flat, split or assigned: what rules
    remember and what was decided belongs to one episode. Empty while it is flat. ``average``: the average price that
    the broker reported for this quantity, None if it has not yet.
    """

    quantity: Decimal
    oca_group: str
    episode: str = ""
    average: Decimal | None = None


@dataclass(frozen=True)
class Record:
    """One event as it was written."""

    number: int
    time: datetime
    kind: str
    intent: str | None
    account: str
    con_id: int
    data: Mapping[str, Any]
