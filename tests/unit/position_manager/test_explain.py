"""What the journal reports about an order and about a position, read from a real one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.unit.position_manager import journal_samples as samples
from tests.unit.position_manager.journal_samples import CALL, PUT, STOCK

from position_manager.journal import stored_instruments
from position_manager.journal.reader import JournalReader
from position_manager.journal.records import Record
from position_manager.orders.intents import Intent, Side
from position_manager.reports.explain import NotFoundError, explain, label_of, words


@pytest.fixture
def day(tmp_path: Path) -> tuple[JournalReader, tuple[Intent, Intent, Intent]]:
    intents = samples.write(tmp_path / "journal.db")
    return JournalReader(tmp_path / "journal.db"), intents


Day = tuple[JournalReader, tuple[Intent, Intent, Intent]]


def test_an_order_is_reported_from_the_rule_to_the_outcome(day: Day) -> None:
    reader, (first, _, _) = day
    assert (
        explain(reader, first.id)
        == f"""\
BUY 2 SPY 2026-12-18 450P in DU*****67: CANCELLED (completed as Cancelled, 1 executed)
  1 of 2 executed, because of rule stop; order 1 of client 100, permId 9001, limit 3.75; intent {first.id}

2026-11-23 (UTC)
15:00:01.250  Rule fired: stop (SPY 2026-12-18 450P)
              stop: ask 3.80 is at or above 3.75 (percent_of_premium 50)
              SPY 2026-12-18 450P: bid 3.70, ask 3.80, delta -0.3513, underlying 449.10, 1.2 s old
15:00:01.500  Not sent, refused by: spread
              pass connection: the connection is READY
              STOP spread: 35.00% of the middle, at most 20.00%
15:00:02.000  The gates let 2 pass at a limit of 3.75
              stop: ask 3.80 is at or above 3.75 (percent_of_premium 50)
              quote: bid 3.70, ask 3.80, delta -0.3513, underlying 449.10, 2.0 s old
              pass connection: the connection is READY
15:00:02.500  Written down, then sent: order 1 of client 100, 2 at 3.75, -2 held
              now SENDING, 0 executed
15:00:02.750  The broker shows the order: permId 9001
              now WORKING, 0 executed
15:00:03.000  Executed: 1 at 3.75 (execution x1)
              now PARTIAL, 1 executed
15:00:03.250  Cancel sent: 3.80 instead of 3.75
              now CANCELLING, 1 executed
15:00:03.500  Proven by the broker's books: CANCELLED, completed as Cancelled, 1 executed
              now CANCELLED, 1 executed"""
    )


def test_a_second_order_of_the_same_rule_is_reported_with_it(day: Day) -> None:
    reader, (first, second, _) = day
    text = explain(reader, f"pm:{second.id}")
    assert "Rule fired: stop" in text and "Executed: 1 at 3.79 (execution x2)" in text
    assert "permId 9001" not in text and first.id not in text, "not the events of the first order"


def test_a_position_is_reported_as_a_whole(day: Day) -> None:
    reader, intents = day
    text = explain(reader, "SPY 2026-12-18 450P")
    head = text.partition("\n\n")[0].splitlines()
    assert head[0] == "SPY 2026-12-18 450P (contract 101) in DU*****67, 0 held as far as the journal knows"
    assert [line.strip().partition(":")[0] for line in head[1::2]] == [
        "BUY 2 SPY 2026-12-18 450P in DU*****67",
        "BUY 1 SPY 2026-12-18 450P in DU*****67",
    ]
    reported = [line for line in text.splitlines() if line[:2] == "15"]
    assert reported == sorted(reported) and len(reported) == 14
    assert reported[0].endswith("The position counts as -2: first seen") and reported[-1].endswith("Closed")
    assert intents[2].id not in text


def test_a_locked_position_reports_it(day: Day) -> None:
    text = explain(day[0], "AAPL")
    assert "LOCKED since 2026-11-23 15:00:06 UTC: REJECTED: 201 Order rejected for DU*****67: margin" in text
    assert "The broker reported 201: Order rejected for DU*****67: margin" in text
    assert "DU1234567" not in text


@pytest.mark.parametrize(
    ("what", "con_ids"),
    [
        ("101", {101}), ("contract:101", {101}), ("SPY 261218P00450000", {101}), ("spy  261218p00450000", {101}),
        ("SPY", {101, 102}), ("aapl", {103}),
    ],
)  # fmt: skip
def test_names_of_positions(day: Day, what: str, con_ids: set[int]) -> None:
    heads = [line for line in explain(day[0], what).splitlines() if "as far as the journal knows" in line]
    assert {int(line.partition("contract ")[2].partition(")")[0]) for line in heads} == con_ids


@pytest.mark.parametrize(("what", "number"), [("1", 0), ("order:3", 2), ("9002", 1), ("perm:9001", 0)])
def test_numbers_of_orders(day: Day, what: str, number: int) -> None:
    reader, intents = day
    assert f"intent {intents[number].id}" in explain(reader, what)


def test_a_number_that_is_two_things_must_state_which(tmp_path: Path) -> None:
    day = samples.Day(tmp_path / "journal.db")
    for con_id in (1, 2):
        day.hold(replace(STOCK, con_id=con_id), 5)
    day.send(replace(STOCK, con_id=2), Side.SELL, 5, "180")
    day.journal.close()
    reader = JournalReader(tmp_path / "journal.db")
    with pytest.raises(NotFoundError, match="1 matches more than one thing; name one: order:1 or contract:1"):
        explain(reader, "1")
    assert "(contract 1)" in explain(reader, "contract:1")
    assert "order 1 of client 100" in explain(reader, "order:1")


@pytest.mark.parametrize("what", ["QQQ", "999", "order:77", "01KAQ0000000000000000000AB", "0"])
def test_what_is_not_there_is_reported_with_what_is(day: Day, what: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        explain(day[0], what)
    names = "AAPL, SPY 2026-12-18 450P, SPY 2026-12-18 500C"
    assert str(caught.value) == f"The journal has nothing about {what!r}. It knows {names}."


def test_the_same_contract_in_two_accounts(tmp_path: Path) -> None:
    day = samples.Day(tmp_path / "journal.db", frozenset({"DU1234567", "DU7654399"}))
    day.hold(CALL, 1)
    day.hold(CALL, 3, "DU7654399")
    day.journal.close()
    text = explain(JournalReader(tmp_path / "journal.db"), "102")
    assert "in DU*****67, 1 held" in text and "in DU*****99, 3 held" in text


def test_a_contract_that_cannot_be_read_goes_by_its_number(tmp_path: Path) -> None:
    day = samples.Day(tmp_path / "journal.db")
    day.hold(PUT, 1)
    day.journal.remember("", PUT.con_id, "instrument", '{"con_id": "what"}')
    day.journal.close()
    reader = JournalReader(tmp_path / "journal.db")
    assert label_of(stored_instruments.read(reader), 101) == "contract 101"
    assert "contract 101 (contract 101)" in explain(reader, "101")


def test_an_event_without_words_of_its_own_is_shown_as_it_is() -> None:
    record = Record(1, datetime(2026, 11, 23, tzinfo=UTC), "bound reached", None, "", 1, {"bound": "spread", "n": 2})
    assert words(record) == ["Bound reached", "bound: spread", "n: 2"]


def test_an_order_that_waits_for_a_price_reports_it() -> None:
    event = {"order_id": 4, "client_id": 100, "quantity": "2", "limit": "6.00", "position": "-2", "stop": "5.00"}
    record = Record(1, datetime(2026, 11, 23, tzinfo=UTC), "Sending", None, "", 1, {"event": event})
    assert words(record) == [
        "Written down, then sent: order 4 of client 100, 2 once 5.00 is reached at 6.00, -2 held",
    ]
