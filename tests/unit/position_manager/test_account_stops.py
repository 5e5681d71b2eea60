"""Stops of a whole account: what they close, in which order, how often, and on which values."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.unit.position_manager.engine_world import (
    ACCOUNT,
    ALWAYS,
    BEGIN,
    CONFIG,
    SECOND,
    Manager,
    ManualClock,
    World,
    put,
    short_puts,
)
from tests.unit.position_manager.test_engine import drive, play, play_without_end

from ib_connection.ib_library import IB
from notifications.message import Severity
from position_manager.brokers.broker import BrokerError
from position_manager.brokers.ib_account import ask_values
from position_manager.config.schema import Config
from position_manager.engine.engine_status import status_of
from position_manager.journal.errors import JournalError
from position_manager.model import Hours, Instrument, Kind, Right
from position_manager.orders.evidence import Execution
from position_manager.orders.intents import Fill, Side
from position_manager.refused import RefusedError
from position_manager.reports.explain import explain
from position_manager.reports.status import AccountRuleStatus
from position_manager.reports.status_view import in_order, next_step

STOCK = Instrument(90, "SPY", Kind.STOCK, local_symbol="SPY", liquid_hours=put(1).liquid_hours)
OTHER = Instrument(91, "AAPL", Kind.STOCK, local_symbol="AAPL", liquid_hours=put(1).liquid_hours)


def config(**account: object) -> Mapping[str, object]:
    return {**CONFIG, "account_stops": account, "caps": {"quantity": 1000, "notional": 10_000_000}}


STOPS = {"daily_loss": {"percent": 5, "action": "close"}}
DAILY = config(daily_loss={"percent": 5, "action": "close"})


def account(net: str = "100000", excess: str = "50000", cash: str = "20000") -> World:
    """Short puts and their stock, in an account of this value."""
    at = short_puts()
    at.hold(STOCK, 100, "450")
    at.quote(90, "449.99", "450.01")
    at.worth[ACCOUNT] = (net, excess, cash)
    return at


def worth(at: World, net: str, excess: str = "50000", cash: str = "20000") -> None:
    at.worth[ACCOUNT] = (net, excess, cash)


async def wait(at: World, seconds: int, *, fills: bool = False) -> None:
    """Time in which the market goes on, and takes what rests."""
    for _ in range(seconds):
        for con_id, (bid, ask) in {42: ("2.45", "2.55"), 90: ("449.99", "450.01"), 91: ("189.99", "190.01")}.items():
            if con_id in at.instruments:
                at.quote(con_id, bid, ask)
        for order in [order for order in at.orders if not order.over and order.client_id == 100] if fills else ():
            at.fill(order, int(order.remaining), str(order.sent.limit))
        await at.clock.advance(1)


def of_kind(manager: Manager, kind: str) -> list[str]:
    return [f"{message.title} {message.text()}" for message in manager.reported if message.kind == kind]


def test_a_daily_loss_closes_the_short_units_first_and_each_once(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await wait(at, 60)
        assert at.received == []
        worth(at, "94900")
        await wait(at, 20)
        assert at.received == [], "one answer is no reason"
        await wait(at, 25)
        assert {order.con_id for order in at.received} == {42}, "the stock may cover what is short on it"
        (unit,) = [unit for unit in status_of(manager.engine, "f").units if unit.name == "SPY"]
        assert "an account stop closes it after SPY 2026-12-21 450P" in unit.text
        await wait(at, 60, fills=True)
        assert at.positions == {42: 0, 90: 0}
        sold = [order for order in at.received if order.con_id == 90]
        assert all(order.side is Side.SELL for order in sold)
        assert sum(execution.fill.quantity for execution in at.executions) == 102
        await wait(at, 300, fills=True)
        assert sum(execution.fill.quantity for execution in at.executions) == 102
        (fired,) = of_kind(manager, "account_stop")
        assert "daily_loss has fired (close)" in fired
        assert "94,900.00 USD, 5,100.00 USD (5.10 %) lost against 100,000.00 USD, the day's start" in fired
        assert ACCOUNT not in fired
        reported = explain(manager.engine.shared.access.journal, "90")
        assert "Rule fired: account daily loss (SPY)" in reported
        assert "94,900.00 USD" in reported
        assert manager.engine.shared.access.journal.memory()[(ACCOUNT, 0, "account stops")]

    play(tmp_path, account(), story, DAILY)


def test_it_takes_as_many_answers_as_are_configured(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await wait(at, 60)
        worth(at, "90000")
        answers: list[str] = []
        at.on_ask = lambda what: answers.append(what) if what == "account values" else None
        while not of_kind(manager, "account_stop"):
            await wait(at, 1)
            assert len(answers) <= 4
        assert len(answers) == 4

    play(tmp_path, account(), story, {**DAILY, "account_stops": {**STOPS, "confirmations": 4, "confirm_seconds": 0}})


def test_without_rules_of_the_account_nothing_is_asked(tmp_path: Path) -> None:
    asked: list[str] = []

    async def story(at: World, manager: Manager) -> None:
        at.on_ask = asked.append
        await wait(at, 60)
        assert "account values" not in asked
        assert status_of(manager.engine, "f").account_stops == ()
        with pytest.raises(RefusedError, match="no rules of the account"):
            manager.engine.rearm("account", by="ann")

    play(tmp_path, account(), story)


@pytest.mark.parametrize("why", ["not answered", "repeated", "zero", "not reported"])
def test_what_is_not_known_fires_nothing_and_counts_as_unprotected(tmp_path: Path, why: str) -> None:
    async def story(at: World, manager: Manager) -> None:
        await wait(at, 60)
        assert manager.engine.quotes_fresh
        match why:
            case "not answered":
                at.fail.add("account values")
            case "repeated":
                at.worth_at = at.clock.now()
            case "not reported":
                at.worth.clear()
        if at.worth:
            worth(at, "0" if why == "zero" else "50000")
        await wait(at, 180)
        assert at.received == []
        assert of_kind(manager, "account_stop") == []
        (reported,) = of_kind(manager, "account_unprotected")
        assert "daily_loss is unprotected" in reported
        assert not manager.engine.quotes_fresh, "the heartbeat stops"
        ((rule,),) = [each.rules for each in status_of(manager.engine, "f").account_stops]
        assert rule.verdict == "unprotected"
        at.fail.clear()
        at.worth_at = None
        worth(at, "100000")
        await wait(at, 60)
        assert manager.engine.quotes_fresh
        assert len(of_kind(manager, "account_protected")) == 1

    play(tmp_path, account(), story, DAILY)


def test_a_value_that_does_not_change_while_the_positions_move_is_not_believed(tmp_path: Path) -> None:
    async def quoted(at: World, price: str, seconds: int) -> None:
        for _ in range(seconds // 5):
            at.quote(42, "2.45", "2.55")
            at.quote(90, price, f"{price}.02")
            await at.clock.advance(5)

    async def story(at: World, manager: Manager) -> None:
        await quoted(at, "450", 900)
        assert manager.engine.quotes_fresh, "nothing moves: the value need not"
        await quoted(at, "444", 240)
        assert manager.engine.quotes_fresh, "it may be minutes behind"
        await quoted(at, "444", 180)
        assert not manager.engine.quotes_fresh
        (reported,) = of_kind(manager, "account_unprotected")
        assert "the same value for" in reported and "moved by 599.00 on live quotes" in reported
        worth(at, "99400")
        await quoted(at, "444", 60)
        assert manager.engine.quotes_fresh
        assert len(of_kind(manager, "account_protected")) == 1

    play(tmp_path, account(), story, {**DAILY, "defaults": {"stop": {"percent_of_premium": 90}}})


def test_one_odd_answer_is_neither_a_start_nor_a_best_nor_a_loss(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        worth(at, "900000")
        await wait(at, 16)
        worth(at, "100000")
        await wait(at, 60)
        (shown,) = status_of(manager.engine, "f").account_stops
        assert shown.day_start == shown.best == 100000
        worth(at, "900000")
        await wait(at, 15)
        worth(at, "10000")
        await wait(at, 15)
        worth(at, "100000")
        await wait(at, 120)
        (shown,) = status_of(manager.engine, "f").account_stops
        assert shown.best == 100000
        assert at.received == []

    rules = config(
        daily_loss={"percent": 5, "action": "close"}, drawdown={"percent": 5, "action": "close"}, ask_seconds=15
    )
    play(tmp_path, account(), story, rules)


def test_the_best_value_outlasts_a_restart_and_a_drawdown_fires_once(tmp_path: Path) -> None:
    rules = config(drawdown={"amount": 3000, "action": "notify"})

    async def first(at: World, manager: Manager) -> None:
        worth(at, "120000")
        await wait(at, 60)
        await manager.kill()

    async def second(at: World, manager: Manager) -> None:
        worth(at, "117000")
        await wait(at, 60)
        (fired,) = of_kind(manager, "account_stop")
        assert "against 120,000.00 USD, the best value" in fired
        assert at.received == [], "it only notifies"
        await manager.kill()

    async def third(at: World, manager: Manager) -> None:
        await wait(at, 120)
        assert of_kind(manager, "account_stop") == []
        worth(at, "121000")
        await wait(at, 60)
        assert len(of_kind(manager, "account_stop_over")) == 1
        worth(at, "117000")
        await wait(at, 60)
        assert len(of_kind(manager, "account_stop")) == 1

    at = account()
    play_without_end(tmp_path, at, first, rules)
    play_without_end(tmp_path, at, second, rules)
    play(tmp_path, at, third, rules)


def test_a_close_that_has_started_goes_on_after_a_kill_and_spares_what_was_opened_since(tmp_path: Path) -> None:
    async def first(at: World, manager: Manager) -> None:
        await wait(at, 60)
        worth(at, "94000")
        await wait(at, 45)
        assert {order.con_id for order in at.received} == {42}
        await manager.kill()

    async def second(at: World, manager: Manager) -> None:
        at.hold(OTHER, 10, "190")
        at.quote(91, "189.99", "190.01")
        await wait(at, 120, fills=True)
        assert at.positions == {42: 0, 90: 0, 91: 10}
        assert of_kind(manager, "account_stop") == []
        (reported,) = of_kind(manager, "account_opened")
        assert "AAPL: 0 to 10" in reported

    at = account()
    play_without_end(tmp_path, at, first, DAILY)
    play(tmp_path, at, second, DAILY)


def test_a_stop_that_has_fired_is_not_forgotten_with_a_damaged_row(tmp_path: Path) -> None:
    """It has yet to close what is held: the row names itself, and nothing starts until a person has decided."""

    async def first(at: World, manager: Manager) -> None:
        await wait(at, 60)
        worth(at, "94000")
        await wait(at, 45)
        await manager.kill()
        with closing(sqlite3.connect(tmp_path / "journal.db")) as database, database:
            database.execute("UPDATE rule_memory SET data = '\"{}}\"' WHERE rule = 'account stops'")
            assert database.total_changes == 1

    async def second() -> None:
        manager = Manager(at, tmp_path, DAILY, seed=1)
        await manager.start()
        assert manager.running is not None
        with pytest.raises(JournalError, match=r"table rule_memory, rule account stops, .* Preserve it"):
            async with asyncio.timeout(5):
                await manager.running

    at = account()
    play_without_end(tmp_path, at, first, DAILY)
    asyncio.run(second())


def test_a_margin_cushion_fires_again_only_after_it_has_recovered(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await wait(at, 60)
        worth(at, "100000", "9000")
        await wait(at, 60)
        (fired,) = of_kind(manager, "account_stop")
        assert "the margin cushion is 9.00 %" in fired
        worth(at, "100000", "10500")
        await wait(at, 60)
        worth(at, "100000", "9000")
        await wait(at, 60)
        assert len(of_kind(manager, "account_stop")) == 1
        worth(at, "100000", "12500")
        await wait(at, 60)
        assert len(of_kind(manager, "account_stop_over")) == 1
        worth(at, "-100", "-5000")
        await wait(at, 60)
        assert len(of_kind(manager, "account_stop")) == 2

    play(tmp_path, account(), story, config(margin_cushion={"below_percent": 10, "action": "notify"}))


def test_a_halt_leaves_the_guards_and_alerts_about_what_is_opened(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await wait(at, 60)
        worth(at, "90000")
        await wait(at, 60)
        assert at.received == []
        status = status_of(manager.engine, "f")
        assert not in_order(status)
        assert "rearm account" in next_step(status)
        assert status.units[0].verdict == "guarded"
        at.hold(OTHER, 10, "190")
        at.quote(91, "189.99", "190.01")
        await wait(at, 60)
        assert len(of_kind(manager, "account_opened")) == 1
        for _ in range(3):
            at.quote(42, "3.75", "3.85")
            await at.clock.advance(1)
        assert [order.con_id for order in at.received] == [42], "its stop closes all the same"

    play(tmp_path, account(), story, config(daily_loss={"percent": 5, "action": "halt"}))


def test_a_person_rearms_it_and_it_counts_from_the_present_value(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await wait(at, 60)
        at.fail.add("account values")
        await wait(at, 90)
        with pytest.raises(RefusedError, match="cannot be rearmed: the account's values are"):
            manager.engine.rearm("account", by="ann")
        with pytest.raises(RefusedError, match="there is: account"):
            manager.engine.rearm("SPY", by="ann")
        at.fail.clear()
        worth(at, "90000")
        await wait(at, 60)
        assert "daily_loss, drawdown had fired" in manager.engine.rearm("account", by="ann")
        assert in_order(status_of(manager.engine, "f"))
        await wait(at, 60)
        assert len(of_kind(manager, "account_stop")) == 2
        worth(at, "85400")
        await wait(at, 60)
        assert len(of_kind(manager, "account_stop")) == 4

    rules = config(daily_loss={"percent": 5, "action": "halt"}, drawdown={"percent": 5, "action": "notify"})
    play(tmp_path, account(), story, rules)


def test_a_margin_cushion_that_was_rearmed_while_it_is_thin_waits_until_it_has_recovered(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await wait(at, 30)
        worth(at, "100000", "9000")
        await wait(at, 60)
        manager.engine.rearm("account", by="ann")
        await wait(at, 60)
        assert len(of_kind(manager, "account_stop")) == 1
        worth(at, "100000", "11000")
        await wait(at, 30)
        worth(at, "100000", "9000")
        await wait(at, 60)
        assert len(of_kind(manager, "account_stop")) == 2

    play(tmp_path, account(), story, config(margin_cushion={"below_percent": 10, "action": "halt"}))


def test_a_new_day_starts_at_its_own_value(tmp_path: Path) -> None:
    async def story() -> None:
        at = World(ManualClock(BEGIN))
        at.hold(put(42, always=True), -2)
        at.quote(42, "2.45", "2.55")
        at.worth[ACCOUNT] = ("100000", "50000", "20000")
        manager = Manager(at, tmp_path, config(daily_loss={"amount": 1000, "action": "halt"}))
        await manager.start()
        await wait(at, 60)
        worth(at, "98000")
        await wait(at, 60)
        assert len(of_kind(manager, "account_stop")) == 1
        at.clock.jump(timedelta(days=1))
        await wait(at, 60)
        assert in_order(status_of(manager.engine, "f"))
        assert status_of(manager.engine, "f").account_stops[0].day_start == 98000
        worth(at, "97000")
        await wait(at, 60)
        assert len(of_kind(manager, "account_stop")) == 2
        await manager.end()

    drive(story)


def test_money_that_is_paid_out_is_no_loss_until_a_person_has_checked(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await wait(at, 60)
        worth(at, "90000", cash="10000")
        await wait(at, 120)
        assert at.received == []
        (reported,) = of_kind(manager, "account_unprotected")
        assert "about 10,000.00 USD look as if they were paid out" in reported
        manager.engine.rearm("account", by="ann")
        await wait(at, 30)
        worth(at, "84000", cash="10000")
        await wait(at, 45)
        assert [order.con_id for order in at.received][:1] == [42]

    play(tmp_path, account(), story, DAILY)


def test_a_loss_beside_a_withdrawal_fires(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await wait(at, 60)
        worth(at, "90000", cash="10000")
        await wait(at, 30)
        worth(at, "84000", cash="10000")
        await wait(at, 45)
        assert at.received

    play(tmp_path, account(), story, DAILY)


def test_a_closed_market_is_waited_for(tmp_path: Path) -> None:
    async def story() -> None:
        at = account()
        manager = Manager(at, tmp_path, DAILY)
        await manager.start()
        await wait(at, 60)
        at.clock.jump(timedelta(hours=6))
        worth(at, "90000")
        await wait(at, 120)
        assert at.received == []
        assert of_kind(manager, "account_stop") == []
        (shown,) = status_of(manager.engine, "f").account_stops
        assert "no market of what is held is open" in shown.rules[0].text
        await manager.end()

    drive(story)


def test_a_halt_of_all_sending_makes_a_close_unprotected(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await wait(at, 60)
        (tmp_path / "HALT").touch()
        worth(at, "90000")
        await wait(at, 120)
        assert at.received == []
        assert of_kind(manager, "account_stop") == []
        (reported,) = of_kind(manager, "account_unprotected")
        assert "halted: kill switch" in reported
        (tmp_path / "HALT").unlink()
        await wait(at, 60)
        assert at.received

    play(tmp_path, account(), story, DAILY)


def test_a_unit_that_a_person_releases_is_left_alone(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await wait(at, 60)
        worth(at, "90000")
        await wait(at, 45)
        manager.engine.release("42", by="ann")
        sent = len([order for order in at.received if order.con_id == 42])
        await wait(at, 120, fills=True)
        assert at.positions == {42: -2, 90: 0}, "the stock need not wait for what is no longer to be closed"
        assert len([order for order in at.received if order.con_id == 42]) == sent

    play(tmp_path, account(), story, DAILY)


@pytest.mark.parametrize("why", ["waits", "locked"])
def test_a_unit_that_a_stop_has_yet_to_close_can_be_released(tmp_path: Path, why: str) -> None:
    """Otherwise the end of its lock would be followed by an order at once, days after the stop."""

    async def story(at: World, manager: Manager) -> None:
        await wait(at, 60)
        if why == "locked":
            manager.engine.shared.access.journal.add_lock(ACCOUNT, 90, "nothing explains it")
            manager.engine.shared.locks.refresh()
        worth(at, "90000")
        await wait(at, 45, fills=why == "locked")
        assert "The account stop leaves SPY alone" in manager.engine.release("90", by="ann")
        await wait(at, 120, fills=True)
        assert manager.engine.shared.locks.present == {}
        assert at.positions == {42: 0, 90: 100}

    play(tmp_path, account(), story, DAILY)


def test_a_trade_by_hand_does_not_call_the_close_off(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await wait(at, 60)
        worth(at, "90000")
        await wait(at, 45)
        for order in at.live(42):
            at.end(order)
        at.fill(at.foreign(42, Side.BUY, 1), 1)
        await wait(at, 120, fills=True)
        assert at.positions == {42: 0, 90: 0}

    play(tmp_path, account(), story, DAILY)


def test_in_shadow_it_reports_what_it_would_close_once(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await wait(at, 60)
        worth(at, "90000")
        await wait(at, 200)
        assert at.received == []
        assert len(of_kind(manager, "shadow")) == 2
        (reported,) = of_kind(manager, "account_stop")
        assert "Mode shadow sends nothing" in reported

    play(tmp_path, account(), story, {**DAILY, "mode": "shadow"})


def test_each_account_has_its_own(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await wait(at, 60)
        at.worth[SECOND] = ("40000", "20000", "5000")
        await wait(at, 60)
        assert {order.account for order in at.received} == {SECOND}

    at = account()
    at.second = {42: Decimal(-1)}
    at.worth[SECOND] = ("50000", "20000", "5000")
    play(tmp_path, at, story, DAILY)


def test_a_journal_that_fails_fires_later_and_not_twice(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        await wait(at, 60)
        worth(at, "90000")
        manager.engine.shared.access.journal._db.execute("PRAGMA query_only = ON")
        await wait(at, 60)
        assert at.received == []
        assert of_kind(manager, "account_stop") == []
        manager.engine.shared.access.journal._db.execute("PRAGMA query_only = OFF")
        await wait(at, 120, fills=True)
        assert at.positions == {42: 0, 90: 0}
        assert len(of_kind(manager, "account_stop")) == 1
        assert all(message.severity is Severity.ALERT for message in manager.reported if message.kind == "account_stop")

    play(tmp_path, account(), story, DAILY)


@pytest.mark.parametrize("when", ["released", "opened since"])
def test_the_cover_of_a_short_call_that_stays_is_not_sold(tmp_path: Path, when: str) -> None:
    async def story(at: World, manager: Manager) -> None:
        await wait(at, 60)
        worth(at, "90000")
        await wait(at, 45)
        if when == "released":
            manager.engine.release("42", by="ann")
        else:
            at.hold(replace(put(43, 460), right=Right.CALL), -1)
            fill = Fill("by hand", Decimal(1), Decimal("2.50"), at.clock.now())
            at.executions.append(Execution(ACCOUNT, 43, Side.SELL, fill, at.new_perm_id(), ""))
            at.quote(43, "2.45", "2.55")
            manager.engine.shared.agenda.sync_soon()
            await wait(at, 2)
        await wait(at, 120, fills=True)
        assert at.positions[90] == 100
        (unit,) = [unit for unit in status_of(manager.engine, "f").units if unit.name == "SPY"]
        assert "an account stop closes it after SPY" in unit.text

    at = World(ManualClock(BEGIN))
    at.hold(replace(put(42), right=Right.CALL), -1)
    at.quote(42, "2.45", "2.55")
    at.hold(STOCK, 100, "450")
    at.quote(90, "449.99", "450.01")
    worth(at, "100000")
    play(tmp_path, at, story, DAILY)


@pytest.mark.parametrize("how", ["reload", "restart"])
def test_without_its_rules_a_stop_closes_nothing_more_and_does_not_go_on_later(tmp_path: Path, how: str) -> None:
    without = {key: value for key, value in DAILY.items() if key != "account_stops"}

    async def story(at: World, manager: Manager) -> None:
        await wait(at, 60)
        worth(at, "90000")
        await wait(at, 45)
        assert at.live(42)
        if how == "restart":
            await manager.kill()
            manager = Manager(at, tmp_path, without, 1)
            await manager.start()
        manager.engine.reload(Config.model_validate(without))
        await wait(at, 60, fills=True)
        assert at.positions == {42: 0, 90: 100}
        manager.engine.reload(Config.model_validate(DAILY))
        await wait(at, 60, fills=True)
        assert at.positions == {42: 0, 90: 100}
        await manager.end()

    play_without_end(tmp_path, account(), story, DAILY)


def test_a_first_list_after_a_restart_that_lacks_a_position_does_not_end_its_close(tmp_path: Path) -> None:
    async def first(at: World, manager: Manager) -> None:
        await wait(at, 60)
        worth(at, "90000")
        await wait(at, 45)
        await manager.kill()

    async def second(at: World, manager: Manager) -> None:
        await wait(at, 2)
        at.unlisted.clear()
        await wait(at, 120, fills=True)
        assert at.positions == {42: 0, 90: 0}

    at = account()
    play_without_end(tmp_path, at, first, DAILY)
    at.unlisted = {90}
    play(tmp_path, at, second, DAILY)


def test_the_odd_marks_of_an_opening_count_for_the_whole_account(tmp_path: Path) -> None:
    """The stock has traded for an hour when the options open."""

    async def story(at: World, manager: Manager) -> None:
        await wait(at, 70)
        worth(at, "90000")
        await wait(at, 25)
        worth(at, "100000")
        await wait(at, 60)
        assert of_kind(manager, "account_stop") == []
        worth(at, "90000")
        await wait(at, 45)
        assert at.received

    at = account()
    opens = at.clock.now() + timedelta(seconds=70)
    at.instruments[42] = replace(at.instruments[42], liquid_hours=(Hours(opens, opens + timedelta(hours=6)),))
    play(tmp_path, at, story, DAILY)


@pytest.mark.parametrize("other", ["EUR", ""])
def test_one_answer_in_another_currency_forgets_nothing(tmp_path: Path, other: str) -> None:
    async def story(at: World, manager: Manager) -> None:
        await wait(at, 60)
        at.currency = other
        for _ in range(40):
            if any("currency" in rule.text or "in place of" in rule.text for rule in shown(manager)):
                break
            await wait(at, 1)
        at.currency = "USD"
        worth(at, "90000")
        await wait(at, 45)
        assert at.received

    def shown(manager: Manager) -> list[AccountRuleStatus]:
        return [rule for each in status_of(manager.engine, "f").account_stops for rule in each.rules]

    play(tmp_path, account(), story, DAILY)


@pytest.mark.parametrize("what", ["the cash alone", "no excess liquidity"])
def test_an_answer_that_lacks_a_part_of_the_account_closes_nothing(tmp_path: Path, what: str) -> None:
    async def story(at: World, manager: Manager) -> None:
        await wait(at, 60)
        if what == "the cash alone":
            worth(at, "20000")
        else:
            worth(at, "100000", excess="0")
        await wait(at, 120)
        assert at.received == []
        assert any(
            ("without the positions" if what == "the cash alone" else "an ExcessLiquidity of 0") in reported
            for reported in of_kind(manager, "account_unprotected")
        )

    both = config(daily_loss={"percent": 5, "action": "close"}, margin_cushion={"below_percent": 5, "action": "close"})
    play(tmp_path, account(), story, both)


@pytest.mark.parametrize("away", ["an hour", "a week", "an hour without a withdrawal"])
def test_a_withdrawal_while_the_manager_was_away_closes_nothing(tmp_path: Path, away: str) -> None:
    """The market has moved as well, and after a week nobody knows what was traded."""

    async def first(at: World, manager: Manager) -> None:
        await wait(at, 60)
        await manager.kill()

    async def second(at: World, manager: Manager) -> None:
        await wait(at, 120)
        reported = of_kind(manager, "account_unprotected")
        if away == "an hour without a withdrawal":
            assert at.received
        else:
            assert at.received == []
            assert "look as if they were paid out" in reported[0]

    at = account()
    at.instruments = {con_id: replace(each, liquid_hours=ALWAYS) for con_id, each in at.instruments.items()}
    best = config(drawdown={"percent": 10, "action": "close"})
    play_without_end(tmp_path, at, first, best)
    if away == "a week":
        at.clock.jump(timedelta(days=6))
        del at.positions[42]
        worth(at, "50000", cash="0")
    else:
        at.clock.jump(timedelta(hours=1))
        worth(at, "88000", cash="20000" if away == "an hour without a withdrawal" else "10000")
    play(tmp_path, at, second, best)


def test_a_connection_that_is_lost_before_the_question_is_no_fault_of_the_manager() -> None:
    async def story() -> None:
        with pytest.raises(BrokerError, match="account values: Not connected"):
            await ask_values(IB(), BEGIN, 1)  # type: ignore[no-untyped-call]  # ib_insync's, untyped

    drive(story)


@pytest.mark.parametrize(("name", "percent"), [("daily_loss", "0.05"), ("drawdown", "0.1")])
def test_a_fraction_in_place_of_a_percentage_is_refused(name: str, percent: str) -> None:
    with pytest.raises(ValidationError, match=rf"account_stops\.{name}\.percent"):
        Config.model_validate(config(**{name: {"percent": Decimal(percent), "action": "close"}}))


@pytest.mark.parametrize("odd", ["900000", "30000"])
def test_a_person_who_rearms_right_after_an_odd_answer_accepts_the_next_two(tmp_path: Path, odd: str) -> None:
    async def story(at: World, manager: Manager) -> None:
        await wait(at, 60)
        worth(at, odd)
        while status_of(manager.engine, "f").account_stops[0].net_liquidation != Decimal(odd):
            assert at.clock.now() < BEGIN + timedelta(seconds=120)
            await wait(at, 1)
        manager.engine.rearm("account", by="ann")
        worth(at, "100000")
        await wait(at, 60)
        assert at.received == []
        worth(at, "90000")
        await wait(at, 45)
        assert at.received

    play(tmp_path, account(), story, DAILY)


def test_a_stop_that_could_not_be_written_down_at_the_end_has_not_fired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(at: World, manager: Manager) -> None:
        await wait(at, 60)
        journal = manager.engine.shared.access.journal
        whole = journal.transaction

        @contextmanager
        def full() -> Iterator[None]:
            with whole():
                yield
                if any(event.kind == "account stop" for event in journal.events(instrument=(ACCOUNT, 0))):
                    raise JournalError("disk full")

        worth(at, "90000")
        with monkeypatch.context() as disk:
            disk.setattr(journal, "transaction", full)
            await wait(at, 40)
        assert of_kind(manager, "account_stop") == []
        await wait(at, 180, fills=True)
        assert len(of_kind(manager, "account_stop")) == 1
        assert at.positions == {42: 0, 90: 0}

    play(tmp_path, account(), story, DAILY)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_it_closes_once_and_never_on_old_values(tmp_path: Path, seed: int) -> None:
    """Random histories: values that lie for a moment, repeat themselves or stay away, trades by hand, lost sessions
    and kills. `World.take` refuses whatever could close a position twice."""
    chance = random.Random(f"account {seed}")  # noqa: S311 - histories that can be repeated

    async def story() -> None:
        at = account()
        manager = Manager(at, tmp_path, DAILY, seed)
        await manager.start()
        await wait(at, 60)

        async def trouble(kind: str) -> None:
            nonlocal manager
            if kind == "kill":
                await manager.kill()
                manager = Manager(at, tmp_path, DAILY, chance.randrange(1000, 9999))
                await manager.start()
            elif kind == "drop":
                manager.broker.drop()
            elif kind == "hand" and at.positions[42] < -1 and not at.live(42):
                at.fill(at.foreign(42, Side.BUY, 1), 1)

        for _ in range(15):
            kind = chance.choice(["lie", "lie", "mute", "old", "kill", "hand", "fine", "drop"])
            await trouble(kind)
            at.fail = {"account values"} if kind == "mute" else set()
            at.worth_at = at.clock.now() - timedelta(seconds=61) if kind == "old" else None
            if kind == "lie":
                worth(at, chance.choice(["10000", "0", "900000", "-5"]))
                await wait(at, chance.randint(1, 14))
            worth(at, "60000" if kind in ("mute", "old") else "100000")
            await wait(at, chance.randint(16, 60))
            at.fail, at.worth_at = set(), None
            worth(at, "100000")
            await wait(at, 16)
            assert at.received == [], kind
        worth(at, "90000")
        for _ in range(8):
            await trouble(chance.choice(["kill", "drop", "hand", "fine"]))
            await wait(at, chance.randint(1, 30), fills=chance.random() < 0.5)
        await wait(at, 240, fills=True)
        assert at.positions == {42: 0, 90: 0}
        assert sum(execution.fill.quantity for execution in at.executions) == 102
        await manager.end()

    drive(story)
