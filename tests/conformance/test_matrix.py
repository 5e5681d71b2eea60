"""What the tracker and the supervisor conclude from the real lines of each flow, and at which line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pytest
from conformance import captured
from conformance.controller import Line
from conformance.flow import Flow
from conformance.flows import FLOWS
from tests.conformance import expected
from tests.conformance.expected import Row
from tests.conformance.judge import LONG, Judge, Outcome


@dataclass(frozen=True)
class Suite:
    """A controller with its flows; `started` is what the image's start script prints before it, with the {mode}."""

    controller: str
    flows: Mapping[str, Flow]
    started: str


IBC = Suite("ibc", FLOWS, ".> Starting IBC in {mode} mode, with params:")


def conclude(
    flow: str, row: Row, lines: Iterable[Line], exit_code: int | None, judge: Judge, suite: Suite = IBC
) -> Outcome:
    """Replay the lines, compare what is seen after each line of the row, and return the outcome."""
    settings = suite.flows[flow].settings
    judge.feed(Line(0.0, suite.started.format(mode=judge.trading_mode)))
    marks = list(row.lines)
    for line in lines:
        seen = judge.feed(line)
        if marks and re.search(marks[0][0], line.text):
            assert (line.text, seen.state, seen.cause) == (line.text, *marks[0][1:])
            del marks[0]
    assert not marks, f"no line with {marks[0][0]!r} in the flow {flow} ({settings})"
    if exit_code is not None:
        judge.end(exit_code, asked=suite.flows[flow].stop is not None)
    else:
        seen = judge.silence(LONG)
        if row.silence is not None:
            assert (seen.state, seen.cause) == row.silence
    assert set(judge.seen(0).warnings) == set(row.warnings)
    return judge.outcome or Outcome("goes on")


def mode_of(flow: str, suite: Suite = IBC) -> str:
    mode = suite.flows[flow].settings.trading_mode
    return mode if mode in ("live", "paper") else "paper"


def check(flow: str, row: Row, lines: tuple[Line, ...], exit_code: int | None, suite: Suite = IBC) -> None:
    """The row holds, and as many runs in a row as it says lead to a stop."""
    what, cause = row.outcome
    outcome = conclude(flow, row, lines, exit_code, Judge(suite.controller, mode_of(flow, suite)), suite)
    assert (outcome.what, outcome.cause) == (what, cause)
    if row.limit is not None and what == "restart":
        assert cause is not None
        for before, then in ((row.limit - 2, "restart"), (row.limit - 1, "stop")):
            judge = Judge(suite.controller, mode_of(flow, suite), {cause: before} if before > 0 else {})
            for line in lines:
                judge.feed(line)
            if exit_code is None:
                judge.silence(LONG)
            assert judge.outcome is not None
            assert (judge.outcome.what, judge.outcome.cause) == (then, cause)


def test_each_flow_has_its_captured_lines_and_its_row() -> None:
    assert set(FLOWS) == {entry.flow for entry in captured.read_all("ibc")} == set(expected.IBC)


@pytest.mark.parametrize("flow", expected.IBC)
def test_the_captured_lines_lead_to_the_right_conclusion(flow: str) -> None:
    entry = captured.read("ibc", flow)
    check(flow, expected.IBC[flow], entry.lines, entry.exit_code)
