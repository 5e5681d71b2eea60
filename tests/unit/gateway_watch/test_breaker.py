"""The circuit breaker: counts, opens, closes by a correction, and is open when it cannot be read."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway_watch.breaker import Breaker, BreakerFile, BreakerFileError, newest_change

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LATER = NOW + timedelta(seconds=1)
EARLIER = NOW - timedelta(seconds=1)


def refused(times: int) -> Breaker:
    return Breaker({"bad_credentials": times}, NOW)


def opened(cause: str = "bad_credentials") -> Breaker:
    return refused(2).opened(cause, "text", "remedy", NOW)


def test_refused_logins_are_counted() -> None:
    twice = Breaker().after_refusal("bad_credentials", EARLIER).after_refusal("bad_credentials", NOW)
    assert twice == refused(2)
    assert (twice.bad_logins, twice.count("login_failed")) == (2, 0)


def test_each_cause_is_counted_separately() -> None:
    breaker = Breaker().after_refusal("login_failed", EARLIER).after_refusal("bad_credentials", NOW)
    assert (breaker.count("login_failed"), breaker.bad_logins) == (1, 1)


def test_a_file_of_an_earlier_release_is_read(tmp_path: Path) -> None:
    path = tmp_path / "breaker.json"
    path.write_text(json.dumps({"bad_logins": 2, "last_bad_at": NOW.isoformat(), "open": None}))
    assert BreakerFile(path, "ib-gateway").read() == refused(2)


@pytest.mark.parametrize("breaker", [opened(), refused(1)])
def test_a_later_correction_closes_it_and_counts_from_zero(breaker: Breaker) -> None:
    assert breaker.corrected(LATER) == Breaker()
    assert breaker.corrected(NOW) == breaker
    assert breaker.corrected(EARLIER) == breaker
    assert breaker.corrected(None) == breaker


def test_what_only_credentials_fix() -> None:
    assert refused(1).about_credentials
    assert opened("account_locked").about_credentials
    assert not opened("bad_image").about_credentials


def test_it_is_stored_whole_and_private(tmp_path: Path) -> None:
    file = BreakerFile(tmp_path / "breaker.json", "ib-gateway")
    assert file.read() == Breaker()
    file.write(opened())
    assert BreakerFile(tmp_path / "breaker.json", "ib-gateway").read() == opened()
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file.path]
    assert file.reset()
    assert file.read() == Breaker()
    assert not file.reset()


def test_a_write_that_fails_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = BreakerFile(tmp_path / "breaker.json", "ib-gateway")
    file.write(opened())

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        file.write(Breaker())
    assert file.read() == opened()
    assert list(tmp_path.iterdir()) == [file.path]


VALID = {"bad_logins": 1, "last_bad_at": None, "open": None}
DAMAGED = [
    "",
    '{"bad_log',
    "[]",
    "{}",
    json.dumps(VALID | {"bad_logins": "2"}),
    json.dumps(VALID | {"bad_logins": -1}),
    json.dumps(VALID | {"last_bad_at": "2026-11-23T12:00:00"}),
    json.dumps(VALID | {"open": {"cause": "bad_credentials"}}),
    json.dumps(VALID | {"open": True}),
]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_file_is_an_error_that_names_the_fix(content: str, tmp_path: Path) -> None:
    path = tmp_path / "breaker.json"
    path.write_text(content)
    with pytest.raises(BreakerFileError, match=rf"{path} cannot .* gateway-watch reset --instance paper$"):
        BreakerFile(path, "paper").read()


def test_the_newest_of_the_files_counts_and_missing_ones_do_not(tmp_path: Path) -> None:
    for name, seconds in (("old", 1000), ("new", 2000)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (seconds, seconds))
    files = [tmp_path / name for name in ("old", "new", "missing")]
    assert newest_change(files) == datetime.fromtimestamp(2000, UTC)
    assert newest_change(files[2:]) is None
