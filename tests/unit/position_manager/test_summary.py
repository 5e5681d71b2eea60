"""The message at the end of a day, and the process that creates it."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from PIL import Image
from tests.unit.position_manager import journal_samples
from tests.unit.position_manager import status_samples as samples

import position_manager
from position_manager.journal.reader import JournalReader
from position_manager.reports import day_book, summary
from position_manager.reports.summary import SummaryError, ask, fills_of, message

ZONE = ZoneInfo("America/New_York")
DAY = date(2026, 11, 23)
FILLS = (
    "10:00:02 BUY 1 SPY 2026-12-18 450P at 3.75 (stop)",
    "10:00:04 BUY 1 SPY 2026-12-18 450P at 3.79 (stop)",
)


@pytest.fixture(autouse=True)
def found_by_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(position_manager.__file__).parents[1]))


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    journal_samples.write(tmp_path / "journal.db")
    return tmp_path / "journal.db"


def test_the_fills_of_a_day(journal: Path) -> None:
    with JournalReader(journal) as reader:
        assert fills_of(reader, DAY, ZONE) == FILLS
        assert fills_of(reader, DAY - timedelta(days=1), ZONE) == ()
        # There it was the day after already.
        assert len(fills_of(reader, DAY + timedelta(days=1), ZoneInfo("Pacific/Kiritimati"))) == 2


def test_the_message_has_the_day_in_numbers() -> None:
    status = replace(samples.READY, locks=(samples.LOCK,))
    made = message(status, DAY, FILLS, None)
    assert made.title == "[paper] 2026-11-23: +125.50 USD"
    assert made.lines == (
        "Fills:",
        *FILLS,
        "Held:",
        "-2 SPY 2026-12-18 450P: -60.00 USD, unprotected 0:00:12",
        "1 SPY condor: no price, unprotected 1:12:01",
        "100 AAPL: -1,027.00 USD",
    )
    assert dict(made.fields) == {
        "Realised": "+125.50 USD",
        "At present prices": "-1,087.00 USD (1 without a price)",
        "Unprotected": "1:12:13 in trading hours, of what is held",
        "Orders in 24 h": "3",
        "Locked": "QQQ 2026-12-18 400C",
    }


def test_a_day_without_anything() -> None:
    made = message(replace(samples.READY, units=(), realized={}), DAY, (), None)
    assert made.title == "[paper] 2026-11-23: nothing realised"
    assert made.lines == ("No fills.", "Nothing is held.")


def test_more_fills_than_can_be_read_are_counted() -> None:
    made = message(samples.READY, DAY, [f"fill {number}" for number in range(45)], None)
    assert "fill 39" in made.lines and "fill 40" not in made.lines and "and 5 more fills" in made.lines


@pytest.fixture
def without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another test of the run may have loaded it."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.usefixtures("without_matplotlib")
def test_a_process_of_its_own_makes_the_message_and_the_plot(journal: Path) -> None:
    days = journal.parent / "days"
    now = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)
    book = day_book.DayBook(days, ZONE, now)
    for minute in range(60):
        book.add(now + timedelta(minutes=minute), {"USD": Decimal(minute) - 20}, now + timedelta(hours=6))
    made = asyncio.run(ask(samples.READY, journal, days, DAY, ZONE))
    assert made.lines[1:3] == FILLS
    assert made.attachment == days / "2026-11-23.png"
    with Image.open(made.attachment) as picture:
        assert picture.size == (800, 350)
        assert len(picture.convert("RGB").getcolors(100_000) or ()) > 20, "it is not empty"
    assert "matplotlib" not in sys.modules, "only the other process has loaded it"


def test_a_day_without_samples_has_no_plot(journal: Path) -> None:
    assert asyncio.run(ask(samples.READY, journal, journal.parent / "days", DAY, ZONE)).attachment is None


def test_what_went_wrong_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SummaryError, match="it cannot be opened"):
        asyncio.run(ask(samples.READY, tmp_path / "none.db", tmp_path, DAY, ZONE))


def test_a_process_that_does_not_end_is_ended(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "PATIENCE_SECONDS", 0.0)
    with pytest.raises(SummaryError, match="it took longer than 0 s"):
        asyncio.run(ask(samples.READY, journal, tmp := journal.parent, DAY, ZONE))
    assert tmp.exists()
