"""What a drill finds wrong at the end of a case."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from position_manager.drill.bench import Bought, Truth
from position_manager.drill.drill import Record, faults
from position_manager.drill.fence import Field
from position_manager.journal.records import Lock
from position_manager.orders.evidence import Execution, OpenOrder
from position_manager.orders.intents import Fill, Intent, Side, State

NOW = datetime(2026, 11, 23, 15, tzinfo=UTC)
ONE = Decimal(1)
BOUGHT = Bought(Field("DU1234567", 5, ONE), "SPY", Decimal(400))
FILL = Fill("1.1", ONE, Decimal(450), NOW)
FILLED = Intent(
    "A", "DU1234567", 5, Side.SELL, ONE, ONE, "by hand", "pm-1", NOW, state=State.FILLED, order_id=1, fills=(FILL,)
)
LOST = replace(FILLED, id="B", state=State.LOST, fills=())
SOLD = Execution("DU1234567", 5, Side.SELL, FILL, 7, FILLED.ref)
TRUTH = Truth(Decimal(0), (), (SOLD,))
RECORD = Record((LOST, FILLED), (), ())


def test_closed_once_after_an_order_that_was_lost_is_in_order() -> None:
    assert faults(BOUGHT, TRUTH, RECORD, sprung=True) == ()


AGAIN = replace(SOLD, fill=replace(FILL, exec_id="1.2"), ref="pm:C")
RESTING = OpenOrder("DU1234567", 5, Side.SELL, ONE, 8, "Submitted", "pm:C")


@pytest.mark.parametrize(
    ("truth", "record", "sprung", "said"),
    [
        (TRUTH, RECORD, False, "nothing was tried"),
        (TRUTH, Record((), (), ()), True, "no order was written down"),
        (TRUTH, Record((), (), ()), True, "executed without an intent: pm:A"),
        (replace(TRUTH, executions=(SOLD, AGAIN)), RECORD, True, "2 closed, 1 bought"),
        (replace(TRUTH, executions=(SOLD, AGAIN)), RECORD, True, "executed without an intent: pm:C"),
        (replace(TRUTH, executions=()), RECORD, True, "0 closed, 1 bought"),
        (replace(TRUTH, executions=()), RECORD, True, "the journal has 1 executed of an order, the broker 0"),
        (replace(TRUTH, executions=(SOLD, replace(AGAIN, side=Side.BUY))), RECORD, True, "1 more bought meanwhile"),
        (replace(TRUTH, position=Decimal(-1)), RECORD, True, "the position is -1, not 0"),
        (replace(TRUTH, open_orders=(RESTING,)), RECORD, True, "an order is still open: SELL 1 (pm:C)"),
        (TRUTH, replace(RECORD, intents=(FILLED, replace(LOST, state=State.UNKNOWN))), True, "which proves nothing"),
        (TRUTH, replace(RECORD, locks=(Lock("DU1234567", 5, "two orders", NOW),)), True, "locked: two orders"),
    ],
)
def test_what_is_not_proven_or_not_once_is_a_fault(truth: Truth, record: Record, sprung: bool, said: str) -> None:
    assert said in "\n".join(faults(BOUGHT, truth, record, sprung=sprung))
