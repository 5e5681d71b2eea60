"""The journal: on disk before it takes effect, one writer, one mode, and no order without it."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest

from position_manager.journal.errors import (
    JournalError,
    JournalLockedError,
    JournalMismatchError,
    OpenIntentError,
    UnsettledError,
)
from position_manager.journal.journal import CHECKPOINT_AFTER, Journal
from position_manager.journal.reader import JournalReader
from position_manager.journal.records import OrderToSend, Stamp
from position_manager.orders.evidence import Execution, Finding, Search
from position_manager.orders.intents import (
    Acknowledged,
    Executed,
    Fill,
    Intent,
    OutOfSight,
    Proven,
    Said,
    Side,
    State,
)
from position_manager.ulid import ulid

NOW = datetime(2026, 11, 23, 15, tzinfo=UTC)
TEN = Decimal(10)
ACCOUNT, CON_ID = KEY = ("DU1234567", 42)
STAMP = Stamp("paper", frozenset({ACCOUNT}))


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def opened(path: Path, clock: Callable[[], datetime] | None = None, stamp: Stamp = STAMP) -> Journal:
    ids = random.Random(path.name)  # noqa: S311 - ids that can be repeated
    clock = clock or Clock()
    return Journal(path, stamp, clock=clock, new_id=lambda: ulid(clock(), ids.randbytes), busy_timeout=0.05)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def journal(path: Path, clock: Clock) -> Iterator[Journal]:
    with opened(path, clock) as journal:
        journal.count_holding(*KEY, TEN, "first seen")
        yield journal


def planned(journal: Journal, position: Decimal = TEN) -> Intent:
    side = Side.SELL if position > 0 else Side.BUY
    return journal.create_intent(*KEY, side, position, abs(position), "stop", {"bid": Decimal("2.4")})


def sent(journal: Journal, intent: Intent, next_valid_id: int = 1) -> OrderToSend:
    return journal.record_sending(
        intent.id,
        client_id=100,
        next_valid_id=next_valid_id,
        position=intent.position,
        quantity=intent.quantity,
        limit=Decimal("2.4"),
        evidence={},
    )


def fill(exec_id: str, quantity: int) -> Fill:
    return Fill(exec_id, Decimal(quantity), Decimal("2.4"), NOW)


def test_what_is_written_is_there_after_a_restart(path: Path, clock: Clock) -> None:
    with opened(path, clock) as journal:
        journal.count_holding(*KEY, TEN, "first seen")
        intent = planned(journal)
        order = sent(journal, intent)
        journal.record(intent.id, Acknowledged(77))
        journal.record(intent.id, Executed(fill("a", 4)))
        before = journal.intent(intent.id)
    with opened(path, clock) as journal:
        assert journal.intent(intent.id) == before
        assert (before.state, before.filled, before.perm_id, before.sent) == (State.PARTIAL, Decimal(4), 77, NOW)
        assert order.ref == f"pm:{intent.id}"
        assert journal.intent_of_ref(order.ref) == journal.intent_of_order(100, order.order_id) == before
        assert [(i.id, i.state) for i in journal.recover()] == [(intent.id, State.UNKNOWN)]
        holding = journal.holding(*KEY)
        assert holding is not None
        assert holding.quantity == 6


def test_the_disk_is_asked_to_store_it(journal: Journal, path: Path) -> None:
    for pragma, value in (("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)):
        assert journal._one(f"PRAGMA {pragma}")[0] == value


def test_what_was_only_planned_is_dropped_at_the_next_start(journal: Journal) -> None:
    intent = planned(journal)
    assert journal.recover() == ()
    assert journal.intent(intent.id).state is State.CANCELLED
    assert planned(journal).id != intent.id


def test_one_open_intent_for_an_instrument(journal: Journal, path: Path) -> None:
    intent = planned(journal)
    with pytest.raises(OpenIntentError, match=rf"{intent.id} of contract 42 is PLANNED"):
        planned(journal)
    with sqlite3.connect(path) as other, pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        other.execute("INSERT INTO intents SELECT 'other', account, con_id, side, quantity, position, rule, oca_group,"
                      " created, 'LOCKED', '0', 0, '' FROM intents")  # fmt: skip


def test_hummingbot_7295_no_new_intent_while_the_outcome_is_unknown(journal: Journal) -> None:
    intent = planned(journal)
    sent(journal, intent)
    journal.record(intent.id, OutOfSight("timeout"))
    with pytest.raises(OpenIntentError, match="UNKNOWN"):
        planned(journal)
    journal.record(intent.id, Proven(State.LOST, "not found"))
    assert planned(journal).oca_group == intent.oca_group  # should the lost one turn up, only one of them can trade


def test_the_position_must_be_the_one_that_was_counted(journal: Journal) -> None:
    with pytest.raises(UnsettledError, match="is 9 and expected to be 10"):
        planned(journal, Decimal(9))
    with pytest.raises(UnsettledError, match="not counted yet"):
        journal.create_intent(ACCOUNT, 43, Side.SELL, TEN, TEN, "stop", {})
    intent = planned(journal)
    journal.count_holding(*KEY, Decimal(4), "user")
    with pytest.raises(UnsettledError):
        sent(journal, intent)
    assert journal.intent(intent.id).state is State.PLANNED
    assert journal.sent_since(NOW) == 0


@pytest.mark.parametrize(("side", "quantity"), [(Side.BUY, 10), (Side.SELL, 11), (Side.SELL, 0)])
def test_an_intent_must_close_and_no_more(journal: Journal, side: Side, quantity: int) -> None:
    with pytest.raises(ValueError, match="does not close"):
        journal.create_intent(*KEY, side, TEN, Decimal(quantity), "stop", {})


def test_lean_242_order_ids_are_not_given_again(journal: Journal, path: Path, clock: Clock) -> None:
    ids = []
    for next_valid_id in (1, 1, 50, 7):
        intent = planned(journal)
        ids.append(sent(journal, intent, next_valid_id).order_id)
        journal.record(intent.id, Proven(State.CANCELLED, "x"))
    assert ids == [1, 2, 50, 51]
    with pytest.raises(ValueError, match="client id 0"):
        journal.record_sending("x", client_id=0, next_valid_id=1, position=TEN, quantity=TEN, limit=TEN, evidence={})


def test_an_execution_counts_once(journal: Journal) -> None:
    intent = planned(journal)
    sent(journal, intent)
    for _ in range(2):
        journal.record(intent.id, Executed(fill("a", 4)))
    finding = Finding((fill("a", 4), fill("b", 1)), 77, Proven(State.PARTIAL, "seen"), Search())
    change = journal.record_finding(intent.id, finding)
    assert (change.intent.filled, change.intent.perm_id, change.intent.state) == (Decimal(5), 77, State.PARTIAL)
    holding = journal.holding(*KEY)
    assert holding is not None
    assert holding.quantity == 5


def test_a_fill_that_is_proven_and_then_seen_counts_once(journal: Journal) -> None:
    intent = planned(journal)
    sent(journal, intent)
    journal.record(intent.id, Proven(State.CANCELLED, "completed", Decimal(4)))
    journal.record(intent.id, Executed(fill("late", 4)))
    holding = journal.holding(*KEY)
    assert holding is not None
    assert holding.quantity == 6
    assert journal.lock(*KEY) is None


def test_an_episode_ends_when_the_position_changes(journal: Journal) -> None:
    first = planned(journal)
    order = sent(journal, first)
    assert (order.oca_group, order.oca_type) == (first.oca_group, 1)
    journal.record(first.id, Executed(fill("a", 4)))
    journal.record(first.id, Proven(State.CANCELLED, "x"))
    assert planned(journal, Decimal(6)).oca_group != first.oca_group
    assert journal.count_holding(*KEY, Decimal(6), "same").oca_group == journal.intents(*KEY)[1].oca_group


def test_a_rejected_order_locks_until_a_person_releases(journal: Journal) -> None:
    intent = planned(journal)
    sent(journal, intent)
    journal.record(intent.id, Said(201, "no margin"))
    lock = journal.lock(*KEY)
    assert lock is not None
    assert lock.reason == "REJECTED: 201 no margin"
    assert journal.locks() == (lock,)
    assert journal.release(*KEY, TEN, "me")
    assert journal.lock(*KEY) is None
    assert not journal.release(*KEY, TEN, "me")


def test_a_release_ends_a_locked_intent_and_counts_the_position(journal: Journal) -> None:
    intent = planned(journal)
    sent(journal, intent)
    journal.record(intent.id, OutOfSight("1100"))
    journal.record(intent.id, Proven(State.LOCKED, "contradiction"))
    journal.add_lock(*KEY, "a second reason")
    assert [lock.reason for lock in journal.locks()] == ["LOCKED: contradiction"]
    with pytest.raises(OpenIntentError, match="LOCKED"):
        planned(journal)
    journal.release(*KEY, Decimal(3), "me")
    assert journal.intent(intent.id).state is State.LOST
    assert planned(journal, Decimal(3)).position == 3


def test_executions_of_others_count_once(journal: Journal) -> None:
    theirs = Execution(*KEY, Side.SELL, fill("hand", 2), 5)
    intent = planned(journal)
    order = sent(journal, intent)
    ours = Execution(*KEY, Side.SELL, fill("a", 2), 6, order.ref)
    elsewhere = replace(theirs, con_id=43)
    assert journal.uncounted(*KEY, (theirs, ours, elsewhere)) == (theirs,)
    journal.count_holding(*KEY, Decimal(8), "user", (theirs,))
    assert journal.uncounted(*KEY, (theirs, ours)) == ()


def test_orders_are_counted_over_a_rolling_time(journal: Journal, clock: Clock) -> None:
    for _ in range(3):
        intent = planned(journal)
        sent(journal, intent)
        journal.record(intent.id, Proven(State.CANCELLED, "x"))
        clock.now += timedelta(seconds=40)
    assert journal.sent_since(clock.now - timedelta(seconds=60)) == 1
    assert journal.sent_since(NOW) == 3


def test_events_record_the_story_and_stay(journal: Journal, path: Path) -> None:
    intent = planned(journal)
    sent(journal, intent)
    journal.record(intent.id, Executed(fill("a", 4)), {"from": "execDetails"})
    events = journal.events(intent=intent.id)
    assert [event.kind for event in events] == ["decided", "Sending", "Executed"]
    assert events[0].data == {"bid": "2.4"}
    assert events[2].data["event"]["fill"]["exec_id"] == "a"
    assert events[2].data["from"] == "execDetails"
    assert journal.events(instrument=KEY)[0].kind == "holding"
    assert journal.events(instrument=(ACCOUNT, 43)) == ()
    assert journal.events(after=events[0].number) == events[1:]
    for statement in ("DELETE FROM events", "UPDATE events SET kind = 'x'"):
        with sqlite3.connect(path) as other, pytest.raises(sqlite3.IntegrityError, match="append-only"):
            other.execute(statement)


def test_rules_remember(journal: Journal) -> None:
    journal.remember(*KEY, "trailing", {"high": Decimal("3.10")})
    journal.remember(*KEY, "trailing", {"high": Decimal("3.20")})
    assert journal.memory() == {(*KEY, "trailing"): {"high": "3.20"}}
    journal.forget(*KEY)
    assert journal.memory() == {}


def test_what_a_failed_transaction_took_back_is_not_known_by_heart(journal: Journal) -> None:
    intent = planned(journal)
    with pytest.raises(RuntimeError), journal.transaction():
        sent(journal, intent)
        journal.record(intent.id, Executed(fill("1", 4)))
        journal.record(intent.id, Proven(State.CANCELLED, "over", Decimal(4)))
        assert journal.open_intents() == ()
        assert journal.holdings()[KEY].quantity == 6
        raise RuntimeError
    assert journal.open_intents() == JournalReader.open_intents(journal) == (intent,)
    assert journal.open_intent(*KEY) == journal.intent(intent.id) == intent
    assert journal.holdings() == JournalReader.holdings(journal)
    assert journal.holdings()[KEY].quantity == TEN


def test_a_transaction_holds_together_or_not_at_all(journal: Journal) -> None:
    with pytest.raises(RuntimeError), journal.transaction():
        sent(journal, planned(journal))
        raise RuntimeError
    assert journal.intents(*KEY) == ()
    assert journal.sent_since(NOW) == 0


def test_another_mode_or_account_refuses_it(journal: Journal, path: Path) -> None:
    journal.close()
    for stamp in (Stamp("live", frozenset({ACCOUNT})), Stamp("paper", frozenset({"DU7654321"}))):
        with pytest.raises(JournalMismatchError, match=r"belongs to mode paper, accounts DU\*\*\*\*\*67; this is mode"):
            opened(path, stamp=stamp)
    opened(path).close()
    with opened(path, stamp=Stamp("paper", frozenset({ACCOUNT, "DU7654321"}))) as journal:
        assert journal.stamp == STAMP, "an account that is new is not the journal's before it is accepted"
    with pytest.raises(ValueError, match="at least one account"):
        opened(path, stamp=Stamp("paper", frozenset()))


def test_one_process_writes_and_others_read(journal: Journal, path: Path) -> None:
    intent = planned(journal)
    with pytest.raises(JournalLockedError, match=r"another position manager \(process \d+\)"):
        opened(path)
    with JournalReader(path) as reader:
        assert reader.open_intents() == (intent,)
        assert reader.open_intent(*KEY) == intent
        assert reader.stamp == STAMP
        sent(journal, intent)
        assert reader.intent(intent.id).state is State.SENDING
        with pytest.raises(KeyError):
            reader.intent("other")


def test_there_is_nothing_to_read(path: Path) -> None:
    with pytest.raises(JournalError, match="cannot be opened"):
        JournalReader(path)


def test_cannot_write_while_locked_is_do_not_send(journal: Journal, path: Path) -> None:
    intent = planned(journal)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(JournalError, match="another process writes to it"):
        sent(journal, intent)
    other.close()
    assert journal.intent(intent.id).state is State.PLANNED
    sent(journal, intent)


def test_cannot_write_on_a_full_disk_is_do_not_send(journal: Journal) -> None:
    intent = planned(journal)
    pages = journal._one("PRAGMA page_count")[0]
    journal._one(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(JournalError, match=r"the disk is full .* Free space"):
        for _ in range(1000):
            journal.append("noise", *KEY, {"text": "x" * 1000})
    with pytest.raises(JournalError, match="the disk is full"), journal.transaction():
        sent(journal, intent)
        journal.append("noise", *KEY, {"text": "x" * 100_000})
    assert journal.intent(intent.id).state is State.PLANNED
    assert journal.sent_since(NOW) == 0


def test_a_damaged_journal_is_refused(journal: Journal, path: Path) -> None:
    for number in range(100):
        journal.append("noise", *KEY, {"text": f"{number}" * 1000})
    journal.close()
    content = bytearray(path.read_bytes())
    for offset in range(4096 * 3, len(content), 4096):
        content[offset : offset + 2000] = b"\xff" * 2000
    path.write_bytes(content)
    with pytest.raises(JournalError, match="it is damaged"):
        opened(path)
    with pytest.raises(JournalError, match="it is damaged"):  # and the lock was released
        opened(path)


def test_what_is_no_journal_is_refused(path: Path) -> None:
    path.write_text("not a database, but long enough to be looked at as one" * 50)
    with pytest.raises(JournalError, match="it is not a journal"):
        opened(path)
    path.unlink()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE something (x)")
    with pytest.raises(JournalError, match="another program's database"):
        opened(path)


def test_another_version_is_refused(journal: Journal, path: Path) -> None:
    journal.close()
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA user_version = 99")
    with pytest.raises(JournalError, match=r"version 99, this release writes 2"):
        opened(path)


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="cannot be opened"):
        opened(tmp_path / "missing" / "journal.db")


def test_ulids_sort_by_time_and_differ() -> None:
    source = random.Random(1)  # noqa: S311 - ids that can be repeated
    ids = [ulid(NOW + timedelta(milliseconds=n), source.randbytes) for n in range(50)]
    assert ids == sorted(set(ids))
    assert {len(one) for one in ids} == {26}
    assert ids[0][:10] == ulid(NOW, bytes)[:10]
    # The example of the specification: 1469918176385 ms are 01ARYZ6S41.
    assert ulid(datetime.fromtimestamp(1469918176.385, UTC), bytes) == "01ARYZ6S41" + "0" * 16


def test_an_empty_file_is_no_new_journal(path: Path) -> None:
    """A disk that lost its contents, or a copy that failed: all orders and locks in it are forgotten."""
    path.touch()
    why = r"it is empty \(0 bytes\).*check open orders at the broker"
    with pytest.raises(JournalError, match=why):
        opened(path)
    with pytest.raises(JournalError, match=why):
        JournalReader(path)
    assert path.stat().st_size == 0, "it stays as evidence"


def test_a_start_that_was_killed_while_the_journal_was_created_is_no_fault(path: Path) -> None:
    path.with_name(path.name + ".new").write_bytes(b"a part of it")
    with opened(path) as journal:
        assert journal.empty
    assert not path.with_name(path.name + ".new").exists()


DAMAGE = [
    ("holdings", "quantity", "many", "of contract 42"),
    ("holdings", "average", "NaN", "of contract 42"),
    ("intents", "state", "LIMBO", "id "),
    ("intents", "side", "BOTH", "id "),
    ("orders", "quantity", "", "of intent "),
    ("intents", "position", "1,5", "id "),
    ("intents", "created", "yesterday", "id "),
    ("intents", "proven_filled", "x", "id "),
    ("orders", "limit_price", "--", "of intent "),
    ("orders", "stop_price", "Infinity", "of intent "),
    ("orders", "sent", "2026-11-23T15:00:00", "of intent "),
    ("fills", "quantity", "?", "exec_id a"),
    ("fills", "price", "?", "exec_id a"),
    ("fills", "time", "?", "exec_id a"),
    ("locks", "since", "?", "of contract 42"),
    ("stamp", "accounts", "DU1234567", "the only row"),
]


@pytest.mark.parametrize(("table", "column", "value", "which"), DAMAGE)
def test_a_damaged_row_names_itself(
    journal: Journal, path: Path, table: str, column: str, value: str, which: str
) -> None:
    order = sent(journal, planned(journal))
    intent = journal.intent_of_ref(order.ref)
    assert intent is not None
    journal.record(intent.id, Acknowledged(77))
    journal.record(intent.id, Executed(fill("a", 4)))
    journal.add_lock(*KEY, "a reason")
    journal.close()
    database = sqlite3.connect(path, isolation_level=None)
    database.execute(f"UPDATE {table} SET {column} = ?", (value,))  # noqa: S608 - of the list above
    database.close()

    def read_all() -> None:
        with JournalReader(path) as reader:
            assert reader.stamp
            reader.open_intents()
            reader.holdings()
            reader.locks()

    with pytest.raises(JournalError, match=rf"table {table}, {which}.*column {column}: ") as raised:
        read_all()
    assert ACCOUNT not in str(raised.value).replace(value, "")


def test_a_created_intent_is_the_one_that_is_stored(path: Path, journal: Journal, clock: Clock) -> None:
    clock.now = NOW.astimezone(timezone(timedelta(hours=-5))) + timedelta(microseconds=7)
    intent = planned(journal)
    with JournalReader(path) as reader:
        stored = reader.intent(intent.id)
    assert intent == stored
    assert repr(intent) == repr(stored)


def in_the_database(path: Path, tmp_path: Path) -> int:
    """How many events the file itself has, without what is only in the write-ahead log."""
    alone = tmp_path / "alone.db"
    alone.write_bytes(path.read_bytes())
    database = sqlite3.connect(alone)
    try:
        (count,) = database.execute("SELECT COUNT(*) FROM events").fetchone()
    finally:
        database.close()
    return int(count)


def test_no_commit_waits_for_a_checkpoint(path: Path, journal: Journal, tmp_path: Path) -> None:
    before = in_the_database(path, tmp_path)
    # More pages than SQLite would copy within a commit by itself.
    for number in range(CHECKPOINT_AFTER):
        journal.append("rule fired", *KEY, {"number": number, "text": "x" * 200_000})
    assert in_the_database(path, tmp_path) == before
    journal.checkpoint()
    copied = in_the_database(path, tmp_path)
    assert copied >= before + CHECKPOINT_AFTER
    journal.append("rule fired", *KEY, {})
    journal.checkpoint()
    assert in_the_database(path, tmp_path) == copied, "one commit is left for later"


def test_a_checkpoint_copies_nothing_of_a_transaction(path: Path, journal: Journal, tmp_path: Path) -> None:
    for _ in range(CHECKPOINT_AFTER):
        journal.append("rule fired", *KEY, {})
    before = in_the_database(path, tmp_path)
    with journal.transaction():
        journal.append("rule fired", *KEY, {})
        journal.checkpoint()
    assert in_the_database(path, tmp_path) == before
    journal.checkpoint()
    assert in_the_database(path, tmp_path) > before


def test_a_failed_checkpoint_is_no_fault_of_the_journal(journal: Journal, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(CHECKPOINT_AFTER):
        journal.append("rule fired", *KEY, {})
    journal._db.set_authorizer(lambda action, *_: sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_PRAGMA else 0)
    journal.checkpoint()
    journal._db.set_authorizer(None)
    assert "write-ahead log" in caplog.text
    assert planned(journal).state is State.PLANNED
