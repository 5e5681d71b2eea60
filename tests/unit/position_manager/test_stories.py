"""What went wrong for others, each as a test of the whole engine. The names of their reports are in the docstrings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.unit.position_manager.engine_world import ACCOUNT, BEGIN, CONFIG, HOURS, Manager, ManualClock, World, put

from position_manager.brokers.broker import CodeReceived
from position_manager.connection_state import Phase
from position_manager.model import Hours, Instrument, Kind
from position_manager.orders.intents import Side, State
from position_manager.rules.evaluation import Blind, Cause

Story = Callable[[World, Manager], Coroutine[Any, Any, None]]


@pytest.fixture
def play(tmp_path: Path) -> Callable[..., None]:
    """Play a story: an account that is short two puts at 2.50, and a manager that guards them."""

    def play(story: Story, quantity: int = -2, config: dict[str, object] | None = None) -> None:
        async def whole() -> None:
            at = World(ManualClock(BEGIN))
            at.hold(put(42), quantity)
            at.quote(42, "2.45", "2.55")
            manager = Manager(at, tmp_path, config)
            await manager.start()
            await story(at, manager)
            await manager.end()

        asyncio.run(whole())

    return play


async def breach(at: World, bid: str = "3.75", ask: str = "3.85", times: int = 2) -> None:
    """Quotes beyond the stop."""
    for _ in range(times):
        at.quote(42, bid, ask)
        await at.clock.advance(1)


def only_intent(manager: Manager) -> State:
    (intent,) = manager.engine.shared.access.journal.intents(ACCOUNT, 42)
    return intent.state


@pytest.mark.parametrize("code", [10349, 399])
def test_an_order_that_only_sounds_cancelled_is_not_sent_again(play: Callable[..., None], code: int) -> None:
    """pst-group/pysystemtrade#1580: 10349 seemed to be a cancel; 15 orders were sent again, and all were filled."""

    async def story(at: World, manager: Manager) -> None:
        await breach(at)
        (order,) = at.ours(42)
        at.emit(CodeReceived(code, "Order TIF was set to DAY based on order preset", order.sent.order_id))
        await at.clock.advance(2)
        assert only_intent(manager) is State.WORKING
        at.fill(order, 2)
        await at.clock.advance(300)
        assert len(at.received) == 1

    play(story)


@pytest.mark.parametrize("code", [10147, 10148, 103, 104, 105, 110, 161])
def test_a_code_that_proves_nothing_is_followed_by_a_question(play: Callable[..., None], code: int) -> None:
    """hummingbot/hummingbot#7295: an ambiguous answer was taken for a failure, and the position was closed twice."""

    async def story(at: World, manager: Manager) -> None:
        await breach(at)
        (order,) = at.ours(42)
        at.emit(CodeReceived(code, "", order.sent.order_id))
        await at.clock.advance(2)
        assert len(at.received) == 1
        assert only_intent(manager) is State.WORKING, "the open orders show that it is live"
        at.fill(order, 2)
        await at.clock.advance(120)
        assert len(at.received) == 1

    play(story)


def test_nothing_is_changed_while_the_link_is_lost(play: Callable[..., None]) -> None:
    """nautechsystems/nautilus_trader#4564: a change during a lost link left two live orders; the second filled hours
    later."""

    async def story(at: World, manager: Manager) -> None:
        await breach(at)
        at.emit(CodeReceived(1100, "Connectivity between IB and the gateway has been lost."))
        assert manager.engine.shared.connection.state.phase is Phase.LINK_LOST
        for _ in range(30):
            await breach(at, "4.40", "4.50", times=1)
        assert len(at.received) == 1
        assert not at.ours(42)[0].over, "it was not cancelled either"
        at.emit(CodeReceived(1102, "Connectivity has been restored - data maintained."))
        await at.clock.advance(8)
        at.quote(42, "4.40", "4.50")
        await at.clock.advance(8)
        assert len([order for order in at.ours(42) if not order.over]) <= 1

    play(story)


def test_orders_lost_in_a_restart_and_ids_given_out_again(play: Callable[..., None]) -> None:
    """QuantConnect/Lean.Brokerages.InteractiveBrokers#242: orders sent just before the restart vanished, and their ids
    were given out again."""

    async def story(at: World, manager: Manager) -> None:
        await breach(at)
        (lost,) = at.ours(42)
        at.forget(lost)
        manager.broker.drop()
        await at.clock.advance(20)
        assert manager.engine.ready
        assert only_intent(manager) is State.UNKNOWN
        await breach(at)
        assert len(at.received) == 1, "not before a minute has proven that it is nowhere"
        for _ in range(30):
            await at.clock.advance(4)
            at.quote(42, "3.75", "3.85")
        first = manager.engine.shared.access.journal.intents(ACCOUNT, 42)[0]
        assert first.state is State.LOST
        again = at.received[1]
        assert again.order_id > lost.sent.order_id, "the journal counts on, whatever the gateway says"
        assert again.ref != lost.sent.ref

    play(story)


def test_two_orders_in_a_row_that_never_arrive_lock(play: Callable[..., None]) -> None:
    async def story(at: World, manager: Manager) -> None:
        at.swallow = True
        await breach(at)
        for _ in range(60):
            await at.clock.advance(5)
            at.quote(42, "3.75", "3.85")
        assert len(at.received) == 2
        assert (ACCOUNT, 42) in manager.engine.shared.locks.present
        assert "locked" in manager.kinds

    play(story)


def test_a_market_that_is_silent_is_distinguished_from_a_dead_feed(play: Callable[..., None]) -> None:
    """QuantConnect/Lean.Brokerages.InteractiveBrokers#246: blind for three days while it seemed healthy."""

    async def story(at: World, manager: Manager) -> None:
        await at.clock.advance(120)
        assert manager.engine.quotes_fresh, "nothing moved, and the gateway answers"
        at.fail = {"time"}
        at.emit(CodeReceived(2103, "Market data farm connection is broken:usfarm"))
        await at.clock.advance(120)
        assert not manager.engine.quotes_fresh
        (unit,) = manager.engine.shared.guard.units
        verdict = manager.engine.shared.guard.verdicts[unit.key]
        assert isinstance(verdict, Blind)
        assert verdict.cause is Cause.NO_QUOTE
        assert manager.engine.shared.guard.counts[unit.key].in_session > 60
        assert manager.kinds.count("unprotected") == 1
        at.emit(CodeReceived(2104, "Market data farm connection is OK:usfarm"))
        at.fail = set()
        at.quote(42, "2.45", "2.55")
        await at.clock.advance(6)
        assert manager.engine.quotes_fresh
        assert manager.kinds.count("protected") == 1

    play(story)


def test_no_live_quote_suspends_the_rules_and_is_reported_once(play: Callable[..., None]) -> None:
    """A delayed or frozen price triggers nothing, however far it is beyond the stop."""

    async def story(at: World, manager: Manager) -> None:
        for _ in range(3):
            at.emit(CodeReceived(10197, "No market data during competing live session", 0, 42))
            at.quote(42, "3.75", "3.85", live=False)
            await at.clock.advance(6)
        assert not at.received
        assert sum("10197" in message.title + message.text() for message in manager.reported) == 1

    play(story)


def test_fills_during_a_lost_link_are_found(play: Callable[..., None]) -> None:
    """QuantConnect/Lean.Brokerages.InteractiveBrokers#249: fills were dropped during 1100."""

    async def story(at: World, manager: Manager) -> None:
        await breach(at)
        at.emit(CodeReceived(1100, "lost"))
        at.deaf = True
        at.fill(at.ours(42)[0], 2)
        await at.clock.advance(60)
        at.deaf = False
        at.emit(CodeReceived(1101, "restored, data lost"))
        await at.clock.advance(60)
        assert only_intent(manager) is State.FILLED
        assert not manager.engine.shared.locks.present
        assert "order_filled" in manager.kinds
        assert len(at.received) == 1

    play(story)


def test_a_gateway_that_stays_away_calls_a_person(play: Callable[..., None]) -> None:
    """QuantConnect/Lean.Brokerages.InteractiveBrokers#262: a missed second factor notified nobody."""

    async def story(at: World, manager: Manager) -> None:
        at.up = False
        manager.broker.drop()
        await at.clock.advance(9 * 60)
        assert "page" not in manager.kinds
        await at.clock.advance(3 * 60)
        assert manager.kinds.count("page") == 1
        at.up = True
        await at.clock.advance(120)
        assert manager.engine.ready
        assert "connection_back" in manager.kinds

    play(story)


def test_a_thin_book_is_not_swept(play: Callable[..., None]) -> None:
    """mattsta/icli#6: a market order swept a thin option. Here a bound is reached and a person approves a price."""

    async def story(at: World, manager: Manager) -> None:
        await breach(at, "3.00", "5.00", times=3)
        await manager.engine.close("42", by="a person")
        await at.clock.advance(20)
        assert not at.received, "the spread is wider than allowed"
        assert manager.kinds.count("cap_reached") == 1
        await manager.engine.close("42", by="a person", limit=Decimal("4.50"))
        await at.clock.advance(1)
        (order,) = at.received
        assert order.limit == Decimal("4.5")
        at.fill(at.ours(42)[0], 2)
        await at.clock.advance(60)
        assert at.positions[42] == 0
        assert len(at.received) == 1

    play(story)


def test_the_ladder_stops_at_its_slippage(play: Callable[..., None]) -> None:
    """freqtrade/freqtrade#2799 and #8328: exits that run after the price without an end."""

    async def story(at: World, manager: Manager) -> None:
        await breach(at)
        price = Decimal("3.75")
        for _ in range(20):
            price += Decimal("0.10")
            at.quote(42, str(price), str(price + Decimal("0.10")))
            await at.clock.advance(5)
        assert max(order.limit for order in at.received) <= Decimal("3.80") * Decimal("1.1")
        assert "cap_reached" in manager.kinds

    play(story)


SHARES = Instrument(7, "SPY", Kind.STOCK, liquid_hours=HOURS, local_symbol="SPY")


def test_an_assignment_at_night_is_explained(play: Callable[..., None]) -> None:
    """ib-api-reloaded/ib_async#93: assignments appear at night, without an event."""

    async def story(at: World, manager: Manager) -> None:
        at.positions[42] = Decimal(0)
        at.hold(SHARES, 200, "450")
        await at.clock.advance(40)
        assert not manager.engine.shared.locks.present
        assert any("assigned" in message.title for message in manager.reported)
        assert not at.received

    play(story)


def test_a_position_that_vanishes_without_a_reason_locks(play: Callable[..., None]) -> None:
    """ib-api-reloaded/ib_async#217 and #220: what the client shows and what is held are not the same."""

    async def story(at: World, manager: Manager) -> None:
        at.positions[42] = Decimal(-1)
        await at.clock.advance(200)
        assert (ACCOUNT, 42) in manager.engine.shared.locks.present
        assert manager.kinds.count("position_unexplained") == 1
        await breach(at, times=3)
        assert not at.received, "nothing is sent for what is locked"
        manager.engine.release("42", by="a person")
        await breach(at, times=3)
        assert [order.quantity for order in at.received] == [1]

    play(story)


@pytest.mark.parametrize("reported", [True, False], ids=["executions told", "executions gone"])
def test_what_was_closed_while_we_were_away_does_not_come_back(play: Callable[..., None], reported: bool) -> None:
    """ib-api-reloaded/ib_async#217 and #220 once more: after a reconnect the state of the session before was still
    there, and with it a position that had been closed meanwhile. With the order that closed it resting still."""

    async def story(at: World, manager: Manager) -> None:
        await breach(at)
        at.up = False
        manager.broker.drop()
        await at.clock.advance(10)
        at.fill(at.ours(42)[0], 1)
        at.fill(at.foreign(42, Side.BUY, 1), 1)
        if not reported:
            at.executions.clear()
        at.up = True
        await at.clock.advance(30)
        assert manager.engine.ready
        assert not manager.engine.shared.guard.units
        await breach(at, times=5)
        await at.clock.advance(120)
        assert len(at.received) == 1
        assert not at.live(42)
        assert bool(manager.engine.shared.locks.present) is not reported, "without executions nothing explains it"

    play(story)


def test_orders_of_others_count_and_are_left_alone(play: Callable[..., None]) -> None:
    async def story(at: World, manager: Manager) -> None:
        at.foreign(42, Side.BUY, 1)
        await breach(at)
        assert [order.quantity for order in at.received] == [1]
        foreign = at.orders[0]
        assert not foreign.over

    play(story)


def test_a_read_only_api_halts_until_a_person_resumes(play: Callable[..., None], tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await breach(at)
        (order,) = at.ours(42)
        order.over = "Inactive"
        at.emit(CodeReceived(321, "The API interface is currently in Read-Only mode.", order.sent.order_id))
        await at.clock.advance(90)
        assert manager.engine.shared.connection.state.phase is Phase.HALTED
        assert "halted" in manager.kinds
        assert len(at.received) == 1
        manager.engine.shared.halts.record.resume()
        for _ in range(20):
            await at.clock.advance(5)
            at.quote(42, "3.75", "3.85")
        assert manager.engine.ready

    play(story)


READ_ONLY = "The API interface is currently in Read-Only mode."


async def read_only(at: World, manager: Manager) -> None:
    """A close that the API refuses, because it is read-only."""
    await breach(at)
    (order,) = at.ours(42)
    order.over = "Inactive"
    at.emit(CodeReceived(321, READ_ONLY, order.sent.order_id))
    await at.clock.advance(90)
    assert manager.engine.shared.connection.state.phase is Phase.HALTED


async def restarted_gateway(at: World) -> None:
    assert at.port is not None
    at.port.drop()
    for _ in range(30):
        await at.clock.advance(5)
        at.quote(42, "3.75", "3.85")


def test_a_gateway_that_was_restarted_with_orders_allowed_ends_the_halt(play: Callable[..., None]) -> None:
    async def story(at: World, manager: Manager) -> None:
        await read_only(at, manager)
        await restarted_gateway(at)
        assert manager.engine.ready
        assert not manager.engine.shared.halts.read()
        assert manager.kinds.count("resumed") == 1

    play(story)


def test_a_halt_of_a_person_outlasts_the_end_of_a_read_only_api(play: Callable[..., None]) -> None:
    async def story(at: World, manager: Manager) -> None:
        await read_only(at, manager)
        manager.engine.shared.halts.record.write("holiday (halted by ada)", at.clock.now())
        await restarted_gateway(at)
        assert manager.engine.shared.connection.state.phase is Phase.HALTED
        (halt,) = manager.engine.shared.halts.read()
        assert halt.reason == "holiday (halted by ada)"

    play(story)


def test_a_kill_switch_stops_everything_at_once(play: Callable[..., None], tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        (tmp_path / "HALT").touch()
        await breach(at, times=4)
        await at.clock.advance(6)
        assert not at.received
        assert manager.kinds.count("halted") == 1
        (tmp_path / "HALT").unlink()
        await at.clock.advance(6)
        await breach(at)
        assert at.received

    play(story)


def test_shadow_sends_nothing_and_reports_once_what_it_would_have_done(play: Callable[..., None]) -> None:
    async def story(at: World, manager: Manager) -> None:
        await breach(at, times=6)
        await at.clock.advance(60)
        assert not at.received
        assert manager.kinds.count("shadow") == 1
        assert "rule_fired" not in manager.kinds

    play(story, config={**CONFIG, "mode": "shadow"})


def test_a_user_who_trades_takes_a_close_over(play: Callable[..., None]) -> None:
    """Closed by hand in the middle: nothing more is sent, and nothing goes through zero."""

    async def story(at: World, manager: Manager) -> None:
        await breach(at)
        at.end(at.ours(42)[0])
        at.fill(at.foreign(42, Side.BUY, 2), 2)
        await at.clock.advance(120)
        assert at.positions[42] == 0
        assert len(at.received) == 1
        assert not manager.engine.closer.closings

    play(story)


def test_before_the_open_nothing_is_sent(play: Callable[..., None]) -> None:
    async def story(at: World, manager: Manager) -> None:
        later = (Hours(BEGIN + timedelta(minutes=2), BEGIN + timedelta(hours=6)),)
        at.instruments[42] = replace(at.instruments[42], liquid_hours=later)
        await at.clock.advance(31)
        await breach(at, times=5)
        assert not at.received
        (unit,) = manager.engine.shared.guard.units
        verdict = manager.engine.shared.guard.verdicts[unit.key]
        assert isinstance(verdict, Blind)
        assert verdict.cause is Cause.MARKET_CLOSED
        await at.clock.advance(90)
        await breach(at)
        assert not at.received, "price rules rest for a moment after the opening"
        (opened,) = manager.engine.shared.guard.verdicts.values()
        assert isinstance(opened, Blind)
        assert opened.cause is Cause.OPENING
        assert manager.engine.quotes_fresh
        await at.clock.advance(30)
        await breach(at)
        assert at.received
        first = manager.engine.shared.access.journal.intents(ACCOUNT, 42)[0]
        assert first.sent is not None
        assert first.sent >= later[0].begin

    play(story)


@pytest.mark.parametrize("acknowledged", [True, False])
def test_a_321_about_one_order_concerns_that_order_alone(play: Callable[..., None], acknowledged: bool) -> None:
    async def story(at: World, manager: Manager) -> None:
        at.acknowledges = acknowledged
        await breach(at)
        (order,) = at.ours(42)
        words = "Error validating request.-'bW' : cause - The price does not conform to the minimum price variation"
        at.end(order, "Inactive", 0)
        at.emit(CodeReceived(321, words, order.sent.order_id))
        await at.clock.advance(2)
        assert not manager.engine.shared.halts.read(), "the rest of the account is guarded"
        assert manager.engine.ready
        assert only_intent(manager) is State.REJECTED
        (lock,) = manager.engine.shared.locks.present.values()
        assert words in lock.reason, "the broker's words are kept"
        assert len(at.received) == 1, "never sent again blindly"

    play(story)


def test_a_read_only_api_still_halts_although_it_names_an_order(play: Callable[..., None]) -> None:
    async def story(at: World, manager: Manager) -> None:
        await breach(at)
        at.emit(
            CodeReceived(321, "cause - The API interface is currently in Read-Only mode.", at.ours(42)[0].sent.order_id)
        )
        await at.clock.advance(2)
        assert manager.engine.shared.halts.read()

    play(story)


@pytest.mark.parametrize("code", [10243, 10311, 135, 460])
def test_an_order_that_ends_with_an_error_nobody_expected_keeps_its_words_and_is_not_sent_again(
    play: Callable[..., None], code: int
) -> None:
    """10243: fractional-sized order cannot be placed via API. Each second another order was sent, up to the cap."""

    async def story(at: World, manager: Manager) -> None:
        await breach(at)
        (order,) = at.ours(42)
        order.over = "Cancelled"
        at.emit(CodeReceived(code, "the broker's own words", order.sent.order_id))
        await breach(at, times=30)
        assert len(at.received) == 1
        assert only_intent(manager) is State.REJECTED
        (lock,) = manager.engine.shared.locks.present.values()
        assert f"{code} the broker's own words" in lock.reason
        assert any("the broker's own words" in message.text() for message in manager.reported)

    play(story)


@pytest.mark.parametrize("code", [10243, 10311, 460])
def test_such_an_error_about_an_order_that_goes_on_changes_nothing(play: Callable[..., None], code: int) -> None:
    async def story(at: World, manager: Manager) -> None:
        await breach(at)
        (order,) = at.ours(42)
        at.emit(CodeReceived(code, "the broker's own words", order.sent.order_id))
        await breach(at, times=30)
        assert len(at.received) == 5, "the ladder goes on, and its own cancels are no refusals"
        assert not manager.engine.shared.locks.present

    play(story)


@pytest.mark.parametrize("answered", [True, False])
def test_a_link_that_is_back_without_a_word_is_found_by_a_probe(play: Callable[..., None], answered: bool) -> None:
    """1100, and no 1102 ever: it was blind for days."""

    async def story(at: World, manager: Manager) -> None:
        at.emit(CodeReceived(1100, "Connectivity between IB and the gateway has been lost."))
        at.first_quotes = False
        for second in range(0, 240, 5):
            if second < 170:
                # Old subscriptions may go on from what the gateway has stored.
                at.quote(42, "2.45", "2.55")
            await at.clock.advance(5)
            assert manager.engine.shared.connection.state.link is Phase.LINK_LOST
        at.first_quotes = True
        if not answered:
            at.fail = {"executions"}
        await at.clock.advance(40)
        assert manager.engine.ready is answered, "a full sync proves it"
        if answered:
            await breach(at)
            assert at.received

    play(story)


def test_a_link_is_not_probed_before_its_time(play: Callable[..., None]) -> None:
    async def story(at: World, manager: Manager) -> None:
        at.emit(CodeReceived(1100, "lost"))
        await at.clock.advance(170)
        assert manager.engine.shared.connection.state.link is Phase.LINK_LOST
        assert at.renewed == []
        at.emit(CodeReceived(1102, "restored"))
        await at.clock.advance(5)
        assert manager.engine.ready

    play(story)
