"""Stops that fire in one piece of the stream: one evaluation, one write to the disk, and each order on its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.unit.position_manager.engine_world import (
    ACCOUNT,
    BEGIN,
    CONFIG,
    KilledError,
    Manager,
    ManualClock,
    World,
    put,
    settle,
)

from position_manager.engine.decisions import WRITE_WITHIN
from position_manager.journal.errors import JournalAwayError
from position_manager.orders.intents import Side, State

CONTRACTS = tuple(range(42, 57))
Story = Callable[[World, Manager], Coroutine[Any, Any, None]]
AT_FIRST_SIGHT: dict[str, object] = {
    **CONFIG,
    "quotes": {"confirmations": 1},
    "caps": {"orders_per_minute": 50},
}


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Story], None]:
    """Play a story: fifteen short puts at 2.50, each with a stop that one quote fires."""

    def play(story: Story) -> None:
        async def whole() -> None:
            at = World(ManualClock(BEGIN))
            for con_id in CONTRACTS:
                at.hold(put(con_id, 400 + con_id), -2)
                at.quote(con_id, "2.45", "2.55")
            manager = Manager(at, tmp_path, AT_FIRST_SIGHT)
            await manager.start()
            await at.clock.advance(120)
            await story(at, manager)
            if manager.running is not None and not manager.running.done():
                await manager.end()

        asyncio.run(whole())

    return play


def breach(at: World, con_ids: tuple[int, ...] = CONTRACTS) -> None:
    at.quote_together(con_ids, "3.75", "3.85")


def asked(at: World) -> list[str]:
    """What the broker is asked from now on."""
    questions: list[str] = []
    at.on_ask = questions.append
    return questions


def commits(manager: Manager) -> list[str]:
    """The ends of transactions from now on."""
    found: list[str] = []
    manager.engine.shared.access.journal._db.set_trace_callback(
        lambda statement: found.append(statement) if statement.startswith("COMMIT") else None
    )
    return found


def test_stops_that_fire_together_share_one_check(play: Callable[[Story], None]) -> None:
    async def story(at: World, manager: Manager) -> None:
        questions = asked(at)
        breach(at)
        for _ in range(20):
            await asyncio.sleep(0)
        assert {order.con_id for order in at.received} == set(CONTRACTS)
        assert questions.count("open orders") == 1
        assert len(at.received) == len(CONTRACTS)
        await settle()

    play(story)


def test_every_order_is_on_disk_before_the_first_of_them_leaves(play: Callable[[Story], None]) -> None:
    async def story(at: World, manager: Manager) -> None:
        written = commits(manager)
        before: list[int] = []

        def sending(_moment: str) -> None:
            if not before:
                before.append(len(written))
                journal = manager.engine.shared.access.journal
                assert not journal._db.in_transaction
                intents = [journal.intents(ACCOUNT, con_id) for con_id in CONTRACTS]
                assert [[intent.state for intent in of_one] for of_one in intents] == [[State.SENDING]] * 15
                kinds = [record.kind for record in journal.events(instrument=(ACCOUNT, 42))]
                assert kinds.index("rule fired") < kinds.index("decided") < kinds.index("Sending")
                assert any(rule.startswith("closing ") for _, _, rule in journal.memory())

        at.on_send = sending
        breach(at)
        await settle()
        assert before == [1], "decisions, intents and orders of all fifteen"
        assert len(at.received) == 15

    play(story)


def test_a_stop_that_fires_while_the_check_of_another_is_under_way_gets_a_check_of_its_own(
    play: Callable[[Story], None],
) -> None:
    """What rests for the second contract since the first question left must count."""

    async def story(at: World, manager: Manager) -> None:
        questions: list[str] = []

        def ask(what: str) -> None:
            if what == "open orders" and not questions:
                # The question has left: somebody's order comes to rest, then the second stop fires.
                at.foreign(43, Side.BUY, 1)
                breach(at, (43,))
            questions.append(what)

        at.on_ask = ask
        breach(at, (42,))
        await settle()
        assert questions.count("open orders") >= 2
        sent = {order.con_id: order.quantity for order in at.received}
        assert sent == {42: Decimal(2), 43: Decimal(1)}

    play(story)


def test_one_order_that_cannot_be_written_does_not_hold_the_others_back(
    play: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(at: World, manager: Manager) -> None:
        journal = manager.engine.shared.access.journal
        write = journal.record_sending

        def record_sending(intent_id: str, **values: Any) -> Any:
            if journal.intent(intent_id).con_id == 47:
                raise JournalAwayError("the disk is full")
            return write(intent_id, **values)

        monkeypatch.setattr(journal, "record_sending", record_sending)
        breach(at)
        await settle()
        assert {order.con_id for order in at.received} == set(CONTRACTS) - {47}
        assert journal.open_intent(ACCOUNT, 47) is None
        monkeypatch.undo()
        for _ in range(3):
            breach(at, (47,))
            await at.clock.advance(5)
        assert 47 in {order.con_id for order in at.received}

    play(story)


def test_a_kill_between_the_orders_of_one_write_closes_nothing_twice(
    play: Callable[[Story], None], tmp_path: Path
) -> None:
    async def story(at: World, manager: Manager) -> None:
        def sending(moment: str) -> None:
            if moment == "after send" and len(at.received) == 7:
                raise KilledError

        at.on_send = sending
        breach(at)
        await settle()
        await manager.kill()
        at.on_send = lambda _moment: None
        again = Manager(at, tmp_path, AT_FIRST_SIGHT, seed=1)
        await again.start()
        for _ in range(100):
            breach(at)
            await at.clock.advance(1)
            for con_id in CONTRACTS:
                for order in at.live(con_id):
                    at.fill(order, int(order.remaining))
        assert set(at.positions.values()) == {Decimal(0)}
        assert len(at.received) == 15
        await again.end()

    play(story)


def test_a_decision_that_no_order_follows_is_on_disk_at_once(play: Callable[[Story], None]) -> None:
    async def story(at: World, manager: Manager) -> None:
        at.fail.add("open orders")
        breach(at, (42,))
        assert manager.engine.closer.decisions.write_due == at.clock.now() + WRITE_WITHIN
        await settle()
        await at.clock.advance(WRITE_WITHIN / timedelta(seconds=1))
        assert manager.engine.closer.decisions.write_due is None
        assert any(rule.startswith("closing ") for _, _, rule in manager.engine.shared.access.journal.memory())

    play(story)
