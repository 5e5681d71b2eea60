"""Notifications: no message is left out because of another condition."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from tests.unit.position_manager.engine_world import CONFIG, Manager, World, breach, short_puts
from tests.unit.position_manager.test_engine import play

from notifications import dedupe
from notifications.message import Message, Severity
from notifications.outbox import Outbox
from position_manager.account.settings import Action
from position_manager.account.stops import Fired, RuleState, Verdict
from position_manager.brokers.broker import CodeReceived
from position_manager.connection_state import About
from position_manager.orders.closing import Closing
from position_manager.orders.evidence import Cause
from position_manager.orders.ladder import Bound, CapReached
from position_manager.reports.account_messages import AccountAuthor
from position_manager.reports.messages import Author

NOW = datetime(2026, 11, 23, 15, tzinfo=UTC)
FIRED = [Fired(rule, Action.CLOSE, NOW, "text") for rule in ("daily_loss", "drawdown")]
CLOSING = Closing("DU1 contract 42", "SPY", "DU1", "stop", "text", NOW, {42: Decimal(1)})


def troubles() -> list[Message]:
    """One message for each condition that is reported once."""
    author, accounts = Author("paper", NOW), AccountAuthor("paper", NOW)
    return [
        author.lost("1100"),
        *(author.page("text", about) for about in About),
        author.farm_down("usfarm", "2103"),
        author.farm_down("eufarm", "2103"),
        author.suspended("SPY", 42, "10197"),
        author.suspended("QQQ", 43, "10197"),
        author.notice("no disaster stop"),
        author.journal_fault("full"),
        author.halted("reason", "resume"),
        author.locked("SPY", "DU1", "one reason"),
        author.locked("SPY", "DU1", "another reason"),
        *(
            author.unprotected("SPY", "DU1 contract 42", cause, "text", 60)
            for cause in ("no quote", "cannot be closed")
        ),
        *(author.refused(CLOSING, "SPY", gates, "text") for gates in ("hours", "order quantity")),
        *(author.capped(CLOSING, "SPY", CapReached(bound)) for bound in Bound),
        author.new_account("DU1"),
        author.rival("reason", "remedy"),
        *(accounts.account_fired("DU1", fired, shadow=False) for fired in FIRED),
        *(accounts.account_blind("DU1", RuleState(each.rule, Verdict.BLIND, "", each.action), 60) for each in FIRED),
    ]


def test_every_condition_has_a_key_of_its_own() -> None:
    keys = [message.dedupe_key for message in troubles()]
    assert all(keys)
    assert len(set(keys)) == len(keys)


def test_a_recovery_ends_its_own_condition_only() -> None:
    author, accounts = Author("paper", NOW), AccountAuthor("paper", NOW)
    ended_by = {
        author.account_accepted("DU1", "a person"): ["new_account"],
        accounts.account_over("DU1", "drawdown", "rearmed"): ["account_stop"],
        accounts.account_seen("DU1", "drawdown"): ["account_unprotected"],
        author.rival_gone(): ["another_manager"],
        author.released("SPY", "DU1", "a person"): ["locked", "locked"],
        author.protected("SPY", "DU1 contract 42", 60): ["unprotected", "unprotected"],
    }
    for recovery, kinds in ended_by.items():
        over = [m for m in troubles() if f"{m.dedupe_key}/".startswith(f"{recovery.recovery_of}/")]
        assert [message.kind for message in over] == kinds, recovery.title


def test_none_is_left_out_because_of_another(tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox.db", lambda: 0.0) as outbox:
        assert {outbox.put(message, ["x"]) for message in troubles()} == {dedupe.Verdict.SEND}
        assert {outbox.put(message, ["x"]) for message in troubles()} != {dedupe.Verdict.SEND}, "each is told once"


@pytest.mark.parametrize("first", [True, False])
def test_a_farm_that_is_down_does_not_silence_the_loss_of_the_connection(tmp_path: Path, first: bool) -> None:
    async def story(at: World, manager: Manager) -> None:
        codes = [(2103, "Market data farm connection is broken:usfarm"), (1100, "lost")]
        for code in codes if first else reversed(codes):
            at.emit(CodeReceived(*code))
        await at.clock.advance(1)
        reported = {message.kind: message for message in manager.reported}
        assert "Not connected" in reported["connection_lost"].title
        assert "usfarm" in reported["farm_down"].title
        assert reported["farm_down"].dedupe_key != reported["connection_lost"].dedupe_key
        at.emit(CodeReceived(2104, "Market data farm connection is OK:usfarm"))
        await at.clock.advance(1)
        (over,) = [message for message in manager.reported if message.kind == "farm_up"]
        assert over.recovery_of == reported["farm_down"].dedupe_key

    play(tmp_path, short_puts(), story)


def test_a_worse_cause_of_being_unprotected_is_reported_although_a_lesser_one_was(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        for _ in range(20):
            at.quote(42, None, "3.85")
            await at.clock.advance(5)
        await breach(at, "2.00", "4.00", times=5)
        reported = [message for message in manager.reported if message.kind == "unprotected"]
        assert len(reported) == 2
        assert len({message.dedupe_key for message in reported}) == 2
        assert all(message.severity is Severity.ALERT for message in reported)
        await at.clock.advance(timedelta(seconds=5).total_seconds())
        await breach(at, "2.45", "2.55", times=5)
        assert manager.kinds.count("protected") == 1

    play(tmp_path, short_puts(), story, CONFIG)


def test_a_changed_average_cost_alone_is_an_alert_that_names_the_lost_protection() -> None:
    author, two = Author("paper", NOW), Decimal(2)
    reopened = author.moved("SPY", "DU1", two, two, Cause.REOPENED)
    assert reopened.severity is Severity.ALERT
    assert "trailing best, breakeven" in reopened.lines[0]
    assert author.moved("SPY", "DU1", two, Decimal(3), Cause.USER).severity is Severity.INFO
