"""The numbers for Prometheus, from samples and from a journal that is written while they are counted."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from tests import scraping
from tests.scraping import Series, chosen, labelled, value
from tests.unit.position_manager import status_samples as samples

from notifications.message import Message, Severity
from notifications.outbox import Outbox
from position_manager.journal.errors import JournalError
from position_manager.journal.journal import Journal
from position_manager.journal.records import LegToSend, Stamp
from position_manager.orders.evidence import Cause as Proof
from position_manager.orders.intents import Acknowledged, Executed, Fill, Intent, OutOfSight, Proven, Said, Side, State
from position_manager.reports.status import AccountRuleStatus, AccountStatus, LegStatus
from position_manager.rules.evaluation import Rule
from position_manager.service.metrics import Files, Sample, collect, served
from position_manager.service.order_counts import OUTCOMES, RULES, OrderCounter, OrderCounts
from position_manager.ulid import ulid

D = Decimal
ACCOUNT = "DU1234567"
SAMPLE = Sample(samples.READY, {"sent": 5, "failed": 1}, losses=2, loops=99, looped_at=samples.ago(seconds=4))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(lambda mode: tmp_path / f"journal-{mode}.db", tmp_path / "outbox.db")


def scrape(sample: Sample, files: Files) -> Series:
    """Without the prefix."""
    found = scraping.exported(collect(sample, files))
    return {(name.removeprefix("position_manager_"), labels): number for (name, labels), number in found.items()}


def test_the_numbers_of_a_manager_at_work(files: Files) -> None:
    found = scrape(SAMPLE, files)
    expected = {
        "ready": 1, "positions": 4, "halts": 0, "locks": 0, "new_accounts": 0, "degraded_farms": 0,
        "last_sync_age_seconds": 11, "connection_losses_total": 2, "quote_age_seconds": 42, "quotes_missing": 1,
        "orders_last_day": 3, "loops_total": 99, "last_loop_age_seconds": 4, "unprotected_seconds": 4321,
        "unprotected_for_seconds": 42,
    }  # fmt: skip
    assert {name: value(found, name) for name in expected} == expected
    assert chosen(found, "phase", "phase") == ["READY"]
    assert labelled(found, "units", "verdict") == {
        "guarded": 1, "unprotected": 1, "closing": 1, "closed in shadow": 0,
    }  # fmt: skip
    assert labelled(found, "profit", "currency") == {"USD": -1087}
    assert {state for state, count in labelled(found, "open_intents", "state").items() if count} == {"PARTIAL"}
    assert labelled(found, "realized_profit", "currency") == {"USD": 125.5}
    assert labelled(found, "notifications_total", "result") == {"sent": 5, "failed": 1}
    assert (value(found, "process_resident_memory_bytes") or 0) > 0
    (labels,) = [dict(labels) for name, labels in found if name == "info"]
    assert (labels["version"], labels["mode"]) == ("0.1.0", "paper")


def test_what_is_not_known_is_left_out(files: Files) -> None:
    found = scrape(replace(SAMPLE, status=samples.TROUBLE, looped_at=None), files)
    names = {name for name, _ in found}
    assert not names & {"last_sync_age_seconds", "quote_age_seconds", "last_loop_age_seconds", "open_markets"}
    assert "journal_size_bytes" not in names
    assert (value(found, "ready"), value(found, "locks"), value(found, "halts")) == (0, 1, 1)
    assert value(found, "unprotected_for_seconds") == value(found, "unprotected_seconds") == 0


def test_open_markets_are_counted_where_they_are_reported(files: Files) -> None:
    found = scrape(replace(SAMPLE, status=replace(samples.READY, open_markets=("AAPL", "SPY"))), files)
    assert value(found, "open_markets") == 2


def test_quotes_of_closed_markets_do_not_count(files: Files) -> None:
    unit = samples.READY.units[0]
    night = replace(unit.legs[0], label="AAPL", age=9000.0)
    status = replace(samples.READY, units=(replace(unit, legs=(*unit.legs, night, replace(night, age=None))),))
    found = scrape(replace(SAMPLE, status=replace(status, open_markets=(unit.legs[0].label,))), files)
    assert (value(found, "quote_age_seconds"), value(found, "quotes_missing")) == (unit.legs[0].age, 0)
    found = scrape(replace(SAMPLE, status=replace(status, open_markets=("AAPL",))), files)
    assert (value(found, "quote_age_seconds"), value(found, "quotes_missing")) == (9000, 1)


def test_accounts_are_added_up(files: Files) -> None:
    account = AccountStatus(
        "DU*****67", "USD", D(94900), D(1), 1.0, D(100000), D(100000), 2,
        (AccountRuleStatus("daily_loss", "close", "fired", ""), AccountRuleStatus("drawdown", "close", "guarded", "")),
    )  # fmt: skip
    other = replace(account, account="U1****21", currency="EUR", net_liquidation=D(5))
    unknown = replace(account, net_liquidation=None)
    found = scrape(
        replace(SAMPLE, status=replace(samples.READY, account_stops=(account, account, other, unknown))), files
    )
    assert labelled(found, "net_liquidation", "currency") == {"USD": 189800, "EUR": 5}
    assert labelled(found, "account_stops", "verdict") == {"fired": 4, "guarded": 4, "pending": 0, "unprotected": 0}


def test_a_thousand_positions_in_many_currencies_have_as_many_series_as_one(files: Files) -> None:
    units = tuple(
        replace(
            samples.PUT,
            account=f"U{number:07}",
            key=f"U{number:07} contract {number}",
            name=f"contract {number}",
            currency=f"C{number % 200:02}",
            profit=D(1),
            legs=tuple(LegStatus(number * 4 + leg, f"leg {leg}", D(1), D(1), D(2), 1.0) for leg in range(4)),
        )
        for number in range(1000)
    )
    found = scrape(replace(SAMPLE, status=replace(samples.READY, units=units)), files)
    profit = labelled(found, "profit", "currency")
    assert len(profit) == 31 and sum(profit.values()) == 1000
    assert len(found) - len(profit) < 150
    assert value(found, "positions") == 4000
    assert not any("contract" in text or text.startswith("U0") for _, labels in found for _, text in labels)


def test_only_the_table_decides_about_labels(files: Files) -> None:
    names = {label for _, labels in scrape(SAMPLE, files) for label, _ in labels}
    assert names == {
        *("version", "python", "mode", "phase", "verdict", "currency", "state", "rule", "outcome", "stage", "le"),
        "result",
    }


def test_the_journal_and_the_outbox(files: Files) -> None:
    files.journal("paper").write_bytes(b"x" * 100)
    files.journal("live").write_bytes(b"x" * 7)
    assert value(scrape(SAMPLE, files), "journal_size_bytes") == 100
    files.journal("paper").with_name("journal-paper.db-wal").write_bytes(b"x" * 11)
    with Outbox(files.outbox, lambda: 0.0) as outbox:
        outbox.put(Message("kind", Severity.ALERT, "title", samples.NOW), ["one", "two"])
        found = scrape(SAMPLE, files)
    assert (value(found, "journal_size_bytes"), value(found, "notifications_pending")) == (111, 2)
    files.outbox.unlink()
    files.outbox.write_text("no database")
    assert value(scrape(SAMPLE, files), "notifications_pending") is None


def test_they_are_served(files: Files) -> None:
    with served(0, lambda: SAMPLE, files) as port:
        found = scraping.scraped(port)
    assert value(found, "position_manager_ready") == 1


# ----- decisions and orders


class Book:
    """A journal with a clock that a test sets."""

    def __init__(self, path: Path) -> None:
        self.now, self.seconds = samples.NOW, 0.0
        self.counter = OrderCounter(lambda: self.now)
        ids = random.Random(7)  # noqa: S311 - ids that can be repeated
        self.journal = Journal(
            path,
            Stamp("paper", frozenset({ACCOUNT})),
            clock=lambda: self.now,
            new_id=lambda: ulid(self.now, ids.randbytes),
            observer=self.counter,
            monotonic=self._monotonic,
        )
        self.hold(-2)

    def _monotonic(self) -> float:
        self.seconds += 0.003
        return self.seconds

    def hold(self, quantity: int, con_id: int = 1) -> None:
        self.journal.count_holding(ACCOUNT, con_id, D(quantity), Proof.REOPENED)

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def send(self, quantity: int = 2, stop: str = "0", con_id: int = 1) -> Intent:
        holding = self.journal.holding(ACCOUNT, con_id)
        assert holding is not None
        with self.journal.transaction():
            intent = self.journal.create_intent(ACCOUNT, con_id, Side.BUY, holding.quantity, D(quantity), "stop", {})
            self.journal.record_sending(
                intent.id, client_id=100, next_valid_id=1, position=holding.quantity, quantity=D(quantity),
                limit=D("3.75"), stop=D(stop), evidence={},
            )  # fmt: skip
        return intent

    def fill(self, intent: Intent, quantity: int = 2, exec_id: str = "x1") -> None:
        self.journal.record(intent.id, Executed(Fill(exec_id, D(quantity), D("3.75"), self.now)))

    @property
    def counts(self) -> OrderCounts:
        return self.counter.counts()

    def outcomes(self) -> dict[str, int]:
        return {outcome: count for outcome, count in self.counts.orders.items() if count}

    def trips(self, stage: str) -> tuple[int, float]:
        distribution = self.counts.trips[stage]
        return sum(distribution.counts), round(distribution.sum, 3)

    def decisions(self) -> dict[str, int]:
        return {rule: count for rule, count in self.counts.decisions.items() if count}


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path / "journal-paper.db")


def test_the_round_trip_of_an_order(book: Book, files: Files) -> None:
    intent = book.send()
    book.wait(0.2)
    book.journal.record(intent.id, Acknowledged(9001))
    book.journal.record(intent.id, Acknowledged(9001))
    book.wait(3)
    book.fill(intent, 1)
    assert book.trips("filled") == (0, 0)
    book.wait(1)
    book.fill(intent, 1, "x2")
    assert book.trips("acknowledged") == (1, 0.2)
    assert book.trips("filled") == (1, 4.2)
    assert book.outcomes() == {"sent": 1, "filled": 1}
    found = scrape(replace(SAMPLE, orders=book.counts), files)
    assert value(found, "order_round_trip_seconds_bucket", stage="acknowledged", le="0.1") == 0
    assert value(found, "order_round_trip_seconds_bucket", stage="acknowledged", le="0.25") == 1
    assert value(found, "order_round_trip_seconds_count", stage="filled") == 1
    assert value(found, "orders_total", outcome="filled") == 1


class Faulty:
    """An observer that fails at each report."""

    def on_decided(self, rule: str) -> None:
        raise ZeroDivisionError(rule)

    def on_changed(self, old: Intent, new: Intent) -> None:
        raise ZeroDivisionError

    def on_committed(self, seconds: float) -> None:
        raise ZeroDivisionError


def test_what_is_on_disk_takes_effect_although_it_cannot_be_counted(
    book: Book, caplog: pytest.LogCaptureFixture
) -> None:
    """An order that is on disk is handed to the broker next: an error in between would leave it unknown."""
    book.journal._observer = Faulty()
    intent = book.send()
    book.journal.append("rule fired", ACCOUNT, 1, {"rule": "stop"})
    book.fill(intent)
    assert book.journal.intent(intent.id).state is State.FILLED
    assert len(caplog.records) == 1


def test_a_decision_that_is_not_on_disk_is_not_counted(book: Book) -> None:
    book.journal.close()
    with pytest.raises(JournalError):
        book.journal.append("rule fired", ACCOUNT, 1, {"rule": "stop"})
    assert book.decisions() == {}


def refused(book: Book, intent: Intent) -> None:
    book.journal.record(intent.id, Said(201, "margin"))


def cancelled(book: Book, intent: Intent) -> None:
    book.journal.record(intent.id, Proven(State.CANCELLED, "completed as Cancelled"))


def lost(book: Book, intent: Intent) -> None:
    book.journal.record(intent.id, OutOfSight("1100"))
    book.journal.record(intent.id, Proven(State.LOST, "it never arrived"))


def contradicted(book: Book, intent: Intent) -> None:
    book.journal.record(intent.id, Proven(State.LOCKED, "two live orders"))


@pytest.mark.parametrize(
    ("happens", "outcomes"),
    [
        (refused, {"sent": 1, "rejected": 1}),
        (cancelled, {"sent": 1, "cancelled": 1}),
        (lost, {"sent": 1, "unknown": 1, "lost": 1}),
        (contradicted, {"sent": 1, "locked": 1}),
    ],
)
def test_what_became_of_an_order(book: Book, happens: Callable[[Book, Intent], None], outcomes: dict[str, int]) -> None:
    happens(book, book.send())
    assert book.outcomes() == outcomes
    assert book.trips("filled") == (0, 0)


def test_an_order_that_was_never_sent_is_none(book: Book) -> None:
    book.journal.create_intent(ACCOUNT, 1, Side.BUY, D(-2), D(2), "stop", {})
    book.journal.recover()
    assert book.outcomes() == {}


def test_an_acknowledgement_after_a_restart_is_no_round_trip(book: Book) -> None:
    intent = book.send()
    book.wait(3600)
    book.journal.recover()
    book.journal.record(intent.id, Acknowledged(9001))
    assert book.trips("acknowledged") == (0, 0)
    assert book.outcomes() == {"sent": 1, "unknown": 1}


def test_a_stop_that_rests_at_the_broker_has_no_time_to_its_fill(book: Book) -> None:
    intent = book.send(stop="3.70")
    book.wait(0.2)
    book.journal.record(intent.id, Acknowledged(9001))
    book.wait(9000)
    book.fill(intent)
    assert (book.trips("acknowledged")[0], book.trips("filled")[0]) == (1, 0)


def test_a_clock_that_was_set_back_gives_no_negative_time(book: Book) -> None:
    intent = book.send()
    book.wait(-60)
    book.journal.record(intent.id, Acknowledged(9001))
    assert book.trips("acknowledged") == (1, 0)


def decide(book: Book, rule: str, *con_ids: int, unit: str = "condor", kind: str = "rule fired") -> None:
    with book.journal.transaction():
        for con_id in con_ids:
            book.journal.append(kind, ACCOUNT, con_id, {"unit": unit, "rule": rule})


def test_a_decision_counts_once_for_all_legs(book: Book) -> None:
    decide(book, "stop", 1, 2, 3, 4)
    assert book.decisions() == {"stop": 1}
    decide(book, "stop", 5, unit="other")
    decide(book, "stop", 1, 2)
    assert book.decisions() == {"stop": 3}


def test_a_decision_in_shadow_counts_too(book: Book) -> None:
    book.journal.append("would close", ACCOUNT, 1, {"unit": "SPY", "rule": "target"})
    book.journal.append("refused", ACCOUNT, 1, {"rule": "target"})
    assert book.decisions() == {"target": 1}


@pytest.mark.parametrize(
    ("rule", "label"),
    [
        *((rule.value, rule.value) for rule in Rule if rule is not Rule.ACCOUNT),
        ("account daily loss", "account_stop"),
        ("account stop", "account_stop"),
        ("by hand", "manual"),
        ("by hand, price approved", "manual"),
        ("cooldown", "cooldown"),
        ("a rule of a later release", "other"),
    ],
)
def test_each_rule_has_its_label(book: Book, rule: str, label: str) -> None:
    decide(book, rule, 1)
    assert book.decisions() == {label: 1}
    assert label in (*RULES, "other")


def test_what_is_not_on_disk_is_not_counted(book: Book) -> None:
    class StoppedError(Exception):
        pass

    def fail() -> None:
        with book.journal.transaction():
            book.journal.append("rule fired", ACCOUNT, 1, {"unit": "SPY", "rule": "stop"})
            book.send()
            raise StoppedError

    writes = sum(book.counts.writes.counts)
    with pytest.raises(StoppedError):
        fail()
    assert (book.decisions(), book.outcomes()) == ({}, {})
    assert sum(book.counts.writes.counts) == writes
    book.hold(-3)
    assert (book.decisions(), book.outcomes()) == ({}, {})


def test_each_transaction_is_timed(book: Book, files: Files) -> None:
    before = sum(book.counts.writes.counts)
    book.send()
    assert sum(book.counts.writes.counts) == before + 1
    found = scrape(replace(SAMPLE, orders=book.counts), files)
    assert value(found, "journal_write_seconds_bucket", le="0.0025") == 0
    assert value(found, "journal_write_seconds_bucket", le="0.005") == before + 1


def test_a_combination_counts_as_one_order(book: Book) -> None:
    book.hold(2, con_id=2)
    legs = (LegToSend(1, Side.BUY, D(-2), D(2), D(1)), LegToSend(2, Side.SELL, D(2), D(2), D(1)))
    book.journal.record_combo(
        ACCOUNT, legs, "stop", client_id=100, next_valid_id=1, side=Side.BUY, quantity=D(2), limit=D(1),
        symbol="SPY", currency="USD", sold=frozenset({2}), evidence={},
    )  # fmt: skip
    book.wait(0.2)
    for intent in book.journal.open_intents():
        book.journal.record(intent.id, Acknowledged(9001))
    for intent in book.journal.open_intents():
        book.fill(intent, exec_id=f"x{intent.con_id}")
    assert book.outcomes() == {"sent": 1, "filled": 1}
    assert (book.trips("acknowledged")[0], book.trips("filled")[0]) == (1, 1)


def test_every_counter_starts_at_zero(files: Files) -> None:
    found = scrape(SAMPLE, files)
    assert labelled(found, "decisions_total", "rule") == dict.fromkeys(RULES, 0)
    assert labelled(found, "orders_total", "outcome") == dict.fromkeys(OUTCOMES.values(), 0)
    assert labelled(found, "order_round_trip_seconds_count", "stage") == {"acknowledged": 0, "filled": 0}
