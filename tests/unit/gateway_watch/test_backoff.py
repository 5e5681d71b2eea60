"""Pauses between failing starts."""

from __future__ import annotations

import pytest

from gateway_watch.backoff import failures_since_stable, pause


def test_the_pauses_double_up_to_five_minutes() -> None:
    assert [pause(failures) for failures in range(8)] == [0, 10, 20, 40, 80, 160, 300, 300]
    assert pause(100_000) == 300


def test_a_rate_limit_is_waited_out_from_the_first_failure() -> None:
    assert pause(1, "rate_limited") == 300
    assert pause(0, "rate_limited") == 0


@pytest.mark.parametrize(
    ("restarts", "stable_at", "failures"),
    [(0, None, 0), (3, None, 3), (5, 5, 0), (6, 5, 0), (7, 5, 1), (9, 5, 3), (2, 5, 2), (0, 5, 0)],
)
def test_failures_count_from_the_last_start_that_lasted(restarts: int, stable_at: int | None, failures: int) -> None:
    assert failures_since_stable(restarts, stable_at) == failures
