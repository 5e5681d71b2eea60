"""Which codes may be typed: none twice, two for a login, and again after a person has acted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from gateway_watch.code_ledger import FORGET, Ledger, read, write
from gateway_watch.totp import step_at

NOW = datetime(2026, 11, 29, 18, 0, 10, tzinfo=UTC)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_a_typed_code_is_never_fresh_again() -> None:
    ledger = Ledger().with_typed(NOW)
    assert not ledger.fresh(NOW)
    assert not ledger.fresh(later(19))
    assert not ledger.fresh(later(-30)), "a clock that was set back"
    assert ledger.fresh(later(20))
    assert ledger.next_fresh(NOW) == later(20)
    assert not ledger.logged_in().fresh(later(1)), "a login does not make it fresh"


def test_a_clock_that_was_far_ahead_does_not_rule_out_every_code() -> None:
    ledger = Ledger().with_typed(later(86400))
    assert ledger.fresh(NOW)
    assert ledger.next_fresh(NOW) == later(20)


def test_two_codes_that_were_refused_are_the_last_ones() -> None:
    ledger = Ledger().with_typed(NOW).with_refused()
    assert not ledger.exhausted(later(60), None)
    ledger = ledger.with_typed(later(60)).with_refused()
    assert ledger.exhausted(later(60), None)
    assert ledger.exhausted(NOW + timedelta(days=7), None), "time makes no secret right"


def test_a_person_or_a_login_starts_the_count_again() -> None:
    ledger = Ledger().with_typed(NOW).with_refused().with_typed(later(60)).with_refused()
    assert not ledger.exhausted(later(100), later(90))
    assert ledger.exhausted(later(100), later(-90))
    assert not ledger.logged_in().exhausted(later(100), None)


def test_codes_of_logins_that_failed_otherwise_count_for_an_hour() -> None:
    ledger = Ledger().with_typed(NOW).with_typed(later(60))
    assert ledger.exhausted(later(61), None)
    assert not ledger.exhausted(NOW + FORGET, None)


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=30))
def test_no_code_is_typed_twice_in_any_order_of_moments(seconds: list[int]) -> None:
    ledger, steps = Ledger(), []
    for each in sorted(seconds):
        if ledger.fresh(later(each)):
            ledger = ledger.with_typed(later(each))
            steps.append(step_at(later(each)))
    assert len(steps) == len(set(steps))


def test_it_outlasts_the_process(tmp_path: Path) -> None:
    file = tmp_path / "second-factor.json"
    assert read(file, NOW) == Ledger()
    ledger = Ledger().with_typed(NOW).with_refused().with_typed(later(60))
    write(file, ledger)
    assert read(file, later(61)) == ledger
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_damaged_file_rules_out_the_code_of_the_moment(tmp_path: Path) -> None:
    file = tmp_path / "second-factor.json"
    file.write_text('{"last_step": 1')
    assert not read(file, NOW).fresh(NOW)
    assert read(file, NOW).fresh(later(20))


def test_a_file_that_cannot_be_read_permits_no_code(tmp_path: Path) -> None:
    file = tmp_path / "second-factor.json"
    file.mkdir()
    assert read(file, NOW).exhausted(later(7200), later(3600)), "not even after a person's act"
