"""When a restart keeps the session: the decision, what is in progress, and how it ended."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from gateway_watch.session_calendar import SessionCalendar
from gateway_watch.soft_restart import (
    END_SECONDS,
    Facts,
    Kind,
    Outcome,
    Request,
    Seen,
    conclude,
    decide,
    read_request,
    request_file,
    settles_in,
    unavailable,
    write_request,
)

NOW = datetime(2026, 11, 25, 17, tzinfo=UTC)
"""A Wednesday, noon in New York."""

SUNDAY_LOGIN = datetime(2026, 11, 22, 18, 5, tzinfo=UTC)
GOOD = Facts(
    enabled=True,
    controller="ibc",
    commanded=True,
    trading_mode="paper",
    running=True,
    container_mode="paper",
    server_runs=True,
    login="ready",
    connected=True,
    since=SUNDAY_LOGIN,
    credentials=SUNDAY_LOGIN - timedelta(days=30),
    calendar=SessionCalendar(time(2), time(13), ZoneInfo("America/New_York")),
)


@pytest.mark.parametrize(
    "facts",
    [
        GOOD,
        replace(GOOD, connected=None),
        replace(GOOD, credentials=None),
        replace(GOOD, calendar=replace(GOOD.calendar, cold=None)),
        replace(GOOD, trading_mode="live", container_mode="live"),
    ],
)
def test_session_is_kept_by_a_ready_gateway_within_its_week(facts: Facts) -> None:
    assert decide(facts, NOW).soft
    assert decide(facts, NOW).reason == ""


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (replace(GOOD, enabled=False), "ib_gateway_soft_restart is false"),
        (replace(GOOD, commanded=False, controller="ibcontroller"), "ibcontroller has no command"),
        (replace(GOOD, trading_mode="both", container_mode="both"), "share one command port"),
        (replace(GOOD, calendar=replace(GOOD.calendar, daily=None)), "ib_gateway_auto_restart_time is empty"),
        (replace(GOOD, running=False, login=None), "does not run"),
        (replace(GOOD, login="awaiting_2fa"), "its login is awaiting_2fa"),
        (replace(GOOD, login="link_lost"), "its login is link_lost"),
        (replace(GOOD, login=None), "its login is unknown"),
        (replace(GOOD, connected=False), "lost its connection"),
        (replace(GOOD, server_runs=False), "without the login controller's command server"),
        (replace(GOOD, trading_mode="live"), "the trading mode changes from paper to live"),
        (replace(GOOD, since=None), "no login of this session"),
        (replace(GOOD, credentials=SUNDAY_LOGIN + timedelta(seconds=1)), "the password has changed"),
    ],
)
def test_full_login_has_its_reason(facts: Facts, reason: str) -> None:
    plan = decide(facts, NOW)
    assert not plan.soft
    assert reason in plan.reason


def test_session_of_a_week_that_has_ended_is_not_kept() -> None:
    end = datetime(2026, 11, 29, 6, tzinfo=UTC)  # Sunday 1:00 AM in New York
    assert decide(GOOD, end - timedelta(minutes=11)).soft
    for moment in (end - timedelta(minutes=9), end, end + timedelta(hours=5)):
        assert "the week's session has ended" in decide(GOOD, moment).reason
    assert decide(replace(GOOD, since=end + timedelta(hours=7)), end + timedelta(hours=8)).soft


def test_planned_restart_that_is_near_is_not_met() -> None:
    daily = datetime(2026, 11, 26, 7, tzinfo=UTC)  # 2:00 AM in New York
    assert "a planned restart comes at 02:00" in decide(GOOD, daily - timedelta(minutes=4)).reason
    assert decide(GOOD, daily - timedelta(minutes=6)).soft
    assert decide(GOOD, daily + timedelta(minutes=1)).soft


def test_command_server_is_enabled_only_where_it_can_be_used() -> None:
    can = {"enabled": True, "controller": "ibc", "commanded": True, "trading_mode": "paper", "daily": time(2)}
    assert unavailable(**can) == ""  # type: ignore[arg-type]  # any of them
    for name, value in (("enabled", False), ("commanded", False), ("trading_mode", "both"), ("daily", None)):
        assert unavailable(**{**can, name: value})  # type: ignore[arg-type]  # any of them


def test_request_is_in_progress_until_its_limit(tmp_path: Path) -> None:
    file = request_file(tmp_path)
    assert read_request(file) is None
    request = Request(Kind.REPLACE, NOW, NOW + timedelta(minutes=5))
    write_request(file, request)
    assert read_request(file) == request
    assert request.in_progress(NOW) and request.in_progress(NOW + timedelta(minutes=4))
    assert not request.in_progress(NOW + timedelta(minutes=5))
    # A clock that was set back does not prolong it.
    assert not request.in_progress(NOW - timedelta(seconds=1))


@pytest.mark.parametrize("content", ["", "[]", '{"kind": "restart"}', '{"kind": "x", "asked": "", "until": ""}'])
def test_damaged_request_is_none(tmp_path: Path, content: str) -> None:
    request_file(tmp_path).write_text(content)
    assert read_request(request_file(tmp_path)) is None


def test_request_that_cannot_be_used_ends_no_supervisor(tmp_path: Path) -> None:
    file = request_file(tmp_path)
    file.write_text('{"kind": "restart", "asked": "2026-11-25T17:00:00", "until": "2026-11-25T17:05:00"}')
    assert read_request(file) is None
    file.unlink()
    file.mkdir()
    assert read_request(file) is None


BEFORE = Seen("ready", NOW - timedelta(hours=3), SUNDAY_LOGIN)


@pytest.mark.parametrize(
    ("seen", "left", "seconds", "outcome"),
    [
        (BEFORE, False, 30, None),
        (replace(BEFORE, login="restarting"), True, 60, None),
        (replace(BEFORE, login=None), True, 60, None),
        (replace(BEFORE, login="logging_in"), True, 60, None),
        (replace(BEFORE, ready=NOW + timedelta(seconds=70)), True, 70, Outcome.KEPT),
        # Too quick to be seen in another state.
        (replace(BEFORE, ready=NOW + timedelta(seconds=70)), False, 70, Outcome.KEPT),
        (
            Seen("ready", NOW + timedelta(seconds=90), NOW + timedelta(seconds=90)),
            True,
            90,
            Outcome.FULL_LOGIN,
        ),
        (replace(BEFORE, login="awaiting_2fa"), True, 70, Outcome.FULL_LOGIN),
        (replace(BEFORE, login="failed"), True, 70, Outcome.FULL_LOGIN),
        (replace(BEFORE, login="waiting"), True, 70, Outcome.FULL_LOGIN),
        (BEFORE, False, END_SECONDS, Outcome.NOT_RESTARTED),
        (replace(BEFORE, login="restarting"), True, END_SECONDS, None),
        (replace(BEFORE, login="restarting"), True, END_SECONDS + 300, Outcome.NOT_READY),
        # The file of the session is damaged.
        (Seen("restarting", None, None), True, 60, None),
    ],
)
def test_outcome_follows_from_what_is_seen(seen: Seen, left: bool, seconds: float, outcome: Outcome | None) -> None:
    assert conclude(BEFORE, seen, asked=NOW, left=left, seconds=seconds, ready_seconds=300) is outcome


def test_only_a_gateway_that_still_runs_is_restarted_by_a_full_login() -> None:
    needed = {Outcome.REFUSED, Outcome.NOT_RESTARTED, Outcome.NOT_REPLACED}
    assert {outcome for outcome in Outcome if outcome.full_login_needed} == needed


@pytest.mark.parametrize(
    ("ready", "seconds"),
    [(None, 0), (NOW, 15), (NOW - timedelta(seconds=5), 10), (NOW - timedelta(hours=1), 0), (NOW + timedelta(1), 0)],
)
def test_command_waits_for_the_end_of_the_configuration(ready: datetime | None, seconds: float) -> None:
    assert settles_in(ready, NOW) == seconds
