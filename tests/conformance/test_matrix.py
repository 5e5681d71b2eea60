"""What the tracker and the supervisor conclude from the real lines of each flow, and at which line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import pytest
from conformance import captured, expected
from conformance.controller import Line
from conformance.expected import Row
from conformance.flow import Flow
from conformance.flows import FLOWS
from tests.conformance.judge import LONG, Judge, Outcome

STARTED = {"ibc": "IBC", "ibcontroller": "ibcontroller"}
"""The controllers as the images' start scripts name them."""

FOCUS = re.compile(r"; event=(?:Deactivated|Lost focus)$")
"""Marks that a run may lack: a race decides whether a window had the focus that it loses."""


def conclude(flow: Flow, row: Row, lines: Iterable[Line], exit_code: int | None, judge: Judge) -> Outcome:
    """Replay the lines, compare what is seen after each line of the row, and return the outcome."""
    judge.feed(Line(0.0, f".> Starting {STARTED[judge.controller]} in {judge.trading_mode} mode, with params:"))
    marks = list(row.lines)
    for line in lines:
        seen = judge.feed(line)
        if len(marks) > 1 and FOCUS.search(marks[0][0]) and re.search(marks[1][0], line.text):
            del marks[0]
        if marks and re.search(marks[0][0], line.text):
            assert (line.text, seen.state, seen.cause) == (line.text, *marks[0][1:])
            del marks[0]
    missing = [mark[0] for mark in marks if not FOCUS.search(mark[0])]
    assert not missing, f"no line with {missing[0]!r} in the flow {flow.name}"
    if exit_code is not None:
        judge.end(exit_code, asked=flow.stop is not None)
    else:
        seen = judge.silence(LONG)
        if row.silence is not None:
            assert (seen.state, seen.cause) == row.silence
    assert set(judge.seen(0).warnings) == set(row.warnings)
    return judge.outcome or Outcome("goes on")


def judge_of(controller: str, flow: Flow, refusals: Mapping[str, int] | None = None) -> Judge:
    mode = flow.settings.trading_mode
    return Judge(controller, mode if mode in ("live", "paper") else "paper", refusals or {})


def check(controller: str, flow: Flow, row: Row, lines: tuple[Line, ...], exit_code: int | None) -> None:
    """Check that the row holds, and that the number of runs in a row that it sets leads to a stop."""
    what, cause = row.outcome
    outcome = conclude(flow, row, lines, exit_code, judge_of(controller, flow))
    assert (outcome.what, outcome.cause) == (what, cause)
    if row.limit is not None and what in ("restart", "exited"):
        assert cause is not None
        for before, then in ((row.limit - 2, what), (row.limit - 1, "stop")):
            judge = judge_of(controller, flow, {cause: before} if before > 0 else {})
            for line in lines:
                judge.feed(line)
            if exit_code is None:
                judge.silence(LONG)
            else:
                judge.end(exit_code)
            assert judge.outcome is not None
            assert (judge.outcome.what, judge.outcome.cause) == (then, cause)


def test_each_flow_has_its_captured_lines_and_its_row() -> None:
    assert set(FLOWS) == {entry.flow for entry in captured.read_all("ibc")} == set(expected.IBC)


@pytest.mark.parametrize("flow", expected.IBC)
def test_the_captured_lines_lead_to_the_right_conclusion(flow: str) -> None:
    entry = captured.read("ibc", flow)
    check("ibc", FLOWS[flow], expected.IBC[flow], entry.lines, entry.exit_code)


BOTH = {
    ("twofa_approved", "login_paper"): ("ready", None, "goes on"),
    ("twofa_waits", "login_paper"): ("awaiting_2fa", None, "goes on"),
    ("twofa_missed_relogin", "daily_restart"): ("ready", None, "goes on"),
    ("twofa_approved", "reconnect"): ("ready", None, "goes on"),
    ("twofa_approved", "unrecognized_password"): ("failed", "bad_credentials", "restart"),
    ("twofa_device_unset", "login_paper"): ("failed", "twofa_device_unset", "stop"),
    ("twofa_approved", "dialog_login_messages"): ("blocked", "unknown_dialog", "goes on"),
    ("twofa_approved", "server_failed_network"): ("starting", "server_down", "goes on"),
    ("twofa_approved", "daily_restart_unrecognized"): ("failed", "token_refused", "restart"),
    ("twofa_approved", "stale_autorestart"): ("failed", "stale_autorestart", "restart"),
    ("twofa_waits", "reconnect"): ("awaiting_2fa", None, "goes on"),
}
"""With both trading modes: the live flow, the paper flow, and what is right after both and a silence."""

SECOND_GATEWAY = 15.0
"""Seconds after which the image starts the paper gateway."""


@pytest.mark.parametrize(("live", "paper"), BOTH)
def test_two_logins_in_one_log_are_separated(live: str, paper: str) -> None:
    lines = [
        *(Line(0.0, ".> Starting IBC in live mode, with params:"), *captured.read("ibc", live).lines),
        Line(SECOND_GATEWAY, ".> Starting IBC in paper mode, with params:"),
        *(Line(line.at + SECOND_GATEWAY, line.text) for line in captured.read("ibc", paper).lines),
    ]
    judge = Judge("ibc", "both")
    for line in sorted(lines, key=lambda line: line.at):
        judge.feed(line)
    seen = judge.silence(LONG)
    outcome = judge.outcome or Outcome("goes on")
    assert (seen.state, seen.cause, outcome.what) == BOTH[live, paper]
