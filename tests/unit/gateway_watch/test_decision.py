"""What the supervisor decides, from real signatures and without any clock."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gateway_watch import decision
from gateway_watch.decision import EXIT_CONFIG, OK, RETRY, Answers, Progress
from gateway_watch.login import Change, LoginState, Snapshot
from gateway_watch.signatures import Cause, NextStep, load

AT = datetime(2026, 11, 23, tzinfo=UTC)
CAUSES = load().causes


def snapshot(state: LoginState, cause: Cause | None = None) -> Snapshot:
    return Snapshot(state, AT, "text", "paper", cause, None, 1, ())


def change(cause: Cause | None, state: LoginState = LoginState.FAILED) -> Change:
    return Change(AT, "paper", state, "text", cause)


def hanging(cause: str) -> Cause:
    return replace(CAUSES[cause], next_step=NextStep.HANGS)


def test_a_refused_login_is_tried_once_more_and_no_further() -> None:
    bad = CAUSES["bad_credentials"]
    once = decision.on_change(change(bad), 1, 2)
    assert once is not None
    assert (once.status, once.open_breaker) == (RETRY, False)
    end = decision.on_change(change(bad), 2, 2)
    assert end is not None
    assert (end.status, end.open_breaker, end.reason.cause) == (EXIT_CONFIG, True, "bad_credentials")


def test_a_refused_login_that_hangs_is_tried_once_more_by_a_restart() -> None:
    once = decision.on_change(change(hanging("bad_credentials")), 1, 2)
    twice = decision.on_change(change(hanging("bad_credentials")), 2, 2)
    assert once is not None
    assert twice is not None
    assert [(end.status, end.open_breaker) for end in (once, twice)] == [(RETRY, False), (EXIT_CONFIG, True)]


STOPPING = [
    cause
    for cause in CAUSES.values()
    if cause.person and cause.next_step not in (NextStep.GOES_ON, NextStep.WAITS) and cause.tries is None
]
LIMITED = [cause for cause in CAUSES.values() if cause.tries is not None]


@pytest.mark.parametrize("cause", LIMITED, ids=lambda cause: cause.id)
def test_what_may_pass_is_tried_again_until_its_limit(cause: Cause) -> None:
    assert cause.tries is not None
    before = decision.on_change(change(cause), cause.tries - 1, 2)
    assert before is None or (before.status, before.open_breaker) == (RETRY, False)
    end = decision.on_change(change(cause), cause.tries, 2)
    assert end is not None
    assert (end.status, end.open_breaker, end.reason.cause) == (EXIT_CONFIG, True, cause.id)


def test_the_controllers_own_next_try_is_prevented_where_it_comes_too_soon() -> None:
    for name in ("login_failed", "login_error", "maintenance", "server_refused", "passkey_required"):
        end = decision.on_change(change(CAUSES[name]), 1, 2)
        assert end is not None, name
        assert (end.status, end.open_breaker) == (RETRY, False)
    assert decision.on_change(change(CAUSES["server_down"], LoginState.RESTARTING), 0, 2) is None


def test_a_dialog_that_a_person_must_answer_ends_nothing() -> None:
    dialog = CAUSES["unknown_dialog"]
    assert decision.on_change(change(dialog, LoginState.BLOCKED), 1, 2) is None
    assert dialog.final


@pytest.mark.parametrize("state", [LoginState.LINK_LOST, LoginState.BLOCKED])
def test_neither_a_lost_link_nor_a_dialog_is_ended_by_time(state: LoginState) -> None:
    found = snapshot(state)
    condition = decision.progress(Progress(), found, "healthy", 0, news=True)
    assert decision.due(condition, 300) is None
    assert decision.on_time(condition, found, 300, 86400) is None


@pytest.mark.parametrize("cause", [cause for cause in STOPPING if cause.id != "bad_credentials"], ids=lambda c: c.id)
def test_what_a_person_must_correct_ends_at_once(cause: Cause) -> None:
    end = decision.on_change(change(cause), 0, 2)
    assert end is not None
    assert (end.status, end.open_breaker, end.reason.remedy) == (EXIT_CONFIG, True, cause.remedy)


def test_the_causes_that_need_a_person_are_these() -> None:
    assert {cause.id for cause in STOPPING} >= {
        *("bad_credentials", "empty_credentials", "twofa_device_unknown", "twofa_device_unset", "existing_session"),
        *("account_locked", "bad_image", "login_handoff"),
    }


def test_what_does_not_stop_a_login_does_not_end_the_run() -> None:
    assert decision.on_change(change(CAUSES["write_access_blocked"], LoginState.READY), 0, 2) is None
    assert decision.on_change(change(CAUSES["server_down"], LoginState.RESTARTING), 0, 2) is None
    assert decision.on_change(change(None, LoginState.LOGGED_IN), 0, 2) is None


def test_a_gateway_that_hangs_without_needing_a_person_is_restarted() -> None:
    end = decision.on_change(change(CAUSES["token_refused"]), 0, 2)
    assert end is not None
    assert (end.status, end.open_breaker) == (RETRY, False)


@pytest.mark.parametrize(
    ("state", "cause", "waits"),
    [
        (LoginState.AWAITING_2FA, None, True),
        (LoginState.RELOGIN_WAIT, "rate_limited", True),
        (LoginState.RESTARTING, "server_down", True),
        (LoginState.LOGGING_IN, "server_down", True),
        (LoginState.LOGGING_IN, None, False),
        (LoginState.STARTING, None, False),
        (LoginState.RESTARTING, "bad_credentials", False),
        (LoginState.FAILED, "server_down", False),
        (LoginState.READY, None, False),
    ],
)
def test_what_may_take_hours(state: LoginState, cause: str | None, waits: bool) -> None:
    assert decision.waits(snapshot(state, CAUSES[cause] if cause else None)) is waits


def test_in_order_needs_login_and_health() -> None:
    assert decision.in_order(snapshot(LoginState.READY), "healthy")
    assert not decision.in_order(snapshot(LoginState.READY), "starting")
    assert not decision.in_order(snapshot(LoginState.READY), None)
    assert not decision.in_order(snapshot(LoginState.LOGGED_IN), "healthy")


def test_a_start_has_its_time_and_waiting_does_not_use_it_up() -> None:
    starting, waiting = snapshot(LoginState.STARTING), snapshot(LoginState.AWAITING_2FA)
    state = decision.progress(Progress(), starting, None, 0, news=False)
    assert decision.due(state, 300) == 300
    assert decision.on_time(state, starting, 300, 299.9) is None
    end = decision.on_time(state, starting, 300, 300)
    assert end is not None
    assert (end.status, end.reason.cause) == (RETRY, "start_timeout")

    state = decision.progress(state, waiting, None, 200, news=True)
    assert decision.on_time(state, waiting, 300, 1000) is None
    state = decision.progress(state, starting, None, 1000, news=True)
    assert decision.on_time(state, starting, 300, 1299) is None
    assert decision.on_time(state, starting, 300, 1300) is not None


def test_a_gateway_in_order_has_no_limit() -> None:
    ready = snapshot(LoginState.READY)
    state = decision.progress(Progress(unsettled=0), ready, "healthy", 10, news=False)
    assert decision.due(state, 300) is None
    unhealthy = decision.progress(state, ready, "unhealthy", 500, news=False)
    assert decision.on_time(unhealthy, ready, 300, 800) is not None


def test_a_wait_without_a_word_ends_after_an_hour() -> None:
    waiting = snapshot(LoginState.RELOGIN_WAIT)
    state = decision.progress(Progress(), waiting, None, 0, news=False)
    assert decision.on_time(state, waiting, 300, 3599) is None
    assert decision.on_time(state, waiting, 300, 3600) is not None
    state = decision.progress(state, waiting, None, 3500, news=True)
    assert decision.on_time(state, waiting, 300, 7000) is None


def test_a_gateway_that_should_exit_and_does_not_is_ended() -> None:
    failed = snapshot(LoginState.FAILED, CAUSES["session_yielded"])
    state = decision.progress(Progress(unsettled=0), failed, None, 100, news=True)
    assert decision.due(state, 300) == 160
    assert decision.on_time(state, failed, 300, 159) is None
    end = decision.on_time(state, failed, 300, 160)
    assert end is not None
    assert end.reason.cause == "session_yielded"


def test_one_of_two_controllers_that_gave_way_ends_the_run_for_that_cause() -> None:
    failed = snapshot(LoginState.FAILED, CAUSES["session_yielded"])
    state = decision.progress(Progress(), failed, "healthy", 100, news=True)
    # "IBC returned exit status 0", and the other controller keeps the container running.
    exited = snapshot(LoginState.RESTARTING, CAUSES["session_yielded"])
    state = decision.progress(state, exited, "healthy", 110, news=True)
    end = decision.on_time(state, exited, 300, 160)
    assert end is not None
    # With any other cause the next start would take the session back at once.
    assert end.reason.cause == "session_yielded"
    # A restart that the controller announced is none of it.
    restarting = snapshot(LoginState.RESTARTING, CAUSES["twofa_slow_login"])
    assert decision.progress(state, restarting, "healthy", 111, news=True).failed is None


@pytest.mark.parametrize(
    ("code", "was_ready", "asked", "status"),
    [(0, True, False, OK), (0, False, False, RETRY), (3, True, False, RETRY), (143, True, True, OK)],
)
def test_the_end_of_a_container(code: int, was_ready: bool, asked: bool, status: int) -> None:
    found, reason = decision.on_end(code, snapshot(LoginState.READY), None, was_ready=was_ready, asked=asked)
    assert (found, f"exit code {code}" in reason.line) == (status, True)


def test_the_end_of_a_failed_login_names_its_cause() -> None:
    # The controller's script has reported the end, so the state is no longer `failed`; the exit code is 0.
    given_way = snapshot(LoginState.RESTARTING, CAUSES["session_yielded"])
    status, reason = decision.on_end(0, given_way, None, was_ready=True, asked=False)
    assert (status, reason.cause) == (RETRY, "session_yielded")
    assert CAUSES["session_yielded"].remedy in reason.line


def test_an_exit_code_names_a_cause_that_no_line_explains() -> None:
    stopped = snapshot(LoginState.STARTING)
    status, reason = decision.on_end(83, stopped, load().exits[83], was_ready=False, asked=False)
    assert (status, reason.cause) == (RETRY, "gateway_entry_missing")


def test_failures_of_the_api_count_in_a_row() -> None:
    answers = Answers().after(False, "a").after(False, "b")
    assert answers.end(3) is None
    assert answers.after(True, "").after(False, "c").end(2) is None
    end = answers.after(False, "silent").end(3)
    assert end is not None
    assert (end.status, end.reason.cause, "silent" in end.reason.text) == (RETRY, "api_unanswering", True)
