"""A real journal of one day: a stop of two short puts that was refused, sent, filled in part, cancelled and resent;
a rejected close of a stock, which is locked now; a call that was bought and is still held."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from position_manager.journal import stored_instruments
from position_manager.journal.journal import Journal
from position_manager.journal.records import Stamp
from position_manager.model import Instrument, Kind, Right
from position_manager.orders.intents import (
    Acknowledged,
    CancelSent,
    Executed,
    Fill,
    Intent,
    Proven,
    Said,
    Side,
    State,
)
from position_manager.ulid import ulid

NOW = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)
ACCOUNT = "DU1234567"
PUT = Instrument(
    101, "SPY", Kind.OPTION, Decimal(100), expiry=date(2026, 12, 18), strike=Decimal(450), right=Right.PUT,
    local_symbol="SPY   261218P00450000",
)  # fmt: skip
CALL = replace(PUT, con_id=102, right=Right.CALL, strike=Decimal(500), local_symbol="SPY   261218C00500000")
STOCK = Instrument(103, "AAPL", Kind.STOCK, local_symbol="AAPL")
QUOTE = {
    "time": NOW,
    "bid": Decimal("3.70"),
    "ask": Decimal("3.80"),
    "last": None,
    "live": True,
    "delta": -0.3512881678593839,
    "underlying": Decimal("449.10"),
}
RULE = "stop: ask 3.80 is at or above 3.75 (percent_of_premium 50)"


class Day:
    """Writes the day; the clock moves on by 250 ms with each reading."""

    def __init__(self, path: Path, accounts: frozenset[str] = frozenset({ACCOUNT})) -> None:
        self.now = NOW
        ids = random.Random(7)  # noqa: S311 - ids that can be repeated
        self.journal = Journal(
            path, Stamp("paper", accounts), clock=self._time, new_id=lambda: ulid(self.now, ids.randbytes)
        )

    def _time(self) -> datetime:
        self.now += timedelta(milliseconds=250)
        return self.now

    def hold(self, instrument: Instrument, quantity: int, account: str = ACCOUNT) -> None:
        stored_instruments.store(self.journal, instrument)
        self.journal.count_holding(account, instrument.con_id, Decimal(quantity), "first seen")

    def fire(self, instrument: Instrument, text: str = RULE) -> None:
        label = instrument.label
        seen = {"unit": label, "rule": "stop", "text": text, "quotes": {label: QUOTE}}
        self.journal.append("rule fired", ACCOUNT, instrument.con_id, seen)

    def send(self, instrument: Instrument, side: Side, quantity: int, limit: str) -> Intent:
        holding = self.journal.holding(ACCOUNT, instrument.con_id)
        assert holding is not None
        gates = [{"gate": "connection", "passed": True, "detail": "the connection is READY"}]
        evidence = {"quantity": str(quantity), "gates": gates, "rule": RULE, "quote": QUOTE, "limit": Decimal(limit)}
        with self.journal.transaction():
            intent = self.journal.create_intent(
                ACCOUNT, instrument.con_id, side, holding.quantity, Decimal(quantity), "stop", evidence
            )
            self.journal.record_sending(
                intent.id, client_id=100, next_valid_id=1, position=holding.quantity, quantity=Decimal(quantity),
                limit=Decimal(limit), evidence={},
            )  # fmt: skip
        return intent

    def fill(self, intent: Intent, quantity: int, price: str, exec_id: str) -> None:
        self.journal.record(intent.id, Executed(Fill(exec_id, Decimal(quantity), Decimal(price), self.now)))


def write(path: Path) -> tuple[Intent, Intent, Intent]:
    """Create the day; return the intents in their order: cancelled in part, filled, rejected."""
    day = Day(path)
    journal = day.journal
    day.hold(PUT, -2)
    day.hold(CALL, 1)
    day.hold(STOCK, 100)
    day.fire(PUT)
    gates = [
        {"gate": "connection", "passed": True, "detail": "the connection is READY"},
        {"gate": "spread", "passed": False, "detail": "35.00% of the middle, at most 20.00%"},
    ]
    journal.append("refused", ACCOUNT, PUT.con_id, {"quantity": "0", "gates": gates})
    first = day.send(PUT, Side.BUY, 2, "3.75")
    journal.record(first.id, Acknowledged(9001))
    day.fill(first, 1, "3.75", "x1")
    journal.record(first.id, CancelSent(), {"why": "3.80 instead of 3.75"})
    journal.record(first.id, Proven(State.CANCELLED, "completed as Cancelled, 1 executed", Decimal(1)))
    second = day.send(PUT, Side.BUY, 1, "3.80")
    journal.record(second.id, Acknowledged(9002))
    day.fill(second, 1, "3.79", "x2")
    journal.append("closed", ACCOUNT, PUT.con_id, {"unit": PUT.label, "rule": "stop"})
    third = day.send(STOCK, Side.SELL, 100, "179.95")
    journal.record(third.id, Said(201, f"Order rejected for {ACCOUNT}: margin"))
    journal.close()
    return first, second, third
