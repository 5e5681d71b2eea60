"""Pacing counts messages and requests for history by the times it is given."""

from __future__ import annotations

import pytest

from gateway_simulator.api.pacing import HistoryAsked, HistoryPacer, MessagePacer, Verdict


def test_a_burst_of_the_limit_is_served_and_the_bucket_refills_at_the_limit() -> None:
    pacer = MessagePacer()
    verdicts = [pacer.judge(0, 5) for _ in range(8)]
    assert verdicts == [Verdict.SERVE] * 5 + [Verdict.WARN, Verdict.REJECT, Verdict.REJECT]
    assert pacer.received == 8
    assert pacer.judge(0.21, 5) is Verdict.SERVE  # a fifth of a second refills one
    assert pacer.judge(0.22, 5) is Verdict.REJECT
    assert [pacer.judge(9, 5) for _ in range(6)] == [Verdict.SERVE] * 5 + [Verdict.WARN]


@pytest.mark.parametrize("burst", [1, 5, 45])
def test_a_client_that_throttles_itself_below_the_limit_is_never_refused(burst: int) -> None:
    pacer = MessagePacer()
    moments = (number // burst * burst / 45 for number in range(2000))
    assert {pacer.judge(moment, 50) for moment in moments} == {Verdict.SERVE}


def test_the_count_is_that_of_the_messages_received_within_a_second() -> None:
    pacer = MessagePacer()
    for number in range(120):
        pacer.judge(number / 100, 50)
    assert pacer.received == 100


def test_the_third_breach_disconnects() -> None:
    pacer = MessagePacer()
    breaches = []
    for second in (0.0, 2.0, 4.0):
        assert pacer.judge(second, 1) is Verdict.SERVE
        breaches.append(pacer.judge(second + 0.1, 1))
    assert breaches == [Verdict.WARN, Verdict.WARN, Verdict.DISCONNECT]
    assert pacer.breaches == 3


def test_no_limit_serves_everything() -> None:
    pacer = MessagePacer()
    assert {pacer.judge(0, 0) for _ in range(1000)} == {Verdict.SERVE}


def test_history_refuses_the_same_request_within_15_seconds() -> None:
    pacer = HistoryPacer()
    assert not pacer.violation(HistoryAsked(0, "A", "a"))
    assert "same request" in pacer.violation(HistoryAsked(14.9, "A", "a"))
    assert not pacer.violation(HistoryAsked(15, "A", "a"))


def test_history_refuses_the_sixth_request_for_a_contract_within_2_seconds() -> None:
    pacer = HistoryPacer()
    for number in range(5):
        assert not pacer.violation(HistoryAsked(0.1 * number, number, "a"))
    assert not pacer.violation(HistoryAsked(0.6, "other", "b"))
    assert "one contract" in pacer.violation(HistoryAsked(0.7, 6, "a"))
    assert not pacer.violation(HistoryAsked(2.1, 6, "a"))


def test_history_refuses_the_61st_request_within_10_minutes() -> None:
    pacer = HistoryPacer()
    for number in range(60):
        assert not pacer.violation(HistoryAsked(number * 3.0, number, number))
    assert "60 requests" in pacer.violation(HistoryAsked(180.0, "one", "more"))
    assert not pacer.violation(HistoryAsked(600.0, "one", "more"))
