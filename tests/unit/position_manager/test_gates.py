"""Each gate, alone: one fact wrong is enough, and the numbers are reported."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from position_manager.halt import Halt
from position_manager.model import Hours, Instrument, Kind, Quote
from position_manager.orders.caps import Caps, Sent
from position_manager.orders.gates import Facts, Limits, check, closable
from position_manager.orders.intents import State

NOW = datetime(2026, 11, 23, 15, tzinfo=UTC)
TEN = Decimal(10)
LIMITS = Limits(caps=Caps(orders_per_minute=3, orders_per_day=20, quantity=TEN, notional=Decimal(2500)))
HOURS = (Hours(NOW - timedelta(hours=1), NOW + timedelta(hours=5)),)
QUOTE = Quote(NOW - timedelta(seconds=1), Decimal("2.40"), Decimal("2.60"))
FACTS = Facts(
    now=NOW,
    ready=True,
    link="READY",
    halts=(),
    mode="paper",
    sending_mode=True,
    lock=None,
    open_intent=None,
    instrument=Instrument(42, "SPY", Kind.OPTION, Decimal(100)),
    decided=TEN,
    wanted=TEN,
    position=TEN,
    read_at=NOW,
    expected=TEN,
    resting=Decimal(0),
    limit=Decimal("2.50"),
    sent=Sent(2, 19),
    quote=QUOTE,
    hours=HOURS,
)


def test_all_pass() -> None:
    clearance = check(FACTS, LIMITS)
    assert clearance.passed
    assert clearance.quantity == 10
    assert len({c.gate for c in clearance.checks}) == len(clearance.checks) == 15
    assert clearance.evidence()["quantity"] == "10"
    assert all(c.detail for c in clearance.checks)


CASES: list[tuple[str, dict[str, Any], str]] = [
    ("connection", {"ready": False, "link": "SYNCING"}, "the connection is SYNCING"),
    ("halt", {"halts": (Halt("321 read-only", None, "resume"),)}, "321 read-only (to end it: resume)"),
    ("mode", {"mode": "shadow", "sending_mode": False}, "mode shadow sends nothing"),
    ("lock", {"lock": "unexplained"}, "locked: unexplained"),
    ("open intent", {"open_intent": State.UNKNOWN}, "one is UNKNOWN"),
    ("position", {"read_at": NOW - timedelta(seconds=6)}, "read 6.0 s ago (at most 5 s)"),
    ("position", {"read_at": NOW + timedelta(hours=1)}, "read -3600.0 s ago"),
    ("quote", {"quote": replace(QUOTE, time=NOW + timedelta(hours=1))}, "stale"),
    ("settled", {"expected": None}, "position 10, not counted yet"),
    ("settled", {"expected": Decimal(6)}, "position 10, expected 6"),
    ("quantity", {"resting": TEN}, "10 wanted, |10| held, 10 resting on side SELL: 0 may be sent"),
    ("orders per minute", {"sent": Sent(3, 19)}, "4 with this order, at most 3"),
    ("orders per day", {"sent": Sent(2, 20)}, "21 with this order, at most 20"),
    ("order notional", {"limit": Decimal("25.01")}, "2501.00 with this order, at most 2500"),
    ("hours", {"hours": ()}, "the trading hours are not known"),
    ("hours", {"hours": (Hours(NOW - timedelta(hours=1), NOW),)}, "closed, opens at a time that is not known"),
    ("hours", {"hours": (Hours(NOW + timedelta(hours=1), NOW + timedelta(hours=2)),)}, "opens 2026-11-23T16:00:00"),
    ("quote", {"quote": replace(QUOTE, live=False)}, "not live data: bid 2.40, ask 2.60"),
    ("quote", {"quote": replace(QUOTE, time=NOW - timedelta(seconds=6))}, "stale: bid 2.40, ask 2.60, 6.0 s old"),
    ("quote", {"quote": replace(QUOTE, halted=True)}, "halted"),
    ("spread", {"quote": replace(QUOTE, bid=Decimal("2.00"))}, "26.09% of the middle"),
]


@pytest.mark.parametrize(("gate", "facts", "detail"), CASES)
def test_each_gate_refuses_alone_and_reports_its_numbers(gate: str, facts: dict[str, Any], detail: str) -> None:
    clearance = check(replace(FACTS, **facts), LIMITS)
    assert not clearance.passed
    assert clearance.quantity == 0
    (refusal,) = clearance.refusals
    assert refusal.gate == gate
    assert detail in refusal.detail


def test_the_cap_on_the_quantity() -> None:
    """What is larger than a cap goes out in slices."""
    more = replace(FACTS, decided=Decimal(11), wanted=Decimal(11), position=Decimal(11), expected=Decimal(11))
    assert check(more, LIMITS).quantity == 10
    assert check(replace(more, limit=Decimal("2.51")), LIMITS).quantity == 9, "whole contracts within the notional"


@given(st.integers(1, 500), st.integers(1, 200), st.integers(1, 100_000), st.sampled_from(["0.05", "2.5", "310"]))
def test_slices_are_within_the_caps_and_lose_nothing(held: int, most: int, notional: int, price: str) -> None:
    caps, left, worth = Caps(quantity=Decimal(most), notional=Decimal(notional)), Decimal(held), Decimal(price) * 100
    while left:
        part = caps.slice_of(left, Decimal(price), Decimal(100))
        assert 0 <= part <= min(left, Decimal(most))
        assert part * worth <= notional
        if not part:
            assert worth > notional, "one contract alone is worth more"
            return
        left -= part
    assert left == 0


def test_no_quote_at_all() -> None:
    assert {c.gate for c in check(replace(FACTS, quote=None), LIMITS).refusals} == {"quote", "spread"}


@pytest.mark.parametrize("position", [Decimal(0), Decimal(-10)])
def test_a_position_that_turned_is_not_the_one_decided_on(position: Decimal) -> None:
    assert "position" in {c.gate for c in check(replace(FACTS, position=position, expected=position), LIMITS).refusals}


def test_orders_of_any_client_leave_less_to_send() -> None:
    assert check(replace(FACTS, resting=Decimal(4)), LIMITS).quantity == 6
    assert check(replace(FACTS, resting=Decimal(4), wanted=Decimal(2)), LIMITS).quantity == 2
    assert check(replace(FACTS, position=Decimal(7), expected=Decimal(7)), LIMITS).quantity == 7
    short = replace(FACTS, decided=-TEN, position=-TEN, expected=-TEN, resting=Decimal(4))
    assert check(short, LIMITS).quantity == 6
    assert "on side BUY" in next(c.detail for c in check(short, LIMITS).checks if c.gate == "quantity")


def test_never_through_zero() -> None:
    assert closable(Decimal(-5), Decimal(2)) == 3
    assert closable(Decimal(5), Decimal(9)) == 0
