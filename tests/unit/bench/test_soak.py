"""The soak's scenario is a function of its seed, and its checks find what must not happen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from bench.soak.records import Episode, Fill, MemorySample, Message, Outage, Records, faults
from bench.soak.scenario import Kind, month, trading_day

NOON = datetime(2026, 11, 2, 17, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def fill(before: int, shown: int, ref: str = "pm:1") -> Fill:
    return Fill(NOON, "e1", ref, "SPY", Decimal(abs(shown - before)), Decimal(before), Decimal(shown))


def episode(lag: float, ready: float = 20) -> Episode:
    times = {"breached": NOON, "ordered": after(lag), "closed": after(ready)}
    return Episode("SPY", 5, NOON, **times, lag=timedelta(seconds=lag), ready=timedelta(seconds=ready))


def outage(begin: float, end: float, *, expected: bool = False, killed: bool = False) -> Outage:
    return Outage(after(begin), after(end), expected, killed)


def message(seconds: float, title: str) -> Message:
    return Message(after(seconds), f"[paper] {title}")


LOST, BACK = "Not connected: nothing is guarded", "Connected again"


def test_the_same_seed_gives_the_same_month() -> None:
    assert month(3) == month(3) != month(4)
    assert list(month(3)) == sorted(month(3), key=lambda event: event.at)


def test_a_month_holds_every_kind_of_event() -> None:
    shown = {event.kind for seed in range(1, 4) for event in month(seed)}
    assert shown == set(Kind) - {Kind.STEP}


def test_positions_are_opened_on_days_of_trading_only() -> None:
    assert all(trading_day(event.at.date()) for event in month(1) if event.kind in (Kind.OPEN, Kind.BREACH))


def test_a_month_as_it_must_be_has_no_fault() -> None:
    records = Records(
        fills=[fill(0, 5, ""), fill(5, 0)],
        episodes=[episode(2), Episode("TSLA", 1, NOON)],
        outages=[outage(10, 20), outage(100, 110, expected=True), outage(200, 210, killed=True)],
        messages=[message(10, LOST), message(20, BACK), message(210, "Connected to IB")],
        memory=[MemorySample(NOON, "manager", 0, 60), MemorySample(after(86400), "manager", 0, 61)],
        journal={"pm:1": Decimal(5)},
        journal_executions={"e1"},
    )
    assert faults(records) == []


@pytest.mark.parametrize(
    ("records", "found"),
    [
        (Records(fills=[fill(5, -1)], journal={"pm:1": Decimal(6)}), "went from 5 to -1"),
        (Records(fills=[fill(0, -5)], journal={"pm:1": Decimal(5)}), "went from 0 to -5"),
        (Records(episodes=[episode(11)]), "acted on after 11.0 s"),
        (Records(episodes=[Episode("SPY", 5, NOON, breached=NOON)]), "never acted on"),
        (Records(episodes=[Episode("SPY", 5, NOON, breached=NOON, ordered=NOON)]), "never closed"),
        (Records(episodes=[episode(2, 400)]), "closed after 400 s"),
        (Records(fills=[fill(5, 0)]), "the broker filled 5, the journal states 0"),
        (Records(journal={"pm:2": Decimal(1)}), "the broker filled 0, the journal states 1"),
        (Records(journal_executions={"e9"}), "an execution e9 that the broker does not have"),
        (Records(outages=[outage(0, 9)]), "was reported 0 times"),
        (Records(outages=[outage(0, 9)], messages=[message(0, LOST)] * 2), "was reported 2 times"),
        (Records(outages=[outage(0, 9)], messages=[message(0, LOST)]), "the end of the outage"),
        (Records(outages=[outage(0, 9, expected=True)], messages=[message(0, LOST)]), "was reported 1 times"),
        (Records(outages=[outage(0, 9, killed=True)]), "0 messages report that it is connected"),
        (Records(messages=[message(0, "Data farm usfarm is down: …")]), "never as up"),
        (Records(messages=[message(0, "SPY has no live quotes: …")] * 2), "and again at"),
        (Records(messages=[message(0, "SPY has live quotes again")]), "without having been down"),
        (Records(unnoticed=["link lost at noon"]), "did not notice: link lost"),
        (
            Records(memory=[MemorySample(NOON, "manager", 0, 60), MemorySample(after(9), "manager", 0, 67)]),
            "grew by 7.0 MiB",
        ),
        (
            Records(memory=[MemorySample(NOON, "manager", 0, 60), MemorySample(after(9), "manager", 0, 60, 4_001)]),
            "grew by 4001 objects",
        ),
        (Records(locks=1), "1 instruments are locked"),
    ],
)
def test_a_check_finds_what_must_not_happen(records: Records, found: str) -> None:
    assert any(found in each for each in faults(records))
