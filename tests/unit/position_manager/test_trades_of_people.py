"""People trade what the manager guards, at the worst moment."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.position_manager.engine_world import ACCOUNT, BEGIN, Manager, World, breach, short_puts
from tests.unit.position_manager.test_engine import play

from position_manager.engine.reconcile import crosses
from position_manager.journal.reader import JournalReader
from position_manager.orders.evidence import Execution
from position_manager.orders.intents import Fill, Intent, Side, State


@pytest.mark.parametrize("quantity", [1, 2])
def test_a_trade_between_two_answers_of_a_sync_locks_nothing(tmp_path: Path, quantity: int) -> None:
    """Positions are answered before executions: one in between is in the executions, and not in the positions yet."""

    async def story(at: World, manager: Manager) -> None:
        await at.clock.advance(5)
        rests = at.foreign(42, Side.BUY, quantity)

        def trades(question: str) -> None:
            if question == "executions" and not rests.over:
                at.fill(rests, quantity)

        at.on_ask = trades
        for _ in range(120):
            at.quote(42, "2.45", "2.55")
            await at.clock.advance(1)
        assert rests.over
        assert not manager.engine.shared.locks.present
        holding = manager.engine.shared.access.journal.holding(ACCOUNT, 42)
        assert holding is not None
        assert holding.quantity == quantity - 2

    play(tmp_path, short_puts(), story)


def by_a_person(at: World, quantity: int) -> None:
    """Somebody buys at the market; the position may go through zero."""
    order = at.foreign(42, Side.BUY, quantity)
    at.positions[42] += quantity
    order.filled, order.over = Decimal(quantity), "Filled"
    fill = Fill(f"hand.{len(at.executions)}", Decimal(quantity), Decimal("3.80"), at.clock.now())
    at.executions.append(Execution(ACCOUNT, 42, Side.BUY, fill, order.perm_id))


async def closed_by_both(at: World, manager: Manager, later: float = 0) -> None:
    """Our close is filled, and a person closes the same position."""
    await breach(at, times=3)
    (ours,) = at.live(42)
    at.fill(ours, 2)
    await at.clock.advance(later)
    by_a_person(at, 2)
    at.quote(42, "2.45", "2.55")
    await at.clock.advance(40)


def test_a_position_that_two_have_closed_has_its_own_alert(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await closed_by_both(at, manager)
        (reported,) = [message for message in manager.reported if message.kind == "crossed_zero"]
        assert "2 held now" in reported.title
        assert "position-manager close 'SPY 2026-12-21 450P'" in reported.text()
        assert not manager.engine.shared.locks.present
        with JournalReader(tmp_path / "journal.db") as journal:
            assert "crossed zero" in [event.kind for event in journal.events()]

    play(tmp_path, short_puts(), story)


def test_a_position_that_is_opened_after_our_close_crossed_nothing(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await closed_by_both(at, manager, later=20)
        assert at.positions[42] == 2
        assert "crossed_zero" not in manager.kinds

    play(tmp_path, short_puts(), story)


@given(st.integers(1, 5), st.integers(1, 8), st.integers(-60, 60))
def test_it_crosses_only_if_neither_trade_alone_would_have_led_there(held: int, theirs: int, seconds: int) -> None:
    fill = Fill("a", Decimal(held), Decimal(1), BEGIN + timedelta(seconds=10))
    ours = Intent(
        "1", ACCOUNT, 42, Side.BUY, Decimal(held), Decimal(-held), "stop", "g", BEGIN, State.FILLED,
        fills=(fill,), sent=BEGIN,
    )  # fmt: skip
    at = BEGIN + timedelta(seconds=seconds)
    beside = Execution(ACCOUNT, 42, Side.BUY, Fill("b", Decimal(theirs), Decimal(1), at), 9)
    expected = theirs <= held and -5 <= seconds <= 15
    assert crosses(ours, Decimal(theirs), [beside]) is expected
    assert not crosses(ours, Decimal(-theirs), [beside]), "it is on the side on which it was"
