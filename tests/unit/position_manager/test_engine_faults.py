"""Faults that the engine once had, each as a test of the whole of it. What was wrong is in the docstrings."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.unit.position_manager.engine_world import (
    ACCOUNT,
    BEGIN,
    CONFIG,
    DISASTER,
    GROUP,
    Manager,
    World,
    breach,
    short_puts,
    vertical,
)

from ib_connection.accounts import masked
from position_manager.brokers.broker import CodeReceived, PositionReceived
from position_manager.halt import HaltRecord, Halts, KillSwitch
from position_manager.journal.errors import JournalError
from position_manager.model import Hours
from position_manager.orders.intents import Side
from position_manager.refused import RefusedError
from position_manager.rules.evaluation import Blind, Cause

Story = Callable[[World, Manager], Coroutine[Any, Any, None]]
TRAILING: Mapping[str, object] = {
    **CONFIG,
    "defaults": {"trailing": {"activate_percent": 40, "distance_percent": 20}},
}


def play(directory: Path, at: World, story: Story, config: Mapping[str, object] = CONFIG) -> None:
    """A story that starts with a manager that guards what is held."""

    async def whole() -> None:
        manager = Manager(at, directory, config)
        await manager.start()
        await story(at, manager)

    asyncio.run(whole())


def seconds_unprotected(manager: Manager) -> float:
    (count,) = manager.engine.shared.guard.counts.values()
    return count.total


# ----- what rests and what is held


@pytest.mark.parametrize("config", [CONFIG, DISASTER], ids=["ladder", "disaster stop"])
@pytest.mark.parametrize("by_hand", [1, 2])
def test_what_rests_goes_when_a_user_closes_by_hand(tmp_path: Path, config: Mapping[str, object], by_hand: int) -> None:
    """Our order went on resting for a position that was gone: a fill would have opened the opposite one."""

    async def story(at: World, manager: Manager) -> None:
        if config is CONFIG:
            await breach(at)
        else:
            await at.clock.advance(6)
        (resting,) = at.ours(42)
        at.fill(at.foreign(42, Side.BUY, by_hand), by_hand)
        await at.clock.advance(1)
        assert resting.over == "Cancelled"
        await at.clock.advance(60)
        assert sum(order.remaining for order in at.live(42)) <= abs(at.positions[42])
        assert not manager.engine.shared.locks.present

    play(tmp_path, short_puts(), story, config)


def test_what_rests_goes_when_the_position_is_gone_without_a_trade(tmp_path: Path) -> None:
    """Assigned while our order rests: no execution reports it."""

    async def story(at: World, manager: Manager) -> None:
        await breach(at)
        (resting,) = at.ours(42)
        at.positions[42] = Decimal(0)
        at.emit(PositionReceived(ACCOUNT, 42, Decimal(0)))
        await at.clock.advance(1)
        assert resting.over == "Cancelled"

    play(tmp_path, short_puts(), story)


def test_a_part_and_then_a_users_trade_leave_no_more_resting_than_is_held(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await breach(at)
        at.fill(at.ours(42)[0], 1)
        at.fill(at.foreign(42, Side.BUY, 1), 1)
        await at.clock.advance(1)
        assert at.ours(42)[0].over
        for _ in range(30):
            await breach(at, times=1)
        assert [order.sent.quantity for order in at.live(42)] == [1]
        at.fill(at.live(42)[0], 1)
        await at.clock.advance(60)
        assert at.positions[42] == 0
        assert not manager.engine.closer.closings

    play(tmp_path, short_puts(-3), story)


def test_the_disaster_stop_beside_a_users_order_is_not_sent_again_and_again(tmp_path: Path) -> None:
    """It was for less than is held, because the user's order counts; so it was replaced at each loop, until no more
    orders might be sent on that day."""

    async def story(at: World, manager: Manager) -> None:
        await at.clock.advance(300)
        assert [order.quantity for order in at.received] == [1]
        at.orders[0].over = "Cancelled"
        await at.clock.advance(60)
        assert [order.sent.quantity for order in at.live(42)] == [2], "the whole position has one again"

    at = short_puts()
    at.foreign(42, Side.BUY, 1)
    play(tmp_path, at, story, DISASTER)


@pytest.mark.parametrize("config", [CONFIG, DISASTER], ids=["ladder", "disaster stop"])
def test_a_trade_by_hand_is_counted_while_our_order_rests(tmp_path: Path, config: Mapping[str, object]) -> None:
    """As long as an order of ours rested no change of its position was examined, even for weeks."""

    async def story(at: World, manager: Manager) -> None:
        if config is CONFIG:
            await breach(at)
        else:
            await at.clock.advance(6)
        assert [order.quantity for order in at.received] == [2]
        at.fill(at.foreign(42, Side.BUY, 1), 1)
        await at.clock.advance(2)
        assert "position_changed" in manager.kinds
        holding = manager.engine.shared.access.journal.holding(ACCOUNT, 42)
        assert holding is not None
        assert holding.quantity == -2
        await breach(at, times=8)
        assert [order.sent.quantity for order in at.live(42)] == [1, 1], "the user's and ours"

    at = short_puts(-3)
    at.foreign(42, Side.BUY, 1)
    play(tmp_path, at, story, config)


def test_a_cancel_that_was_lost_with_a_restart_is_asked_for_again(tmp_path: Path) -> None:
    """The next process saw the order as being cancelled, and waited for ever."""

    async def story(at: World, manager: Manager) -> None:
        await breach(at)
        at.cancels_at_once = False
        await breach(at, times=6)
        (order,) = at.ours(42)
        assert order.cancelling
        await manager.kill()
        again = Manager(at, tmp_path, seed=1)
        await again.start()
        await at.clock.advance(2)
        order.cancelling = False
        at.cancels_at_once = True
        await breach(at, times=30)
        assert order.over == "Cancelled"
        assert len(at.live(42)) == 1

    play(tmp_path, short_puts(), story)


def test_a_cancel_that_was_lost_is_asked_for_again_on_a_clock_that_was_set_back(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await breach(at)
        at.cancels_at_once = False
        await breach(at, times=6)
        (order,) = at.ours(42)
        at.clock.jump(timedelta(hours=-2))
        order.cancelling = False
        at.cancels_at_once = True
        await at.clock.advance(12)
        assert order.over == "Cancelled"

    play(tmp_path, short_puts(), story)


# ----- which quotes count


@pytest.mark.parametrize("code", [0, 1101], ids=["new session", "1101"])
def test_a_quote_from_before_new_subscriptions_triggers_nothing(tmp_path: Path, code: int) -> None:
    """After a gap, the first sign of life validated the last quote before it as a current one: an order was sent at the
    price of minutes ago."""

    async def story(at: World, manager: Manager) -> None:
        await breach(at, times=1)
        at.quotes.clear()
        at.up = False
        if code:
            at.emit(CodeReceived(1100, "lost"))
        else:
            manager.broker.drop()
        await at.clock.advance(120)
        at.up = True
        if code:
            at.emit(CodeReceived(code, "restored"))
        await at.clock.advance(120)
        assert manager.engine.ready
        assert not at.received
        (verdict,) = manager.engine.shared.guard.verdicts.values()
        assert isinstance(verdict, Blind)
        assert verdict.cause is Cause.NO_QUOTE

    play(tmp_path, short_puts(), story)


def test_a_tick_of_one_leg_does_not_confirm_the_quote_of_the_other(tmp_path: Path) -> None:
    """A price that lasted 20 ms closed a group, because the other leg ticked meanwhile."""

    async def story(at: World, manager: Manager) -> None:
        at.quote(42, "3.00", "3.20")
        await at.clock.advance(0.01)
        at.quote(43, "1.45", "1.55")
        await at.clock.advance(0.01)
        at.quote(42, "2.45", "2.55")
        await at.clock.advance(30)
        assert not at.received
        at.quote(42, "3.00", "3.20")
        await at.clock.advance(12)
        assert at.received, "what goes on standing is confirmed"

    play(tmp_path, vertical(), story, GROUP)


# ----- what is reported, and what is counted


def test_no_all_clear_is_reported_because_the_connection_is_lost_too(tmp_path: Path) -> None:
    """A unit was reported as guarded again when what had kept a unit unprotected gave way to something worse."""

    async def story(at: World, manager: Manager) -> None:
        at.quote(42, None, "2.55")
        await at.clock.advance(90)
        assert manager.kinds.count("unprotected") == 1
        at.emit(CodeReceived(1100, "lost"))
        await at.clock.advance(60)
        assert "protected" not in manager.kinds
        at.emit(CodeReceived(1102, "restored"))
        at.quote(42, "2.45", "2.55")
        await at.clock.advance(10)
        assert manager.kinds.count("protected") == 1
        assert manager.kinds.count("unprotected") == 1

    play(tmp_path, short_puts(), story)


def test_the_opening_of_a_market_is_no_alarm(tmp_path: Path) -> None:
    """The hours in which a market was closed counted as time without a quote: an alarm came with each opening."""

    async def story(at: World, manager: Manager) -> None:
        at.quote(42, None, None)
        await at.clock.advance(600 + 30)
        assert manager.engine.shared.guard.verdicts
        at.quote(42, "2.45", "2.55")
        await at.clock.advance(120)
        assert "unprotected" not in manager.kinds
        at.quote(42, None, None)
        await at.clock.advance(90)
        assert manager.kinds.count("unprotected") == 1

    at = short_puts()
    opening = BEGIN + timedelta(minutes=10)
    at.instruments[42] = replace(at.instruments[42], liquid_hours=(Hours(opening, opening + timedelta(hours=6)),))
    play(tmp_path, at, story)


def test_a_link_that_is_lost_between_two_evaluations_is_counted(tmp_path: Path) -> None:
    """Three seconds without a link between two loops were counted as guarded."""

    async def story(at: World, manager: Manager) -> None:
        await at.clock.advance(6)
        at.emit(CodeReceived(1100, "lost"))
        await at.clock.advance(3)
        at.emit(CodeReceived(1102, "restored"))
        await at.clock.advance(30)
        assert seconds_unprotected(manager) == pytest.approx(3)

    play(tmp_path, short_puts(), story)


@pytest.mark.parametrize("away", [3, 3600])
def test_the_time_after_an_early_kill_is_counted(tmp_path: Path, away: int) -> None:
    """What was guarded for less than half a minute was not written down yet, so the hour after a kill counted for
    nothing; and a few seconds without any process counted as guarded."""

    async def story(at: World, manager: Manager) -> None:
        await at.clock.advance(2)
        await manager.kill()
        await at.clock.advance(away)
        again = Manager(at, tmp_path, seed=1)
        await again.start()
        assert seconds_unprotected(again) >= away

    play(tmp_path, short_puts(), story)


def test_the_time_in_which_the_journal_fails_is_counted(tmp_path: Path) -> None:
    """A failing journal ended each loop before the evaluation of what is held: without quotes nothing was evaluated."""

    async def story(at: World, manager: Manager) -> None:
        other = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        await breach(at)
        await at.clock.advance(12)
        other.execute("ROLLBACK")
        other.close()
        await at.clock.advance(5)
        (count,) = manager.engine.shared.guard.counts.values()
        assert count.seconds["halted"] >= 12 - 5, "from the next loop on"

    play(tmp_path, short_puts(), story)


def test_people_who_cannot_be_notified_do_not_end_the_guard(tmp_path: Path) -> None:
    """An error on the way to people ended the engine."""

    async def whole() -> None:
        at = short_puts()
        manager = Manager(at, tmp_path)
        manager.people_are_away = True
        await manager.start()
        await breach(at)
        at.fill(at.ours(42)[0], 2)
        await at.clock.advance(30)
        assert not manager.engine.closer.closings
        await manager.end()

    asyncio.run(whole())


# ----- halts, rules and decisions


def test_a_halt_that_cannot_be_written_down_does_not_end_by_itself(tmp_path: Path) -> None:
    """Without its file the halt was taken for one that a person had ended, in the same moment."""

    async def story(at: World, manager: Manager) -> None:
        shared, record = manager.engine.shared, HaltRecord(tmp_path / "away" / "halt.json")
        shared.halts._halts = Halts(KillSwitch(tmp_path / "HALT"), record)
        at.emit(CodeReceived(321, "The API interface is currently in Read-Only mode."))
        await at.clock.advance(60)
        await breach(at)
        assert not manager.engine.ready
        assert not at.received
        (tmp_path / "away").mkdir()
        await at.clock.advance(6)
        assert record.read() is not None, "it is written as soon as that works"
        record.resume()
        await at.clock.advance(30)
        assert manager.engine.ready

    play(tmp_path, short_puts(), story)


def test_new_rules_before_the_first_sync_do_not_loosen_a_trailing_stop(tmp_path: Path) -> None:
    """A reload while positions were not known yet dropped all that was remembered of them."""

    async def story(at: World, manager: Manager) -> None:
        await breach(at, "0.95", "1.00", times=3)
        await at.clock.advance(31)
        await manager.kill()
        at.fail = {"executions"}
        again = Manager(at, tmp_path, TRAILING, seed=1)
        await again.start()
        await at.clock.advance(3)
        again.engine.reload(again.config)
        at.fail = set()
        await at.clock.advance(10)
        await breach(at, "1.45", "1.55")
        assert at.received, "20 % of the premium above the best price of 1.00"

    play(tmp_path, short_puts(), story, TRAILING)


def test_a_price_that_is_approved_for_one_leg_means_nothing_for_the_other(tmp_path: Path) -> None:
    """The price approved to buy the short leg back was the one that the long leg was sold at: far below its bid."""

    async def story(at: World, manager: Manager) -> None:
        for _ in range(3):
            at.quote(42, "2.00", "4.00")
            at.quote(43, "1.45", "1.55")
            await at.clock.advance(1)
        assert not manager.engine.closer.closings, "one leg's spread is too wide to believe the group's price"
        await manager.engine.close("vertical", by="a person")
        await at.clock.advance(1)
        assert "cap_reached" in manager.kinds
        with pytest.raises(RefusedError, match="names no single leg"):
            await manager.engine.close("vertical", by="a person", limit=Decimal("0.20"))
        await manager.engine.close("42", by="a person", limit=Decimal("0.20"))
        await at.clock.advance(1)
        assert [(order.con_id, order.limit) for order in at.received] == [(42, Decimal("0.2"))]
        at.fill(at.ours(42)[0], 1)
        await at.clock.advance(2)
        at.quote(43, "1.45", "1.55")
        await at.clock.advance(2)
        assert at.received[-1].con_id == 43
        assert at.received[-1].limit >= Decimal("1.45")

    play(tmp_path, vertical(), story, GROUP)


@pytest.mark.parametrize(
    "rule",
    [
        f"closing {ACCOUNT} contract 42",
        f"told of closing {ACCOUNT} contract 42",
        f"memory of {ACCOUNT} contract 42",
        f"unprotected of {ACCOUNT} contract 42",
        "left to expire",
        "expired option",
        "account stops",
        "cooldown of SPY",
    ],
)
def test_a_restart_forgets_nothing_because_a_row_is_damaged(tmp_path: Path, rule: str) -> None:
    async def damaged(at: World, manager: Manager) -> None:
        manager.engine.shared.access.journal.remember(ACCOUNT, 42, rule, "{}}")
        await manager.kill()
        again = Manager(at, tmp_path, CONFIG, seed=1)
        await again.start()
        assert again.running is not None
        name = rule.replace(ACCOUNT, masked(ACCOUNT))
        with pytest.raises(JournalError, match=rf"table rule_memory, rule {re.escape(name)}, .* Preserve it") as raised:
            async with asyncio.timeout(5):
                await again.running
        assert ACCOUNT not in str(raised.value)

    play(tmp_path, short_puts(), damaged)


def test_a_halt_is_reported_once_and_not_as_unprotected_units_too(tmp_path: Path) -> None:
    async def halted(at: World, manager: Manager) -> None:
        await at.clock.advance(5)
        (tmp_path / "HALT").touch()
        for _ in range(120):
            at.quote(42, "2.45", "2.55")
            await at.clock.advance(1)
        assert manager.kinds.count("halted") == 1
        assert "unprotected" not in manager.kinds
        (tmp_path / "HALT").unlink()
        await at.clock.advance(10)
        assert manager.kinds.count("resumed") == 1

    play(tmp_path, short_puts(), halted)
