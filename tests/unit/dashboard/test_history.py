"""The strip of the last seven days."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dashboard import history
from dashboard.history import GAP, MOST, SPAN, Entry, Strip, Word

NOW = datetime(2026, 11, 30, 15, 0, tzinfo=UTC)


def test_a_state_that_lasts_is_one_entry() -> None:
    strip = Strip().with_state(Word.READY, NOW).with_state(Word.READY, NOW + timedelta(hours=1))
    assert strip.entries == (Entry(NOW, Word.READY),)
    assert strip.with_state(Word.DOWN, NOW + timedelta(hours=2)).entries[-1] == Entry(
        NOW + timedelta(hours=2), Word.DOWN
    )


def test_what_was_before_the_first_record_is_unknown() -> None:
    shown = Strip().with_state(Word.READY, NOW - timedelta(days=1)).shown(NOW)
    assert shown == [
        {"from": (NOW - SPAN).isoformat(), "state": "unknown"},
        {"from": (NOW - timedelta(days=1)).isoformat(), "state": "ready"},
    ]


def test_what_ended_before_the_span_is_removed_and_what_lasts_into_it_remains() -> None:
    strip = Strip((Entry(NOW - timedelta(days=9), Word.DOWN), Entry(NOW - timedelta(days=8), Word.READY)))
    assert strip.pruned(NOW).entries == (Entry(NOW - timedelta(days=8), Word.READY),)
    assert strip.shown(NOW) == [{"from": (NOW - SPAN).isoformat(), "state": "ready"}]


def test_a_gateway_that_changes_all_the_time_does_not_fill_the_disk() -> None:
    strip = Strip()
    for second in range(MOST + 50):
        strip = strip.with_state((Word.READY, Word.RESTART)[second % 2], NOW + timedelta(seconds=second))
    assert len(strip.entries) == MOST


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    strips = {"ib-gateway": Strip().with_state(Word.APPROVAL, NOW)}
    history.write(tmp_path / "history.json", strips, NOW)
    assert history.read(tmp_path / "history.json", NOW + GAP) == strips
    assert (tmp_path / "history.json").stat().st_mode & 0o777 == 0o600


def test_the_time_in_which_nothing_was_recorded_is_unknown(tmp_path: Path) -> None:
    history.write(tmp_path / "history.json", {"ib-gateway": Strip().with_state(Word.READY, NOW)}, NOW)
    later = NOW + timedelta(hours=3)
    strip = history.read(tmp_path / "history.json", later)["ib-gateway"].with_state(Word.READY, later)
    assert [(entry.at, entry.word) for entry in strip.entries] == [
        (NOW, Word.READY),
        (NOW, Word.UNKNOWN),
        (later, Word.READY),
    ]


def test_without_a_file_there_is_no_history(tmp_path: Path) -> None:
    assert history.read(tmp_path / "history.json", NOW) == {}


@pytest.mark.parametrize("text", ["{", "[]", '{"seen": "x", "gateways": {}}', '{"seen": "2026-11-30T15:00:00"}', "7"])
def test_a_damaged_file_is_reported(tmp_path: Path, text: str) -> None:
    (tmp_path / "history.json").write_text(text)
    with pytest.raises(ValueError, match="is damaged"):
        history.read(tmp_path / "history.json", NOW)


def test_what_was_recorded_while_the_clock_was_ahead_is_left_out() -> None:
    later = NOW + timedelta(days=30)
    strip = Strip().with_state(Word.READY, NOW - timedelta(days=1)).with_state(Word.DOWN, later)
    corrected = strip.with_state(Word.RESTART, NOW)
    assert corrected.entries == (Entry(NOW - timedelta(days=1), Word.READY), Entry(NOW, Word.RESTART))
    assert strip.with_state(Word.READY, NOW).entries == (Entry(NOW - timedelta(days=1), Word.READY),)
