"""The profit of each minute: kept over a restart, summed up once, removed when it is old."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from tests.unit.position_manager import status_samples as samples

from position_manager.reports.day_book import DayBook, Sample, file_of, profit_of, read

ZONE = ZoneInfo("America/New_York")
NOW = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)
CLOSE = datetime(2026, 11, 23, 21, 0, tzinfo=UTC)
DAY = date(2026, 11, 23)
PROFIT = {"USD": Decimal("-12.50")}


def book(path: Path, now: datetime = NOW) -> DayBook:
    return DayBook(path / "days", ZONE, now)


def test_samples_are_stored(tmp_path: Path) -> None:
    days = book(tmp_path)
    days.add(NOW, PROFIT, CLOSE)
    days.add(NOW + timedelta(minutes=1), {}, CLOSE)
    assert read(file_of(tmp_path / "days", DAY)) == (
        Sample(NOW, PROFIT, CLOSE),
        Sample(NOW + timedelta(minutes=1), {}, CLOSE),
    )


def test_a_day_is_due_once_when_its_session_is_over(tmp_path: Path) -> None:
    days = book(tmp_path)
    assert days.due(NOW) is None and days.close_after(NOW) is None
    days.add(NOW, PROFIT, CLOSE)
    assert days.due(CLOSE - timedelta(seconds=1)) is None and days.close_after(NOW) == CLOSE
    assert days.due(CLOSE) == DAY and days.close_after(CLOSE) is None
    days.mark_reported(CLOSE)
    assert days.due(CLOSE + timedelta(hours=1)) is None


@pytest.mark.parametrize("hours", [7, 20, 30])
def test_a_restart_forgets_neither_the_day_nor_that_it_was_reported(tmp_path: Path, hours: int) -> None:
    book(tmp_path).add(NOW, PROFIT, CLOSE)
    later = NOW + timedelta(hours=hours)
    again = book(tmp_path, later)
    assert again.due(later) == DAY
    again.mark_reported(later)
    assert book(tmp_path, later).due(later) is None


def test_a_restart_in_the_session_goes_on_with_it(tmp_path: Path) -> None:
    book(tmp_path).add(NOW, PROFIT, CLOSE)
    again = book(tmp_path, NOW + timedelta(hours=1))
    assert again.due(NOW + timedelta(hours=1)) is None and again.close_after(NOW + timedelta(hours=1)) == CLOSE


def test_a_day_of_last_week_is_left_alone(tmp_path: Path) -> None:
    book(tmp_path).add(NOW, PROFIT, CLOSE)
    later = NOW + timedelta(days=3)
    assert book(tmp_path, later).due(later) is None


def test_a_torn_line_is_left_out(tmp_path: Path) -> None:
    book(tmp_path).add(NOW, PROFIT, CLOSE)
    file = file_of(tmp_path / "days", DAY)
    file.write_bytes(file.read_bytes() + b'{"time": "2026-11-2')
    assert read(file) == (Sample(NOW, PROFIT, CLOSE),)
    again = book(tmp_path)
    again.add(NOW + timedelta(minutes=1), PROFIT, CLOSE)
    again.add(NOW + timedelta(minutes=2), PROFIT, CLOSE)
    assert [sample.time.minute for sample in read(file)] == [0, 1, 2]


def test_old_days_are_removed(tmp_path: Path) -> None:
    days = book(tmp_path)
    for back in range(36, -1, -1):
        days.add(NOW - timedelta(days=back), PROFIT, CLOSE - timedelta(days=back))
    (tmp_path / "days" / "notes.txt").touch()
    kept = sorted(path.name for path in (tmp_path / "days").iterdir())
    assert kept[0] == "2026-10-23.jsonl" and kept[-2:] == ["2026-11-23.jsonl", "notes.txt"] and len(kept) == 33


def test_a_directory_that_cannot_be_used_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "days").write_text("no directory")
    days = book(tmp_path)
    days.add(NOW, PROFIT, CLOSE)
    assert days.due(CLOSE) == DAY, "it is known all the same"
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2


def test_the_profit_of_a_currency_is_known_only_with_all_its_prices() -> None:
    status = replace(samples.READY, units=(samples.PUT, samples.STOCK))
    assert profit_of(status) == {"USD": Decimal("125.50") - 60 - 1027}
    euro = replace(samples.PUT, currency="EUR")
    assert profit_of(replace(status, units=(euro, samples.CONDOR))) == {"EUR": Decimal(-60)}
    assert profit_of(replace(status, units=())) == {"USD": Decimal("125.50")}


def test_a_session_that_ends_at_midnight_belongs_to_the_day_that_ends(tmp_path: Path) -> None:
    days = book(tmp_path)
    midnight = datetime(2026, 11, 24, tzinfo=ZONE).astimezone(UTC)
    days.add(NOW, PROFIT, midnight)
    assert len(read(file_of(tmp_path / "days", DAY))) == 1
    assert days.due(midnight) == DAY
