"""The curves of the profit, from the day book that the manager writes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

from dashboard import profit
from position_manager.reports.day_book import DayBook

CLOSE = datetime(2026, 11, 23, 21, 0, tzinfo=UTC)
D = Decimal


def write(directory: Path, days_ago: int, total: str, realized: str | None) -> datetime:
    close = CLOSE - timedelta(days=days_ago)
    book = DayBook(directory, ZoneInfo("America/New_York"), close)
    known = None if realized is None else {"USD": D(realized)}
    book.add(close - timedelta(minutes=2), {"USD": D(0)}, close, known)
    book.add(close - timedelta(minutes=1), {"USD": D(total)}, close, known)
    return close - timedelta(minutes=1)


def test_an_open_profit_that_lasts_is_counted_once(tmp_path: Path) -> None:
    write(tmp_path, 2, "100", "0")  # 100 open
    write(tmp_path, 1, "120", "20")  # 20 realised, the same 100 open
    write(tmp_path, 0, "150", "150")  # all of it realised
    assert profit.curves(tmp_path)["days"]["USD"] == [
        ["2026-11-21", 100.0, 100.0],
        ["2026-11-22", 20.0, 120.0],
        ["2026-11-23", 50.0, 170.0],
    ]


def test_the_day_has_each_minute(tmp_path: Path) -> None:
    write(tmp_path, 1, "7", "0")
    at = write(tmp_path, 0, "-12.5", "0")
    day = profit.curves(tmp_path)["day"]
    assert day["date"] == "2026-11-23"
    assert day["currencies"]["USD"] == [[int(at.timestamp()) - 60, 0.0], [int(at.timestamp()), -12.5]]


def test_days_of_a_release_that_did_not_note_what_was_realized_are_not_added_up(tmp_path: Path) -> None:
    write(tmp_path, 1, "100", None)
    write(tmp_path, 0, "30", "30")
    assert profit.curves(tmp_path)["days"]["USD"] == [["2026-11-23", 30.0, 30.0]]


def test_damaged_lines_and_other_files_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, 0, "5", "5")
    with (tmp_path / "2026-11-23.jsonl").open("ab") as file:
        file.write(b'\n{"time": "2026\n\xff\xfe\n[]\n{"time": 3, "profit": 4}\n')
    (tmp_path / "9999-99-99.jsonl").write_text("{}")
    assert [row[1] for row in profit.curves(tmp_path)["days"]["USD"]] == [5.0]


def test_without_samples_there_is_no_curve(tmp_path: Path) -> None:
    assert profit.curves(tmp_path / "none") == {"days": {}}
    assert profit.revision(tmp_path / "none") == 0


def test_the_revision_grows_with_a_sample(tmp_path: Path) -> None:
    write(tmp_path, 0, "5", "5")
    assert profit.revision(tmp_path) > 0
