"""The module manager_wait as a process, beside a manager's real control socket."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.plugins import load
from tests.unit.library.manager_service import ENDED, RUNNING, STARTING, call, call_with
from tests.unit.position_manager.status_samples import INTENT, READY

SYNCING = replace(READY, phase="SYNCING", why="first full sync", last_sync=None)
DOWN = replace(READY, phase="DOWN", why="refused: nothing listens at 127.0.0.1:4002", last_sync=None)
IDLE = replace(READY, intents=())


def test_a_release_from_before_the_first_one_can_be_asked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """An upgrade asks it for its open orders before it replaces it."""
    older = ModuleType("following")
    vars(older).update(look=object(), Goal=object)
    import_module("position_manager.service.following")
    monkeypatch.delattr("position_manager.service.following")
    monkeypatch.setitem(sys.modules, "position_manager.service.following", None)
    monkeypatch.setitem(sys.modules, "position_manager.reports.following", older)
    module = load("library/manager_wait.py")
    assert module.IMPORT_ERROR is None
    assert module.following.read_unit is vars(older)["look"]


def test_it_waits_until_ready_and_reports_each_change(tmp_path: Path) -> None:
    answer = call_with(tmp_path, [DOWN, SYNCING, READY], timeout=20)
    assert (answer["done"], answer["phase"], answer["failure"]) == (True, "READY", "")
    assert answer["progress"] == [
        "DOWN: refused: nothing listens at 127.0.0.1:4002",
        "SYNCING: first full sync",
        "READY in mode paper, positions synced: 1 closing, 1 guarded, 1 unprotected",
    ]


def test_at_a_terminal_it_returns_at_each_change_and_goes_on_from_there(tmp_path: Path) -> None:
    first = call_with(tmp_path, [DOWN], until="change")
    assert (first["done"], first["progress"]) == (False, ["DOWN: refused: nothing listens at 127.0.0.1:4002"])
    second = call_with(tmp_path, [DOWN, READY], until="change", cursor=first["cursor"])
    assert (second["done"], len(second["progress"])) == (True, 1)


def test_a_gateway_that_is_away_is_the_cause_and_no_bare_timeout(tmp_path: Path) -> None:
    answer = call_with(tmp_path, [DOWN], timeout=0)
    assert answer["failed"]
    assert "DOWN" in answer["msg"]
    assert "nothing listens at 127.0.0.1:4002" in answer["msg"]
    assert "[not_ready]" in answer["msg"]
    assert "verify.yml" in answer["remedy"]
    assert answer["log_lines"] == ["a line", "the last line"]


def test_ready_without_synced_positions_is_not_enough(tmp_path: Path) -> None:
    answer = call_with(tmp_path, [replace(READY, last_sync=None)], timeout=0)
    assert answer["failure"] == "not_ready"


def test_a_manager_that_ended_is_not_waited_for(tmp_path: Path) -> None:
    answer = call(tmp_path, ENDED, timeout=300)
    assert answer["failure"] == "ended"
    assert "exit code 78" in answer["msg"]
    assert "journal is of another account" in answer["msg"]
    assert "deploy again" in answer["remedy"]


def test_a_crash_is_not_waited_for_although_systemd_starts_it_again(tmp_path: Path) -> None:
    crashed = ENDED | {"ActiveState": "activating", "SubState": "auto-restart", "ExecMainStatus": "1"}
    answer = call(tmp_path, crashed, timeout=300)
    assert answer["failure"] == "ended"
    assert "systemd starts it again" in answer["remedy"]


def test_one_that_does_not_listen_yet_is_waited_for(tmp_path: Path) -> None:
    answer = call(tmp_path, STARTING, timeout=0)
    assert answer["failure"] == "not_ready"
    assert "activating" in answer["msg"]


def test_idle_waits_for_the_last_open_order(tmp_path: Path) -> None:
    answer = call_with(tmp_path, [READY, READY, IDLE], goal="idle", timeout=20)
    assert (answer["failure"], answer["open_orders"]) == ("", [])
    assert answer["progress"] == ["1 open: SELL 100 AAPL, 40 filled, PARTIAL (stop)", "no order is open"]


def test_idle_that_never_comes_reports_which_orders_and_what_to_do(tmp_path: Path) -> None:
    answer = call_with(tmp_path, [READY], goal="idle", timeout=0)
    assert answer["failed"]
    assert answer["open_orders"] == ["SELL 100 AAPL, 40 filled, PARTIAL (stop)"]
    assert "Nothing was restarted" in answer["msg"]
    assert "position_manager_restart_with_open_intents" in answer["remedy"]


@pytest.mark.parametrize("unit", [RUNNING, STARTING, ENDED])
def test_a_manager_that_does_not_answer_holds_up_no_restart(tmp_path: Path, unit: dict[str, str]) -> None:
    answer = call(tmp_path, unit, goal="idle", timeout=300)
    assert not answer.get("failed")
    assert answer["done"]


def test_check_mode_reports_and_never_fails(tmp_path: Path) -> None:
    answer = call(tmp_path, ENDED, _ansible_check_mode=True)
    assert not answer.get("failed")
    assert answer["done"]
    assert call_with(tmp_path, [READY], goal="idle", _ansible_check_mode=True)["open_orders"] != []


def test_a_unit_that_is_not_there_is_a_failure_of_its_own(tmp_path: Path) -> None:
    answer = call(tmp_path, {"LoadState": "not-found"})
    assert "[unit_unknown]" in answer["msg"]
    assert "deploy" in answer["remedy"]


@pytest.mark.parametrize("key", ["timeout", "log_lines"])
def test_a_negative_number_is_refused(tmp_path: Path, key: str) -> None:
    arguments: dict[str, Any] = {key: -1}
    assert f"{key} is -1" in call(tmp_path, RUNNING, **arguments)["msg"]


@pytest.mark.parametrize("cursor", ["nonsense", "{}", "[1]", '["x", "y"]'])
def test_a_foreign_cursor_is_refused(tmp_path: Path, cursor: str) -> None:
    answer = call(tmp_path, RUNNING, cursor=cursor, until="change")
    assert "cursor is not one that this module returned" in answer["msg"]


def test_a_cursor_without_change_is_refused(tmp_path: Path) -> None:
    assert "cursor requires until=change" in call(tmp_path, RUNNING, cursor="[]")["msg"]


def test_the_order_of_an_intent_is_named_as_people_name_it(tmp_path: Path) -> None:
    whole = replace(READY, intents=(replace(INTENT, state="SENDING", filled=INTENT.filled * 0),))
    assert call_with(tmp_path, [whole], goal="idle", timeout=0)["open_orders"] == [
        "SELL 100 AAPL, 0 filled, SENDING (stop)"
    ]


def test_ready_that_systemd_has_not_received_is_waited_for(tmp_path: Path) -> None:
    answer = call_with(tmp_path, [READY], STARTING, timeout=0)
    assert answer["failure"] == "not_ready"
    assert "for systemd activating" in answer["msg"]


def test_the_log_is_shown_as_people_read_it(tmp_path: Path) -> None:
    event = '{"event": "Connected", "level": "info", "logger": "x", "time": "2026-11-23T12:00:00Z"}'
    answer = call(tmp_path, ENDED, log=("Starting…", event, "{}", "3"))
    assert answer["log_lines"] == ["Starting…", "2026-11-23T12:00:00Z info: Connected", "{}", "3"]
