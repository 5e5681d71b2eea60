"""The document that is collected from real files, and from damaged ones."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.dashboard.hosts import NOW, RUNNING, TestHost
from tests.unit.position_manager import status_samples
from tests.unit.position_manager.control_service import Service, served

from dashboard.outboxes import UnreadableError
from position_manager.reports.explain import NotFoundError


@pytest.fixture
def host(tmp_path: Path) -> TestHost:
    return TestHost(tmp_path)


def files(root: Path) -> dict[str, tuple[int, bytes]]:
    """Everything below a directory, with its content."""
    return {
        str(path.relative_to(root)): (path.stat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in root.rglob("*")
    }


def test_a_whole_host_is_shown(host: TestHost) -> None:
    host.write_journal()
    host.write_outbox(host.manager / "outbox.db")
    document = host.collector().collect()
    assert document["gateways"]["ib-gateway"]["state"] == "ready"
    assert document["gateways"]["ib-gateway"]["next_approval"].startswith("2026-12-06T13:00")
    manager = document["managers"]["position-manager"]
    assert [order["state"] for _, order in sorted(manager["orders"].items())] == ["CANCELLED", "FILLED", "REJECTED"]
    assert manager["running"] is False
    (item,) = document["notifications"]["position-manager"]["items"].values()
    assert (item["title"], item["lines"], item["states"]) == (
        "MSFT: stop fired",
        ["in DU*****67"],
        {"discord": "queued"},
    )
    assert document["notifications"]["position-manager"]["pending"] == 1
    assert set(document["logs"]) == {"ib-gateway.service", "position-manager.service"}
    assert list(document["notes"]) == ["manager:position-manager"], "it does not run, and the rest is in order"
    assert "DU1234567" not in json.dumps(document)


def test_a_running_manager_is_shown_with_its_positions(host: TestHost) -> None:
    runtime = host.host.manager_runtime / "position-manager"
    runtime.mkdir(parents=True)
    document = served(runtime / "control.sock", host.collector().collect, status=runtime / "status.sock")
    manager = document["managers"]["position-manager"]
    assert manager["running"] is True
    assert set(manager["positions"]) == {unit.key for unit in status_samples.READY.units}
    assert document["notes"] == {}


def test_a_manager_of_an_older_release_is_not_taken_for_one_that_is_down(host: TestHost) -> None:
    runtime = host.host.manager_runtime / "position-manager"
    runtime.mkdir(parents=True)
    document = served(runtime / "control.sock", host.collector().collect)
    assert "an older release" in document["notes"]["manager:position-manager"]["text"]


def test_nothing_is_created_or_changed_beside_a_journal_that_nobody_writes(host: TestHost) -> None:
    host.write_journal()
    host.write_outbox(host.manager / "outbox.db")
    before = files(host.manager)
    collector = host.collector()
    collector.collect()
    collector.orders("position-manager", None)
    assert files(host.manager) == before


def test_a_journal_is_followed_while_it_is_written(host: TestHost) -> None:
    host.write_journal()
    path = host.manager / "journal-paper.db"
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("UPDATE intents SET reason = 'first'")
        writer.commit()
        collector = host.collector()
        before = collector.collect()["managers"]["position-manager"]["orders"]
        writer.execute("UPDATE intents SET reason = 'second'")
        writer.commit()
        after = collector.collect()["managers"]["position-manager"]["orders"]
        # The writer is not hindered while the page has it open: it can even take the whole file.
        writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        writer.execute("BEGIN EXCLUSIVE")
        writer.execute("ROLLBACK")
    assert {order["reason"] for order in before.values()} == {"first"}
    assert {order["reason"] for order in after.values()} == {"second"}
    # The writer has ended and its log is gone.
    last = collector.collect()["managers"]["position-manager"]["orders"]
    assert {order["reason"] for order in last.values()} == {"second"}


def test_a_manager_that_ends_leaves_its_whole_journal_in_one_file(host: TestHost) -> None:
    """Otherwise who copies or moves the journal of a stopped manager has an old one."""
    host.write_journal()
    path = host.manager / "journal-paper.db"
    collector = host.collector()
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("UPDATE intents SET reason = 'last'")
        writer.commit()
        newest = max(collector.collect()["managers"]["position-manager"]["orders"])
        collector.orders("position-manager", None)
        collector.explained("position-manager", newest)
    assert not path.with_name("journal-paper.db-wal").exists()
    with closing(sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)) as alone:
        assert set(alone.execute("SELECT reason FROM intents").fetchall()) == {("last",)}


def test_a_journal_that_was_written_and_closed_meanwhile_is_read_again(host: TestHost) -> None:
    host.write_journal()
    collector = host.collector()
    collector.collect()
    with closing(sqlite3.connect(host.manager / "journal-paper.db")) as writer:
        writer.execute("UPDATE intents SET reason = 'later'")
        writer.commit()
    assert not (host.manager / "journal-paper.db-wal").exists()
    after = collector.collect()["managers"]["position-manager"]["orders"]
    assert {order["reason"] for order in after.values()} == {"later"}


def test_the_journal_of_a_manager_that_was_killed_is_read_with_its_log(host: TestHost, tmp_path: Path) -> None:
    host.write_journal()
    path = host.manager / "journal-paper.db"
    killed = TestHost(tmp_path / "killed")
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("UPDATE intents SET reason = 'in the log only'")
        writer.commit()
        for file in host.manager.glob("journal-paper.db*"):
            shutil.copy(file, killed.manager)
    before = files(killed.manager)
    orders = killed.collector().collect()["managers"]["position-manager"]["orders"]
    assert {order["reason"] for order in orders.values()} == {"in the log only"}
    assert files(killed.manager) == before


GARBAGE = [b"", b"garbage", b"\x00" * 4096, b"{}", b"[]", b'{"state": 5}', b"SQLite format 3\x00" + b"\xff" * 5000]


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize(
    "file",
    [
        "instance.json",
        "login.json",
        "breaker.json",
        "session.json",
        "history.json",
        "notifications.sqlite3",
        "journal",
        "outbox",
        "days",
    ],
)
def test_a_damaged_file_does_not_hide_the_rest(host: TestHost, file: str, garbage: bytes) -> None:
    host.write_journal()
    host.write_outbox(host.manager / "outbox.db")
    (host.manager / "days").mkdir()
    place = {
        "instance.json": host.instance_file,
        "login.json": host.login_dir / "login.json",
        "breaker.json": host.state / "breaker.json",
        "session.json": host.state / "session.json",
        "history.json": host.history,
        "notifications.sqlite3": host.state / "notifications.sqlite3",
        "journal": host.manager / "journal-paper.db",
        "outbox": host.manager / "outbox.db",
        "days": host.manager / "days" / "2026-11-30.jsonl",
    }[file]
    place.write_bytes(garbage)
    collector = host.collector()
    document = collector.collect()
    json.dumps(document)
    assert set(document["managers"]) == {"position-manager"}
    assert set(document["gateways"]) == (set() if file == "instance.json" else {"ib-gateway"})
    curves = collector.curves("position-manager")
    assert curves["days"] == {}
    noted = {
        "instance.json": "gateway:ib-gateway",
        "journal": "journal:position-manager",
        "outbox": "notifications:position-manager",
        "notifications.sqlite3": "notifications:ib-gateway",
        "history.json": "history",
        "login.json": "gateway:ib-gateway",
        "breaker.json": "breaker:ib-gateway",
    }.get(file)
    if noted is not None:
        assert noted in document["notes"], document["notes"]
    if file == "journal":
        with pytest.raises(UnreadableError):
            collector.orders("position-manager", None)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\n",
        b"[]\n",
        b'{"done": true, "status": {"time": "x"}}\n',
        b'{"done": false, "text": "no journal"}\n',
    ],
)
def test_a_manager_that_answers_something_else_is_a_note(host: TestHost, answer: bytes) -> None:
    runtime = host.host.manager_runtime / "position-manager"
    runtime.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(runtime / "status.sock"))
        listener.listen()

        def serve() -> None:
            channel, _ = listener.accept()
            with channel:
                channel.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        document = host.collector().collect()
        thread.join()
    assert document["managers"]["position-manager"]["running"] is False
    assert "manager:position-manager" in document["notes"]
    assert document["gateways"]["ib-gateway"]["state"] == "ready"


def test_without_any_service_the_page_is_empty(tmp_path: Path) -> None:
    host = TestHost(tmp_path / "other")
    host.instance_file.unlink()
    host.manager.rmdir()
    document = host.collector().collect()
    assert (document["gateways"], document["managers"], document["notes"]) == ({}, {}, {})


def test_the_strip_follows_the_gateway(host: TestHost) -> None:
    collector = host.collector()
    states = []
    for state, person, minutes in (("ready", False, 0), ("awaiting_2fa", True, 5), ("ready", False, 6)):
        host.now = NOW + timedelta(minutes=minutes)
        host.publish(state, person=person)
        assert collector.record() is True
        states.append(collector.collect()["gateways"]["ib-gateway"]["state"])
    assert states == ["ready", "approval", "ready"]
    (host.login_dir / "login.json").unlink()
    host.unit = None
    host.now += timedelta(minutes=1)
    collector.record()
    assert collector.record() is False
    # After a restart of the page's service it is still there.
    history = host.collector().collect()["gateways"]["ib-gateway"]["history"]
    assert [entry["state"] for entry in history] == ["unknown", "ready", "approval", "ready", "unknown"]


def test_systemd_is_not_asked_all_the_time(host: TestHost) -> None:
    collector = host.collector()
    for _ in range(29):
        collector.record()
        host.now += timedelta(seconds=1)
    assert host.asked == 1
    (host.login_dir / "login.json").unlink()
    collector.record()
    assert host.asked == 2, "at once when the gateway is gone"


def test_a_change_of_the_page_is_only_what_differs(host: TestHost) -> None:
    collector = host.collector()
    first = collector.collect()
    host.now += timedelta(seconds=1)
    second = collector.collect()
    del first["at"], second["at"]
    assert first == second


def test_orders_come_in_pages_and_each_is_explained(host: TestHost, monkeypatch: pytest.MonkeyPatch) -> None:
    host.write_journal()
    collector = host.collector()
    monkeypatch.setattr("dashboard.journals.PAGE", 2)
    newest, more = collector.orders("position-manager", None)
    assert [order["state"] for order in newest] == ["REJECTED", "FILLED"] and more
    older, more = collector.orders("position-manager", newest[-1]["id"])
    assert [order["state"] for order in older] == ["CANCELLED"] and not more
    text = collector.explained("position-manager", older[0]["id"])
    assert text.startswith("BUY 2 SPY 2026-12-18 450P in DU*****67: CANCELLED")
    assert "DU1234567" not in text
    with pytest.raises(NotFoundError):
        collector.explained("position-manager", "nothing")
    with pytest.raises(KeyError):
        collector.explained("other", older[0]["id"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_a_note(host: TestHost) -> None:
    host.instance_file.chmod(0)
    assert "gateway:ib-gateway" in host.collector().collect()["notes"]


def test_the_levels_that_were_evaluated_last_remain_while_a_position_is_closed(host: TestHost) -> None:
    runtime = host.host.manager_runtime / "position-manager"
    runtime.mkdir(parents=True)
    collector = host.collector()

    def bars(unit: Any) -> Any:
        class Changed(Service):
            def status(self) -> Any:
                return replace(status_samples.READY, units=(unit,))

        document = served(runtime / "control.sock", collector.collect, Changed(), runtime / "status.sock")
        return document["managers"]["position-manager"]["positions"][unit.key]["bars"]

    def levels(price: str | None) -> dict[str, tuple[float, float | None]]:
        number = None if price is None else status_samples.D(price)
        bar = bars(replace(status_samples.PUT, stop=None, target=None, verdict="closing", price=number))["price"]
        assert bar.get("now") == (None if price is None else float(price))
        return {name: (mark["level"], mark.get("distance")) for name, mark in bar["marks"].items()}

    assert bars(status_samples.PUT)["price"]["now"] == 2.8
    # A short put: its stop closes above, its target below.
    assert levels("3.80") == {"stop": (3.75, -0.05), "target": (0.5, 3.3)}
    assert levels(None) == {"stop": (3.75, None), "target": (0.5, None)}
    assert levels("0.40") == {"stop": (3.75, 3.35), "target": (0.5, -0.1)}


def test_the_unit_of_a_gateway_that_is_away_is_its_text(host: TestHost) -> None:
    (host.login_dir / "login.json").unlink()
    host.unit = RUNNING.__class__("failed", "failed", "exit-code", "bad_credentials: refused")
    gateway = host.collector().collect()["gateways"]["ib-gateway"]
    assert (gateway["state"], gateway["text"]) == ("down", "bad_credentials: refused")


def test_a_history_that_can_be_stored_again_is_no_note_any_more(host: TestHost) -> None:
    collector = host.collector()
    host.history.mkdir()
    collector.record()
    assert "cannot be stored" in collector.collect()["notes"]["history"]["text"]
    host.history.rmdir()
    host.now += timedelta(hours=1)
    collector.record()
    assert "history" not in collector.collect()["notes"]


def test_a_session_that_cannot_be_read_hides_no_other_service(host: TestHost) -> None:
    (host.state / "session.json").unlink()
    (host.state / "session.json").mkdir()
    document = host.collector().collect()
    assert set(document["gateways"]) == {"ib-gateway"} and set(document["managers"]) == {"position-manager"}
    assert "session.json cannot be read" in document["notes"]["gateway:ib-gateway"]["text"]
