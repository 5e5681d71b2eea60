"""When an incident and its end are reported."""

from __future__ import annotations

from datetime import UTC, datetime

from notifications.dedupe import Reported, Verdict, decide
from notifications.message import Message, Severity

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
TROUBLE = Message("down", Severity.ALERT, "Down", NOW, dedupe_key="server")
END = Message("up", Severity.INFO, "Up", NOW, recovery_of="server")


def test_a_message_without_key_is_always_reported() -> None:
    decision = decide(Message("x", Severity.INFO, "X", NOW), None, 0.0, 60.0)
    assert (decision.verdict, decision.reported) == (Verdict.SEND, None)


def test_the_same_is_counted_within_its_window_and_reported_after_it() -> None:
    reported: Reported | None = None
    verdicts = []
    for now in (1000.0, *range(1001, 1038)):
        decision = decide(TROUBLE, reported, now, 60.0)
        reported = decision.reported
        verdicts.append(decision.verdict)
    assert verdicts == [Verdict.SEND] + [Verdict.COUNT] * 37
    decision = decide(TROUBLE, reported, 1060.0, 60.0)
    assert decision.verdict is Verdict.SEND
    assert decision.message.lines == ("… 37 more times since 1970-01-01 00:16 UTC",)
    assert decision.reported == Reported(1060.0)


def test_an_end_is_reported_once_and_only_if_the_alert_was() -> None:
    assert decide(END, None, 5.0, 60.0).verdict is Verdict.UNREPORTED
    decision = decide(END, Reported(0.0, 1), 5.0, 60.0)
    assert (decision.verdict, decision.reported) == (Verdict.SEND, None)
    assert decision.message.lines == ("… once more since 1970-01-01 00:00 UTC",)


def test_an_alert_that_returns_after_its_end_is_reported_within_the_window() -> None:
    reported = decide(END, Reported(0.0), 5.0, 60.0).reported
    assert decide(TROUBLE, reported, 6.0, 60.0).verdict is Verdict.SEND


def test_a_clock_set_back_does_not_silence_an_alert() -> None:
    assert decide(TROUBLE, Reported(5000.0), 10.0, 60.0).verdict is Verdict.SEND
