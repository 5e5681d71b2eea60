"""Two managers on one account: each that sees the other sends nothing, reports what to do, and resumes when alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.position_manager.engine_world import (
    ACCOUNT,
    BEGIN,
    SECOND,
    Manager,
    Order,
    World,
    breach,
    put,
    short_puts,
)
from tests.unit.position_manager.test_engine import play

from position_manager.engine.rivals import QUIET_FOR, Rivals
from position_manager.journal.reader import JournalReader
from position_manager.journal.records import OrderToSend
from position_manager.orders.evidence import Execution, OpenOrder
from position_manager.orders.intents import Fill, Side
from position_manager.refused import RefusedError
from position_manager.service.host_claim import HostClaim


def of_another_manager(at: World, con_id: int = 42, client_id: int = 200) -> Order:
    """An order of a manager with another journal rests at the broker."""
    sent = OrderToSend(ACCOUNT, con_id, Side.SELL, Decimal(1), Decimal(9), "pm:THEIRS", 1, client_id, "pm-theirs")
    order = Order(sent, at.new_perm_id(), client_id)
    at.orders.append(order)
    return order


def halts(manager: Manager) -> list[str]:
    return [halt.reason for halt in manager.engine.shared.halts.present]


def test_an_order_of_another_manager_at_the_start_prevents_this_one_from_sending(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await breach(at, times=4)
        assert not at.received
        (reason,) = halts(manager)
        assert "client 200" in reason
        (reported,) = [message for message in manager.reported if message.kind == "another_manager"]
        assert "stop one of the managers" in reported.text()
        with pytest.raises(RefusedError, match="another position manager"):
            await manager.engine.close("42", by="a test")

    at = short_puts()
    at.hold(put(43, 440), 1, "1.50")
    of_another_manager(at, 43)
    play(tmp_path, at, story)


def test_it_goes_on_by_itself_when_the_other_one_is_gone(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await breach(at)
        theirs.over = "Cancelled"
        await at.clock.advance(QUIET_FOR.total_seconds() + 40)
        assert not halts(manager)
        assert "manager_alone" in manager.kinds
        await breach(at, times=4)
        assert at.received[0].quantity == 2

    at = short_puts()
    at.hold(put(43, 440), 1, "1.50")
    theirs = of_another_manager(at, 43)
    play(tmp_path, at, story)


def test_one_that_appears_while_running_is_seen_before_the_next_order(tmp_path: Path) -> None:
    """The order of the other one is in the very answer that is read just before sending."""

    async def story(at: World, manager: Manager) -> None:
        await at.clock.advance(5)

        # After the last sync, and before the quote that confirms the stop.
        await breach(at, times=1)
        assert not at.received
        of_another_manager(at, 43)
        await breach(at, times=7)
        assert not at.received
        assert halts(manager)
        with JournalReader(tmp_path / "journal.db") as journal:
            assert any(event.kind == "another manager" for event in journal.events())

    at = short_puts()
    at.hold(put(43, 440), 1, "1.50")
    play(tmp_path, at, story)


def test_orders_of_the_drill_and_of_people_are_no_other_manager(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await breach(at, times=3)
        assert not halts(manager)
        assert at.received

    at = short_puts()
    at.hold(put(43, 440), 1, "1.50")
    drill = of_another_manager(at, 43)
    drill.sent = replace(drill.sent, ref="pm:drill-01")
    at.foreign(43, Side.SELL, 1)
    play(tmp_path, at, story)


def test_shadow_may_run_beside_a_manager_that_sends(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await breach(at, times=3)
        assert not halts(manager)
        assert "shadow" in manager.kinds

    at = short_puts()
    of_another_manager(at)
    play(tmp_path, at, story, {"mode": "shadow", "defaults": {"stop": {"percent_of_premium": 50}}})


def test_a_claim_of_another_process_on_this_host_holds_until_it_ends(tmp_path: Path) -> None:
    theirs, ours = HostClaim(str(tmp_path)), HostClaim(str(tmp_path))
    theirs([ACCOUNT])

    async def story() -> None:
        at = short_puts()
        manager = Manager(at, tmp_path)
        manager.engine._halt_watch._claim = ours
        await manager.start()
        await breach(at, times=4)
        assert not at.received
        assert "process" in halts(manager)[0]
        theirs.close()
        await at.clock.advance(12)
        await breach(at, times=4)
        assert at.received
        assert not halts(manager)
        await manager.end()

    asyncio.run(story())
    ours.close()


def test_another_manager_that_ends_before_the_first_sync_makes_no_news_of_what_is_held(tmp_path: Path) -> None:
    """What is held when a journal is new is no news, whatever happened before it was first seen."""
    theirs = ["another process guards it"]

    async def story() -> None:
        at = short_puts()
        at.fail.add("positions")
        manager = Manager(at, tmp_path)
        manager.engine._halt_watch._claim = lambda _accounts: theirs[0]
        await manager.start()
        await at.clock.advance(20)
        assert "another_manager" in manager.kinds
        theirs[0] = ""
        await at.clock.advance(20)
        assert "manager_alone" in manager.kinds
        at.fail.clear()
        await at.clock.advance(60)
        assert manager.engine.synced
        assert "position_opened" not in manager.kinds
        await manager.end()

    asyncio.run(story())


def test_a_claim_is_for_one_account_and_ends_with_its_process(tmp_path: Path) -> None:
    first, second = HostClaim(str(tmp_path)), HostClaim(str(tmp_path))
    assert first([ACCOUNT]) == ""
    assert first([ACCOUNT]) == "", "a claim that is held already"
    assert "guards DU*****67" in second([SECOND, ACCOUNT])
    assert "guards DU*****21" in first([SECOND]), "the part that is free was taken"
    first.close()
    assert second([SECOND, ACCOUNT]) == ""
    second.close()


KNOWN = "pm:OURS"
REFS = st.sampled_from(["", "by hand", KNOWN, "pm:THEIRS", "pm:drill-1"])
CLIENTS = st.sampled_from([0, 7, 100, 200])
ACCOUNTS = st.sampled_from([ACCOUNT, SECOND])
MINUTES = st.integers(-8, 8)


@given(
    st.lists(st.tuples(ACCOUNTS, REFS, CLIENTS), max_size=4),
    st.lists(st.tuples(ACCOUNTS, REFS, CLIENTS, MINUTES), max_size=4),
    st.integers(0, 4),
)
def test_another_manager_is_seen_exactly_by_its_marks(
    orders: list[tuple[str, str, int]], executions: list[tuple[str, str, int, int]], later: int
) -> None:
    """Of a guarded account, with our mark, not in our journal, of another client or since our journal exists."""
    rivals = Rivals(100, lambda ref: ref == KNOWN, BEGIN)
    shown = [
        OpenOrder(account, 42, Side.BUY, Decimal(1), 1, "Submitted", ref, client) for account, ref, client in orders
    ]
    done = [
        Execution(
            *(account, 42, Side.BUY, Fill("x", Decimal(1), Decimal(1), BEGIN + timedelta(minutes=minute)), 1),
            *(ref, client),
        )
        for account, ref, client, minute in executions
    ]
    now = BEGIN + timedelta(minutes=5)
    rivals.see([ACCOUNT], shown, done, now)
    live = any(a == ACCOUNT and r == "pm:THEIRS" and c in (7, 200) for a, r, c in orders)
    ages: Iterable[int] = (
        max(0, 5 - m)
        for a, r, c, m in executions
        if a == ACCOUNT and r == "pm:THEIRS" and (c in (7, 200) or (c == 100 and m >= 0))
    )
    youngest = min([0] if live else [], default=min(ages, default=99))
    seen = rivals.halt(now + timedelta(minutes=later)) is not None
    assert seen == (youngest < 2 and youngest + later < 2)
