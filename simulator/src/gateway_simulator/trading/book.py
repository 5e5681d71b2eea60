"""The orders at work, sorted by how they meet the market, and when something is due next."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from gateway_simulator.trading.working import AT_ONCE, AT_OPENING, PEGGED, WorkingOrder

SHORT_LIVED = frozenset((*AT_ONCE, AT_OPENING))


@dataclass
class Book:
    """A contract's orders at work: those that wait for their price, those that trade (the best first) and, of
    these, those that trade at once or not at all; those whose price follows the quote; those of the opening."""

    con_id: int
    waiting: list[WorkingOrder] = field(default_factory=list)
    buys: list[WorkingOrder] = field(default_factory=list)
    sells: list[WorkingOrder] = field(default_factory=list)
    at_once: list[WorkingOrder] = field(default_factory=list)
    pegged: list[WorkingOrder] = field(default_factory=list)
    at_opening: list[WorkingOrder] = field(default_factory=list)

    def add(self, working: WorkingOrder) -> None:
        """Add an order that is at work; the sides are sorted afterwards."""
        order = working.order
        if order.time_in_force in SHORT_LIVED:
            (self.at_opening if order.time_in_force == AT_OPENING else self.at_once).append(working)
            if order.time_in_force == AT_OPENING:
                return
        if order.order_type in PEGGED:
            self.pegged.append(working)
        elif working.waits_for_trigger:
            self.waiting.append(working)
        else:
            (self.buys if working.buys else self.sells).append(working)


@dataclass(frozen=True)
class Agenda:
    """When something is due next, and the orders at work by contract and those whose conditions are not met."""

    due: datetime
    books: dict[int, Book]
    conditional: tuple[WorkingOrder, ...] = ()


@dataclass(frozen=True)
class Session:
    """Whether regular hours and any session run, since when that is known and until when it holds."""

    regular: bool
    extended: bool
    since: datetime
    until: datetime
