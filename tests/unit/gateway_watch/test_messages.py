"""Which notifications a gateway sends, and what ends them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.gateway_watch.instance_files import DOCUMENT

from gateway_watch import decision, messages
from gateway_watch.decision import End, Reason
from gateway_watch.instance import Instance, parse
from gateway_watch.login import Change, LoginState
from gateway_watch.reminders import Promise, Reminder, Step
from gateway_watch.session_calendar import Kind
from gateway_watch.signatures import load
from notifications.message import Message, Severity

NOW = datetime(2026, 11, 23, 17, 0, tzinfo=UTC)
CAUSES = load("ibc").causes


def instance(**changes: Any) -> Instance:
    return parse(DOCUMENT | changes, Path("/etc/ib-gateway/ib-gateway/instance.json"))


def change(state: LoginState, cause: str | None = None) -> Change:
    return Change(NOW, "paper", state, "text", CAUSES[cause] if cause else None)


def reported(found: Message | None) -> Message:
    assert found is not None
    return found


def test_an_approval_is_asked_for_with_the_end_of_its_dialog() -> None:
    message = reported(messages.on_change(instance(), change(LoginState.AWAITING_2FA), NOW))
    assert (message.kind, message.severity) == ("twofa_awaited", Severity.ALERT)
    assert "until 12:03:00 (America/New_York)" in message.lines[0]


@pytest.mark.parametrize(
    ("cause", "severity", "key"),
    [
        ("server_down", Severity.WARNING, "gateway/server_down"),
        ("twofa_missed", Severity.WARNING, "gateway/twofa_missed"),
        ("bad_credentials", Severity.WARNING, "gateway/bad_credentials"),
        ("write_access_blocked", Severity.ALERT, "notice/write_access_blocked"),
    ],
)
def test_a_cause_is_reported_with_its_remedy(cause: str, severity: Severity, key: str) -> None:
    message = reported(messages.on_change(instance(), change(LoginState.RESTARTING, cause), NOW))
    assert (message.kind, message.severity, message.dedupe_key) == (cause, severity, key)
    assert message.lines == (CAUSES[cause].remedy,)


def test_ordinary_steps_of_a_login_are_not_reported() -> None:
    for state in (LoginState.STARTING, LoginState.LOGGING_IN, LoginState.LOGGED_IN, LoginState.READY):
        assert messages.on_change(instance(), change(state), NOW) is None


def test_an_end_that_a_person_must_fix_is_an_alert_with_the_picture() -> None:
    end = End(decision.EXIT_CONFIG, Reason("account_locked", "Locked.", "Unlock it."), open_breaker=True)
    message = messages.on_end(instance(), end, Path("/pictures/one.png"), NOW)
    assert message.severity is Severity.ALERT
    assert message.title == "ib-gateway needs a person: Locked."
    assert message.lines[0] == "Unlock it."
    assert "gateway-watch reset --instance ib-gateway" in message.lines[1]
    assert message.attachment == Path("/pictures/one.png")
    refused = messages.not_started(instance(), "account_locked", "text", NOW)
    before = reported(messages.on_change(instance(), change(LoginState.FAILED, "account_locked"), NOW))
    assert refused.dedupe_key == message.dedupe_key != before.dedupe_key


def test_an_end_that_is_tried_again_is_a_warning() -> None:
    end = End(decision.RETRY, Reason("api_unanswering", "Silent.", "systemd restarts the gateway."))
    message = messages.on_end(instance(), end, None, NOW)
    assert (message.severity, message.dedupe_key) == (Severity.WARNING, "gateway/api_unanswering/restarted")
    assert message.lines == ("systemd restarts the gateway.",)


def test_being_ready_ends_every_alert() -> None:
    assert messages.ready(instance(), NOW).recovery_of == "gateway"


DUE = datetime(2026, 11, 29, 18, 0, tzinfo=UTC)


@pytest.mark.parametrize(("step", "left"), [(Step.DAY, timedelta(hours=24)), (Step.HOUR, timedelta(hours=1))])
def test_a_reminder_names_the_moment_in_the_instance_s_zone_and_the_time_left(step: Step, left: timedelta) -> None:
    # The check that finds it comes a few seconds late.
    message = messages.reminder(instance(), Reminder(step, DUE, DUE - left), DUE - left + timedelta(seconds=5))
    words = {Step.DAY: "1 d 0 h", Step.HOUR: "1 h 0 min"}[step]
    assert message.title == (f"ib-gateway: an approval will be needed Sunday 13:00 (America/New_York), in {words}")
    assert (message.severity, message.dedupe_key) == (Severity.WARNING, f"reminder/{step.value}/2026-11-29")


def test_the_reminder_at_the_moment_is_an_alert_that_ends_with_the_login() -> None:
    message = messages.reminder(instance(timezone="Europe/Berlin"), Reminder(Step.MOMENT, DUE, DUE), DUE)
    assert (message.severity, message.dedupe_key) == (Severity.ALERT, "gateway/approval/2026-11-29")
    assert "Sunday 19:00 (Europe/Berlin)" in message.lines[0]
    assert "approve-now.yml" in message.lines[1]


@pytest.mark.parametrize(
    ("kind", "words"),
    [(Kind.DAILY_RESTART, "to keep the session"), (Kind.COLD_RESTART, "The codes of the authenticator")],
)
def test_a_login_that_was_to_need_nobody_is_reported_with_what_was_expected(kind: Kind, words: str) -> None:
    message = messages.promise_broken(instance(), Promise(kind, DUE), DUE + timedelta(minutes=15))
    assert message.severity is Severity.ALERT
    assert words in message.lines[0]
    assert "Sunday 13:00 (America/New_York)" in message.lines[0]
    assert message.dedupe_key.startswith("gateway/")
