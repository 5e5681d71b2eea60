"""A new managed account is a state with an alert; it is guarded once a person or the configuration has accepted it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path

import pytest
from tests.unit.position_manager.control_service import Service, served
from tests.unit.position_manager.engine_world import ACCOUNT, CONFIG, SECOND, Manager, World, breach, short_puts
from tests.unit.position_manager.test_engine import play

from position_manager import cli
from position_manager.engine.engine_status import status_of
from position_manager.journal.errors import JournalAwayError, JournalMismatchError
from position_manager.journal.journal import Journal
from position_manager.journal.reader import JournalReader
from position_manager.refused import RefusedError
from position_manager.reports import status_view
from position_manager.service.control import AskAccept, ask


async def nothing(at: World, manager: Manager) -> None:
    await at.clock.advance(1)


def after_a_run_with_one_account(directory: Path) -> World:
    at = short_puts()
    play(directory, at, nothing)
    at.second[42] = Decimal(-5)
    return at


def guarded(manager: Manager) -> set[str]:
    return {unit.account for unit in manager.engine.shared.guard.units}


def test_a_new_account_is_reported_and_left_alone_until_it_is_accepted(tmp_path: Path) -> None:
    at = after_a_run_with_one_account(tmp_path)

    async def story(at: World, manager: Manager) -> None:
        assert guarded(manager) == {ACCOUNT}
        (reported,) = [message for message in manager.reported if message.kind == "new_account"]
        assert "accept-account 'DU*****21'" in reported.text()
        status = status_of(manager.engine, "")
        assert status.new_accounts == ("DU*****21",)
        assert not status_view.in_order(status)
        assert "accept-account" in status_view.next_step(status)
        await breach(at, times=3)
        assert {order.account for order in at.received} == {ACCOUNT}
        with pytest.raises(RefusedError, match=r"these wait: DU\*\*\*\*\*21"):
            manager.engine.accept_account("DU0000001", by="a test")
        assert "is guarded" in manager.engine.accept_account(SECOND, by="a test")
        await breach(at, times=3)
        assert {order.account for order in at.received} == {ACCOUNT, SECOND}
        assert "account_accepted" in manager.kinds

    play(tmp_path, at, story)

    async def afterwards(at: World, manager: Manager) -> None:
        assert guarded(manager) == {ACCOUNT, SECOND}
        assert "new_account" not in manager.kinds

    play(tmp_path, at, afterwards)
    with JournalReader(tmp_path / "journal.db") as journal:
        assert journal.stamp.accounts == {ACCOUNT, SECOND}
        assert [event.account for event in journal.events() if event.kind == "account accepted"] == [SECOND]


def test_one_that_appears_between_two_sessions_ends_nothing(tmp_path: Path) -> None:
    async def story(at: World, manager: Manager) -> None:
        at.second[42] = Decimal(-5)
        manager.broker.drop()
        await at.clock.advance(30)
        assert manager.engine.ready
        assert guarded(manager) == {ACCOUNT}
        assert "new_account" in manager.kinds

    play(tmp_path, short_puts(), story)


@pytest.mark.parametrize("section", ["accounts", "expected_accounts"])
def test_an_account_that_the_configuration_names_is_accepted_by_that(tmp_path: Path, section: str) -> None:
    at = after_a_run_with_one_account(tmp_path)
    config: Mapping[str, object] = {**CONFIG, section: [ACCOUNT, SECOND]}

    async def story(at: World, manager: Manager) -> None:
        assert guarded(manager) == {ACCOUNT, SECOND}
        assert "new_account" not in manager.kinds

    play(tmp_path, at, story, config)


def test_a_journal_that_cannot_take_it_now_takes_it_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full when the session with the new account starts."""
    accept, full = Journal.accept, [True]

    def accept_later(journal: Journal, accounts: Iterable[str], by: str) -> None:
        if full:
            raise JournalAwayError("the disk is full")
        accept(journal, accounts, by)

    monkeypatch.setattr(Journal, "accept", accept_later)

    async def story(at: World, manager: Manager) -> None:
        at.second[42] = Decimal(-5)
        manager.broker.drop()
        await at.clock.advance(30)
        assert not manager.engine.ready
        full.clear()
        await at.clock.advance(120)
        assert manager.engine.ready
        assert guarded(manager) == {ACCOUNT, SECOND}

    play(tmp_path, short_puts(), story, {**CONFIG, "accounts": [ACCOUNT, SECOND]})


def test_an_account_that_is_gone_is_still_refused(tmp_path: Path) -> None:
    at = short_puts()
    at.second[42] = Decimal(-5)
    play(tmp_path, at, nothing)
    at.second.clear()
    with pytest.raises(JournalMismatchError):
        play(tmp_path, at, nothing)


def test_the_command_asks_the_service(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    service, where = Service(), tmp_path / "control.sock"
    words = ["accept-account", SECOND, "--runtime", str(tmp_path)]
    assert served(where, lambda: cli.main(words), service) == 0
    assert service.heard[0][:2] == ("accept-account", SECOND)
    assert "is guarded" in capsys.readouterr().out
    assert served(where, lambda: ask(where, AskAccept(account=SECOND, by="x")).done)
