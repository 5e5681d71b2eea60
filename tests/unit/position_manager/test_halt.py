"""The kill switch and the sticky halt; what cannot be read counts as a halt."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from position_manager.halt import Halt, HaltRecord, KillSwitch

NOW = datetime(2026, 11, 23, 15, tzinfo=UTC)


def test_a_file_is_enough_to_stop_all_sending(tmp_path: Path) -> None:
    path = tmp_path / "STOP"
    switch = KillSwitch(path)
    assert switch.read() is None
    path.touch()
    assert switch.read() == Halt(f"kill switch {path} exists", None, f"rm {path}")
    path.unlink()
    assert switch.read() is None
    path.symlink_to(tmp_path / "nowhere")
    assert switch.read() is not None


def test_a_switch_that_cannot_be_checked_is_on(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    halt = KillSwitch(tmp_path / "file" / "STOP").read()
    assert halt is not None
    assert "cannot be checked: Not a directory" in halt.reason


def test_a_halt_stays_until_a_person_resumes(tmp_path: Path) -> None:
    path = tmp_path / "halt.json"
    HaltRecord(path).write("321 no permission for this account", NOW)
    HaltRecord(path).write("another reason", NOW + timedelta(hours=1))
    assert HaltRecord(path).read() == Halt("321 no permission for this account", NOW, "position-manager resume")
    assert HaltRecord(path).resume()
    assert HaltRecord(path).read() is None
    assert not HaltRecord(path).resume()


def test_a_halt_that_can_end_by_itself_gives_way_to_one_that_cannot(tmp_path: Path) -> None:
    path = tmp_path / "halt.json"
    HaltRecord(path).write("321 The API interface is currently in Read-Only mode.", NOW)
    HaltRecord(path).write("holiday (halted by ada)", NOW + timedelta(hours=1))
    halt = HaltRecord(path).read()
    assert halt is not None
    assert halt.reason == "holiday (halted by ada)"


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"reason": "x", "since": "2026-11-23T15:00:00"}', '{"reason": "x", "since": 5}']
)
def test_a_damaged_record_is_a_halt(content: str, tmp_path: Path) -> None:
    path = tmp_path / "halt.json"
    path.write_text(content)
    halt = HaltRecord(path).read()
    assert halt is not None
    assert "cannot be read" in halt.reason
    HaltRecord(path).write("new", NOW)
    assert path.read_text() == content
